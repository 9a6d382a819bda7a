//! What the tests of this directory share.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Value, json};

/// The built-in model.
pub(crate) const IRIS: &str = "local/infernet/iris:iris.onnx";

/// A flower as onnxruntime classified it.
#[derive(Debug, Deserialize)]
pub(crate) struct Flower {
    /// Sepal length, sepal width, petal length, petal width, in centimetres.
    pub(crate) input: [f64; 4],
    /// Of setosa, versicolor, virginica.
    pub(crate) probabilities: [f64; 3],
}

/// All 150.
pub(crate) fn flowers() -> Vec<Flower> {
    serde_json::from_str(include_str!("../golden/iris.json")).expect("golden flowers")
}

/// The directory of the test models.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A cache directory with one repository `local/test/iris`, a copy of the iris model; `change` may
/// damage it.
pub(crate) fn iris_cache(change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let repo = cache.path().join("local/test/iris/default");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/local/infernet/iris/default");
    fs::create_dir_all(&repo).expect("repository");
    for file in ["iris.onnx", "ritual_manifest.json"] {
        fs::copy(model.join(file), repo.join(file)).expect("copied");
    }
    change(&repo);
    cache
}

/// The body of an off-chain request for one flower.
pub(crate) fn ask(flower: &[f64; 4]) -> Value {
    offchain(json!({
        "model_id": IRIS,
        "inputs": { "input": { "dtype": 1, "shape": [1, 4], "values": flower } },
    }))
}

/// The body of an off-chain request.
pub(crate) fn offchain(data: Value) -> Value {
    json!({ "source": 1, "destination": 1, "data": data, "requires_proof": false })
}
