//! What blocks do to a nonce: inclusion, a reorg that takes it back, finality.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{Phase, Step, Use, after, send::Pruned};
use crate::{
    delivery::Loss,
    effect::Effect,
    event::Receipt,
    machine::{Halt, Machine},
    outbox::{Owner, Turn},
    types::{BlockRef, Nonce, SubscriptionId},
};

impl Machine {
    /// `TransactionIncluded`: a version of an open nonce is in a block. `fulfilled` are the
    /// subscriptions that the node answered in this block: a batch succeeds item by item.
    /// `false` when the transaction is not one of ours, or was heard of before.
    pub(crate) fn transaction_included(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        receipt: &Receipt,
        fulfilled: &BTreeSet<SubscriptionId>,
    ) -> Result<bool, Halt> {
        let Some(does) = self
            .account
            .slots
            .get(&receipt.nonce)
            .filter(|slot| !matches!(slot.phase, Phase::Included { .. }))
            .and_then(|slot| slot.version(receipt.tx))
            .map(|version| version.does.clone())
        else {
            return Ok(false);
        };
        self.stop_slot(turn, receipt.nonce)?;
        self.step_slot(
            receipt.nonce,
            Step::Include {
                height: block.number,
                tx: receipt.tx,
                succeeded: receipt.succeeded,
            },
        );
        let wanted = self
            .account
            .slots
            .get(&receipt.nonce)
            .map(|slot| slot.wanted.clone());
        if !receipt.succeeded && does.chore().is_some() {
            self.count_loss();
        }
        let batch = does.deliveries().len() > 1;
        for no in does.deliveries() {
            let delivered = receipt.succeeded
                && (!batch
                    || self
                        .deliveries
                        .get(*no)
                        .is_some_and(|delivery| fulfilled.contains(&delivery.identity.id)));
            self.delivery_included(turn, *no, receipt.nonce, delivered)?;
        }
        // A version that lacked a delivery came first: the delivery goes on elsewhere.
        for no in wanted.iter().flat_map(Use::deliveries) {
            if !does.deliveries().contains(no) {
                self.replan_later(*no);
            }
        }
        if let Some(chore) = wanted.as_ref().and_then(Use::chore) {
            let done = does.chore() == Some(chore) && receipt.succeeded;
            self.chore_included(turn, block, &does, chore, done)?;
        }
        Ok(true)
    }

    /// The block of an included nonce is gone; what follows is decided by
    /// [`Machine::resume_slot`] when the whole reorg is undone.
    pub(crate) fn transaction_undone(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        let Phase::Included { tx, .. } = slot.phase else {
            return Ok(());
        };
        let does = slot.version(tx).map(|version| version.does.clone());
        self.step_slot(nonce, Step::Undo);
        let Some(does) = does else {
            return Ok(());
        };
        let wanted = match &does {
            Use::Deliver(batch) => {
                let mut waiting = Vec::new();
                for no in batch.as_slice() {
                    if self.delivery_undone(turn, *no, nonce)? {
                        waiting.push(*no);
                    }
                }
                if waiting.is_empty() {
                    Use::Fill
                } else {
                    Use::Deliver(waiting.into())
                }
            }
            Use::Stake { .. } | Use::Finalize { .. } => {
                if self.chore_undone(turn, &does, nonce)? {
                    does
                } else {
                    Use::Fill
                }
            }
            Use::Fill => Use::Fill,
        };
        if let Some(slot) = self.account.slots.get_mut(&nonce) {
            slot.wanted = wanted;
            slot.recheck = true;
        }
        Ok(())
    }

    /// After a reorg: a nonce whose inclusion is gone is sent again if what it does still holds,
    /// and used up otherwise.
    pub(crate) fn resume_slot(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        if !matches!(slot.phase, Phase::Pooled) {
            return Ok(());
        }
        if slot.wanted.deliveries().is_empty() {
            slot.recheck = false; // There is nothing to simulate: from here on as ever.
        }
        if slot.versions.last().map(|version| &version.does) != Some(&slot.wanted) {
            if let Some(slot) = self.account.slots.get_mut(&nonce) {
                slot.quote = slot.quote.bumped();
                if slot.wanted == Use::Fill {
                    slot.quote = slot.quote.of_transfer();
                }
            }
            return match self.prune(turn, nonce)? {
                Pruned::Same | Pruned::Early => self.sign(turn, nonce),
                Pruned::Changed => Ok(()),
            };
        }
        if slot.wanted.deliveries().is_empty() {
            return self.broadcast(turn, nonce);
        }
        match self.prune(turn, nonce)? {
            Pruned::Same => {}
            Pruned::Early => {
                self.rest(nonce);
                return Ok(());
            }
            Pruned::Changed => return Ok(()),
        }
        let wanted = self.account.slots.get(&nonce).map(|slot| &slot.wanted);
        if wanted.is_some_and(|wanted| !self.stakes_stand(wanted)) {
            // Its allowance went with the same reorg and comes again before it: look later.
            self.rest(nonce);
            return Ok(());
        }
        let action = wanted.and_then(|wanted| self.action_of(wanted));
        let (Some(action), Some(chain)) = (action, self.chain_config()) else {
            return self.give_up_slot(turn, nonce, Loss::Unconfigured);
        };
        let effect = Effect::Simulate {
            from: chain.node,
            action,
            at: self.expected_inclusion(),
        };
        let id = self.issue(turn, Owner::Slot(nonce), effect)?;
        self.step_slot(nonce, Step::Recheck(id));
        Ok(())
    }

    /// The block of an included nonce is final: the nonce is closed.
    pub(crate) fn transaction_final(&mut self, nonce: Nonce) {
        let Some(slot) = self.account.slots.get(&nonce) else {
            return;
        };
        let Phase::Included { tx, .. } = slot.phase else {
            return;
        };
        let does = slot.version(tx).map(|version| version.does.clone());
        for no in does.iter().flat_map(Use::deliveries) {
            self.delivery_final(*no, nonce);
        }
        self.close_slot(nonce);
        self.account.settled = self.account.settled.max(after(nonce));
    }
}
