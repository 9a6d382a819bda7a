//! The real node on a disk that is full or fails: it ends with exit code 5, and did nothing that
//! is not in the log; started again on a good disk, it goes on where it was.

mod node_common;

use std::collections::BTreeSet;

use infernet_node::log::{EventLog as _, LogReader as _};
use infernet_state::{Event, types::PayloadAt};
use node_common::{Outside, event, judge_log, lock, open_log};

/// More requests than any of these disks can take.
const ASKED: u64 = 100_000;

/// Every request whose job is in the log.
fn recorded(outside: &Outside) -> BTreeSet<u64> {
    let log = open_log(&outside.data_dir());
    let reader = log.reader();
    let mut numbers = BTreeSet::new();
    for seq in 1..=reader.head().seq.0 {
        if let Event::JobAccepted(request) = event(&reader, seq) {
            let at = PayloadAt {
                seq: infernet_state::types::Seq(seq),
                payload: request.input,
            };
            let input = reader.payload(at).expect("readable").expect("kept");
            let input: serde_json::Value = serde_json::from_slice(&input).expect("JSON");
            numbers.insert(input["number"].as_u64().expect("a number"));
        }
    }
    numbers
}

/// Runs on a bad disk until the node ends, then on a good one.
fn fails_well(before: &[&str]) {
    let outside = Outside::new(false);
    outside.configure("");
    let mut running = outside.start(outside.command(before));
    let (api, _) = running.urls();
    outside.ask(&api, ASKED, 0);
    let (status, said) = running.end();
    assert_eq!(status.code(), Some(5), "{before:?}: {said}");
    assert!(said.contains("E-LOG-0"), "{before:?}: {said}");

    let recorded = recorded(&outside);
    let called: BTreeSet<u64> = lock(&outside.told.calls).keys().copied().collect();
    let acknowledged: BTreeSet<u64> = lock(&outside.told.jobs).keys().copied().collect();
    assert!(!acknowledged.is_empty(), "{before:?}: it never worked");
    assert!(
        acknowledged.is_subset(&recorded),
        "{before:?}: lost {:?}",
        acknowledged.difference(&recorded)
    );
    assert!(
        called.is_subset(&recorded),
        "{before:?}: done without a record: {:?}",
        called.difference(&recorded)
    );

    let mut running = outside.start(outside.command(&[]));
    let (api, _) = running.urls();
    outside.ask(&api, 4, 0);
    outside.settle(&api);
    running.kill();
    judge_log(&outside.data_dir(), &outside.told);
}

#[test]
fn a_full_disk_ends_the_node_with_code_5() {
    // A limit on the size of files stands for the full disk, in units of 1 KiB.
    let limited = "trap '' XFSZ; ulimit -f 256; exec \"$@\"";
    fails_well(&["bash", "-c", limited, "bash"]);
}

#[test]
fn a_disk_without_space_for_a_write_ends_the_node_with_code_5() {
    fails_well(&strace("inject=pwrite64:error=ENOSPC:when=150+"));
}

#[test]
fn a_sync_that_fails_ends_the_node_with_code_5() {
    // Only this one: a sync that is tried again, and then succeeds, would hide what was lost.
    fails_well(&strace("inject=fdatasync:error=EIO:when=40"));
}

fn strace(inject: &str) -> Vec<&str> {
    let call = if inject.contains("pwrite64") {
        "trace=pwrite64"
    } else {
        "trace=fdatasync"
    };
    vec![
        "strace",
        "-f",
        "-e",
        "signal=none",
        "-o",
        "/dev/null",
        "-e",
        call,
        "-e",
        inject,
    ]
}

#[test]
fn without_room_clients_are_told_to_come_back() {
    let outside = Outside::new(false);
    outside.configure("budget_mib = 256");
    let mut running = outside.start(outside.command(&[]));
    let (api, _) = running.urls();
    outside.ask(&api, 2, 0);
    let health = || {
        outside.runtime.block_on(async {
            let response = reqwest::get(format!("{api}/health"))
                .await
                .expect("answers");
            let status = response.status().as_u16();
            let body: serde_json::Value = response.json().await.expect("JSON");
            (status, body)
        })
    };
    let wait_for = |wanted: u16| {
        let begun = std::time::Instant::now();
        loop {
            let (status, body) = health();
            if status == wanted {
                return body;
            }
            assert!(begun.elapsed() < node_common::PATIENCE, "{status}: {body}");
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    };
    assert_eq!(wait_for(200)["status"], "healthy");

    // Somebody fills the directory, and the node keeps everything.
    let ballast = outside.data_dir().join("ballast");
    let file = std::fs::File::create(&ballast).expect("a file");
    rustix::fs::fallocate(
        &file,
        rustix::fs::FallocateFlags::empty(),
        0,
        256 * 1024 * 1024,
    )
    .expect("space");
    let body = wait_for(503);
    assert_eq!(body["status"], "unhealthy");
    let why = body["reasons"][0].as_str().expect("a reason");
    assert!(
        why.contains("no new work") && why.contains("budget"),
        "{why}"
    );
    let refused = outside.runtime.block_on(async {
        let job = serde_json::json!({ "containers": [node_common::ECHO], "data": { "number": 7 } });
        let response = reqwest::Client::new()
            .post(format!("{api}/api/jobs"))
            .json(&job)
            .send()
            .await
            .expect("answers");
        let after = response.headers().get("retry-after").cloned();
        (response.status().as_u16(), after.is_some())
    });
    assert_eq!(refused, (503, true));

    // There is room again: intake goes on by itself.
    std::fs::remove_file(&ballast).expect("removed");
    wait_for(200);
    outside.ask(&api, 2, 0);
    outside.settle(&api);
    running.kill();
    judge_log(&outside.data_dir(), &outside.told);
}
