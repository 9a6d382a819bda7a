//! The binary as a parent process sees it.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{ask, flowers, iris_cache};
use serde_json::Value;

/// Far more than anything here takes, so that a hang fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

fn service() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_infernet-service"));
    command
        .arg("onnx")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for variable in ["RUNTIME", "ONNX_CACHE_DIR", "ONNX_DEFAULT_MODEL_ID"] {
        command.env_remove(variable);
    }
    // No model of the machine's own may play a part.
    command.env("HOME", "/nonexistent");
    command
}

fn ready_address(child: &mut Child) -> SocketAddr {
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let ready: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        (&ready["ready"], &ready["service"]),
        (&true.into(), &"onnx-inference-service".into())
    );
    ready["address"]
        .as_str()
        .expect("text")
        .parse()
        .expect("an address")
}

fn exit(child: &mut Child) -> std::process::ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("the service did not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

async fn classify(address: SocketAddr) -> Vec<f64> {
    let url = format!("http://{address}/service_output");
    let body = ask(&flowers()[149].input);
    let answer = reqwest::Client::new()
        .post(url)
        .json(&body)
        .send()
        .await
        .expect("an answer");
    let answer: Value = answer.json().await.expect("JSON");
    let values = answer["result"][0]["values"]
        .as_array()
        .expect("a vector")
        .iter();
    values
        .map(|value| value.as_f64().expect("a number"))
        .collect()
}

#[tokio::test]
async fn it_tells_its_port_answers_and_dies_with_its_parent() {
    let mut child = service()
        .args(["--listen", "127.0.0.1:0", "--exit-with-stdin"])
        .spawn()
        .expect("starts");
    let address = ready_address(&mut child);
    assert!(address.ip().is_loopback() && address.port() != 0);
    let probabilities = classify(address).await;
    assert!((probabilities[2] - flowers()[149].probabilities[2]).abs() < 1e-6);

    // The kernel closes the pipe in the same way when the parent is killed.
    drop(child.stdin.take());
    assert!(exit(&mut child).success());
    assert!(TcpStream::connect(address).is_err());
}

#[tokio::test]
async fn a_signal_ends_it_in_order_and_a_closed_input_alone_does_not() {
    let mut child = service()
        .args(["--listen", "127.0.0.1:0"])
        .spawn()
        .expect("starts");
    drop(child.stdin.take());
    let address = ready_address(&mut child);
    assert_eq!(classify(address).await.len(), 3);
    let killed = Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .expect("kill runs");
    assert!(killed.success());
    assert!(exit(&mut child).success());
}

/// Runs a service that must not come up.
fn failure(command: &mut Command) -> String {
    let mut child = command
        .args(["--listen", "127.0.0.1:0"])
        .spawn()
        .expect("starts");
    let status = exit(&mut child);
    let Output { stdout, stderr, .. } = child.wait_with_output().expect("output");
    assert!(!status.success() && stdout.is_empty());
    String::from_utf8(stderr).expect("text")
}

#[test]
fn what_cannot_work_is_said_and_ends_it() {
    let error = failure(service().args(["--default-model", "local/infernet/rose:rose.onnx"]));
    assert!(error.contains("error: E-MOD-001"), "{error}");
    let error = failure(service().args(["--default-model", "rose"]));
    assert!(error.contains("E-MID-001"), "{error}");

    let damaged = |file: &str, content: &str| {
        let cache = iris_cache(|repo| fs::write(repo.join(file), content).expect("written"));
        failure(
            service()
                .env("ONNX_CACHE_DIR", cache.path())
                // Values may be JSON.
                .env("ONNX_DEFAULT_MODEL_ID", "\"local/test/iris:iris.onnx\""),
        )
    };
    let error = damaged("iris.onnx", "other bytes");
    assert!(error.contains("error: E-MOD-005"), "{error}");
    let error = damaged("ritual_manifest.json", "{}");
    assert!(error.contains("error: E-MOD-003"), "{error}");

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut child = service()
        .args(["--listen", &address])
        .spawn()
        .expect("starts");
    assert!(!exit(&mut child).success());
    let Output { stderr, .. } = child.wait_with_output().expect("output");
    let error = String::from_utf8(stderr).expect("text");
    assert!(
        error.contains(&format!("error: E-SRV-001: cannot listen on {address}")),
        "{error}"
    );
    assert!(error.contains("choose another port"), "{error}");
}
