//! A copy of a sled database while it is being opened.
//!
//! sled repairs what it opens: behind the first message that it cannot read it overwrites the
//! file with zeroes, even where everything behind is intact. So an attempt to open a damaged log
//! would destroy what [`super::Salvage`] could still read. The copy is put back when the log is
//! refused, and thrown away, mostly before it ever reaches the disk, when it is not.
//!
//! `log/<N>.copying` while it is made, `log/<N>.before` once it is whole, `log/<N>.discard`
//! while it is removed. A whole one found at start means that an earlier opening did not come to
//! an end, so that nothing was acknowledged since: it is put back first.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    LogError,
    directory::free_bytes,
    volume::{storage, sync_dir},
};
use crate::crash;

/// A database with a copy beside it.
#[derive(Debug)]
pub(crate) struct Preserved {
    database: PathBuf,
    before: PathBuf,
}

/// Where the whole copy of a database stands.
pub(crate) fn before(database: &Path) -> PathBuf {
    database.with_extension("before")
}

impl Preserved {
    /// Makes the copy; `None` when there is no space for one: then the log is opened without.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn make(database: &Path, free_floor_bytes: u64) -> Result<Option<Self>, LogError> {
        let preserved = Self {
            database: database.to_owned(),
            before: before(database),
        };
        let failed = || storage("copy", database.display());
        let copying = database.with_extension("copying");
        remove(&copying)
            .and_then(|()| remove(&database.with_extension("discard")))
            .map_err(failed())?;
        if preserved.before.exists() {
            preserved.put_back().map_err(failed())?;
        }
        let size = super::retention::tree_bytes(database)?;
        if free_bytes(database)? < size.saturating_add(free_floor_bytes) {
            return Ok(None);
        }
        copy(database, &copying).map_err(failed())?;
        crash::point("open.copied");
        fs::rename(&copying, &preserved.before).map_err(failed())?;
        crash::point("open.preserved");
        Ok(Some(preserved))
    }

    /// Throws the copy away, durably: from then on the database moves on.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn discard(self) -> Result<(), LogError> {
        let discard = self.database.with_extension("discard");
        let logs = self.database.parent().unwrap_or(&self.database);
        let failed = || storage("remove", discard.display());
        fs::rename(&self.before, &discard)
            .and_then(|()| sync_dir(logs))
            .map_err(failed())?;
        crash::point("open.discarding");
        remove(&discard).map_err(failed())?;
        crash::point("open.discarded");
        Ok(())
    }

    /// Puts the copy in the place of the database. The database must be closed. Where this fails
    /// the copy stays, and the next start tries again.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn restore(self) -> Result<(), LogError> {
        self.put_back()
            .map_err(storage("restore", self.database.display()))
    }

    /// The copy becomes the database; as long as it is not, it stays whole.
    fn put_back(&self) -> io::Result<()> {
        remove(&self.database)?;
        fs::rename(&self.before, &self.database)?;
        sync_dir(self.database.parent().unwrap_or(&self.database))
    }
}

/// Removes a directory that may not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Copies a directory.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in from.read_dir()? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
