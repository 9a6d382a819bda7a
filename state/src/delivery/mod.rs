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

mod chance;
mod end;
mod inclusion;
mod outcome;
mod plan;

use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    delegation::DelegationKey,
    event::Subscription,
    limits::{DELIVERIES_KEPT, DELIVERY_BYTES},
    machine::Machine,
    numbered::Numbered,
    subscription::Identity,
    trace::Transition,
    transaction::Quote,
    types::{
        DeliveryNo, EffectId, Hash, Interval, JobNo, Nonce, PayloadAt, SubscriptionId, WallTime,
    },
};

pub(crate) use chance::Chance;

/// Selector of the Coordinator's `IntervalCompleted()` (`docs/spec/contracts.md` 2).
const INTERVAL_COMPLETED: [u8; 4] = [0x2f, 0x4c, 0xa8, 0x5b];

/// Selector of the Coordinator's `NodeRespondedAlready()`.
const NODE_RESPONDED_ALREADY: [u8; 4] = [0x88, 0xa2, 0x1e, 0x4f];

/// Selector of a wallet's `InsufficientAllowance()`: the payer's, or the node's own for a stake
/// (`docs/spec/contracts.md` 3).
pub(crate) const INSUFFICIENT_ALLOWANCE: [u8; 4] = [0x13, 0xbe, 0x25, 0x2b];

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

impl Arguments {
    /// What they take of a transaction, at most: each is padded to whole words.
    pub(crate) fn transaction_bytes(&self) -> u64 {
        let padded = |at: PayloadAt| u64::from(at.payload.len).next_multiple_of(32);
        [self.input, self.output, self.proof]
            .map(padded)
            .into_iter()
            .fold(DELIVERY_BYTES, u64::saturating_add)
    }
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
    /// Its arguments fit no transaction.
    TooLarge,
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
            Self::TooLarge => f.write_str("the answer is too large for a transaction"),
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

    /// Whether it is on its way into a block, with nothing more to ask of the machine: what it puts
    /// at stake is as good as locked.
    pub(crate) fn commits(self) -> bool {
        match self {
            Self::Simulating | Self::Ready | Self::Sent(_) => true,
            Self::Planned
            | Self::Included(_)
            | Self::Final
            | Self::Parked
            | Self::Abandoned(_)
            | Self::Withdrawn(_) => false,
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

/// A transaction of a delivery in a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Inclusion {
    /// Its nonce.
    pub nonce: Nonce,
    /// Its hash.
    pub tx: Hash,
    /// The block's height.
    pub block: u64,
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
    /// Its newest transaction that is final: the one that delivered it, where it is final itself,
    /// and one that reverted, where it is not. All that is left of a nonce once it is closed.
    pub settled: Option<Inclusion>,
    /// Simulations in a row that reverted.
    pub(crate) refusals: u16,
    /// Waits in a row for what is no failure: a lower fee, its interval.
    pub(crate) waits: u16,
    /// A batch that held it failed as a whole: it goes in none again.
    pub(crate) alone: bool,
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
    pub(crate) all: Numbered<DeliveryNo, Delivery>,
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
        self.all.get(no)
    }

    /// All that are live or kept, ascending by number.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (DeliveryNo, &Delivery)> {
        self.all.iter()
    }

    /// The newest there was.
    pub(crate) fn last(&self) -> DeliveryNo {
        self.last
    }

    /// The one that has been ready for longest.
    fn first_ready(&self) -> Option<(DeliveryNo, Quote)> {
        let (no, quote) = self.ready.first_key_value()?;
        Some((*no, *quote))
    }

    fn insert(&mut self, delivery: Delivery) -> DeliveryNo {
        self.last = DeliveryNo(self.last.0.saturating_add(1));
        self.all.insert(self.last, delivery);
        self.last
    }
}

impl Machine {
    /// Keeps an ended delivery for its time, and for as long as a block may still hold it.
    fn retire_delivery(&mut self, no: DeliveryNo) {
        self.deliveries.ended.insert(no);
        if self.deliveries.ended.len() <= DELIVERIES_KEPT {
            return;
        }
        let mut ended = self.deliveries.ended.iter().copied();
        if let Some(oldest) = ended.find(|no| !self.account.signed.holds(*no)) {
            self.deliveries.ended.remove(&oldest);
            self.deliveries.all.remove(oldest);
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

    /// Moves a delivery on; `false` where the move does not apply.
    pub(crate) fn move_delivery(&mut self, no: DeliveryNo, step: Move) -> bool {
        let Some(delivery) = self.deliveries.all.get_mut(no) else {
            return false;
        };
        let Some(next) = delivery.state.step(step) else {
            return false;
        };
        let from = core::mem::replace(&mut delivery.state, next);
        if next.is_live() && !from.is_live() {
            self.deliveries.ended.remove(&no);
        }
        if next.commits() != from.commits() {
            self.chores.commit(no, next.commits());
        }
        self.trace.note(Transition::Delivery {
            no,
            from,
            step,
            to: next,
        });
        true
    }
}
