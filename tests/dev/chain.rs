//! A chain that goes away, and comes back as another one: everybody hears of it, and nobody of
//! the key in the RPC's URL.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use infernet_node::{
    dev,
    devnet::{Devnet, DevnetConfig},
};
use serde_json::Value;

use super::{PATIENCE, ending::signal, run::start_with_admin};

/// The part of the RPC's URL that nobody may learn.
const SECRET: &str = "a-key-of-the-operator";

async fn get(url: &str) -> (u16, Value) {
    let answer = reqwest::get(url).await.expect("answers");
    let status = answer.status().as_u16();
    (status, answer.json().await.expect("JSON"))
}

/// Waits until `/health` says something that holds `words`, or nothing at all.
async fn hear(api: &str, words: Option<&str>) -> String {
    let begun = Instant::now();
    loop {
        let (status, health) = get(&format!("{api}/health")).await;
        let said = health.to_string();
        let heard = match words {
            Some(words) => status == 503 && said.contains(words),
            None => status == 200,
        };
        if heard {
            return said;
        }
        assert!(begun.elapsed() < PATIENCE, "{words:?} is not in {said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn chain(listen: SocketAddr, dir: Option<&Path>) -> Devnet {
    let begun = Instant::now();
    loop {
        let config = DevnetConfig {
            listen,
            dir: dir.map(Path::to_owned),
            ..DevnetConfig::default()
        };
        match Devnet::start(config).await {
            Ok(chain) => return chain,
            // The port of the one before may be free a moment later.
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_chain_that_cannot_be_used_is_told() {
    let home = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let journal = home.path().join("chain");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let first = runtime.block_on(async {
        let first = chain(any, Some(&journal)).await;
        dev::deploy(&first.url()).await.expect("contracts");
        first
    });
    let rpc = first.url();
    let address: SocketAddr = rpc
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .parse()
        .expect("an address");
    let config = home.path().join("node.toml");
    let text = format!(
        "data_dir = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
         requests_per_minute = 0\n[chain]\nrpc_url = \"http://{address}/{SECRET}\"\n\
         registry = \"{}\"\npoll_interval_ms = 20\n",
        home.path().join("data"),
        dev::REGISTRY,
    );
    fs::write(&config, text).expect("writable");
    let (mut child, api, admin) = start_with_admin(&config);

    let seen = runtime.block_on(async {
        let mut seen = vec![hear(&api, None).await];
        let status_url = format!("{admin}/admin/status");
        let begun = Instant::now();
        let recorded = loop {
            let (_, status) = get(&status_url).await;
            if let Some(height) = status["chain"]["finalized"]["height"].as_u64() {
                assert_eq!(status["troubles"], Value::Array(Vec::new()));
                break height;
            }
            assert!(begun.elapsed() < PATIENCE, "{status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        // It goes away.
        first.shutdown().await;
        seen.push(hear(&api, Some("E-RPC-001")).await);
        let (_, status) = get(&status_url).await;
        assert_eq!(
            status["troubles"].as_array().map(Vec::len),
            Some(1),
            "{status}"
        );
        seen.push(status.to_string());
        // It comes back, and goes for good.
        let again = chain(address, Some(&journal)).await;
        seen.push(hear(&api, None).await);
        again.shutdown().await;
        // Another one comes in its place, and grows beyond what is recorded.
        let second = chain(address, None).await;
        let mine = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"anvil_mine","params":["{:#x}"]}}"#,
            recorded + 10
        );
        let mined = reqwest::Client::new()
            .post(second.url())
            .header("content-type", "application/json")
            .body(mine)
            .send();
        assert!(mined.await.expect("answers").status().is_success());
        seen.push(hear(&api, Some("E-CHAIN-012")).await);
        let (_, status) = get(&status_url).await;
        let troubles = status["troubles"].to_string();
        assert!(troubles.contains("E-CHAIN-012"), "{status}");
        seen.push(status.to_string());
        second.shutdown().await;
        seen
    });
    for said in &seen {
        assert!(!said.contains(SECRET), "{said}");
        assert!(!said.contains(&address.to_string()), "{said}");
    }
    signal("TERM", child.id());
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}
