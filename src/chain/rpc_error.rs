//! What an error of an RPC means. The one place that looks at codes and texts.
//!
//! JSON-RPC nodes agree on little: geth, anvil, Nethermind, Erigon and the public gateways use
//! different codes for the same thing, so the text decides where the code does not tell. Texts
//! are compared in lower case. What is not recognised is never taken for good news.

use alloy::{
    rpc::json_rpc::{ErrorPayload, RpcError},
    transports::{TransportError, TransportErrorKind},
};
use infernet_state::event::{Failure, Rejection};

use super::abi::{self, printable};

/// Why a request to the RPC brought nothing. Never holds the RPC's URL, which may hold a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RpcFailure {
    /// No answer: refused, reset, timed out. Whether the request was carried out is unknown.
    #[error("E-RPC-001: no answer to {method}: {reason}")]
    Unreachable {
        /// The request.
        method: &'static str,
        /// In words.
        reason: String,
    },
    /// An HTTP status without a JSON-RPC answer.
    #[error("E-RPC-002: HTTP status {status} to {method}; check the RPC's URL and its key")]
    Http {
        /// The request.
        method: &'static str,
        /// The status.
        status: u16,
    },
    /// The answer is larger than what is read of one.
    #[error("E-RPC-003: the answer to {method} is larger than {limit} bytes")]
    TooLarge {
        /// The request.
        method: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// The RPC answered with an error.
    #[error("E-RPC-004: {method} was refused with code {code}: {message}")]
    Refused {
        /// The request.
        method: &'static str,
        /// JSON-RPC error code.
        code: i64,
        /// Its text, bounded.
        message: String,
        /// Bytes found in its data.
        data: Option<Vec<u8>>,
    },
    /// The answer is not what the method promises.
    #[error("E-RPC-005: the answer to {method} does not decode: {reason}")]
    Malformed {
        /// The request.
        method: &'static str,
        /// In words.
        reason: String,
    },
    /// A contract answered with something else than its function returns, or there is none.
    #[error("E-RPC-006: a contract's answer to {function} does not decode: {reason}")]
    Undecodable {
        /// The function's signature.
        function: &'static str,
        /// In words.
        reason: String,
    },
}

/// What came of a call that the EVM ran.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revert {
    /// The error's selector; zero where there is none.
    pub selector: [u8; 4],
    /// In words.
    pub reason: String,
}

/// What an RPC's answer to `eth_sendRawTransaction` means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BroadcastVerdict {
    /// The pool had it already.
    Known,
    /// It was refused and will not be included.
    Rejected(Rejection),
    /// Nobody can tell.
    Unknown,
}

impl RpcFailure {
    /// Takes over an error of alloy, without what it could tell of the URL.
    #[must_use]
    pub fn from_transport(method: &'static str, error: TransportError) -> Self {
        match error {
            RpcError::ErrorResp(payload) => Self::refused(method, &payload),
            RpcError::NullResp => Self::Malformed {
                method,
                reason: "null".to_owned(),
            },
            RpcError::DeserError { err, .. } | RpcError::SerError(err) => Self::Malformed {
                method,
                reason: printable(&err.to_string()),
            },
            RpcError::Transport(TransportErrorKind::HttpError(error)) => Self::Http {
                method,
                status: error.status,
            },
            RpcError::Transport(TransportErrorKind::NonRetryable(error)) => {
                match error.downcast_ref::<BodyTooLarge>() {
                    Some(too_large) => Self::TooLarge {
                        method,
                        limit: too_large.limit,
                    },
                    None => Self::unreachable(method, &*error),
                }
            }
            RpcError::UnsupportedFeature(feature) => Self::unreachable(method, feature),
            RpcError::LocalUsageError(error) => Self::unreachable(method, &*error),
            RpcError::Transport(error) => Self::unreachable(method, &error),
        }
    }

    /// A request without an answer.
    pub(super) fn unreachable(
        method: &'static str,
        reason: &(impl std::fmt::Display + ?Sized),
    ) -> Self {
        Self::Unreachable {
            method,
            reason: without_urls(&reason.to_string()),
        }
    }

    fn refused(method: &'static str, payload: &ErrorPayload) -> Self {
        Self::Refused {
            method,
            code: payload.code,
            message: without_urls(&payload.message),
            data: payload.data.as_ref().and_then(|data| bytes_in(data.get())),
        }
    }

    /// What everybody may be told of it: without the words of the RPC, which may name the account
    /// or the key that it is used with.
    #[must_use]
    pub fn in_public(&self) -> String {
        match self {
            Self::Unreachable { method, .. } => format!("E-RPC-001: no answer to {method}"),
            Self::Http { method, status } => format!("E-RPC-002: HTTP status {status} to {method}"),
            Self::TooLarge { .. } => self.to_string(),
            Self::Refused { method, code, .. } => {
                format!("E-RPC-004: {method} was refused with code {code}")
            }
            Self::Malformed { method, .. } => {
                format!("E-RPC-005: the answer to {method} does not decode")
            }
            Self::Undecodable { function, .. } => {
                format!("E-RPC-006: a contract's answer to {function} does not decode")
            }
        }
    }

    /// Whether asking again in a moment can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Http { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::TooLarge { .. } | Self::Malformed { .. } | Self::Undecodable { .. } => false,
            Self::Refused { code, message, .. } => {
                matches!(code, 429 | -32005)
                    || says(
                        message,
                        &[
                            "rate limit",
                            "too many requests",
                            "exceeded its",
                            "capacity",
                        ],
                    )
                    || says(message, &["header not found", "try again", "timeout"])
            }
        }
    }

    /// Whether a smaller range of blocks could be answered (`eth_getLogs`). Gateways word their
    /// limits in too many ways to list: whatever is refused for a range is asked for in halves.
    #[must_use]
    pub fn wants_smaller_range(&self) -> bool {
        match self {
            Self::TooLarge { .. } => true,
            Self::Unreachable { reason, .. } => says(reason, &["timed out", "timeout"]),
            Self::Http { status, .. } => matches!(status, 400 | 413 | 502..=504),
            Self::Refused { message, .. } => !says(message, &["rate limit", "too many requests"]),
            Self::Malformed { .. } | Self::Undecodable { .. } => false,
        }
    }

    /// Whether the RPC no longer has the state of that block (it is no archive).
    #[must_use]
    pub fn is_state_missing(&self) -> bool {
        match self {
            Self::Refused { message, .. } => says(
                message,
                &[
                    "missing trie node",
                    "historical state",
                    "state is not available",
                    "state not available",
                    "state already discarded",
                    "no state available",
                    "state histories",
                    "pruned",
                    "archive",
                    "distance to target block exceeds",
                    "blockoutofrange",
                    "block is out of range",
                ],
            ),
            Self::Unreachable { .. }
            | Self::Http { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Undecodable { .. } => false,
        }
    }

    /// Whether the RPC does not know the method or these parameters of it.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::Refused { code, message, .. } => {
                matches!(code, -32601 | -32602)
                    || says(
                        message,
                        &[
                            "too many arguments",
                            "not supported",
                            "unsupported",
                            "does not exist",
                            "method not found",
                        ],
                    )
            }
            Self::Unreachable { .. }
            | Self::Http { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Undecodable { .. } => false,
        }
    }

    /// The revert that `eth_call` or `eth_estimateGas` reports; `None` when the call was not
    /// run to an end.
    #[must_use]
    pub fn as_revert(&self) -> Option<Revert> {
        let Self::Refused {
            code,
            message,
            data,
            ..
        } = self
        else {
            return None;
        };
        // geth and anvil: 3. Parity's heirs: -32015. Hardhat: -32603 with a text.
        let reverted = matches!(code, 3 | -32015) || says(message, &["revert"]);
        if reverted {
            if let Some(data) = data.as_deref().filter(|data| !data.is_empty()) {
                let (selector, reason) = abi::describe_revert(data);
                return Some(Revert { selector, reason });
            }
            return Some(Revert {
                selector: [0; 4],
                reason: printable(message),
            });
        }
        // The EVM stopped without a revert: as definite, and without a selector.
        says(
            message,
            &[
                "out of gas",
                "gas required exceeds",
                "invalid opcode",
                "invalid jump",
                "stack underflow",
                "stack limit",
                // geth's words for memory and return data that there cannot be.
                "gas uint64 overflow",
                "return data out of bounds",
                "vm execution error",
                "evm error",
            ],
        )
        .then(|| Revert {
            selector: [0; 4],
            reason: printable(message),
        })
    }

    /// What the answer to `eth_sendRawTransaction` means.
    #[must_use]
    pub fn as_broadcast(&self) -> BroadcastVerdict {
        let Self::Refused { code, message, .. } = self else {
            return BroadcastVerdict::Unknown;
        };
        if says(
            message,
            &[
                "already known",
                "alreadyknown",
                "known transaction",
                "already imported",
                "already in mempool",
                "already exists",
            ],
        ) {
            return BroadcastVerdict::Known;
        }
        if self.is_transient() {
            return BroadcastVerdict::Unknown;
        }
        let rejection = if says(message, &["nonce too low", "nonce is too low", "oldnonce"]) {
            Rejection::NonceTooLow
        } else if says(
            message,
            &["nonce too high", "nonce is too high", "gapped", "noncegap"],
        ) {
            Rejection::NonceTooHigh
        } else if says(
            message,
            &[
                "underpriced",
                "less than block base fee",
                "feetoolow",
                "fee too low",
                "gas price too low",
                "max fee per gas",
            ],
        ) {
            Rejection::Underpriced
        } else if says(message, &["insufficient funds", "insufficientfunds"]) {
            Rejection::InsufficientFunds
        } else if *code == -32603 {
            // "Internal error" is no verdict on the transaction.
            return BroadcastVerdict::Unknown;
        } else {
            Rejection::Other {
                reason: printable(message),
            }
        };
        BroadcastVerdict::Rejected(rejection)
    }

    /// As the outcome of a read.
    #[must_use]
    pub fn unavailable(&self) -> Failure {
        Failure::Unavailable {
            reason: self.to_string(),
        }
    }
}

/// An answer larger than what is read of one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer is larger than {limit} bytes")]
pub(super) struct BodyTooLarge {
    /// The limit in bytes.
    pub(super) limit: usize,
}

fn says(text: &str, any_of: &[&str]) -> bool {
    let text = text.to_ascii_lowercase();
    any_of.iter().any(|part| text.contains(part))
}

/// Drops every URL: it may hold a user, a password or an access key.
fn without_urls(text: &str) -> String {
    let words: Vec<&str> = text
        .split_whitespace()
        .map(|word| if word.contains("://") { "<url>" } else { word })
        .collect();
    printable(&words.join(" "))
}

/// The first `0x…` bytes in an error's data, however deep.
fn bytes_in(json: &str) -> Option<Vec<u8>> {
    fn search(value: &serde_json::Value, depth: u8) -> Option<Vec<u8>> {
        match value {
            serde_json::Value::String(text) => {
                // Parity's heirs write "Reverted 0x…".
                let start = text.find("0x")?;
                alloy::hex::decode(text[start..].trim()).ok()
            }
            serde_json::Value::Object(fields) if depth > 0 => {
                let direct = fields.get("data").and_then(|data| search(data, depth - 1));
                direct.or_else(|| fields.values().find_map(|field| search(field, depth - 1)))
            }
            _ => None,
        }
    }
    search(&serde_json::from_str(json).ok()?, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> RpcFailure {
        let payload: ErrorPayload = serde_json::from_str(json).expect("an error object");
        RpcFailure::from_transport("eth_test", RpcError::ErrorResp(payload))
    }

    #[test]
    fn reverts_of_every_house_carry_selector_and_name() {
        let shapes = [
            // geth
            r#"{"code":3,"message":"execution reverted","data":"0x4db310c3"}"#,
            // anvil
            r#"{"code":3,"message":"execution reverted: custom error 0x4db310c3","data":"0x4db310c3"}"#,
            // Parity's heirs
            r#"{"code":-32015,"message":"VM execution error.","data":"Reverted 0x4db310c3"}"#,
            // Hardhat
            r#"{"code":-32603,"message":"VM Exception while processing transaction: reverted with an unrecognized custom error","data":{"message":"...","data":"0x4db310c3"}}"#,
        ];
        for shape in shapes {
            let revert = refused(shape).as_revert();
            let expected = Revert {
                selector: [0x4d, 0xb3, 0x10, 0xc3],
                reason: "IntervalMismatch".to_owned(),
            };
            assert_eq!(revert, Some(expected), "{shape}");
        }
    }

    #[test]
    fn reverts_without_our_errors_are_still_reverts() {
        let without_data = refused(r#"{"code":-32000,"message":"execution reverted"}"#);
        assert_eq!(
            without_data.as_revert().map(|revert| revert.selector),
            Some([0; 4])
        );
        let with_text = refused(
            r#"{"code":3,"message":"execution reverted: no","data":"0x08c379a0000000000000000000000000000000000000000000000000000000000000002000000000000000000000000000000000000000000000000000000000000000026e6f000000000000000000000000000000000000000000000000000000000000"}"#,
        );
        assert_eq!(
            with_text.as_revert().map(|revert| revert.reason),
            Some("Error: no".to_owned())
        );
        let out_of_gas =
            refused(r#"{"code":-32000,"message":"gas required exceeds allowance (30000000)"}"#);
        assert!(out_of_gas.as_revert().is_some());
        // What a contract does that reads where no memory can be.
        for text in ["gas uint64 overflow", "return data out of bounds"] {
            let stopped = refused(&format!(r#"{{"code":-32000,"message":"{text}"}}"#));
            let revert = stopped.as_revert().expect(text);
            assert_eq!(revert.selector, [0; 4], "{text}");
        }
        let limited = refused(
            r#"{"code":-32005,"message":"daily request count exceeded, request rate limited"}"#,
        );
        assert_eq!(limited.as_revert(), None);
        assert!(limited.is_transient());
    }

    #[test]
    fn broadcasts_are_judged_by_what_the_pool_says() {
        let cases = [
            (-32000, "already known", BroadcastVerdict::Known),
            (
                -32003,
                "transaction already imported",
                BroadcastVerdict::Known,
            ),
            (
                -32000,
                "nonce too low: next nonce 5, tx nonce 4",
                BroadcastVerdict::Rejected(Rejection::NonceTooLow),
            ),
            (
                -32000,
                "replacement transaction underpriced",
                BroadcastVerdict::Rejected(Rejection::Underpriced),
            ),
            (
                -32000,
                "max fee per gas less than block base fee: address 0x00",
                BroadcastVerdict::Rejected(Rejection::Underpriced),
            ),
            (
                -32003,
                "Insufficient funds for gas * price + value",
                BroadcastVerdict::Rejected(Rejection::InsufficientFunds),
            ),
            (
                -32000,
                "intrinsic gas too low",
                BroadcastVerdict::Rejected(Rejection::Other {
                    reason: "intrinsic gas too low".to_owned(),
                }),
            ),
            (-32603, "Internal error", BroadcastVerdict::Unknown),
            (429, "slow down", BroadcastVerdict::Unknown),
        ];
        for (code, message, verdict) in cases {
            let failure = refused(&format!(r#"{{"code":{code},"message":"{message}"}}"#));
            assert_eq!(failure.as_broadcast(), verdict, "{message}");
        }
        let silent = RpcFailure::unreachable("eth_sendRawTransaction", "connection reset");
        assert_eq!(silent.as_broadcast(), BroadcastVerdict::Unknown);
    }

    #[test]
    fn ranges_and_missing_state_are_told_apart() {
        let range =
            refused(r#"{"code":-32005,"message":"query returned more than 10000 results"}"#);
        assert!(range.wants_smaller_range());
        let gone = refused(r#"{"code":-32000,"message":"missing trie node 12 (path )"}"#);
        assert!(gone.is_state_missing() && !gone.is_transient());
        let arguments =
            refused(r#"{"code":-32602,"message":"too many arguments, want at most 2"}"#);
        assert!(arguments.is_unsupported());
    }

    #[test]
    fn no_error_tells_the_url() {
        let failure = RpcFailure::unreachable(
            "eth_call",
            "error sending request for url (https://user:pass@rpc.example/v3/KEY): refused",
        );
        let shown = format!("{failure} {failure:?}");
        assert!(!shown.contains("KEY") && !shown.contains("pass"), "{shown}");
    }
}
