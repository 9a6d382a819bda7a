//! How an unattended node keeps within its disk: the log is rolled at a snapshot, what came
//! before becomes a verified archive, and the oldest archives go when the budget asks for it and
//! the configuration allows it. Where the two collide, intake must stop.

use std::{fs, path::Path, sync::Arc};

use infernet_state::types::Seq;

use super::{
    LogError,
    archive::{self, Archive},
    directory::{free_bytes, log_name},
    limits::{FREE_INTAKE_BYTES, ROLL_BYTES},
    sled::SledLog,
    snapshot::{Snapshot, base_snapshot, write_base},
    store::{Base, Extent, Store},
    view::View,
    volume::{storage, sync_dir},
};

/// What the configuration says of the log's size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retention {
    /// The most bytes that the data directory may take; `None` for as many as there are.
    pub budget_bytes: Option<u64>,
    /// The newest events that are kept whatever the budget says; `None` for all of them.
    pub keep_events: Option<u64>,
}

/// How much space there is, and what follows from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Space {
    /// Bytes of the data directory.
    pub used_bytes: u64,
    /// Free bytes on its file system.
    pub free_bytes: u64,
    /// Whether the current database is large enough to be rolled at the next snapshot.
    pub roll_due: bool,
    /// Why nothing new may be taken in; `None` while there is room. Work that was accepted goes
    /// on: the space for it is what the bound leaves.
    pub intake_stopped: Option<String>,
}

impl SledLog {
    /// Rolls the log: the events so far become a verified archive, and a new database begins
    /// with the snapshot, which is then a record and no longer a cache.
    ///
    /// # Durability
    /// One rename switches from the old database to the new one; a crash before it leaves the
    /// old one, and what was begun is cleared away by the next start.
    ///
    /// # Errors
    /// [`LogError::Missing`] when the snapshot is not of the newest event; [`LogError`]: the log
    /// is then to be closed.
    pub fn roll(&mut self, snapshot: &Snapshot) -> Result<(), LogError> {
        let view = self.view();
        let head = view.extent.head;
        if snapshot.head != head {
            return Err(LogError::Missing {
                seq: snapshot.head.seq,
                last: head.seq,
            });
        }
        if head == view.store.base().head {
            return Ok(());
        }
        let result = self.roll_at(&view, snapshot);
        self.fail_on(&result);
        result
    }

    fn roll_at(&mut self, view: &View, snapshot: &Snapshot) -> Result<(), LogError> {
        let archives = self.directory().subdirectory("archives")?;
        let store = &view.store;
        let archive = archive::write(&archives, store.base().head, snapshot.head, |put| {
            for (item, _) in store.blocks_from(1).zip(1..=view.extent.blocks) {
                let (_, bytes) = item?;
                put(&bytes)?;
            }
            Ok(())
        })?;
        if let Some(began_with) = base_snapshot(store)? {
            archive.keep_snapshot(&began_with)?;
        }
        let name = log_name(snapshot.head.seq);
        let path = self.directory().path().join("log").join(&name);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(storage("remove", path.display()))?;
        }
        fs::create_dir(&path).map_err(storage("create", path.display()))?;
        let base = Base {
            head: snapshot.head,
            packs: view.extent.packs,
            snapshot: Some(write_base(&path, snapshot)?),
        };
        let new = Store::create(&path, base, self.cache_bytes())?;
        self.directory_mut().set_current(&name)?;
        let mut all = (*view.archives).clone();
        all.push(archive);
        self.publish(View {
            store: Arc::new(new),
            extent: Extent {
                head: base.head,
                packs: base.packs,
                ..Extent::default()
            },
            archives: Arc::new(all),
        });
        // Readers that still hold the old database keep its open files.
        fs::remove_dir_all(store.path())
            .and_then(|()| sync_dir(&self.directory().path().join("log")))
            .map_err(storage("remove", store.path().display()))
    }

    /// Applies the configuration: removes the oldest archives while the budget is exceeded and
    /// the configuration does not keep them. `needed_from` is the oldest event whose payloads
    /// the machine may still ask for; archives from there on stay.
    ///
    /// # Errors
    /// [`LogError`]: the log is then to be closed.
    pub fn retain(&mut self, retention: &Retention, needed_from: Seq) -> Result<Space, LogError> {
        let view = self.view();
        let mut used = self.used_bytes()?;
        let mut archives = (*view.archives).clone();
        let head = view.extent.head.seq.0;
        let kept_from = retention
            .keep_events
            .map_or(0, |events| (head + 1).saturating_sub(events));
        let budget = retention.budget_bytes.unwrap_or(u64::MAX);
        let mut dropped = Vec::new();
        while used > budget
            && let Some(oldest) = archives.first()
            && oldest.last.0 < kept_from
            && oldest.last < needed_from
        {
            used = used.saturating_sub(oldest.len()?);
            dropped.push(archives.remove(0));
        }
        if !dropped.is_empty() {
            self.publish(View {
                archives: Arc::new(archives),
                ..view.clone()
            });
            let result = self.drop_archives(&dropped);
            self.fail_on(&result);
            result?;
        }
        self.space(retention)
    }

    /// Removes archives, and the packs that only their events refer to.
    fn drop_archives(&self, archives: &[Arc<Archive>]) -> Result<(), LogError> {
        for archive in archives {
            let packs = archive.blocks()?.packs();
            archive.remove()?;
            self.packs().drop_before(packs.pack)?;
        }
        Ok(())
    }

    /// How much space there is under a configuration.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub fn space(&self, retention: &Retention) -> Result<Space, LogError> {
        let used_bytes = self.used_bytes()?;
        let free_bytes = free_bytes(self.directory().path())?;
        let budget = retention.budget_bytes.unwrap_or(u64::MAX);
        let intake_stopped = if free_bytes < FREE_INTAKE_BYTES {
            Some(format!(
                "{free_bytes} bytes are free on the disk, {FREE_INTAKE_BYTES} are kept for the \
                 work at hand; free space"
            ))
        } else if used_bytes > budget {
            Some(format!(
                "the data directory takes {used_bytes} of its {budget} bytes, and the \
                 configuration keeps all of it; raise the budget, or keep fewer events"
            ))
        } else {
            None
        };
        let current = tree_bytes(self.view().store.path())?;
        Ok(Space {
            used_bytes,
            free_bytes,
            roll_due: current >= ROLL_BYTES.min(budget / 4),
            intake_stopped,
        })
    }

    /// Bytes of the data directory.
    fn used_bytes(&self) -> Result<u64, LogError> {
        tree_bytes(self.directory().path())
    }
}

/// Clears away what an interrupted roll left under `log/`: a new database that did not become
/// the current one, or an old one whose archive is complete.
///
/// # Errors
/// [`LogError::Storage`].
pub(crate) fn clear_leftovers(
    logs: &Path,
    current: &str,
    archives: &[Arc<Archive>],
) -> Result<(), LogError> {
    let list = || -> std::io::Result<Vec<_>> { logs.read_dir()?.collect() };
    for entry in list().map_err(storage("list", logs.display()))? {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(base) = name.parse::<u64>() else {
            continue;
        };
        let begun = name.as_str() > current;
        let archived = archives.iter().any(|archive| archive.first.0 == base + 1);
        if begun || (name.as_str() < current && archived) {
            fs::remove_dir_all(entry.path())
                .and_then(|()| sync_dir(logs))
                .map_err(storage("remove", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Bytes that the files below a directory take on the disk. What vanishes meanwhile counts 0.
///
/// # Errors
/// [`LogError::Storage`].
pub fn tree_bytes(path: &Path) -> Result<u64, LogError> {
    use std::os::unix::fs::MetadataExt as _;
    let list = || -> std::io::Result<Vec<_>> { path.read_dir()?.collect() };
    let mut sum = 0;
    for entry in list().map_err(storage("list", path.display()))? {
        sum += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => tree_bytes(&entry.path())?,
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        };
    }
    Ok(sum)
}
