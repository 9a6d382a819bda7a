//! A copy of a sled database while it is being opened.
//!
//! sled repairs what it opens: behind the first message that it cannot read it overwrites the
//! file with zeroes, even where everything behind is intact. So an attempt to open a damaged log
//! would destroy what [`super::Salvage`] could still read. The copy is put back when the log is
//! refused, and thrown away when it is not.
//!
//! `log/<N>.copying` while it is made, `log/<N>.before` once it is whole and durable,
//! `log/<N>.discard` while it is removed. A whole one found at start means that an earlier opening
//! did not come to an end, so that nothing was acknowledged since: it is put back first. The name
//! alone does not make it whole: a file in it says what every other one was. A copy that is not
//! what it says is set aside as `log/<N>.torn`, and goes when the log has opened without it. Only
//! where the database has no file any more such a copy takes its place: then it is all there is.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    LogError,
    directory::free_bytes,
    snapshot::BASE_FILE,
    store::DB_FILE,
    volume::{storage, sync_dir},
};
use crate::crash;

/// The file of a copy that says what all others in it were when they were copied.
const SUMS: &str = "preserved.json";

/// The extension of a copy while it is made.
const COPYING: &str = "copying";

/// The extension of a copy while it is removed.
const DISCARD: &str = "discard";

/// What is read at once, in bytes.
const CHUNK_BYTES: usize = 1024 * 1024;

/// What a file of a database was.
#[derive(Serialize, Deserialize)]
struct Sum {
    /// Below the database's directory.
    name: PathBuf,
    len: u64,
    /// None for one that is not a copy but the file itself, under a second name.
    crc32: Option<u32>,
}

/// A database with a copy beside it.
#[derive(Debug)]
pub(crate) struct Preserved {
    database: PathBuf,
    before: PathBuf,
}

/// Where the copy of a database stands.
fn before(database: &Path) -> PathBuf {
    database.with_extension("before")
}

/// Where a copy goes that is not what was copied.
fn torn(database: &Path) -> PathBuf {
    database.with_extension("torn")
}

/// What is to be opened of a database: an opening that did not come to an end may have changed
/// the database itself, or removed it to put a copy back that does not say what it is.
///
/// # Errors
/// [`LogError::Storage`].
pub(crate) fn to_open(database: &Path) -> Result<PathBuf, LogError> {
    let before = before(database);
    if is_whole(&before).map_err(storage("read", before.display()))? {
        return Ok(before);
    }
    let mut versions = [database.to_owned(), before, torn(database)].into_iter();
    Ok(versions
        .find(|version| has_file(version))
        .unwrap_or_else(|| database.to_owned()))
}

/// Where there is something of a database, the best place first.
pub(crate) fn places(database: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    for place in [
        to_open(database).unwrap_or_else(|_| before(database)),
        database.to_owned(),
        before(database),
        torn(database),
    ] {
        if has_file(&place) && !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// Removes the copies under `log/` whose making or removal did not come to an end.
///
/// # Errors
/// [`LogError::Storage`].
pub(crate) fn clear_leftovers(logs: &Path) -> Result<(), LogError> {
    let list = || -> io::Result<Vec<_>> { logs.read_dir()?.collect() };
    let entries = match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(storage("list", logs.display()))?,
    };
    for path in entries.into_iter().map(|entry| entry.path()) {
        let extension = path.extension();
        if extension.is_some_and(|extension| extension == COPYING || extension == DISCARD) {
            remove(&path).map_err(storage("remove", path.display()))?;
        }
    }
    Ok(())
}

/// Removes the copy that was set aside: the log has opened without it.
///
/// # Errors
/// [`LogError::Storage`].
pub(crate) fn discard_torn(database: &Path) -> Result<(), LogError> {
    let torn = torn(database);
    remove(&torn).map_err(storage("remove", torn.display()))
}

/// Whether there is a database's file in a directory.
fn has_file(path: &Path) -> bool {
    path.join(DB_FILE).exists()
}

impl Preserved {
    /// Makes the copy; `None` when there is nothing to copy, or no space for it: then the log is
    /// opened without.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn make(database: &Path, free_floor_bytes: u64) -> Result<Option<Self>, LogError> {
        let preserved = Self {
            database: database.to_owned(),
            before: before(database),
        };
        let failed = || storage("copy", database.display());
        let logs = database.parent().unwrap_or(database);
        let copying = database.with_extension(COPYING);
        let found = to_open(database)?;
        if found != database {
            put_in_place(&found, database).map_err(failed())?;
        }
        if preserved.before.exists() {
            let torn = torn(database);
            tracing::warn!(copy = %torn.display(), "the copy of the database is not what was copied; it is set aside");
            remove(&torn)
                .and_then(|()| fs::rename(&preserved.before, &torn))
                .map_err(failed())?;
        }
        if !has_file(database) {
            return Ok(None);
        }
        let size = super::retention::tree_bytes(database)?;
        if free_bytes(database)? < size.saturating_add(free_floor_bytes) {
            return Ok(None);
        }
        copy_whole(database, &copying).map_err(failed())?;
        crash::point("open.copied");
        // Its name is what makes the next start put it back: it comes when all else is durable,
        // and is durable before the database is touched.
        fs::rename(&copying, &preserved.before)
            .and_then(|()| sync_dir(logs))
            .map_err(failed())?;
        crash::point("open.preserved");
        Ok(Some(preserved))
    }

    /// Throws the copy away, durably: from then on the database moves on.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn discard(self) -> Result<(), LogError> {
        let discard = self.database.with_extension(DISCARD);
        let logs = self.database.parent().unwrap_or(&self.database);
        let failed = || storage("remove", discard.display());
        fs::rename(&self.before, &discard)
            .and_then(|()| sync_dir(logs))
            .map_err(failed())?;
        crash::point("open.discarding");
        remove(&discard).map_err(failed())?;
        discard_torn(&self.database)?;
        crash::point("open.discarded");
        Ok(())
    }

    /// Puts the copy in the place of the database. The database must be closed, and the directory
    /// still locked. Where this fails the copy stays, and the next start tries again.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn restore(self) -> Result<(), LogError> {
        self.put_back()
            .map_err(storage("restore", self.database.display()))
    }

    /// The copy becomes the database; as long as it is not, it stays whole.
    fn put_back(&self) -> io::Result<()> {
        if !is_whole(&self.before)? {
            return Err(io::Error::other("the copy is not what was copied"));
        }
        put_in_place(&self.before, &self.database)
    }
}

/// A copy becomes the database.
fn put_in_place(copy: &Path, database: &Path) -> io::Result<()> {
    remove(database)?;
    fs::rename(copy, database)?;
    match fs::remove_file(database.join(SUMS)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sync_dir(database.parent().unwrap_or(database))
}

/// Copies a database, with a file that says what it was; all of it is durable. The snapshot that
/// a log begins with is never changed, and says itself what it is: it only gets a second name,
/// where the file system has such.
fn copy_whole(from: &Path, to: &Path) -> io::Result<()> {
    make_directories(from, to)?;
    let mut sums = Vec::new();
    for path in files(from)? {
        let name = path.strip_prefix(from).unwrap_or(&path).to_owned();
        // Of a copy that was put back.
        if name == Path::new(SUMS) {
            continue;
        }
        if name == Path::new(BASE_FILE) && fs::hard_link(&path, to.join(&name)).is_ok() {
            let len = path.metadata()?.len();
            let crc32 = None;
            sums.push(Sum { name, len, crc32 });
            continue;
        }
        let mut copied = File::create_new(to.join(&name))?;
        copied.set_permissions(path.metadata()?.permissions())?;
        let (len, crc32) = read_through(&path, |bytes| copied.write_all(bytes))?;
        let crc32 = Some(crc32);
        sums.push(Sum { name, len, crc32 });
    }
    fs::write(to.join(SUMS), serde_json::to_vec(&sums)?)?;
    sync_all(to)
}

/// Makes a directory with all those that are in another one.
fn make_directories(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in from.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_directories(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Whether a copy is there and what it says that it is.
fn is_whole(copy: &Path) -> io::Result<bool> {
    let said = match fs::read(copy.join(SUMS)) {
        Ok(said) => said,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let Ok(said) = serde_json::from_slice::<Vec<Sum>>(&said) else {
        return Ok(false);
    };
    let mut names = said
        .iter()
        .map(|sum| copy.join(&sum.name))
        .collect::<Vec<_>>();
    names.push(copy.join(SUMS));
    names.sort();
    let mut found = files(copy)?;
    found.sort();
    if names != found {
        return Ok(false);
    }
    for Sum { name, len, crc32 } in said {
        let path = copy.join(name);
        let fits = match crc32 {
            Some(crc32) => read_through(&path, |_| Ok(()))? == (len, crc32),
            None => path.metadata()?.len() == len,
        };
        if !fits {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads a file to its end: its length and CRC-32.
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

/// All files below a directory.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in path.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Makes all files and names below a directory durable.
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
