//! tract: a graph is read once, and made into a plan for each set of input shapes.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;
use tract_onnx::{
    prelude::{
        DatumType, Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable,
        IntoTensor, OutletId, Tensor, TractError, TractResult, TypedRunnableModel, tvec,
    },
    tract_hir::infer::Factoid,
};

use super::tensor::TensorError;

/// How many plans, for as many different input shapes, are kept of one model.
const PLANS_MAX: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// Why the engine failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The file is no model that tract can read.
    #[error("E-ENG-001: the file cannot be read as an ONNX model: {0}")]
    Load(String),
    /// The graph cannot be computed for these input shapes, or uses what tract does not have.
    #[error("E-ENG-002: the model cannot be computed on inputs of these shapes: {0}")]
    Plan(String),
    /// The computation failed.
    #[error("E-ENG-003: the model failed on these inputs: {0}")]
    Run(String),
    /// An output is of a type that vectors do not have.
    #[error("E-ENG-004: the model gave an output that cannot be answered: {0}")]
    Output(TensorError),
}

/// An input of a model, as its file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// The input tensor's name.
    pub name: String,
    /// The element type, if declared.
    pub(super) datum_type: Option<DatumType>,
    /// The dimensions, outermost first, `None` where open; no list at all if the rank is open.
    pub shape: Option<Vec<Option<usize>>>,
}

impl InputSpec {
    /// Whether a tensor of `shape` fits the declared dimensions.
    #[must_use]
    pub fn fits(&self, shape: &[usize]) -> bool {
        self.shape.as_ref().is_none_or(|declared| {
            declared.len() == shape.len()
                && declared
                    .iter()
                    .zip(shape)
                    .all(|(dim, given)| dim.is_none_or(|d| d == *given))
        })
    }
}

type Shapes = Vec<Vec<usize>>;

/// A loaded model.
///
/// Open dimensions are fixed before planning: tract then optimises fully, and some graphs compute
/// rightly only so.
#[derive(Debug)]
pub(super) struct Engine {
    graph: InferenceModel,
    inputs: Vec<InputSpec>,
    plans: Mutex<LruCache<Shapes, Arc<TypedRunnableModel>>>,
}

impl Engine {
    /// Reads a model file.
    pub(super) fn load(bytes: &[u8]) -> Result<Self, EngineError> {
        let load = || -> TractResult<Self> {
            let mut reader = bytes;
            let graph = tract_onnx::onnx().model_for_read(&mut reader)?;
            let inputs = inputs(&graph)?;
            Ok(Self {
                graph,
                inputs,
                plans: Mutex::new(LruCache::new(PLANS_MAX)),
            })
        };
        load().map_err(|error| EngineError::Load(chain(&error)))
    }

    /// The inputs, in the graph's order.
    pub(super) fn inputs(&self) -> &[InputSpec] {
        &self.inputs
    }

    /// Makes the plan for the declared shapes ahead of time, open dimensions taken as 1.
    pub(super) fn warm_up(&self) -> Result<(), EngineError> {
        let known = self
            .inputs
            .iter()
            .map(|input| Some((input.datum_type?, input.shape.clone()?)));
        let Some(known) = known.collect::<Option<Vec<_>>>() else {
            return Ok(());
        };
        let ones = |shape: Vec<Option<usize>>| shape.iter().map(|dim| dim.unwrap_or(1)).collect();
        let facts = known
            .into_iter()
            .map(|(kind, shape)| (kind, ones(shape)))
            .collect();
        self.plan(facts).map(drop)
    }

    /// Computes the outputs, in the graph's order, of inputs in the graph's order. Blocks for as
    /// long as the model takes.
    pub(super) fn run(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError> {
        let facts = inputs
            .iter()
            .map(|t| (t.datum_type(), t.shape().to_vec()))
            .collect();
        let plan = self.plan(facts)?;
        let mut values = tvec!();
        values.extend(inputs.into_iter().map(Into::into));
        let outputs = plan
            .run(values)
            .map_err(|error| EngineError::Run(chain(&error)))?;
        Ok(outputs.into_iter().map(IntoTensor::into_tensor).collect())
    }

    fn plan(
        &self,
        facts: Vec<(DatumType, Vec<usize>)>,
    ) -> Result<Arc<TypedRunnableModel>, EngineError> {
        let shapes: Shapes = facts.iter().map(|(_, shape)| shape.clone()).collect();
        // A panic while the lock is held leaves the cache as it was.
        let plans = || self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans().get(&shapes) {
            return Ok(plan.clone());
        }
        let build = || -> TractResult<Arc<TypedRunnableModel>> {
            let mut graph = self.graph.clone();
            for (index, (kind, shape)) in facts.iter().enumerate() {
                graph.set_input_fact(index, InferenceFact::dt_shape(*kind, shape.as_slice()))?;
            }
            graph.into_optimized()?.into_runnable()
        };
        let plan = build().map_err(|error| EngineError::Plan(chain(&error)))?;
        plans().put(shapes, plan.clone());
        Ok(plan)
    }
}

fn inputs(graph: &InferenceModel) -> TractResult<Vec<InputSpec>> {
    let spec = |(index, outlet): (usize, &OutletId)| {
        let fact = graph.input_fact(index)?;
        let dims = fact.shape.dims().map(|dim| {
            let dim = dim.concretize()?.to_i64().ok()?;
            usize::try_from(dim).ok()
        });
        Ok(InputSpec {
            name: graph.node(outlet.node).name.clone(),
            datum_type: fact.datum_type.concretize(),
            shape: (!fact.shape.is_open()).then(|| dims.collect()),
        })
    };
    graph
        .input_outlets()?
        .iter()
        .enumerate()
        .map(spec)
        .collect()
}

/// An error of tract's with its causes, in one line.
fn chain(error: &TractError) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.join(": ").replace('\n', " ")
}
