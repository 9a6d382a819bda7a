//! The later intervals of a delegated subscription that nobody created.

use super::{Delegation, DelegationKey};
use crate::{
    delivery::Loss,
    job::{Cause, Stage, Work},
    limits::DELEGATED_ATTEMPTS_MAX,
    machine::Machine,
    subscription,
    types::{Interval, JobNo},
};

/// What a failure lies in.
pub(super) enum Concern {
    /// Its interval: the next may be answered.
    Interval,
    /// What the chain has under its nonce: it may be answered when a reorg takes that away.
    Record,
    /// The request itself, or what it asks for.
    Request,
}

impl Concern {
    pub(super) fn of(cause: Cause) -> Self {
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
                | Loss::Unavailable
                | Loss::NoStake,
            ) => Self::Interval,
            Cause::Cancelled
            | Cause::Superseded
            | Cause::Created
            | Cause::Undelivered(Loss::Gone | Loss::Cancelled | Loss::Met) => Self::Record,
            Cause::Expired
            | Cause::PayloadMissing
            | Cause::Refused(_)
            | Cause::Mismatched
            | Cause::Reported
            | Cause::Undelivered(
                Loss::TooMuchGas | Loss::TooLarge | Loss::PayloadMissing | Loss::Unconfigured,
            ) => Self::Request,
        }
    }
}

/// Whether a failure takes one of the attempts that a request has. A closed interval does where a
/// container was called: what it asks for may be what took so long.
fn takes_attempt(cause: Cause, before: Stage) -> bool {
    match cause {
        Cause::Container
        | Cause::NotRerun
        | Cause::Undelivered(
            Loss::Reverts(_) | Loss::Reverted | Loss::Unprofitable | Loss::NoStake,
        ) => true,
        Cause::IntervalClosed | Cause::Undelivered(Loss::Closed) => match before {
            Stage::Running { .. } | Stage::Delivering | Stage::Included => true,
            Stage::Waiting
            | Stage::ReadingPayer
            | Stage::ReadingInputs
            | Stage::Succeeded
            | Stage::Failed(_) => false,
        },
        Cause::ChainUnavailable
        | Cause::Expired
        | Cause::Cancelled
        | Cause::PayloadMissing
        | Cause::Refused(_)
        | Cause::Mismatched
        | Cause::Superseded
        | Cause::Reported
        | Cause::Created
        | Cause::Undelivered(
            Loss::Gone
            | Loss::Cancelled
            | Loss::Met
            | Loss::TooMuchGas
            | Loss::TooLarge
            | Loss::Unavailable
            | Loss::PayloadMissing
            | Loss::Unconfigured,
        ) => false,
    }
}

impl Machine {
    /// When a delegated subscription that nobody created is attempted again: at its next
    /// interval, if there is one, its signature holds then, and it has an attempt left.
    pub(super) fn next_attempt(&self, key: DelegationKey, after: Interval) -> Option<u64> {
        let Delegation {
            request,
            id,
            attempts,
            ..
        } = self.delegations.get(key)?;
        let terms = &request.subscription;
        let next = Interval(after.0.checked_add(1)?);
        if *attempts >= DELEGATED_ATTEMPTS_MAX {
            return None;
        }
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

    /// The job of a delegated subscription failed, at a stage: it may be one attempt less.
    pub(crate) fn count_attempt(&mut self, no: JobNo, cause: Cause, before: Stage) {
        let Some(Work::Delegated { key, .. }) = self.jobs.get(no).map(|job| &job.work) else {
            return;
        };
        if let Some(delegation) = self.delegations.all.get_mut(key)
            && takes_attempt(cause, before)
        {
            delegation.attempts = delegation.attempts.saturating_add(1);
        }
    }

    /// The job of a delegated subscription failed. If nobody created the subscription, and what
    /// failed may do better in its next interval, another job waits for that.
    pub(crate) fn attempt_again(&mut self, no: JobNo, cause: Cause) {
        let Some(Work::Delegated { key, interval, .. }) = self.jobs.get(no).map(|job| &job.work)
        else {
            return;
        };
        let (key, interval) = (*key, *interval);
        let Some(delegation) = self.delegations.get(key) else {
            return;
        };
        if delegation.job != no || delegation.settled {
            return;
        }
        match Concern::of(cause) {
            // As long as the chain may take back what is in the way.
            Concern::Record => {}
            Concern::Interval if delegation.id.is_some() => {}
            Concern::Interval => match self.next_attempt(key, interval) {
                Some(at) if interval.0 > 0 => self.wait_again(no, at),
                Some(_) | None => self.settle_request(key),
            },
            Concern::Request => self.settle_request(key),
        }
    }

    /// Another job of the same request waits for its interval.
    pub(super) fn wait_again(&mut self, no: JobNo, at: u64) {
        let Some(ended) = self.jobs.get(no) else {
            return;
        };
        let (
            Work::Delegated {
                job, client, key, ..
            },
            Some(input),
        ) = (&ended.work, ended.input)
        else {
            return;
        };
        let (key, work) = (
            *key,
            Work::Delegated {
                job: *job,
                client: *client,
                key: *key,
                interval: Interval(0),
            },
        );
        let (containers, requires_proof) = (ended.containers.clone(), ended.requires_proof);
        let next = self.wait_delegated(work, containers, requires_proof, input);
        if let Some(delegation) = self.delegations.all.get_mut(&key) {
            delegation.job = next;
        }
        self.queue_ended(no);
        self.await_interval(next, at);
    }
}
