//! What belongs to the subject of an explanation: found while the past is replayed.

use std::collections::BTreeSet;

use infernet_state::{
    Effect, Issued, Machine,
    delegation::DelegationKey,
    inspect::Waiting,
    job::Work,
    transaction::Slot,
    types::{DeliveryNo, EffectId, Hash, JobId, JobNo, Nonce, SubscriptionId},
};

use super::subject::Subject;

/// Everything that belongs to a subject.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    subject: Subject,
    /// Subscriptions by their ids on chain.
    pub(super) subscriptions: BTreeSet<SubscriptionId>,
    /// Jobs by their ids, as clients know them.
    pub(super) ids: BTreeSet<JobId>,
    /// Delegated subscriptions.
    pub(super) delegations: BTreeSet<DelegationKey>,
    /// Jobs by their numbers.
    pub(super) jobs: BTreeSet<JobNo>,
    /// Deliveries.
    pub(super) deliveries: BTreeSet<DeliveryNo>,
    /// Nonces.
    pub(super) nonces: BTreeSet<Nonce>,
    /// Transactions.
    pub(super) transactions: BTreeSet<Hash>,
    /// Effects.
    pub(super) effects: BTreeSet<EffectId>,
    /// The newest job that was looked at.
    seen: JobNo,
}

impl Trace {
    /// Nothing but the subject.
    pub(super) fn of(subject: Subject) -> Self {
        let mut trace = Self {
            subject,
            subscriptions: BTreeSet::new(),
            ids: BTreeSet::new(),
            delegations: BTreeSet::new(),
            jobs: BTreeSet::new(),
            deliveries: BTreeSet::new(),
            nonces: BTreeSet::new(),
            transactions: BTreeSet::new(),
            effects: BTreeSet::new(),
            seen: JobNo(0),
        };
        match subject {
            Subject::Job(job) => trace.ids.insert(job),
            Subject::Subscription(id) => trace.subscriptions.insert(id),
            Subject::Transaction(tx) => trace.transactions.insert(tx),
        };
        trace
    }

    /// Adds what belongs to the subject behind an event.
    pub(super) fn grow(&mut self, machine: &Machine, issued: &[Issued]) {
        self.grow_jobs(machine);
        if !matches!(self.subject, Subject::Transaction(_)) {
            for no in &self.jobs {
                let delivery = machine.job_by_no(*no).and_then(|job| job.delivery);
                self.deliveries.extend(delivery);
            }
        }
        for (nonce, slot) in machine.account().slots() {
            self.grow_nonce(nonce, slot);
        }
        for one in issued {
            self.grow_effect(machine, one);
        }
    }

    /// Adds what is under way, where the past does not begin at the beginning.
    pub(super) fn begin(&mut self, machine: &Machine) {
        self.grow(machine, &[]);
        for (id, pending) in machine.pending_effects() {
            if self.waits(pending.waiting) {
                self.effects.insert(id);
            }
        }
    }

    fn grow_jobs(&mut self, machine: &Machine) {
        // A delegated subscription gets its id when its first answer is delivered.
        match self.subject {
            Subject::Subscription(id) => {
                let taken = machine.subscriptions().get(id).map(|tracked| tracked.taken);
                let job = taken.and_then(|taken| machine.jobs().by_interval(id, taken));
                if let Some((no, job)) = job {
                    self.jobs.insert(no);
                    if let Work::Delegated { key, .. } = job.work {
                        self.delegations.insert(key);
                    }
                }
            }
            Subject::Job(id) => {
                let job = machine.jobs().by_id(id);
                if let Some((_, job)) = job
                    && let Work::Delegated { key, .. } = job.work
                {
                    self.delegations.insert(key);
                    let known = machine.delegations().get(key);
                    self.subscriptions.extend(known.and_then(|known| known.id));
                }
            }
            Subject::Transaction(_) => {}
        }
        let next = JobNo(self.seen.0.saturating_add(1));
        for (no, job) in machine.jobs().range_from(next) {
            self.seen = no;
            let ours = match &job.work {
                Work::Client { job, .. } | Work::Reported { job, .. } => self.ids.contains(job),
                Work::Delegated { job, key, .. } => {
                    self.ids.contains(job) || self.delegations.contains(key)
                }
                Work::Interval { identity, .. } => {
                    matches!(self.subject, Subject::Subscription(_))
                        && self.subscriptions.contains(&identity.id)
                }
            };
            if ours {
                self.jobs.insert(no);
            }
        }
    }

    fn grow_nonce(&mut self, nonce: Nonce, slot: &Slot) {
        let carries =
            |deliveries: &[DeliveryNo]| deliveries.iter().any(|no| self.deliveries.contains(no));
        let versions = || slot.versions.iter();
        let ours = match self.subject {
            Subject::Transaction(tx) => {
                self.nonces.contains(&nonce) || versions().any(|version| version.tx == tx)
            }
            Subject::Job(_) | Subject::Subscription(_) => {
                self.nonces.contains(&nonce)
                    || carries(slot.wanted.deliveries())
                    || versions().any(|version| carries(version.does.deliveries()))
            }
        };
        if !ours {
            return;
        }
        self.nonces.insert(nonce);
        let transactions: Vec<Hash> = versions().map(|version| version.tx).collect();
        self.transactions.extend(transactions);
        if matches!(self.subject, Subject::Transaction(_)) {
            for version in versions() {
                self.deliveries.extend(version.does.deliveries());
            }
        }
    }

    fn grow_effect(&mut self, machine: &Machine, issued: &Issued) {
        let ours = match (&issued.effect, machine.pending_effect(issued.id)) {
            (Effect::StopContainer { call }, _) => self.effects.contains(call),
            (_, Some(pending)) => self.waits(pending.waiting),
            (_, None) => false,
        };
        if ours {
            self.effects.insert(issued.id);
        }
    }

    /// Whether who waits for an effect belongs to the subject.
    fn waits(&self, waiting: Waiting) -> bool {
        match waiting {
            Waiting::Job(no) => {
                self.jobs.contains(&no) && !matches!(self.subject, Subject::Transaction(_))
            }
            Waiting::Delivery(no) => self.deliveries.contains(&no),
            Waiting::Transaction(nonce) => self.nonces.contains(&nonce),
            Waiting::Chore(_) => false,
        }
    }
}
