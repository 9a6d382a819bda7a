//! `GET /api/deliveries`: our answers on their way onto the chain, and what became of them.

use std::sync::Arc;

use axum::{Json, extract::State};
use infernet_state::{
    Machine,
    delivery::{Delivery, State as Standing},
    types::DeliveryNo,
};
use serde::Serialize;

use super::{Asked, Page};
use crate::{
    api::{
        node::Node,
        view::{self, IncludedView},
    },
    words,
};

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
    /// Once it has one, until it is given up.
    nonce: Option<u64>,
    /// Each version that was signed under the nonce, the newest last; of a final one that which is
    /// in the chain.
    transactions: Vec<String>,
    /// The block that it stands in.
    included: Option<IncludedView>,
    /// Its newest transaction that reverted in a block, once that is final; of one that was
    /// delivered after all none.
    reverted: Option<IncludedView>,
}

/// Which delegated subscription.
#[derive(Serialize)]
struct DelegatedView {
    owner: String,
    nonce: u32,
}

impl DeliveryView {
    pub(super) fn new(machine: &Machine, no: DeliveryNo, delivery: &Delivery) -> Self {
        let included = machine.inclusion_of(delivery);
        let (nonce, loss, reverted) = match delivery.state {
            Standing::Planned | Standing::Simulating | Standing::Ready | Standing::Parked => {
                (None, None, delivery.settled)
            }
            Standing::Sent(nonce) | Standing::Included(nonce) => {
                (Some(nonce), None, delivery.settled)
            }
            Standing::Final => (included.map(|by| by.nonce), None, None),
            Standing::Abandoned(loss) | Standing::Withdrawn(loss) => {
                (None, Some(loss.to_string()), delivery.settled)
            }
        };
        let open = nonce.and_then(|nonce| machine.transaction(nonce));
        let transactions = match open {
            Some(slot) => slot
                .versions
                .iter()
                .filter(|version| version.does.deliveries().contains(&no))
                .map(|version| version.tx.to_string())
                .collect(),
            None => included.iter().map(|by| by.tx.to_string()).collect(),
        };
        Self {
            no: no.0,
            subscription: view::subscription_of(machine, delivery),
            delegated: delivery.delegation.map(|(owner, nonce)| DelegatedView {
                owner: owner.to_string(),
                nonce,
            }),
            interval: delivery.interval.0,
            job: delivery.job.0,
            state: view::delivery_state(delivery.state),
            says: words::delivery_state(delivery),
            loss,
            reverts: delivery.reverts,
            nonce: nonce.map(|nonce| nonce.0),
            transactions,
            included: included.map(IncludedView::from),
            reverted: reverted.map(IncludedView::from),
        }
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
