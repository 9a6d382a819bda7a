//! `GET /api/jobs`: what became of jobs, and which a client has.

use std::{collections::HashSet, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{ConnectInfo, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use infernet_state::{
    machine::JobStatus,
    types::{JobId, PayloadAt},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    listener::Peer,
    node::{Node, parse_job_id},
    problem::Problem,
    view::{self, JobView, OnChain},
};

/// The longest poll: below the patience of proxies between client and node.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Ids in one request.
const IDS_MAX: usize = 1000;

/// Payload bytes in one answer: a client that wants more asks for fewer jobs at a time.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// One job of the answer.
#[derive(Serialize)]
pub(super) struct Job {
    id: String,
    status: &'static str,
    result: Option<JobResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intermediate_results: Option<Vec<JobResult>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<OnChain>,
}

/// A container's answer or error.
#[derive(Serialize)]
#[serde(untagged)]
enum JobResult {
    Output {
        container: String,
        output: Option<Box<RawValue>>,
    },
    Error {
        container: String,
        error: Box<RawValue>,
    },
}

/// What a request asks for.
#[derive(Default)]
struct Asked {
    ids: Vec<JobId>,
    /// Whether ids were given at all, known or not.
    by_id: bool,
    intermediate: bool,
    pending: Option<bool>,
    wait: Duration,
}

impl Asked {
    fn parse(pairs: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut asked = Self::default();
        let mut seen = 0;
        for (name, value) in pairs {
            match name.as_str() {
                "id" => {
                    asked.by_id = true;
                    seen += 1;
                    // What is no id is the id of no job.
                    asked.ids.extend(parse_job_id(&value));
                }
                "intermediate" => asked.intermediate = value == "true",
                "pending" => asked.pending = value.parse().ok(),
                "wait" => {
                    let seconds: f64 = value
                        .parse()
                        .ok()
                        .filter(|seconds: &f64| *seconds >= 0.0 && seconds.is_finite())
                        .ok_or_else(|| {
                            Problem::new(
                                StatusCode::BAD_REQUEST,
                                "Invalid request: wait: seconds are expected",
                            )
                        })?;
                    asked.wait = Duration::from_secs_f64(seconds.min(WAIT_MAX.as_secs_f64()));
                }
                _ => {}
            }
        }
        if seen > IDS_MAX {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                format!("Too many ids: {seen}, {IDS_MAX} are answered at once"),
            ));
        }
        Ok(asked)
    }
}

pub(super) async fn get_jobs(
    State(node): State<Arc<Node>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    query: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(pairs) = query.map_err(|rejection| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!("Invalid request: {}", rejection.body_text()),
        )
    })?;
    let asked = Asked::parse(pairs)?;
    if !asked.by_id {
        return Ok(Json(ids_of(&node, peer, asked.pending)).into_response());
    }
    if !asked.wait.is_zero() {
        node.wait_until_final(&asked.ids, asked.wait).await;
    }
    let views: Vec<(JobId, JobView)> = node.handle.view(|machine| {
        let known = |id: &JobId| Some((*id, view::job(machine, *id)?));
        asked.ids.iter().filter_map(known).collect()
    });
    let mut budget = ANSWER_BYTES_MAX;
    let mut jobs = Vec::with_capacity(views.len());
    for (id, view) in views {
        jobs.push(
            node.render(id, view, asked.intermediate, &mut budget)
                .await?,
        );
    }
    Ok(Json(jobs).into_response())
}

fn ids_of(node: &Node, peer: SocketAddr, pending: Option<bool>) -> Vec<String> {
    let client = node.client_key.id(peer.ip());
    node.handle
        .view(|machine| machine.jobs_of(client, pending))
        .iter()
        .map(ToString::to_string)
        .collect()
}

impl Node {
    /// Waits until none of these jobs runs, or the time has passed.
    async fn wait_until_final(&self, ids: &[JobId], wait: Duration) {
        let mut head = self.handle.head();
        let mut pause = self.pause(wait);
        let mut open: HashSet<JobId> = ids.iter().copied().collect();
        loop {
            head.mark_unchanged();
            self.handle.view(|machine| {
                open.retain(|id| machine.job_status(*id) == Some(JobStatus::Running));
            });
            if open.is_empty() {
                return;
            }
            tokio::select! {
                () = &mut pause => return,
                changed = head.changed() => if changed.is_err() {
                    // The loop has ended: nothing more becomes final.
                    return;
                },
            }
        }
    }

    /// One job as it stands; `None` where it is not known.
    pub(super) async fn shown(&self, id: JobId) -> Result<Option<Job>, Problem> {
        let Some(view) = self.handle.view(|machine| view::job(machine, id)) else {
            return Ok(None);
        };
        let mut budget = ANSWER_BYTES_MAX;
        self.render(id, view, false, &mut budget).await.map(Some)
    }

    async fn render(
        &self,
        id: JobId,
        view: JobView,
        intermediate: bool,
        budget: &mut u64,
    ) -> Result<Job, Problem> {
        let (status, result) = match view.status {
            JobStatus::Running => ("running", None),
            JobStatus::Success { container, output } => {
                let output = match output {
                    Some(output) => self.json(output, budget).await?,
                    None => None,
                };
                ("success", Some(JobResult::Output { container, output }))
            }
            JobStatus::Failed {
                container,
                error,
                reason,
            } => {
                let recorded = match error {
                    Some(error) => self.json(error, budget).await?,
                    None => None,
                };
                let error = match recorded {
                    Some(recorded) => recorded,
                    None => raw(&reason)?,
                };
                ("failed", Some(JobResult::Error { container, error }))
            }
        };
        let mut intermediate_results = None;
        if intermediate {
            let mut results = Vec::with_capacity(view.intermediate.len());
            for (container, output) in view.intermediate {
                let output = self.json(output, budget).await?;
                results.push(JobResult::Output { container, output });
            }
            intermediate_results = Some(results);
        }
        Ok(Job {
            id: id.to_string(),
            status,
            result,
            intermediate_results,
            delivery: view.delivery,
        })
    }

    /// A recorded JSON text; `None` when it was erased.
    async fn json(
        &self,
        at: PayloadAt,
        budget: &mut u64,
    ) -> Result<Option<Box<RawValue>>, Problem> {
        *budget = budget
            .checked_sub(u64::from(at.payload.len))
            .ok_or_else(|| {
                Problem::too_large("The results are too large for one answer; ask for fewer ids")
            })?;
        match self.payload(at).await {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(json) => Ok(Some(json)),
                // Recorded by an older program, or elsewhere: shown as what it is.
                Err(_) => raw(&String::from_utf8_lossy(&bytes)).map(Some),
            },
            Err(crate::executor::PayloadError::Erased { .. }) => Ok(None),
            Err(error @ crate::executor::PayloadError::Unreadable { .. }) => {
                tracing::error!(%error, "a result cannot be shown");
                Err(Problem::internal())
            }
        }
    }
}

/// A text as JSON.
fn raw(text: &str) -> Result<Box<RawValue>, Problem> {
    serde_json::value::to_raw_value(text).map_err(|_| Problem::internal())
}
