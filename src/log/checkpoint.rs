//! Signed statements about the log: with one, a later change of what came before it shows.
//!
//! What is signed, as an Ethereum personal message (EIP-191), is this text, so that any wallet
//! can check it:
//!
//! ```text
//! Infernet log checkpoint
//! identity: <whose log it is>
//! events: <first event of the tree>-<newest event>
//! hash: 0x<chain hash of the newest event>
//! tree: 0x<root over these events, RFC 6962>
//! state: 0x<digest of the machine's state behind it>
//! time: <milliseconds since 1970>
//! ```

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
};

use alloy::primitives::Signature;
use infernet_state::types::{Address, Hash, Seq, WallTime};
use serde::{Deserialize, Serialize};

use super::{
    EventLog as _, Head, LogError, LogReader as _,
    limits::CHECKPOINT_LINE_BYTES_MAX,
    merkle::{self, Accumulator},
    sled::{SledLog, SledReader},
    source::Source as _,
    text::{Hex, Number},
    volume::storage,
};

/// What is said about the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// Whose log it is.
    pub identity: String,
    /// The first event that the tree covers.
    pub first: Seq,
    /// The newest event, and the chain hash there.
    pub head: Head,
    /// Root of the Merkle tree over the events from `first` to the newest.
    pub tree: Hash,
    /// Digest of the machine's state behind the newest event.
    pub state: Hash,
    /// When it was said.
    pub time: WallTime,
}

impl Statement {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "Infernet log checkpoint\nidentity: {}\nevents: {}-{}\nhash: {}\ntree: {}\n\
             state: {}\ntime: {}",
            self.identity,
            self.first,
            self.head.seq,
            self.head.hash,
            self.tree,
            self.state,
            self.time
        )
    }

    /// Signs it. `sign` makes the 65 bytes of a personal signature (`r`, `s`, `v`) of a text;
    /// the key does not come near the log.
    ///
    /// # Errors
    /// What `sign` returns.
    pub fn sign<E>(self, sign: impl FnOnce(&str) -> Result<[u8; 65], E>) -> Result<Checkpoint, E> {
        let signature = sign(&self.text())?;
        Ok(Checkpoint {
            statement: self,
            signature,
        })
    }
}

/// A signed statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// What is said.
    pub statement: Statement,
    /// Personal signature of [`Statement::text`]: `r`, `s`, `v`.
    pub signature: [u8; 65],
}

impl Checkpoint {
    /// Who signed it; `None` when the signature is none.
    #[must_use]
    pub fn signer(&self) -> Option<Address> {
        let signature = Signature::from_raw_array(&self.signature).ok()?;
        let address = signature
            .recover_address_from_msg(self.statement.text())
            .ok()?;
        Some(Address(address.into_array()))
    }
}

/// A checkpoint as JSON: numbers as decimal strings, bytes in hexadecimal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct CheckpointJson {
    identity: String,
    first: Number,
    seq: Number,
    hash: Hex,
    tree: Hex,
    state: Hex,
    time: Number,
    signature: Hex,
}

impl From<&Checkpoint> for CheckpointJson {
    fn from(checkpoint: &Checkpoint) -> Self {
        let said = &checkpoint.statement;
        Self {
            identity: said.identity.clone(),
            first: Number(said.first.0),
            seq: Number(said.head.seq.0),
            hash: Hex::of(said.head.hash),
            tree: Hex::of(said.tree),
            state: Hex::of(said.state),
            time: Number(said.time.0),
            signature: Hex(checkpoint.signature.to_vec()),
        }
    }
}

impl CheckpointJson {
    /// The checkpoint; `None` when a field has the wrong length.
    pub(crate) fn read(self) -> Option<Checkpoint> {
        Some(Checkpoint {
            statement: Statement {
                identity: self.identity,
                first: Seq(self.first.0),
                head: Head {
                    seq: Seq(self.seq.0),
                    hash: self.hash.hash()?,
                },
                tree: self.tree.hash()?,
                state: self.state.hash()?,
                time: WallTime(self.time.0),
            },
            signature: self.signature.0.try_into().ok()?,
        })
    }
}

impl SledLog {
    /// As [`SledReader::save_checkpoint`].
    ///
    /// # Errors
    /// As there.
    pub fn save_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), LogError> {
        self.reader().save_checkpoint(checkpoint)
    }

    /// As [`SledReader::checkpoints`].
    ///
    /// # Errors
    /// As there.
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, LogError> {
        self.reader().checkpoints()
    }
}

impl SledReader {
    /// Keeps a checkpoint beside the log, in `checkpoints.jsonl`. One task at a time may do so.
    ///
    /// # Durability
    /// It survives a power cut when it returns.
    ///
    /// # Errors
    /// [`LogError::Missing`] when it is of another history, [`LogError::Storage`].
    pub fn save_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), LogError> {
        let head = checkpoint.statement.head;
        let view = self.view();
        if view.head_at(head.seq)? != Some(head) {
            return Err(LogError::Missing {
                seq: head.seq,
                last: view.extent.head.seq,
            });
        }
        append(self.root(), checkpoint)
    }

    /// Whether checkpoints can be kept at all.
    ///
    /// # Errors
    /// [`LogError::Storage`] when not.
    pub(crate) fn check_checkpoints_writable(&self) -> Result<(), LogError> {
        let path = self.root().join(FILE);
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        opened.map(drop).map_err(storage("open", path.display()))
    }

    /// The checkpoints, oldest first; a line that a crash cut off is passed over.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, LogError> {
        saved(self.root())
    }
}

/// The tree over a log, as the log grows: what checkpoints are made from.
#[derive(Clone, Debug)]
pub struct Tree {
    identity: String,
    first: Seq,
    head: Head,
    leaves: Accumulator,
}

impl Tree {
    /// A tree without a leaf, from the first event that is kept on.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn begin(reader: &SledReader) -> Result<Self, LogError> {
        let base = reader.base()?;
        Ok(Self {
            identity: reader.identity().to_owned(),
            first: Seq(base.seq.0 + 1),
            head: base,
            leaves: Accumulator::default(),
        })
    }

    /// Takes the events up to and with `to`, which must be in the log.
    ///
    /// # Errors
    /// [`LogError`]; [`LogError::Gone`] when the log dropped what comes next.
    pub fn grow(&mut self, reader: &SledReader, to: Seq) -> Result<(), LogError> {
        while self.head.seq < to {
            let next = Seq(self.head.seq.0 + 1);
            let wanted = usize::try_from(to.0 - self.head.seq.0).unwrap_or(usize::MAX);
            let events = reader.read(next, wanted.min(GROWN_AT_ONCE))?;
            if events.is_empty() {
                return Err(LogError::Missing {
                    seq: to,
                    last: self.head.seq,
                });
            }
            for stored in events {
                self.leaves.push(merkle::leaf(stored.seq, &stored.event));
                self.head = Head {
                    seq: stored.seq,
                    hash: stored.hash,
                };
            }
        }
        Ok(())
    }

    /// What is to be signed: the events so far lead to a state with this digest.
    #[must_use]
    pub fn statement(&self, state: Hash, time: WallTime) -> Statement {
        Statement {
            identity: self.identity.clone(),
            first: self.first,
            head: self.head,
            tree: self.leaves.root(),
            state,
            time,
        }
    }
}

/// Events that a tree reads at a time.
const GROWN_AT_ONCE: usize = 4096;

/// Adds a checkpoint to those of a directory.
///
/// # Durability
/// It survives a power cut when it returns.
///
/// # Errors
/// [`LogError::Storage`].
pub(crate) fn append(directory: &Path, checkpoint: &Checkpoint) -> Result<(), LogError> {
    let path = directory.join(FILE);
    // A line that a crash cut off is closed, so that it spoils no other.
    let mut line = if ends_open(&path)? {
        b"\n".to_vec()
    } else {
        Vec::new()
    };
    serde_json::to_writer(&mut line, &CheckpointJson::from(checkpoint))
        .map_err(std::io::Error::from)
        .map_err(storage("write", path.display()))?;
    line.push(b'\n');
    let append = || {
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(&line)?;
        file.sync_all()?;
        super::volume::sync_dir(directory)
    };
    append().map_err(storage("write", path.display()))
}

/// Bytes of the file of checkpoints of a directory; 0 without one.
pub(crate) fn length(directory: &Path) -> u64 {
    directory
        .join(FILE)
        .metadata()
        .map_or(0, |metadata| metadata.len())
}

/// Name of the file beside the log.
const FILE: &str = "checkpoints.jsonl";

/// Whether a file ends within a line.
fn ends_open(path: &Path) -> Result<bool, LogError> {
    use std::os::unix::fs::FileExt as _;
    let look = || -> std::io::Result<bool> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut last = [b'\n'];
        if len > 0 {
            file.read_exact_at(&mut last, len - 1)?;
        }
        Ok(last != [b'\n'])
    };
    match look() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        looked => looked.map_err(storage("read", path.display())),
    }
}

/// The checkpoints of a directory, oldest first; a line that a crash cut off is passed over.
///
/// # Errors
/// [`LogError::Storage`].
pub fn saved(directory: &Path) -> Result<Vec<Checkpoint>, LogError> {
    let path = directory.join(FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(storage("open", path.display())(error)),
    };
    let mut checkpoints = Vec::new();
    let mut reader = BufReader::new(file);
    loop {
        let mut line = Vec::new();
        let read = (&mut reader)
            .take(CHECKPOINT_LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .map_err(storage("read", path.display()))?;
        if read == 0 {
            return Ok(checkpoints);
        }
        let parsed: Result<CheckpointJson, _> = serde_json::from_slice(&line);
        checkpoints.extend(parsed.ok().and_then(CheckpointJson::read));
    }
}
