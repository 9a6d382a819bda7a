//! Deliveries: one answer's way onto the chain.
//!
//! ```text
//!              open                simulated, worth it            in a block, succeeded
//!   Planned ─────────► Simulating ───────(Ready)─────► Sent(nonce) ─────────────► Included
//!    ▲  ▲ │               │                              │  │  ▲                    │   │
//!    │  │ │ others met    │ reverted, unavailable        │  │  └─── block is gone ──┘   │ final
//!    │  │ ▼ redundancy    ▼ (backoff, bounded)           │  │                           ▼
//!    │  Parked ◄──────────┘                              │  └ reverted in a block:    Final
//!    │    │ final                                        │    Planned again, bounded
//!    │    ▼                                              ▼
//!    │  Abandoned(loss)                     Withdrawn(loss): its nonce is used up by an empty
//!    └─ a reorg takes the others' away      transfer; the chain's word still counts if it came first
//! ```
//! Ready is a moment's wait for the next batch, where the contracts take batches.
//! At most one delivery of a (subscription, interval) is live at a time: a job has one delivery,
//! and an interval of an identity one job. What a nonce goes through is in
//! [`crate::transaction`].

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    admission,
    delegation::DelegationKey,
    effect::{Action, Delivery as Call, Effect},
    event::{Failure, Outcome, Subscription, Success},
    job::{Cause, Step, Work},
    limits::{DELIVERIES_KEPT, READ_ATTEMPTS_MAX},
    machine::{Halt, Machine},
    outbox::{Owner, Turn, backoff_ms},
    schedule::Timer,
    subscription::{self, Identity, Rejected, Responses},
    transaction::{Quote, Slot, Use},
    types::{
        Amount, BlockTime, DeliveryNo, EffectId, Hash, Interval, JobNo, Nonce, PayloadAt,
        SubscriptionId, WallTime,
    },
};

/// Selector of the Coordinator's `IntervalCompleted()` (`docs/spec/contracts.md` 2).
const INTERVAL_COMPLETED: [u8; 4] = [0x2f, 0x4c, 0xa8, 0x5b];

/// Selector of the Coordinator's `NodeRespondedAlready()`.
const NODE_RESPONDED_ALREADY: [u8; 4] = [0x88, 0xa2, 0x1e, 0x4f];

/// Whether a revert says that the interval is met.
pub(crate) fn is_met(selector: [u8; 4]) -> bool {
    matches!(selector, INTERVAL_COMPLETED | NODE_RESPONDED_ALREADY)
}

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
    /// Simulated; waits for the transaction in hand, to go with others in one batch.
    Ready,
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
    /// The node's wallet does not allow the stake that its verifier asks for.
    NoStake,
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
            Self::NoStake => f.write_str("the node's wallet does not allow the stake"),
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
    /// It waits for the next batch.
    Queue,
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
            (
                Self::Planned | Self::Simulating | Self::Ready | Self::Parked | Self::Sent(_),
                Move::Wait,
            ) => Some(Self::Planned),
            (Self::Simulating, Move::Queue) => Some(Self::Ready),
            (Self::Simulating | Self::Ready, Move::Send(nonce)) => Some(Self::Sent(nonce)),
            // Whatever the machine had decided, what a block holds is so.
            (
                Self::Planned
                | Self::Simulating
                | Self::Ready
                | Self::Sent(_)
                | Self::Parked
                | Self::Abandoned(_)
                | Self::Withdrawn(_),
                Move::Include(nonce),
            ) => Some(Self::Included(nonce)),
            (
                Self::Planned | Self::Simulating | Self::Ready | Self::Included(_) | Self::Parked,
                Move::Undo(nonce),
            ) => Some(Self::Sent(nonce)),
            (Self::Included(_), Move::Finalize) => Some(Self::Final),
            (Self::Planned | Self::Simulating | Self::Ready, Move::Park) => Some(Self::Parked),
            (
                Self::Planned | Self::Simulating | Self::Ready | Self::Parked | Self::Sent(_),
                Move::Abandon(loss),
            ) => Some(Self::Abandoned(loss)),
            (Self::Sent(_), Move::Withdraw(loss)) => Some(Self::Withdrawn(loss)),
            (Self::Planned, Move::Queue | Move::Send(_) | Move::Finalize | Move::Withdraw(_))
            | (Self::Simulating, Move::Simulate | Move::Finalize | Move::Withdraw(_))
            | (Self::Ready, Move::Simulate | Move::Queue | Move::Finalize | Move::Withdraw(_))
            | (
                Self::Sent(_),
                Move::Simulate
                | Move::Queue
                | Move::Send(_)
                | Move::Undo(_)
                | Move::Finalize
                | Move::Park,
            )
            | (
                Self::Included(_),
                Move::Simulate
                | Move::Wait
                | Move::Queue
                | Move::Send(_)
                | Move::Include(_)
                | Move::Park
                | Move::Abandon(_)
                | Move::Withdraw(_),
            )
            | (
                Self::Parked,
                Move::Simulate
                | Move::Queue
                | Move::Send(_)
                | Move::Finalize
                | Move::Park
                | Move::Withdraw(_),
            )
            | (
                Self::Final,
                Move::Simulate
                | Move::Wait
                | Move::Queue
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
                | Move::Queue
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
            Self::Planned
            | Self::Simulating
            | Self::Ready
            | Self::Sent(_)
            | Self::Included(_)
            | Self::Parked => true,
            Self::Final | Self::Abandoned(_) | Self::Withdrawn(_) => false,
        }
    }
}

/// A delivery.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// The job whose answer it is.
    pub job: JobNo,
    /// The subscription it was computed for; of a delegated one the record alone.
    pub identity: Identity,
    /// The delegated subscription it was computed for.
    pub delegation: Option<DelegationKey>,
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
    /// Ready, with gas and fees.
    pub(crate) ready: BTreeMap<DeliveryNo, Quote>,
    /// Parked, by the newest height of which anything can be undone at that moment.
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
        | Loss::Unconfigured
        | Loss::NoStake => Cause::Undelivered(loss),
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
            refusals: 0,
            effect: None,
            replan_at: None,
            parked_at: None,
        });
        if let Some(job) = self.jobs.all.get_mut(&job) {
            job.delivery = Some(no);
        }
        self.note_stake(no);
        self.attempt_delivery(turn, no)
    }

    /// A live delivery with a verifier wants its price allowed as a stake.
    fn note_stake(&mut self, no: DeliveryNo) {
        let stake = self
            .deliveries
            .get(no)
            .and_then(|delivery| self.terms_of(delivery))
            .filter(|terms| !terms.verifier.is_zero() && !terms.payment_amount.is_zero())
            .map(|terms| (terms.payment_token, terms.payment_amount));
        if let Some(stake) = stake {
            self.chores.stakes.insert(no, stake);
        }
    }

    /// What a delivery's subscription says.
    pub(crate) fn terms_of(&self, delivery: &Delivery) -> Option<&Subscription> {
        match delivery.delegation {
            Some(key) => self
                .delegations
                .get(key)
                .map(|delegation| &delegation.request.subscription),
            None => self
                .subscriptions
                .get(delivery.identity.id)
                .map(|tracked| &tracked.subscription),
        }
    }

    /// The id of a delivery's subscription in the chain; 0 for a delegated one without one.
    pub(crate) fn chain_id_of(&self, delivery: &Delivery) -> SubscriptionId {
        match delivery.delegation {
            Some(key) => self
                .delegations
                .get(key)
                .and_then(|delegation| delegation.id)
                .unwrap_or_default(),
            None => delivery.identity.id,
        }
    }

    /// A planned delivery tries to go on: simulated, if it may be sent and would be taken.
    pub(crate) fn attempt_delivery(&mut self, turn: &mut Turn, no: DeliveryNo) -> Result<(), Halt> {
        if self.deliveries.get(no).map(|delivery| delivery.state) != Some(State::Planned) {
            return Ok(());
        }
        if !self.settle_chance(turn, no)? {
            return Ok(());
        }
        if !self.account.may_send() {
            self.deliveries.blocked.insert(no);
            return Ok(());
        }
        if self.stake_above_cap(no) {
            self.replan_later(no);
            return Ok(());
        }
        if !self.stake_allowed(turn, no)? {
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
        self.wait_for(turn, no, effect)?;
        self.move_delivery(no, Move::Simulate);
        Ok(())
    }

    fn wait_for(&mut self, turn: &mut Turn, no: DeliveryNo, effect: Effect) -> Result<(), Halt> {
        let id = self.issue(turn, Owner::Delivery(no), effect)?;
        if let Some(delivery) = self.deliveries.all.get_mut(&no) {
            delivery.effect = Some(id);
        }
        Ok(())
    }

    /// Whether a delivery would be taken now; if not, it waits, is parked or given up.
    fn settle_chance(&mut self, turn: &mut Turn, no: DeliveryNo) -> Result<bool, Halt> {
        match self.chance_of(no) {
            Chance::Open => return Ok(true),
            Chance::Early => self.replan_later(no),
            Chance::Met => self.park(no),
            Chance::Lost(loss) => self.abandon(turn, no, loss)?,
        }
        Ok(false)
    }

    /// Whether a delivery would put more at stake than its token's cap.
    fn stake_above_cap(&self, no: DeliveryNo) -> bool {
        let (Some((token, stake)), Some(config)) =
            (self.chores.stakes.get(&no), self.config.as_ref())
        else {
            return false;
        };
        let Some(cap) = admission::stake_cap(config, *token) else {
            return false;
        };
        let sent = self
            .chores
            .stakes
            .iter()
            .filter(|(other, (of, _))| {
                of == token
                    && self
                        .deliveries
                        .get(**other)
                        .is_some_and(|delivery| matches!(delivery.state, State::Sent(_)))
            })
            .fold(self.proofs.at_stake(*token), |sum, (_, (_, stake))| {
                sum.checked_add(*stake).unwrap_or(Amount::MAX)
            });
        sent.checked_add(*stake).is_none_or(|sum| sum > cap)
    }

    /// Judges a delivery by the chain view, at the block time at which it would be included.
    pub(crate) fn chance_of(&self, no: DeliveryNo) -> Chance {
        self.deliveries
            .get(no)
            .map_or(Chance::Lost(Loss::Gone), |delivery| {
                match delivery.delegation {
                    Some(key) => self.delegated_chance(key, delivery.interval),
                    None => self.chance(delivery.identity, delivery.interval),
                }
            })
    }

    /// Judges an interval of an identity.
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
        self.chance_by(
            &tracked.subscription,
            interval,
            tracked.responses_in(interval),
        )
    }

    /// Judges an interval by a record and its responses.
    pub(crate) fn chance_by(
        &self,
        terms: &Subscription,
        interval: Interval,
        responses: Responses,
    ) -> Chance {
        let expected = self.expected_inclusion();
        if self
            .last_moment(terms.active_at, terms.period, interval)
            .is_some_and(|last| expected.0 > last)
        {
            return Chance::Lost(Loss::Closed);
        }
        let now = expected.as_contract_time();
        match subscription::judge(terms, now, interval, responses.count, responses.responded) {
            Ok(()) => Chance::Open,
            Err(Rejected::NotFound) => Chance::Lost(Loss::Gone),
            Err(Rejected::NotActive) => Chance::Early,
            Err(Rejected::IntervalMismatch) => {
                if subscription::interval_at(terms.active_at, terms.period, now) < interval {
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
    pub(crate) fn last_moment(
        &self,
        active_at: u32,
        period: u32,
        interval: Interval,
    ) -> Option<u64> {
        let head = self.chain.head?;
        let end = subscription::interval_end(active_at, period, interval)?;
        let margin = u64::from(self.limits().closing_margin_s).saturating_add(1);
        Some(subscription::in_epoch_of(head.time.0, end).saturating_sub(margin))
    }

    /// The block time from which on nothing new is sent for an interval.
    pub(crate) fn closes_of(&self, active_at: u32, period: u32, interval: Interval) -> Option<u64> {
        let wait = u64::from(self.limits().inclusion_delay_s);
        self.last_moment(active_at, period, interval)
            .map(|last| last.saturating_add(1).saturating_sub(wait))
    }

    /// What a delivery's own transaction does.
    pub(crate) fn delivery_action(&self, no: DeliveryNo) -> Option<Action> {
        let call = self.delivery_call(no)?;
        match self.deliveries.get(no)?.delegation {
            Some(key) => self.delegated_action(key, call),
            None => Some(Action::Deliver(call)),
        }
    }

    /// The arguments of a delivery.
    pub(crate) fn delivery_call(&self, no: DeliveryNo) -> Option<Call> {
        let delivery = self.deliveries.get(no)?;
        let chain = self.chain_config()?;
        Some(Call {
            subscription: delivery.identity.id,
            interval: delivery.interval,
            input: delivery.arguments.input,
            output: delivery.arguments.output,
            proof: delivery.arguments.proof,
            // Ignored by the contract where nothing is paid.
            node_wallet: chain.payment_wallet.unwrap_or_default(),
        })
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
            Outcome::Succeeded(Success::ResponsesRead {
                responses,
                responded,
            }) => {
                self.outbox.pending.remove(&id);
                self.responses_read(turn, no, *responses, *responded)
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
        if !self.settle_chance(turn, no)? {
            return Ok(());
        }
        let (Some(config), Some(chain), Some(delivery)) = (
            self.config.as_ref(),
            self.chain_config(),
            self.deliveries.get(no),
        ) else {
            return self.abandon(turn, no, Loss::Unconfigured);
        };
        if gas > chain.gas_limit_max {
            return self.abandon(turn, no, Loss::TooMuchGas);
        }
        let expected_price = base_fee.saturating_add(priority_fee);
        let cost = Amount::from(u128::from(gas)).checked_mul(Amount::from(expected_price));
        let (price, token) = self
            .terms_of(delivery)
            .map(|terms| (terms.payment_amount, terms.payment_token))
            .unwrap_or_default();
        if !admission::profitable(config, token, price, cost.unwrap_or(Amount::MAX)) {
            return self.abandon(turn, no, Loss::Unprofitable);
        }
        if !self.account.may_send() {
            self.move_delivery(no, Move::Wait);
            self.deliveries.blocked.insert(no);
            return Ok(());
        }
        let batches = chain.delivery_batch_max > 1 && delivery.delegation.is_none();
        let Some(quote) = self.quote(gas, base_fee, priority_fee) else {
            // Dearer than allowed: later, while the interval lasts.
            self.replan_later(no);
            return Ok(());
        };
        if batches && self.account.slots.values().any(Slot::in_hand) {
            self.move_delivery(no, Move::Queue);
            self.deliveries.ready.insert(no, quote);
            return Ok(());
        }
        let nonce = self.open_slot(turn, Use::Deliver(vec![no]), quote)?;
        self.move_delivery(no, Move::Send(nonce));
        Ok(())
    }

    /// Sends what became ready while a transaction was in hand: as one batch, as far as it fits.
    pub(crate) fn flush_ready(&mut self, turn: &mut Turn) -> Result<(), Halt> {
        while !self.deliveries.ready.is_empty()
            && self.account.may_send()
            && !self.account.slots.values().any(Slot::in_hand)
        {
            let Some(chain) = self.chain_config() else {
                return Ok(());
            };
            let count_max = usize::from(chain.delivery_batch_max).max(1);
            let gas_max = chain.gas_limit_max;
            let mut batch = Vec::new();
            let mut total = Quote::default();
            let waiting: Vec<(DeliveryNo, Quote)> = self
                .deliveries
                .ready
                .iter()
                .map(|(no, quote)| (*no, *quote))
                .collect();
            for (no, quote) in waiting {
                let gas = total.gas_limit.saturating_add(quote.gas_limit);
                if batch.len() >= count_max || (gas > gas_max && !batch.is_empty()) {
                    break;
                }
                if !self.settle_chance(turn, no)? {
                    continue;
                }
                self.deliveries.ready.remove(&no);
                batch.push(no);
                total = Quote {
                    gas_limit: gas,
                    max_fee_per_gas: total.max_fee_per_gas.max(quote.max_fee_per_gas),
                    max_priority_fee_per_gas: total
                        .max_priority_fee_per_gas
                        .max(quote.max_priority_fee_per_gas),
                };
            }
            if batch.is_empty() {
                return Ok(());
            }
            let nonce = self.open_slot(turn, Use::Deliver(batch.clone()), total)?;
            for no in batch {
                self.move_delivery(no, Move::Send(nonce));
            }
        }
        Ok(())
    }

    /// The call would revert. Where the chain says that the interval is met although its facts
    /// did not, its responses are read; otherwise a transient cause (a balance, an allowance, a
    /// lagging head) may pass, and it is tried a bounded number of times.
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
        if let Some((token, _)) = self.chores.stakes.get(&no)
            && self.chores.allowance(*token) < self.chores.wanted(*token)
        {
            // Its allowance went with a reorg meanwhile: no refusal, a wait.
            self.move_delivery(no, Move::Wait);
            return self.attempt_delivery(turn, no);
        }
        delivery.refusals = delivery.refusals.saturating_add(1);
        let (refusals, interval) = (delivery.refusals, delivery.interval);
        let id = self
            .deliveries
            .get(no)
            .map(|delivery| self.chain_id_of(delivery))
            .unwrap_or_default();
        let met = is_met(selector);
        if let (true, true, Some(chain)) = (met, id.0 != 0, self.chain_config()) {
            let effect = Effect::ReadResponses {
                subscription: id,
                interval,
                node: chain.node,
            };
            return self.wait_for(turn, no, effect);
        }
        if refusals >= attempts_max {
            return self.abandon(turn, no, Loss::Reverts(selector));
        }
        self.replan_later(no);
        Ok(())
    }

    /// The chain's own word on an interval that a simulation found met.
    fn responses_read(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        responses: u16,
        responded: bool,
    ) -> Result<(), Halt> {
        let attempts_max = self.limits().delivery_attempts_max;
        let Some(delivery) = self.deliveries.all.get_mut(&no) else {
            return Ok(());
        };
        delivery.effect = None;
        let refusals = delivery.refusals;
        let redundancy = self
            .deliveries
            .get(no)
            .and_then(|delivery| self.terms_of(delivery))
            .map_or(0, |terms| terms.redundancy);
        if responded || responses == redundancy {
            self.park(no);
        } else if refusals >= attempts_max {
            return self.abandon(turn, no, Loss::Reverts(INTERVAL_COMPLETED));
        } else {
            self.replan_later(no);
        }
        Ok(())
    }

    /// Waits with backoff for the next attempt.
    pub(crate) fn replan_later(&mut self, no: DeliveryNo) {
        self.deliveries.ready.remove(&no);
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
            if let Some(old) = delivery.replan_at.replace(at) {
                self.schedule.timers.remove(&(old, Timer::Replan(no)));
            }
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
        let newest = self.chain.undo.keys().next_back().copied();
        let height = newest.unwrap_or_else(|| self.chain.head.map_or(0, |head| head.number));
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
        let job = self.deliveries.get(no).map(|delivery| delivery.job);
        self.chores.stakes.remove(&no);
        self.deliveries.retire(no);
        let Some(job) = job else {
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
            (Some(no), Some(State::Planned | State::Simulating | State::Ready | State::Parked)) => {
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
        self.deliveries.ready.remove(&no);
        if let Some((token, _)) = self.chores.stakes.get(&no) {
            self.chores.waiting.remove(&(*token, no));
        }
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
            let before = self.deliveries.get(no).map(|delivery| delivery.state);
            if self.move_delivery(no, Move::Include(nonce)) {
                self.chores.stakes.remove(&no);
                self.count_success();
                if let Some(job) = self.deliveries.get(no).map(|delivery| delivery.job) {
                    self.step_job(job, Step::Included);
                }
                // After a reorg an older attempt can win: the live one is to be used up.
                if let Some(State::Sent(other)) = before
                    && other != nonce
                {
                    self.leave_slot(turn, other, no)?;
                }
                if before.is_some_and(|state| !state.is_live()) {
                    self.revive(turn, no)?;
                }
            }
            return Ok(());
        }
        let attempts_max = self.limits().delivery_attempts_max;
        self.count_loss();
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

    /// A delivery that was given up is in a block all the same: it is the interval's again, and
    /// what was begun in its place is given up.
    fn revive(&mut self, turn: &mut Turn, no: DeliveryNo) -> Result<(), Halt> {
        let Some(delivery) = self.deliveries.get(no) else {
            return Ok(());
        };
        let (id, interval, job) = (self.chain_id_of(delivery), delivery.interval, delivery.job);
        let stranger = delivery.delegation.is_none()
            && self
                .subscriptions
                .get(id)
                .is_none_or(|tracked| tracked.identity(id) != delivery.identity);
        if stranger {
            return Ok(()); // It was overtaken by its own withdrawal's block: nobody's interval.
        }
        if let Some(other) = self.jobs.by_interval.insert((id, interval), job)
            && other != job
        {
            self.give_up(turn, other, Loss::Met)?;
        }
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
    ) -> Result<bool, Halt> {
        let Some(delivery) = self.deliveries.all.get_mut(&no) else {
            return Ok(false);
        };
        let job = delivery.job;
        if delivery.state == State::Included(nonce) {
            self.move_delivery(no, Move::Undo(nonce));
            self.note_stake(no);
            self.step_job(job, Step::Undone);
            return Ok(true);
        }
        delivery.reverts = delivery.reverts.saturating_sub(1);
        match delivery.state {
            State::Planned | State::Simulating | State::Ready | State::Parked => {
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
    pub(crate) fn delivery_final(&mut self, no: DeliveryNo, nonce: Nonce) {
        let state = self.deliveries.get(no).map(|delivery| delivery.state);
        if state == Some(State::Included(nonce)) && self.move_delivery(no, Move::Finalize) {
            let job = self.deliveries.get(no).map(|delivery| delivery.job);
            self.deliveries.retire(no);
            if let Some(job) = job
                && self.step_job(job, Step::Finalized)
            {
                self.close_job(job);
            }
        }
    }
}
