//! One sled database: what is known about sled 0.34.7, and what is done about it.
//!
//! - `flush` ends in `sync_file_range`: it survives a killed process, not a power cut. So every
//!   commit ends with `fdatasync` on a descriptor of our own of the database file.
//! - What is visible after `kill -9` need not be durable: opening syncs file and directory first.
//! - A crash or a full disk while opening can leave a `snap.*.generating` that makes it refuse
//!   for ever: these are removed before it opens.
//! - A missing database file becomes an empty database without a word: its presence is checked,
//!   and an empty one lacks the base record that every log begins with.
//! - Large pages go to files that are never synced: records are bounded, see [`super::limits`].
//! - It panics on some damage: calls into it are caught and become errors.
//!
//! Keys: `b` is the base record (JSON), `e` and a big-endian position the block that begins there.

use std::{
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use infernet_state::types::{Hash, Seq};
use serde::{Deserialize, Serialize};
use sled::{Batch, Db, IVec};

use super::{
    Head, LogError,
    block::{Block, PackAt},
    limits::SEGMENT_BYTES,
    volume::{storage, sync_dir},
};

/// Where a log begins, and with what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Base {
    /// The head before its first event; zero for a log from the beginning.
    pub(crate) head: Head,
    /// Where the packs ended there.
    pub(crate) packs: PackAt,
    /// The snapshot that stands for everything before, in the file `snapshot` of the directory.
    pub(crate) snapshot: Option<SnapshotRef>,
}

/// A snapshot that has become a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotRef {
    /// Digest of the machine's state.
    pub(crate) digest: Hash,
    /// SHA-256 of the file.
    pub(crate) sha256: Hash,
    /// Length of the file.
    pub(crate) len: u64,
}

/// The base record as JSON.
#[derive(Serialize, Deserialize)]
struct BaseRecord {
    seq: u64,
    hash: Hash,
    pack: u32,
    pack_offset: u64,
    snapshot: Option<SnapshotRef>,
}

/// Key of the base record.
const BASE_KEY: &[u8] = b"b";

/// First byte of a block's key.
const BLOCK_KEY: u8 = b'e';

/// Name of sled's database file.
const DB_FILE: &str = "db";

/// An open database.
#[derive(Debug)]
pub(crate) struct Store {
    db: Db,
    /// Our own descriptor of sled's file.
    file: File,
    path: PathBuf,
    base: Base,
}

impl Store {
    /// Makes an empty log in a new directory, durably.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn create(path: &Path, base: Base, cache_bytes: u64) -> Result<Self, LogError> {
        let parent = path.parent().unwrap_or(path);
        fs::create_dir_all(path)
            .and_then(|()| sync_dir(parent))
            .map_err(storage("create", path.display()))?;
        let db = open_sled(path, cache_bytes)?;
        let record = BaseRecord {
            seq: base.head.seq.0,
            hash: base.head.hash,
            pack: base.packs.pack,
            pack_offset: base.packs.offset,
            snapshot: base.snapshot,
        };
        let bytes = serde_json::to_vec(&record).map_err(|error| unreadable(path, error))?;
        guarded(path, || db.insert(BASE_KEY, bytes))?;
        let file = File::open(path.join(DB_FILE)).map_err(storage("open", path.display()))?;
        let store = Self {
            db,
            file,
            path: path.to_owned(),
            base,
        };
        store.sync()?;
        sync_tree(path).map_err(storage("sync", path.display()))?;
        Ok(store)
    }

    /// Opens a log that [`Store::create`] made, and syncs what a crash may have left unsynced.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn open(path: &Path, cache_bytes: u64) -> Result<Self, LogError> {
        let file = match File::open(path.join(DB_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(unreadable(path, "its database file is missing"));
            }
            Err(error) => return Err(storage("open", path.display())(error)),
        };
        remove_leftovers(path).map_err(storage("remove left-overs in", path.display()))?;
        file.sync_all()
            .and_then(|()| sync_tree(path))
            .map_err(storage("sync", path.display()))?;
        let db = open_sled(path, cache_bytes)?;
        let Some(bytes) = guarded(path, || db.get(BASE_KEY))? else {
            return Err(unreadable(path, "its first record is missing"));
        };
        let record: BaseRecord =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(path, error))?;
        let base = Base {
            head: Head {
                seq: Seq(record.seq),
                hash: record.hash,
            },
            packs: PackAt {
                pack: record.pack,
                offset: record.pack_offset,
            },
            snapshot: record.snapshot,
        };
        let store = Self {
            db,
            file,
            path: path.to_owned(),
            base,
        };
        // Opening writes: sled cuts its tail and renames its own snapshot.
        store.sync()?;
        sync_tree(path).map_err(storage("sync", path.display()))?;
        Ok(store)
    }

    /// Where the log begins.
    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Stores the blocks of one commit as one atomic, durable step.
    ///
    /// # Errors
    /// [`LogError`]; nothing may be assumed about the commit.
    pub(crate) fn commit(&self, blocks: Vec<(Head, Vec<u8>)>) -> Result<(), LogError> {
        let mut batch = Batch::default();
        for (before, bytes) in blocks {
            batch.insert(key(Seq(before.seq.0 + 1)).as_slice(), bytes);
        }
        guarded(&self.path, || self.db.apply_batch(batch))?;
        self.sync()
    }

    /// Replaces a block by one of the same length, durably.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn replace(&self, first: Seq, bytes: Vec<u8>) -> Result<(), LogError> {
        guarded(&self.path, || self.db.insert(key(first), bytes))?;
        self.sync()
    }

    /// The block that holds `seq`, or the last one before it; `None` when there is none.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn block_at(&self, seq: Seq) -> Result<Option<IVec>, LogError> {
        let range = key(Seq(0))..=key(seq);
        let found = guarded(&self.path, || self.db.range(range).next_back().transpose())?;
        Ok(found.map(|(_, block)| block))
    }

    /// The blocks that begin at `from` or behind it, in order.
    pub(crate) fn blocks_from(
        &self,
        from: Seq,
    ) -> impl DoubleEndedIterator<Item = Result<IVec, LogError>> {
        self.db.range(key(from)..[BLOCK_KEY + 1; 9]).map(|item| {
            item.map(|(_, block)| block)
                .map_err(|error| sled_error(&self.path, error))
        })
    }

    /// Checks the blocks at the end of the log and their chain; returns the last head, and
    /// where the packs end.
    ///
    /// # Errors
    /// [`LogError::Damaged`].
    pub(crate) fn tail(&self, blocks: usize) -> Result<(Head, PackAt), LogError> {
        let mut newest: Option<(Head, PackAt)> = None;
        let mut expected: Option<Head> = None;
        let mut reached_base = true;
        let mut seen = 0;
        for bytes in guarded(&self.path, || {
            Ok(self
                .blocks_from(Seq(0))
                .rev()
                .take(blocks)
                .collect::<Vec<_>>())
        })? {
            let bytes = bytes?;
            let end = expected.map_or(Seq(u64::MAX), |head| head.seq);
            let block = parse(&bytes, end)?;
            block.check().map_err(|error| damaged(block.first, error))?;
            match expected {
                None if !block.ends_commit => {
                    return Err(damaged(block.last(), "the last commit is incomplete"));
                }
                None => newest = Some((block.head(), block.packs)),
                Some(head) if head != block.head() => {
                    return Err(damaged(head.seq, "the chain is broken behind it"));
                }
                Some(_) => {}
            }
            expected = Some(block.head_before());
            seen += 1;
            reached_base = seen < blocks;
        }
        if let Some(head) = expected
            && reached_base
            && head != self.base.head
        {
            return Err(damaged(
                head.seq,
                "the chain does not reach the log's beginning",
            ));
        }
        Ok(newest.unwrap_or((self.base.head, self.base.packs)))
    }

    /// sled's flush, then `fdatasync` on its file.
    fn sync(&self) -> Result<(), LogError> {
        guarded(&self.path, || self.db.flush())?;
        self.file
            .sync_data()
            .map_err(storage("sync", self.path.display()))
    }
}

/// Checks head and checksum of stored bytes; `near` names the place in the error.
pub(crate) fn parse(bytes: &[u8], near: Seq) -> Result<Block<'_>, LogError> {
    match Block::parse(bytes) {
        Ok((block, len)) if len == bytes.len() => Ok(block),
        Ok(_) => Err(damaged(near, "bytes behind the block")),
        Err(error) => Err(damaged(near, error)),
    }
}

/// [`LogError::Damaged`].
pub(crate) fn damaged(seq: Seq, reason: impl ToString) -> LogError {
    LogError::Damaged {
        seq,
        reason: reason.to_string(),
    }
}

/// [`LogError::Unreadable`].
pub(crate) fn unreadable(path: &Path, reason: impl ToString) -> LogError {
    LogError::Unreadable {
        directory: path.display().to_string(),
        reason: reason.to_string(),
    }
}

/// The key of the block that begins at a position.
fn key(first: Seq) -> [u8; 9] {
    let mut key = [BLOCK_KEY; 9];
    key[1..].copy_from_slice(&first.0.to_be_bytes());
    key
}

/// Opens sled without its background thread: this log decides when to flush.
fn open_sled(path: &Path, cache_bytes: u64) -> Result<Db, LogError> {
    let config = sled::Config::default()
        .path(path)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(cache_bytes)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    guarded(path, || config.open())
}

/// Calls into sled; its errors and panics become ours.
fn guarded<T>(path: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, LogError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| sled_error(path, error)),
        Err(panic) => {
            let said = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(unreadable(path, format!("sled gave up: {said}")))
        }
    }
}

/// An error of the system is storage that failed; everything else is damage.
fn sled_error(path: &Path, error: sled::Error) -> LogError {
    match error {
        sled::Error::Io(error) if error.raw_os_error().is_some() => {
            storage("use", path.display())(error)
        }
        error => unreadable(path, error),
    }
}

/// Removes sled's unfinished snapshots.
fn remove_leftovers(path: &Path) -> io::Result<()> {
    for entry in path.read_dir()? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Syncs every file and the names of a sled directory.
fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in path.read_dir()? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() {
            File::open(entry.path())?.sync_all()?;
        } else if kind.is_dir() {
            sync_dir(&entry.path())?;
        }
    }
    sync_dir(path)
}
