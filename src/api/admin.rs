//! What operators and auditors read, on an address of its own.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use infernet_state::types::Seq;
use serde::{Deserialize, Serialize};

use super::{node::Node, problem::Problem, view};

/// Entries of the ledger in one answer, unless fewer are asked for.
const ENTRIES_MAX: usize = 10_000;

/// The routes of the administrative address.
pub(super) fn routes() -> Router<Arc<Node>> {
    Router::new()
        .route("/admin/status", get(get_status))
        .route("/api/ledger", get(get_ledger))
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    /// The number of the machine's logic in force.
    logic: u16,
    /// The newest applied event.
    seq: u64,
    /// The log's chain hash up to and with it.
    head: String,
    /// The state's digest behind it: what a replay of the log up to `seq` must give.
    digest: String,
    pending: view::Pending,
}

async fn get_status(State(node): State<Arc<Node>>) -> Result<Json<impl Serialize>, Problem> {
    let (logic, seq, digest, pending) = node.handle.view(|machine| {
        let (seq, digest) = (machine.seq(), machine.digest());
        (machine.logic(), seq, digest, view::pending(machine))
    });
    let log = Arc::clone(&node.log);
    let head = tokio::task::spawn_blocking(move || log.hash_at(seq))
        .await
        .map_err(|_| Problem::internal())?
        .map_err(|error| {
            tracing::error!(%error, "the head of the log cannot be read");
            Problem::internal()
        })?;
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        logic,
        seq: seq.0,
        head: head.hash.to_string(),
        digest: digest.to_string(),
        pending,
    }))
}

#[derive(Deserialize)]
struct LedgerQuery {
    /// The first event whose entries are shown.
    #[serde(default)]
    from: u64,
    limit: Option<usize>,
}

async fn get_ledger(
    State(node): State<Arc<Node>>,
    Query(query): Query<LedgerQuery>,
) -> Json<impl Serialize> {
    let limit = query.limit.unwrap_or(ENTRIES_MAX).min(ENTRIES_MAX);
    let from = Seq(query.from);
    Json(
        node.handle
            .view(|machine| view::ledger(machine, from, limit)),
    )
}
