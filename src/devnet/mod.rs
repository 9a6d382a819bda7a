//! An embedded EVM chain with JSON-RPC, for development.
//!
//! A newcomer needs no other program to see contracts ask for compute and a node answer: this
//! module runs the EVM in the process and speaks the JSON-RPC that alloy, `cast`, ethers and
//! web3.py speak. It is a tool for development and tests; there is no consensus, no network and no
//! secret (the unlocked accounts' keys are public). Production is any RPC URL.
//!
//! ```text
//! client ── HTTP ──► rpc ── reads ──► newest published Chain (a value, copied for nothing)
//!                     └── Command ──► writer: execute on a copy → append entries → sync
//!                                             → publish → answer
//! ```
//!
//! # Durability
//! With a directory, whatever was answered is on disk before the answer: `kill -9` and power loss
//! take nothing back, so the chain is never behind what a client has seen. Starting again replays
//! the journal and gives the same blocks, hash for hash.
//!
//! See `docs/devnet.md` for the methods and for what is different from a public chain.

mod accounts;
mod block;
mod chain;
mod command;
mod console;
mod entry;
mod error;
mod evm;
mod journal;
pub mod limits;
mod pool;
mod rpc;
mod state;
mod writer;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, Bytes, U256, address, bytes};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;

pub use accounts::{DEV_KEYS, dev_addresses, dev_signers};
pub use console::{CONSOLE_ADDRESS, ConsoleMessage};
pub use entry::Orphans;
pub use error::DevnetError;
pub use evm::Hardfork;

use chain::Chain;
use entry::{FORMAT, Genesis, GenesisEntry, Rules};
use journal::Journal;
use writer::Handle;

/// Chain id of development chains.
pub const DEV_CHAIN_ID: u64 = 31_337;

/// Balance of each development account at the start: 10,000 ether, in wei.
pub const DEV_BALANCE: U256 = U256::from_limbs([0x19e0_c9ba_b240_0000, 0x21e, 0, 0]);

/// Gas limit of a block.
pub const BLOCK_GAS_LIMIT: u64 = 30_000_000;

/// Base fee of block 0: 1 gwei, in wei per gas.
pub const GENESIS_BASE_FEE: u64 = 1_000_000_000;

/// The deterministic deployment proxy that CREATE2 tools rely on. Development chains have it from
/// the start.
pub const CREATE2_DEPLOYER: Address = address!("0x4e59b44847b379578588920cA78FbF26c0B4956C");

const CREATE2_DEPLOYER_CODE: Bytes = bytes!(
    "0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
);

/// How long [`Devnet::shutdown`] waits for requests that are being answered.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// When blocks are mined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mining {
    /// At once: a transaction is in a block when its sender is answered, in one of its own unless
    /// it makes others ready that waited for it.
    Auto,
    /// In this rhythm, whether there are transactions or not.
    Interval(Duration),
    /// Only when `evm_mine` asks for it.
    Manual,
}

impl Mining {
    fn check(self) -> Result<(), DevnetError> {
        match self {
            Self::Interval(period) if period.is_zero() || period > limits::INTERVAL_MAX => {
                let what = format!("cannot mine every {period:?}; take 1 ms to 24 h");
                Err(DevnetError::Config(what))
            }
            Self::Auto | Self::Interval(_) | Self::Manual => Ok(()),
        }
    }
}

/// An account of block 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenesisAccount {
    /// Address.
    pub address: Address,
    /// Balance in wei.
    pub balance: U256,
    /// Nonce.
    pub nonce: u64,
    /// Runtime code; empty for an externally owned account.
    pub code: Bytes,
}

/// What a chain is started with. `Default` gives ten funded accounts, a free port, automine, and
/// nothing on disk.
#[derive(Debug, Clone)]
pub struct DevnetConfig {
    /// Where to listen; port 0 takes a free one. Keep it on loopback: anybody who reaches it can
    /// change the chain.
    pub listen: SocketAddr,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// When blocks are mined. It is a setting of the process, not of the chain: `evm_setAutomine`
    /// and `evm_setIntervalMining` last until it ends.
    pub mining: Mining,
    /// Directory of the journal, created if missing; `None` keeps the chain in memory.
    pub dir: Option<PathBuf>,
    /// Rules. Like everything below it applies to a new chain only; an existing journal knows
    /// its own.
    pub hardfork: Hardfork,
    /// Gas limit of every block.
    pub gas_limit: u64,
    /// Base fee of block 0, in wei per gas.
    pub base_fee: u64,
    /// Timestamp of block 0 in seconds since 1970; `None` is now.
    pub timestamp: Option<u64>,
    /// Balance of each of the ten development accounts, in wei.
    pub dev_balance: U256,
    /// Further accounts.
    pub accounts: Vec<GenesisAccount>,
    /// Let web pages of any origin use the chain (CORS). Off by default: a page could otherwise
    /// spend from the unlocked accounts.
    pub allow_any_origin: bool,
}

impl Default for DevnetConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            chain_id: DEV_CHAIN_ID,
            mining: Mining::Auto,
            dir: None,
            hardfork: Hardfork::default(),
            gas_limit: BLOCK_GAS_LIMIT,
            base_fee: GENESIS_BASE_FEE,
            timestamp: None,
            dev_balance: DEV_BALANCE,
            accounts: Vec::new(),
            allow_any_origin: false,
        }
    }
}

impl DevnetConfig {
    fn check(&self) -> Result<(), DevnetError> {
        let refuse = |what: String| Err(DevnetError::Config(what));
        if self.chain_id == 0 || self.chain_id > u64::MAX / 2 - 36 {
            // EIP-2294: beyond this, v of a legacy signature leaves 64 bits.
            return refuse(format!(
                "chain id {} is not allowed; take 31337",
                self.chain_id
            ));
        }
        if self.gas_limit < 1_000_000 || self.gas_limit > 1_000_000_000 {
            return refuse(format!(
                "a block gas limit of {} is not allowed; take 1,000,000 to 1,000,000,000",
                self.gas_limit
            ));
        }
        if self.base_fee > limits::BASE_FEE_MAX {
            return refuse(format!("a base fee of {} is not allowed", self.base_fee));
        }
        self.mining.check()
    }

    fn genesis(&self) -> Genesis {
        let mut accounts = vec![GenesisAccount {
            address: CREATE2_DEPLOYER,
            balance: U256::ZERO,
            nonce: 1,
            code: CREATE2_DEPLOYER_CODE,
        }];
        accounts.extend(dev_addresses().into_iter().map(|address| GenesisAccount {
            address,
            balance: self.dev_balance,
            nonce: 0,
            code: Bytes::new(),
        }));
        accounts.extend(self.accounts.iter().cloned());
        Genesis {
            format: FORMAT,
            chain_id: self.chain_id,
            hardfork: match self.hardfork {
                Hardfork::Cancun => Rules::Cancun,
                Hardfork::Prague => Rules::Prague,
            },
            timestamp: self.timestamp.unwrap_or_else(writer::now),
            gas_limit: self.gas_limit,
            base_fee: self.base_fee,
            accounts: accounts
                .into_iter()
                .map(|account| GenesisEntry {
                    address: account.address.into(),
                    balance: account.balance.to_be_bytes(),
                    nonce: account.nonce,
                    code: account.code.into(),
                })
                .collect(),
        }
    }

    /// Reads or creates the journal and replays it.
    fn open(&self) -> Result<(Chain, Option<Journal>), DevnetError> {
        let genesis = self.genesis();
        let Some(dir) = &self.dir else {
            return Ok((Chain::genesis(&genesis), None));
        };
        let opened = Journal::open(dir, &genesis)?;
        let path = || opened.journal.path().to_path_buf();
        if opened.genesis.chain_id != self.chain_id {
            let (found, expected) = (opened.genesis.chain_id, self.chain_id);
            return Err(DevnetError::OtherChain {
                path: path(),
                found,
                expected,
            });
        }
        let mut chain = Chain::genesis(&opened.genesis);
        for (entry, step) in (0..).zip(&opened.entries) {
            chain.apply(step).map_err(|what| DevnetError::Diverged {
                path: path(),
                entry,
                what,
            })?;
        }
        Ok((chain, Some(opened.journal)))
    }
}

/// Binds the address, waiting a moment for one that a dying process still holds.
async fn bind(address: SocketAddr) -> Result<TcpListener, DevnetError> {
    let patience = Instant::now() + limits::TAKEOVER_WAIT;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(source) if source.kind() != std::io::ErrorKind::AddrInUse => {
                return Err(DevnetError::Listen { address, source });
            }
            Err(_) if Instant::now() >= patience => {
                return Err(DevnetError::AddressInUse(address));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A running development chain. Dropped, it stops without ceremony; nothing acknowledged is lost.
#[derive(Debug)]
pub struct Devnet {
    address: SocketAddr,
    handle: Handle,
    console: broadcast::Sender<ConsoleMessage>,
    stop_server: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl Devnet {
    /// Starts a chain, or continues the one in the directory.
    ///
    /// # Durability
    /// When it returns, the genesis of a new chain is on disk.
    ///
    /// # Errors
    /// Address in use, storage, lock, damage, another chain id, configuration: see [`DevnetError`].
    pub async fn start(config: DevnetConfig) -> Result<Self, DevnetError> {
        config.check()?;
        let listener = bind(config.listen).await?;
        let failed = |source| DevnetError::Listen {
            address: config.listen,
            source,
        };
        let address = listener.local_addr().map_err(failed)?;
        let (mining, allow_any_origin) = (config.mining, config.allow_any_origin);
        let (chain, journal) = tokio::task::spawn_blocking(move || config.open())
            .await
            .map_err(|error| DevnetError::Config(format!("the replay failed: {error}")))??;
        let (console, _) = broadcast::channel(limits::CONSOLE_QUEUE);
        let handle = writer::spawn(chain, journal, mining, console.clone()).map_err(|source| {
            DevnetError::Storage {
                path: PathBuf::from("thread devnet-writer"),
                source,
            }
        })?;
        let service = Arc::new(rpc::Service::new(handle.clone(), dev_signers()));
        let router = rpc::router(service, allow_any_origin);
        let listener = listener.tap_io(|stream| {
            // Answers are small and waited for: Nagle's algorithm would hold them up.
            let _ = stream.set_nodelay(true);
        });
        let (stop_server, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            let served = axum::serve(listener, router)
                .with_graceful_shutdown(stop)
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "the devnet's server ended");
            }
        });
        Ok(Self {
            address,
            handle,
            console,
            stop_server: Some(stop_server),
            server,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// URL of the JSON-RPC endpoint.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What contracts write with `console.log` in mined transactions, from now on. A receiver that
    /// falls more than [`limits::CONSOLE_QUEUE`] messages behind misses the oldest. A replay at
    /// start sends nothing.
    pub fn console(&self) -> broadcast::Receiver<ConsoleMessage> {
        self.console.subscribe()
    }

    /// Number and hash of the newest block.
    pub fn head(&self) -> (u64, alloy::primitives::B256) {
        let chain = self.handle.chain();
        (chain.head().number(), chain.head().header.hash())
    }

    /// Changes when blocks are mined, until the process ends.
    ///
    /// # Errors
    /// [`DevnetError::Config`]; [`DevnetError::StoodStill`] when a waiting transaction could not
    /// be mined and stored.
    pub async fn set_mining(&self, mining: Mining) -> Result<(), DevnetError> {
        mining.check()?;
        self.handle
            .set_mining(mining)
            .await
            .map_err(|refusal| DevnetError::StoodStill(refusal.to_string()))
    }

    /// Resolves when the chain could not store something and therefore stands still: it is
    /// readable, and nothing happens on it any more. Never resolves otherwise.
    pub async fn stood_still(&self) -> DevnetError {
        DevnetError::StoodStill(self.handle.stood_still().await)
    }

    /// Stops: requests under way are answered, the journal is closed and its lock released.
    pub async fn shutdown(mut self) {
        if let Some(stop) = self.stop_server.take() {
            let _ = stop.send(());
        }
        if tokio::time::timeout(SHUTDOWN_GRACE, &mut self.server)
            .await
            .is_err()
        {
            // Idle keep-alive connections would hold the server for ever.
            self.server.abort();
        }
        self.handle.stop().await;
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use command::{Command, Reply};
    use entry::Entry;

    fn config(dir: &std::path::Path) -> DevnetConfig {
        DevnetConfig {
            dir: Some(dir.to_path_buf()),
            ..DevnetConfig::default()
        }
    }

    #[test]
    fn a_journal_of_another_history_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (_, journal) = config(dir.path()).open().unwrap();
        let foreign = Entry::Block {
            timestamp: u64::MAX / 2,
            time_offset: 0,
            parent_hash: [7; 32],
        };
        journal
            .unwrap()
            .append(&[Entry::SetCoinbase { address: [1; 20] }, foreign])
            .unwrap();
        let refused = config(dir.path()).open().unwrap_err();
        assert!(
            matches!(refused, DevnetError::Diverged { entry: 1, .. }),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn what_cannot_be_stored_did_not_happen() {
        let dir = tempfile::tempdir().unwrap();
        let (chain, journal) = config(dir.path()).open().unwrap();
        let mut journal = journal.unwrap();
        journal.break_for_test();
        let (console, _) = broadcast::channel(1);
        let handle = writer::spawn(chain, Some(journal), Mining::Auto, console).unwrap();
        let rich = Command::SetBalance(Address::ZERO, U256::from(1));
        let refused = handle.run(rich).await.unwrap_err();
        assert!(refused.to_string().contains("E-DEVNET-003"), "{refused}");
        assert_eq!(handle.chain().state.balance(&Address::ZERO), U256::ZERO);
        assert!(!handle.stood_still().await.is_empty());
        assert_eq!(handle.run(Command::Revert(0)).await, Ok(Reply::Absent));
    }
}
