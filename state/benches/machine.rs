//! How fast the machine is, and what a dormant subscription costs.
//!
//! A table for people, or with `--json` one object a line: `measure`, `value`, `unit`, and
//! `baseline`, the same quantity of something plain in the same run (named in the table).
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what is measured has no clock; the measurement has"
)]

use std::{hint::black_box, time::Instant};

use infernet_state::{
    Config, Effect, Event, Issued, Machine,
    admission::container_hash,
    codec::{self, EncodedEvent},
    config::{ChainConfig, ClientId, ContainerConfig, Limits},
    effect::{Action, Location},
    event::{
        ChainFact, JobKind, JobRequest, Outcome, Receipt, Subscription, Success,
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
const CONSUMER: Address = Address([0xcc; 20]);
const CONSUMER_WALLET: Address = Address([0xdd; 20]);
const FEES: Address = Address([0xfe; 20]);
const T0: u64 = 1_700_000_000;

const MILLION: u32 = 1_000_000;

/// Rounds of each timing; the best counts, since the machine under it is noisy.
const ROUNDS: usize = 5;

fn hash(number: u64, kind: u8) -> Hash {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Hash(bytes)
}

fn payload(number: u64) -> PayloadRef {
    PayloadRef {
        hash: hash(number, 1),
        len: 64,
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
        containers: vec![ContainerConfig {
            id: "alpha".into(),
            external: true,
            rerun: true,
            ..ContainerConfig::default()
        }],
        limits: Limits::default(),
        ..Config::default()
    }
}

fn terms(price: u128) -> Subscription {
    Subscription {
        owner: CONSUMER,
        active_at: 0,
        period: 0,
        frequency: 1,
        redundancy: 1,
        container_id: container_hash(&["alpha"]),
        lazy: false,
        verifier: Address::ZERO,
        payment_amount: Amount::from(price),
        payment_token: Address::ZERO,
        wallet: CONSUMER_WALLET,
    }
}

/// A paid subscription that sleeps until far beyond the measured blocks.
fn dormant() -> Subscription {
    Subscription {
        active_at: u32::try_from(T0 + 500_000_000).expect("before 2106"),
        period: 3_600,
        frequency: 1_000,
        ..terms(1_000)
    }
}

/// A node's life, event by event, with a world that answers everything at once.
struct Life {
    machine: Machine,
    log: Vec<Event>,
    issued: Vec<Issued>,
    facts: Vec<ChainFact>,
    number: u64,
    next_id: u32,
    salt: u64,
    signed: std::collections::BTreeMap<Hash, (Nonce, Action)>,
    keep: bool,
}

impl Life {
    fn new(keep: bool) -> Self {
        let mut life = Self {
            machine: Machine::new(),
            log: Vec::new(),
            issued: Vec::new(),
            facts: Vec::new(),
            number: 0,
            next_id: 1,
            salt: 0,
            signed: std::collections::BTreeMap::new(),
            keep,
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

    fn apply(&mut self, event: Event) {
        self.issued
            .extend(self.machine.apply(&event).expect("no halt"));
        if self.keep {
            self.log.push(event);
        }
    }

    fn head(&self) -> BlockRef {
        BlockRef {
            number: self.number,
            hash: hash(self.number, 2),
            time: BlockTime(T0 + self.number),
        }
    }

    /// Dormant subscriptions, as a sync brings them.
    fn load(&mut self, count: u32) {
        let subscription = dormant();
        let block = self.head();
        let first = self.next_id;
        let end = first + count;
        let mut id = first;
        while id < end {
            let next = (id + 100).min(end);
            let subscriptions = (id..next)
                .map(|id| SyncedSubscription {
                    id: SubscriptionId(id),
                    subscription: subscription.clone(),
                    responses: 0,
                    responded: false,
                })
                .collect();
            self.apply(Event::SubscriptionsSynced {
                block,
                subscriptions,
                next: SubscriptionId(next),
            });
            id = next;
        }
        self.next_id = end;
        self.mine();
        self.finalize();
    }

    fn create(&mut self, price: u128) {
        let mut subscription = terms(price);
        subscription.active_at = (T0 + self.number + 1) as u32;
        self.facts.push(ChainFact::SubscriptionCreated {
            id: SubscriptionId(self.next_id),
            subscription,
            delegation: None,
        });
        self.next_id += 1;
    }

    fn mine(&mut self) {
        self.number += 1;
        let facts = std::mem::take(&mut self.facts);
        let block = self.head();
        self.apply(Event::ChainCommitted { block, facts });
    }

    fn finalize(&mut self) {
        let block = self.head();
        self.apply(Event::ChainFinalized { block });
    }

    fn settle(&mut self) {
        while !self.issued.is_empty() {
            for issued in std::mem::take(&mut self.issued) {
                self.answer(&issued);
            }
        }
    }

    fn answer(&mut self, issued: &Issued) {
        self.salt += 1;
        let salt = self.salt;
        let success = match &issued.effect {
            Effect::ReadPayer { .. } => Success::PayerRead {
                valid: true,
                balance: Amount::MAX,
                allowance: Amount::MAX,
            },
            Effect::ReadInputs { .. } => Success::InputsRead {
                input: payload(salt),
            },
            Effect::ReadResponses { .. } => Success::ResponsesRead {
                responses: 0,
                responded: false,
            },
            Effect::RunContainer(call) => match call.destination {
                Location::Onchain => Success::ContainerAnsweredOnchain {
                    output: payload(salt),
                    deliver_input: payload(salt),
                    deliver_output: payload(salt),
                    deliver_proof: payload(salt),
                },
                Location::Offchain | Location::Stream => Success::ContainerAnswered {
                    output: payload(salt),
                },
            },
            Effect::StopContainer { .. } => return,
            Effect::Simulate { .. } => Success::Simulated {
                gas: 100_000,
                base_fee: 7,
                priority_fee: 1,
            },
            Effect::Sign { nonce, action, .. } => {
                self.signed.insert(hash(salt, 3), (*nonce, action.clone()));
                Success::Signed {
                    tx: hash(salt, 3),
                    raw: payload(salt),
                }
            }
            Effect::Broadcast { tx, nonce, .. } => {
                self.include(*tx, *nonce);
                Success::Broadcast
            }
            Effect::LookUpTransaction { .. } => return,
        };
        self.apply(Event::EffectEnded {
            effect: issued.id,
            attempt: issued.attempt,
            at: WallTime(T0 * 1_000),
            outcome: Outcome::Succeeded(success),
        });
    }

    /// What the next block says of a transaction.
    fn include(&mut self, tx: Hash, nonce: Nonce) {
        if let Some((_, Action::Deliver(delivery))) = self.signed.remove(&tx) {
            for (to, amount) in [(FEES, 50_u128), (NODE_WALLET, 950)] {
                self.facts.push(ChainFact::Wallet(WalletFact {
                    wallet: CONSUMER_WALLET,
                    owner: CONSUMER,
                    tx,
                    change: WalletChange::Transferred {
                        spender: CONSUMER,
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
        self.salt += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.salt.to_be_bytes());
        self.apply(Event::JobAccepted(JobRequest {
            job: JobId(id),
            client: ClientId([1; 16]),
            at: WallTime(T0 * 1_000),
            kind: JobKind::Offchain,
            containers: vec!["alpha".into()],
            input: payload(self.salt),
            requires_proof: false,
            idempotency: None,
        }));
    }

    /// One paid callback, from creation to a final block.
    fn callback(&mut self) {
        self.create(1_000);
        self.mine();
        self.settle();
        self.mine();
        self.finalize();
    }
}

/// A mixed log: paid callbacks, clients' jobs, blocks, finality.
fn mixed_log(events: usize) -> Vec<Event> {
    let mut life = Life::new(true);
    while life.log.len() < events {
        for _ in 0..10 {
            life.create(1_000);
            life.job();
        }
        life.mine();
        life.settle();
        life.mine();
        if life.number.is_multiple_of(32) {
            life.finalize();
        }
    }
    life.log
}

/// Seconds that this thread had a core, as Linux counts them; the wall clock elsewhere. Others
/// may use the machine at the same time.
fn on_core() -> f64 {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|stat| stat.split_whitespace().next()?.parse::<f64>().ok())
        .map_or_else(|| START.elapsed().as_secs_f64(), |ns| ns / 1e9)
}

/// The shortest of several runs, in seconds; what a run leaves is dropped outside.
fn best<T>(mut run: impl FnMut() -> T) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let start = on_core();
            let left = black_box(run());
            let spent = on_core() - start;
            drop(left);
            spent
        })
        .fold(f64::INFINITY, f64::min)
}

/// Resident memory of this process in bytes, as Linux counts it; 0 elsewhere.
fn resident() -> f64 {
    let pages: f64 = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0.0);
    pages * 4_096.0
}

struct Report {
    json: bool,
}

impl Report {
    fn say(&self, measure: &str, value: f64, unit: &str, baseline: f64, of: &str) {
        if self.json {
            println!(
                r#"{{"measure":"{measure}","value":{value:.3},"unit":"{unit}","baseline":{baseline:.3}}}"#
            );
        } else {
            println!("{measure:<36}{value:>16.1} {unit:<10}{baseline:>16.1}  {of}");
        }
    }
}

fn replay(encoded: &[EncodedEvent]) -> (Machine, [u8; 32]) {
    let mut machine = Machine::new();
    let mut chain = [0; 32];
    for event in encoded {
        chain = chained(chain, event);
        let event = codec::decode(event.kind, event.version, &event.body).expect("decodes");
        machine.apply(&event).expect("no halt");
    }
    black_box(machine.digest());
    (machine, chain)
}

/// The log's chain hash over one record.
fn chained(before: [u8; 32], event: &EncodedEvent) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(event.kind.to_be_bytes());
    hasher.update([event.version]);
    hasher.update(&event.body);
    hasher.finalize().into()
}

/// Nanoseconds of a block with nothing due, of a callback, and of a reorg, beside `dormant` ones.
fn beside(dormant: u32) -> [f64; 3] {
    const BLOCKS: u64 = 1_000_000;
    const CALLBACKS: u64 = 2_000;
    let mut life = Life::new(false);
    life.load(dormant);
    let per = |seconds: f64, count: u64| seconds * 1e9 / count as f64;
    let block = best(|| (0..BLOCKS).for_each(|_| life.mine()));
    let callback = best(|| (0..CALLBACKS).for_each(|_| life.callback()));
    let reorg = best(|| {
        for _ in 0..CALLBACKS {
            let ancestor = life.head();
            life.create(0);
            life.mine();
            life.apply(Event::ChainReorged { ancestor });
            life.issued.clear();
            life.next_id -= 1;
        }
    });
    [
        per(block, BLOCKS),
        per(callback, CALLBACKS),
        per(reorg, CALLBACKS),
    ]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let report = Report {
        json: has("--json"),
    };
    type Part = fn(&Report);
    let parts: [(&str, Part); 3] = [
        ("memory", memory),
        ("throughput", throughput),
        ("dormant", cost_beside_dormant),
    ];
    let chosen = parts.iter().any(|(name, _)| has(name));
    if !report.json {
        println!(
            "{:<36}{:>16} {:<10}{:>16}",
            "measure", "value", "unit", "baseline"
        );
    }
    // Memory comes first, while the process is small.
    for (name, part) in parts {
        if !chosen || has(name) {
            part(&report);
        }
    }
}

/// A million dormant subscriptions: memory, loading, digest, snapshot.
fn memory(report: &Report) {
    let before = resident();
    let start = on_core();
    let mut life = Life::new(false);
    life.load(MILLION);
    let loaded = on_core() - start;
    let per_subscription = (resident() - before) / f64::from(MILLION);
    let record = size_of::<Subscription>() as f64;
    report.say(
        "bytes_per_dormant_subscription",
        per_subscription,
        "bytes",
        record,
        "the bare record",
    );
    let cloned = best(|| {
        let list: Vec<Subscription> = vec![dormant(); 1_000_000];
        black_box(&list);
    });
    report.say(
        "load_1m_subscriptions_s",
        loaded,
        "s",
        cloned,
        "writing a million bare records",
    );
    let digest = best(|| {
        black_box(life.machine.digest());
    });
    let snapshot = life.machine.snapshot().expect("encodes");
    let hashed = best(|| {
        black_box(Sha256::digest(&snapshot));
    });
    report.say(
        "digest_1m_subscriptions_s",
        digest,
        "s",
        hashed,
        "SHA-256 of the same bytes",
    );
    let restored = best(|| Machine::restore(&snapshot).expect("restores"));
    report.say(
        "restore_1m_subscriptions_s",
        restored,
        "s",
        hashed,
        "SHA-256 of the same bytes",
    );
}

/// Events a second, applied and replayed from bytes.
fn throughput(report: &Report) {
    let log = mixed_log(200_000);
    let count = log.len() as f64;
    let encoded: Vec<EncodedEvent> = log
        .iter()
        .map(|event| codec::encode(event).expect("encodes"))
        .collect();
    let hashing = count
        / best(|| {
            black_box(encoded.iter().fold([0; 32], chained));
        });
    let applied = count
        / best(|| {
            let mut machine = Machine::new();
            for event in &log {
                black_box(machine.apply(event).expect("no halt"));
            }
            machine
        });
    report.say(
        "apply_events_per_s",
        applied,
        "events/s",
        hashing,
        "the log's chain hash alone",
    );
    let replayed = count / best(|| replay(&encoded));
    report.say(
        "replay_events_per_s",
        replayed,
        "events/s",
        hashing,
        "the log's chain hash alone",
    );
}

/// What a block, a callback and a reorg cost beside dormant subscriptions.
fn cost_beside_dormant(report: &Report) {
    let base = beside(0);
    for dormant in [10_000, 100_000, MILLION] {
        let costs = beside(dormant);
        let name = match dormant {
            10_000 => "10k",
            100_000 => "100k",
            _ => "1m",
        };
        for (what, (cost, base)) in ["block", "callback", "reorg"]
            .into_iter()
            .zip(costs.into_iter().zip(base))
        {
            let ratio = format!("{what}_cost_ratio_{name}_vs_0");
            report.say(&ratio, cost / base, "ratio", 1.0, "none dormant");
            if dormant == MILLION {
                let cost_name = format!("{what}_cost_1m_ns");
                report.say(&cost_name, cost, "ns", base, "none dormant");
            }
        }
    }
}
