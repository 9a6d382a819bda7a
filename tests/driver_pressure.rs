//! The loop under pressure, and without any: group commit adds no latency when idle, the queue is
//! bounded, clients are told to come back, and observers wait.

use std::{
    future::Future,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Condvar, Mutex},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use infernet_node::{
    api::{ApiConfig, ApiParts, ApiServer, ClientKey},
    container::Containers,
    driver::{
        BATCH_EVENTS_MAX, BoxFuture, Busy, Clock, Dispatch, Driver, Handle, INBOX_MAX, Policy,
        Random, Reply, Spawner, SystemWorld, Work,
    },
    log::{
        Durability, EventLog, Head, LogError, MemoryKeeper, MemoryLog, MemoryReader, Record,
        Retention, Snapshot, Space, Upkeep,
    },
    streams::Streams,
};
use infernet_state::{
    Event, Issued, Machine,
    types::{JobId, Seq, WallTime},
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

/// A world whose clock stands still: whatever waits for time waits for ever.
#[derive(Clone)]
struct StillWorld;

impl Clock for StillWorld {
    fn now(&self) -> WallTime {
        WallTime(1)
    }

    fn sleep_until(&self, _: WallTime) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
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
    let gate = Gate::default();
    gate.set(true);
    let log = GatedLog(MemoryLog::new(), gate.clone());
    let (driver, handle) = Driver::recover(log, StillWorld, Policy::default()).unwrap();
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
    let mut job = [0; 16];
    job[..8].copy_from_slice(&number.to_be_bytes());
    Event::JobReported {
        job: JobId(job),
        client: infernet_state::config::ClientId([1; 16]),
        at: WallTime(1),
        status: infernet_state::event::ReportedStatus::Running,
        containers: Vec::new(),
        result: None,
    }
}

/// A request on its way: polled once, so that it stands in the queue.
fn put(handle: &Handle, number: u64) -> Pin<Box<dyn Future<Output = Result<Reply, Busy>>>> {
    let handle = handle.clone();
    let mut request = Box::pin(async move { handle.request(report(number), Vec::new()).await });
    let polled = request
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "{polled:?}");
    request
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
