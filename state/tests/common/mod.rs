//! A little world round the machine: a chain with blocks, a pool and reorgs, a node's account,
//! containers that answer. It answers effects with plausible outcomes; what it holds of the chain
//! follows the contract's rules, not the machine's.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{BTreeMap, VecDeque};

use infernet_state::{
    Config, Effect, Event, Issued, Machine,
    config::{ChainConfig, ClientId, ContainerConfig, Limits},
    effect::{Action, ContainerCall, ContainerInput, Delivery, Location, Purpose},
    event::{
        ChainFact, DelegatedRequest, Failure, JobKind, JobRequest, Outcome, Receipt, Rejection,
        Subscription, Success, TransactionState, WalletChange, WalletFact,
    },
    subscription::{Rejected, judge},
    types::{
        Address, Amount, BlockRef, BlockTime, EffectId, Hash, Interval, JobId, Nonce, PayloadAt,
        PayloadRef, SubscriptionId, WallTime,
    },
};

pub(crate) const NODE: Address = Address([0xaa; 20]);
pub(crate) const NODE_WALLET: Address = Address([0xbb; 20]);
pub(crate) const CONSUMER: Address = Address([0xcc; 20]);
pub(crate) const CONSUMER_WALLET: Address = Address([0xdd; 20]);
pub(crate) const FEE_RECIPIENT: Address = Address([0xfe; 20]);
pub(crate) const NATIVE: Address = Address::ZERO;
pub(crate) const GENESIS_TIME: u64 = 1_700_000_000;
pub(crate) const GAS_USED: u64 = 100_000;
pub(crate) const GAS_PRICE: u128 = 7;

pub(crate) fn hash(tag: &str, number: u64) -> Hash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    for (place, byte) in tag.bytes().take(24).enumerate() {
        bytes[8 + place] = byte;
    }
    Hash(bytes)
}

pub(crate) fn payload(tag: &str, number: u64) -> PayloadRef {
    PayloadRef {
        hash: hash(tag, number),
        len: 32,
    }
}

pub(crate) fn container(id: &str) -> ContainerConfig {
    ContainerConfig {
        id: id.into(),
        external: true,
        rerun: true,
        ..ContainerConfig::default()
    }
}

pub(crate) fn config() -> Config {
    Config {
        chain: Some(ChainConfig {
            chain_id: 31_337,
            registry: Address([1; 20]),
            coordinator: Address([2; 20]),
            wallet_factory: Address([3; 20]),
            fee_recipient: FEE_RECIPIENT,
            node: NODE,
            payment_wallet: Some(NODE_WALLET),
            trail_head_blocks: 1,
            delivery_batch_max: 0,
            max_fee_per_gas_cap: 1_000_000,
            gas_limit_max: 5_000_000,
        }),
        containers: vec![container("alpha"), container("beta"), {
            let mut gamma = container("gamma");
            gamma.rerun = false;
            gamma
        }],
        permutation_length_max: 2,
        limits: Limits {
            fee_bump_after_ms: 10_000,
            ..Limits::default()
        },
        ..Config::default()
    }
}

pub(crate) fn subscription(containers: &[&str]) -> Subscription {
    Subscription {
        owner: CONSUMER,
        active_at: 0,
        period: 0,
        frequency: 1,
        redundancy: 1,
        container_id: infernet_state::admission::container_hash(containers),
        lazy: false,
        verifier: Address::ZERO,
        payment_amount: Amount::ZERO,
        payment_token: NATIVE,
        wallet: CONSUMER_WALLET,
    }
}

pub(crate) fn job(number: u8, containers: &[&str], at: WallTime) -> JobRequest {
    JobRequest {
        job: JobId([number; 16]),
        client: ClientId([1; 16]),
        at,
        kind: JobKind::Offchain,
        containers: containers.iter().map(|id| (*id).into()).collect(),
        input: payload("job", number.into()),
        requires_proof: false,
        idempotency: None,
    }
}

pub(crate) fn delegated(nonce: u32, terms: Subscription, at: WallTime) -> DelegatedRequest {
    DelegatedRequest {
        client: ClientId([1; 16]),
        at,
        subscription: terms,
        nonce,
        expiry: u32::MAX,
        v: 27,
        r: hash("r", nonce.into()),
        s: hash("s", nonce.into()),
        input: payload("delegated", nonce.into()),
        known_id: SubscriptionId(0),
    }
}

/// A subscription on the simulated chain.
#[derive(Clone)]
pub(crate) struct OnChain {
    pub(crate) record: Subscription,
    /// The block that created it: answers made for another creation must not reach it.
    pub(crate) created: Hash,
    pub(crate) counts: BTreeMap<u32, u16>,
    pub(crate) ours: BTreeMap<u32, bool>,
}

/// A transaction of the node.
#[derive(Clone)]
pub(crate) struct Tx {
    pub(crate) nonce: u64,
    pub(crate) hash: Hash,
    pub(crate) action: Action,
    pub(crate) max_fee: u128,
}

/// What one block leaves behind.
#[derive(Clone)]
pub(crate) struct BlockState {
    pub(crate) block: BlockRef,
    pub(crate) facts: Vec<ChainFact>,
    pub(crate) subscriptions: BTreeMap<u32, OnChain>,
    pub(crate) nonce: u64,
    /// What the node's account may lock in the node's wallet.
    pub(crate) allowance: Amount,
    /// Open proof requests: (id, interval) → (expiry, stake, escrow).
    pub(crate) proofs: BTreeMap<(u32, u32), (u64, Amount, Amount)>,
    /// Ids of delegated subscriptions: nonce → id (all of one owner).
    pub(crate) delegated: BTreeMap<u32, u32>,
}

pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) log: Vec<Event>,
    pub(crate) issued: VecDeque<Issued>,
    pub(crate) blocks: Vec<BlockState>,
    /// Actions of the next block, beside the pool.
    pub(crate) next: Vec<Next>,
    pub(crate) pool: BTreeMap<Hash, Tx>,
    pub(crate) signed: BTreeMap<Hash, Tx>,
    pub(crate) wall: u64,
    salt: u64,
    /// For whom an answer was computed, by the payload of the delivered output.
    pub(crate) answers: BTreeMap<Hash, Answer>,
}

/// For whom an answer was computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// An id and the block that created it.
    Interval(u32, Hash),
    /// A delegated subscription, by its nonce.
    Delegated(u32),
}

/// What somebody else does in the next block.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    Create(Subscription),
    Cancel(u32),
    Fulfil(u32, Address),
    Judge(usize, bool),
    Foreign,
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
            allowance: Amount::ZERO,
            proofs: BTreeMap::new(),
            delegated: BTreeMap::new(),
        };
        let mut world = Self {
            machine: Machine::new(),
            log: Vec::new(),
            issued: VecDeque::new(),
            blocks: vec![genesis],
            next: Vec::new(),
            pool: BTreeMap::new(),
            signed: BTreeMap::new(),
            wall: GENESIS_TIME * 1_000,
            salt: 0,
            answers: BTreeMap::new(),
        };
        world.start(Some(config));
        world
    }

    /// The node starts: what a driver commits first, then what is outstanding.
    pub(crate) fn start(&mut self, config: Option<Config>) {
        self.issued.clear();
        let at = self.now();
        self.record(Event::NodeStarted {
            at,
            version: "test".into(),
        });
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
        let issued = self.machine.apply(&event).expect("no halt");
        self.log.push(event);
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
        assert!(self.machine.ledger().balances(), "the ledger balances");
        let mut live = BTreeMap::new();
        for (no, delivery) in self.machine.deliveries().iter() {
            if delivery.state.is_live() {
                let key = (delivery.identity, delivery.delegation, delivery.interval);
                assert_eq!(live.insert(key, no), None, "one live delivery per interval");
            }
        }
        if let Some(next) = self.machine.account().next_nonce() {
            let open: Vec<u64> = self.machine.account().slots().map(|(n, _)| n.0).collect();
            for pair in open.windows(2) {
                let between = (pair[0] + 1)..pair[1];
                assert!(
                    between.is_empty() || self.head().nonce >= pair[1],
                    "nonces contiguous"
                );
            }
            assert!(open.last().is_none_or(|last| *last < next.0));
        }
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
                .expect("an answer for a subscription that is gone");
            assert_eq!(
                self.answers[&delivery.output.payload.hash],
                Answer::Interval(delivery.subscription.0, known.block),
                "an answer for a stranger"
            );
        }
    }

    /// Mines a block with what is pooled and scheduled, `after` seconds later.
    pub(crate) fn mine(&mut self, after: u64) {
        self.mine_block(after, true);
    }

    /// Mines; the pool's transactions are taken only if `with_pool`.
    pub(crate) fn mine_block(&mut self, after: u64, with_pool: bool) {
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
            apply_next(&mut state, next, now);
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
        let facts = state.facts.clone();
        self.blocks.push(state);
        self.wall += after * 1_000;
        self.apply(Event::ChainCommitted { block, facts });
        self.tick();
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
            for fact in gone.facts {
                if let ChainFact::TransactionIncluded(receipt) = fact {
                    let tx = self.signed[&receipt.tx].clone();
                    self.pool.insert(tx.hash, tx);
                }
            }
        }
        let ancestor = self.head().block;
        self.apply(Event::ChainReorged { ancestor });
    }

    pub(crate) fn finalize(&mut self, behind: usize) {
        let place = self.blocks.len().saturating_sub(1 + behind);
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
            Effect::ReadPayer { .. } => Success::PayerRead {
                valid: true,
                balance: Amount::MAX,
                allowance: Amount::MAX,
            },
            Effect::ReadResponses { .. } => Success::ResponsesRead {
                responses: 0,
                responded: false,
            },
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
        let delegated = self
            .machine
            .delegations()
            .iter()
            .find(|(_, delegation)| delegation.request.input == at.payload)
            .map(|((_, nonce), _)| Answer::Delegated(*nonce));
        delegated.unwrap_or_else(|| self.answers[&at.payload.hash])
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

fn apply_next(state: &mut BlockState, next: Next, now: u32) {
    match next {
        Next::Create(mut record) => {
            record.active_at = now + record.period;
            create(state, record, None);
        }
        Next::Cancel(id) => {
            if let Some(subscription) = state.subscriptions.get_mut(&id) {
                subscription.record.active_at = u32::MAX;
                state.facts.push(ChainFact::SubscriptionCancelled {
                    id: SubscriptionId(id),
                });
            }
        }
        Next::Fulfil(id, node) => {
            if let Some(subscription) = state.subscriptions.get_mut(&id) {
                let interval = infernet_state::subscription::interval_at(
                    subscription.record.active_at,
                    subscription.record.period,
                    now,
                );
                let count = subscription.counts.get(&interval.0).copied().unwrap_or(0);
                if judge(&subscription.record, now, interval, count, false).is_ok() {
                    *subscription.counts.entry(interval.0).or_default() += 1;
                    state.facts.push(ChainFact::SubscriptionFulfilled {
                        id: SubscriptionId(id),
                        node,
                    });
                }
            }
        }
        Next::Judge(place, valid) => {
            let count = state.proofs.len();
            let chosen = state.proofs.keys().nth(place % count.max(1)).copied();
            if let Some((id, interval)) = chosen {
                judge_proof(state, (id, interval), valid, hash("judge", now.into()));
            }
        }
        Next::Foreign => {
            state.facts.push(ChainFact::ForeignNonceUsed {
                nonce: Nonce(state.nonce),
            });
            state.nonce += 1;
        }
    }
}

pub(crate) fn nothing() -> PayloadAt {
    PayloadAt {
        seq: infernet_state::types::Seq(0),
        payload: payload("nothing", 0),
    }
}

/// A transaction of the node's account in a block.
fn execute(state: &mut BlockState, tx: &Tx) {
    state.nonce += 1;
    let before = state.clone();
    let succeeded = run(state, &tx.action, tx.hash).is_ok();
    if !succeeded {
        *state = before;
    }
    state.facts.push(ChainFact::TransactionIncluded(Receipt {
        nonce: Nonce(tx.nonce),
        tx: tx.hash,
        succeeded,
        gas_used: GAS_USED,
        effective_gas_price: GAS_PRICE,
        l1_fee: Amount::ZERO,
    }));
}

fn run(state: &mut BlockState, action: &Action, tx: Hash) -> Result<(), &'static str> {
    match action {
        Action::Deliver(delivery) => deliver(state, delivery.subscription.0, delivery, tx),
        Action::DeliverBatch(deliveries) => {
            for delivery in deliveries {
                let before = state.clone();
                if deliver(state, delivery.subscription.0, delivery, tx).is_err() {
                    *state = before;
                }
            }
            Ok(())
        }
        Action::DeliverDelegated {
            subscription,
            nonce,
            expiry,
            delivery,
            ..
        } => {
            let id = match state.delegated.get(nonce) {
                Some(id) => *id,
                None if state.block.time.as_contract_time() >= *expiry => {
                    return Err("SignatureExpired");
                }
                None => {
                    let id = create(state, subscription.as_ref().clone(), Some(*nonce));
                    state.delegated.insert(*nonce, id);
                    id
                }
            };
            deliver(state, id, delivery, tx)
        }
        Action::ApproveStake { amount, token, .. } => {
            state.allowance = *amount;
            wallet(
                state,
                NODE_WALLET,
                NODE,
                tx,
                WalletChange::Approved {
                    spender: NODE,
                    token: *token,
                    amount: *amount,
                },
            );
            Ok(())
        }
        Action::FinalizeProof {
            subscription,
            interval,
            ..
        } => {
            let key = (subscription.0, interval.0);
            let (expiry, ..) = state.proofs.get(&key).ok_or("ProofRequestNotFound")?;
            if state.block.time.0 < *expiry {
                return Err("UnauthorizedVerifier");
            }
            judge_proof(state, key, true, tx);
            Ok(())
        }
        Action::FillNonce => Ok(()),
    }
}

/// The selectors that the machine knows; anything else for the others.
fn selector_of(reason: &str) -> [u8; 4] {
    match reason {
        "IntervalCompleted" => [0x2f, 0x4c, 0xa8, 0x5b],
        "NodeRespondedAlready" => [0x88, 0xa2, 0x1e, 0x4f],
        _ => [9; 4],
    }
}

fn name_of(rejected: Rejected) -> &'static str {
    match rejected {
        Rejected::NotFound => "SubscriptionNotFound",
        Rejected::NotActive => "SubscriptionNotActive",
        Rejected::IntervalMismatch => "IntervalMismatch",
        Rejected::SubscriptionCompleted => "SubscriptionCompleted",
        Rejected::IntervalCompleted => "IntervalCompleted",
        Rejected::NodeRespondedAlready => "NodeRespondedAlready",
    }
}

fn wallet(state: &mut BlockState, wallet: Address, owner: Address, tx: Hash, change: WalletChange) {
    state.facts.push(ChainFact::Wallet(WalletFact {
        wallet,
        owner,
        tx,
        change,
    }));
}

fn create(state: &mut BlockState, record: Subscription, delegation: Option<u32>) -> u32 {
    let id = state.subscriptions.len() as u32 + 1;
    state.subscriptions.insert(
        id,
        OnChain {
            record: record.clone(),
            created: state.block.hash,
            counts: BTreeMap::new(),
            ours: BTreeMap::new(),
        },
    );
    state.facts.push(ChainFact::SubscriptionCreated {
        id: SubscriptionId(id),
        subscription: record,
        delegation,
    });
    id
}

/// `deliverCompute`, as `docs/spec/contracts.md` 2.4 and 3 say it.
fn deliver(
    state: &mut BlockState,
    id: u32,
    delivery: &Delivery,
    tx: Hash,
) -> Result<(), &'static str> {
    let now = state.block.time.as_contract_time();
    let time = state.block.time.0;
    let interval = delivery.interval.0;
    let subscription = state
        .subscriptions
        .get_mut(&id)
        .ok_or("SubscriptionNotFound")?;
    let count = subscription.counts.get(&interval).copied().unwrap_or(0);
    let responded = subscription.ours.contains_key(&interval);
    judge(
        &subscription.record,
        now,
        delivery.interval,
        count,
        responded,
    )
    .map_err(name_of)?;
    subscription.counts.insert(interval, count + 1);
    subscription.ours.insert(interval, true);
    let terms = subscription.record.clone();
    let price = terms.payment_amount;
    if !price.is_zero() {
        let part = |amount: Amount, of: u64| Amount(amount.0 / ruint_u256(of));
        let fee = part(price, 20);
        let mut rest = price.checked_sub(fee).expect("a part");
        let pay = |state: &mut BlockState, to, amount| {
            wallet(
                state,
                terms.wallet,
                terms.owner,
                tx,
                WalletChange::Transferred {
                    spender: terms.owner,
                    token: NATIVE,
                    to,
                    amount,
                },
            );
        };
        pay(state, FEE_RECIPIENT, fee);
        if terms.verifier.is_zero() {
            pay(state, delivery.node_wallet, rest);
        } else {
            let verifier_fee = part(price, 10);
            let share = part(verifier_fee, 40);
            rest = rest.checked_sub(verifier_fee).expect("a part");
            pay(state, FEE_RECIPIENT, share);
            pay(
                state,
                terms.verifier,
                verifier_fee.checked_sub(share).expect("a part"),
            );
            state.allowance = state
                .allowance
                .checked_sub(price)
                .ok_or("InsufficientAllowance")?;
            for (of, owner, amount) in [
                (NODE_WALLET, NODE, price),
                (terms.wallet, terms.owner, rest),
            ] {
                wallet(
                    state,
                    of,
                    owner,
                    tx,
                    WalletChange::Escrowed {
                        spender: owner,
                        token: NATIVE,
                        amount,
                        locked: true,
                    },
                );
            }
            state
                .proofs
                .insert((id, interval), (time + 604_800, price, rest));
        }
    }
    state.facts.push(ChainFact::SubscriptionFulfilled {
        id: SubscriptionId(id),
        node: NODE,
    });
    Ok(())
}

/// `finalizeProofVerification`, section 2.5.
fn judge_proof(state: &mut BlockState, key: (u32, u32), valid: bool, tx: Hash) {
    let Some((expiry, stake, escrow)) = state.proofs.remove(&key) else {
        return;
    };
    let active = state.block.time.0 < expiry;
    state.allowance = state.allowance.checked_add(stake).expect("fits");
    for (of, owner, amount) in [
        (NODE_WALLET, NODE, stake),
        (CONSUMER_WALLET, CONSUMER, escrow),
    ] {
        wallet(
            state,
            of,
            owner,
            tx,
            WalletChange::Escrowed {
                spender: owner,
                token: NATIVE,
                amount,
                locked: false,
            },
        );
    }
    if active && !valid {
        state.allowance = state.allowance.checked_sub(stake).expect("unlocked");
        wallet(
            state,
            NODE_WALLET,
            NODE,
            tx,
            WalletChange::Transferred {
                spender: NODE,
                token: NATIVE,
                to: CONSUMER_WALLET,
                amount: stake,
            },
        );
    } else {
        wallet(
            state,
            CONSUMER_WALLET,
            CONSUMER,
            tx,
            WalletChange::Transferred {
                spender: CONSUMER,
                token: NATIVE,
                to: NODE_WALLET,
                amount: escrow,
            },
        );
    }
    state.facts.push(ChainFact::ProofVerified {
        id: SubscriptionId(key.0),
        interval: Interval(key.1),
        node: NODE,
        active,
        valid,
    });
}

fn ruint_u256(value: u64) -> ruint::aliases::U256 {
    ruint::aliases::U256::from(value)
}

pub(crate) fn effect_id(seq: u64, ordinal: u16) -> EffectId {
    EffectId {
        seq: infernet_state::types::Seq(seq),
        ordinal,
    }
}
