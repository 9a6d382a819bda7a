//! `InfernetInput`: what a node sends to `POST /service_output`
//! (`docs/spec/container.md` section 2).

use alloy_primitives::hex;
use serde_json::{Map, Value};

/// Why an input was refused; answered with status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The body is no JSON object.
    #[error("E-INP-001: the body is not a JSON object")]
    NotAnObject,
    /// A location is missing or unknown.
    #[error("E-INP-002: {field} must be 0 (on chain), 1 (off chain) or 2 (stream)")]
    BadLocation {
        /// `source` or `destination`.
        field: &'static str,
    },
    /// No node sends from a stream.
    #[error("E-INP-003: source 2 (stream) is not supported: send source 0 or 1")]
    StreamSource,
    /// `requires_proof` is not a boolean.
    #[error("E-INP-004: requires_proof must be true or false")]
    BadProofFlag,
    /// On-chain data is not hex.
    #[error("E-INP-005: with source 0, data must be a non-empty hex string without 0x")]
    BadHex,
    /// Off-chain data is not an object.
    #[error("E-INP-006: with source 1, data must be a JSON object")]
    BadObject,
}

/// What is asked, by where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// From a contract: the bytes that `getContainerInputs` returned.
    Onchain(Vec<u8>),
    /// From a client, or from the container before this one.
    Offchain(Map<String, Value>),
}

/// Where the answer goes, which decides its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To a contract: an object with the five keys.
    Onchain,
    /// To a client: a JSON object of the service's own.
    Offchain,
    /// To a client, as it is made.
    Stream,
}

/// A request to a container.
#[derive(Debug, Clone, PartialEq)]
pub struct InfernetInput {
    /// What is asked.
    pub payload: Payload,
    /// Where the answer goes.
    pub destination: Destination,
    /// Whether the answer must carry a proof. A missing flag means no.
    pub requires_proof: bool,
}

impl InfernetInput {
    /// Validates the JSON body of a request.
    ///
    /// # Errors
    /// The first [`InputError`] found.
    pub fn from_json(body: Value) -> Result<Self, InputError> {
        let Value::Object(mut body) = body else {
            return Err(InputError::NotAnObject);
        };
        let source = location(&body, "source")?;
        let destination = location(&body, "destination")?;
        let requires_proof = match body.get("requires_proof") {
            None => false,
            Some(flag) => flag.as_bool().ok_or(InputError::BadProofFlag)?,
        };
        let payload = match (source, body.remove("data")) {
            (Destination::Stream, _) => return Err(InputError::StreamSource),
            (Destination::Onchain, Some(Value::String(text))) => Payload::Onchain(bytes(&text)?),
            (Destination::Onchain, _) => return Err(InputError::BadHex),
            (Destination::Offchain, Some(Value::Object(object))) => Payload::Offchain(object),
            (Destination::Offchain, _) => return Err(InputError::BadObject),
        };
        Ok(Self {
            payload,
            destination,
            requires_proof,
        })
    }
}

/// Source and destination share one enumeration on the wire.
fn location(body: &Map<String, Value>, field: &'static str) -> Result<Destination, InputError> {
    match body.get(field).and_then(Value::as_u64) {
        Some(0) => Ok(Destination::Onchain),
        Some(1) => Ok(Destination::Offchain),
        Some(2) => Ok(Destination::Stream),
        Some(_) | None => Err(InputError::BadLocation { field }),
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, InputError> {
    let digits = text.trim();
    // The decoder would accept a 0x in front, which nodes never send and others refuse.
    if digits.is_empty() || digits.starts_with("0x") {
        return Err(InputError::BadHex);
    }
    hex::decode(digits).map_err(|_| InputError::BadHex)
}
