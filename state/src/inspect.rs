//! What the auditors' tools look at: the machine's parts, one by one, without changing them.

use crate::{
    chore::{Chore, Chores},
    delegation::{Delegation, DelegationKey, Delegations},
    effect::Effect,
    job::{Job, Jobs},
    ledger::{Account, Entry, Ledger, Totals},
    machine::Machine,
    outbox::{Flight, Owner, Pending},
    types::{Address, Amount, DeliveryNo, EffectId, EntryNo, Hash, JobNo, Nonce},
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

/// The place of a delegated subscription among those without an id.
pub type UnnamedAt = (Hash, DelegationKey);

impl Delegations {
    /// Those that have no id on chain, from a place on, with theirs.
    pub fn unnamed_from(&self, from: UnnamedAt) -> impl Iterator<Item = (UnnamedAt, &Delegation)> {
        self.by_record
            .range(from..)
            .filter_map(|at| self.all.get(&at.1).map(|delegation| (*at, delegation)))
    }
}

impl Delegation {
    /// Whether nothing begins it again, whatever the chain does.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled
    }
}

impl Ledger {
    /// The accounts that have entries, from one to another, in order of role and token.
    pub fn accounts_between(
        &self,
        from: Account,
        to: Account,
    ) -> impl Iterator<Item = (&Account, &Totals)> {
        let range = (from <= to).then(|| self.accounts.range(from..=to));
        range.into_iter().flatten()
    }

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
