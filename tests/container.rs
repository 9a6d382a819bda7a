//! Container calls against real HTTP servers and real child processes.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use infernet_node::{
    container::{Container, ContainerService, Containers, Process, ProcessConfig, Remote},
    driver::payload,
    executor::{BoxError, Ended, PayloadError, Payloads, StopCalls as _},
    ports::ContainerDirectory as _,
    streams::Streams,
};
use infernet_state::{
    effect::{ContainerCall, ContainerInput, Effect, Issued, Location, Purpose},
    event::{Failure, Outcome, Success},
    types::{EffectId, JobId, PayloadAt, Seq},
};
use serde_json::{Value, json};
use tower::{Service as _, ServiceExt as _};

const JOB: JobId = JobId([0xab; 16]);

/// Payloads by their position.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<HashMap<Seq, Vec<u8>>>>);

impl Shelf {
    fn put(&self, seq: u64, bytes: &[u8]) -> PayloadAt {
        let payload = payload(bytes.to_vec());
        self.0.lock().unwrap().insert(Seq(seq), payload.bytes);
        PayloadAt {
            seq: Seq(seq),
            payload: payload.reference,
        }
    }
}

impl Payloads for Shelf {
    fn fetch(&self, at: PayloadAt) -> Result<Vec<u8>, PayloadError> {
        let hash = at.payload.hash;
        let shelf = self.0.lock().unwrap();
        shelf
            .get(&at.seq)
            .cloned()
            .ok_or(PayloadError::Erased { hash })
    }
}

/// Serves `router` on a free port of loopback.
async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

fn containers(list: &[(&str, SocketAddr)]) -> Containers {
    let list = list
        .iter()
        .map(|(id, address)| Container {
            id: (*id).to_owned(),
            backend: Arc::new(
                Remote::new(id, &format!("http://{address}/"), Some("t0ken")).unwrap(),
            ),
            legacy_http_status: false,
        })
        .collect();
    Containers::new(list).unwrap()
}

fn call(input: ContainerInput, destination: Location) -> Issued {
    Issued {
        id: EffectId {
            seq: Seq(9),
            ordinal: 1,
        },
        attempt: 2,
        effect: Effect::RunContainer(ContainerCall {
            container: "echo".to_owned(),
            purpose: Purpose::Job(JOB),
            input,
            destination,
            requires_proof: false,
        }),
    }
}

async fn run(service: &ContainerService<Shelf>, issued: Issued) -> Result<Ended, BoxError> {
    service.clone().ready().await?.call(issued).await
}

/// The JSON of an outcome's first payload, and whether a failure is worth another call.
fn shown(ended: &Ended) -> (Value, Option<bool>) {
    let value = serde_json::from_slice(&ended.payloads[0].bytes).unwrap();
    match &ended.outcome {
        Outcome::Failed(Failure::Container { retry, .. }) => (value, Some(*retry)),
        _ => (value, None),
    }
}

/// Answers with what it was asked.
async fn echo(headers: HeaderMap, body: String) -> Json<Value> {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    Json(json!({
        "body": body,
        "job": header("x-infernet-job"),
        "call": header("x-infernet-call"),
        "attempt": header("x-infernet-attempt"),
        "authorization": header("authorization"),
    }))
}

#[tokio::test]
async fn the_request_is_that_of_the_contract() {
    let address = serve(Router::new().route("/service_output", post(echo))).await;
    let shelf = Shelf::default();
    let service = ContainerService::new(
        containers(&[("echo", address)]),
        shelf.clone(),
        Streams::default(),
    );
    let input = shelf.put(1, br#"{"b": 12345678901234567890.10, "a":1}"#);
    let ended = run(
        &service,
        call(ContainerInput::Json(input), Location::Offchain),
    )
    .await
    .unwrap();
    let (answer, _) = shown(&ended);
    assert_eq!(
        answer,
        json!({
            "body": r#"{"source":1,"destination":1,"data":{"b": 12345678901234567890.10, "a":1},"requires_proof":false}"#,
            "job": "abababab-abab-abab-abab-abababababab",
            "call": "9.1",
            "attempt": "2",
            "authorization": "Bearer t0ken",
        })
    );

    let input = shelf.put(2, &[0xca, 0xfe]);
    let issued = call(ContainerInput::Onchain(input), Location::Onchain);
    let ended = run(&service, issued).await.unwrap();
    assert_eq!(
        shown(&ended).0["body"],
        r#"{"source":0,"destination":0,"data":"cafe","requires_proof":false}"#
    );
    // Without the five keys Python's text is delivered.
    let Outcome::Succeeded(Success::ContainerAnsweredOnchain { deliver_output, .. }) =
        ended.outcome
    else {
        panic!("{ended:?}");
    };
    let delivered = ended
        .payloads
        .iter()
        .find(|payload| payload.reference == deliver_output);
    assert!(String::from_utf8_lossy(&delivered.unwrap().bytes).contains("'body': '{\"source\":0"));

    let erased = PayloadAt {
        seq: Seq(3),
        ..input
    };
    let ended = run(
        &service,
        call(ContainerInput::Onchain(erased), Location::Offchain),
    )
    .await
    .unwrap();
    assert!(matches!(
        ended.outcome,
        Outcome::Failed(Failure::Missing { .. })
    ));
}

#[tokio::test]
async fn what_breaks_says_whether_to_call_again() {
    let shelf = Shelf::default();
    let input = ContainerInput::Json(shelf.put(1, b"{}"));
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let service = ContainerService::new(
        containers(&[("echo", closed)]),
        shelf.clone(),
        Streams::default(),
    );
    let ended = run(&service, call(input, Location::Offchain))
        .await
        .unwrap();
    let (error, retry) = shown(&ended);
    assert_eq!(retry, Some(true), "{error}");
    // Where containers run is the operator's business.
    assert!(
        !error.to_string().contains(&closed.port().to_string()),
        "{error}"
    );

    let unknown = ContainerService::new(containers(&[]), shelf, Streams::default());
    let ended = run(&unknown, call(input, Location::Offchain))
        .await
        .unwrap();
    assert_eq!(shown(&ended).1, Some(false));
}

#[tokio::test]
async fn a_stream_is_shown_as_it_comes_and_recorded_whole() {
    let (sender, receiver) = tokio::sync::mpsc::channel::<&'static [u8]>(1);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let stream = |State(receiver): State<Arc<Mutex<Option<tokio::sync::mpsc::Receiver<_>>>>>,
                  body: String| async move {
        assert_eq!(body, r#"{"source":1,"destination":2,"data":{}}"#);
        let receiver = receiver.lock().unwrap().take().unwrap();
        let chunks = futures_util::stream::unfold(receiver, |mut receiver| async {
            let chunk: &'static [u8] = receiver.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(chunk), receiver))
        });
        Response::new(Body::from_stream(chunks))
    };
    let router = Router::new()
        .route("/service_output", post(stream))
        .with_state(receiver);
    let address = serve(router).await;
    let (shelf, streams) = (Shelf::default(), Streams::default());
    let service = ContainerService::new(
        containers(&[("echo", address)]),
        shelf.clone(),
        streams.clone(),
    );
    let input = ContainerInput::Json(shelf.put(1, b"{}"));
    let mut reader = streams.join(JOB).reader();
    let running = tokio::spawn(async move { run(&service, call(input, Location::Stream)).await });
    sender.send("na\u{ef}".as_bytes()).await.unwrap();
    reader.grown().await;
    assert_eq!(reader.try_next().as_deref(), Some("na\u{ef}".as_bytes()));
    assert!(
        !running.is_finished(),
        "the first chunk was shown before the end"
    );
    sender.send(b"ve").await.unwrap();
    drop(sender);
    let ended = running.await.unwrap().unwrap();
    assert_eq!(shown(&ended), (json!({"output": "na\u{ef}ve"}), None));
}

#[tokio::test]
async fn a_call_can_be_stopped_also_before_it_begins() {
    let hang = || async { std::future::pending::<Response>().await };
    let address = serve(Router::new().route("/service_output", post(hang))).await;
    let shelf = Shelf::default();
    let service = ContainerService::new(
        containers(&[("echo", address)]),
        shelf.clone(),
        Streams::default(),
    );
    let input = ContainerInput::Json(shelf.put(1, b"{}"));
    let issued = call(input, Location::Offchain);
    let id = issued.id;

    let running = tokio::spawn({
        let (service, issued) = (service.clone(), issued.clone());
        async move { run(&service, issued).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    service.stop(id);
    let ended = running.await.unwrap().unwrap();
    assert_eq!(shown(&ended).1, Some(false));

    service.stop(id);
    let ended = run(&service, issued).await.unwrap();
    assert!(shown(&ended).0.to_string().contains("stopped"));
}

#[tokio::test]
async fn resources_are_those_of_the_containers_that_answer() {
    let good = serve(Router::new().route(
        "/service-resources",
        get(|uri: axum::http::Uri| async move { Json(json!({"query": uri.query()})) }),
    ))
    .await;
    let bad = serve(Router::new().route(
        "/service-resources",
        get(|| async { "no JSON".into_response() }),
    ))
    .await;
    let containers = containers(&[
        ("good", good),
        ("bad", bad),
        ("none", "127.0.0.1:1".parse().unwrap()),
    ]);
    assert_eq!(containers.running(), ["good", "bad", "none"]);
    let resources = containers.resources(Some("a/b c&d".to_owned())).await;
    let shown: Vec<_> = resources
        .iter()
        .map(|(id, answer)| (id.as_str(), answer.get()))
        .collect();
    assert_eq!(shown, [("good", r#"{"query":"model_id=a%2Fb+c%26d"}"#)]);
}

/// A child in the shell: says where `address` is, and lives as long as its input.
fn child(id: &str, script: &str) -> ProcessConfig {
    ProcessConfig {
        ready_within: Duration::from_secs(10),
        ..ProcessConfig::new(id, "/bin/sh", vec!["-c".to_owned(), script.to_owned()])
    }
}

#[tokio::test]
async fn a_child_is_restarted_when_it_dies_and_ends_with_its_input() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!(
        r#"echo noise; echo $$ >> {pids}; echo '{{"ready":true,"address":"127.0.0.1:4711","service":"x"}}'; read line"#,
        pids = pids.display()
    );
    let process = Process::start(child("echo", &script)).await.unwrap();
    assert_eq!(process.address(), Some("127.0.0.1:4711".parse().unwrap()));
    let started = || -> Vec<String> {
        std::fs::read_to_string(&pids)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    };
    let first = started().remove(0);
    let killed = std::process::Command::new("kill")
        .args(["-9", &first])
        .status()
        .unwrap();
    assert!(killed.success());
    let restarted = async {
        while started().len() < 2 || process.address().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), restarted)
        .await
        .unwrap();

    let containers = Containers::new(vec![Container {
        id: "echo".to_owned(),
        backend: Arc::new(process),
        legacy_http_status: false,
    }])
    .unwrap();
    assert_eq!(containers.running(), ["echo"]);
    containers.stop().await;
    assert!(containers.running().is_empty());
    let second = started().remove(1);
    assert!(!std::path::Path::new(&format!("/proc/{second}")).exists());
    assert_eq!(started().len(), 2, "a stopped child is not started again");
}

#[tokio::test]
async fn a_child_that_does_not_come_up_is_reported_with_its_last_words() {
    let start = |config| async { Process::start(config).await.err().unwrap().to_string() };
    let error = start(child("iris", "echo 'no model at iris.onnx' >&2; exit 3")).await;
    assert!(error.starts_with("E-CONT-005"), "{error}");
    assert!(
        error.contains("exit status: 3") && error.contains("no model at iris.onnx"),
        "{error}"
    );

    let error = start(ProcessConfig::new("iris", "/no/such/program", Vec::new())).await;
    assert!(
        error.starts_with("E-CONT-004") && error.contains("/no/such/program"),
        "{error}"
    );

    let mute = ProcessConfig {
        ready_within: Duration::from_millis(100),
        ..child("iris", "echo loading >&2; read line")
    };
    let error = start(mute).await;
    assert!(
        error.starts_with("E-CONT-006") && error.contains("loading"),
        "{error}"
    );
}
