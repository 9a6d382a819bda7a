//! All that outlives the node's process: the chain, the containers, the clients.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use infernet_state::{
    Config,
    config::{ChainConfig, ContainerConfig, Limits},
    effect::Purpose,
    types::{Address, JobId},
};

use super::{
    chain::{Chain, FEE_RECIPIENT, NODE, NODE_WALLET, Request, TRAIL_HEAD_BLOCKS},
    world::SimWorld,
};

/// A container that fails, and hangs, now and then; it may run twice.
pub(crate) const MOODY: &str = "moody";
/// A container that always answers; it may run twice.
pub(crate) const CALM: &str = "calm";
/// A container that must not run twice.
pub(crate) const ONCE: &str = "once";

/// A client, who asks until it has an acknowledgement, and once more.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) containers: Vec<&'static str>,
    /// The job that was acknowledged.
    pub(crate) job: Option<JobId>,
    pub(crate) asked: u32,
    /// A request is on its way.
    pub(crate) asking: bool,
}

/// How the world treats the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Temper {
    /// Blocks are replaced now and then.
    pub(crate) reorgs: bool,
    /// A subscription with intervals, beside callbacks.
    pub(crate) recurring: bool,
    /// Clients, and as many callbacks.
    pub(crate) requests: u8,
}

pub(crate) struct Outside {
    pub(crate) chain: Chain,
    pub(crate) clients: Vec<Client>,
    pub(crate) calls: BTreeMap<(String, String), u32>,
    /// Each call that failed on purpose: one per purpose, so that attempts never run out.
    failed: BTreeMap<String, ()>,
    pub(crate) temper: Temper,
    /// Requests on chain so far.
    pub(crate) requested: usize,
    /// The node's log when each transaction first arrived.
    pub(crate) log_at_arrival: BTreeMap<infernet_state::types::Hash, u64>,
}

pub(crate) type Shared = Arc<Mutex<Outside>>;

/// What a call of a container does.
pub(crate) enum Mood {
    Answer,
    Fail,
    Hang,
}

impl Outside {
    pub(crate) fn new(temper: Temper) -> Self {
        let tags = 1..=temper.requests;
        let mut requests: Vec<Request> = tags
            .map(|tag| Request {
                tag,
                containers: if tag % 2 == 0 {
                    vec![MOODY]
                } else {
                    vec![CALM, MOODY]
                },
                price: u128::from(tag % 3) * 1_000,
                period: 0,
                frequency: 1,
            })
            .collect();
        if temper.recurring {
            requests.push(Request {
                tag: temper.requests + 1,
                containers: vec![CALM],
                price: 500,
                period: 60,
                frequency: 2,
            });
        }
        let offered: [&[&str]; 4] = [&[CALM], &[MOODY], &[ONCE], &[CALM, MOODY]];
        let clients = (0..usize::from(temper.requests)).map(|place| Client {
            containers: offered[place % offered.len()].to_vec(),
            ..Client::default()
        });
        Self {
            chain: Chain::new(requests),
            clients: clients.collect(),
            calls: BTreeMap::new(),
            failed: BTreeMap::new(),
            temper,
            requested: usize::from(temper.requests) + usize::from(temper.recurring),
            log_at_arrival: BTreeMap::new(),
        }
    }

    /// One more callback, and one more client.
    pub(crate) fn ask_for_more(&mut self) {
        self.requested += 1;
        let tag = u8::try_from(self.requested).expect("few requests");
        self.chain.request(Request {
            tag,
            containers: vec![CALM],
            price: 100,
            period: 0,
            frequency: 1,
        });
        self.clients.push(Client {
            containers: vec![ONCE],
            ..Client::default()
        });
    }

    /// A second passes.
    pub(crate) fn tick(&mut self, world: &SimWorld) {
        if self.temper.reorgs && world.chance(3) {
            self.chain.reorg(world);
            // The other branch is longer.
            for _ in 0..4 {
                self.chain.mine(world);
            }
        } else if world.chance(60) {
            self.chain.mine(world);
        }
    }

    /// A container is called.
    pub(crate) fn call(&mut self, world: &SimWorld, container: &str, purpose: &Purpose) -> Mood {
        let whom = format!("{purpose:?}");
        *self
            .calls
            .entry((container.to_owned(), whom.clone()))
            .or_default() += 1;
        if container != MOODY || world.chance(70) || self.failed.insert(whom, ()).is_some() {
            Mood::Answer
        } else if world.chance(50) {
            Mood::Fail
        } else {
            Mood::Hang
        }
    }

    /// The node's process is gone: no request of a client will be answered.
    pub(crate) fn hang_up(&mut self) {
        for client in &mut self.clients {
            client.asking = false;
        }
    }
}

pub(crate) fn config() -> Config {
    let container = |id: &str, rerun| ContainerConfig {
        id: id.to_owned(),
        external: true,
        rerun,
        ..ContainerConfig::default()
    };
    Config {
        chain: Some(ChainConfig {
            chain_id: 31_337,
            registry: Address([1; 20]),
            coordinator: Address([2; 20]),
            wallet_factory: Address([3; 20]),
            fee_recipient: FEE_RECIPIENT,
            node: NODE,
            payment_wallet: Some(NODE_WALLET),
            trail_head_blocks: TRAIL_HEAD_BLOCKS,
            delivery_batch_max: 0,
            max_fee_per_gas_cap: 1_000_000,
            gas_limit_max: 5_000_000,
        }),
        containers: vec![
            container(MOODY, true),
            container(CALM, true),
            container(ONCE, false),
        ],
        permutation_length_max: 2,
        limits: Limits {
            fee_bump_after_ms: 10_000,
            ..Limits::default()
        },
        ..Config::default()
    }
}
