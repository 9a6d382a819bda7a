//! The later intervals of a delegated subscription that nobody created.

use super::{Delegation, DelegationKey};
use crate::{
    delivery::Loss,
    job::{Cause, Work},
    machine::Machine,
    subscription,
    types::{Interval, JobNo},
};

/// Whether a failure is one of its interval, so that the next may be answered.
fn is_of_interval(cause: Cause) -> bool {
    match cause {
        Cause::Container
        | Cause::NotRerun
        | Cause::IntervalClosed
        | Cause::ChainUnavailable
        | Cause::Undelivered(
            Loss::Closed
            | Loss::Reverts(_)
            | Loss::Reverted
            | Loss::Unprofitable
            | Loss::TooMuchGas
            | Loss::TooLarge
            | Loss::Unavailable
            | Loss::NoStake,
        ) => true,
        Cause::Expired
        | Cause::Cancelled
        | Cause::PayloadMissing
        | Cause::Refused(_)
        | Cause::Mismatched
        | Cause::Superseded
        | Cause::Reported
        | Cause::Undelivered(
            Loss::Gone | Loss::Cancelled | Loss::Met | Loss::PayloadMissing | Loss::Unconfigured,
        ) => false,
    }
}

impl Machine {
    /// When a delegated subscription that nobody created is attempted again: at its next
    /// interval, if there is one, and its signature holds then.
    pub(super) fn next_attempt(&self, key: DelegationKey, after: Interval) -> Option<u64> {
        let Delegation { request, id, .. } = self.delegations.get(key)?;
        let terms = &request.subscription;
        let next = Interval(after.0.checked_add(1)?);
        if id.is_some() || next.0 > terms.frequency || terms.period == 0 {
            return None;
        }
        let start = subscription::interval_start(terms.active_at, terms.period, next)?;
        let head = self.chain.head?;
        (start < request.expiry).then(|| subscription::in_epoch_of(head.time.0, start))
    }

    /// A waiting job goes on waiting: its interval is nearly over.
    pub(super) fn postpone_delegated(&mut self, no: JobNo, at: u64) {
        let closes = self.jobs.get(no).and_then(|job| job.closes);
        if let Some(closes) = closes {
            self.schedule.ends.remove(&(closes, no));
        }
        self.set_delegated_interval(no, Interval(0), None);
        self.await_interval(no, at);
    }

    /// The job of a delegated subscription failed. If nobody created the subscription, and what
    /// failed may do better in its next interval, another job waits for that.
    pub(crate) fn attempt_again(&mut self, no: JobNo, cause: Cause) {
        if !is_of_interval(cause) {
            return;
        }
        let Some(Work::Delegated {
            job,
            client,
            key,
            interval,
        }) = self.jobs.get(no).map(|job| job.work.clone())
        else {
            return;
        };
        if interval.0 == 0 || self.delegations.get(key).is_none_or(|of| of.job != no) {
            return;
        }
        let (Some(at), Some(failed)) = (self.next_attempt(key, interval), self.jobs.get(no)) else {
            return;
        };
        let Some(input) = failed.input else {
            return;
        };
        let (containers, requires_proof) = (failed.containers.clone(), failed.requires_proof);
        let work = Work::Delegated {
            job,
            client,
            key,
            interval: Interval(0),
        };
        let next = self.wait_delegated(work, containers, requires_proof, input);
        if let Some(delegation) = self.delegations.all.get_mut(&key) {
            delegation.job = next;
        }
        self.await_interval(next, at);
    }
}
