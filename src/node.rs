//! Puts a node together: log, machine, loop, executor and edges.
//!
//! A normal stop is a crash with good manners: listeners close, the loop ends behind its last
//! commit, children are stopped. Nothing else is saved, for nothing else is needed.

use std::{
    future::Future,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use infernet_state::{
    Config, Event, Issued, codec::CodecError, config::ChainConfig, event::DelegatedRequest,
    machine::SnapshotError, types::Address,
};
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::{
    api::{ApiConfig, ApiError, ApiParts, ApiServer, ClientKey},
    chain::{
        connect::{ChainConnection, ConnectError, Target},
        delegation::DelegatedSigners,
        reads::ChainReads,
        signer::{KeyError, NodeKey},
        transactions::Transactions,
        watcher::{Watcher, WatcherConfig},
    },
    config::ConfigError,
    container::{ContainerError, ContainerService, Containers},
    copies,
    dev::DevError,
    driver::{BoxFuture, Clock as _, Driver, Fatal, Handle, Policy, Random as _, SystemWorld},
    executor::{BoxError, EffectService, Ended, Executor, Services},
    log::{LogError, Options, SledLog, SledReader, volume::sync_dir},
    ports::{Delegation, DelegationChecker, DelegationError},
    streams::Streams,
};

/// How long a first connection to the chain may take before the node starts without it and
/// goes on trying.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// The file of the key under which clients' addresses are hashed.
const CLIENT_KEY_FILE: &str = "client-key";

/// How long the edges may take to end after the loop has.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Why a node does not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The chain or its contracts.
    #[error(transparent)]
    Chain(#[from] ConnectError),
    /// A container.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The REST interface.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The loop ended.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// The development world.
    #[error(transparent)]
    Dev(#[from] DevError),
    /// The runtime does not start.
    #[error("E-NODE-001: the runtime does not start: {reason}")]
    Runtime {
        /// What the system said.
        reason: String,
    },
    /// The log belongs to another deployment.
    #[error(
        "E-NODE-002: the data directory was used with the contracts behind registry {recorded} on chain {recorded_chain}, not {configured} on chain {configured_chain}; choose another --data-dir"
    )]
    OtherChain {
        /// The recorded registry.
        recorded: Address,
        /// The recorded chain.
        recorded_chain: u64,
        /// The configured registry.
        configured: Address,
        /// The chain behind the RPC.
        configured_chain: u64,
    },
    /// The key of the clients' hashes.
    #[error(
        "E-NODE-004: {path}: {reason}; restore the file, or remove it: every client is then a new one"
    )]
    ClientKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Standard output takes nothing.
    #[error("E-NODE-005: standard output cannot be written: {0}")]
    Output(std::io::Error),
    /// The mirror cannot be used.
    #[error(
        "E-NODE-006: the mirror cannot be used: {0}; mend it, or take `log.mirror` out of the configuration"
    )]
    Mirror(LogError),
    /// The loop's thread is gone.
    #[error(
        "E-NODE-003: the node's loop ended unexpectedly; start the node again: nothing acknowledged is lost"
    )]
    Lost,
}

impl NodeError {
    /// The process's exit code, as ARCHITECTURE.md lists them.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Key(_)
            | Self::Chain(_)
            | Self::Container(_)
            | Self::Api(_)
            | Self::Mirror(_) => 3,
            Self::OtherChain { .. } => 4,
            Self::Fatal(fatal) => fatal_code(fatal),
            Self::Dev(error) => error.exit_code(),
            Self::Runtime { .. } | Self::ClientKey { .. } | Self::Output(_) | Self::Lost => 1,
        }
    }
}

fn fatal_code(fatal: &Fatal) -> u8 {
    match fatal {
        Fatal::Log(
            LogError::Locked { .. } | LogError::Newer { .. } | LogError::Identity { .. },
        )
        | Fatal::Codec(CodecError::Unknown { .. })
        | Fatal::Snapshot(SnapshotError::Unknown { .. }) => 4,
        Fatal::Log(_) | Fatal::Codec(_) | Fatal::Snapshot(_) => 5,
        Fatal::Halt(_) => 6,
    }
}

/// The chain side of a node's parts.
pub struct ChainParts {
    /// JSON-RPC over HTTP.
    pub rpc_url: String,
    /// The Registry.
    pub registry: Address,
    /// The key that signs.
    pub key: NodeKey,
    /// The wallet that is paid.
    pub payment_wallet: Option<Address>,
    /// Blocks above a creation before it is acted on.
    pub trail_head_blocks: u64,
    /// Between looks at the head.
    pub poll: Duration,
    /// The most gas of one delivery.
    pub gas_limit_max: u64,
    /// The most wei per gas.
    pub max_fee_per_gas_cap: u128,
}

/// What a node is made of.
pub struct Parts {
    /// Where the log lives.
    pub data_dir: PathBuf,
    /// The interfaces.
    pub api: ApiConfig,
    /// What decides, without the chain.
    pub config: Config,
    /// The containers, started.
    pub containers: Containers,
    /// The chain.
    pub chain: Option<ChainParts>,
    /// Whether an operator confirmed that sending may go on.
    pub lift_quarantine: bool,
    /// Mirror and checkpoints.
    pub copies: copies::Wanted,
    /// How the log is kept small.
    pub upkeep: Policy,
}

/// A running node.
pub struct Node {
    handle: Handle,
    reader: SledReader,
    api: std::net::SocketAddr,
    admin: std::net::SocketAddr,
    stop: watch::Sender<bool>,
    ended: tokio::sync::oneshot::Receiver<Result<(), Fatal>>,
    containers: Containers,
    /// The thread of mirror and checkpoints.
    copies: Option<thread::JoinHandle<()>>,
}

impl Node {
    /// Starts a node. When it returns, the log is recovered, the interfaces listen and the loop
    /// runs; the chain may still be waited for.
    ///
    /// # Errors
    /// [`NodeError`]; nothing was recorded or sent, and nothing is damaged.
    pub async fn start(parts: Parts) -> Result<Self, NodeError> {
        let Parts {
            data_dir,
            api,
            config,
            containers,
            chain,
            lift_quarantine,
            copies,
            upkeep,
        } = parts;
        let world = SystemWorld::current();
        let (driver, handle) = recover(&data_dir, chain.as_ref(), world.clone(), upkeep).await?;
        let client_key = client_key(&data_dir, &world)?;
        let reader = driver.reader();
        let streams = Streams::default();

        let recorded = handle.view(|machine| machine.config().cloned());
        let connected = match &chain {
            Some(parts) => connect(parts, recorded.as_ref()).await?,
            None => None,
        };
        let deciding = match (&chain, &connected) {
            (Some(parts), Some(connection)) => chain_config(parts, connection, recorded.as_ref())?,
            // Not reachable yet: what was recorded holds until it is.
            (Some(_), None) => recorded.as_ref().and_then(|config| config.chain.clone()),
            (None, _) => None,
        };
        let config = Config {
            chain: deciding,
            ..config
        };
        let slot = ChainSlot::default();
        let server = ApiServer::bind(
            api,
            ApiParts {
                handle: handle.clone(),
                log: reader.clone(),
                world: world.clone(),
                containers: Arc::new(containers.clone()),
                delegation: chain.as_ref().map(|_| Arc::new(slot.clone()) as Arc<_>),
                streams: streams.clone(),
                client_key,
            },
        )
        .await?;

        let mut started = vec![Event::NodeStarted {
            at: world.now(),
            version: env!("CARGO_PKG_VERSION").into(),
        }];
        if recorded.as_ref() != Some(&config) {
            started.push(Event::ConfigChanged(config.clone()));
        }
        if let (Some(parts), Some(connection)) = (&chain, &connected) {
            started.push(connection.observe_account(parts.key.address()).await?);
        }
        if lift_quarantine {
            started.push(Event::QuarantineLifted);
        }

        let copies = {
            let key = chain.as_ref().map(|parts| parts.key.clone());
            let (handle, reader) = (handle.clone(), reader.clone());
            copies::start(&copies, key, handle, reader, world.clone())?
        };
        let (stop, stopped) = watch::channel(false);
        let calls = ContainerService::new(containers.clone(), reader.clone(), streams);
        let mut services = Services::new(calls.clone(), calls);
        if let Some(parts) = chain {
            services = services.with_chain(slot.reads(), slot.transactions());
            let follow = Follow {
                parts,
                config,
                handle: handle.clone(),
                reader: reader.clone(),
                slot,
                stopped: stopped.clone(),
            };
            if let Some(connection) = connected {
                follow.slot.fill(&connection, &follow.parts, &follow.reader);
                tokio::spawn(follow.watch(connection));
            } else {
                tokio::spawn(follow.connect_and_watch());
            }
        }

        let executor = Executor::new(services, handle.clone(), world);
        let (report, ended) = tokio::sync::oneshot::channel();
        let loop_stopped = stopped.clone();
        let runtime = tokio::runtime::Handle::current();
        thread::Builder::new()
            .name("driver".to_owned())
            .spawn(move || {
                let outcome =
                    runtime.block_on(driver.run(started, executor, flagged(loop_stopped)));
                let _ = report.send(outcome);
            })
            .map_err(|error| NodeError::Runtime {
                reason: error.to_string(),
            })?;
        let (api, admin) = (server.local_addr(), server.admin_addr());
        tokio::spawn(server.serve(flagged(stopped)));
        Ok(Self {
            handle,
            reader,
            api,
            admin,
            stop,
            ended,
            containers,
            copies,
        })
    }

    /// Speaks to the loop.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Reads the log.
    #[must_use]
    pub fn reader(&self) -> &SledReader {
        &self.reader
    }

    /// Where clients connect.
    #[must_use]
    pub fn api_addr(&self) -> std::net::SocketAddr {
        self.api
    }

    /// Where the operator connects.
    #[must_use]
    pub fn admin_addr(&self) -> std::net::SocketAddr {
        self.admin
    }

    /// Serves until `stop` resolves or the loop ends by itself, then takes everything down.
    ///
    /// # Errors
    /// [`NodeError::Fatal`] when the loop had to end.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), NodeError> {
        let early = tokio::select! {
            biased;
            ended = &mut self.ended => Some(ended),
            () = stop => None,
        };
        self.stop.send_replace(true);
        let ended = match early {
            Some(ended) => ended,
            None => self.ended.await,
        };
        // A child that does not stop in time dies when its standard input closes.
        let _ = tokio::time::timeout(STOP_GRACE, self.containers.stop()).await;
        if let Some(copies) = self.copies {
            // What a mirror lacks it gets with the next start.
            let ending = tokio::task::spawn_blocking(move || copies.join());
            let _ = tokio::time::timeout(STOP_GRACE, ending).await;
        }
        ended.map_err(|_| NodeError::Lost)?.map_err(NodeError::from)
    }
}

/// Resolves when the flag is set, or nobody is left to set it.
async fn flagged(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}

/// Opens the log and restores the machine from it, away from the runtime's threads.
async fn recover(
    data_dir: &Path,
    chain: Option<&ChainParts>,
    world: SystemWorld,
    upkeep: Policy,
) -> Result<(Driver<SledLog, SystemWorld>, Handle), NodeError> {
    let identity = chain.map_or_else(
        || "no chain".to_owned(),
        |chain| format!("registry {}", chain.registry),
    );
    let data_dir = data_dir.to_owned();
    tokio::task::spawn_blocking(move || {
        let log = SledLog::open(&data_dir, &Options::new(identity)).map_err(Fatal::Log)?;
        Driver::recover(log, world, upkeep)
    })
    .await
    .map_err(|_| NodeError::Lost)?
    .map_err(NodeError::from)
}

/// The key under which clients' addresses are hashed: random, made once, and kept beside the log,
/// since the log must not hold it.
fn client_key(data_dir: &Path, world: &SystemWorld) -> Result<ClientKey, NodeError> {
    let path = data_dir.join(CLIENT_KEY_FILE);
    let failed = |error: std::io::Error| NodeError::ClientKey {
        path: path.clone(),
        reason: error.to_string(),
    };
    match std::fs::read(&path) {
        Ok(bytes) => {
            let bytes = <[u8; 32]>::try_from(bytes).map_err(|bytes| NodeError::ClientKey {
                path: path.clone(),
                reason: format!("it holds {} bytes instead of 32", bytes.len()),
            })?;
            Ok(ClientKey::new(bytes))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0; 32];
            world.fill(&mut bytes);
            // Written aside and renamed: a crash leaves no half of a key.
            let draft = path.with_extension("new");
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)
                .map_err(failed)?;
            std::io::Write::write_all(&mut file, &bytes).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            // After a power cut without it every client would be another one.
            std::fs::rename(&draft, &path)
                .and_then(|()| sync_dir(data_dir))
                .map_err(failed)?;
            Ok(ClientKey::new(bytes))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Connects within a bound; `None` when the RPC does not answer yet.
async fn connect(
    parts: &ChainParts,
    recorded: Option<&Config>,
) -> Result<Option<ChainConnection>, NodeError> {
    let target = parts.target(recorded);
    let connecting = ChainConnection::connect(&target);
    match tokio::time::timeout(CONNECT_WAIT, connecting).await {
        Ok(Ok(connection)) => {
            parts.check_wallet(&connection).await?;
            Ok(Some(connection))
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            tracing::warn!("the chain does not answer yet; starting without it");
            Ok(None)
        }
    }
}

impl ChainParts {
    fn target(&self, recorded: Option<&Config>) -> Target {
        Target {
            url: self.rpc_url.clone(),
            registry: self.registry,
            chain_id: recorded.and_then(|config| Some(config.chain.as_ref()?.chain_id)),
            wait: true,
        }
    }

    async fn check_wallet(&self, connection: &ChainConnection) -> Result<(), ConnectError> {
        match self.payment_wallet {
            Some(wallet) => connection
                .check_payment_wallet(wallet, self.key.address())
                .await
                .map(drop),
            None => Ok(()),
        }
    }
}

/// The deciding configuration of the chain; refused when the log knows another deployment.
fn chain_config(
    parts: &ChainParts,
    connection: &ChainConnection,
    recorded: Option<&Config>,
) -> Result<Option<ChainConfig>, NodeError> {
    let config = ChainConfig {
        chain_id: connection.chain_id,
        registry: parts.registry,
        coordinator: connection.contracts.coordinator,
        wallet_factory: connection.contracts.wallet_factory,
        fee_recipient: connection.fee_recipient,
        node: parts.key.address(),
        payment_wallet: parts.payment_wallet,
        trail_head_blocks: parts.trail_head_blocks,
        delivery_batch_max: if connection.batch_delivery {
            DELIVERY_BATCH_MAX
        } else {
            0
        },
        max_fee_per_gas_cap: parts.max_fee_per_gas_cap,
        gas_limit_max: parts.gas_limit_max,
    };
    match recorded.and_then(|recorded| recorded.chain.as_ref()) {
        Some(known)
            if known.chain_id != config.chain_id || known.coordinator != config.coordinator =>
        {
            Err(NodeError::OtherChain {
                recorded: known.registry,
                recorded_chain: known.chain_id,
                configured: config.registry,
                configured_chain: config.chain_id,
            })
        }
        Some(_) | None => Ok(Some(config)),
    }
}

/// Items in one batch delivery: eight of the usual size stay far below a block's gas.
const DELIVERY_BATCH_MAX: u16 = 8;

/// What needs a connected chain, which may come up later than the executor.
#[derive(Clone, Default)]
struct ChainSlot(Arc<OnceLock<ChainServices>>);

struct ChainServices {
    reads: EffectService,
    transactions: EffectService,
    signers: DelegatedSigners,
}

impl ChainSlot {
    fn fill(&self, connection: &ChainConnection, parts: &ChainParts, reader: &SledReader) {
        let reads = ChainReads::new(connection.clone(), reader.clone());
        let transactions = Transactions::new(connection.clone(), parts.key.clone(), reader.clone());
        // A second filling would be the same services again.
        let _ = self.0.set(ChainServices {
            reads: EffectService::new(reads),
            transactions: EffectService::new(transactions),
            signers: DelegatedSigners::new(connection.clone()),
        });
    }

    fn reads(&self) -> EffectService {
        self.late(|services| &services.reads)
    }

    fn transactions(&self) -> EffectService {
        self.late(|services| &services.transactions)
    }

    fn late(
        &self,
        pick: impl Fn(&ChainServices) -> &EffectService + Clone + Send + Sync + 'static,
    ) -> EffectService {
        let slot = Arc::clone(&self.0);
        EffectService::new(tower::service_fn(move |issued: Issued| {
            let service = slot.get().map(|services| pick(services).clone());
            async move {
                match service {
                    Some(service) => service.oneshot(issued).await,
                    None => Err::<Ended, BoxError>(NOT_CONNECTED.into()),
                }
            }
        }))
    }
}

/// What is said of the chain before the first connection.
const NOT_CONNECTED: &str = "the chain is not connected yet";

impl DelegationChecker for ChainSlot {
    fn check(&self, request: &DelegatedRequest) -> BoxFuture<Result<Delegation, DelegationError>> {
        match self.0.get() {
            Some(services) => services.signers.check(request),
            None => Box::pin(std::future::ready(Err(DelegationError::Unavailable {
                reason: NOT_CONNECTED.to_owned(),
            }))),
        }
    }
}

/// What follows the chain for the node's whole life.
struct Follow {
    parts: ChainParts,
    config: Config,
    handle: Handle,
    reader: SledReader,
    slot: ChainSlot,
    stopped: watch::Receiver<bool>,
}

impl Follow {
    /// Goes on trying where the start gave up, then follows.
    async fn connect_and_watch(self) {
        let recorded = self.handle.view(|machine| machine.config().cloned());
        let connected = async {
            let connection =
                ChainConnection::connect(&self.parts.target(recorded.as_ref())).await?;
            self.parts.check_wallet(&connection).await?;
            let chain = chain_config(&self.parts, &connection, recorded.as_ref())?;
            let account = connection.observe_account(self.parts.key.address()).await?;
            Ok::<_, NodeError>((connection, chain, account))
        };
        let mut stopped = self.stopped.clone();
        let outcome = tokio::select! {
            outcome = connected => outcome,
            _ = stopped.wait_for(|set| *set) => return,
        };
        match outcome {
            Ok((connection, chain, account)) => {
                let config = Config {
                    chain,
                    ..self.config.clone()
                };
                if recorded.as_ref() != Some(&config) {
                    let _ = self
                        .handle
                        .observe(Event::ConfigChanged(config), Vec::new())
                        .await;
                }
                let _ = self.handle.observe(account, Vec::new()).await;
                self.slot.fill(&connection, &self.parts, &self.reader);
                self.watch(connection).await;
            }
            Err(error) => {
                tracing::error!(%error, "the chain cannot be used; clients are still served");
            }
        }
    }

    async fn watch(self, connection: ChainConnection) {
        let config = WatcherConfig {
            payment_wallet: self.parts.payment_wallet,
            poll: self.parts.poll,
            ..WatcherConfig::new(self.parts.key.address())
        };
        Watcher::new(connection, config, self.handle)
            .run(flagged(self.stopped))
            .await;
    }
}
