//! What a copy of a log is made from: the log itself, a mirror, or what was salvaged.

use infernet_state::{
    codec::EncodedEvent,
    types::{PayloadAt, PayloadRef, Seq},
};

use super::{
    Head, LogError, LogReader, Stored,
    file::FileReader,
    sled::SledReader,
    snapshot::Snapshot,
    store::{damaged, parse},
    volume::Volume,
};

/// A payload of a stored event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredPayload {
    /// What the bytes are.
    pub reference: PayloadRef,
    /// The bytes; `None` when they were erased.
    pub bytes: Option<Vec<u8>>,
}

/// An event with everything that stands beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Full {
    /// The event.
    pub stored: Stored,
    /// Its payloads, in their order.
    pub payloads: Vec<StoredPayload>,
}

/// A log to be copied.
pub trait Source {
    /// The head before the first event that is kept; zero for a log from the beginning.
    ///
    /// # Errors
    /// [`LogError`].
    fn base(&self) -> Result<Head, LogError>;

    /// The newest event.
    fn newest(&self) -> Head;

    /// The snapshot that stands for everything up to [`Source::base`], if there is one.
    ///
    /// # Errors
    /// [`LogError`].
    fn base_snapshot(&self) -> Result<Option<Snapshot>, LogError>;

    /// The bytes of the block that holds an event.
    ///
    /// # Errors
    /// [`LogError`].
    fn block(&self, seq: Seq) -> Result<Vec<u8>, LogError>;

    /// The bytes of a payload; `None` when it was erased.
    ///
    /// # Errors
    /// [`LogError`].
    fn bytes_of(&self, at: PayloadAt) -> Result<Option<Vec<u8>>, LogError>;

    /// The events of the block that holds `seq`, from `seq` on, with their payloads. The chain
    /// within the block is checked.
    ///
    /// # Errors
    /// [`LogError`].
    fn full(&self, seq: Seq) -> Result<Vec<Full>, LogError> {
        let bytes = self.block(seq)?;
        let block = parse(&bytes, seq)?;
        let mut events = Vec::new();
        block
            .events(|seq, hash, frame| {
                let event: EncodedEvent = frame.to_event();
                events.push(Full {
                    stored: Stored { seq, hash, event },
                    payloads: Vec::new(),
                });
            })
            .map_err(|error| damaged(seq, error))?;
        let mut references = Vec::new();
        block
            .payloads(|entry| references.push((usize::from(entry.index), entry.reference)))
            .map_err(|error| damaged(seq, error))?;
        for (index, reference) in references {
            let full = &mut events[index];
            if full.stored.seq < seq {
                continue;
            }
            let bytes = self.bytes_of(PayloadAt {
                seq: full.stored.seq,
                payload: reference,
            })?;
            full.payloads.push(StoredPayload { reference, bytes });
        }
        events.retain(|full| full.stored.seq >= seq);
        Ok(events)
    }
}

/// Hands every event over, in order, and checks the chain from the base to the head.
///
/// # Errors
/// [`LogError`], or what `each` returns.
pub fn walk<E: From<LogError>>(
    source: &(impl Source + ?Sized),
    mut each: impl FnMut(Full) -> Result<(), E>,
) -> Result<(), E> {
    let head = source.newest();
    let mut before = source.base()?;
    while before.seq < head.seq {
        let next = Seq(before.seq.0 + 1);
        for full in source.full(next)? {
            let stored = &full.stored;
            let expected = super::frame::chain_event(&before.hash, stored.seq, &stored.event);
            if expected != stored.hash || stored.seq.0 != before.seq.0 + 1 {
                return Err(damaged(stored.seq, "the chain is broken before it").into());
            }
            before = Head {
                seq: stored.seq,
                hash: stored.hash,
            };
            if before.seq > head.seq {
                return Ok(());
            }
            each(full)?;
        }
    }
    if before != head {
        return Err(damaged(before.seq, "the chain does not lead to the head").into());
    }
    Ok(())
}

impl Source for SledReader {
    fn base(&self) -> Result<Head, LogError> {
        self.view().base()
    }

    fn newest(&self) -> Head {
        LogReader::head(self)
    }

    fn base_snapshot(&self) -> Result<Option<Snapshot>, LogError> {
        self.view().base_snapshot()
    }

    fn block(&self, seq: Seq) -> Result<Vec<u8>, LogError> {
        self.view().block(seq)
    }

    fn bytes_of(&self, at: PayloadAt) -> Result<Option<Vec<u8>>, LogError> {
        LogReader::payload(self, at)
    }
}

impl<V: Volume> Source for FileReader<V> {
    fn base(&self) -> Result<Head, LogError> {
        Ok(self.base_head())
    }

    fn newest(&self) -> Head {
        LogReader::head(self)
    }

    fn base_snapshot(&self) -> Result<Option<Snapshot>, LogError> {
        Ok(None)
    }

    fn block(&self, seq: Seq) -> Result<Vec<u8>, LogError> {
        self.block_bytes(seq)
    }

    fn bytes_of(&self, at: PayloadAt) -> Result<Option<Vec<u8>>, LogError> {
        LogReader::payload(self, at)
    }
}

/// A part of a log, from an event on, behind a snapshot of the state there.
pub struct Part<'a, S: ?Sized> {
    source: &'a S,
    base: Head,
    snapshot: Option<Snapshot>,
    head: Head,
}

impl<'a, S: Source + ?Sized> Part<'a, S> {
    /// The events behind `base` up to `head`. `snapshot` is the state at `base`, unless the log
    /// begins there.
    #[must_use]
    pub fn new(source: &'a S, base: Head, snapshot: Option<Snapshot>, head: Head) -> Self {
        Self {
            source,
            base,
            snapshot,
            head,
        }
    }
}

impl<S: Source + ?Sized> Source for Part<'_, S> {
    fn base(&self) -> Result<Head, LogError> {
        Ok(self.base)
    }

    fn newest(&self) -> Head {
        self.head
    }

    fn base_snapshot(&self) -> Result<Option<Snapshot>, LogError> {
        Ok(self.snapshot.clone())
    }

    fn block(&self, seq: Seq) -> Result<Vec<u8>, LogError> {
        self.source.block(seq)
    }

    fn bytes_of(&self, at: PayloadAt) -> Result<Option<Vec<u8>>, LogError> {
        self.source.bytes_of(at)
    }
}

/// Hands every payload over, in the order of the events, with whether it was erased. The bytes
/// are not read.
///
/// # Errors
/// [`LogError`].
pub fn payloads(
    source: &(impl Source + ?Sized),
    mut each: impl FnMut(PayloadAt, bool),
) -> Result<(), LogError> {
    let head = source.newest();
    let mut next = Seq(source.base()?.seq.0 + 1);
    while next <= head.seq {
        let bytes = source.block(next)?;
        let block = parse(&bytes, next)?;
        block
            .payloads(|entry| {
                let seq = Seq(block.first.0 + u64::from(entry.index));
                if seq >= next {
                    let payload = entry.reference;
                    each(PayloadAt { seq, payload }, entry.erased);
                }
            })
            .map_err(|error| damaged(next, error))?;
        next = Seq(block.last().0 + 1);
    }
    Ok(())
}
