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
//! - A leaf of more than 16 records is split, and both halves are written again; so is one that was
//!   changed more than nine times since. A log that only grows writes everything three times. So
//!   the keys of the next blocks are inserted ahead, with empty values and in their order, while
//!   splitting their leaves costs nothing: it leaves nine places in each. A block then takes the
//!   place of an empty value, and is written once.
//! - A batch costs a write and a wait of its own, for the record that says where the batch ends;
//!   and it writes in no particular order. So the blocks of a commit are inserted one by one: sled
//!   recovers what was written up to some point, in the order of writing, and the last block of a
//!   commit says that it is the last. Blocks at the end of the log without it are of a commit that
//!   was never acknowledged, and are taken away when the log is opened.
//!
//! Keys: `b` is the base record (JSON); `e` and a big-endian number, counted from 1 without gaps,
//! a block, or nothing yet.

use std::{
    fs::{self, File, OpenOptions},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use infernet_state::types::{Hash, Seq};
use serde::{Deserialize, Serialize};
use sled::{Db, IVec};

use super::{
    Head, LogError,
    block::{Block, PackAt},
    commit::Commit,
    limits::SEGMENT_BYTES,
    room::Room,
    volume::{storage, sync_dir},
};
use crate::crash;

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

/// Empty places kept ahead of the blocks: more than a leaf holds, so that no leaf with a block in
/// it is ever split.
const PLACES_AHEAD_MIN: u64 = 24;

/// How many places are made ahead when there are too few.
const PLACES_AHEAD: u64 = 64;

/// What glibc is asked for once, in bytes. It serves requests above a threshold from the kernel,
/// page by page, and raises the threshold to what was once freed; above sled's segment buffers,
/// these are then reused instead of faulted in anew. Halves the time of a batch of 80 KB.
const ALLOCATOR_HINT_BYTES: usize = 3 * SEGMENT_BYTES;

/// Name of sled's database file.
pub(crate) const DB_FILE: &str = "db";

/// An open database.
pub(crate) struct Store {
    db: Db,
    /// Our own descriptor of sled's file.
    file: File,
    room: Room,
    path: PathBuf,
    base: Base,
    /// The block that was found last: the next one sought is likely beside it.
    hint: AtomicU64,
}

/// Without sled's own view, which prints everything that is stored.
impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// How far a log goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Extent {
    /// The newest record.
    pub(crate) head: Head,
    /// Where the packs end.
    pub(crate) packs: PackAt,
    /// Number of the last block; 0 for none.
    pub(crate) blocks: u64,
    /// Number of the last place, with or without a block.
    pub(crate) places: u64,
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
        let file = database_file(path)?;
        let store = Self {
            db,
            file,
            room: Room::default(),
            path: path.to_owned(),
            base,
            hint: AtomicU64::new(1),
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
        let file = database_file(path)?;
        remove_leftovers(path).map_err(storage("remove left-overs in", path.display()))?;
        file.sync_all()
            .and_then(|()| sync_tree(path))
            .map_err(storage("sync", path.display()))?;
        let store = Self::load(path, cache_bytes, file)?;
        // Opening writes: sled cuts its tail and renames its own snapshot.
        store.sync()?;
        sync_tree(path).map_err(storage("sync", path.display()))?;
        Ok(store)
    }

    /// Opens a copy of a log that nobody acknowledges anything from: nothing in it need be
    /// durable.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn open_copy(path: &Path, cache_bytes: u64) -> Result<Self, LogError> {
        let file = database_file(path)?;
        remove_leftovers(path).map_err(storage("remove left-overs in", path.display()))?;
        Self::load(path, cache_bytes, file)
    }

    /// Opens the database itself.
    fn load(path: &Path, cache_bytes: u64, file: File) -> Result<Self, LogError> {
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
        Ok(Self {
            db,
            file,
            room: Room::default(),
            path: path.to_owned(),
            base,
            hint: AtomicU64::new(1),
        })
    }

    /// Where the log begins.
    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Stores the blocks of one commit as one durable step, and returns how far the log then goes.
    /// Of a commit that was interrupted nothing is seen.
    ///
    /// # Errors
    /// [`LogError`]; nothing may be assumed about the commit.
    pub(crate) fn commit(
        &self,
        extent: Extent,
        commit: Commit,
        packs: PackAt,
    ) -> Result<Extent, LogError> {
        let mut after = Extent {
            head: commit.head,
            packs,
            blocks: extent.blocks + commit.blocks.len() as u64,
            places: extent.places,
        };
        if after.places < after.blocks + PLACES_AHEAD_MIN {
            crash::point("store.before-places");
            after.places = after.blocks + PLACES_AHEAD;
            for number in extent.places + 1..=after.places {
                guarded(&self.path, || self.db.insert(key(number), &[] as &[u8]))?;
            }
        }
        crash::point("store.before-blocks");
        for (number, block) in (extent.blocks + 1..).zip(commit.blocks) {
            guarded(&self.path, || self.db.insert(key(number), block))?;
        }
        crash::point("store.after-blocks");
        self.sync()?;
        Ok(after)
    }

    /// Replaces a block by one of the same length, durably.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn replace(&self, number: u64, block: Vec<u8>) -> Result<(), LogError> {
        guarded(&self.path, || self.db.insert(key(number), block))?;
        self.sync()
    }

    /// A block by its number; `near` names the place in an error.
    ///
    /// # Errors
    /// [`LogError::Damaged`] when it is missing.
    pub(crate) fn block(&self, number: u64, near: Seq) -> Result<IVec, LogError> {
        guarded(&self.path, || self.db.get(key(number)))?
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(|| damaged(near, format!("block {number} is missing")))
    }

    /// The block that holds `seq`, with its number; `seq` must be in the log, of which `blocks`
    /// blocks are published.
    ///
    /// # Errors
    /// [`LogError::Damaged`].
    pub(crate) fn find(&self, seq: Seq, blocks: u64) -> Result<(u64, IVec), LogError> {
        let (mut low, mut high) = (1, blocks);
        let mut guess = self.hint.load(Ordering::Relaxed).clamp(1, blocks.max(1));
        // The hint and its successor first, then halves.
        let mut probes = 0;
        while low <= high {
            let bytes = self.block(guess, seq)?;
            let block = parse(&bytes, seq)?;
            if seq < block.first {
                high = guess - 1;
            } else if seq > block.last() {
                low = guess + 1;
            } else {
                self.hint.store(guess, Ordering::Relaxed);
                return Ok((guess, bytes));
            }
            probes += 1;
            guess = if probes == 1 {
                low.min(high)
            } else {
                low + high.saturating_sub(low) / 2
            };
        }
        Err(damaged(seq, "no block holds it"))
    }

    /// The blocks from a number on, in order, to the last place.
    pub(crate) fn blocks_from(
        &self,
        number: u64,
    ) -> impl DoubleEndedIterator<Item = Result<(u64, IVec), LogError>> {
        self.db.range(key(number)..[BLOCK_KEY + 1; 9]).map(|item| {
            item.map(|(key, block)| (number_of(&key), block))
                .map_err(|error| sled_error(&self.path, error))
        })
    }

    /// Checks the blocks at the end of the log and their chain, and says how far it goes.
    ///
    /// # Errors
    /// [`LogError::Damaged`].
    pub(crate) fn extent(&self, checked: u64) -> Result<Extent, LogError> {
        // sled may panic while it reads.
        let tail = caught(&self.path, || self.read_tail(checked))?;
        let mut extent = Extent {
            head: self.base.head,
            packs: self.base.packs,
            blocks: 0,
            places: tail.places,
        };
        let mut after: Option<(u64, Head)> = None;
        for (number, bytes) in tail.blocks {
            let near = after.map_or(Seq(u64::MAX), |(_, head)| head.seq);
            let block = parse(&bytes, near)?;
            block.check().map_err(|error| damaged(block.first, error))?;
            match after {
                None => {
                    extent.head = block.head();
                    extent.packs = block.packs;
                    extent.blocks = number;
                }
                Some((next, head)) if head != block.head() || next != number + 1 => {
                    return Err(damaged(head.seq, "the chain is broken behind it"));
                }
                Some(_) => {}
            }
            after = Some((number, block.head_before()));
        }
        if let Some(begun) = tail.unfinished
            && begun != extent.head
        {
            return Err(damaged(
                extent.head.seq,
                "the commit behind it, which is unfinished, does not follow it",
            ));
        }
        match after {
            Some((1, first)) if first != self.base.head => Err(damaged(
                first.seq,
                "the chain does not reach the log's beginning",
            )),
            Some((number, first)) if number > 1 && number + checked > extent.blocks + 1 => Err(
                damaged(first.seq, format!("block {} is missing", number - 1)),
            ),
            _ => Ok(extent),
        }
    }

    /// The last blocks, newest first, and the number of the last place.
    fn read_tail(&self, checked: u64) -> Result<Tail, LogError> {
        let mut tail = Tail {
            places: 0,
            unfinished: None,
            blocks: Vec::new(),
        };
        for item in self.blocks_from(1).rev() {
            let (number, bytes) = item?;
            tail.places = tail.places.max(number);
            if tail.blocks.is_empty() {
                if bytes.is_empty() {
                    continue;
                }
                let near = tail.unfinished.map_or(Seq(u64::MAX), |head| head.seq);
                let block = parse(&bytes, near)?;
                if !block.ends_commit {
                    tail.unfinished = Some(block.head_before());
                    continue;
                }
            }
            tail.blocks.push((number, bytes));
            if tail.blocks.len() as u64 == checked {
                break;
            }
        }
        Ok(tail)
    }

    /// Takes the blocks behind the log's end away, durably: they are of a commit that was
    /// interrupted. From the last to the first, so that one that is interrupted itself leaves an
    /// unfinished commit.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn cut(&self, extent: Extent) -> Result<(), LogError> {
        let mut cut = false;
        for number in (extent.blocks + 1..=extent.places).rev() {
            let block = guarded(&self.path, || self.db.get(key(number)))?;
            if block.is_some_and(|bytes| !bytes.is_empty()) {
                guarded(&self.path, || self.db.insert(key(number), &[] as &[u8]))?;
                cut = true;
            }
        }
        if cut {
            self.sync()?;
        }
        Ok(())
    }

    /// sled's flush, then `fdatasync` on its file.
    fn sync(&self) -> Result<(), LogError> {
        let written = guarded(&self.path, || self.db.flush())?;
        self.room.advance(&self.file, written as u64);
        crash::point("store.flushed");
        self.file
            .sync_data()
            .map_err(storage("sync", self.path.display()))?;
        crash::point("store.synced");
        Ok(())
    }
}

/// The end of a log as it stands in the store.
struct Tail {
    places: u64,
    /// The head before the first block of a commit that was interrupted.
    unfinished: Option<Head>,
    blocks: Vec<(u64, IVec)>,
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

/// The key of a block.
fn key(number: u64) -> [u8; 9] {
    let mut key = [BLOCK_KEY; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The number in a block's key; 0, which no block has, for a key of another shape.
fn number_of(key: &[u8]) -> u64 {
    key.get(1..)
        .and_then(|number| number.try_into().ok())
        .map_or(0, u64::from_be_bytes)
}

/// Our own descriptor of sled's file.
fn database_file(path: &Path) -> Result<File, LogError> {
    match OpenOptions::new()
        .read(true)
        .write(true)
        .open(path.join(DB_FILE))
    {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(unreadable(path, "its database file is missing"))
        }
        Err(error) => Err(storage("open", path.display())(error)),
    }
}

/// Opens sled without its background thread: this log decides when to flush.
fn open_sled(path: &Path, cache_bytes: u64) -> Result<Db, LogError> {
    let config = sled::Config::default()
        .path(path)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(cache_bytes)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    drop(std::hint::black_box(Vec::<u8>::with_capacity(
        ALLOCATOR_HINT_BYTES,
    )));
    guarded(path, || config.open())
}

/// Calls into sled; its errors and panics become ours.
fn guarded<T>(path: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, LogError> {
    caught(path, || call().map_err(|error| sled_error(path, error)))
}

/// Runs what reads sled; a panic in it becomes an error.
pub(crate) fn caught<T>(
    path: &Path,
    call: impl FnOnce() -> Result<T, LogError>,
) -> Result<T, LogError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(unreadable(path, format!("sled gave up: {said}")))
    })
}

/// An error of the system is storage that failed; everything else is damage.
fn sled_error(path: &Path, error: sled::Error) -> LogError {
    match error {
        sled::Error::Io(error) if is_of_the_system(&error) => storage("use", path.display())(error),
        error => unreadable(path, error),
    }
}

/// Whether the system refused, as opposed to sled finding nonsense. sled passes an error on as
/// its kind and its text, and an error without a kind of its own as its text alone.
fn is_of_the_system(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    error.raw_os_error().is_some()
        || !matches!(
            error.kind(),
            InvalidData | InvalidInput | Other | UnexpectedEof
        )
        || error.to_string().starts_with("Os {")
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
