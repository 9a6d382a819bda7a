//! `DELETE /api/jobs`: a client gives up a job of his.

use std::sync::Arc;

use axum::{
    Json,
    extract::{ConnectInfo, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use infernet_state::{
    Event,
    config::ClientId,
    job::{Job, Work},
    machine::{JobStatus, Refusal},
    types::JobId,
};
use serde::Serialize;
use serde_json::json;

use super::{
    listener::Peer,
    node::{Node, parse_job_id},
    problem::Problem,
};
use crate::driver::Reply;

/// Whether a client may give up a job. An id that the node drew is known to nobody whom its client
/// did not tell; one that the reporter chose, or that follows from what is signed, anybody may know.
fn may_cancel(job: &Job, client: ClientId) -> bool {
    match job.work {
        Work::Client { .. } => true,
        Work::Reported { client: of, .. } | Work::Delegated { client: of, .. } => of == client,
        Work::Interval { .. } => false,
    }
}

/// The one id of the request; `None` for what is no id, and so the id of no job.
fn asked(pairs: &[(String, String)]) -> Result<Option<JobId>, Problem> {
    let mut ids = pairs.iter().filter(|(name, _)| name == "id");
    match (ids.next(), ids.next()) {
        (Some((_, id)), None) => Ok(parse_job_id(id)),
        (None, _) | (Some(_), Some(_)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "Invalid request: id: the id of one job is expected",
        )),
    }
}

/// # Durability
/// On 200 the end of the job is in the log.
pub(super) async fn delete_job(
    State(node): State<Arc<Node>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<impl Serialize>, Problem> {
    let Query(pairs) = query.map_err(|rejection| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!("Invalid request: {}", rejection.body_text()),
        )
    })?;
    let unknown = || Problem::refused(Refusal::UnknownJob, "", None);
    let job = asked(&pairs)?.ok_or_else(unknown)?;
    let client = node.client_key.id(peer.ip());
    let allowed = node
        .handle
        .view(|machine| machine.job(job).map(|job| may_cancel(job, client)));
    match allowed {
        Some(true) => {}
        Some(false) => {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "Only the client that brought this job can cancel it",
            ));
        }
        None => return Err(unknown()),
    }
    let event = Event::JobCancelled {
        job,
        at: node.now(),
    };
    match node.handle.request(event, Vec::new()).await {
        Ok(Reply::Recorded(_) | Reply::Known(_)) => {}
        Ok(Reply::Refused(refusal)) => return Err(node.not_cancelled(job, refusal)),
        Ok(Reply::TooLarge(reason)) => return Err(Problem::too_large(reason)),
        Ok(Reply::NoRoom) => return Err(Problem::no_room()),
        Err(_) => return Err(Problem::busy()),
    }
    // Ended just now, and forgotten since: there is nothing of it any more.
    node.shown(job).await?.map(Json).ok_or_else(unknown)
}

impl Node {
    /// A job that is not given up, with where it stands.
    fn not_cancelled(&self, job: JobId, refusal: Refusal) -> Problem {
        let problem = Problem::refused(refusal, "", None);
        let status = self.handle.view(|machine| machine.job_status(job));
        let status = match status {
            Some(JobStatus::Running) => "running",
            Some(JobStatus::Success { .. }) => "success",
            Some(JobStatus::Failed { .. }) => "failed",
            None => return problem,
        };
        problem.with_params(json!({ "id": job.to_string(), "status": status }))
    }
}
