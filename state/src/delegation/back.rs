//! What keeps a client's request from being served, and goes: an id that the chain gave and took
//! back, and with it what others did under that id.

use super::{DelegationKey, again::Concern};
use crate::{
    delivery::Loss,
    job::{Cause, Job, Stage, Work},
    machine::{Halt, Machine},
    outbox::Turn,
    subscription,
    types::{BlockRef, Interval, JobNo},
};

impl Machine {
    /// Requests whose id is gone are served again, unless their client withdrew them.
    pub(crate) fn bring_back(&mut self, turn: &mut Turn) -> Result<(), Halt> {
        for key in core::mem::take(&mut turn.unaliased) {
            self.bring_back_one(turn, key)?;
        }
        Ok(())
    }

    fn bring_back_one(&mut self, turn: &mut Turn, key: DelegationKey) -> Result<(), Halt> {
        let Some(delegation) = self.delegations.get(key) else {
            return Ok(());
        };
        let no = delegation.job;
        let Some(job) = self.jobs.get(no) else {
            return Ok(());
        };
        let Stage::Failed(cause) = job.stage else {
            return match job.delivery {
                Some(delivery) => self.unpark(turn, delivery),
                None => Ok(()),
            };
        };
        // With another id, what it is kept from is the ordinary work of that.
        if delegation.settled || delegation.id.is_some() {
            return Ok(());
        }
        match Concern::of(cause) {
            Concern::Record => {
                let terms = &delegation.request.subscription;
                // Not before the interval in which it ended: the ones before had their attempt.
                let start = match job.work {
                    Work::Delegated { interval, .. } => {
                        subscription::interval_start(terms.active_at, terms.period, interval)
                    }
                    Work::Client { .. } | Work::Reported { .. } | Work::Interval { .. } => None,
                };
                let head = self.chain.head.map_or(0, |head| head.time.0);
                let at = subscription::in_epoch_of(head, start.unwrap_or(terms.active_at));
                self.wait_again(no, at);
            }
            Concern::Interval | Concern::Request => self.attempt_again(no, cause),
        }
        Ok(())
    }

    /// An interval is worked on as the chain's own: the request's job for it ends.
    pub(super) fn make_way(
        &mut self,
        turn: &mut Turn,
        no: JobNo,
        interval: Interval,
    ) -> Result<(), Halt> {
        self.set_delegated_interval(no, interval, None);
        self.fail_job(turn, no, Cause::Created)
    }

    /// Whether a job that has ended may be followed by another one of the same request, which
    /// needs its input.
    pub(crate) fn may_be_brought_back(&self, no: JobNo, job: &Job) -> bool {
        let Work::Delegated { key, .. } = job.work else {
            return false;
        };
        matches!(job.stage, Stage::Failed(_))
            && self
                .delegations
                .get(key)
                .is_some_and(|of| of.job == no && !of.settled)
    }

    /// The block that gave a delegated subscription its id is final, if it still has it.
    pub(crate) fn alias_final(&mut self, key: DelegationKey, block: &BlockRef) {
        let id = self.delegations.get(key).and_then(|of| of.id);
        let record = id.and_then(|id| self.subscriptions.get(id));
        if record.is_some_and(|record| record.height <= block.number) {
            self.settle_request(key);
        }
    }

    /// A client withdraws a job: if it is a delegated subscription's, the request.
    pub(crate) fn request_withdrawn(&mut self, no: JobNo) {
        if let Some(Work::Delegated { key, .. }) = self.jobs.get(no).map(|job| &job.work) {
            let key = *key;
            self.settle_request(key);
        }
    }

    /// Nothing begins a request again.
    pub(super) fn settle_request(&mut self, key: DelegationKey) {
        if let Some(delegation) = self.delegations.all.get_mut(&key) {
            delegation.settled = true;
        }
    }

    /// What was given up of a request is in a block all the same: it is the request's again, and
    /// the job that was begun since is given up.
    pub(crate) fn request_revived(
        &mut self,
        turn: &mut Turn,
        key: DelegationKey,
        no: JobNo,
    ) -> Result<(), Halt> {
        let Some(delegation) = self.delegations.all.get_mut(&key) else {
            return Ok(());
        };
        let other = delegation.job;
        let stage = self.jobs.get(other).map(|job| job.stage);
        let is_kept = self.jobs.get(no).is_some();
        if other == no || !is_kept || matches!(stage, Some(Stage::Included | Stage::Succeeded)) {
            return Ok(());
        }
        delegation.job = no;
        self.jobs.answer_with(no);
        self.queue_ended(other);
        self.give_up(turn, other, Loss::Met)
    }
}
