//! The journal file: append-only, synced before anybody is answered.
//!
//! ```text
//! frame   = magic "IFDJ" · payload length u32 · sequence u64 · header check (8 bytes)
//!           · payload · digest (32 bytes) · end mark (1 byte, never zero)
//! digest  = SHA-256(digest of the frame before ‖ header ‖ payload)
//! payload = bincode of `Genesis` in frame 0, of `Vec<Entry>` in all others
//! ```
//!
//! A frame holds all that one sync made durable, so only the last frame can be torn, and nothing
//! in it was acknowledged. The header's own check makes the length trustworthy: a frame is torn
//! when the file ends before its end mark, or when its end was never written (zeros). Anything
//! else that does not check is damage, and is refused without a change to the file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::entry::{Entry, FORMAT, Genesis};
use super::error::DevnetError;
use super::limits::{JOURNAL_FRAME_BYTES_MAX, TAKEOVER_WAIT};

const MAGIC: [u8; 4] = *b"IFDJ";
const HEADER_BYTES: usize = 24;
const TRAILER_BYTES: usize = 33;
const END_MARK: u8 = 0xa5;
const FILE_NAME: &str = "devnet.journal";
const LOCK_NAME: &str = "devnet.lock";

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    digest: [u8; 32],
    sequence: u64,
    /// Set by the first failed write: what is on disk behind it is unknown, so nothing may follow.
    broken: bool,
    /// Held as long as the journal is open.
    _lock: File,
}

/// An opened journal and what it holds.
pub(super) struct Opened {
    /// The journal, ready for appending.
    pub(super) journal: Journal,
    /// What the chain starts from.
    pub(super) genesis: Genesis,
    /// All steps since.
    pub(super) entries: Vec<Entry>,
}

impl Journal {
    /// Opens the journal in `dir`, or creates it with `genesis`.
    ///
    /// # Durability
    /// When it returns, a new journal and its directory entry are on disk, and a torn end is cut.
    ///
    /// # Errors
    /// Storage, lock and format errors; damage. A damaged file is left as it is.
    pub(super) fn open(dir: &Path, genesis: &Genesis) -> Result<Opened, DevnetError> {
        std::fs::create_dir_all(dir).map_err(|source| storage(dir, source))?;
        let lock = lock(dir)?;
        let path = dir.join(FILE_NAME);
        if !path.try_exists().map_err(|source| storage(&path, source))? {
            create(dir, &path, genesis)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&path)
            .map_err(|source| storage(&path, source))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|source| storage(&path, source))?;

        let mut reader = Reader {
            path: &path,
            bytes: &bytes,
            offset: 0,
            digest: [0; 32],
            next: 0,
        };
        let first = reader
            .frame()?
            .ok_or_else(|| reader.damaged("the first frame is incomplete"))?;
        // The format number comes first, and is read alone: what follows it may have changed.
        let config = bincode::config::standard();
        let (found, _) = bincode::serde::decode_from_slice::<u32, _>(first, config)
            .map_err(|_| reader.damaged("the first frame has no format number"))?;
        if found > FORMAT {
            return Err(DevnetError::NewerFormat {
                path,
                found,
                supported: FORMAT,
            });
        }
        let genesis: Genesis = reader.decode(first)?;
        let mut entries = Vec::new();
        while let Some(payload) = reader.frame()? {
            entries.extend(reader.decode::<Vec<Entry>>(payload)?);
        }
        let Reader {
            offset,
            digest,
            next,
            ..
        } = reader;
        if offset < bytes.len() {
            file.set_len(offset as u64)
                .map_err(|source| storage(&path, source))?;
        }
        // What a killed process wrote is visible, but not necessarily on disk yet.
        file.sync_all().map_err(|source| storage(&path, source))?;
        sync_dir(dir)?;
        file.seek(SeekFrom::End(0))
            .map_err(|source| storage(&path, source))?;
        let journal = Self {
            path,
            file,
            digest,
            sequence: next,
            broken: false,
            _lock: lock,
        };
        Ok(Opened {
            journal,
            genesis,
            entries,
        })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one frame with these entries.
    ///
    /// # Durability
    /// When it returns `Ok`, the entries survive the process and the power supply. After an error
    /// nothing more is written by this process.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), DevnetError> {
        if self.broken {
            let source = std::io::Error::other("an earlier write failed; start again");
            return Err(storage(&self.path, source));
        }
        let (frame, digest) = encode(&entries, self.sequence, &self.digest)
            .map_err(|source| storage(&self.path, source))?;
        let written = self
            .file
            .write_all(&frame)
            .and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            self.broken = true;
            return Err(storage(&self.path, source));
        }
        self.digest = digest;
        self.sequence += 1;
        Ok(())
    }

    /// Makes every further write fail, as a full disk would.
    #[cfg(test)]
    pub(super) fn break_for_test(&mut self) {
        self.file = File::open(&self.path).unwrap();
    }
}

fn storage(path: &Path, source: std::io::Error) -> DevnetError {
    DevnetError::Storage {
        path: path.to_path_buf(),
        source,
    }
}

fn lock(dir: &Path) -> Result<File, DevnetError> {
    let path = dir.join(LOCK_NAME);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| storage(&path, source))?;
    let patience = Instant::now() + TAKEOVER_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(storage(&path, source)),
            Err(TryLockError::WouldBlock) if Instant::now() >= patience => {
                return Err(DevnetError::Locked(dir.to_path_buf()));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Writes the first frame beside the final name, so that a journal without it never exists.
fn create(dir: &Path, path: &Path, genesis: &Genesis) -> Result<(), DevnetError> {
    let draft = path.with_extension("new");
    let (frame, _) = encode(genesis, 0, &[0; 32]).map_err(|source| storage(&draft, source))?;
    File::create(&draft)
        .and_then(|mut file| file.write_all(&frame).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&draft, path))
        .map_err(|source| storage(&draft, source))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> Result<(), DevnetError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| storage(dir, source))
}

fn header_check(header: &[u8]) -> [u8; 8] {
    let digest: [u8; 32] = Sha256::digest(header).into();
    let mut check = [0; 8];
    check.copy_from_slice(&digest[..8]);
    check
}

fn encode<T: Serialize>(
    value: &T,
    sequence: u64,
    previous: &[u8; 32],
) -> std::io::Result<(Vec<u8>, [u8; 32])> {
    let payload = bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(std::io::Error::other)?;
    if payload.len() > JOURNAL_FRAME_BYTES_MAX {
        return Err(std::io::Error::other(
            "one step is larger than a journal frame may be",
        ));
    }
    let length = u32::try_from(payload.len()).map_err(std::io::Error::other)?;
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len() + TRAILER_BYTES);
    frame.extend(MAGIC);
    frame.extend(length.to_be_bytes());
    frame.extend(sequence.to_be_bytes());
    frame.extend(header_check(&frame));
    frame.extend(payload);
    let digest: [u8; 32] = Sha256::new()
        .chain_update(previous)
        .chain_update(&frame)
        .finalize()
        .into();
    frame.extend(digest);
    frame.push(END_MARK);
    Ok((frame, digest))
}

/// Walks the frames of a journal in memory.
struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    offset: usize,
    digest: [u8; 32],
    next: u64,
}

impl<'a> Reader<'a> {
    fn damaged(&self, what: &str) -> DevnetError {
        DevnetError::Damaged {
            path: self.path.to_path_buf(),
            offset: self.offset as u64,
            what: what.to_string(),
        }
    }

    /// The next payload; `None` at the end of the file or at a torn frame.
    fn frame(&mut self) -> Result<Option<&'a [u8]>, DevnetError> {
        let rest = &self.bytes[self.offset..];
        let unwritten = rest.last().is_none_or(|byte| *byte == 0);
        if rest.len() < HEADER_BYTES {
            return Ok(None);
        }
        let (header, check) = rest[..HEADER_BYTES].split_at(HEADER_BYTES - 8);
        if header[..4] != MAGIC || header_check(header) != *check {
            return if unwritten {
                Ok(None)
            } else {
                Err(self.damaged("no frame starts here"))
            };
        }
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let mut sequence = [0; 8];
        sequence.copy_from_slice(&header[8..16]);
        if u64::from_be_bytes(sequence) != self.next {
            return Err(self.damaged("a frame is missing before this one"));
        }
        let size = HEADER_BYTES + length + TRAILER_BYTES;
        let Some(frame) = rest.get(..size) else {
            return Ok(None);
        };
        let (body, trailer) = frame.split_at(HEADER_BYTES + length);
        let digest: [u8; 32] = Sha256::new()
            .chain_update(self.digest)
            .chain_update(body)
            .finalize()
            .into();
        if trailer[32] != END_MARK || trailer[..32] != digest {
            // Zeros up to the very end of the file: the size grew, the data never arrived.
            return if unwritten {
                Ok(None)
            } else {
                Err(self.damaged("the checksum is wrong"))
            };
        }
        self.digest = digest;
        self.next += 1;
        self.offset += size;
        Ok(Some(&body[HEADER_BYTES..]))
    }

    fn decode<T: DeserializeOwned>(&self, payload: &[u8]) -> Result<T, DevnetError> {
        let config = bincode::config::standard().with_limit::<{ 4 * JOURNAL_FRAME_BYTES_MAX }>();
        match bincode::serde::decode_from_slice(payload, config) {
            Ok((value, used)) if used == payload.len() => Ok(value),
            Ok(_) => Err(self.damaged("a frame holds more than its entries")),
            Err(error) => Err(self.damaged(&format!("a frame cannot be decoded: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devnet::entry::Rules;

    fn genesis() -> Genesis {
        Genesis {
            format: FORMAT,
            chain_id: 31337,
            hardfork: Rules::Prague,
            timestamp: 1,
            gas_limit: 30_000_000,
            base_fee: 1,
            accounts: Vec::new(),
        }
    }

    fn step(seconds: i64) -> Entry {
        Entry::SetTimeOffset { seconds }
    }

    /// A journal of three frames; returns its bytes and where the last frame starts.
    fn three_frames(dir: &Path) -> (Vec<u8>, usize) {
        let mut opened = Journal::open(dir, &genesis()).unwrap();
        opened.journal.append(&[step(1), step(2)]).unwrap();
        let last = std::fs::metadata(opened.journal.path()).unwrap().len();
        opened.journal.append(&[step(3)]).unwrap();
        (std::fs::read(opened.journal.path()).unwrap(), last as usize)
    }

    fn reopen(dir: &Path, bytes: &[u8]) -> Result<Vec<Entry>, DevnetError> {
        std::fs::write(dir.join(FILE_NAME), bytes).unwrap();
        Journal::open(dir, &genesis()).map(|opened| opened.entries)
    }

    #[test]
    fn a_torn_end_is_cut_wherever_it_tears() {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, last) = three_frames(dir.path());
        assert_eq!(
            reopen(dir.path(), &bytes).unwrap(),
            [step(1), step(2), step(3)]
        );
        for end in last..bytes.len() {
            assert_eq!(
                reopen(dir.path(), &bytes[..end]).unwrap(),
                [step(1), step(2)]
            );
            let mut padded = bytes[..end].to_vec();
            padded.resize(bytes.len(), 0);
            assert_eq!(reopen(dir.path(), &padded).unwrap(), [step(1), step(2)]);
        }
        let mut opened = Journal::open(dir.path(), &genesis()).unwrap();
        opened.journal.append(&[step(4)]).unwrap();
        drop(opened);
        let entries = Journal::open(dir.path(), &genesis()).unwrap().entries;
        assert_eq!(entries, [step(1), step(2), step(4)]);
    }

    #[test]
    fn every_flipped_bit_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, _) = three_frames(dir.path());
        for position in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[position] ^= 0x10;
            let refused = reopen(dir.path(), &flipped).unwrap_err();
            assert!(
                matches!(refused, DevnetError::Damaged { .. }),
                "byte {position}: {refused}"
            );
            assert_eq!(std::fs::read(dir.path().join(FILE_NAME)).unwrap(), flipped);
        }
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let dir = tempfile::tempdir().unwrap();
        let held = Journal::open(dir.path(), &genesis()).unwrap();
        let refused = Journal::open(dir.path(), &genesis()).err();
        assert!(matches!(refused, Some(DevnetError::Locked(_))));
        // One that is about to end is waited for.
        let dying = std::thread::spawn(move || {
            std::thread::sleep(TAKEOVER_WAIT / 4);
            drop(held);
        });
        Journal::open(dir.path(), &genesis()).unwrap();
        dying.join().unwrap();
    }

    #[test]
    fn a_newer_format_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let newer = Genesis {
            format: FORMAT + 1,
            ..genesis()
        };
        let refused = Journal::open(dir.path(), &newer).err();
        assert!(matches!(
            refused,
            Some(DevnetError::NewerFormat {
                found: 2,
                supported: 1,
                ..
            })
        ));
    }

    #[test]
    fn after_a_failed_write_nothing_more_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), &genesis()).unwrap().journal;
        let path = journal.path().to_path_buf();
        journal.break_for_test();
        assert!(journal.append(&[step(1)]).is_err());
        journal.file = OpenOptions::new().append(true).open(path).unwrap();
        assert!(journal.append(&[step(2)]).is_err());
        drop(journal);
        assert!(
            Journal::open(dir.path(), &genesis())
                .unwrap()
                .entries
                .is_empty()
        );
    }
}
