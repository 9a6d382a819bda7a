//! What is signed and may still come into a block, and the ended jobs that wait for it.
//!
//! A version of a transaction holds deliveries, given up or not, until its nonce is closed. As long
//! as one does, the job of a delivery that is not final is not forgotten, nor is the newest job of
//! its request, with which the request would go: a block may make it its interval's again. Only then
//! it is queued among the ended ones, at the time at which it ended.
//!
//! Kept beside the versions as they come and go, so that nothing passes over all of them.

use alloc::collections::BTreeMap;

use crate::{
    delegation::DelegationKey,
    delivery::State,
    job::Work,
    machine::Machine,
    transaction::{Use, Version},
    types::{DeliveryNo, JobNo},
};

/// The deliveries that a block may still hold: derived from the account's versions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Signed {
    /// How many versions hold a delivery that is not final; without zeroes.
    versions: BTreeMap<DeliveryNo, u32>,
    /// How many of these deliveries are of a client's request; without zeroes.
    requests: BTreeMap<DelegationKey, u32>,
}

impl Signed {
    /// Whether a version holds a delivery that is not final.
    pub(crate) fn holds(&self, no: DeliveryNo) -> bool {
        self.versions.contains_key(&no)
    }

    /// Whether one holds a delivery of a request.
    fn holds_of(&self, key: DelegationKey) -> bool {
        self.requests.contains_key(&key)
    }

    /// The deliveries.
    pub(crate) fn deliveries(&self) -> impl Iterator<Item = DeliveryNo> {
        self.versions.keys().copied()
    }

    /// One more version holds a delivery.
    pub(crate) fn add(&mut self, no: DeliveryNo, request: Option<DelegationKey>) {
        let count = self.versions.entry(no).or_default();
        *count = count.saturating_add(1);
        if *count == 1
            && let Some(key) = request
        {
            let of = self.requests.entry(key).or_default();
            *of = of.saturating_add(1);
        }
    }

    /// One version less holds it. Says whether it was the last.
    fn take(&mut self, no: DeliveryNo, request: Option<DelegationKey>) -> bool {
        match self.versions.get_mut(&no) {
            Some(count) if *count > 1 => {
                *count = count.saturating_sub(1);
                false
            }
            Some(_) => self.remove(no, request),
            None => false,
        }
    }

    /// No version matters to it any more. Says whether one did.
    fn remove(&mut self, no: DeliveryNo, request: Option<DelegationKey>) -> bool {
        if self.versions.remove(&no).is_none() {
            return false;
        }
        if let Some(key) = request
            && let Some(of) = self.requests.get_mut(&key)
        {
            *of = of.saturating_sub(1);
            if *of == 0 {
                self.requests.remove(&key);
            }
        }
        true
    }
}

impl Machine {
    /// A version was signed that does this.
    pub(crate) fn note_signed(&mut self, does: &Use) {
        for no in does.deliveries() {
            let Some(delivery) = self.deliveries.get(*no) else {
                continue;
            };
            if delivery.state != State::Final {
                let job = delivery.job;
                self.account.signed.add(*no, delivery.delegation);
                self.queue_ended(job);
            }
        }
    }

    /// Versions are dropped: nothing of them comes into a block any more.
    pub(crate) fn note_dropped<'v>(&mut self, versions: impl IntoIterator<Item = &'v Version>) {
        for no in versions.into_iter().flat_map(|of| of.does.deliveries()) {
            let request = self.deliveries.get(*no).and_then(|of| of.delegation);
            if self.account.signed.take(*no, request) {
                self.queue_jobs_of(*no);
            }
        }
    }

    /// A delivery is final: it comes into no other block.
    pub(crate) fn note_final(&mut self, no: DeliveryNo) {
        let request = self.deliveries.get(no).and_then(|of| of.delegation);
        if self.account.signed.remove(no, request) {
            self.queue_jobs_of(no);
        }
    }

    /// Whom a delivery kept is queued, if they ended and nothing else keeps them.
    fn queue_jobs_of(&mut self, no: DeliveryNo) {
        let Some(delivery) = self.deliveries.get(no) else {
            return;
        };
        let (job, request) = (delivery.job, delivery.delegation);
        self.queue_ended(job);
        let newest = request
            .and_then(|key| self.delegations.get(key))
            .map(|of| of.job);
        if let Some(newest) = newest {
            self.queue_ended(newest);
        }
    }

    /// An ended job is queued to be forgotten, or is taken out of the queue, as it has to be now.
    pub(crate) fn queue_ended(&mut self, no: JobNo) {
        let is_kept = self.is_kept_for_block(no);
        self.jobs.queue(no, !is_kept);
    }

    /// Whether a block may still make a job its interval's again.
    pub(crate) fn is_kept_for_block(&self, no: JobNo) -> bool {
        let Some(job) = self.jobs.get(no) else {
            return false;
        };
        let of_request = match &job.work {
            Work::Delegated { key, .. } => {
                let newest = self.delegations.get(*key).is_some_and(|of| of.job == no);
                newest && self.account.signed.holds_of(*key)
            }
            Work::Interval { .. } | Work::Client { .. } | Work::Reported { .. } => false,
        };
        of_request || job.delivery.is_some_and(|no| self.account.signed.holds(no))
    }
}
