//! From the answer to the simulation: what a delivery waits for before it is sent.

use alloc::vec::Vec;

use super::{Arguments, Delivery, Loss, Move, State};
use crate::{
    admission,
    effect::{Action, Delivery as Call, Effect},
    job::Work,
    ledger::Sum,
    limits::{ENVELOPE_BYTES, TRANSACTION_BYTES_MAX},
    machine::{Halt, Machine},
    outbox::{Owner, Turn, backoff_ms},
    schedule::Timer,
    subscription::{self, Identity},
    types::{DeliveryNo, Hash, JobNo, SubscriptionId, WallTime},
};

/// What the items of one transaction may take of it: more would be signed, and taken by no pool.
pub(super) const ITEMS_BYTES_MAX: u64 = TRANSACTION_BYTES_MAX.saturating_sub(ENVELOPE_BYTES);

impl Machine {
    /// The answer of an interval's job is there: a delivery is planned.
    pub(crate) fn plan_delivery(
        &mut self,
        turn: &mut Turn,
        job: JobNo,
        arguments: Arguments,
    ) -> Result<(), Halt> {
        let (identity, delegation, interval) = match self.jobs.get(job).map(|job| &job.work) {
            Some(Work::Interval { identity, interval }) => (*identity, None, *interval),
            Some(Work::Delegated { key, interval, .. }) => {
                let record = self
                    .delegations
                    .get(*key)
                    .map(|delegation| subscription::record_hash(&delegation.request.subscription))
                    .unwrap_or_default();
                let identity = Identity {
                    id: SubscriptionId(0),
                    block: Hash::ZERO,
                    record,
                };
                (identity, Some(*key), *interval)
            }
            Some(Work::Client { .. } | Work::Reported { .. }) | None => return Ok(()),
        };
        let no = self.deliveries.insert(Delivery {
            job,
            identity,
            delegation,
            interval,
            arguments,
            state: State::Planned,
            reverts: 0,
            settled: None,
            refusals: 0,
            waits: 0,
            alone: false,
            effect: None,
            replan_at: None,
            parked_at: None,
        });
        if let Some(job) = self.jobs.all.get_mut(job) {
            job.delivery = Some(no);
        }
        self.note_stake(no);
        self.attempt_delivery(turn, no)
    }

    /// A live delivery with a verifier wants its price allowed as a stake.
    pub(super) fn note_stake(&mut self, no: DeliveryNo) {
        let stake = self
            .deliveries
            .get(no)
            .and_then(|delivery| self.terms_of(delivery))
            .filter(|terms| !terms.verifier.is_zero() && !terms.payment_amount.is_zero())
            .map(|terms| (terms.payment_token, terms.payment_amount));
        self.chores.stake(no, stake);
        let state = self.deliveries.get(no).map(|delivery| delivery.state);
        if state.is_some_and(State::commits) {
            self.chores.commit(no, true);
        }
    }

    /// A planned delivery tries to go on: simulated, if it may be sent and would be taken.
    pub(crate) fn attempt_delivery(&mut self, turn: &mut Turn, no: DeliveryNo) -> Result<(), Halt> {
        if self.deliveries.get(no).map(|delivery| delivery.state) != Some(State::Planned) {
            return Ok(());
        }
        self.leave_allowance(no);
        if !self.settle_chance(turn, no)? {
            return Ok(());
        }
        if self.transaction_bytes(no) > ITEMS_BYTES_MAX {
            return self.abandon(turn, no, Loss::TooLarge);
        }
        if !self.account.may_send() {
            self.deliveries.blocked.insert(no);
            return Ok(());
        }
        let (Some(action), Some(chain)) = (self.delivery_action(no), self.chain_config()) else {
            return self.abandon(turn, no, Loss::Unconfigured);
        };
        let from = chain.node;
        if self.stake_above_cap(no) {
            // Verdicts take their time.
            let wait_ms = self.limits().retry_backoff_max_ms;
            self.replan_after(no, |_| wait_ms);
            return Ok(());
        }
        if !self.stake_allowed(turn, no)? {
            return Ok(());
        }
        let effect = Effect::Simulate {
            from,
            action,
            at: self.expected_inclusion(),
        };
        self.wait_for(turn, no, effect)?;
        self.move_delivery(no, Move::Simulate);
        Ok(())
    }

    /// What is simulated, or was and has no nonce yet, begins anew.
    pub(crate) fn attempt_anew(&mut self, turn: &mut Turn) -> Result<(), Halt> {
        let simulated = |state| matches!(state, State::Simulating | State::Ready);
        let all = self.deliveries.iter();
        let list: Vec<DeliveryNo> = all
            .filter(|(_, delivery)| simulated(delivery.state))
            .map(|(no, _)| no)
            .collect();
        for no in list {
            if let Some(effect) = self.unwait(no) {
                self.drop_effect(turn, effect)?;
            }
            self.move_delivery(no, Move::Wait);
            self.attempt_delivery(turn, no)?;
        }
        Ok(())
    }

    /// What a delivery takes of a transaction, at most.
    pub(super) fn transaction_bytes(&self, no: DeliveryNo) -> u64 {
        self.deliveries
            .get(no)
            .map_or(0, |delivery| delivery.arguments.transaction_bytes())
    }

    pub(super) fn wait_for(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        effect: Effect,
    ) -> Result<(), Halt> {
        let id = self.issue(turn, Owner::Delivery(no), effect)?;
        if let Some(delivery) = self.deliveries.all.get_mut(no) {
            delivery.effect = Some(id);
        }
        Ok(())
    }

    /// Whether a delivery would put more at stake than its token's cap, beside what the open
    /// proofs hold and what the deliveries on their way will.
    fn stake_above_cap(&self, no: DeliveryNo) -> bool {
        let (Some((token, stake)), Some(config)) =
            (self.chores.stakes.get(&no), self.config.as_ref())
        else {
            return false;
        };
        let Some(cap) = admission::stake_cap(config, *token) else {
            return false;
        };
        let staked = self.proofs.staked.of(token);
        staked
            .wrapping_add(self.chores.committed.of(token))
            .wrapping_add((*stake).into())
            > Sum::from(cap)
    }

    /// What a delivery's own transaction does.
    pub(crate) fn delivery_action(&self, no: DeliveryNo) -> Option<Action> {
        let call = self.delivery_call(no)?;
        match self.deliveries.get(no)?.delegation {
            Some(key) => self.delegated_action(key, call),
            None => Some(Action::Deliver(call)),
        }
    }

    /// The arguments of a delivery; `None` without a chain, or without a wallet for its price.
    pub(crate) fn delivery_call(&self, no: DeliveryNo) -> Option<Call> {
        let delivery = self.deliveries.get(no)?;
        let wallet = self.chain_config()?.payment_wallet;
        let terms = self.terms_of(delivery);
        if wallet.is_none() && terms.is_some_and(|terms| !terms.payment_amount.is_zero()) {
            return None;
        }
        Some(Call {
            subscription: delivery.identity.id,
            interval: delivery.interval,
            input: delivery.arguments.input,
            output: delivery.arguments.output,
            proof: delivery.arguments.proof,
            // Ignored by the contract where nothing is paid.
            node_wallet: wallet.unwrap_or_default(),
        })
    }

    /// A delivery waits for its stake's allowance no longer.
    pub(super) fn leave_allowance(&mut self, no: DeliveryNo) {
        if let Some((token, _)) = self.chores.stakes.get(&no) {
            self.chores.waiting.remove(&(*token, no));
        }
    }

    /// Waits with backoff for the next attempt, and for nothing else.
    pub(crate) fn replan_later(&mut self, no: DeliveryNo) {
        let limits = self.limits();
        self.replan_after(no, |delivery| {
            let failures = delivery.refusals.max(delivery.reverts);
            backoff_ms(
                limits.retry_backoff_ms,
                limits.retry_backoff_max_ms,
                failures.max(delivery.waits).max(1),
            )
        });
    }

    /// Waits for what is no failure, longer each time.
    pub(super) fn wait_longer(&mut self, no: DeliveryNo) {
        if let Some(delivery) = self.deliveries.all.get_mut(no) {
            delivery.waits = delivery.waits.saturating_add(1);
        }
        self.replan_later(no);
    }

    fn replan_after(&mut self, no: DeliveryNo, wait_ms: impl FnOnce(&Delivery) -> u64) {
        self.deliveries.ready.remove(&no);
        self.leave_allowance(no);
        if !self.move_delivery(no, Move::Wait) {
            return;
        }
        let now = self.now;
        if let Some(delivery) = self.deliveries.all.get_mut(no) {
            let at = WallTime(now.0.saturating_add(wait_ms(delivery)));
            if let Some(old) = delivery.replan_at.replace(at) {
                self.schedule.timers.remove(&(old, Timer::Replan(no)));
            }
            self.schedule.timers.insert((at, Timer::Replan(no)));
        }
    }

    /// The timer of a waiting delivery passed.
    pub(crate) fn replan_due(&mut self, turn: &mut Turn, no: DeliveryNo) -> Result<(), Halt> {
        if let Some(delivery) = self.deliveries.all.get_mut(no) {
            delivery.replan_at = None;
        }
        self.attempt_delivery(turn, no)
    }

    /// All planned deliveries that waited for the account go on.
    pub(crate) fn unblock(&mut self, turn: &mut Turn) -> Result<(), Halt> {
        for no in core::mem::take(&mut self.deliveries.blocked) {
            self.attempt_delivery(turn, no)?;
        }
        Ok(())
    }
}
