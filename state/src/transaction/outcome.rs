//! What came of an effect of a nonce.

use alloc::vec::Vec;

use super::{Phase, Step, Version};
use crate::{
    delivery::{INSUFFICIENT_ALLOWANCE, Loss, is_met},
    event::{Failure, Outcome, Rejection, Success, TransactionState},
    limits::{READ_ATTEMPTS_MAX, SEND_ATTEMPTS_MAX},
    machine::{Halt, Machine},
    outbox::Turn,
    simulation::Simulation,
    types::{EffectId, Nonce, PayloadAt},
};

impl Machine {
    /// What came of an effect of a nonce.
    pub(crate) fn slot_effect_ended(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        let Some(phase) = self.account.slots.get(&nonce).map(|slot| slot.phase) else {
            self.close_effect(id);
            return Ok(());
        };
        match phase {
            Phase::Signing(at) if at == id => self.sign_ended(turn, nonce, id, outcome),
            Phase::Sending(at) if at == id => self.broadcast_ended(turn, nonce, id, outcome),
            Phase::Looking(at) if at == id => self.look_ended(turn, nonce, id, outcome),
            Phase::Rechecking(at) if at == id => self.recheck_ended(turn, nonce, id, outcome),
            Phase::Signing(_)
            | Phase::Sending(_)
            | Phase::Looking(_)
            | Phase::Rechecking(_)
            | Phase::Pooled
            | Phase::Included { .. } => {
                self.close_effect(id);
                Ok(())
            }
        }
    }

    fn sign_ended(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        if let Outcome::Succeeded(Success::Signed { tx, raw }) = outcome {
            self.close_effect(id);
            // The same fields give the same bytes: a version that is there already, or (where
            // nonsense is fed) another nonce's, is not noted twice.
            let known = self.account.by_tx.get(tx).copied();
            self.step_slot(nonce, Step::Rest);
            let Some(slot) = self.account.slots.get_mut(&nonce) else {
                return Ok(());
            };
            if known.is_some_and(|of| of != nonce) {
                return self.give_up_slot(turn, nonce, Loss::Unavailable);
            }
            let same = slot.versions.extract_if(.., |version| version.tx == *tx);
            let before: Vec<Version> = same.collect();
            slot.versions.reserve_exact(1); // Versions are large, and one is the rule.
            let does = slot.wanted.clone();
            slot.versions.push(Version {
                tx: *tx,
                raw: PayloadAt {
                    seq: turn.seq,
                    payload: *raw,
                },
                does: does.clone(),
                quote: slot.quote,
            });
            self.account.by_tx.insert(*tx, nonce);
            self.note_signed(&does);
            self.note_dropped(&before);
            return self.broadcast(turn, nonce);
        }
        if self.retry(id, SEND_ATTEMPTS_MAX) {
            return Ok(());
        }
        self.step_slot(nonce, Step::Rest);
        self.give_up_slot(turn, nonce, Loss::Unavailable)
    }

    fn broadcast_ended(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        match outcome {
            Outcome::Succeeded(Success::Broadcast) => {
                self.close_effect(id);
                self.taken_over(nonce);
                self.rest(nonce);
                Ok(())
            }
            Outcome::Failed(Failure::Rejected(Rejection::Underpriced)) => {
                self.close_effect(id);
                self.step_slot(nonce, Step::Rest);
                self.count_try(nonce);
                self.bump(turn, nonce)
            }
            Outcome::Unknown { .. }
            | Outcome::Failed(Failure::Rejected(Rejection::NonceTooLow)) => {
                self.close_effect(id);
                self.step_slot(nonce, Step::Rest);
                self.count_try(nonce);
                self.look(turn, nonce)
            }
            Outcome::Failed(Failure::Rejected(Rejection::Other { .. })) => {
                self.close_effect(id);
                self.step_slot(nonce, Step::Rest);
                self.refused(turn, nonce)
            }
            Outcome::Failed(
                Failure::Rejected(Rejection::NonceTooHigh | Rejection::InsufficientFunds)
                | Failure::Unavailable { .. }
                | Failure::Missing { .. }
                | Failure::Container { .. }
                | Failure::Reverted { .. }
                | Failure::NotRerun,
            )
            | Outcome::Succeeded(
                Success::InputsRead { .. }
                | Success::PayerRead { .. }
                | Success::ResponsesRead { .. }
                | Success::ContainerAnswered { .. }
                | Success::ContainerAnsweredOnchain { .. }
                | Success::Simulated { .. }
                | Success::Signed { .. }
                | Success::LookedUp(_),
            ) => {
                self.close_effect(id);
                self.step_slot(nonce, Step::Rest);
                self.count_try(nonce);
                self.not_taken(turn, nonce)
            }
        }
    }

    fn look_ended(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        let Outcome::Succeeded(Success::LookedUp(found)) = outcome else {
            if !self.retry(id, READ_ATTEMPTS_MAX) {
                self.rest(nonce);
            }
            return Ok(());
        };
        self.close_effect(id);
        self.step_slot(nonce, Step::Rest);
        match found {
            // Once more at once, where a single answer was lost.
            TransactionState::Absent => match self.account.slots.get(&nonce) {
                Some(slot) if slot.tries > 1 => self.not_taken(turn, nonce),
                Some(_) | None => self.broadcast(turn, nonce),
            },
            // Included, or taken by another (perhaps one of our own older versions): the chain's
            // facts tell which; the timer looks again.
            TransactionState::Included | TransactionState::NonceTaken => {
                if let Some(slot) = self.account.slots.get_mut(&nonce) {
                    slot.taken = true;
                }
                self.taken_over(nonce);
                self.rest(nonce);
                Ok(())
            }
            TransactionState::Pending => {
                self.taken_over(nonce);
                self.rest(nonce);
                Ok(())
            }
        }
    }

    fn recheck_ended(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        match outcome.into() {
            Simulation::Good { .. } => {
                self.close_effect(id);
                self.step_slot(nonce, Step::Rest);
                if let Some(slot) = self.account.slots.get_mut(&nonce) {
                    (slot.recheck, slot.reverts) = (false, 0);
                }
                self.broadcast(turn, nonce)
            }
            Simulation::Reverts(selector) => {
                self.close_effect(id);
                self.step_slot(nonce, Step::Rest);
                if self.drop_unstaked(turn, nonce)? {
                    return Ok(());
                }
                if !self.stakes_stand(nonce) {
                    self.rest(nonce);
                    return Ok(());
                }
                // An RPC that lags, on a block of the old fork, says so as well.
                let lacks = selector == INSUFFICIENT_ALLOWANCE;
                if !lacks && self.recheck_later(nonce) {
                    return Ok(());
                }
                if self.split_up(turn, nonce)? {
                    return Ok(());
                }
                if lacks {
                    return self.replan_slot(turn, nonce); // Whose it is shows there.
                }
                let loss = if is_met(selector) {
                    Loss::Met
                } else {
                    Loss::Reverts(selector)
                };
                self.give_up_slot(turn, nonce, loss)
            }
            Simulation::Missing | Simulation::Unclear => {
                if self.retry(id, READ_ATTEMPTS_MAX) {
                    return Ok(());
                }
                self.step_slot(nonce, Step::Rest);
                self.give_up_slot(turn, nonce, Loss::Unavailable)
            }
        }
    }
}
