//! What is acknowledged stays, whatever happens to the process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use alloy::primitives::{B256, U256, address};
use infernet_node::devnet::{Devnet, DevnetConfig, DevnetError, dev_addresses};
use serde_json::{Value, json};

use crate::probe::{client, creation, rpc, start};

fn config(dir: &Path) -> DevnetConfig {
    DevnetConfig {
        dir: Some(dir.to_path_buf()),
        ..DevnetConfig::default()
    }
}

/// Every block with its transactions and receipts, and what a few accounts own.
async fn picture(url: &str) -> Value {
    let head = rpc(url, "eth_blockNumber", json!([])).await.unwrap();
    let head = u64::from_str_radix(&head.as_str().unwrap()[2..], 16).unwrap();
    let mut blocks = Vec::new();
    for number in 0..=head {
        let id = format!("{number:#x}");
        blocks.push(
            rpc(url, "eth_getBlockByNumber", json!([id, true]))
                .await
                .unwrap(),
        );
        blocks.push(rpc(url, "eth_getBlockReceipts", json!([id])).await.unwrap());
    }
    let mut accounts = Vec::new();
    for account in dev_addresses() {
        accounts.push(
            rpc(url, "eth_getBalance", json!([account, "latest"]))
                .await
                .unwrap(),
        );
        accounts.push(
            rpc(url, "eth_getTransactionCount", json!([account, "pending"]))
                .await
                .unwrap(),
        );
    }
    json!({ "blocks": blocks, "accounts": accounts })
}

#[tokio::test]
async fn a_restart_gives_the_same_chain() {
    let dir = tempfile::tempdir().unwrap();
    let chain = start(config(dir.path())).await;
    let url = chain.url();
    let [zero, one, two] = [0, 1, 2].map(|index| dev_addresses()[index]);
    let call = |method: &'static str, params: Value| {
        let url = url.clone();
        async move { rpc(&url, method, params).await.unwrap() }
    };
    let deploy = json!([{ "from": zero, "data": creation(5) }]);
    call("eth_sendTransaction", deploy.clone()).await;
    call("evm_increaseTime", json!([3600])).await;
    call("evm_setNextBlockTimestamp", json!([4_000_000_000u64])).await;
    call("evm_mine", json!([])).await;
    call("anvil_setBalance", json!([one, "0x10"])).await;
    call(
        "anvil_setCode",
        json!([
            address!("0x00000000000000000000000000000000000000cc"),
            "0x00"
        ]),
    )
    .await;
    call("anvil_setStorageAt", json!([zero.create(0), "0x0", "0x2a"])).await;
    call("anvil_setNonce", json!([two, "0x20"])).await;
    call(
        "anvil_impersonateAccount",
        json!([B256::repeat_byte(1)[..20]
            .iter()
            .fold(String::from("0x"), |text, byte| text
                + &format!("{byte:02x}"),)]),
    )
    .await;
    let snapshot = call("evm_snapshot", json!([])).await;
    call("eth_sendTransaction", deploy).await;
    call("evm_revert", json!([snapshot])).await;
    for _ in 0..3 {
        call(
            "eth_sendTransaction",
            json!([{ "from": zero, "to": two, "value": "0x9" }]),
        )
        .await;
    }
    call("anvil_reorg", json!([2])).await;
    call("evm_setAutomine", json!([false])).await;
    // These wait in the pool, one of them behind a nonce gap.
    call(
        "eth_sendTransaction",
        json!([{ "from": zero, "to": two, "value": "0x7" }]),
    )
    .await;
    call(
        "eth_sendTransaction",
        json!([{ "from": two, "to": zero, "nonce": "0x25", "gas": "0x5208" }]),
    )
    .await;
    let before = picture(&url).await;
    let pool = call("txpool_status", json!([])).await;
    assert_eq!(pool, json!({ "pending": "0x1", "queued": "0x1" }));
    chain.shutdown().await;

    for _ in 0..2 {
        let mining = infernet_node::devnet::Mining::Manual;
        let chain = start(DevnetConfig {
            mining,
            ..config(dir.path())
        })
        .await;
        assert_eq!(picture(&chain.url()).await, before);
        assert_eq!(
            rpc(&chain.url(), "txpool_status", json!([])).await.unwrap(),
            pool
        );
        let slot = json!([zero.create(0), "0x0", "latest"]);
        let word = rpc(&chain.url(), "eth_getStorageAt", slot).await.unwrap();
        assert_eq!(word, json!(B256::from(U256::from(0x2a))));
        chain.shutdown().await;
    }
}

#[tokio::test]
async fn foreign_and_damaged_directories_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let chain = start(config(dir.path())).await;
    let held = Devnet::start(config(dir.path())).await.unwrap_err();
    assert!(matches!(held, DevnetError::Locked(_)), "{held}");
    chain.shutdown().await;

    let other = DevnetConfig {
        chain_id: 1337,
        ..config(dir.path())
    };
    let error = Devnet::start(other).await.unwrap_err();
    assert!(matches!(
        error,
        DevnetError::OtherChain {
            found: 31_337,
            expected: 1_337,
            ..
        }
    ));

    let path = dir.path().join("devnet.journal");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = Devnet::start(config(dir.path())).await.unwrap_err();
    assert!(matches!(error, DevnetError::Damaged { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

/// The child of the test below: a chain that runs until it is killed.
#[tokio::test]
#[ignore = "started by kill_9_takes_nothing_back"]
async fn chain_to_be_killed() {
    let Some(dir) = std::env::var_os("DEVNET_TEST_DIR") else {
        return;
    };
    let chain = start(config(Path::new(&dir))).await;
    println!("\nlistening on {}", chain.url());
    std::future::pending::<()>().await;
}

fn spawn(dir: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "persistence::chain_to_be_killed",
            "--ignored",
            "--nocapture",
        ])
        .env("DEVNET_TEST_DIR", dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let url = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .find_map(|line| {
            line.unwrap()
                .strip_prefix("listening on ")
                .map(String::from)
        })
        .unwrap();
    (child, url)
}

#[tokio::test]
async fn kill_9_takes_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<Value> = Vec::new();
    for round in 0..5 {
        let (mut child, url) = spawn(dir.path());
        for hash in &acknowledged {
            let receipt = rpc(&url, "eth_getTransactionReceipt", json!([hash]))
                .await
                .unwrap();
            assert_eq!(receipt["status"], "0x1", "round {round}: {hash} is gone");
        }
        let client = client();
        let sender = tokio::spawn(async move {
            let mut hashes = Vec::new();
            loop {
                let request = json!({
                    "jsonrpc": "2.0", "id": 1, "method": "eth_sendTransaction",
                    "params": [{ "from": dev_addresses()[round], "to": dev_addresses()[9] }],
                });
                let Ok(answer) = client.post(&url).json(&request).send().await else {
                    break;
                };
                let Ok(answer) = answer.json::<Value>().await else {
                    break;
                };
                hashes.push(answer["result"].clone());
            }
            hashes
        });
        tokio::time::sleep(std::time::Duration::from_millis(150 + 70 * round as u64)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let hashes = sender.await.unwrap();
        assert!(!hashes.is_empty());
        acknowledged.extend(hashes);
    }
    let chain = start(config(dir.path())).await;
    let (head, _) = chain.head();
    // Each has its own block; the killed process may have finished one more each round.
    assert!((acknowledged.len()..=acknowledged.len() + 5).contains(&(head as usize)));
}
