//! `DELETE /api/jobs`.

use std::time::Duration;

use infernet_node::api::JOB_HEADER;
use serde_json::{Value, json};

use super::{
    job,
    node::{self, Node, Options},
};

/// A job that was given up, as every answer shows it.
fn cancelled(id: &str) -> Value {
    json!({
        "id": id,
        "status": "failed",
        "result": { "container": "", "error": "cancelled" },
    })
}

#[tokio::test]
async fn a_client_gives_up_a_job_and_its_container_is_called_off() {
    let node = Node::start(Options::default()).await;
    let mut stream = node
        .stream(&job(json!({"stream": ["one", "two"]})), &[])
        .await;
    let id = stream.line().await;
    stream.until("one").await;
    let query = format!("id={id}");
    assert_eq!(node.cancel(&query).await, (200, cancelled(&id)));
    assert_eq!(stream.rest().await, "", "the stream ends");
    tokio::time::timeout(Duration::from_secs(20), node.stream_dropped())
        .await
        .expect("the container's call is cancelled");
    // The same again, also after a restart; and what it changed is no more than one event.
    assert_eq!(node.cancel(&query).await, (200, cancelled(&id)));
    let node = node.restart().await;
    assert_eq!(node.cancel(&query).await, (200, cancelled(&id)));
    let (_, jobs) = node.get(&format!("/api/jobs?{query}")).await;
    assert_eq!(jobs, json!([cancelled(&id)]));
    let reader = node.log();
    let machine = infernet_node::driver::replay(&reader).unwrap();
    let head = infernet_node::log::LogReader::head(&reader).seq;
    let events = infernet_node::log::LogReader::read(
        &reader,
        infernet_state::types::Seq(1),
        usize::try_from(head.0).unwrap(),
    );
    let wishes = events
        .unwrap()
        .iter()
        .filter(|stored| stored.event.kind == 14)
        .count();
    assert_eq!((wishes, machine.pending().offchain), (1, 0));
}

#[tokio::test]
async fn what_is_not_to_be_given_up_is_said() {
    let node = Node::start(Options::default()).await;
    let unknown = (404, json!({"error": "No such job"}));
    for query in ["id=00000000-0000-4000-8000-000000000000", "id=nonsense"] {
        assert_eq!(node.cancel(query).await, unknown, "{query}");
    }
    let id = node.accepted(&job(json!({}))).await;
    for query in [
        String::new(),
        "pending=true".to_owned(),
        format!("id={id}&id={id}"),
    ] {
        let expected = "Invalid request: id: the id of one job is expected";
        assert_eq!(
            node.cancel(&query).await,
            (400, json!({ "error": expected })),
            "{query}"
        );
    }
    let (_, jobs) = node.get(&format!("/api/jobs?id={id}&wait=20")).await;
    assert_eq!(
        node.cancel(&format!("id={id}")).await,
        (
            409,
            json!({
                "error": "The job is done already",
                "params": { "id": id, "status": "success" },
            })
        )
    );
    // Its result stays; and where a job failed, nothing more comes of it.
    let (_, after) = node.get(&format!("/api/jobs?id={id}")).await;
    assert_eq!(after, jobs);
    let failing = job(json!({"answer": 400, "with": {"code": "400"}}));
    let id = node.accepted(&failing).await;
    let (_, jobs) = node.get(&format!("/api/jobs?id={id}&wait=20")).await;
    assert_eq!(
        node.cancel(&format!("id={id}")).await,
        (200, jobs[0].clone())
    );
}

#[tokio::test]
async fn whose_id_others_may_know_is_given_up_by_its_client_alone() {
    let node = Node::start(Options {
        chain: true,
        ..Options::default()
    })
    .await;
    let answer = node
        .send("/api/jobs", node::delegated().to_string(), &[])
        .await;
    let delegated = answer.headers()[JOB_HEADER].to_str().unwrap().to_owned();
    let reported = "0b8b3c4d-1111-4222-8333-444455556666";
    let report = json!({"id": reported, "status": "running", "containers": ["echo"]});
    assert_eq!(node.put("/api/status", &report).await.0, 200);
    for id in [delegated.as_str(), reported] {
        let query = format!("id={id}");
        let (status, refused) = node.cancel_from([127, 0, 0, 2], &query).await;
        assert_eq!(status, 403, "{refused}");
        let (_, jobs) = node.get(&format!("/api/jobs?{query}")).await;
        assert_eq!(jobs[0]["status"], "running");
        assert_eq!(node.cancel(&query).await, (200, cancelled(id)));
        assert_eq!(node.cancel(&query).await, (200, cancelled(id)));
    }
    // The same request again is the one that was given up.
    let again = node
        .send("/api/jobs", node::delegated().to_string(), &[])
        .await;
    assert_eq!(again.headers()[JOB_HEADER].to_str().unwrap(), delegated);
    let (_, jobs) = node.get(&format!("/api/jobs?id={delegated}")).await;
    assert_eq!(jobs, json!([cancelled(&delegated)]));
    let (_, listed) = node.get_admin("/api/delegations").await;
    assert_eq!(listed["delegations"][0]["over"], true, "{listed}");

    // The id that the node drew is known to nobody whom its client did not tell.
    let own = node.accepted(&job(json!({"hang": true}))).await;
    let told = node.cancel_from([127, 0, 0, 2], &format!("id={own}")).await;
    assert_eq!(told, (200, cancelled(&own)));
}
