//! The REST interface over the real loop, machine and container service.

mod cancel;
mod node;
mod operator;

use std::time::Duration;

use infernet_node::{
    api::{ApiError, JOB_HEADER, RateLimit},
    log::MemoryLog,
};
use infernet_state::limits::JOB_CONTAINERS_MAX;
use node::{Node, Options};
use serde_json::{Value, json};

/// A job for the container that answers with what it was asked.
fn job(data: Value) -> Value {
    json!({ "containers": ["echo"], "data": data })
}

/// The id of a job that ran elsewhere.
fn uuid(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

#[tokio::test]
async fn a_job_is_answered_in_the_shape_that_clients_know() {
    let node = Node::start(Options::default()).await;
    let body = r#"{"containers":["echo"],"data":{"x":1.50}}"#.to_owned();
    let (status, accepted) = node.post_raw("/api/jobs", body, &[]).await;
    assert_eq!(status, 200);
    let id = accepted["id"].as_str().unwrap().to_owned();
    assert_eq!(accepted, json!({ "id": id }));
    assert_eq!((id.len(), &id[14..15]), (36, "4"), "a UUID of version 4");

    let unknown = "00000000-0000-4000-8000-000000000000";
    let path = format!("/api/jobs?id={unknown}&id={id}&id=nonsense&wait=20");
    let (status, jobs) = node.get(&path).await;
    assert_eq!(status, 200);
    // Numbers reach the container and the client digit by digit.
    let exact: Value = serde_json::from_str("1.50").unwrap();
    let echoed =
        json!({"source": 1, "destination": 1, "data": {"x": exact}, "requires_proof": false});
    let result = json!({"container": "echo", "output": {"asked": echoed}});
    assert_eq!(
        jobs,
        json!([{ "id": id, "status": "success", "result": result }])
    );
    assert_eq!(
        node.get(&format!("/api/jobs?id={unknown}")).await.1,
        json!([])
    );

    let (_, info) = node.get("/info").await;
    assert_eq!(info["chain"], json!({"enabled": false, "address": ""}));
    assert_eq!(info["pending"], json!({"offchain": 0, "onchain": 0}));
    assert_eq!(
        info["containers"][0],
        json!({"id": "echo", "description": "says it again", "external": true, "image": "test/echo"})
    );
    assert_eq!(
        node.get("/health").await,
        (200, json!({"status": "healthy"}))
    );
}

#[tokio::test]
async fn a_chain_of_containers_shows_its_intermediate_results() {
    let node = Node::start(Options::default()).await;
    let chain = json!({"containers": ["echo", "inner"], "data": {"x": 1}, "requires_proof": null});
    let id = node.accepted(&chain).await;
    let (_, jobs) = node
        .get(&format!("/api/jobs?id={id}&wait=20&intermediate=true"))
        .await;
    let first = json!({"asked": {"source": 1, "destination": 1, "data": {"x": 1}, "requires_proof": false}});
    let second =
        json!({"asked": {"source": 1, "destination": 1, "data": first, "requires_proof": false}});
    assert_eq!(
        jobs[0]["intermediate_results"],
        json!([{"container": "echo", "output": first}])
    );
    assert_eq!(
        jobs[0]["result"],
        json!({"container": "inner", "output": second})
    );
}

#[tokio::test]
async fn a_failed_job_shows_the_containers_error() {
    let node = Node::start(Options::default()).await;
    let refused = json!({"code": "400", "name": "Bad Request", "description": "no"});
    let id = node
        .accepted(&job(json!({"answer": 400, "with": refused})))
        .await;
    let (_, jobs) = node
        .get(&format!("/api/jobs?id={id}&wait=20&intermediate=true"))
        .await;
    assert_eq!(
        jobs,
        json!([{
            "id": id, "status": "failed", "result": {"container": "echo", "error": refused},
            "intermediate_results": [],
        }])
    );
}

#[tokio::test]
async fn waiting_ends_with_the_job_or_with_the_time() {
    let node = Node::start(Options::default()).await;
    let id = node.accepted(&job(json!({"hang": true}))).await;
    let (_, jobs) = node.get(&format!("/api/jobs?id={id}&wait=0.2")).await;
    assert_eq!(
        jobs,
        json!([{ "id": id, "status": "running", "result": null }])
    );
    assert_eq!(node.get("/api/jobs?pending=true").await.1, json!([id]));
    assert_eq!(node.get("/api/jobs?pending=false").await.1, json!([]));
    assert_eq!(node.get("/api/jobs?pending=perhaps").await.1, json!([id]));
    assert_eq!(
        node.get("/info").await.1["pending"],
        json!({"offchain": 1, "onchain": 0})
    );
    assert_eq!(
        node.get(&format!("/api/jobs?id={id}&wait=long")).await.0,
        400
    );
}

#[tokio::test]
async fn policy_errors_are_those_of_the_original() {
    let node = Node::start(Options::default()).await;
    for (request, error, params) in [
        (
            json!({"containers": [], "data": {}}),
            "No containers specified",
            json!({}),
        ),
        (
            json!({"containers": ["echo", "no"], "data": {}}),
            "Container not supported",
            json!({"container": "no"}),
        ),
        (
            json!({"containers": ["inner"], "data": {}}),
            "First container must be external",
            json!({"first_container": "inner"}),
        ),
        (
            json!({"containers": ["echo"], "data": {}, "requires_proof": true}),
            "Container does not generate proof",
            json!({"container": "echo"}),
        ),
        (
            json!({"containers": ["closed"], "data": {}}),
            "Container not allowed for address",
            json!({"container": "closed", "address": "127.0.0.1"}),
        ),
    ] {
        let expected = json!({"error": error, "params": params});
        assert_eq!(
            node.post("/api/jobs", &request).await,
            (405, expected.clone())
        );
        assert_eq!(
            node.post("/api/jobs/stream", &request).await,
            (405, expected)
        );
    }
    let delegated = node::delegated();
    let (status, refused) = node.post("/api/jobs", &delegated).await;
    let shown = &delegated["subscription"];
    assert_eq!(
        (status, &refused["error"]),
        (405, &json!("Chain not enabled"))
    );
    assert_eq!(&refused["params"], shown);
    assert_eq!(
        node.post("/api/jobs/stream", &delegated).await.1["error"],
        "Streaming only supported for OffchainJob requests."
    );
    assert_eq!(
        node.get("/api/jobs").await.1,
        json!([]),
        "nothing was taken"
    );
}

#[tokio::test]
async fn malformed_requests_are_the_clients_fault() {
    let node = Node::start(Options::default()).await;
    for (body, path) in [
        ("", "$"),
        ("{", "$"),
        ("[]", "$"),
        ("\"text\"", "$"),
        ("{}", "$.containers"),
        (r#"{"containers":["echo"]}"#, "$.data"),
        (r#"{"containers":["echo",5],"data":{}}"#, "$.containers[1]"),
        (r#"{"containers":["echo"],"data":[]}"#, "$.data"),
        (
            r#"{"containers":["echo"],"data":{},"requires_proof":"yes"}"#,
            "$.requires_proof",
        ),
        (r#"{"signature":{}}"#, "$.subscription"),
        (r#"{"subscription":{},"data":{}}"#, "$.subscription.owner"),
    ] {
        let (status, refused) = node.post_raw("/api/jobs", body.to_owned(), &[]).await;
        assert_eq!(
            (status, &refused["params"]["path"]),
            (400, &json!(path)),
            "{body}: {refused}"
        );
    }
    let huge = format!(
        r#"{{"containers":["echo"],"data":{{"x":"{}"}}}}"#,
        "x".repeat(17 << 20)
    );
    assert_eq!(node.post_raw("/api/jobs", huge, &[]).await.0, 413);
    let long = json!({"id": uuid(1), "status": "running", "containers": ["x".repeat(1 << 16)]});
    assert_eq!(
        node.put("/api/status", &long).await.0,
        413,
        "too large for one record"
    );

    let response = node.request("PATCH", "/api/jobs").await;
    assert_eq!(response.status(), 405);
    let allowed = response.headers()["allow"].to_str().unwrap().to_owned();
    assert!(
        allowed.contains("GET") && allowed.contains("POST"),
        "{allowed}"
    );
    assert!(response.json::<Value>().await.unwrap()["error"].is_string());
    let (status, body) = node.get("/nothing/here").await;
    assert_eq!((status, body), (404, json!({"error": "Not found"})));
}

#[tokio::test]
async fn long_lists_of_containers_are_refused_and_what_is_taken_is_read_again() {
    let node = Node::start(Options::default()).await;
    let hanging = |count: usize| json!({"containers": vec!["echo"; count], "data": {"hang": true}});
    let report = |count: usize| json!({"id": uuid(count), "status": "running", "containers": vec![""; count]});
    for count in [JOB_CONTAINERS_MAX + 1, 3_500, 6_000, 30_000] {
        let (status, refused) = node.post("/api/jobs", &hanging(count)).await;
        assert_eq!(
            (status, &refused["params"]["path"]),
            (400, &json!("$.containers")),
            "{count}: {refused}"
        );
        let (status, refused) = node.put("/api/status", &report(count)).await;
        assert_eq!(
            (status, &refused["params"]["path"]),
            (400, &json!("$.containers")),
            "{count}: {refused}"
        );
    }
    let id = node.accepted(&hanging(JOB_CONTAINERS_MAX)).await;
    let reported = report(JOB_CONTAINERS_MAX);
    assert_eq!(node.put("/api/status", &reported).await.0, 200);
    let node = node.restart().await;
    let (_, jobs) = node
        .get(&format!(
            "/api/jobs?id={id}&id={}",
            reported["id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(jobs[0]["status"], "running", "{jobs}");
    assert_eq!(jobs[1]["status"], "running", "{jobs}");
}

#[tokio::test]
async fn an_idempotency_key_names_one_job_also_after_a_restart() {
    let node = Node::start(Options::default()).await;
    let body = job(json!({"x": 1})).to_string();
    let ask = async |node: &Node, path: &str, key: &str, body: &str| {
        node.post_raw(path, body.to_owned(), &[("idempotency-key", key)])
            .await
    };
    let first = ask(&node, "/api/jobs", "one", &body).await;
    assert_eq!(first.0, 200);
    assert_eq!(ask(&node, "/api/jobs", "one", &body).await, first);
    let batch = format!("[{body},{body}]");
    let several = ask(&node, "/api/jobs/batch", "many", &batch).await;
    assert_ne!(several.1[0]["id"], several.1[1]["id"]);
    assert_eq!(ask(&node, "/api/jobs/batch", "many", &batch).await, several);

    let node = node.restart().await;
    assert_eq!(ask(&node, "/api/jobs", "one", &body).await, first);
    assert_eq!(ask(&node, "/api/jobs/batch", "many", &batch).await, several);
    let other = job(json!({"x": 2})).to_string();
    assert_eq!(ask(&node, "/api/jobs", "one", &other).await.0, 409);
    assert_eq!(ask(&node, "/api/jobs/stream", "one", &body).await.0, 409);
    assert_eq!(
        ask(
            &node,
            "/api/jobs/batch",
            "many",
            &format!("[{body},{body},{body}]")
        )
        .await
        .0,
        409
    );
    let (_, ids) = node.get("/api/jobs").await;
    assert_eq!(ids.as_array().unwrap().len(), 3, "{ids}");
    assert_eq!(
        node.post_raw("/api/jobs", body, &[("idempotency-key", "")])
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn a_batch_answers_each_element_for_itself() {
    let node = Node::start(Options::default()).await;
    let good = job(json!({}));
    let batch =
        json!([good, {"containers": ["no"], "data": {}}, 7, good, {"containers": ["echo"]}]);
    let (status, answers) = node.post("/api/jobs/batch", &batch).await;
    assert_eq!(status, 200);
    let answers = answers.as_array().unwrap();
    assert!(answers[0]["id"].is_string() && answers[3]["id"].is_string());
    assert_eq!(
        answers[1],
        json!({"error": "Container not supported", "params": {"container": "no"}})
    );
    assert_eq!(answers[2]["params"]["path"], "$");
    assert_eq!(answers[4]["params"]["path"], "$.data");
    assert_eq!(
        node.post("/api/jobs/batch", &json!([])).await,
        (200, json!([]))
    );
    let no_list = node.post("/api/jobs/batch", &good).await;
    assert_eq!(no_list, (400, json!({"error": "Expected a list"})));
    // More than the loop's inbox takes at once.
    let many = vec![good; 2_000];
    let (_, answers) = node.post("/api/jobs/batch", &json!(many)).await;
    assert!(
        answers
            .as_array()
            .unwrap()
            .iter()
            .all(|answer| answer["id"].is_string())
    );
}

#[tokio::test]
async fn a_stream_comes_as_it_is_made_and_is_recorded() {
    let node = Node::start(Options::default()).await;
    let mut stream = node
        .stream(&job(json!({"stream": ["one ", "two ", "three"]})), &[])
        .await;
    let id = stream.line().await;
    assert_eq!(stream.until("one ").await, "one ");
    let (_, jobs) = node.get(&format!("/api/jobs?id={id}")).await;
    assert_eq!(jobs[0]["status"], "running", "the rest is still to come");
    node.release_stream();
    assert_eq!(stream.rest().await, "two three");
    let result = json!({"container": "echo", "output": {"output": "one two three"}});
    let (_, jobs) = node.get(&format!("/api/jobs?id={id}")).await;
    assert_eq!(
        jobs,
        json!([{ "id": id, "status": "success", "result": result }])
    );
}

#[tokio::test]
async fn the_same_key_shows_the_same_stream_again() {
    let node = Node::start(Options::default()).await;
    let body = job(json!({"stream": ["a", "b"]}));
    let key = [("idempotency-key", "s")];
    let mut first = node.stream(&body, &key).await;
    let id = first.line().await;
    first.until("a").await;
    // Whoever comes in the middle gets all of it, and may leave without ending the job.
    let mut second = node.stream(&body, &key).await;
    assert_eq!(second.line().await, id);
    assert_eq!(second.until("a").await, "a");
    drop(second);
    node.release_stream();
    assert_eq!(first.rest().await, "b");
    let mut third = node.stream(&body, &key).await;
    assert_eq!(
        (third.line().await, third.rest().await),
        (id, "ab".to_owned())
    );
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_stream() {
    let node = Node::start(Options::default()).await;
    let mut stream = node
        .stream(&job(json!({"stream": ["one", "two"]})), &[])
        .await;
    let id = stream.line().await;
    stream.until("one").await;
    drop(stream);
    let (_, jobs) = node.get(&format!("/api/jobs?id={id}&wait=20")).await;
    assert_eq!(jobs[0]["status"], "failed");
    tokio::time::timeout(Duration::from_secs(20), node.stream_dropped())
        .await
        .expect("the container's call is cancelled");
}

#[tokio::test]
async fn a_stream_of_a_failing_container_ends() {
    let node = Node::start(Options::default()).await;
    let mut stream = node
        .stream(&job(json!({"answer": 400, "with": {"code": "400"}})), &[])
        .await;
    let id = stream.line().await;
    assert_eq!(stream.rest().await, "");
    let (_, jobs) = node.get(&format!("/api/jobs?id={id}&wait=20")).await;
    assert_eq!(jobs[0]["status"], "failed");
    assert_eq!(jobs[0]["result"]["error"], json!({"code": "400"}));
}

#[tokio::test]
async fn a_status_is_taken_for_jobs_that_ran_elsewhere() {
    let node = Node::start(Options::default()).await;
    let id = "0b8b3c4d-1111-4222-8333-444455556666";
    let report = |id: &str, status: &str| json!({"id": id, "status": status, "containers": ["echo"], "data": {"y": 2}});
    assert_eq!(
        node.put("/api/status", &report(id, "running")).await,
        (200, Value::Null)
    );
    assert_eq!(
        node.put("/api/status", &report(id, "success")).await,
        (200, Value::Null)
    );
    let (_, jobs) = node.get(&format!("/api/jobs?id={id}")).await;
    assert_eq!(jobs[0]["status"], "success");
    assert_eq!(
        node.put("/api/status", &report(id, "done")).await,
        (400, json!({"error": "Status is invalid"}))
    );
    assert_eq!(node.put("/api/status", &report("x", "failed")).await.0, 400);
    let own = node.accepted(&job(json!({"hang": true}))).await;
    assert_eq!(
        node.put("/api/status", &report(&own, "success")).await.0,
        409
    );
}

#[tokio::test]
async fn the_operators_status_is_what_a_replay_gives() {
    let node = Node::start(Options::default()).await;
    let id = node.accepted(&job(json!({}))).await;
    node.get(&format!("/api/jobs?id={id}&wait=20")).await;
    let (status, shown) = node.get_admin("/admin/status").await;
    assert_eq!(status, 200);
    let machine = infernet_node::driver::replay(&node.log()).unwrap();
    let head = infernet_node::log::LogReader::head(&node.log());
    assert_eq!(shown["seq"], machine.seq().0);
    assert_eq!(shown["logic"], machine.logic());
    assert_eq!(shown["digest"], machine.digest().to_string());
    assert_eq!(shown["head"], head.hash.to_string());
    let (_, ledger) = node.get_admin("/api/ledger").await;
    assert_eq!(ledger["balanced"], true);
    // What is the operator's is not the clients'.
    assert_eq!(node.get("/admin/status").await.0, 404);
    assert_eq!(node.get("/api/ledger").await.0, 404);
}

#[tokio::test]
async fn who_asks_too_often_is_told_to_wait() {
    let limit = RateLimit {
        requests: 2,
        period: Duration::from_secs(3600),
    };
    let node = Node::start(Options {
        rate_limit: Some(limit),
        ..Options::default()
    })
    .await;
    let headers = |response: &reqwest::Response, name: &str| {
        response
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().parse::<u64>().unwrap())
    };
    for remaining in [1, 0] {
        let response = node.request("GET", "/health").await;
        assert_eq!(response.status(), 200);
        assert_eq!(headers(&response, "ratelimit-limit"), Some(2));
        assert_eq!(headers(&response, "ratelimit-remaining"), Some(remaining));
    }
    let response = node.request("GET", "/nothing").await;
    assert_eq!(response.status(), 429);
    assert_eq!(
        headers(&response, "retry-after"),
        headers(&response, "ratelimit-reset")
    );
    assert_eq!(
        response.json::<Value>().await.unwrap()["error"],
        "Too many requests"
    );
}

#[tokio::test]
async fn too_many_open_jobs_are_refused_for_the_moment() {
    let node = Node::start(Options {
        jobs_open_max: 1,
        ..Options::default()
    })
    .await;
    node.accepted(&job(json!({"hang": true}))).await;
    let response = node
        .send("/api/jobs", job(json!({})).to_string(), &[])
        .await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn without_its_loop_the_node_is_unhealthy_and_takes_nothing() {
    let mut node = Node::start(Options::default()).await;
    let hanging = node.accepted(&job(json!({"hang": true}))).await;
    node.end_loop().await;
    let (status, health) = node.get("/health").await;
    assert_eq!((status, &health["status"]), (503, &json!("unhealthy")));
    assert!(health["reasons"][0].is_string());
    assert_eq!(node.post("/api/jobs", &job(json!({}))).await.0, 503);
    // What is known is still shown, and nobody waits for what cannot come.
    let (_, jobs) = node.get(&format!("/api/jobs?id={hanging}&wait=60")).await;
    assert_eq!(jobs[0]["status"], "running");
}

#[tokio::test]
async fn a_delegated_subscription_is_checked_before_it_is_answered() {
    let node = Node::start(Options {
        chain: true,
        ..Options::default()
    })
    .await;
    let mut delegated = node::delegated();
    delegated["signature"]["v"] = json!(28);
    let (status, refused) = node.post("/api/jobs", &delegated).await;
    assert_eq!(status, 403);
    assert_eq!(
        refused,
        json!({"error": "Subscription signer mismatch", "params": {
            "recovered": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "delegated": "0x1111111111111111111111111111111111111111",
        }})
    );
    delegated["signature"]["v"] = json!(30);
    assert_eq!(
        node.post("/api/jobs", &delegated).await.0,
        503,
        "the chain cannot be read"
    );
    assert_eq!(node.get("/info").await.1["chain"]["enabled"], true);
    // Void by the block at which it was checked, whatever is recorded of the chain.
    delegated["signature"]["v"] = json!(29);
    let (status, refused) = node.post("/api/jobs", &delegated).await;
    assert_eq!(
        (status, &refused["error"]),
        (405, &json!("Signature expired"))
    );
    // The body of the original, and beside it the job's id, that its client may ask for.
    delegated["signature"]["v"] = json!(27);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = node.send("/api/jobs", delegated.to_string(), &[]).await;
        assert_eq!(answer.status(), 200);
        ids.push(answer.headers()[JOB_HEADER].to_str().unwrap().to_owned());
        assert_eq!(answer.text().await.unwrap(), "{}");
    }
    assert_eq!(ids[0], ids[1]);
    let (_, jobs) = node.get(&format!("/api/jobs?id={}", ids[0])).await;
    assert_eq!(jobs[0]["id"], json!(ids[0]));
    assert_eq!(jobs[0]["status"], "running");
    // As docs/api.md says that it is made.
    let mut hashed = b"infernet delegated".to_vec();
    hashed.extend([0x22; 20]);
    hashed.extend(0_u32.to_be_bytes());
    let digest = infernet_node::driver::payload(hashed).reference.hash;
    assert_eq!(
        ids[0].replace('-', ""),
        digest.to_string()[2..34].to_owned()
    );
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let node = Node::start(Options::default()).await;
    let error = Node::bind(MemoryLog::new(), &Options::default(), node.address())
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ApiError::InUse { .. }));
    let text = error.to_string();
    assert!(
        text.starts_with("E-API-001") && text.contains(&node.address().to_string()),
        "{text}"
    );
}
