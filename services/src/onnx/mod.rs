//! The ONNX service, `onnx-inference-service` (`docs/spec/services.md` section 2), on tract.

mod engine;
mod request;
mod tensor;
mod workflow;

use axum::http::StatusCode;
use infernet_codec::{
    container::OnchainAnswer,
    model_id::ModelId,
    vector::{Encoding, RitualVector, VectorError},
};
use serde_json::{Value, json};

use crate::{
    http::{HttpError, Service},
    input::{Destination, InfernetInput, Payload},
    models::ModelStore,
    resources,
    workflow::Ready,
};

pub use engine::{EngineError, InputSpec};
pub use request::{Inputs, OnnxRequest, RequestError};
pub use tensor::TensorError;
pub use workflow::{OnnxError, OnnxOptions, OnnxWorkflow, Prepared, Raw};

/// The service's name in `/service-resources` and in the ready line.
pub const SERVICE_ID: &str = "onnx-inference-service";

/// The engine, as `/service-resources` names it.
const ENGINE: &str = "tract";
const ENGINE_VERSION: &str = "0.23";

/// The ending of the files that this service loads.
pub(crate) const FILE_ENDING: &str = ".onnx";

/// The service: a workflow behind the container contract.
#[derive(Debug)]
pub struct OnnxService {
    workflow: Ready<OnnxWorkflow>,
}

impl OnnxService {
    /// Sets the workflow up, which loads the default model if there is one.
    ///
    /// # Errors
    /// Why the default model cannot be loaded.
    pub async fn start(options: OnnxOptions) -> Result<Self, OnnxError> {
        Ok(Self {
            workflow: Ready::setup(OnnxWorkflow::new(options)).await?,
        })
    }

    fn store(&self) -> &ModelStore {
        self.workflow.workflow().store()
    }
}

/// A request, and the form of its answer.
#[derive(Debug)]
pub struct OnnxCall {
    request: OnnxRequest,
    form: Form,
}

/// The model's outputs, and the form in which they are answered.
#[derive(Debug)]
pub struct OnnxAnswer {
    result: Vec<RitualVector>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// All outputs as JSON.
    Offchain,
    /// The first output in the five-key object. The request is echoed if it came from the chain.
    Onchain {
        encoding: Encoding,
        raw_input: Vec<u8>,
    },
}

impl Service for OnnxService {
    type Request = OnnxCall;
    type Answer = OnnxAnswer;

    fn id(&self) -> &'static str {
        SERVICE_ID
    }

    fn read(&self, input: InfernetInput) -> Result<OnnxCall, HttpError> {
        if input.requires_proof {
            return Err(HttpError::bad_request(
                "E-ONX-001: Proofs are not supported for ONNX inference",
            ));
        }
        let request = OnnxRequest::read(&input.payload).map_err(HttpError::bad_request)?;
        let form = match input.destination {
            Destination::Offchain => Form::Offchain,
            Destination::Onchain => Form::Onchain {
                encoding: request.output,
                raw_input: match input.payload {
                    Payload::Onchain(bytes) => bytes,
                    Payload::Offchain(_) => Vec::new(),
                },
            },
            Destination::Stream => {
                return Err(HttpError::bad_request(
                    "E-ONX-002: destination 2 (stream) is not supported for ONNX inference",
                ));
            }
        };
        Ok(OnnxCall { request, form })
    }

    async fn answer(&self, call: OnnxCall) -> Result<OnnxAnswer, HttpError> {
        let result = self.workflow.infer(call.request).await?;
        Ok(OnnxAnswer {
            result,
            form: call.form,
        })
    }

    fn write(&self, answer: OnnxAnswer) -> Result<Value, HttpError> {
        let unanswerable =
            |error: VectorError| HttpError::new(StatusCode::UNPROCESSABLE_ENTITY, error);
        match answer.form {
            Form::Offchain => {
                let vectors: Result<Vec<Value>, _> =
                    answer.result.iter().map(RitualVector::to_json).collect();
                Ok(json!({ "result": vectors.map_err(unanswerable)? }))
            }
            Form::Onchain {
                encoding,
                raw_input,
            } => {
                let first = answer.result.first().ok_or_else(|| {
                    let description = "E-ONX-003: the model has no output";
                    HttpError::new(StatusCode::UNPROCESSABLE_ENTITY, description)
                })?;
                let raw_output = first.to_abi(encoding).map_err(unanswerable)?;
                Ok(OnchainAnswer {
                    raw_input,
                    raw_output,
                    ..Default::default()
                }
                .to_json())
            }
        }
    }

    fn resources(&self) -> Value {
        let cached: Vec<Value> = self
            .store()
            .repos()
            .into_iter()
            .map(|repo| {
                json!({
                    "type": "ModelArtifact",
                    "manifest": repo.manifest.json,
                    "repo_id": repo.id,
                })
            })
            .collect();
        let compute = json!({
            "id": "ml",
            "type": "onnx",
            "task": [],
            "models": [],
            "cached_models": cached,
            "inference_engine": ENGINE,
            "inference_engine_version": ENGINE_VERSION,
        });
        resources::document(SERVICE_ID, &compute)
    }

    fn supports(&self, model_id: &str) -> Value {
        match model_id.parse::<ModelId>() {
            Ok(id) => {
                let first = id.files().first();
                json!({ "supported": first.is_some_and(|file| file.ends_with(FILE_ENDING)) })
            }
            Err(error) => json!({ "supported": false, "error": error.to_string() }),
        }
    }
}

impl From<OnnxError> for HttpError {
    fn from(error: OnnxError) -> Self {
        let status = match &error {
            OnnxError::NoModel | OnnxError::NoOnnxFile { .. } | OnnxError::Inputs { .. } => {
                StatusCode::BAD_REQUEST
            }
            OnnxError::Tensor(_) => StatusCode::BAD_REQUEST,
            OnnxError::Store(error) if error.is_missing() => StatusCode::NOT_FOUND,
            OnnxError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
            OnnxError::Engine {
                error: EngineError::Load(_),
                ..
            }
            | OnnxError::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
            // Whether the shapes or the model are to blame, tract does not tell; the model was
            // readable, and may well run on other inputs.
            OnnxError::Engine {
                error: EngineError::Plan(_) | EngineError::Run(_),
                ..
            } => StatusCode::UNPROCESSABLE_ENTITY,
            OnnxError::Engine {
                error: EngineError::Output(_),
                ..
            } => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error)
    }
}
