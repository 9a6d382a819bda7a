//! What a job costs in syncs when 64 clients ask at once: the production loop and log, and a
//! container that answers after a given time.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use infernet_node::{
    driver::{self, Clock as _, Dispatch, Driver, Handle, Policy, Random as _, Reply, SystemWorld},
    log::{
        Durability, EventLog, Head, Keeper, LogError, Options, Record, Retention, SledLog, Space,
        Upkeep,
    },
};
use infernet_state::{
    Config, Effect, Event, Issued,
    config::{ClientId, ContainerConfig},
    event::{JobKind, JobRequest, Outcome, Success},
    machine::JobStatus,
    types::{JobId, Seq},
};
use tokio::sync::oneshot;

use crate::Report;

/// Clients that ask at the same time, each for one job after the other.
const CLIENTS: usize = 64;

/// Jobs of each client.
const JOBS: usize = 100;

pub(crate) fn measure(report: &Report, dir: &Path) {
    report.title("syncs of the log for each client's job, 64 at a time");
    for (measure, wait) in [
        ("fsyncs_per_job_c64", Duration::ZERO),
        ("fsyncs_per_job_c64_20ms", Duration::from_millis(20)),
    ] {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let commits = Arc::new(AtomicU64::new(0));
        runtime.block_on(run(&dir.join(measure), wait, Arc::clone(&commits)));
        let syncs = commits.load(Ordering::Relaxed) as f64;
        report.say(
            measure,
            syncs / (CLIENTS * JOBS) as f64,
            "syncs",
            2.0,
            "a commit for each event",
        );
    }
}

/// A log that counts its commits. Payloads as short as these stand inline, so that each commit
/// is one `fdatasync` of the database.
struct Counted {
    log: SledLog,
    commits: Arc<AtomicU64>,
}

impl EventLog for Counted {
    type Reader = <SledLog as EventLog>::Reader;

    fn durability(&self) -> Durability {
        self.log.durability()
    }

    fn head(&self) -> Head {
        self.log.head()
    }

    fn append(&mut self, batch: &[Record]) -> Result<Head, LogError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.log.append(batch)
    }

    fn reader(&self) -> Self::Reader {
        self.log.reader()
    }
}

impl Upkeep for Counted {
    type Keeper = <SledLog as Upkeep>::Keeper;

    fn keeper(&self) -> Self::Keeper {
        self.log.keeper()
    }

    fn adopt(&mut self, closed: <Self::Keeper as Keeper>::Closed) -> Result<bool, LogError> {
        self.log.adopt(closed)
    }

    fn retain(
        &mut self,
        retention: &Retention,
        needed_from: &dyn Fn() -> Seq,
    ) -> Result<Space, LogError> {
        self.log.retain(retention, needed_from)
    }
}

/// Answers container calls.
struct Containers {
    handle: Handle,
    world: SystemWorld,
    wait: Duration,
}

impl Dispatch for Containers {
    fn dispatch(&mut self, issued: Issued) {
        if !matches!(issued.effect, Effect::RunContainer(_)) {
            return;
        }
        let (handle, world, wait) = (self.handle.clone(), self.world.clone(), self.wait);
        tokio::spawn(async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let output = driver::payload(format!("{{\"output\": \"{}\"}}", issued.id).into_bytes());
            let event = Event::EffectEnded {
                effect: issued.id,
                attempt: issued.attempt,
                at: world.now(),
                outcome: Outcome::Succeeded(Success::ContainerAnswered {
                    output: output.reference,
                }),
            };
            handle.observe(event, vec![output]).await.expect("runs");
        });
    }
}

async fn run(dir: &Path, wait: Duration, commits: Arc<AtomicU64>) {
    let log = Counted {
        log: SledLog::open(dir, &Options::new("bench")).expect("open"),
        commits: Arc::clone(&commits),
    };
    let world = SystemWorld::current();
    let (driver, handle) =
        Driver::recover(log, world.clone(), Policy::default()).expect("an empty log");
    let started = vec![
        Event::NodeStarted {
            at: world.now(),
            version: "bench".into(),
        },
        Event::ConfigChanged(Config {
            containers: vec![ContainerConfig {
                id: "alpha".into(),
                external: true,
                ..ContainerConfig::default()
            }],
            ..Config::default()
        }),
    ];
    let containers = Containers {
        handle: handle.clone(),
        world: world.clone(),
        wait,
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Handle::current();
    let loop_thread = std::thread::spawn(move || {
        runtime.block_on(driver.run(started, containers, async {
            let _ = stopped.await;
        }))
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(ask(handle.clone(), world.clone(), client)))
        .collect();
    for client in clients {
        client.await.expect("a client");
    }
    drop(stop);
    loop_thread
        .join()
        .expect("joins")
        .expect("the loop ends well");
}

/// One client: a job, its answer, the next job.
async fn ask(handle: Handle, world: SystemWorld, client: usize) {
    let mut head = handle.head();
    for _ in 0..JOBS {
        let mut id = [0; 16];
        world.fill(&mut id);
        let input = driver::payload(format!("{{\"client\": {client}}}").into_bytes());
        let event = Event::JobAccepted(JobRequest {
            job: JobId(id),
            client: ClientId([client as u8; 16]),
            at: world.now(),
            kind: JobKind::Offchain,
            containers: vec!["alpha".into()],
            input: input.reference,
            requires_proof: false,
            idempotency: None,
        });
        let reply = handle.request(event, vec![input]).await.expect("has room");
        assert!(matches!(reply, Reply::Recorded(_)), "{reply:?}");
        loop {
            head.mark_unchanged();
            match handle.view(|machine| machine.job_status(JobId(id))) {
                Some(JobStatus::Success { .. }) => break,
                Some(JobStatus::Running) => head.changed().await.expect("runs"),
                other => panic!("{other:?}"),
            }
        }
    }
}
