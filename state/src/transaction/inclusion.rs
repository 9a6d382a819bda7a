//! What blocks do to a nonce: inclusion, a reorg that takes it back, finality.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{Phase, Slot, Step, Use, after, send::Pruned, withdraw::Leave};
use crate::{
    delivery::Inclusion,
    effect::Effect,
    event::{ChainFact, Receipt},
    machine::{Halt, Machine},
    outbox::{Owner, Turn},
    subscription::CANCELLED_AT,
    types::{Address, BlockRef, DeliveryNo, Hash, Nonce, SubscriptionId},
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

/// What the node's batches answered in a block, as its events told so far.
#[derive(Default)]
pub(crate) struct Answers {
    fulfilled: BTreeSet<SubscriptionId>,
    /// Which transaction's, where the facts stand in the order of their logs.
    by_tx: BTreeSet<(SubscriptionId, Hash)>,
    /// Those that were given for a record that a reorg took away.
    strays: BTreeSet<SubscriptionId>,
}

impl Answers {
    /// `facts` are the newest of the block, `fulfilled` what all of them say of batches.
    fn new(
        fulfilled: &BTreeSet<SubscriptionId>,
        facts: &[ChainFact],
        node: Option<Address>,
    ) -> Self {
        let (mut by_tx, mut foreign, mut of) = (BTreeSet::new(), BTreeSet::new(), None);
        for fact in facts {
            match fact {
                ChainFact::TransactionIncluded(receipt) => of = Some(Some(receipt.tx)),
                ChainFact::ForeignNonceUsed { .. } => of = Some(None),
                ChainFact::SubscriptionFulfilled { id, node: by } if node == Some(*by) => {
                    match of {
                        Some(Some(tx)) => by_tx.insert((*id, tx)),
                        // Somebody else with the node's key; no item of a batch was it.
                        Some(None) => foreign.insert(*id),
                        None => false,
                    };
                }
                ChainFact::SubscriptionFulfilled { .. }
                | ChainFact::SubscriptionCreated { .. }
                | ChainFact::SubscriptionCancelled { .. }
                | ChainFact::ProofVerified { .. }
                | ChainFact::Wallet(_) => {}
            }
        }
        Self {
            fulfilled: fulfilled.difference(&foreign).copied().collect(),
            by_tx,
            strays: BTreeSet::new(),
        }
    }

    /// Whether an id was answered, for its present record.
    fn has(&self, id: SubscriptionId) -> bool {
        self.fulfilled.contains(&id) && !self.strays.contains(&id)
    }

    /// Whether this very transaction answered an id, for whatever record: the chain takes no
    /// second answer of the node.
    fn take(&mut self, id: SubscriptionId, tx: Hash) -> bool {
        self.by_tx.contains(&(id, tx)) && self.strays.insert(id)
    }
}

impl Machine {
    /// `TransactionIncluded`: a version of an open nonce is in a block. `answers` says what the
    /// node's batches answered in this block: they succeed item by item.
    /// `false` when the transaction is not one of ours, or was heard of before.
    pub(crate) fn transaction_included(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        receipt: &Receipt,
        answers: &mut Answers,
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
            let delivered =
                receipt.succeeded && (!batch || self.is_answered(block, receipt, *no, answers));
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

    /// Whether an item of a batch is among what the node answered in its block. After a reorg
    /// another's delivery may have answered a stranger of the same id, or the item did, where it
    /// came before it could be withdrawn: then its transaction says so itself. Of an earlier
    /// interval an old version may come so late that another answers the one that runs. The record may be
    /// cancelled since, in the same block.
    fn is_answered(
        &self,
        block: &BlockRef,
        receipt: &Receipt,
        no: DeliveryNo,
        answers: &mut Answers,
    ) -> bool {
        let Some(delivery) = self.deliveries.get(no) else {
            return false;
        };
        let identity = delivery.identity;
        let Some(tracked) = self.subscriptions.get(identity.id) else {
            return false;
        };
        let cancelled = tracked.subscription.active_at == CANCELLED_AT;
        let runs = tracked.interval(block) == delivery.interval;
        if tracked.block == identity.block {
            (cancelled || runs) && answers.has(identity.id)
        } else {
            runs && answers.take(identity.id, receipt.tx)
        }
    }

    /// What a block's newest facts say of batches; `fulfilled` are all that the node answered in
    /// it. An item of a batch cannot have been what a single delivery of the same block answered,
    /// since the node answers an interval once.
    pub(crate) fn answers_in(
        &self,
        facts: &[ChainFact],
        fulfilled: &BTreeSet<SubscriptionId>,
        node: Option<Address>,
    ) -> Answers {
        let receipts = || {
            facts.iter().filter_map(|fact| {
                let ChainFact::TransactionIncluded(receipt) = fact else {
                    return None;
                };
                let slot = self.account.slots.get(&receipt.nonce)?;
                let version = slot.version(receipt.tx).filter(|_| receipt.succeeded)?;
                Some(version.does.deliveries())
            })
        };
        if !receipts().any(|deliveries| deliveries.len() > 1) {
            return Answers::default(); // Nobody asks.
        }
        let alone: BTreeSet<_> = receipts()
            .filter_map(|deliveries| match deliveries {
                [no] => self.deliveries.get(*no).map(|of| self.chain_id_of(of)),
                _ => None,
            })
            .collect();
        let in_batches: BTreeSet<_> = fulfilled.difference(&alone).copied().collect();
        Answers::new(&in_batches, facts, node)
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
            let percent = self.limits().fee_bump_percent;
            if let Some(slot) = self.account.slots.get_mut(&nonce) {
                slot.quote = slot.quote.bumped(percent);
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
        let (Some(slot), Some(chain)) = (self.account.slots.get(&nonce), self.chain_config())
        else {
            self.rest(nonce); // Until there is a chain again.
            return Ok(());
        };
        let Some(action) = self.action_of(&slot.wanted) else {
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
        let Phase::Included { height, tx, .. } = slot.phase else {
            return;
        };
        let does = slot.version(tx).map(|version| version.does.clone());
        let block = height;
        for no in does.iter().flat_map(Use::deliveries) {
            self.delivery_final(*no, Inclusion { nonce, tx, block });
        }
        self.close_slot(nonce);
        self.account.settled = self.account.settled.max(after(nonce));
    }
}
