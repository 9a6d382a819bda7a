//! Files by name, so that packs and block files run on a real directory and on a simulated disk.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::LogError;

/// A flat directory of files.
pub trait Volume: std::fmt::Debug + Send + Sync + 'static {
    /// An open file.
    type File: VolumeFile;

    /// Opens a file for reading and writing; creates it when asked to.
    ///
    /// # Errors
    /// Of the system; [`io::ErrorKind::NotFound`] when it does not exist and `create` is false.
    fn open(&self, name: &str, create: bool) -> io::Result<Self::File>;

    /// The names of all files, in order.
    ///
    /// # Errors
    /// Of the system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Removes a file.
    ///
    /// # Errors
    /// Of the system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names of created and removed files durable.
    ///
    /// # Errors
    /// Of the system.
    fn sync_names(&self) -> io::Result<()>;

    /// What to call the volume in an error.
    fn name(&self) -> String;
}

/// A file of a [`Volume`]; positions and lengths in bytes.
pub trait VolumeFile: std::fmt::Debug + Send + Sync + 'static {
    /// Its length.
    ///
    /// # Errors
    /// Of the system.
    fn length(&self) -> io::Result<u64>;

    /// Fills `bytes` from `at` on.
    ///
    /// # Errors
    /// Of the system; [`io::ErrorKind::UnexpectedEof`] behind the end.
    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes all `bytes` at `at`.
    ///
    /// # Errors
    /// Of the system; any part may have been written.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or extends it.
    ///
    /// # Errors
    /// Of the system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Gives the space of all its bytes back where that can be done in one step: they then read as
    /// zeroes, and the length is never another one, for no reader and after no crash.
    ///
    /// # Errors
    /// Of the system.
    fn clear(&self) -> io::Result<()> {
        Ok(())
    }

    /// Makes contents and length durable.
    ///
    /// # Errors
    /// Of the system; never to be retried.
    fn sync(&self) -> io::Result<()>;
}

/// A real directory.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    writable: bool,
}

impl Directory {
    /// A directory that exists.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            writable: true,
        }
    }

    /// A directory that is only read, and may be missing: then nothing is in it.
    #[must_use]
    pub fn to_read(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            writable: false,
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Volume for Directory {
    type File = File;

    fn open(&self, name: &str, create: bool) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(self.writable)
            .create(create && self.writable)
            .truncate(false)
            .open(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        if !self.writable && !self.path.exists() {
            return Ok(names);
        }
        for entry in self.path.read_dir()? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_dir(&self.path)
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

impl VolumeFile for File {
    fn length(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, at)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    #[cfg(target_os = "linux")]
    fn clear(&self) -> io::Result<()> {
        use rustix::{
            fs::{FallocateFlags, fallocate},
            io::Errno,
        };

        let len = self.length()?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(self, hole, 0, len) {
            // A file system without holes, or nothing to make one in.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            made => Ok(made?),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// Of the system.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Creates a directory with those above it, and makes the names of those that it creates durable,
/// and its own in any case, unless it is there already in one that this process may not read.
///
/// # Errors
/// Of the system.
pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
    let parent = parent_of(path);
    let there = path.is_dir();
    if !there {
        if !parent.is_dir() {
            create_dir_all(parent)?;
        }
        match std::fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            created => created?,
        }
    }
    match sync_dir(parent) {
        Err(error) if there && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// The directory that holds a path's name.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Turns an error of the system into [`LogError::Storage`].
pub(crate) fn storage(
    action: &'static str,
    place: impl ToString,
) -> impl FnOnce(io::Error) -> LogError {
    move |error| LogError::Storage {
        action,
        reason: format!("{}: {error}", place.to_string()),
    }
}
