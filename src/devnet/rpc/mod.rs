//! JSON-RPC over HTTP: transport, batches, and which method is answered where.

mod blocks;
mod calls;
mod developer;
mod error;
mod fees;
mod filters;
mod logs;
mod params;
mod transactions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use alloy::primitives::{Address, Bytes, U64, U256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use axum::Router;
use axum::body::Bytes as Body;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use self::error::RpcError;
use self::filters::Filters;
use self::params::Params;
use super::chain::Chain;
use super::limits::{BATCH_CALLS_MAX, BODY_BYTES_MAX, READ_WAIT, READS_AT_ONCE};
use super::writer::Handle;

type Answer = Result<Value, RpcError>;

/// Everything that answers calls.
pub(super) struct Service {
    handle: Handle,
    /// Unlocked accounts, in order.
    accounts: Vec<Address>,
    signers: HashMap<Address, PrivateKeySigner>,
    /// Turns of executions and scans.
    reads: Arc<Semaphore>,
    /// One unlocked send at a time, so that two of them do not take the same nonce.
    sending: tokio::sync::Mutex<()>,
    pending: calls::PendingCache,
    filters: Mutex<Filters>,
}

impl Service {
    pub(super) fn new(handle: Handle, signers: Vec<PrivateKeySigner>) -> Self {
        Self {
            handle,
            accounts: signers.iter().map(PrivateKeySigner::address).collect(),
            signers: signers
                .into_iter()
                .map(|signer| (signer.address(), signer))
                .collect(),
            reads: Arc::new(Semaphore::new(READS_AT_ONCE)),
            sending: tokio::sync::Mutex::new(()),
            pending: calls::PendingCache::default(),
            filters: Mutex::default(),
        }
    }

    /// Runs something that may take milliseconds off the async threads, a bounded number at once.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Service, Chain) -> Result<T, RpcError> + Send + 'static,
    ) -> Result<T, RpcError> {
        let turn = tokio::time::timeout(READ_WAIT, self.reads.clone().acquire_owned())
            .await
            .map_err(|_| RpcError::limit("the chain is busy; try again"))?
            .map_err(|error| RpcError::internal(error.to_string()))?;
        let service = self.clone();
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let chain = service.handle.chain();
            work(&service, chain)
        })
        .await
        .map_err(|error| RpcError::internal(error.to_string()))?
    }

    fn filters(&self) -> std::sync::MutexGuard<'_, Filters> {
        // The filters are consistent between any two statements.
        self.filters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(self: &Arc<Self>, method: &str, params: Params) -> Answer {
        let chain = || self.handle.chain();
        match method {
            "web3_clientVersion" => Ok(json!(concat!(
                "infernet-devnet/v",
                env!("CARGO_PKG_VERSION")
            ))),
            "web3_sha3" => Ok(json!(keccak256(params.get::<Bytes>(0)?))),
            "net_version" => Ok(json!(chain().spec.chain_id.to_string())),
            "net_listening" => Ok(json!(true)),
            "net_peerCount" => Ok(json!("0x0")),
            "eth_chainId" => Ok(json!(U64::from(chain().spec.chain_id))),
            "eth_syncing" | "eth_mining" => Ok(json!(false)),
            "eth_hashrate" => Ok(json!("0x0")),
            "eth_accounts" => Ok(json!(self.accounts)),
            "eth_coinbase" => Ok(json!(chain().coinbase)),
            "eth_blockNumber" => Ok(json!(U64::from(chain().head().number()))),

            "eth_getBlockByNumber" | "eth_getBlockByHash" => {
                self.read(move |service, chain| blocks::block(service, &chain, &params))
                    .await
            }
            "eth_getBlockReceipts" => {
                self.read(move |_, chain| blocks::receipts(&chain, &params))
                    .await
            }
            "eth_getBlockTransactionCountByNumber" | "eth_getBlockTransactionCountByHash" => {
                blocks::transaction_count(self, &chain(), &params)
            }
            "eth_getUncleCountByBlockNumber" | "eth_getUncleCountByBlockHash" => Ok(json!("0x0")),
            "eth_getTransactionByHash" => blocks::transaction(&chain(), &params),
            "eth_getTransactionReceipt" => blocks::receipt_of(&chain(), &params),
            "eth_getTransactionByBlockNumberAndIndex" | "eth_getTransactionByBlockHashAndIndex" => {
                blocks::transaction_at(&chain(), &params)
            }
            "eth_getRawTransactionByHash" => blocks::raw_transaction(&chain(), &params),

            "eth_getBalance" | "eth_getCode" | "eth_getStorageAt" | "eth_getTransactionCount" => {
                let method = method.to_string();
                self.read(move |service, chain| calls::account(service, &chain, &method, &params))
                    .await
            }
            "eth_call" => {
                self.read(move |service, chain| calls::call(service, &chain, &params))
                    .await
            }
            "eth_estimateGas" => {
                self.read(move |service, chain| calls::estimate(service, &chain, &params))
                    .await
            }

            "eth_gasPrice" => Ok(fees::gas_price(&chain())),
            "eth_maxPriorityFeePerGas" => Ok(json!(U256::from(fees::SUGGESTED_TIP))),
            "eth_blobBaseFee" => Ok(json!("0x1")),
            "eth_feeHistory" => {
                self.read(move |_, chain| fees::history(&chain, &params))
                    .await
            }

            "eth_getLogs" => self.read(move |_, chain| logs::logs(&chain, &params)).await,
            "eth_newFilter" | "eth_newBlockFilter" | "eth_newPendingTransactionFilter" => {
                filters::install(self, &chain(), method, &params)
            }
            "eth_getFilterChanges" | "eth_getFilterLogs" => {
                let method = method.to_string();
                self.read(move |service, chain| filters::poll(service, &chain, &method, &params))
                    .await
            }
            "eth_uninstallFilter" => filters::uninstall(self, &params),

            "eth_sendRawTransaction" => transactions::send_raw(self, &params).await,
            "eth_sendTransaction" => transactions::send(self, &params).await,
            "eth_sign" | "personal_sign" => transactions::sign(self, method, &params),
            "txpool_status" => Ok(transactions::pool_status(&chain())),

            _ => developer::call(self, method, &params).await,
        }
    }

    /// Answers one request object; `None` for a notification.
    async fn answer(self: &Arc<Self>, request: Value) -> Option<Value> {
        let Value::Object(mut request) = request else {
            return Some(envelope(
                Value::Null,
                Err(RpcError::request("not a request object")),
            ));
        };
        let id = request.remove("id");
        let answer = match request.remove("method") {
            Some(Value::String(method)) => match Params::new(request.remove("params")) {
                Ok(params) => self.call(&method, params).await,
                Err(error) => Err(error),
            },
            _ => Err(RpcError::request("the method is missing")),
        };
        id.map(|id| envelope(id, answer))
    }
}

fn envelope(id: Value, answer: Answer) -> Value {
    match answer {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error.to_json() }),
    }
}

/// The HTTP side: any path, POST with a JSON body.
pub(super) fn router(service: Arc<Service>, allow_any_origin: bool) -> Router {
    let route = post(serve).options(preflight).get(explain);
    Router::new()
        .route("/", route.clone())
        .fallback(route)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Http {
            service,
            allow_any_origin,
        })
}

#[derive(Clone)]
struct Http {
    service: Arc<Service>,
    allow_any_origin: bool,
}

impl Http {
    fn respond(&self, status: StatusCode, body: String) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if self.allow_any_origin {
            let any = HeaderValue::from_static("*");
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any.clone());
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, any);
            let methods = HeaderValue::from_static("POST, OPTIONS");
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        (status, headers, body).into_response()
    }
}

async fn preflight(State(http): State<Http>) -> Response {
    http.respond(StatusCode::NO_CONTENT, String::new())
}

async fn explain(State(http): State<Http>) -> Response {
    let error = RpcError::request("this is a JSON-RPC endpoint: POST a request to it");
    http.respond(
        StatusCode::METHOD_NOT_ALLOWED,
        envelope(Value::Null, Err(error)).to_string(),
    )
}

async fn serve(
    State(http): State<Http>,
    headers: HeaderMap,
    body: Result<Body, BytesRejection>,
) -> Response {
    let foreign = headers.contains_key(header::ORIGIN) && !http.allow_any_origin;
    if foreign {
        // A web page can send a POST without asking first; only the answer is kept from it.
        let error = RpcError::request("web pages may not use this chain unless it is allowed");
        return http.respond(
            StatusCode::FORBIDDEN,
            envelope(Value::Null, Err(error)).to_string(),
        );
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            let error = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                RpcError::limit(format!("the body is longer than {BODY_BYTES_MAX} bytes"))
            } else {
                RpcError::request("the body broke off")
            };
            return http.respond(
                rejection.status(),
                envelope(Value::Null, Err(error)).to_string(),
            );
        }
    };
    let answer = match serde_json::from_slice::<Value>(&body) {
        Err(error) => Some(envelope(
            Value::Null,
            Err(RpcError::parse(error.to_string())),
        )),
        Ok(Value::Array(requests)) if requests.is_empty() => Some(envelope(
            Value::Null,
            Err(RpcError::request("the batch is empty")),
        )),
        Ok(Value::Array(requests)) if requests.len() > BATCH_CALLS_MAX => {
            let error = RpcError::limit(format!(
                "a batch of {} calls exceeds the limit of {BATCH_CALLS_MAX}",
                requests.len()
            ));
            Some(envelope(Value::Null, Err(error)))
        }
        Ok(Value::Array(requests)) => {
            let mut answers = Vec::with_capacity(requests.len());
            for request in requests {
                answers.extend(http.service.answer(request).await);
            }
            (!answers.is_empty()).then_some(Value::Array(answers))
        }
        Ok(request) => http.service.answer(request).await,
    };
    http.respond(
        StatusCode::OK,
        answer.map(|answer| answer.to_string()).unwrap_or_default(),
    )
}
