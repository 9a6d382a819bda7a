//! The event log: append, make durable, read back.
//!
//! The traits are narrow on purpose. [`EventLog`] has one owner, the driver; a [`LogReader`] is
//! cheap to clone and serves the executor, the interface and the auditors' tools.

mod archive;
mod blockfile;
mod commit;
mod directory;
mod file;
mod import;
mod look;
mod memory;
mod mirror;
mod pack;
mod preserve;
mod retention;
mod roll;
mod room;
mod salvage;
mod sled;
mod snapshot;
mod source;
mod store;
pub(crate) mod text;
mod upkeep;
mod view;

pub mod block;
pub mod checkpoint;
pub mod export;
pub mod frame;
pub mod limits;
pub mod merkle;
pub mod sim;
pub mod volume;

pub use self::{
    directory::Options,
    file::{FileLog, FileReader},
    import::restore,
    memory::{MemoryKeeper, MemoryLog, MemoryReader},
    mirror::{Mirror, MirrorReader},
    retention::{Retention, Space, tree_bytes},
    roll::SledKeeper,
    salvage::Salvage,
    sled::{SledLog, SledReader},
    snapshot::Snapshot,
    source::{Full, Part, Source, StoredPayload, payloads, walk},
    upkeep::{Keeper, Upkeep},
};

use infernet_state::{
    codec::EncodedEvent,
    types::{Hash, PayloadAt, PayloadRef, Seq},
};

/// What survives when [`EventLog::append`] has returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Nothing beyond the process: tests and simulation.
    Memory,
    /// A killed process.
    ProcessCrash,
    /// A killed process and a power cut.
    PowerLoss,
}

/// The newest record of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// Its position; 0 for an empty log.
    pub seq: Seq,
    /// The chain hash up to and with it; zero for an empty log.
    pub hash: Hash,
}

/// Bytes that an event refers to by a [`PayloadRef`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    /// SHA-256 and length of `bytes`.
    pub reference: PayloadRef,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What is appended: an event with the payloads that it is the first to name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The event.
    pub event: EncodedEvent,
    /// Its payloads; erasable without touching the hash chain.
    pub payloads: Vec<Payload>,
}

/// An event as it stands in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its position.
    pub seq: Seq,
    /// The chain hash up to and with it.
    pub hash: Hash,
    /// The event.
    pub event: EncodedEvent,
}

/// A log that can be appended to. One owner.
pub trait EventLog: Send + 'static {
    /// The reading side.
    type Reader: LogReader;

    /// What survives an `append` that returned.
    fn durability(&self) -> Durability;

    /// The newest durable record.
    fn head(&self) -> Head;

    /// Appends a batch as one atomic step.
    ///
    /// # Durability
    /// When it returns `Ok`, every record and payload of the batch survives what
    /// [`EventLog::durability`] names. On `Err` the log must not be used any further: a sync
    /// that failed is never retried.
    ///
    /// # Errors
    /// [`LogError`]; the caller stops the node.
    fn append(&mut self, batch: &[Record]) -> Result<Head, LogError>;

    /// A reader that sees what is durable.
    fn reader(&self) -> Self::Reader;
}

/// Reads a log while it is appended to.
pub trait LogReader: Clone + Send + Sync + 'static {
    /// The newest durable record.
    fn head(&self) -> Head;

    /// At most `limit` events from `from` on, in order; fewer only at the end of the log.
    ///
    /// # Errors
    /// [`LogError`] when a frame is not what was written.
    fn read(&self, from: Seq, limit: usize) -> Result<Vec<Stored>, LogError>;

    /// The bytes of a payload; `None` when it was erased.
    ///
    /// # Errors
    /// [`LogError`] when the bytes do not hash to what the event recorded, or `at` names an
    /// event without such a payload.
    fn payload(&self, at: PayloadAt) -> Result<Option<Vec<u8>>, LogError>;
}

/// Why the log refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The storage failed; nothing may be assumed about the batch.
    #[error(
        "E-LOG-001: the log cannot {action}: {reason}; free space, mend the disk or the permissions, then start again"
    )]
    Storage {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        reason: String,
    },
    /// A frame is not what was written.
    #[error(
        "E-LOG-002: the log is damaged at event {seq}: {reason}; keep the directory as it is, \
         read what is readable with `infernet log salvage`, or restore a mirror with `infernet \
         log mirror restore`"
    )]
    Damaged {
        /// The first unreadable event.
        seq: Seq,
        /// What does not fit.
        reason: String,
    },
    /// Another process holds the directory.
    #[error(
        "E-LOG-003: the data directory {directory} is in use by another process; stop it, or choose another --data-dir"
    )]
    Locked {
        /// The directory.
        directory: String,
    },
    /// A newer program wrote it.
    #[error(
        "E-LOG-004: the data directory {directory} was written by format {found}, this program reads up to {known}; use the newer program"
    )]
    Newer {
        /// The directory.
        directory: String,
        /// Its format.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// A batch or payload beyond its bound.
    #[error("E-LOG-005: {what} of {len} bytes is over the limit of {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// The directory belongs to another node or chain.
    #[error(
        "E-LOG-006: the data directory {directory} belongs to {found}, this node is {expected}; \
         choose another --data-dir, or the configuration that goes with this one"
    )]
    Identity {
        /// The directory.
        directory: String,
        /// Whose it is.
        found: String,
        /// Who wants it.
        expected: String,
    },
    /// Too little space to work safely.
    #[error(
        "E-LOG-007: {directory} has {free} bytes free, the node needs {floor} to start; free \
         space, then start again: nothing acknowledged is lost"
    )]
    NoSpace {
        /// The directory.
        directory: String,
        /// Free bytes.
        free: u64,
        /// The floor.
        floor: u64,
    },
    /// The store refuses to open.
    #[error(
        "E-LOG-008: the log in {directory} cannot be opened: {reason}; keep the directory as it \
         is, read what is readable with `infernet log salvage`, or restore a mirror with \
         `infernet log mirror restore`"
    )]
    Unreadable {
        /// The directory.
        directory: String,
        /// What does not fit.
        reason: String,
    },
    /// The log is shorter than, or different from, what was acknowledged.
    #[error(
        "E-LOG-009: the log in {directory} ends at event {found}, but event {acknowledged} was \
         acknowledged: {reason}; restore a mirror with `infernet log mirror restore`, or, if an \
         older copy was put back on purpose, remove the file HEAD of the data directory"
    )]
    Lost {
        /// The directory.
        directory: String,
        /// Where the log ends.
        found: Seq,
        /// What was acknowledged.
        acknowledged: Seq,
        /// What does not fit.
        reason: String,
    },
    /// A pack is shorter than the log says.
    #[error(
        "E-LOG-010: the payload pack {pack} has {found} bytes, the log needs {expected}; copy \
         it from a mirror, or read the events without it with `infernet log salvage`"
    )]
    PackMissing {
        /// The file.
        pack: String,
        /// Bytes there are.
        found: u64,
        /// Bytes there must be.
        expected: u64,
    },
    /// A payload is not what was recorded.
    #[error(
        "E-LOG-011: the payload {hash}: {reason}; `infernet log mirror restore` brings it back"
    )]
    Payload {
        /// Its SHA-256.
        hash: Hash,
        /// What does not fit.
        reason: String,
    },
    /// The directory's description is missing or makes no sense.
    #[error(
        "E-LOG-012: {file}: {reason}; restore the directory from a copy, or choose another \
         --data-dir"
    )]
    Directory {
        /// The file.
        file: String,
        /// What does not fit.
        reason: String,
    },
    /// The log was used after it failed.
    #[error("E-LOG-013: the log failed before and takes nothing more; stop the node")]
    Failed,
    /// The events are no longer kept.
    #[error(
        "E-LOG-014: event {seq} is no longer kept, the log begins with event {first}; read a mirror \
         or an older export"
    )]
    Gone {
        /// The event.
        seq: Seq,
        /// The first one kept.
        first: Seq,
    },
    /// No such event in the log.
    #[error(
        "E-LOG-015: event {seq} is not in the log, which ends at event {last}; ask for an earlier one"
    )]
    Missing {
        /// The event.
        seq: Seq,
        /// The last one.
        last: Seq,
    },
    /// A mirror holds something else.
    #[error(
        "E-LOG-016: the mirror {directory} holds another history from event {seq} on; point it \
         to an empty directory, and keep this one until it is clear which is right"
    )]
    Mirror {
        /// The mirror.
        directory: String,
        /// The first event that differs, at the latest.
        seq: Seq,
    },
    /// A mirror is not what was written.
    #[error(
        "E-LOG-018: the mirror {directory} is damaged at event {seq}: {reason}; keep it as it is, \
         and let the node begin a new one in an empty directory; where the log itself is lost, \
         `infernet log salvage` reads what is readable here"
    )]
    MirrorDamaged {
        /// The mirror.
        directory: String,
        /// The first unreadable event.
        seq: Seq,
        /// What does not fit.
        reason: String,
    },
    /// No space for the copy that a log is looked at in.
    #[error(
        "E-LOG-017: {directory} has {free} bytes free, a copy of the log to look at takes \
         {needed}; name a larger place in the environment variable TMPDIR"
    )]
    NoScratch {
        /// Where the copy would be.
        directory: String,
        /// Free bytes.
        free: u64,
        /// Bytes of the database.
        needed: u64,
    },
}
