//! What only the operator's address shows, in pages.

use infernet_state::{
    Event,
    event::{ChainFact, WalletChange, WalletFact},
    types::{Address, Amount, BlockRef, BlockTime, Hash},
};
use serde_json::{Value, json};

use super::node::{self, Node, Options};

const CHAIN: Options = Options {
    rate_limit: None,
    jobs_open_max: 0,
    chain: true,
};

/// All pages of a list, and the largest.
async fn pages(node: &Node, path: &str, list: &str) -> (Vec<Value>, usize) {
    let (mut all, mut largest) = (Vec::new(), 0);
    let mut from = String::new();
    loop {
        let (status, page) = node.get_admin(&format!("{path}{from}")).await;
        assert_eq!(status, 200, "{page}");
        let things = page[list].as_array().unwrap().clone();
        largest = largest.max(things.len());
        all.extend(things);
        match page["next"].as_str() {
            Some(next) => from = format!("&from={next}"),
            None => return (all, largest),
        }
    }
}

#[tokio::test]
async fn delegated_requests_without_an_id_are_listed() {
    let node = Node::start(CHAIN).await;
    let (_, none) = node.get_admin("/api/delegations").await;
    assert_eq!(none["delegations"], json!([]));
    for nonce in 0..5 {
        let mut request = node::delegated();
        request["signature"]["nonce"] = json!(nonce);
        request["subscription"]["redundancy"] = json!(nonce % 2 + 1);
        assert_eq!(node.post("/api/jobs", &request).await.0, 200);
    }
    let (all, largest) = pages(&node, "/api/delegations?limit=2", "delegations").await;
    assert_eq!(largest, 2);
    let mut nonces: Vec<u64> = all.iter().filter_map(|one| one["nonce"].as_u64()).collect();
    nonces.sort_unstable();
    assert_eq!(nonces, [0, 1, 2, 3, 4]);
    let (_, whole) = node.get_admin("/api/delegations").await;
    assert_eq!(whole["delegations"], Value::from(all.clone()));
    let one = &all[0];
    assert_eq!(one["owner"], format!("0x{}", "22".repeat(20)));
    assert_eq!(
        (
            &one["state"],
            &one["interval"],
            &one["reason"],
            &one["over"]
        ),
        (&json!("waiting"), &Value::Null, &Value::Null, &json!(false))
    );
    assert_eq!(one["containers"], json!(["echo"]));

    // What became of one.
    let id = one["id"].as_str().unwrap();
    assert_eq!(node.cancel(&format!("id={id}")).await.0, 200);
    let (_, shown) = node.get_admin("/api/delegations?limit=1").await;
    let one = &shown["delegations"][0];
    assert_eq!(
        (&one["state"], &one["reason"], &one["over"]),
        (&json!("failed"), &json!("cancelled"), &json!(true))
    );
    let (status, refused) = node.get_admin("/api/delegations?from=7").await;
    assert_eq!(status, 400);
    let said = refused["error"].as_str().unwrap();
    assert!(said.contains("`next` of another page"), "{said}");
    assert_eq!(node.get("/api/delegations").await.0, 404);
}

/// More tokens than an answer has accounts.
const TOKENS: u16 = 600;

fn token(number: u16) -> Address {
    let mut address = [0xee; 20];
    address[18..].copy_from_slice(&number.to_be_bytes());
    Address(address)
}

#[tokio::test]
async fn books_that_strangers_make_large_come_in_pages() {
    let node = Node::start(CHAIN).await;
    let wallet = Address([6; 20]);
    let mut config = node::config(&CHAIN);
    config.chain.as_mut().unwrap().payment_wallet = Some(wallet);
    node.observe(Event::ConfigChanged(config)).await;
    let numbers: Vec<u16> = (0..TOKENS).collect();
    for (number, part) in (1..).zip(numbers.chunks(200)) {
        let block = BlockRef {
            number,
            hash: Hash([u8::try_from(number).unwrap(); 32]),
            time: BlockTime(1_000 + number),
        };
        let facts = part.iter().map(|number| {
            ChainFact::Wallet(WalletFact {
                wallet,
                owner: Address([5; 20]),
                tx: Hash::ZERO,
                change: WalletChange::BalanceRead {
                    token: token(*number),
                    balance: Amount::from(7),
                },
            })
        });
        let facts = facts.collect();
        node.observe(Event::ChainCommitted { block, facts }).await;
    }
    let mut accounts = Vec::new();
    let mut from = String::new();
    loop {
        let (status, page) = node.get_admin(&format!("/api/ledger?limit=1{from}")).await;
        assert_eq!((status, &page["balanced"]), (200, &json!(true)));
        let part = page["accounts"].as_array().unwrap();
        assert!(part.len() <= 1_000, "{}", part.len());
        accounts.extend(
            part.iter()
                .map(|of| (of["role"].clone(), of["token"].clone())),
        );
        match page["accounts_next"].as_str() {
            Some(next) => from = format!("&accounts_from={next}"),
            None => break,
        }
    }
    // Both sides of each token, each once.
    assert_eq!(accounts.len(), usize::from(TOKENS) * 2);
    assert!(accounts.is_sorted_by_key(|(role, token)| {
        let place = ["NodeWallet", "Suspense"]
            .iter()
            .position(|name| role == name);
        (place.unwrap(), token.as_str().unwrap().to_owned())
    }));

    // One token has few accounts and entries, and nothing is behind them.
    let wanted = token(250).to_string();
    let (_, one) = node.get_admin(&format!("/api/ledger?token={wanted}")).await;
    let roles: Vec<_> = one["accounts"].as_array().unwrap().iter().collect();
    assert_eq!(roles.len(), 2);
    assert!(roles.iter().all(|of| of["token"] == json!(wanted)));
    assert_eq!(one["entries"].as_array().unwrap().len(), 1);
    assert_eq!(one["entries"][0]["token"], json!(wanted));
    assert_eq!(
        (&one["next"], &one["accounts_next"]),
        (&Value::Null, &Value::Null)
    );
    let (_, one) = node
        .get_admin(&format!("/api/ledger?token={wanted}&role=Suspense"))
        .await;
    assert_eq!(one["accounts"][0]["role"], "Suspense");
    assert_eq!(one["accounts"].as_array().unwrap().len(), 1);
    for wrong in ["token=0x12", "role=Nobody", "accounts_from=Gas"] {
        let (status, refused) = node.get_admin(&format!("/api/ledger?{wrong}")).await;
        assert_eq!(status, 400, "{wrong}");
        assert!(refused["error"].is_string(), "{refused}");
    }
}
