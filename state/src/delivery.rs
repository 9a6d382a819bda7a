//! Deliveries: one answer's way onto the chain.
//!
//! ```text
//!              open                simulated, worth it            in a block, succeeded
//!   Planned ─────────► Simulating ───────────────────► Sent(nonce) ─────────────► Included
//!    ▲  ▲ │               │                              │  │  ▲                    │   │
//!    │  │ │ others met    │ reverted, unavailable        │  │  └─── block is gone ──┘   │ final
//!    │  │ ▼ redundancy    ▼ (backoff, bounded)           │  │                           ▼
//!    │  Parked ◄──────────┘                              │  └ reverted in a block:    Final
//!    │    │ final                                        │    Planned again, bounded
//!    │    ▼                                              ▼
//!    │  Abandoned(loss)                     Withdrawn(loss): its nonce is used up by an empty
//!    └─ a reorg takes the others' away      transfer; the chain's word still counts if it came first
//! ```
//! At most one delivery of a (subscription, interval) is live at a time: a job has one delivery,
//! and an interval of an identity one job. What a nonce goes through is in
//! [`crate::transaction`].

use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    admission,
    effect::{Action, Delivery as Call, Effect},
    event::{Failure, Outcome, Success},
    job::{Cause, Step},
    limits::{DELIVERIES_KEPT, GAS_MARGIN_DIVISOR, READ_ATTEMPTS_MAX},
    machine::{Halt, Machine},
    outbox::{Owner, Turn, backoff_ms},
    schedule::Timer,
    subscription::{self, Identity, Rejected},
    transaction::{Quote, Use},
    types::{
        Amount, BlockTime, DeliveryNo, EffectId, Interval, JobNo, Nonce, PayloadAt, SubscriptionId,
        WallTime,
    },
};

/// The bytes of a delivery: where they stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Arguments {
    /// Argument `input` of `deliverCompute`.
    pub input: PayloadAt,
    /// Argument `output`.
    pub output: PayloadAt,
    /// Argument `proof`.
    pub proof: PayloadAt,
}

/// Where a delivery stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum State {
    /// Waits: for the account, for its next attempt.
    Planned,
    /// Run against the head.
    Simulating,
    /// It has a nonce: being signed, sent, or waiting in the pool.
    Sent(Nonce),
    /// In a block that may still go.
    Included(Nonce),
    /// In a final block.
    Final,
    /// The interval was met without it, in a block that may still go.
    Parked,
    /// Given up before anything was sent, or after a bounded number of reverts.
    Abandoned(Loss),
    /// Given up after it was given a nonce.
    Withdrawn(Loss),
}

/// Why an answer was not delivered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Loss {
    /// A reorg took its subscription away, or the id belongs to another now.
    Gone,
    /// The subscription was cancelled.
    Cancelled,
    /// The interval closed.
    Closed,
    /// Others (or an earlier delivery of this node) met the interval.
    Met,
    /// The simulated call reverted, with this selector, as often as it was tried.
    Reverts([u8; 4]),
    /// It was included and reverted, as often as allowed.
    Reverted,
    /// Gas would cost more than the price.
    Unprofitable,
    /// It takes more gas than allowed.
    TooMuchGas,
    /// The chain could not be read or written, as often as it was tried.
    Unavailable,
    /// Bytes that it needs are erased or missing.
    PayloadMissing,
    /// The configuration no longer names a chain or a wallet.
    Unconfigured,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("a reorg removed the subscription"),
            Self::Cancelled => f.write_str("the subscription was cancelled"),
            Self::Closed => f.write_str("the interval closed"),
            Self::Met => f.write_str("the interval was met without it"),
            Self::Reverts([a, b, c, d]) => {
                write!(f, "the call would revert (0x{a:02x}{b:02x}{c:02x}{d:02x})")
            }
            Self::Reverted => f.write_str("it reverted on chain"),
            Self::Unprofitable => f.write_str("gas costs more than the price"),
            Self::TooMuchGas => f.write_str("it takes more gas than allowed"),
            Self::Unavailable => f.write_str("the chain could not be reached"),
            Self::PayloadMissing => f.write_str("a payload is missing"),
            Self::Unconfigured => f.write_str("no chain or wallet is configured"),
        }
    }
}

/// What happens to a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// A simulation was asked for.
    Simulate,
    /// It waits for its next attempt.
    Wait,
    /// It was given a nonce.
    Send(Nonce),
    /// It is in a block.
    Include(Nonce),
    /// That block is gone, and it waits at its nonce again.
    Undo(Nonce),
    /// That block is final.
    Finalize,
    /// The interval was met without it.
    Park,
    /// It is given up; nothing of it can be included.
    Abandon(Loss),
    /// It is given up; its nonce must be used up.
    Withdraw(Loss),
}

impl State {
    /// The next state, or `None` where the move does not apply.
    #[must_use]
    pub fn step(self, step: Move) -> Option<Self> {
        match (self, step) {
            (Self::Planned, Move::Simulate) => Some(Self::Simulating),
            (Self::Planned | Self::Simulating | Self::Parked | Self::Sent(_), Move::Wait) => {
                Some(Self::Planned)
            }
            (Self::Simulating, Move::Send(nonce)) => Some(Self::Sent(nonce)),
            // Whatever the machine had decided, what a block holds is so.
            (
                Self::Sent(_)
                | Self::Withdrawn(_)
                | Self::Planned
                | Self::Simulating
                | Self::Parked
                | Self::Abandoned(_),
                Move::Include(nonce),
            ) => Some(Self::Included(nonce)),
            (
                Self::Included(_) | Self::Planned | Self::Simulating | Self::Parked,
                Move::Undo(nonce),
            ) => Some(Self::Sent(nonce)),
            (Self::Included(_), Move::Finalize) => Some(Self::Final),
            (Self::Planned | Self::Simulating, Move::Park) => Some(Self::Parked),
            (
                Self::Planned | Self::Simulating | Self::Parked | Self::Sent(_),
                Move::Abandon(loss),
            ) => Some(Self::Abandoned(loss)),
            (Self::Sent(_), Move::Withdraw(loss)) => Some(Self::Withdrawn(loss)),
            (Self::Planned, Move::Send(_) | Move::Finalize | Move::Withdraw(_))
            | (Self::Simulating, Move::Simulate | Move::Finalize | Move::Withdraw(_))
            | (
                Self::Sent(_),
                Move::Simulate | Move::Send(_) | Move::Undo(_) | Move::Finalize | Move::Park,
            )
            | (
                Self::Included(_),
                Move::Simulate
                | Move::Wait
                | Move::Send(_)
                | Move::Include(_)
                | Move::Park
                | Move::Abandon(_)
                | Move::Withdraw(_),
            )
            | (
                Self::Parked,
                Move::Simulate | Move::Send(_) | Move::Finalize | Move::Park | Move::Withdraw(_),
            )
            | (
                Self::Final,
                Move::Simulate
                | Move::Wait
                | Move::Send(_)
                | Move::Include(_)
                | Move::Undo(_)
                | Move::Finalize
                | Move::Park
                | Move::Abandon(_)
                | Move::Withdraw(_),
            )
            | (
                Self::Abandoned(_) | Self::Withdrawn(_),
                Move::Simulate
                | Move::Wait
                | Move::Send(_)
                | Move::Undo(_)
                | Move::Finalize
                | Move::Park
                | Move::Abandon(_)
                | Move::Withdraw(_),
            ) => None,
        }
    }

    /// Whether it is neither done nor given up.
    #[must_use]
    pub fn is_live(self) -> bool {
        match self {
            Self::Planned | Self::Simulating | Self::Sent(_) | Self::Included(_) | Self::Parked => {
                true
            }
            Self::Final | Self::Abandoned(_) | Self::Withdrawn(_) => false,
        }
    }
}

/// A delivery.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// The job whose answer it is.
    pub job: JobNo,
    /// The subscription it was computed for.
    pub identity: Identity,
    /// The interval it was computed for.
    pub interval: Interval,
    /// Its bytes.
    pub arguments: Arguments,
    /// Where it stands.
    pub state: State,
    /// Transactions of it that were included and reverted.
    pub reverts: u16,
    /// Simulations in a row that reverted.
    pub(crate) refusals: u16,
    /// The effect it waits for, while simulating.
    pub(crate) effect: Option<EffectId>,
    /// Its entry among the timers, while it waits for its next attempt.
    pub(crate) replan_at: Option<WallTime>,
    /// The head's height when it was parked.
    pub(crate) parked_at: Option<u64>,
}

/// All deliveries that are live or kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Deliveries {
    last: DeliveryNo,
    pub(crate) all: BTreeMap<DeliveryNo, Delivery>,
    /// Planned, but the account may not send.
    pub(crate) blocked: BTreeSet<DeliveryNo>,
    /// Parked, by the head's height at that moment.
    pub(crate) parked: BTreeSet<(u64, DeliveryNo)>,
    /// Ended, in the order of their numbers.
    ended: BTreeSet<DeliveryNo>,
}

impl Deliveries {
    /// A delivery by its number.
    #[must_use]
    pub fn get(&self, no: DeliveryNo) -> Option<&Delivery> {
        self.all.get(&no)
    }

    /// All that are live or kept, ascending by number.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (DeliveryNo, &Delivery)> {
        self.all.iter().map(|(no, delivery)| (*no, delivery))
    }

    fn insert(&mut self, delivery: Delivery) -> DeliveryNo {
        self.last = DeliveryNo(self.last.0.saturating_add(1));
        self.all.insert(self.last, delivery);
        self.last
    }

    /// Keeps an ended delivery for its time.
    fn retire(&mut self, no: DeliveryNo) {
        self.ended.insert(no);
        if self.ended.len() > DELIVERIES_KEPT
            && let Some(oldest) = self.ended.pop_first()
        {
            self.all.remove(&oldest);
        }
    }
}

/// Whether a delivery sent now would be taken, as far as the machine knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Chance {
    /// It would.
    Open,
    /// Not yet: its interval has not begun (after a reorg moved time back).
    Early,
    /// The interval is met.
    Met,
    /// It never will.
    Lost(Loss),
}

/// Why a job failed whose delivery was lost.
fn cause_of(loss: Loss) -> Cause {
    match loss {
        Loss::Gone => Cause::Superseded,
        Loss::Cancelled => Cause::Cancelled,
        Loss::Closed => Cause::IntervalClosed,
        Loss::PayloadMissing => Cause::PayloadMissing,
        Loss::Met
        | Loss::Reverts(_)
        | Loss::Reverted
        | Loss::Unprofitable
        | Loss::TooMuchGas
        | Loss::Unavailable
        | Loss::Unconfigured => Cause::Undelivered(loss),
    }
}

impl Machine {
    /// The answer of an interval's job is there: a delivery is planned.
    pub(crate) fn plan_delivery(
        &mut self,
        turn: &mut Turn,
        job: JobNo,
        arguments: Arguments,
    ) -> Result<(), Halt> {
        let Some((identity, interval)) = self.interval_of(job) else {
            return Ok(());
        };
        let no = self.deliveries.insert(Delivery {
            job,
            identity,
            interval,
            arguments,
            state: State::Planned,
            reverts: 0,
            refusals: 0,
            effect: None,
            replan_at: None,
            parked_at: None,
        });
        if let Some(job) = self.jobs.all.get_mut(&job) {
            job.delivery = Some(no);
        }
        self.attempt_delivery(turn, no)
    }

    /// A planned delivery tries to go on: simulated, if it may be sent and would be taken.
    pub(crate) fn attempt_delivery(&mut self, turn: &mut Turn, no: DeliveryNo) -> Result<(), Halt> {
        let Some(delivery) = self.deliveries.get(no) else {
            return Ok(());
        };
        if delivery.state != State::Planned {
            return Ok(());
        }
        match self.chance(delivery.identity, delivery.interval) {
            Chance::Open => {}
            Chance::Early => {
                self.replan_later(no);
                return Ok(());
            }
            Chance::Met => {
                self.park(no);
                return Ok(());
            }
            Chance::Lost(loss) => return self.abandon(turn, no, loss),
        }
        if !self.account.may_send() {
            self.deliveries.blocked.insert(no);
            return Ok(());
        }
        let (Some(action), Some(chain)) = (self.delivery_action(no), self.chain_config()) else {
            return self.abandon(turn, no, Loss::Unconfigured);
        };
        let effect = Effect::Simulate {
            from: chain.node,
            action,
            at: self.expected_inclusion(),
        };
        let id = self.issue(turn, Owner::Delivery(no), effect)?;
        self.move_delivery(no, Move::Simulate);
        if let Some(delivery) = self.deliveries.all.get_mut(&no) {
            delivery.effect = Some(id);
        }
        Ok(())
    }

    /// Judges by the chain view, at the block time at which it would be included.
    pub(crate) fn chance(&self, identity: Identity, interval: Interval) -> Chance {
        let Some(tracked) = self.subscriptions.get(identity.id) else {
            return Chance::Lost(Loss::Gone);
        };
        if tracked.subscription.active_at == subscription::CANCELLED_AT {
            return Chance::Lost(Loss::Cancelled);
        }
        if tracked.identity(identity.id) != identity {
            return Chance::Lost(Loss::Gone);
        }
        let expected = self.expected_inclusion();
        if self
            .last_moment(identity.id, interval)
            .is_some_and(|last| expected.0 > last)
        {
            return Chance::Lost(Loss::Closed);
        }
        let responses = tracked.responses_in(interval);
        match subscription::judge(
            &tracked.subscription,
            expected.as_contract_time(),
            interval,
            responses.count,
            responses.responded,
        ) {
            Ok(()) => Chance::Open,
            Err(Rejected::NotFound) => Chance::Lost(Loss::Gone),
            Err(Rejected::NotActive) => Chance::Early,
            Err(Rejected::IntervalMismatch) => {
                let now = subscription::interval_at(
                    tracked.subscription.active_at,
                    tracked.subscription.period,
                    expected.as_contract_time(),
                );
                if now < interval {
                    Chance::Early
                } else {
                    Chance::Lost(Loss::Closed)
                }
            }
            Err(Rejected::SubscriptionCompleted) => Chance::Lost(Loss::Closed),
            Err(Rejected::IntervalCompleted | Rejected::NodeRespondedAlready) => Chance::Met,
        }
    }

    /// The block time at which something sent now is expected to be included.
    pub(crate) fn expected_inclusion(&self) -> BlockTime {
        let head = self.chain.head.map_or(0, |head| head.time.0);
        BlockTime(head.saturating_add(u64::from(self.limits().inclusion_delay_s)))
    }

    /// The last second of block time at which a delivery may be included, with its margin; `None`
    /// for an interval that does not end.
    pub(crate) fn last_moment(&self, id: SubscriptionId, interval: Interval) -> Option<u64> {
        let subscription = &self.subscriptions.get(id)?.subscription;
        let head = self.chain.head?;
        let end =
            subscription::interval_end(subscription.active_at, subscription.period, interval)?;
        let margin = u64::from(self.limits().closing_margin_s).saturating_add(1);
        Some(subscription::in_epoch_of(head.time.0, end).saturating_sub(margin))
    }

    /// What a delivery's transaction does.
    pub(crate) fn delivery_action(&self, no: DeliveryNo) -> Option<Action> {
        let delivery = self.deliveries.get(no)?;
        let chain = self.config.as_ref()?.chain.as_ref()?;
        Some(Action::Deliver(Call {
            subscription: delivery.identity.id,
            interval: delivery.interval,
            input: delivery.arguments.input,
            output: delivery.arguments.output,
            proof: delivery.arguments.proof,
            // Ignored by the contract where nothing is paid.
            node_wallet: chain.payment_wallet.unwrap_or_default(),
        }))
    }

    /// What came of a simulation before sending.
    pub(crate) fn delivery_effect_ended(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        match outcome {
            Outcome::Succeeded(Success::Simulated {
                gas,
                base_fee,
                priority_fee,
            }) => {
                self.outbox.pending.remove(&id);
                self.simulated(turn, no, *gas, *base_fee, *priority_fee)
            }
            Outcome::Failed(Failure::Reverted { selector, .. }) => {
                self.outbox.pending.remove(&id);
                self.simulation_reverted(turn, no, *selector)
            }
            Outcome::Failed(Failure::Missing { .. }) => {
                self.outbox.pending.remove(&id);
                self.abandon(turn, no, Loss::PayloadMissing)
            }
            Outcome::Failed(
                Failure::Unavailable { .. }
                | Failure::Container { .. }
                | Failure::Rejected(_)
                | Failure::NotRerun,
            )
            | Outcome::Unknown { .. }
            | Outcome::Succeeded(
                Success::InputsRead { .. }
                | Success::PayerRead { .. }
                | Success::ResponsesRead { .. }
                | Success::ContainerAnswered { .. }
                | Success::ContainerAnsweredOnchain { .. }
                | Success::Signed { .. }
                | Success::Broadcast
                | Success::LookedUp(_),
            ) => {
                if self.retry(id, READ_ATTEMPTS_MAX) {
                    return Ok(());
                }
                self.abandon(turn, no, Loss::Unavailable)
            }
        }
    }

    /// The call would succeed: guard its cost, look at the interval once more, and give it a
    /// nonce.
    fn simulated(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        gas: u64,
        base_fee: u128,
        priority_fee: u128,
    ) -> Result<(), Halt> {
        if let Some(delivery) = self.deliveries.all.get_mut(&no) {
            delivery.effect = None;
            delivery.refusals = 0;
        }
        let Some(delivery) = self.deliveries.get(no) else {
            return Ok(());
        };
        match self.chance(delivery.identity, delivery.interval) {
            Chance::Open => {}
            Chance::Early => {
                self.replan_later(no);
                return Ok(());
            }
            Chance::Met => {
                self.park(no);
                return Ok(());
            }
            Chance::Lost(loss) => return self.abandon(turn, no, loss),
        }
        let (Some(config), Some(chain)) = (self.config.as_ref(), self.chain_config()) else {
            return self.abandon(turn, no, Loss::Unconfigured);
        };
        if gas > chain.gas_limit_max {
            return self.abandon(turn, no, Loss::TooMuchGas);
        }
        let expected_price = base_fee.saturating_add(priority_fee);
        let cost = Amount::from(u128::from(gas)).checked_mul(Amount::from(expected_price));
        let (price, token) = self
            .subscriptions
            .get(delivery.identity.id)
            .map(|tracked| {
                (
                    tracked.subscription.payment_amount,
                    tracked.subscription.payment_token,
                )
            })
            .unwrap_or_default();
        if !admission::profitable(config, token, price, cost.unwrap_or(Amount::MAX)) {
            return self.abandon(turn, no, Loss::Unprofitable);
        }
        if !self.account.may_send() {
            self.move_delivery(no, Move::Wait);
            self.deliveries.blocked.insert(no);
            return Ok(());
        }
        if base_fee > chain.max_fee_per_gas_cap {
            // Dearer than allowed: later, while the interval lasts.
            self.replan_later(no);
            return Ok(());
        }
        let margin = gas.checked_div(GAS_MARGIN_DIVISOR).unwrap_or_default();
        let max_fee = base_fee
            .saturating_mul(2)
            .saturating_add(priority_fee)
            .min(chain.max_fee_per_gas_cap);
        let quote = Quote {
            gas_limit: gas.saturating_add(margin).min(chain.gas_limit_max),
            max_fee_per_gas: max_fee,
            max_priority_fee_per_gas: priority_fee.min(max_fee),
        };
        let nonce = self.open_slot(turn, Use::Deliver(no), quote)?;
        self.move_delivery(no, Move::Send(nonce));
        Ok(())
    }

    /// The call would revert: a transient cause (a balance, an allowance, a lagging head) may
    /// pass, so it is tried a bounded number of times.
    fn simulation_reverted(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        selector: [u8; 4],
    ) -> Result<(), Halt> {
        let attempts_max = self.limits().delivery_attempts_max;
        let Some(delivery) = self.deliveries.all.get_mut(&no) else {
            return Ok(());
        };
        delivery.effect = None;
        delivery.refusals = delivery.refusals.saturating_add(1);
        if delivery.refusals >= attempts_max {
            return self.abandon(turn, no, Loss::Reverts(selector));
        }
        self.replan_later(no);
        Ok(())
    }

    /// Waits with backoff for the next attempt.
    pub(crate) fn replan_later(&mut self, no: DeliveryNo) {
        if !self.move_delivery(no, Move::Wait) {
            return;
        }
        let limits = self.limits();
        let now = self.now;
        if let Some(delivery) = self.deliveries.all.get_mut(&no) {
            let failures = delivery.refusals.max(delivery.reverts).max(1);
            let wait = backoff_ms(
                limits.retry_backoff_ms,
                limits.retry_backoff_max_ms,
                failures,
            );
            let at = WallTime(now.0.saturating_add(wait));
            delivery.replan_at = Some(at);
            self.schedule.timers.insert((at, Timer::Replan(no)));
        }
    }

    /// The timer of a waiting delivery passed.
    pub(crate) fn replan_due(&mut self, turn: &mut Turn, no: DeliveryNo) -> Result<(), Halt> {
        if let Some(delivery) = self.deliveries.all.get_mut(&no) {
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

    /// Others met the interval, in a block that may still go.
    fn park(&mut self, no: DeliveryNo) {
        let height = self.chain.head.map_or(0, |head| head.number);
        self.unwait(no);
        if self.move_delivery(no, Move::Park) {
            if let Some(delivery) = self.deliveries.all.get_mut(&no) {
                delivery.parked_at = Some(height);
            }
            self.deliveries.parked.insert((height, no));
        }
    }

    /// A reorg took away what met the interval of a parked delivery.
    pub(crate) fn unpark(&mut self, turn: &mut Turn, no: DeliveryNo) -> Result<(), Halt> {
        let parked = self
            .deliveries
            .all
            .get_mut(&no)
            .and_then(|delivery| delivery.parked_at.take());
        if let Some(height) = parked {
            self.deliveries.parked.remove(&(height, no));
            self.move_delivery(no, Move::Wait);
            self.attempt_delivery(turn, no)?;
        }
        Ok(())
    }

    /// What met the intervals of parked deliveries is final.
    pub(crate) fn settle_parked(&mut self, turn: &mut Turn, final_height: u64) -> Result<(), Halt> {
        while let Some((height, no)) = self.deliveries.parked.first().copied() {
            if height > final_height {
                break;
            }
            self.abandon(turn, no, Loss::Met)?;
        }
        Ok(())
    }

    /// Nothing of a delivery can be included: it and its job end.
    pub(crate) fn abandon(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        loss: Loss,
    ) -> Result<(), Halt> {
        if let Some(effect) = self.unwait(no) {
            self.drop_effect(turn, effect)?;
        }
        if self.move_delivery(no, Move::Abandon(loss)) {
            self.end_delivery(turn, no, loss)?;
        }
        Ok(())
    }

    /// The job of a delivery that was given up fails.
    pub(crate) fn end_delivery(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        loss: Loss,
    ) -> Result<(), Halt> {
        self.deliveries.retire(no);
        let Some(job) = self.deliveries.get(no).map(|delivery| delivery.job) else {
            return Ok(());
        };
        self.fail_job(turn, job, cause_of(loss))
    }

    /// A job is given up: its delivery is abandoned, or withdrawn where it has a nonce. One that
    /// stands in a block is left to the chain.
    pub(crate) fn give_up(&mut self, turn: &mut Turn, job: JobNo, loss: Loss) -> Result<(), Halt> {
        let delivery = self.jobs.get(job).and_then(|job| job.delivery);
        let state = delivery.and_then(|no| self.deliveries.get(no).map(|delivery| delivery.state));
        match (delivery, state) {
            (Some(no), Some(State::Sent(_))) => self.withdraw(turn, no, loss),
            (Some(no), Some(State::Planned | State::Simulating | State::Parked)) => {
                self.abandon(turn, no, loss)
            }
            (Some(_), Some(State::Included(_) | State::Final)) => Ok(()),
            (_, Some(State::Abandoned(_) | State::Withdrawn(_)) | None) => {
                self.fail_job(turn, job, cause_of(loss))
            }
            (None, Some(_)) => Ok(()),
        }
    }

    /// Takes a delivery out of every set it waits in; gives back the effect it waited for.
    pub(crate) fn unwait(&mut self, no: DeliveryNo) -> Option<EffectId> {
        self.deliveries.blocked.remove(&no);
        let delivery = self.deliveries.all.get_mut(&no)?;
        if let Some(at) = delivery.replan_at.take() {
            self.schedule.timers.remove(&(at, Timer::Replan(no)));
        }
        if let Some(height) = delivery.parked_at.take() {
            self.deliveries.parked.remove(&(height, no));
        }
        delivery.effect.take()
    }

    /// Moves a delivery on; `false` where the move does not apply.
    pub(crate) fn move_delivery(&mut self, no: DeliveryNo, step: Move) -> bool {
        let Some(delivery) = self.deliveries.all.get_mut(&no) else {
            return false;
        };
        let Some(next) = delivery.state.step(step) else {
            return false;
        };
        if next.is_live() && !delivery.state.is_live() {
            self.deliveries.ended.remove(&no);
        }
        delivery.state = next;
        true
    }

    /// A transaction of a delivery is in a block.
    pub(crate) fn delivery_included(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        nonce: Nonce,
        succeeded: bool,
    ) -> Result<(), Halt> {
        if succeeded {
            if let Some(effect) = self.unwait(no) {
                self.drop_effect(turn, effect)?;
            }
            // After a reorg an older attempt can win: the live one is then to be used up.
            if let Some(State::Sent(other)) = self.deliveries.get(no).map(|delivery| delivery.state)
                && other != nonce
            {
                self.fill(turn, other)?;
            }
            if self.move_delivery(no, Move::Include(nonce))
                && let Some(job) = self.deliveries.get(no).map(|delivery| delivery.job)
            {
                self.step_job(job, Step::Included);
            }
            return Ok(());
        }
        let attempts_max = self.limits().delivery_attempts_max;
        let Some(delivery) = self.deliveries.all.get_mut(&no) else {
            return Ok(());
        };
        delivery.reverts = delivery.reverts.saturating_add(1);
        if delivery.state != State::Sent(nonce) {
            return Ok(());
        }
        if delivery.reverts >= attempts_max {
            return self.abandon(turn, no, Loss::Reverted);
        }
        self.replan_later(no);
        Ok(())
    }

    /// The block of a delivery's transaction is gone. Says whether the delivery waits at this
    /// nonce again; if not, another attempt is live, or it was given up, and the nonce is to be
    /// used up.
    pub(crate) fn delivery_undone(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        nonce: Nonce,
        succeeded: bool,
    ) -> Result<bool, Halt> {
        let Some(delivery) = self.deliveries.all.get_mut(&no) else {
            return Ok(false);
        };
        let job = delivery.job;
        if !succeeded {
            delivery.reverts = delivery.reverts.saturating_sub(1);
        }
        match delivery.state {
            State::Included(at) if at == nonce => {
                self.move_delivery(no, Move::Undo(nonce));
                self.step_job(job, Step::Undone);
                Ok(true)
            }
            State::Planned | State::Simulating | State::Parked => {
                if let Some(effect) = self.unwait(no) {
                    self.drop_effect(turn, effect)?;
                }
                self.move_delivery(no, Move::Undo(nonce));
                Ok(true)
            }
            State::Sent(_)
            | State::Included(_)
            | State::Final
            | State::Abandoned(_)
            | State::Withdrawn(_) => Ok(false),
        }
    }

    /// The block of a delivery's transaction is final.
    pub(crate) fn delivery_final(&mut self, no: DeliveryNo) {
        if self.move_delivery(no, Move::Finalize) {
            self.deliveries.retire(no);
            if let Some(job) = self.deliveries.get(no).map(|delivery| delivery.job)
                && self.step_job(job, Step::Finalized)
            {
                self.close_job(job);
            }
        }
    }

    /// The price of the subscription of an interval's job.
    pub(crate) fn price_of(&self, no: JobNo) -> Amount {
        self.interval_of(no)
            .and_then(|(identity, _)| self.subscriptions.get(identity.id))
            .map(|tracked| tracked.subscription.payment_amount)
            .unwrap_or_default()
    }
}
