//! How a delivery ends without a block: parked while others' block may still go, or given up.

use super::{Loss, Move, State};
use crate::{
    job::Cause,
    machine::{Halt, Machine},
    outbox::Turn,
    schedule::Timer,
    types::{DeliveryNo, EffectId, JobNo},
};

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
        | Loss::NoStake
        | Loss::TooLarge => Cause::Undelivered(loss),
    }
}

impl Machine {
    /// The chain's facts say that others met the interval: in a block that may still go, or, where
    /// all that was recorded is final, for good.
    pub(super) fn park(&mut self, turn: &mut Turn, no: DeliveryNo) -> Result<(), Halt> {
        let Some(height) = self.chain.undo.keys().next_back().copied() else {
            return self.abandon(turn, no, Loss::Met);
        };
        self.unwait(no);
        if self.move_delivery(no, Move::Park) {
            if let Some(delivery) = self.deliveries.all.get_mut(no) {
                delivery.parked_at = Some(height);
            }
            self.deliveries.parked.insert((height, no));
        }
        Ok(())
    }

    /// A reorg took away what met the interval of a parked delivery.
    pub(crate) fn unpark(&mut self, turn: &mut Turn, no: DeliveryNo) -> Result<(), Halt> {
        let parked = self
            .deliveries
            .all
            .get_mut(no)
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
        self.chores.stake(no, None);
        self.retire_delivery(no);
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
        self.leave_allowance(no);
        let delivery = self.deliveries.all.get_mut(no)?;
        if let Some(at) = delivery.replan_at.take() {
            self.schedule.timers.remove(&(at, Timer::Replan(no)));
        }
        if let Some(height) = delivery.parked_at.take() {
            self.deliveries.parked.remove(&(height, no));
        }
        delivery.effect.take()
    }
}
