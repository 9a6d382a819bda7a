//! The circuit breaker from the outside: an answer that reverts in its block pauses intake, and
//! everybody is told.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use alloy::providers::Provider as _;
use infernet_node::{
    dev::{self, CONSUMER, Flower, Role, Sender},
    devnet::{Devnet, DevnetConfig, Mining},
};
use serde_json::{Value, json};

use super::{PATIENCE, ending::signal};

/// Code that reverts whatever it is asked: `PUSH1 0, PUSH1 0, REVERT`.
const REVERTS: &str = "0x60006000fd";

async fn get(url: &str) -> (u16, Value) {
    let answer = reqwest::get(url).await.expect("answers");
    let status = answer.status().as_u16();
    (status, answer.json().await.expect("JSON"))
}

/// Waits until an account has a transaction in the pool.
async fn wait_for_pool(sender: &Sender) {
    let begun = Instant::now();
    loop {
        let mined = sender.provider().get_transaction_count(sender.address());
        if sender.nonce().await.expect("a nonce") > mined.await.expect("a nonce") {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "nothing is sent");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_loss_pauses_intake_and_everybody_is_told() {
    let home = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let chain = runtime.block_on(async {
        let chain = Devnet::start(DevnetConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            ..DevnetConfig::default()
        })
        .await
        .expect("a chain");
        dev::deploy(&chain.url()).await.expect("contracts");
        chain.set_mining(Mining::Manual).await.expect("taken");
        chain
    });
    let service = Path::new(env!("CARGO_BIN_EXE_infernet")).with_file_name("infernet-service");
    let config = home.path().join("node.toml");
    let text = format!(
        r#"
        data_dir = {data_dir:?}
        [server]
        listen = "127.0.0.1:0"
        admin_listen = "127.0.0.1:0"
        [limits]
        delivery_attempts = 1
        breaker_losses = 1
        breaker_pause_s = 86400
        [chain]
        rpc_url = "{rpc}"
        registry = "{registry}"
        payment_wallet = "{wallet}"
        trail_head_blocks = 0
        poll_interval_ms = 20
        [[containers]]
        id = "{container}"
        command = [{service:?}, "onnx", "--listen", "127.0.0.1:0", "--exit-with-stdin"]
        external = true
        "#,
        data_dir = home.path().join("node"),
        rpc = chain.url(),
        registry = dev::REGISTRY,
        wallet = dev::NODE_WALLET,
        container = dev::CONTAINER,
    );
    fs::write(&config, text).expect("writable");
    let errors = home.path().join("errors");
    let mut child = Command::new(env!("CARGO_BIN_EXE_infernet"))
        .args(["run", "--config"])
        .arg(&config)
        .env("INFERNET_PRIVATE_KEY", Role::Node.key())
        .env_remove("INFERNET_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&errors).expect("a file"))
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first = lines.next().expect("a line").expect("text");
    let urls: Vec<String> = first
        .split(|c: char| c.is_whitespace() || c == ')')
        .filter(|word| word.starts_with("http://"))
        .map(str::to_owned)
        .collect();
    let [api, admin] = urls.as_slice() else {
        panic!("no two URLs in {first}");
    };

    runtime.block_on(async {
        let url = chain.url();
        let consumer = Sender::connect(&url, Role::Consumer.signer())
            .await
            .expect("a chain");
        let node = Sender::connect(&url, Role::Node.signer())
            .await
            .expect("a chain");
        let cheat = async |method: &'static str, params: Value| {
            let answer = consumer.provider().raw_request(method.into(), params);
            let _: Value = answer.await.expect(method);
        };
        let (asked, ()) = tokio::join!(
            dev::ask_onchain(&url, Flower([5.1, 3.5, 1.4, 0.2])),
            async {
                wait_for_pool(&consumer).await;
                cheat("evm_mine", json!([])).await;
            }
        );
        asked.expect("in a block");
        // What was worth sending is worth nothing in its block.
        wait_for_pool(&node).await;
        cheat("anvil_setCode", json!([CONSUMER, REVERTS])).await;
        let (_, before) = get(&format!("{admin}/admin/status")).await;
        assert_eq!(before["breaker"]["paused"], false, "{before}");
        assert_eq!(before["breaker"]["opens_at"], 1, "{before}");
        cheat("evm_mine", json!([])).await;

        let begun = Instant::now();
        let health = loop {
            let (status, health) = get(&format!("{api}/health")).await;
            if status == 503 {
                break health;
            }
            assert!(begun.elapsed() < PATIENCE, "{health}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let reason = health["reasons"][0].as_str().expect("a reason");
        assert!(
            reason.starts_with("no new work is taken in: paused until 20")
                && reason.ends_with(" UTC after a loss"),
            "{health}"
        );
        let (_, status) = get(&format!("{admin}/admin/status")).await;
        let breaker = &status["breaker"];
        assert_eq!(
            (&breaker["losses"], &breaker["paused"]),
            (&json!(1), &json!(true))
        );
        assert!(breaker["until_ms"].is_u64(), "{status}");
        let (_, deliveries) = get(&format!("{admin}/api/deliveries")).await;
        let lost = &deliveries["deliveries"][0];
        assert_eq!(lost["state"], "abandoned", "{lost}");
        assert_eq!(lost["loss"], "it reverted on chain", "{lost}");
        assert_eq!(lost["reverts"], 1, "{lost}");
        let refused = reqwest::Client::new()
            .post(format!("{api}/api/jobs"))
            .json(&json!({ "containers": [dev::CONTAINER], "data": {} }))
            .send()
            .await
            .expect("answers");
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
    });
    signal("TERM", child.id());
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    let said = fs::read_to_string(errors).expect("readable");
    let told = said
        .matches("no new work is taken in: paused until")
        .count();
    assert_eq!(told, 1, "{said}");
    runtime.block_on(chain.shutdown());
}
