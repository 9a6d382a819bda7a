//! A running loop on a directory, with a clock that runs fast.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::log_common::options;
use infernet_node::{
    driver::{
        self, BoxFuture, Clock, Dispatch, Driver, Handle, Policy, Random, Reply, Spawner,
        SystemWorld, Work, payload,
    },
    log::{EventLog as _, LogReader as _, Retention, SledLog, SledReader},
};
use infernet_state::{
    Config, Effect, Event, Issued, Machine,
    config::{ClientId, ContainerConfig, Limits},
    event::{Idempotency, JobKind, JobRequest, Outcome, Success},
    types::{Hash, JobId, Seq, WallTime},
};
use tokio::sync::oneshot;

/// Nothing takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How much faster than the real clock the world's runs.
pub(crate) const FAST: u64 = 50;

/// The real world with a fast clock.
#[derive(Clone)]
pub(crate) struct FastWorld {
    pub(crate) real: SystemWorld,
    pub(crate) begun: WallTime,
    /// How far it was set back, in milliseconds.
    pub(crate) back: Arc<AtomicU64>,
}

impl FastWorld {
    pub(crate) fn new() -> Self {
        let real = SystemWorld::current();
        let begun = real.now();
        Self {
            real,
            begun,
            back: Arc::default(),
        }
    }
}

impl Clock for FastWorld {
    fn now(&self) -> WallTime {
        let passed = (self.real.now().0 - self.begun.0) * FAST;
        WallTime(self.begun.0 + passed - self.back.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, at: WallTime) -> BoxFuture<()> {
        let ahead = at.0.saturating_sub(self.now().0).div_ceil(FAST);
        self.real
            .sleep_until(WallTime(self.real.now().0.saturating_add(ahead)))
    }

    /// Nothing here outlives a world.
    fn go_on_from(&self, _: WallTime) {}
}

impl Random for FastWorld {
    fn fill(&self, bytes: &mut [u8]) {
        self.real.fill(bytes);
    }
}

impl Spawner for FastWorld {
    fn spawn(&self, task: BoxFuture<()>) {
        self.real.spawn(task);
    }

    fn spawn_work(&self, work: Work) {
        self.real.spawn_work(work);
    }
}

/// Carries container calls out: the answer is some bytes more than the question.
pub(crate) struct Echo {
    handle: Handle,
    world: FastWorld,
}

impl Dispatch for Echo {
    fn dispatch(&mut self, issued: Issued) {
        let Effect::RunContainer(_) = issued.effect else {
            return;
        };
        let (handle, world) = (self.handle.clone(), self.world.clone());
        self.world.spawn(Box::pin(async move {
            let answer = payload(format!("{{\"answer\":\"{:0>2100}\"}}", issued.id).into_bytes());
            let event = Event::EffectEnded {
                effect: issued.id,
                attempt: issued.attempt,
                at: world.now(),
                outcome: Outcome::Succeeded(Success::ContainerAnswered {
                    output: answer.reference,
                }),
            };
            let _ = handle.observe(event, vec![answer]).await;
        }));
    }
}

/// A running loop on a directory.
pub(crate) struct Loop {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) world: FastWorld,
    pub(crate) handle: Handle,
    pub(crate) reader: SledReader,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) thread: thread::JoinHandle<Result<(), driver::Fatal>>,
    /// Where it began.
    pub(crate) started: Seq,
}

pub(crate) fn config(result_age_max_ms: u64) -> Config {
    Config {
        containers: vec![ContainerConfig {
            id: "echo".to_owned(),
            external: true,
            rerun: true,
            ..ContainerConfig::default()
        }],
        limits: Limits {
            result_age_max_ms,
            ..Limits::default()
        },
        ..Config::default()
    }
}

/// A week, as usual.
pub(crate) const LONG_MS: u64 = 7 * 24 * 3_600_000;

impl Loop {
    pub(crate) fn start(dir: &Path, policy: Policy, result_age_max_ms: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let world = {
            let _entered = runtime.enter();
            FastWorld::new()
        };
        let (driver, handle) = Driver::recover(open(dir), world.clone(), policy).unwrap();
        let reader = driver.reader();
        let started = handle.view(Machine::seq);
        let echo = Echo {
            handle: handle.clone(),
            world: world.clone(),
        };
        let first = vec![
            Event::NodeStarted {
                at: world.now(),
                version: "test".to_owned(),
            },
            Event::ConfigChanged(config(result_age_max_ms)),
        ];
        let (stop, stopped) = oneshot::channel();
        let on = runtime.handle().clone();
        let thread = thread::spawn(move || {
            on.block_on(driver.run(first, echo, async {
                let _ = stopped.await;
            }))
        });
        Self {
            runtime,
            world,
            handle,
            reader,
            stop,
            thread,
            started,
        }
    }

    /// Requests a job under a key.
    pub(crate) fn request(&self, key: u64) -> Reply {
        let input = payload(format!("{{\"key\":{key}}}").into_bytes());
        let mut id = [0; 16];
        id[..8].copy_from_slice(&key.to_be_bytes());
        let request = JobRequest {
            job: JobId(id),
            client: ClientId([1; 16]),
            at: WallTime(0),
            kind: JobKind::Offchain,
            containers: vec!["echo".to_owned()],
            input: input.reference,
            requires_proof: false,
            idempotency: Some(Idempotency {
                key: Hash([u8::try_from(key % 251).unwrap(); 32]),
                body: input.reference.hash,
            }),
        };
        self.runtime
            .block_on(
                self.handle
                    .request(Event::JobAccepted(request), vec![input]),
            )
            .unwrap()
    }

    /// Requests jobs with ids of their own, and waits until all are done.
    pub(crate) fn work(&self, jobs: std::ops::Range<u64>) {
        for key in jobs.clone() {
            let mut id = [1; 16];
            id[..8].copy_from_slice(&key.to_be_bytes());
            let input = payload(format!("{{\"input\":{key}}}").into_bytes());
            let request = JobRequest {
                job: JobId(id),
                client: ClientId([2; 16]),
                at: WallTime(0),
                kind: JobKind::Offchain,
                containers: vec!["echo".to_owned()],
                input: input.reference,
                requires_proof: false,
                idempotency: None,
            };
            let event = Event::JobAccepted(request);
            let reply = self
                .runtime
                .block_on(self.handle.request(event, vec![input]));
            assert!(matches!(reply, Ok(Reply::Recorded(_))), "{reply:?}");
        }
        self.wait("the jobs are done", |this| {
            this.handle.view(|machine| machine.pending().offchain == 0)
        });
    }

    pub(crate) fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(self.handle.is_alive(), "the loop ended before {what}");
            assert!(
                begun.elapsed() < PATIENCE,
                "in vain: {what}; {:?}, first {}, head {}",
                self.handle.alarms(),
                self.reader.first(),
                self.reader.head().seq
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it; the state's position and digest.
    pub(crate) fn end(self) -> (Seq, Hash) {
        let Self {
            stop,
            thread,
            handle,
            runtime,
            reader,
            ..
        } = self;
        let _ = stop.send(());
        thread.join().unwrap().unwrap();
        let end = handle.view(|machine| (machine.seq(), machine.digest()));
        drop(reader);
        // Upkeep that is under way holds the directory.
        runtime.shutdown_timeout(PATIENCE);
        end
    }
}

/// Opens the log once nobody else has it: upkeep may still be under way.
pub(crate) fn open(dir: &Path) -> SledLog {
    let begun = Instant::now();
    loop {
        match SledLog::open(dir, &options()) {
            Ok(log) => return log,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The state of a log, from the newest snapshot that can be used, and where that was.
pub(crate) fn recovered(dir: &Path) -> (Seq, Hash) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let (_, handle) =
        Driver::recover(open(dir), SystemWorld::current(), Policy::default()).unwrap();
    handle.view(|machine| (machine.seq(), machine.digest()))
}

/// The state of a log, from its first event.
pub(crate) fn replayed(dir: &Path) -> (Seq, Hash) {
    let machine = driver::replay(&open(dir).reader()).unwrap();
    (machine.seq(), machine.digest())
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn often() -> Policy {
    Policy {
        snapshot_events: 40,
        ..Policy::default()
    }
}

/// As [`often`], and a part is closed after so many events.
pub(crate) fn rolling(events: u64) -> Policy {
    Policy {
        retention: Retention {
            roll_events: Some(events),
            ..Retention::default()
        },
        ..often()
    }
}
