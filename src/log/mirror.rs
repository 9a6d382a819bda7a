//! A second copy of the log in another directory, on another disk.
//!
//! It follows the log commit by commit: packs first, then blocks, then one sync. It keeps what
//! the log's retention drops. Whatever happens to it, it comes back as a prefix of the log and
//! goes on from there; [`super::restore`] makes a log of it.
//!
//! ```text
//! <mirror>/LOCK        held by the process that writes it
//! <mirror>/blocks      a block file
//! <mirror>/*.pack      payloads, as in the log's own packs
//! <mirror>/base.snap   the snapshot that it begins with, if not at the beginning
//! <mirror>/MIRROR      JSON: format, and whose log it is
//! <mirror>/checkpoints.jsonl   the log's checkpoints
//! ```

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use infernet_state::types::{PayloadAt, Seq};
use serde::{Deserialize, Serialize};

use super::{
    EventLog as _, Head, LogError, LogReader,
    block::{self, PackAt},
    blockfile,
    checkpoint::{self, Checkpoint},
    directory::{lock, lock_to_read, replace},
    file::{BLOCKS, FileLog, FileReader, no_payload},
    limits::MIRROR_BYTES,
    sled::SledReader,
    snapshot::{self, Snapshot},
    source::Source,
    store::{damaged, parse},
    view::View,
    volume::{Directory, storage, sync_dir},
};
use crate::crash;

/// Name of the snapshot that a mirror begins with.
pub(super) const BASE_FILE: &str = "base.snap";

/// Name of the file that says whose log it is.
const DESCRIPTION_FILE: &str = "MIRROR";

/// The format of mirrors that this program writes, and the newest it reads.
const FORMAT: u32 = 1;

/// The file [`DESCRIPTION_FILE`].
#[derive(Serialize, Deserialize)]
struct Description {
    format: u32,
    identity: String,
}

/// A mirror that is being written.
#[derive(Debug)]
pub struct Mirror {
    path: PathBuf,
    log: FileLog<Directory>,
    identity: Option<String>,
    /// Bytes of the log's file of checkpoints when it was last copied.
    checkpoints: u64,
    _lock: File,
}

impl Mirror {
    /// Opens a mirror, or begins one where the log's history begins.
    ///
    /// # Errors
    /// [`LogError`]; [`LogError::Identity`] for a mirror of another node's log.
    pub fn open(path: &Path, source: &SledReader) -> Result<Self, LogError> {
        fs::create_dir_all(path).map_err(storage("create", path.display()))?;
        let lock = lock(path)?;
        match read_description(path)? {
            Some(found) if found != source.identity() => {
                return Err(LogError::Identity {
                    directory: path.display().to_string(),
                    found,
                    expected: source.identity().to_owned(),
                });
            }
            Some(_) => {}
            None => write_description(path, source.identity())?,
        }
        let acknowledged = acknowledged(path)?;
        let base = if acknowledged == Seq(0) && holds_nothing(&path.join(BLOCKS)) {
            // Of one moment: retention may move the log's beginning, also since an earlier try.
            let (base, snapshot) =
                source.steadily(|view| Ok((view.base()?, view.base_snapshot()?)))?;
            if let Some(snapshot) = snapshot {
                replace(&path.join(BASE_FILE), &snapshot::encode(&snapshot))?;
            }
            remove_if_there(&path.join(BLOCKS))?;
            base
        } else {
            Head::default()
        };
        crash::point("mirror.began");
        let log = FileLog::open_from(Directory::new(path), base, acknowledged)
            .map_err(|error| of_mirror(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            log,
            identity: Some(source.identity().to_owned()),
            checkpoints: 0,
            _lock: lock,
        })
    }

    /// Opens a mirror to change it where there is no log to go on from.
    ///
    /// # Errors
    /// [`LogError`]; [`LogError::Directory`] when there is none.
    pub fn existing(path: &Path) -> Result<Self, LogError> {
        check_is_there(path)?;
        let lock = lock(path)?;
        let identity = read_description(path)?;
        Ok(Self {
            path: path.to_owned(),
            log: reopen(path)?,
            identity,
            checkpoints: 0,
            _lock: lock,
        })
    }

    /// Whether there is a mirror in a directory.
    #[must_use]
    pub fn is_at(path: &Path) -> bool {
        path.join(BLOCKS).exists() && !path.join("FORMAT").exists()
    }

    /// Whose log it is, if that could be read.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// The log's checkpoints as far as they were copied, oldest first.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, LogError> {
        checkpoint::saved(&self.path)
    }

    /// Copies what the log has and the mirror has not; returns the mirror's newest event.
    ///
    /// The log's keeper is never held up. What it erases or drops while a part is copied makes
    /// that part be copied again, as it is then.
    ///
    /// # Durability
    /// What it returns is durable in the mirror.
    ///
    /// # Errors
    /// [`LogError::Mirror`] when the mirror holds another history, [`LogError::Gone`] when the
    /// log dropped what comes next; [`LogError::Storage`]: the mirror is then to be opened anew.
    pub fn follow(&mut self, source: &SledReader) -> Result<Head, LogError> {
        self.agrees(source)?;
        while self.log.head().seq < LogReader::head(source).seq {
            let removals = source.removals();
            let read = Batch::read(&source.view(), self.log.head());
            crash::point("mirror.blocks-read");
            let copied = read.and_then(|batch| {
                self.log.copy_packs(source.packs(), batch.packs)?;
                Ok(batch)
            });
            crash::point("mirror.packs-copied");
            let steady = removals == source.removals();
            match copied {
                Ok(batch) if steady => drop(self.log.take(&batch.blocks, batch.packs)?),
                Ok(_) => {}
                Err(error) if steady => return Err(error),
                Err(_) => self.log = reopen(&self.path)?,
            }
        }
        self.copy_checkpoints(source)?;
        Ok(self.log.head())
    }

    /// Whether the log goes on where the mirror ends.
    ///
    /// # Errors
    /// [`LogError::Mirror`] when the mirror holds another history, or a longer one;
    /// [`LogError::Gone`] when the log dropped what comes next.
    pub fn agrees(&self, source: &SledReader) -> Result<(), LogError> {
        let have = self.log.head();
        let shared = source.steadily(|view| {
            if have.seq.0 + 1 < view.first().0 {
                return Err(LogError::Gone {
                    seq: Seq(have.seq.0 + 1),
                    first: view.first(),
                });
            }
            if have.seq == Seq(0) {
                Ok(Some(Head::default()))
            } else if have.seq.0 + 1 == view.first().0 {
                view.base().map(Some)
            } else {
                view.head_at(have.seq)
            }
        })?;
        if shared == Some(have) {
            return Ok(());
        }
        Err(LogError::Mirror {
            directory: self.path.display().to_string(),
            seq: have.seq,
        })
    }

    /// Copies the checkpoints that came since the last time.
    fn copy_checkpoints(&mut self, source: &SledReader) -> Result<(), LogError> {
        let length = checkpoint::length(source.root());
        if length == self.checkpoints {
            return Ok(());
        }
        let kept = self.checkpoints()?;
        for new in source.checkpoints()? {
            // One that is ahead of the mirror comes with the next round.
            if new.statement.head.seq > self.log.head().seq {
                return Ok(());
            }
            if !kept.contains(&new) {
                checkpoint::append(&self.path, &new)?;
            }
        }
        self.checkpoints = length;
        Ok(())
    }

    /// Erases a payload here too, as [`super::SledLog::erase`] does in the log.
    ///
    /// # Durability
    /// The payload is gone from the mirror's files when it returns.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn erase(&mut self, at: PayloadAt) -> Result<(), LogError> {
        let bytes = Source::block(self, at.seq)?;
        let erased = block::erase(&bytes, at.seq, at.payload)
            .map_err(|error| damaged(at.seq, error))?
            .ok_or_else(|| no_payload(at))?;
        let (new, old) = (self.path.join("blocks.new"), self.path.join(BLOCKS));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&new)
            .map_err(storage("create", new.display()))?;
        self.log.rewrite(file, "blocks.new", &erased.block)?;
        fs::rename(&new, &old)
            .and_then(|()| sync_dir(&self.path))
            .map_err(storage("name", old.display()))?;
        self.log.packs().erase_all(&erased.packs)?;
        self.log = reopen(&self.path)?;
        Ok(())
    }
}

/// What is copied between two syncs: whole commits.
struct Batch {
    blocks: Vec<Vec<u8>>,
    /// Where the packs end behind it.
    packs: PackAt,
}

impl Batch {
    /// What a view has behind `have`, checked.
    fn read(view: &View, have: Head) -> Result<Self, LogError> {
        let mut batch = Self {
            blocks: Vec::new(),
            packs: PackAt::default(),
        };
        let mut bytes = 0;
        let mut end = have;
        let mut whole = false;
        while !whole || (bytes < MIRROR_BYTES && end.seq < view.extent.head.seq) {
            let next = Seq(end.seq.0 + 1);
            let block = view.block(next)?;
            let parsed = parse(&block, next)?;
            parsed.check().map_err(|error| damaged(next, error))?;
            if parsed.head_before() != end {
                return Err(damaged(next, "the chain is broken before it"));
            }
            whole = parsed.ends_commit;
            end = parsed.head();
            batch.packs = parsed.packs;
            bytes += block.len();
            batch.blocks.push(block);
        }
        Ok(batch)
    }
}

/// Whose log a mirror is of; `None` for one that does not say.
pub(super) fn read_description(path: &Path) -> Result<Option<String>, LogError> {
    let file = path.join(DESCRIPTION_FILE);
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(storage("read", file.display())(error)),
    };
    let description: Description =
        serde_json::from_slice(&bytes).map_err(|error| LogError::Directory {
            file: file.display().to_string(),
            reason: error.to_string(),
        })?;
    if description.format > FORMAT {
        return Err(LogError::Newer {
            directory: path.display().to_string(),
            found: description.format,
            known: FORMAT,
        });
    }
    Ok(Some(description.identity))
}

fn write_description(path: &Path, identity: &str) -> Result<(), LogError> {
    let file = path.join(DESCRIPTION_FILE);
    let description = Description {
        format: FORMAT,
        identity: identity.to_owned(),
    };
    let bytes = serde_json::to_vec(&description).map_err(|error| LogError::Directory {
        file: file.display().to_string(),
        reason: error.to_string(),
    })?;
    replace(&file, &bytes)
}

/// A mirror that is looked at, and left exactly as it is: to verify or export it, or to restore
/// the log.
#[derive(Debug)]
pub struct MirrorReader {
    path: PathBuf,
    log: FileReader<Directory>,
    identity: Option<String>,
    _lock: Option<File>,
}

impl MirrorReader {
    /// Opens a mirror that nobody writes.
    ///
    /// # Errors
    /// [`LogError`]; [`LogError::Directory`] when there is none, [`LogError::MirrorDamaged`] when
    /// what was acknowledged is not whole.
    pub fn look(path: &Path) -> Result<Self, LogError> {
        check_is_there(path)?;
        let lock = lock_to_read(path)?;
        Ok(Self {
            path: path.to_owned(),
            log: FileReader::look(Directory::to_read(path), acknowledged(path)?)
                .map_err(|error| of_mirror(path, error))?,
            identity: read_description(path)?,
            _lock: lock,
        })
    }

    /// Whose log it is, if that could be read.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// The log's checkpoints as far as they were copied, oldest first.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, LogError> {
        checkpoint::saved(&self.path)
    }
}

fn check_is_there(path: &Path) -> Result<(), LogError> {
    if path.join(BLOCKS).exists() {
        return Ok(());
    }
    Err(LogError::Directory {
        file: path.display().to_string(),
        reason: "there is no mirror in it".into(),
    })
}

/// Damage to a mirror: what helps is not what helps a log.
fn of_mirror(path: &Path, error: LogError) -> LogError {
    match error {
        LogError::Damaged { seq, reason } => LogError::MirrorDamaged {
            directory: path.display().to_string(),
            seq,
            reason,
        },
        other => other,
    }
}

/// Whether a block file has not even the beginning of a block, or is not there.
fn holds_nothing(blocks: &Path) -> bool {
    match fs::metadata(blocks) {
        Ok(file) => file.len() <= blockfile::HEAD_BYTES as u64,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn remove_if_there(file: &Path) -> Result<(), LogError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(storage("remove", file.display())(error))
        }
        _ => Ok(()),
    }
}

/// The newest event that a mirror is known to have held: the one of its newest checkpoint, which
/// is copied behind the events.
pub(super) fn acknowledged(path: &Path) -> Result<Seq, LogError> {
    let checkpoints = checkpoint::saved(path)?;
    let newest = checkpoints.iter().map(|known| known.statement.head.seq);
    Ok(newest.max().unwrap_or_default())
}

/// Opens the blocks and packs of a mirror to write them.
fn reopen(path: &Path) -> Result<FileLog<Directory>, LogError> {
    FileLog::open_from(Directory::new(path), Head::default(), acknowledged(path)?)
        .map_err(|error| of_mirror(path, error))
}

/// The snapshot that a mirror begins with.
fn base_snapshot(path: &Path) -> Result<Option<Snapshot>, LogError> {
    let path = path.join(BASE_FILE);
    if !path.exists() {
        return Ok(None);
    }
    snapshot::read_file(&path)
}

impl Source for Mirror {
    fn base(&self) -> Result<Head, LogError> {
        self.log.reader().base()
    }

    fn newest(&self) -> Head {
        self.log.head()
    }

    fn base_snapshot(&self) -> Result<Option<Snapshot>, LogError> {
        base_snapshot(&self.path)
    }

    fn block(&self, seq: Seq) -> Result<Vec<u8>, LogError> {
        self.log.reader().block_bytes(seq)
    }

    fn bytes_of(&self, at: PayloadAt) -> Result<Option<Vec<u8>>, LogError> {
        self.log.reader().bytes_of(at)
    }
}

impl Source for MirrorReader {
    fn base(&self) -> Result<Head, LogError> {
        self.log.base()
    }

    fn newest(&self) -> Head {
        self.log.newest()
    }

    fn base_snapshot(&self) -> Result<Option<Snapshot>, LogError> {
        base_snapshot(&self.path)
    }

    fn block(&self, seq: Seq) -> Result<Vec<u8>, LogError> {
        self.log.block(seq)
    }

    fn bytes_of(&self, at: PayloadAt) -> Result<Option<Vec<u8>>, LogError> {
        self.log.bytes_of(at)
    }
}
