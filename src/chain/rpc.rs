//! Requests to the RPC: bounded in time, size and number of tries.
//!
//! Alloy's client speaks JSON-RPC; the transport under it is ours, because the library's reads
//! answers of any length and puts the URL, with its key, into errors.

use std::{sync::Arc, task, time::Duration};

use alloy::{
    primitives::{Address, B256, Bytes, U64, U256},
    rpc::{
        client::RpcClient,
        json_rpc::{RequestPacket, ResponsePacket, RpcRecv, RpcSend},
        types::{BlockOverrides, Filter, Log, TransactionRequest, state::StateOverride},
    },
    sol_types::SolCall,
    transports::{TransportError, TransportErrorKind, TransportFut},
};
use futures_util::{StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use infernet_state::types::{BlockRef, BlockTime};
use serde::Deserialize;

use super::{
    abi::printable,
    convert,
    rpc_error::{BodyTooLarge, RpcFailure},
};

/// A request without an answer after this time is given up: public RPCs answer within two or
/// three seconds, and the loop that waits has a retry.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

/// The most that is read of an answer: 10,000 logs (the usual limit of gateways) are about
/// 8 MiB of JSON, a full block of a large chain less.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Tries of a read, the first included. What lasts longer is the caller's to repeat.
pub const READ_TRIES: u32 = 3;

/// Wait before the second try of a read; doubles with each.
pub const READ_RETRY_WAIT: Duration = Duration::from_millis(150);

/// Requests of one observer that are under way at once: enough to hide the way to the RPC, few
/// enough for public ones.
const CONCURRENT_READS: usize = 8;

/// Carries reads out, a few at once, and gives their answers in order, or the first failure.
pub(super) async fn all<T: Send, E: Send>(
    reads: Vec<BoxFuture<'_, Result<T, E>>>,
) -> Result<Vec<T>, E> {
    stream::iter(reads)
        .buffered(CONCURRENT_READS)
        .try_collect()
        .await
}

/// A connection to an RPC over HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Rpc {
    client: RpcClient,
    host: Arc<str>,
}

impl std::fmt::Debug for Rpc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rpc").field("host", &self.host).finish()
    }
}

/// Why a URL cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// It is no URL, or not of a kind that the node speaks.
    #[error("E-CHAIN-001: the RPC's URL is not of the form http://host:port or https://host/…")]
    NotHttp,
    /// The HTTP client cannot be built.
    #[error("E-CHAIN-002: the HTTP client cannot be built: {reason}; is a CA bundle installed?")]
    Client {
        /// In words.
        reason: String,
    },
}

/// Which state a read sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// The newest block.
    Latest,
    /// The block of this height.
    Number(u64),
}

impl serde::Serialize for At {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Latest => serializer.serialize_str("latest"),
            Self::Number(number) => U64::from(*number).serialize(serializer),
        }
    }
}

/// A block as the node needs it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    number: U64,
    hash: B256,
    parent_hash: B256,
    timestamp: U64,
    base_fee_per_gas: Option<U256>,
}

impl Header {
    /// As the machine names it.
    #[must_use]
    pub fn reference(&self) -> BlockRef {
        BlockRef {
            number: self.number.to(),
            hash: convert::from_b256(self.hash),
            time: BlockTime(self.timestamp.to()),
        }
    }

    /// The hash of the block before.
    #[must_use]
    pub fn parent(&self) -> infernet_state::types::Hash {
        convert::from_b256(self.parent_hash)
    }

    /// EIP-1559's base fee, wei per gas; `None` on chains without one.
    #[must_use]
    pub fn base_fee(&self) -> Option<u128> {
        self.base_fee_per_gas.map(|fee| fee.saturating_to())
    }
}

/// A block with its transactions, as far as the node needs them.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct FullBlock {
    /// The block's hash.
    pub hash: B256,
    /// Its transactions, in order.
    pub transactions: Vec<Transaction>,
}

/// A transaction.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    /// Its hash.
    pub hash: B256,
    /// Who sent it.
    pub from: Address,
    /// To whom; `None` creates a contract.
    pub to: Option<Address>,
    /// The sender's transaction count.
    pub nonce: U64,
    /// Calldata.
    #[serde(default)]
    pub input: Bytes,
    /// The block that includes it; `None` while it waits in the pool.
    pub block_number: Option<U64>,
}

/// A receipt.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionReceipt {
    /// The transaction.
    pub transaction_hash: B256,
    /// Its place in the block.
    pub transaction_index: U64,
    /// The block.
    pub block_hash: B256,
    /// The block's height.
    pub block_number: U64,
    /// 1 when it succeeded.
    pub status: U64,
    /// Gas used.
    pub gas_used: U64,
    /// Wei per gas; absent on chains without EIP-1559's fees.
    pub effective_gas_price: Option<U256>,
    /// Wei per gas, by its older name.
    pub gas_price: Option<U256>,
    /// What a rollup charged for its data, in wei.
    pub l1_fee: Option<U256>,
    /// Its logs.
    pub logs: Vec<Log>,
}

#[derive(Debug, Deserialize)]
struct FeeHistory {
    reward: Option<Vec<Vec<U256>>>,
}

/// Whether a URL's host is loopback.
fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl Rpc {
    /// A client for `url` (`http` or `https`). Nothing is sent yet.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn new(url: &str) -> Result<Self, UrlError> {
        let url = reqwest::Url::parse(url).map_err(|_| UrlError::NotHttp)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlError::NotHttp);
        }
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(UrlError::NotHttp),
        };
        let mut client = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            // A redirect would carry the request, and perhaps a key, elsewhere.
            .redirect(reqwest::redirect::Policy::none());
        if url.host_str().is_some_and(is_this_machine) {
            // A proxy of the environment would not reach it.
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| UrlError::Client {
            reason: error.without_url().to_string(),
        })?;
        let transport = BoundedHttp { client, url };
        Ok(Self {
            client: RpcClient::new(transport, false),
            host: host.into(),
        })
    }

    /// Host and port, for people; never the whole URL.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// One request, one try.
    async fn once<P: RpcSend, R: RpcRecv>(
        &self,
        method: &'static str,
        params: P,
    ) -> Result<R, RpcFailure> {
        match tokio::time::timeout(REQUEST_TIMEOUT, self.client.request(method, params)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(RpcFailure::from_transport(method, error)),
            Err(_) => Err(RpcFailure::unreachable(method, "timed out")),
        }
    }

    /// A read: repeated a few times when that can help.
    async fn read<P: RpcSend + Clone, R: RpcRecv>(
        &self,
        method: &'static str,
        params: P,
    ) -> Result<R, RpcFailure> {
        let mut wait = READ_RETRY_WAIT;
        for _ in 1..READ_TRIES {
            match self.once(method, params.clone()).await {
                Err(failure) if failure.is_transient() => tokio::time::sleep(wait).await,
                answer => return answer,
            }
            wait *= 2;
        }
        self.once(method, params).await
    }

    /// EIP-155 chain id.
    ///
    /// # Errors
    /// [`RpcFailure`], as for every request here.
    pub async fn chain_id(&self) -> Result<u64, RpcFailure> {
        self.read::<_, U64>("eth_chainId", ())
            .await
            .map(|id| id.to())
    }

    /// The newest block.
    ///
    /// # Errors
    /// [`RpcFailure`].
    pub async fn head(&self) -> Result<Header, RpcFailure> {
        self.tagged("latest").await?.ok_or(RpcFailure::Malformed {
            method: "eth_getBlockByNumber",
            reason: "there is no newest block".to_owned(),
        })
    }

    /// The newest final block; `None` where the RPC names none.
    ///
    /// # Errors
    /// [`RpcFailure`].
    pub async fn finalized(&self) -> Result<Option<Header>, RpcFailure> {
        self.tagged("finalized").await
    }

    async fn tagged(&self, tag: &'static str) -> Result<Option<Header>, RpcFailure> {
        self.read("eth_getBlockByNumber", (tag, false)).await
    }

    /// The block of this height; `None` where the RPC has none.
    ///
    /// # Errors
    /// [`RpcFailure`].
    pub async fn header(&self, number: u64) -> Result<Option<Header>, RpcFailure> {
        self.read("eth_getBlockByNumber", (At::Number(number), false))
            .await
    }

    /// The block of this height with its transactions.
    ///
    /// # Errors
    /// [`RpcFailure`].
    pub async fn full_block(&self, number: u64) -> Result<Option<FullBlock>, RpcFailure> {
        self.read("eth_getBlockByNumber", (At::Number(number), true))
            .await
    }

    /// Logs of a filter.
    ///
    /// # Errors
    /// [`RpcFailure`]; ask for less when it [wants that](RpcFailure::wants_smaller_range).
    pub async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, RpcFailure> {
        self.read("eth_getLogs", (filter.clone(),)).await
    }

    /// A transaction, in the pool or the chain.
    ///
    /// # Errors
    /// [`RpcFailure`].
    pub async fn transaction(&self, hash: B256) -> Result<Option<Transaction>, RpcFailure> {
        self.read("eth_getTransactionByHash", (hash,)).await
    }

    /// The receipt of an included transaction.
    ///
    /// # Errors
    /// [`RpcFailure`].
    pub async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, RpcFailure> {
        self.read("eth_getTransactionReceipt", (hash,)).await
    }

    /// Transactions that an account has in the chain.
    ///
    /// # Errors
    /// [`RpcFailure`].
    pub async fn nonce(&self, account: Address, at: At) -> Result<u64, RpcFailure> {
        self.read::<_, U64>("eth_getTransactionCount", (account, at))
            .await
            .map(|nonce| nonce.to())
    }

    /// Native balance in wei.
    ///
    /// # Errors
    /// [`RpcFailure`].
    pub async fn balance(&self, account: Address, at: At) -> Result<U256, RpcFailure> {
        self.read("eth_getBalance", (account, at)).await
    }

    /// The code of a contract; empty for an account without one.
    ///
    /// # Errors
    /// [`RpcFailure`].
    pub async fn code(&self, account: Address) -> Result<Bytes, RpcFailure> {
        self.read("eth_getCode", (account, At::Latest)).await
    }

    /// Runs a call and gives its raw return data.
    ///
    /// # Errors
    /// [`RpcFailure`]; a revert is [`RpcFailure::as_revert`].
    pub async fn call_raw(
        &self,
        request: &TransactionRequest,
        at: At,
    ) -> Result<Bytes, RpcFailure> {
        self.read("eth_call", (request.clone(), at)).await
    }

    /// Runs a view function and decodes what it returns.
    ///
    /// # Errors
    /// [`RpcFailure`]; `Undecodable` also when there is no such contract.
    pub async fn view<C: SolCall>(
        &self,
        contract: Address,
        call: &C,
        at: At,
    ) -> Result<C::Return, RpcFailure> {
        let request = TransactionRequest::default()
            .to(contract)
            .input(call.abi_encode().into());
        let answer = self.call_raw(&request, at).await?;
        C::abi_decode_returns(&answer).map_err(|error| RpcFailure::Undecodable {
            function: C::SIGNATURE,
            reason: printable(&error.to_string()),
        })
    }

    /// Runs a call as of the head, at another block time if one is given.
    ///
    /// # Errors
    /// [`RpcFailure`].
    pub async fn call_at_time(
        &self,
        request: &TransactionRequest,
        time: Option<BlockTime>,
    ) -> Result<Bytes, RpcFailure> {
        match time {
            None => self.call_raw(request, At::Latest).await,
            Some(time) => self.read("eth_call", at_time(request, time)).await,
        }
    }

    /// Estimates the gas of a call as of the head, at another block time if one is given.
    ///
    /// # Errors
    /// [`RpcFailure`].
    pub async fn estimate_gas(
        &self,
        request: &TransactionRequest,
        time: Option<BlockTime>,
    ) -> Result<u64, RpcFailure> {
        let gas: U64 = match time {
            None => {
                self.read("eth_estimateGas", (request.clone(), At::Latest))
                    .await?
            }
            Some(time) => self.read("eth_estimateGas", at_time(request, time)).await?,
        };
        Ok(gas.to())
    }

    /// What the RPC would pay per gas, in wei.
    ///
    /// # Errors
    /// [`RpcFailure`].
    pub async fn gas_price(&self) -> Result<u128, RpcFailure> {
        self.read::<_, U256>("eth_gasPrice", ())
            .await
            .map(|price| price.saturating_to())
    }

    /// The priority fee that the RPC proposes, wei per gas.
    ///
    /// # Errors
    /// [`RpcFailure`].
    pub async fn max_priority_fee(&self) -> Result<u128, RpcFailure> {
        self.read::<_, U256>("eth_maxPriorityFeePerGas", ())
            .await
            .map(|fee| fee.saturating_to())
    }

    /// The priority fees at one percentile of the last blocks, wei per gas, oldest first.
    ///
    /// # Errors
    /// [`RpcFailure`].
    pub async fn recent_priority_fees(
        &self,
        blocks: u64,
        percentile: u8,
    ) -> Result<Vec<u128>, RpcFailure> {
        let params = (U64::from(blocks), "latest", [f64::from(percentile)]);
        let history: FeeHistory = self.read("eth_feeHistory", params).await?;
        let rewards = history.reward.unwrap_or_default();
        let first = |block: Vec<U256>| block.first().map(|fee| fee.saturating_to());
        Ok(rewards.into_iter().filter_map(first).collect())
    }

    /// Sends signed bytes, once: what comes of a repetition is for the caller to judge.
    ///
    /// # Errors
    /// [`RpcFailure`]; see [`RpcFailure::as_broadcast`].
    pub async fn send_raw(&self, raw: &[u8]) -> Result<B256, RpcFailure> {
        self.once("eth_sendRawTransaction", (Bytes::copy_from_slice(raw),))
            .await
    }
}

fn at_time(
    request: &TransactionRequest,
    time: BlockTime,
) -> (TransactionRequest, At, StateOverride, BlockOverrides) {
    let overrides = BlockOverrides {
        time: Some(time.0),
        ..BlockOverrides::default()
    };
    (
        request.clone(),
        At::Latest,
        StateOverride::default(),
        overrides,
    )
}

/// HTTP with a bound on the answer.
#[derive(Clone)]
struct BoundedHttp {
    client: reqwest::Client,
    url: reqwest::Url,
}

impl BoundedHttp {
    async fn exchange(self, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let lost = |error: reqwest::Error| TransportErrorKind::custom(error.without_url());
        let mut response = self
            .client
            .post(self.url)
            .json(&packet)
            .send()
            .await
            .map_err(lost)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(TransportErrorKind::non_retryable(BodyTooLarge {
                    limit: ANSWER_BYTES_MAX,
                }));
            }
            body.extend_from_slice(&chunk);
        }
        match serde_json::from_slice::<ResponsePacket>(&body) {
            // Some nodes send a JSON-RPC error with a status of its own: the error says more.
            Ok(packet) if status.is_success() || packet.is_error() => Ok(packet),
            Err(error) if status.is_success() => {
                Err(TransportError::deser_err(error, String::new()))
            }
            _ => Err(TransportErrorKind::http_error(
                status.as_u16(),
                String::new(),
            )),
        }
    }
}

impl tower::Service<RequestPacket> for BoundedHttp {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Self::Error>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        Box::pin(self.clone().exchange(packet))
    }
}
