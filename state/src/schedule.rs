//! What is due next, in logarithmic time: ordered sets, never a pass over what exists.
//!
//! Three clocks, three kinds of sets: block time, block height, wall time. An entry is removed by
//! the one that put it, so that each set holds exactly what will be looked at.

use alloc::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    chore::Chore,
    types::{BlockTime, DeliveryNo, EffectId, Interval, JobNo, Nonce, SubscriptionId, WallTime},
};

/// What a wall-time deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Timer {
    /// An effect's next attempt.
    Retry(EffectId),
    /// An unincluded transaction gets a higher fee.
    Bump(Nonce),
    /// A client's job is too old.
    JobExpiry(JobNo),
    /// A delivery is planned again.
    Replan(DeliveryNo),
    /// A chore is tried again.
    Chore(Chore),
    /// The paused intake opens.
    BreakerCloses,
}

/// The schedule.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Schedule {
    /// Subscriptions whose creation becomes deep enough, by height.
    pub(crate) depths: BTreeSet<(u64, SubscriptionId)>,
    /// Subscriptions whose next interval begins, by block time.
    pub(crate) starts: BTreeSet<(u64, SubscriptionId)>,
    /// Subscriptions of which nothing is due any more, by the height at which that was so.
    pub(crate) retired: BTreeSet<(u64, SubscriptionId)>,
    /// Jobs whose interval closes, by block time.
    pub(crate) ends: BTreeSet<(u64, JobNo)>,
    /// Delegated jobs whose subscription becomes active, by block time.
    pub(crate) delegated: BTreeSet<(u64, JobNo)>,
    /// Proofs that nobody judged, by the block time at which anybody may finalise them.
    pub(crate) proofs: BTreeSet<(u64, SubscriptionId, Interval)>,
    /// Everything that waits for the wall clock.
    pub(crate) timers: BTreeSet<(WallTime, Timer)>,
}

impl Schedule {
    /// The earliest wall-time deadline.
    pub(crate) fn next_timer(&self) -> Option<WallTime> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The earliest block time at which work begins.
    pub(crate) fn next_begin(&self) -> Option<BlockTime> {
        let start = self.starts.first().map(|(at, _)| *at);
        let delegated = self.delegated.first().map(|(at, _)| *at);
        let times = [start, delegated].into_iter().flatten();
        times.min().map(BlockTime)
    }

    /// The earliest block time at which something that was begun is over.
    pub(crate) fn next_end(&self) -> Option<BlockTime> {
        let end = self.ends.first().map(|(at, _)| *at);
        let proof = self.proofs.first().map(|(at, _, _)| *at);
        let times = [end, proof].into_iter().flatten();
        times.min().map(BlockTime)
    }

    /// The lowest height that is waited for.
    pub(crate) fn next_height(&self) -> Option<u64> {
        self.depths.first().map(|(height, _)| *height)
    }

    /// Takes the earliest timer that is due at `now`.
    pub(crate) fn pop_timer(&mut self, now: WallTime) -> Option<Timer> {
        let (at, timer) = *self.timers.first()?;
        if at > now {
            return None;
        }
        self.timers.remove(&(at, timer));
        Some(timer)
    }
}
