//! A log in memory: the same contract without a disk, for tests and simulation.

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock, RwLockReadGuard},
};

use infernet_state::types::{Hash, PayloadAt, Seq};

use super::{
    Durability, EventLog, Head, LogError, LogReader, Record, Stored,
    commit::{check, drafts},
    frame,
};

/// A log that lives as long as its readers.
#[derive(Debug, Default)]
pub struct MemoryLog {
    inner: Arc<RwLock<Inner>>,
}

/// Reads a [`MemoryLog`].
#[derive(Clone, Debug)]
pub struct MemoryReader {
    inner: Arc<RwLock<Inner>>,
}

/// The events, and the payloads by the event that brought them (`None`: erased).
#[derive(Debug, Default)]
struct Inner {
    events: Vec<Stored>,
    payloads: BTreeMap<(Seq, Hash), Option<Vec<u8>>>,
}

impl Inner {
    fn head(&self) -> Head {
        self.events.last().map_or_else(Head::default, |last| Head {
            seq: last.seq,
            hash: last.hash,
        })
    }
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A log that goes on where another one of the same memory stopped: what a restart sees.
    #[must_use]
    pub fn reopen(reader: &MemoryReader) -> Self {
        Self {
            inner: Arc::clone(&reader.inner),
        }
    }

    /// Erases a payload; false when there is none.
    pub fn erase(&mut self, at: PayloadAt) -> bool {
        let mut inner = self
            .inner
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        inner
            .payloads
            .get_mut(&(at.seq, at.payload.hash))
            .is_some_and(|bytes| bytes.take().is_some())
    }
}

impl EventLog for MemoryLog {
    type Reader = MemoryReader;

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    fn head(&self) -> Head {
        self.reader().head()
    }

    fn append(&mut self, batch: &[Record]) -> Result<Head, LogError> {
        check(&drafts(batch))?;
        let mut inner = self
            .inner
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        for record in batch {
            let before = inner.head();
            let seq = Seq(before.seq.0 + 1);
            inner.events.push(Stored {
                seq,
                hash: frame::chain_event(&before.hash, seq, &record.event),
                event: record.event.clone(),
            });
            for payload in &record.payloads {
                inner
                    .payloads
                    .insert((seq, payload.reference.hash), Some(payload.bytes.clone()));
            }
        }
        Ok(inner.head())
    }

    fn reader(&self) -> MemoryReader {
        MemoryReader {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl MemoryReader {
    fn inner(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl LogReader for MemoryReader {
    fn head(&self) -> Head {
        self.inner().head()
    }

    fn read(&self, from: Seq, limit: usize) -> Result<Vec<Stored>, LogError> {
        let skip = usize::try_from(from.0.saturating_sub(1)).unwrap_or(usize::MAX);
        Ok(self
            .inner()
            .events
            .iter()
            .skip(skip)
            .take(limit)
            .cloned()
            .collect())
    }

    fn payload(&self, at: PayloadAt) -> Result<Option<Vec<u8>>, LogError> {
        self.inner()
            .payloads
            .get(&(at.seq, at.payload.hash))
            .cloned()
            .ok_or_else(|| LogError::Payload {
                hash: at.payload.hash,
                reason: format!("event {} brought no such payload", at.seq),
            })
    }
}
