//! A node's machine on the real contracts: it decides, they answer.
//!
//! A [`Node`] is a [`Twin`] in which one of the cast's nodes is no longer played by the sequence but by
//! [`Machine`]: what the machine asks for is carried out in the EVM (simulations, transactions, reads; containers give
//! a fixed answer), and what a block's logs and receipts say is told to it as the node's watcher would tell it.
//! Other nodes, consumers, verifiers and owners go on as the sequence has it, and so does, now and then, somebody
//! else with the machine's own key.
//!
//! After each block everything that the machine claims to know is compared with the contracts: which
//! subscriptions there are, how they stand, the counts, who responded, its proofs and their verdicts, its
//! allowances; and its books, account by account, with what `books` works out from the model alone.

mod books;
mod compare;
mod effects;
mod facts;
mod happened;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use infernet_contracts::convert::{from_address, from_b256, from_u256};
use infernet_state::{
    Config, Effect, Event, Issued, Machine,
    config::{ChainConfig, ClientId, ContainerConfig, Limits},
    effect::Action as Act,
    event::DelegatedRequest,
    machine::Verdict,
    proof::ProofState,
    types::{
        self, BlockRef, BlockTime, Hash, Interval, Nonce, PayloadRef, SubscriptionId, WallTime,
    },
};
use revm::primitives::{Address, B256, Bytes, LogData, U256, keccak256};

use crate::{
    evm::Execution,
    model::{Call, Control, Delegated, Rules, recover, signing_hash},
    play::Failure,
    strategies::actions::Sequence,
    twin::{Mismatch, Step, Twin},
};

use books::Books;
pub use happened::Happened;

/// Transactions of the account before the machine knows it: nonces need not begin at zero.
const FIRST_NONCE: u64 = 7;

/// Wei per gas.
const GAS_PRICE: u128 = 3;

/// Gas that a reverted transaction pays.
const GAS_OF_REVERT: u64 = 50_000;

/// How many heads a long wait has on the way.
const STOPS_MAX: usize = 6;

/// Blocks at the end, in which nobody else does anything, until nothing more is under way.
const LAST_BLOCKS_MAX: usize = 40;

/// Seconds after the head within which a block with what was sent is promised: the default of the
/// configuration.
const INCLUSION_S: u64 = 2;

/// Blocks that may still go.
const DEPTH: usize = 2;

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
    account: Address,
    wallet: Address,
    payloads: BTreeMap<Hash, Vec<u8>>,
    effects: VecDeque<Issued>,
    /// Calls of containers that take their time.
    slow: Vec<Issued>,
    dice: Dice,
    wall_ms: u64,
    blocks: Vec<BlockRef>,
    open: Vec<Tx>,
    transactions: u64,
    nonce: u64,
    signed: BTreeMap<Hash, Signed>,
    pool: BTreeMap<u64, Signed>,
    included: BTreeMap<u64, Hash>,
    simulated: BTreeMap<Of, Seen>,
    seen: Seen,
    tokens: BTreeSet<types::Address>,
    books: Books,
    /// What the machine delivered.
    delivered: BTreeSet<(u32, u32)>,
    verdicts: BTreeMap<(u32, u32), ProofState>,
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
pub fn play(sequence: &Sequence, rules: &'static dyn Rules) -> Result<Node, Box<Failure>> {
    let failure = |steps: Vec<Step>, mismatch| {
        Box::new(Failure {
            sequence: sequence.clone(),
            steps,
            mismatch,
        })
    };
    let twin = sequence.start.twin(rules);
    let node = twin.and_then(|twin| Node::new(twin, sequence));
    let mut node = node.map_err(|mismatch| failure(Vec::new(), mismatch))?;
    match node.play(sequence) {
        Ok(()) => Ok(node),
        Err(mismatch) => Err(failure(node.steps, mismatch)),
    }
}

impl Node {
    fn new(twin: Twin, sequence: &Sequence) -> Result<Self, Mismatch> {
        let [account, ..] = twin.cast.nodes;
        let [.., wallet, _, _] = twin.cast.wallets;
        let time = twin.model.time();
        let mut node = Self {
            machine: Machine::new(),
            happened: Happened::default(),
            steps: Vec::new(),
            account,
            wallet,
            payloads: BTreeMap::new(),
            effects: VecDeque::new(),
            slow: Vec::new(),
            dice: Dice(time ^ sequence.actions.len() as u64 ^ u64::from(sequence.start.fee) << 32),
            wall_ms: time.saturating_mul(1_000),
            blocks: Vec::new(),
            open: Vec::new(),
            transactions: 0,
            nonce: FIRST_NONCE,
            signed: BTreeMap::new(),
            pool: BTreeMap::new(),
            included: BTreeMap::new(),
            simulated: BTreeMap::new(),
            seen: Seen::default(),
            tokens: BTreeSet::new(),
            books: Books::default(),
            delivered: BTreeSet::new(),
            verdicts: BTreeMap::new(),
            twin,
        };
        node.start()?;
        Ok(node)
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
        let config = self.config();
        self.apply(&Event::ConfigChanged(config))?;
        self.close_block()?;
        let head = self.head();
        self.apply(&Event::AccountObserved {
            head,
            nonce: Nonce(self.nonce),
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
                delivery_batch_max: [0, 16, 16, 3][self.dice.of(4) as usize],
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

    fn head(&self) -> BlockRef {
        self.blocks.last().copied().unwrap_or_default()
    }

    fn apply(&mut self, event: &Event) -> Result<(), Mismatch> {
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
        self.effects.extend(issued);
        Ok(())
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
            Step::Control(_) => {
                self.seen.others += 1;
                self.steps.push(step.clone());
                self.twin.step(&step)
            }
            Step::Call { from, .. } if from == self.account && self.dice.of(4) > 0 => Ok(()),
            Step::Call { from, call } => self.others_call(from, &call),
        }
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
        self.run(from, call, None)?;
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
        if signer.is_none() || recover(hash, *v, *r, *s) != signer {
            return Ok(false);
        }
        let known = model.delegated_ids().get(&(subscription.owner, *nonce));
        let known_id = SubscriptionId(known.copied().unwrap_or_default());
        let input = self.payload(b"{}");
        let event = Event::DelegatedAccepted(DelegatedRequest {
            client: ClientId([1; 16]),
            at: WallTime(self.wall_ms),
            subscription: subscription.into(),
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
                let asked = self.machine.next_block_deadline().time;
                asked.map_or(time, |asked| asked.0.max(now + 1))
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

    /// Blocks without anybody else, until nothing is under way any more.
    fn come_to_rest(&mut self) -> Result<(), Mismatch> {
        if !self.open.is_empty() {
            self.close_block()?;
        }
        for _ in 0..LAST_BLOCKS_MAX {
            self.effects.extend(std::mem::take(&mut self.slow));
            self.settle(false)?;
            let now = self.twin.model.time();
            self.set_time(now + 1)?;
            self.include_pool()?;
            self.close_block()?;
            if self.pool.is_empty() && self.machine.pending_effects().next().is_none() {
                break;
            }
        }
        self.compare_ends()?;
        self.twin.compare_all()
    }

    /// Makes a call on both sides: a transaction of the block that is open.
    fn run(&mut self, from: Address, call: &Call, own: Option<Hash>) -> Result<bool, Mismatch> {
        let before = self.twin.model.clone();
        let step = Step::Call {
            from,
            call: call.clone(),
        };
        self.steps.push(step.clone());
        self.twin.step(&step)?;
        let (gas, logs) = match self.twin.last_execution() {
            Some(Execution::Done { gas, logs, .. }) => (Some(*gas), logs.clone()),
            Some(Execution::Reverted(_) | Execution::Failed(_)) | None => (None, Vec::new()),
        };
        let done = gas.is_some();
        self.transactions += 1;
        let mut hash = keccak256(self.transactions.to_be_bytes());
        let nonce = (from == self.account).then_some(self.nonce);
        if let Some(nonce) = nonce {
            self.nonce += 1;
            // Of the same nonce nothing else can be included.
            self.pool.remove(&nonce);
        }
        match own {
            Some(tx) => {
                hash = B256::new(tx.0);
                self.included.extend(nonce.map(|nonce| (nonce, tx)));
                self.seen.own += u64::from(done);
            }
            None => self.seen.others += u64::from(done),
        }
        let message = call.message(before.deployment());
        self.note_books(&before, call, own.is_some(), gas, &logs);
        self.open.push(Tx {
            hash,
            to: message.to,
            input: message.data,
            nonce,
            gas,
            logs,
        });
        Ok(done)
    }

    /// The pool's transactions, in the order of their nonces, as far as there is no gap.
    fn include_pool(&mut self) -> Result<(), Mismatch> {
        while let Some(signed) = self.pool.get(&self.nonce).cloned() {
            self.include(&signed)?;
        }
        Ok(())
    }

    /// The open block is closed, and told to the machine if it holds anything or was asked for.
    fn close_block(&mut self) -> Result<(), Mismatch> {
        let number = self.head().number + 1;
        let block = BlockRef {
            number,
            hash: Hash(keccak256(number.to_le_bytes()).0),
            time: BlockTime(self.twin.model.time()),
        };
        let facts = self.facts();
        let read = facts.balances;
        let facts = facts.facts;
        self.blocks.push(block);
        let asked = self.machine.next_block_deadline();
        let due = asked.time.is_some_and(|time| time <= block.time)
            || asked.number.is_some_and(|height| height <= number);
        if due || !facts.is_empty() {
            self.apply(&Event::ChainCommitted { block, facts })?;
        } else {
            self.happened.count("a head that nobody asked for");
        }
        // Late answers come together, and what they lead to is asked for at the same time.
        let late = self.dice.of(4) == 0 && !self.slow.is_empty();
        if late {
            self.effects.extend(std::mem::take(&mut self.slow));
        }
        self.wall_ms = (self.wall_ms + 1_000).max(block.time.0.saturating_mul(1_000));
        // An RPC that is slow answers in a later block, and then all at once.
        if late || self.dice.of(4) > 0 {
            self.settle(!late)?;
        }
        self.compare(&read)?;
        if let Some(place) = self.blocks.len().checked_sub(DEPTH + 1)
            && self.dice.of(2) == 0
        {
            let block = self.blocks[place];
            self.apply(&Event::ChainFinalized { block })?;
            self.settle(true)?;
        }
        Ok(())
    }

    /// Carries out what the machine asks for, in any order, until it waits for the chain or a later time.
    /// Containers may take their time (`slow`).
    fn settle(&mut self, slow: bool) -> Result<(), Mismatch> {
        loop {
            while !self.effects.is_empty() {
                let place = self.dice.of(self.effects.len() as u64) as usize;
                let Some(issued) = self.effects.swap_remove_back(place) else {
                    break;
                };
                let runs = matches!(issued.effect, Effect::RunContainer(_));
                if runs && slow && self.dice.of(4) > 0 {
                    self.slow.push(issued);
                    continue;
                }
                // What waits for a key goes into one batch, if it waits long enough.
                let signs = matches!(issued.effect, Effect::Sign { .. });
                if signs && !self.effects.is_empty() && self.dice.of(4) > 0 {
                    self.effects.push_back(issued);
                    continue;
                }
                let outcome = self.carry_out(&issued)?;
                if let Some(outcome) = outcome {
                    self.apply(&Event::EffectEnded {
                        effect: issued.id,
                        attempt: issued.attempt,
                        at: WallTime(self.wall_ms),
                        outcome,
                    })?;
                }
            }
            match self.machine.next_deadline() {
                Some(at) if at.0 <= self.wall_ms => {
                    let now = WallTime(self.wall_ms);
                    self.apply(&Event::WallTimePassed { now })?;
                }
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn payload(&mut self, bytes: &[u8]) -> PayloadRef {
        let hash = Hash(keccak256(bytes).0);
        self.payloads.insert(hash, bytes.to_vec());
        PayloadRef {
            hash,
            len: u32::try_from(bytes.len()).expect("answers are short"),
        }
    }

    /// What an account holds of a token; nothing, where the token does not say.
    fn held(&mut self, account: Address, token: Address) -> U256 {
        if token.is_zero() {
            return self.twin.world.coins(account);
        }
        let call = crate::abi::ScriptedToken::balanceOfCall { account };
        self.twin.world.read(token, &call).unwrap_or_default()
    }
}
