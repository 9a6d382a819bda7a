//! Other people's tools: `cast` as a client, and anvil as the measure.
//!
//! Both come from npm (`@foundry-rs/cast` and `@foundry-rs/anvil`, as the contracts' build installs
//! them). Without them the tests say so and pass, except in CI.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alloy::primitives::{Address, U256, address};
use alloy::sol_types::SolCall;
use infernet_node::devnet::{DEV_KEYS, DevnetConfig, dev_addresses};
use serde_json::{Value, json};

use crate::probe::{Probe, creation, rpc, start};

/// The native binary inside the platform's npm package.
fn tool(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("contracts/node_modules/@foundry-rs")
        .join(format!("{name}-linux-amd64/bin/{name}"));
    if path.is_file() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} is missing",
        path.display()
    );
    println!("skipped: {} is not installed", path.display());
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn cast_deploys_sends_and_reads() {
    let Some(cast) = tool("cast") else { return };
    let chain = start(DevnetConfig::default()).await;
    let url = chain.url();
    let run = |arguments: &[&str]| {
        let output = Command::new(&cast)
            .args(arguments)
            .env("ETH_RPC_URL", &url)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "cast {arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text.trim().to_string()
    };
    let key = DEV_KEYS[2].to_string();
    let key = ["--private-key", &key];
    assert_eq!(run(&["chain-id"]), "31337");
    assert_eq!(
        run(&["balance", &dev_addresses()[2].to_string()]),
        "10000000000000000000000"
    );
    let code = creation(5).to_string();
    let deployed = run(&[&["send", "--json"], &key[..], &["--create", &code]].concat());
    let deployed: Value = serde_json::from_str(&deployed).unwrap();
    assert_eq!(deployed["status"], "0x1");
    let contract = dev_addresses()[2].create(0).to_string();
    assert_eq!(
        deployed["contractAddress"].as_str().unwrap().to_lowercase(),
        contract.to_lowercase()
    );
    for legacy in [&[][..], &["--legacy"]] {
        let call = [
            "send",
            &contract,
            "set(uint256,string)",
            "9",
            "note",
            "--json",
        ];
        let receipt = run(&[&call[..], &key, legacy].concat());
        let receipt: Value = serde_json::from_str(&receipt).unwrap();
        assert_eq!(receipt["status"], "0x1");
    }
    assert_eq!(run(&["call", &contract, "value()(uint256)"]), "9");
    assert_eq!(run(&["storage", &contract, "0"]), format!("{:#066x}", 9));
    let logs = run(&[
        "logs",
        "--address",
        &contract,
        "--from-block",
        "0",
        "--json",
    ]);
    assert_eq!(
        serde_json::from_str::<Value>(&logs)
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(run(&["block", "latest"]).contains("baseFeePerGas"));
    assert_eq!(run(&["block-number"]), "3");
    assert_eq!(run(&["nonce", &dev_addresses()[2].to_string()]), "3");
}

struct Anvil {
    child: Child,
    url: String,
}

impl Anvil {
    /// Waits for a receipt: anvil answers before it has mined.
    async fn mined(&self, hash: &Value) {
        for _ in 0..200 {
            let receipt = rpc(&self.url, "eth_getTransactionReceipt", hash.clone())
                .await
                .unwrap();
            if !receipt.is_null() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("anvil does not mine {hash}");
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn anvil(path: PathBuf) -> Anvil {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let child = Command::new(path)
        .args([
            "--port",
            &port.to_string(),
            "--hardfork",
            "prague",
            "--silent",
        ])
        .args(["--timestamp", "1800000000"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let anvil = Anvil {
        child,
        url: format!("http://127.0.0.1:{port}"),
    };
    for _ in 0..300 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return anvil;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("anvil does not start");
}

/// The parts of an answer that do not depend on the wall clock.
fn comparable(mut answer: Value) -> Value {
    // Anvil adds `blobGasPrice` to every receipt; public clients to those of blobs only.
    let volatile = ["blockHash", "blockTimestamp", "timestamp", "blobGasPrice"];
    match &mut answer {
        Value::Object(members) => {
            members.retain(|name, value| !volatile.contains(&name.as_str()) && !value.is_null());
            members
                .values_mut()
                .for_each(|value| *value = comparable(value.take()));
        }
        Value::Array(items) => {
            items
                .iter_mut()
                .for_each(|item| *item = comparable(item.take()));
        }
        _ => {}
    }
    answer
}

/// Calls that must have the same effect on both chains, in order.
fn script() -> Vec<(&'static str, Value)> {
    let [zero, one, two] = [0, 1, 2].map(|index| dev_addresses()[index]);
    let contract = zero.create(0);
    let send = |from: Address, to: Address, data: Vec<u8>, more: Value| {
        let mut request = json!({
            "from": from, "to": to, "data": alloy::primitives::Bytes::from(data),
            "gas": "0x7a120", "maxFeePerGas": "0x12a05f200", "maxPriorityFeePerGas": "0x3b9aca00",
        });
        for (name, value) in more.as_object().unwrap() {
            request[name] = value.clone();
        }
        ("eth_sendTransaction", json!([request]))
    };
    let set = |to: u64, note: &str| {
        Probe::setCall {
            to: U256::from(to),
            note: note.into(),
        }
        .abi_encode()
    };
    let nothing = || json!({});
    vec![
        // Anvil gives block 1 the base fee of block 0; the formula lowers it.
        ("anvil_setNextBlockBaseFeePerGas", json!(["0x3b9aca00"])),
        (
            "eth_sendTransaction",
            json!([{
                "from": zero, "data": creation(3), "gas": "0x1e8480", "value": "0x64",
                "maxFeePerGas": "0x12a05f200", "maxPriorityFeePerGas": "0x3b9aca00",
            }]),
        ),
        send(one, contract, set(7, "seven"), nothing()),
        send(
            one,
            contract,
            set(7, "a longer note that does not fit in one word"),
            nothing(),
        ),
        send(one, contract, set(13, ""), nothing()),
        send(one, contract, set(1001, ""), nothing()),
        send(two, contract, Probe::burnCall {}.abi_encode(), nothing()),
        send(
            two,
            contract,
            Probe::fillCall {
                count: U256::from(12),
            }
            .abi_encode(),
            nothing(),
        ),
        // Refunds, runs out of gas, calldata at its floor price, value to a fresh account.
        send(two, contract, Probe::clearCall {}.abi_encode(), nothing()),
        send(
            two,
            contract,
            Probe::fillCall {
                count: U256::from(50),
            }
            .abi_encode(),
            json!({ "gas": "0x186a0" }),
        ),
        send(two, one, vec![7; 5_000], nothing()),
        send(
            zero,
            address!("0x00000000000000000000000000000000000000ee"),
            vec![],
            json!({ "value": "0x5" }),
        ),
        // Creates with CREATE2 and destroys in the same transaction; speaks to the console.
        send(
            zero,
            contract,
            Probe::spawnCall {
                salt: U256::from(1).into(),
            }
            .abi_encode(),
            nothing(),
        ),
        send(
            zero,
            contract,
            Probe::speakCall {
                number: U256::from(4),
            }
            .abi_encode(),
            nothing(),
        ),
        send(
            one,
            contract,
            set(8, "listed"),
            json!({ "accessList": [{ "address": contract, "storageKeys": [format!("{:#066x}", 0)] }] }),
        ),
        ("evm_increaseTime", json!([60])),
        ("anvil_mine", json!(["0x2", "0xa"])),
        ("anvil_setBalance", json!([one, "0xde0b6b3a7640000"])),
        (
            "anvil_setStorageAt",
            json!([contract, "0x0", format!("{:#066x}", 77)]),
        ),
        ("anvil_setNonce", json!([two, "0x14"])),
        send(two, contract, set(9, "nonce moved"), nothing()),
    ]
}

/// Questions that both chains must answer alike.
fn questions() -> Vec<(&'static str, Value)> {
    let [zero, one, two] = [0, 1, 2].map(|index| dev_addresses()[index]);
    let contract = zero.create(0);
    let call = |data: Vec<u8>| json!({ "from": one, "to": contract, "data": alloy::primitives::Bytes::from(data) });
    let value = call(Probe::valueCall {}.abi_encode());
    let mut questions = vec![
        ("eth_chainId", json!([])),
        ("net_version", json!([])),
        ("eth_accounts", json!([])),
        ("eth_blockNumber", json!([])),
        ("eth_gasPrice", json!([])),
        ("eth_maxPriorityFeePerGas", json!([])),
        ("eth_getCode", json!([contract, "latest"])),
        (
            "eth_getCode",
            json!([infernet_node::devnet::CREATE2_DEPLOYER, "latest"]),
        ),
        (
            "eth_getLogs",
            json!([{ "fromBlock": "0x0", "toBlock": "latest" }]),
        ),
        (
            "eth_getLogs",
            json!([{ "fromBlock": "0x2", "toBlock": "0x3", "address": contract }]),
        ),
        ("eth_call", json!([value, "latest"])),
        ("eth_call", json!([value, "0x2"])),
        (
            "eth_call",
            json!([value, "latest", { contract.to_string(): { "stateDiff": { format!("{:#066x}", 0): format!("{:#066x}", 5) } } }]),
        ),
        (
            "eth_estimateGas",
            json!([{ "from": one, "to": two, "value": "0x1" }]),
        ),
        ("eth_getBalance", json!([one, "0x3"])),
        ("eth_getStorageAt", json!([contract, "0x0", "latest"])),
        (
            "eth_feeHistory",
            json!(["0x8", "latest", [0.0, 50.0, 100.0]]),
        ),
    ];
    for account in [zero, one, two, contract, Address::ZERO] {
        questions.push(("eth_getBalance", json!([account, "latest"])));
        questions.push(("eth_getTransactionCount", json!([account, "latest"])));
    }
    questions
}

#[tokio::test(flavor = "multi_thread")]
async fn anvil_gives_the_same_receipts() {
    let Some(path) = tool("anvil") else { return };
    let anvil = anvil(path).await;
    let chain = start(DevnetConfig {
        timestamp: Some(1_800_000_000),
        ..DevnetConfig::default()
    })
    .await;
    let url = chain.url();
    for (step, (method, params)) in script().into_iter().enumerate() {
        let theirs = rpc(&anvil.url, method, params.clone()).await;
        let ours = rpc(&url, method, params).await;
        if method == "eth_sendTransaction" {
            assert_eq!(ours, theirs, "step {step}");
            let hash = json!([ours.unwrap()]);
            anvil.mined(&hash).await;
            for method in ["eth_getTransactionReceipt", "eth_getTransactionByHash"] {
                let theirs = rpc(&anvil.url, method, hash.clone()).await.unwrap();
                let ours = rpc(&url, method, hash.clone()).await.unwrap();
                assert_eq!(
                    comparable(ours),
                    comparable(theirs),
                    "step {step}: {method}"
                );
            }
        } else {
            assert_eq!(
                ours.is_ok(),
                theirs.is_ok(),
                "step {step}: {ours:?} {theirs:?}"
            );
        }
    }
    for (method, params) in questions() {
        let theirs = rpc(&anvil.url, method, params.clone()).await.unwrap();
        let ours = rpc(&url, method, params.clone()).await.unwrap();
        assert_eq!(comparable(ours), comparable(theirs), "{method} {params}");
    }
    for number in 0..=3 {
        let params = json!([format!("{number:#x}"), true]);
        let mut theirs = rpc(&anvil.url, "eth_getBlockByNumber", params.clone())
            .await
            .unwrap();
        let mut ours = rpc(&url, "eth_getBlockByNumber", params).await.unwrap();
        // What rests on the clock or on chance, and our commitment to the state.
        for name in [
            "hash",
            "parentHash",
            "stateRoot",
            "mixHash",
            "extraData",
            "size",
        ] {
            theirs[name] = Value::Null;
            ours[name] = Value::Null;
        }
        assert_eq!(comparable(ours), comparable(theirs), "block {number}");
    }
    for (params, method) in [
        (
            json!([{ "to": dev_addresses()[0].create(0), "data": alloy::primitives::Bytes::from(Probe::setCall { to: U256::from(13), note: String::new() }.abi_encode()) }, "latest"]),
            "eth_call",
        ),
        (
            json!([{ "to": dev_addresses()[0].create(0), "data": alloy::primitives::Bytes::from(Probe::setCall { to: U256::from(13), note: String::new() }.abi_encode()) }]),
            "eth_estimateGas",
        ),
    ] {
        let theirs = rpc(&anvil.url, method, params.clone()).await.unwrap_err();
        let ours = rpc(&url, method, params).await.unwrap_err();
        assert_eq!(ours, theirs, "{method}");
    }
}
