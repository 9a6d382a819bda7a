//! `GET /api/subscriptions`: which the node knows, which of them it serves, and why not.

use std::sync::Arc;

use axum::{Json, extract::State};
use infernet_state::{
    Machine,
    subscription::{Due, Standing, Tracked},
    types::{Hash, SubscriptionId},
};
use serde::Serialize;

use super::{Asked, Page, deliveries::DeliveryView};
use crate::{api::node::Node, words};

/// Intervals of one subscription whose deliveries are shown: the newest.
const INTERVALS_SHOWN: usize = 8;

/// A page of them.
#[derive(Serialize)]
struct SubscriptionsView {
    /// The event behind which they stand so.
    seq: u64,
    subscriptions: Vec<SubscriptionView>,
    /// `from` of the next page.
    next: Option<u32>,
}

/// One subscription.
#[derive(Serialize)]
struct SubscriptionView {
    id: u32,
    standing: &'static str,
    /// Where it stands, in words.
    says: String,
    /// Why it is not served, in words.
    refusal: Option<String>,
    owner: String,
    /// The ids behind the hash; empty where no configured ones have it.
    containers: Vec<String>,
    containers_hash: String,
    active_at: u32,
    period: u32,
    frequency: u32,
    redundancy: u16,
    lazy: bool,
    verifier: Option<String>,
    payment: Option<PaymentView>,
    /// The subscriber's nonce, when it was created by delegation.
    delegated_nonce: Option<u32>,
    created: BlockView,
    /// When it is looked at next.
    next_due: Option<DueView>,
    /// Our deliveries of the newest intervals, newest first.
    deliveries: Vec<DeliveryView>,
}

/// What each answer is paid.
#[derive(Serialize)]
struct PaymentView {
    token: String,
    /// In the token's smallest unit.
    amount: String,
    wallet: String,
}

/// The block that created it, or at which it was read.
#[derive(Serialize)]
struct BlockView {
    height: u64,
    hash: Hash,
}

/// When the head has this height, or this time.
#[derive(Serialize)]
struct DueView {
    height: Option<u64>,
    time: Option<u64>,
    says: String,
}

impl DueView {
    fn new(due: Due) -> Option<Self> {
        let (height, time) = match due {
            Due::Never | Due::Retired(_) => (None, None),
            Due::Height(height) => (Some(height), None),
            Due::Time(time) => (None, Some(time)),
        };
        words::due(due).map(|says| Self { height, time, says })
    }
}

impl SubscriptionView {
    fn new(machine: &Machine, id: SubscriptionId, tracked: &Tracked) -> Self {
        let record = &tracked.subscription;
        let (standing, refusal) = match tracked.standing {
            Standing::Admitted => ("admitted", None),
            Standing::Refused(reason) => ("refused", Some(reason.to_string())),
            Standing::Cancelled => ("cancelled", None),
            Standing::Completed => ("completed", None),
        };
        let delivery_of = |no| {
            let no = machine.job_by_no(no)?.delivery?;
            let delivery = machine.deliveries().get(no)?;
            Some(DeliveryView::new(machine, no, delivery))
        };
        Self {
            id: id.0,
            standing,
            says: words::standing(tracked.standing),
            refusal,
            owner: record.owner.to_string(),
            containers: machine.containers_of(&record.container_id),
            containers_hash: record.container_id.to_string(),
            active_at: record.active_at,
            period: record.period,
            frequency: record.frequency,
            redundancy: record.redundancy,
            lazy: record.lazy,
            verifier: (!record.verifier.is_zero()).then(|| record.verifier.to_string()),
            payment: (!record.payment_amount.is_zero()).then(|| PaymentView {
                token: record.payment_token.to_string(),
                amount: record.payment_amount.to_string(),
                wallet: record.wallet.to_string(),
            }),
            delegated_nonce: tracked.origin.nonce(),
            created: BlockView {
                height: tracked.height,
                hash: tracked.block,
            },
            next_due: DueView::new(tracked.due),
            deliveries: machine
                .intervals_of(id, INTERVALS_SHOWN)
                .into_iter()
                .filter_map(|(_, no)| delivery_of(no))
                .collect(),
        }
    }
}

pub(super) async fn get(
    State(node): State<Arc<Node>>,
    Asked(page): Asked<Page<u32>>,
) -> Json<impl Serialize> {
    Json(node.handle.view(|machine| {
        let from = SubscriptionId(page.from.unwrap_or_default());
        // One more tells where the next page begins.
        let mut all = machine.subscriptions().range(from, page.limit() + 1);
        let more = all.split_off(all.len().min(page.limit()));
        SubscriptionsView {
            seq: machine.seq().0,
            subscriptions: all
                .into_iter()
                .map(|(id, tracked)| SubscriptionView::new(machine, id, tracked))
                .collect(),
            next: more.first().map(|(id, _)| id.0),
        }
    }))
}
