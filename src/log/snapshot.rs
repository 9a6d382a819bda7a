//! Snapshots of the machine.
//!
//! A snapshot is a cache: the events before it are still there, and a snapshot that does not fit
//! the log or its own hash is passed over. When the log is rolled at one, it becomes a record:
//! it then stands beside the first record of the new database, which names its hash.
//!
//! `<data-dir>/snapshots/<position>.snap`; numbers big-endian: magic `IFSN` (4), format (1),
//! three zeroes, position (8), chain hash (32), state digest (32), SHA-256 of the rest (32),
//! then the machine's bytes.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use infernet_state::types::{Hash, Seq};
use sha2::{Digest as _, Sha256};

use super::{
    Head, Keeper as _, LogError, Upkeep as _,
    directory::{replace, subdirectory},
    limits::{SNAPSHOT_BYTES_MAX, SNAPSHOTS_KEPT},
    pack::sha256,
    sled::SledLog,
    store::{SnapshotRef, Store, damaged},
    view::View,
    volume::{Directory, Volume as _, storage},
};
use crate::crash;

const MAGIC: [u8; 4] = *b"IFSN";
const FORMAT: u8 = 1;
const HEAD_BYTES: usize = 112;

/// The bytes of the head that its hash covers; the hash follows.
const HASHED_BYTES: usize = 80;

/// Name of the snapshot beside a database that begins with one.
pub(crate) const BASE_FILE: &str = "snapshot";

/// The machine's state behind an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The newest event in it, and the chain hash there.
    pub head: Head,
    /// Digest of the state.
    pub digest: Hash,
    /// The state, as the machine writes it.
    pub bytes: Vec<u8>,
}

impl SledLog {
    /// As [`Keeper::save_snapshot`](crate::log::Keeper::save_snapshot).
    ///
    /// # Errors
    /// See there.
    pub fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), LogError> {
        self.keeper().save_snapshot(snapshot)
    }

    /// As [`Keeper::newest_snapshot`](crate::log::Keeper::newest_snapshot), of any event.
    ///
    /// # Errors
    /// See there.
    pub fn latest_snapshot(&self) -> Result<Option<Snapshot>, LogError> {
        self.keeper().newest_snapshot(Seq(u64::MAX))
    }
}

/// See [`Keeper::save_snapshot`].
pub(crate) fn save(data_dir: &Path, view: &View, snapshot: &Snapshot) -> Result<(), LogError> {
    check_size(snapshot.bytes.len() as u64)?;
    if view.head_at(snapshot.head.seq)? != Some(snapshot.head) {
        return Err(LogError::Missing {
            seq: snapshot.head.seq,
            last: view.extent.head.seq,
        });
    }
    let directory = subdirectory(data_dir, "snapshots")?;
    let path = directory.join(format!("{:020}.snap", snapshot.head.seq.0));
    crash::point("snapshot.before-save");
    replace(&path, &encode(snapshot))?;
    crash::point("snapshot.saved");
    let names = Directory::new(&directory)
        .list()
        .map_err(storage("list", directory.display()))?;
    let snapshots: Vec<_> = names
        .iter()
        .filter(|name| name.ends_with(".snap"))
        .collect();
    // What a crash left half written is nobody's.
    let unfinished = names.iter().filter(|name| name.ends_with(".new"));
    let old = snapshots.iter().rev().skip(SNAPSHOTS_KEPT).copied();
    for old in old.chain(unfinished) {
        fs::remove_file(directory.join(old)).map_err(storage("remove", old))?;
    }
    Ok(())
}

/// See [`Keeper::newest_snapshot`].
pub(crate) fn newest(
    data_dir: &Path,
    view: &View,
    before: Seq,
) -> Result<Option<Snapshot>, LogError> {
    let directory = data_dir.join("snapshots");
    if directory.is_dir() {
        let names = Directory::new(&directory)
            .list()
            .map_err(storage("list", directory.display()))?;
        for name in names.iter().rev() {
            let position = name.strip_suffix(".snap").and_then(|at| at.parse().ok());
            if position.is_some_and(|at| Seq(at) < before)
                && let Some(snapshot) = read_cache(&directory.join(name), view)?
            {
                return Ok(Some(snapshot));
            }
        }
    }
    if view.store.base().head.seq < before {
        base_snapshot(&view.store)
    } else {
        Ok(None)
    }
}

/// The snapshot that a database begins with.
///
/// # Errors
/// [`LogError::Damaged`].
pub(crate) fn base_snapshot(store: &Store) -> Result<Option<Snapshot>, LogError> {
    let base = store.base();
    let Some(reference) = base.snapshot else {
        return Ok(None);
    };
    let path = store.path().join(BASE_FILE);
    let file = read(&path, reference.len)?;
    // The record's hash is of the whole file: that of its head would say nothing more.
    let recorded = file.len() as u64 == reference.len && sha256(&file) == reference.sha256;
    match split(file).filter(|(snapshot, _)| recorded && snapshot.head == base.head) {
        Some((snapshot, _)) => Ok(Some(snapshot)),
        None => Err(damaged(
            base.head.seq,
            format!("the snapshot {} is not what was recorded", path.display()),
        )),
    }
}

/// Writes the snapshot that a database is to begin with, durably.
///
/// # Errors
/// [`LogError::Storage`], [`LogError::TooLarge`].
pub(crate) fn write_base(database: &Path, snapshot: &Snapshot) -> Result<SnapshotRef, LogError> {
    check_size(snapshot.bytes.len() as u64)?;
    let file = encode(snapshot);
    replace(&database.join(BASE_FILE), &file)?;
    Ok(SnapshotRef {
        digest: snapshot.digest,
        sha256: sha256(&file),
        len: file.len() as u64,
    })
}

/// Refuses what could not be read back.
fn check_size(len: u64) -> Result<(), LogError> {
    if len > SNAPSHOT_BYTES_MAX {
        return Err(LogError::TooLarge {
            what: "a snapshot",
            len: usize::try_from(len).unwrap_or(usize::MAX),
            limit: usize::try_from(SNAPSHOT_BYTES_MAX).unwrap_or(usize::MAX),
        });
    }
    Ok(())
}

/// A snapshot with its head.
pub(crate) fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + snapshot.bytes.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[FORMAT, 0, 0, 0]);
    out.extend_from_slice(&snapshot.head.seq.0.to_be_bytes());
    out.extend_from_slice(&snapshot.head.hash.0);
    out.extend_from_slice(&snapshot.digest.0);
    let hash = covering_hash(&out, &snapshot.bytes);
    out.extend_from_slice(&hash.0);
    out.extend_from_slice(&snapshot.bytes);
    out
}

/// A cached snapshot, if it is whole, fits the log, and is not older than the one that the log
/// begins with.
fn read_cache(path: &Path, view: &View) -> Result<Option<Snapshot>, LogError> {
    let base = view.store.base().head.seq;
    let fits = |snapshot: &Snapshot| -> Result<bool, LogError> {
        let head = snapshot.head;
        Ok(head.seq >= base && view.head_at(head.seq)? == Some(head))
    };
    match read_file(path)? {
        Some(snapshot) if fits(&snapshot)? => Ok(Some(snapshot)),
        _ => Ok(None),
    }
}

/// A snapshot with its head, if the file holds one and is whole.
///
/// # Errors
/// [`LogError::Storage`].
pub(crate) fn read_file(path: &Path) -> Result<Option<Snapshot>, LogError> {
    Ok(decode(read(path, SNAPSHOT_BYTES_MAX + HEAD_BYTES as u64)?))
}

/// The snapshot that a file holds, if it is whole.
fn decode(bytes: Vec<u8>) -> Option<Snapshot> {
    let (snapshot, head) = split(bytes)?;
    (covering_hash(&head[..HASHED_BYTES], &snapshot.bytes) == hash_at(&head, HASHED_BYTES))
        .then_some(snapshot)
}

/// The snapshot that a file holds, unchecked, and its head.
fn split(mut bytes: Vec<u8>) -> Option<(Snapshot, Vec<u8>)> {
    if bytes.len() < HEAD_BYTES || bytes[..4] != MAGIC || bytes[4] != FORMAT {
        return None;
    }
    let state = bytes.split_off(HEAD_BYTES);
    let head = Head {
        seq: Seq(u64::from_be_bytes(std::array::from_fn(|at| bytes[8 + at]))),
        hash: hash_at(&bytes, 16),
    };
    let snapshot = Snapshot {
        head,
        digest: hash_at(&bytes, 48),
        bytes: state,
    };
    Some((snapshot, bytes))
}

/// SHA-256 over what stands before it in the head, and over the state: a state under a wrong
/// position is no state.
fn covering_hash(before: &[u8], state: &[u8]) -> Hash {
    let hash = Sha256::new().chain_update(before).chain_update(state);
    Hash(hash.finalize().into())
}

/// A hash within bytes known to be long enough.
fn hash_at(bytes: &[u8], at: usize) -> Hash {
    Hash(std::array::from_fn(|byte| bytes[at + byte]))
}

/// A file, at most `limit` bytes of it and one more, so that a longer one is noticed.
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, LogError> {
    let read = || {
        let file = File::open(path)?;
        let len = file.metadata()?.len().min(limit) + 1;
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
        file.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(storage("read", path.display()))
}
