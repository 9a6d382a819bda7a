//! The configuration that decides: a fact like any other ([`crate::Event::ConfigChanged`]).
//!
//! Nothing secret stands here: no key, password, bearer token or container environment.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::{Address, Amount, Hex, Piece, bytes_in_one_piece};

/// Everything configured that a decision of the machine depends on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Config {
    /// The chain that the node serves; `None` for a node that only answers clients.
    pub chain: Option<ChainConfig>,
    /// The containers, in the order of the configuration.
    pub containers: Vec<ContainerConfig>,
    /// Container chains offered on chain beside each single container: lists of ids, in order.
    pub chains: Vec<Vec<String>>,
    /// Longest permutation of configured containers that is recognised by its hash (the
    /// original tries all of them; here the length is bounded).
    pub permutation_length_max: u8,
    /// Accepted verifiers; empty accepts none, `None` accepts every verifier.
    pub verifiers: Option<Vec<Address>>,
    /// The most that may be at stake at once, per token (zero address: native coin). A token
    /// that is not listed has no cap.
    pub stake_caps: Vec<(Address, Amount)>,
    /// Value of one smallest unit of a token in wei, times 10^18, for the profit guard. A token
    /// without a rate is not guarded; the native coin's is implied where any other has one.
    pub rates: Vec<(Address, Amount)>,
    /// Limits of time, count and attempts.
    pub limits: Limits,
}

/// The chain side of [`Config`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ChainConfig {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The Registry that names the other contracts.
    pub registry: Address,
    /// The Coordinator, as the Registry names it.
    pub coordinator: Address,
    /// The WalletFactory, as the Registry names it.
    pub wallet_factory: Address,
    /// The recipient of the protocol fee at the time of the configuration.
    pub fee_recipient: Address,
    /// The account that signs deliveries.
    pub node: Address,
    /// The wallet that is paid (`nodeWallet` of `deliverCompute`); `None` accepts free work only.
    pub payment_wallet: Option<Address>,
    /// A creation is acted on when the head is this many blocks above it.
    pub trail_head_blocks: u64,
    /// The largest number of items in one batch delivery; 0 where the deployed contracts offer none.
    pub delivery_batch_max: u16,
    /// The most a transaction may pay per gas, in wei.
    pub max_fee_per_gas_cap: u128,
    /// The most gas one delivery may take.
    pub gas_limit_max: u64,
}

/// What the machine knows of one container.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct ContainerConfig {
    /// The container's id.
    pub id: String,
    /// Shown to clients.
    pub description: String,
    /// The image as configured; shown to clients.
    pub image: String,
    /// May stand first in a job or subscription.
    pub external: bool,
    /// Answers with a proof when asked for one.
    pub generates_proofs: bool,
    /// Owners of subscriptions that may use it; empty allows everybody.
    pub allowed_addresses: Vec<Address>,
    /// Owners of delegated subscriptions that may use it; empty allows everybody.
    pub allowed_delegate_addresses: Vec<Address>,
    /// Keyed hashes of the client addresses that may use it; empty allows everybody.
    pub allowed_clients: Vec<ClientId>,
    /// Accepted tokens with the least price each; empty accepts any token and price.
    pub accepted_payments: Vec<(Address, Amount)>,
    /// Whether a call that may have begun before a crash is made again. `false` for paid
    /// upstreams and side effects: such a job fails instead.
    pub rerun: bool,
}

/// A client, by a keyed hash of its network address (the address itself never enters the log).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub [u8; 16]);

bytes_in_one_piece!(ClientId, 16);

/// Limits that decide. Durations in milliseconds of wall time unless the name says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Limits {
    /// Calls of one container for one job or delivery, the first included.
    pub container_attempts_max: u16,
    /// Transactions sent for one delivery that ended reverted, the first included.
    pub delivery_attempts_max: u16,
    /// Wait before the second attempt of anything; doubles with each further one.
    pub retry_backoff_ms: u64,
    /// The longest wait between attempts.
    pub retry_backoff_max_ms: u64,
    /// An unincluded transaction gets a higher fee after this wait.
    pub fee_bump_after_ms: u64,
    /// By how much, in percent of the fee before. Pools refuse a replacement that offers less than
    /// ten percent more.
    pub fee_bump_percent: u16,
    /// An off-chain job that is not final after this time fails.
    pub job_expiry_ms: u64,
    /// Results of finished jobs are kept this long.
    pub result_age_max_ms: u64,
    /// At most this many finished jobs of clients are kept, and as many of intervals.
    pub results_max: u32,
    /// At most this many jobs are running or waiting; more are refused.
    pub jobs_open_max: u32,
    /// Nothing is sent that would be included later than this many seconds of block time before
    /// its interval ends.
    pub closing_margin_s: u32,
    /// Seconds of block time between the sending of a transaction and its block, as expected.
    pub inclusion_delay_s: u32,
    /// Deliveries in a row that ended in a loss before intake pauses; 0 never pauses.
    pub breaker_losses: u16,
    /// How long the paused intake stays paused.
    pub breaker_pause_ms: u64,
    /// Delegated subscriptions of one client that wait to become active, at most; more are
    /// refused. They may wait for years, and their room is everybody's.
    pub delegated_waiting_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            container_attempts_max: 3,
            delivery_attempts_max: 3,
            retry_backoff_ms: 500,
            retry_backoff_max_ms: 60_000,
            fee_bump_after_ms: 30_000,
            fee_bump_percent: 25,
            job_expiry_ms: 15 * 60_000,
            result_age_max_ms: 7 * 24 * 3_600_000,
            results_max: 100_000,
            jobs_open_max: 10_000,
            closing_margin_s: 2,
            inclusion_delay_s: 2,
            breaker_losses: 10,
            breaker_pause_ms: 60_000,
            delegated_waiting_max: 100,
        }
    }
}
