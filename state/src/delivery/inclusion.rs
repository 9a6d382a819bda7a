//! What blocks do to deliveries: inclusion, a reorg that takes it back, finality.

use super::{Inclusion, Loss, Move, State};
use crate::{
    job::Step,
    machine::{Halt, Machine},
    outbox::Turn,
    types::{DeliveryNo, Nonce},
};

impl Machine {
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
                self.chores.stake(no, None);
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
        let Some(delivery) = self.deliveries.all.get_mut(no) else {
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
        if let Some(key) = delivery.delegation {
            self.request_revived(turn, key, job)?;
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
        let Some(delivery) = self.deliveries.all.get_mut(no) else {
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
    pub(crate) fn delivery_final(&mut self, no: DeliveryNo, inclusion: Inclusion) {
        let Some(delivery) = self.deliveries.all.get_mut(no) else {
            return;
        };
        let state = delivery.state;
        // What delivered it is not followed by what reverted.
        if state != State::Final {
            delivery.settled = Some(inclusion);
        }
        if state == State::Included(inclusion.nonce) && self.move_delivery(no, Move::Finalize) {
            let job = self.deliveries.get(no).map(|delivery| delivery.job);
            self.note_final(no);
            self.retire_delivery(no);
            if let Some(job) = job
                && self.step_job(job, Step::Finalized)
            {
                self.close_job(job);
            }
        }
    }
}
