//! A disk that fills up while the world runs: the process stops and says so, and when there is
//! room again nothing that was acknowledged is missing.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{Running, dev, place, runtime};

/// A limit on the size of files stands for the full disk, in KiB: the database of an almost empty
/// log fits, and not much more.
const FILE_KIB_MAX: usize = 12 * 1024;

/// More writes than fit below the limit.
const WRITES: usize = 400;

/// Starts `infernet dev` on a disk that will soon be full.
fn limited(data_dir: &Path, errors: &Path) -> Running {
    let command = dev(Some(data_dir), &["--no-request"]);
    let mut shell = Command::new("bash");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\""])
        .arg(FILE_KIB_MAX.to_string())
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(errors).expect("a file"));
    Running::of(shell)
}

async fn post(url: &str, body: &Value) -> Option<Value> {
    let answer = reqwest::Client::new().post(url).json(body).send().await;
    answer.ok()?.json().await.ok()
}

/// Writes until the process under test has ended; gives what was acknowledged.
fn fill(data_dir: &Path, code: &str, write: impl AsyncFn(usize) -> Option<String>) -> Vec<String> {
    let errors = data_dir.with_extension("errors");
    let mut running = limited(data_dir, &errors);
    running.wait_for("ready");
    let acknowledged = runtime().block_on(async {
        let mut acknowledged = Vec::new();
        for number in 0..WRITES {
            match write(number).await {
                Some(written) => acknowledged.push(written),
                None => return acknowledged,
            }
        }
        panic!("{WRITES} writes fit");
    });
    let ended = running.code();
    let said = fs::read_to_string(errors).expect("readable");
    assert_eq!(ended, Some(5), "{said}");
    assert!(said.contains(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(!acknowledged.is_empty(), "{said}");
    acknowledged
}

#[test]
fn a_log_that_cannot_grow_stops_the_node_and_loses_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let data_dir = home.path().join("world");
    let padding = "x".repeat(1024 * 1024);
    let jobs = fill(&data_dir, "E-LOG-001", async |number| {
        let data = json!({ "number": number, "padding": padding });
        let body = json!({ "containers": ["onnx-iris"], "data": data });
        let api = place(&data_dir).api;
        let answer = post(&format!("{api}/api/jobs"), &body).await?;
        Some(answer["id"].as_str()?.to_owned())
    });

    let mut running = Running::start(&data_dir, &["--no-request"]);
    running.wait_for("ready");
    let api = place(&data_dir).api;
    let known: Vec<Value> = runtime().block_on(async {
        let ids: Vec<_> = jobs.iter().map(|id| format!("id={id}")).collect();
        let url = format!("{api}/api/jobs?{}", ids.join("&"));
        let answer = reqwest::get(url).await.expect("answers");
        answer.json().await.expect("a list")
    });
    let known: Vec<_> = known.iter().filter_map(|job| job["id"].as_str()).collect();
    assert_eq!(known, jobs);
}

#[test]
fn a_chain_that_cannot_grow_stops_the_world_and_loses_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let data_dir = home.path().join("world");
    let call = |method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let data = format!("0x{}", "00".repeat(100 * 1024));
    let account = "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc";
    let transactions = fill(&data_dir, "E-DEVNET-010", async |_| {
        let transaction =
            json!({ "from": account, "to": account, "data": data, "gas": "0x3d0900" });
        let rpc = place(&data_dir).world.rpc;
        let answer = post(&rpc, &call("eth_sendTransaction", json!([transaction]))).await?;
        Some(answer["result"].as_str()?.to_owned())
    });

    let mut running = Running::start(&data_dir, &["--no-request"]);
    running.wait_for("ready");
    let rpc = place(&data_dir).world.rpc;
    runtime().block_on(async {
        for transaction in &transactions {
            let answer = post(
                &rpc,
                &call("eth_getTransactionReceipt", json!([transaction])),
            )
            .await;
            let answer = answer.expect("answers");
            assert_eq!(answer["result"]["status"], "0x1", "{answer}");
        }
    });
}
