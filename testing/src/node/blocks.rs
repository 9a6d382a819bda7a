//! Blocks: closed, told to the machine as the node's watcher would tell them, final at last.

use std::collections::BTreeSet;

use infernet_state::{
    Event,
    event::ChainFact,
    types::{self, BlockRef, BlockTime, Hash},
};
use revm::primitives::{B256, keccak256};

use super::{Ledgers, Node, facts::Heard};
use crate::{
    evm::Snapshot,
    model::Model,
    twin::{Mismatch, Step},
};

/// Blocks that may still go, where nothing goes wrong.
const DEPTH: u64 = 2;

/// A block that is over.
pub(super) struct Closed {
    pub(super) block: BlockRef,
    /// What was in it.
    pub(super) heard: Vec<Heard>,
    /// The wallet's balances after it, as far as they were read.
    pub(super) balances: Vec<ChainFact>,
    /// Whose balances these are.
    pub(super) read: BTreeSet<types::Address>,
    /// What others did in it.
    pub(super) others: Vec<(Step, Option<B256>)>,
    /// How everything stood after it, while it may still go.
    pub(super) after: Option<Box<Past>>,
}

/// How everything stood after a block.
#[derive(Clone)]
pub(super) struct Past {
    pub(super) model: Model,
    pub(super) world: Snapshot,
    pub(super) so_far: Ledgers,
}

impl Node {
    pub(super) fn head(&self) -> BlockRef {
        let newest = self.chain.last();
        newest.map(|closed| closed.block).unwrap_or_default()
    }

    /// The block of a height.
    fn block_at(&self, height: u64) -> Option<BlockRef> {
        let place = usize::try_from(height.checked_sub(1)?).ok()?;
        self.chain.get(place).map(|closed| closed.block)
    }

    fn is_canonical(&self, block: &BlockRef) -> bool {
        self.block_at(block.number) == Some(*block)
    }

    /// Whether the watcher has not read all blocks.
    pub(super) fn is_behind(&self) -> bool {
        self.followed.last() != self.chain.last().map(|closed| &closed.block)
    }

    /// The open block is over.
    pub(super) fn seal(&mut self) {
        let number = self.head().number + 1;
        let name = [number.to_le_bytes(), self.forks.to_le_bytes()].concat();
        let block = BlockRef {
            number,
            hash: Hash(keccak256(name).0),
            time: BlockTime(self.twin.model.time()),
        };
        let heard: Vec<Heard> = std::mem::take(&mut self.open)
            .iter()
            .map(|tx| self.heard(tx))
            .collect();
        let read = self.moved(&heard);
        let balances = read.iter().map(|token| self.balance_of(*token)).collect();
        let after = Past {
            model: self.twin.model.clone(),
            world: self.twin.world.snapshot(),
            so_far: self.so_far.clone(),
        };
        self.chain.push(Closed {
            block,
            heard,
            balances,
            read,
            others: std::mem::take(&mut self.others),
            after: self.may_turn().then(|| Box::new(after)),
        });
        self.wall_ms = (self.wall_ms + 1_000).max(block.time.0.saturating_mul(1_000));
    }

    /// The open block is closed, and told to the machine if it holds anything or was asked for.
    pub(super) fn close_block(&mut self) -> Result<(), Mismatch> {
        self.seal();
        // An RPC that lags, or nobody who listens.
        if self.down || self.strikes(6) {
            return Ok(());
        }
        self.look()
    }

    /// The watcher looks at the chain, and the machine goes to work.
    pub(super) fn look(&mut self) -> Result<(), Mismatch> {
        let read = self.watch()?;
        // Late answers come together, and what they lead to is asked for at the same time.
        let late = self.dice.of(4) == 0 && !self.slow.is_empty();
        if late {
            self.effects.extend(std::mem::take(&mut self.slow));
        }
        // An RPC that is slow answers in a later block, and then all at once.
        if late || self.dice.of(4) > 0 {
            self.settle(!late)?;
        }
        self.read_again()?;
        self.compare(&read)?;
        if self.dice.of(2) == 0 {
            let depth = self.depth();
            self.finalize(self.head().number.saturating_sub(depth))?;
            self.settle(true)?;
        }
        Ok(())
    }

    fn depth(&mut self) -> u64 {
        DEPTH + if self.may_turn() { self.dice.of(6) } else { 0 }
    }

    /// Blocks up to a height are final from now on.
    pub(super) fn finalize(&mut self, height: u64) -> Result<(), Mismatch> {
        let known = self.followed.last().map_or(0, |block| block.number);
        let Some(block) = self.block_at(height.min(known)) else {
            return Ok(());
        };
        if block.number < self.final_height {
            return Ok(());
        }
        self.final_height = block.number;
        for closed in &mut self.chain {
            if closed.block.number < block.number {
                closed.after = None;
            }
        }
        let oldest = self.machine.chain().unfinalized_from();
        if oldest.is_some_and(|oldest| oldest <= block.number) {
            self.apply(&Event::ChainFinalized { block })?;
        }
        Ok(())
    }

    /// What the node's watcher does at a look: it finds out where the chain went another way, and records what the
    /// new blocks hold. Gives back the tokens whose balance the newest block told.
    pub(super) fn watch(&mut self) -> Result<BTreeSet<types::Address>, Mismatch> {
        let tip = self.followed.last().copied();
        if !tip.is_some_and(|tip| self.is_canonical(&tip)) && self.machine.chain().head.is_some() {
            self.go_back()?;
        }
        let mut read = BTreeSet::new();
        let from = self.followed.last().map_or(0, |block| block.number);
        for place in usize::try_from(from).unwrap_or_default()..self.chain.len() {
            let (block, mut facts) = self.facts_at(place);
            let closed = &self.chain[place];
            facts.extend(closed.balances.iter().cloned());
            read.clone_from(&closed.read);
            if self.is_due(block) || !facts.is_empty() {
                self.latest = self.latest.max(block.time.0);
                self.apply(&Event::ChainCommitted { block, facts })?;
            } else {
                self.happened.count("a head that nobody asked for");
            }
            self.followed.push(block);
        }
        // The head is not as high as it was when the account was observed.
        let head = self.head();
        let wanted = self.machine.chain().catching_up;
        if wanted.is_some_and(|height| height > head.number) {
            self.happened.count("a head was lower than observed");
            self.apply(&Event::HeadObserved { head })?;
        }
        Ok(read)
    }

    /// Whether the machine asked for a block without facts.
    fn is_due(&self, block: BlockRef) -> bool {
        let asked = self.machine.next_block_deadline();
        asked.time.is_some_and(|time| time <= block.time)
            || asked.number.is_some_and(|height| height <= block.number)
    }

    /// A deadline was set after its block was read.
    fn read_again(&mut self) -> Result<(), Mismatch> {
        let known = self.machine.chain().head.map_or(0, |head| head.number);
        match self.followed.last().copied() {
            Some(block) if block.number > known && self.is_due(block) => {
                self.latest = self.latest.max(block.time.0);
                let facts = Vec::new();
                self.apply(&Event::ChainCommitted { block, facts })?;
                self.settle(true)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Back to the newest block, of those followed or recorded, that is still in the chain.
    fn go_back(&mut self) -> Result<(), Mismatch> {
        let chain = self.machine.chain();
        let recorded = chain.head.iter().chain(&chain.finalized);
        let mut known: Vec<BlockRef> = recorded.chain(chain.recent()).copied().collect();
        known.extend(&self.followed);
        let newest = chain.head.map_or(0, |head| head.number);
        let ancestor = known
            .into_iter()
            .filter(|block| self.is_canonical(block))
            .max_by_key(|block| block.number)
            .expect("final blocks stay");
        if newest > ancestor.number {
            let deep = newest - ancestor.number;
            self.happened.count(if deep > 2 {
                "a deep reorg was told"
            } else {
                "a reorg was told"
            });
            self.apply(&Event::ChainReorged { ancestor })?;
        }
        self.followed.retain(|block| block.number < ancestor.number);
        self.followed.push(ancestor);
        Ok(())
    }
}
