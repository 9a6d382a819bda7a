//! Why calls are undone.

use revm::primitives::{Bytes, U256, keccak256};

use super::Branch;

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
