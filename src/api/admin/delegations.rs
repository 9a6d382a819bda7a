//! `GET /api/delegations`: delegated subscriptions that clients brought and the chain has no id for.

use std::sync::Arc;

use axum::{Json, extract::State};
use infernet_state::{
    Machine,
    delegation::{Delegation, DelegationKey, delegated_job_id},
    inspect::UnnamedAt,
    job::{Job, Stage, Work},
    types::{Address, Hash},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{Asked, Page, deliveries::DeliveryView};
use crate::{api::node::Node, words};

/// A page of them.
#[derive(Serialize)]
struct DelegationsView {
    /// The event behind which they stand so.
    seq: u64,
    delegations: Vec<DelegationView>,
    /// `from` of the next page.
    next: Option<String>,
}

/// One delegated subscription.
#[derive(Serialize)]
struct DelegationView {
    owner: String,
    nonce: u32,
    /// The id under which `GET /api/jobs` tells its client of it.
    id: String,
    /// The number of its present job.
    job: u64,
    /// Which interval the job is for; none while it waits for one.
    interval: Option<u32>,
    state: &'static str,
    /// Where it stands, in words.
    says: String,
    /// Why its job failed, in words.
    reason: Option<String>,
    /// Whether nothing begins it again: withdrawn, or without an attempt or an interval left.
    over: bool,
    /// The ids behind the hash; empty where no configured ones have it.
    containers: Vec<String>,
    containers_hash: String,
    active_at: u32,
    period: u32,
    frequency: u32,
    /// The signature creates nothing from this block time on.
    expiry: u32,
    /// The answer on its way onto the chain.
    delivery: Option<DeliveryView>,
}

impl DelegationView {
    fn new(machine: &Machine, key: DelegationKey, known: &Delegation, job: &Job) -> Self {
        let record = &known.request.subscription;
        let interval = match job.work {
            Work::Delegated { interval, .. } if interval.0 > 0 => Some(interval.0),
            Work::Delegated { .. }
            | Work::Client { .. }
            | Work::Reported { .. }
            | Work::Interval { .. } => None,
        };
        let (state, reason) = match job.stage {
            Stage::Waiting => ("waiting", None),
            Stage::ReadingPayer | Stage::ReadingInputs | Stage::Running { .. } => ("running", None),
            Stage::Delivering => ("delivering", None),
            Stage::Included => ("included", None),
            Stage::Succeeded => ("succeeded", None),
            Stage::Failed(cause) => ("failed", Some(cause.to_string())),
        };
        let delivery = job.delivery.and_then(|no| {
            let delivery = machine.deliveries().get(no)?;
            Some(DeliveryView::new(machine, no, delivery))
        });
        Self {
            owner: key.0.to_string(),
            nonce: key.1,
            id: delegated_job_id(key).to_string(),
            job: known.job.0,
            interval,
            state,
            says: words::stage(job),
            reason,
            over: known.is_settled(),
            containers: machine.containers_of(&record.container_id),
            containers_hash: record.container_id.to_string(),
            active_at: record.active_at,
            period: record.period,
            frequency: record.frequency,
            expiry: known.request.expiry,
            delivery,
        }
    }
}

/// Where a page begins: the hash of the record, its owner and the nonce.
pub(super) struct Place(UnnamedAt);

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().unwrap_or_default();
        let bytes = |text: &str| alloy::hex::decode(text).unwrap_or_default();
        let (record, owner, nonce) = (bytes(part()), bytes(part()), part().parse());
        match (record.try_into(), owner.try_into(), nonce) {
            (Ok(record), Ok(owner), Ok(nonce)) => Ok(Self((Hash(record), (Address(owner), nonce)))),
            _ => Err(D::Error::custom("from is what `next` of another page says")),
        }
    }
}

fn name_of((record, (owner, nonce)): UnnamedAt) -> String {
    format!("{record}-{owner}-{nonce}")
}

pub(super) async fn get(
    State(node): State<Arc<Node>>,
    Asked(page): Asked<Page<Place>>,
) -> Json<impl Serialize> {
    Json(node.handle.view(|machine| {
        let from = page.from.as_ref().map(|from| from.0).unwrap_or_default();
        let mut all = machine.delegations().unnamed_from(from);
        let shown = |(at, known): (UnnamedAt, &Delegation)| {
            let job = machine.job_by_no(known.job)?;
            Some(DelegationView::new(machine, at.1, known, job))
        };
        DelegationsView {
            seq: machine.seq().0,
            delegations: all.by_ref().take(page.limit()).filter_map(shown).collect(),
            next: all.next().map(|(at, _)| name_of(at)),
        }
    }))
}
