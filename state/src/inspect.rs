//! What the auditors' tools look at: the machine's parts, one by one, without changing them.

use crate::{
    chore::{Chore, Chores},
    effect::Effect,
    job::{Job, Jobs},
    ledger::{Entry, Ledger},
    machine::Machine,
    outbox::{Flight, Owner, Pending},
    types::{Address, Amount, DeliveryNo, EffectId, EntryNo, JobNo, Nonce},
};

/// Who waits for an effect's outcome.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Waiting {
    /// A job.
    Job(JobNo),
    /// A delivery that has no nonce yet.
    Delivery(DeliveryNo),
    /// A transaction, by its nonce.
    Transaction(Nonce),
    /// A transaction that is nobody's delivery, before it has a nonce.
    Chore(Chore),
}

/// An effect without a terminal outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PendingEffect<'a> {
    /// What is asked.
    pub effect: &'a Effect,
    /// Who waits.
    pub waiting: Waiting,
    /// The present attempt, from 1.
    pub attempt: u16,
    /// Where it stands.
    pub flight: Flight,
}

impl Pending {
    fn shown(&self) -> PendingEffect<'_> {
        PendingEffect {
            effect: &self.effect,
            waiting: match self.owner {
                Owner::Job(no) => Waiting::Job(no),
                Owner::Delivery(no) => Waiting::Delivery(no),
                Owner::Slot(nonce) => Waiting::Transaction(nonce),
                Owner::Chore(chore) => Waiting::Chore(chore),
            },
            attempt: self.attempt,
            flight: self.flight,
        }
    }
}

impl Machine {
    /// An effect that has not ended.
    #[must_use]
    pub fn pending_effect(&self, id: EffectId) -> Option<PendingEffect<'_>> {
        self.outbox.pending.get(&id).map(Pending::shown)
    }

    /// All effects that have not ended, in the order in which they were issued.
    pub fn pending_effects(&self) -> impl Iterator<Item = (EffectId, PendingEffect<'_>)> {
        self.outbox
            .pending
            .iter()
            .map(|(id, pending)| (*id, pending.shown()))
    }
}

impl Jobs {
    /// The jobs that are open or kept, from a number on, ascending.
    pub fn range_from(&self, no: JobNo) -> impl DoubleEndedIterator<Item = (JobNo, &Job)> {
        self.all.range_from(no)
    }
}

impl Ledger {
    /// An entry that is pending or among the newest settled ones.
    #[must_use]
    pub fn entry(&self, no: EntryNo) -> Option<&Entry> {
        self.entries.get(no)
    }

    /// The entries behind a number, as far as they are kept.
    pub fn entries_after(&self, no: EntryNo) -> impl Iterator<Item = (EntryNo, &Entry)> {
        let next = EntryNo(no.0.saturating_add(1));
        self.entries.range_from(next)
    }
}

impl Chores {
    /// What the node's account may lock in the node's wallet, by token, as the chain says.
    pub fn allowances(&self) -> impl Iterator<Item = (Address, Amount)> {
        self.allowances
            .iter()
            .map(|(token, amount)| (*token, *amount))
    }

    /// The chores under way, and how often each has failed.
    pub fn under_way(&self) -> impl Iterator<Item = (Chore, u16)> {
        self.tasks
            .iter()
            .map(|(chore, task)| (*chore, task.tries.failures.max(task.tries.refusals)))
    }
}
