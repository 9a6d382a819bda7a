//! A copy of a sled database while it is being opened.
//!
//! sled repairs what it opens: behind the first message that it cannot read it overwrites the
//! file with zeroes, even where everything behind is intact. So an attempt to open a damaged log
//! would destroy what [`super::Salvage`] could still read. The copy is put back when the log is
//! refused, and thrown away, mostly before it ever reaches the disk, when it is not.
//!
//! `log/<N>.copying` while it is made, `log/<N>.before` once it is whole, `log/<N>.discard`
//! while it is removed. A whole one found at start means that an earlier opening did not come to
//! an end, so that nothing was acknowledged since: it is put back first. The copy is not synced,
//! so that after a power cut its name may be there without its bytes: it counts as whole only if
//! its files are those that it lists with their checksums, and the database itself stays where
//! they are not.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    LogError,
    directory::free_bytes,
    volume::{storage, sync_dir},
};
use crate::crash;

/// Name of the list of what is in a copy.
const LIST: &str = "preserved.json";

/// What is copied at once, in bytes.
const CHUNK_BYTES: usize = 1024 * 1024;

/// A database with a copy beside it.
#[derive(Debug)]
pub(crate) struct Preserved {
    database: PathBuf,
    before: PathBuf,
}

/// A file of a copy, by its path in it.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Copied {
    path: PathBuf,
    len: u64,
    crc32: u32,
}

/// The copy of a database, if there is one and it is whole.
///
/// # Errors
/// [`LogError::Storage`].
pub(crate) fn whole(database: &Path) -> Result<Option<PathBuf>, LogError> {
    let before = database.with_extension("before");
    let whole = is_whole(&before).map_err(storage("read", before.display()))?;
    Ok(whole.then_some(before))
}

impl Preserved {
    /// Makes the copy; `None` when there is no space for one: then the log is opened without.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn make(database: &Path, free_floor_bytes: u64) -> Result<Option<Self>, LogError> {
        let preserved = Self {
            database: database.to_owned(),
            before: database.with_extension("before"),
        };
        let failed = || storage("copy", database.display());
        let copying = database.with_extension("copying");
        remove(&copying)
            .and_then(|()| remove(&database.with_extension("discard")))
            .map_err(failed())?;
        if whole(database)?.is_some() {
            preserved.put_back().map_err(failed())?;
        } else if database.exists() {
            // Cut off before it reached the disk.
            remove(&preserved.before).map_err(failed())?;
        }
        let size = super::retention::tree_bytes(database)?;
        if free_bytes(database)? < size.saturating_add(free_floor_bytes) {
            return Ok(None);
        }
        let list = || {
            let mut list = Vec::new();
            copy_listed(database, &copying, Path::new(""), &mut list)?;
            fs::write(copying.join(LIST), serde_json::to_vec(&list)?)
        };
        list().map_err(failed())?;
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

    /// The copy becomes the database; as long as it is not, it stays whole, on the disk too.
    fn put_back(&self) -> io::Result<()> {
        let logs = self.database.parent().unwrap_or(&self.database);
        sync_all(&self.before)?;
        sync_dir(logs)?;
        remove(&self.database)?;
        fs::rename(&self.before, &self.database)?;
        sync_dir(logs)?;
        fs::remove_file(self.database.join(LIST))
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
    copy_listed(from, to, Path::new(""), &mut Vec::new())
}

/// Copies a directory, and lists its files; `under` is where it stands in the whole copy.
fn copy_listed(from: &Path, to: &Path, under: &Path, list: &mut Vec<Copied>) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in from.read_dir()? {
        let entry = entry?;
        let (target, path) = (to.join(entry.file_name()), under.join(entry.file_name()));
        if path == Path::new(LIST) {
            // Of a copy that was put back.
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy_listed(&entry.path(), &target, &path, list)?;
        } else {
            let mut file = File::create_new(target)?;
            file.set_permissions(entry.metadata()?.permissions())?;
            let (len, crc32) = read_through(&entry.path(), |bytes| file.write_all(bytes))?;
            list.push(Copied { path, len, crc32 });
        }
    }
    Ok(())
}

/// Whether a directory holds what its list says.
fn is_whole(copy: &Path) -> io::Result<bool> {
    let list = match fs::read(copy.join(LIST)) {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let Ok(list) = serde_json::from_slice::<Vec<Copied>>(&list) else {
        return Ok(false);
    };
    for file in list {
        match read_through(&copy.join(&file.path), |_| Ok(())) {
            Ok(found) if found == (file.len, file.crc32) => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Reads a file from end to end: its length and CRC-32.
fn read_through(
    path: &Path,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut len, mut crc) = (0, crc32fast::Hasher::new());
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((len, crc.finalize()));
        }
        len += read as u64;
        crc.update(&buffer[..read]);
        each(&buffer[..read])?;
    }
}

/// Syncs a directory with everything below it.
fn sync_all(path: &Path) -> io::Result<()> {
    for entry in path.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_dir(path)
}
