//! Brings the development world up, around a production node.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use alloy::{primitives::Address, providers::Provider as _};
use infernet_state::{
    Config,
    config::{ContainerConfig, Limits},
    ledger::{Balance, Role as LedgerRole, Sum},
    types,
};

use super::{
    Announcement, CONTAINER, DevError, MODEL, NODE_WALLET, Place, REGISTRY, Role, Statement, deploy,
};
use crate::{
    api::ApiConfig,
    chain::{convert, signer::NodeKey},
    config::AllowedIps,
    container::{Container, Containers, Process, ProcessConfig},
    copies::Wanted,
    devnet::{DEV_CHAIN_ID, Devnet, DevnetConfig, Mining},
    driver::Policy,
    node::{ChainParts, Node, NodeError, Parts},
};

/// The least price that the node takes for an answer, in wei: 0.001 coins.
const LEAST_PRICE: u128 = 1_000_000_000_000_000;

/// Between looks at the embedded chain's head.
const POLL: Duration = Duration::from_millis(50);

/// How often a settled world is asked for.
const SETTLE_POLL: Duration = Duration::from_millis(25);

/// The program of the inference service, beside this one.
const SERVICE: &str = "infernet-service";

/// What a development world is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it lives.
    pub data_dir: PathBuf,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the operator connects.
    pub admin_listen: SocketAddr,
    /// Where the chain listens.
    pub rpc_listen: SocketAddr,
    /// Between blocks; `None` mines each transaction at once.
    pub block_time: Option<Duration>,
}

/// A running development world.
pub struct World {
    /// The node.
    pub node: Node,
    /// The chain.
    pub devnet: Devnet,
    /// Where everything is.
    pub place: Place,
    /// Transactions that the deployment took; 0 for a world that was there.
    pub deployed: usize,
}

impl World {
    /// Brings it up: chain, contracts, service, node.
    ///
    /// # Errors
    /// [`NodeError`]; what exists in the data directory stays as it is.
    pub async fn start(options: &Options) -> Result<Self, NodeError> {
        let service = beside_us()?;
        let devnet = Devnet::start(DevnetConfig {
            listen: options.rpc_listen,
            chain_id: DEV_CHAIN_ID,
            dir: Some(options.data_dir.join("devnet")),
            ..DevnetConfig::default()
        })
        .await
        .map_err(DevError::Devnet)?;
        let rpc = devnet.url();
        // The deployment is not what anybody wants to watch, so it does not wait for the rhythm.
        let deployed = deploy(&rpc).await?;
        if let Some(period) = options.block_time {
            let mining = Mining::Interval(period);
            devnet.set_mining(mining).await.map_err(DevError::Devnet)?;
        }
        let node = Node::start(Parts {
            data_dir: options.data_dir.clone(),
            api: ApiConfig {
                listen: options.listen,
                admin_listen: options.admin_listen,
                rate_limit: None,
                development: Some(serde_json::json!(Announcement::new(&rpc))),
            },
            config: deciding(),
            allowed_ips: AllowedIps::default(),
            containers: containers(service).await?,
            chain: Some(ChainParts {
                rpc_url: rpc.clone(),
                registry: convert::from_address(REGISTRY),
                key: NodeKey::from_hex(Role::Node.key())?,
                payment_wallet: Some(convert::from_address(NODE_WALLET)),
                trail_head_blocks: 0,
                poll: POLL,
                gas_limit_max: 5_000_000,
                max_fee_per_gas_cap: 500_000_000_000,
            }),
            lift_quarantine: false,
            copies: Wanted::default(),
            upkeep: Policy::default(),
        })
        .await?;
        let place = Place {
            api: format!("http://{}", node.api_addr()),
            admin: format!("http://{}", node.admin_addr()),
            world: Announcement::new(&rpc),
        };
        place.write(&options.data_dir)?;
        Ok(Self {
            node,
            devnet,
            place,
            deployed,
        })
    }

    /// Resolves when the world cannot go on: the chain stands still (then with its reason), or the
    /// node's loop has ended ([`World::stop`] says why).
    pub async fn broken(&self) -> Option<DevError> {
        let mut head = self.node.handle().head();
        tokio::select! {
            biased;
            reason = self.devnet.stood_still() => Some(reason.into()),
            () = async { while head.changed().await.is_ok() {} } => None,
        }
    }

    /// Waits until nothing is under way on chain: every delivery final, every entry posted.
    pub async fn settled(&self) {
        loop {
            let settled = self.node.handle().view(|machine| {
                machine.account().may_send()
                    && machine.pending().onchain == 0
                    && machine
                        .deliveries()
                        .iter()
                        .all(|(_, delivery)| !delivery.state.is_live())
                    && machine.chain().unfinalized_from().is_none()
            });
            if settled {
                return;
            }
            tokio::time::sleep(SETTLE_POLL).await;
        }
    }

    /// The ledger as it stands.
    #[must_use]
    pub fn statement(&self) -> Statement {
        self.node.handle().view(Statement::of)
    }

    /// Holds the ledger against itself and against the chain.
    ///
    /// # Errors
    /// [`DevError::Off`], naming what differs; [`DevError::Rpc`].
    pub async fn audit(&self) -> Result<(), DevError> {
        let off = |reason: String| Err(DevError::Off { reason });
        let (balanced, wallet, account, receivable) = self.node.handle().view(|machine| {
            let ledger = machine.ledger();
            let of = |role| ledger.totals(role, types::Address::ZERO).posted();
            (
                ledger.balances(),
                of(LedgerRole::NodeWallet),
                of(LedgerRole::NodeAccount),
                of(LedgerRole::Receivable),
            )
        });
        if !balanced {
            return off("the ledger does not balance".into());
        }
        if receivable != Balance::Debit(Sum::ZERO) {
            return off(format!(
                "a delivery is not explained by payments: {receivable}"
            ));
        }
        let provider = super::provider(&self.place.world.rpc)?;
        let holders: [(&str, Address, Balance); 2] = [
            ("the node's wallet", NODE_WALLET, wallet),
            ("the node's account", Role::Node.signer().address(), account),
        ];
        for (what, address, booked) in holders {
            let held = provider
                .get_balance(address)
                .await
                .map_err(|error| DevError::rpc("read a balance", &error))?;
            if booked != Balance::Debit(types::Amount(held).into()) {
                return off(format!("{what} holds {held} wei, the ledger says {booked}"));
            }
        }
        Ok(())
    }

    /// Takes everything down, the chain last.
    ///
    /// # Errors
    /// [`NodeError`] when the node's loop had ended by itself.
    pub async fn stop(self) -> Result<(), NodeError> {
        let outcome = self.node.run(std::future::ready(())).await;
        self.devnet.shutdown().await;
        outcome
    }
}

fn deciding() -> Config {
    Config {
        chain: None,
        containers: vec![ContainerConfig {
            id: CONTAINER.into(),
            description: format!("classifies iris flowers with {MODEL}"),
            image: "infernet-service onnx".into(),
            external: true,
            accepted_payments: vec![(types::Address::ZERO, types::Amount::from(LEAST_PRICE))],
            rerun: true,
            ..ContainerConfig::default()
        }],
        chains: Vec::new(),
        permutation_length_max: 1,
        verifiers: None,
        stake_caps: Vec::new(),
        rates: Vec::new(),
        limits: Limits::default(),
    }
}

async fn containers(program: PathBuf) -> Result<Containers, NodeError> {
    let arguments = [
        "onnx",
        "--listen",
        "127.0.0.1:0",
        "--exit-with-stdin",
        "--default-model",
        MODEL,
    ];
    let arguments = arguments.map(str::to_owned).to_vec();
    let process = Process::start(ProcessConfig::new(CONTAINER, program, arguments)).await?;
    Ok(Containers::new(vec![Container {
        id: CONTAINER.into(),
        backend: Arc::new(process),
        legacy_http_status: false,
    }])?)
}

/// The inference service stands beside this program, wherever that was installed.
fn beside_us() -> Result<PathBuf, DevError> {
    let missing = |reason: String| DevError::Service { reason };
    let us = env::current_exe().map_err(|error| missing(error.to_string()))?;
    let service = us.with_file_name(SERVICE);
    if service.is_file() {
        Ok(service)
    } else {
        Err(missing(format!(
            "{} is missing; install infernet-services beside infernet, or run `cargo xtask dev`",
            Path::new(&service).display()
        )))
    }
}
