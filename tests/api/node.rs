//! A node without a chain, with one container in the same process, and a client of it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use infernet_node::{
    api::{ApiConfig, ApiError, ApiParts, ApiServer, ClientKey, RateLimit},
    container::{Container, ContainerService, Containers, Remote},
    driver::{BoxFuture, Clock as _, Driver, Handle, Policy, SystemWorld},
    executor::{Executor, Services},
    log::{MemoryLog, MemoryReader},
    ports::{Delegation, DelegationChecker, DelegationError},
    streams::Streams,
};
use infernet_state::{
    Config, Event, Machine,
    admission::container_hash,
    config::{ChainConfig, ClientId, ContainerConfig, Limits},
    event::DelegatedRequest,
    types::{Address, BlockTime, SubscriptionId},
};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

/// How the node is made.
#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) rate_limit: Option<RateLimit>,
    /// 0 for the default.
    pub(crate) jobs_open_max: u32,
    pub(crate) chain: bool,
}

/// A running node with its container.
pub(crate) struct Node {
    options: Options,
    address: SocketAddr,
    admin: SocketAddr,
    client: reqwest::Client,
    log: MemoryReader,
    handle: Handle,
    container: Arc<Echo>,
    stop: watch::Sender<bool>,
    stop_loop: watch::Sender<bool>,
    running: Vec<tokio::task::JoinHandle<()>>,
}

/// The container: answers with what it was asked, unless its input tells it otherwise.
#[derive(Default)]
struct Echo {
    /// Lets a stream go on behind its first chunk.
    release: Notify,
    /// A stream's reader went away.
    dropped: Notify,
}

/// Tells when a stream's body is dropped.
struct Dropped(Arc<Echo>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.dropped.notify_one();
    }
}

async fn service_output(State(echo): State<Arc<Echo>>, Json(asked): Json<Value>) -> Response {
    let data = &asked["data"];
    if data["hang"] == true {
        return std::future::pending().await;
    }
    if let Some(status) = data["answer"].as_u64() {
        let status = StatusCode::from_u16(u16::try_from(status).unwrap()).unwrap();
        return (status, Json(data["with"].clone())).into_response();
    }
    if let Some(chunks) = data["stream"].as_array() {
        let chunks: Vec<String> = chunks
            .iter()
            .map(|chunk| chunk.as_str().unwrap().to_owned())
            .collect();
        let state = (chunks.into_iter().enumerate(), Dropped(echo));
        let body = futures_util::stream::unfold(state, |(mut chunks, dropped)| async {
            let (place, chunk) = chunks.next()?;
            if place == 1 {
                dropped.0.release.notified().await;
            }
            Some((Ok::<_, std::convert::Infallible>(chunk), (chunks, dropped)))
        });
        return Response::new(Body::from_stream(body));
    }
    Json(json!({ "asked": asked })).into_response()
}

/// A delegated subscription as a client sends it.
pub(crate) fn delegated() -> Value {
    let r: Value = serde_json::from_str(&"9".repeat(77)).unwrap();
    let zero = format!("0x{}", "00".repeat(20));
    let echo = container_hash(&["echo"]).to_string();
    json!({
        "signature": {"nonce": 0, "expiry": 4_000_000_000_u32, "v": 27, "r": r, "s": 1},
        "subscription": {
            "owner": format!("0x{}", "22".repeat(20)), "active_at": 0, "period": 0, "frequency": 1,
            "redundancy": 1, "containers": echo, "lazy": false,
            "verifier": zero, "payment_amount": 0, "payment_token": zero, "wallet": zero,
        },
        "data": {},
    })
}

/// An account with a well-known checksum (EIP-55).
const SOMEBODY: [u8; 20] = alloy::primitives::hex!("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed");

/// Answers by the signature's `v`: 28 is somebody else's, 29 finds a chain that is beyond its
/// expiry, 30 finds none.
struct ByRecoveryByte;

impl DelegationChecker for ByRecoveryByte {
    fn check(&self, request: &DelegatedRequest) -> BoxFuture<Result<Delegation, DelegationError>> {
        let mut recovered = [0; 20];
        (1..)
            .zip(&mut recovered)
            .for_each(|(value, byte)| *byte = value);
        Box::pin(std::future::ready(match request.v {
            28 => Err(DelegationError::SignerMismatch {
                recovered: Some(Address(SOMEBODY)),
                delegated: Address([0x11; 20]),
            }),
            30 => Err(DelegationError::Unavailable {
                reason: "no answer".to_owned(),
            }),
            v => Ok(Delegation {
                known_id: SubscriptionId(0),
                seen: BlockTime(if v == 29 { request.expiry.into() } else { 0 }),
            }),
        }))
    }
}

pub(crate) fn config(options: &Options) -> Config {
    let container = |id: &str, external, allowed_clients| ContainerConfig {
        id: id.to_owned(),
        description: "says it again".to_owned(),
        image: "test/echo".to_owned(),
        external,
        allowed_clients,
        rerun: true,
        ..ContainerConfig::default()
    };
    let mut limits = Limits::default();
    if options.jobs_open_max > 0 {
        limits.jobs_open_max = options.jobs_open_max;
    }
    Config {
        chain: options.chain.then_some(ChainConfig {
            chain_id: 31337,
            registry: Address([1; 20]),
            coordinator: Address([2; 20]),
            wallet_factory: Address([3; 20]),
            fee_recipient: Address([4; 20]),
            node: Address([5; 20]),
            payment_wallet: None,
            trail_head_blocks: 0,
            delivery_batch_max: 0,
            max_fee_per_gas_cap: 1,
            gas_limit_max: 1,
        }),
        containers: vec![
            container("echo", true, Vec::new()),
            container("inner", false, Vec::new()),
            container("closed", true, vec![ClientId([0; 16])]),
        ],
        limits,
        ..Config::default()
    }
}

impl Node {
    pub(crate) async fn start(options: Options) -> Self {
        Self::start_on(MemoryLog::new(), options).await
    }

    async fn start_on(log: MemoryLog, options: Options) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::bind(log, &options, any).await.unwrap()
    }

    /// Everything of a node, as the program puts it together.
    pub(crate) async fn bind(
        log: MemoryLog,
        options: &Options,
        listen: SocketAddr,
    ) -> Result<Self, ApiError> {
        let container = Arc::new(Echo::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/service_output", post(service_output))
            .with_state(Arc::clone(&container));
        let mut running = vec![tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        })];
        let list = ["echo", "inner", "closed"].map(|id| Container {
            id: id.to_owned(),
            backend: Arc::new(Remote::new(id, &url, None).unwrap()),
            legacy_http_status: false,
        });
        let containers = Containers::new(list.into()).unwrap();

        let world = SystemWorld::current();
        let (driver, handle) = Driver::recover(log, world.clone(), Policy::default()).unwrap();
        let log = driver.reader();
        let streams = Streams::default();
        let service = ContainerService::new(containers.clone(), log.clone(), streams.clone());
        let services = Services::new(service.clone(), service);
        let server = ApiServer::bind(
            ApiConfig {
                listen,
                admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                rate_limit: options.rate_limit,
                development: None,
            },
            ApiParts {
                handle: handle.clone(),
                log: log.clone(),
                world: world.clone(),
                containers: Arc::new(containers),
                delegation: options.chain.then(|| Arc::new(ByRecoveryByte) as _),
                streams,
                client_key: ClientKey::new([7; 32]),
            },
        )
        .await?;
        let mut started = vec![Event::NodeStarted {
            at: world.now(),
            version: "test".to_owned(),
        }];
        started.extend(handle.view(Machine::upgrade));
        started.push(Event::ConfigChanged(config(options)));
        let (stop, stopped) = watch::channel(false);
        let (stop_loop, loop_stopped) = watch::channel(false);
        let told = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let (address, admin) = (server.local_addr(), server.admin_addr());
        running.push(tokio::spawn(server.serve(told(stopped))));
        let executor = Executor::new(services, handle.clone(), world);
        running.push(tokio::spawn(async move {
            driver
                .run(started, executor, told(loop_stopped))
                .await
                .unwrap();
        }));
        Ok(Self {
            options: options.clone(),
            address,
            admin,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            log,
            handle,
            container,
            stop,
            stop_loop,
            running,
        })
    }

    /// Stops the node and starts it again on the same log.
    pub(crate) async fn restart(mut self) -> Self {
        self.stop.send_replace(true);
        self.stop_loop.send_replace(true);
        // The container's task has no end of its own.
        for task in self.running.drain(1..) {
            task.await.unwrap();
        }
        let log = MemoryLog::reopen(&self.log);
        Self::start_on(log, self.options.clone()).await
    }

    /// Ends the loop as a failing log would, and leaves the interface up.
    pub(crate) async fn end_loop(&mut self) {
        self.stop_loop.send_replace(true);
        if let Some(driver) = self.running.pop() {
            driver.await.unwrap();
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn log(&self) -> MemoryReader {
        self.log.clone()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.get_text(path).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    async fn get_text(&self, path: &str) -> (u16, String) {
        let response = self.request("GET", path).await;
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn get_admin(&self, path: &str) -> (u16, Value) {
        let url = format!("http://{}{path}", self.admin);
        let response = self.client.get(url).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn request(&self, method: &str, path: &str) -> reqwest::Response {
        let url = format!("http://{}{path}", self.address);
        self.client
            .request(method.parse().unwrap(), url)
            .send()
            .await
            .unwrap()
    }

    /// Gives up a job, from one of this machine's addresses.
    pub(crate) async fn cancel_from(&self, from: [u8; 4], query: &str) -> (u16, Value) {
        let client = reqwest::Client::builder().local_address(IpAddr::from(from));
        let url = format!("http://{}/api/jobs?{query}", self.address);
        let request = client.no_proxy().build().unwrap().delete(url);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn cancel(&self, query: &str) -> (u16, Value) {
        self.cancel_from([127, 0, 0, 1], query).await
    }

    /// Records a fact, as an observer does.
    pub(crate) async fn observe(&self, event: Event) {
        self.handle.observe(event, Vec::new()).await.unwrap();
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_raw(path, body.to_string(), &[]).await
    }

    pub(crate) async fn post_raw(
        &self,
        path: &str,
        body: String,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let response = self.send(path, body, headers).await;
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn send(
        &self,
        path: &str,
        body: String,
        headers: &[(&str, &str)],
    ) -> reqwest::Response {
        let url = format!("http://{}{path}", self.address);
        let request = headers
            .iter()
            .fold(self.client.post(url), |request, (name, value)| {
                request.header(*name, *value)
            });
        request.body(body).send().await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{}{path}", self.address);
        let response = self.client.put(url).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// The id of a job that is taken.
    pub(crate) async fn accepted(&self, body: &Value) -> String {
        let (status, accepted) = self.post("/api/jobs", body).await;
        assert_eq!(status, 200, "{accepted}");
        accepted["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn stream(&self, body: &Value, headers: &[(&str, &str)]) -> Stream {
        let response = self
            .send("/api/jobs/stream", body.to_string(), headers)
            .await;
        assert_eq!(response.status(), 200);
        Stream {
            response,
            text: String::new(),
        }
    }

    pub(crate) fn release_stream(&self) {
        self.container.release.notify_one();
    }

    pub(crate) async fn stream_dropped(&self) {
        self.container.dropped.notified().await;
    }
}

/// A streamed answer that is being read.
pub(crate) struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn more(&mut self) -> bool {
        let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk());
        match chunk.await.expect("a chunk in time").unwrap() {
            Some(chunk) => {
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
                true
            }
            None => false,
        }
    }

    /// The first line, without its end.
    pub(crate) async fn line(&mut self) -> String {
        let line = self.until("\n").await;
        line.trim_end().to_owned()
    }

    /// Everything up to and with `end`.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(place) = self.text.find(end) {
                return self.text.drain(..place + end.len()).collect();
            }
            assert!(self.more().await, "the stream ended before {end:?}");
        }
    }

    /// Everything up to the end.
    pub(crate) async fn rest(&mut self) -> String {
        while self.more().await {}
        std::mem::take(&mut self.text)
    }
}
