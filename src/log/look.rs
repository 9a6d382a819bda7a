//! A log that is looked at, and left exactly as it is.
//!
//! sled writes when it opens: it cuts its tail off and renames its own files. So what is opened
//! is a copy of the current database in the system's temporary directory, removed with the last
//! reader; archives, packs and snapshots are read where they stand. The checks are those of
//! [`SledLog::open`](super::SledLog::open): what a node would refuse is refused here too.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    LogError,
    archive::list,
    directory::{Witness, free_bytes, holds_no_log, lock_to_read, read_description},
    limits::{CACHE_BYTES, TAIL_BLOCKS_CHECKED},
    pack::Packs,
    preserve,
    retention::tree_bytes,
    sled::{SledReader, check_witness, leading_up},
    store::Store,
    view::View,
    volume::{Directory, storage},
};

/// The beginning of a copy's name.
const SCRATCH: &str = "infernet-look-";

/// A directory that is removed when it is no longer needed; by the next one that is made if the
/// process is killed before.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    /// The directory itself, locked: somebody needs it.
    _lock: File,
}

impl Scratch {
    /// Copies a database into the system's temporary directory.
    fn copy(database: &Path) -> Result<Self, LogError> {
        let parent = std::env::temp_dir();
        clear_stale(&parent);
        let needed = tree_bytes(database)?;
        let free = free_bytes(&parent)?;
        if free < needed {
            return Err(LogError::NoScratch {
                directory: parent.display().to_string(),
                free,
                needed,
            });
        }
        let scratch = Self::make(&parent).map_err(storage("copy", database.display()))?;
        preserve::copy(database, &scratch.database())
            .map_err(storage("copy", database.display()))?;
        Ok(scratch)
    }

    /// Makes a directory that nobody else removes.
    fn make(parent: &Path) -> io::Result<Self> {
        loop {
            let path = parent.join(format!("{SCRATCH}{:016x}", rand::random::<u64>()));
            // What the data directory's permissions hide must not show in the copy.
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            // Until it is locked, somebody else may take it for one of a process that is gone.
            if let Ok(lock) = File::open(&path)
                && lock.try_lock().is_ok()
                && path.exists()
            {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    /// Where the copy is.
    fn database(&self) -> PathBuf {
        self.path.join("log")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clear away.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes the copies of this user's processes that were killed. What cannot be removed is the
/// system's to clear away.
fn clear_stale(parent: &Path) {
    let user = rustix::process::geteuid().as_raw();
    for entry in parent.read_dir().into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(SCRATCH)
            && entry
                .metadata()
                .is_ok_and(|found| found.is_dir() && found.uid() == user);
        if ours
            && let Ok(lock) = File::open(entry.path())
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl SledReader {
    /// Opens the log of a data directory that no process holds, to read it. Nothing in the
    /// directory changes.
    ///
    /// # Errors
    /// [`LogError`], as [`SledLog::open`](super::SledLog::open); [`LogError::NoScratch`] when
    /// there is no space for the copy.
    pub fn look(path: &Path) -> Result<Self, LogError> {
        if !path.is_dir() {
            return Err(holds_no_log(path));
        }
        // First of all: a node that ends in the middle of a roll has another log behind it.
        let lock = lock_to_read(path)?;
        let Some(description) = read_description(path)? else {
            return Err(holds_no_log(path));
        };
        let Some(name) = description.log else {
            return Err(holds_no_log(path));
        };
        let current = path.join("log").join(name);
        let database = preserve::to_open(&current)?;
        let database = database.as_path();
        if !database.exists() {
            return Err(super::store::unreadable(
                database,
                "its database file is missing",
            ));
        }
        let scratch = Scratch::copy(database)?;
        let copy = scratch.database();
        let look = || {
            let store = Store::open_copy(&copy, CACHE_BYTES)?;
            let extent = store.extent(TAIL_BLOCKS_CHECKED)?;
            if let Some(seen) = Witness::seen(path)? {
                check_witness(&store, extent, seen)?;
            }
            let (archives, _) = leading_up(list(&path.join("archives"))?, store.base().head.seq)?;
            let packs = Packs::open_to_read(Directory::to_read(path.join("packs")))?;
            packs.reach(extent.packs)?;
            let view = View {
                store: Arc::new(store),
                extent,
                archives: Arc::new(archives),
            };
            Ok((view, packs))
        };
        let (view, packs) = look().map_err(|error| rename(error, &copy, database))?;
        let whose = (path.to_owned(), description.identity);
        Ok(Self::looking(view, packs, whose, lock, scratch))
    }
}

/// An error that names the copy, naming what was copied.
fn rename(error: LogError, copy: &Path, original: &Path) -> LogError {
    let (copy, original) = (copy.display().to_string(), original.display().to_string());
    let fix = |text: String| text.replace(&copy, &original);
    match error {
        LogError::Unreadable { directory, reason } => LogError::Unreadable {
            directory: fix(directory),
            reason: fix(reason),
        },
        LogError::Lost {
            directory,
            found,
            acknowledged,
            reason,
        } => LogError::Lost {
            directory: fix(directory),
            found,
            acknowledged,
            reason,
        },
        LogError::Storage { action, reason } => LogError::Storage {
            action,
            reason: fix(reason),
        },
        LogError::Damaged { seq, reason } => LogError::Damaged {
            seq,
            reason: fix(reason),
        },
        other => other,
    }
}
