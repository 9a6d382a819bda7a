//! A log made anew from another: an export, a mirror, or what was salvaged.

use std::path::Path;

use super::{
    EventLog as _, Head, LogError,
    commit::Draft,
    directory::Options,
    limits::{IMPORT_BYTES, IMPORT_EVENTS},
    sled::SledLog,
    snapshot::Snapshot,
    source::{Full, Source, walk},
    store::damaged,
};

/// Fills a data directory that holds no log. Until [`Importer::finish`] the directory counts as
/// empty, so that an import that fails leaves nothing that could be taken for a log.
#[derive(Debug)]
pub(crate) struct Importer {
    log: SledLog,
    batch: Vec<Full>,
    bytes: usize,
}

impl Importer {
    /// Begins. `base` and `snapshot` are where the log starts; both empty for one from the
    /// beginning.
    ///
    /// # Errors
    /// [`LogError::Directory`] when there is a log already; [`LogError::Damaged`] for a log that
    /// starts later without the snapshot that stands for what is missing.
    pub(crate) fn begin(
        path: &Path,
        options: &Options,
        base: Head,
        snapshot: Option<&Snapshot>,
    ) -> Result<Self, LogError> {
        if base != Head::default() && snapshot.is_none_or(|snapshot| snapshot.head != base) {
            return Err(damaged(
                base.seq,
                "the events before it are missing, and so is the snapshot that stands for them",
            ));
        }
        Ok(Self {
            log: SledLog::begin(path, options, snapshot)?,
            batch: Vec::new(),
            bytes: 0,
        })
    }

    /// Adds the next event; the chain must give the hash that it comes with.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn push(&mut self, full: Full) -> Result<(), LogError> {
        self.bytes += full.stored.event.body.len();
        let lengths = full
            .payloads
            .iter()
            .filter_map(|payload| payload.bytes.as_ref());
        self.bytes += lengths.map(Vec::len).sum::<usize>();
        self.batch.push(full);
        if self.batch.len() >= IMPORT_EVENTS || self.bytes >= IMPORT_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), LogError> {
        let Some(last) = self.batch.last() else {
            return Ok(());
        };
        let expected = Head {
            seq: last.stored.seq,
            hash: last.stored.hash,
        };
        let drafts: Vec<Draft<'_>> = self
            .batch
            .iter()
            .map(|full| Draft {
                event: &full.stored.event,
                payloads: full
                    .payloads
                    .iter()
                    .map(|payload| (payload.reference, payload.bytes.as_deref()))
                    .collect(),
            })
            .collect();
        let head = self.log.append_drafts(&drafts)?;
        if head != expected {
            return Err(damaged(head.seq, "the chain leads elsewhere than it did"));
        }
        self.batch.clear();
        self.bytes = 0;
        Ok(())
    }

    /// Makes the directory a log.
    ///
    /// # Durability
    /// The log is durable when it returns.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn finish(mut self) -> Result<SledLog, LogError> {
        self.write()?;
        self.log.complete()?;
        Ok(self.log)
    }
}

/// Makes a log from a mirror or from what was salvaged, in a data directory that holds none.
/// `options.identity` says whose it is.
///
/// # Durability
/// The log is durable when it returns; until then the directory holds none.
///
/// # Errors
/// [`LogError`].
pub fn restore(
    source: &(impl Source + ?Sized),
    path: &Path,
    options: &Options,
) -> Result<Head, LogError> {
    let snapshot = source.base_snapshot()?;
    let mut importer = Importer::begin(path, options, source.base()?, snapshot.as_ref())?;
    walk(source, |full| importer.push(full))?;
    Ok(importer.finish()?.head())
}
