//! What goes into the model and what comes out of it.

use revm::primitives::{Address, B256, Bytes, U256, keccak256};

use super::branch::Branch;

/// The payment token that means the chain's own coin.
pub const COIN: Address = Address::ZERO;

/// `activeAt` of a cancelled subscription.
pub const CANCELLED: u32 = u32::MAX;

/// A subscription as the Coordinator stores it (`docs/spec/contracts.md`, section 0).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subscription {
    /// The consumer; zero for an id that does not exist.
    pub owner: Address,
    /// First second (uint32 of block time) of interval 1.
    pub active_at: u32,
    /// Length of an interval in seconds; 0 for one interval without end.
    pub period: u32,
    /// Number of intervals.
    pub frequency: u32,
    /// Responses wanted in each interval.
    pub redundancy: u16,
    /// Keccak-256 of the ABI-encoded, comma-joined container ids: see [`container_id`].
    pub container_id: B256,
    /// Whether answers go to the Inbox instead of the consumer.
    pub lazy: bool,
    /// Proof verifier, or zero.
    pub verifier: Address,
    /// Price of one response in the token's smallest unit.
    pub payment_amount: U256,
    /// Token of the price; [`COIN`] for the chain's own.
    pub payment_token: Address,
    /// The wallet that pays.
    pub wallet: Address,
}

impl From<&Subscription> for infernet_state::event::Subscription {
    fn from(sub: &Subscription) -> Self {
        use infernet_state::types::{Address, Amount, Hash};
        Self {
            owner: Address(sub.owner.into_array()),
            active_at: sub.active_at,
            period: sub.period,
            frequency: sub.frequency,
            redundancy: sub.redundancy,
            container_id: Hash(sub.container_id.0),
            lazy: sub.lazy,
            verifier: Address(sub.verifier.into_array()),
            payment_amount: Amount(sub.payment_amount),
            payment_token: Address(sub.payment_token.into_array()),
            wallet: Address(sub.wallet.into_array()),
        }
    }
}

/// The hash by which a subscription names its container: `keccak256(abi.encode(string))`.
///
/// `names` is one container id, or several joined by commas.
#[must_use]
pub fn container_id(names: &str) -> B256 {
    let padded = names.len().next_multiple_of(32);
    let mut encoded = Vec::with_capacity(64 + padded);
    encoded.extend_from_slice(&U256::from(32).to_be_bytes::<32>());
    encoded.extend_from_slice(&U256::from(names.len()).to_be_bytes::<32>());
    encoded.extend_from_slice(names.as_bytes());
    encoded.resize(64 + padded, 0);
    keccak256(encoded)
}

/// What a node hands over in one delivery.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// What was computed on.
    pub input: Bytes,
    /// The result.
    pub output: Bytes,
    /// The proof.
    pub proof: Bytes,
}

/// A signed, delegated subscription (section 4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delegated {
    /// The subscriber's nonce.
    pub nonce: u32,
    /// The signature is void from this second (uint32 of block time) on.
    pub expiry: u32,
    /// The subscription; stored as it is.
    pub subscription: Subscription,
    /// Recovery byte; 27 or 28 in a good signature.
    pub v: u8,
    /// First half of the signature.
    pub r: U256,
    /// Second half of the signature.
    pub s: U256,
}

/// One call of a contract.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// `Coordinator.createSubscription` (2.1).
    CreateSubscription {
        /// Comma-joined container ids.
        containers: String,
        /// Number of intervals.
        frequency: u32,
        /// Seconds of an interval.
        period: u32,
        /// Responses per interval.
        redundancy: u16,
        /// To the Inbox instead of the consumer.
        lazy: bool,
        /// Token of the price.
        payment_token: Address,
        /// Price of one response.
        payment_amount: U256,
        /// The wallet that pays.
        wallet: Address,
        /// Proof verifier, or zero.
        verifier: Address,
    },
    /// `Coordinator.cancelSubscription` (2.2).
    CancelSubscription {
        /// Which.
        id: u32,
    },
    /// `Coordinator.deliverCompute` (2.4).
    DeliverCompute {
        /// Which subscription.
        id: u32,
        /// Which interval.
        interval: u32,
        /// The answer.
        answer: Answer,
        /// Who is paid and, with a verifier, holds the stake.
        node_wallet: Address,
    },
    /// `Coordinator.finalizeProofVerification` (2.5).
    FinalizeProof {
        /// Which subscription.
        id: u32,
        /// Which interval.
        interval: u32,
        /// Whose answer.
        node: Address,
        /// The verdict.
        valid: bool,
    },
    /// `Coordinator.deliverComputeBatch` (13-C2), beyond the reference.
    DeliverBatch(Vec<BatchItem>),
    /// `Coordinator.fundSubscription` (13-B1), beyond the reference.
    FundSubscription {
        /// Which.
        id: u32,
    },
    /// `Coordinator.releaseReserve` (13-B1), beyond the reference.
    ReleaseReserve {
        /// Which.
        id: u32,
    },
    /// `EIP712Coordinator.createSubscriptionDelegatee` (4).
    CreateDelegated(Delegated),
    /// `EIP712Coordinator.deliverComputeDelegatee` (4).
    DeliverDelegated {
        /// The signed subscription.
        delegated: Delegated,
        /// Which interval.
        interval: u32,
        /// The answer.
        answer: Answer,
        /// Who is paid.
        node_wallet: Address,
    },
    /// `WalletFactory.createWallet` (9).
    CreateWallet {
        /// Its first owner.
        owner: Address,
    },
    /// `Wallet.approve` (8).
    Approve {
        /// Of which wallet.
        wallet: Address,
        /// Who may spend.
        spender: Address,
        /// Token.
        token: Address,
        /// The allowance; replaces the one before.
        amount: U256,
    },
    /// `Wallet.withdraw` (8).
    Withdraw {
        /// From which wallet.
        wallet: Address,
        /// Token.
        token: Address,
        /// How much.
        amount: U256,
    },
    /// `Wallet.cTransfer`, `cLock` or `cUnlock` (8), which only the Coordinator may call.
    Restricted {
        /// Which of the three.
        function: Restricted,
        /// Of which wallet.
        wallet: Address,
    },
    /// A function of section 8.1.
    Ownership {
        /// Of the fee contract or of a wallet.
        of: Address,
        /// Which.
        change: OwnershipChange,
    },
    /// `Fee.updateFee` (7).
    UpdateFee {
        /// In ten-thousandths.
        fee: u16,
    },
    /// `Inbox.write` (5).
    WriteInbox {
        /// Under which container.
        container_id: B256,
        /// What.
        answer: Answer,
    },
    /// `Inbox.writeViaCoordinator` (5), which only the Coordinator may call.
    WriteInboxViaCoordinator {
        /// Under which container.
        container_id: B256,
        /// In whose name.
        node: Address,
    },
    /// `Inbox.read` (5).
    ReadInbox {
        /// Which container.
        container_id: B256,
        /// Whose items.
        node: Address,
        /// Which of them.
        index: u64,
    },
    /// `Coordinator.getSubscriptionInterval` (2.3).
    ReadInterval {
        /// First second.
        active_at: u32,
        /// Seconds of an interval.
        period: u32,
    },
    /// `transfer` of a token.
    TransferToken {
        /// The token.
        token: Address,
        /// To whom.
        to: Address,
        /// How much.
        amount: U256,
    },
    /// A plain transfer of the chain's own coin.
    SendCoin {
        /// To whom.
        to: Address,
        /// How much.
        amount: U256,
    },
}

/// One delivery of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchItem {
    /// Which subscription.
    pub id: u32,
    /// Which interval.
    pub interval: u32,
    /// The answer.
    pub answer: Answer,
    /// Who is paid.
    pub node_wallet: Address,
}

/// The functions of a wallet that only the Coordinator may call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restricted {
    /// `cTransfer`.
    Transfer,
    /// `cLock`.
    Lock,
    /// `cUnlock`.
    Unlock,
}

/// The functions of an ownable contract (8.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnershipChange {
    /// `transferOwnership`.
    Transfer {
        /// To whom.
        to: Address,
    },
    /// `renounceOwnership`.
    Renounce,
    /// `requestOwnershipHandover`.
    Request,
    /// `cancelOwnershipHandover`.
    Cancel,
    /// `completeOwnershipHandover`.
    Complete {
        /// Whose request.
        to: Address,
    },
}

/// What a call that was accepted gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What it returned.
    pub returned: Returned,
    /// The events, in order.
    pub logs: Vec<Log>,
}

/// What a call returned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Returned {
    /// Nothing.
    Nothing,
    /// A number: an id, an interval, an index, the bits of a batch.
    Number(U256),
    /// The address of a new wallet.
    Address(Address),
    /// `true`, of a token's transfer.
    True,
    /// `false`, of a token's transfer.
    False,
    /// An item of the Inbox.
    Item(InboxItem),
}

impl Returned {
    /// A number.
    pub(super) fn number(number: impl Into<u64>) -> Self {
        Self::Number(U256::from(number.into()))
    }
}

/// One item of the Inbox (5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InboxItem {
    /// uint32 of the block time of its writing.
    pub timestamp: u32,
    /// The subscription; 0 for a direct write.
    pub subscription_id: u32,
    /// The interval; 0 for a direct write.
    pub interval: u32,
    /// The bytes.
    pub answer: Answer,
}

/// An event, with the contract that emitted it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// The contract.
    pub address: Address,
    /// The event.
    pub event: Emitted,
}

/// The events of the contracts and of the scripted ones around them.
#[expect(
    missing_docs,
    reason = "the fields are the arguments of the events, in order"
)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Emitted {
    /// Coordinator.
    SubscriptionCreated { id: u32 },
    /// Coordinator.
    SubscriptionCancelled { id: u32 },
    /// Coordinator.
    SubscriptionFulfilled { id: u32, node: Address },
    /// Coordinator.
    ProofVerified {
        id: u32,
        interval: u32,
        node: Address,
        active: bool,
        verifier: Address,
        valid: bool,
    },
    /// Coordinator, beyond the reference.
    Delivered {
        id: u32,
        interval: u32,
        node: Address,
        redundancy: u16,
    },
    /// Coordinator, beyond the reference.
    DeliveryFailed {
        id: u32,
        interval: u32,
        node: Address,
        reason: [u8; 4],
    },
    /// Coordinator, beyond the reference.
    SubscriptionFunded {
        id: u32,
        wallet: Address,
        payments: U256,
        amount: U256,
    },
    /// Coordinator, beyond the reference.
    ReserveReleased {
        id: u32,
        wallet: Address,
        payments: U256,
        amount: U256,
    },
    /// Inbox.
    NewInboxItem {
        container_id: B256,
        node: Address,
        index: u64,
    },
    /// Wallet; the contract spells it so.
    Withdrawl { token: Address, amount: U256 },
    /// Wallet.
    Approval {
        spender: Address,
        token: Address,
        amount: U256,
    },
    /// Wallet.
    Transfer {
        spender: Address,
        token: Address,
        to: Address,
        amount: U256,
    },
    /// Wallet.
    Escrow {
        spender: Address,
        token: Address,
        amount: U256,
        locked: bool,
    },
    /// WalletFactory.
    WalletCreated {
        caller: Address,
        owner: Address,
        wallet: Address,
    },
    /// Fee and Wallet.
    OwnershipTransferred { old: Address, new: Address },
    /// Fee and Wallet.
    OwnershipHandoverRequested { pending: Address },
    /// Fee and Wallet.
    OwnershipHandoverCanceled { pending: Address },
    /// Fee, beyond the reference.
    FeeUpdated { old: u16, new: u16 },
    /// Scripted token.
    TokenTransfer {
        from: Address,
        to: Address,
        amount: U256,
    },
    /// Scripted verifier.
    ProofAsked {
        id: u32,
        interval: u32,
        node: Address,
        proof: Bytes,
    },
    /// Scripted consumer.
    Received {
        id: u32,
        interval: u32,
        redundancy: u16,
        node: Address,
        answer: Answer,
        container_id: B256,
        index: u64,
    },
    /// Scripted consumer: its call ended so.
    Tried { succeeded: bool, returned: Bytes },
}

/// The contracts' own errors; none has arguments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(missing_docs, reason = "each is the error of that name")]
pub enum ContractError {
    InvalidWallet,
    IntervalMismatch,
    IntervalCompleted,
    UnauthorizedVerifier,
    NodeRespondedAlready,
    SubscriptionNotFound,
    ProofRequestNotFound,
    NotSubscriptionOwner,
    SubscriptionCompleted,
    SubscriptionNotActive,
    UnsupportedVerifierToken,
    Reentrancy,
    SignerMismatch,
    SignatureExpired,
    InvalidSignature,
    InsufficientAllowance,
    InsufficientFunds,
    TransferFailed,
    ETHTransferFailed,
    NotCoordinator,
    Unauthorized,
    NewOwnerIsZeroAddress,
    NoHandoverRequest,
    /// Beyond the reference: a wallet with locked funds keeps its owner.
    FundsLocked,
    /// Beyond the reference: the subscription is free, over or funded already.
    NothingToFund,
    /// Beyond the reference: more than 256 deliveries.
    BatchTooLong,
}

impl ContractError {
    /// The four bytes that the contract reverts with, as `docs/spec/contracts.md` lists them.
    #[must_use]
    pub fn selector(self) -> [u8; 4] {
        match self {
            Self::InvalidWallet => [0x23, 0x45, 0x5b, 0xa1],
            Self::IntervalMismatch => [0x4d, 0xb3, 0x10, 0xc3],
            Self::IntervalCompleted => [0x2f, 0x4c, 0xa8, 0x5b],
            Self::UnauthorizedVerifier => [0xb9, 0x85, 0x7a, 0xa1],
            Self::NodeRespondedAlready => [0x88, 0xa2, 0x1e, 0x4f],
            Self::SubscriptionNotFound => [0x1a, 0x00, 0x35, 0x4f],
            Self::ProofRequestNotFound => [0x1d, 0x68, 0xb3, 0x7c],
            Self::NotSubscriptionOwner => [0xa7, 0xfb, 0xa7, 0x11],
            Self::SubscriptionCompleted => [0xae, 0x67, 0x04, 0xa7],
            Self::SubscriptionNotActive => [0xef, 0xb7, 0x4e, 0xfe],
            Self::UnsupportedVerifierToken => [0xe2, 0x37, 0x27, 0x99],
            Self::Reentrancy => [0xab, 0x14, 0x3c, 0x06],
            Self::SignerMismatch => [0x10, 0xc7, 0x4b, 0x03],
            Self::SignatureExpired => [0x08, 0x19, 0xbd, 0xcd],
            Self::InvalidSignature => [0x8b, 0xaa, 0x57, 0x9f],
            Self::InsufficientAllowance => [0x13, 0xbe, 0x25, 0x2b],
            Self::InsufficientFunds => [0x35, 0x66, 0x80, 0xb7],
            Self::TransferFailed => [0x90, 0xb8, 0xec, 0x18],
            Self::ETHTransferFailed => [0xb1, 0x2d, 0x13, 0xeb],
            Self::NotCoordinator => [0x9e, 0xc8, 0x53, 0xe6],
            Self::Unauthorized => [0x82, 0xb4, 0x29, 0x00],
            Self::NewOwnerIsZeroAddress => [0x74, 0x48, 0xfb, 0xae],
            Self::NoHandoverRequest => [0x6f, 0x5e, 0x88, 0x18],
            Self::FundsLocked => fixed_selector("FundsLocked()"),
            Self::NothingToFund => fixed_selector("NothingToFund()"),
            Self::BatchTooLong => fixed_selector("BatchTooLong()"),
        }
    }
}

/// The first four bytes of the hash of a signature.
pub(crate) fn fixed_selector(signature: &str) -> [u8; 4] {
    let hash = keccak256(signature.as_bytes());
    [hash[0], hash[1], hash[2], hash[3]]
}

/// Why a call was undone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// An error of the contracts.
    Error(ContractError),
    /// Solidity's `Panic(uint256)`: 0x11 arithmetic, 0x32 array bounds.
    Panic(u8),
    /// No data at all.
    Empty,
    /// What somebody else's contract reverted with.
    Data(Bytes),
}

impl Reason {
    /// The bytes that the transaction reverts with.
    #[must_use]
    pub fn data(&self) -> Bytes {
        match self {
            Self::Error(error) => Bytes::copy_from_slice(&error.selector()),
            Self::Panic(code) => {
                let mut data = fixed_selector("Panic(uint256)").to_vec();
                data.extend_from_slice(&U256::from(*code).to_be_bytes::<32>());
                data.into()
            }
            Self::Empty => Bytes::new(),
            Self::Data(data) => data.clone(),
        }
    }
}

/// A call that was undone, and where the semantics say so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revert {
    /// What the caller sees.
    pub reason: Reason,
    /// The check that failed.
    pub at: Branch,
}
