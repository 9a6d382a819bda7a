//! What the interface shows of the machine.

use infernet_state::{
    Machine,
    delivery::{Delivery, Inclusion, State},
    job::{Job, Work},
    machine::JobStatus,
    types::{JobId, PayloadAt},
};
use serde::Serialize;

/// Work that is not final.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Pending {
    offchain: u32,
    onchain: u32,
}

/// A job as it is shown.
pub(super) struct JobView {
    pub(super) status: JobStatus,
    /// The answers before the last one, with their containers, in order.
    pub(super) intermediate: Vec<(String, PayloadAt)>,
    /// Where its answer is, of a delegated subscription's.
    pub(super) delivery: Option<OnChain>,
}

/// A job's answer on its way onto the chain.
#[derive(Serialize)]
pub(super) struct OnChain {
    /// Its subscription, once the chain has an id for it.
    subscription: Option<u32>,
    interval: u32,
    state: &'static str,
    included: Option<IncludedView>,
}

/// A transaction in a block.
#[derive(Serialize)]
pub(super) struct IncludedView {
    nonce: u64,
    transaction: String,
    block: u64,
}

impl From<Inclusion> for IncludedView {
    fn from(by: Inclusion) -> Self {
        Self {
            nonce: by.nonce.0,
            transaction: by.tx.to_string(),
            block: by.block,
        }
    }
}

impl OnChain {
    fn of(machine: &Machine, job: &Job) -> Option<Self> {
        match job.work {
            Work::Delegated { .. } => {}
            Work::Client { .. } | Work::Reported { .. } | Work::Interval { .. } => return None,
        }
        let delivery = machine.deliveries().get(job.delivery?)?;
        Some(Self {
            subscription: subscription_of(machine, delivery),
            interval: delivery.interval.0,
            state: delivery_state(delivery.state),
            included: machine.inclusion_of(delivery).map(IncludedView::from),
        })
    }
}

/// The chain's id of what a delivery answers; of a delegated subscription once it has one.
pub(super) fn subscription_of(machine: &Machine, delivery: &Delivery) -> Option<u32> {
    let id = match delivery.delegation {
        Some(key) => machine.delegations().get(key).and_then(|known| known.id),
        None => Some(delivery.identity.id),
    };
    id.map(|id| id.0)
}

/// Where a delivery stands, as one word.
pub(super) fn delivery_state(state: State) -> &'static str {
    match state {
        State::Planned => "planned",
        State::Simulating => "simulating",
        State::Ready => "ready",
        State::Sent(_) => "sent",
        State::Included(_) => "included",
        State::Final => "final",
        State::Parked => "parked",
        State::Abandoned(_) => "abandoned",
        State::Withdrawn(_) => "withdrawn",
    }
}

/// A job, if the machine knows it.
pub(super) fn job(machine: &Machine, id: JobId) -> Option<JobView> {
    let status = machine.job_status(id)?;
    let job = machine.job(id)?;
    let before_last = match status {
        JobStatus::Success { .. } => job.results.len().saturating_sub(1),
        JobStatus::Running | JobStatus::Failed { .. } => job.results.len(),
    };
    let intermediate = job
        .containers
        .iter()
        .cloned()
        .zip(job.results.iter().copied())
        .take(before_last)
        .collect();
    Some(JobView {
        status,
        intermediate,
        delivery: OnChain::of(machine, job),
    })
}

/// How much work is not final.
pub(super) fn pending(machine: &Machine) -> Pending {
    let counts = machine.pending();
    Pending {
        offchain: counts.offchain,
        onchain: counts.onchain,
    }
}
