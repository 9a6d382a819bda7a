//! The log on disk: a sled database, packs beside it, and a directory that knows whose it is.

use std::{
    fs::{self, File},
    path::Path,
    sync::{Arc, RwLock},
};

use infernet_state::types::{PayloadAt, Seq};

use super::{
    Durability, EventLog, Head, LogError, LogReader, Record, Stored, block, commit,
    directory::{DataDir, Options, Witness, log_name},
    file::{no_payload, payload_of},
    limits::TAIL_BLOCKS_CHECKED,
    pack::{PackWriter, Packs},
    store::{Base, Extent, Store, caught, damaged, parse},
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
    view: RwLock<View>,
    packs: Packs<Directory>,
    /// A reader keeps sled open, so it keeps the directory locked too.
    _lock: Arc<File>,
}

/// What readers may see: published after the sync, never before.
#[derive(Clone, Debug)]
struct View {
    store: Arc<Store>,
    extent: Extent,
}

impl View {
    /// See [`LogReader::read`].
    fn read(&self, from: Seq, limit: usize) -> Result<Vec<Stored>, LogError> {
        let Self { store, extent } = self;
        let base = store.base().head;
        let from = Seq(from.0.max(1));
        if from <= base.seq {
            return Err(LogError::Gone {
                seq: from,
                first: Seq(base.seq.0 + 1),
            });
        }
        let mut out = Vec::new();
        if limit == 0 || from > extent.head.seq {
            return Ok(out);
        }
        let (first, _) = store.find(from, extent.blocks)?;
        let mut before = match first {
            1 => base,
            _ => parse(&store.block(first - 1, from)?, from)?.head(),
        };
        for (item, expected) in store.blocks_from(first).zip(first..=extent.blocks) {
            let (number, bytes) = item?;
            let next = Seq(before.seq.0 + 1);
            if number != expected {
                return Err(damaged(next, format!("block {expected} is missing")));
            }
            let block = parse(&bytes, next)?;
            if block.head_before() != before {
                return Err(damaged(next, "the chain is broken before it"));
            }
            block
                .read_into(from, &mut out)
                .map_err(|error| damaged(next, error))?;
            before = block.head();
            if out.len() >= limit {
                break;
            }
        }
        if out.len() < limit && before != extent.head {
            return Err(damaged(Seq(before.seq.0 + 1), "its block is missing"));
        }
        out.truncate(limit);
        Ok(out)
    }
}

impl Shared {
    fn view(&self) -> View {
        self.view
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    fn publish(&self, change: impl FnOnce(&mut View)) {
        change(
            &mut self
                .view
                .write()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        );
    }

    fn head(&self) -> Head {
        self.view().extent.head
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
        let extent = store.extent(TAIL_BLOCKS_CHECKED)?;
        if let Some(seen) = seen {
            check_witness(&store, extent, seen)?;
        }
        let packs = Directory::new(directory.subdirectory("packs")?);
        let (packs, writer) = Packs::open(packs, extent.packs)?;
        let shared = Shared {
            view: RwLock::new(View {
                store: Arc::new(store),
                extent,
            }),
            packs,
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
        let missing = || no_payload(at);
        if self.failed {
            return Err(LogError::Failed);
        }
        if at.seq > self.head().seq {
            return Err(missing());
        }
        let View { store, extent } = self.shared.view();
        let (number, bytes) = store.find(at.seq, extent.blocks)?;
        let entry = parse(&bytes, at.seq)?
            .payload(at.seq, at.payload)
            .map_err(|error| damaged(at.seq, error))?
            .ok_or_else(missing)?;
        let erased = block::erase(&bytes, at.seq, at.payload)
            .map_err(|error| damaged(at.seq, error))?
            .ok_or_else(missing)?;
        // The record first: a crash in between leaves bytes that nothing refers to, never a
        // reference to bytes that are gone. Done again, it overwrites them again.
        let write = || {
            store.replace(number, erased.block)?;
            erased.pack.map_or(Ok(()), |place| {
                self.shared.packs.erase(place, at.payload.len)
            })
        };
        let result = write();
        self.failed = result.is_err();
        result.map(|()| !entry.erased)
    }

    /// The commit itself, without the memory of failures.
    fn commit(&mut self, batch: &[Record]) -> Result<Head, LogError> {
        let View { store, extent } = self.shared.view();
        let commit = commit::plan(extent.head, batch, &self.shared.packs, &mut self.writer)?;
        if commit.blocks.is_empty() {
            return Ok(extent.head);
        }
        let after = store.commit(extent, commit, self.writer.end())?;
        self.witness.note(after.head)?;
        self.shared.publish(|view| view.extent = after);
        Ok(after.head)
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
        let view = self.shared.view();
        caught(view.store.path(), || view.read(from, limit))
    }

    fn payload(&self, at: PayloadAt) -> Result<Option<Vec<u8>>, LogError> {
        let View { store, extent } = self.shared.view();
        if at.seq > extent.head.seq || at.seq <= store.base().head.seq {
            return Err(no_payload(at));
        }
        let (_, bytes) = caught(store.path(), || store.find(at.seq, extent.blocks))?;
        payload_of(&bytes, at, &self.shared.packs)
    }
}

/// Holds the log against what the witness saw acknowledged.
fn check_witness(store: &Store, extent: Extent, seen: Head) -> Result<(), LogError> {
    let lost = |reason: String| LogError::Lost {
        directory: store.path().display().to_string(),
        found: extent.head.seq,
        acknowledged: seen.seq,
        reason,
    };
    if seen.seq > extent.head.seq {
        return Err(lost("its end is missing".into()));
    }
    if seen.seq <= store.base().head.seq {
        return Ok(());
    }
    let (_, bytes) = store.find(seen.seq, extent.blocks)?;
    let mut hash = None;
    parse(&bytes, seen.seq)?
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
