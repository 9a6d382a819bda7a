//! What the interface shows of the machine.

use infernet_state::{
    Machine,
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
