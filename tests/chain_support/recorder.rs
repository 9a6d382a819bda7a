//! A sink that keeps what the watcher records, with the little of the machine that it looks at.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use infernet_node::{
    chain::watcher::{MachineView, Sink},
    driver::Stopped,
};
use infernet_state::{
    Event,
    event::ChainFact,
    machine::BlockDeadline,
    types::{BlockRef, Hash, Nonce, SubscriptionId},
};

#[derive(Default)]
struct State {
    events: Vec<Event>,
    head: Option<BlockRef>,
    finalized: Option<BlockRef>,
    recorded: BTreeMap<u64, BlockRef>,
    /// Recorded facts that are not final, by height.
    unfinalized: BTreeMap<u64, Vec<ChainFact>>,
    sent: BTreeMap<Nonce, Vec<Hash>>,
    deadline: BlockDeadline,
    catching_up: Option<u64>,
    cursor: Option<SubscriptionId>,
}

/// Remembers; cheap to clone.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<State>>);

impl Recorder {
    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.look(|state| state.events.clone())
    }

    /// The facts of the canonical blocks, in order, each with its block.
    pub fn facts(&self) -> Vec<(BlockRef, ChainFact)> {
        let mut facts: Vec<(BlockRef, ChainFact)> = Vec::new();
        for event in self.events() {
            match event {
                Event::ChainCommitted { block, facts: more } => {
                    facts.extend(more.into_iter().map(|fact| (block, fact)));
                }
                Event::ChainReorged { ancestor } => {
                    facts.retain(|(block, _)| block.number <= ancestor.number);
                }
                _ => {}
            }
        }
        facts
    }

    /// The ids of the canonical creations, in order.
    pub fn created(&self) -> Vec<u32> {
        self.facts()
            .into_iter()
            .filter_map(|(_, fact)| match fact {
                ChainFact::SubscriptionCreated { id, .. } => Some(id.0),
                _ => None,
            })
            .collect()
    }

    /// A transaction was signed and may be included from now on.
    pub fn await_inclusion(&self, nonce: Nonce, tx: Hash) {
        self.look(|state| state.sent.entry(nonce).or_default().push(tx));
    }

    pub fn set_deadline(&self, deadline: BlockDeadline) {
        self.look(|state| state.deadline = deadline);
    }

    /// The account was read at a head that nobody else has seen.
    pub fn set_catching_up(&self, to: u64) {
        self.look(|state| state.catching_up = Some(to));
    }

    pub fn set_cursor(&self, cursor: SubscriptionId) {
        self.look(|state| state.cursor = Some(cursor));
    }

    fn look<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().expect("unpoisoned"))
    }
}

impl State {
    fn apply(&mut self, event: Event) {
        match &event {
            Event::ChainCommitted { block, facts } => {
                let goes_on = self.head.is_none_or(|head| head.number < block.number);
                assert!(goes_on, "{block:?} behind {:?}", self.head);
                self.head = Some(*block);
                self.recorded.insert(block.number, *block);
                if !facts.is_empty() {
                    let entry = self.unfinalized.entry(block.number).or_default();
                    entry.extend(facts.iter().cloned());
                }
                // What was waited for came.
                self.catching_up = self.catching_up.filter(|to| *to > block.number);
                if self.deadline.number.is_some_and(|n| n <= block.number) {
                    self.deadline.number = None;
                }
                if self.deadline.time.is_some_and(|t| t <= block.time) {
                    self.deadline.time = None;
                }
            }
            Event::HeadObserved { head } => {
                let is_above = self.head.is_some_and(|known| known.number < head.number);
                self.catching_up = is_above.then_some(head.number);
            }
            Event::ChainReorged { ancestor } => {
                let below_final = self.finalized.is_some_and(|f| ancestor.number < f.number);
                assert!(!below_final, "a reorg below the final block");
                self.head = Some(*ancestor);
                self.recorded.split_off(&(ancestor.number + 1));
                self.unfinalized.split_off(&(ancestor.number + 1));
            }
            Event::ChainFinalized { block } => {
                self.finalized = Some(*block);
                self.recorded = self.recorded.split_off(&(block.number + 1));
                self.unfinalized = self.unfinalized.split_off(&(block.number + 1));
                if self.head.is_none_or(|head| head.number < block.number) {
                    self.head = Some(*block);
                }
            }
            Event::SubscriptionsSynced {
                subscriptions,
                next,
                ..
            } => {
                self.cursor = (!subscriptions.is_empty()).then_some(*next);
            }
            Event::AccountObserved { .. } => {}
            other => panic!("not an event of the chain: {other:?}"),
        }
        self.events.push(event);
    }

    fn is_settled(&self, nonce: Nonce) -> bool {
        let canonical = self.events.iter();
        let mut settled = None;
        for event in canonical {
            match event {
                Event::ChainCommitted { block, facts } => {
                    let here = facts.iter().any(|fact| match fact {
                        ChainFact::TransactionIncluded(receipt) => receipt.nonce == nonce,
                        ChainFact::ForeignNonceUsed { nonce: used } => *used == nonce,
                        _ => false,
                    });
                    if here {
                        settled = Some(block.number);
                    }
                }
                Event::ChainReorged { ancestor } => {
                    settled = settled.filter(|number| *number <= ancestor.number);
                }
                _ => {}
            }
        }
        settled.is_some()
    }
}

impl MachineView for Recorder {
    fn recorded_head(&self) -> Option<BlockRef> {
        self.look(|state| state.head)
    }

    fn known_blocks(&self) -> Vec<BlockRef> {
        self.look(|state| {
            let ends = state.head.iter().chain(&state.finalized);
            ends.chain(state.recorded.values()).copied().collect()
        })
    }

    fn unfinalized_from(&self) -> Option<u64> {
        self.look(|state| state.unfinalized.keys().next().copied())
    }

    fn awaiting_inclusion(&self) -> BTreeMap<Nonce, Vec<Hash>> {
        self.look(|state| {
            let waiting = |(nonce, _): &(&Nonce, &Vec<Hash>)| !state.is_settled(**nonce);
            let sent = state.sent.iter().filter(waiting);
            sent.map(|(nonce, versions)| (*nonce, versions.clone()))
                .collect()
        })
    }

    fn next_block_deadline(&self) -> BlockDeadline {
        self.look(|state| BlockDeadline {
            number: [state.deadline.number, state.catching_up]
                .into_iter()
                .flatten()
                .min(),
            ..state.deadline
        })
    }

    fn catching_up(&self) -> Option<u64> {
        self.look(|state| state.catching_up)
    }

    fn sync_cursor(&self) -> Option<SubscriptionId> {
        self.look(|state| state.cursor)
    }
}

impl Sink for Recorder {
    async fn record(&self, events: Vec<Event>) -> Result<(), Stopped> {
        self.look(|state| events.into_iter().for_each(|event| state.apply(event)));
        Ok(())
    }
}
