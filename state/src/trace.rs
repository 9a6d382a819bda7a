//! What moved: the steps of the life cycles that the latest event made, for debuggers and for
//! the tests that count them.
//!
//! Off by default, and then free. A trace is no part of the state: neither snapshots nor digests
//! nor comparisons see it.

use alloc::vec::Vec;

use crate::{
    account, breaker, chore, delegation, delivery, job, ledger,
    machine::Machine,
    outbox, proof, subscription, transaction,
    types::{DeliveryNo, EffectId, EntryNo, Interval, JobNo, Nonce, SubscriptionId},
};

/// One step of one life cycle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transition {
    /// Of a subscription.
    Subscription {
        /// Which.
        id: SubscriptionId,
        /// Where it stood.
        from: subscription::Standing,
        /// What happened.
        step: subscription::Step,
        /// Where it stands now.
        to: subscription::Standing,
    },
    /// Of a delegated subscription.
    Delegation {
        /// Which.
        key: delegation::DelegationKey,
        /// The id it had.
        from: Option<SubscriptionId>,
        /// What happened.
        step: delegation::Step,
        /// The id it has now.
        to: Option<SubscriptionId>,
    },
    /// Of a job.
    Job {
        /// Which.
        no: JobNo,
        /// Where it stood.
        from: job::Stage,
        /// What happened.
        step: job::Step,
        /// Where it stands now.
        to: job::Stage,
    },
    /// Of a delivery.
    Delivery {
        /// Which.
        no: DeliveryNo,
        /// Where it stood.
        from: delivery::State,
        /// What happened.
        step: delivery::Move,
        /// Where it stands now.
        to: delivery::State,
    },
    /// Of a nonce.
    Transaction {
        /// Which.
        nonce: Nonce,
        /// Where it stood.
        from: transaction::Phase,
        /// What happened.
        step: transaction::Step,
        /// Where it stands now.
        to: transaction::Phase,
    },
    /// Of a chore.
    Chore {
        /// Which.
        chore: chore::Chore,
        /// Where it stood; `None` before it is wanted and after it is done.
        from: Option<chore::Stage>,
        /// What happened.
        step: chore::Step,
        /// Where it stands now.
        to: Option<chore::Stage>,
    },
    /// Of a proof.
    Proof {
        /// Of which subscription.
        id: SubscriptionId,
        /// Of which interval.
        interval: Interval,
        /// Where it stood.
        from: proof::ProofState,
        /// What happened.
        step: proof::Step,
        /// Where it stands now.
        to: proof::ProofState,
    },
    /// Of the circuit breaker.
    Breaker {
        /// Where it stood.
        from: breaker::Breaker,
        /// What happened.
        step: breaker::Step,
        /// Where it stands now.
        to: breaker::Breaker,
    },
    /// Of an effect.
    Effect {
        /// Which.
        id: EffectId,
        /// Where it stood; `None` before it was issued.
        from: Option<outbox::Flight>,
        /// What happened.
        step: outbox::Step,
        /// Where it stands now; `None` when it has ended.
        to: Option<outbox::Flight>,
    },
    /// Of the node's account.
    Account {
        /// Where it stood.
        from: account::Standing,
        /// What happened.
        step: account::Step,
        /// Where it stands now.
        to: account::Standing,
    },
    /// Of an entry of the ledger.
    Entry {
        /// Which.
        no: EntryNo,
        /// Where it stood.
        from: ledger::EntryState,
        /// What happened.
        step: ledger::Settlement,
        /// Where it stands now.
        to: ledger::EntryState,
    },
}

/// The steps of the latest event, where somebody watches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Option<Vec<Transition>>);

/// What is watched is no part of the state.
impl PartialEq for Trace {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Trace {}

impl Trace {
    /// A new event begins.
    pub(crate) fn begin(&mut self) {
        if let Some(steps) = &mut self.0 {
            steps.clear();
        }
    }

    /// Notes a step.
    pub(crate) fn note(&mut self, transition: Transition) {
        if let Some(steps) = &mut self.0 {
            steps.push(transition);
        }
    }
}

impl Machine {
    /// Notes from now on what each event moves.
    pub fn watch(&mut self) {
        self.trace = Trace(Some(Vec::new()));
    }

    /// What the latest event moved, in order; nothing unless [`Machine::watch`] was called.
    #[must_use]
    pub fn transitions(&self) -> &[Transition] {
        self.trace.0.as_deref().unwrap_or_default()
    }
}
