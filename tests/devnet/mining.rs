//! Blocks in a rhythm, the pool, time, snapshots and reorgs.

use std::time::Duration;

use alloy::network::TransactionBuilder;
use alloy::primitives::{B256, U256, address};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use infernet_node::devnet::{ConsoleMessage, DevnetConfig, Mining, dev_addresses};
use serde_json::{Value, json};

use crate::probe::{Probe, deployed, rpc, start, wallet};

fn manual() -> DevnetConfig {
    DevnetConfig {
        mining: Mining::Manual,
        ..DevnetConfig::default()
    }
}

fn transfer(nonce: u64, fee: u64, value: u64) -> Value {
    json!([{
        "from": dev_addresses()[0],
        "to": dev_addresses()[1],
        "nonce": format!("{nonce:#x}"),
        "gas": "0x5208",
        "value": format!("{value:#x}"),
        "maxFeePerGas": format!("{fee:#x}"),
        "maxPriorityFeePerGas": format!("{:#x}", fee / 4),
    }])
}

#[tokio::test]
async fn the_pool_orders_replaces_and_waits_for_gaps() {
    let chain = start(manual()).await;
    let url = chain.url();
    let send = |params: Value| rpc(&url, "eth_sendTransaction", params);
    let pending = json!([dev_addresses()[0], "pending"]);
    let gwei = 1_000_000_000;

    let first = send(transfer(0, 4 * gwei, 1)).await.unwrap();
    let behind_gap = send(transfer(2, 4 * gwei, 1)).await.unwrap();
    assert_eq!(
        rpc(&url, "eth_getTransactionCount", pending.clone())
            .await
            .unwrap(),
        "0x1"
    );
    let known = send(transfer(0, 4 * gwei, 1)).await.unwrap_err();
    assert_eq!(known["message"], "already known");
    let cheap = send(transfer(0, 4 * gwei + gwei / 4, 1)).await.unwrap_err();
    assert_eq!(cheap["message"], "replacement transaction underpriced");
    let replacement = send(transfer(0, 5 * gwei, 2)).await.unwrap();

    // Nothing is mined, but the pending state knows it.
    let balance = |tag: &str| rpc(&url, "eth_getBalance", json!([dev_addresses()[1], tag]));
    let before = balance("latest").await.unwrap();
    assert_ne!(balance("pending").await.unwrap(), before);
    let block = rpc(&url, "eth_getBlockByNumber", json!(["pending", false]))
        .await
        .unwrap();
    assert_eq!(block["transactions"], json!([replacement]));
    assert_eq!(block["hash"], Value::Null);

    rpc(&url, "evm_mine", json!([])).await.unwrap();
    let gone = rpc(&url, "eth_getTransactionByHash", json!([first]))
        .await
        .unwrap();
    assert_eq!(gone, Value::Null);
    let waiting = rpc(&url, "eth_getTransactionByHash", json!([behind_gap]))
        .await
        .unwrap();
    assert_eq!(waiting["blockHash"], Value::Null);

    // The gap is filled: both are mined, in order.
    let filling = send(transfer(1, 4 * gwei, 1)).await.unwrap();
    assert_eq!(
        rpc(&url, "eth_getTransactionCount", pending).await.unwrap(),
        "0x3"
    );
    rpc(&url, "evm_mine", json!([])).await.unwrap();
    let block = rpc(&url, "eth_getBlockByNumber", json!(["latest", false]))
        .await
        .unwrap();
    assert_eq!(block["transactions"], json!([filling, behind_gap]));

    // Better tips first, whoever was there before.
    let mut poor = transfer(3, 4 * gwei, 1);
    let mut rich = transfer(0, 9 * gwei, 1);
    poor[0]["data"] = json!("0x");
    rich[0]["from"] = json!(dev_addresses()[2]);
    let poor = send(poor).await.unwrap();
    let rich = send(rich).await.unwrap();
    rpc(&url, "evm_mine", json!([])).await.unwrap();
    let block = rpc(&url, "eth_getBlockByNumber", json!(["latest", false]))
        .await
        .unwrap();
    assert_eq!(block["transactions"], json!([rich, poor]));

    // Below the base fee it waits until the fee has fallen.
    rpc(&url, "anvil_setNextBlockBaseFeePerGas", json!([2 * gwei]))
        .await
        .unwrap();
    let low = send(transfer(4, gwei, 1)).await.unwrap();
    rpc(&url, "evm_mine", json!([])).await.unwrap();
    let receipt = |hash: Value| rpc(&url, "eth_getTransactionReceipt", json!([hash]));
    assert_eq!(receipt(low.clone()).await.unwrap(), Value::Null);
    rpc(&url, "anvil_mine", json!([8])).await.unwrap();
    assert_eq!(receipt(low).await.unwrap()["status"], "0x1");
}

#[tokio::test]
async fn blocks_come_in_a_rhythm() {
    let mining = Mining::Interval(Duration::from_millis(100));
    let chain = start(DevnetConfig {
        mining,
        ..DevnetConfig::default()
    })
    .await;
    let provider = wallet(&chain.url());
    provider
        .client()
        .set_poll_interval(Duration::from_millis(20));
    let request = TransactionRequest::default()
        .with_to(dev_addresses()[1])
        .with_value(U256::from(1));
    let receipt = provider
        .send_transaction(request)
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    assert!(receipt.status() && receipt.block_number >= Some(1));
    let (before, _) = chain.head();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (after, _) = chain.head();
    assert!(
        (4..=12).contains(&(after - before)),
        "{} blocks in a second",
        after - before
    );
    // Many blocks in a second do not make the chain's clock run ahead.
    let block = provider
        .get_block_by_number(after.into())
        .await
        .unwrap()
        .unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!(block.header.timestamp <= now.as_secs());
    rpc(&chain.url(), "evm_setIntervalMining", json!([0]))
        .await
        .unwrap();
    let (stopped, _) = chain.head();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(chain.head().0, stopped);
}

#[tokio::test]
async fn time_moves_as_told() {
    let chain = start(DevnetConfig::default()).await;
    let url = chain.url();
    let time = || async {
        let block = rpc(&url, "eth_getBlockByNumber", json!(["latest", false]))
            .await
            .unwrap();
        u64::from_str_radix(&block["timestamp"].as_str().unwrap()[2..], 16).unwrap()
    };
    let start = time().await;
    rpc(&url, "evm_increaseTime", json!([1000])).await.unwrap();
    rpc(&url, "evm_mine", json!([])).await.unwrap();
    assert!((start + 1000..start + 1010).contains(&time().await));
    rpc(&url, "evm_setNextBlockTimestamp", json!([start + 5000]))
        .await
        .unwrap();
    rpc(&url, "evm_mine", json!([])).await.unwrap();
    assert_eq!(time().await, start + 5000);
    // The clock goes on from there.
    rpc(&url, "evm_mine", json!([])).await.unwrap();
    assert!((start + 5000..start + 5010).contains(&time().await));
    rpc(&url, "evm_mine", json!([{ "timestamp": start + 9000 }]))
        .await
        .unwrap();
    assert_eq!(time().await, start + 9000);
    rpc(&url, "anvil_mine", json!(["0x3", "0x3c"]))
        .await
        .unwrap();
    assert!((start + 9120..start + 9130).contains(&time().await));
    let past = rpc(&url, "evm_setNextBlockTimestamp", json!([start]))
        .await
        .unwrap_err();
    assert_eq!(past["code"], -32602);
}

#[tokio::test]
async fn snapshots_and_reorgs_rewrite_the_chain() {
    let chain = start(DevnetConfig::default()).await;
    let url = chain.url();
    let to = address!("0x00000000000000000000000000000000000000bb");
    let send = |value: u64| {
        let request = json!([{ "from": dev_addresses()[0], "to": to, "value": value.to_string() }]);
        let mut request = request;
        request[0]["value"] = json!(format!("{value:#x}"));
        rpc(&url, "eth_sendTransaction", request)
    };
    let balance = || rpc(&url, "eth_getBalance", json!([to, "latest"]));
    let receipt = |hash: Value| rpc(&url, "eth_getTransactionReceipt", json!([hash]));
    send(1).await.unwrap();
    let snapshot = rpc(&url, "evm_snapshot", json!([])).await.unwrap();
    let undone = send(2).await.unwrap();
    assert_eq!(balance().await.unwrap(), "0x3");
    assert_eq!(
        rpc(&url, "evm_revert", json!([snapshot])).await.unwrap(),
        true
    );
    assert_eq!(balance().await.unwrap(), "0x1");
    assert_eq!(receipt(undone).await.unwrap(), Value::Null);
    assert_eq!(
        rpc(&url, "evm_revert", json!([snapshot])).await.unwrap(),
        false
    );

    let kept = send(4).await.unwrap();
    let orphan = send(8).await.unwrap();
    let old = chain.head();
    let dropped = json!([{ "depth": 1, "orphans": "dropped" }]);
    rpc(&url, "infernet_reorg", dropped).await.unwrap();
    assert_eq!(chain.head().0, old.0);
    assert_ne!(chain.head().1, old.1);
    assert_eq!(
        rpc(&url, "eth_getBlockByHash", json!([old.1, false]))
            .await
            .unwrap(),
        Value::Null
    );
    assert_eq!(receipt(orphan).await.unwrap(), Value::Null);
    assert_eq!(receipt(kept.clone()).await.unwrap()["status"], "0x1");
    assert_eq!(balance().await.unwrap(), "0x5");

    // Orphans that are mined again land in the first new block; a longer branch wins.
    let again = send(16).await.unwrap();
    let before = receipt(again.clone()).await.unwrap();
    let remined = json!([{ "depth": 1, "length": 3, "orphans": "remined" }]);
    rpc(&url, "infernet_reorg", remined).await.unwrap();
    let after = receipt(again).await.unwrap();
    assert_eq!(after["blockNumber"], before["blockNumber"]);
    assert_ne!(after["blockHash"], before["blockHash"]);
    assert_eq!(chain.head().0, old.0 + 3);
    assert_eq!(balance().await.unwrap(), "0x15");

    let too_deep = rpc(&url, "infernet_reorg", json!([{ "depth": 100 }]))
        .await
        .unwrap_err();
    assert_eq!(too_deep["code"], -32602);
}

#[tokio::test]
async fn impersonated_accounts_send_without_a_key() {
    let chain = start(DevnetConfig::default()).await;
    let url = chain.url();
    let whale = address!("0x00000000000000000000000000000000000a11ce");
    let request = json!([{ "from": whale, "to": dev_addresses()[0], "value": "0x1" }]);
    rpc(
        &url,
        "anvil_setBalance",
        json!([whale, "0xde0b6b3a7640000"]),
    )
    .await
    .unwrap();
    let refused = rpc(&url, "eth_sendTransaction", request.clone())
        .await
        .unwrap_err();
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("neither unlocked nor impersonated")
    );
    rpc(&url, "anvil_impersonateAccount", json!([whale]))
        .await
        .unwrap();
    let hash = rpc(&url, "eth_sendTransaction", request.clone())
        .await
        .unwrap();
    let receipt = rpc(&url, "eth_getTransactionReceipt", json!([hash]))
        .await
        .unwrap();
    assert_eq!(receipt["from"], json!(whale));
    rpc(&url, "anvil_stopImpersonatingAccount", json!([whale]))
        .await
        .unwrap();
    assert!(rpc(&url, "eth_sendTransaction", request).await.is_err());
}

#[tokio::test]
async fn filters_report_news_once() {
    let chain = start(DevnetConfig::default()).await;
    let url = chain.url();
    let provider = wallet(&url);
    let probe = Probe::new(deployed(&provider, 0).await, &provider);
    let logs = rpc(
        &url,
        "eth_newFilter",
        json!([{ "address": probe.address() }]),
    )
    .await
    .unwrap();
    let blocks = rpc(&url, "eth_newBlockFilter", json!([])).await.unwrap();
    probe
        .set(U256::from(3), "a".into())
        .send()
        .await
        .unwrap()
        .watch()
        .await
        .unwrap();
    let news = rpc(&url, "eth_getFilterChanges", json!([logs]))
        .await
        .unwrap();
    assert_eq!(news.as_array().unwrap().len(), 1);
    let news = rpc(&url, "eth_getFilterChanges", json!([blocks]))
        .await
        .unwrap();
    assert_eq!(news, json!([chain.head().1]));
    for filter in [&logs, &blocks] {
        let news = rpc(&url, "eth_getFilterChanges", json!([filter]))
            .await
            .unwrap();
        assert_eq!(news, json!([]));
    }
    assert_eq!(
        rpc(&url, "eth_uninstallFilter", json!([logs]))
            .await
            .unwrap(),
        true
    );
    assert!(
        rpc(&url, "eth_getFilterChanges", json!([logs]))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn contracts_speak_when_mined_and_only_then() {
    let chain = start(DevnetConfig::default()).await;
    let provider = wallet(&chain.url());
    let probe = Probe::new(deployed(&provider, 0).await, &provider);
    let mut console = chain.console();
    probe.speak(U256::from(42)).call().await.unwrap();
    let receipt = probe
        .speak(U256::from(42))
        .send()
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    let expected = [
        "hello from the contract".to_string(),
        "number 42".to_string(),
        dev_addresses()[0].to_string(),
    ];
    for (index, text) in (0..).zip(&expected) {
        let message = ConsoleMessage {
            block_number: receipt.block_number.unwrap(),
            transaction_hash: receipt.transaction_hash,
            index,
            text: text.clone(),
        };
        assert_eq!(console.try_recv().unwrap(), message);
    }
    assert!(console.try_recv().is_err());
    let hash: B256 = receipt.transaction_hash;
    let outcome = rpc(&chain.url(), "infernet_transactionOutcome", json!([hash]))
        .await
        .unwrap();
    assert_eq!(outcome["console"], json!(expected));
}
