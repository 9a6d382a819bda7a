//! The loop under pressure, and without any: group commit adds no latency when idle, the queue is
//! bounded, clients are told to come back, and observers wait.

use std::{
    future::Future,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use infernet_node::{
    api::{ApiConfig, ApiParts, ApiServer, ClientKey},
    container::Containers,
    driver::{
        BATCH_EVENTS_MAX, BoxFuture, Busy, Clock, Dispatch, Driver, Handle, INBOX_MAX, Policy,
        Random, Reply, Spawner, SystemWorld, Work, payload,
    },
    log::{
        Durability, EventLog, Head, LogError, LogReader as _, MemoryKeeper, MemoryLog,
        MemoryReader, Payload, Record, Retention, Snapshot, Space, Upkeep,
    },
    streams::Streams,
};
use infernet_state::{
    Config, Event, Issued, Machine, codec,
    config::{ClientId, ContainerConfig, Limits},
    event::{Idempotency, JobKind, JobRequest, ReportedStatus},
    machine::{JobStatus, Refusal},
    types::{Hash, JobId, Seq, WallTime},
};

/// Nothing takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log that takes a batch only when it is let, and remembers how large each was.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Passed>, Condvar)>);

#[derive(Default)]
struct Passed {
    open: bool,
    waiting: bool,
    batches: Vec<usize>,
}

impl Gate {
    fn set(&self, open: bool) {
        self.0.0.lock().unwrap().open = open;
        self.0.1.notify_all();
    }

    fn pass(&self, records: usize) {
        let mut passed = self.0.0.lock().unwrap();
        passed.waiting = true;
        self.0.1.notify_all();
        while !passed.open {
            passed = self.0.1.wait(passed).unwrap();
        }
        passed.waiting = false;
        passed.batches.push(records);
    }

    /// Returns once a batch stands before the closed gate.
    fn wait_for_batch(&self) {
        let mut passed = self.0.0.lock().unwrap();
        while !passed.waiting {
            passed = self.0.1.wait_timeout(passed, PATIENCE).unwrap().0;
        }
    }

    fn batches(&self) -> Vec<usize> {
        self.0.0.lock().unwrap().batches.clone()
    }
}

struct GatedLog(MemoryLog, Gate);

impl EventLog for GatedLog {
    type Reader = MemoryReader;

    fn durability(&self) -> Durability {
        self.0.durability()
    }

    fn head(&self) -> Head {
        self.0.head()
    }

    fn append(&mut self, batch: &[Record]) -> Result<Head, LogError> {
        self.1.pass(batch.len());
        self.0.append(batch)
    }

    fn reader(&self) -> MemoryReader {
        self.0.reader()
    }
}

impl Upkeep for GatedLog {
    type Keeper = MemoryKeeper;

    fn keeper(&self) -> MemoryKeeper {
        self.0.keeper()
    }

    fn adopt(&mut self, closed: Snapshot) -> Result<bool, LogError> {
        self.0.adopt(closed)
    }

    fn retain(
        &mut self,
        retention: &Retention,
        needed_from: &dyn Fn() -> Seq,
    ) -> Result<Space, LogError> {
        self.0.retain(retention, needed_from)
    }
}

/// A world whose clock stands still until it is set: whatever waits for time waits for ever.
#[derive(Clone)]
struct StillWorld(Arc<AtomicU64>);

impl StillWorld {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1)))
    }

    fn set(&self, now: WallTime) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for StillWorld {
    fn now(&self) -> WallTime {
        WallTime(self.0.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, _: WallTime) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }

    fn go_on_from(&self, _: WallTime) {}
}

impl Random for StillWorld {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

impl Spawner for StillWorld {
    fn spawn(&self, task: BoxFuture<()>) {
        drop(task);
    }

    fn spawn_work(&self, work: Work) {
        work();
    }
}

struct Nothing;

impl Dispatch for Nothing {
    fn dispatch(&mut self, _: Issued) {}
}

/// A loop on a thread of its own, behind an open gate; its first commit is done.
fn started() -> (Handle, Gate) {
    let (handle, _, gate) = started_with_reader();
    (handle, gate)
}

fn started_with_reader() -> (Handle, MemoryReader, Gate) {
    started_in(StillWorld::new())
}

fn started_in(world: StillWorld) -> (Handle, MemoryReader, Gate) {
    let gate = Gate::default();
    gate.set(true);
    let log = GatedLog(MemoryLog::new(), gate.clone());
    let (driver, handle) = Driver::recover(log, world, Policy::default()).unwrap();
    let reader = driver.reader();
    let first = vec![Event::NodeStarted {
        at: WallTime(1),
        version: "test".to_owned(),
    }];
    thread::spawn(move || block_on(driver.run(first, Nothing, std::future::pending())));
    let begun = Instant::now();
    while handle.view(Machine::seq) == Seq(0) {
        assert!(begun.elapsed() < PATIENCE);
        thread::yield_now();
    }
    (handle, reader, gate)
}

/// Runs a future on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// A request that the machine accepts: a job that ran elsewhere.
fn report(number: u64) -> Event {
    reported(number, ReportedStatus::Running)
}

fn reported(number: u64, status: ReportedStatus) -> Event {
    Event::JobReported {
        job: job_id(number),
        client: ClientId([1; 16]),
        at: WallTime(1),
        status,
        containers: Vec::new(),
        result: None,
    }
}

type Asked = Pin<Box<dyn Future<Output = Result<Reply, Busy>>>>;

/// A request on its way: polled once, so that it stands in the queue.
fn put(handle: &Handle, number: u64) -> Asked {
    put_event(handle, report(number), Vec::new())
}

fn put_event(handle: &Handle, event: Event, payloads: Vec<Payload>) -> Asked {
    let handle = handle.clone();
    let mut request = Box::pin(async move { handle.request(event, payloads).await });
    let polled = request
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "{polled:?}");
    request
}

fn job_id(number: u64) -> JobId {
    let mut job = [0; 16];
    job[..8].copy_from_slice(&number.to_be_bytes());
    JobId(job)
}

/// A client's job on its way, with a key and its body where there is one.
fn put_job(handle: &Handle, number: u64, key: Option<(u8, u8)>) -> Asked {
    let (request, input) = a_job(number, key, WallTime(1));
    put_event(handle, Event::JobAccepted(request), vec![input])
}

fn a_job(number: u64, key: Option<(u8, u8)>, at: WallTime) -> (JobRequest, Payload) {
    let input = payload(format!("{number}").into_bytes());
    let request = JobRequest {
        job: job_id(number),
        client: ClientId([1; 16]),
        at,
        kind: JobKind::Offchain,
        containers: vec!["echo".to_owned()],
        input: input.reference,
        requires_proof: false,
        idempotency: key.map(|(key, body)| Idempotency {
            key: Hash([key; 32]),
            body: Hash([body; 32]),
        }),
    };
    (request, input)
}

/// One container, and room for so many jobs.
fn echo(jobs_open_max: u32) -> Event {
    Event::ConfigChanged(Config {
        containers: vec![ContainerConfig {
            id: "echo".to_owned(),
            external: true,
            rerun: true,
            ..ContainerConfig::default()
        }],
        limits: Limits {
            jobs_open_max,
            ..Limits::default()
        },
        ..Config::default()
    })
}

/// Whatever is acknowledged is there: of one key, of one id, for the last room, also where they
/// meet in one commit, and beside a fact that takes the container away.
#[test]
fn what_meets_in_one_commit_is_acknowledged_only_if_it_takes_effect() {
    let (handle, reader, gate) = started_with_reader();
    block_on(handle.observe(echo(3), Vec::new())).unwrap();
    gate.set(false);
    let first = put(&handle, 100);
    gate.wait_for_batch();
    let none = Event::ConfigChanged(Config::default());
    let mut fact = {
        let handle = handle.clone();
        Box::pin(async move { handle.observe(none, Vec::new()).await })
    };
    let polled = fact.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    let waiting = [
        put_job(&handle, 1, Some((1, 1))),
        put_job(&handle, 2, Some((1, 2))),
        put_job(&handle, 3, Some((1, 1))),
        put_job(&handle, 1, None),
        put_job(&handle, 4, None),
        put_job(&handle, 5, None),
    ];
    gate.set(true);
    let replies: Vec<Reply> = block_on(async {
        assert!(matches!(first.await, Ok(Reply::Recorded(_))));
        assert!(fact.await.is_ok());
        let mut replies = Vec::new();
        for request in waiting {
            replies.push(request.await.unwrap());
        }
        replies
    });
    assert!(matches!(replies[0], Reply::Recorded(_)), "{replies:?}");
    assert_eq!(replies[1], Reply::Refused(Refusal::Conflict));
    assert_eq!(replies[2], Reply::Known(job_id(1)));
    assert_eq!(replies[3], Reply::Known(job_id(1)));
    assert!(matches!(replies[4], Reply::Recorded(_)), "{replies:?}");
    // The container is gone by then, and so is the room.
    assert!(matches!(replies[5], Reply::Refused(_)), "{replies:?}");
    for number in [1, 4] {
        let status = handle.view(|machine| machine.job_status(job_id(number)));
        assert!(matches!(status, Some(JobStatus::Running)), "{status:?}");
    }
    for number in [2, 3, 5] {
        assert_eq!(
            handle.view(|machine| machine.job_status(job_id(number))),
            None
        );
    }
    // Nothing that came to nothing is in the log: start, configuration, report, two jobs, fact.
    assert_eq!(reader.read(Seq(1), usize::MAX).unwrap().len(), 6);
}

/// The last room, asked for by a whole queue.
#[test]
fn no_more_jobs_are_acknowledged_than_there_is_room_for() {
    const ROOM: u32 = 40;
    let (handle, reader, gate) = started_with_reader();
    block_on(handle.observe(echo(ROOM), Vec::new())).unwrap();
    gate.set(false);
    let first = put_job(&handle, 0, None);
    gate.wait_for_batch();
    let waiting: Vec<_> = (1..=500)
        .map(|number| put_job(&handle, number, None))
        .collect();
    gate.set(true);
    let replies: Vec<Reply> = block_on(async {
        let mut replies = vec![first.await.unwrap()];
        for request in waiting {
            replies.push(request.await.unwrap());
        }
        replies
    });
    let recorded = |reply: &Reply| matches!(reply, Reply::Recorded(_));
    assert_eq!(
        replies.iter().filter(|reply| recorded(reply)).count(),
        ROOM as usize
    );
    for (number, reply) in (0..).zip(&replies) {
        let status = handle.view(|machine| machine.job_status(job_id(number)));
        assert_eq!(status.is_some(), recorded(reply), "{number}: {reply:?}");
        assert!(
            recorded(reply) || *reply == Reply::Refused(Refusal::Busy),
            "{reply:?}"
        );
    }
    assert_eq!(
        reader.read(Seq(1), usize::MAX).unwrap().len(),
        2 + ROOM as usize
    );
}

/// A report that meets the end of its job's time in one commit is the job's end; the next is told
/// that there is nothing more to report.
#[test]
fn a_report_is_not_answered_and_then_lost_to_a_timer() {
    let world = StillWorld::new();
    let (handle, reader, gate) = started_in(world.clone());
    let ask = |event| block_on(handle.request(event, Vec::new())).unwrap();
    let status = |number| handle.view(|machine| machine.job_status(job_id(number)));
    for number in [1, 2] {
        assert!(matches!(ask(report(number)), Reply::Recorded(_)));
    }
    let deadline = handle.view(Machine::next_deadline).expect("both expire");
    world.set(deadline);
    let done = |number| reported(number, ReportedStatus::Success);
    assert!(matches!(ask(done(1)), Reply::Recorded(_)));
    assert!(matches!(status(1), Some(JobStatus::Success { .. })));
    // Start, two reports, and then the report and the timers of both in one commit.
    assert_eq!(gate.batches(), [1, 1, 1, 2]);
    let kinds = reader.read(Seq(1), usize::MAX).unwrap().into_iter();
    let kinds: Vec<u16> = kinds.map(|stored| stored.event.kind).collect();
    let (reported, timer) = (
        codec::kind_of(&done(1)),
        codec::kind_of(&Event::WallTimePassed { now: deadline }),
    );
    assert_eq!(kinds[3..], [reported, timer]);
    assert!(matches!(status(2), Some(JobStatus::Failed { .. })));
    assert_eq!(ask(done(2)), Reply::Refused(Refusal::Conflict));
}

#[test]
fn a_lone_request_waits_for_nobody() {
    let (handle, gate) = started();
    for number in 0..20 {
        // The clock stands still: a commit that waited for more would never come.
        let reply = block_on(handle.request(report(number), Vec::new())).unwrap();
        assert!(matches!(reply, Reply::Recorded(_)), "{reply:?}");
    }
    assert_eq!(gate.batches(), vec![1; 21]);
}

#[test]
fn what_waits_while_the_disk_is_busy_goes_as_one_batch() {
    let (handle, gate) = started();
    gate.set(false);
    let first = put(&handle, 0);
    gate.wait_for_batch();
    let waiting: Vec<_> = (1..=400).map(|number| put(&handle, number)).collect();
    gate.set(true);
    block_on(async {
        for request in std::iter::once(first).chain(waiting) {
            assert!(matches!(request.await, Ok(Reply::Recorded(_))));
        }
    });
    assert_eq!(
        gate.batches(),
        [1, 1, BATCH_EVENTS_MAX, 400 - BATCH_EVENTS_MAX],
        "as much as one commit takes at a time"
    );
}

#[test]
fn a_full_queue_refuses_clients_and_makes_observers_wait() {
    let (handle, gate) = started();
    gate.set(false);
    let first = put(&handle, 0);
    gate.wait_for_batch();
    let waiting: Vec<_> = (1..=INBOX_MAX as u64)
        .map(|number| put(&handle, number))
        .collect();
    // A client is told at once.
    let refused = block_on(handle.request(report(1_000_000), Vec::new()));
    assert_eq!(refused, Err(Busy));
    // An observer, the chain watcher for one, waits for room: nothing it saw is dropped.
    let seen = Event::WallTimePassed { now: WallTime(5) };
    let mut observing = pin!(handle.observe(seen, Vec::new()));
    let polled = observing
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled, Poll::Pending);
    assert_eq!(
        handle.view(Machine::seq),
        Seq(1),
        "nothing was taken meanwhile"
    );
    gate.set(true);
    block_on(async {
        for request in std::iter::once(first).chain(waiting) {
            assert!(matches!(request.await, Ok(Reply::Recorded(_))));
        }
        let seq = observing.await.unwrap();
        assert_eq!(seq, Seq(INBOX_MAX as u64 + 3), "the last of all");
    });
    assert!(
        gate.batches()
            .iter()
            .all(|batch| *batch <= BATCH_EVENTS_MAX)
    );
}

#[test]
fn a_full_queue_is_503_with_retry_after_over_http() {
    let (handle, reader, gate) = started_with_reader();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let url = runtime.block_on(async {
        let server = ApiServer::bind(
            ApiConfig {
                listen: any,
                admin_listen: any,
                rate_limit: None,
                development: None,
            },
            ApiParts {
                handle: handle.clone(),
                log: reader,
                world: SystemWorld::current(),
                containers: Arc::new(Containers::new(Vec::new()).unwrap()),
                delegation: None,
                streams: Streams::default(),
                client_key: ClientKey::new([7; 32]),
            },
        )
        .await
        .unwrap();
        let url = format!("http://{}", server.local_addr());
        tokio::spawn(server.serve(std::future::pending()));
        url
    });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let send = |method: &str, path: &str, body: serde_json::Value| {
        let method = method.parse().unwrap();
        let sent = client.request(method, format!("{url}{path}")).json(&body);
        let response = runtime.block_on(sent.send()).unwrap();
        let after = response.headers().get("retry-after").cloned();
        (response.status().as_u16(), after)
    };
    let report = || {
        let job = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
        send(
            "PUT",
            "/api/status",
            serde_json::json!({ "id": job, "status": "running" }),
        )
    };
    gate.set(false);
    let first = put(&handle, 0);
    gate.wait_for_batch();
    let waiting: Vec<_> = (1..=INBOX_MAX as u64)
        .map(|number| put(&handle, number))
        .collect();
    let job = serde_json::json!({ "containers": ["echo"], "data": {} });
    for (status, after) in [report(), send("POST", "/api/jobs", job)] {
        assert_eq!(status, 503);
        let after = after.expect("when to come back");
        assert!(after.to_str().unwrap().parse::<u64>().unwrap() >= 1);
    }
    // What is only read needs no place in it.
    let health = send("GET", "/health", serde_json::Value::Null);
    assert_eq!(health, (200, None));
    gate.set(true);
    block_on(async {
        for request in std::iter::once(first).chain(waiting) {
            assert!(matches!(request.await, Ok(Reply::Recorded(_))));
        }
    });
    assert_eq!(report(), (200, None));
}

/// Once the clock was wrong by a month, and what it said is recorded.
#[test]
fn timers_run_though_the_clock_is_behind_what_is_recorded() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let entered = runtime.enter();
    let world = SystemWorld::current();
    let ahead = WallTime(world.now().0 + 30 * 86_400_000);
    let start = |at| Event::NodeStarted {
        at,
        version: "test".to_owned(),
    };
    let event = infernet_state::codec::encode(&start(ahead)).unwrap();
    let mut log = MemoryLog::new();
    log.append(&[Record {
        event,
        payloads: Vec::new(),
    }])
    .unwrap();
    let (driver, handle) = Driver::recover(log, world.clone(), Policy::default()).unwrap();
    assert!(world.now() >= ahead);
    let Event::ConfigChanged(mut config) = echo(10) else {
        unreachable!("it is one");
    };
    config.limits.job_expiry_ms = 100;
    let first = vec![start(world.now()), Event::ConfigChanged(config)];
    runtime.spawn(driver.run(first, Nothing, std::future::pending()));
    let mut head = handle.head();
    let status = runtime.block_on(async {
        let _ = tokio::time::timeout(PATIENCE, head.wait_for(|seq| seq.0 >= 3)).await;
        let (request, input) = a_job(1, None, world.now());
        let asked = handle.request(Event::JobAccepted(request), vec![input]);
        assert!(matches!(asked.await, Ok(Reply::Recorded(_))));
        let status = || handle.view(|machine| machine.job_status(job_id(1)));
        let begun = Instant::now();
        while status() == Some(JobStatus::Running) && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        status()
    });
    drop(entered);
    assert!(
        matches!(status, Some(JobStatus::Failed { .. })),
        "{status:?}"
    );
}
