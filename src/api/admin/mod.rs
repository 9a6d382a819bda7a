//! What operators and auditors read, on an address of its own.
//!
//! Each list is read in pages, and costs what the page holds: nothing here looks at all there is.

mod delegations;
mod deliveries;
mod ledger;
mod subscriptions;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{FromRequestParts, Query, State},
    http::{StatusCode, request::Parts},
    routing::get,
};
use infernet_state::{
    Machine,
    types::{BlockRef, Hash},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{info, node::Node, problem::Problem, view};
use crate::words;

/// Things in one answer, unless another number is asked for.
const PAGE: usize = 100;

/// Things in one answer at most: the loop waits while they are looked at.
const PAGE_MAX: usize = 500;

/// The routes of the administrative address.
pub(super) fn routes() -> Router<Arc<Node>> {
    Router::new()
        .route("/admin/status", get(get_status))
        .route("/api/ledger", get(ledger::get))
        .route("/api/subscriptions", get(subscriptions::get))
        .route("/api/deliveries", get(deliveries::get))
        .route("/api/delegations", get(delegations::get))
}

/// The parameters of a request; what they are not is told as JSON.
struct Asked<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(asked)| Self(asked))
            .map_err(|rejection| {
                Problem::new(
                    StatusCode::BAD_REQUEST,
                    format!("Invalid request: {}", rejection.body_text()),
                )
            })
    }
}

/// Which page: from which number on, and how many.
#[derive(Deserialize)]
struct Page<K> {
    from: Option<K>,
    limit: Option<usize>,
}

impl<K> Page<K> {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX)
    }
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
    breaker: Breaker,
    chain: Option<Chain>,
    /// What is wrong, as `/health` says it; empty when nothing is.
    troubles: Vec<String>,
}

/// How far the node has come with its chain.
#[derive(Serialize)]
struct Chain {
    chain_id: u64,
    /// The newest block that is recorded: heads without anything relevant mostly are not.
    head: Option<Block>,
    /// The newest recorded one that is final.
    finalized: Option<Block>,
}

#[derive(Serialize)]
struct Block {
    height: u64,
    hash: Hash,
    time: u64,
}

impl From<BlockRef> for Block {
    fn from(block: BlockRef) -> Self {
        Self {
            height: block.number,
            hash: block.hash,
            time: block.time.0,
        }
    }
}

impl Chain {
    fn of(machine: &Machine) -> Option<Self> {
        let config = machine.config()?.chain.as_ref()?;
        let chain = machine.chain();
        Some(Self {
            chain_id: config.chain_id,
            head: chain.head.map(Block::from),
            finalized: chain.finalized.map(Block::from),
        })
    }
}

/// Whether intake is paused after losses.
#[derive(Serialize)]
struct Breaker {
    /// Losses in a row.
    losses: u16,
    /// As many open it; 0 for never.
    opens_at: u16,
    paused: bool,
    /// Until when, in milliseconds since 1970.
    until_ms: Option<u64>,
    /// The same in words.
    reason: Option<String>,
}

impl Breaker {
    fn of(machine: &Machine) -> Self {
        let breaker = machine.breaker();
        Self {
            losses: breaker.losses,
            opens_at: machine
                .config()
                .map_or(0, |config| config.limits.breaker_losses),
            paused: machine.paused(),
            until_ms: breaker.open_until.map(|until| until.0),
            reason: words::pause(breaker),
        }
    }
}

async fn get_status(State(node): State<Arc<Node>>) -> Result<Json<impl Serialize>, Problem> {
    let (logic, seq, digest, pending, breaker, chain) = node.handle.view(|machine| {
        (
            machine.logic(),
            machine.seq(),
            machine.digest(),
            view::pending(machine),
            Breaker::of(machine),
            Chain::of(machine),
        )
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
        breaker,
        chain,
        troubles: info::troubles(&node),
    }))
}
