//! What auditors see: the past replayed, compared, explained and proven.
//!
//! Everything here reads. It needs a log (a stopped node's directory, a mirror or an export) and
//! neither a key nor the chain: the machine takes its decisions again, and says them in words.

mod diff;
mod explain;
mod past;
mod portrait;
mod proof;
mod singles;
mod statement;
mod subject;
mod trace;
mod verify;

use infernet_state::{
    codec::{self, CodecError},
    machine::Halt,
    types::{Address, Hash, Seq},
};
use serde_json::Value;

pub use crate::words::utc;

pub use self::{
    diff::difference,
    explain::explain,
    past::{Moment, Past, Replay, Step},
    portrait::portrait,
    proof::Proof,
    statement::{Books, statement},
    subject::Subject,
    verify::{Report, verify},
};

use crate::log::{LogError, Stored, export::ExportError};

impl From<Halt> for AuditError {
    fn from(halt: Halt) -> Self {
        if halt.is_newer() {
            Self::Newer(halt)
        } else {
            Self::Halt(halt)
        }
    }
}

/// Why the past cannot be shown, or is not what it is said to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The export.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// An event cannot be decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The machine halts at an event, as it did in the node.
    #[error("{0}; the node halted here too, before any effect")]
    Halt(Halt),
    /// A newer version of the program continued the log.
    #[error(transparent)]
    Newer(Halt),
    /// A snapshot is no state, or another one than it says.
    #[error(
        "E-AUDIT-001: the snapshot behind event {seq} {reason}; use the version of the program \
         that wrote it, or an export or mirror that begins earlier"
    )]
    Snapshot {
        /// The newest event in it.
        seq: Seq,
        /// What does not fit.
        reason: String,
    },
    /// A checkpoint signs another state.
    #[error(
        "E-AUDIT-002: the checkpoint of event {seq} says that the state's digest was {signed}, \
         but the events lead to {replayed}; do not trust this log"
    )]
    State {
        /// The event.
        seq: Seq,
        /// What was signed.
        signed: Hash,
        /// What a replay gives.
        replayed: Hash,
    },
    /// A readable view is not of its frame.
    #[error(
        "E-AUDIT-003: the readable view of event {seq} is not what its frame says; do not trust \
         this export, get it anew from its source"
    )]
    View {
        /// The event.
        seq: Seq,
    },
    /// The state cannot be replayed.
    #[error(
        "E-AUDIT-004: the events up to {base} are missing, and so is the snapshot that stands \
         for them: frames and chain fit, but the state cannot be replayed; use an export or \
         mirror that begins earlier"
    )]
    Headless {
        /// The last event that is missing.
        base: Seq,
    },
    /// Nothing is known of what was asked about.
    #[error("E-AUDIT-005: no event from {first} to {last} has anything to do with {subject}")]
    Untouched {
        /// What was asked about, in words.
        subject: String,
        /// The first event there is.
        first: Seq,
        /// The last one.
        last: Seq,
    },
    /// It is not clear what is asked about.
    #[error(
        "E-AUDIT-006: `{text}` is no subject; write job:UUID, sub:ID or tx:0xHASH (a bare UUID, \
         number or hash does as well)"
    )]
    Subject {
        /// What was written.
        text: String,
    },
    /// The state at the end breaks an invariant.
    #[error(
        "E-AUDIT-012: {broken} does not hold in the state behind event {seq}: a mistake of this \
         program, please report it with the export"
    )]
    Broken {
        /// The newest event.
        seq: Seq,
        /// What does not hold.
        broken: String,
    },
    /// A payload that no event names.
    #[error(
        "E-AUDIT-013: event {seq} does not name the payload {hash} that stands beside it; do not \
         trust this log"
    )]
    Unnamed {
        /// The event.
        seq: Seq,
        /// The payload.
        hash: Hash,
    },
    /// A payload is not there, not even as an erased one.
    #[error(
        "E-AUDIT-014: event {seq} names the payload {hash}, which is not beside it, not even as \
         an erased one; do not trust this log"
    )]
    Absent {
        /// The event.
        seq: Seq,
        /// The payload.
        hash: Hash,
    },
    /// An event that no node recorded.
    #[error("E-AUDIT-015: event {seq} does not hold: {reason}; do not trust this log")]
    Unfit {
        /// The event.
        seq: Seq,
        /// Why.
        reason: String,
    },
    /// Nobody signed.
    #[error(
        "E-AUDIT-011: no checkpoint of {signer} is in this log: everything fits, but nobody \
         vouches for it; ask for one with checkpoints, or leave --address out"
    )]
    Unsigned {
        /// Who should have signed.
        signer: Address,
    },
    /// No checkpoint to prove an event by.
    #[error(
        "E-AUDIT-007: no checkpoint covers event {seq} with a tree whose events are all there; \
         make one with `infernet log checkpoint`"
    )]
    NoCheckpoint {
        /// The event.
        seq: Seq,
    },
    /// A proof does not hold.
    #[error("E-AUDIT-008: the proof does not hold: {reason}; do not trust it")]
    Proof {
        /// What does not fit.
        reason: String,
    },
    /// A proof cannot be read.
    #[error("E-AUDIT-009: this is no proof of an event: {reason}; check the file")]
    NoProof {
        /// Why.
        reason: String,
    },
    /// The copy that is verified cannot be passed along.
    #[error("E-AUDIT-010: the log cannot be read through: {reason}; try again")]
    Pipe {
        /// What the system said.
        reason: String,
    },
}

/// The readable view of an event in an export: words, and every field. For people; nothing is
/// read back from it.
#[must_use]
pub fn view(stored: &Stored) -> Value {
    let event = codec::decode(stored.event.kind, stored.event.version, &stored.event.body);
    let shown = event.map_err(|error| error.to_string()).and_then(|event| {
        let fields = serde_json::to_value(&event).map_err(|error| error.to_string())?;
        Ok(serde_json::json!({ "words": event.to_string(), "fields": fields }))
    });
    shown.unwrap_or_else(|reason| serde_json::json!({ "unreadable": reason }))
}
