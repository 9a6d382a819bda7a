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
