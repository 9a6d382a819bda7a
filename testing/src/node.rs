//! A node's machine on the real contracts: it decides, they answer.
//!
//! A [`Node`] is a [`Twin`] in which one of the cast's nodes is no longer played by the sequence but by
//! [`Machine`]: what the machine asks for is carried out in the EVM (simulations, transactions, reads; containers
//! answer what they were asked), and what a block's logs and receipts say is told to it as the node's watcher would
//! tell it. Other nodes, consumers, verifiers and owners go on as the sequence has it, and so does, now and then,
//! somebody else with the machine's own key.
//!
//! After each block everything that the machine claims to know is compared with the contracts: which
//! subscriptions there are, how they stand, the counts, who responded, its proofs and their verdicts, its
//! allowances; and its books, account by account, with what `books` works out from the model alone. No
//! answer may be signed for another subscription than the one it was computed for (`origins`).
//!
//! In [`Weather::Storms`] the chain goes back and on in another way, the process dies and comes up from its log,
//! RPC and containers fail, lie and lose answers (`storms`, `restart`). When a storm is over, what was owed must have
//! been delivered, exactly once (`rest`).

mod blocks;
mod books;
mod compare;
mod effects;
mod facts;
mod happened;
mod origins;
mod rest;
mod restart;
mod storms;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use infernet_contracts::convert::{from_address, from_b256, from_u256};
use infernet_state::{
    Config, Event, Issued, Machine,
    config::{ChainConfig, ClientId, ContainerConfig, Limits},
    effect::Action as Act,
    event::{DelegatedRequest, Outcome},
    machine::Verdict,
    proof::ProofState,
    types::{self, BlockRef, EffectId, Hash, Interval, Nonce, SubscriptionId, WallTime},
};
use revm::primitives::{Address, B256, Bytes, LogData, U256};

use crate::{
    model::{Call, Control, Delegated, Rules, recover, signing_hash},
    play::Failure,
    strategies::actions::Sequence,
    twin::{Mismatch, Step, Twin},
};

use blocks::Closed;
use books::Books;
pub use happened::Happened;
use origins::Origin;
pub use storms::Weather;

/// Transactions of the account before the machine knows it: nonces need not begin at zero.
const FIRST_NONCE: u64 = 7;

/// Wei per gas.
const GAS_PRICE: u128 = 3;

/// Gas that a reverted transaction pays.
const GAS_OF_REVERT: u64 = 50_000;

/// How many heads a long wait has on the way.
const STOPS_MAX: usize = 6;

/// Seconds after the head within which a block with what was sent is promised: the default of the
/// configuration.
const INCLUSION_S: u64 = 2;

/// A transaction as a block holds it.
struct Tx {
    hash: B256,
    to: Address,
    input: Bytes,
    /// The nonce, if it is the account's.
    nonce: Option<u64>,
    /// Gas, if it succeeded.
    gas: Option<u64>,
    logs: Vec<(Address, LogData)>,
}

/// A transaction that the machine signed.
#[derive(Clone, Debug)]
struct Signed {
    tx: Hash,
    act: Act,
    /// The latest block time that was promised to it: known when it is sent.
    promised: u64,
}

/// How much had happened when something was simulated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct Seen {
    others: u64,
    own: u64,
}

/// What a simulation was of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Of {
    Delivery(SubscriptionId, Interval),
    Delegated(types::Address, u32, Interval),
    Stake(types::Address),
    Finalize(SubscriptionId, Interval),
    Nothing,
}

/// Dice of a sequence of their own: splitmix64.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    /// One of so many.
    fn of(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    /// One place of a list.
    fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.of(len.max(1) as u64)).unwrap_or_default()
    }
}

/// What the blocks so far made of everything: what a reorg goes back to.
#[derive(Clone, Default)]
struct Ledgers {
    nonce: u64,
    included: BTreeMap<u64, Hash>,
    books: Books,
    /// What the machine delivered.
    delivered: BTreeSet<(u32, u32)>,
    /// For whom these answers were computed.
    answers: BTreeMap<(u32, u32), Origin>,
    verdicts: BTreeMap<(u32, u32), ProofState>,
    /// How often a delivery of the machine reverted in a block.
    reverts: BTreeMap<(u32, u32), u64>,
}

/// A machine that plays a node of the cast.
pub struct Node {
    /// The contracts, their model, and everybody else.
    pub twin: Twin,
    /// The machine.
    pub machine: Machine,
    /// What happened.
    pub happened: Happened,
    /// The steps so far, the machine's own calls included.
    pub steps: Vec<Step>,
    weather: Weather,
    account: Address,
    wallet: Address,
    payloads: BTreeMap<Hash, Vec<u8>>,
    /// For whom a payload was read or computed.
    origins: BTreeMap<Hash, Origin>,
    /// Whose inputs an effect asks for.
    asked_for: BTreeMap<EffectId, Option<Origin>>,
    /// What the machine was told of creations: height and block.
    told: BTreeMap<u32, (u64, Hash)>,
    effects: VecDeque<Issued>,
    /// Calls of containers that take their time.
    slow: Vec<Issued>,
    /// Answers that are under way.
    late: Vec<(Issued, Outcome)>,
    /// How often a call of a container failed.
    failures: BTreeMap<EffectId, u16>,
    /// Whose containers failed for good.
    unanswered: BTreeSet<Origin>,
    dice: Dice,
    wall_ms: u64,
    chain: Vec<Closed>,
    /// How often the chain went another way.
    forks: u64,
    /// The height up to which blocks were said to be final.
    final_height: u64,
    /// The blocks that the watcher followed, in this run of the process.
    followed: Vec<BlockRef>,
    /// The latest block time that the machine was told of.
    latest: u64,
    /// Whether the process is dead.
    down: bool,
    /// Whether the account was observed in this run.
    observed: bool,
    /// Whether nothing goes wrong for the moment.
    lull: bool,
    /// The log: how many steps there were, and what was recorded.
    log: Vec<(usize, Event)>,
    /// Snapshots: how much of the log they hold.
    snapshots: Vec<(usize, Vec<u8>)>,
    open: Vec<Tx>,
    /// What others did in the open block, with the hash of their transaction.
    others: Vec<(Step, Option<B256>)>,
    transactions: u64,
    signed: BTreeMap<Hash, Signed>,
    /// What some pool may hold, by nonce, oldest first.
    sent: BTreeMap<u64, Vec<Signed>>,
    pool: BTreeMap<u64, Signed>,
    simulated: BTreeMap<Of, Seen>,
    seen: Seen,
    tokens: BTreeSet<types::Address>,
    so_far: Ledgers,
}

/// The machine and the contracts disagree.
fn differ(
    what: impl Into<String>,
    machine: impl Into<String>,
    contracts: impl Into<String>,
) -> Mismatch {
    Mismatch {
        what: what.into(),
        model: format!("{} (machine)", machine.into()),
        contracts: contracts.into(),
    }
}

/// Plays one sequence with a machine as the first node, and lets it come to rest.
///
/// # Errors
/// [`Failure`] where machine, model and contracts do not agree.
pub fn play(
    sequence: &Sequence,
    rules: &'static dyn Rules,
    weather: Weather,
) -> Result<Node, Box<Failure>> {
    let failure = |steps, log: &[(usize, Event)], mismatch| {
        let told = |(at, event): &(usize, Event)| (*at, format!("{event:?}"));
        Box::new(Failure {
            sequence: sequence.clone(),
            steps,
            recorded: log.iter().map(told).collect(),
            mismatch,
        })
    };
    let twin = sequence.start.twin(rules);
    let node = twin.map(|twin| Node::new(twin, sequence, weather));
    let mut node = node.map_err(|mismatch| failure(Vec::new(), &[], mismatch))?;
    match node.start().and_then(|()| node.play(sequence)) {
        Ok(()) => Ok(node),
        Err(mismatch) => Err(failure(node.steps, &node.log, mismatch)),
    }
}

impl Node {
    fn new(twin: Twin, sequence: &Sequence, weather: Weather) -> Self {
        let [account, ..] = twin.cast.nodes;
        let [.., wallet, _, _] = twin.cast.wallets;
        let time = twin.model.time();
        Self {
            machine: Machine::new(),
            happened: Happened::default(),
            steps: Vec::new(),
            weather,
            account,
            wallet,
            payloads: BTreeMap::new(),
            origins: BTreeMap::new(),
            asked_for: BTreeMap::new(),
            told: BTreeMap::new(),
            effects: VecDeque::new(),
            slow: Vec::new(),
            late: Vec::new(),
            failures: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            dice: Dice(time ^ sequence.actions.len() as u64 ^ u64::from(sequence.start.fee) << 32),
            wall_ms: time.saturating_mul(1_000),
            chain: Vec::new(),
            forks: 0,
            final_height: 0,
            followed: Vec::new(),
            latest: 0,
            down: false,
            observed: true,
            lull: false,
            log: Vec::new(),
            snapshots: Vec::new(),
            open: Vec::new(),
            others: Vec::new(),
            transactions: 0,
            signed: BTreeMap::new(),
            sent: BTreeMap::new(),
            pool: BTreeMap::new(),
            simulated: BTreeMap::new(),
            seen: Seen::default(),
            tokens: BTreeSet::new(),
            so_far: Ledgers {
                nonce: FIRST_NONCE,
                ..Ledgers::default()
            },
            twin,
        }
    }

    fn start(&mut self) -> Result<(), Mismatch> {
        // What was allowed before a node watched is unknown to it: nothing is.
        for token in self.twin.cast.tokens {
            let call = Call::Approve {
                wallet: self.wallet,
                spender: self.account,
                token,
                amount: U256::ZERO,
            };
            let from = self.account;
            self.twin.step(&Step::Call { from, call })?;
        }
        let at = WallTime(self.wall_ms);
        let version = "test".into();
        self.apply(&Event::NodeStarted { at, version })?;
        if let Some(upgrade) = self.machine.upgrade() {
            self.apply(&upgrade)?;
        }
        let config = self.config();
        self.apply(&Event::ConfigChanged(config))?;
        self.close_block()?;
        let head = self.head();
        self.apply(&Event::AccountObserved {
            head,
            nonce: Nonce(self.so_far.nonce),
            balance: from_u256(self.twin.world.coins(self.account)),
        })?;
        self.apply(&Event::SubscriptionsSynced {
            block: head,
            subscriptions: Vec::new(),
            next: SubscriptionId(0),
        })?;
        // What the wallet held before: all that the books do not know of.
        let balances = self.twin.cast.tokens.map(from_address);
        self.tokens.extend(balances);
        self.settle(true)
    }

    fn config(&mut self) -> Config {
        let at = *self.twin.model.deployment();
        let container = |id: &str| ContainerConfig {
            id: id.into(),
            external: true,
            generates_proofs: true,
            rerun: true,
            ..ContainerConfig::default()
        };
        Config {
            chain: Some(ChainConfig {
                chain_id: at.chain_id,
                registry: from_address(at.registry),
                coordinator: from_address(at.coordinator),
                wallet_factory: from_address(at.wallet_factory),
                fee_recipient: from_address(self.twin.model.fee().ownable.owner),
                node: from_address(self.account),
                payment_wallet: Some(from_address(self.wallet)),
                trail_head_blocks: self.dice.of(2),
                delivery_batch_max: [0, 16, 16, 3][self.dice.place(4)],
                max_fee_per_gas_cap: u128::MAX,
                gas_limit_max: 100_000_000,
            }),
            containers: [
                "hello-world",
                "a",
                "b",
                "c",
                "a-container-whose-name-is-longer-than-one-word",
            ]
            .map(container)
            .into(),
            chains: vec![["a", "b", "c"].map(String::from).into()],
            limits: Limits {
                breaker_losses: 0,
                // Jobs are looked at when all is over.
                result_age_max_ms: u64::MAX,
                ..Limits::default()
            },
            ..Config::default()
        }
    }

    /// Records an event, and lets the machine take it.
    fn apply(&mut self, event: &Event) -> Result<(), Mismatch> {
        self.log.push((self.steps.len(), event.clone()));
        self.hear(event);
        let issued = self.machine.apply(event).map_err(|halt| {
            differ(
                format!("what comes of {event:?}"),
                halt.to_string(),
                "nothing that halts a machine",
            )
        })?;
        self.machine.audit().map_err(|broken| {
            differ(
                format!("the invariants after {event:?}"),
                format!("{broken:?}"),
                "all hold",
            )
        })?;
        for issued in &issued {
            self.check_origin(issued)?;
        }
        self.effects.extend(issued);
        self.keep_snapshot()
    }

    fn play(&mut self, sequence: &Sequence) -> Result<(), Mismatch> {
        let mut calls = 0;
        for action in &sequence.actions {
            if calls == sequence.calls {
                break;
            }
            let Some(step) = action.resolve(&self.twin.model, &self.twin.cast) else {
                continue;
            };
            calls += usize::from(matches!(step, Step::Call { .. }));
            self.take(step)?;
            self.storm()?;
        }
        self.come_to_rest()
    }

    fn take(&mut self, step: Step) -> Result<(), Mismatch> {
        match step {
            Step::Time(time) => self.wait_until(time),
            // A token that wraps is one that lies, and is booked as far as an entry goes: no matter of these books.
            Step::Control(Control::Balance {
                account, amount, ..
            }) if account == self.wallet && amount > U256::MAX >> 1 => Ok(()),
            Step::Control(_) => self.set(step),
            Step::Call { from, .. } if from == self.account && self.dice.of(4) > 0 => Ok(()),
            Step::Call { from, call } => self.others_call(from, &call),
        }
    }

    /// Something around the contracts changes.
    fn set(&mut self, step: Step) -> Result<(), Mismatch> {
        self.seen.others += 1;
        self.steps.push(step.clone());
        self.others.push((step.clone(), None));
        self.twin.step(&step)
    }

    /// Somebody else calls, in the same block as what waits in the pool, before or after it.
    fn others_call(&mut self, from: Address, call: &Call) -> Result<(), Mismatch> {
        if let Call::CreateDelegated(delegated) | Call::DeliverDelegated { delegated, .. } = call
            && self.dice.of(2) == 0
            && self.hand_in(delegated)?
        {
            return self.settle(true);
        }
        let order = self.dice.of(4);
        if order < 2 {
            self.include_pool()?;
        }
        self.run(from, call, None, None)?;
        if order == 2 {
            self.include_pool()?;
        }
        if self.dice.of(3) > 0 {
            self.close_block()?;
        }
        Ok(())
    }

    /// A client brings a signed subscription to the node; `false` where the edge or the machine refuses it.
    fn hand_in(&mut self, delegated: &Delegated) -> Result<bool, Mismatch> {
        let Delegated {
            nonce,
            expiry,
            subscription,
            v,
            r,
            s,
        } = delegated;
        let model = &self.twin.model;
        let hash = signing_hash(model.deployment(), *nonce, *expiry, subscription);
        let signer = model
            .consumers()
            .get(&subscription.owner)
            .map(|consumer| consumer.signer);
        if self.down || signer.is_none() || recover(hash, *v, *r, *s) != signer {
            return Ok(false);
        }
        let known = model.delegated_ids().get(&(subscription.owner, *nonce));
        let known_id = SubscriptionId(known.copied().unwrap_or_default());
        let record: infernet_state::event::Subscription = subscription.into();
        let origin = Origin::of_request(&record, *nonce);
        let input = self.payload(format!("{{\"of\": \"{origin:?}\"}}").as_bytes());
        self.origins.insert(input.hash, origin);
        let event = Event::DelegatedAccepted(DelegatedRequest {
            client: ClientId([1; 16]),
            at: WallTime(self.wall_ms),
            subscription: record,
            nonce: *nonce,
            expiry: *expiry,
            v: *v,
            r: from_b256(B256::from(*r)),
            s: from_b256(B256::from(*s)),
            input,
            known_id,
            // Of the newest closed block: the machine need not have heard of it.
            seen: self.head().time,
        });
        if self.machine.check(&event) != Verdict::Accept {
            self.happened.count("a delegated subscription was refused");
            return Ok(false);
        }
        self.happened
            .count("a delegated subscription was handed in");
        self.apply(&event)?;
        Ok(true)
    }

    /// Time passes; the machine is told of the heads that it asked for, up to a number of them.
    fn wait_until(&mut self, time: u64) -> Result<(), Mismatch> {
        if !self.open.is_empty() {
            self.close_block()?;
        }
        for _ in 0..STOPS_MAX {
            let now = self.twin.model.time();
            let next = if self.pool.is_empty() || self.dice.of(8) == 0 {
                let asked = self.machine.next_block_deadline();
                asked.time.map_or(time, |asked| asked.0.max(now + 1))
            } else {
                now + self.dice.of(3)
            };
            if next >= time {
                break;
            }
            self.set_time(next)?;
            self.include_pool()?;
            self.close_block()?;
        }
        self.set_time(time.max(self.twin.model.time()))?;
        if self.dice.of(2) == 0 {
            self.include_pool()?;
        }
        self.close_block()
    }

    fn set_time(&mut self, time: u64) -> Result<(), Mismatch> {
        let step = Step::Time(time);
        self.steps.push(step.clone());
        self.twin.step(&step)
    }
}
