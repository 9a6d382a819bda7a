//! `GET /api/deliveries`: our answers on their way onto the chain, and what became of them.

use std::sync::Arc;

use axum::{Json, extract::State};
use infernet_state::{
    Machine,
    delivery::{Delivery, State as Standing},
    types::{DeliveryNo, Nonce},
};
use serde::Serialize;

use super::{Asked, Page};
use crate::{api::node::Node, words};

/// A page of them.
#[derive(Serialize)]
struct DeliveriesView {
    /// The event behind which they stand so.
    seq: u64,
    deliveries: Vec<DeliveryView>,
    /// `from` of the next page.
    next: Option<u64>,
}

/// One delivery.
#[derive(Serialize)]
pub(super) struct DeliveryView {
    no: u64,
    /// On chain; of a delegated subscription once it has one.
    subscription: Option<u32>,
    delegated: Option<DelegatedView>,
    interval: u32,
    /// The number of the job whose answer it is.
    job: u64,
    state: &'static str,
    /// Where it stands, in words.
    says: String,
    /// Why it was given up, in words.
    loss: Option<String>,
    /// Transactions of it that were included and reverted.
    reverts: u16,
    /// While its transaction is not final.
    nonce: Option<u64>,
    /// Each version that was signed under the nonce, the newest last.
    transactions: Vec<String>,
}

/// Which delegated subscription.
#[derive(Serialize)]
struct DelegatedView {
    owner: String,
    nonce: u32,
}

impl DeliveryView {
    pub(super) fn new(machine: &Machine, no: DeliveryNo, delivery: &Delivery) -> Self {
        let (state, nonce, loss) = parts(delivery.state);
        let delegated = delivery.delegation;
        let subscription = match delegated {
            Some(key) => machine.delegations().get(key).and_then(|known| known.id),
            None => Some(delivery.identity.id),
        };
        Self {
            no: no.0,
            subscription: subscription.map(|id| id.0),
            delegated: delegated.map(|(owner, nonce)| DelegatedView {
                owner: owner.to_string(),
                nonce,
            }),
            interval: delivery.interval.0,
            job: delivery.job.0,
            state,
            says: words::delivery_state(delivery.state),
            loss,
            reverts: delivery.reverts,
            nonce: nonce.map(|nonce| nonce.0),
            transactions: nonce
                .and_then(|nonce| machine.transaction(nonce))
                .map_or_else(Vec::new, |slot| {
                    slot.versions
                        .iter()
                        .filter(|version| version.does.deliveries().contains(&no))
                        .map(|version| version.tx.to_string())
                        .collect()
                }),
        }
    }
}

/// A state as one word, its nonce, and why it was given up.
fn parts(state: Standing) -> (&'static str, Option<Nonce>, Option<String>) {
    match state {
        Standing::Planned => ("planned", None, None),
        Standing::Simulating => ("simulating", None, None),
        Standing::Ready => ("ready", None, None),
        Standing::Sent(nonce) => ("sent", Some(nonce), None),
        Standing::Included(nonce) => ("included", Some(nonce), None),
        Standing::Final => ("final", None, None),
        Standing::Parked => ("parked", None, None),
        Standing::Abandoned(loss) => ("abandoned", None, Some(loss.to_string())),
        Standing::Withdrawn(loss) => ("withdrawn", None, Some(loss.to_string())),
    }
}

pub(super) async fn get(
    State(node): State<Arc<Node>>,
    Asked(page): Asked<Page<u64>>,
) -> Json<impl Serialize> {
    Json(node.handle.view(|machine| {
        let from = DeliveryNo(page.from.unwrap_or_default());
        let mut all = machine.deliveries_from(from);
        DeliveriesView {
            seq: machine.seq().0,
            deliveries: all
                .by_ref()
                .take(page.limit())
                .map(|(no, delivery)| DeliveryView::new(machine, no, delivery))
                .collect(),
            next: all.next().map(|(no, _)| no.0),
        }
    }))
}
