//! Reads an export back, and checks it line by line.

use std::io::{BufRead, Read as _};

use infernet_state::types::{Address, Hash, PayloadRef, Seq};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    super::{
        Head, Stored,
        checkpoint::{Checkpoint, CheckpointJson},
        frame::{self, FrameError},
        limits::EXPORT_LINE_BYTES_MAX,
        merkle::{self, Accumulator},
        pack::sha256,
        snapshot::Snapshot,
        source::{Full, StoredPayload},
        text::{Base64, Hex, Number},
    },
    ExportError, FORMAT, Line, Verified, write_line,
};

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
        if seq.0 == u64::MAX {
            return Err(reader.wrong("no event can follow its start"));
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

    /// As [`Reader::found`].
    pub(super) fn into_found(self) -> Verified {
        self.found
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

    pub(super) fn wrong(&self, reason: impl Into<String>) -> ExportError {
        ExportError::Line {
            line: self.line,
            reason: reason.into(),
        }
    }
}
