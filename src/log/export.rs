//! The log as JSON lines, for auditors and for other machines. The format is documented in
//! `docs/log.md`: one object a line, its kind in `type`, in this order: `log`, `snapshot` when
//! the log does not start at the beginning, `event`s each followed by its `payload`s and by the
//! `checkpoint`s of that event, `head` with the hash of all lines before it.
//!
//! The frames are what counts; the readable view beside them is for people, and nothing that is
//! read back.

use std::io::{BufRead, Read as _, Write};

use infernet_state::types::{Address, Hash, PayloadRef, Seq};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    EventLog as _, Head, LogError, Stored,
    checkpoint::{Checkpoint, CheckpointJson},
    directory::Options,
    frame::{self, FrameError},
    import::Importer,
    limits::{EXPORT_LINE_BYTES_MAX, EXPORT_SNAPSHOT_BYTES_MAX},
    merkle::{self, Accumulator},
    pack::sha256,
    snapshot::Snapshot,
    source::{Full, Source, StoredPayload, walk},
    text::{Base64, Hex, Number},
};

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
    Ok(reader.found)
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
    let identity = reader.found.identity.clone();
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
    let base = reader.found.base;
    let mut importer = Importer::begin(path, &options, base, reader.snapshot.as_ref())?;
    let mut checkpoints = Vec::new();
    while let Some(item) = reader.read()? {
        match item {
            Item::Event { full, .. } => importer.push(*full)?,
            Item::Checkpoint(checkpoint) => checkpoints.push(*checkpoint),
        }
    }
    let log = importer.finish()?;
    for checkpoint in &checkpoints {
        log.save_checkpoint(checkpoint)?;
    }
    Ok(log.head())
}

/// A verified part of an export.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// An event with its payloads.
    Event {
        /// The event, from its frame.
        full: Box<Full>,
        /// The readable view beside it, as it stands there: nothing vouches for it.
        view: Value,
    },
    /// A checkpoint of the event before it.
    Checkpoint(Box<Checkpoint>),
}

/// An event whose payloads are still being read.
struct Open {
    full: Box<Full>,
    view: Value,
    /// How many there must be.
    payloads: u64,
}

/// Reads an export and checks it line by line.
pub struct Reader<R> {
    input: R,
    line: u64,
    /// Of all lines before the present one.
    before: Sha256,
    /// Of the present one as well.
    through: Sha256,
    signer: Option<Address>,
    found: Verified,
    snapshot: Option<Snapshot>,
    tree: Accumulator,
    open: Option<Open>,
    /// A line read ahead.
    ahead: Option<Line>,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads up to the first event. `signer` is who must have signed the checkpoints.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn begin(input: R, signer: Option<Address>) -> Result<Self, ExportError> {
        let mut reader = Self {
            input,
            line: 0,
            before: Sha256::new(),
            through: Sha256::new(),
            signer,
            found: Verified {
                program: String::new(),
                identity: String::new(),
                base: Head::default(),
                head: Head::default(),
                payloads: 0,
                erased: 0,
                checkpoints: 0,
                trees: 0,
                signers: Vec::new(),
            },
            snapshot: None,
            tree: Accumulator::default(),
            open: None,
            ahead: None,
            ended: false,
        };
        let Some(Line::Log {
            format,
            program,
            identity,
            seq,
            hash,
        }) = reader.read_line()?
        else {
            return Err(reader.wrong("it does not begin with a line of type log"));
        };
        if format.0 > FORMAT {
            return Err(ExportError::Newer { found: format.0 });
        }
        let base = Head {
            seq: Seq(seq.0),
            hash: reader.hash(&hash)?,
        };
        reader.found.program = program;
        reader.found.identity = identity;
        reader.found.base = base;
        reader.found.head = base;
        reader.ahead = reader.read_line()?;
        if let Some(Line::Snapshot {
            seq,
            hash,
            digest,
            bytes,
        }) = &reader.ahead
        {
            let head = Head {
                seq: Seq(seq.0),
                hash: reader.hash(hash)?,
            };
            if head != base {
                return Err(reader.wrong("the snapshot is of another event than the log's start"));
            }
            reader.snapshot = Some(Snapshot {
                head,
                digest: reader.hash(digest)?,
                bytes: bytes.0.clone(),
            });
            reader.ahead = None;
        }
        Ok(reader)
    }

    /// What was found so far; complete when [`Reader::read`] has said `None`.
    #[must_use]
    pub fn found(&self) -> &Verified {
        &self.found
    }

    /// The snapshot that the export begins with.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// The next event with its payloads, or checkpoint; `None` behind the last line.
    ///
    /// # Errors
    /// [`ExportError`] with the first line that does not fit.
    pub fn read(&mut self) -> Result<Option<Item>, ExportError> {
        loop {
            let line = match self.ahead.take() {
                Some(line) => Some(line),
                None => self.read_line()?,
            };
            let Some(line) = line else {
                if let Some(event) = self.close()? {
                    return Ok(Some(event));
                }
                if !self.ended {
                    return Err(ExportError::Incomplete {
                        seq: self.found.head.seq,
                    });
                }
                return Ok(None);
            };
            if self.ended {
                return Err(self.wrong("there are lines behind the last one"));
            }
            match line {
                Line::Event {
                    seq,
                    hash,
                    frame,
                    payloads,
                    event,
                } => {
                    let before = self.close()?;
                    let full = self.event(seq, &hash, &frame.0)?;
                    self.open = Some(Open {
                        full: Box::new(full),
                        view: event,
                        payloads: payloads.0,
                    });
                    if let Some(before) = before {
                        return Ok(Some(before));
                    }
                }
                Line::Payload {
                    seq,
                    hash,
                    len,
                    bytes,
                } => self.payload(seq, &hash, len, bytes)?,
                Line::Checkpoint(checkpoint) => {
                    // The event is complete: it goes first.
                    if let Some(event) = self.close()? {
                        self.ahead = Some(Line::Checkpoint(checkpoint));
                        return Ok(Some(event));
                    }
                    let checkpoint = self.checkpoint(checkpoint)?;
                    return Ok(Some(Item::Checkpoint(Box::new(checkpoint))));
                }
                Line::Head { seq, hash, sha256 } => {
                    let head = Head {
                        seq: Seq(seq.0),
                        hash: self.hash(&hash)?,
                    };
                    if head != self.found.head {
                        return Err(self.wrong("the head is not the last event"));
                    }
                    if self.hash(&sha256)? != Hash(self.before.clone().finalize().into()) {
                        return Err(
                            self.wrong("the lines before it are not those that were written")
                        );
                    }
                    self.ended = true;
                }
                Line::Log { .. } | Line::Snapshot { .. } => {
                    return Err(self.wrong("a line of this type stands only at the beginning"));
                }
            }
        }
    }

    /// The event that was being read, now that all its payloads must be there.
    fn close(&mut self) -> Result<Option<Item>, ExportError> {
        match self.open.take() {
            None => Ok(None),
            Some(Open {
                full,
                view,
                payloads,
            }) if full.payloads.len() as u64 == payloads => Ok(Some(Item::Event { full, view })),
            Some(Open { full, payloads, .. }) => Err(self.wrong(format!(
                "event {} has {} of {payloads} payloads before it",
                full.stored.seq,
                full.payloads.len()
            ))),
        }
    }

    /// Checks an event against the chain.
    fn event(&mut self, seq: Number, hash: &Hex, bytes: &[u8]) -> Result<Full, ExportError> {
        let (decoded, len) =
            frame::decode(bytes).map_err(|error: FrameError| self.wrong(error.to_string()))?;
        if len != bytes.len() {
            return Err(self.wrong("bytes behind the frame"));
        }
        let before = self.found.head;
        if Some(seq.0) != before.seq.0.checked_add(1) {
            return Err(self.wrong(format!("event {} follows event {}", seq.0, before.seq)));
        }
        let event = decoded.to_event();
        let seq = Seq(seq.0);
        let computed = frame::chain_event(&before.hash, seq, &event);
        if self.hash(hash)? != computed {
            return Err(self.wrong(format!("the frame gives the chain hash {computed}")));
        }
        self.tree.push(merkle::leaf(seq, &event));
        self.found.head = Head {
            seq,
            hash: computed,
        };
        Ok(Full {
            stored: Stored {
                seq,
                hash: computed,
                event,
            },
            payloads: Vec::new(),
        })
    }

    /// Checks a payload, and adds it to its event.
    fn payload(
        &mut self,
        seq: Number,
        hash: &Hex,
        len: Number,
        bytes: Option<Base64>,
    ) -> Result<(), ExportError> {
        let hash = self.hash(hash)?;
        let len = u32::try_from(len.0).map_err(|error| self.wrong(error.to_string()))?;
        let bytes = bytes.map(|bytes| bytes.0);
        match &bytes {
            None => self.found.erased += 1,
            Some(bytes) if bytes.len() == len as usize && sha256(bytes) == hash => {
                self.found.payloads += 1;
            }
            Some(_) => return Err(self.wrong("the payload does not fit its hash and length")),
        }
        let payload = StoredPayload {
            reference: PayloadRef { hash, len },
            bytes,
        };
        match &mut self.open {
            Some(open) if open.full.stored.seq.0 == seq.0 => {
                open.full.payloads.push(payload);
                Ok(())
            }
            _ => Err(self.wrong("the payload does not stand behind its event")),
        }
    }

    /// Checks a checkpoint against chain, tree and signer.
    fn checkpoint(&mut self, json: CheckpointJson) -> Result<Checkpoint, ExportError> {
        let Some(checkpoint) = json.read() else {
            return Err(self.wrong("a field of the checkpoint has the wrong length"));
        };
        let said = &checkpoint.statement;
        if said.identity != self.found.identity || said.head != self.found.head {
            return Err(self.wrong("the checkpoint is of another log or event"));
        }
        if said.first.0 == self.found.base.seq.0 + 1 {
            if said.tree != self.tree.root() {
                return Err(self.wrong("the checkpoint's tree is another one"));
            }
            self.found.trees += 1;
        }
        let Some(found) = checkpoint.signer() else {
            return Err(self.wrong("the checkpoint's signature is none"));
        };
        if let Some(expected) = self.signer
            && found != expected
        {
            return Err(ExportError::Signer {
                seq: said.head.seq,
                found: found.to_string(),
                expected,
            });
        }
        self.found.checkpoints += 1;
        if !self.found.signers.contains(&found) {
            self.found.signers.push(found);
        }
        Ok(checkpoint)
    }

    /// A line, bounded.
    fn read_line(&mut self) -> Result<Option<Line>, ExportError> {
        let mut bytes = Vec::new();
        let read = (&mut self.input)
            .take(EXPORT_LINE_BYTES_MAX + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(|source| ExportError::Stream {
                action: "read",
                source,
            })?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        self.before.clone_from(&self.through);
        self.through.update(&bytes);
        if read as u64 > EXPORT_LINE_BYTES_MAX {
            return Err(self.wrong(format!("it is longer than {EXPORT_LINE_BYTES_MAX} bytes")));
        }
        let line = serde_json::from_slice(&bytes).map_err(|error| self.wrong(error.to_string()))?;
        // No line vouches for the last one: it must be what was written, to the byte.
        if matches!(line, Line::Head { .. }) {
            let mut written = Vec::new();
            write_line(&mut written, &line)?;
            if written != bytes {
                return Err(self.wrong("it is not written as the last line is"));
            }
        }
        Ok(Some(line))
    }

    /// A hash of 32 bytes.
    fn hash(&self, hex: &Hex) -> Result<Hash, ExportError> {
        hex.hash()
            .ok_or_else(|| self.wrong("a hash is not 32 bytes long"))
    }

    fn wrong(&self, reason: impl Into<String>) -> ExportError {
        ExportError::Line {
            line: self.line,
            reason: reason.into(),
        }
    }
}
