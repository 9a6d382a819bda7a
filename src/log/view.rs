//! What readers of the log on sled see: the current database, and the archives before it.

use std::sync::Arc;

use infernet_state::types::{PayloadAt, Seq};

use super::{
    Head, LogError, Stored,
    archive::Archive,
    file::{no_payload, payload_of},
    pack::Packs,
    snapshot::{Snapshot, base_snapshot},
    store::{Extent, Store, caught, damaged, parse},
    volume::Directory,
};

/// A moment of the log; published after the sync, never before.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The current database.
    pub(crate) store: Arc<Store>,
    /// How far it goes.
    pub(crate) extent: Extent,
    /// What came before it, oldest first, without gaps.
    pub(crate) archives: Arc<Vec<Arc<Archive>>>,
}

/// Where an event stands.
pub(crate) enum Home<'a> {
    /// In an archive.
    Archive(&'a Arc<Archive>),
    /// In the current database: the number and the bytes of its block.
    Store(u64, sled::IVec),
}

impl View {
    /// The first event that is kept.
    pub(crate) fn first(&self) -> Seq {
        self.archives
            .first()
            .map_or(Seq(self.store.base().head.seq.0 + 1), |oldest| oldest.first)
    }

    /// The head before the first event that is kept.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn base(&self) -> Result<Head, LogError> {
        match self.archives.first() {
            Some(oldest) => oldest.base(),
            None => Ok(self.store.base().head),
        }
    }

    /// The snapshot that stands for everything before the first event that is kept.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn base_snapshot(&self) -> Result<Option<Snapshot>, LogError> {
        match self.archives.first() {
            Some(oldest) => oldest.snapshot(),
            None => base_snapshot(&self.store),
        }
    }

    /// Shows an archive that was written again in the place of the one it replaces.
    pub(crate) fn replace_archive(&mut self, rewritten: &Arc<Archive>) {
        let archives = self.archives.iter().map(|other| {
            if other.first == rewritten.first {
                Arc::clone(rewritten)
            } else {
                Arc::clone(other)
            }
        });
        self.archives = Arc::new(archives.collect());
    }

    /// The archive that holds an event, if one does.
    fn archive(&self, seq: Seq) -> Option<(usize, &Arc<Archive>)> {
        let at = self.archives.partition_point(|archive| archive.last < seq);
        let archive = self.archives.get(at)?;
        (archive.first <= seq).then_some((at, archive))
    }

    /// See [`super::LogReader::read`].
    pub(crate) fn read(&self, from: Seq, limit: usize) -> Result<Vec<Stored>, LogError> {
        let mut from = Seq(from.0.max(1));
        if from < self.first() {
            return Err(LogError::Gone {
                seq: from,
                first: self.first(),
            });
        }
        let mut out = Vec::new();
        while let Some((at, archive)) = self.archive(from)
            && out.len() < limit
        {
            let blocks = archive.blocks()?;
            out.extend(blocks.read(from, limit - out.len())?);
            let after = match self.archives.get(at + 1) {
                Some(next) => next.blocks()?.base(),
                None => self.store.base().head,
            };
            if after != blocks.head() {
                return Err(damaged(
                    archive.last,
                    "the chain is broken behind the archive",
                ));
            }
            from = Seq(archive.last.0 + 1);
        }
        let limit = limit - out.len();
        caught(self.store.path(), || self.read_store(from, limit, &mut out))?;
        Ok(out)
    }

    /// The part of a read that the current database answers.
    fn read_store(&self, from: Seq, limit: usize, out: &mut Vec<Stored>) -> Result<(), LogError> {
        let Self { store, extent, .. } = self;
        if limit == 0 || from > extent.head.seq {
            return Ok(());
        }
        let full = out.len() + limit;
        let (first, _) = store.find(from, extent.blocks)?;
        let mut before = match first {
            1 => store.base().head,
            _ => parse(&store.block(first - 1, from)?, from)?.head(),
        };
        for (item, expected) in store.blocks_from(first).zip(first..=extent.blocks) {
            let (number, bytes) = item?;
            let next = Seq(before.seq.0 + 1);
            if number != expected {
                return Err(damaged(next, format!("block {expected} is missing")));
            }
            let block = parse(&bytes, next)?;
            if block.head_before() != before {
                return Err(damaged(next, "the chain is broken before it"));
            }
            block
                .read_into(from, out)
                .map_err(|error| damaged(next, error))?;
            before = block.head();
            if out.len() >= full {
                break;
            }
        }
        if out.len() < full && before != extent.head {
            return Err(damaged(Seq(before.seq.0 + 1), "its block is missing"));
        }
        out.truncate(full);
        Ok(())
    }

    /// Where the event at `seq` stands.
    ///
    /// # Errors
    /// [`LogError::Gone`], [`LogError::Damaged`]; [`LogError::Missing`] behind the end.
    pub(crate) fn home(&self, seq: Seq) -> Result<Home<'_>, LogError> {
        if seq < self.first() {
            return Err(LogError::Gone {
                seq,
                first: self.first(),
            });
        }
        if seq > self.extent.head.seq {
            return Err(LogError::Missing {
                seq,
                last: self.extent.head.seq,
            });
        }
        if let Some((_, archive)) = self.archive(seq) {
            return Ok(Home::Archive(archive));
        }
        let (number, bytes) = caught(self.store.path(), || {
            self.store.find(seq, self.extent.blocks)
        })?;
        Ok(Home::Store(number, bytes))
    }

    /// The bytes of the block that holds `seq`.
    ///
    /// # Errors
    /// As [`View::home`].
    pub(crate) fn block(&self, seq: Seq) -> Result<Vec<u8>, LogError> {
        match self.home(seq)? {
            Home::Store(_, bytes) => Ok(bytes.to_vec()),
            Home::Archive(archive) => archive
                .blocks()?
                .block(seq)?
                .ok_or_else(|| damaged(seq, "no block of its archive holds it")),
        }
    }

    /// See [`super::LogReader::payload`].
    pub(crate) fn payload(
        &self,
        at: PayloadAt,
        packs: &Packs<Directory>,
    ) -> Result<Option<Vec<u8>>, LogError> {
        match self.block(at.seq) {
            Ok(bytes) => payload_of(&bytes, at, packs),
            Err(LogError::Missing { .. }) => Err(no_payload(at)),
            Err(error) => Err(error),
        }
    }

    /// The head as it was at `seq`, the newest event of it; `None` when it is not kept.
    ///
    /// # Errors
    /// [`LogError::Damaged`].
    pub(crate) fn head_at(&self, seq: Seq) -> Result<Option<Head>, LogError> {
        let base = self.store.base().head;
        if seq == base.seq {
            return Ok(Some(base));
        }
        if seq > self.extent.head.seq || seq < self.first() {
            return Ok(None);
        }
        let found = self.read(seq, 1)?;
        Ok(found.first().map(|stored| Head {
            seq: stored.seq,
            hash: stored.hash,
        }))
    }
}
