//! Puts a node together: log, machine, loop, executor and edges.
//!
//! A normal stop is a crash with good manners: listeners close, the loop ends behind its last
//! commit, children are stopped. Nothing else is saved, for nothing else is needed.

mod chain;
mod error;
mod pauses;

use std::{
    future::Future,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use infernet_state::{Config, Event, Machine};
use tokio::sync::watch;

use self::chain::{ChainSlot, Follow, chain_config, connect};
pub use self::{chain::ChainParts, error::NodeError};
use crate::{
    api::{ApiConfig, ApiParts, ApiServer, ClientKey},
    config::AllowedIps,
    container::{ContainerService, Containers},
    copies,
    driver::{Clock as _, Driver, Fatal, Handle, Policy, Random as _, SystemWorld},
    executor::{Executor, Services},
    log::{Options, SledLog, SledReader, volume::sync_dir},
    streams::Streams,
};

/// The file of the key under which clients' addresses are hashed.
const CLIENT_KEY_FILE: &str = "client-key";

/// How long the edges may take to end after the loop has.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What a node is made of.
pub struct Parts {
    /// Where the log lives.
    pub data_dir: PathBuf,
    /// The interfaces.
    pub api: ApiConfig,
    /// What decides, without the chain and `allowed_ips`.
    pub config: Config,
    /// Which clients may ask for which container.
    pub allowed_ips: AllowedIps,
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
            allowed_ips,
            containers,
            chain,
            lift_quarantine,
            copies,
            upkeep,
        } = parts;
        let world = SystemWorld::current();
        let (driver, handle) = recover(&data_dir, chain.as_ref(), world.clone(), upkeep).await?;
        let client_key = client_key(&data_dir, &world)?;
        let config = allowed_ips.hashed(config, &client_key);
        let reader = driver.reader();
        let streams = Streams::default();

        let recorded = handle.view(|machine| machine.config().cloned());
        let connected = match &chain {
            Some(parts) => connect(parts, recorded.as_ref()).await?,
            None => None,
        };
        let deciding = match (&chain, &connected) {
            (Some(parts), Some((connection, _))) => {
                chain_config(parts, connection, recorded.as_ref())?
            }
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
        // Behind the start, whose version tells an operator which program a log ahead of his is of.
        started.extend(handle.view(Machine::upgrade));
        if recorded.as_ref() != Some(&config) {
            started.push(Event::ConfigChanged(config.clone()));
        }
        let connection = connected.map(|(connection, account)| {
            started.push(account);
            connection
        });
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
            if let Some(connection) = connection {
                follow.slot.fill(&connection, &follow.parts, &follow.reader);
                tokio::spawn(follow.watch(connection));
            } else {
                tokio::spawn(follow.connect_and_watch());
            }
        }

        tokio::spawn(pauses::tell(handle.clone()));
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
