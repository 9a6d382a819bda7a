//! `POST /api/jobs/stream`: the job's id, then its container's bytes as they come.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    extract::{ConnectInfo, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use infernet_state::{
    Event,
    event::JobKind,
    machine::{JobStatus, Verdict},
    types::{JobId, Seq},
};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{
    body,
    listener::Peer,
    node::Node,
    problem::Problem,
    request::Request,
    submit::{Door, Prepared, origin},
};
use crate::streams::StreamReader;

pub(super) async fn post_stream(
    State(node): State<Arc<Node>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body::read(body)?;
    let origin = origin(&node, peer, &headers, Door::Stream, &body)?;
    let prepared = node.prepare(Request::parse(&body)?, JobKind::Stream, origin);
    let Prepared::Job { mut request, input } = prepared else {
        return Err(Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "Streaming only supported for OffchainJob requests.",
        ));
    };
    // Every listed container is judged, the first alone is called (`docs/spec/container.md` 2).
    let event = Event::JobAccepted(request.clone());
    if let Verdict::Refused(refusal) = node.handle.view(|machine| machine.check(&event)) {
        let address = peer.ip().to_canonical().to_string();
        return Err(Problem::refused(refusal, &address, None));
    }
    request.containers.truncate(1);
    let Ok(permit) = Arc::clone(&node.streaming).try_acquire_owned() else {
        return Err(Problem::busy());
    };
    let asked = request.job;
    let job = node.take_job(request, input, peer).await?;
    let follow = Follow {
        first: Some(Bytes::from(format!("{job}\n"))),
        id_flushed: false,
        reader: node.streams.join(job).reader(),
        head: node.handle.head(),
        stopping: node.stopping.clone(),
        shown: false,
        cancel: Cancel {
            job,
            // Whoever asks again under the same key only looks on.
            node: (job == asked).then(|| Arc::clone(&node)),
        },
        node,
        _permit: permit,
    };
    let chunks = futures_util::stream::unfold(follow, |mut follow| async {
        let chunk = follow.next().await?;
        Some((Ok::<_, Infallible>(chunk), follow))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    Ok(response)
}

/// One client's reading of one stream.
struct Follow {
    first: Option<Bytes>,
    id_flushed: bool,
    reader: StreamReader,
    head: watch::Receiver<Seq>,
    stopping: watch::Receiver<bool>,
    /// Whether any of the container's bytes were sent.
    shown: bool,
    cancel: Cancel,
    node: Arc<Node>,
    _permit: OwnedSemaphorePermit,
}

impl Follow {
    /// The next bytes; `None` at the end, which is when the job is final and all was sent.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if !std::mem::replace(&mut self.id_flushed, true) {
            // A pause of one turn lets the id go out in a segment of its own: clients of the
            // original take the first bytes they receive for the id.
            tokio::task::yield_now().await;
        }
        loop {
            self.head.mark_unchanged();
            let job = self.cancel.job;
            let status = self.node.handle.view(|machine| machine.job_status(job));
            // Looked at after the status: what came before the end is sent before the end.
            if let Some(chunk) = self.reader.try_next() {
                self.shown = true;
                return Some(chunk);
            }
            if status != Some(JobStatus::Running) {
                self.cancel.node = None;
                return self.recorded(status).await;
            }
            tokio::select! {
                () = self.reader.grown() => {}
                changed = self.head.changed() => if changed.is_err() {
                    self.cancel.node = None;
                    return None;
                },
                // A stop is a crash with good manners: the call is made again at the next start.
                _ = self.stopping.wait_for(|stop| *stop) => {
                    self.cancel.node = None;
                    return None;
                }
            }
        }
    }

    /// The text of a stream that ended before anybody here could watch it; nothing when it was
    /// watched, or failed.
    async fn recorded(&mut self, status: Option<JobStatus>) -> Option<Bytes> {
        #[derive(Deserialize)]
        struct Whole {
            output: String,
        }

        if std::mem::replace(&mut self.shown, true) {
            return None;
        }
        let Some(JobStatus::Success {
            output: Some(output),
            ..
        }) = status
        else {
            return None;
        };
        let bytes = self.node.payload(output).await.ok()?;
        let Whole { output } = serde_json::from_slice(&bytes).ok()?;
        (!output.is_empty()).then(|| Bytes::from(output))
    }
}

/// Records that the client went away, when it is dropped with its node still in it.
struct Cancel {
    job: JobId,
    node: Option<Arc<Node>>,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        let Some(node) = self.node.take() else {
            return;
        };
        let event = Event::JobCancelled {
            job: self.job,
            at: node.now(),
        };
        let handle = node.handle.clone();
        node.world.spawn(Box::pin(async move {
            // When the loop has ended, the job ends like in a crash.
            let _ = handle.observe(event, Vec::new()).await;
        }));
    }
}
