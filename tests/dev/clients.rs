//! `infernet run`: who may ask for which container, by the address that the request comes from.

use std::{fs, net::IpAddr, path::Path};

use axum::{Json, Router, routing::post};
use serde_json::{Value, json};

use super::{ending::signal, run::start};

/// What a client at `from` is answered when it asks for `container`.
async fn ask(api: &str, from: &str, container: &str) -> (u16, Value) {
    let from: IpAddr = from.parse().expect("an address");
    let client = reqwest::Client::builder().local_address(from);
    let answer = client
        .no_proxy()
        .build()
        .expect("a client")
        .post(format!("{api}/api/jobs"))
        .json(&json!({ "containers": [container], "data": {} }))
        .send()
        .await
        .expect("answers");
    let status = answer.status().as_u16();
    (status, answer.json().await.expect("JSON"))
}

#[test]
fn a_container_is_for_the_clients_of_its_list() {
    let home = tempfile::tempdir().expect("a directory");
    let config = home.path().join("node.toml");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let container = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let answer = || async { Json(json!({ "answer": 1 })) };
        let router = Router::new().route("/service_output", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    });
    let write = |second: &str| {
        let one = |id: &str, allowed: &str| {
            format!(
                "[[containers]]\nid = \"{id}\"\nurl = \"http://{container}\"\nexternal = true\n\
                 allowed_ips = [{allowed}]\n"
            )
        };
        let text = format!(
            "data_dir = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
             {}{}{}",
            home.path().join("data"),
            one("anybody", ""),
            one("second", second),
            one("lower", "\"127.0.0.0/31\", \"2001:db8::/64\""),
        );
        fs::write(&config, text).expect("writable");
    };
    let judge = |config: &Path, expected: &[(&str, &str, bool)]| {
        let (mut child, api) = start(config);
        for (from, container, allowed) in expected {
            let (status, body) = runtime.block_on(ask(&api, from, container));
            if *allowed {
                assert_eq!(status, 200, "{from} {container}: {body}");
                continue;
            }
            let refusal = json!({
                "error": "Container not allowed for address",
                "params": { "container": container, "address": from },
            });
            assert_eq!((status, body), (405, refusal), "{from}");
        }
        signal("TERM", child.id());
        assert_eq!(child.wait().expect("ends").code(), Some(0));
    };
    write("\"127.0.0.2\"");
    let first = [
        ("127.0.0.1", "anybody", true),
        ("127.0.0.2", "anybody", true),
        ("127.0.0.1", "second", false),
        ("127.0.0.2", "second", true),
        ("127.0.0.1", "lower", true),
        ("127.0.0.2", "lower", false),
    ];
    judge(&config, &first);
    // The key of the hashes outlives the process, and a changed list counts from the next start.
    judge(&config, &first);
    write("\"127.0.0.1\"");
    let turned = [
        ("127.0.0.1", "second", true),
        ("127.0.0.2", "second", false),
    ];
    judge(&config, &turned);
}
