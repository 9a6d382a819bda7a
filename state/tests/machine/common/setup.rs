//! Who takes part, and what they begin with.

use infernet_state::{
    Config,
    config::{ChainConfig, ClientId, ContainerConfig, Limits},
    event::{DelegatedRequest, JobKind, JobRequest, Subscription},
    types::{
        Address, Amount, BlockTime, EffectId, Hash, JobId, PayloadRef, SubscriptionId, WallTime,
    },
};

use super::{Next, World};

pub(crate) const NODE: Address = Address([0xaa; 20]);
pub(crate) const NODE_WALLET: Address = Address([0xbb; 20]);
pub(crate) const CONSUMER: Address = Address([0xcc; 20]);
pub(crate) const CONSUMER_WALLET: Address = Address([0xdd; 20]);
pub(crate) const VERIFIER: Address = Address([0xee; 20]);
pub(crate) const OTHER: Address = Address([9; 20]);
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

/// The same with contracts that take batches of so many.
pub(crate) fn batching(mut config: Config, batch_max: u16) -> Config {
    if let Some(chain) = &mut config.chain {
        chain.delivery_batch_max = batch_max;
    }
    config
}

/// A world with so many callbacks that come in its next block.
pub(crate) fn world_with(config: Config, terms: &Subscription, count: usize) -> World {
    let mut world = World::new(config);
    world.next = vec![Next::Create(terms.clone()); count];
    world
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

/// A callback with a verifier, at a price.
pub(crate) fn verified(price: u128) -> Subscription {
    let mut terms = subscription(&["prover"]);
    terms.payment_amount = Amount::from(price);
    terms.verifier = VERIFIER;
    terms
}

/// The usual configuration, and a container that proves.
pub(crate) fn with_prover() -> Config {
    let mut config = config();
    let mut prover = container("prover");
    prover.generates_proofs = true;
    config.containers.push(prover);
    config
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
        seen: BlockTime(0),
    }
}

pub(crate) fn effect_id(seq: u64, ordinal: u16) -> EffectId {
    EffectId {
        seq: infernet_state::types::Seq(seq),
        ordinal,
    }
}
