//! `POST /api/jobs` and `/api/jobs/batch`: work is taken in.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json,
    extract::{ConnectInfo, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::future::join_all;
use infernet_state::{
    Event,
    delegation::delegated_job_id,
    event::{DelegatedRequest, Idempotency, JobKind, JobRequest},
    machine::{Refusal, Verdict},
    types::{Hash, JobId},
};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest as _, Sha256};

use super::{
    body::{self, List},
    listener::Peer,
    node::Node,
    problem::Problem,
    request::{Origin, Request},
};
use crate::{driver::Reply, log::Payload, ports::DelegationError};

/// The header that names the job of a delegated subscription, whose answer is `{}`.
pub const JOB_HEADER: &str = "infernet-job";

/// The header that names a request, so that the same request is taken once.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The longest key, in bytes: it is only hashed, but it is nobody's to fill headers with.
const KEY_BYTES_MAX: usize = 255;

/// Elements of a batch; each is a record of the log. Larger ones are refused as a whole.
const BATCH_MAX: usize = 10_000;

/// Elements of a batch that wait for the loop at once: a batch leaves room for other clients, and
/// still shares its syncs.
const WAVE: usize = 128;

/// What was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Accepted {
    /// A job, by its id: `{"id"}`.
    Job(JobId),
    /// A delegated subscription: `{}`, and the id of its job in a header.
    Delegated(JobId),
}

impl Serialize for Accepted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Self::Job(id) = self {
            map.serialize_entry("id", &id.to_string())?;
        }
        map.end()
    }
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        let mut response = Json(self).into_response();
        if let Self::Delegated(job) = self
            && let Ok(job) = HeaderValue::try_from(job.to_string())
        {
            response.headers_mut().insert(JOB_HEADER, job);
        }
        response
    }
}

/// An element of a batch's answer.
#[derive(Serialize)]
#[serde(untagged)]
enum Element {
    Accepted(Accepted),
    Refused(Problem),
}

/// Where a request came in: part of what its idempotency key stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Door {
    Jobs,
    Batch { element: usize },
    Stream,
}

/// A request that only needs to be recorded.
pub(super) enum Prepared {
    Job {
        request: JobRequest,
        input: Payload,
    },
    Delegated {
        request: Box<DelegatedRequest>,
        input: Payload,
        shown: Value,
    },
}

pub(super) async fn post_job(
    State(node): State<Arc<Node>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Accepted, Problem> {
    let body = body::read(body)?;
    let origin = origin(&node, peer, &headers, Door::Jobs, &body)?;
    let prepared = node.prepare(Request::parse(&body)?, JobKind::Offchain, origin);
    node.take(prepared, peer).await
}

pub(super) async fn post_batch(
    State(node): State<Arc<Node>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Vec<impl Serialize>>, Problem> {
    let body = body::read(body)?;
    let whole: &RawValue = body::parse(&body)?;
    if !whole.get().starts_with('[') {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "Expected a list"));
    }
    let List(elements) = body::parse(&body)?;
    if elements.len() > BATCH_MAX {
        return Err(Problem::too_large(format!(
            "The batch has {} elements, {BATCH_MAX} are taken at once",
            elements.len()
        )));
    }
    let mut prepared = Vec::with_capacity(elements.len());
    for (element, json) in elements.iter().enumerate() {
        let origin = origin(&node, peer, &headers, Door::Batch { element }, &body)?;
        prepared.push(
            Request::parse(json.get().as_bytes())
                .map(|request| node.prepare(request, JobKind::Offchain, origin)),
        );
    }
    // A key that was used with another batch refuses this one before any of it is taken.
    if prepared
        .iter()
        .flatten()
        .any(|prepared| node.key_conflicts(prepared))
    {
        return Err(Problem::refused(Refusal::Conflict, "", None));
    }
    let mut answers = Vec::with_capacity(prepared.len());
    let mut prepared = prepared.into_iter();
    loop {
        let wave: Vec<_> = prepared
            .by_ref()
            .take(WAVE)
            .map(|prepared| async {
                match prepared {
                    Ok(prepared) => node.take(prepared, peer).await,
                    Err(problem) => Err(problem),
                }
            })
            .collect();
        if wave.is_empty() {
            return Ok(Json(answers));
        }
        answers.extend(join_all(wave).await.into_iter().map(|taken| match taken {
            Ok(accepted) => Element::Accepted(accepted),
            Err(problem) => Element::Refused(problem),
        }));
    }
}

/// Who asks, when, and under which key.
pub(super) fn origin(
    node: &Node,
    peer: SocketAddr,
    headers: &HeaderMap,
    door: Door,
    body: &[u8],
) -> Result<Origin, Problem> {
    Ok(Origin {
        client: node.client_key.id(peer.ip()),
        at: node.now(),
        idempotency: idempotency(headers, door, body)?,
    })
}

/// The key and body as they are recorded. A batch's elements each have a key of their own.
fn idempotency(
    headers: &HeaderMap,
    door: Door,
    body: &[u8],
) -> Result<Option<Idempotency>, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = key.as_bytes();
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!("An Idempotency-Key has 1 to {KEY_BYTES_MAX} bytes"),
        ));
    }
    // The length before the key keeps it apart from what follows; the door is part of the body,
    // so that one key at two doors is a conflict and not two jobs.
    let sha256 = |parts: &[&[u8]]| {
        let mut hasher = Sha256::new();
        parts.iter().for_each(|part| hasher.update(part));
        Hash(hasher.finalize().into())
    };
    let length = [u8::try_from(key.len()).unwrap_or(u8::MAX)];
    let (place, name): (u64, &[u8]) = match door {
        Door::Jobs => (0, b"job:"),
        Door::Stream => (0, b"stream:"),
        Door::Batch { element } => (u64::try_from(element).unwrap_or(u64::MAX), b"batch:"),
    };
    Ok(Some(Idempotency {
        key: sha256(&[&length, key, &place.to_be_bytes()]),
        body: sha256(&[name, body]),
    }))
}

impl Node {
    /// Draws the id and makes the record of a request.
    pub(super) fn prepare(&self, request: Request, kind: JobKind, origin: Origin) -> Prepared {
        match request {
            Request::Job(body) => {
                let (request, input) = body.into_request(self.new_job_id(), kind, origin);
                Prepared::Job { request, input }
            }
            Request::Delegated { body, shown } => {
                let (request, input) = body.into_request(origin);
                Prepared::Delegated {
                    request: Box::new(request),
                    input,
                    shown,
                }
            }
        }
    }

    fn key_conflicts(&self, prepared: &Prepared) -> bool {
        let Prepared::Job { request, .. } = prepared else {
            return false;
        };
        request.idempotency.is_some()
            && self
                .handle
                .view(|machine| machine.check(&Event::JobAccepted(request.clone())))
                == Verdict::Refused(Refusal::Conflict)
    }

    /// Has a request recorded. When it returns `Ok`, the request is durable.
    pub(super) async fn take(
        &self,
        prepared: Prepared,
        peer: SocketAddr,
    ) -> Result<Accepted, Problem> {
        match prepared {
            Prepared::Job { request, input } => {
                self.take_job(request, input, peer).await.map(Accepted::Job)
            }
            Prepared::Delegated {
                request,
                input,
                shown,
            } => self.take_delegated(*request, input, shown).await,
        }
    }

    pub(super) async fn take_job(
        &self,
        request: JobRequest,
        input: Payload,
        peer: SocketAddr,
    ) -> Result<JobId, Problem> {
        let job = request.job;
        let event = Event::JobAccepted(request);
        match self.handle.request(event, vec![input]).await {
            Ok(Reply::Recorded(_)) => Ok(job),
            Ok(Reply::Known(job)) => Ok(job),
            Ok(Reply::Refused(refusal)) => {
                let address = peer.ip().to_canonical().to_string();
                Err(Problem::refused(refusal, &address, None))
            }
            Ok(Reply::TooLarge(reason)) => Err(Problem::too_large(reason)),
            Ok(Reply::NoRoom) => Err(Problem::no_room()),
            Err(_) => Err(Problem::busy()),
        }
    }

    async fn take_delegated(
        &self,
        mut request: DelegatedRequest,
        input: Payload,
        shown: Value,
    ) -> Result<Accepted, Problem> {
        let owner = alloy::primitives::Address::from(request.subscription.owner.0).to_string();
        let job = delegated_job_id((request.subscription.owner, request.nonce));
        let refused = |refusal| Problem::refused(refusal, &owner, Some(shown.clone()));
        // What the machine refuses anyhow needs no look at the chain.
        let event = Event::DelegatedAccepted(request.clone());
        match self.handle.view(|machine| machine.check(&event)) {
            Verdict::Accept => {}
            Verdict::Known(_) => return Ok(Accepted::Delegated(job)),
            Verdict::Refused(refusal) => return Err(refused(refusal)),
        }
        let Some(checker) = &self.delegation else {
            return Err(refused(Refusal::ChainNotEnabled));
        };
        let found = checker.check(&request).await.map_err(delegation_problem)?;
        (request.known_id, request.seen) = (found.known_id, found.seen);
        let event = Event::DelegatedAccepted(request);
        match self.handle.request(event, vec![input]).await {
            Ok(Reply::Recorded(_) | Reply::Known(_)) => Ok(Accepted::Delegated(job)),
            Ok(Reply::Refused(refusal)) => Err(refused(refusal)),
            Ok(Reply::TooLarge(reason)) => Err(Problem::too_large(reason)),
            Ok(Reply::NoRoom) => Err(Problem::no_room()),
            Err(_) => Err(Problem::busy()),
        }
    }
}

fn delegation_problem(error: DelegationError) -> Problem {
    let checksummed = |address: infernet_state::types::Address| {
        alloy::primitives::Address::from(address.0).to_string()
    };
    match error {
        DelegationError::SignerMismatch {
            recovered,
            delegated,
        } => {
            Problem::new(StatusCode::FORBIDDEN, "Subscription signer mismatch").with_params(json!({
                "recovered": recovered.map(checksummed),
                "delegated": checksummed(delegated),
            }))
        }
        DelegationError::Unavailable { reason } => {
            tracing::warn!(%reason, "a delegated subscription could not be checked");
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The chain cannot be read, the signature cannot be checked",
            )
            .retry_after(5)
        }
    }
}
