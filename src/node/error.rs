//! Why a node does not start, or stopped.

use std::path::PathBuf;

use infernet_state::{codec::CodecError, machine::SnapshotError, types::Address};

use crate::{
    api::ApiError,
    chain::{connect::ConnectError, signer::KeyError},
    config::ConfigError,
    container::ContainerError,
    dev::DevError,
    driver::Fatal,
    log::LogError,
};

/// Why a node does not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The chain or its contracts.
    #[error(transparent)]
    Chain(#[from] ConnectError),
    /// A container.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The REST interface.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The loop ended.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// The development world.
    #[error(transparent)]
    Dev(#[from] DevError),
    /// The runtime does not start.
    #[error("E-NODE-001: the runtime does not start: {reason}")]
    Runtime {
        /// What the system said.
        reason: String,
    },
    /// The log belongs to another deployment.
    #[error(
        "E-NODE-002: the data directory was used with the contracts behind registry {recorded} on chain {recorded_chain}, not {configured} on chain {configured_chain}; choose another --data-dir"
    )]
    OtherChain {
        /// The recorded registry.
        recorded: Address,
        /// The recorded chain.
        recorded_chain: u64,
        /// The configured registry.
        configured: Address,
        /// The chain behind the RPC.
        configured_chain: u64,
    },
    /// The key of the clients' hashes.
    #[error(
        "E-NODE-004: {path}: {reason}; restore the file, or remove it: every client is then a new one"
    )]
    ClientKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Standard output takes nothing.
    #[error("E-NODE-005: standard output cannot be written: {0}")]
    Output(std::io::Error),
    /// The mirror cannot be used.
    #[error(
        "E-NODE-006: the mirror cannot be used: {0}; mend it, or take `log.mirror` out of the configuration"
    )]
    Mirror(LogError),
    /// The loop's thread is gone.
    #[error(
        "E-NODE-003: the node's loop ended unexpectedly; start the node again: nothing acknowledged is lost"
    )]
    Lost,
}

impl NodeError {
    /// The process's exit code, as ARCHITECTURE.md lists them.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Key(_)
            | Self::Chain(_)
            | Self::Container(_)
            | Self::Api(_)
            | Self::Mirror(_) => 3,
            Self::OtherChain { .. } => 4,
            Self::Fatal(fatal) => fatal_code(fatal),
            Self::Dev(error) => error.exit_code(),
            Self::Runtime { .. } | Self::ClientKey { .. } | Self::Output(_) | Self::Lost => 1,
        }
    }
}

fn fatal_code(fatal: &Fatal) -> u8 {
    match fatal {
        Fatal::Log(
            LogError::Locked { .. } | LogError::Newer { .. } | LogError::Identity { .. },
        )
        | Fatal::Codec(CodecError::Unknown { .. })
        | Fatal::Snapshot(SnapshotError::Unknown { .. } | SnapshotError::Newer { .. })
        | Fatal::Newer(_) => 4,
        Fatal::Log(_) | Fatal::Codec(_) | Fatal::Snapshot(_) => 5,
        Fatal::Halt(_) => 6,
    }
}
