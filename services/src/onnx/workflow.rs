//! The ONNX service's life cycle of an inference.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use infernet_codec::{model_id::ModelId, vector::RitualVector};
use lru::LruCache;
use tokio::sync::Semaphore;
use tract_onnx::prelude::Tensor;

use super::{
    FILE_ENDING,
    engine::{Engine, EngineError, InputSpec},
    request::{Inputs, OnnxRequest},
    tensor::{TensorError, natural_type, to_tensor, to_vector},
};
use crate::{
    models::{ModelStore, StoreError},
    workflow::Workflow,
};

/// Settings of the service.
#[derive(Debug, Clone)]
pub struct OnnxOptions {
    /// Where models come from.
    pub store: ModelStore,
    /// The model of requests that name none; loaded at start.
    pub default_model: Option<ModelId>,
    /// How many models stay loaded.
    pub loaded_max: NonZeroUsize,
    /// How many models are loaded or run at once. Further requests wait.
    pub concurrency: NonZeroUsize,
}

/// Why an inference failed.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// Neither the request nor the service names a model.
    #[error("E-ONX-004: the request names no model, and the service has no default model")]
    NoModel,
    /// The id names no file that this service loads.
    #[error("E-ONX-005: {id} names no {FILE_ENDING} file")]
    NoOnnxFile {
        /// The model.
        id: Box<ModelId>,
    },
    /// The inputs are not those of the model.
    #[error("E-ONX-006: {reason}; the model takes {takes}")]
    Inputs {
        /// What is wrong.
        reason: String,
        /// The model's inputs, in words.
        takes: String,
    },
    /// An input cannot become a tensor of the model's.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The model's file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine.
    #[error("{error} (model {id})")]
    Engine {
        /// The model.
        id: Box<ModelId>,
        /// What happened.
        error: EngineError,
    },
    /// A defect in the engine.
    #[error("E-ONX-007: the engine broke off; the service goes on")]
    Panicked,
}

/// A loaded model with its name.
#[derive(Debug)]
pub(super) struct Loaded {
    id: ModelId,
    engine: Engine,
}

/// A request ready to run.
#[derive(Debug)]
pub struct Prepared {
    model: Arc<Loaded>,
    inputs: Vec<Tensor>,
}

/// What the model gave.
#[derive(Debug)]
pub struct Raw {
    id: ModelId,
    outputs: Vec<Tensor>,
}

/// Loads models and runs them.
#[derive(Debug)]
pub struct OnnxWorkflow {
    options: OnnxOptions,
    loaded: Mutex<LruCache<String, Arc<Loaded>>>,
    /// Held while a model is loaded, so that simultaneous requests load it once.
    loading: tokio::sync::Mutex<()>,
    engine_slots: Arc<Semaphore>,
}

impl OnnxWorkflow {
    /// A workflow; it answers once set up.
    #[must_use]
    pub fn new(options: OnnxOptions) -> Self {
        Self {
            loaded: Mutex::new(LruCache::new(options.loaded_max)),
            loading: tokio::sync::Mutex::new(()),
            engine_slots: Arc::new(Semaphore::new(options.concurrency.get())),
            options,
        }
    }

    pub(super) fn store(&self) -> &ModelStore {
        &self.options.store
    }

    /// The model, loaded now or before.
    async fn model(&self, id: &ModelId) -> Result<Arc<Loaded>, OnnxError> {
        let file = id.files().iter().find(|file| file.ends_with(FILE_ENDING));
        let file = file
            .ok_or_else(|| OnnxError::NoOnnxFile {
                id: Box::new(id.clone()),
            })?
            .clone();
        let key = format!("{}:{file}", id.repo().path());
        if let Some(model) = self.cached(&key) {
            return Ok(model);
        }
        let _loading = self.loading.lock().await;
        if let Some(model) = self.cached(&key) {
            return Ok(model);
        }
        let (store, id) = (self.options.store.clone(), id.clone());
        let load = move || {
            let bytes = store.read(&id, &file)?;
            match Engine::load(&bytes) {
                Ok(engine) => Ok(Arc::new(Loaded { id, engine })),
                Err(error) => Err(OnnxError::Engine {
                    id: Box::new(id),
                    error,
                }),
            }
        };
        let model = self.on_engine(load).await??;
        tracing::info!(id = %model.id, "model loaded");
        self.cache().put(key, model.clone());
        Ok(model)
    }

    fn cached(&self, key: &str) -> Option<Arc<Loaded>> {
        self.cache().get(key).cloned()
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, LruCache<String, Arc<Loaded>>> {
        // The lock is held for single calls only: what a panic left behind is consistent.
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on a blocking thread once an engine slot is free. The slot stays taken until
    /// the work ends, even if nobody waits for it any more.
    async fn on_engine<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, OnnxError> {
        let slot = self.engine_slots.clone().acquire_owned().await;
        let slot = slot.map_err(|_| OnnxError::Panicked)?;
        let slotted = move || {
            let _slot = slot;
            work()
        };
        tokio::task::spawn_blocking(slotted).await.map_err(|error| {
            tracing::error!(%error, "the engine broke off");
            OnnxError::Panicked
        })
    }
}

impl Workflow for OnnxWorkflow {
    type Request = OnnxRequest;
    type Prepared = Prepared;
    type Raw = Raw;
    type Answer = Vec<RitualVector>;
    type Error = OnnxError;

    async fn setup(&self) -> Result<(), OnnxError> {
        let Some(id) = &self.options.default_model else {
            return Ok(());
        };
        let model = self.model(id).await?;
        let warm_up = self.on_engine(move || model.engine.warm_up()).await?;
        if let Err(error) = warm_up {
            // Open dimensions were guessed; the model may still run on real inputs.
            tracing::warn!(%id, %error, "the default model could not be planned ahead");
        }
        Ok(())
    }

    async fn preprocess(&self, request: OnnxRequest) -> Result<Prepared, OnnxError> {
        let id = request.model.or_else(|| self.options.default_model.clone());
        let model = self.model(&id.ok_or(OnnxError::NoModel)?).await?;
        let bind = move || {
            let inputs = bind(model.engine.inputs(), request.inputs)?;
            Ok(Prepared { model, inputs })
        };
        self.on_engine(bind).await?
    }

    async fn run(&self, prepared: Prepared) -> Result<Raw, OnnxError> {
        let Prepared { model, inputs } = prepared;
        let id = model.id.clone();
        match self.on_engine(move || model.engine.run(inputs)).await? {
            Ok(outputs) => Ok(Raw { id, outputs }),
            Err(error) => Err(OnnxError::Engine {
                id: Box::new(id),
                error,
            }),
        }
    }

    async fn postprocess(&self, raw: Raw) -> Result<Vec<RitualVector>, OnnxError> {
        let vectors = move || {
            let vectors: Result<_, _> = raw.outputs.iter().map(to_vector).collect();
            vectors.map_err(|error| OnnxError::Engine {
                id: Box::new(raw.id),
                error: EngineError::Output(error),
            })
        };
        self.on_engine(vectors).await?
    }
}

/// The request's vectors as the model's tensors, in the model's order.
fn bind(specs: &[InputSpec], inputs: Inputs) -> Result<Vec<Tensor>, OnnxError> {
    let refuse = |reason| OnnxError::Inputs {
        reason,
        takes: describe(specs),
    };
    let mut named = match inputs {
        Inputs::Named(named) => named,
        Inputs::Only(vector) => match specs {
            [only] => BTreeMap::from([(only.name.clone(), vector)]),
            _ => {
                return Err(refuse(
                    "an on-chain request carries exactly one input tensor".into(),
                ));
            }
        },
    };
    let tensor = |spec: &InputSpec| {
        let vector = named
            .remove(&spec.name)
            .ok_or_else(|| refuse(format!("input {:?} is missing", spec.name)))?;
        if !spec.fits(vector.shape()) {
            return Err(refuse(format!(
                "input {:?} has shape {:?}, which does not fit",
                spec.name,
                vector.shape()
            )));
        }
        let kind = spec.datum_type.unwrap_or_else(|| natural_type(&vector));
        Ok(to_tensor(&spec.name, &vector, kind)?)
    };
    let tensors = specs
        .iter()
        .map(tensor)
        .collect::<Result<Vec<_>, OnnxError>>()?;
    match named.keys().next() {
        Some(unknown) => Err(refuse(format!("the model has no input {unknown:?}"))),
        None => Ok(tensors),
    }
}

fn describe(specs: &[InputSpec]) -> String {
    let dim = |dim: &Option<usize>| dim.map_or_else(|| "?".to_owned(), |dim| dim.to_string());
    let one = |spec: &InputSpec| {
        let shape = match &spec.shape {
            Some(dims) => dims.iter().map(dim).collect::<Vec<_>>().join(","),
            None => "..".to_owned(),
        };
        let kind = match spec.datum_type {
            Some(kind) => format!("{kind:?}").to_lowercase(),
            None => "any type".to_owned(),
        };
        format!("{:?}: {kind}[{shape}]", spec.name)
    };
    specs.iter().map(one).collect::<Vec<_>>().join(", ")
}
