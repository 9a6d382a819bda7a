//! The log on disk: a sled database, packs beside it, and a directory that knows whose it is.

use std::{
    fs::{self, File},
    path::Path,
    sync::{Arc, RwLock},
};

use infernet_state::types::{PayloadAt, Seq};

use super::{
    Durability, EventLog, Head, LogError, LogReader, Record, Stored,
    block::{self, Place},
    commit,
    directory::{DataDir, Options, Witness, log_name},
    limits::TAIL_BLOCKS_CHECKED,
    pack::{PackWriter, Packs, sha256},
    store::{Base, Store, damaged, parse, unreadable},
    volume::Directory,
};

/// The log in a data directory. See the module's documentation for the layout.
#[derive(Debug)]
pub struct SledLog {
    shared: Arc<Shared>,
    directory: DataDir,
    writer: PackWriter,
    witness: Witness,
    /// A commit failed: nothing more is taken.
    failed: bool,
}

/// Reads a [`SledLog`]; cheap to clone, sees only what is durable.
#[derive(Clone, Debug)]
pub struct SledReader {
    shared: Arc<Shared>,
}

/// What the log and its readers share.
#[derive(Debug)]
struct Shared {
    store: RwLock<Arc<Store>>,
    packs: Packs<Directory>,
    /// Published after the sync, never before.
    head: RwLock<Head>,
    /// A reader keeps sled open, so it keeps the directory locked too.
    _lock: Arc<File>,
}

impl Shared {
    fn head(&self) -> Head {
        *self
            .head
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn store(&self) -> Arc<Store> {
        let store = self
            .store
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        Arc::clone(&store)
    }
}

impl SledLog {
    /// Opens the log of a data directory, or makes an empty one.
    ///
    /// # Durability
    /// What it shows is durable when it returns: files and directories are synced first.
    ///
    /// # Errors
    /// [`LogError`]; the directory is then as it was, except for left-overs of a crash.
    pub fn open(path: &Path, options: &Options) -> Result<Self, LogError> {
        let mut directory = DataDir::open(path, options)?;
        let logs = directory.subdirectory("log")?;
        let (witness, seen) = Witness::open(directory.path())?;
        let store = match directory.current() {
            Some(current) => Store::open(&current, options.cache_bytes)?,
            None => {
                let name = log_name(Seq(0));
                let fresh = logs.join(&name);
                // An unfinished first attempt: nothing was ever acknowledged from it.
                if fresh.exists() {
                    fs::remove_dir_all(&fresh)
                        .map_err(super::volume::storage("remove", fresh.display()))?;
                }
                let store = Store::create(&fresh, Base::default(), options.cache_bytes)?;
                directory.set_current(&name)?;
                store
            }
        };
        let (head, packs_end) = store.tail(TAIL_BLOCKS_CHECKED)?;
        if let Some(seen) = seen {
            check_witness(&store, head, seen)?;
        }
        let packs = Directory::new(directory.subdirectory("packs")?);
        let (packs, writer) = Packs::open(packs, packs_end)?;
        let shared = Shared {
            store: RwLock::new(Arc::new(store)),
            packs,
            head: RwLock::new(head),
            _lock: directory.lock(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            directory,
            writer,
            witness,
            failed: false,
        })
    }

    /// Whose log it is.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.directory.identity()
    }

    /// Erases a payload; the events and their chain stay as they are. False when it was erased
    /// before.
    ///
    /// # Durability
    /// When it returns, [`LogReader::payload`] says `None`, and a payload in a pack is
    /// overwritten. Of an inline payload sled may keep stale pages until the log is rolled.
    ///
    /// # Errors
    /// [`LogError::Payload`] when event `at.seq` brought no such payload, [`LogError::Storage`].
    pub fn erase(&mut self, at: PayloadAt) -> Result<bool, LogError> {
        let missing = || LogError::Payload {
            hash: at.payload.hash,
            reason: format!("event {} brought no such payload", at.seq),
        };
        if self.failed {
            return Err(LogError::Failed);
        }
        if at.seq > self.head().seq {
            return Err(missing());
        }
        let store = self.shared.store();
        let bytes = store.block_at(at.seq)?.ok_or_else(missing)?;
        let block = parse(&bytes, at.seq)?;
        let entry = block
            .payload(at.seq, at.payload)
            .map_err(|error| damaged(at.seq, error))?
            .ok_or_else(missing)?;
        let (erased, place) = block::erase(&bytes, at.seq, at.payload)
            .map_err(|error| damaged(at.seq, error))?
            .ok_or_else(missing)?;
        // The record first: a crash in between leaves bytes that nothing refers to, never a
        // reference to bytes that are gone. Done again, it overwrites them again.
        let write = || {
            store.replace(block.first, erased)?;
            place.map_or(Ok(()), |place| {
                self.shared.packs.erase(place, at.payload.len)
            })
        };
        let result = write();
        self.failed = result.is_err();
        result.map(|()| !entry.erased)
    }

    /// The commit itself, without the memory of failures.
    fn commit(&mut self, batch: &[Record]) -> Result<Head, LogError> {
        let before = self.head();
        let commit = commit::plan(before, batch, &self.shared.packs, &mut self.writer)?;
        if commit.blocks.is_empty() {
            return Ok(before);
        }
        self.shared.store().commit(commit.blocks)?;
        self.witness.note(commit.head)?;
        *self
            .shared
            .head
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = commit.head;
        Ok(commit.head)
    }
}

impl EventLog for SledLog {
    type Reader = SledReader;

    fn durability(&self) -> Durability {
        Durability::PowerLoss
    }

    fn head(&self) -> Head {
        self.shared.head()
    }

    fn append(&mut self, batch: &[Record]) -> Result<Head, LogError> {
        if self.failed {
            return Err(LogError::Failed);
        }
        let result = self.commit(batch);
        self.failed = result.is_err();
        result
    }

    fn reader(&self) -> SledReader {
        SledReader {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl LogReader for SledReader {
    fn head(&self) -> Head {
        self.shared.head()
    }

    fn read(&self, from: Seq, limit: usize) -> Result<Vec<Stored>, LogError> {
        let head = self.shared.head();
        let store = self.shared.store();
        let base = store.base().head;
        let from = Seq(from.0.max(1));
        if from <= base.seq {
            return Err(LogError::Gone {
                seq: from,
                first: Seq(base.seq.0 + 1),
            });
        }
        let mut out = Vec::new();
        if limit == 0 || from > head.seq {
            return Ok(out);
        }
        let Some(first) = store.block_at(from)? else {
            return Err(damaged(from, "its block is missing"));
        };
        let first = parse(&first, from)?.first;
        let mut before = match store.block_at(Seq(first.0 - 1))? {
            Some(bytes) => parse(&bytes, Seq(first.0 - 1))?.head(),
            None => base,
        };
        for bytes in store.blocks_from(first) {
            let bytes = bytes?;
            let next = Seq(before.seq.0 + 1);
            if out.len() >= limit || next > head.seq {
                break;
            }
            let block = parse(&bytes, next)?;
            if block.head_before() != before {
                return Err(damaged(next, "the chain is broken before it"));
            }
            block
                .read_into(from, &mut out)
                .map_err(|error| damaged(next, error))?;
            before = block.head();
        }
        if out.len() < limit && before.seq < head.seq {
            return Err(damaged(Seq(before.seq.0 + 1), "its block is missing"));
        }
        out.truncate(limit);
        Ok(out)
    }

    fn payload(&self, at: PayloadAt) -> Result<Option<Vec<u8>>, LogError> {
        let wrong = |reason: String| LogError::Payload {
            hash: at.payload.hash,
            reason,
        };
        let missing = || wrong(format!("event {} brought no such payload", at.seq));
        if at.seq > self.shared.head().seq {
            return Err(missing());
        }
        let bytes = self.shared.store().block_at(at.seq)?.ok_or_else(missing)?;
        let block = parse(&bytes, at.seq)?;
        let entry = block
            .payload(at.seq, at.payload)
            .map_err(|error| damaged(at.seq, error))?
            .ok_or_else(missing)?;
        if entry.erased {
            return Ok(None);
        }
        match entry.place {
            Place::Inline(bytes) if sha256(bytes) == at.payload.hash => Ok(Some(bytes.to_vec())),
            Place::Inline(_) => Err(wrong("the bytes are not what was written".into())),
            Place::Pack(place) => self.shared.packs.get(place, at.payload).map(Some),
        }
    }
}

/// Holds the log against what the witness saw acknowledged.
fn check_witness(store: &Store, head: Head, seen: Head) -> Result<(), LogError> {
    let lost = |reason: String| LogError::Lost {
        directory: store.path().display().to_string(),
        found: head.seq,
        acknowledged: seen.seq,
        reason,
    };
    if seen.seq > head.seq {
        return Err(lost("its end is missing".into()));
    }
    if seen.seq <= store.base().head.seq {
        return Ok(());
    }
    let Some(bytes) = store.block_at(seen.seq)? else {
        return Err(unreadable(
            store.path(),
            format!("the block of event {} is missing", seen.seq),
        ));
    };
    let block = parse(&bytes, seen.seq)?;
    let mut hash = None;
    block
        .events(|seq, at, _| {
            if seq == seen.seq {
                hash = Some(at);
            }
        })
        .map_err(|error| damaged(seen.seq, error))?;
    if hash != Some(seen.hash) {
        return Err(lost(format!(
            "event {} is another one than was acknowledged",
            seen.seq
        )));
    }
    Ok(())
}
