//! What a running node keeps beside its log: a mirror in another directory, and signed
//! checkpoints.
//!
//! A thread of its own follows the log; the loop never waits for a disk that it does not need.
//! When the loop ends, the thread makes the last round and ends too. A mirror that fails is an
//! alarm in `/health` and is opened anew, and the node goes on without it meanwhile: what is
//! acknowledged stands in the log, the mirror is a second copy of it.

use std::{
    io,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use infernet_state::{Machine, types::Seq};
use tokio::{runtime, sync::watch};

use crate::{
    chain::signer::{KeyError, NodeKey},
    driver::{Clock as _, Handle, SystemWorld},
    log::{LogError, Mirror, SledReader, checkpoint::Tree},
    node::NodeError,
};

/// How long a mirror that failed is left alone: twice as long each time, since opening one reads
/// all of it.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long at most.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// How long a mirror is left alone that no try will mend: somebody may have made room for a new
/// one meanwhile.
const USELESS_RETRY: Duration = Duration::from_secs(600);

/// How long checkpoints that fail are left alone at most: a try reads all that is kept of the log
/// where a part of it is damaged.
const CHECKPOINT_RETRY_MAX: Duration = Duration::from_secs(600);

/// What `/health` says of a mirror that fails; clients read it too, so it names no file.
const FAILED: &str =
    "the mirror of the log failed and is tried again; the node's own messages say why";

/// What it says of one that no try will mend.
const USELESS: &str = "the mirror of the log is damaged, or lacks events that the log no longer \
     keeps; make a new one in an empty directory";

/// Events between two checkpoints, unless told otherwise: a digest of the whole state each, for
/// which the loop waits.
pub const CHECKPOINT_EVENTS: u64 = 10_000;

/// What is to be kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Where the mirror is; none without.
    pub mirror: Option<PathBuf>,
    /// Events between two checkpoints, beside the one at a stop; 0 makes none at all.
    pub checkpoint_events: u64,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            mirror: None,
            checkpoint_events: CHECKPOINT_EVENTS,
        }
    }
}

/// Why a checkpoint was not made.
#[derive(Debug, thiserror::Error)]
enum NotSigned {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The thread's own state.
struct Copies {
    handle: Handle,
    reader: SledReader,
    world: SystemWorld,
    mirror: Option<Follower>,
    checkpoints: Option<Signer>,
}

/// Starts the thread; `None` when nothing is to be kept. It ends after the loop has.
///
/// # Errors
/// [`NodeError::Mirror`] when the mirror is of another log, or holds another history or a longer
/// one: the log lost something, or is the wrong one. [`NodeError::Runtime`] without a thread.
pub fn start(
    wanted: &Wanted,
    key: Option<NodeKey>,
    handle: Handle,
    reader: SledReader,
    world: SystemWorld,
) -> Result<Option<JoinHandle<()>>, NodeError> {
    let mirror = match &wanted.mirror {
        Some(path) => {
            let mut follower = Follower {
                mirror: None,
                path: path.clone(),
                failed: None,
                useless: false,
                handle: handle.clone(),
            };
            match opened(path, &reader) {
                Ok(mirror) => follower.mirror = Some(mirror),
                Err(error @ (LogError::Identity { .. } | LogError::Mirror { .. })) => {
                    return Err(NodeError::Mirror(error));
                }
                // The node goes on without its copy.
                Err(error) => follower.fail(&error),
            }
            Some(follower)
        }
        None => None,
    };
    let checkpoints = key
        .filter(|_| wanted.checkpoint_events > 0)
        .map(|key| Signer::new(key, wanted.checkpoint_events));
    if mirror.is_none() && checkpoints.is_none() {
        return Ok(None);
    }
    let head = handle.head();
    let copies = Copies {
        handle,
        reader,
        world,
        mirror,
        checkpoints,
    };
    let runtime = runtime::Handle::current();
    thread::Builder::new()
        .name("copies".to_owned())
        .spawn(move || copies.follow(&runtime, head))
        .map(Some)
        .map_err(|error: io::Error| NodeError::Runtime {
            reason: error.to_string(),
        })
}

/// A mirror that goes on from where it ends.
fn opened(path: &Path, reader: &SledReader) -> Result<Mirror, LogError> {
    let mirror = Mirror::open(path, reader)?;
    mirror.agrees(reader)?;
    Ok(mirror)
}

impl Copies {
    /// A round whenever the log has grown or a mirror that failed is due, and one more when the
    /// loop has ended.
    fn follow(mut self, runtime: &runtime::Handle, mut head: watch::Receiver<Seq>) {
        loop {
            self.round(false);
            let mirror = self.mirror.as_ref().and_then(Follower::due);
            let checkpoints = self.checkpoints.as_ref().and_then(Signer::due);
            let due = mirror.into_iter().chain(checkpoints).min();
            let ended = runtime.block_on(async {
                let due = async {
                    match due {
                        Some(due) => tokio::time::sleep_until(due.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = head.changed() => changed.is_err(),
                    () = due => false,
                }
            });
            if ended {
                self.round(true);
                return;
            }
        }
    }

    fn round(&mut self, last: bool) {
        if let Some(signer) = &mut self.checkpoints {
            signer.try_round(&self.handle, &self.reader, &self.world, last);
        }
        // After the checkpoints, so that the mirror has them as well.
        if let Some(follower) = &mut self.mirror {
            follower.round(&self.reader, last);
        }
    }
}

/// A mirror, whether it works at the moment or not.
struct Follower {
    path: PathBuf,
    mirror: Option<Mirror>,
    failed: Option<Failed>,
    /// Whether it failed so that no try will mend it.
    useless: bool,
    handle: Handle,
}

/// When something failed, and how long it is left alone.
#[derive(Clone, Copy)]
struct Failed {
    at: Instant,
    wait: Duration,
}

impl Failed {
    /// It failed now, after an earlier time or for the first.
    fn again(before: Option<Self>, longest: Duration) -> Self {
        let wait = before.map_or(RETRY_AFTER, |failed| failed.wait * 2);
        Self {
            at: Instant::now(),
            wait: wait.min(longest),
        }
    }

    /// It failed now, and is left alone from the first time on.
    fn for_long(wait: Duration) -> Self {
        Self {
            at: Instant::now(),
            wait,
        }
    }

    /// When it is tried again.
    fn due(self) -> Instant {
        self.at + self.wait
    }
}

impl Follower {
    fn round(&mut self, reader: &SledReader, last: bool) {
        let early = self.due().is_some_and(|due| Instant::now() < due);
        if (early && !last) || (self.useless && last) {
            return;
        }
        let mirror = self.mirror.take();
        match follow(&self.path, mirror, reader) {
            Ok(mirror) => {
                if self.failed.take().is_some() {
                    tracing::info!(mirror = %self.path.display(), "the mirror has caught up");
                    self.handle.alarm_of_mirror(None);
                }
                self.useless = false;
                self.mirror = Some(mirror);
            }
            Err(error) => self.fail(&error),
        }
    }

    /// When one that failed is tried again.
    fn due(&self) -> Option<Instant> {
        self.failed.map(Failed::due)
    }

    fn fail(&mut self, error: &LogError) {
        let path = self.path.display();
        self.useless = is_useless(error);
        let why = if self.useless {
            tracing::warn!(%error, mirror = %path, "the mirror does not follow; make a new one in an empty directory");
            USELESS
        } else {
            tracing::warn!(%error, mirror = %path, "the mirror does not follow; it is tried again");
            FAILED
        };
        self.handle.alarm_of_mirror(Some(why));
        self.failed = Some(if self.useless {
            Failed::for_long(USELESS_RETRY)
        } else {
            Failed::again(self.failed, RETRY_AFTER_MAX)
        });
    }
}

/// Whether no further try will make a mirror follow.
fn is_useless(error: &LogError) -> bool {
    matches!(
        error,
        LogError::Gone { .. } | LogError::MirrorDamaged { .. }
    )
}

/// Lets a mirror catch up; one that failed is opened anew.
fn follow(path: &Path, mirror: Option<Mirror>, reader: &SledReader) -> Result<Mirror, LogError> {
    let mut mirror = match mirror {
        Some(mirror) => mirror,
        None => Mirror::open(path, reader)?,
    };
    mirror.follow(reader)?;
    Ok(mirror)
}

/// Makes checkpoints.
struct Signer {
    key: NodeKey,
    every: u64,
    /// The tree, and the event of the newest checkpoint; none until the log could be read.
    grown: Option<(Tree, Seq)>,
    failed: Option<Failed>,
}

impl Signer {
    fn new(key: NodeKey, every: u64) -> Self {
        Self {
            key,
            every,
            grown: None,
            failed: None,
        }
    }

    /// When it is tried again after it failed: not with every event, since a try may read much of
    /// the log, and holds the loop up for a digest of the whole state.
    fn due(&self) -> Option<Instant> {
        self.failed.map(Failed::due)
    }

    /// A round, if none failed lately. The node goes on without checkpoints.
    fn try_round(&mut self, handle: &Handle, reader: &SledReader, world: &SystemWorld, last: bool) {
        if self.due().is_some_and(|due| Instant::now() < due) && !last {
            return;
        }
        match self.round(handle, reader, world, last) {
            Ok(()) => self.failed = None,
            Err(error) => {
                tracing::warn!(%error, "no checkpoint was made; the next one covers these events too");
                self.failed = Some(Failed::again(self.failed, CHECKPOINT_RETRY_MAX));
            }
        }
    }

    /// Signs the state if enough has happened since the last time, or at the end if anything has.
    fn round(
        &mut self,
        handle: &Handle,
        reader: &SledReader,
        world: &SystemWorld,
        last: bool,
    ) -> Result<(), NotSigned> {
        let head = handle.head();
        let seq = *head.borrow();
        // The tree keeps up with the log, so that no checkpoint has to read all of it.
        let signed = self.grow(reader, seq)?.1;
        let news = seq.0.saturating_sub(signed.0);
        if news == 0 || (news < self.every && !last) {
            return Ok(());
        }
        // Before the loop is held up for a digest that cannot be kept.
        reader.check_checkpoints_writable()?;
        // The head is told behind a whole batch. What is ahead of it is a batch under way, or
        // the half of an event at which the machine halted.
        let told = |machine: &Machine| {
            let seq = machine.seq();
            (seq == *head.borrow()).then(|| (seq, machine.digest()))
        };
        let Some((seq, state)) = handle.view(told) else {
            return Ok(());
        };
        let (tree, _) = self.grow(reader, seq)?;
        let statement = tree.statement(state, world.now());
        let checkpoint = statement.sign(|text| self.key.sign_text(text))?;
        reader.save_checkpoint(&checkpoint)?;
        if let Some((_, signed)) = &mut self.grown {
            *signed = seq;
        }
        Ok(())
    }

    /// Lets the tree catch up with the log. Where the log dropped what comes next, it begins anew
    /// with what is kept.
    fn grow(&mut self, reader: &SledReader, to: Seq) -> Result<&(Tree, Seq), LogError> {
        let grown = match &mut self.grown {
            Some(grown) => grown,
            none => {
                let newest = reader.checkpoints()?.pop();
                let signed = newest.map_or(Seq(0), |newest| newest.statement.head.seq);
                none.insert((Tree::begin(reader)?, signed))
            }
        };
        match grown.0.grow(reader, to) {
            Err(LogError::Gone { .. }) => {
                grown.0 = Tree::begin(reader)?;
                grown.0.grow(reader, to)?;
            }
            done => done?,
        }
        Ok(grown)
    }
}

#[cfg(test)]
mod tests {
    use infernet_state::{
        Event,
        codec::{self, EncodedEvent},
        types::{Hash, WallTime},
    };

    use super::*;
    use crate::driver::{Driver, Policy};
    use crate::log::{EventLog as _, Options, Record, Retention, SledLog, Snapshot, Upkeep as _};

    const KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

    fn append(log: &mut SledLog) {
        let event = |number| EncodedEvent {
            kind: 1,
            version: 1,
            body: vec![number],
        };
        let batch: Vec<Record> = (0..10)
            .map(|number| Record {
                event: event(number),
                payloads: Vec::new(),
            })
            .collect();
        log.append(&batch).unwrap();
    }

    #[test]
    fn a_tree_that_fell_behind_what_is_kept_begins_anew_where_the_log_does() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = SledLog::open(dir.path(), &Options::new("chain 1")).unwrap();
        append(&mut log);
        let reader = log.reader();
        let key = NodeKey::from_hex(KEY).unwrap();
        let mut signer = Signer::new(key, 1);
        signer.grow(&reader, Seq(10)).unwrap();
        append(&mut log);
        let snapshot = Snapshot {
            head: log.head(),
            digest: Hash::ZERO,
            bytes: vec![1],
        };
        log.roll(&snapshot).unwrap();
        append(&mut log);
        let all = Retention {
            budget_bytes: Some(1),
            keep_events: Some(0),
            ..Retention::default()
        };
        log.retain(&all, &|| Seq(u64::MAX)).unwrap();
        assert_eq!(reader.first(), Seq(21));
        let (tree, _) = signer.grow(&reader, Seq(30)).unwrap();
        let said = |tree: &Tree| tree.statement(Hash::ZERO, WallTime(1));
        let statement = said(tree);
        assert_eq!((statement.first, statement.head), (Seq(21), log.head()));
        // It is the tree over what is kept, as anybody makes it.
        let mut fresh = Tree::begin(&reader).unwrap();
        fresh.grow(&reader, Seq(30)).unwrap();
        assert_eq!(said(&fresh), statement);
    }

    #[tokio::test]
    async fn a_checkpoint_that_fails_is_not_tried_again_with_every_event() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = SledLog::open(dir.path(), &Options::new("chain 1")).unwrap();
        let started = Event::NodeStarted {
            at: WallTime(1),
            version: "test".to_owned(),
        };
        let record = Record {
            event: codec::encode(&started).unwrap(),
            payloads: Vec::new(),
        };
        log.append(&[record]).unwrap();
        let reader = log.reader();
        let world = SystemWorld::current();
        let (_driver, handle) = Driver::recover(log, world.clone(), Policy::default()).unwrap();
        // It cannot be kept.
        let file = dir.path().join("checkpoints.jsonl");
        std::fs::create_dir(&file).unwrap();
        let mut signer = Signer::new(NodeKey::from_hex(KEY).unwrap(), 1);
        signer.try_round(&handle, &reader, &world, false);
        let due = signer.due();
        assert!(due.is_some());
        // It is left alone until then, except at the end.
        signer.failed.as_mut().unwrap().wait = Duration::from_secs(3600);
        std::fs::remove_dir(&file).unwrap();
        signer.try_round(&handle, &reader, &world, false);
        assert!(signer.due() > due && !file.exists());
        signer.try_round(&handle, &reader, &world, true);
        assert_eq!(
            (signer.due(), reader.checkpoints().unwrap().len()),
            (None, 1)
        );
    }
}
