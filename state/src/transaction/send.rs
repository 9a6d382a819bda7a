//! A nonce's way to the pool: signed, handed to the RPC, bumped, looked up.

use alloc::vec::Vec;

use super::{Phase, Step, Use, after, withdraw::Leave};
use crate::{
    delivery::{Chance, Loss},
    effect::Effect,
    limits::{REFUSED_ATTEMPTS_MAX, REVERTED_SIMULATIONS_MAX, SEND_ATTEMPTS_MAX, VERSIONS_MAX},
    machine::{Halt, Machine},
    outbox::{Owner, Turn, backoff_ms},
    schedule::Timer,
    types::{DeliveryNo, Nonce, WallTime},
};

/// What a look at a nonce's deliveries found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pruned {
    /// All of them would be taken, or it holds none.
    Same,
    /// Their interval has not begun again.
    Early,
    /// Some are out; what is left is on its way.
    Changed,
}

impl Machine {
    /// Asks for a signature of what a nonce is for now.
    pub(super) fn sign(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        self.stop_slot(turn, nonce)?;
        let (Some(slot), Some(chain)) = (self.account.slots.get(&nonce), self.chain_config())
        else {
            self.rest(nonce); // Until there is a chain again.
            return Ok(());
        };
        let quote = slot.quote;
        let chain_id = chain.chain_id;
        let Some(action) = self.action_of(&slot.wanted) else {
            return self.drop_unconfigured(turn, nonce);
        };
        let effect = Effect::Sign {
            chain_id,
            nonce,
            action,
            gas_limit: quote.gas_limit,
            max_fee_per_gas: quote.max_fee_per_gas,
            max_priority_fee_per_gas: quote.max_priority_fee_per_gas,
        };
        let id = self.issue(turn, Owner::Slot(nonce), effect)?;
        self.step_slot(nonce, Step::Sign(id));
        Ok(())
    }

    /// Hands the newest version to the RPC, if what it does is still wanted and would be taken.
    pub(super) fn broadcast(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        self.stop_slot(turn, nonce)?;
        let Some(slot) = self.account.slots.get(&nonce) else {
            return Ok(());
        };
        let Some(version) = slot.versions.last() else {
            return self.sign(turn, nonce);
        };
        if version.does != slot.wanted {
            return self.sign(turn, nonce);
        }
        let (tx, raw) = (version.tx, version.raw);
        match self.prune(turn, nonce)? {
            Pruned::Same => {}
            Pruned::Early => {
                self.rest(nonce);
                return Ok(());
            }
            Pruned::Changed => return Ok(()),
        }
        let effect = Effect::Broadcast { tx, nonce, raw };
        let id = self.issue(turn, Owner::Slot(nonce), effect)?;
        if let Some(slot) = self.account.slots.get_mut(&nonce) {
            slot.sent = true;
        }
        self.step_slot(nonce, Step::Send(id));
        // Not before the account was observed in this run of the node.
        self.hold_unless_allowed(turn, id);
        Ok(())
    }

    /// Looks once more whether the deliveries of a nonce would be taken, and takes out those
    /// that would not.
    pub(super) fn prune(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<Pruned, Halt> {
        let batch = match self.account.slots.get(&nonce).map(|slot| &slot.wanted) {
            Some(Use::Deliver(batch)) => batch.clone(),
            Some(Use::Stake { .. } | Use::Finalize { .. } | Use::Fill) | None => {
                return Ok(Pruned::Same);
            }
        };
        let mut lost = Vec::new();
        let mut early = false;
        for no in batch.as_slice() {
            match self.chance_of(*no) {
                Chance::Open => {}
                Chance::Early => early = true,
                Chance::Met => lost.push((*no, Leave::Lost(Loss::Met))),
                Chance::Lost(loss) => lost.push((*no, Leave::Lost(loss))),
            }
        }
        if !lost.is_empty() {
            self.take_out(turn, nonce, lost)?;
            Ok(Pruned::Changed)
        } else if early {
            Ok(Pruned::Early)
        } else {
            Ok(Pruned::Same)
        }
    }

    /// Asks what became of a nonce.
    pub(crate) fn look(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        self.stop_slot(turn, nonce)?;
        let Some(tx) = self
            .account
            .slots
            .get(&nonce)
            .and_then(|slot| slot.versions.last())
            .map(|version| version.tx)
        else {
            return self.sign(turn, nonce);
        };
        let effect = Effect::LookUpTransaction { nonce, tx };
        let id = self.issue(turn, Owner::Slot(nonce), effect)?;
        self.step_slot(nonce, Step::Look(id));
        Ok(())
    }

    /// Waits for inclusion; the timer bumps the fee or looks again.
    pub(super) fn rest(&mut self, nonce: Nonce) {
        self.rest_for(nonce, self.limits().fee_bump_after_ms);
    }

    /// The newest version is not known to be taken: it is handed over again after a wait that
    /// grows, and given up after so many tries in a row.
    pub(super) fn not_taken(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let Some(slot) = self.account.slots.get(&nonce) else {
            return Ok(());
        };
        let tries = slot.tries;
        if tries >= SEND_ATTEMPTS_MAX {
            self.taken_over(nonce); // Begins anew where it cannot be given up, with a higher fee.
            return self.give_up_slot(turn, nonce, Loss::Unavailable);
        }
        self.rest_longer(nonce, tries);
        Ok(())
    }

    /// The pool refuses the newest version for a reason of its own: as [`Self::not_taken`], with a
    /// count and a patience of its own, since no other trouble speaks against it. A batch is split
    /// up first.
    pub(super) fn refused(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        slot.refusals = slot.refusals.saturating_add(1);
        let refusals = slot.refusals;
        if refusals >= REFUSED_ATTEMPTS_MAX {
            self.taken_over(nonce);
            if self.split_up(turn, nonce)? {
                return Ok(());
            }
            return self.give_up_slot(turn, nonce, Loss::Unavailable);
        }
        self.rest_longer(nonce, refusals);
        Ok(())
    }

    /// What a nonce does would revert, as far as the RPC knows: it is simulated again after a wait
    /// that grows. `false` when that was so too often in a row.
    pub(super) fn recheck_later(&mut self, nonce: Nonce) -> bool {
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return false;
        };
        slot.reverts = slot.reverts.saturating_add(1);
        let reverts = slot.reverts;
        if reverts >= REVERTED_SIMULATIONS_MAX {
            slot.reverts = 0;
            return false;
        }
        self.rest_longer(nonce, reverts);
        true
    }

    fn rest_longer(&mut self, nonce: Nonce, failures: u16) {
        let limits = self.limits();
        let wait = backoff_ms(
            limits.retry_backoff_ms,
            limits.retry_backoff_max_ms,
            failures,
        );
        self.rest_for(nonce, wait);
    }

    /// Counts a try of a nonce that did not end well.
    pub(super) fn count_try(&mut self, nonce: Nonce) {
        if let Some(slot) = self.account.slots.get_mut(&nonce) {
            slot.tries = slot.tries.saturating_add(1);
        }
    }

    /// The newest version is where it belongs, or is given up: what comes counts from the first.
    pub(super) fn taken_over(&mut self, nonce: Nonce) {
        if let Some(slot) = self.account.slots.get_mut(&nonce) {
            (slot.tries, slot.refusals) = (0, 0);
        }
    }

    fn rest_for(&mut self, nonce: Nonce, wait_ms: u64) {
        let at = WallTime(self.now.0.saturating_add(wait_ms.max(1)));
        self.step_slot(nonce, Step::Rest);
        if let Some(slot) = self.account.slots.get_mut(&nonce) {
            if let Some(old) = slot.timer.replace(at) {
                self.schedule.timers.remove(&(old, Timer::Bump(nonce)));
            }
            self.schedule.timers.insert((at, Timer::Bump(nonce)));
        }
    }

    /// Ends what a nonce waits for: its effect and its timer.
    pub(crate) fn stop_slot(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        if let Some(at) = slot.timer.take() {
            self.schedule.timers.remove(&(at, Timer::Bump(nonce)));
        }
        let Some(effect) = slot.phase.effect() else {
            return Ok(());
        };
        self.step_slot(nonce, Step::Rest);
        self.drop_effect(turn, effect)
    }

    /// A nonce's timer passed: a higher fee, or a look where that is not possible or not the
    /// matter.
    pub(crate) fn bump_due(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        slot.timer = None;
        if !matches!(slot.phase, Phase::Pooled) {
            return Ok(());
        }
        let (recheck, is_taken) = (slot.recheck, slot.tries == 0 && slot.refusals == 0);
        if !self.account.may_send() {
            self.rest(nonce);
            return Ok(());
        }
        if recheck {
            return self.resume_slot(turn, nonce);
        }
        if !is_taken {
            return self.broadcast(turn, nonce);
        }
        self.bump(turn, nonce)
    }

    pub(super) fn bump(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let cap = self.chain_config().map(|chain| chain.max_fee_per_gas_cap);
        let (Some(slot), Some(cap)) = (self.account.slots.get(&nonce), cap) else {
            self.rest(nonce);
            return Ok(());
        };
        let quote = self.bumped(slot.quote);
        let list = slot.wanted.deliveries();
        let (gas, price) = (slot.share_of(quote), quote.price_expected());
        let too_dear = |no: &DeliveryNo| !self.is_worth(*no, gas, price);
        let dear: Vec<DeliveryNo> = list.iter().copied().filter(too_dear).collect();
        if !dear.is_empty() && dear.len() == list.len() {
            // It may be included as it is; where others wait behind it, it makes way.
            return if self.account.next == Some(after(nonce)) {
                self.look(turn, nonce)
            } else {
                self.give_up_slot(turn, nonce, Loss::Unprofitable)
            };
        }
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        if slot.taken || quote.max_fee_per_gas > cap || slot.versions.len() >= VERSIONS_MAX {
            slot.taken = false;
            return self.look(turn, nonce);
        }
        if !dear.is_empty() {
            // The others go on without it, at that price.
            let lost = Leave::Lost(Loss::Unprofitable);
            let leaving = dear.into_iter().map(|no| (no, lost));
            return self.take_out(turn, nonce, leaving.collect());
        }
        // No second, dearer version of what would no longer be taken.
        match self.prune(turn, nonce)? {
            Pruned::Same => {}
            Pruned::Early => {
                self.rest(nonce);
                return Ok(());
            }
            Pruned::Changed => return Ok(()),
        }
        if let Some(slot) = self.account.slots.get_mut(&nonce) {
            slot.quote = quote;
        }
        self.sign(turn, nonce)
    }
}
