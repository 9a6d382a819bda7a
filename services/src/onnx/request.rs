//! What is asked of the ONNX service, off chain and on chain.

use std::collections::BTreeMap;

use infernet_codec::{
    inference::{self, InferenceRequest},
    model_id::{ModelId, ModelIdError},
    vector::{Encoding, RitualVector, VectorError},
};
use serde_json::{Map, Value};

use crate::input::Payload;

/// Why a request was refused; answered with status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A field is missing or of the wrong kind.
    #[error("E-ORQ-001: {0}")]
    BadField(&'static str),
    /// One of the inputs is no vector.
    #[error("E-ORQ-002: input {name:?}: {error}")]
    BadInput {
        /// The input tensor's name.
        name: String,
        /// What is wrong.
        error: VectorError,
    },
    /// The model id.
    #[error(transparent)]
    Model(#[from] ModelIdError),
    /// The output arithmetic.
    #[error(transparent)]
    Encoding(#[from] VectorError),
    /// The bytes of an on-chain request.
    #[error(transparent)]
    Onchain(#[from] inference::RequestError),
}

/// The input tensors.
#[derive(Debug, Clone, PartialEq)]
pub enum Inputs {
    /// By name: off chain.
    Named(BTreeMap<String, RitualVector>),
    /// One without a name, for the only input of the model: on chain.
    Only(RitualVector),
}

/// One inference.
#[derive(Debug, Clone, PartialEq)]
pub struct OnnxRequest {
    /// The model; `None` is the service's default.
    pub model: Option<ModelId>,
    /// The input tensors.
    pub inputs: Inputs,
    /// How an answer for the chain is encoded; ieee unless asked otherwise.
    pub output: Encoding,
}

impl OnnxRequest {
    /// Reads a request in its off-chain or on-chain form.
    ///
    /// # Errors
    /// Any [`RequestError`].
    pub fn read(payload: &Payload) -> Result<Self, RequestError> {
        match payload {
            Payload::Onchain(bytes) => {
                let InferenceRequest {
                    model,
                    input,
                    output,
                } = InferenceRequest::from_abi(bytes)?;
                let output = output.unwrap_or_default();
                Ok(Self {
                    model,
                    inputs: Inputs::Only(input),
                    output,
                })
            }
            Payload::Offchain(object) => Self::from_json(object),
        }
    }

    fn from_json(object: &Map<String, Value>) -> Result<Self, RequestError> {
        let model = match optional(object, "model_id") {
            None => None,
            Some(Value::String(text)) => Some(text.parse()?),
            Some(_) => return Err(RequestError::BadField("model_id is not a string")),
        };
        let inputs = match object.get("inputs") {
            Some(Value::Object(inputs)) => inputs,
            Some(_) | None => {
                return Err(RequestError::BadField(
                    "inputs is missing or not an object of vectors by input name",
                ));
            }
        };
        let vector = |(name, json): (&String, &Value)| match RitualVector::from_json(json) {
            Ok(vector) => Ok((name.clone(), vector)),
            Err(error) => Err(RequestError::BadInput {
                name: name.clone(),
                error,
            }),
        };
        let inputs = inputs.iter().map(vector).collect::<Result<_, _>>()?;
        Ok(Self {
            model,
            inputs: Inputs::Named(inputs),
            output: encoding(object)?,
        })
    }
}

fn encoding(object: &Map<String, Value>) -> Result<Encoding, RequestError> {
    let arithmetic = match optional(object, "output_arithmetic") {
        None => None,
        Some(Value::String(name)) => Some(name.as_str()),
        Some(_) => return Err(RequestError::BadField("output_arithmetic is not a string")),
    };
    let decimals = match optional(object, "output_num_decimals") {
        None => None,
        Some(number) => {
            let decimals = number
                .as_u64()
                .and_then(|decimals| u8::try_from(decimals).ok());
            Some(decimals.ok_or(RequestError::BadField(
                "output_num_decimals is not a whole number from 0 to 255",
            ))?)
        }
    };
    Ok(Encoding::from_name(arithmetic, decimals)?)
}

/// A field that may be missing or `null`.
fn optional<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}
