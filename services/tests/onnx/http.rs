//! The ONNX service over HTTP, with real models.

use std::{fs, num::NonZeroUsize, path::PathBuf, sync::Arc};

use crate::support::{Flower, IRIS, ask, fixtures, flowers, iris_cache, offchain};
use alloy_primitives::hex;
use infernet_codec::{
    inference::InferenceRequest,
    vector::{Encoding, RitualVector, Values},
};
use infernet_services::{
    http,
    models::ModelStore,
    onnx::{OnnxOptions, OnnxService},
};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

/// A running server.
struct Server {
    address: String,
    client: reqwest::Client,
}

impl Server {
    async fn start(cache: Option<PathBuf>) -> Self {
        let service = OnnxService::start(OnnxOptions {
            store: ModelStore::new(cache),
            default_model: Some(IRIS.parse().expect("an id")),
            loaded_max: NonZeroUsize::MIN,
            concurrency: NonZeroUsize::MIN,
        })
        .await
        .expect("starts");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let router = http::router(Arc::new(service), 1 << 20);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            client: reqwest::Client::new(),
        }
    }

    async fn post(&self, body: &Value) -> (u16, Value) {
        self.send(self.client.post(self.url("/service_output")).json(body))
            .await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.client.get(self.url(path))).await
    }

    /// Every answer is JSON; every error has its status and the three fields in its body.
    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let body: Value = response.json().await.expect("a JSON answer");
        if status != 200 {
            assert_eq!(body["code"], status.to_string());
            assert!(
                body["name"].is_string() && body["description"].is_string(),
                "{body}"
            );
        }
        (status, body)
    }

    async fn refusal(&self, body: &Value) -> (u16, String) {
        let (status, answer) = self.post(body).await;
        let description = answer["description"].as_str().unwrap_or_default();
        (status, description.chars().take(9).collect())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn floats(vector: &Value) -> Vec<f64> {
    let vector = RitualVector::from_json(vector).expect("a vector");
    vector.values().to_f64().expect("real numbers")
}

fn assert_golden(flower: &Flower, probabilities: &[f64]) {
    assert_eq!(probabilities.len(), 3);
    for (expected, found) in flower.probabilities.iter().zip(probabilities) {
        assert!(
            (expected - found).abs() < 1e-6,
            "{flower:?}: {probabilities:?}"
        );
    }
}

fn onchain(request: &InferenceRequest, encoding: Encoding, destination: u8) -> Value {
    let data = hex::encode(request.to_abi(encoding).expect("encodes"));
    json!({ "source": 0, "destination": destination, "data": data, "requires_proof": false })
}

fn tensor(shape: &[usize], values: Values) -> RitualVector {
    RitualVector::new(shape.to_vec(), values).expect("shape fits")
}

fn raw_output(answer: &Value) -> RitualVector {
    let raw = hex::decode(answer["raw_output"].as_str().expect("hex")).expect("hex");
    RitualVector::from_abi(&raw).expect("a vector")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flower_is_classified_as_by_onnxruntime() {
    let server = Server::start(None).await;
    let flowers = flowers();
    let all: Vec<f64> = flowers.iter().flat_map(|flower| flower.input).collect();
    let batch = json!({ "inputs": { "input": { "shape": [150, 4], "values": all } } });
    let (status, answer) = server.post(&offchain(batch)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["result"][0]["shape"], json!([150, 3]));
    for (flower, row) in flowers.iter().zip(floats(&answer["result"][0]).chunks(3)) {
        assert_golden(flower, row);
    }
    for flower in flowers.iter().step_by(10) {
        let (status, answer) = server.post(&ask(&flower.input)).await;
        assert_eq!((status, &answer["result"][0]["dtype"]), (200, &json!(1)));
        assert_golden(flower, &floats(&answer["result"][0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_is_answered_in_the_arithmetic_it_asks_for() {
    let server = Server::start(None).await;
    let flower = &flowers()[60];
    let input = tensor(&[1, 4], Values::Float64(flower.input.to_vec()));
    let plain = InferenceRequest {
        model: Some(IRIS.parse().expect("an id")),
        input,
        output: None,
    };

    // Fixed point in, the bits of floats out; the request is echoed.
    let body = onchain(&plain, Encoding::FixedPoint { decimals: 1 }, 0);
    let (status, answer) = server.post(&body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["raw_input"], body["data"]);
    for empty in ["processed_input", "processed_output", "proof"] {
        assert_eq!(answer[empty], "");
    }
    let output = raw_output(&answer);
    assert!(matches!(output.values(), Values::Float32(_)));
    assert_golden(flower, &output.values().to_f64().expect("real"));

    // The bits of floats in, fixed point out, by the default model.
    let output = Some(Encoding::FixedPoint { decimals: 6 });
    let scaled = InferenceRequest {
        model: None,
        output,
        ..plain.clone()
    };
    let (status, answer) = server.post(&onchain(&scaled, Encoding::Ieee, 0)).await;
    assert_eq!(status, 200, "{answer}");
    let output = raw_output(&answer);
    assert!(matches!(output.values(), Values::Float128(_)));
    for (expected, found) in flower
        .probabilities
        .iter()
        .zip(output.values().to_f64().expect("r"))
    {
        assert!((expected - found).abs() < 2e-6, "{expected} {found}");
    }

    // On chain in, JSON out: the first container of a chain.
    let (status, answer) = server.post(&onchain(&plain, Encoding::Ieee, 1)).await;
    assert_eq!(status, 200, "{answer}");
    assert_golden(flower, &floats(&answer["result"][0]));

    // JSON in, on chain out: a delegated subscription.
    let mut body = ask(&flower.input);
    body["destination"] = 0.into();
    body["data"]["output_arithmetic"] = "fixed_point".into();
    body["data"]["output_num_decimals"] = 3.into();
    let (status, answer) = server.post(&body).await;
    assert_eq!((status, &answer["raw_input"]), (200, &json!("")));
    let expected = flower.probabilities.map(|p| (p * 1e3).trunc() / 1e3);
    assert_eq!(
        raw_output(&answer).values(),
        &Values::Float128(expected.to_vec())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn models_have_their_own_inputs_outputs_and_types() {
    let server = Server::start(Some(fixtures())).await;

    let side = |a: f64, b: f64| json!({ "shape": [2], "values": [a, b] });
    let pair = json!({
        "model_id": "local/test/pair:pair.onnx",
        "inputs": { "right": side(3.0, 4.0), "left": side(1.0, 2.0) },
    });
    let (status, answer) = server.post(&offchain(pair)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(floats(&answer["result"][0]), [4.0, 6.0]);
    assert_eq!(floats(&answer["result"][1]), [3.0, 8.0]);

    // The only input is found whatever its name; whole numbers in fixed point become int32.
    let model = Some("local/test/double:double.onnx".parse().expect("an id"));
    for rows in [1, 2] {
        let input = tensor(&[rows, 3], Values::Int32((0..3 * rows as i32).collect()));
        let request = InferenceRequest {
            model: model.clone(),
            input,
            output: None,
        };
        let body = onchain(&request, Encoding::FixedPoint { decimals: 2 }, 0);
        let (status, answer) = server.post(&body).await;
        assert_eq!(status, 200, "{answer}");
        let doubled = (0..3 * rows as i32).map(|n| 2 * n).collect();
        assert_eq!(
            raw_output(&answer),
            tensor(&[rows, 3], Values::Int32(doubled))
        );
    }

    // One model stays loaded, and the first comes back.
    let flower = &flowers()[0];
    let (status, answer) = server.post(&ask(&flower.input)).await;
    assert_eq!(status, 200, "{answer}");
    assert_golden(flower, &floats(&answer["result"][0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_a_4xx_with_a_reason() {
    let server = Server::start(Some(fixtures())).await;
    let flower = json!({ "shape": [1, 4], "values": [5.1, 3.5, 1.4, 0.2] });
    let data = |model: &str, name: &str, vector: &Value| {
        offchain(json!({ "model_id": model, "inputs": { name: vector } }))
    };
    let vector = |json: Value| data(IRIS, "input", &json);
    let with = |key: &str, value: Value| {
        let mut body = data(IRIS, "input", &flower);
        body[key] = value;
        body
    };
    let with_data = |key: &str, value: Value| {
        let mut body = data(IRIS, "input", &flower);
        body["data"][key] = value;
        body
    };
    let contract = |data: &str| json!({ "source": 0, "destination": 0, "data": data });
    let pair = InferenceRequest {
        model: Some("local/test/pair:pair.onnx".parse().expect("an id")),
        input: tensor(&[2], Values::Float32(vec![1.0, 2.0])),
        output: None,
    };
    let cases = [
        (json!([]), 400, "E-INP-001"),
        (with("source", json!(3)), 400, "E-INP-002"),
        (with("source", json!("1")), 400, "E-INP-002"),
        (with("destination", json!(null)), 400, "E-INP-002"),
        (with("source", json!(2)), 400, "E-INP-003"),
        (with("requires_proof", json!(1)), 400, "E-INP-004"),
        (with("source", json!(0)), 400, "E-INP-005"),
        (contract(""), 400, "E-INP-005"),
        (contract("0x00"), 400, "E-INP-005"),
        (contract("abc"), 400, "E-INP-005"),
        (with("data", json!("00")), 400, "E-INP-006"),
        (contract("00"), 400, "E-INF-001"),
        (onchain(&pair, Encoding::Ieee, 0), 400, "E-ONX-006"),
        (with("requires_proof", json!(true)), 400, "E-ONX-001"),
        (with("destination", json!(2)), 400, "E-ONX-002"),
        (with_data("model_id", json!(7)), 400, "E-ORQ-001"),
        (with_data("inputs", json!([flower])), 400, "E-ORQ-001"),
        (
            with_data("output_num_decimals", json!(256)),
            400,
            "E-ORQ-001",
        ),
        (
            with_data("output_arithmetic", json!("decimal")),
            400,
            "E-VEC-002",
        ),
        (vector(json!({ "values": "5.1" })), 400, "E-ORQ-002"),
        (
            vector(json!({ "dtype": 99, "shape": [1], "values": [1] })),
            400,
            "E-ORQ-002",
        ),
        (
            vector(json!({ "shape": [2, 4], "values": [1, 2, 3, 4] })),
            400,
            "E-ORQ-002",
        ),
        (
            vector(json!({ "shape": [4], "values": [1, 2, 3, 4] })),
            400,
            "E-ONX-006",
        ),
        (
            vector(json!({ "shape": [1, 3], "values": [1, 2, 3] })),
            400,
            "E-ONX-006",
        ),
        (
            vector(json!({ "dtype": 15, "shape": [1, 4], "values": [1, 0, 1, 0] })),
            400,
            "E-TEN-001",
        ),
        (
            vector(json!({ "dtype": 2, "shape": [1, 4], "values": [1e300, 0, 0, 0] })),
            400,
            "E-TEN-001",
        ),
        (data(IRIS, "petals", &flower), 400, "E-ONX-006"),
        (
            with_data("inputs", json!({ "input": flower, "other": flower })),
            400,
            "E-ONX-006",
        ),
        (data("iris", "input", &flower), 400, "E-MID-001"),
        (
            data("ipfs/infernet/iris:iris.onnx", "input", &flower),
            400,
            "E-MID-002",
        ),
        (
            data("local/infernet/..:iris.onnx", "input", &flower),
            400,
            "E-MID-003",
        ),
        (
            data("local/infernet/iris:iris.torch", "input", &flower),
            400,
            "E-ONX-005",
        ),
        (
            data("local/infernet/rose:rose.onnx", "input", &flower),
            404,
            "E-MOD-001",
        ),
        (
            data("local/test/pair:other.onnx", "input", &flower),
            404,
            "E-MOD-002",
        ),
        (
            data(
                &format!("local/test/{}:o.onnx", "o".repeat(300)),
                "input",
                &flower,
            ),
            404,
            "E-MOD-001",
        ),
        (
            data(
                "local/test/reciprocal:reciprocal.onnx",
                "x",
                &json!({ "shape": [1], "values": [0] }),
            ),
            422,
            "E-VEC-005",
        ),
        (
            data(
                "local/test/double:double.onnx",
                "counts",
                &json!({ "shape": [1, 3], "values": [0.5, 1, 2] }),
            ),
            400,
            "E-TEN-001",
        ),
        (
            data(
                "local/test/unknown:unknown.onnx",
                "x",
                &json!({ "shape": [1], "values": [0] }),
            ),
            422,
            "E-ENG-002",
        ),
    ];
    for (body, status, code) in cases {
        assert_eq!(
            server.refusal(&body).await,
            (status, code.to_owned()),
            "{body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_no_input_are_refused_by_their_status() {
    let server = Server::start(None).await;
    let output = server.url("/service_output");
    let post = |body: &str, kind: &str| {
        server
            .client
            .post(&output)
            .header("content-type", kind)
            .body(body.to_owned())
    };
    assert_eq!(server.send(post("{", "application/json")).await.0, 400);
    assert_eq!(
        server
            .send(post("{}", "application/json; charset=utf-8"))
            .await
            .0,
        400
    );
    assert_eq!(server.send(post("{}", "text/plain")).await.0, 415);
    let long = " ".repeat((1 << 20) + 1);
    assert_eq!(server.send(post(&long, "application/json")).await.0, 413);
    assert_eq!(server.get("/service_output").await.0, 405);
    assert_eq!(server.get("/nowhere").await.0, 404);
    assert_eq!(
        server
            .get("/service-resources?model_id=a&model_id=b")
            .await
            .0,
        400
    );
    let nested = "[".repeat(100_000);
    assert_eq!(server.send(post(&nested, "application/json")).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_bound_are_refused_and_leave_room_when_they_end() {
    let server = Server::start(None).await;
    let flower = &flowers()[0];
    let mut waiting = Vec::new();
    let wait = async || {
        let mut stream = TcpStream::connect(&server.address).await.expect("connects");
        let head = "POST /service_output HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                    content-length: 100\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("written");
        stream
    };
    for _ in 0..http::REQUESTS_IN_FLIGHT_MAX {
        waiting.push(wait().await);
    }
    // Heads are read in their own time; each has its slot only then, and one that comes while a
    // question has the last slot gets none: so another one is sent.
    while server.post(&ask(&flower.input)).await.0 != 503 {
        assert!(
            waiting.len() < 10 * http::REQUESTS_IN_FLIGHT_MAX,
            "never full"
        );
        waiting.push(wait().await);
    }
    drop(waiting);
    while server.post(&ask(&flower.input)).await.0 != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_model_is_checked_against_its_manifest() {
    let flower = &flowers()[0];
    let asked = async |cache: &tempfile::TempDir| {
        let server = Server::start(Some(cache.path().to_owned())).await;
        let mut body = ask(&flower.input);
        body["data"]["model_id"] = "local/test/iris:iris.onnx".into();
        server.refusal(&body).await
    };
    let manifest = "ritual_manifest.json";

    assert_eq!(asked(&iris_cache(|_| ())).await.0, 200);
    let tampered = iris_cache(|repo| {
        let mut model = fs::read(repo.join("iris.onnx")).expect("read");
        // A bit of a weight: the file still loads.
        let at = model.len() / 2;
        model[at] ^= 1;
        fs::write(repo.join("iris.onnx"), model).expect("written");
    });
    assert_eq!(asked(&tampered).await, (500, "E-MOD-005".into()));
    let truncated = iris_cache(|repo| fs::write(repo.join(manifest), "{").expect("written"));
    assert_eq!(asked(&truncated).await, (500, "E-MOD-003".into()));
    let unlisted =
        iris_cache(|repo| fs::write(repo.join(manifest), r#"{"files":[]}"#).expect("written"));
    assert_eq!(asked(&unlisted).await, (500, "E-MOD-004".into()));
    let bare = iris_cache(|repo| fs::remove_file(repo.join(manifest)).expect("removed"));
    assert_eq!(asked(&bare).await.0, 200);
    let garbage = iris_cache(|repo| {
        fs::remove_file(repo.join(manifest)).expect("removed");
        fs::write(repo.join("iris.onnx"), "no model").expect("written");
    });
    assert_eq!(asked(&garbage).await, (500, "E-ENG-001".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_says_what_it_is_and_has() {
    let server = Server::start(Some(fixtures())).await;
    assert_eq!(
        server.get("/health").await,
        (200, json!({ "status": "healthy" }))
    );
    let (status, root) = server.get("/").await;
    assert!(status == 200 && root["message"].is_string());

    let (status, document) = server.get("/service-resources").await;
    assert_eq!(
        (status, &document["service_id"]),
        (200, &json!("onnx-inference-service"))
    );
    let base = &document["hardware_capabilities"][0];
    assert_eq!(base["capability_id"], "base");
    assert!(base["cpu_info"]["num_cores"].as_u64().expect("a number") > 0);
    let ml = &document["compute_capability"][0];
    assert_eq!((&ml["id"], &ml["type"]), (&json!("ml"), &json!("onnx")));
    let cached: Vec<&str> = ml["cached_models"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|repo| repo["repo_id"].as_str().expect("an id"))
        .collect();
    let test = ["double", "pair", "reciprocal", "unknown"].map(|name| format!("local/test/{name}"));
    assert_eq!(cached[0], "local/infernet/iris");
    assert_eq!(cached[1..], test);

    let supported = async |id: &str| {
        server
            .get(&format!("/service-resources?model_id={id}"))
            .await
    };
    assert_eq!(
        supported("arweave/o/n:a.onnx").await,
        (200, json!({ "supported": true }))
    );
    assert_eq!(
        supported("arweave/o/n:a.torch").await,
        (200, json!({ "supported": false }))
    );
    let (status, answer) = supported("gpt-4").await;
    assert_eq!((status, &answer["supported"]), (200, &json!(false)));
    assert!(answer["error"].is_string());
}
