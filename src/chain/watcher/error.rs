//! Why a step of the watcher did not succeed. None of it ends the watcher but a stop.

use infernet_state::types::BlockRef;

use crate::{chain::rpc_error::RpcFailure, driver::Stopped};

/// Why a step did not succeed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WatchError {
    /// The RPC.
    #[error(transparent)]
    Rpc(#[from] RpcFailure),
    /// The chain changed while it was read; the next step reads it again.
    #[error("E-CHAIN-010: the chain changed while block {number} was read")]
    Moved {
        /// The block.
        number: u64,
    },
    /// The RPC does not yet have what it must have.
    #[error("E-CHAIN-011: the RPC is behind: {what}")]
    Behind {
        /// What is missing.
        what: String,
    },
    /// No recorded block is in this chain.
    #[error(
        "E-CHAIN-012: the chain of this RPC does not hold the recorded final block {number} ({hash}); it is another chain, or was reset: use the RPC of the recorded chain, or another data directory",
        number = .block.number, hash = .block.hash
    )]
    Unrelated {
        /// The oldest block that was looked for.
        block: BlockRef,
    },
    /// More transactions of the account than are read in one step; it is read in smaller ones.
    #[error("E-CHAIN-013: the account used {used} nonces in the blocks of one step")]
    ManyNonces {
        /// How many.
        used: u64,
    },
    /// The node stops.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Failures in a row that an operator need not hear of: RPCs hiccup, and fall behind for a moment.
const FAILURES_UNTOLD: u32 = 4;

impl WatchError {
    /// What everybody may be told of it after so many failures in a row; `None` for what may pass
    /// by itself.
    #[must_use]
    pub fn in_public(&self, failures: u32) -> Option<String> {
        match self {
            Self::Unrelated { .. } => Some(self.to_string()),
            Self::Stopped(_) => None,
            Self::Rpc(_) | Self::Moved { .. } | Self::Behind { .. } | Self::ManyNonces { .. }
                if failures <= FAILURES_UNTOLD =>
            {
                None
            }
            Self::Rpc(failure) => Some(failure.in_public()),
            Self::Moved { .. } | Self::Behind { .. } | Self::ManyNonces { .. } => {
                Some(self.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use infernet_state::types::{BlockTime, Hash};

    use super::*;

    #[test]
    fn everybody_hears_of_what_stays_and_nobody_of_the_rpc() {
        let other = WatchError::Unrelated {
            block: BlockRef {
                number: 7,
                hash: Hash([7; 32]),
                time: BlockTime(70),
            },
        };
        let said = other.in_public(1).expect("no wait mends it");
        assert!(said.starts_with("E-CHAIN-012"), "{said}");
        let refused = WatchError::Rpc(RpcFailure::Refused {
            method: "eth_call",
            code: -32001,
            message: "project id 0123456789abcdef is over its budget".to_owned(),
            data: None,
        });
        assert_eq!(refused.in_public(FAILURES_UNTOLD), None);
        let said = refused.in_public(FAILURES_UNTOLD + 1);
        assert_eq!(
            said.as_deref(),
            Some("E-RPC-004: eth_call was refused with code -32001")
        );
    }
}
