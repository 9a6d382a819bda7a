//! `infernet dev`: a whole world on one machine, for development.
//!
//! An embedded chain, the contracts, an inference service as a child process, a node, and an
//! example consumer that asks. The node is the production one; only what surrounds it is for
//! development.

mod accounts;
mod ask;
mod deploy;
mod flower;
mod place;
mod sender;
mod statement;
mod story;
mod world;

use alloy::{
    primitives::{Address, B256},
    transports::{RpcError, TransportErrorKind},
};

use crate::devnet::DevnetError;

pub use accounts::Role;
pub use ask::{
    Asked, CONTAINER, Classification, MODEL, PRICE, ask_offchain, ask_onchain, stored_answer,
};
pub use deploy::{
    CONSUMER, CONSUMER_WALLET, NODE_WALLET, PROTOCOL_FEE, REGISTRY, WALLET_FACTORY, deploy,
};
pub use flower::{CLASSES, Flower};
pub use place::{Announcement, Place};
pub use sender::{Sender, provider};
pub use statement::Statement;
pub use story::{moment, tell};
pub use world::{Options, World};

/// Why the development world does not come up, or a request does not come through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevError {
    /// The chain did not answer, or refused.
    #[error("E-DEV-001: the chain refused to {what}: {reason}")]
    Rpc {
        /// What was tried.
        what: &'static str,
        /// What came back.
        reason: String,
    },
    /// Not a URL.
    #[error("E-DEV-002: `{url}` is not a URL such as http://127.0.0.1:8545")]
    Url {
        /// What was given.
        url: String,
    },
    /// A transaction was included and reverted.
    #[error("E-DEV-003: the transaction for {what} ({hash}) reverted")]
    Reverted {
        /// What it was for.
        what: &'static str,
        /// Its hash.
        hash: B256,
    },
    /// A transaction found no block in time.
    #[error(
        "E-DEV-004: the transaction for {what} ({hash}) was not included in time; is the chain mining?"
    )]
    NotIncluded {
        /// What it was for.
        what: &'static str,
        /// Its hash.
        hash: B256,
    },
    /// Signing failed.
    #[error("E-DEV-005: a transaction could not be signed: {reason}")]
    Signing {
        /// Why.
        reason: String,
    },
    /// A committed artifact is not one.
    #[error(
        "E-DEV-006: the artifact of {what} has no creation code; run `cargo xtask contracts build`"
    )]
    Artifact {
        /// Which.
        what: &'static str,
    },
    /// A contract stands elsewhere than it must.
    #[error(
        "E-DEV-007: {what} landed at {found} instead of {wanted}: the account was used otherwise; start with a fresh --data-dir"
    )]
    Landed {
        /// Which.
        what: &'static str,
        /// Where it must be.
        wanted: Address,
        /// Where it is.
        found: Address,
    },
    /// There is no contract where one must be.
    #[error("E-DEV-008: there is no {what} at {address}; start with a fresh --data-dir")]
    NoContract {
        /// Which.
        what: &'static str,
        /// Where.
        address: Address,
    },
    /// The node refused, failed or did not answer.
    #[error("E-DEV-009: the node gave no answer: {reason}")]
    Api {
        /// What came back.
        reason: String,
    },
    /// Something does not encode or decode.
    #[error("E-DEV-010: a request or answer has the wrong shape: {reason}")]
    Encoding {
        /// What.
        reason: String,
    },
    /// The running world cannot be announced or found.
    #[error("E-DEV-011: the development world cannot be found: {reason}")]
    Place {
        /// Why.
        reason: String,
    },
    /// A program that belongs beside this one is missing, or does not come up.
    #[error("E-DEV-012: the inference service does not start: {reason}")]
    Service {
        /// Why, and what to do.
        reason: String,
    },
    /// The embedded chain does not come up.
    #[error(transparent)]
    Devnet(#[from] DevnetError),
    /// No HTTP client comes up.
    #[error("E-DEV-015: requests cannot be made: {reason}")]
    Client {
        /// Why.
        reason: String,
    },
    /// Nothing answers where the chain must be.
    #[error(
        "E-DEV-014: no chain answered to {what}: {reason}; is `infernet dev` running? --data-dir \
         and --url say where"
    )]
    NoChain {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        reason: String,
    },
    /// Something is off at the end.
    #[error("E-DEV-013: {reason}")]
    Off {
        /// What.
        reason: String,
    },
}

impl DevError {
    /// The process's exit code, as ARCHITECTURE.md lists them.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Devnet(
                DevnetError::AddressInUse(_) | DevnetError::Listen { .. } | DevnetError::Config(_),
            )
            | Self::Service { .. } => 3,
            Self::Devnet(
                DevnetError::Locked(_)
                | DevnetError::OtherChain { .. }
                | DevnetError::NewerFormat { .. },
            ) => 4,
            Self::Devnet(_) => 5,
            _ => 1,
        }
    }

    /// Nothing, or nothing usable, came from where the node must be.
    fn no_node(error: reqwest::Error) -> Self {
        // The causes say more than the error itself.
        let error = error.without_url();
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(below) = cause {
            reason = format!("{reason}: {below}");
            cause = below.source();
        }
        Self::Api {
            reason: format!(
                "{reason}; is `infernet dev` running there? --data-dir and --url say where"
            ),
        }
    }

    pub(crate) fn rpc(what: &'static str, error: &RpcError<TransportErrorKind>) -> Self {
        let reason = error.to_string();
        match error {
            RpcError::Transport(TransportErrorKind::Custom(_)) => Self::NoChain { what, reason },
            _ => Self::Rpc { what, reason },
        }
    }
}
