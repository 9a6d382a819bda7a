//! A node that is away, and reads what it missed as the watcher does: the head first, then each block
//! that holds something or is asked for.

use infernet_state::{Effect, Event, Issued};

use super::World;

impl World {
    /// The chain grows by so many blocks of which the node does not hear, with its pool; then its
    /// process starts again, or its RPC answers again.
    pub(crate) fn away(&mut self, blocks: usize, after: u64, restarts: bool) {
        for _ in 0..blocks {
            self.grow(after, true, false);
        }
        self.come_back(restarts);
    }

    /// The node learns how far the chain went on without it.
    pub(crate) fn come_back(&mut self, restarts: bool) {
        if restarts {
            self.start(None);
        } else {
            let head = self.head().block;
            self.apply(Event::HeadObserved { head });
        }
        self.tick();
    }

    /// Reads so many blocks of those that the node missed.
    pub(crate) fn read(&mut self, count: usize) {
        for _ in 0..count.min(self.unheard) {
            self.unheard -= 1;
            let state = &self.blocks[self.blocks.len() - 1 - self.unheard];
            let (block, facts) = (state.block, state.facts.clone());
            let asked = self.machine.next_block_deadline();
            let due = asked.time.is_some_and(|time| time <= block.time)
                || asked.number.is_some_and(|number| number <= block.number);
            if due || !facts.is_empty() {
                self.apply(Event::ChainCommitted { block, facts });
            }
        }
        self.rest();
    }

    /// Nothing is left to read: what was seen of the chain and is gone is not waited for.
    pub(crate) fn rest(&mut self) {
        let head = self.head().block;
        let waits = self.machine.chain().catching_up;
        if self.unheard > 0 || waits.is_none_or(|to| to < head.number) {
            return;
        }
        self.apply(Event::HeadObserved { head });
        if self.machine.chain().catching_up.is_some() {
            self.apply(Event::ChainCommitted {
                block: head,
                facts: Vec::new(),
            });
        }
    }

    /// Below the head that the chain is known to have, nothing of it is begun.
    pub(crate) fn check_presence(&self, event: &Event, issued: &[Issued]) {
        let is_answer = matches!(event, Event::EffectEnded { .. } | Event::JobAccepted(_));
        if self.machine.chain().catching_up.is_none() || is_answer {
            return;
        }
        for issued in issued.iter().filter(|issued| issued.attempt == 1) {
            let begins = matches!(
                issued.effect,
                Effect::ReadInputs { .. } | Effect::RunContainer(_)
            );
            assert!(!begins, "of the past: {issued:?}, by {event:?}");
        }
    }
}
