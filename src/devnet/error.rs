//! Why the development chain could not start or go on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Start-up and storage errors of the development chain. Errors of single RPC calls are answered
/// to the client as JSON-RPC errors instead.
#[derive(Debug, thiserror::Error)]
pub enum DevnetError {
    /// The listening address is taken.
    #[error(
        "E-DEVNET-001: {0} is already in use. Stop the program that holds it, or choose another \
         port (0 takes a free one)"
    )]
    AddressInUse(SocketAddr),
    /// The listening address cannot be bound for another reason.
    #[error("E-DEVNET-002: cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The data directory or the journal cannot be read or written.
    #[error(
        "E-DEVNET-003: {path}: {source}. Nothing was changed. Free space, or choose a directory that \
         this user can write"
    )]
    Storage {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process runs a chain in this directory.
    #[error("E-DEVNET-004: {0} is in use by another process. Stop it, or choose another directory")]
    Locked(PathBuf),
    /// The journal belongs to a chain with another id.
    #[error(
        "E-DEVNET-005: {path} holds chain {found}, not {expected}. Choose another directory, or \
         start with chain id {found}"
    )]
    OtherChain {
        /// The journal.
        path: PathBuf,
        /// Chain id in the journal.
        found: u64,
        /// Chain id asked for.
        expected: u64,
    },
    /// The journal was written by a newer version.
    #[error(
        "E-DEVNET-006: {path} has journal format {found}; this version reads up to {supported}. \
         Use the newer version, or another directory"
    )]
    NewerFormat {
        /// The journal.
        path: PathBuf,
        /// Format number found.
        found: u32,
        /// Newest format this version reads.
        supported: u32,
    },
    /// The journal is damaged somewhere else than at a torn end.
    #[error(
        "E-DEVNET-007: {path} is damaged at byte {offset}: {what}. It was left as it is. Restore \
         it from a copy, or start in another directory"
    )]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Where the first damaged frame starts, in bytes.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// Replaying the journal did not give the blocks it records.
    #[error(
        "E-DEVNET-008: replaying {path} does not give the recorded chain at entry {entry}: {what}. \
         It was left as it is"
    )]
    Diverged {
        /// The journal.
        path: PathBuf,
        /// Number of the entry, from 0.
        entry: u64,
        /// The difference.
        what: String,
    },
    /// Something could not be stored while the chain ran.
    #[error(
        "E-DEVNET-010: the chain could not store what happened and stands still: {0}. Free space \
         or mend the disk, then start again: nothing acknowledged is lost"
    )]
    StoodStill(String),
    /// The configuration is unusable.
    #[error("E-DEVNET-009: {0}")]
    Config(String),
}
