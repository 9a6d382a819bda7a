//! `PUT /api/status`: jobs that ran elsewhere.

use std::sync::Arc;

use axum::{
    Json,
    extract::{ConnectInfo, State, rejection::BytesRejection},
    http::StatusCode,
};
use bytes::Bytes;
use infernet_state::{Event, event::ReportedStatus};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    body,
    client::is_private,
    listener::Peer,
    node::{Node, parse_job_id},
    problem::Problem,
};
use crate::driver::{Reply, payload};

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Report {
    id: String,
    status: String,
    #[serde(default)]
    containers: Vec<String>,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

pub(super) async fn put_status(
    State(node): State<Arc<Node>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<()>, Problem> {
    if !is_private(peer) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "Status is taken from this machine and private networks only",
        ));
    }
    let report: Report = body::parse_object(&body::read(body)?)?;
    let job = parse_job_id(&report.id)
        .ok_or_else(|| Problem::malformed("$.id", "invalid value, expected a UUID"))?;
    let status = match report.status.as_str() {
        "running" => ReportedStatus::Running,
        "success" => ReportedStatus::Success,
        "failed" => ReportedStatus::Failed,
        _ => return Err(Problem::new(StatusCode::BAD_REQUEST, "Status is invalid")),
    };
    let result = report
        .data
        .map(|data| payload(String::from(Box::<str>::from(data)).into_bytes()));
    let event = Event::JobReported {
        job,
        client: node.client_key.id(peer.ip()),
        at: node.now(),
        status,
        containers: report.containers,
        result: result.as_ref().map(|result| result.reference),
    };
    match node
        .handle
        .request(event, result.into_iter().collect())
        .await
    {
        Ok(Reply::Recorded(_) | Reply::Known(_)) => Ok(Json(())),
        Ok(Reply::Refused(refusal)) => Err(Problem::refused(refusal, "", None)),
        Ok(Reply::TooLarge(reason)) => Err(Problem::too_large(reason)),
        Ok(Reply::NoRoom) => Err(Problem::no_room()),
        Err(_) => Err(Problem::busy()),
    }
}
