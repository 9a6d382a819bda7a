//! Parameters of a call.

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{B256, U64, U256};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::RpcError;

/// The positional parameters of one call.
#[derive(Debug)]
pub(super) struct Params(Vec<Value>);

impl Params {
    /// From the request's `params` member.
    pub(super) fn new(params: Option<Value>) -> Result<Self, RpcError> {
        match params {
            None | Some(Value::Null) => Ok(Self(Vec::new())),
            Some(Value::Array(list)) => Ok(Self(list)),
            Some(_) => Err(RpcError::params("params must be an array")),
        }
    }

    /// The parameter at `index`, if it is there and not null.
    pub(super) fn opt<T: DeserializeOwned>(&self, index: usize) -> Result<Option<T>, RpcError> {
        match self.0.get(index) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value)
                .map(Some)
                .map_err(|error| RpcError::params(format!("invalid argument {index}: {error}"))),
        }
    }

    /// The parameter at `index`.
    pub(super) fn get<T: DeserializeOwned>(&self, index: usize) -> Result<T, RpcError> {
        self.opt(index)?
            .ok_or_else(|| RpcError::params(format!("missing value for required argument {index}")))
    }

    /// The parameter as it was sent.
    pub(super) fn raw(&self, index: usize) -> Option<&Value> {
        self.0.get(index).filter(|value| !value.is_null())
    }

    /// A block, `latest` if none is named.
    pub(super) fn block(&self, index: usize) -> Result<BlockId, RpcError> {
        Ok(self
            .opt(index)?
            .unwrap_or(BlockId::Number(BlockNumberOrTag::Latest)))
    }

    /// A number: `"0x10"`, `"16"` or `16`. Developers' helpers are called with all three.
    pub(super) fn number(&self, index: usize) -> Result<Option<U256>, RpcError> {
        let Some(value) = self.raw(index) else {
            return Ok(None);
        };
        let text = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            _ => {
                return Err(RpcError::params(format!(
                    "invalid argument {index}: not a number"
                )));
            }
        };
        text.parse::<U256>()
            .map(Some)
            .map_err(|error| RpcError::params(format!("invalid argument {index}: {error}")))
    }

    /// A number of at most 64 bits.
    pub(super) fn u64(&self, index: usize) -> Result<Option<u64>, RpcError> {
        self.number(index)?
            .map(|number| {
                u64::try_from(number).map_err(|_| {
                    RpcError::params(format!("invalid argument {index}: {number} is too large"))
                })
            })
            .transpose()
    }

    /// A storage slot: a word, or a number of fewer digits.
    pub(super) fn slot(&self, index: usize) -> Result<U256, RpcError> {
        self.number(index)?
            .ok_or_else(|| RpcError::params(format!("missing value for required argument {index}")))
    }

    /// A 32-byte word; shorter hex is taken as a number.
    pub(super) fn word(&self, index: usize) -> Result<B256, RpcError> {
        self.slot(index).map(B256::from)
    }

    /// A position in a block.
    pub(super) fn index(&self, index: usize) -> Result<usize, RpcError> {
        let position: U64 = self.get(index)?;
        usize::try_from(position.to::<u64>())
            .map_err(|_| RpcError::params(format!("invalid argument {index}: too large")))
    }
}
