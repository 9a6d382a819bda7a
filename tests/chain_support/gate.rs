//! Stands before an RPC and misbehaves as public ones do.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, response::IntoResponse};
use serde_json::{Value, json};

/// How the gate misbehaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Not at all.
    None,
    /// Nothing gets through.
    Outage,
    /// `eth_getLogs` takes at most this many blocks.
    RangeOver(u64),
    /// `eth_sendRawTransaction` is carried out, and its answer lost.
    AnswerLost,
    /// State is kept for the newest block only.
    NoHistory,
    /// There are no receipts, as from a node behind the others, this many times.
    NoReceipts(u32),
    /// No balance is known at the newest block, as from a node behind the others, this many times.
    NoBalance(u32),
    /// A call of any token's `balanceOf` ends with these words.
    Balance(&'static str),
}

struct Inner {
    fault: Mutex<Fault>,
    asked: Mutex<Vec<String>>,
    behind: String,
    client: reqwest::Client,
}

/// A gate before an RPC.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
    url: String,
}

impl Gate {
    pub async fn before(url: &str) -> Self {
        let inner = Arc::new(Inner {
            fault: Mutex::new(Fault::None),
            asked: Mutex::default(),
            behind: url.to_owned(),
            client: reqwest::Client::new(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(pass).with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { inner, url }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn set(&self, fault: Fault) {
        *self.inner.fault.lock().expect("unpoisoned") = fault;
    }

    /// The methods asked for since the last look.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.asked.lock().expect("unpoisoned"))
    }
}

impl Inner {
    /// What the fault of the moment makes of a request; `None` lets it through.
    fn misbehave(&self, request: &Value) -> Option<Value> {
        let method = request["method"].as_str().unwrap_or_default();
        self.asked
            .lock()
            .expect("unpoisoned")
            .push(method.to_owned());
        let error = |message: &str| {
            Some(json!({
                "jsonrpc": "2.0", "id": request["id"],
                "error": {"code": -32000, "message": message},
            }))
        };
        let mut fault = self.fault.lock().expect("unpoisoned");
        match &mut *fault {
            Fault::RangeOver(limit) if method == "eth_getLogs" => {
                let filter = &request["params"][0];
                let (from, to) = (number(&filter["fromBlock"])?, number(&filter["toBlock"])?);
                if to - from < *limit {
                    return None;
                }
                error("block range is too large")
            }
            Fault::NoHistory if reads_state(method) => {
                let last = request["params"].as_array()?.get(1)?.clone();
                if last == "latest" {
                    return None;
                }
                error("missing trie node 0xabc (path ) state is not available")
            }
            Fault::NoReceipts(times) if *times > 0 && method == "eth_getTransactionReceipt" => {
                *times -= 1;
                Some(json!({"jsonrpc": "2.0", "id": request["id"], "result": null}))
            }
            Fault::NoBalance(times) if *times > 0 && method == "eth_getBalance" => {
                *times -= 1;
                error("header not found")
            }
            Fault::Balance(words) if method == "eth_call" && asks_balance(request) => error(words),
            Fault::None
            | Fault::Outage
            | Fault::RangeOver(_)
            | Fault::AnswerLost
            | Fault::NoHistory
            | Fault::NoReceipts(_)
            | Fault::NoBalance(_)
            | Fault::Balance(_) => None,
        }
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().expect("unpoisoned")
    }
}

fn reads_state(method: &str) -> bool {
    matches!(
        method,
        "eth_call" | "eth_getBalance" | "eth_getTransactionCount"
    )
}

/// Whether a call is of `balanceOf(address)`.
fn asks_balance(request: &Value) -> bool {
    let call = &request["params"][0];
    let data = call["input"].as_str().or(call["data"].as_str());
    data.is_some_and(|data| data.starts_with("0x70a08231"))
}

fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.trim_start_matches("0x"), 16).ok()
}

async fn pass(State(inner): State<Arc<Inner>>, body: Bytes) -> axum::response::Response {
    let lost = || StatusCode::BAD_GATEWAY.into_response();
    if inner.fault() == Fault::Outage {
        return lost();
    }
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return lost();
    };
    if let Some(answer) = inner.misbehave(&request) {
        return axum::Json(answer).into_response();
    }
    let sent = inner
        .client
        .post(&inner.behind)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await;
    let Ok(answer) = sent else { return lost() };
    let Ok(answer) = answer.bytes().await else {
        return lost();
    };
    if inner.fault() == Fault::AnswerLost && request["method"] == "eth_sendRawTransaction" {
        return lost();
    }
    ([("content-type", "application/json")], answer).into_response()
}
