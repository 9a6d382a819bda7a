//! The chain's side of a node: connected at the start, or later than everything else.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use infernet_state::{
    Config, Event, Issued, config::ChainConfig, event::DelegatedRequest, types::Address,
};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::{NodeError, flagged};
use crate::{
    chain::{
        connect::{ChainConnection, ConnectError, Target},
        delegation::DelegatedSigners,
        reads::ChainReads,
        signer::NodeKey,
        transactions::Transactions,
        watcher::{Watcher, WatcherConfig, WatcherStatus},
    },
    driver::{BoxFuture, Handle},
    executor::{BoxError, EffectService, Ended},
    log::SledReader,
    ports::{Delegation, DelegationChecker, DelegationError},
};

/// How long a first connection to the chain may take before the node starts without it and
/// goes on trying.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

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

/// Connects within a bound, with the event that opens the run; `None` when the RPC does not answer
/// yet.
pub(super) async fn connect(
    parts: &ChainParts,
    recorded: Option<&Config>,
) -> Result<Option<(ChainConnection, Event)>, NodeError> {
    match tokio::time::timeout(CONNECT_WAIT, parts.open(recorded)).await {
        Ok(Ok(opened)) => Ok(Some(opened)),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            tracing::warn!("the chain does not answer yet; starting without it");
            Ok(None)
        }
    }
}

impl ChainParts {
    /// Connects; waits for an RPC that does not answer.
    async fn open(
        &self,
        recorded: Option<&Config>,
    ) -> Result<(ChainConnection, Event), ConnectError> {
        let target = Target {
            url: self.rpc_url.clone(),
            registry: self.registry,
            chain_id: recorded.and_then(|config| Some(config.chain.as_ref()?.chain_id)),
            wait: true,
        };
        ChainConnection::open(&target, self.key.address(), self.payment_wallet).await
    }
}

/// The deciding configuration of the chain; refused when the log knows another deployment.
pub(super) fn chain_config(
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

/// Whether some subscriptions are refused because they came by delegation.
fn restricts_delegates(config: &Config) -> bool {
    let mut containers = config.containers.iter();
    containers.any(|container| !container.allowed_delegate_addresses.is_empty())
}

/// Items in one batch delivery: eight of the usual size stay far below a block's gas.
const DELIVERY_BATCH_MAX: u16 = 8;

/// What needs a connected chain, which may come up later than the executor.
#[derive(Clone, Default)]
pub(super) struct ChainSlot(Arc<OnceLock<ChainServices>>);

struct ChainServices {
    reads: EffectService,
    transactions: EffectService,
    signers: DelegatedSigners,
}

impl ChainSlot {
    pub(super) fn fill(
        &self,
        connection: &ChainConnection,
        parts: &ChainParts,
        reader: &SledReader,
    ) {
        let reads = ChainReads::new(connection.clone(), reader.clone());
        let transactions = Transactions::new(connection.clone(), parts.key.clone(), reader.clone());
        // A second filling would be the same services again.
        let _ = self.0.set(ChainServices {
            reads: EffectService::new(reads),
            transactions: EffectService::new(transactions),
            signers: DelegatedSigners::new(connection.clone()),
        });
    }

    pub(super) fn reads(&self) -> EffectService {
        self.late(|services| &services.reads)
    }

    pub(super) fn transactions(&self) -> EffectService {
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

/// What everybody is told while a start without the chain waits for it.
const NO_ANSWER_YET: &str = "the RPC has not answered since the start";

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
pub(super) struct Follow {
    pub(super) parts: ChainParts,
    pub(super) config: Config,
    pub(super) handle: Handle,
    pub(super) reader: SledReader,
    pub(super) slot: ChainSlot,
    pub(super) stopped: watch::Receiver<bool>,
}

impl Follow {
    /// Goes on trying where the start gave up, then follows.
    pub(super) async fn connect_and_watch(self) {
        let recorded = self.handle.view(|machine| machine.config().cloned());
        let connected = async {
            let (connection, account) = self.parts.open(recorded.as_ref()).await?;
            let chain = chain_config(&self.parts, &connection, recorded.as_ref())?;
            Ok::<_, NodeError>((connection, chain, account))
        };
        self.handle.alarm_of_chain(Some(NO_ANSWER_YET));
        let mut stopped = self.stopped.clone();
        let outcome = tokio::select! {
            outcome = connected => outcome,
            _ = stopped.wait_for(|set| *set) => return,
        };
        match outcome {
            Ok((connection, chain, account)) => {
                self.handle.alarm_of_chain(None);
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
                let said = in_public(&error);
                self.handle.alarm_of_chain(Some(&said));
            }
        }
    }

    pub(super) async fn watch(self, connection: ChainConnection) {
        let config = WatcherConfig {
            payment_wallet: self.parts.payment_wallet,
            reads_origins: restricts_delegates(&self.config),
            poll: self.parts.poll,
            ..WatcherConfig::new(self.parts.key.address())
        };
        let watcher = Watcher::new(connection, config, self.handle.clone());
        let status = watcher.status();
        // The one ends with the other, whose status it is.
        tokio::join!(
            watcher.run(flagged(self.stopped)),
            tell(status, self.handle)
        );
    }
}

/// Says in `/health` what is wrong with the chain, until it is not.
async fn tell(mut status: watch::Receiver<WatcherStatus>, handle: Handle) {
    while status.changed().await.is_ok() {
        let trouble = status.borrow_and_update().trouble.clone();
        handle.alarm_of_chain(trouble.as_deref());
    }
}

/// What everybody may be told of a connection that failed for good.
fn in_public(error: &NodeError) -> String {
    match error {
        NodeError::Chain(error) => error.in_public(),
        other => other.to_string(),
    }
}
