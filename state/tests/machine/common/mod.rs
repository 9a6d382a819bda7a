//! A little world round the machine: a chain with blocks, a pool and reorgs, a node's account,
//! containers that answer. It answers effects with plausible outcomes; what it holds of the chain
//! follows the contract's rules, not the machine's.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may read how long they are to run"
)]

/// All variants of an enum, each with an example: a missing one does not compile.
macro_rules! all {
    ($type:ty; $($pattern:pat => $value:expr),+ $(,)?) => {{
        fn _complete(thing: $type) {
            match thing {
                $($pattern => {})+
            }
        }
        [$($value),+]
    }};
}

pub(crate) mod act;
pub(crate) mod away;
pub(crate) mod chain;
pub(crate) mod golden;
pub(crate) mod judge;
pub(crate) mod layout;
pub(crate) mod nonsense;
pub(crate) mod samples;
pub(crate) mod setup;
pub(crate) mod table;

use std::collections::{BTreeMap, VecDeque};

use infernet_state::{
    Config, Effect, Event, Issued, Machine,
    effect::{Action, ContainerCall, ContainerInput, Location, Purpose},
    event::{ChainFact, Failure, Outcome, Rejection, Success, TransactionState},
    types::{Amount, BlockRef, BlockTime, Hash, Interval, Nonce, SubscriptionId, WallTime},
};

pub(crate) use chain::{BlockState, Meddling, Next, Tx};
pub(crate) use setup::*;

use chain::{apply_next, execute, run, selector_of};

pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) log: Vec<Event>,
    pub(crate) issued: VecDeque<Issued>,
    pub(crate) blocks: Vec<BlockState>,
    /// How many of them the node has not read, being away.
    pub(crate) unheard: usize,
    /// Actions of the next block, beside the pool.
    pub(crate) next: Vec<Next>,
    pub(crate) pool: BTreeMap<Hash, Tx>,
    pub(crate) signed: BTreeMap<Hash, Tx>,
    pub(crate) wall: u64,
    salt: u64,
    /// For whom an answer was computed, by the payload of the delivered output.
    pub(crate) answers: BTreeMap<Hash, Answer>,
    pub(crate) watching: bool,
    /// How often each step of each life cycle was made, while somebody watched.
    pub(crate) seen: BTreeMap<(&'static str, String, String), u64>,
    /// Callbacks, by id and block, whose work had ended before a time in which it is forgotten.
    pub(crate) ended: Vec<(SubscriptionId, Hash)>,
}

/// For whom an answer was computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// An id and the block that created it.
    Interval(u32, Hash),
    /// A delegated subscription, by its nonce.
    Delegated(u32),
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        let genesis = BlockState {
            block: BlockRef {
                number: 0,
                hash: hash("block", 0),
                time: BlockTime(GENESIS_TIME),
            },
            facts: Vec::new(),
            subscriptions: BTreeMap::new(),
            nonce: 0,
            allowances: BTreeMap::new(),
            proofs: BTreeMap::new(),
            delegated: BTreeMap::new(),
            meddling: None,
        };
        let mut world = Self {
            machine: Machine::new(),
            log: Vec::new(),
            issued: VecDeque::new(),
            blocks: vec![genesis],
            unheard: 0,
            next: Vec::new(),
            pool: BTreeMap::new(),
            signed: BTreeMap::new(),
            wall: GENESIS_TIME * 1_000,
            salt: 0,
            answers: BTreeMap::new(),
            watching: false,
            seen: BTreeMap::new(),
            ended: Vec::new(),
        };
        world.start(Some(config));
        world
    }

    /// The same, and each step of each life cycle is counted.
    pub(crate) fn watched(config: Config) -> Self {
        let mut world = Self::new(config);
        world.watch();
        world
    }

    pub(crate) fn watch(&mut self) {
        self.watching = true;
        self.machine.watch();
    }

    /// The node starts: what a driver commits first, then what is outstanding.
    pub(crate) fn start(&mut self, config: Option<Config>) {
        self.issued.clear();
        let at = self.now();
        self.record(Event::NodeStarted {
            at,
            version: "test".into(),
        });
        if let Some(upgraded) = self.machine.upgrade() {
            self.record(upgraded);
        }
        if let Some(config) = config {
            self.record(Event::ConfigChanged(config));
        }
        let head = self.head().block;
        let nonce = Nonce(self.head().nonce);
        self.record(Event::AccountObserved {
            head,
            nonce,
            balance: Amount::from(1_000_000_000_000_000_000),
        });
        self.issued = self.machine.outstanding().into();
        if self.machine.sync_cursor().is_some() {
            self.apply(Event::SubscriptionsSynced {
                block: head,
                subscriptions: Vec::new(),
                next: SubscriptionId(0),
            });
        }
    }

    pub(crate) fn now(&self) -> WallTime {
        WallTime(self.wall)
    }

    pub(crate) fn head(&self) -> &BlockState {
        self.blocks.last().expect("genesis stays")
    }

    fn record(&mut self, event: Event) -> Vec<Issued> {
        if let Event::DelegatedAccepted(request) = &event {
            let answer = Answer::Delegated(request.nonce);
            self.answers.insert(request.input.hash, answer);
        }
        let issued = self.machine.apply(&event).expect("no halt");
        self.check_presence(&event, &issued);
        self.log.push(event);
        for transition in self.machine.transitions() {
            *self.seen.entry(table::key(transition)).or_default() += 1;
        }
        self.guard();
        issued
    }

    pub(crate) fn apply(&mut self, event: Event) -> Vec<Issued> {
        let issued = self.record(event);
        self.issued.extend(issued.iter().cloned());
        for issued in &issued {
            self.check_identity(&issued.effect);
        }
        issued
    }

    /// What must hold after every event.
    fn guard(&self) {
        judge::always(&self.machine);
    }

    /// A week passes, in which results are forgotten.
    pub(crate) fn week(&mut self) {
        let jobs = self.machine.jobs();
        let all = self.machine.subscriptions().range(SubscriptionId(0), 1_000);
        let ended = all.into_iter().filter(|(id, _)| {
            let work = jobs.by_interval(*id, Interval(1));
            work.is_some_and(|(_, job)| job.stage.is_end())
        });
        let ended: Vec<_> = ended.map(|(id, tracked)| (id, tracked.block)).collect();
        self.ended.extend(ended);
        self.mine(604_800);
    }

    /// No answer computed for one identity is handed out for another.
    fn check_identity(&self, effect: &Effect) {
        let action = match effect {
            Effect::Sign { action, .. } | Effect::Simulate { action, .. } => action.clone(),
            Effect::Broadcast { tx, .. } => self.signed[tx].action.clone(),
            _ => return,
        };
        let calls = match action {
            Action::Deliver(delivery) => vec![delivery],
            Action::DeliverBatch(deliveries) => deliveries,
            Action::DeliverDelegated {
                nonce, delivery, ..
            } => {
                let made_for = self.answers[&delivery.output.payload.hash];
                assert_eq!(made_for, Answer::Delegated(nonce));
                return;
            }
            Action::ApproveStake { .. } | Action::FinalizeProof { .. } | Action::FillNonce => {
                return;
            }
        };
        for delivery in calls {
            let known = self
                .machine
                .subscriptions()
                .get(delivery.subscription)
                .unwrap_or_else(|| panic!("an answer for a subscription that is gone: {effect:?}"));
            assert_eq!(
                self.answers[&delivery.output.payload.hash],
                Answer::Interval(delivery.subscription.0, known.block),
                "an answer for a stranger"
            );
        }
    }

    /// From now on strangers do this within each delivery of the node.
    pub(crate) fn meddle(&mut self, meddling: Option<Meddling>) {
        self.blocks.last_mut().expect("genesis stays").meddling = meddling;
    }

    /// Mines a block with what is pooled and scheduled, `after` seconds later.
    pub(crate) fn mine(&mut self, after: u64) {
        self.mine_block(after, true);
    }

    /// Mines; the pool's transactions are taken only if `with_pool`.
    pub(crate) fn mine_block(&mut self, after: u64, with_pool: bool) {
        let is_read = self.unheard > 0;
        self.grow(after, with_pool, !is_read);
        if is_read {
            // The chain grows while the node reads.
            self.read(2);
        } else {
            let (block, facts) = (self.head().block, self.head().facts.clone());
            self.apply(Event::ChainCommitted { block, facts });
        }
        self.tick();
    }

    /// The chain grows by a block, of which the node hears, or not yet.
    pub(crate) fn grow(&mut self, after: u64, with_pool: bool, heard: bool) {
        let parent = self.head().clone();
        self.salt += 1;
        let block = BlockRef {
            number: parent.block.number + 1,
            hash: hash("block", self.salt),
            time: BlockTime(parent.block.time.0 + after),
        };
        let mut state = BlockState {
            block,
            facts: Vec::new(),
            ..parent
        };
        let now = block.time.as_contract_time();
        for next in std::mem::take(&mut self.next) {
            if !heard && matches!(next, Next::Foreign) {
                // A start behind a nonce that others used asks for an operator: not here.
                self.next.push(next);
            } else {
                apply_next(&mut state, next, now);
            }
        }
        while let Some(tx) = self
            .pool
            .values()
            .filter(|tx| with_pool && tx.nonce == state.nonce)
            .max_by_key(|tx| tx.max_fee)
            .cloned()
        {
            self.pool.retain(|_, other| other.nonce != tx.nonce);
            execute(&mut state, &tx);
        }
        let used = state.nonce;
        self.pool.retain(|_, tx| tx.nonce >= used);
        self.blocks.push(state);
        self.unheard += usize::from(!heard);
        self.wall += after * 1_000;
    }

    /// Blocks above `depth` below the head are gone; what was included returns to the pool.
    pub(crate) fn reorg(&mut self, depth: usize) {
        let floor = self
            .machine
            .chain()
            .finalized
            .map_or(0, |block| block.number as usize);
        let keep = self.blocks.len().saturating_sub(depth).max(floor + 1);
        for gone in self.blocks.split_off(keep) {
            self.unheard = self.unheard.saturating_sub(1);
            for fact in gone.facts {
                if let ChainFact::TransactionIncluded(receipt) = fact {
                    let tx = self.signed[&receipt.tx].clone();
                    self.pool.insert(tx.hash, tx);
                }
            }
        }
        let ancestor = self.head().block;
        self.apply(Event::ChainReorged { ancestor });
        self.rest();
    }

    pub(crate) fn finalize(&mut self, behind: usize) {
        let place = self
            .blocks
            .len()
            .saturating_sub(1 + behind.max(self.unheard));
        let block = self.blocks[place].block;
        self.apply(Event::ChainFinalized { block });
    }

    /// Serves the machine's wall-time deadlines that have passed.
    pub(crate) fn tick(&mut self) {
        while self
            .machine
            .next_deadline()
            .is_some_and(|at| at <= self.now())
        {
            let now = self.now();
            self.apply(Event::WallTimePassed { now });
        }
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.wall += ms;
        self.tick();
    }

    pub(crate) fn end(&mut self, issued: &Issued, outcome: Outcome) {
        let event = Event::EffectEnded {
            effect: issued.id,
            attempt: issued.attempt,
            at: self.now(),
            outcome,
        };
        self.apply(event);
    }

    /// Answers effects as a healthy world does, until none is left.
    pub(crate) fn settle(&mut self) {
        while let Some(issued) = self.issued.pop_front() {
            if let Some(outcome) = self.answer(&issued) {
                self.end(&issued, outcome);
            }
        }
    }

    /// What a healthy world answers.
    pub(crate) fn answer(&mut self, issued: &Issued) -> Option<Outcome> {
        self.salt += 1;
        let salt = self.salt;
        let success = match &issued.effect {
            Effect::ReadInputs { subscription, .. } => {
                let input = payload("input", salt);
                let created = self
                    .machine
                    .subscriptions()
                    .get(*subscription)
                    .map(|tracked| tracked.block)
                    .unwrap_or_default();
                self.answers
                    .insert(input.hash, Answer::Interval(subscription.0, created));
                Success::InputsRead { input }
            }
            Effect::ReadPayer { spender, token, .. } => Success::PayerRead {
                valid: true,
                balance: Amount::MAX,
                allowance: if *spender == NODE {
                    let allowed = self.head().allowances.get(token);
                    allowed.copied().unwrap_or_default()
                } else {
                    Amount::MAX
                },
            },
            Effect::ReadResponses {
                subscription,
                interval,
                ..
            } => {
                let known = self.head().subscriptions.get(&subscription.0);
                let count = known.and_then(|known| known.counts.get(&interval.0));
                Success::ResponsesRead {
                    responses: count.copied().unwrap_or(0),
                    responded: known.is_some_and(|known| known.ours.contains_key(&interval.0)),
                }
            }
            Effect::RunContainer(call) => match call.purpose {
                Purpose::Interval { .. } => {
                    let answer = self.answer_for(call);
                    let json = payload("json", salt);
                    self.answers.insert(json.hash, answer);
                    let output = payload("onchain", salt);
                    self.answers.insert(output.hash, answer);
                    if call.destination == Location::Onchain {
                        Success::ContainerAnsweredOnchain {
                            output: json,
                            deliver_input: payload("in", salt),
                            deliver_output: output,
                            deliver_proof: payload("proof", salt),
                        }
                    } else {
                        Success::ContainerAnswered { output: json }
                    }
                }
                Purpose::Job(_) => Success::ContainerAnswered {
                    output: payload("json", salt),
                },
            },
            Effect::StopContainer { .. } => return None,
            Effect::Simulate { action, at, .. } => match self.simulate(action, *at) {
                Ok(()) => Success::Simulated {
                    gas: GAS_USED,
                    base_fee: GAS_PRICE - 1,
                    priority_fee: 1,
                },
                Err(reason) => {
                    return Some(Outcome::Failed(Failure::Reverted {
                        selector: selector_of(reason),
                        reason: reason.into(),
                    }));
                }
            },
            Effect::Sign {
                nonce,
                action,
                max_fee_per_gas,
                ..
            } => {
                let tx = Tx {
                    nonce: nonce.0,
                    hash: hash("tx", salt),
                    action: action.clone(),
                    max_fee: *max_fee_per_gas,
                };
                self.signed.insert(tx.hash, tx.clone());
                Success::Signed {
                    tx: tx.hash,
                    raw: payload("raw", salt),
                }
            }
            Effect::Broadcast { tx, .. } => {
                let tx = self.signed[tx].clone();
                if tx.nonce < self.head().nonce {
                    return Some(Outcome::Failed(Failure::Rejected(Rejection::NonceTooLow)));
                }
                if self.pool.values().any(|other| {
                    other.nonce == tx.nonce && other.max_fee >= tx.max_fee && other.hash != tx.hash
                }) {
                    return Some(Outcome::Failed(Failure::Rejected(Rejection::Underpriced)));
                }
                self.pool.retain(|_, other| other.nonce != tx.nonce);
                self.pool.insert(tx.hash, tx);
                Success::Broadcast
            }
            Effect::LookUpTransaction { nonce, tx } => {
                let included = self.blocks.iter().flat_map(|block| &block.facts).any(|fact| {
                    matches!(fact, ChainFact::TransactionIncluded(receipt) if receipt.tx == *tx)
                });
                Success::LookedUp(if included {
                    TransactionState::Included
                } else if self.pool.contains_key(tx) {
                    TransactionState::Pending
                } else if nonce.0 < self.head().nonce {
                    TransactionState::NonceTaken
                } else {
                    TransactionState::Absent
                })
            }
        };
        Some(Outcome::Succeeded(success))
    }

    /// For whom a call is made: for whom its input was read, or came with a request.
    fn answer_for(&self, call: &ContainerCall) -> Answer {
        let (ContainerInput::Json(at) | ContainerInput::Onchain(at)) = call.input;
        self.answers[&at.payload.hash]
    }

    /// Runs a transaction against the head, at another time.
    fn simulate(&self, action: &Action, at: BlockTime) -> Result<(), &'static str> {
        let mut state = self.head().clone();
        state.block.time = at.max(state.block.time);
        let hash = hash("simulated", 0);
        run(&mut state, action, hash)
    }

    /// Mines, answers and finalises until nothing is left to do.
    pub(crate) fn run(&mut self, blocks: usize) {
        for _ in 0..blocks {
            self.settle();
            self.mine(1);
            self.settle();
        }
        self.finalize(0);
        self.settle();
    }

    /// Successful deliveries of this node in the canonical chain.
    pub(crate) fn delivered(&self) -> usize {
        self.blocks
            .iter()
            .flat_map(|block| &block.facts)
            .filter(|fact| {
                matches!(fact, ChainFact::SubscriptionFulfilled { node, .. } if *node == NODE)
            })
            .count()
    }

    /// The state that a replay of the log leads to.
    pub(crate) fn replayed(&self) -> Machine {
        let mut machine = Machine::new();
        for event in &self.log {
            let encoded = infernet_state::codec::encode(event).expect("encodes");
            let decoded =
                infernet_state::codec::decode(encoded.kind, encoded.version, &encoded.body)
                    .expect("decodes");
            assert_eq!(decoded, *event);
            machine.apply(&decoded).expect("no halt");
        }
        machine
    }
}
