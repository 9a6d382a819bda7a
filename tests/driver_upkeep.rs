//! The loop keeps its log small: snapshots, rolls, retention, and what happens when there is no
//! room. On the log on disk, with a clock that runs fast.

mod log_common;

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

use infernet_node::{
    driver::{
        self, BoxFuture, Clock, Dispatch, Driver, Handle, Policy, Random, Reply, Spawner,
        SystemWorld, Work, payload,
    },
    log::{EventLog as _, LogReader as _, Retention, SledLog, SledReader, Snapshot, Upkeep as _},
};
use infernet_state::{
    Config, Effect, Event, Issued, Machine,
    config::{ClientId, ContainerConfig, Limits},
    event::{Idempotency, JobKind, JobRequest, Outcome, Success},
    machine::{JobStatus, SnapshotError},
    types::{Hash, JobId, PayloadAt, Seq, WallTime},
};
use log_common::options;
use tokio::sync::oneshot;

/// Nothing takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much faster than the real clock the world's runs.
const FAST: u64 = 50;

/// The real world with a fast clock.
#[derive(Clone)]
struct FastWorld {
    real: SystemWorld,
    begun: WallTime,
    /// How far it was set back, in milliseconds.
    back: Arc<AtomicU64>,
}

impl FastWorld {
    fn new() -> Self {
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
struct Echo {
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
struct Loop {
    runtime: tokio::runtime::Runtime,
    world: FastWorld,
    handle: Handle,
    reader: SledReader,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<Result<(), driver::Fatal>>,
    /// Where it began.
    started: Seq,
}

fn config(result_age_max_ms: u64) -> Config {
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
const LONG_MS: u64 = 7 * 24 * 3_600_000;

impl Loop {
    fn start(dir: &Path, policy: Policy, result_age_max_ms: u64) -> Self {
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
    fn request(&self, key: u64) -> Reply {
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
    fn work(&self, jobs: std::ops::Range<u64>) {
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

    fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
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
    fn end(self) -> (Seq, Hash) {
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
fn open(dir: &Path) -> SledLog {
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
fn recovered(dir: &Path) -> (Seq, Hash) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let (_, handle) =
        Driver::recover(open(dir), SystemWorld::current(), Policy::default()).unwrap();
    handle.view(|machine| (machine.seq(), machine.digest()))
}

/// The state of a log, from its first event.
fn replayed(dir: &Path) -> (Seq, Hash) {
    let machine = driver::replay(&open(dir).reader()).unwrap();
    (machine.seq(), machine.digest())
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn often() -> Policy {
    Policy {
        snapshot_events: 40,
        ..Policy::default()
    }
}

#[test]
fn from_a_snapshot_or_from_nothing_the_state_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = dir.path().join("snapshots");
    let mut jobs = 0;
    for _ in 0..3 {
        let node = Loop::start(dir.path(), often(), LONG_MS);
        node.work(jobs..jobs + 60);
        jobs += 60;
        // Snapshots come as far apart as the last one was long, but they come.
        let newest = |dir: &Path| names(dir).last().cloned().unwrap_or_default();
        let before = newest(&snapshots);
        while newest(&snapshots) == before {
            node.work(jobs..jobs + 20);
            jobs += 20;
        }
        let lived = node.end();
        assert_eq!(recovered(dir.path()), lived);
        assert_eq!(replayed(dir.path()), lived);
    }
    assert!(names(&snapshots).len() <= 2, "old ones go");

    // Damaged, cut off or whole but of another state: it is passed over.
    let lived = replayed(dir.path());
    let log = open(dir.path());
    let newest = log.latest_snapshot().unwrap().unwrap();
    let other = Snapshot {
        bytes: Machine::new().snapshot().unwrap(),
        ..newest.clone()
    };
    log.save_snapshot(&other).unwrap();
    drop(log);
    assert_eq!(recovered(dir.path()), lived, "a foreign state");
    let file = snapshots.join(names(&snapshots).pop().unwrap());
    let whole = fs::read(&file).unwrap();
    for damaged in [&whole[..0], &whole[..100], &whole[..whole.len() - 1]] {
        fs::write(&file, damaged).unwrap();
        assert_eq!(recovered(dir.path()), lived, "cut off");
    }
    for file in names(&snapshots) {
        fs::write(snapshots.join(file), b"nothing").unwrap();
    }
    assert_eq!(recovered(dir.path()), lived, "none is left");
}

#[test]
fn a_log_is_rolled_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let policy = Policy {
        retention: Retention {
            roll_events: Some(100),
            ..Retention::default()
        },
        ..often()
    };
    let node = Loop::start(dir.path(), policy, LONG_MS);
    let archives = || {
        let names = names(&dir.path().join("archives"));
        names
            .iter()
            .filter(|name| name.ends_with(".blocks"))
            .count()
    };
    let mut jobs = 0;
    while archives() < 4 {
        node.work(jobs..jobs + 30);
        jobs += 30;
    }
    // Every result can be read, wherever it stands now.
    for key in 0..jobs {
        let mut id = [1; 16];
        id[..8].copy_from_slice(&key.to_be_bytes());
        let status = node.handle.view(|machine| machine.job_status(JobId(id)));
        let Some(JobStatus::Success {
            output: Some(at), ..
        }) = status
        else {
            panic!("job {key}: {status:?}");
        };
        assert!(node.reader.payload(at).unwrap().is_some());
    }
    let lived = node.end();
    assert_eq!(recovered(dir.path()), lived);
    assert_eq!(replayed(dir.path()), lived);
    let databases = names(&dir.path().join("log"));
    assert_eq!(databases.len(), 1, "{databases:?}");

    // It starts at the last roll, not at the beginning.
    let node = Loop::start(dir.path(), policy, LONG_MS);
    assert_eq!(node.started, lived.0);
    node.work(jobs..jobs + 1);
    node.end();
}

#[test]
fn without_room_nothing_new_is_taken_in_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let with_budget = |budget_bytes| Policy {
        retention: Retention {
            budget_bytes: Some(budget_bytes),
            roll_events: Some(100),
            ..Retention::default()
        },
        ..often()
    };
    let ballast = dir.path().join("ballast");
    const BUDGET: u64 = 300 * 1024 * 1024;
    let node = Loop::start(dir.path(), with_budget(BUDGET), LONG_MS);
    assert!(matches!(node.request(1), Reply::Recorded(_)));
    assert_eq!(node.handle.alarms(), driver::Alarms::default());
    // Somebody fills the directory; the node keeps everything, so it takes nothing new.
    let file = fs::File::create(&ballast).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BUDGET).unwrap();
    node.wait("an alarm", |node| node.handle.alarms().intake.is_some());
    let why = node.handle.alarms().intake.unwrap();
    assert!(why.contains("raise the budget"), "{why}");
    assert_eq!(node.request(2), Reply::NoRoom);
    // What was accepted goes on, and can be asked for again.
    assert!(matches!(node.request(1), Reply::Known(_)));
    let seen = Event::WallTimePassed { now: WallTime(1) };
    node.runtime
        .block_on(node.handle.observe(seen, Vec::new()))
        .unwrap();
    // Nobody waits a day for room because the clock was a day ahead.
    node.world.back.store(24 * 3_600_000, Ordering::SeqCst);
    fs::remove_file(&ballast).unwrap();
    node.wait("room", |node| node.handle.alarms().intake.is_none());
    assert!(matches!(node.request(2), Reply::Recorded(_)));
    node.end();
}

#[test]
fn a_budget_drops_the_oldest_parts_that_need_not_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let policy = |keep_events| Policy {
        retention: Retention {
            // Less than anything takes: the budget is always short.
            budget_bytes: Some(1),
            keep_events,
            roll_events: Some(60),
            ..Retention::default()
        },
        ..often()
    };
    // Jobs that ran elsewhere come in as facts do, so that intake may be stopped.
    let observe = |node: &Loop, events: u64| {
        for _ in 0..events {
            let seen = Event::WallTimePassed { now: WallTime(1) };
            node.runtime
                .block_on(node.handle.observe(seen, Vec::new()))
                .unwrap();
        }
    };
    let rolls = |node: &Loop, parts: usize| {
        let archives = dir.path().join("archives");
        let newest = || names(&archives).pop().unwrap_or_default();
        for _ in 0..parts {
            let before = newest();
            observe(node, 70);
            node.wait("a roll", |_| newest() != before);
        }
    };
    let node = Loop::start(dir.path(), policy(None), LONG_MS);
    rolls(&node, 3);
    assert_eq!(node.reader.first(), Seq(1), "everything is kept");
    node.end();

    let node = Loop::start(dir.path(), policy(Some(100)), LONG_MS);
    rolls(&node, 2);
    node.wait("the oldest part goes", |node| node.reader.first() > Seq(1));
    let head = node.reader.head().seq.0;
    assert!(node.reader.first().0 + 100 <= head + 1, "100 are kept");
    let lived = node.end();
    assert_eq!(recovered(dir.path()), lived);

    // Where the beginning is gone, a state that a newer program laid out is no state to start
    // from, and a new machine is none either.
    let mut log = open(dir.path());
    let mut bytes = Machine::new().snapshot().unwrap();
    bytes[5] += 1;
    let newer = Snapshot {
        head: log.head(),
        digest: lived.1,
        bytes,
    };
    log.roll(&newer).unwrap();
    drop(log);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let log = open(dir.path());
    let begun = Driver::recover(log, SystemWorld::current(), Policy::default());
    let why = begun.map(|_| ()).unwrap_err();
    assert!(
        matches!(
            why,
            driver::Fatal::Snapshot(SnapshotError::Unknown { number: 2, .. })
        ),
        "{why}"
    );
}

#[test]
fn a_budget_that_is_exceeded_from_the_start_drops_what_may_go() {
    let dir = tempfile::tempdir().unwrap();
    let rolling = Policy {
        retention: Retention {
            roll_events: Some(60),
            ..Retention::default()
        },
        ..often()
    };
    let node = Loop::start(dir.path(), rolling, LONG_MS);
    let archives = || names(&dir.path().join("archives")).len();
    while archives() < 4 {
        let seen = Event::WallTimePassed { now: WallTime(1) };
        node.runtime
            .block_on(node.handle.observe(seen, Vec::new()))
            .unwrap();
    }
    node.end();

    const BUDGET: u64 = 300 * 1024 * 1024;
    let file = fs::File::create(dir.path().join("ballast")).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BUDGET).unwrap();
    // Nothing new is taken in, so nothing else becomes due.
    let policy = Policy {
        snapshot_events: u64::MAX,
        retention: Retention {
            budget_bytes: Some(BUDGET),
            keep_events: Some(1),
            ..Retention::default()
        },
    };
    let node = Loop::start(dir.path(), policy, LONG_MS);
    node.wait("the parts go", |_| archives() == 0);
    node.end();
}

#[test]
fn a_part_is_closed_although_nothing_can_be_erased() {
    let dir = tempfile::tempdir().unwrap();
    let policy = Policy {
        retention: Retention {
            roll_events: Some(80),
            erase_payloads: true,
            ..Retention::default()
        },
        ..often()
    };
    let archives = dir.path().join("archives");
    let count = |kind: &str| {
        let names = names(&archives);
        names.iter().filter(|name| name.ends_with(kind)).count()
    };
    let node = Loop::start(dir.path(), policy, LONG_MS);
    let mut jobs = 0;
    let mut work = |node: &Loop| {
        node.work(jobs..jobs + 10);
        jobs += 10;
    };
    while count(".blocks") < 1 {
        work(&node);
    }
    // What says that a part is erased cannot be written.
    let oldest = names(&archives)
        .into_iter()
        .find(|name| name.ends_with(".blocks"));
    let obstacle = archives.join(oldest.unwrap()).with_extension("bare");
    fs::create_dir(&obstacle).unwrap();
    let aging = Event::ConfigChanged(config(60_000));
    node.runtime
        .block_on(node.handle.observe(aging, Vec::new()))
        .unwrap();
    while node.handle.alarms().upkeep.is_none() {
        work(&node);
    }
    let before = count(".blocks");
    while count(".blocks") < before + 3 {
        work(&node);
    }
    fs::remove_dir(&obstacle).unwrap();
    node.wait("it is erased", |node| {
        obstacle.is_file() && node.handle.alarms().upkeep.is_none()
    });
    let lived = node.end();
    assert_eq!(recovered(dir.path()), lived);
}

#[test]
fn a_damaged_part_that_nobody_needs_neither_stops_the_node_nor_holds_up_others() {
    let dir = tempfile::tempdir().unwrap();
    let policy = |erase_payloads| Policy {
        retention: Retention {
            roll_events: Some(80),
            erase_payloads,
            ..Retention::default()
        },
        ..often()
    };
    let archives = dir.path().join("archives");
    let all = |kind: &str| {
        let mut names = names(&archives);
        names.retain(|name| name.ends_with(kind));
        names
    };
    let mut jobs = 0;
    let mut work = |node: &Loop| {
        node.work(jobs..jobs + 10);
        jobs += 10;
    };
    let node = Loop::start(dir.path(), policy(false), LONG_MS);
    while all(".blocks").len() < 2 {
        work(&node);
    }
    node.end();
    let oldest = archives.join(&all(".blocks")[0]);
    let mut bytes = fs::read(&oldest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&oldest, &bytes).unwrap();
    let node = Loop::start(dir.path(), policy(true), 60_000);
    while all(".bare").is_empty() || node.handle.alarms().upkeep.is_none() {
        work(&node);
    }
    let why = node.handle.alarms().upkeep.unwrap();
    assert!(why.contains("a closed part of the log is damaged"), "{why}");
    assert!(!oldest.with_extension("bare").exists());
    assert!(fs::read(&oldest).unwrap() == bytes, "it is left as it was");
    let before = all(".blocks").len();
    while all(".blocks").len() < before + 2 {
        work(&node);
    }
    let lived = node.end();
    assert_eq!(recovered(dir.path()), lived);
}

#[test]
fn payloads_that_nothing_asks_for_are_erased() {
    let dir = tempfile::tempdir().unwrap();
    let policy = Policy {
        retention: Retention {
            roll_events: Some(80),
            erase_payloads: true,
            ..Retention::default()
        },
        ..often()
    };
    // Results are kept for a minute, which is a second here.
    let node = Loop::start(dir.path(), policy, 60_000);
    let mut jobs = 0;
    let bare = || {
        let names = names(&dir.path().join("archives"));
        names.iter().filter(|name| name.ends_with(".bare")).count()
    };
    while bare() < 2 {
        node.work(jobs..jobs + 10);
        jobs += 10;
    }
    let needed_from = node.handle.view(Machine::payloads_needed_from);
    let (mut erased, mut kept) = (0, 0);
    let head = node.reader.head().seq.0;
    for seq in 1..=head {
        let stored = &node.reader.read(Seq(seq), 1).unwrap()[0].event;
        let event =
            infernet_state::codec::decode(stored.kind, stored.version, &stored.body).unwrap();
        let reference = match event {
            Event::JobAccepted(request) => request.input,
            Event::EffectEnded {
                outcome: Outcome::Succeeded(Success::ContainerAnswered { output }),
                ..
            } => output,
            _ => continue,
        };
        let at = PayloadAt {
            seq: Seq(seq),
            payload: reference,
        };
        match node.reader.payload(at).unwrap() {
            None => {
                assert!(seq < needed_from.0, "event {seq} is needed");
                erased += 1;
            }
            Some(_) => kept += 1,
        }
    }
    assert!(erased > 50 && kept > 0, "{erased} erased, {kept} kept");
    let lived = node.end();
    assert_eq!(recovered(dir.path()), lived);
    assert_eq!(replayed(dir.path()), lived, "the chain is whole");
    // What is erased stays so, and is not erased again.
    let mut log = open(dir.path());
    let space = log.retain(&Retention::default(), Seq(0)).unwrap();
    assert_eq!(space.intake_stopped, None);
}

#[test]
fn results_beyond_the_maximum_go_when_the_next_ones_come() {
    let dir = tempfile::tempdir().unwrap();
    let node = Loop::start(dir.path(), Policy::default(), LONG_MS);
    let mut few = config(LONG_MS);
    few.limits.results_max = 5;
    node.runtime
        .block_on(node.handle.observe(Event::ConfigChanged(few), Vec::new()))
        .unwrap();
    node.work(0..20);
    node.wait("only the newest results are kept", |node| {
        let kept = |key: &u64| {
            let mut id = [1; 16];
            id[..8].copy_from_slice(&key.to_be_bytes());
            node.handle
                .view(|machine| machine.job_status(JobId(id)).is_some())
        };
        (0..20).filter(kept).count() == 5
    });
    let lived = node.end();
    assert_eq!(replayed(dir.path()), lived);
}
