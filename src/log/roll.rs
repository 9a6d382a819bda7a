//! Rolling the log on disk: a part is closed beside the writer, and adopted by it.
//!
//! ```text
//! keeper  archives/<first>-<last>.blocks, written and read back whole
//!         log/<last>/ with the snapshot and an empty database; then what was appended meanwhile
//! writer  the rest of it, FORMAT names log/<last>, log/<first - 1>/ goes
//! ```
//!
//! Until `FORMAT` is replaced the old database is the log, and everything else is cleared away by
//! the next start, or by the keeper before it closes a part again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use infernet_state::types::Seq;

use super::{
    EventLog as _, Keeper, LogError, Retention, Snapshot, Space, Upkeep,
    archive::{self, Archive},
    commit::Commit,
    directory::{log_name, subdirectory},
    limits::{FOLLOW_BYTES, FOLLOW_ROUNDS},
    retention::clear_leftovers,
    sled::{Shared, SledLog},
    snapshot::{self, base_snapshot, write_base},
    store::{Base, Extent, Store, caught, damaged, parse},
    view::View,
    volume::{storage, sync_dir},
};
use crate::crash;

/// Keeps a [`SledLog`].
#[derive(Clone, Debug)]
pub struct SledKeeper {
    shared: Arc<Shared>,
    directory: PathBuf,
    cache_bytes: u64,
}

/// A closed part of a [`SledLog`], and the database that goes on behind it.
#[derive(Debug)]
pub struct Closed {
    archive: Arc<Archive>,
    store: Store,
    extent: Extent,
    /// The block of the old database behind which the new one begins.
    behind: u64,
    /// Payloads that were erased before it was closed.
    erasures: u64,
}

impl Closed {
    /// Copies the blocks that a view of the old database has more; true when there were any.
    fn follow(&mut self, view: &View) -> Result<bool, LogError> {
        let from = self.behind + self.extent.blocks + 1;
        let mut pending = Vec::new();
        let mut bytes = 0;
        for (item, number) in view.store.blocks_from(from).zip(from..=view.extent.blocks) {
            let (found, block) = item?;
            let near = self.extent.head.seq;
            let parsed = parse(&block, near)?;
            if found != number {
                return Err(damaged(near, format!("block {number} is missing")));
            }
            let end = parsed.ends_commit.then(|| (parsed.head(), parsed.packs));
            bytes += block.len();
            pending.push(block.to_vec());
            if let Some((head, packs)) = end
                && (bytes >= FOLLOW_BYTES || number == view.extent.blocks)
            {
                let blocks = std::mem::take(&mut pending);
                bytes = 0;
                self.extent = self
                    .store
                    .commit(self.extent, Commit { blocks, head }, packs)?;
            }
        }
        Ok(from <= view.extent.blocks)
    }
}

impl SledKeeper {
    /// Removes what an earlier attempt to close a part left.
    fn clear_begun(&self, view: &View) -> Result<(), LogError> {
        let base = view.store.base().head.seq;
        let archives = subdirectory(&self.directory, "archives")?;
        archive::clear_unfinished(&archives)?;
        for archive in archive::list(&archives)? {
            if archive.first > base {
                archive.remove()?;
            }
        }
        clear_leftovers(&self.directory.join("log"), &log_name(base), &view.archives)
    }

    fn close_at(&self, view: &View, snapshot: &Snapshot) -> Result<Closed, LogError> {
        let erasures = self.shared.erasures();
        let store = &view.store;
        let missing = || LogError::Missing {
            seq: snapshot.head.seq,
            last: view.extent.head.seq,
        };
        if snapshot.head.seq > view.extent.head.seq {
            return Err(missing());
        }
        let (behind, last) = store.find(snapshot.head.seq, view.extent.blocks)?;
        let last = parse(&last, snapshot.head.seq)?;
        if last.head() != snapshot.head || !last.ends_commit {
            return Err(missing());
        }
        let packs = last.packs;
        let archives = subdirectory(&self.directory, "archives")?;
        let archive = archive::write(&archives, store.base().head, snapshot.head, |put| {
            for (item, _) in store.blocks_from(1).zip(1..=behind) {
                put(&item?.1)?;
            }
            Ok(())
        })?;
        if let Some(began_with) = base_snapshot(store)? {
            archive.keep_snapshot(&began_with)?;
        }
        crash::point("roll.archived");
        let path = self.directory.join("log").join(log_name(snapshot.head.seq));
        fs::create_dir(&path).map_err(storage("create", path.display()))?;
        let base = Base {
            head: snapshot.head,
            packs,
            snapshot: Some(write_base(&path, snapshot)?),
        };
        let extent = Extent {
            head: base.head,
            packs,
            ..Extent::default()
        };
        crash::point("roll.began");
        let mut closed = Closed {
            archive,
            store: Store::create(&path, base, self.cache_bytes)?,
            extent,
            behind,
            erasures,
        };
        crash::point("roll.created");
        for _ in 0..FOLLOW_ROUNDS {
            if !closed.follow(&self.shared.view())? {
                break;
            }
        }
        crash::point("roll.closed");
        Ok(closed)
    }

    /// Erases the payloads of one archive, and empties the packs that held nothing else.
    fn make_bare(&self, archive: &Archive) -> Result<(), LogError> {
        let _archiving = self.shared.archiving();
        let view = self.shared.view();
        let mut archives = view.archives.iter();
        let Some(at) = archives.position(|other| other.first == archive.first) else {
            return Ok(());
        };
        let older_are_bare = view.archives[..at].iter().all(|older| older.is_bare());
        crash::point("erase.before-archive");
        let (rewritten, packs) = archive.without_payloads()?;
        crash::point("erase.rewritten");
        self.shared.update(|view| view.replace_archive(&rewritten));
        self.shared.removing();
        self.shared.packs().erase_all(&packs)?;
        if older_are_bare && let Some(from) = packs.iter().map(|(at, _)| at.pack).min() {
            let end = rewritten.blocks()?.packs();
            // What is published is durable: no start needs an earlier pack than that.
            let written = self.shared.view().extent.packs;
            self.shared.packs().empty_up_to(from, end, written)?;
        }
        crash::point("erase.overwritten");
        let bare = rewritten.mark_bare()?;
        crash::point("erase.marked");
        self.shared.update(|view| view.replace_archive(&bare));
        Ok(())
    }
}

impl Keeper for SledKeeper {
    type Closed = Closed;

    fn newest_snapshot(&self, before: Seq) -> Result<Option<Snapshot>, LogError> {
        snapshot::newest(&self.directory, &self.shared.view(), before)
    }

    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), LogError> {
        snapshot::save(&self.directory, &self.shared.view(), snapshot)
    }

    fn close(&self, snapshot: &Snapshot) -> Result<Option<Closed>, LogError> {
        let _archiving = self.shared.archiving();
        let view = self.shared.view();
        if snapshot.head == view.store.base().head {
            return Ok(None);
        }
        crash::point("roll.before-close");
        self.clear_begun(&view)?;
        let closed = caught(view.store.path(), || self.close_at(&view, snapshot));
        if closed.is_err() {
            // What cannot be removed now is removed by the next attempt, or the next start.
            let _ = self.clear_begun(&view);
        }
        closed.map(Some)
    }

    fn erase_before(&self, seq: Seq) -> Result<(), LogError> {
        let view = self.shared.view();
        let due = view
            .archives
            .iter()
            .filter(|archive| archive.last < seq && !archive.is_bare());
        let mut first_damage = Ok(());
        for archive in due {
            match self.make_bare(archive) {
                // Of a part that nobody needs: it holds up no other.
                Err(damage @ LogError::Damaged { .. }) => {
                    first_damage = first_damage.and(Err(damage))
                }
                made => made?,
            }
        }
        first_damage
    }
}

impl SledLog {
    /// Closes the log at its newest event and adopts the part, as one step: what
    /// [`Keeper::close`] and [`Upkeep::adopt`] do, for a log that nobody appends to meanwhile.
    ///
    /// # Durability
    /// One rename switches from the old database to the new one; a crash before it leaves the
    /// old one, and what was begun is cleared away by the next start.
    ///
    /// # Errors
    /// [`LogError::Missing`] when the snapshot is not of the newest event; [`LogError`]: the log
    /// is then to be closed.
    pub fn roll(&mut self, snapshot: &Snapshot) -> Result<(), LogError> {
        let head = self.head();
        if snapshot.head != head {
            return Err(LogError::Missing {
                seq: snapshot.head.seq,
                last: head.seq,
            });
        }
        match self.keeper().close(snapshot)? {
            Some(closed) => self.adopt(closed).map(drop),
            None => Ok(()),
        }
    }

    fn switch(&mut self, mut closed: Closed) -> Result<(), LogError> {
        let view = self.view();
        let old = Arc::clone(&view.store);
        caught(old.path(), || closed.follow(&view))?;
        let base = closed.store.base().head.seq;
        crash::point("roll.before-switch");
        self.directory_mut().set_current(&log_name(base))?;
        crash::point("roll.switched");
        let Closed {
            archive,
            store,
            extent,
            ..
        } = closed;
        self.shared().update(|view| {
            let mut archives = (*view.archives).clone();
            archives.push(archive);
            view.archives = Arc::new(archives);
            view.store = Arc::new(store);
            view.extent = extent;
        });
        self.close_pack();
        // Readers that still hold the old database keep its open files.
        remove_database(old.path())?;
        crash::point("roll.removed");
        Ok(())
    }
}

impl Upkeep for SledLog {
    type Keeper = SledKeeper;

    fn keeper(&self) -> SledKeeper {
        SledKeeper {
            shared: Arc::clone(self.shared()),
            directory: self.directory().path().to_owned(),
            cache_bytes: self.cache_bytes(),
        }
    }

    fn adopt(&mut self, closed: Closed) -> Result<bool, LogError> {
        self.check_usable()?;
        if closed.erasures != self.shared().erasures() {
            return Ok(false);
        }
        let result = self.switch(closed);
        self.fail_on(&result);
        result.map(|()| true)
    }

    fn retain(
        &mut self,
        retention: &Retention,
        needed_from: &dyn Fn() -> Seq,
    ) -> Result<Space, LogError> {
        self.check_usable()?;
        let result = self.drop_oldest(retention, needed_from);
        self.fail_on(&result);
        result?;
        self.space(retention)
    }
}

/// Removes a database that is no longer the log.
fn remove_database(path: &Path) -> Result<(), LogError> {
    fs::remove_dir_all(path)
        .and_then(|()| sync_dir(path.parent().unwrap_or(path)))
        .map_err(storage("remove", path.display()))
}
