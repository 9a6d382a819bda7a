//! Everything that can happen: facts, in the past tense.
//!
//! An event is appended to the log and made durable before [`crate::Machine::apply`] sees it.
//! Variants and fields are only ever added, through a new version of their encoding
//! ([`crate::codec`]).

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    config::{ClientId, Config},
    types::{
        Address, Amount, BlockRef, BlockTime, EffectId, Hash, Interval, JobId, Nonce, PayloadRef,
        SubscriptionId, WallTime,
    },
};

/// A fact that the node records.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Event {
    /// The process came up. The first event of every run: what was outstanding before it may
    /// have been carried out in part, and is issued again with its next attempt, or fails where
    /// policy forbids a second run.
    NodeStarted {
        /// When.
        at: WallTime,
        /// The version of the program.
        version: String,
    },
    /// The deciding configuration, at first start and whenever it differs from the recorded one.
    ConfigChanged(Config),
    /// A change of the machine's logic takes effect from the next event on.
    Upgraded {
        /// The logic's number.
        to: u16,
    },
    /// The machine's own wall-time deadline has passed.
    WallTimePassed {
        /// The present.
        now: WallTime,
    },
    /// What the chain says of the node's account, read at start before anything is sent, or begun
    /// for the chain; and again when what was sent waits behind a nonce that nobody uses.
    AccountObserved {
        /// The head at which it was read.
        head: BlockRef,
        /// Transactions of the account in the chain at that head.
        nonce: Nonce,
        /// Native balance in wei.
        balance: Amount,
    },
    /// An operator confirmed that sending may go on although the chain is ahead of the log.
    QuarantineLifted,
    /// A block joined the canonical chain, with what in it concerns the node. Blocks without
    /// such facts come only at deadlines, finality or a maximum gap. Facts that do not fit one
    /// event come as several for the same block, one directly after the other in one atomic step:
    /// creations first, then the node's responses, then its receipts, then the rest.
    ChainCommitted {
        /// The block.
        block: BlockRef,
        /// Its facts, in the order of their logs.
        facts: Vec<ChainFact>,
    },
    /// The chain's head was seen: well above what is recorded, after an absence or an outage; or
    /// not as high as it was seen before, with nothing left to read.
    HeadObserved {
        /// The head, or the newest block that can be read.
        head: BlockRef,
    },
    /// Blocks above `ancestor` left the canonical chain.
    ChainReorged {
        /// The last common block.
        ancestor: BlockRef,
    },
    /// Blocks up to this one are final.
    ChainFinalized {
        /// The newest final block.
        block: BlockRef,
    },
    /// Subscriptions that stood in the chain before the node watched, one chunk of them.
    SubscriptionsSynced {
        /// The block at which they were read.
        block: BlockRef,
        /// The chunk, ascending by id.
        subscriptions: Vec<SyncedSubscription>,
        /// The next id to read; the cursor after this event.
        next: SubscriptionId,
    },
    /// A client's job was accepted.
    JobAccepted(JobRequest),
    /// A client's delegated subscription was accepted; its signature and signer were checked
    /// against the chain before.
    DelegatedAccepted(DelegatedRequest),
    /// A client reported a job that ran elsewhere (`PUT /api/status`).
    JobReported {
        /// The job.
        job: JobId,
        /// Who reported it.
        client: ClientId,
        /// When.
        at: WallTime,
        /// Its state.
        status: ReportedStatus,
        /// The containers it used.
        containers: Vec<String>,
        /// The result, if one was given.
        result: Option<PayloadRef>,
    },
    /// The client of a job went away or withdrew it.
    JobCancelled {
        /// The job.
        job: JobId,
        /// When.
        at: WallTime,
    },
    /// What came of an effect.
    EffectEnded {
        /// Which.
        effect: EffectId,
        /// Which attempt of it.
        attempt: u16,
        /// When.
        at: WallTime,
        /// What came of it.
        outcome: Outcome,
    },
}

/// A subscription as the Coordinator stores it (`Subscription`, `docs/spec/contracts.md` 0).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Subscription {
    /// The consumer contract.
    pub owner: Address,
    /// First second (uint32 of block time) of interval 1; 2^32-1 when cancelled.
    pub active_at: u32,
    /// Seconds between intervals; 0 for a callback.
    pub period: u32,
    /// Number of intervals.
    pub frequency: u32,
    /// Responses wanted in each interval.
    pub redundancy: u16,
    /// Keccak-256 of the ABI-encoded, comma-joined container ids.
    pub container_id: Hash,
    /// Whether the answer goes to the Inbox instead of the consumer.
    pub lazy: bool,
    /// Proof verifier, or zero.
    pub verifier: Address,
    /// Price of one response.
    pub payment_amount: Amount,
    /// Token of the price; zero is the native coin.
    pub payment_token: Address,
    /// The consumer's wallet.
    pub wallet: Address,
}

/// One entry of [`Event::SubscriptionsSynced`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct SyncedSubscription {
    /// The id.
    pub id: SubscriptionId,
    /// The record at that block.
    pub subscription: Subscription,
    /// Responses in the interval that runs at that block (`redundancyCount`).
    pub responses: u16,
    /// Whether this node already responded in that interval (`nodeResponded`).
    pub responded: bool,
    /// How it came to be.
    pub origin: Origin,
}

/// How a subscription came to be, as far as anybody asked.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub enum Origin {
    /// Its owner created it, or nobody asked.
    #[default]
    Owner,
    /// By delegation, under this nonce of its owner.
    Delegated(u32),
    /// One or the other: its owner has used nonces too high to look through.
    Unclear,
}

impl Origin {
    /// The subscriber's nonce, where it is known that there is one.
    #[must_use]
    pub fn nonce(self) -> Option<u32> {
        match self {
            Self::Delegated(nonce) => Some(nonce),
            Self::Owner | Self::Unclear => None,
        }
    }

    /// Whether it may have come by delegation.
    #[must_use]
    pub fn may_be_delegated(self) -> bool {
        match self {
            Self::Delegated(_) | Self::Unclear => true,
            Self::Owner => false,
        }
    }

    /// What is known with both: a nonce rather than none, and a doubt rather than no question.
    #[must_use]
    pub fn with(self, told: Self) -> Self {
        match (self, told) {
            (Self::Delegated(_), _) | (Self::Unclear, Self::Owner | Self::Unclear) => self,
            (Self::Unclear, Self::Delegated(_)) | (Self::Owner, _) => told,
        }
    }
}

impl From<Option<u32>> for Origin {
    fn from(nonce: Option<u32>) -> Self {
        nonce.map_or(Self::Owner, Self::Delegated)
    }
}

/// One thing that a block holds and that concerns the node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum ChainFact {
    /// `SubscriptionCreated(id)`, with the record read at this block.
    SubscriptionCreated {
        /// The id.
        id: SubscriptionId,
        /// The record.
        subscription: Subscription,
        /// `(owner, nonce)` when it was created by delegation and its nonce is known.
        delegation: Option<u32>,
    },
    /// `SubscriptionCancelled(id)`.
    SubscriptionCancelled {
        /// The id.
        id: SubscriptionId,
    },
    /// `SubscriptionFulfilled(id, node)`: a response was delivered, by whomever. Its interval
    /// follows from the block's time.
    SubscriptionFulfilled {
        /// The id.
        id: SubscriptionId,
        /// Who delivered.
        node: Address,
    },
    /// `ProofVerified(...)`.
    ProofVerified {
        /// The subscription.
        id: SubscriptionId,
        /// The interval.
        interval: Interval,
        /// The node whose proof it was.
        node: Address,
        /// Whether the week had not yet passed.
        active: bool,
        /// The verdict as passed; without effect when not active.
        valid: bool,
    },
    /// A transaction of the node's account was included.
    TransactionIncluded(Receipt),
    /// The node's account used a nonce for a transaction that the node does not know.
    ForeignNonceUsed {
        /// The nonce.
        nonce: Nonce,
    },
    /// An event of a wallet that the factory made.
    Wallet(WalletFact),
}

/// The receipt of a transaction of the node's account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Receipt {
    /// Its nonce.
    pub nonce: Nonce,
    /// Its hash.
    pub tx: Hash,
    /// Whether it succeeded; `false` is a revert, whose gas is paid all the same.
    pub succeeded: bool,
    /// Gas used.
    pub gas_used: u64,
    /// Wei per gas.
    pub effective_gas_price: u128,
    /// What a rollup charged beside it for its data, in wei; 0 elsewhere.
    pub l1_fee: Amount,
}

/// An event of a factory-valid wallet (`docs/spec/contracts.md` 8).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct WalletFact {
    /// The wallet.
    pub wallet: Address,
    /// Its owner at this block.
    pub owner: Address,
    /// The transaction it happened in.
    pub tx: Hash,
    /// What happened.
    pub change: WalletChange,
}

/// What happened to a wallet.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum WalletChange {
    /// `Transfer(spender, token, to, amount)`.
    Transferred {
        /// Whose allowance was used.
        spender: Address,
        /// Token.
        token: Address,
        /// Receiver.
        to: Address,
        /// Amount.
        amount: Amount,
    },
    /// `Escrow(spender, token, amount, locked)`.
    Escrowed {
        /// Whose allowance was used or given back.
        spender: Address,
        /// Token.
        token: Address,
        /// Amount.
        amount: Amount,
        /// `true` locks, `false` unlocks.
        locked: bool,
    },
    /// `Approval(spender, token, amount)`.
    Approved {
        /// Who may spend.
        spender: Address,
        /// Token.
        token: Address,
        /// The allowance, as set.
        amount: Amount,
    },
    /// `Withdrawl(token, amount)`.
    Withdrawn {
        /// Token.
        token: Address,
        /// Amount.
        amount: Amount,
    },
    /// The balance read from the chain at this block, to reconcile deposits without an event.
    BalanceRead {
        /// Token.
        token: Address,
        /// Balance.
        balance: Amount,
    },
}

/// How a job's answer travels.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum JobKind {
    /// Answered through `GET /api/jobs`.
    Offchain,
    /// Streamed to the client as it comes, and recorded.
    Stream,
}

/// A client's job.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct JobRequest {
    /// Drawn at the edge.
    pub job: JobId,
    /// Who asked.
    pub client: ClientId,
    /// When it was accepted.
    pub at: WallTime,
    /// How the answer travels.
    pub kind: JobKind,
    /// Container ids, in order; each gets the one before it as input.
    pub containers: Vec<String>,
    /// The `data` object (JSON bytes).
    pub input: PayloadRef,
    /// Whether the last container must prove its answer.
    pub requires_proof: bool,
    /// The client's idempotency key with the hash of the request's body.
    pub idempotency: Option<Idempotency>,
}

/// An `Idempotency-Key`: the same key and body from the same client name the same job.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Idempotency {
    /// SHA-256 of the key.
    pub key: Hash,
    /// SHA-256 of the request's body.
    pub body: Hash,
}

/// A client's delegated subscription (`docs/spec/rest.md`, EIP-712 of `contracts.md` 4).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct DelegatedRequest {
    /// Who asked.
    pub client: ClientId,
    /// When it was accepted.
    pub at: WallTime,
    /// The record as signed.
    pub subscription: Subscription,
    /// The subscriber's nonce.
    pub nonce: u32,
    /// The signature is void from this second of block time on.
    pub expiry: u32,
    /// Recovery byte, 27 or 28.
    pub v: u8,
    /// First half of the signature.
    pub r: Hash,
    /// Second half of the signature.
    pub s: Hash,
    /// The `data` object (JSON bytes); not covered by the signature.
    pub input: PayloadRef,
    /// The id that the chain already gave to `(owner, nonce)`; 0 for none.
    pub known_id: SubscriptionId,
    /// The time of the newest block when that was read; 0 where nobody read it. The recorded head
    /// may be far older, since blocks that concern nobody are not recorded.
    pub seen: BlockTime,
}

/// What `PUT /api/status` may say.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum ReportedStatus {
    /// Still running.
    Running,
    /// Done.
    Success,
    /// Failed.
    Failed,
}

/// What came of an effect. `Succeeded` and `Failed` are terminal; `Unknown` closes nothing and
/// asks for a look.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Outcome {
    /// It was done.
    Succeeded(Success),
    /// It was not done, and nothing of it will come any more.
    Failed(Failure),
    /// Nobody can tell from here whether it was done.
    Unknown {
        /// Why, in words.
        reason: String,
    },
}

/// The result of a successful effect; the variant fits the effect's kind.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Success {
    /// `ReadInputs`: what `getContainerInputs` returned (empty when it reverted or is absent).
    InputsRead {
        /// The raw bytes.
        input: PayloadRef,
    },
    /// `ReadPayer`: what the subscription can be paid from in the consumer's wallet.
    PayerRead {
        /// `WalletFactory.isValidWallet`.
        valid: bool,
        /// Balance in the subscription's token.
        balance: Amount,
        /// `Wallet.allowance(owner, token)`.
        allowance: Amount,
    },
    /// `ReadResponses`: the state of an interval.
    ResponsesRead {
        /// `redundancyCount`.
        responses: u16,
        /// `nodeResponded` for this node.
        responded: bool,
    },
    /// `RunContainer` whose answer goes to the next container or to a client: the JSON answer.
    ContainerAnswered {
        /// The whole JSON answer.
        output: PayloadRef,
    },
    /// `RunContainer` whose answer goes on chain: the arguments of `deliverCompute`, packed as
    /// `docs/spec/container.md` 3 says, beside the JSON answer.
    ContainerAnsweredOnchain {
        /// The whole JSON answer.
        output: PayloadRef,
        /// Argument `input`.
        deliver_input: PayloadRef,
        /// Argument `output`.
        deliver_output: PayloadRef,
        /// Argument `proof`.
        deliver_proof: PayloadRef,
    },
    /// `Simulate`: the call would succeed.
    Simulated {
        /// Estimated gas.
        gas: u64,
        /// Base fee of the head, wei per gas.
        base_fee: u128,
        /// Priority fee to offer, wei per gas.
        priority_fee: u128,
    },
    /// `Sign`: the signed transaction.
    Signed {
        /// Its hash.
        tx: Hash,
        /// The raw signed bytes (EIP-2718).
        raw: PayloadRef,
    },
    /// `Broadcast`: the RPC took it, or has it already.
    Broadcast,
    /// `LookUpTransaction`: what the chain knows of it.
    LookedUp(TransactionState),
}

/// What the chain knows of a transaction of the node's account.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum TransactionState {
    /// Neither pool nor chain has it, and its nonce is free.
    Absent,
    /// The pool has it.
    Pending,
    /// The chain has it (the receipt comes as a chain fact).
    Included,
    /// Its nonce was used by another transaction.
    NonceTaken,
}

/// Why an effect failed for good.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Failure {
    /// A container answered with an error or not as the contract of containers says.
    Container {
        /// The JSON shown to clients as the error: its bytes.
        error: PayloadRef,
        /// Whether a further attempt could help (time-out, connection refused, 5xx).
        retry: bool,
    },
    /// The simulated call reverted.
    Reverted {
        /// The error's selector; zero where the revert carried none.
        selector: [u8; 4],
        /// In words.
        reason: String,
    },
    /// The RPC refused the transaction.
    Rejected(Rejection),
    /// The chain could not be read, after the executor's own retries.
    Unavailable {
        /// In words.
        reason: String,
    },
    /// It was not carried out because a crash may already have carried it out once, and policy
    /// forbids a second run.
    NotRerun,
    /// What it needs (a payload) was erased or is missing.
    Missing {
        /// In words.
        reason: String,
    },
}

/// Why an RPC refuses a transaction.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Rejection {
    /// The nonce is used up.
    NonceTooLow,
    /// A gap lies before the nonce and the pool does not queue.
    NonceTooHigh,
    /// A replacement must offer more.
    Underpriced,
    /// The account cannot pay.
    InsufficientFunds,
    /// Anything else.
    Other {
        /// In words.
        reason: String,
    },
}

impl BlockTime {
    /// The contract's `uint32(block.timestamp)`.
    #[must_use]
    pub fn as_contract_time(self) -> u32 {
        // The mask makes the truncation of the contract explicit; it cannot fail.
        u32::try_from(self.0 & 0xffff_ffff).unwrap_or(u32::MAX)
    }
}
