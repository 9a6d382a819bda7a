//! What is no longer wanted of a nonce: taken out of its batch, taken back, or replaced by an
//! empty transfer.

use alloc::{vec, vec::Vec};

use super::{Phase, Use, after};
use crate::{
    delivery::{Chance, Loss, Move, State},
    machine::{Halt, Machine},
    outbox::Turn,
    types::{DeliveryNo, Nonce},
};

impl Machine {
    /// A delivery with a nonce is given up.
    pub(crate) fn withdraw(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        loss: Loss,
    ) -> Result<(), Halt> {
        match self.deliveries.get(no).map(|delivery| delivery.state) {
            Some(State::Sent(nonce)) => self.withdraw_from(turn, nonce, vec![(no, loss)]),
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

    /// Deliveries of one nonce are given up: the rest of a batch goes on without them; where
    /// nothing is left, the nonce is taken back or used up.
    pub(super) fn withdraw_from(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        mut lost: Vec<(DeliveryNo, Loss)>,
    ) -> Result<(), Halt> {
        // The rest is signed anew: no more than what would be taken.
        for no in self.deliveries_of(nonce) {
            if lost.iter().any(|(gone, _)| *gone == no) {
                continue;
            }
            match self.chance_of(no) {
                Chance::Open | Chance::Early => {}
                Chance::Met => lost.push((no, Loss::Met)),
                Chance::Lost(loss) => lost.push((no, loss)),
            }
        }
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        if matches!(slot.phase, Phase::Included { .. }) {
            return Ok(());
        }
        let sent = slot.sent;
        let mut empty = false;
        if let Use::Deliver(batch) = &mut slot.wanted {
            batch.retain(|no| lost.iter().all(|(gone, _)| *gone != no));
            empty = batch.as_slice().is_empty();
        }
        if empty {
            if !self.release(turn, nonce)? {
                self.fill(turn, nonce)?;
            }
        } else {
            if sent {
                slot.quote = slot.quote.bumped();
            }
            self.sign(turn, nonce)?;
        }
        for (no, loss) in lost {
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
        self.withdraw_from(turn, nonce, vec![(no, Loss::Met)])
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
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        if matches!(slot.phase, Phase::Included { .. }) || slot.wanted == Use::Fill {
            return Ok(());
        }
        slot.wanted = Use::Fill;
        // A replacement must offer more, also where the cap is reached: one bump beyond it.
        if slot.sent {
            slot.quote = slot.quote.bumped();
        }
        slot.quote = slot.quote.of_transfer();
        self.sign(turn, nonce)
    }

    /// The deliveries that a nonce is for now.
    fn deliveries_of(&self, nonce: Nonce) -> Vec<DeliveryNo> {
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
        let lost = list.into_iter().map(|no| (no, loss)).collect();
        self.withdraw_from(turn, nonce, lost)
    }
}
