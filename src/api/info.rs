//! `/health`, `/info`, `/resources`: what the node is and whether it works.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use infernet_state::account::Quarantine;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{node::Node, problem::Problem, view};
use crate::{driver::Alarms, words};

/// The longest id of a model that is asked for.
const MODEL_ID_BYTES_MAX: usize = 1024;

#[derive(Serialize)]
struct Info {
    version: &'static str,
    containers: Vec<ContainerInfo>,
    pending: view::Pending,
    chain: ChainInfo,
}

#[derive(Serialize)]
struct ContainerInfo {
    id: String,
    description: String,
    external: bool,
    image: String,
}

#[derive(Serialize)]
struct ChainInfo {
    enabled: bool,
    /// The node's account, checksummed (EIP-55), or empty.
    address: String,
}

pub(super) async fn get_health(State(node): State<Arc<Node>>) -> Response {
    let reasons = troubles(&node);
    if reasons.is_empty() {
        return Json(json!({ "status": "healthy" })).into_response();
    }
    let body = json!({ "status": "unhealthy", "reasons": reasons });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

/// Everything that is wrong with the node, in words for everybody.
pub(super) fn troubles(node: &Node) -> Vec<String> {
    let Alarms {
        intake,
        upkeep,
        mirror,
        chain,
    } = node.handle.alarms();
    // A log that cannot be written ends the loop: the one tells of both.
    let dead = (!node.handle.is_alive())
        .then(|| "the log cannot be written any more, or the node is stopping".to_owned());
    let intake = intake.map(|why| format!("no new work is taken in: {why}"));
    let (quarantine, breaker) = node
        .handle
        .view(|machine| (machine.account().quarantine(), machine.breaker()));
    let quarantine = quarantine.map(quarantined);
    let paused = words::pause(breaker).map(|why| format!("no new work is taken in: {why}"));
    let chain = chain.map(|why| format!("nothing is read from the chain or sent to it: {why}"));
    let others = [upkeep, mirror].map(|why| why.map(|why| why.to_string()));
    [dead, intake, paused, quarantine, chain]
        .into_iter()
        .chain(others)
        .flatten()
        .collect()
}

/// Why nothing is sent to the chain, and what is to be done.
fn quarantined(why: Quarantine) -> String {
    let counts = match why {
        Quarantine::ChainAhead { known, observed } => {
            format!("the chain has {observed} transactions of the node, the log knows {known}")
        }
        Quarantine::ChainBehind { known, observed } => {
            format!("the chain has {observed} transactions of the node, {known} were final")
        }
    };
    format!(
        "nothing is sent to the chain: {counts}; when it is sure that no second copy runs with \
         the same key, start with --lift-quarantine"
    )
}

pub(super) async fn get_info(State(node): State<Arc<Node>>) -> Json<impl Serialize> {
    let running = node.containers.running();
    Json(node.handle.view(|machine| {
        let config = machine.config();
        let described = |id: String| {
            let known = config.and_then(|config| {
                config
                    .containers
                    .iter()
                    .find(|container| container.id == id)
            })?;
            Some(ContainerInfo {
                id,
                description: known.description.clone(),
                external: known.external,
                image: known.image.clone(),
            })
        };
        let chain = config.and_then(|config| config.chain.as_ref());
        Info {
            version: env!("CARGO_PKG_VERSION"),
            containers: running.into_iter().filter_map(described).collect(),
            pending: view::pending(machine),
            chain: ChainInfo {
                enabled: chain.is_some(),
                address: chain.map_or_else(String::new, |chain| {
                    alloy::primitives::Address::from(chain.node.0).to_string()
                }),
            },
        }
    }))
}

#[derive(Deserialize)]
pub(super) struct ResourcesQuery {
    model_id: Option<String>,
}

pub(super) async fn get_resources(
    State(node): State<Arc<Node>>,
    Query(query): Query<ResourcesQuery>,
) -> Result<Json<BTreeMap<String, Box<RawValue>>>, Problem> {
    if query
        .model_id
        .as_ref()
        .is_some_and(|id| id.len() > MODEL_ID_BYTES_MAX)
    {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!("A model_id has at most {MODEL_ID_BYTES_MAX} bytes"),
        ));
    }
    Ok(Json(node.containers.resources(query.model_id).await))
}

/// `GET /dev`: what surrounds the node of a development world; 404 for any other node.
pub(super) async fn get_development(State(node): State<Arc<Node>>) -> Response {
    match &node.development {
        Some(world) => Json(world.clone()).into_response(),
        None => Problem::new(StatusCode::NOT_FOUND, "Not found").into_response(),
    }
}
