//! Finds the contracts behind a Registry and what chain and RPC can do.

use std::time::Duration;

use alloy::{primitives, rpc::types::TransactionRequest};
use infernet_state::{
    Event,
    types::{Address, BlockTime, Nonce},
};

use super::{
    abi::{Coordinator, Fee, Ownable, Registry, WalletFactory},
    backoff::Backoff,
    convert,
    rpc::{At, Rpc, UrlError},
    rpc_error::RpcFailure,
};

/// Waits between tries to reach an RPC that the node was told to wait for.
const CONNECT_WAIT: Duration = Duration::from_millis(250);

/// The longest of them.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(15);

/// Where to connect and what to expect there.
#[derive(Clone)]
pub struct Target {
    /// The RPC's URL; may hold a secret, so that nothing prints it.
    pub url: String,
    /// The Registry.
    pub registry: Address,
    /// The chain id that must be found, where one is configured or recorded.
    pub chain_id: Option<u64>,
    /// Whether to wait for an RPC that does not answer.
    pub wait: bool,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("registry", &self.registry)
            .field("chain_id", &self.chain_id)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

/// The addresses behind a Registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contracts {
    /// The Registry itself.
    pub registry: Address,
    /// Coordinator.
    pub coordinator: Address,
    /// Inbox.
    pub inbox: Address,
    /// Reader.
    pub reader: Address,
    /// Fee.
    pub fee: Address,
    /// WalletFactory.
    pub wallet_factory: Address,
}

/// A chain with its contracts, ready for reads and transactions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ChainConnection {
    /// The RPC.
    pub rpc: Rpc,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The contracts.
    pub contracts: Contracts,
    /// Who receives the protocol fee.
    pub fee_recipient: Address,
    /// The protocol fee in 1/10000.
    pub protocol_fee: u16,
    /// What the Coordinator says of itself; `None` for one of others, without `VERSION()`.
    pub coordinator_version: Option<u64>,
    /// Whether the Coordinator takes `deliverComputeBatch`.
    pub batch_delivery: bool,
    /// Whether the Coordinator pays funded subscriptions from what is locked for them, and wallets
    /// tell and hold back what is locked.
    pub reserves: bool,
    /// Whether the RPC runs calls at another block time than the head's.
    pub overrides_time: bool,
}

/// Why the chain cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The RPC does not answer as it must.
    #[error(
        "E-CHAIN-003: the RPC at {host} does not answer: {failure}; is it running and reachable?"
    )]
    Rpc {
        /// Host and port.
        host: String,
        /// What came instead.
        failure: RpcFailure,
    },
    /// Another chain.
    #[error(
        "E-CHAIN-004: the RPC at {host} serves chain {found}, but chain {expected} is configured or recorded; choose the matching RPC or data directory"
    )]
    WrongChain {
        /// Host and port.
        host: String,
        /// The expected chain id.
        expected: u64,
        /// The one found.
        found: u64,
    },
    /// No code where a contract must be.
    #[error(
        "E-CHAIN-005: there is no contract at the {what}'s address {address} on chain {chain_id}; check the registry address and the chain"
    )]
    NoContract {
        /// Which contract.
        what: &'static str,
        /// Its address.
        address: Address,
        /// The chain.
        chain_id: u64,
    },
    /// A contract that does not answer as it must.
    #[error("E-CHAIN-006: the contract at {address} does not answer as a {what}: {failure}")]
    NotThat {
        /// Which contract it should be.
        what: &'static str,
        /// Its address.
        address: Address,
        /// What came instead.
        failure: RpcFailure,
    },
    /// The payment wallet is not one of the factory's.
    #[error(
        "E-CHAIN-007: the payment wallet {wallet} was not made by the WalletFactory {factory}; make one with createWallet({node}), or leave the wallet out to accept free work only"
    )]
    WalletNotValid {
        /// The wallet.
        wallet: Address,
        /// The factory.
        factory: Address,
        /// The node's account.
        node: Address,
    },
}

impl ConnectError {
    /// What everybody may be told of it: neither where the RPC is nor what it says.
    #[must_use]
    pub fn in_public(&self) -> String {
        match self {
            Self::Rpc { failure, .. } => {
                format!(
                    "E-CHAIN-003: the RPC does not answer: {}",
                    failure.in_public()
                )
            }
            Self::WrongChain {
                expected, found, ..
            } => format!(
                "E-CHAIN-004: the RPC serves chain {found}, but chain {expected} is configured or recorded"
            ),
            Self::NotThat {
                what,
                address,
                failure,
            } => format!(
                "E-CHAIN-006: the contract at {address} does not answer as a {what}: {}",
                failure.in_public()
            ),
            Self::Url(_) | Self::NoContract { .. } | Self::WalletNotValid { .. } => {
                self.to_string()
            }
        }
    }

    /// Whether the RPC may answer later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Rpc { failure, .. } | Self::NotThat { failure, .. } => failure.is_transient(),
            Self::Url(_)
            | Self::WrongChain { .. }
            | Self::NoContract { .. }
            | Self::WalletNotValid { .. } => false,
        }
    }
}

impl ChainConnection {
    /// Connects and reads what is fixed: chain id, addresses, what contracts and RPC can do.
    /// With [`Target::wait`] an RPC that does not answer is asked again, without end.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(target: &Target) -> Result<Self, ConnectError> {
        patiently(target, |rpc| async move { Self::probe(&rpc, target).await }).await
    }

    /// Connects for a node: its payment wallet is checked, and its account observed for the event
    /// that opens every run. With [`Target::wait`] all of it is asked again, without end, while
    /// the RPC does not answer any part of it.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn open(
        target: &Target,
        node: Address,
        payment_wallet: Option<Address>,
    ) -> Result<(Self, Event), ConnectError> {
        patiently(target, |rpc| async move {
            let connection = Self::probe(&rpc, target).await?;
            if let Some(wallet) = payment_wallet {
                connection.check_payment_wallet(wallet, node).await?;
            }
            let account = connection.observe_account(node).await?;
            Ok((connection, account))
        })
        .await
    }

    async fn probe(rpc: &Rpc, target: &Target) -> Result<Self, ConnectError> {
        let chain_id = rpc.chain_id().await.map_err(|error| lost(rpc, error))?;
        if let Some(expected) = target.chain_id.filter(|expected| *expected != chain_id) {
            return Err(ConnectError::WrongChain {
                host: rpc.host().to_owned(),
                expected,
                found: chain_id,
            });
        }
        let contracts = read_registry(rpc, chain_id, target.registry).await?;
        let fee = convert::to_address(contracts.fee);
        let fee_says = |failure| not_that("Fee", contracts.fee, failure);
        let fee_recipient = rpc
            .view(fee, &Fee::FEE_RECIPIENTCall {}, At::Latest)
            .await
            .map_err(fee_says)?;
        let protocol_fee = rpc
            .view(fee, &Fee::FEECall {}, At::Latest)
            .await
            .map_err(fee_says)?;
        let coordinator_version = read_version(rpc, contracts.coordinator).await?;
        let batch_delivery =
            coordinator_version.is_some() && probe_batch(rpc, contracts.coordinator).await?;
        Ok(Self {
            chain_id,
            contracts,
            fee_recipient: convert::from_address(fee_recipient),
            protocol_fee,
            coordinator_version,
            batch_delivery,
            reserves: coordinator_version.is_some()
                && probe_reserves(rpc, contracts.coordinator).await?,
            overrides_time: probe_time_override(rpc).await?,
            rpc: rpc.clone(),
        })
    }

    /// What the chain says of the node's account, as the event that opens every run.
    ///
    /// # Errors
    /// [`ConnectError::Rpc`].
    pub async fn observe_account(&self, node: Address) -> Result<Event, ConnectError> {
        let lost = |failure| lost(&self.rpc, failure);
        let account = convert::to_address(node);
        let head = self.rpc.head().await.map_err(lost)?.reference();
        let at = At::Number(head.number);
        let nonce = self.rpc.nonce(account, at).await.map_err(lost)?;
        let balance = self.rpc.balance(account, at).await.map_err(lost)?;
        Ok(Event::AccountObserved {
            head,
            nonce: Nonce(nonce),
            balance: convert::from_u256(balance),
        })
    }

    /// Checks that the payment wallet is one of the factory's and says who owns it.
    ///
    /// # Errors
    /// [`ConnectError::WalletNotValid`], [`ConnectError::Rpc`].
    pub async fn check_payment_wallet(
        &self,
        wallet: Address,
        node: Address,
    ) -> Result<Address, ConnectError> {
        let lost = |failure| lost(&self.rpc, failure);
        let address = convert::to_address(wallet);
        let factory = convert::to_address(self.contracts.wallet_factory);
        let valid = self
            .rpc
            .view(
                factory,
                &WalletFactory::isValidWalletCall { wallet: address },
                At::Latest,
            )
            .await
            .map_err(lost)?;
        if !valid {
            return Err(ConnectError::WalletNotValid {
                wallet,
                factory: self.contracts.wallet_factory,
                node,
            });
        }
        self.rpc
            .view(address, &Ownable::ownerCall {}, At::Latest)
            .await
            .map(convert::from_address)
            .map_err(lost)
    }
}

/// Asks until there is an answer or an error that stays, where the target says to wait.
async fn patiently<T, A>(target: &Target, ask: impl Fn(Rpc) -> A) -> Result<T, ConnectError>
where
    A: Future<Output = Result<T, ConnectError>>,
{
    let rpc = Rpc::new(&target.url)?;
    let mut backoff = Backoff::new(CONNECT_WAIT, CONNECT_WAIT_MAX);
    loop {
        match ask(rpc.clone()).await {
            Err(error) if target.wait && error.is_transient() => {
                let wait = backoff.next();
                tracing::warn!(host = rpc.host(), %error, ?wait, "waiting for the chain");
                tokio::time::sleep(wait).await;
            }
            outcome => return outcome,
        }
    }
}

fn lost(rpc: &Rpc, failure: RpcFailure) -> ConnectError {
    ConnectError::Rpc {
        host: rpc.host().to_owned(),
        failure,
    }
}

fn not_that(what: &'static str, address: Address, failure: RpcFailure) -> ConnectError {
    ConnectError::NotThat {
        what,
        address,
        failure,
    }
}

async fn read_registry(
    rpc: &Rpc,
    chain_id: u64,
    registry: Address,
) -> Result<Contracts, ConnectError> {
    require_code(rpc, chain_id, "Registry", registry).await?;
    let address = convert::to_address(registry);
    let says = |failure| not_that("Registry", registry, failure);
    let contracts = Contracts {
        registry,
        coordinator: rpc
            .view(address, &Registry::COORDINATORCall {}, At::Latest)
            .await
            .map(convert::from_address)
            .map_err(says)?,
        inbox: rpc
            .view(address, &Registry::INBOXCall {}, At::Latest)
            .await
            .map(convert::from_address)
            .map_err(says)?,
        reader: rpc
            .view(address, &Registry::READERCall {}, At::Latest)
            .await
            .map(convert::from_address)
            .map_err(says)?,
        fee: rpc
            .view(address, &Registry::FEECall {}, At::Latest)
            .await
            .map(convert::from_address)
            .map_err(says)?,
        wallet_factory: rpc
            .view(address, &Registry::WALLET_FACTORYCall {}, At::Latest)
            .await
            .map(convert::from_address)
            .map_err(says)?,
    };
    require_code(rpc, chain_id, "Coordinator", contracts.coordinator).await?;
    require_code(rpc, chain_id, "Reader", contracts.reader).await?;
    require_code(rpc, chain_id, "WalletFactory", contracts.wallet_factory).await?;
    Ok(contracts)
}

async fn require_code(
    rpc: &Rpc,
    chain_id: u64,
    what: &'static str,
    address: Address,
) -> Result<(), ConnectError> {
    let code = rpc
        .code(convert::to_address(address))
        .await
        .map_err(|failure| lost(rpc, failure))?;
    if code.is_empty() {
        return Err(ConnectError::NoContract {
            what,
            address,
            chain_id,
        });
    }
    Ok(())
}

/// A Coordinator without `VERSION()` reverts, and is one of others' deployments.
async fn read_version(rpc: &Rpc, coordinator: Address) -> Result<Option<u64>, ConnectError> {
    let call = Coordinator::VERSIONCall {};
    match rpc
        .view(convert::to_address(coordinator), &call, At::Latest)
        .await
    {
        Ok(version) => Ok(Some(version.saturating_to())),
        Err(failure) if failure.is_transient() => Err(lost(rpc, failure)),
        Err(_) => Ok(None),
    }
}

/// An empty batch does nothing where there is batch delivery, and reverts where there is none.
async fn probe_batch(rpc: &Rpc, coordinator: Address) -> Result<bool, ConnectError> {
    use alloy::sol_types::SolCall as _;

    let call = Coordinator::deliverComputeBatchCall {
        deliveries: Vec::new(),
    };
    let request = TransactionRequest::default()
        .to(convert::to_address(coordinator))
        .input(call.abi_encode().into());
    match rpc.call_raw(&request, At::Latest).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.is_transient() => Err(lost(rpc, failure)),
        Err(_) => Ok(false),
    }
}

/// Nothing is locked for a subscription that does not exist, where anything can be locked at all.
async fn probe_reserves(rpc: &Rpc, coordinator: Address) -> Result<bool, ConnectError> {
    let call = Coordinator::reservedPaymentsCall { subscriptionId: 0 };
    match rpc
        .view(convert::to_address(coordinator), &call, At::Latest)
        .await
    {
        Ok(_) => Ok(true),
        Err(failure) if failure.is_transient() => Err(lost(rpc, failure)),
        Err(_) => Ok(false),
    }
}

/// Asks for the timestamp at a made-up time: an RPC that ignores the override answers with the
/// head's, one that does not know it with an error.
async fn probe_time_override(rpc: &Rpc) -> Result<bool, ConnectError> {
    // TIMESTAMP PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN, run as the code of a creation.
    const RETURN_TIMESTAMP: [u8; 9] = [0x42, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3];
    const MADE_UP: u64 = 4_000_000_000;

    let mut request = TransactionRequest::default()
        .input(primitives::Bytes::from_static(&RETURN_TIMESTAMP).into());
    request.to = Some(primitives::TxKind::Create);
    match rpc.call_at_time(&request, Some(BlockTime(MADE_UP))).await {
        Ok(answer) => Ok(answer.len() == 32
            && primitives::U256::from_be_slice(&answer) == primitives::U256::from(MADE_UP)),
        Err(failure) if failure.is_transient() => Err(lost(rpc, failure)),
        Err(_) => Ok(false),
    }
}
