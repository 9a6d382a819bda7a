//! Blocks one behind the other in a file: what mirrors and archives are made of.
//!
//! The file begins with a head of 48 bytes: magic `IFLG` (4), format (1), three zeroes, position
//! before the first event (8), chain hash there (32). The head is covered by the first block,
//! which names the same position and hash. Then come blocks, see [`super::block`].

use infernet_state::types::{Hash, Seq};

use super::{
    Head, LogError, Stored,
    block::{self, Block, BlockError, PackAt},
    limits::BLOCK_BYTES_MAX,
    store::damaged,
    volume::{VolumeFile, storage},
};

/// The first bytes of a block file.
const MAGIC: [u8; 4] = *b"IFLG";

/// The format of block files that this program writes, and the only one so far.
const FORMAT: u8 = 1;

/// The bytes before the first block.
pub(crate) const HEAD_BYTES: usize = 48;

/// What a scan reads at once, in bytes: many blocks, and never less than the largest.
const SCAN_BYTES: usize = 8 * BLOCK_BYTES_MAX;

/// What to make of bytes behind the last whole commit.
///
/// A crash leaves such bytes: they were never acknowledged. It leaves no whole block behind them,
/// unless the first of them never got its magic, which is written when the others are durable (see
/// [`BlockFile::append`]). Anything else is damage to what was acknowledged, and is refused, and
/// so is a file that ends before the event that is named here, which is known to be acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tail {
    /// They are cut off.
    Cut(Seq),
    /// They are left where they are, and not read.
    Leave(Seq),
    /// There must be none: the file was closed.
    Refuse,
}

/// A block of the file.
#[derive(Clone, Copy, Debug)]
struct Entry {
    first: Seq,
    at: u64,
    len: u32,
}

/// An open block file with the places of its blocks.
#[derive(Debug)]
pub(crate) struct BlockFile<F> {
    file: F,
    name: String,
    base: Head,
    entries: Vec<Entry>,
    end: u64,
    head: Head,
    packs: PackAt,
}

impl<F: VolumeFile> BlockFile<F> {
    /// Writes the head of a new file; durable after [`BlockFile::sync`].
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn create(file: F, name: &str, base: Head, packs: PackAt) -> Result<Self, LogError> {
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&MAGIC);
        head[4] = FORMAT;
        head[8..16].copy_from_slice(&base.seq.0.to_be_bytes());
        head[16..].copy_from_slice(&base.hash.0);
        file.set_len(0)
            .and_then(|()| file.write_at(0, &head))
            .map_err(storage("begin", name))?;
        Ok(Self {
            file,
            name: name.to_owned(),
            base,
            entries: Vec::new(),
            end: HEAD_BYTES as u64,
            head: base,
            packs,
        })
    }

    /// Reads a file through, checking every block and the chain. `Ok(None)` when not even the
    /// head is whole, nothing is behind it and `tail` is [`Tail::Cut`]: the file was never begun
    /// durably.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn open(file: F, name: &str, tail: Tail) -> Result<Option<Self>, LogError> {
        let len = file.length().map_err(storage("measure", name))?;
        let mut head = [0; HEAD_BYTES];
        if len >= HEAD_BYTES as u64 {
            file.read_at(0, &mut head).map_err(storage("read", name))?;
        }
        if head[..4] != MAGIC || head[4] != FORMAT || head[5..8] != [0; 3] {
            // Blocks come behind a head that is durable.
            return if tail == Tail::Cut(Seq(0)) && len <= HEAD_BYTES as u64 {
                Ok(None)
            } else {
                Err(damaged(Seq(0), format!("{name} is no block file")))
            };
        }
        let mut seq = [0; 8];
        seq.copy_from_slice(&head[8..16]);
        let mut hash = [0; 32];
        hash.copy_from_slice(&head[16..]);
        let base = Head {
            seq: Seq(u64::from_be_bytes(seq)),
            hash: Hash(hash),
        };
        let mut opened = Self {
            file,
            name: name.to_owned(),
            base,
            entries: Vec::new(),
            end: HEAD_BYTES as u64,
            head: base,
            packs: PackAt::default(),
        };
        opened.scan(len, tail)?;
        Ok(Some(opened))
    }

    /// Finds the blocks; stops at the first that does not fit.
    fn scan(&mut self, len: u64, tail: Tail) -> Result<(), LogError> {
        let mut buffer = Vec::new();
        let mut at = self.end;
        // Blocks of a commit whose last block is yet to come.
        let mut open: Vec<Entry> = Vec::new();
        let mut head = self.head;
        let mut why = None;
        while at < len {
            let want = usize::try_from(len - at).map_or(SCAN_BYTES, |left| left.min(SCAN_BYTES));
            buffer.resize(want, 0);
            self.file
                .read_at(at, &mut buffer)
                .map_err(storage("read", &self.name))?;
            let mut used = 0;
            while used < want {
                let (block, size) = match follow(&buffer[used..], head) {
                    Ok(found) => found,
                    Err(BlockError::Short { .. }) if used > 0 && at + (want as u64) < len => break,
                    Err(error) => {
                        why = Some(error);
                        break;
                    }
                };
                open.push(Entry {
                    first: block.first,
                    at: at + used as u64,
                    len: u32::try_from(size).expect("within BLOCK_BYTES_MAX"),
                });
                head = block.head();
                used += size;
                if block.ends_commit {
                    self.entries.append(&mut open);
                    self.end = at + used as u64;
                    self.head = head;
                    self.packs = block.packs;
                }
            }
            at += used as u64;
            if why.is_some() {
                break;
            }
        }
        let acknowledged = match tail {
            Tail::Cut(seq) | Tail::Leave(seq) => seq,
            Tail::Refuse => self.head.seq,
        };
        if self.end == len && self.head.seq >= acknowledged {
            return Ok(());
        }
        let torn = tail != Tail::Refuse
            && self.head.seq >= acknowledged
            && (self.never_begun(len)? || !self.holds_block(at + 1, len)?);
        if !torn {
            let why = match why {
                Some(error) => error.to_string(),
                None if self.end == len => format!("it ends, but had event {acknowledged}"),
                None => "the last commit is incomplete".to_owned(),
            };
            return Err(damaged(
                Seq(self.head.seq.0 + 1),
                format!("{}: {why}", self.name),
            ));
        }
        if matches!(tail, Tail::Leave(_)) {
            return Ok(());
        }
        self.file
            .set_len(self.end)
            .and_then(|()| self.file.sync())
            .map_err(storage("cut off", &self.name))
    }

    /// Whether the magic of what stands behind the last whole commit was never written, or not to
    /// its end.
    fn never_begun(&self, len: u64) -> Result<bool, LogError> {
        let mut magic = [0; block::MAGIC.len()];
        let there = usize::try_from(len - self.end).map_or(magic.len(), |all| all.min(magic.len()));
        self.file
            .read_at(self.end, &mut magic[..there])
            .map_err(storage("read", &self.name))?;
        let written = magic
            .iter()
            .zip(block::MAGIC)
            .take_while(|(found, byte)| *found == byte);
        let written = written.count();
        Ok(written < magic.len() && magic[written..].iter().all(|byte| *byte == 0))
    }

    /// Whether a whole block begins anywhere from a place on.
    fn holds_block(&self, mut from: u64, len: u64) -> Result<bool, LogError> {
        let mut buffer = Vec::new();
        while from < len {
            let want = usize::try_from(len - from).map_or(SCAN_BYTES, |left| left.min(SCAN_BYTES));
            buffer.resize(want, 0);
            self.file
                .read_at(from, &mut buffer)
                .map_err(storage("read", &self.name))?;
            // A block that does not end here is found with the next part.
            let last = from + want as u64 == len;
            let begins = if last { want } else { want - BLOCK_BYTES_MAX };
            let whole = |at: &usize| {
                buffer[*at..].starts_with(&block::MAGIC)
                    && Block::parse(&buffer[*at..]).is_ok_and(|(block, _)| block.check().is_ok())
            };
            if (0..begins).any(|at| whole(&at)) {
                return Ok(true);
            }
            from += begins as u64;
        }
        Ok(false)
    }

    /// The head before its first event.
    pub(crate) fn base(&self) -> Head {
        self.base
    }

    /// The head after its last event.
    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// Where the packs end after its last event.
    pub(crate) fn packs(&self) -> PackAt {
        self.packs
    }

    /// Adds blocks as one step; durable after [`BlockFile::sync`]. Of several the first gets its
    /// magic when everything else is durable: a power cut leaves all of them or none.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    ///
    /// # Panics
    /// When a block does not follow the last one.
    pub(crate) fn append<B: AsRef<[u8]>>(&mut self, blocks: &[B]) -> Result<(), LogError> {
        let mut bytes = Vec::with_capacity(blocks.iter().map(|block| block.as_ref().len()).sum());
        for block in blocks {
            let block = block.as_ref();
            let (parsed, size) = Block::parse(block).expect("a block of our own");
            assert_eq!(parsed.head_before(), self.head, "the chain goes on");
            self.entries.push(Entry {
                first: parsed.first,
                at: self.end + bytes.len() as u64,
                len: u32::try_from(size).expect("within BLOCK_BYTES_MAX"),
            });
            self.head = parsed.head();
            self.packs = parsed.packs;
            bytes.extend_from_slice(block);
        }
        let magic = block::MAGIC.len();
        let write = || {
            if blocks.len() < 2 {
                return self.file.write_at(self.end, &bytes);
            }
            self.file
                .write_at(self.end + magic as u64, &bytes[magic..])?;
            self.file.sync()?;
            self.file.write_at(self.end, &bytes[..magic])
        };
        write().map_err(storage("write", &self.name))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn sync(&self) -> Result<(), LogError> {
        self.file.sync().map_err(storage("sync", &self.name))
    }

    /// The bytes of the block that holds `seq`; `None` outside the file.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub(crate) fn block(&self, seq: Seq) -> Result<Option<Vec<u8>>, LogError> {
        if seq > self.head.seq {
            return Ok(None);
        }
        let behind = self.entries.partition_point(|entry| entry.first <= seq);
        let Some(entry) = behind.checked_sub(1).map(|at| self.entries[at]) else {
            return Ok(None);
        };
        self.read_entry(entry).map(Some)
    }

    /// At most `limit` events from `from` on.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn read(&self, from: Seq, limit: usize) -> Result<Vec<Stored>, LogError> {
        let mut out = Vec::new();
        let behind = self.entries.partition_point(|entry| entry.first <= from);
        for entry in &self.entries[behind.saturating_sub(1)..] {
            if out.len() >= limit {
                break;
            }
            let bytes = self.read_entry(*entry)?;
            Block::parse(&bytes)
                .and_then(|(block, _)| block.read_into(from, &mut out))
                .map_err(|error| damaged(entry.first, error))?;
        }
        out.truncate(limit);
        Ok(out)
    }

    /// Hands the bytes of every block over, in order.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn blocks(
        &self,
        mut each: impl FnMut(&[u8]) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        self.entries
            .iter()
            .try_for_each(|entry| each(&self.read_entry(*entry)?))
    }

    fn read_entry(&self, entry: Entry) -> Result<Vec<u8>, LogError> {
        let mut bytes = vec![0; entry.len as usize];
        self.file
            .read_at(entry.at, &mut bytes)
            .map_err(storage("read", &self.name))?;
        Ok(bytes)
    }
}

/// The block at the beginning of `bytes`, if it is whole and follows `head`.
pub(crate) fn follow(bytes: &[u8], head: Head) -> Result<(Block<'_>, usize), BlockError> {
    let (block, size) = Block::parse(bytes)?;
    if block.head_before() != head {
        return Err(BlockError::Malformed(
            "it does not follow the block before it",
        ));
    }
    block.check()?;
    Ok((block, size))
}
