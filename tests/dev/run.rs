//! `infernet run`: the same node without a world around it, by a configuration file.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use infernet_node::devnet::{Devnet, DevnetConfig};
use serde_json::{Value, json};

use super::{PATIENCE, dev, ending::signal, text};

/// Starts it and reads where clients connect.
pub(super) fn start(config: &Path) -> (Child, String) {
    let (child, api, _) = start_with_admin(config);
    (child, api)
}

/// Starts it and reads where clients and the operator connect.
pub(super) fn start_with_admin(config: &Path) -> (Child, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_infernet"))
        .args(["run", "--config"])
        .arg(config)
        .env("INFERNET_PRIVATE_KEY", dev_key())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first = lines.next().expect("a line").expect("text");
    let mut urls = first
        .split(|c: char| c.is_whitespace() || c == ')')
        .filter(|word| word.starts_with("http://"))
        .map(str::to_owned);
    let mut url = || urls.next().expect("a URL");
    let (api, admin) = (url(), url());
    let rest: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|line| line != "ready")
        .collect();
    assert!(
        rest.iter().all(|line| line.starts_with("account   0x")),
        "{rest:?}"
    );
    (child, api, admin)
}

fn dev_key() -> &'static str {
    infernet_node::dev::Role::Node.key()
}

#[test]
fn a_node_of_its_own_serves_a_chain_and_stops_when_told_to() {
    let home = tempfile::tempdir().expect("a directory");
    // A world that was made before lends its chain.
    let world = home.path().join("world");
    let output = dev(Some(&world), &["--once"]).output().expect("starts");
    assert!(output.status.success(), "{}", text(&output));
    // The chain serves while this thread waits for the node.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let chain = runtime.block_on(Devnet::start(DevnetConfig {
        dir: Some(world.join("devnet")),
        ..DevnetConfig::default()
    }));
    let chain = chain.expect("starts");
    let service = Path::new(env!("CARGO_BIN_EXE_infernet")).with_file_name("infernet-service");
    let config = home.path().join("node.toml");
    let written = format!(
        r#"
        data_dir = {data_dir:?}
        [server]
        listen = "127.0.0.1:0"
        admin_listen = "127.0.0.1:0"
        [chain]
        rpc_url = "{rpc}"
        registry = "0x663F3ad617193148711d28f5334eE4Ed07016602"
        payment_wallet = "0x60985ee8192B322c3CAbA97A9A9f7298bdc4335C"
        [[containers]]
        id = "onnx-iris"
        command = [{service:?}, "onnx", "--listen", "127.0.0.1:0", "--exit-with-stdin"]
        external = true
        "#,
        data_dir = home.path().join("node"),
        rpc = chain.url(),
    );
    fs::write(&config, written).expect("writable");

    let (mut child, api) = start(&config);
    let data = json!({
        "model_id": "local/infernet/iris:iris.onnx",
        "inputs": { "input": { "dtype": 1, "shape": [1, 4], "values": [5.1, 3.5, 1.4, 0.2] } },
    });
    let (info, job): (Value, Value) = runtime.block_on(async {
        let get = async |url: String| -> Value {
            let answer = reqwest::get(url).await.expect("answers");
            answer.json().await.expect("JSON")
        };
        let answer = reqwest::Client::new()
            .post(format!("{api}/api/jobs"))
            .json(&json!({ "containers": ["onnx-iris"], "data": data }))
            .send()
            .await
            .expect("answers");
        let accepted: Value = answer.json().await.expect("JSON");
        let id = accepted["id"].as_str().expect("an id");
        let job = get(format!("{api}/api/jobs?id={id}&wait=60")).await;
        // A slow machine may have started it without the chain, which it goes on asking for.
        let begun = Instant::now();
        loop {
            let info = get(format!("{api}/info")).await;
            if info["chain"]["enabled"] == true || begun.elapsed() > PATIENCE {
                return (info, job);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert_eq!(info["chain"]["enabled"], true, "{info}");
    assert_eq!(
        info["chain"]["address"],
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    );
    assert_eq!(job[0]["status"], "success", "{job}");

    signal("TERM", child.id());
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    runtime.block_on(chain.shutdown());
}
