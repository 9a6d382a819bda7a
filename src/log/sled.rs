//! The log on disk: a sled database, packs beside it, and a directory that knows whose it is.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use infernet_state::types::{PayloadAt, Seq};

use super::{
    Durability, EventLog, Head, LogError, LogReader, Record, Stored,
    archive::{self, Archive},
    block::{self, BlockError, Erased},
    commit::{self, Draft, drafts},
    directory::{DataDir, Options, Witness, log_name},
    file::no_payload,
    limits::TAIL_BLOCKS_CHECKED,
    look::Scratch,
    pack::{PackWriter, Packs},
    preserve::{self, Preserved},
    retention::clear_leftovers,
    snapshot::{Snapshot, write_base},
    store::{Base, Extent, Store, damaged, parse},
    view::{Home, View},
    volume::{Directory, storage, sync_dir},
};
use crate::crash;

/// The log in a data directory. See the module's documentation for the layout.
#[derive(Debug)]
pub struct SledLog {
    shared: Arc<Shared>,
    directory: DataDir,
    writer: PackWriter,
    witness: Witness,
    cache_bytes: u64,
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
pub(super) struct Shared {
    view: RwLock<View>,
    packs: Packs<Directory>,
    /// The data directory.
    root: PathBuf,
    identity: String,
    /// Held by whoever writes or removes archives.
    archiving: Mutex<()>,
    /// Payloads erased so far: a copy that was made meanwhile is not what it should be.
    erasures: AtomicU64,
    /// How often something that readers saw was about to be overwritten or removed.
    removals: AtomicU64,
    /// A reader keeps sled open, so it keeps the directory locked too.
    _lock: Option<Arc<File>>,
    /// Where the database was copied to, if it is only looked at.
    _scratch: Option<Scratch>,
}

impl Shared {
    /// What is published now.
    pub(super) fn view(&self) -> View {
        self.view
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// Shows readers another moment.
    pub(super) fn update(&self, change: impl FnOnce(&mut View)) {
        change(
            &mut self
                .view
                .write()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        );
    }

    /// Waits until nobody else writes or removes archives.
    pub(super) fn archiving(&self) -> MutexGuard<'_, ()> {
        self.archiving
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// As [`Shared::archiving`], without waiting.
    pub(super) fn try_archiving(&self) -> Option<MutexGuard<'_, ()>> {
        match self.archiving.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    /// The packs.
    pub(super) fn packs(&self) -> &Packs<Directory> {
        &self.packs
    }

    /// Payloads erased so far.
    pub(super) fn erasures(&self) -> u64 {
        self.erasures.load(Ordering::SeqCst)
    }

    /// To be called before bytes are overwritten or removed, and behind the publication of a view
    /// that no longer refers to them, see [`SledReader::removals`].
    pub(super) fn removing(&self) {
        self.removals.fetch_add(1, Ordering::SeqCst);
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
        crash::point("open.locked");
        let Some(current) = directory.current() else {
            if !options.create {
                return Err(directory.holds_no_log());
            }
            let store = first_store(&directory, options, None)?;
            crash::point("create.made");
            directory.set_current(&log_name(Seq(0)))?;
            return Self::assemble(directory, store, options);
        };
        let preserved = Preserved::make(&current, options.free_floor_bytes)?;
        // Also when it is refused, the directory is this process's until the copy is back.
        let lock = directory.lock();
        let opened = Store::open(&current, options.cache_bytes)
            .and_then(|store| Self::assemble(directory, store, options));
        crash::point("open.opened");
        match (preserved, &opened) {
            (Some(copy), Ok(_)) => copy.discard()?,
            (Some(copy), Err(_)) => copy.restore()?,
            (None, Ok(_)) => preserve::discard_torn(&current)?,
            (None, Err(_)) => {}
        }
        drop(lock);
        opened
    }

    /// Begins a log that is filled from another one, behind a snapshot if there is one. Until
    /// [`SledLog::complete`] the directory counts as empty.
    ///
    /// # Errors
    /// [`LogError`]; [`LogError::Directory`] when there is a log already.
    pub(super) fn begin(
        path: &Path,
        options: &Options,
        snapshot: Option<&Snapshot>,
    ) -> Result<Self, LogError> {
        let directory = DataDir::open(path, options)?;
        if directory.current().is_some() {
            return Err(LogError::Directory {
                file: path.display().to_string(),
                reason: "there is a log in it already".into(),
            });
        }
        let store = first_store(&directory, options, snapshot)?;
        Self::assemble(directory, store, options)
    }

    /// Makes the directory of [`SledLog::begin`] a log.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(super) fn complete(&mut self) -> Result<(), LogError> {
        let base = self.view().store.base().head.seq;
        self.directory.set_current(&log_name(base))
    }

    /// The log of an open database.
    fn assemble(directory: DataDir, store: Store, options: &Options) -> Result<Self, LogError> {
        let (witness, seen) = Witness::open(directory.path())?;
        let extent = store.extent(TAIL_BLOCKS_CHECKED)?;
        if let Some(seen) = seen {
            check_witness(&store, extent, seen)?;
        }
        store.cut(extent)?;
        let archives = archives(&directory, store.base().head.seq)?;
        if let Some(current) = store.path().file_name() {
            let logs = directory.path().join("log");
            clear_leftovers(&logs, &current.to_string_lossy(), &archives)?;
        }
        let packs = Directory::new(directory.subdirectory("packs")?);
        let (packs, mut writer) = Packs::open(packs, extent.packs)?;
        if extent.packs == store.base().packs {
            // Rolled, and nothing put since.
            writer.close_pack();
        }
        let shared = Shared {
            view: RwLock::new(View {
                store: Arc::new(store),
                extent,
                archives: Arc::new(archives),
            }),
            packs,
            archiving: Mutex::default(),
            erasures: AtomicU64::new(0),
            removals: AtomicU64::new(0),
            root: directory.path().to_owned(),
            identity: directory.identity().to_owned(),
            _lock: Some(directory.lock()),
            _scratch: None,
        };
        Ok(Self {
            shared: Arc::new(shared),
            directory,
            writer,
            witness,
            cache_bytes: options.cache_bytes,
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
        self.check_usable()?;
        let view = self.shared.view();
        let bytes = match view.block(at.seq) {
            Err(LogError::Missing { .. }) => return Err(no_payload(at)),
            found => found?,
        };
        let damage = |error: BlockError| damaged(at.seq, error);
        let entry = parse(&bytes, at.seq)?
            .payload(at.seq, at.payload)
            .map_err(damage)?
            .ok_or_else(|| no_payload(at))?;
        let erased = block::erase(&bytes, at.seq, at.payload)
            .map_err(damage)?
            .ok_or_else(|| no_payload(at))?;
        let result = self.erase_in(&view, at, erased);
        self.fail_on(&result);
        result.map(|()| !entry.erased)
    }

    /// Writes a block without its payload, then overwrites the payload in its pack. In this
    /// order a crash in between leaves bytes that nothing refers to, never a reference to bytes
    /// that are gone; done again, it overwrites them again.
    fn erase_in(&mut self, view: &View, at: PayloadAt, erased: Erased) -> Result<(), LogError> {
        let shared = Arc::clone(&self.shared);
        let _archiving = shared.archiving();
        shared.erasures.fetch_add(1, Ordering::SeqCst);
        crash::point("erase.before-block");
        match view.home(at.seq)? {
            Home::Store(number, _) => view.store.replace(number, erased.block)?,
            Home::Archive(archive) => {
                let rewritten = archive.rewrite(&erased.block)?;
                shared.update(|view| view.replace_archive(&rewritten));
            }
        }
        crash::point("erase.block-replaced");
        shared.removing();
        shared.packs.erase_all(&erased.packs)?;
        crash::point("erase.payload-overwritten");
        Ok(())
    }

    /// What is published now.
    pub(super) fn view(&self) -> View {
        self.shared.view()
    }

    /// What the log, its readers and its keeper share.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The next payload begins a new pack.
    pub(super) fn close_pack(&mut self) {
        self.writer.close_pack();
    }

    /// The data directory.
    pub(super) fn directory(&self) -> &DataDir {
        &self.directory
    }

    /// The data directory, to be changed.
    pub(super) fn directory_mut(&mut self) -> &mut DataDir {
        &mut self.directory
    }

    /// sled's page cache, in bytes.
    pub(super) fn cache_bytes(&self) -> u64 {
        self.cache_bytes
    }

    /// Refuses after a write that failed.
    pub(super) fn check_usable(&self) -> Result<(), LogError> {
        if self.failed {
            return Err(LogError::Failed);
        }
        Ok(())
    }

    /// After a write that failed nothing more is taken.
    pub(super) fn fail_on<T>(&mut self, result: &Result<T, LogError>) {
        self.failed |= result.is_err();
    }

    /// As [`EventLog::append`], also for payloads that were erased elsewhere.
    pub(super) fn append_drafts(&mut self, batch: &[Draft<'_>]) -> Result<Head, LogError> {
        self.check_usable()?;
        let result = self.commit(batch);
        self.fail_on(&result);
        result
    }

    /// The commit itself, without the memory of failures.
    fn commit(&mut self, batch: &[Draft<'_>]) -> Result<Head, LogError> {
        let view = self.shared.view();
        let extent = view.extent;
        let commit = commit::plan(extent.head, batch, &self.shared.packs, &mut self.writer)?;
        if commit.blocks.is_empty() {
            return Ok(extent.head);
        }
        let after = view.store.commit(extent, commit, self.writer.end())?;
        crash::point("log.before-head");
        self.witness.note(after.head)?;
        crash::point("log.after-head");
        self.shared.update(|view| view.extent = after);
        Ok(after.head)
    }
}

impl SledReader {
    /// A reader of a log that was opened to be looked at, see [`super::look`].
    pub(super) fn looking(
        view: View,
        packs: Packs<Directory>,
        (root, identity): (PathBuf, String),
        lock: Option<File>,
        scratch: Scratch,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                view: RwLock::new(view),
                packs,
                archiving: Mutex::default(),
                erasures: AtomicU64::new(0),
                removals: AtomicU64::new(0),
                root,
                identity,
                _lock: lock.map(Arc::new),
                _scratch: Some(scratch),
            }),
        }
    }

    /// Whose log it is.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.shared.identity
    }

    /// The data directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// The first event that is kept, in an archive or in the log.
    #[must_use]
    pub fn first(&self) -> Seq {
        self.shared.view().first()
    }

    /// What is published now.
    pub(super) fn view(&self) -> View {
        self.shared.view()
    }

    /// The packs.
    pub(super) fn packs(&self) -> &Packs<Directory> {
        &self.shared.packs
    }

    /// How often something was erased or dropped. What is read through a view that is taken
    /// behind one look at this number was there, whole, if a look afterwards shows the same.
    pub(super) fn removals(&self) -> u64 {
        self.shared.removals.load(Ordering::SeqCst)
    }

    /// Reads what may be erased or dropped meanwhile, again until it was not.
    pub(super) fn steadily<T>(
        &self,
        mut read: impl FnMut(&View) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        loop {
            let removals = self.removals();
            let found = read(&self.view());
            if removals == self.removals() {
                return found;
            }
        }
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
        self.append_drafts(&drafts(batch))
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
        self.shared.view().read(from, limit)
    }

    fn payload(&self, at: PayloadAt) -> Result<Option<Vec<u8>>, LogError> {
        self.shared.view().payload(at, &self.shared.packs)
    }
}

/// The first database of a directory. What an unfinished first attempt left is removed: nothing
/// was ever acknowledged from it.
fn first_store(
    directory: &DataDir,
    options: &Options,
    snapshot: Option<&Snapshot>,
) -> Result<Store, LogError> {
    let logs = directory.subdirectory("log")?;
    let head = snapshot.map_or(Head::default(), |snapshot| snapshot.head);
    let fresh = logs.join(log_name(head.seq));
    let witness = directory.path().join("HEAD");
    let clear = || {
        fs::remove_dir_all(&logs)?;
        fs::create_dir(&logs)?;
        if witness.exists() {
            fs::remove_file(&witness)?;
        }
        fs::create_dir(&fresh)
    };
    crash::point("create.described");
    clear().map_err(storage("create", fresh.display()))?;
    crash::point("create.cleared");
    let base = Base {
        head,
        snapshot: snapshot
            .map(|snapshot| write_base(&fresh, snapshot))
            .transpose()?,
        ..Base::default()
    };
    let store = Store::create(&fresh, base, options.cache_bytes)?;
    sync_dir(directory.path()).map_err(storage("sync", directory.path().display()))?;
    Ok(store)
}

/// The archives that lead up to the current log; what else is there is removed.
fn archives(directory: &DataDir, base: Seq) -> Result<Vec<Arc<Archive>>, LogError> {
    let path = directory.subdirectory("archives")?;
    archive::clear_unfinished(&path)?;
    let (archives, begun) = leading_up(archive::list(&path)?, base)?;
    begun.iter().try_for_each(|archive| archive.remove())?;
    Ok(archives)
}

/// Archives, oldest first.
type Archives = Vec<Arc<Archive>>;

/// The archives that lead up to a log that begins behind `base`, and those that begin where it
/// begins: they were written for a roll that did not come to pass, the log still holds all of
/// them.
///
/// # Errors
/// [`LogError::Damaged`] when they do not lead up to it.
pub(super) fn leading_up(
    mut archives: Archives,
    base: Seq,
) -> Result<(Archives, Archives), LogError> {
    let kept = archives.partition_point(|archive| archive.first <= base);
    let begun = archives.split_off(kept);
    match archives.last() {
        Some(newest) if newest.last != base => Err(damaged(
            Seq(newest.last.0 + 1),
            format!(
                "the archives end at event {}, the log begins after {base}",
                newest.last
            ),
        )),
        _ => Ok((archives, begun)),
    }
}

/// Holds the log against what the witness saw acknowledged.
///
/// # Errors
/// [`LogError::Lost`].
pub(super) fn check_witness(store: &Store, extent: Extent, seen: Head) -> Result<(), LogError> {
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
