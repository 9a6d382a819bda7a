//! A log that is looked at, and left exactly as it is.
//!
//! sled writes when it opens: it cuts its tail off and renames its own files. So what is opened
//! is a copy of the current database in the system's temporary directory, removed with the last
//! reader; archives, packs and snapshots are read where they stand. The checks are those of
//! [`SledLog::open`](super::SledLog::open): what a node would refuse is refused here too.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
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

/// A directory that is removed when it is no longer needed.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Copies a database into the system's temporary directory.
    fn copy(database: &Path) -> Result<Self, LogError> {
        let parent = std::env::temp_dir();
        let needed = tree_bytes(database)?;
        let free = free_bytes(&parent)?;
        if free < needed {
            return Err(LogError::NoScratch {
                directory: parent.display().to_string(),
                free,
                needed,
            });
        }
        let scratch = Self(parent.join(format!("infernet-look-{:016x}", rand::random::<u64>())));
        // What the data directory's permissions hide must not show in the copy.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&scratch.0)
            .and_then(|()| preserve::copy(database, &scratch.database()))
            .map_err(storage("copy", database.display()))?;
        Ok(scratch)
    }

    /// Where the copy is.
    fn database(&self) -> PathBuf {
        self.0.join("log")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clear away.
        let _ = fs::remove_dir_all(&self.0);
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
        // An opening that did not come to an end may have changed the database itself.
        let before = preserve::whole(&current)?;
        let database = before.as_ref().unwrap_or(&current);
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
