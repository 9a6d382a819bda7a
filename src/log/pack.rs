//! Large payloads, in append-only files beside the log.
//!
//! A pack is synced before the log's record that refers to it. Every block says where the packs
//! ended when it was written, so that whatever stands behind the end named by the last block was
//! never referred to: it is cut off when the log is opened. That is the whole sweep of orphans.
//!
//! An entry: magic `IFPK` (4), length (4), SHA-256 of the payload (32), the payload.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, RwLock},
};

use infernet_state::types::{Hash, PayloadRef};
use sha2::{Digest, Sha256};

use super::{
    LogError,
    block::PackAt,
    limits::PACK_BYTES_TARGET,
    volume::{Volume, VolumeFile, storage},
};
use crate::crash;

/// The first bytes of every entry.
const MAGIC: [u8; 4] = *b"IFPK";

/// The bytes of an entry before the payload.
const HEAD_BYTES: usize = 40;

/// What a copy reads at once, in bytes.
const COPY_BYTES: usize = 1024 * 1024;

/// The packs of a volume. Reading needs no lock on the writer.
#[derive(Debug)]
pub(crate) struct Packs<V: Volume> {
    volume: V,
    files: RwLock<BTreeMap<u32, Arc<V::File>>>,
}

/// The end of the packs while a batch is written.
#[derive(Debug)]
pub(crate) struct PackWriter {
    end: PackAt,
    dirty: bool,
    /// The next payload begins a new pack.
    closed: bool,
}

impl PackWriter {
    /// A writer behind what another log wrote, which is durable.
    pub(crate) fn at(end: PackAt) -> Self {
        Self {
            end,
            dirty: false,
            closed: false,
        }
    }

    /// Begins a new pack with the next payload, so that the one so far can be dropped with the
    /// part of the log that it belongs to.
    pub(crate) fn close_pack(&mut self) {
        self.closed = true;
    }

    /// Where the packs end.
    pub(crate) fn end(&self) -> PackAt {
        self.end
    }
}

impl<V: Volume> Packs<V> {
    /// Opens the packs of a log whose last block says that they end at `end`, and cuts off what
    /// no block refers to.
    ///
    /// # Errors
    /// [`LogError::Storage`]; [`LogError::PackMissing`] when they end before `end`.
    pub(crate) fn open(volume: V, end: PackAt) -> Result<(Self, PackWriter), LogError> {
        let mut files = BTreeMap::new();
        let mut removed = false;
        for name in volume
            .list()
            .map_err(storage("list the packs", volume.name()))?
        {
            let Some(number) = number_of(&name) else {
                continue;
            };
            if number > end.pack {
                volume
                    .remove(&name)
                    .map_err(storage("remove an orphaned pack", &name))?;
                removed = true;
                continue;
            }
            let file = volume
                .open(&name, false)
                .map_err(storage("open a pack", &name))?;
            files.insert(number, Arc::new(file));
        }
        if end.pack > 0 {
            let name = name_of(end.pack);
            let missing = |found| LogError::PackMissing {
                pack: format!("{}/{name}", volume.name()),
                found,
                expected: end.offset,
            };
            let file = files.get(&end.pack).ok_or_else(|| missing(0))?;
            let len = file.length().map_err(storage("measure a pack", &name))?;
            if len < end.offset {
                return Err(missing(len));
            }
            if len > end.offset {
                file.set_len(end.offset)
                    .and_then(|()| file.sync())
                    .map_err(storage("cut off orphaned payloads", &name))?;
            }
        }
        if removed {
            volume
                .sync_names()
                .map_err(storage("sync the packs' directory", volume.name()))?;
        }
        let packs = Self {
            volume,
            files: RwLock::new(files),
        };
        Ok((packs, PackWriter::at(end)))
    }

    /// Writes a payload behind the others. It is durable after [`Packs::sync`].
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn put(
        &self,
        writer: &mut PackWriter,
        reference: PayloadRef,
        bytes: &[u8],
    ) -> Result<PackAt, LogError> {
        if writer.end.pack == 0 || writer.closed || writer.end.offset >= PACK_BYTES_TARGET {
            self.sync(writer)?;
            let pack = writer.end.pack + 1;
            let name = name_of(pack);
            let file = self
                .volume
                .open(&name, true)
                .map_err(storage("create a pack", &name))?;
            self.volume
                .sync_names()
                .map_err(storage("sync the packs' directory", self.volume.name()))?;
            crash::point("pack.created");
            self.files_mut().insert(pack, Arc::new(file));
            writer.end = PackAt { pack, offset: 0 };
            writer.closed = false;
        }
        let at = writer.end;
        let file = self.file(at.pack)?;
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&MAGIC);
        head[4..8].copy_from_slice(&reference.len.to_be_bytes());
        head[8..].copy_from_slice(&reference.hash.0);
        let body_at = at.offset + HEAD_BYTES as u64;
        file.write_at(at.offset, &head)
            .and_then(|()| file.write_at(body_at, bytes))
            .map_err(storage("write a payload", name_of(at.pack)))?;
        crash::point("pack.written");
        writer.end.offset = body_at + u64::from(reference.len);
        writer.dirty = true;
        Ok(at)
    }

    /// Makes what was written durable: one sync, or none when there was nothing.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn sync(&self, writer: &mut PackWriter) -> Result<(), LogError> {
        if !writer.dirty {
            return Ok(());
        }
        self.file(writer.end.pack)?
            .sync()
            .map_err(storage("sync a pack", name_of(writer.end.pack)))?;
        crash::point("pack.synced");
        writer.dirty = false;
        Ok(())
    }

    /// The bytes of a payload at a place, checked against their hash.
    ///
    /// # Errors
    /// [`LogError::Payload`] when other bytes stand there, [`LogError::Storage`].
    pub(crate) fn get(&self, at: PackAt, reference: PayloadRef) -> Result<Vec<u8>, LogError> {
        let wrong = |reason: &str| LogError::Payload {
            hash: reference.hash,
            reason: format!("{reason} in {} at {}", name_of(at.pack), at.offset),
        };
        let file = self.file(at.pack)?;
        let mut head = [0; HEAD_BYTES];
        let read = |at, bytes: &mut [u8]| {
            file.read_at(at, bytes)
                .map_err(|error| wrong(&error.to_string()))
        };
        read(at.offset, &mut head)?;
        if head[..4] != MAGIC
            || head[4..8] != reference.len.to_be_bytes()
            || head[8..] != reference.hash.0
        {
            return Err(wrong("another entry stands"));
        }
        let mut bytes = vec![0; reference.len as usize];
        read(at.offset + HEAD_BYTES as u64, &mut bytes)?;
        if sha256(&bytes) != reference.hash {
            return Err(wrong("the bytes are not what was written"));
        }
        Ok(bytes)
    }

    /// Overwrites payloads with zeroes, durably, where their packs are still there: one sync for
    /// each pack.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn erase_all(&self, payloads: &[(PackAt, u32)]) -> Result<(), LogError> {
        let mut written = BTreeSet::new();
        for (at, len) in payloads.iter().filter(|(at, _)| self.has(at.pack)) {
            self.erase(*at, *len)?;
            written.insert(at.pack);
        }
        for pack in written {
            self.file(pack)?
                .sync()
                .map_err(storage("sync a pack", name_of(pack)))?;
        }
        Ok(())
    }

    /// Gives the space of the packs from `from` up to `end` back: nothing in them is referred to
    /// any more. They keep their names and lengths, because blocks that are kept name them as the
    /// packs' end. A pack with more behind `end`, and the one that is written, stay as they are.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn empty_up_to(
        &self,
        from: u32,
        end: PackAt,
        written: PackAt,
    ) -> Result<(), LogError> {
        for pack in (from..=end.pack).filter(|pack| *pack < written.pack && self.has(*pack)) {
            let name = name_of(pack);
            let file = self.file(pack)?;
            let len = file.length().map_err(storage("measure a pack", &name))?;
            if pack == end.pack && len > end.offset {
                continue;
            }
            file.clear()
                .and_then(|()| file.sync())
                .map_err(storage("empty a pack", &name))?;
        }
        Ok(())
    }

    /// Overwrites a payload with zeroes; durable after a sync.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    fn erase(&self, at: PackAt, len: u32) -> Result<(), LogError> {
        const CHUNK: [u8; 4096] = [0; 4096];
        let name = name_of(at.pack);
        let file = self.file(at.pack)?;
        let mut from = at.offset + HEAD_BYTES as u64;
        let mut left = len as usize;
        while left > 0 {
            let now = left.min(CHUNK.len());
            file.write_at(from, &CHUNK[..now])
                .map_err(storage("erase a payload", &name))?;
            from += now as u64;
            left -= now;
        }
        Ok(())
    }

    /// Removes the packs before `pack`: no event that is kept refers to them, and no block that is
    /// kept names one of them as the packs' end.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn drop_before(&self, pack: u32) -> Result<(), LogError> {
        let old: Vec<u32> = self
            .files_mut()
            .range(..pack)
            .map(|(number, _)| *number)
            .collect();
        for number in &old {
            let name = name_of(*number);
            self.volume
                .remove(&name)
                .map_err(storage("remove a pack", &name))?;
            self.files_mut().remove(number);
        }
        if old.is_empty() {
            return Ok(());
        }
        self.volume
            .sync_names()
            .map_err(storage("sync the packs' directory", self.volume.name()))
    }

    /// Opens the packs to read whatever is there, and changes nothing.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn open_to_read(volume: V) -> Result<Self, LogError> {
        let mut files = BTreeMap::new();
        for name in volume
            .list()
            .map_err(storage("list the packs", volume.name()))?
        {
            if let Some(number) = number_of(&name) {
                let file = volume
                    .open(&name, false)
                    .map_err(storage("open a pack", &name))?;
                files.insert(number, Arc::new(file));
            }
        }
        Ok(Self {
            volume,
            files: RwLock::new(files),
        })
    }

    /// Holds the packs against where the log says that they end.
    ///
    /// # Errors
    /// [`LogError::PackMissing`], [`LogError::Storage`].
    pub(crate) fn reach(&self, end: PackAt) -> Result<(), LogError> {
        if end.pack == 0 {
            return Ok(());
        }
        let name = name_of(end.pack);
        let found = match self.file(end.pack) {
            Ok(file) => file.length().map_err(storage("measure a pack", &name))?,
            Err(_) => 0,
        };
        if found < end.offset {
            return Err(LogError::PackMissing {
                pack: format!("{}/{name}", self.volume.name()),
                found,
                expected: end.offset,
            });
        }
        Ok(())
    }

    /// Copies the part of a pack between two offsets into another volume's packs.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn copy_part<W: Volume>(
        &self,
        to: &Packs<W>,
        pack: u32,
        from: u64,
        end: Option<u64>,
    ) -> Result<(), LogError> {
        let name = name_of(pack);
        let source = self.file(pack)?;
        let length = source.length().map_err(storage("measure a pack", &name))?;
        let end = end.unwrap_or(length).min(length);
        let target = to
            .volume
            .open(&name, true)
            .map_err(storage("create a pack", &name))?;
        let mut at = from;
        let mut buffer = vec![0; COPY_BYTES];
        while at < end {
            let now = usize::try_from(end - at).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
            source
                .read_at(at, &mut buffer[..now])
                .and_then(|()| target.write_at(at, &buffer[..now]))
                .map_err(storage("copy a pack", &name))?;
            at += now as u64;
        }
        target.sync().map_err(storage("sync a pack", &name))?;
        to.files_mut().insert(pack, Arc::new(target));
        to.volume
            .sync_names()
            .map_err(storage("sync the packs' directory", to.volume.name()))
    }

    /// Whether there is a pack of this number.
    pub(crate) fn has(&self, pack: u32) -> bool {
        self.file(pack).is_ok()
    }

    /// The file of a pack.
    fn file(&self, pack: u32) -> Result<Arc<V::File>, LogError> {
        let files = self
            .files
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        files
            .get(&pack)
            .cloned()
            .ok_or_else(|| LogError::PackMissing {
                pack: format!("{}/{}", self.volume.name(), name_of(pack)),
                found: 0,
                expected: 1,
            })
    }

    /// The files, to be changed.
    fn files_mut(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<u32, Arc<V::File>>> {
        self.files
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

/// The file name of a pack.
pub(crate) fn name_of(pack: u32) -> String {
    format!("{pack:010}.pack")
}

/// The number in a pack's file name.
fn number_of(name: &str) -> Option<u32> {
    name.strip_suffix(".pack")?.parse().ok()
}
