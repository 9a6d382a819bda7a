//! The loop: one writer, one direction.
//!
//! # Persist, then act
//!
//! The order *append → durable → apply → dispatch* exists here, in `Driver::commit`, and
//! nowhere else. Why it is right:
//!
//! 1. What clients ask for is judged by [`Machine::judge`] first; what is refused is answered and
//!    leaves no trace, so a refused flood costs no disk. Nothing of a batch is applied yet, so a
//!    request is judged beside the others of its batch: one that depends on them is put off to the
//!    next, and the requests stand before the facts, which may change what is accepted. Each
//!    recorded request therefore takes effect.
//! 2. The accepted rest is appended as one batch.
//!    [`EventLog::append`](crate::log::EventLog::append) returns only when the batch is durable;
//!    if it fails, nothing of the batch was applied, answered or acted on, and the loop ends: the
//!    disk may hold the batch or not, and recovery will find out.
//! 3. Only then is each event applied. The machine is deterministic, so a crash after (2) loses
//!    no decision: replay takes it again. If the machine halts, no effect of this batch leaves.
//! 4. Only then are clients answered and effects handed over. A crash between (3) and (4), or
//!    in the middle of (4), is repaired by [`Machine::outstanding`]: every effect stays in the
//!    state until its terminal outcome is itself an event.
//!
//! Start-up is recovery: [`Driver::recover`] restores the newest snapshot and replays the log
//! behind it, [`Driver::run`] records `NodeStarted` and hands over what is outstanding. There is
//! no other recovery code.

mod handle;
mod upkeep;
mod world;

use std::{
    collections::VecDeque,
    sync::{Arc, RwLock},
};

use infernet_state::{
    Event, Machine,
    codec::{self, CodecError},
    effect::Issued,
    machine::{Claims, Halt, SnapshotError, Verdict},
    types::Seq,
};
use tokio::sync::{mpsc, watch};

pub use handle::{Busy, Handle, Recorded, Reply, Stopped};
pub use upkeep::{Alarms, Policy};
pub use world::{BoxFuture, Clock, Random, Spawner, SystemWorld, Work, World};

use crate::{
    crash,
    log::{LogError, LogReader, Payload, Record, Upkeep},
};
use handle::Submission;
use upkeep::Care;

/// Events that may wait for the loop; more make observers wait and clients get 503.
pub const INBOX_MAX: usize = 1024;

/// Events in one commit: bounds the latency of the first of them and the size of the batch.
pub const BATCH_EVENTS_MAX: usize = 256;

/// Payload bytes in one commit; one larger payload still goes, alone.
pub const BATCH_PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Events read from the log at a time during replay: bounds memory, not speed.
pub const REPLAY_CHUNK: usize = 4096;

/// Why the loop ended, other than by a stop that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The log failed; see its code.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An invariant of money or sequence would break.
    #[error(
        "{0}; the log is kept as it is, nothing was done about this event or told to a client \
         since: replay it with `infernet replay`; `infernet log export --to` gives the log as it \
         was before"
    )]
    Halt(Halt),
    /// A newer version of the program continued the log.
    #[error(transparent)]
    Newer(Halt),
    /// An event cannot be encoded, or one in the log cannot be decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The state cannot be written as a snapshot; or the snapshot that the log begins with cannot
    /// be read, and the log before it is gone.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl From<Halt> for Fatal {
    fn from(halt: Halt) -> Self {
        if halt.is_newer() {
            Self::Newer(halt)
        } else {
            Self::Halt(halt)
        }
    }
}

/// Takes effects and carries them out; what comes of them returns through a [`Handle`].
pub trait Dispatch: Send + 'static {
    /// Hands an effect over without waiting for it.
    fn dispatch(&mut self, issued: Issued);
}

/// The loop's own state. Generic over the log and the world (clock, randomness, spawner), so
/// that the simulator runs this very code.
pub struct Driver<L: Upkeep, W: World> {
    log: L,
    world: W,
    machine: Arc<RwLock<Machine>>,
    inbox: mpsc::Receiver<Submission>,
    /// Requests whose verdict depended on others of their commit: first of the next one, which is
    /// why they are never more than one commit takes.
    put_off: VecDeque<Submission>,
    head: watch::Sender<Seq>,
    care: Care<L::Keeper>,
}

impl<L: Upkeep, W: World> Driver<L, W> {
    /// Restores the machine and builds the loop and its handle. Nothing is recorded or sent yet.
    ///
    /// # Errors
    /// [`Fatal`] when the log cannot be read or decoded, or the machine halts on it.
    pub fn recover(log: L, world: W, policy: Policy) -> Result<(Self, Handle), Fatal> {
        let keeper = log.keeper();
        let restored = upkeep::restore(&keeper)?;
        let care = Care::new(keeper, policy, restored.machine.seq());
        let machine = restored.replay(&log.reader(), Seq(u64::MAX))?;
        world.go_on_from(machine.now());
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let (head, head_seen) = watch::channel(machine.seq());
        let machine = Arc::new(RwLock::new(machine));
        let handle = Handle::new(sender, Arc::clone(&machine), head_seen, care.alarms());
        Ok((
            Self {
                log,
                world,
                machine,
                inbox,
                put_off: VecDeque::new(),
                head,
                care,
            },
            handle,
        ))
    }

    /// The log's reading side.
    pub fn reader(&self) -> L::Reader {
        self.log.reader()
    }

    /// Records the start of this run, hands over what is outstanding, and serves until `stop`
    /// resolves or every handle is gone.
    ///
    /// # Durability
    /// Everything answered or dispatched before it returns is durable.
    ///
    /// # Errors
    /// [`Fatal`]: the process must end with the matching exit code.
    pub async fn run(
        mut self,
        started: Vec<Event>,
        mut dispatch: impl Dispatch,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Fatal> {
        let first = started.into_iter().map(Submission::silent).collect();
        // What these events issue is outstanding like everything older: one door for both.
        self.commit(first)?;
        for issued in self.read(Machine::outstanding) {
            dispatch.dispatch(issued);
        }
        let mut stop = std::pin::pin!(stop);
        loop {
            self.look_after()?;
            let deadline = self.read(Machine::next_deadline);
            let wake = deadline.map_or(self.care.next_look(), |at| at.min(self.care.next_look()));
            let mut batch = tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                ended = self.care.ended() => {
                    if let Some(closed) = self.care.settle(self.world.now(), ended)? {
                        self.log.adopt(closed)?;
                    }
                    continue;
                }
                first = next(&mut self.put_off, &mut self.inbox) => match first {
                    Some(first) => self.gather(first),
                    None => return Ok(()),
                },
                () = self.world.sleep_until(wake) => Vec::new(),
            };
            // Looked at behind every batch: under load the inbox is never empty.
            let now = self.world.now();
            if deadline.is_some_and(|at| at <= now) {
                batch.push(Submission::silent(Event::WallTimePassed { now }));
            }
            for issued in self.commit(batch)? {
                dispatch.dispatch(issued);
            }
        }
    }

    /// Looks at the space when it is time, and starts the upkeep that is due.
    fn look_after(&mut self) -> Result<(), Fatal> {
        let now = self.world.now();
        if self.care.is_look_due(now) {
            let retention = self.care.retention();
            // Everything durable is applied here, so this is what holds.
            let machine = &self.machine;
            let needed_from = || look(machine, Machine::payloads_needed_from);
            let space = self.log.retain(&retention, &needed_from)?;
            self.care.see(now, space);
        }
        let head = self.log.head().seq;
        self.care
            .start_due(now, head, self.log.reader(), &self.world);
        Ok(())
    }

    /// Takes what else is waiting, within the bounds of one commit.
    fn gather(&mut self, first: Submission) -> Vec<Submission> {
        let mut bytes = first.payload_bytes();
        let mut batch = vec![first];
        while batch.len() < BATCH_EVENTS_MAX && bytes < BATCH_PAYLOAD_BYTES_MAX {
            let next = match self.put_off.pop_front() {
                Some(next) => next,
                None => match self.inbox.try_recv() {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            bytes = bytes.saturating_add(next.payload_bytes());
            batch.push(next);
        }
        batch
    }

    /// The one place of the order: judge, append and make durable, apply, answer; the effects
    /// are the caller's to dispatch. See the module's documentation for the argument.
    fn commit(&mut self, batch: Vec<Submission>) -> Result<Vec<Issued>, Fatal> {
        let mut accepted = Vec::with_capacity(batch.len());
        let mut records = Vec::with_capacity(batch.len());
        let mut claims = Claims::default();
        let (requests, facts): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(Submission::is_request);
        for submission in requests.into_iter().chain(facts) {
            let Some(verdict) = self.judge(&submission, &mut claims) else {
                self.put_off.push_back(submission);
                continue;
            };
            match verdict {
                Verdict::Accept if self.care.is_closed() && submission.brings_work() => {
                    submission.answer(Reply::NoRoom);
                }
                Verdict::Accept => match submission.events().map(codec::encode).collect() {
                    Ok(events) => {
                        let events: Vec<_> = events;
                        let (submission, payloads) = submission.take_payloads();
                        let mut payloads = Some(payloads);
                        records.extend(events.into_iter().map(|event| Record {
                            event,
                            payloads: payloads.take().unwrap_or_default(),
                        }));
                        accepted.push(submission);
                    }
                    Err(error) if submission.is_request() => submission.refuse_encoding(&error),
                    Err(error) => return Err(error.into()),
                },
                Verdict::Known(job) => submission.answer(Reply::Known(job)),
                Verdict::Refused(refusal) => submission.answer(Reply::Refused(refusal)),
            }
        }
        if records.is_empty() {
            return Ok(Vec::new());
        }
        crash::point("driver.before-append");
        self.log.append(&records)?;
        crash::point("driver.after-append");
        self.care.note_appended(records.iter().map(bytes_of).sum());
        let mut effects = Vec::new();
        let mut answers = Vec::with_capacity(accepted.len());
        {
            let mut machine = self
                .machine
                .write()
                .unwrap_or_else(|held| held.into_inner());
            for submission in accepted {
                for event in submission.events() {
                    effects.extend(machine.apply(event)?);
                }
                let seq = machine.seq();
                answers.push((submission, Reply::Recorded(Recorded { seq })));
            }
            self.head.send_replace(machine.seq());
        }
        crash::point("driver.after-apply");
        for (submission, reply) in answers {
            submission.answer(reply);
        }
        crash::point("driver.before-dispatch");
        Ok(effects)
    }

    /// Only what a client asks for is judged; facts of our own observers are facts. `None` for
    /// what depends on others of its commit.
    fn judge(&self, submission: &Submission, claims: &mut Claims) -> Option<Verdict> {
        if submission.is_request() {
            self.read(|machine| machine.judge(submission.event(), claims))
        } else {
            Some(Verdict::Accept)
        }
    }

    fn read<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        self::look(&self.machine, look)
    }
}

/// What was put off, then what comes in.
async fn next(
    put_off: &mut VecDeque<Submission>,
    inbox: &mut mpsc::Receiver<Submission>,
) -> Option<Submission> {
    match put_off.pop_front() {
        Some(submission) => Some(submission),
        None => inbox.recv().await,
    }
}

fn look<T>(machine: &RwLock<Machine>, look: impl FnOnce(&Machine) -> T) -> T {
    look(&machine.read().unwrap_or_else(|held| held.into_inner()))
}

/// Rebuilds the machine from a log.
///
/// # Errors
/// [`Fatal`] when an event cannot be read, decoded or applied.
pub fn replay(log: &impl LogReader) -> Result<Machine, Fatal> {
    let mut machine = Machine::new();
    replay_each(log, &mut machine, |_, _, _| {})?;
    Ok(machine)
}

/// Replays a log behind `machine`, showing each event with its effects.
///
/// # Errors
/// [`Fatal`] when an event cannot be read, decoded or applied.
pub fn replay_each(
    log: &impl LogReader,
    machine: &mut Machine,
    each: impl FnMut(Seq, &Event, &[Issued]),
) -> Result<(), Fatal> {
    replay_to(log, machine, Seq(u64::MAX), each)
}

/// As [`replay_each`], up to and with the event `to`.
///
/// # Errors
/// As [`replay_each`].
pub fn replay_to(
    log: &impl LogReader,
    machine: &mut Machine,
    to: Seq,
    mut each: impl FnMut(Seq, &Event, &[Issued]),
) -> Result<(), Fatal> {
    loop {
        let left = usize::try_from(to.0.saturating_sub(machine.seq().0)).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(());
        }
        let chunk = log.read(Seq(machine.seq().0 + 1), left.min(REPLAY_CHUNK))?;
        if chunk.is_empty() {
            return Ok(());
        }
        for stored in chunk {
            let event = codec::decode(stored.event.kind, stored.event.version, &stored.event.body)?;
            let effects = machine.apply(&event)?;
            each(stored.seq, &event, &effects);
        }
    }
}

/// About what a record takes in the log.
fn bytes_of(record: &Record) -> u64 {
    let payloads = record.payloads.iter().map(|payload| payload.bytes.len());
    (record.event.body.len() + payloads.sum::<usize>()) as u64
}

/// A payload with its reference computed.
#[must_use]
pub fn payload(bytes: Vec<u8>) -> Payload {
    use sha2::Digest as _;

    let hash = infernet_state::types::Hash(sha2::Sha256::digest(&bytes).into());
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    Payload {
        reference: infernet_state::types::PayloadRef { hash, len },
        bytes,
    }
}
