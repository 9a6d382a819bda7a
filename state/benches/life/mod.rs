//! A node's life for the benchmarks, event by event, with a world that answers everything at
//! once: the machine's own benchmark and the log's use the same mix.

use std::collections::BTreeMap;

use infernet_state::{
    Config, Effect, Event, Issued, Machine,
    admission::container_hash,
    config::{ChainConfig, ClientId, ContainerConfig, Limits},
    effect::{Action, ContainerCall, Delivery, Location},
    event::{
        ChainFact, Failure, JobKind, JobRequest, Origin, Outcome, Receipt, Subscription, Success,
        SyncedSubscription, WalletChange, WalletFact,
    },
    types::{
        Address, Amount, BlockRef, BlockTime, Hash, JobId, Nonce, PayloadRef, SubscriptionId,
        WallTime,
    },
};
use sha2::{Digest, Sha256};

const NODE: Address = Address([0xaa; 20]);
const NODE_WALLET: Address = Address([0xbb; 20]);
const OTHER_NODE: Address = Address([0xee; 20]);
const FEES: Address = Address([0xfe; 20]);
const T0: u64 = 1_700_000_000;

/// Seconds between blocks.
const BLOCK_S: u64 = 12;

/// Blocks until one is final, and between two words of it: two epochs, and one.
const FINAL_AFTER: u64 = 64;
const FINAL_EVERY: u64 = 32;

/// Entries of one event of a sync, as the watcher sends them.
const SYNC_CHUNK: u32 = 100;

/// The mix, in words: what the tables of the benchmarks say of it.
pub(crate) const MIX: &str = "per block 5 paid callbacks, 5 intervals of recurring subscriptions, 8 \
client jobs of one or two containers, 2 responses of other nodes; 1 container call in 20 fails \
and is repeated, 1 simulation in 40 reverts, 1 transaction in 64 needs a fee bump, 1 block in 64 \
is reorganised, finality 64 blocks behind";

fn hash(number: u64, kind: u8) -> Hash {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Hash(Sha256::digest(bytes).into())
}

fn address(number: u64, kind: u8) -> Address {
    let mut bytes = [0; 20];
    bytes.copy_from_slice(&hash(number, kind).0[..20]);
    Address(bytes)
}

fn container(id: &str) -> ContainerConfig {
    ContainerConfig {
        id: id.into(),
        external: true,
        rerun: true,
        ..ContainerConfig::default()
    }
}

fn config() -> Config {
    Config {
        chain: Some(ChainConfig {
            chain_id: 1,
            registry: Address([1; 20]),
            coordinator: Address([2; 20]),
            wallet_factory: Address([3; 20]),
            fee_recipient: FEES,
            node: NODE,
            payment_wallet: Some(NODE_WALLET),
            trail_head_blocks: 0,
            delivery_batch_max: 0,
            max_fee_per_gas_cap: 1_000_000,
            gas_limit_max: 5_000_000,
        }),
        containers: vec![container("alpha"), container("beta")],
        limits: Limits::default(),
        ..Config::default()
    }
}

/// A subscription of a consumer of its own.
fn terms(consumer: u64, price: u128) -> Subscription {
    Subscription {
        owner: address(consumer, 4),
        active_at: 0,
        period: 0,
        frequency: 1,
        redundancy: 1,
        container_id: container_hash(&["alpha"]),
        lazy: false,
        verifier: Address::ZERO,
        payment_amount: Amount::from(price),
        payment_token: Address::ZERO,
        wallet: address(consumer, 5),
    }
}

/// A paid subscription that sleeps until far beyond the measured blocks, like no other one.
pub(crate) fn dormant(id: u32) -> Subscription {
    let spread = u64::from(id.wrapping_mul(2_654_435_761) >> 8);
    Subscription {
        active_at: u32::try_from(T0 + 400_000_000 + spread).expect("before 2106"),
        period: 3_600,
        frequency: 1_000,
        ..terms(u64::from(id), 1_000)
    }
}

/// An event with the payloads that it is the first to name.
pub(crate) struct Recorded {
    pub(crate) event: Event,
    pub(crate) payloads: Vec<Vec<u8>>,
}

/// A transaction in the pool: its newest version.
struct Pooled {
    tx: Hash,
    delivery: Option<Delivery>,
    versions: usize,
}

/// See the module.
pub(crate) struct Life {
    pub(crate) machine: Machine,
    /// What happened, where it is kept.
    pub(crate) log: Vec<Recorded>,
    keep: bool,
    issued: Vec<Issued>,
    facts: Vec<ChainFact>,
    payloads: Vec<Vec<u8>>,
    /// Heads, the newest last.
    heads: Vec<BlockRef>,
    next_id: u32,
    salt: u64,
    pool: BTreeMap<Nonce, Pooled>,
    signed: BTreeMap<Hash, Option<Delivery>>,
    owners: BTreeMap<SubscriptionId, Subscription>,
}

impl Life {
    pub(crate) fn new(keep: bool) -> Self {
        let mut life = Self {
            machine: Machine::new(),
            log: Vec::new(),
            keep,
            issued: Vec::new(),
            facts: Vec::new(),
            payloads: Vec::new(),
            heads: vec![BlockRef::default()],
            next_id: 1,
            salt: 0,
            pool: BTreeMap::new(),
            signed: BTreeMap::new(),
            owners: BTreeMap::new(),
        };
        life.apply(Event::NodeStarted {
            at: WallTime(T0 * 1_000),
            version: "bench".into(),
        });
        life.apply(Event::ConfigChanged(config()));
        life.apply(Event::AccountObserved {
            head: BlockRef::default(),
            nonce: Nonce(0),
            balance: Amount::from(u128::MAX),
        });
        life
    }

    /// Whether events are kept from now on.
    pub(crate) fn keep(&mut self, keep: bool) {
        self.keep = keep;
    }

    fn apply(&mut self, event: Event) {
        self.issued
            .extend(self.machine.apply(&event).expect("no halt"));
        if self.keep {
            let payloads = std::mem::take(&mut self.payloads);
            self.log.push(Recorded { event, payloads });
        }
        self.payloads.clear();
    }

    fn salt(&mut self) -> u64 {
        self.salt += 1;
        self.salt
    }

    /// Bytes that the next event names first.
    fn payload(&mut self, len: usize) -> PayloadRef {
        let salt = self.salt();
        if !self.keep {
            // Nobody looks at the bytes.
            return PayloadRef {
                hash: Hash([u8::try_from(salt & 0xff).expect("a byte"); 32]),
                len: u32::try_from(len).expect("short"),
            };
        }
        let mut bytes = Vec::with_capacity(len + 32);
        for round in (0..).take(len.div_ceil(32)) {
            bytes.extend_from_slice(&hash(salt, round).0);
        }
        bytes.truncate(len);
        let reference = PayloadRef {
            hash: Hash(Sha256::digest(&bytes).into()),
            len: u32::try_from(len).expect("short"),
        };
        self.payloads.push(bytes);
        reference
    }

    pub(crate) fn head(&self) -> BlockRef {
        self.heads.last().copied().unwrap_or_default()
    }

    fn now(&self) -> WallTime {
        WallTime((T0 + self.head().number * BLOCK_S) * 1_000)
    }

    /// The chunks in which a sync brings dormant subscriptions.
    pub(crate) fn sync_events(&mut self, count: u32) -> impl Iterator<Item = Event> + use<> {
        let block = self.head();
        let first = self.next_id;
        let end = first + count;
        self.next_id = end;
        (first..end).step_by(SYNC_CHUNK as usize).map(move |id| {
            let next = (id + SYNC_CHUNK).min(end);
            Event::SubscriptionsSynced {
                block,
                subscriptions: (id..next)
                    .map(|id| SyncedSubscription {
                        id: SubscriptionId(id),
                        subscription: dormant(id),
                        responses: 0,
                        responded: false,
                        origin: Origin::Owner,
                    })
                    .collect(),
                next: SubscriptionId(next),
            }
        })
    }

    /// Dormant subscriptions, as a sync brings them, and their block final.
    pub(crate) fn load(&mut self, count: u32) {
        for event in self.sync_events(count) {
            self.apply(event);
        }
        self.mine();
        self.finalize(0);
    }

    /// A creation in the next block, in a block of its own time.
    fn create(&mut self, subscription: Subscription) {
        let id = SubscriptionId(self.next_id);
        self.next_id += 1;
        self.facts.push(ChainFact::SubscriptionCreated {
            id,
            subscription: subscription.clone(),
            delegation: None,
        });
        if self.keep {
            self.owners.insert(id, subscription);
        }
    }

    /// A callback that is due with the next block.
    fn create_callback(&mut self, price: u128) {
        let consumer = self.salt();
        let active_at = self.time(1);
        self.create(Subscription {
            active_at,
            ..terms(consumer, price)
        });
    }

    /// Block time some blocks from now, as the contract counts it.
    fn time(&self, blocks: u64) -> u32 {
        let time = T0 + (self.head().number + blocks) * BLOCK_S;
        u32::try_from(time).expect("before 2106")
    }

    /// The next block, with what was gathered for it.
    pub(crate) fn mine(&mut self) {
        let number = self.head().number + 1;
        let facts = std::mem::take(&mut self.facts);
        let block = BlockRef {
            number,
            hash: hash(number, 2),
            time: BlockTime(T0 + number * BLOCK_S),
        };
        self.heads.push(block);
        self.apply(Event::ChainCommitted { block, facts });
    }

    /// The next block leaves the chain again, and one with the same facts takes its place.
    fn mine_twice(&mut self) {
        let ancestor = self.head();
        let facts = self.facts.clone();
        self.mine();
        self.apply(Event::ChainReorged { ancestor });
        let block = BlockRef {
            hash: hash(ancestor.number, 6),
            ..self.head()
        };
        self.heads.pop();
        self.heads.push(block);
        self.apply(Event::ChainCommitted { block, facts });
    }

    /// The block so far behind the head is final.
    pub(crate) fn finalize(&mut self, depth: usize) {
        let at = self.heads.len().saturating_sub(1 + depth);
        let block = self.heads.get(at).copied().unwrap_or_default();
        self.apply(Event::ChainFinalized { block });
        self.heads.drain(..at);
    }

    /// Answers effects until none is left.
    pub(crate) fn settle(&mut self) {
        loop {
            while !self.issued.is_empty() {
                for issued in std::mem::take(&mut self.issued) {
                    self.answer(&issued);
                }
            }
            match self.machine.next_deadline() {
                Some(at) if at <= self.now() => {
                    let now = self.now();
                    self.apply(Event::WallTimePassed { now });
                }
                Some(_) | None => break,
            }
        }
    }

    fn answer(&mut self, issued: &Issued) {
        let outcome = match &issued.effect {
            Effect::ReadPayer { .. } => Outcome::Succeeded(Success::PayerRead {
                valid: true,
                balance: Amount::MAX,
                allowance: Amount::MAX,
            }),
            Effect::ReadInputs { .. } => Outcome::Succeeded(Success::InputsRead {
                input: self.payload(96),
            }),
            Effect::ReadResponses { .. } => Outcome::Succeeded(Success::ResponsesRead {
                responses: 0,
                responded: false,
            }),
            Effect::RunContainer(call) => self.container(call, issued.attempt),
            Effect::StopContainer { .. } | Effect::LookUpTransaction { .. } => return,
            Effect::Simulate { .. } if self.salt().is_multiple_of(40) => {
                Outcome::Failed(Failure::Reverted {
                    selector: [1; 4],
                    reason: "a lagging head".into(),
                })
            }
            Effect::Simulate { .. } => Outcome::Succeeded(Success::Simulated {
                gas: 100_000,
                base_fee: 7,
                priority_fee: 1,
            }),
            Effect::Sign { action, .. } => {
                let tx = hash(self.salt(), 3);
                let delivery = match action {
                    Action::Deliver(delivery) => Some(delivery.clone()),
                    _ => None,
                };
                self.signed.insert(tx, delivery);
                Outcome::Succeeded(Success::Signed {
                    tx,
                    raw: self.payload(420),
                })
            }
            Effect::Broadcast { tx, nonce, .. } => {
                let versions = self.pool.get(nonce).map_or(0, |pooled| pooled.versions);
                let pooled = Pooled {
                    tx: *tx,
                    delivery: self.signed.remove(tx).flatten(),
                    versions: versions + 1,
                };
                self.pool.insert(*nonce, pooled);
                Outcome::Succeeded(Success::Broadcast)
            }
        };
        let at = self.now();
        self.apply(Event::EffectEnded {
            effect: issued.id,
            attempt: issued.attempt,
            at,
            outcome,
        });
    }

    fn container(&mut self, call: &ContainerCall, attempt: u16) -> Outcome {
        if attempt == 1 && self.salt().is_multiple_of(20) {
            return Outcome::Failed(Failure::Container {
                error: self.payload(64),
                retry: true,
            });
        }
        Outcome::Succeeded(match call.destination {
            Location::Onchain => Success::ContainerAnsweredOnchain {
                output: self.payload(200),
                deliver_input: self.payload(32),
                deliver_output: self.payload(128),
                deliver_proof: self.payload(32),
            },
            Location::Offchain | Location::Stream => Success::ContainerAnswered {
                output: self.payload(200),
            },
        })
    }

    /// The pool's transactions stand in the next block, in the order of their nonces, up to the
    /// first one that must offer more.
    fn include_pool(&mut self, demand_more: bool) {
        while let Some(entry) = self.pool.first_entry() {
            let dear = entry.key().0.is_multiple_of(64) && entry.get().versions < 2;
            if dear && demand_more {
                break;
            }
            let (nonce, pooled) = entry.remove_entry();
            self.include(nonce, pooled);
        }
    }

    /// What a block says of a transaction.
    fn include(&mut self, nonce: Nonce, Pooled { tx, delivery, .. }: Pooled) {
        if let Some(delivery) = delivery {
            let consumer = self.owners.get(&delivery.subscription).cloned();
            let consumer = consumer.unwrap_or_else(|| terms(0, 1_000));
            for (to, amount) in [(FEES, 50_u128), (NODE_WALLET, 950)] {
                self.facts.push(ChainFact::Wallet(WalletFact {
                    wallet: consumer.wallet,
                    owner: consumer.owner,
                    tx,
                    change: WalletChange::Transferred {
                        spender: consumer.owner,
                        token: Address::ZERO,
                        to,
                        amount: Amount::from(amount),
                    },
                }));
            }
            self.facts.push(ChainFact::SubscriptionFulfilled {
                id: delivery.subscription,
                node: NODE,
            });
        }
        self.facts.push(ChainFact::TransactionIncluded(Receipt {
            nonce,
            tx,
            succeeded: true,
            gas_used: 100_000,
            effective_gas_price: 8,
            l1_fee: Amount::ZERO,
        }));
    }

    fn job(&mut self) {
        let salt = self.salt();
        let mut id = [0; 16];
        id.copy_from_slice(&hash(salt, 7).0[..16]);
        let mut containers = vec!["alpha".into()];
        if salt.is_multiple_of(4) {
            containers.push("beta".into());
        }
        let (at, input) = (self.now(), self.payload(150));
        self.apply(Event::JobAccepted(JobRequest {
            job: JobId(id),
            client: ClientId([u8::try_from(salt % 200).expect("a byte"); 16]),
            at,
            kind: JobKind::Offchain,
            containers,
            input,
            requires_proof: false,
            idempotency: None,
        }));
    }

    /// One paid callback, from creation to a final block.
    pub(crate) fn callback(&mut self) {
        self.create_callback(1_000);
        self.mine();
        self.settle();
        self.include_pool(false);
        self.mine();
        self.settle();
        self.finalize(0);
    }

    /// A creation in a block that leaves the chain again.
    pub(crate) fn undone_creation(&mut self) {
        let ancestor = self.head();
        self.create_callback(0);
        self.mine();
        self.apply(Event::ChainReorged { ancestor });
        self.heads.pop();
        self.issued.clear();
        self.next_id -= 1;
    }

    /// Recurring subscriptions, a fifth of them due with each block.
    pub(crate) fn begin_mix(&mut self) {
        for at in 0..25 {
            let consumer = self.salt();
            let active_at = self.time(1 + at % 5);
            self.create(Subscription {
                active_at,
                period: 60,
                frequency: u32::MAX,
                redundancy: 2,
                ..terms(consumer, 1_000)
            });
        }
    }

    /// One block of the mix.
    pub(crate) fn mixed_block(&mut self) {
        for _ in 0..5 {
            self.create_callback(1_000);
        }
        self.include_pool(true);
        for _ in 0..2 {
            // Another node answers a recurring subscription, of which two answers are wanted.
            let id = SubscriptionId(u32::try_from(1 + self.salt() % 25).expect("small"));
            self.facts.push(ChainFact::SubscriptionFulfilled {
                id,
                node: OTHER_NODE,
            });
        }
        if self.head().number % 64 == 63 {
            self.mine_twice();
        } else {
            self.mine();
        }
        for _ in 0..8 {
            self.job();
        }
        self.settle();
        if self.head().number.is_multiple_of(FINAL_EVERY) {
            self.finalize(FINAL_AFTER as usize);
        }
    }
}
