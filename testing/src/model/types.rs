//! What goes into the model and what comes out of it.

use revm::primitives::{Address, B256, Bytes, U256, keccak256};

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
