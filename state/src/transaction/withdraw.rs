//! What is no longer wanted of a nonce, or is to go elsewhere: taken out of its batch, taken back,
//! or replaced by an empty transfer.

use alloc::{vec, vec::Vec};

use super::{Phase, Use, after};
use crate::{
    delivery::{Chance, Loss, Move, State},
    machine::{Halt, Machine},
    outbox::Turn,
    types::{DeliveryNo, Nonce},
};

/// Why a delivery leaves its nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leave {
    /// It is given up.
    Lost(Loss),
    /// It is planned anew, for another nonce. What has left the node for this one is decided
    /// before, since nonces are used up in their order: of the two at most one succeeds.
    Replanned,
}

impl Machine {
    /// A delivery with a nonce is given up.
    pub(crate) fn withdraw(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        loss: Loss,
    ) -> Result<(), Halt> {
        match self.deliveries.get(no).map(|delivery| delivery.state) {
            Some(State::Sent(nonce)) => self.take_out(turn, nonce, vec![(no, Leave::Lost(loss))]),
            Some(
                State::Planned
                | State::Simulating
                | State::Ready
                | State::Included(_)
                | State::Final
                | State::Parked
                | State::Abandoned(_)
                | State::Withdrawn(_),
            )
            | None => Ok(()),
        }
    }

    /// Deliveries leave a nonce: the rest of a batch goes on without them; where nothing is left,
    /// the nonce is taken back or used up.
    pub(super) fn take_out(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        mut leaving: Vec<(DeliveryNo, Leave)>,
    ) -> Result<(), Halt> {
        // The rest is signed anew: no more than what would be taken.
        for no in self.deliveries_of(nonce) {
            if leaving.iter().any(|(gone, _)| *gone == no) {
                continue;
            }
            match self.chance_of(no) {
                Chance::Open | Chance::Early => {}
                Chance::Met => leaving.push((no, Leave::Lost(Loss::Met))),
                Chance::Lost(loss) => leaving.push((no, Leave::Lost(loss))),
            }
        }
        let percent = self.limits().fee_bump_percent;
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        if matches!(slot.phase, Phase::Included { .. }) {
            return Ok(());
        }
        let sent = slot.sent;
        let mut empty = false;
        if let Use::Deliver(batch) = &mut slot.wanted {
            batch.retain(|no| leaving.iter().all(|(gone, _)| *gone != no));
            empty = batch.as_slice().is_empty();
        }
        if empty {
            if !self.release(turn, nonce)? {
                self.fill(turn, nonce)?;
            }
        } else {
            if sent {
                slot.quote = slot.quote.bumped(percent);
            }
            self.sign(turn, nonce)?;
        }
        for (no, why) in leaving {
            let Leave::Lost(loss) = why else {
                self.replan_later(no);
                continue;
            };
            let step = if sent {
                Move::Withdraw(loss)
            } else {
                Move::Abandon(loss)
            };
            if self.move_delivery(no, step) {
                self.end_delivery(turn, no, loss)?;
            }
        }
        Ok(())
    }

    /// A delivery is done elsewhere: its nonce goes on without it.
    pub(crate) fn leave_slot(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        no: DeliveryNo,
    ) -> Result<(), Halt> {
        self.take_out(turn, nonce, vec![(no, Leave::Lost(Loss::Met))])
    }

    /// Takes back the newest nonce when nothing of it can have left the node.
    fn release(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<bool, Halt> {
        let newest = self.account.next == Some(after(nonce));
        let unsent = self
            .account
            .slots
            .get(&nonce)
            .is_some_and(|slot| !slot.sent && !matches!(slot.phase, Phase::Included { .. }));
        if !(newest && unsent) {
            return Ok(false);
        }
        self.stop_slot(turn, nonce)?;
        self.close_slot(nonce);
        self.account.next = Some(nonce);
        Ok(true)
    }

    /// Replaces what a nonce was for by an empty transfer.
    pub(crate) fn fill(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let percent = self.limits().fee_bump_percent;
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        if matches!(slot.phase, Phase::Included { .. }) || slot.wanted == Use::Fill {
            return Ok(());
        }
        slot.wanted = Use::Fill;
        // A replacement must offer more, also where the cap is reached: one bump beyond it.
        if slot.sent {
            slot.quote = slot.quote.bumped(percent);
        }
        slot.quote = slot.quote.of_transfer();
        self.sign(turn, nonce)
    }

    /// The deliveries that a nonce is for now.
    pub(super) fn deliveries_of(&self, nonce: Nonce) -> Vec<DeliveryNo> {
        self.account
            .slots
            .get(&nonce)
            .map(|slot| slot.wanted.deliveries().to_vec())
            .unwrap_or_default()
    }

    /// A nonce cannot be signed or sent for: its deliveries are given up; anything else cannot
    /// be, and is tried again after a rest.
    pub(super) fn give_up_slot(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        loss: Loss,
    ) -> Result<(), Halt> {
        let list = self.deliveries_of(nonce);
        if list.is_empty() {
            self.rest(nonce);
            return Ok(());
        }
        let lost = list.into_iter().map(|no| (no, Leave::Lost(loss)));
        self.take_out(turn, nonce, lost.collect())
    }

    /// Deliveries that the configuration no longer allows, without a chain or without a wallet for
    /// their price, are given up; what a nonce is for beside them is tried again after a rest.
    pub(super) fn drop_unconfigured(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let list = self.deliveries_of(nonce).into_iter();
        let lost = list.filter(|no| self.delivery_action(*no).is_none());
        let leaving: Vec<_> = lost
            .map(|no| (no, Leave::Lost(Loss::Unconfigured)))
            .collect();
        if leaving.is_empty() {
            self.rest(nonce);
            return Ok(());
        }
        self.take_out(turn, nonce, leaving)
    }

    /// The deliveries of a nonce go on elsewhere.
    pub(super) fn replan_slot(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let list = self.deliveries_of(nonce).into_iter();
        let leaving = list.map(|no| (no, Leave::Replanned));
        self.take_out(turn, nonce, leaving.collect())
    }

    /// What a nonce is for fails as a whole. Of a batch nobody knows whose fault it is: each goes
    /// on alone. Says whether that was so.
    pub(super) fn split_up(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<bool, Halt> {
        let list = self.deliveries_of(nonce);
        if list.len() < 2 {
            return Ok(false);
        }
        for no in list {
            if let Some(delivery) = self.deliveries.all.get_mut(no) {
                delivery.alone = true;
            }
        }
        self.replan_slot(turn, nonce)?;
        Ok(true)
    }
}
