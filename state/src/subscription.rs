//! Subscriptions: the Coordinator's interval arithmetic, and the life of one subscription.
//!
//! The functions are the contract's, exactly (`docs/spec/contracts.md` 2.3 and 2.4): `uint32`,
//! truncating, wrapping. They are pure, so that a test can hold them against its bytecode.
//!
//! ```text
//!                 admit                        last interval over, or met
//!  (created) ───────────────► Admitted ────────────────────────────────► Completed
//!      │ refuse                  │  ▲ readmit (configuration)                 │
//!      ├──────────► Refused ─────┼──┘                                         │
//!      │               │         │ cancel                                     │ cancel
//!      └───────────────┴─────────┴──────────────► Cancelled ◄─────────────────┘
//!   a reorg takes any step back; a creation that is undone leaves nothing
//! ```

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    admission::Reason,
    event::{Origin, Subscription},
    paged::Paged,
    types::{BlockRef, BlockTime, Hash, Interval, SubscriptionId},
};

/// `activeAt` of a cancelled subscription.
pub const CANCELLED_AT: u32 = u32::MAX;

/// Length of the contract's clock in seconds: `uint32` starts again after it.
const EPOCH_S: u64 = 1 << 32;

/// `getSubscriptionInterval(activeAt, period)` at contract time `now`: 1 for a callback, else
/// `(now - activeAt) / period + 1` in unchecked `uint32`. A future `active_at` wraps.
#[must_use]
pub fn interval_at(active_at: u32, period: u32, now: u32) -> Interval {
    let passed = now.wrapping_sub(active_at).checked_div(period);
    Interval(passed.map_or(1, |intervals| intervals.wrapping_add(1)))
}

/// The first second of an interval, or `None` when the contract's clock never shows it.
///
/// Interval 1 starts at `active_at`; a callback has only that one.
#[must_use]
pub fn interval_start(active_at: u32, period: u32, interval: Interval) -> Option<u32> {
    let before = interval.0.checked_sub(1)?;
    if period == 0 {
        return (before == 0).then_some(active_at);
    }
    u64::from(period)
        .checked_mul(u64::from(before))
        .and_then(|offset| offset.checked_add(u64::from(active_at)))
        .and_then(|start| u32::try_from(start).ok())
}

/// The first second after an interval, or `None` when it never ends: a callback's, or one that
/// outlasts the contract's clock.
#[must_use]
pub fn interval_end(active_at: u32, period: u32, interval: Interval) -> Option<u32> {
    if period == 0 {
        return None;
    }
    interval_start(active_at, period, Interval(interval.0.checked_add(1)?))
}

/// The first interval of a record that is not over at a block's time: before it is active, its
/// first.
#[must_use]
pub(crate) fn first_at(terms: &Subscription, time: BlockTime) -> Interval {
    let now = time.as_contract_time();
    if now < terms.active_at {
        Interval(1)
    } else {
        interval_at(terms.active_at, terms.period, now)
    }
}

/// What `deliverCompute` would answer before payment and delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Rejected {
    /// `SubscriptionNotFound`
    NotFound,
    /// `SubscriptionNotActive`
    NotActive,
    /// `IntervalMismatch`
    IntervalMismatch,
    /// `SubscriptionCompleted`
    SubscriptionCompleted,
    /// `IntervalCompleted`
    IntervalCompleted,
    /// `NodeRespondedAlready`
    NodeRespondedAlready,
}

/// Judges a delivery as `deliverCompute` does in its steps 1 to 6, in its order.
///
/// `now` is contract time; `responses` is `redundancyCount` of the interval and `responded` is
/// `nodeResponded` of this node.
///
/// # Errors
/// The contract's error.
pub fn judge(
    subscription: &Subscription,
    now: u32,
    interval: Interval,
    responses: u16,
    responded: bool,
) -> Result<(), Rejected> {
    if subscription.owner.is_zero() {
        Err(Rejected::NotFound)
    } else if now < subscription.active_at {
        Err(Rejected::NotActive)
    } else if interval_at(subscription.active_at, subscription.period, now) != interval {
        Err(Rejected::IntervalMismatch)
    } else if interval.0 > subscription.frequency {
        Err(Rejected::SubscriptionCompleted)
    } else if responses == subscription.redundancy {
        Err(Rejected::IntervalCompleted)
    } else if responded {
        Err(Rejected::NodeRespondedAlready)
    } else {
        Ok(())
    }
}

/// The first second of block time, in the epoch of `now`, at which the contract's clock shows
/// `contract_time`.
#[must_use]
pub fn in_epoch_of(now: u64, contract_time: u32) -> u64 {
    let passed = now.checked_rem(EPOCH_S).unwrap_or_default();
    now.saturating_sub(passed)
        .saturating_add(u64::from(contract_time))
}

/// Bytes of a record as they are hashed.
const RECORD_BYTES: usize = 159;

/// SHA-256 over a record as created: the third part of a subscription's identity.
#[must_use]
pub fn record_hash(subscription: &Subscription) -> Hash {
    // Laid out first: hashed in one piece it costs half of what it does part by part, and each
    // look at a delivery's chances asks for it.
    let mut record = [0; RECORD_BYTES];
    let parts: [&[u8]; 11] = [
        &subscription.owner.0,
        &subscription.active_at.to_be_bytes(),
        &subscription.period.to_be_bytes(),
        &subscription.frequency.to_be_bytes(),
        &subscription.redundancy.to_be_bytes(),
        &subscription.container_id.0,
        &[u8::from(subscription.lazy)],
        &subscription.verifier.0,
        &subscription.payment_amount.to_be_bytes(),
        &subscription.payment_token.0,
        &subscription.wallet.0,
    ];
    let mut filled = 0_usize;
    for part in parts {
        let end = filled.saturating_add(part.len());
        if let Some(room) = record.get_mut(filled..end) {
            room.copy_from_slice(part);
        }
        filled = end;
    }
    Hash(Sha256::digest(record).into())
}

/// Who a subscription is. Ids are reassigned after a reorg, and a delivery binds to nothing but
/// the id: an answer computed for one identity is never delivered to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// The id.
    pub id: SubscriptionId,
    /// Hash of the block that created it (or at which it was read, for one older than the node).
    pub block: Hash,
    /// Hash of its record.
    pub record: Hash,
}

/// Where a subscription stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Standing {
    /// Its intervals are answered.
    Admitted,
    /// It is not served, and why.
    Refused(Reason),
    /// Its owner cancelled it.
    Cancelled,
    /// Its last interval is over or met.
    Completed,
}

/// What happens to a subscription's standing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Judged and taken.
    Admit,
    /// Judged and refused.
    Refuse(Reason),
    /// Cancelled on chain.
    Cancel,
    /// Nothing more is due.
    Complete,
    /// A reorg moved time back: something may be due again.
    Reopen,
    /// The block of its cancellation is gone, and it stands where it stood.
    Restore(Standing),
}

impl Standing {
    /// The next standing, or `None` where the step does not apply.
    #[must_use]
    pub fn step(self, step: Step) -> Option<Self> {
        match (self, step) {
            (Self::Admitted | Self::Refused(_), Step::Admit) => Some(Self::Admitted),
            (Self::Admitted | Self::Refused(_), Step::Refuse(reason)) => {
                Some(Self::Refused(reason))
            }
            (Self::Admitted, Step::Complete) => Some(Self::Completed),
            (Self::Admitted | Self::Refused(_) | Self::Completed, Step::Cancel) => {
                Some(Self::Cancelled)
            }
            (Self::Completed, Step::Reopen) => Some(Self::Admitted),
            (Self::Cancelled, Step::Restore(standing)) => Some(standing),
            (Self::Completed | Self::Cancelled, Step::Admit | Step::Refuse(_) | Step::Complete)
            | (Self::Cancelled, Step::Cancel)
            | (Self::Refused(_), Step::Complete)
            | (Self::Admitted | Self::Refused(_) | Self::Cancelled, Step::Reopen)
            | (Self::Admitted | Self::Refused(_) | Self::Completed, Step::Restore(_)) => None,
        }
    }
}

/// When a subscription is looked at next: its one entry in the schedule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, Default)]
pub enum Due {
    /// Not by the schedule.
    #[default]
    Never,
    /// Not by the schedule, since the head had this height.
    Retired(u64),
    /// When the head has at least this height.
    Height(u64),
    /// When the head has at least this time.
    Time(u64),
}

/// The responses of the newest interval that was heard of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Responses {
    /// The interval.
    pub interval: Interval,
    /// `redundancyCount`.
    pub count: u16,
    /// `nodeResponded` of this node.
    pub responded: bool,
}

/// What the machine knows of one subscription. Kept small: a million of them may sleep.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tracked {
    /// The record as the contract holds it.
    pub subscription: Subscription,
    /// Hash of the block that created it, or at which it was read.
    pub block: Hash,
    /// Height of that block.
    pub height: u64,
    /// Its entry in the schedule.
    pub due: Due,
    /// The newest interval whose work was begun or passed over; 0 for none.
    pub taken: Interval,
    /// Responses in the newest interval heard of.
    pub responses: Responses,
    /// How it came to be.
    pub origin: Origin,
    /// Where it stands.
    pub standing: Standing,
    /// Read in a sync: facts up to its block are in the record already.
    pub synced: bool,
}

impl Tracked {
    /// Its identity.
    #[must_use]
    pub fn identity(&self, id: SubscriptionId) -> Identity {
        Identity {
            id,
            block: self.block,
            record: record_hash(&self.subscription),
        }
    }

    /// The interval at a block's time, by the contract's rule.
    #[must_use]
    pub fn interval(&self, block: &BlockRef) -> Interval {
        interval_at(
            self.subscription.active_at,
            self.subscription.period,
            block.time.as_contract_time(),
        )
    }

    /// The first interval that is not over at a block's time: before it is active, its first.
    #[must_use]
    pub fn first_at(&self, block: &BlockRef) -> Interval {
        first_at(&self.subscription, block.time)
    }

    /// Responses in `interval`, as far as heard: none for one that nobody answered yet.
    #[must_use]
    pub fn responses_in(&self, interval: Interval) -> Responses {
        if self.responses.interval == interval {
            self.responses
        } else {
            Responses {
                interval,
                count: 0,
                responded: false,
            }
        }
    }
}

/// All subscriptions that the machine knows, by id.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Subscriptions {
    /// The records.
    pub(crate) tracked: Paged<Tracked>,
    /// The next id to read in the sync of the past; `None` when it is done or was never begun.
    pub(crate) cursor: Option<SubscriptionId>,
}

impl Subscriptions {
    /// One subscription.
    #[must_use]
    pub fn get(&self, id: SubscriptionId) -> Option<&Tracked> {
        self.tracked.get(id.0)
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tracked.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tracked.len() == 0
    }

    /// Up to `count` subscriptions from `from` on, ascending by id.
    #[must_use]
    pub fn range(&self, from: SubscriptionId, count: usize) -> Vec<(SubscriptionId, &Tracked)> {
        self.tracked
            .range_from(from.0)
            .take(count)
            .map(|(id, tracked)| (SubscriptionId(id), tracked))
            .collect()
    }
}
