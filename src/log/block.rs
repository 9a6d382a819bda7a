//! Several events of one commit as one record of the store, with their payloads beside them.
//!
//! A store's cost is per record, so the events of a commit are packed. Numbers are big-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic `IFBK` |
//! | 4 | 1 | format of the block, 1 |
//! | 5 | 1 | 1 when the commit ends with this block, 0 when more blocks follow |
//! | 6 | 2 | number of events, at least 1 |
//! | 8 | 8 | position of the first event |
//! | 16 | 32 | chain hash before the first event |
//! | 48 | 32 | chain hash after the last event |
//! | 80 | 4 + 8 | where the packs end: number of the pack, offset in it |
//! | 92 | 4 | length of the frames |
//! | 96 | 4 | length of the payload entries |
//! | 100 | 4 | CRC-32 of all other bytes of the block |
//! | 104 | … | frames, see [`super::frame`] |
//! | … | … | payload entries |
//!
//! A payload entry: index of its event in the block (2), place (1: 1 inline, 2 pack), erased (1),
//! length of the payload (4), its SHA-256 (32); then the bytes themselves, or number (4) and
//! offset (8) of the pack. The chain covers events only, so that payloads can be erased; an
//! erased inline payload leaves zeroes of the same length.

use infernet_state::{
    codec::EncodedEvent,
    types::{Hash, PayloadRef, Seq},
};

use super::{
    Head, Stored,
    frame::{self, Frame, FrameError},
    limits::BLOCK_BYTES_MAX,
};

/// The first bytes of every block.
pub const MAGIC: [u8; 4] = *b"IFBK";

/// The format of blocks that this program writes, and the only one so far.
pub const FORMAT: u8 = 1;

/// The bytes before the frames.
pub const HEAD_BYTES: usize = 104;

/// The bytes of a payload entry without the payload.
pub const ENTRY_BYTES: usize = 40;

/// The bytes of the place in a pack.
const PACK_PLACE_BYTES: usize = 12;

/// The most bytes of an entry beside an inline payload.
pub const ENTRY_BYTES_MAX: usize = ENTRY_BYTES + PACK_PLACE_BYTES;

/// Offset of the checksum.
const CHECKSUM_AT: usize = 100;

/// Why bytes are no block.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlockError {
    /// The bytes end within the block.
    #[error("the block is cut off: {have} of {need} bytes")]
    Short {
        /// Bytes at hand.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// Something else than a block.
    #[error("no block: it begins with {found:02x?}")]
    Magic {
        /// What stands there.
        found: [u8; 4],
    },
    /// A format that this program does not know.
    #[error("block format {found}, known is {FORMAT}")]
    Format {
        /// The format.
        found: u8,
    },
    /// A length beyond the bound.
    #[error("a block of {len} bytes, the limit is {BLOCK_BYTES_MAX}")]
    Length {
        /// The length.
        len: usize,
    },
    /// The checksum does not fit the bytes.
    #[error("checksum {found:08x}, the bytes give {computed:08x}")]
    Checksum {
        /// What the block says.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// The parts contradict each other.
    #[error("{0}")]
    Malformed(&'static str),
    /// A frame does not decode.
    #[error("event {seq}: {source}")]
    Frame {
        /// Its position.
        seq: Seq,
        /// Why.
        source: FrameError,
    },
    /// The events do not hash to what the block says.
    #[error("the chain hash after event {seq} is {computed}, recorded is {found}")]
    Chain {
        /// The last event of the block.
        seq: Seq,
        /// What the block says.
        found: Hash,
        /// What the events give.
        computed: Hash,
    },
}

/// A place in the packs: where an entry begins, or where the packs end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct PackAt {
    /// Number of the pack; the first is 1, 0 stands for "no pack yet".
    pub pack: u32,
    /// Offset in it, in bytes.
    pub offset: u64,
}

/// Where the bytes of a payload stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place<'a> {
    /// In the block.
    Inline(&'a [u8]),
    /// In a pack.
    Pack(PackAt),
}

/// A payload of one event of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// Which event of the block, from 0.
    pub index: u16,
    /// What the bytes are.
    pub reference: PayloadRef,
    /// Whether they were erased.
    pub erased: bool,
    /// Where they stand.
    pub place: Place<'a>,
}

/// A block that borrows its bytes; its lengths and checksum are checked, its chain is not yet.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Whether the commit ends with it.
    pub ends_commit: bool,
    /// Number of events.
    pub count: u16,
    /// Position of the first event.
    pub first: Seq,
    /// Chain hash before the first event.
    pub previous: Hash,
    /// Chain hash after the last event.
    pub hash: Hash,
    /// Where the packs ended when the commit was made.
    pub packs: PackAt,
    frames: &'a [u8],
    payloads: &'a [u8],
}

impl<'a> Block<'a> {
    /// Checks the head and the checksum of the block at the beginning of `bytes`; also returns
    /// how many bytes it takes.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, usize), BlockError> {
        let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else {
            return Err(BlockError::Short {
                have: bytes.len(),
                need: HEAD_BYTES,
            });
        };
        let magic = array(head, 0);
        if magic != MAGIC {
            return Err(BlockError::Magic { found: magic });
        }
        if head[4] != FORMAT {
            return Err(BlockError::Format { found: head[4] });
        }
        let frames_len = u32::from_be_bytes(array(head, 92)) as usize;
        let payloads_len = u32::from_be_bytes(array(head, 96)) as usize;
        let len = HEAD_BYTES
            .saturating_add(frames_len)
            .saturating_add(payloads_len);
        if len > BLOCK_BYTES_MAX {
            return Err(BlockError::Length { len });
        }
        if bytes.len() < len {
            return Err(BlockError::Short {
                have: bytes.len(),
                need: len,
            });
        }
        let found = u32::from_be_bytes(array(head, CHECKSUM_AT));
        let computed = checksum(&bytes[..len]);
        if found != computed {
            return Err(BlockError::Checksum { found, computed });
        }
        let ends_commit = match head[5] {
            0 => false,
            1 => true,
            _ => {
                return Err(BlockError::Malformed(
                    "the mark of a commit's end is neither 0 nor 1",
                ));
            }
        };
        let block = Self {
            ends_commit,
            count: u16::from_be_bytes(array(head, 6)),
            first: Seq(u64::from_be_bytes(array(head, 8))),
            previous: Hash(array(head, 16)),
            hash: Hash(array(head, 48)),
            packs: PackAt {
                pack: u32::from_be_bytes(array(head, 80)),
                offset: u64::from_be_bytes(array(head, 84)),
            },
            frames: &rest[..frames_len],
            payloads: &rest[frames_len..frames_len + payloads_len],
        };
        if block.count == 0 || block.first.0 == 0 {
            return Err(BlockError::Malformed(
                "a block without events or before the first event",
            ));
        }
        if block.first.0.checked_add(u64::from(block.count)).is_none() {
            return Err(BlockError::Malformed(
                "positions beyond the last possible one",
            ));
        }
        Ok((block, len))
    }

    /// Position of the last event.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.first.0 + u64::from(self.count) - 1)
    }

    /// What the log's head was after this block.
    #[must_use]
    pub fn head(&self) -> Head {
        Head {
            seq: self.last(),
            hash: self.hash,
        }
    }

    /// What the log's head was before this block.
    #[must_use]
    pub fn head_before(&self) -> Head {
        Head {
            seq: Seq(self.first.0 - 1),
            hash: self.previous,
        }
    }

    /// Hands every event with its position and chain hash to `each`, and checks that frames,
    /// count and chain hash agree.
    ///
    /// # Errors
    /// [`BlockError`]; events already handed over are then not to be trusted.
    pub fn events(&self, mut each: impl FnMut(Seq, Hash, Frame<'a>)) -> Result<(), BlockError> {
        let mut rest = self.frames;
        let mut seq = self.first;
        let mut hash = self.previous;
        for _ in 0..self.count {
            let (frame, len) =
                frame::decode(rest).map_err(|source| BlockError::Frame { seq, source })?;
            hash = frame::chain(&hash, seq, frame.kind, frame.version, frame.body);
            each(seq, hash, frame);
            seq = Seq(seq.0 + 1);
            rest = &rest[len..];
        }
        if !rest.is_empty() {
            return Err(BlockError::Malformed("bytes behind the last event"));
        }
        if hash != self.hash {
            return Err(BlockError::Chain {
                seq: self.last(),
                found: self.hash,
                computed: hash,
            });
        }
        Ok(())
    }

    /// Checks frames and chain without using them.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn check(&self) -> Result<(), BlockError> {
        self.events(|_, _, _| ())?;
        self.payloads(|_| ())
    }

    /// Every event from `from` on.
    ///
    /// # Errors
    /// [`BlockError`]; then nothing was added to `out` that stays there.
    pub fn read_into(&self, from: Seq, out: &mut Vec<Stored>) -> Result<(), BlockError> {
        let before = out.len();
        let result = self.events(|seq, hash, frame| {
            if seq >= from {
                let event = frame.to_event();
                out.push(Stored { seq, hash, event });
            }
        });
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    /// Hands every payload entry to `each`, in the order of their events.
    ///
    /// # Errors
    /// [`BlockError::Malformed`].
    pub fn payloads(&self, mut each: impl FnMut(Entry<'a>)) -> Result<(), BlockError> {
        const CUT: BlockError = BlockError::Malformed("a payload entry is cut off");
        let mut rest = self.payloads;
        while !rest.is_empty() {
            let (head, tail) = rest.split_at_checked(ENTRY_BYTES).ok_or(CUT)?;
            let index = u16::from_be_bytes(array(head, 0));
            if index >= self.count {
                return Err(BlockError::Malformed(
                    "a payload of an event outside the block",
                ));
            }
            let erased = match head[3] {
                0 => false,
                1 => true,
                _ => return Err(BlockError::Malformed("the erased mark is neither 0 nor 1")),
            };
            let reference = PayloadRef {
                len: u32::from_be_bytes(array(head, 4)),
                hash: Hash(array(head, 8)),
            };
            let (place, used) = match head[2] {
                1 => {
                    let len = reference.len as usize;
                    (Place::Inline(tail.get(..len).ok_or(CUT)?), len)
                }
                2 => {
                    let at = tail.get(..PACK_PLACE_BYTES).ok_or(CUT)?;
                    let at = PackAt {
                        pack: u32::from_be_bytes(array(at, 0)),
                        offset: u64::from_be_bytes(array(at, 4)),
                    };
                    (Place::Pack(at), PACK_PLACE_BYTES)
                }
                _ => {
                    return Err(BlockError::Malformed(
                        "a payload neither inline nor in a pack",
                    ));
                }
            };
            each(Entry {
                index,
                reference,
                erased,
                place,
            });
            rest = &tail[used..];
        }
        Ok(())
    }

    /// The entry of a payload of the event at `seq`.
    ///
    /// # Errors
    /// [`BlockError::Malformed`].
    pub fn payload(
        &self,
        seq: Seq,
        reference: PayloadRef,
    ) -> Result<Option<Entry<'a>>, BlockError> {
        let mut found = None;
        self.payloads(|entry| {
            let owner = Seq(self.first.0 + u64::from(entry.index));
            if owner == seq && entry.reference == reference {
                found = Some(entry);
            }
        })?;
        Ok(found)
    }
}

/// A block without the bytes of some of its payloads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Erased {
    /// The block: same length, same events, same chain.
    pub block: Vec<u8>,
    /// Where erased payloads stand in packs, with their lengths: to be overwritten there.
    pub packs: Vec<(PackAt, u32)>,
}

/// Erases a payload of the event at `seq`; `None` when the block has no such payload.
///
/// # Errors
/// [`BlockError`] when `bytes` are no block.
pub fn erase(bytes: &[u8], seq: Seq, reference: PayloadRef) -> Result<Option<Erased>, BlockError> {
    let mut found = false;
    let erased = erase_where(bytes, |owner, payload| {
        let is_it = owner == seq && payload == reference;
        found |= is_it;
        is_it
    })?;
    Ok(found.then_some(erased))
}

/// Erases all payloads of a block.
///
/// # Errors
/// [`BlockError`] when `bytes` are no block.
pub fn erase_all(bytes: &[u8]) -> Result<Erased, BlockError> {
    erase_where(bytes, |_, _| true)
}

/// Erases the payloads that `which` chooses by the position of their event.
fn erase_where(
    bytes: &[u8],
    mut which: impl FnMut(Seq, PayloadRef) -> bool,
) -> Result<Erased, BlockError> {
    let (block, len) = Block::parse(bytes)?;
    let mut out = bytes[..len].to_vec();
    let mut at = HEAD_BYTES + block.frames.len();
    let mut packs = Vec::new();
    block.payloads(|entry| {
        let size = match entry.place {
            Place::Inline(bytes) => bytes.len(),
            Place::Pack(_) => PACK_PLACE_BYTES,
        };
        let owner = Seq(block.first.0 + u64::from(entry.index));
        if which(owner, entry.reference) {
            out[at + 3] = 1;
            match entry.place {
                Place::Inline(_) => out[at + ENTRY_BYTES..at + ENTRY_BYTES + size].fill(0),
                // One that was erased before it came here stands in no pack.
                Place::Pack(place) if place.pack > 0 => packs.push((place, entry.reference.len)),
                Place::Pack(_) => {}
            }
        }
        at += ENTRY_BYTES + size;
    })?;
    let sum = checksum(&out).to_be_bytes();
    out[CHECKSUM_AT..HEAD_BYTES].copy_from_slice(&sum);
    Ok(Erased { block: out, packs })
}

/// Collects the events of one block.
#[derive(Debug)]
pub struct Builder {
    before: Head,
    hash: Hash,
    count: u16,
    /// Room for the head, then the frames.
    block: Vec<u8>,
    payloads: Vec<u8>,
}

impl Builder {
    /// A block that follows `before`, expected to take about `len` bytes.
    #[must_use]
    pub fn new(before: Head, len: usize) -> Self {
        let mut block = Vec::with_capacity(HEAD_BYTES + len);
        block.resize(HEAD_BYTES, 0);
        Self {
            before,
            hash: before.hash,
            count: 0,
            block,
            payloads: Vec::new(),
        }
    }

    /// Whether it holds no event yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it can take no event more, whatever its size.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.count == u16::MAX
    }

    /// Its length, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.block.len() + self.payloads.len()
    }

    /// What the log's head is after it.
    #[must_use]
    pub fn head(&self) -> Head {
        Head {
            seq: Seq(self.before.seq.0 + u64::from(self.count)),
            hash: self.hash,
        }
    }

    /// Adds an event with the places of its payloads; `None` for one that was erased elsewhere.
    ///
    /// # Errors
    /// [`FrameError::Length`].
    pub fn push(
        &mut self,
        event: &EncodedEvent,
        payloads: &[(PayloadRef, Option<Place<'_>>)],
    ) -> Result<(), FrameError> {
        frame::encode(event, &mut self.block)?;
        let index = self.count;
        self.count += 1;
        self.hash = frame::chain_event(&self.hash, self.head().seq, event);
        for (reference, place) in payloads {
            // An erased one has no bytes to stand anywhere: it is written as one in no pack.
            let erased = place.is_none();
            let place = place.unwrap_or(Place::Pack(PackAt::default()));
            let kind = match place {
                Place::Inline(_) => 1,
                Place::Pack(_) => 2,
            };
            self.payloads.extend_from_slice(&index.to_be_bytes());
            self.payloads.extend_from_slice(&[kind, u8::from(erased)]);
            self.payloads
                .extend_from_slice(&reference.len.to_be_bytes());
            self.payloads.extend_from_slice(&reference.hash.0);
            match place {
                Place::Inline(bytes) => self.payloads.extend_from_slice(bytes),
                Place::Pack(at) => {
                    self.payloads.extend_from_slice(&at.pack.to_be_bytes());
                    self.payloads.extend_from_slice(&at.offset.to_be_bytes());
                }
            }
        }
        Ok(())
    }

    /// The bytes of the block; `packs` is where the packs end, `ends_commit` whether no further
    /// block of the same commit follows.
    ///
    /// # Panics
    /// When the block is empty or beyond [`BLOCK_BYTES_MAX`]: a larger one could leave the
    /// store's synced file.
    #[must_use]
    pub fn finish(self, packs: PackAt, ends_commit: bool) -> Vec<u8> {
        let len = self.len();
        assert!(self.count > 0, "a block has at least one event");
        assert!(len <= BLOCK_BYTES_MAX, "a block of {len} bytes");
        let length = |part: &[u8]| {
            u32::try_from(part.len())
                .expect("within BLOCK_BYTES_MAX")
                .to_be_bytes()
        };
        let frames = length(&self.block[HEAD_BYTES..]);
        let mut out = self.block;
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC);
        put(&[FORMAT, u8::from(ends_commit)]);
        put(&self.count.to_be_bytes());
        put(&(self.before.seq.0 + 1).to_be_bytes());
        put(&self.before.hash.0);
        put(&self.hash.0);
        put(&packs.pack.to_be_bytes());
        put(&packs.offset.to_be_bytes());
        put(&frames);
        put(&length(&self.payloads));
        out.extend_from_slice(&self.payloads);
        let sum = checksum(&out).to_be_bytes();
        out[CHECKSUM_AT..HEAD_BYTES].copy_from_slice(&sum);
        out
    }
}

/// CRC-32 of a block without its checksum.
fn checksum(block: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&block[..CHECKSUM_AT]);
    crc.update(&block[HEAD_BYTES..]);
    crc.finalize()
}

/// `N` bytes from `at` on of a slice known to be long enough.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
