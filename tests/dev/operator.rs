//! What the operator reads: which subscriptions are served, which are not and why, what became of
//! our answers, and the books, as the running node and a replay of its log show them.

use std::{path::Path, time::Instant};

use alloy::{
    primitives::{Address, TxKind, U256},
    providers::Provider as _,
    sol_types::SolCall as _,
};
use infernet_contracts::IrisConsumer;
use infernet_node::dev::{self, CONSUMER, CONSUMER_WALLET, Flower, Role, Sender};
use serde_json::{Value, json};

use super::{PATIENCE, Running, ending::signal, infernet, place, runtime};

async fn get(url: &str) -> (u16, Value) {
    let answer = reqwest::get(url).await.expect("answers");
    let status = answer.status().as_u16();
    (status, answer.json().await.expect("JSON"))
}

/// Asks on chain for `container` at a price in wei.
async fn request(rpc: &str, container: &str, price: u64) {
    let sender = Sender::connect(rpc, Role::Consumer.signer())
        .await
        .expect("a chain");
    let call = IrisConsumer::requestClassificationCall {
        containerId: container.to_owned(),
        inputs: vec![1].into(),
        paymentToken: Address::ZERO,
        paymentAmount: U256::from(price),
        wallet: CONSUMER_WALLET,
    };
    sender
        .send("ask", TxKind::Call(CONSUMER), call.abi_encode(), U256::ZERO)
        .await
        .expect("taken");
}

/// Waits until the list behind `url` is as wanted.
async fn wait_for(url: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let (status, shown) = get(url).await;
        assert_eq!(status, 200, "{shown}");
        if wanted(&shown) {
            return shown;
        }
        assert!(begun.elapsed() < PATIENCE, "{url}: {shown}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn statement(data_dir: &Path, more: &[&str]) -> String {
    let data_dir = data_dir.to_str().expect("text");
    let mut arguments = vec!["replay", "--data-dir", data_dir];
    arguments.extend(more);
    let output = infernet(&arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_operator_reads_what_is_served_and_what_is_not() {
    let home = tempfile::tempdir().expect("a directory");
    let data_dir = home.path().join("world");
    let mut running = Running::start(&data_dir, &["--no-request"]);
    running.wait_for("ready");
    let place = place(&data_dir);
    let admin = &place.admin;
    let books = runtime().block_on(async {
        let rpc = &place.world.rpc;
        dev::ask_onchain(rpc, Flower([5.1, 3.5, 1.4, 0.2]))
            .await
            .expect("taken");
        request(rpc, "nobody's", 5).await;
        request(rpc, dev::CONTAINER, 5).await;

        let subscriptions = format!("{admin}/api/subscriptions");
        let shown = wait_for(&subscriptions, |shown| {
            shown["subscriptions"][0]["deliveries"][0]["state"] == "final"
                && shown["subscriptions"][2].is_object()
        })
        .await;
        let [served, unknown, cheap] = [0, 1, 2].map(|at| &shown["subscriptions"][at]);
        assert_eq!(shown["next"], Value::Null);
        assert_eq!(served["id"], 1);
        assert_eq!(served["refusal"], Value::Null, "{served}");
        assert_eq!(served["containers"], json!([dev::CONTAINER]));
        assert_eq!(served["payment"]["amount"], dev::PRICE.to_string());
        assert_eq!(served["deliveries"][0]["interval"], 1);
        for (of, containers, reason) in [
            (unknown, json!([]), "container not supported"),
            (
                cheap,
                json!([dev::CONTAINER]),
                "price below the containers' minimum",
            ),
        ] {
            assert_eq!(of["standing"], "refused", "{of}");
            assert_eq!(of["refusal"], reason, "{of}");
            assert_eq!(of["says"], format!("not served: {reason}"));
            assert_eq!(of["containers"], containers, "{of}");
            assert_eq!(
                (&of["next_due"], &of["deliveries"]),
                (&Value::Null, &json!([]))
            );
        }
        // The same in pages.
        let mut ids = Vec::new();
        let mut from = json!(0);
        while from != Value::Null {
            let (_, page) = get(&format!("{subscriptions}?from={from}&limit=2")).await;
            let page_ids = page["subscriptions"].as_array().expect("a list");
            assert!(page_ids.len() <= 2);
            ids.extend(page_ids.iter().map(|one| one["id"].clone()));
            from = page["next"].clone();
        }
        assert_eq!(ids, [1, 2, 3]);

        let (_, deliveries) = get(&format!("{admin}/api/deliveries")).await;
        let one = &deliveries["deliveries"][0];
        assert_eq!(
            (&one["subscription"], &one["state"], &one["loss"]),
            (&json!(1), &json!("final"), &Value::Null)
        );
        // By which transaction, as the chain says it too, although its nonce is closed.
        let included = &one["included"];
        let tx = included["transaction"].as_str().expect("a hash");
        assert_eq!(one["transactions"], json!([tx]), "{one}");
        let provider = dev::provider(rpc).expect("a URL");
        let hash = tx.parse().expect("a hash");
        let found = provider.get_transaction_by_hash(hash);
        let found = found.await.expect("answers").expect("it is in the chain");
        let nonce = alloy::consensus::Transaction::nonce(&found);
        assert_eq!(
            (&one["nonce"], &included["nonce"]),
            (&json!(nonce), &json!(nonce))
        );
        let receipt = provider.get_transaction_receipt(hash);
        let receipt = receipt.await.expect("answers").expect("it is in the chain");
        assert_eq!(included["block"], json!(receipt.block_number), "{one}");
        assert_eq!(served["deliveries"][0]["included"], *included);
        assert_eq!(deliveries["next"], Value::Null);
        let (_, none) = get(&format!("{admin}/api/deliveries?from=2")).await;
        assert_eq!(none["deliveries"], json!([]));

        let (status, refused) = get(&format!("{subscriptions}?from=x")).await;
        assert_eq!(status, 400);
        assert!(refused["error"].is_string(), "{refused}");
        for path in ["subscriptions", "deliveries"] {
            assert_eq!(get(&format!("{}/api/{path}", place.api)).await.0, 404);
        }

        // The books page by page are the books.
        let (_, books) = get(&format!("{admin}/api/ledger")).await;
        let entries = books["entries"].as_array().expect("a list");
        assert!(!entries.is_empty());
        let mut paged = Vec::new();
        let mut from = json!(0);
        while from != Value::Null {
            let (_, page) = get(&format!("{admin}/api/ledger?from={from}&limit=1")).await;
            paged.extend(page["entries"].as_array().expect("a list").clone());
            from = page["next"].clone();
        }
        assert_eq!(&paged, entries);
        let first = &entries[0]["seq"];
        let (_, range) = get(&format!("{admin}/api/ledger?from={first}&to={first}")).await;
        let of_first: Vec<Value> = entries
            .iter()
            .filter(|entry| entry["seq"] == *first)
            .cloned()
            .collect();
        assert_eq!(range["entries"], Value::from(of_first));
        books
    });
    signal("TERM", running.pid());
    assert_eq!(running.code(), Some(0));

    // So does a replay, long after.
    let shown = statement(&data_dir, &["--explain", "sub:1"]);
    let closed = "final: transaction 0x";
    assert!(shown.contains(closed), "{shown}");

    // A replay of the log states the same books.
    let seq = books["seq"].to_string();
    let whole = ["--statement", "1", &seq, "--to", &seq];
    let stated = statement(&data_dir, &[&whole[..], &["--json"]].concat());
    let stated: Value = serde_json::from_str(&stated).expect("JSON");
    assert_eq!(stated["entries"], books["entries"]);
    let balances = |list: &Value, name: &str| -> Vec<Value> {
        let list = list.as_array().expect("a list").iter();
        list.map(|of| json!([of["role"], of["token"], of[name]]))
            .collect()
    };
    assert_eq!(
        balances(&stated["accounts"], "closing"),
        balances(&books["accounts"], "balance")
    );
    // Two ranges meet where one ends and the other begins.
    let middle = books["entries"][0]["seq"].as_u64().expect("a number");
    let (middle, behind) = (middle.to_string(), (middle + 1).to_string());
    let part = |from: &str, to: &str| -> Value {
        let text = statement(&data_dir, &["--statement", from, to, "--json"]);
        serde_json::from_str(&text).expect("JSON")
    };
    let (early, late) = (part("1", &middle), part(&behind, &seq));
    let opening = balances(&late["accounts"], "opening");
    for closing in balances(&early["accounts"], "closing") {
        assert!(opening.contains(&closing), "{closing} in {opening:?}");
    }
    let count = |of: &Value| of["entries"].as_array().map_or(0, Vec::len);
    assert_eq!(count(&early) + count(&late), count(&stated));
    let text = statement(&data_dir, &whole);
    for words in ["the books of the events 1 to", "price of a delivery", " → "] {
        assert!(text.contains(words), "{text}");
    }
}
