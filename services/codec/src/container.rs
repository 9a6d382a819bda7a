//! What a container answers for the chain (`docs/spec/container.md` section 3).

use alloy_primitives::{Bytes, hex};
use alloy_sol_types::{SolType, sol_data::Bytes as SolBytes};
use serde_json::{Map, Value};

use crate::{
    abi::decode_params,
    vector::{RitualVector, VectorError},
};

/// `abi.encode(bytes raw, bytes processed)`: input and output as the node delivers them.
type AbiPair = (SolBytes, SolBytes);

/// The five parts of an answer for the chain. Parts that are not used are empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OnchainAnswer {
    /// What the consumer sent.
    pub raw_input: Vec<u8>,
    /// What became of it before the model.
    pub processed_input: Vec<u8>,
    /// The result, in the service's own ABI form.
    pub raw_output: Vec<u8>,
    /// What became of it after the model.
    pub processed_output: Vec<u8>,
    /// The proof.
    pub proof: Vec<u8>,
}

impl OnchainAnswer {
    /// The JSON object with all five keys, hex without `0x`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let parts = [
            ("raw_input", &self.raw_input),
            ("processed_input", &self.processed_input),
            ("raw_output", &self.raw_output),
            ("processed_output", &self.processed_output),
            ("proof", &self.proof),
        ];
        let entry = |(key, bytes): (&str, &Vec<u8>)| (key.to_owned(), hex::encode(bytes).into());
        Value::Object(parts.into_iter().map(entry).collect::<Map<_, _>>())
    }
}

/// Reads the vector out of a delivered output, `abi.encode(bytes raw, bytes processed)` with
/// `raw` a vector's bytes: what a consumer contract stores after an ONNX or Torch inference.
///
/// # Errors
/// [`VectorError`] when either layer is not what it should be.
pub fn vector_of_output(output: &[u8]) -> Result<RitualVector, VectorError> {
    let (raw, _processed) = decode_params::<AbiPair>(output).map_err(VectorError::BadAbi)?;
    RitualVector::from_abi(&raw)
}

/// `abi.encode(bytes raw, bytes processed)`: how the node packs two parts for delivery.
#[must_use]
pub fn pack_pair(raw: &[u8], processed: &[u8]) -> Vec<u8> {
    AbiPair::abi_encode_params(&(
        Bytes::copy_from_slice(raw),
        Bytes::copy_from_slice(processed),
    ))
}
