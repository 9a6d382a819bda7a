//! The data directory: who holds it, whose it is, where its parts are.
//!
//! ```text
//! <data-dir>/LOCK       held by the process that has the log open
//! <data-dir>/FORMAT     JSON: format, identity, name of the current log
//! <data-dir>/HEAD       the newest acknowledged position and hash, see [`Witness`]
//! <data-dir>/log/<N>/   sled; <N> is the position after which it begins
//! <data-dir>/packs/     large payloads
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use infernet_state::types::{Hash, Seq};
use serde::{Deserialize, Serialize};

use super::{
    Head, LogError,
    limits::{CACHE_BYTES, FREE_FLOOR_BYTES, IDENTITY_BYTES_MAX, METADATA_BYTES_MAX},
    preserve,
    volume::{create_dir_all, storage, sync_dir},
};
use crate::crash;

/// The format of data directories that this program writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;

/// How a log is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Whose log it is, in words of the node's choice (chain id and coordinator); a directory of
    /// another identity is refused. `None` takes the directory as it is (tools that only read).
    pub identity: Option<String>,
    /// Free space below which the log refuses to open, in bytes.
    pub free_floor_bytes: u64,
    /// sled's page cache, in bytes.
    pub cache_bytes: u64,
    /// Whether a directory without a log becomes an empty log.
    pub create: bool,
}

impl Options {
    /// The defaults, for the log of `identity`.
    #[must_use]
    pub fn new(identity: impl Into<String>) -> Self {
        Self {
            identity: Some(identity.into()),
            free_floor_bytes: FREE_FLOOR_BYTES,
            cache_bytes: CACHE_BYTES,
            create: true,
        }
    }

    /// For a tool that reads an existing log, whosever it is.
    #[must_use]
    pub fn existing() -> Self {
        Self {
            identity: None,
            free_floor_bytes: FREE_FLOOR_BYTES,
            cache_bytes: CACHE_BYTES,
            create: false,
        }
    }
}

/// The file `FORMAT`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Description {
    /// Format of the directory.
    pub(crate) format: u32,
    /// Whose log it is.
    pub(crate) identity: String,
    /// Name of the current log under `log/`; `None` until the first one is complete.
    pub(crate) log: Option<String>,
}

/// A data directory that this process holds.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    description: Description,
    lock: Arc<File>,
}

impl DataDir {
    /// Takes the directory: creates it if asked to, locks it, checks format, identity and space.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self, LogError> {
        let identity_len = options.identity.as_ref().map_or(0, String::len);
        if identity_len > IDENTITY_BYTES_MAX {
            return Err(LogError::TooLarge {
                what: "the identity",
                len: identity_len,
                limit: IDENTITY_BYTES_MAX,
            });
        }
        if options.create {
            create_dir_all(path).map_err(storage("create", path.display()))?;
        } else if !path.join("FORMAT").exists() {
            return Err(holds_no_log(path));
        }
        let lock = lock(path)?;
        let described = read_description(path)?;
        if let Some(expected) = &options.identity
            && let Some(found) = &described
            && *expected != found.identity
        {
            return Err(LogError::Identity {
                directory: path.display().to_string(),
                found: found.identity.clone(),
                expected: expected.clone(),
            });
        }
        // Before the space is measured, which they may be all that is missing of.
        preserve::clear_leftovers(&path.join("log"))?;
        check_space(path, options.free_floor_bytes)?;
        let description = match described {
            Some(description) => description,
            None => begin(path, options)?,
        };
        Ok(Self {
            path: path.to_owned(),
            description,
            lock: Arc::new(lock),
        })
    }

    /// The lock: the directory is held until the last holder of it is gone.
    pub(crate) fn lock(&self) -> Arc<File> {
        Arc::clone(&self.lock)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The error for a directory whose log was never completed.
    pub(crate) fn holds_no_log(&self) -> LogError {
        holds_no_log(&self.path)
    }

    /// Whose it is.
    pub(crate) fn identity(&self) -> &str {
        &self.description.identity
    }

    /// A subdirectory, created durably when it is not there.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn subdirectory(&self, name: &str) -> Result<PathBuf, LogError> {
        subdirectory(&self.path, name)
    }

    /// The current log, once it is complete.
    pub(crate) fn current(&self) -> Option<PathBuf> {
        let name = self.description.log.as_ref()?;
        Some(self.path.join("log").join(name))
    }

    /// Makes another log the current one, durably and at once.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn set_current(&mut self, name: &str) -> Result<(), LogError> {
        self.description.log = Some(name.to_owned());
        write_description(&self.path, &self.description)
    }
}

/// A subdirectory, created durably when it is not there.
///
/// # Errors
/// [`LogError::Storage`].
pub(crate) fn subdirectory(directory: &Path, name: &str) -> Result<PathBuf, LogError> {
    let path = directory.join(name);
    if !path.is_dir() {
        fs::create_dir(&path)
            .and_then(|()| sync_dir(directory))
            .map_err(storage("create", path.display()))?;
    }
    Ok(path)
}

/// The error for a directory without a log.
pub(crate) fn holds_no_log(path: &Path) -> LogError {
    LogError::Directory {
        file: path.display().to_string(),
        reason: "there is no log in it".into(),
    }
}

/// The name of the log that begins after `base`.
pub(crate) fn log_name(base: Seq) -> String {
    format!("{:020}", base.0)
}

/// Takes the lock, or says who cannot have it.
///
/// # Errors
/// [`LogError::Locked`], [`LogError::Storage`].
pub(crate) fn lock(path: &Path) -> Result<File, LogError> {
    let file = path.join("LOCK");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file)
        .map_err(storage("open", file.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked {
            directory: path.display().to_string(),
        }),
        Err(TryLockError::Error(error)) => Err(storage("lock", file.display())(error)),
    }
}

/// Takes the lock of a directory that is only looked at, together with others who look. Nothing is
/// created; a directory without a lock file is held by nobody.
///
/// # Errors
/// [`LogError::Locked`], [`LogError::Storage`].
pub(crate) fn lock_to_read(path: &Path) -> Result<Option<File>, LogError> {
    let file = path.join("LOCK");
    let lock = match File::open(&file) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(storage("open", file.display())(error)),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked {
            directory: path.display().to_string(),
        }),
        Err(TryLockError::Error(error)) => Err(storage("lock", file.display())(error)),
    }
}

/// Free bytes for this process on the file system of `path`.
///
/// # Errors
/// [`LogError::Storage`].
pub(crate) fn free_bytes(path: &Path) -> Result<u64, LogError> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|error| storage("measure the free space", path.display())(error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Refuses below the floor.
fn check_space(path: &Path, floor: u64) -> Result<(), LogError> {
    let free = free_bytes(path)?;
    if free < floor {
        return Err(LogError::NoSpace {
            directory: path.display().to_string(),
            free,
            floor,
        });
    }
    Ok(())
}

/// Describes a directory for the first time. The log itself does not exist yet.
fn begin(path: &Path, options: &Options) -> Result<Description, LogError> {
    let logs = path.join("log");
    let occupied = logs
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some());
    if occupied || path.join("HEAD").exists() {
        return Err(LogError::Directory {
            file: path.join("FORMAT").display().to_string(),
            reason: "it is missing, but there is a log beside it".into(),
        });
    }
    let description = Description {
        format: FORMAT,
        identity: options.identity.clone().unwrap_or_default(),
        log: None,
    };
    write_description(path, &description)?;
    Ok(description)
}

/// Reads `FORMAT`; `None` when there is none.
///
/// # Errors
/// [`LogError`].
pub(crate) fn read_description(path: &Path) -> Result<Option<Description>, LogError> {
    let file = path.join("FORMAT");
    let bytes = match File::open(&file) {
        Ok(open) => {
            let mut bytes = Vec::new();
            open.take(METADATA_BYTES_MAX)
                .read_to_end(&mut bytes)
                .map_err(storage("read", file.display()))?;
            bytes
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(storage("open", file.display())(error)),
    };
    // The format first: a newer one may have other fields.
    #[derive(Deserialize)]
    struct Any {
        format: u32,
    }
    let wrong = |error: serde_json::Error| LogError::Directory {
        file: file.display().to_string(),
        reason: error.to_string(),
    };
    let Any { format } = serde_json::from_slice(&bytes).map_err(wrong)?;
    if format > FORMAT {
        return Err(LogError::Newer {
            directory: path.display().to_string(),
            found: format,
            known: FORMAT,
        });
    }
    let description: Description = serde_json::from_slice(&bytes).map_err(wrong)?;
    let name_is_plain = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
    if !description.log.as_ref().is_none_or(name_is_plain) {
        return Err(LogError::Directory {
            file: file.display().to_string(),
            reason: "the name of the log is not a number".into(),
        });
    }
    Ok(Some(description))
}

/// Replaces `FORMAT`, durably and at once.
fn write_description(path: &Path, description: &Description) -> Result<(), LogError> {
    let bytes = serde_json::to_vec_pretty(description).map_err(|error| LogError::Directory {
        file: path.join("FORMAT").display().to_string(),
        reason: error.to_string(),
    })?;
    replace(&path.join("FORMAT"), &bytes)
}

/// Replaces a file by another content, durably and at once: after a crash one of the two is
/// there, whole.
///
/// # Errors
/// [`LogError::Storage`].
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), LogError> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        crash::point("replace.written");
        file.sync_all()?;
        crash::point("replace.synced");
        fs::rename(&new, path)?;
        crash::point("replace.renamed");
        path.parent().map_or(Ok(()), sync_dir)
    };
    write().map_err(storage("replace", path.display()))
}

/// The file `HEAD`: a second, independent account of what was acknowledged.
///
/// It is written after each commit and not synced, so that it costs no disk time; it may be
/// older than the log, never newer. With it a log that lost its end is told from one that never
/// had it. Two slots, written in turn, each with a checksum, so that a torn write leaves one.
#[derive(Debug)]
pub(crate) struct Witness {
    file: File,
    path: PathBuf,
    turn: bool,
}

/// Bytes of a slot: magic, position, hash, checksum.
const SLOT_BYTES: usize = 48;

/// The slots stand in different sectors.
const SLOT_AT: [u64; 2] = [0, 512];

const SLOT_MAGIC: [u8; 4] = *b"IFHD";

impl Witness {
    /// Opens the witness, and reads what it says.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn open(directory: &Path) -> Result<(Self, Option<Head>), LogError> {
        let path = directory.join("HEAD");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(storage("open", path.display()))?;
        let seen = read_slots(&file, &path)?;
        let witness = Self {
            file,
            path,
            turn: false,
        };
        Ok((witness, seen))
    }

    /// What the witness of a directory says; `None` without one. Changes nothing.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn seen(directory: &Path) -> Result<Option<Head>, LogError> {
        let path = directory.join("HEAD");
        match File::open(&path) {
            Ok(file) => read_slots(&file, &path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(storage("open", path.display())(error)),
        }
    }

    /// Notes what is durable and about to be acknowledged.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn note(&mut self, head: Head) -> Result<(), LogError> {
        self.turn = !self.turn;
        let at = SLOT_AT[usize::from(self.turn)];
        self.file
            .write_all_at(&encode_slot(head), at)
            .map_err(storage("write", self.path.display()))
    }
}

/// The newer of the two slots.
fn read_slots(file: &File, path: &Path) -> Result<Option<Head>, LogError> {
    let mut seen: Option<Head> = None;
    for at in SLOT_AT {
        let mut slot = [0; SLOT_BYTES];
        match file.read_exact_at(&mut slot, at) {
            // Short: the slot was never written.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
            read => read.map_err(storage("read", path.display()))?,
        }
        if let Some(head) = decode_slot(&slot)
            && seen.is_none_or(|seen| head.seq > seen.seq)
        {
            seen = Some(head);
        }
    }
    Ok(seen)
}

fn encode_slot(head: Head) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..4].copy_from_slice(&SLOT_MAGIC);
    slot[4..12].copy_from_slice(&head.seq.0.to_be_bytes());
    slot[12..44].copy_from_slice(&head.hash.0);
    let sum = crc32fast::hash(&slot[..44]);
    slot[44..].copy_from_slice(&sum.to_be_bytes());
    slot
}

fn decode_slot(slot: &[u8; SLOT_BYTES]) -> Option<Head> {
    let sum = crc32fast::hash(&slot[..44]);
    if slot[..4] != SLOT_MAGIC || slot[44..] != sum.to_be_bytes() {
        return None;
    }
    Some(Head {
        seq: Seq(u64::from_be_bytes(slot[4..12].try_into().ok()?)),
        hash: Hash(slot[12..44].try_into().ok()?),
    })
}
