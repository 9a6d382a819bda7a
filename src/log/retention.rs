//! How an unattended node keeps within its disk: the log is rolled at a snapshot, what came
//! before becomes a verified archive, and the oldest archives go when the budget asks for it and
//! the configuration allows it. Where the two collide, intake must stop.

use std::{cell::LazyCell, fs, path::Path, sync::Arc};

use infernet_state::types::Seq;

use super::{
    LogError,
    archive::{Archive, first_pack_of},
    block::PackAt,
    directory::free_bytes,
    limits::{FREE_INTAKE_BYTES, PACK_BYTES_TARGET, ROLL_BYTES},
    sled::SledLog,
    store::{caught, parse},
    view::View,
    volume::{storage, sync_dir},
};
use crate::crash;

/// What the configuration says of the log's size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// The most bytes that the data directory may take; `None` for as many as there are.
    pub budget_bytes: Option<u64>,
    /// The newest events that are kept whatever the budget says; `None` for all of them.
    pub keep_events: Option<u64>,
    /// The log is rolled when its current part has so many bytes, or a quarter of the budget.
    pub roll_bytes: u64,
    /// The log is also rolled when its current part has so many events.
    pub roll_events: Option<u64>,
    /// Whether payloads of closed parts are erased once the machine asks for them no more.
    pub erase_payloads: bool,
}

impl Default for Retention {
    /// Everything is kept, without a budget.
    fn default() -> Self {
        Self {
            budget_bytes: None,
            keep_events: None,
            roll_bytes: ROLL_BYTES,
            roll_events: None,
            erase_payloads: false,
        }
    }
}

impl Retention {
    /// The bytes from which the current part is rolled, and that are kept free within the budget
    /// for doing so.
    pub(crate) fn roll_at(&self) -> u64 {
        let quarter = self.budget_bytes.map_or(u64::MAX, |budget| budget / 4);
        self.roll_bytes.min(quarter)
    }
}

/// How much space there is, and what follows from it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// Bytes of the data directory.
    pub used_bytes: u64,
    /// Free bytes on its file system.
    pub free_bytes: u64,
    /// Whether the current part is large enough to be rolled.
    pub roll_due: bool,
    /// Why nothing new may be taken in; `None` while there is room. Work that was accepted goes
    /// on: the space for it is what the bound leaves.
    pub intake_stopped: Option<String>,
}

impl SledLog {
    /// See [`super::Upkeep::retain`].
    pub(super) fn drop_oldest(
        &mut self,
        retention: &Retention,
        needed_from: &dyn Fn() -> Seq,
    ) -> Result<(), LogError> {
        let shared = Arc::clone(self.shared());
        let Some(budget) = retention.budget_bytes else {
            return Ok(());
        };
        // Closing a part takes longer than the loop may wait; the next look comes soon.
        let Some(_archiving) = shared.try_archiving() else {
            return Ok(());
        };
        let head = shared.view().extent.head.seq.0;
        let kept_from = retention
            .keep_events
            .map_or(0, |events| (head + 1).saturating_sub(events));
        // Asked for where something would go otherwise.
        let needed_from = LazyCell::new(needed_from);
        while self.used_bytes()?.saturating_add(retention.roll_at()) > budget {
            let view = shared.view();
            let droppable = view
                .archives
                .first()
                .filter(|oldest| oldest.last.0 < kept_from && oldest.last < *needed_from);
            let Some(oldest) = droppable else {
                return Ok(());
            };
            shared.update(|view| view.archives = Arc::new(view.archives[1..].to_vec()));
            shared.removing();
            crash::point("retain.before-drop");
            // Whether it is whole does not matter any more.
            oldest.remove()?;
            crash::point("retain.dropped-archive");
            match first_pack(&shared.view()) {
                Ok(pack) => shared.packs().drop_before(pack)?,
                Err(LogError::Damaged { seq, reason }) => {
                    tracing::warn!(event = %seq, %reason, "packs stay until the next part goes");
                }
                Err(error) => return Err(error),
            }
            crash::point("retain.dropped-packs");
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
        let view = self.view();
        let base = view.store.base();
        let database = tree_bytes(view.store.path())?;
        let current = database.saturating_add(packs_between(base.packs, view.extent.packs));
        let events = view.extent.head.seq.0 - base.head.seq.0;
        let large = current >= retention.roll_at()
            || retention.roll_events.is_some_and(|most| events >= most);
        // The archive stands beside the database for a moment.
        let possible = free_bytes >= database.saturating_add(FREE_INTAKE_BYTES);
        Ok(Space {
            used_bytes,
            free_bytes,
            roll_due: events > 0 && large && possible,
            intake_stopped,
        })
    }

    /// Bytes of the data directory.
    fn used_bytes(&self) -> Result<u64, LogError> {
        tree_bytes(self.directory().path())
    }
}

/// The first pack that what is kept refers to, or names as the packs' end: a copy of the log
/// that is begun later needs that one too. Only the first commit is read: those behind it name
/// no earlier pack.
fn first_pack(view: &View) -> Result<u32, LogError> {
    if let Some(oldest) = view.archives.first() {
        return oldest.first_pack();
    }
    caught(view.store.path(), || {
        let near = view.first();
        for (item, _) in view.store.blocks_from(1).zip(1..=view.extent.blocks) {
            let (_, bytes) = item?;
            let block = parse(&bytes, near)?;
            if let Some(pack) = first_pack_of(&block, near)? {
                return Ok(pack);
            }
        }
        Ok(view.extent.packs.pack)
    })
}

/// About how many bytes of packs lie between two of their ends.
fn packs_between(from: PackAt, to: PackAt) -> u64 {
    let end = |at: PackAt| u64::from(at.pack) * PACK_BYTES_TARGET + at.offset;
    if from.pack == to.pack {
        to.offset.saturating_sub(from.offset)
    } else if from.pack + 1 == to.pack {
        // A roll closes the pack before it.
        to.offset
    } else {
        end(to).saturating_sub(end(from))
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
    let entries = match list() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(storage("list", path.display()))?,
    };
    let mut sum = 0;
    for entry in entries {
        sum += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => tree_bytes(&entry.path())?,
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        };
    }
    Ok(sum)
}
