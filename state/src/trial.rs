//! Steps out of turn, for tests: that one which does not apply to a thing as it stands changes
//! nothing, wherever the machine's rooms would take it.

use alloc::vec::Vec;

use crate::{
    account, breaker, chore, delegation, delivery, job, ledger,
    machine::Machine,
    outbox::Flight,
    proof, subscription,
    trace::Transition,
    transaction,
    types::{DeliveryNo, EffectId, EntryNo, Interval, JobNo, Nonce, SubscriptionId},
};

/// Something with a life cycle, and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thing {
    /// A subscription.
    Subscription(SubscriptionId, subscription::Standing),
    /// A delegated subscription.
    Delegation(delegation::DelegationKey, Option<SubscriptionId>),
    /// A job.
    Job(JobNo, job::Stage),
    /// A delivery.
    Delivery(DeliveryNo, delivery::State),
    /// A nonce.
    Transaction(Nonce, transaction::Phase),
    /// A chore.
    Chore(chore::Chore, Option<chore::Stage>),
    /// A proof.
    Proof(SubscriptionId, Interval, proof::ProofState),
    /// The circuit breaker.
    Breaker(breaker::Breaker),
    /// An effect.
    Effect(EffectId, Option<Flight>),
    /// The node's account.
    Account(account::Standing),
    /// An entry of the ledger.
    Entry(EntryNo, ledger::EntryState),
}

impl Machine {
    /// Everything with a life cycle that the machine keeps. Of what it does not keep there is one
    /// of a kind: an effect that never was, and the chore of a token that nobody has.
    #[must_use]
    pub fn things(&self) -> Vec<Thing> {
        let mut things = Vec::new();
        things.push(Thing::Breaker(self.breaker));
        things.push(Thing::Account(self.account.standing()));
        let tracked = self.subscriptions.range(SubscriptionId(0), usize::MAX);
        things.extend(
            tracked
                .into_iter()
                .map(|(id, of)| Thing::Subscription(id, of.standing)),
        );
        let delegations = self.delegations.iter();
        things.extend(delegations.map(|(key, of)| Thing::Delegation(*key, of.id)));
        let jobs = self.jobs.range_from(JobNo(0));
        things.extend(jobs.map(|(no, job)| Thing::Job(no, job.stage)));
        let deliveries = self.deliveries.iter();
        things.extend(deliveries.map(|(no, of)| Thing::Delivery(no, of.state)));
        let slots = self.account.slots();
        things.extend(slots.map(|(nonce, slot)| Thing::Transaction(nonce, slot.phase)));
        let proofs = self.proofs.iter();
        things.extend(proofs.map(|(id, interval, proof)| Thing::Proof(id, interval, proof.state)));
        let chores = self.chores.tasks.iter();
        things.extend(chores.map(|(chore, task)| Thing::Chore(*chore, Some(task.stage))));
        let nobody = chore::Chore::Finalize(SubscriptionId(u32::MAX), Interval(u32::MAX));
        if !self.chores.tasks.contains_key(&nobody) {
            things.push(Thing::Chore(nobody, None));
        }
        let pending = self.outbox.pending.iter();
        things.extend(pending.map(|(id, of)| Thing::Effect(*id, Some(of.flight))));
        let never = EffectId {
            seq: self.seq(),
            ordinal: u16::MAX,
        };
        if !self.outbox.pending.contains_key(&never) {
            things.push(Thing::Effect(never, None));
        }
        let entries = self.ledger.entries();
        things.extend(entries.map(|(no, entry)| Thing::Entry(no, entry.state)));
        things
    }

    /// Takes a step of a life cycle by itself, as no event does; where the thing stands and leads
    /// is not asked of the transition.
    pub fn try_step(&mut self, transition: &Transition) {
        match *transition {
            Transition::Subscription { id, step, .. } => self.step_standing(id, step),
            Transition::Delegation { key, step, .. } => {
                let _ = self.step_delegation(key, step);
            }
            Transition::Job { no, step, .. } => {
                let _ = self.step_job(no, step);
            }
            Transition::Delivery { no, step, .. } => {
                let _ = self.move_delivery(no, step);
            }
            Transition::Transaction { nonce, step, .. } => self.step_slot(nonce, step),
            Transition::Chore { chore, step, .. } => {
                let _ = self.step_chore(chore, step, None);
            }
            Transition::Proof {
                id, interval, step, ..
            } => {
                let _ = self.step_proof(id, interval, step);
            }
            Transition::Breaker { step, .. } => self.step_breaker(step),
            Transition::Effect { id, step, .. } => {
                let _ = self.step_effect(id, step);
            }
            Transition::Account { step, .. } => {
                let _ = self.step_account(step);
            }
            Transition::Entry { no, step, .. } => {
                let _ = match step {
                    ledger::Settlement::Post => self.ledger.post(no),
                    ledger::Settlement::Void => self.ledger.void(no),
                };
            }
        }
    }
}
