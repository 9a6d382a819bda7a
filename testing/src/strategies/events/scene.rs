//! What stands around the machine while a sequence is played: a chain, a clock, clients.

use infernet_state::{
    Config, Effect, Event, Issued, Machine,
    config::{ChainConfig, ClientId, ContainerConfig, Limits},
    effect::Location,
    event::{
        ChainFact, DelegatedRequest, Failure, Idempotency, JobKind, JobRequest, Origin, Outcome,
        Receipt, Rejection, ReportedStatus, Subscription, Success, SyncedSubscription,
        TransactionState, WalletChange, WalletFact,
    },
    types::{
        Address, Amount, BlockRef, BlockTime, Hash, Interval, JobId, Nonce, PayloadRef,
        SubscriptionId, WallTime,
    },
};

use super::happenings::{Ending, FactWish, Happening, Record};
use crate::{model::container_id, strategies::values::Pick};

const NODE: Address = Address([0xaa; 20]);
const NODE_WALLET: Address = Address([0xbb; 20]);
const OTHER_NODE: Address = Address([0xab; 20]);
const CONSUMER: Address = Address([0xcc; 20]);
const CONSUMER_WALLET: Address = Address([0xdd; 20]);
const FEE_RECIPIENT: Address = Address([0xfe; 20]);
const VERIFIER: Address = Address([0xee; 20]);
const TOKEN: Address = Address([0x77; 20]);
const GENESIS: u64 = 1_700_000_000;

/// Container chains that subscriptions and jobs name; the last is nobody's.
const CHAINS: [&str; 5] = ["alpha", "beta", "alpha,beta", "gamma", "nobody"];

/// A block and the subscriptions that there are after it.
#[derive(Clone, Debug)]
struct Block {
    block: BlockRef,
    subscriptions: Vec<(SubscriptionId, Subscription)>,
    nonce: u64,
}

/// What stands around the machine while a sequence is played.
#[derive(Clone, Debug)]
pub struct Scene {
    now: u64,
    blocks: Vec<Block>,
    /// How many of the blocks are final.
    finals: usize,
    forks: u64,
    payloads: u64,
    jobs: Vec<JobId>,
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

/// The configurations of the scene: the first serves everything, the others each leave something out.
#[must_use]
pub fn config(pick: Pick) -> Config {
    let container = |id: &str| ContainerConfig {
        id: id.into(),
        external: true,
        generates_proofs: true,
        rerun: id != "gamma",
        ..ContainerConfig::default()
    };
    let chain = ChainConfig {
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
    };
    let whole = Config {
        chain: Some(chain.clone()),
        containers: vec![container("alpha"), container("beta"), container("gamma")],
        permutation_length_max: 2,
        limits: Limits {
            fee_bump_after_ms: 10_000,
            ..Limits::default()
        },
        ..Config::default()
    };
    match pick.0 % 8 {
        1 => Config {
            containers: vec![container("beta")],
            ..whole
        },
        2 => Config {
            chain: None,
            ..whole
        },
        3 => Config {
            verifiers: Some(Vec::new()),
            ..whole
        },
        4 => Config {
            stake_caps: vec![(Address::ZERO, Amount::from(1_000))],
            ..whole
        },
        5 => Config {
            chain: Some(ChainConfig {
                payment_wallet: None,
                ..chain
            }),
            permutation_length_max: 0,
            ..whole
        },
        6 => Config {
            chain: Some(ChainConfig {
                delivery_batch_max: 4,
                trail_head_blocks: 0,
                ..chain
            }),
            limits: Limits {
                breaker_losses: 1,
                container_attempts_max: 1,
                ..whole.limits
            },
            ..whole
        },
        _ => whole,
    }
}

impl Scene {
    /// A chain of one block, and no clients yet.
    #[must_use]
    pub fn new() -> Self {
        let block = BlockRef {
            number: 1,
            hash: tagged(0, 1),
            time: BlockTime(GENESIS),
        };
        let genesis = Block {
            block,
            subscriptions: Vec::new(),
            nonce: 0,
        };
        Self {
            now: GENESIS.saturating_mul(1_000),
            blocks: vec![genesis],
            finals: 1,
            forks: 0,
            payloads: 0,
            jobs: Vec::new(),
        }
    }

    /// The event that says what happens; `None` where it cannot happen now.
    pub fn event(&mut self, happening: &Happening, machine: &Machine) -> Option<Event> {
        let at = WallTime(self.now);
        Some(match happening {
            Happening::Start => Event::NodeStarted {
                at,
                version: "1".into(),
            },
            Happening::Configure(pick) => Event::ConfigChanged(config(*pick)),
            Happening::Tick(ms) => self.wait(self.now.saturating_add(u64::from(*ms))),
            Happening::Deadline => self.wait(machine.next_deadline()?.0),
            Happening::Block(after, facts) => self.grow(*after, facts, machine),
            Happening::More(after, facts) => {
                let mut next = self.next_block(*after);
                let facts = facts
                    .iter()
                    .filter_map(|wish| fact(wish, &mut next, machine))
                    .collect();
                // More of the head's facts: right behind it they belong to it, else they are stale.
                Event::ChainCommitted {
                    block: self.head().block,
                    facts,
                }
            }
            Happening::Reorg(depth) => {
                let keep = self.blocks.len().saturating_sub(usize::from(*depth));
                self.blocks.truncate(keep.max(self.finals));
                self.forks = self.forks.saturating_add(1);
                Event::ChainReorged {
                    ancestor: self.head().block,
                }
            }
            Happening::Finality(below) => {
                let count = self.blocks.len().saturating_sub((*below).into());
                self.finals = self.finals.max(count);
                let last = self.finals.saturating_sub(1);
                Event::ChainFinalized {
                    block: self.blocks.get(last)?.block,
                }
            }
            Happening::Sync(count, record) => self.sync(*count, record, machine)?,
            Happening::Account(more) => Event::AccountObserved {
                head: self.head().block,
                nonce: Nonce(self.head().nonce.saturating_add(u64::from(*more))),
                balance: Amount::from(1_000_000_000_000_000_000),
            },
            Happening::Seen(above) => {
                let mut head = self.head().block;
                head.number = head.number.saturating_add(u64::from(*above));
                Event::HeadObserved { head }
            }
            Happening::Lift => Event::QuarantineLifted,
            Happening::Job(containers, stream, proof, key) => {
                self.job(*containers, *stream, *proof, *key)
            }
            Happening::Delegated(record, nonce) => {
                let subscription = subscription(record, self.head().block.time);
                let input = self.payload();
                Event::DelegatedAccepted(DelegatedRequest {
                    client: ClientId([1; 16]),
                    at,
                    subscription,
                    nonce: *nonce,
                    expiry: self
                        .head()
                        .block
                        .time
                        .as_contract_time()
                        .saturating_add(600),
                    v: 27,
                    r: tagged(7, u64::from(*nonce)),
                    s: tagged(8, u64::from(*nonce)),
                    input,
                    known_id: SubscriptionId(0),
                    seen: self.head().block.time,
                })
            }
            Happening::Reported(pick, status) => {
                let job = pick.of(&self.jobs).unwrap_or(JobId([0xfe; 16]));
                let status = match status % 3 {
                    0 => ReportedStatus::Running,
                    1 => ReportedStatus::Success,
                    _ => ReportedStatus::Failed,
                };
                let containers = vec!["alpha".into()];
                let result = Some(self.payload());
                Event::JobReported {
                    job,
                    client: ClientId([2; 16]),
                    at,
                    status,
                    containers,
                    result,
                }
            }
            Happening::JobCancelled(pick) => Event::JobCancelled {
                job: pick.of(&self.jobs)?,
                at,
            },
            Happening::Ended(pick, ending) => self.end(*pick, *ending, machine)?,
            Happening::Upgraded(to) => Event::Upgraded { to: *to },
            Happening::Nonsense(event) => (**event).clone(),
        })
    }

    fn wait(&mut self, until: u64) -> Event {
        self.now = self.now.max(until);
        Event::WallTimePassed {
            now: WallTime(self.now),
        }
    }

    fn head(&self) -> Block {
        self.blocks
            .last()
            .cloned()
            .unwrap_or_else(|| Self::new().head())
    }

    fn payload(&mut self) -> PayloadRef {
        self.payloads = self.payloads.saturating_add(1);
        PayloadRef {
            hash: tagged(9, self.payloads),
            len: 32,
        }
    }

    fn next_block(&self, after: u16) -> Block {
        let head = self.head();
        let number = head.block.number.saturating_add(1);
        let time = head
            .block
            .time
            .0
            .saturating_add(after.into())
            .saturating_add(1);
        let hash = tagged(self.forks, number);
        Block {
            block: BlockRef {
                number,
                hash,
                time: BlockTime(time),
            },
            ..head
        }
    }

    fn grow(&mut self, after: u16, facts: &[FactWish], machine: &Machine) -> Event {
        let mut next = self.next_block(after);
        let facts = facts
            .iter()
            .filter_map(|wish| fact(wish, &mut next, machine))
            .collect();
        let block = next.block;
        self.blocks.push(next);
        self.now = self.now.max(block.time.0.saturating_mul(1_000));
        Event::ChainCommitted { block, facts }
    }

    fn sync(&mut self, count: u8, record: &Record, machine: &Machine) -> Option<Event> {
        let from = machine.sync_cursor()?;
        let head = self.head();
        let known = head.subscriptions.iter().filter(|(id, _)| *id >= from);
        let mut subscriptions: Vec<_> = known
            .take(count.into())
            .map(|(id, subscription)| SyncedSubscription {
                id: *id,
                subscription: subscription.clone(),
                responses: 0,
                responded: false,
                origin: Origin::Owner,
            })
            .collect();
        if subscriptions.is_empty() && count > 0 {
            subscriptions.push(SyncedSubscription {
                id: from,
                subscription: subscription(record, head.block.time),
                responses: 0,
                responded: false,
                origin: Origin::Owner,
            });
        }
        let next = subscriptions
            .last()
            .map_or(from, |last| SubscriptionId(last.id.0.saturating_add(1)));
        Some(Event::SubscriptionsSynced {
            block: head.block,
            subscriptions,
            next,
        })
    }

    fn job(&mut self, containers: Pick, stream: bool, proof: bool, key: Option<u8>) -> Event {
        let number = u64::try_from(self.jobs.len()).unwrap_or(u64::MAX);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let job = JobId(id);
        self.jobs.push(job);
        let input = self.payload();
        let names = containers.of(&CHAINS).unwrap_or_default();
        Event::JobAccepted(JobRequest {
            job,
            client: ClientId([1; 16]),
            at: WallTime(self.now),
            kind: if stream {
                JobKind::Stream
            } else {
                JobKind::Offchain
            },
            containers: names.split(',').map(Into::into).collect(),
            input,
            requires_proof: proof,
            idempotency: key.map(|key| Idempotency {
                key: Hash([key; 32]),
                body: Hash([key.wrapping_add(u8::from(stream)); 32]),
            }),
        })
    }

    fn end(&mut self, pick: Pick, ending: Ending, machine: &Machine) -> Option<Event> {
        let Issued {
            id,
            attempt,
            effect,
        } = pick.of(&machine.outstanding())?;
        let late = ending == Ending::Late;
        let outcome = match ending {
            Ending::Well | Ending::Late => Outcome::Succeeded(self.success(&effect)?),
            Ending::Badly(way) => Outcome::Failed(self.failure(way)),
            Ending::Unknown => Outcome::Unknown {
                reason: "the connection was lost".into(),
            },
            Ending::Mismatched(way) => Outcome::Succeeded(match way % 3 {
                0 => Success::Broadcast,
                1 => Success::ResponsesRead {
                    responses: 0,
                    responded: false,
                },
                _ => Success::ContainerAnswered {
                    output: self.payload(),
                },
            }),
        };
        let attempt = if late {
            attempt.saturating_sub(1)
        } else {
            attempt
        };
        Some(Event::EffectEnded {
            effect: id,
            attempt,
            at: WallTime(self.now),
            outcome,
        })
    }

    fn success(&mut self, effect: &Effect) -> Option<Success> {
        Some(match effect {
            Effect::ReadInputs { .. } => Success::InputsRead {
                input: self.payload(),
            },
            Effect::ReadPayer { .. } => Success::PayerRead {
                valid: true,
                balance: Amount::MAX,
                allowance: Amount::MAX,
            },
            Effect::ReadResponses { .. } => Success::ResponsesRead {
                responses: 0,
                responded: false,
            },
            Effect::RunContainer(call) => match call.destination {
                Location::Onchain => Success::ContainerAnsweredOnchain {
                    output: self.payload(),
                    deliver_input: self.payload(),
                    deliver_output: self.payload(),
                    deliver_proof: self.payload(),
                },
                Location::Offchain | Location::Stream => Success::ContainerAnswered {
                    output: self.payload(),
                },
            },
            Effect::StopContainer { .. } => return None,
            Effect::Simulate { .. } => Success::Simulated {
                gas: 100_000,
                base_fee: 5,
                priority_fee: 1,
            },
            Effect::Sign { nonce, .. } => {
                let raw = self.payload();
                Success::Signed {
                    tx: tagged(nonce.0, self.payloads),
                    raw,
                }
            }
            Effect::Broadcast { .. } => Success::Broadcast,
            Effect::LookUpTransaction { .. } => Success::LookedUp(match self.payloads % 4 {
                0 => TransactionState::Absent,
                1 => TransactionState::Included,
                2 => TransactionState::NonceTaken,
                _ => TransactionState::Pending,
            }),
        })
    }

    fn failure(&mut self, way: u8) -> Failure {
        let reason = || "refused".into();
        match way % 9 {
            0 => Failure::Container {
                error: self.payload(),
                retry: true,
            },
            1 => Failure::Container {
                error: self.payload(),
                retry: false,
            },
            2 => Failure::Reverted {
                selector: [0x2f, 0x4c, 0xa8, 0x5b],
                reason: reason(),
            },
            3 => Failure::Reverted {
                selector: [0; 4],
                reason: reason(),
            },
            4 => Failure::Rejected(Rejection::NonceTooLow),
            5 => Failure::Rejected(Rejection::Underpriced),
            6 => Failure::Unavailable { reason: reason() },
            7 => Failure::NotRerun,
            _ => Failure::Missing { reason: reason() },
        }
    }
}

/// A fact of the next block; the block takes note of it.
fn fact(wish: &FactWish, next: &mut Block, machine: &Machine) -> Option<ChainFact> {
    Some(match wish {
        FactWish::Created(record, delegation) => {
            let last = next.subscriptions.last().map_or(0, |(id, _)| id.0);
            let id = SubscriptionId(last.saturating_add(1));
            let subscription = subscription(record, next.block.time);
            next.subscriptions.push((id, subscription.clone()));
            ChainFact::SubscriptionCreated {
                id,
                subscription,
                delegation: *delegation,
            }
        }
        FactWish::Cancelled(pick) => ChainFact::SubscriptionCancelled {
            id: pick.of(&next.subscriptions)?.0,
        },
        FactWish::Fulfilled(pick, own) => ChainFact::SubscriptionFulfilled {
            id: pick.of(&next.subscriptions)?.0,
            node: if *own { NODE } else { OTHER_NODE },
        },
        FactWish::Judged {
            subscription,
            active,
            valid,
        } => ChainFact::ProofVerified {
            id: subscription.of(&next.subscriptions)?.0,
            interval: Interval(1),
            node: NODE,
            active: *active,
            valid: *valid,
        },
        FactWish::Included(pick, succeeded) => {
            let waiting = machine.awaiting_inclusion();
            let due = waiting.iter().find(|(nonce, _)| nonce.0 == next.nonce);
            let (nonce, versions) = due.cloned().or_else(|| pick.of(&waiting))?;
            next.nonce = next.nonce.max(nonce.0.saturating_add(1));
            ChainFact::TransactionIncluded(Receipt {
                nonce,
                tx: pick.of(&versions).unwrap_or_default(),
                succeeded: *succeeded,
                gas_used: 100_000,
                effective_gas_price: 7,
                l1_fee: Amount::ZERO,
            })
        }
        FactWish::ForeignNonce => {
            let nonce = Nonce(next.nonce);
            next.nonce = next.nonce.saturating_add(1);
            ChainFact::ForeignNonceUsed { nonce }
        }
        FactWish::Wallet(kind, amount) => ChainFact::Wallet(wallet_fact(*kind, *amount, next)),
    })
}

fn wallet_fact(kind: u8, amount: Amount, next: &Block) -> WalletFact {
    let token = if kind & 8 == 0 { Address::ZERO } else { TOKEN };
    let own = kind & 16 == 0;
    let (wallet, owner) = if own {
        (NODE_WALLET, NODE)
    } else {
        (CONSUMER_WALLET, CONSUMER)
    };
    let spender = owner;
    let change = match kind % 6 {
        0 => WalletChange::Transferred {
            spender,
            token,
            to: NODE_WALLET,
            amount,
        },
        1 => WalletChange::Transferred {
            spender,
            token,
            to: FEE_RECIPIENT,
            amount,
        },
        2 => WalletChange::Escrowed {
            spender,
            token,
            amount,
            locked: kind & 32 == 0,
        },
        3 => WalletChange::Approved {
            spender,
            token,
            amount,
        },
        4 => WalletChange::Withdrawn { token, amount },
        _ => WalletChange::BalanceRead {
            token,
            balance: amount,
        },
    };
    WalletFact {
        wallet,
        owner,
        tx: next.block.hash,
        change,
    }
}

fn subscription(record: &Record, time: BlockTime) -> Subscription {
    let containers = record.containers.of(&CHAINS).unwrap_or_default();
    Subscription {
        owner: CONSUMER,
        active_at: time
            .as_contract_time()
            .wrapping_add_signed(record.active_in),
        period: record.period,
        frequency: record.frequency,
        redundancy: record.redundancy,
        container_id: Hash(container_id(containers).0),
        lazy: record.lazy,
        verifier: if record.verifier {
            VERIFIER
        } else {
            Address::ZERO
        },
        payment_amount: record.price,
        payment_token: if record.token { TOKEN } else { Address::ZERO },
        wallet: CONSUMER_WALLET,
    }
}

/// A hash that says what it is: a tag and a number.
fn tagged(tag: u64, number: u64) -> Hash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&tag.to_be_bytes());
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    Hash(bytes)
}
