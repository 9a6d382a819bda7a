//! A log in memory: the same contract without a disk, for tests and simulation.

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock, RwLockReadGuard},
};

use infernet_state::types::{Hash, PayloadAt, Seq};

use super::{
    Durability, EventLog, Head, Keeper, LogError, LogReader, Record, Retention, Snapshot, Space,
    Stored, Upkeep,
    commit::{check, drafts},
    frame,
    limits::SNAPSHOTS_KEPT,
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

/// Keeps a [`MemoryLog`].
#[derive(Clone, Debug)]
pub struct MemoryKeeper {
    inner: Arc<RwLock<Inner>>,
}

/// The events, and the payloads by the event that brought them (`None`: erased).
#[derive(Debug, Default)]
struct Inner {
    events: Vec<Stored>,
    payloads: BTreeMap<(Seq, Hash), Option<Vec<u8>>>,
    snapshots: BTreeMap<Seq, Snapshot>,
    /// Where the current part begins, if not with the first event.
    base: Option<Snapshot>,
}

impl Inner {
    fn head(&self) -> Head {
        self.events.last().map_or_else(Head::default, |last| Head {
            seq: last.seq,
            hash: last.hash,
        })
    }

    fn base_seq(&self) -> Seq {
        self.base
            .as_ref()
            .map_or(Seq(0), |snapshot| snapshot.head.seq)
    }

    /// Refuses a snapshot that is of no event here.
    fn check_fits(&self, snapshot: &Snapshot) -> Result<(), LogError> {
        let place = usize::try_from(snapshot.head.seq.0).unwrap_or(usize::MAX);
        let fits = place
            .checked_sub(1)
            .and_then(|place| self.events.get(place))
            .is_some_and(|stored| stored.hash == snapshot.head.hash);
        if fits {
            return Ok(());
        }
        Err(LogError::Missing {
            seq: snapshot.head.seq,
            last: self.head().seq,
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

    /// Where its current part begins: 0 until it is rolled.
    #[must_use]
    pub fn base(reader: &MemoryReader) -> Seq {
        reader.inner().base_seq()
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

impl MemoryKeeper {
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(
            &mut self
                .inner
                .write()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        )
    }
}

impl Keeper for MemoryKeeper {
    type Closed = Snapshot;

    fn newest_snapshot(&self, before: Seq) -> Result<Option<Snapshot>, LogError> {
        Ok(self.change(|inner| {
            let base = inner.base.iter();
            let newest = inner.snapshots.values().chain(base);
            newest
                .filter(|snapshot| snapshot.head.seq < before)
                .max_by_key(|snapshot| snapshot.head.seq)
                .cloned()
        }))
    }

    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), LogError> {
        self.change(|inner| {
            inner.check_fits(snapshot)?;
            inner.snapshots.insert(snapshot.head.seq, snapshot.clone());
            while inner.snapshots.len() > SNAPSHOTS_KEPT {
                inner.snapshots.pop_first();
            }
            Ok(())
        })
    }

    fn close(&self, snapshot: &Snapshot) -> Result<Option<Snapshot>, LogError> {
        self.change(|inner| {
            inner.check_fits(snapshot)?;
            Ok((snapshot.head.seq > inner.base_seq()).then(|| snapshot.clone()))
        })
    }

    fn erase_before(&self, seq: Seq) -> Result<(), LogError> {
        self.change(|inner| {
            let end = seq.min(Seq(inner.base_seq().0 + 1));
            let closed = inner.payloads.range_mut(..(end, Hash::ZERO));
            closed.for_each(|(_, bytes)| *bytes = None);
        });
        Ok(())
    }
}

/// Everything is kept, and there is always room.
impl Upkeep for MemoryLog {
    type Keeper = MemoryKeeper;

    fn keeper(&self) -> MemoryKeeper {
        MemoryKeeper {
            inner: Arc::clone(&self.inner),
        }
    }

    fn adopt(&mut self, closed: Snapshot) -> Result<bool, LogError> {
        self.keeper().change(|inner| inner.base = Some(closed));
        Ok(true)
    }

    fn retain(&mut self, retention: &Retention, _: &dyn Fn() -> Seq) -> Result<Space, LogError> {
        let inner = self.reader();
        let inner = inner.inner();
        let events = inner.head().seq.0 - inner.base_seq().0;
        Ok(Space {
            free_bytes: u64::MAX,
            roll_due: retention.roll_events.is_some_and(|most| events >= most),
            ..Space::default()
        })
    }
}
