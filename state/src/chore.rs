//! Transactions that are nobody's delivery: stake allowances, and proofs that nobody judged.
//!
//! ```text
//!   (wanted) ─► Quoting ── simulated ──► Sent(nonce) ── included ──► (done)
//!                 │  ▲                      │
//!        reverted │  │ timer                │ reverted, nonce used by another
//!                 ▼  │                      │
//!              BackingOff ◄─────────────────┘ ── an allowance, too often ──► (lost)
//! ```
//! At most one chore of a kind is under way: one allowance per token, one finalisation per proof;
//! but for approvals that a reorg took out of their blocks: each comes again under its nonce, and
//! the newest of them is the chore's.
//! An allowance is lost to the deliveries that wait for it; a finalisation never is, since stake
//! and price stay locked until it succeeds: it begins anew after a long rest.

use alloc::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    chain::Undo,
    delivery::Loss,
    effect::{Action, Effect},
    event::Outcome,
    limits::{FINALIZE_REST_MS, GAS_MARGIN_DIVISOR, READ_ATTEMPTS_MAX, REVERTED_SIMULATIONS_MAX},
    machine::{Halt, Machine},
    outbox::{Owner, Turn, backoff_ms},
    schedule::Timer,
    simulation::Simulation,
    tally::Tally,
    trace::Transition,
    transaction::{Quote, Use},
    types::{
        Address, Amount, BlockRef, DeliveryNo, EffectId, Interval, Nonce, SubscriptionId, WallTime,
    },
};

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Chore {
    /// Set the stake allowance of a token.
    Stake(Address),
    /// Finalise a proof whose week has passed.
    Finalize(SubscriptionId, Interval),
}

impl Chore {
    /// The token whose allowance it sets.
    fn staked(self) -> Option<Address> {
        match self {
            Self::Stake(token) => Some(token),
            Self::Finalize(..) => None,
        }
    }
}

/// Where a chore stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Stage {
    /// Its transaction is simulated.
    Quoting(EffectId),
    /// It has a nonce, or stands in a block that says nothing against it.
    Sent(Nonce),
    /// It waits for its next attempt.
    BackingOff(WallTime),
}

/// What happens to a chore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A simulation was asked for.
    Quote(EffectId),
    /// It was given a nonce.
    Send(Nonce),
    /// It is tried again later.
    BackOff(WallTime),
    /// The block that did it is gone, and it waits at its nonce again.
    Return(Nonce),
    /// It is done, given up, or no longer wanted.
    End,
}

impl Stage {
    /// The next stage (`None` where nothing is left to do), or `None` where the step does not
    /// apply.
    #[must_use]
    pub fn step(from: Option<Self>, step: Step) -> Option<Option<Self>> {
        match (from, step) {
            (None | Some(Self::BackingOff(_)), Step::Quote(id)) => Some(Some(Self::Quoting(id))),
            (Some(Self::Quoting(_)), Step::Send(nonce)) => Some(Some(Self::Sent(nonce))),
            (
                None | Some(Self::Quoting(_) | Self::Sent(_) | Self::BackingOff(_)),
                Step::BackOff(at),
            ) => Some(Some(Self::BackingOff(at))),
            (None | Some(Self::Quoting(_) | Self::BackingOff(_)), Step::Return(nonce)) => {
                Some(Some(Self::Sent(nonce)))
            }
            (Some(Self::Quoting(_) | Self::Sent(_) | Self::BackingOff(_)), Step::End) => Some(None),
            (None, Step::Send(_) | Step::End)
            | (Some(Self::Quoting(_)), Step::Quote(_))
            | (Some(Self::Sent(_)), Step::Quote(_) | Step::Send(_) | Step::Return(_))
            | (Some(Self::BackingOff(_)), Step::Send(_)) => None,
        }
    }
}

/// A chore under way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) wanted: Use,
    pub(crate) stage: Stage,
    pub(crate) tries: Tries,
}

/// How often a chore was tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tries {
    /// Transactions that did not do it.
    pub(crate) failures: u16,
    /// Simulations in a row that reverted.
    pub(crate) refusals: u16,
    /// Waits in a row for what is no failure: the account, a lower fee.
    pub(crate) waits: u16,
}

/// Stakes and the chores they make.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Chores {
    pub(crate) tasks: BTreeMap<Chore, Task>,
    /// What the node's account may lock in the node's wallet, by token, as the chain says.
    pub(crate) allowances: BTreeMap<Address, Amount>,
    /// Stakes of live deliveries that no block has locked yet.
    pub(crate) stakes: BTreeMap<DeliveryNo, (Address, Amount)>,
    /// Deliveries that wait for an allowance.
    pub(crate) waiting: BTreeSet<(Address, DeliveryNo)>,
    /// The sum of `stakes`, by token.
    #[serde(skip)]
    pub(crate) wanted: Tally<Address>,
    /// The part of it whose deliveries are on their way into a block.
    #[serde(skip)]
    pub(crate) committed: Tally<Address>,
}

impl Chores {
    /// The allowance of a token as the chain says, zero before it was heard of.
    #[must_use]
    pub fn allowance(&self, token: Address) -> Amount {
        self.allowances.get(&token).copied().unwrap_or_default()
    }

    /// The stakes of a token that live deliveries will lock; saturating.
    #[must_use]
    pub fn wanted(&self, token: Address) -> Amount {
        self.wanted.of(&token).amount().unwrap_or(Amount::MAX)
    }

    /// Sets the stake of a delivery that is not on its way yet.
    pub(crate) fn stake(&mut self, no: DeliveryNo, stake: Option<(Address, Amount)>) {
        let before = match stake {
            Some((token, amount)) => {
                self.wanted.add(token, amount);
                self.stakes.insert(no, (token, amount))
            }
            None => self.stakes.remove(&no),
        };
        if let Some((token, amount)) = before {
            self.wanted.take(token, amount);
        }
    }

    /// A delivery with a stake sets out, or no longer is on its way.
    pub(crate) fn commit(&mut self, no: DeliveryNo, commits: bool) {
        match self.stakes.get(&no) {
            Some((token, amount)) if commits => self.committed.add(*token, *amount),
            Some((token, amount)) => self.committed.take(*token, *amount),
            None => {}
        }
    }
}

impl Machine {
    /// What was allowed was allowed by another wallet, or to another account: nothing is known of
    /// the present ones, and a reorg brings nothing of it back. Approvals that are signed use up
    /// their nonces and do nothing more for the node: what waits for one asks for another. What was
    /// simulated was paid into that wallet: it is simulated again before it names another.
    pub(crate) fn forget_allowances(&mut self, turn: &mut Turn) -> Result<(), Halt> {
        self.chores.allowances.clear();
        for undos in self.chain.undo.values_mut() {
            undos.retain(|undo| !matches!(undo, Undo::Allowance { .. }));
        }
        self.account.forget_wallet();
        let chores = self.chores.tasks.keys().copied();
        let tokens: alloc::vec::Vec<Address> = chores.filter_map(Chore::staked).collect();
        for token in tokens {
            let chore = Chore::Stake(token);
            match self.end_chore(chore).map(|task| task.stage) {
                Some(Stage::Quoting(effect)) => self.drop_effect(turn, effect)?,
                Some(Stage::BackingOff(at)) => {
                    self.schedule.timers.remove(&(at, Timer::Chore(chore)));
                }
                Some(Stage::Sent(_)) | None => {}
            }
            for no in self.waiting_for(token) {
                self.attempt_delivery(turn, no)?;
            }
        }
        self.attempt_anew(turn)
    }

    /// Whether the stake of a delivery is allowed; if not, the delivery waits, and the allowance
    /// is asked for.
    pub(crate) fn stake_allowed(&mut self, turn: &mut Turn, no: DeliveryNo) -> Result<bool, Halt> {
        let Some((token, _)) = self.chores.stakes.get(&no).copied() else {
            return Ok(true);
        };
        let wanted = self.chores.wanted(token);
        if self.chores.allowance(token) >= wanted {
            self.chores.waiting.remove(&(token, no));
            return Ok(true);
        }
        self.chores.waiting.insert((token, no));
        let chore = Chore::Stake(token);
        if !self.chores.tasks.contains_key(&chore) {
            // Twice what is wanted now, so that not every delivery needs its own approval; never
            // the 2^256 - 1 that an unlock could not add to (`docs/spec/contracts.md` 12, N2).
            let amount = wanted
                .checked_add(wanted)
                .filter(|amount| *amount < Amount::MAX)
                .unwrap_or(wanted);
            self.begin_chore(turn, chore, Use::Stake { token, amount })?;
        }
        Ok(false)
    }

    /// Begins a chore, unless it is under way: its transaction is quoted.
    pub(crate) fn begin_chore(
        &mut self,
        turn: &mut Turn,
        chore: Chore,
        wanted: Use,
    ) -> Result<(), Halt> {
        match self.chores.tasks.get(&chore).map(|task| task.stage) {
            Some(Stage::Quoting(_) | Stage::Sent(_)) => return Ok(()),
            Some(Stage::BackingOff(_)) | None => {}
        }
        let task = self.chores.tasks.get(&chore);
        let tries = task.map_or_else(Tries::default, |task| task.tries);
        let action = self.chore_action(&wanted);
        let (Some(action), Some(chain), true) =
            (action, self.chain_config(), self.account.may_send())
        else {
            self.wait_with_chore(chore, wanted, tries);
            return Ok(());
        };
        let effect = Effect::Simulate {
            from: chain.node,
            action,
            at: self.expected_inclusion(),
        };
        let id = self.issue(turn, Owner::Chore(chore), effect)?;
        self.step_chore(chore, Step::Quote(id), Some((wanted, tries)));
        Ok(())
    }

    /// Moves a chore on, where the step applies, with what its transaction does and its tries.
    /// Gives back what there was of it.
    fn step_chore(&mut self, chore: Chore, step: Step, with: Option<(Use, Tries)>) -> Option<Task> {
        let before = self.chores.tasks.get(&chore).map(|task| task.stage);
        let next = Stage::step(before, step)?;
        self.trace.note(Transition::Chore {
            chore,
            from: before,
            step,
            to: next,
        });
        match (next, with) {
            (Some(stage), Some((wanted, tries))) => self.chores.tasks.insert(
                chore,
                Task {
                    wanted,
                    stage,
                    tries,
                },
            ),
            (Some(_) | None, _) => self.chores.tasks.remove(&chore),
        }
    }

    /// A chore is over.
    fn end_chore(&mut self, chore: Chore) -> Option<Task> {
        self.step_chore(chore, Step::End, None)
    }

    fn back_off_chore(&mut self, chore: Chore, wanted: Use, tries: Tries) {
        let limits = self.limits();
        let wait = backoff_ms(
            limits.retry_backoff_ms,
            limits.retry_backoff_max_ms,
            tries.failures.max(tries.refusals).max(tries.waits).max(1),
        );
        self.rest_chore(chore, wanted, tries, wait.max(1));
    }

    /// Waits for what is no failure, longer each time.
    fn wait_with_chore(&mut self, chore: Chore, wanted: Use, mut tries: Tries) {
        tries.waits = tries.waits.saturating_add(1);
        self.back_off_chore(chore, wanted, tries);
    }

    fn rest_chore(&mut self, chore: Chore, wanted: Use, tries: Tries, wait_ms: u64) {
        let at = WallTime(self.now.0.saturating_add(wait_ms));
        self.schedule.timers.insert((at, Timer::Chore(chore)));
        self.step_chore(chore, Step::BackOff(at), Some((wanted, tries)));
    }

    /// What a chore's transaction does.
    pub(crate) fn chore_action(&self, wanted: &Use) -> Option<Action> {
        let chain = self.chain_config()?;
        match wanted {
            Use::Stake { token, amount } => Some(Action::ApproveStake {
                wallet: chain.payment_wallet?,
                spender: chain.node,
                token: *token,
                amount: *amount,
            }),
            Use::Finalize { id, interval } => Some(Action::FinalizeProof {
                subscription: *id,
                interval: *interval,
                node: chain.node,
            }),
            Use::Deliver(_) | Use::Fill => None,
        }
    }

    /// A chore's timer passed.
    pub(crate) fn chore_due(&mut self, turn: &mut Turn, chore: Chore) -> Result<(), Halt> {
        let Some(task) = self.chores.tasks.get(&chore) else {
            return Ok(());
        };
        if !matches!(task.stage, Stage::BackingOff(_)) {
            return Ok(());
        }
        let wanted = task.wanted.clone();
        if !self.still_wanted(chore) {
            self.end_chore(chore);
            return Ok(());
        }
        self.begin_chore(turn, chore, wanted)
    }

    /// Whether anybody still waits for a chore.
    fn still_wanted(&self, chore: Chore) -> bool {
        match chore {
            Chore::Stake(token) => self
                .chores
                .waiting
                .range((token, DeliveryNo(0))..=(token, DeliveryNo(u64::MAX)))
                .next()
                .is_some(),
            Chore::Finalize(id, interval) => self.proofs.is_open(id, interval),
        }
    }

    /// What came of quoting a chore.
    pub(crate) fn chore_effect_ended(
        &mut self,
        turn: &mut Turn,
        chore: Chore,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        match outcome.into() {
            Simulation::Good {
                gas,
                base_fee,
                priority_fee,
            } => {
                self.close_effect(id);
                let Some(task) = self.chores.tasks.get(&chore) else {
                    return Ok(());
                };
                let (wanted, mut tries) = (task.wanted.clone(), task.tries);
                tries.refusals = 0;
                let quote = self.quote(gas, base_fee, priority_fee);
                match quote.filter(|_| self.account.may_send()) {
                    Some(quote) if self.still_wanted(chore) => {
                        tries.waits = 0;
                        let nonce = self.open_slot(turn, wanted.clone(), quote)?;
                        self.step_chore(chore, Step::Send(nonce), Some((wanted, tries)));
                    }
                    Some(_) => {
                        self.end_chore(chore);
                    }
                    None => self.wait_with_chore(chore, wanted, tries),
                }
                Ok(())
            }
            Simulation::Reverts(_) | Simulation::Missing => {
                self.close_effect(id);
                self.chore_refused(turn, chore)
            }
            Simulation::Unclear => {
                if self.retry(id, READ_ATTEMPTS_MAX) {
                    return Ok(());
                }
                self.chore_refused(turn, chore)
            }
        }
    }

    /// Gas with its margin and fees within the cap; `None` while the base fee is above it.
    pub(crate) fn quote(&self, gas: u64, base_fee: u128, priority_fee: u128) -> Option<Quote> {
        let chain = self.chain_config()?;
        if base_fee > chain.max_fee_per_gas_cap {
            return None;
        }
        let margin = gas.checked_div(GAS_MARGIN_DIVISOR).unwrap_or_default();
        let max_fee = base_fee
            .saturating_mul(2)
            .saturating_add(priority_fee)
            .min(chain.max_fee_per_gas_cap);
        Some(Quote {
            gas_limit: gas.saturating_add(margin).min(chain.gas_limit_max),
            max_fee_per_gas: max_fee,
            max_priority_fee_per_gas: priority_fee.min(max_fee),
        })
    }

    /// Whether a nonce is that of a chore's newest transaction. After a reorg an older approval may
    /// be under way beside it.
    fn is_at(&self, chore: Chore, nonce: Nonce) -> bool {
        let task = self.chores.tasks.get(&chore);
        task.is_some_and(|task| task.stage == Stage::Sent(nonce))
    }

    /// A transaction of a chore did not do it: another is tried, a bounded number of times. One
    /// that is not the newest is not missed.
    pub(crate) fn chore_failed_at(
        &mut self,
        turn: &mut Turn,
        chore: Chore,
        nonce: Nonce,
    ) -> Result<(), Halt> {
        if !self.is_at(chore, nonce) {
            return Ok(());
        }
        let attempts_max = self.limits().delivery_attempts_max;
        self.chore_undecided(turn, chore, |tries| {
            tries.failures = tries.failures.saturating_add(1);
            tries.failures < attempts_max
        })
    }

    /// A chore's transaction would revert: it is simulated again, a bounded number of times.
    fn chore_refused(&mut self, turn: &mut Turn, chore: Chore) -> Result<(), Halt> {
        self.chore_undecided(turn, chore, |tries| {
            tries.refusals = tries.refusals.saturating_add(1);
            tries.refusals < REVERTED_SIMULATIONS_MAX
        })
    }

    /// A chore is tried again while `goes_on`; then whoever waits for an allowance is told, and a
    /// finalisation rests. What speaks against it (a wallet of the consumer that was emptied) may
    /// be gone by then.
    fn chore_undecided(
        &mut self,
        turn: &mut Turn,
        chore: Chore,
        goes_on: impl FnOnce(&mut Tries) -> bool,
    ) -> Result<(), Halt> {
        let Some(task) = self.chores.tasks.get(&chore) else {
            return Ok(());
        };
        let (wanted, mut tries) = (task.wanted.clone(), task.tries);
        if goes_on(&mut tries) {
            self.back_off_chore(chore, wanted, tries);
            return Ok(());
        }
        match chore {
            Chore::Stake(token) => {
                self.end_chore(chore);
                for no in self.waiting_for(token) {
                    self.abandon(turn, no, Loss::NoStake)?;
                }
            }
            Chore::Finalize(..) => {
                self.rest_chore(chore, wanted, Tries::default(), FINALIZE_REST_MS);
            }
        }
        Ok(())
    }

    fn waiting_for(&self, token: Address) -> alloc::vec::Vec<DeliveryNo> {
        self.chores
            .waiting
            .range((token, DeliveryNo(0))..=(token, DeliveryNo(u64::MAX)))
            .map(|(_, no)| *no)
            .collect()
    }

    /// A proof was judged: its own finalisation is no longer needed.
    pub(crate) fn drop_finalization(
        &mut self,
        turn: &mut Turn,
        id: SubscriptionId,
        interval: Interval,
    ) -> Result<(), Halt> {
        let chore = Chore::Finalize(id, interval);
        match self.end_chore(chore).map(|task| task.stage) {
            Some(Stage::Quoting(effect)) => self.drop_effect(turn, effect),
            Some(Stage::BackingOff(at)) => {
                self.schedule.timers.remove(&(at, Timer::Chore(chore)));
                Ok(())
            }
            Some(Stage::Sent(nonce)) => self.fill(turn, nonce),
            None => Ok(()),
        }
    }

    /// A transaction of a chore is in a block, and did it or not.
    pub(crate) fn chore_included(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        nonce: Nonce,
        does: &Use,
        (chore, done): (Chore, bool),
    ) -> Result<(), Halt> {
        if !done {
            return self.chore_failed_at(turn, chore, nonce);
        }
        if self.is_at(chore, nonce) {
            self.end_chore(chore);
        }
        match does {
            Use::Stake { token, amount } => self.set_allowance(turn, block, *token, *amount),
            // The verdict comes with the same block; until it does, the proof is open.
            Use::Finalize { id, interval } => {
                self.expect_verdict(*id, *interval);
                Ok(())
            }
            Use::Deliver(_) | Use::Fill => Ok(()),
        }
    }

    /// The block of a chore's transaction is gone. Says whether the chore waits at this nonce
    /// again; if not, another finalisation is under way, or the proof was judged in a block that
    /// stays, and the nonce is to be used up. An approval comes again also where a later one is
    /// under way: what has a nonce between the two needs it.
    pub(crate) fn chore_undone(
        &mut self,
        turn: &mut Turn,
        does: &Use,
        nonce: Nonce,
    ) -> Result<bool, Halt> {
        let Some(chore) = does.chore() else {
            return Ok(false);
        };
        if let Chore::Finalize(id, interval) = chore
            && !self.proofs.is_open(id, interval)
        {
            return Ok(false);
        }
        let tries = match self.chores.tasks.get(&chore) {
            Some(task) => {
                let tries = task.tries;
                match task.stage {
                    Stage::Sent(other) => return Ok(chore.staked().is_some() && nonce < other),
                    Stage::Quoting(id) => self.drop_effect(turn, id)?,
                    Stage::BackingOff(at) => {
                        self.schedule.timers.remove(&(at, Timer::Chore(chore)));
                    }
                }
                tries
            }
            None => Tries::default(),
        };
        self.step_chore(chore, Step::Return(nonce), Some((does.clone(), tries)));
        Ok(true)
    }

    /// The chain says what the node's account may lock.
    pub(crate) fn set_allowance(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        token: Address,
        amount: Amount,
    ) -> Result<(), Halt> {
        let before = self.chores.allowances.insert(token, amount);
        self.journal(block.number, Undo::Allowance { token, before });
        for no in self.waiting_for(token) {
            self.attempt_delivery(turn, no)?;
        }
        Ok(())
    }
}
