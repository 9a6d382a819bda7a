//! A log in a block file with packs beside it, on any [`Volume`].
//!
//! It shares frames, blocks, commits and packs with the log on sled, and recovers by itself:
//! mirrors are made of it, and on the simulated disk of [`super::sim`] it shows that this code
//! keeps its promises under power cuts.

use std::sync::{Arc, RwLock, RwLockReadGuard};

use infernet_state::types::{PayloadAt, Seq};

use super::{
    Durability, EventLog, Head, LogError, LogReader, Record, Stored,
    block::{Block, PackAt, Place},
    blockfile::{BlockFile, Tail},
    commit,
    pack::{PackWriter, Packs, sha256},
    store::{damaged, parse},
    volume::{Volume, VolumeFile, storage},
};
use crate::crash;

/// Name of the block file.
pub(crate) const BLOCKS: &str = "blocks";

/// A log in a block file.
#[derive(Debug)]
pub struct FileLog<V: Volume> {
    shared: Arc<Shared<V>>,
    writer: PackWriter,
    failed: bool,
}

/// Reads a [`FileLog`].
#[derive(Debug)]
pub struct FileReader<V: Volume> {
    shared: Arc<Shared<V>>,
}

impl<V: Volume> Clone for FileReader<V> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

#[derive(Debug)]
struct Shared<V: Volume> {
    blocks: RwLock<BlockFile<V::File>>,
    packs: Packs<V>,
    /// Published after the sync.
    head: RwLock<Head>,
}

impl<V: Volume> Shared<V> {
    fn new(blocks: BlockFile<V::File>, packs: Packs<V>) -> Arc<Self> {
        let head = blocks.head();
        Arc::new(Self {
            blocks: RwLock::new(blocks),
            packs,
            head: RwLock::new(head),
        })
    }

    fn blocks(&self) -> RwLockReadGuard<'_, BlockFile<V::File>> {
        self.blocks
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn head(&self) -> Head {
        *self
            .head
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<V: Volume + Clone> FileLog<V> {
    /// Opens the log of a volume, or begins an empty one. What a crash left behind the last whole
    /// commit is cut off.
    ///
    /// # Durability
    /// What it shows is durable when it returns.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(volume: V) -> Result<Self, LogError> {
        Self::open_from(volume, Head::default(), Seq(0))
    }

    /// As [`FileLog::open`]; a new log begins behind `base`, and what was acknowledged up to an
    /// event must be there.
    ///
    /// # Errors
    /// [`LogError`]; [`LogError::Damaged`] when it is not, and nothing is changed.
    pub(crate) fn open_from(volume: V, base: Head, acknowledged: Seq) -> Result<Self, LogError> {
        let open = || {
            volume
                .open(BLOCKS, true)
                .map_err(storage("open", volume.name()))
        };
        let file = open()?;
        // What is visible after a killed process need not be durable.
        VolumeFile::sync(&file)
            .and_then(|()| volume.sync_names())
            .map_err(storage("sync", volume.name()))?;
        let blocks = match BlockFile::open(file, BLOCKS, Tail::Cut(acknowledged))? {
            Some(blocks) => blocks,
            None => {
                let blocks = BlockFile::create(open()?, BLOCKS, base, PackAt::default())?;
                blocks.sync()?;
                blocks
            }
        };
        let (packs, writer) = Packs::open(volume, blocks.packs())?;
        Ok(Self {
            shared: Shared::new(blocks, packs),
            writer,
            failed: false,
        })
    }
}

impl<V: Volume> FileLog<V> {
    /// Copies the parts of another log's packs that its blocks up to the packs' end `to` refer
    /// to. What it copies counts with [`FileLog::take`], and can be copied again before.
    ///
    /// # Durability
    /// The parts are durable when it returns.
    ///
    /// # Errors
    /// [`LogError`]; the log is then to be opened anew.
    pub(crate) fn copy_packs<W: Volume>(
        &self,
        from: &Packs<W>,
        to: PackAt,
    ) -> Result<(), LogError> {
        let have = self.writer.end();
        for pack in have.pack.max(1)..=to.pack {
            if pack < to.pack && !from.has(pack) {
                // Only events that are no longer kept referred to it.
                continue;
            }
            let begin = if pack == have.pack { have.offset } else { 0 };
            let end = (pack == to.pack).then_some(to.offset);
            from.copy_part(&self.shared.packs, pack, begin, end)?;
        }
        self.shared.packs.reach(to)
    }

    /// Adds blocks that another log made, behind [`FileLog::copy_packs`] up to `packs`.
    ///
    /// # Durability
    /// The blocks are durable when it returns.
    ///
    /// # Errors
    /// [`LogError`]; the log is then to be opened anew.
    pub(crate) fn take(&mut self, blocks: &[Vec<u8>], packs: PackAt) -> Result<Head, LogError> {
        self.writer = PackWriter::at(packs);
        self.store(blocks)
    }

    /// The packs.
    pub(crate) fn packs(&self) -> &Packs<V> {
        &self.shared.packs
    }

    /// Writes all blocks into another file, one of them replaced by another with the same events.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn rewrite(&self, file: V::File, name: &str, block: &[u8]) -> Result<(), LogError> {
        let replaced = parse(block, Seq(0))?.first;
        let old = self.shared.blocks();
        let mut new = BlockFile::create(file, name, old.base(), PackAt::default())?;
        old.blocks(|bytes| {
            let same = parse(bytes, replaced)?.first == replaced;
            new.append(&[if same { block } else { bytes }])
        })?;
        new.sync()
    }

    /// Adds blocks as one durable step.
    fn store(&mut self, blocks: &[Vec<u8>]) -> Result<Head, LogError> {
        let mut file = self
            .shared
            .blocks
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        file.append(blocks)?;
        crash::point("mirror.blocks-written");
        file.sync()?;
        crash::point("mirror.blocks-synced");
        let head = file.head();
        *self
            .shared
            .head
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = head;
        Ok(head)
    }

    /// The commit itself, without the memory of failures.
    fn commit(&mut self, batch: &[Record]) -> Result<Head, LogError> {
        let before = self.shared.head();
        let commit = commit::plan(
            before,
            &commit::drafts(batch),
            &self.shared.packs,
            &mut self.writer,
        )?;
        if commit.blocks.is_empty() {
            return Ok(before);
        }
        self.store(&commit.blocks)
    }
}

impl<V: Volume> EventLog for FileLog<V> {
    type Reader = FileReader<V>;

    fn durability(&self) -> Durability {
        Durability::PowerLoss
    }

    fn head(&self) -> Head {
        self.shared.head()
    }

    fn append(&mut self, batch: &[Record]) -> Result<Head, LogError> {
        if self.failed {
            return Err(LogError::Failed);
        }
        let result = self.commit(batch);
        self.failed = result.is_err();
        result
    }

    fn reader(&self) -> FileReader<V> {
        FileReader {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<V: Volume> LogReader for FileReader<V> {
    fn head(&self) -> Head {
        self.shared.head()
    }

    fn read(&self, from: Seq, limit: usize) -> Result<Vec<Stored>, LogError> {
        let from = Seq(from.0.max(1));
        let blocks = self.shared.blocks();
        if from <= blocks.base().seq {
            return Err(LogError::Gone {
                seq: from,
                first: Seq(blocks.base().seq.0 + 1),
            });
        }
        blocks.read(from, limit)
    }

    fn payload(&self, at: PayloadAt) -> Result<Option<Vec<u8>>, LogError> {
        let blocks = self.shared.blocks();
        let Some(bytes) = blocks.block(at.seq)? else {
            return Err(no_payload(at));
        };
        drop(blocks);
        payload_of(&bytes, at, &self.shared.packs)
    }
}

impl<V: Volume> FileReader<V> {
    /// Opens the log of a volume to read it, and changes nothing: what a crash left behind the
    /// last whole commit stays there, unread.
    ///
    /// # Errors
    /// [`LogError`]; [`LogError::Damaged`] also when it ends before an event that is known to be
    /// acknowledged.
    pub(crate) fn look(volume: V, acknowledged: Seq) -> Result<Self, LogError> {
        let file = volume
            .open(BLOCKS, false)
            .map_err(storage("open", volume.name()))?;
        let blocks = BlockFile::open(file, BLOCKS, Tail::Leave(acknowledged))?
            .ok_or_else(|| damaged(Seq(0), format!("{} is no block file", volume.name())))?;
        let packs = Packs::open_to_read(volume)?;
        packs.reach(blocks.packs())?;
        Ok(Self {
            shared: Shared::new(blocks, packs),
        })
    }

    /// The head before the first event.
    pub(crate) fn base_head(&self) -> Head {
        self.shared.blocks().base()
    }

    /// The bytes of the block that holds an event.
    pub(crate) fn block_bytes(&self, seq: Seq) -> Result<Vec<u8>, LogError> {
        let last = self.shared.head().seq;
        self.shared
            .blocks()
            .block(seq)?
            .ok_or(LogError::Missing { seq, last })
    }
}

/// The error for a payload that an event did not bring.
pub(crate) fn no_payload(at: PayloadAt) -> LogError {
    LogError::Payload {
        hash: at.payload.hash,
        reason: format!("event {} brought no such payload", at.seq),
    }
}

/// The bytes of a payload of the event `at.seq`, which stands in the block `bytes`.
///
/// # Errors
/// [`LogError`].
pub(crate) fn payload_of<V: Volume>(
    bytes: &[u8],
    at: PayloadAt,
    packs: &Packs<V>,
) -> Result<Option<Vec<u8>>, LogError> {
    let entry = Block::parse(bytes)
        .and_then(|(block, _)| block.payload(at.seq, at.payload))
        .map_err(|error| damaged(at.seq, error))?
        .ok_or_else(|| no_payload(at))?;
    if entry.erased {
        return Ok(None);
    }
    match entry.place {
        Place::Inline(bytes) if sha256(bytes) == at.payload.hash => Ok(Some(bytes.to_vec())),
        Place::Inline(_) => Err(LogError::Payload {
            hash: at.payload.hash,
            reason: "the bytes are not what was written".into(),
        }),
        Place::Pack(place) => packs.get(place, at.payload).map(Some),
    }
}
