//! Whether a delivery sent now would be taken: the chain view judged at the block time at which
//! it would be included.

use super::Loss;
use crate::{
    event::Subscription,
    machine::{Halt, Machine},
    outbox::Turn,
    subscription::{self, Identity, Rejected, Responses},
    types::{BlockTime, DeliveryNo, Interval},
};

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

impl Machine {
    /// Whether a delivery would be taken now; if not, it waits, is parked or given up.
    pub(super) fn settle_chance(&mut self, turn: &mut Turn, no: DeliveryNo) -> Result<bool, Halt> {
        match self.chance_of(no) {
            Chance::Open => return Ok(true),
            Chance::Early => self.wait_longer(no),
            Chance::Met => self.park(turn, no)?,
            Chance::Lost(loss) => self.abandon(turn, no, loss)?,
        }
        Ok(false)
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
            // A block may come sooner than expected.
            Ok(()) if !self.has_begun(terms, interval) => Chance::Early,
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

    /// Whether an interval runs at the head's time already.
    fn has_begun(&self, terms: &Subscription, interval: Interval) -> bool {
        let head = self.chain.head.map(|head| head.time.as_contract_time());
        head.is_some_and(|now| {
            now >= terms.active_at
                && subscription::interval_at(terms.active_at, terms.period, now) >= interval
        })
    }

    /// The block time at which something sent now is expected to be included.
    pub(crate) fn expected_inclusion(&self) -> BlockTime {
        let head = self.chain.head.map_or(BlockTime(0), |head| head.time);
        self.expected_behind(head)
    }

    /// The same, where a block of this time is the newest.
    pub(crate) fn expected_behind(&self, newest: BlockTime) -> BlockTime {
        let delay = u64::from(self.limits().inclusion_delay_s);
        BlockTime(newest.0.saturating_add(delay))
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
}
