//! The log as JSON lines, for auditors and for other machines. The format is documented in
//! `docs/log.md`: one object a line, its kind in `type`, in this order: `log`, `snapshot` when
//! the log does not start at the beginning, `event`s each followed by its `payload`s and by the
//! `checkpoint`s of that event, `head` with the hash of all lines before it.
//!
//! The frames are what counts; the readable view beside them is for people, and nothing that is
//! read back.

mod read;

use std::io::{BufRead, Write};

use infernet_state::{
    codec,
    types::{Address, Hash, PayloadRef, Seq},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    EventLog as _, Head, LogError, Stored,
    checkpoint::{Checkpoint, CheckpointJson},
    directory::Options,
    frame,
    import::Importer,
    limits::EXPORT_SNAPSHOT_BYTES_MAX,
    source::{Full, Source, walk},
    text::{Base64, Hex, Number},
};

pub use read::{Item, Reader};

/// What does not fit between an event and the payloads beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Misfit {
    /// One that its frame does not name, or not so often.
    Unnamed(Hash),
    /// One that its frame names is not there, not even as an erased one.
    Absent(Hash),
}

/// Holds the payloads beside an event against those that its frame names: the same, and each as
/// often.
pub(crate) fn misfit(full: &Full, mut named: Vec<PayloadRef>) -> Option<Misfit> {
    for payload in &full.payloads {
        let hash = payload.reference.hash;
        match named.iter().position(|named| *named == payload.reference) {
            Some(at) => drop(named.swap_remove(at)),
            None => return Some(Misfit::Unnamed(hash)),
        }
    }
    named.first().map(|missing| Misfit::Absent(missing.hash))
}

/// [`misfit`] as an error. An event that this version cannot decode is not judged.
fn check_named<R: BufRead>(reader: &Reader<R>, full: &Full) -> Result<(), ExportError> {
    let event = &full.stored.event;
    let Ok(event) = codec::decode(event.kind, event.version, &event.body) else {
        return Ok(());
    };
    let seq = full.stored.seq;
    match misfit(full, event.payloads()) {
        Some(Misfit::Unnamed(hash)) => {
            Err(reader.wrong(format!("event {seq} does not name the payload {hash} beside it")))
        }
        Some(Misfit::Absent(hash)) => Err(reader.wrong(format!(
            "event {seq} names the payload {hash}, which is not beside it, not even as an erased one"
        ))),
        None => Ok(()),
    }
}

/// The format of exports that this program writes, and the newest it reads.
const FORMAT: u64 = 1;

/// The version of this program, as exports name it.
pub const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// Why an export cannot be written or is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Reading or writing failed.
    #[error("E-LOG-020: the export cannot be {action}: {source}; check the file and its disk")]
    Stream {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line is not what the format says.
    #[error("E-LOG-021: line {line} of the export: {reason}; get the export anew from its source")]
    Line {
        /// The line, from 1.
        line: u64,
        /// What does not fit.
        reason: String,
    },
    /// A newer program wrote it.
    #[error(
        "E-LOG-022: the export has format {found}, this program reads up to {FORMAT}; use the newer program"
    )]
    Newer {
        /// Its format.
        found: u64,
    },
    /// It has no end.
    #[error(
        "E-LOG-023: the export ends after event {seq} without its last line; it was cut off, get it whole"
    )]
    Incomplete {
        /// The last event there.
        seq: Seq,
    },
    /// A checkpoint is not signed by who should have.
    #[error(
        "E-LOG-024: the checkpoint of event {seq} is signed by {found}, not by {expected}; do not trust this export"
    )]
    Signer {
        /// The event.
        seq: Seq,
        /// Who signed, in words.
        found: String,
        /// Who should have.
        expected: Address,
    },
}

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    Log {
        format: Number,
        /// The version of the program that wrote it.
        program: String,
        identity: String,
        seq: Number,
        hash: Hex,
    },
    Snapshot {
        seq: Number,
        hash: Hex,
        digest: Hex,
        bytes: Base64,
    },
    Event {
        seq: Number,
        hash: Hex,
        frame: Base64,
        /// How many `payload` lines follow.
        payloads: Number,
        #[serde(default)]
        event: Value,
    },
    Payload {
        seq: Number,
        hash: Hex,
        len: Number,
        /// `null` when erased; never absent, so that a lost field is not taken for an erasure.
        #[serde(deserialize_with = "Option::deserialize")]
        bytes: Option<Base64>,
    },
    Checkpoint(CheckpointJson),
    Head {
        seq: Number,
        hash: Hex,
        /// SHA-256 of all lines before this one.
        sha256: Hex,
    },
}

/// Writes an export. `view` makes the readable view of an event; numbers in it become decimal
/// strings.
///
/// # Errors
/// [`ExportError::Log`], [`ExportError::Stream`]; [`LogError::TooLarge`] for a snapshot that no
/// line takes.
pub fn export(
    source: &(impl Source + ?Sized),
    identity: &str,
    checkpoints: &[Checkpoint],
    out: &mut impl Write,
    view: impl Fn(&Stored) -> Value,
) -> Result<Head, ExportError> {
    let base = source.base()?;
    let head = source.newest();
    let mut out = Hashing {
        out,
        hash: Sha256::new(),
    };
    let mut put = |line: Line| write_line(&mut out, &line);
    put(Line::Log {
        format: Number(FORMAT),
        program: PROGRAM.to_owned(),
        identity: identity.to_owned(),
        seq: Number(base.seq.0),
        hash: Hex::of(base.hash),
    })?;
    if let Some(snapshot) = source.base_snapshot()? {
        if snapshot.bytes.len() > EXPORT_SNAPSHOT_BYTES_MAX {
            return Err(ExportError::Log(LogError::TooLarge {
                what: "the snapshot that the log begins with",
                len: snapshot.bytes.len(),
                limit: EXPORT_SNAPSHOT_BYTES_MAX,
            }));
        }
        put(Line::Snapshot {
            seq: Number(snapshot.head.seq.0),
            hash: Hex::of(snapshot.head.hash),
            digest: Hex::of(snapshot.digest),
            bytes: Base64(snapshot.bytes),
        })?;
    }
    let mut checkpoints = checkpoints.iter().peekable();
    walk(source, |full| {
        let stored = &full.stored;
        let mut bytes = Vec::new();
        frame::encode(&stored.event, &mut bytes).map_err(|error| ExportError::Line {
            line: 0,
            reason: error.to_string(),
        })?;
        put(Line::Event {
            seq: Number(stored.seq.0),
            hash: Hex::of(stored.hash),
            frame: Base64(bytes),
            payloads: Number(full.payloads.len() as u64),
            event: without_numbers(view(stored)),
        })?;
        for payload in full.payloads {
            put(Line::Payload {
                seq: Number(stored.seq.0),
                hash: Hex::of(payload.reference.hash),
                len: Number(payload.reference.len.into()),
                bytes: payload.bytes.map(Base64),
            })?;
        }
        while let Some(next) = checkpoints.next_if(|next| next.statement.head.seq <= stored.seq) {
            if next.statement.head.seq == stored.seq {
                put(Line::Checkpoint(next.into()))?;
            }
        }
        Ok::<(), ExportError>(())
    })?;
    let sha256 = Hash(out.hash.clone().finalize().into());
    write_line(
        &mut out,
        &Line::Head {
            seq: Number(head.seq.0),
            hash: Hex::of(head.hash),
            sha256: Hex::of(sha256),
        },
    )?;
    out.flush().map_err(|source| ExportError::Stream {
        action: "written",
        source,
    })?;
    Ok(head)
}

/// Hashes what passes through.
struct Hashing<'a, W> {
    out: &'a mut W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Writes a line.
fn write_line(out: &mut impl Write, line: &Line) -> Result<(), ExportError> {
    serde_json::to_writer(&mut *out, line)
        .map_err(std::io::Error::from)
        .and_then(|()| out.write_all(b"\n"))
        .map_err(|source| ExportError::Stream {
            action: "written",
            source,
        })
}

/// A view with its numbers as decimal strings, as it stands in an export.
#[must_use]
pub fn without_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::String(number.to_string()),
        Value::Array(items) => items.into_iter().map(without_numbers).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, without_numbers(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => value,
    }
}

/// What an export was found to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// The version of the program that wrote it.
    pub program: String,
    /// Whose log it is.
    pub identity: String,
    /// The head before its first event; zero for a log from the beginning.
    pub base: Head,
    /// Its newest event.
    pub head: Head,
    /// Payloads that are there and fit.
    pub payloads: u64,
    /// Payloads that were erased.
    pub erased: u64,
    /// Checkpoints whose hash and signature fit.
    pub checkpoints: u64,
    /// Those of them whose tree could be made again, and fits: a tree that begins before the
    /// export does cannot.
    pub trees: u64,
    /// Who signed them, one each.
    pub signers: Vec<Address>,
}

/// Verifies an export: frames, chain, payloads, trees and signatures. Needs nothing but the
/// export and, for the checkpoints, the address of the node that should have signed them.
///
/// # Errors
/// [`ExportError`] with the first line that does not fit.
pub fn verify(input: impl BufRead, signer: Option<Address>) -> Result<Verified, ExportError> {
    let mut reader = Reader::begin(input, signer)?;
    while reader.read()?.is_some() {}
    Ok(reader.into_found())
}

/// Makes a log from an export, in a data directory that holds none. The export is verified on
/// the way.
///
/// # Durability
/// The log is durable when it returns; until then the directory holds none.
///
/// # Errors
/// [`ExportError`]; [`LogError::Identity`] when `options` name another identity.
pub fn import(
    input: impl BufRead,
    path: &std::path::Path,
    options: &Options,
) -> Result<Head, ExportError> {
    let mut reader = Reader::begin(input, None)?;
    let identity = reader.found().identity.clone();
    if let Some(expected) = &options.identity
        && *expected != identity
    {
        return Err(ExportError::Log(LogError::Identity {
            directory: path.display().to_string(),
            found: identity,
            expected: expected.clone(),
        }));
    }
    let options = Options {
        identity: Some(identity),
        ..options.clone()
    };
    let base = reader.found().base;
    let mut importer = Importer::begin(path, &options, base, reader.snapshot())?;
    let mut checkpoints = Vec::new();
    while let Some(item) = reader.read()? {
        match item {
            Item::Event { full, .. } => {
                check_named(&reader, &full)?;
                importer.push(*full)?;
            }
            Item::Checkpoint(checkpoint) => checkpoints.push(*checkpoint),
        }
    }
    let log = importer.finish()?;
    for checkpoint in &checkpoints {
        log.save_checkpoint(checkpoint)?;
    }
    Ok(log.head())
}
