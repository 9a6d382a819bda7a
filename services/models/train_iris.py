"""Trains the iris classifier of this directory and writes it with manifest and golden outputs.

    python3 -m venv .venv && .venv/bin/pip install -r requirements.txt
    .venv/bin/python train_iris.py

Everything is seeded. Another BLAS may still change the last bits of the weights, so the golden
outputs are written together with the model they belong to, and both are committed.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

SEED = 7
HIDDEN_UNITS = 16
# Strong enough that the probabilities stay soft between versicolor and virginica.
WEIGHT_DECAY = 0.3
OPSET = 13
# The oldest IR version that carries opset 13: older engines can still read the file.
IR_VERSION = 7

HERE = Path(__file__).resolve().parent
REPO = HERE / "local" / "infernet" / "iris" / "default"
GOLDEN = HERE.parent / "tests" / "golden" / "iris.json"


def train(features, labels):
    """Fits scaler and network; returns them with the accuracy on the held-out fifth."""
    train_x, test_x, train_y, test_y = train_test_split(
        features, labels, test_size=0.2, stratify=labels, random_state=SEED
    )
    scaler = StandardScaler().fit(train_x)
    network = MLPClassifier(
        hidden_layer_sizes=(HIDDEN_UNITS,),
        activation="tanh",
        solver="lbfgs",
        alpha=WEIGHT_DECAY,
        max_iter=2000,
        random_state=SEED,
    ).fit(scaler.transform(train_x), train_y)
    accuracy = network.score(scaler.transform(test_x), test_y)
    return scaler, network, accuracy, len(test_y)


def export(scaler, network):
    """The graph: standardise, dense, tanh, dense, softmax; centimetres in, probabilities out."""

    def weight(name, array):
        return numpy_helper.from_array(np.asarray(array, dtype=np.float32), name)

    nodes = [
        helper.make_node("Sub", ["input", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "deviation"], ["standardised"]),
        helper.make_node("Gemm", ["standardised", "hidden_weight", "hidden_bias"], ["hidden"]),
        helper.make_node("Tanh", ["hidden"], ["activated"]),
        helper.make_node("Gemm", ["activated", "class_weight", "class_bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    weights = [
        weight("mean", scaler.mean_),
        weight("deviation", scaler.scale_),
        weight("hidden_weight", network.coefs_[0]),
        weight("hidden_bias", network.intercepts_[0]),
        weight("class_weight", network.coefs_[1]),
        weight("class_bias", network.intercepts_[1]),
    ]
    graph = helper.make_graph(
        nodes,
        "iris",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])],
        weights,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="infernet train_iris.py",
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def main():
    iris = load_iris()
    scaler, network, accuracy, held_out = train(iris.data, iris.target)
    model = export(scaler, network)

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs = iris.data.astype(np.float32)
    (probabilities,) = session.run(None, {"input": inputs})
    reference = network.predict_proba(scaler.transform(iris.data))
    deviation = np.abs(probabilities - reference).max()
    assert deviation < 1e-5, f"the graph differs from scikit-learn by {deviation}"
    overall = (probabilities.argmax(axis=1) == iris.target).mean()

    REPO.mkdir(parents=True, exist_ok=True)
    (REPO / "iris.onnx").write_bytes(model)
    manifest = {
        "files": ["iris.onnx"],
        "metadata": {
            "iris.onnx": {
                "id": "local/infernet/iris:iris.onnx",
                "memory_requirements": len(model),
                "inference_engine": {"type": "onnx"},
            }
        },
        "artifact_type": "ModelArtifact",
        "file_hashes": {"iris.onnx": hashlib.sha256(model).hexdigest()},
        "repo_id": "local/infernet/iris",
    }
    (REPO / "ritual_manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")

    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        json.dumps(
            {
                "input": [float(x) for x in iris.data[i]],
                "label": iris.target_names[iris.target[i]],
                "probabilities": [float(p) for p in probabilities[i]],
            }
        )
        for i in range(len(iris.data))
    ]
    GOLDEN.write_text("[\n" + ",\n".join(rows) + "\n]\n")

    print(f"{len(model)} bytes; held-out accuracy {accuracy:.4f} of {held_out}; all 150: {overall:.4f}")


if __name__ == "__main__":
    main()
