//! Carries out `RunContainer`: one HTTP call of one container.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::StreamExt as _;
use infernet_state::{
    effect::{ContainerCall, ContainerInput, Effect, Issued, Location, Purpose},
    event::{Failure, Outcome},
    types::EffectId,
};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::json;
use tokio::sync::oneshot;
use tower::Service;

use super::{
    ANSWER_BYTES_MAX, ANSWER_TIMEOUT, Container, Containers, ReadError, STREAM_TIMEOUT,
    answer::{self, Answer, Rules},
    read_bounded,
};
use crate::{
    executor::{BoxError, Ended, Payloads, StopCalls},
    streams::Streams,
};

/// Carries the id of the job, or `subscription/interval`, to the container.
pub const JOB_HEADER: &str = "x-infernet-job";

/// Carries the effect's id to the container: the same for each attempt of one call, so that a
/// container with side effects can tell a repetition.
pub const CALL_HEADER: &str = "x-infernet-call";

/// Carries the number of the attempt to the container, from 1.
pub const ATTEMPT_HEADER: &str = "x-infernet-attempt";

/// Stops that came before their call began are remembered for so many calls; the executor hands
/// effects over one by one, so the two are never far apart.
const EARLY_STOPS_MAX: usize = 256;

/// The `tower` service of `RunContainer`, and the way to stop a call. Cheap to clone.
#[derive(Clone)]
pub struct ContainerService<P> {
    containers: Containers,
    payloads: P,
    streams: Streams,
    calls: Arc<Mutex<Calls>>,
}

#[derive(Default)]
struct Calls {
    running: HashMap<EffectId, oneshot::Sender<()>>,
    stopped_early: VecDeque<EffectId>,
}

impl<P: Payloads> ContainerService<P> {
    /// A service that calls `containers`, takes inputs from `payloads`, and shows what streams
    /// in `streams`.
    #[must_use]
    pub fn new(containers: Containers, payloads: P, streams: Streams) -> Self {
        Self {
            containers,
            payloads,
            streams,
            calls: Arc::default(),
        }
    }
}

impl<P: Payloads> Service<Issued> for ContainerService<P> {
    type Response = Ended;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Ended, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, issued: Issued) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let Effect::RunContainer(call) = &issued.effect else {
                return Err("E-CONT-008: only container calls are carried out here".into());
            };
            let Some(running) = Running::begin(&service.calls, issued.id) else {
                return Ok(stopped());
            };
            Ok(running.until_stopped(service.run(&issued, call)).await)
        })
    }
}

impl<P: Send + Sync + 'static> StopCalls for ContainerService<P> {
    fn stop(&self, call: EffectId) {
        let mut calls = lock(&self.calls);
        if let Some(running) = calls.running.remove(&call) {
            // A call that ends in this moment has nothing left to stop.
            let _ = running.send(());
            return;
        }
        if calls.stopped_early.len() >= EARLY_STOPS_MAX {
            calls.stopped_early.pop_front();
        }
        calls.stopped_early.push_back(call);
    }
}

/// A call that can be stopped, until it is dropped.
struct Running {
    id: EffectId,
    calls: Arc<Mutex<Calls>>,
    stop: oneshot::Receiver<()>,
}

impl Running {
    /// `None` when the call was stopped before it began.
    fn begin(calls: &Arc<Mutex<Calls>>, id: EffectId) -> Option<Self> {
        let (sender, stop) = oneshot::channel();
        let mut held = lock(calls);
        if let Some(place) = held.stopped_early.iter().position(|early| *early == id) {
            held.stopped_early.remove(place);
            return None;
        }
        held.running.insert(id, sender);
        drop(held);
        Some(Self {
            id,
            calls: Arc::clone(calls),
            stop,
        })
    }

    async fn until_stopped(mut self, call: impl Future<Output = Ended>) -> Ended {
        tokio::select! {
            ended = call => ended,
            _ = &mut self.stop => stopped(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.calls).running.remove(&self.id);
    }
}

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(|held| held.into_inner())
}

fn stopped() -> Ended {
    answer::failed_text("the call was stopped: nobody waits for its answer", false)
}

impl<P: Payloads> ContainerService<P> {
    async fn run(&self, issued: &Issued, call: &ContainerCall) -> Ended {
        let Some(container) = self.containers.get(&call.container) else {
            return answer::failed_text("this container is not configured any more", false);
        };
        let body = match self.body(call).await {
            Ok(body) => body,
            Err(ended) => return ended,
        };
        let Some(endpoint) = container.backend.endpoint() else {
            return answer::failed_text("the container does not run", true);
        };
        let request = endpoint
            .request(
                self.containers.client(),
                Method::POST,
                "service_output",
                None,
            )
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(JOB_HEADER, purpose(call.purpose))
            .header(CALL_HEADER, issued.id.to_string())
            .header(ATTEMPT_HEADER, issued.attempt.to_string())
            .body(body);
        let (bound, ended) = match (call.destination, call.purpose) {
            (Location::Stream, Purpose::Job(_)) => {
                let call = self.stream(request, container, call);
                (
                    STREAM_TIMEOUT,
                    tokio::time::timeout(STREAM_TIMEOUT, call).await,
                )
            }
            (Location::Onchain | Location::Offchain | Location::Stream, _) => {
                let call = ask(request, container, call);
                (
                    ANSWER_TIMEOUT,
                    tokio::time::timeout(ANSWER_TIMEOUT, call).await,
                )
            }
        };
        ended.unwrap_or_else(|_| self.late(call, bound))
    }

    /// The request's body (`docs/spec/container.md` 2).
    async fn body(&self, call: &ContainerCall) -> Result<Vec<u8>, Ended> {
        let (source, at) = match call.input {
            ContainerInput::Onchain(at) => (0, at),
            ContainerInput::Json(at) => (1, at),
        };
        let payloads = self.payloads.clone();
        let input = tokio::task::spawn_blocking(move || payloads.fetch(at))
            .await
            .map_err(|error| missing(error.to_string()))?
            .map_err(|error| missing(error.to_string()))?;
        let mut body = format!(
            r#"{{"source":{source},"destination":{},"data":"#,
            match call.destination {
                Location::Onchain => 0,
                Location::Offchain => 1,
                Location::Stream => 2,
            }
        )
        .into_bytes();
        match call.input {
            ContainerInput::Onchain(_) => {
                body.push(b'"');
                body.extend_from_slice(alloy::hex::encode(&input).as_bytes());
                body.push(b'"');
            }
            ContainerInput::Json(_) => {
                // The text goes in as it is, every digit of its numbers kept; it must not be able
                // to end the object early.
                if serde_json::from_slice::<serde::de::IgnoredAny>(&input).is_err() {
                    return Err(missing("the recorded input is not JSON".to_owned()));
                }
                body.extend_from_slice(&input);
            }
        }
        if call.destination != Location::Stream {
            let proof = if call.requires_proof { "true" } else { "false" };
            body.extend_from_slice(format!(r#","requires_proof":{proof}"#).as_bytes());
        }
        body.push(b'}');
        Ok(body)
    }

    /// Shows the chunks as they come; the whole text is the answer.
    async fn stream(
        &self,
        request: reqwest::RequestBuilder,
        container: &Container,
        call: &ContainerCall,
    ) -> Ended {
        let Purpose::Job(job) = call.purpose else {
            return ask(request, container, call).await;
        };
        let live = self.streams.join(job);
        if !live.is_empty() {
            return answer::failed_text(
                "a part of an earlier attempt was already sent to the client",
                false,
            );
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return broken(error),
        };
        if !response.status().is_success() {
            return judge(response, container, call).await;
        }
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => {
                    if let Err(full) = live.push(chunk) {
                        return answer::failed_text(full.to_string(), false);
                    }
                }
                Err(error) if live.is_empty() => return broken(error),
                Err(_) => return answer::failed_text("the container broke the stream off", false),
            }
        }
        let text = live.collected();
        let output = json!({ "output": String::from_utf8_lossy(&text) });
        answer::succeeded(output.to_string().into_bytes())
    }

    /// A call that took too long; worth another, unless its client has seen a part of it.
    fn late(&self, call: &ContainerCall, bound: Duration) -> Ended {
        let seen = match (call.destination, call.purpose) {
            (Location::Stream, Purpose::Job(job)) => !self.streams.join(job).is_empty(),
            (Location::Onchain | Location::Offchain | Location::Stream, _) => false,
        };
        let seconds = bound.as_secs();
        answer::failed_text(format!("no whole answer within {seconds} s"), !seen)
    }
}

/// One call whose answer comes as a whole.
async fn ask(
    request: reqwest::RequestBuilder,
    container: &Container,
    call: &ContainerCall,
) -> Ended {
    match request.send().await {
        Ok(response) => judge(response, container, call).await,
        Err(error) => broken(error),
    }
}

async fn judge(response: reqwest::Response, container: &Container, call: &ContainerCall) -> Ended {
    let status = response.status();
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let body = match read_bounded(response, ANSWER_BYTES_MAX).await {
        Ok(body) => body,
        Err(ReadError::Longer) => {
            return answer::failed_text(
                format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"),
                false,
            );
        }
        Err(ReadError::Broken(error)) => return broken(error),
    };
    answer::judge(
        Answer {
            status,
            content_type,
            body,
        },
        Rules {
            destination: call.destination,
            requires_proof: call.requires_proof,
            legacy_http_status: container.legacy_http_status,
        },
    )
}

/// What the job's header says.
fn purpose(purpose: Purpose) -> String {
    match purpose {
        Purpose::Job(job) => job.to_string(),
        Purpose::Interval {
            subscription,
            interval,
        } => format!("{subscription}/{interval}"),
    }
}

fn missing(reason: String) -> Ended {
    Ended::plain(Outcome::Failed(Failure::Missing { reason }))
}

/// A call that the network broke: the container is down, or died under it.
fn broken(error: reqwest::Error) -> Ended {
    // The URL is the operator's business, not the client's.
    let error = error.without_url();
    let mut reason = if error.is_connect() {
        "the container cannot be reached".to_owned()
    } else {
        "the container broke the connection off".to_owned()
    };
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
    while let Some(inner) = cause {
        cause = inner.source();
        if cause.is_none() {
            reason = format!("{reason}: {inner}");
        }
    }
    answer::failed_text(reason, true)
}
