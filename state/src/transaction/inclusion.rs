//! What blocks do to a nonce: inclusion, a reorg that takes it back, finality.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{Phase, Slot, Step, Use, after, send::Pruned, withdraw::Leave};
use crate::{
    effect::Effect,
    event::{ChainFact, Receipt},
    machine::{Halt, Machine},
    outbox::{Owner, Turn},
    types::{BlockRef, DeliveryNo, Nonce, SubscriptionId},
};

/// How the stake of a delivery with a nonce stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stake {
    /// It is allowed in the chain, or there is none.
    Stands,
    /// A nonce before it will allow it.
    Comes,
    /// Nothing before it will.
    Missing,
}

/// What speaks for a delivery as the answer to an id, the stronger the later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Claim {
    /// An item of a batch, for a record that the id had before a reorg.
    Former,
    /// An item of a batch, for the present record.
    Present,
    /// All of its transaction.
    Alone,
}

impl Machine {
    /// `TransactionIncluded`: a version of an open nonce is in a block. `answered` says what the
    /// node answered in this block ([`Machine::answered_in`]): a batch succeeds item by item.
    /// `false` when the transaction is not one of ours, or was heard of before.
    pub(crate) fn transaction_included(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        receipt: &Receipt,
        answered: &BTreeMap<SubscriptionId, DeliveryNo>,
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
            let answers = || answered.values().any(|of| of == no);
            let delivered = receipt.succeeded && (!batch || answers());
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
            self.chore_included(turn, block, receipt.nonce, &does, (chore, done))?;
        }
        Ok(true)
    }

    /// Which deliveries answered the subscriptions that the node answered in a block. The chain
    /// takes one answer of a node to an interval: that of a transaction of its own; else, of the
    /// items of batches, that for the present record of the id, which a reorg may have given to a
    /// stranger; else the first of them. Called before the block's receipts are taken.
    pub(crate) fn answered_in(
        &self,
        block: &BlockRef,
        facts: &[ChainFact],
        fulfilled: &BTreeSet<SubscriptionId>,
    ) -> BTreeMap<SubscriptionId, DeliveryNo> {
        let mut answered: BTreeMap<SubscriptionId, (Claim, DeliveryNo)> = BTreeMap::new();
        for fact in facts {
            let ChainFact::TransactionIncluded(receipt) = fact else {
                continue;
            };
            let slot = self.account.slots.get(&receipt.nonce);
            let version = slot.and_then(|slot| slot.version(receipt.tx));
            let Some(version) = version.filter(|_| receipt.succeeded) else {
                continue;
            };
            let list = version.does.deliveries();
            for no in list {
                let Some((id, claim)) = self.claim_of(block, *no, list.len() > 1) else {
                    continue;
                };
                let stronger = answered.get(&id).is_none_or(|(of, _)| claim > *of);
                if fulfilled.contains(&id) && stronger {
                    answered.insert(id, (claim, *no));
                }
            }
        }
        let strongest = answered.into_iter();
        strongest.map(|(id, (_, no))| (id, no)).collect()
    }

    /// What speaks for a delivery as the answer to its id in a block.
    fn claim_of(
        &self,
        block: &BlockRef,
        no: DeliveryNo,
        batch: bool,
    ) -> Option<(SubscriptionId, Claim)> {
        let delivery = self.deliveries.get(no)?;
        let id = self.chain_id_of(delivery);
        let tracked = self.subscriptions.get(id)?;
        let claim = if !batch {
            Claim::Alone
        } else if tracked.interval(block) != delivery.interval {
            return None;
        } else if tracked.block == delivery.identity.block {
            Claim::Present
        } else {
            Claim::Former
        };
        Some((id, claim))
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
        let version = slot.version(tx);
        let version = version.map(|version| (version.does.clone(), version.quote.gas_limit));
        self.step_slot(nonce, Step::Undo);
        let Some((does, gas_limit)) = version else {
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
            if wanted != Use::Fill {
                slot.quote.gas_limit = gas_limit; // It may have been used up since, for less.
            }
            slot.wanted = wanted;
            slot.doubt();
        }
        Ok(())
    }

    /// A nonce whose inclusion is gone, or whose deliveries would be paid into another wallet, is
    /// sent again if what it does still holds, and used up otherwise. It waits for nothing but what a
    /// lower nonce does.
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
        if self.drop_unstaked(turn, nonce)? {
            return Ok(());
        }
        let Some(slot) = self.account.slots.get(&nonce) else {
            return Ok(());
        };
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
        if !self.stakes_stand(nonce) {
            // Its allowance went with the same reorg and comes again before it: look later.
            self.rest(nonce);
            return Ok(());
        }
        let wanted = self.account.slots.get(&nonce).map(|slot| &slot.wanted);
        let action = wanted.and_then(|wanted| self.action_of(wanted));
        let (Some(action), Some(chain)) = (action, self.chain_config()) else {
            return self.drop_unconfigured(turn, nonce);
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

    /// How the stake of a delivery stands that has this nonce.
    fn stake_at(&self, nonce: Nonce, no: DeliveryNo) -> Stake {
        match self.chores.stakes.get(&no) {
            Some((token, stake)) if self.chores.allowance(*token) < *stake => {
                let approves = |slot: &Slot| {
                    matches!(&slot.wanted, Use::Stake { token: of, .. } if of == token)
                        && !matches!(slot.phase, Phase::Included { .. })
                };
                let mut before = self.account.slots.range(..nonce);
                if before.any(|(_, slot)| approves(slot)) {
                    Stake::Comes
                } else {
                    Stake::Missing
                }
            }
            Some(_) | None => Stake::Stands,
        }
    }

    /// Whether the allowances that a nonce's stakes need stand in the chain.
    pub(super) fn stakes_stand(&self, nonce: Nonce) -> bool {
        let list = self.deliveries_of(nonce);
        list.iter()
            .all(|no| self.stake_at(nonce, *no) == Stake::Stands)
    }

    /// Deliveries whose stake nothing before them allows go on elsewhere, behind their approval:
    /// here it would wait for them, and they for it. Says whether there were any.
    pub(super) fn drop_unstaked(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<bool, Halt> {
        let list = self.deliveries_of(nonce).into_iter();
        let unstaked = list.filter(|no| self.stake_at(nonce, *no) == Stake::Missing);
        let leaving: Vec<_> = unstaked.map(|no| (no, Leave::Replanned)).collect();
        if leaving.is_empty() {
            return Ok(false);
        }
        self.take_out(turn, nonce, leaving)?;
        Ok(true)
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
