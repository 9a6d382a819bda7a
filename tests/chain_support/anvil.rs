//! Foundry's development chain as a child process.

use std::{path::PathBuf, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// A running anvil; ends with this value.
pub struct Anvil {
    _child: Child,
    url: String,
    client: reqwest::Client,
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("INFERNET_ANVIL") {
        return path.into();
    }
    let platform = format!(
        "anvil-{}-{}",
        match std::env::consts::OS {
            "macos" => "darwin",
            other => other,
        },
        match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    );
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("contracts/node_modules/@foundry-rs")
        .join(platform)
        .join("bin/anvil");
    assert!(
        path.exists(),
        "anvil is missing at {}: run `npm ci` in contracts/, or set INFERNET_ANVIL",
        path.display()
    );
    path
}

impl Anvil {
    /// A chain that mines a block per transaction.
    pub async fn start() -> Self {
        let mut child = Command::new(binary())
            .args([
                "--port",
                "0",
                "--host",
                "127.0.0.1",
                "--slots-in-an-epoch",
                "1",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("anvil starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await.expect("a line") {
                if let Some(address) = line.strip_prefix("Listening on ") {
                    return format!("http://{}", address.trim());
                }
            }
            panic!("anvil ended before it listened");
        };
        let url = tokio::time::timeout(Duration::from_secs(30), listening)
            .await
            .expect("anvil listens in time");
        // Its log must be read on, or it stops when the pipe is full.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            _child: child,
            url,
            client: reqwest::Client::new(),
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends one request and expects a result.
    pub async fn request(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.client.post(&self.url).json(&body).send().await;
        let mut answer: Value = answer
            .expect("anvil answers")
            .json()
            .await
            .expect("with JSON");
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    pub async fn mine(&self, blocks: u64) {
        self.request("anvil_mine", json!([format!("{blocks:#x}")]))
            .await;
    }

    pub async fn head(&self) -> u64 {
        let head = self.request("eth_blockNumber", json!([])).await;
        let digits = head.as_str().expect("a number").trim_start_matches("0x");
        u64::from_str_radix(digits, 16).expect("a number")
    }
}
