//! A delegated subscription over REST, on a real chain: what its client and the operator are told
//! of it, until it has an id and when it is given up before.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use alloy::{
    primitives::{Address, TxKind, U256},
    providers::Provider as _,
    signers::{SignerSync as _, local::PrivateKeySigner},
    sol_types::{Eip712Domain, SolStruct as _, SolValue as _},
};
use infernet_contracts::{DelegateSubscription, Subscription, artifacts, creation_code};
use infernet_node::{
    api::JOB_HEADER,
    dev::{self, Role, Sender},
    devnet::{Devnet, DevnetConfig},
};
use infernet_state::admission::container_hash;
use serde_json::{Value, json};

use super::{PATIENCE, ending::signal, run::start_with_admin};

/// Where the development world's Coordinator is.
const COORDINATOR: &str = "0x2E983A1Ba5e8b38AAAeC4B440B9dDcFBf72E15d1";

async fn get(url: &str) -> Value {
    let answer = reqwest::get(url).await.expect("answers");
    answer.json().await.expect("JSON")
}

/// A contract whose subscriptions `signer` may sign.
async fn deploy(rpc: &str, signer: Address) -> Address {
    let sender = Sender::connect(rpc, Role::Consumer.signer())
        .await
        .expect("a chain");
    let mut code = creation_code(artifacts::PLAIN_CONSUMER)
        .expect("an artifact")
        .to_vec();
    code.extend((dev::REGISTRY, signer).abi_encode_params());
    let sent = sender.send("a consumer", TxKind::Create, code, U256::ZERO);
    let receipt = sent.await.expect("it is included");
    receipt.contract_address.expect("a contract")
}

/// A request for one free answer about a flower, as its client sends it.
fn request(owner: Address, signer: &PrivateKeySigner, nonce: u32, active_at: u32) -> Value {
    let subscription = Subscription {
        owner,
        activeAt: active_at,
        period: 0,
        frequency: 1,
        redundancy: 1,
        containerId: container_hash(&[dev::CONTAINER]).0.into(),
        lazy: false,
        verifier: Address::ZERO,
        paymentAmount: U256::ZERO,
        paymentToken: Address::ZERO,
        wallet: Address::ZERO,
    };
    let domain = Eip712Domain {
        name: Some("InfernetCoordinator".into()),
        version: Some("1".into()),
        chain_id: Some(U256::from(31337)),
        verifying_contract: Some(COORDINATOR.parse().expect("an address")),
        salt: None,
    };
    let signed = DelegateSubscription {
        nonce,
        expiry: u32::MAX,
        sub: subscription,
    };
    let signature = signer
        .sign_hash_sync(&signed.eip712_signing_hash(&domain))
        .expect("signed");
    let zero = Address::ZERO.to_string();
    json!({
        "signature": {
            "nonce": nonce,
            "expiry": u32::MAX,
            "v": 27 + u8::from(signature.v()),
            "r": format!("{:#066x}", signature.r()),
            "s": format!("{:#066x}", signature.s()),
        },
        "subscription": {
            "owner": owner.to_string(), "active_at": active_at, "period": 0, "frequency": 1,
            "redundancy": 1, "containers": container_hash(&[dev::CONTAINER]).to_string(),
            "lazy": false, "verifier": zero, "payment_amount": 0, "payment_token": zero,
            "wallet": zero,
        },
        "data": {
            "model_id": dev::MODEL,
            "inputs": { "input": { "dtype": 1, "shape": [1, 4], "values": [5.1, 3.5, 1.4, 0.2] } },
        },
    })
}

#[test]
fn a_delegated_request_is_told_of_until_it_has_an_id() {
    let home = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let signer = PrivateKeySigner::random();
    let (chain, owner) = runtime.block_on(async {
        let chain = Devnet::start(DevnetConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            ..DevnetConfig::default()
        })
        .await
        .expect("a chain");
        dev::deploy(&chain.url()).await.expect("contracts");
        let owner = deploy(&chain.url(), signer.address()).await;
        (chain, owner)
    });
    let service = Path::new(env!("CARGO_BIN_EXE_infernet")).with_file_name("infernet-service");
    let config = home.path().join("node.toml");
    let text = format!(
        "data_dir = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
         requests_per_minute = 0\n[chain]\nrpc_url = \"{}\"\nregistry = \"{}\"\n\
         trail_head_blocks = 0\npoll_interval_ms = 20\n[[containers]]\nid = \"{}\"\n\
         command = [{service:?}, \"onnx\", \"--listen\", \"127.0.0.1:0\", \"--exit-with-stdin\"]\n\
         external = true\n",
        home.path().join("data"),
        chain.url(),
        dev::REGISTRY,
        dev::CONTAINER,
    );
    fs::write(&config, text).expect("writable");
    let (mut child, api, admin) = start_with_admin(&config);

    runtime.block_on(async {
        let client = reqwest::Client::new();
        let bring = async |request: &Value| {
            let begun = Instant::now();
            loop {
                let answer = client
                    .post(format!("{api}/api/jobs"))
                    .json(request)
                    .send()
                    .await
                    .expect("answers");
                if answer.status() == 200 {
                    let id = answer.headers()[JOB_HEADER].to_str().expect("text");
                    return id.to_owned();
                }
                // A slow machine may have started it without the chain.
                let said = answer.text().await;
                assert!(begun.elapsed() < PATIENCE, "{said:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let listed = async || {
            let shown = get(&format!("{admin}/api/delegations")).await;
            shown["delegations"].as_array().expect("a list").clone()
        };
        // One that is due in some hours, and is given up.
        let provider = dev::provider(&chain.url()).expect("a URL");
        let head = provider.get_block(Default::default()).await;
        let now = head.expect("answers").expect("a block").header.timestamp;
        let later = u32::try_from(now + 10_000).expect("this century");
        let waiting = bring(&request(owner, &signer, 2, later)).await;
        let all = listed().await;
        assert_eq!(
            (&all[0]["nonce"], &all[0]["state"], &all[0]["id"]),
            (&json!(2), &json!("waiting"), &json!(waiting))
        );
        let url = format!("{api}/api/jobs?id={waiting}");
        let given_up = client.delete(url).send().await.expect("answers");
        assert_eq!(given_up.status(), 200);
        let all = listed().await;
        assert_eq!(
            (all.len(), &all[0]["reason"], &all[0]["over"]),
            (1, &json!("cancelled"), &json!(true))
        );

        // One that is answered at once: its client hears in which block.
        let answered = bring(&request(owner, &signer, 1, 0)).await;
        let job = get(&format!("{api}/api/jobs?id={answered}&wait=60")).await;
        let job = &job[0];
        assert_eq!(job["status"], "success", "{job}");
        let delivery = &job["delivery"];
        assert_eq!(
            (&delivery["state"], &delivery["interval"]),
            (&json!("final"), &json!(1)),
            "{job}"
        );
        let tx = delivery["included"]["transaction"]
            .as_str()
            .expect("a hash");
        let receipt = provider.get_transaction_receipt(tx.parse().expect("a hash"));
        let receipt = receipt.await.expect("answers").expect("in the chain");
        assert_eq!(delivery["included"]["block"], json!(receipt.block_number));
        // It has an id: it is among the subscriptions now.
        let subscriptions = get(&format!("{admin}/api/subscriptions")).await;
        let one = &subscriptions["subscriptions"][0];
        assert_eq!(
            (&one["id"], &one["delegated_nonce"]),
            (&delivery["subscription"], &json!(1)),
            "{subscriptions}"
        );
        let nonces: Vec<Value> = listed()
            .await
            .iter()
            .map(|of| of["nonce"].clone())
            .collect();
        assert_eq!(nonces, [2]);
        let url = format!("{api}/api/jobs?id={answered}");
        let refused = client.delete(url).send().await.expect("answers");
        assert_eq!(refused.status(), 409);
    });
    signal("TERM", child.id());
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    runtime.block_on(chain.shutdown());
}
