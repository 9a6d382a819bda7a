//! The on-chain request and answer of the ONNX and Torch services
//! (`docs/spec/services.md` sections 2 and 3).

use alloy_primitives::Bytes;
use alloy_sol_types::{
    SolType,
    sol_data::{Bytes as SolBytes, Uint},
};

use crate::{
    abi::decode_params,
    model_id::{ModelId, ModelIdError},
    vector::{Encoding, RitualVector, VectorError},
};

type AbiPlain = (SolBytes, SolBytes);
type AbiArithmetic = (SolBytes, SolBytes, Uint<8>);
type AbiScaled = (SolBytes, SolBytes, Uint<8>, Uint<8>);

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The bytes are not ABI data of a request.
    #[error(
        "E-INF-001: not an encoded request (bytes model, bytes vector[, uint8 arithmetic[, uint8 decimals]]): {0}"
    )]
    BadAbi(String),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelIdError),
    /// The vector, or the arithmetic asked for.
    #[error(transparent)]
    Vector(#[from] VectorError),
}

/// A request for one inference on one tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct InferenceRequest {
    /// The model; `None` asks for the service's default.
    pub model: Option<ModelId>,
    /// The input tensor.
    pub input: RitualVector,
    /// How the answer is to be encoded; `None` leaves it to the service, which takes ieee.
    pub output: Option<Encoding>,
}

impl InferenceRequest {
    /// `abi.encode(bytes model, bytes vector)`, with `uint8 arithmetic, uint8 decimals` behind it
    /// when an output encoding is asked for. The input vector itself is written in `input`.
    ///
    /// # Errors
    /// Those of [`RitualVector::to_abi`].
    pub fn to_abi(&self, input: Encoding) -> Result<Vec<u8>, VectorError> {
        let model = Bytes::from(self.model.as_ref().map(ModelId::to_abi).unwrap_or_default());
        let vector = Bytes::from(self.input.to_abi(input)?);
        Ok(match self.output {
            None => AbiPlain::abi_encode_params(&(model, vector)),
            Some(output) => {
                let (arithmetic, decimals) = output.to_numbers();
                AbiScaled::abi_encode_params(&(model, vector, arithmetic, decimals))
            }
        })
    }

    /// Reads a request of two, three or four parameters.
    ///
    /// How many there are shows in the first word: it is the offset of the first dynamic
    /// parameter, which every encoder puts right behind the heads.
    ///
    /// # Errors
    /// Any [`RequestError`].
    pub fn from_abi(bytes: &[u8]) -> Result<Self, RequestError> {
        let (model, vector, arithmetic, decimals) = match head_words(bytes) {
            Some(4) => {
                let (model, vector, arithmetic, decimals) = decode::<AbiScaled>(bytes)?;
                (model, vector, Some(arithmetic), Some(decimals))
            }
            Some(3) => {
                let (model, vector, arithmetic) = decode::<AbiArithmetic>(bytes)?;
                (model, vector, Some(arithmetic), None)
            }
            Some(_) | None => {
                let (model, vector) = decode::<AbiPlain>(bytes)?;
                (model, vector, None, None)
            }
        };
        let output = arithmetic
            .map(|number| Encoding::from_numbers(Some(number), decimals))
            .transpose()?;
        Ok(Self {
            model: ModelId::from_abi(&model)?,
            input: RitualVector::from_abi(&vector)?,
            output,
        })
    }
}

/// How many words the heads take; `None` if the first word is no such offset.
fn head_words(bytes: &[u8]) -> Option<u8> {
    let (lead, last) = bytes.get(..32)?.split_at(31);
    (lead.iter().all(|byte| *byte == 0) && last[0] % 32 == 0).then(|| last[0] / 32)
}

fn decode<'de, T>(bytes: &'de [u8]) -> Result<T::RustType, RequestError>
where
    T: SolType,
    T::Token<'de>: alloy_sol_types::abi::TokenSeq<'de>,
{
    decode_params::<T>(bytes).map_err(RequestError::BadAbi)
}
