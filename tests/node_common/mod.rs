//! The real binary, `infernet run`, and what outlives its process: a chain with a consumer, the
//! containers, clients, and the disk.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, http::HeaderMap, routing::post};
use infernet_node::{
    dev::{self, Flower, Role},
    devnet::{Devnet, DevnetConfig},
    driver,
    log::{EventLog as _, LogReader, Options, SledLog, SledReader},
};
use infernet_state::{
    Event, Machine,
    machine::JobStatus,
    types::{JobId, Seq},
};
use serde_json::{Value, json};

/// Nothing takes this long, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The container of clients' jobs.
pub const ECHO: &str = "echo";

/// Clients that ask at once.
const CLIENTS: u64 = 4;

/// Locks, whatever a failed test left behind.
pub fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(|held| held.into_inner())
}

/// All that outlives a node's process.
pub struct Outside {
    pub runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
    pub chain: Option<Chain>,
    echo: SocketAddr,
    pub told: Arc<Told>,
}

/// What the clients and the container saw.
#[derive(Default)]
pub struct Told {
    /// The number of the next client's request.
    next: AtomicU64,
    /// Requests that nobody acknowledged yet: to be made again under the same key.
    open: Mutex<Vec<u64>>,
    /// Acknowledged: the job of each request.
    pub jobs: Mutex<BTreeMap<u64, String>>,
    /// Calls of the container by the number of the request.
    pub calls: Mutex<BTreeMap<u64, u32>>,
    /// Subscriptions that were asked for on chain.
    pub subscriptions: Mutex<Vec<u32>>,
    /// Requests that were refused for the moment.
    pub refused: AtomicU64,
}

/// The chain with the contracts, and the service that a consumer asks for.
pub struct Chain {
    pub devnet: Devnet,
    service: Child,
    url: String,
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

impl Chain {
    async fn start() -> Self {
        let devnet = Devnet::start(DevnetConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            ..DevnetConfig::default()
        })
        .await
        .expect("a chain");
        dev::deploy(&devnet.url()).await.expect("contracts");
        let program = Path::new(env!("CARGO_BIN_EXE_infernet")).with_file_name("infernet-service");
        let mut service = Command::new(&program)
            .args(["onnx", "--listen", "127.0.0.1:0", "--exit-with-stdin"])
            .args(["--default-model", dev::MODEL])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{}: {error}; run `cargo build --workspace`",
                    program.display()
                )
            });
        let mut line = String::new();
        let stdout = service.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the ready line");
        let ready: Value = serde_json::from_str(&line).expect("the ready line");
        let url = format!("http://{}", ready["address"].as_str().expect("an address"));
        Self {
            devnet,
            service,
            url,
        }
    }
}

async fn service_output(
    State(told): State<Arc<Told>>,
    _headers: HeaderMap,
    Json(asked): Json<Value>,
) -> Json<Value> {
    let number = asked["data"]["number"].as_u64().expect("a client's number");
    *lock(&told.calls).entry(number).or_default() += 1;
    Json(json!({ "answer": number }))
}

impl Outside {
    /// An empty disk, clients without requests, a container, and a chain when asked for.
    pub fn new(with_chain: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let told = Arc::new(Told::default());
        let router = Router::new()
            .route("/service_output", post(service_output))
            .with_state(Arc::clone(&told));
        let (echo, chain) = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a free port");
            let echo = listener.local_addr().expect("bound");
            tokio::spawn(async move { axum::serve(listener, router).await });
            let chain = if with_chain {
                Some(Chain::start().await)
            } else {
                None
            };
            (echo, chain)
        });
        Self {
            runtime,
            dir: tempfile::tempdir().expect("a directory"),
            chain,
            echo,
            told,
        }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the node's configuration; `log` is its section of that name.
    pub fn configure(&self, log: &str) {
        let mut text = format!(
            "data_dir = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
             requests_per_minute = 0\n\
             [log]\n{log}\n[[containers]]\nid = \"{ECHO}\"\nurl = \"http://{}\"\nexternal = true\n",
            self.data_dir(),
            self.echo,
        );
        if let Some(chain) = &self.chain {
            write!(
                text,
                "[[containers]]\nid = \"{}\"\nurl = \"{}\"\nexternal = true\n\
                 [chain]\nrpc_url = \"{}\"\nregistry = \"{}\"\npayment_wallet = \"{}\"\n\
                 poll_interval_ms = 20\ntrail_head_blocks = 0\n",
                dev::CONTAINER,
                chain.url,
                chain.devnet.url(),
                dev::REGISTRY,
                dev::NODE_WALLET,
            )
            .expect("a string");
        }
        std::fs::write(self.path("infernet.toml"), text).expect("written");
    }

    /// The command that runs the node, behind `before` (a tracer, a shell with limits).
    pub fn command(&self, before: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_infernet");
        let mut command = match before.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command
            .args(["run", "--config"])
            .arg(self.path("infernet.toml"))
            .env("INFERNET_LOG", "warn")
            .env_remove("INFERNET_CRASH_POINT")
            .env("INFERNET_PRIVATE_KEY", Role::Node.key())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts the node.
    pub fn start(&self, mut command: Command) -> Running {
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().expect("piped");
        let mut stderr = child.stderr.take().expect("piped");
        let (tell, ready) = mpsc::channel();
        std::thread::spawn(move || {
            let mut urls = None;
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(rest) = line.strip_prefix("node ") {
                    let mut urls_in = rest.split(|c: char| c.is_whitespace() || c == ')');
                    let mut next = || {
                        urls_in
                            .find(|word| word.starts_with("http://"))
                            .unwrap_or_default()
                            .to_owned()
                    };
                    urls = Some((next(), next()));
                }
                if line == "ready"
                    && let Some(urls) = urls.take()
                {
                    let _ = tell.send(urls);
                }
            }
        });
        let (tell_error, errors) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            let _ = tell_error.send(String::from_utf8_lossy(&text).into_owned());
        });
        Running {
            child,
            ready,
            errors,
            urls: None,
        }
    }

    /// Lets clients ask at `api` until it is gone, or `most` requests were acknowledged by it.
    /// On chain as many requests are made as `onchain` says.
    pub fn ask(&self, api: &str, most: u64, onchain: u64) {
        let acknowledged = Arc::new(AtomicU64::new(0));
        self.runtime.block_on(async {
            let client = reqwest::Client::builder()
                .timeout(Duration::from_secs(20))
                .build()
                .expect("a client");
            let mut asking = tokio::task::JoinSet::new();
            for _ in 0..CLIENTS.min(most) {
                let (client, told) = (client.clone(), Arc::clone(&self.told));
                let (api, acknowledged) = (api.to_owned(), Arc::clone(&acknowledged));
                asking.spawn(async move {
                    while acknowledged.load(Ordering::Relaxed) < most {
                        match told.ask_once(&client, &api).await {
                            Some(true) => {
                                acknowledged.fetch_add(1, Ordering::Relaxed);
                            }
                            Some(false) => tokio::time::sleep(Duration::from_millis(50)).await,
                            None => return,
                        }
                    }
                });
            }
            for _ in 0..onchain {
                let chain = self.chain.as_ref().expect("a chain");
                let flower = Flower([5.1, 3.5, 1.4, 0.2]);
                let asked = dev::ask_onchain(&chain.devnet.url(), flower)
                    .await
                    .expect("the chain takes it");
                lock(&self.told.subscriptions).push(asked.id);
            }
            asking.join_all().await;
        });
    }

    /// Waits until the node at `api` has ended every acknowledged job and delivered every answer.
    pub fn settle(&self, api: &str) {
        let begun = Instant::now();
        let jobs: Vec<String> = lock(&self.told.jobs).values().cloned().collect();
        let subscriptions = lock(&self.told.subscriptions).clone();
        self.runtime.block_on(async {
            let client = reqwest::Client::new();
            for ids in jobs.chunks(64) {
                let query: Vec<String> = ids.iter().map(|id| format!("id={id}")).collect();
                let url = format!("{api}/api/jobs?{}", query.join("&"));
                loop {
                    let found = ask_for(&client, &url).await;
                    let found = found.as_array().expect("a list");
                    assert_eq!(found.len(), ids.len(), "all of them are known");
                    for job in found {
                        assert_ne!(job["status"], "failed", "{job}");
                    }
                    if found.iter().all(|job| job["status"] == "success") {
                        break;
                    }
                    assert!(begun.elapsed() < PATIENCE, "they are not done: {found:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            if let Some(chain) = &self.chain {
                let provider = dev::provider(&chain.devnet.url()).expect("a URL");
                for id in &subscriptions {
                    while dev::stored_answer(&provider, *id)
                        .await
                        .expect("readable")
                        .is_none()
                    {
                        assert!(
                            begun.elapsed() < PATIENCE,
                            "subscription {id} has no answer"
                        );
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        });
        self.wait_until_idle(api);
    }

    /// Waits until nothing is under way: the last outcomes are in the log.
    pub fn wait_until_idle(&self, api: &str) {
        let begun = Instant::now();
        self.runtime.block_on(async {
            loop {
                let info = get(&format!("{api}/info")).await;
                if info["pending"]["onchain"] == 0 && info["pending"]["offchain"] == 0 {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "work is still pending: {info}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// Waits until `/health` answers with a status; what it says.
    pub fn wait_for_health(&self, api: &str, wanted: u16) -> Value {
        let begun = Instant::now();
        self.runtime.block_on(async {
            loop {
                let response = reqwest::get(format!("{api}/health"))
                    .await
                    .expect("answers");
                let status = response.status().as_u16();
                let body: Value = response.json().await.expect("JSON");
                if status == wanted {
                    return body;
                }
                assert!(begun.elapsed() < PATIENCE, "{status}: {body}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    }

    /// Each request on chain was answered by exactly one successful delivery.
    pub fn judge_chain(&self) {
        use alloy::{
            primitives::{B256, U256},
            providers::Provider as _,
            rpc::types::Filter,
            sol_types::SolEvent as _,
        };
        use infernet_contracts::Coordinator;

        let Some(chain) = &self.chain else { return };
        let logs = self.runtime.block_on(async {
            let provider = dev::provider(&chain.devnet.url()).expect("a URL");
            let filter = Filter::new()
                .event_signature(Coordinator::SubscriptionFulfilled::SIGNATURE_HASH)
                .from_block(0);
            provider.get_logs(&filter).await.expect("the chain answers")
        });
        for id in lock(&self.told.subscriptions).iter() {
            let topic = B256::from(U256::from(*id));
            let count = logs.iter().filter(|log| log.topics()[1] == topic).count();
            assert_eq!(count, 1, "deliveries for subscription {id}");
        }
    }
}

impl Told {
    /// Makes a request until it is answered: whether it was acknowledged; `None` when nobody is
    /// there. What is not acknowledged is asked for again, under the same key.
    async fn ask_once(&self, client: &reqwest::Client, api: &str) -> Option<bool> {
        let number = lock(&self.open)
            .pop()
            .unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed));
        let outcome = self.post(client, api, number).await;
        if outcome != Some(true) {
            lock(&self.open).push(number);
        }
        outcome
    }

    async fn post(&self, client: &reqwest::Client, api: &str, number: u64) -> Option<bool> {
        // Some inputs stand inline, some in a pack.
        let padding = "x".repeat(usize::try_from(number % 3).expect("small") * 1500);
        let body = json!({
            "containers": [ECHO],
            "data": { "number": number, "padding": padding },
        });
        let response = client
            .post(format!("{api}/api/jobs"))
            .header("idempotency-key", format!("request {number}"))
            .json(&body)
            .send()
            .await
            .ok()?;
        let status = response.status();
        let answer: Value = response.json().await.ok()?;
        if status == 503 {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Some(false);
        }
        assert_eq!(status, 200, "{answer}");
        let id = answer["id"].as_str().expect("an id").to_owned();
        let known = lock(&self.jobs)
            .entry(number)
            .or_insert_with(|| id.clone())
            .clone();
        assert_eq!(known, id, "request {number} was told of two jobs");
        Some(true)
    }
}

/// The JSON behind a URL.
pub async fn get(url: &str) -> Value {
    ask_for(&reqwest::Client::new(), url).await
}

async fn ask_for(client: &reqwest::Client, url: &str) -> Value {
    let response = client.get(url).send().await.expect("answers");
    response.json().await.expect("JSON")
}

/// A node's process; killed when dropped.
pub struct Running {
    child: Child,
    ready: mpsc::Receiver<(String, String)>,
    errors: mpsc::Receiver<String>,
    urls: Option<(String, String)>,
}

impl Running {
    /// Waits until it is ready; where clients ask, or `None` when its process ended before.
    pub fn api(&mut self) -> Option<String> {
        if self.urls.is_none() {
            self.urls = self.ready.recv_timeout(PATIENCE).ok();
        }
        self.urls.as_ref().map(|(api, _)| api.clone())
    }

    /// Where clients and the operator ask.
    ///
    /// # Panics
    /// When its process ended before it was ready.
    pub fn urls(&mut self) -> (String, String) {
        if self.api().is_none() {
            panic!("the node did not start: {}", self.end().1);
        }
        self.urls.clone().expect("ready")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("gone");
    }

    /// A stop with good manners.
    pub fn stop(&mut self) {
        self.terminate();
        let (status, said) = self.end();
        assert!(status.success(), "{status}: {said}");
    }

    /// Asks it to stop.
    pub fn terminate(&mut self) {
        let sent = Command::new("kill")
            .args(["-TERM", &self.id().to_string()])
            .status()
            .expect("kill starts");
        assert!(sent.success());
    }

    /// Waits for the end by itself: how it ended, and what it said on standard error.
    pub fn end(&mut self) -> (ExitStatus, String) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                let said = self.errors.recv_timeout(PATIENCE).unwrap_or_default();
                return (status, said);
            }
            assert!(begun.elapsed() < PATIENCE, "the node does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The log of a node that is gone.
pub fn open_log(data_dir: &Path) -> SledLog {
    SledLog::open(data_dir, &Options::existing()).expect("the log opens")
}

/// The event at a position.
pub fn event(log: &SledReader, seq: u64) -> Event {
    let stored = log.read(Seq(seq), 1).expect("readable");
    let stored = &stored[0].event;
    infernet_state::codec::decode(stored.kind, stored.version, &stored.body).expect("decodes")
}

/// Replays a log from its first event: every acknowledged job has exactly one result in it, and
/// the books balance after each event.
pub fn judge_log(data_dir: &Path, told: &Told) -> Machine {
    let log = open_log(data_dir);
    let reader = log.reader();
    let jobs: Vec<JobId> = lock(&told.jobs).values().map(|id| job_id(id)).collect();
    let mut ended: BTreeMap<JobId, JobStatus> = BTreeMap::new();
    let mut machine = Machine::new();
    for seq in 1..=reader.head().seq.0 {
        let event = event(&reader, seq);
        let whose = match &event {
            Event::EffectEnded { effect, .. } => machine.effect(*effect).cloned(),
            _ => None,
        };
        machine.apply(&event).expect("no halt");
        assert!(machine.ledger().balances(), "event {seq}: the ledger");
        assert_eq!(machine.account().quarantine(), None, "event {seq}");
        // Only what this event may have ended is looked at.
        let Some(infernet_state::Effect::RunContainer(call)) = whose else {
            continue;
        };
        let infernet_state::effect::Purpose::Job(job) = call.purpose else {
            continue;
        };
        if let Some(status @ (JobStatus::Success { .. } | JobStatus::Failed { .. })) =
            machine.job_status(job)
        {
            let before = ended.insert(job, status);
            assert_eq!(before, None, "event {seq}: {job} has a second result");
        }
    }
    for job in jobs {
        assert!(
            matches!(
                ended.get(&job),
                Some(JobStatus::Success {
                    output: Some(_),
                    ..
                })
            ),
            "{job}: {:?}",
            ended.get(&job)
        );
    }
    let (shown, lived) = (driver::replay(&reader).expect("replays"), &machine);
    assert_eq!(shown.digest(), lived.digest(), "one replay is another");
    machine
}

/// A job's id from its text.
pub fn job_id(text: &str) -> JobId {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let bytes = alloy::hex::decode(digits).expect("a UUID");
    JobId(bytes.try_into().expect("16 bytes"))
}
