//! What the loop does so that its log stays small and its start stays short.
//!
//! The work itself runs beside the loop, one piece at a time: a second machine follows the log
//! from the newest snapshot to the newest event, and becomes the next snapshot. So a snapshot is
//! made of what is durable and of nothing else, the loop never waits for a large state, and
//! nothing has to be locked. Where the current part of the log is large, it is closed at that
//! snapshot; the loop then only switches to the next part. Erasing is a piece of work of its own
//! behind that: a closed part does not wait for it, and is not lost when it fails.
//!
//! The loop looks at the space now and then, and stops intake where there is none.

use std::sync::Arc;

use infernet_state::{
    Machine,
    machine::SnapshotError,
    types::{Seq, WallTime},
};
use tokio::sync::{oneshot, watch};

use super::{Fatal, Spawner, replay_to};
use crate::log::{Keeper, LogError, LogReader, Retention, Snapshot, Space};

/// Between looks at the space, in milliseconds: short enough that intake goes on soon when there
/// is room again, and cheap: a few dozen files are measured.
const LOOK_MS: u64 = 10_000;

/// Bytes appended between two looks at most: what a fast disk takes in well under [`LOOK_MS`].
const LOOK_BYTES: u64 = 8 * 1024 * 1024;

/// Before work that failed is tried again, in milliseconds.
const AGAIN_MS: u64 = 60_000;

/// What `/health` says of it; clients read it too, so it names no file.
const UPKEEP_FAILED: &str =
    "the log's upkeep failed and is tried again; the node's own messages say why";

/// What it says of a closed part that is damaged.
const PART_DAMAGED: &str =
    "a closed part of the log is damaged; `infernet log verify` of the stopped node says where";

/// What the configuration says of the log's upkeep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Events between two snapshots, at least. There are also as many bytes of log between them
    /// as the last one had, so that a large state does not fill the disk with its copies.
    pub snapshot_events: u64,
    /// How large the log may become, and what of it is kept.
    pub retention: Retention,
}

impl Default for Policy {
    /// A snapshot every 20,000 events, which replay in less than a second.
    fn default() -> Self {
        Self {
            snapshot_events: 20_000,
            retention: Retention::default(),
        }
    }
}

/// What an operator must know.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Alarms {
    /// Why no new work is taken in.
    pub intake: Option<Arc<str>>,
    /// What of the upkeep failed.
    pub upkeep: Option<Arc<str>>,
    /// Why the mirror does not follow the log.
    pub mirror: Option<Arc<str>>,
    /// Why the chain cannot be used: words for everybody, who must not learn of the RPC.
    pub chain: Option<Arc<str>>,
}

/// What work beside the loop came to.
enum Done<C> {
    /// A snapshot was made.
    Kept {
        /// Its event.
        snapshot: Seq,
        /// Its length.
        bytes: u64,
        /// The oldest event whose payloads are still asked for.
        needed_from: Seq,
        /// The part that was closed at it.
        closed: Option<C>,
    },
    /// What nothing asks for was erased.
    Erased,
    /// The same, but for closed parts that are damaged.
    Spoiled(LogError),
}

/// The end of work that is under way.
pub(super) struct Ended<C>(Result<Done<C>, Fatal>);

/// The loop's side of it.
pub(super) struct Care<K: Keeper> {
    policy: Policy,
    keeper: K,
    under_way: Option<oneshot::Receiver<Result<Done<K::Closed>, Fatal>>>,
    /// The event of the newest snapshot, and its length.
    newest: Seq,
    newest_bytes: u64,
    /// Bytes appended since.
    appended_bytes: u64,
    /// Bytes appended since the last look.
    unseen_bytes: u64,
    roll_due: bool,
    /// Payloads of closed parts before this event are to be erased.
    erase_before: Option<Seq>,
    /// Erasing failed, and waits until nothing else is due.
    erase_failed: bool,
    next_look: WallTime,
    next_try: WallTime,
    alarms: watch::Sender<Alarms>,
}

impl<K: Keeper> Care<K> {
    /// `newest` is the event of the snapshot that the machine was restored from.
    pub(super) fn new(keeper: K, policy: Policy, newest: Seq) -> Self {
        Self {
            policy,
            keeper,
            under_way: None,
            newest,
            newest_bytes: 0,
            appended_bytes: 0,
            unseen_bytes: 0,
            roll_due: false,
            erase_before: None,
            erase_failed: false,
            next_look: WallTime(0),
            next_try: WallTime(0),
            alarms: watch::channel(Alarms::default()).0,
        }
    }

    /// What an operator must know; others raise alarms there too.
    pub(super) fn alarms(&self) -> watch::Sender<Alarms> {
        self.alarms.clone()
    }

    /// The log's configured size.
    pub(super) fn retention(&self) -> Retention {
        self.policy.retention
    }

    /// Whether no new work is taken in.
    pub(super) fn is_closed(&self) -> bool {
        self.alarms.borrow().intake.is_some()
    }

    /// A batch was appended.
    pub(super) fn note_appended(&mut self, bytes: u64) {
        self.appended_bytes = self.appended_bytes.saturating_add(bytes);
        self.unseen_bytes = self.unseen_bytes.saturating_add(bytes);
    }

    /// When the space is looked at next.
    pub(super) fn next_look(&self) -> WallTime {
        self.next_look
    }

    /// Whether the space is to be looked at now.
    pub(super) fn is_look_due(&self, now: WallTime) -> bool {
        is_due(now, self.next_look, LOOK_MS) || self.unseen_bytes >= LOOK_BYTES
    }

    /// What a look showed.
    pub(super) fn see(&mut self, now: WallTime, space: Space) {
        self.next_look = after(now, LOOK_MS);
        self.unseen_bytes = 0;
        self.roll_due = space.roll_due;
        let intake: Option<Arc<str>> = space.intake_stopped.map(Into::into);
        self.alarms.send_if_modified(|alarms| {
            let turned = alarms.intake.is_some() != intake.is_some();
            match &intake {
                Some(why) if turned => tracing::error!(%why, "no new work is taken in"),
                None if turned => tracing::warn!("there is room again, new work is taken in"),
                Some(_) | None => {}
            }
            let changed = alarms.intake != intake;
            alarms.intake = intake;
            changed
        });
    }

    /// Starts what is due behind the event `head`, unless something is under way.
    pub(super) fn start_due(
        &mut self,
        now: WallTime,
        head: Seq,
        log: impl LogReader,
        world: &impl Spawner,
    ) {
        let events = head.0.saturating_sub(self.newest.0);
        let snapshot_due =
            events >= self.policy.snapshot_events && self.appended_bytes >= self.newest_bytes;
        let roll = self.roll_due;
        let keep_due = snapshot_due || roll;
        let erase = self
            .erase_before
            .filter(|_| !(self.erase_failed && keep_due));
        let waits = !is_due(now, self.next_try, AGAIN_MS);
        if self.under_way.is_some() || waits || !(keep_due || erase.is_some()) {
            return;
        }
        let (report, ended) = oneshot::channel();
        let keeper = self.keeper.clone();
        self.under_way = Some(ended);
        // Nobody waits any more for the report when the loop has ended.
        if let Some(before) = erase {
            // Taken for failed until it is done.
            self.erase_failed = true;
            world.spawn_work(Box::new(move || {
                let erased = match keeper.erase_before(before) {
                    Ok(()) => Ok(Done::Erased),
                    // Nothing that the node needs is in it.
                    Err(error @ LogError::Damaged { .. }) => Ok(Done::Spoiled(error)),
                    Err(error) => Err(Fatal::from(error)),
                };
                let _ = report.send(erased);
            }));
        } else {
            self.appended_bytes = 0;
            world.spawn_work(Box::new(move || {
                let _ = report.send(keep(&keeper, &log, roll));
            }));
        }
    }

    /// Resolves when work that is under way has ended; never while none is.
    pub(super) async fn ended(&mut self) -> Ended<K::Closed> {
        let Some(under_way) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let ended = under_way.await.unwrap_or_else(|_| {
            Err(Fatal::Log(LogError::Storage {
                action: "be looked after",
                reason: "the thread that did it ended unexpectedly".to_owned(),
            }))
        });
        self.under_way = None;
        Ended(ended)
    }

    /// Takes note of ended work; returns the part that was closed, to be adopted.
    ///
    /// # Errors
    /// [`Fatal`] when the log was found to be damaged. A disk that is full or fails endangers
    /// the log no more than before: that is an alarm, and is tried again with new files.
    pub(super) fn settle(
        &mut self,
        now: WallTime,
        Ended(ended): Ended<K::Closed>,
    ) -> Result<Option<K::Closed>, Fatal> {
        match ended {
            Ok(Done::Kept {
                snapshot,
                bytes,
                needed_from,
                closed,
            }) => {
                self.newest = snapshot;
                self.newest_bytes = bytes;
                if self.policy.retention.erase_payloads {
                    self.erase_before = Some(needed_from);
                }
                if !self.erase_failed {
                    self.alarm(None);
                }
                // What may be dropped, or rolled, is another matter now.
                self.roll_due = false;
                self.next_look = now;
                Ok(closed)
            }
            Ok(Done::Erased) => {
                self.erase_before = None;
                self.erase_failed = false;
                self.alarm(None);
                self.next_look = now;
                Ok(None)
            }
            Ok(Done::Spoiled(error)) => {
                tracing::error!(%error, "payloads of a damaged part of the log cannot be erased");
                // With the next snapshot again; until then the alarm stays.
                self.erase_before = None;
                self.alarm(Some(PART_DAMAGED.into()));
                Ok(None)
            }
            Err(Fatal::Log(
                error @ (LogError::Storage { .. }
                | LogError::NoSpace { .. }
                | LogError::TooLarge { .. }),
            )) => {
                tracing::error!(%error, "the log's upkeep failed; it is tried again");
                self.next_try = after(now, AGAIN_MS);
                self.alarm(Some(UPKEEP_FAILED.into()));
                Ok(None)
            }
            Err(fatal) => Err(fatal),
        }
    }

    fn alarm(&self, upkeep: Option<Arc<str>>) {
        self.alarms.send_if_modified(|alarms| {
            let changed = alarms.upkeep != upkeep;
            alarms.upkeep = upkeep;
            changed
        });
    }
}

/// Whether the time `at` has come, which was no more than `ms` ahead when it was set: if it seems
/// to be further, the clock was set back.
fn is_due(now: WallTime, at: WallTime, ms: u64) -> bool {
    now >= at || at > after(now, ms)
}

fn after(now: WallTime, ms: u64) -> WallTime {
    WallTime(now.0.saturating_add(ms))
}

/// The machine of the newest snapshot that can be used, or a new one.
pub(super) struct Restored {
    pub(super) machine: Machine,
    /// Why the oldest snapshot is of no use, where none is.
    unread: Option<SnapshotError>,
}

impl Restored {
    /// Replays the log behind it, up to and with the event `to`.
    ///
    /// # Errors
    /// As [`replay_to`]; [`Fatal::Snapshot`] where the log before the snapshots is gone, and none
    /// of them can be read.
    pub(super) fn replay(mut self, log: &impl LogReader, to: Seq) -> Result<Machine, Fatal> {
        match (
            replay_to(log, &mut self.machine, to, |_, _, _| {}),
            self.unread,
        ) {
            (Ok(()), _) => Ok(self.machine),
            (Err(Fatal::Log(LogError::Gone { .. })), Some(unread)) => Err(Fatal::Snapshot(unread)),
            (Err(error), _) => Err(error),
        }
    }
}

/// The machine from the newest snapshot that can be used, or from nothing.
///
/// # Errors
/// [`Fatal`] when the log cannot be read, or the snapshot that it begins with is damaged.
pub(super) fn restore(keeper: &impl Keeper) -> Result<Restored, Fatal> {
    let mut before = Seq(u64::MAX);
    let mut unread = None;
    while let Some(snapshot) = keeper.newest_snapshot(before)? {
        match from_snapshot(&snapshot) {
            Ok(machine) => {
                return Ok(Restored {
                    machine,
                    unread: None,
                });
            }
            Err(error) => {
                before = snapshot.head.seq;
                tracing::warn!(event = %before, %error, "a snapshot is of no use; passed over");
                unread = Some(error);
            }
        }
    }
    Ok(Restored {
        machine: Machine::new(),
        unread,
    })
}

/// The machine of a snapshot, if it is the one that was written.
fn from_snapshot(snapshot: &Snapshot) -> Result<Machine, SnapshotError> {
    let machine = Machine::restore(&snapshot.bytes)?;
    let digest = Machine::snapshot_digest(&snapshot.bytes)?;
    if machine.seq() == snapshot.head.seq && digest == snapshot.digest {
        Ok(machine)
    } else {
        Err(SnapshotError::Malformed)
    }
}

/// Makes the snapshot of the newest event, and keeps it or closes the log's part at it.
fn keep<K: Keeper>(keeper: &K, log: &impl LogReader, roll: bool) -> Result<Done<K::Closed>, Fatal> {
    // The end of a commit: a part of the log can only be closed there.
    let head = log.head();
    let machine = restore(keeper)?.replay(log, head.seq)?;
    let snapshot = Snapshot {
        head,
        digest: machine.digest(),
        bytes: machine.snapshot()?,
    };
    let needed_from = machine.payloads_needed_from();
    drop(machine);
    let closed = if roll {
        keeper.close(&snapshot)?
    } else {
        keeper.save_snapshot(&snapshot)?;
        None
    };
    Ok(Done::Kept {
        snapshot: head.seq,
        bytes: snapshot.bytes.len() as u64,
        needed_from,
        closed,
    })
}
