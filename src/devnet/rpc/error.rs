//! JSON-RPC errors as client libraries expect them.

use alloy::primitives::Bytes;
use alloy::sol_types::{Panic, Revert, SolError};
use serde_json::{Value, json};

use crate::devnet::chain::Refusal;

/// An error answer: a code, a sentence, and for reverts the data.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RpcError {
    pub(super) code: i64,
    pub(super) message: String,
    pub(super) data: Option<Value>,
}

impl RpcError {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The body is not JSON.
    pub(super) fn parse(what: impl Into<String>) -> Self {
        Self::new(-32_700, what)
    }

    /// The body is JSON, but not a request.
    pub(super) fn request(what: impl Into<String>) -> Self {
        Self::new(-32_600, what)
    }

    /// There is no such method.
    pub(super) fn method(name: &str) -> Self {
        Self::new(
            -32_601,
            format!("the method {name} does not exist/is not available"),
        )
    }

    /// A parameter is missing or wrong.
    pub(super) fn params(what: impl Into<String>) -> Self {
        Self::new(-32_602, what)
    }

    /// Something of this program's own failed.
    pub(super) fn internal(what: impl Into<String>) -> Self {
        Self::new(-32_603, what)
    }

    /// The chain says no: the code of public clients for everything about transactions and state.
    pub(super) fn server(what: impl Into<String>) -> Self {
        Self::new(-32_000, what)
    }

    /// A bound is exceeded.
    pub(super) fn limit(what: impl Into<String>) -> Self {
        Self::new(-32_005, what)
    }

    /// The execution reverted with this data.
    pub(super) fn revert(data: &Bytes) -> Self {
        let reason = Revert::abi_decode(data)
            .map(|revert| revert.reason)
            .or_else(|_| Panic::abi_decode(data).map(|panic| panic.to_string()));
        let message = match reason {
            Ok(reason) => format!("execution reverted: {reason}"),
            Err(_) => "execution reverted".into(),
        };
        Self {
            code: 3,
            message,
            data: Some(json!(data)),
        }
    }

    /// As a JSON-RPC error object.
    pub(super) fn to_json(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        error
    }
}

impl From<Refusal> for RpcError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Parameter(what) => Self::params(what),
            Refusal::Storage(_) | Refusal::Stopped => Self::internal(refusal.to_string()),
            Refusal::PoolFull => Self::limit(refusal.to_string()),
            other => Self::server(other.to_string()),
        }
    }
}
