//! The real node on a disk that is full or fails: it ends with exit code 5, and did nothing that
//! is not in the log; started again on a good disk, it goes on where it was.

mod node_common;

use std::collections::BTreeSet;

use infernet_node::{
    audit::Past,
    log::{EventLog as _, LogReader as _, MirrorReader, Retention, Source as _, Upkeep as _},
};
use infernet_state::{
    Event,
    types::{PayloadAt, Seq},
};
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
                seq: Seq(seq),
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
    let wait_for = |wanted: u16| outside.wait_for_health(&api, wanted);
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

#[test]
fn a_mirror_that_fails_is_an_alarm_until_it_works_again() {
    let outside = Outside::new(false);
    let (mirror, away) = (outside.path("mirror"), outside.path("mirror.away"));
    outside.configure(&format!("mirror = {mirror:?}"));
    let mut running = outside.start(outside.command(&[]));
    let (api, _) = running.urls();
    // Some of the payloads go to a pack.
    outside.ask(&api, 6, 0);
    assert_eq!(outside.wait_for_health(&api, 200)["status"], "healthy");

    // The disk goes, and something else is in its place.
    std::fs::rename(&mirror, &away).expect("moved");
    std::fs::write(&mirror, "no directory").expect("written");
    outside.ask(&api, 6, 0);
    let body = outside.wait_for_health(&api, 503);
    let why = body["reasons"][0].as_str().expect("a reason");
    assert!(why.contains("the mirror of the log failed"), "{why}");
    assert!(
        !why.contains(
            outside
                .data_dir()
                .parent()
                .and_then(|at| at.to_str())
                .expect("a path")
        )
    );
    // It is no reason to take nothing in.
    outside.ask(&api, 3, 0);

    std::fs::remove_file(&mirror).expect("removed");
    std::fs::rename(&away, &mirror).expect("moved back");
    outside.wait_for_health(&api, 200);
    outside.settle(&api);
    running.stop();
    let followed = MirrorReader::look(&mirror).expect("whole");
    assert_eq!(followed.newest(), open_log(&outside.data_dir()).head());
    judge_log(&outside.data_dir(), &outside.told);
}

#[test]
fn a_mirror_behind_what_is_kept_is_an_alarm_that_says_what_to_do() {
    let outside = Outside::new(false);
    let mirror = outside.path("mirror");
    outside.configure(&format!("mirror = {mirror:?}"));
    let mut running = outside.start(outside.command(&[]));
    let (api, _) = running.urls();
    outside.ask(&api, 6, 0);
    outside.settle(&api);
    running.stop();
    // The log goes on without it, and drops what it has not.
    outside.configure("");
    let mut running = outside.start(outside.command(&[]));
    let (api, _) = running.urls();
    outside.ask(&api, 6, 0);
    outside.settle(&api);
    running.stop();
    let data = outside.data_dir();
    let snapshot = Past::directory(&data)
        .and_then(|past| past.replay_to(None)?.snapshot())
        .expect("a snapshot");
    let mut log = open_log(&data);
    log.roll(&snapshot).expect("rolled");
    let all = Retention {
        budget_bytes: Some(1),
        keep_events: Some(0),
        ..Retention::default()
    };
    log.retain(&all, &|| Seq(u64::MAX)).expect("dropped");
    drop(log);
    let before = std::fs::read(mirror.join("blocks")).expect("read");

    outside.configure(&format!("mirror = {mirror:?}"));
    let mut running = outside.start(outside.command(&[]));
    let (api, _) = running.urls();
    let body = outside.wait_for_health(&api, 503);
    let why = body["reasons"][0].as_str().expect("a reason");
    assert!(
        why.contains("lacks events") && why.contains("a new one in an empty directory"),
        "{why}"
    );
    outside.ask(&api, 3, 0);
    running.terminate();
    let (_, said) = running.end();
    let tries = said.matches("E-LOG-014").count();
    assert_eq!(tries, 1, "no try will mend it:\n{said}");
    assert!(before == std::fs::read(mirror.join("blocks")).expect("read"));

    // As it says.
    let mirror = outside.path("mirror.new");
    outside.configure(&format!("mirror = {mirror:?}"));
    let mut running = outside.start(outside.command(&[]));
    let (api, _) = running.urls();
    outside.wait_for_health(&api, 200);
    running.stop();
    let followed = MirrorReader::look(&mirror).expect("whole");
    assert_eq!(followed.base_snapshot().expect("read"), Some(snapshot));
    assert_eq!(followed.newest(), open_log(&data).head());
}

#[test]
fn a_mirror_that_hangs_does_not_hold_a_stop_up() {
    let outside = Outside::new(false);
    let (mirror, away) = (outside.path("mirror"), outside.path("mirror.away"));
    outside.configure(&format!("mirror = {mirror:?}"));
    let mut running = outside.start(outside.command(&[]));
    let (api, _) = running.urls();
    outside.ask(&api, 3, 0);
    std::fs::rename(&mirror, &away).expect("moved");
    std::fs::write(&mirror, "no directory").expect("written");
    outside.ask(&api, 6, 0);
    outside.wait_for_health(&api, 503);
    // When it is opened again, a read of it never ends.
    let hanging = outside.path("mirror.hanging");
    std::fs::create_dir(&hanging).expect("made");
    let made = std::process::Command::new("mkfifo")
        .arg(hanging.join("checkpoints.jsonl"))
        .status();
    assert!(made.expect("mkfifo starts").success());
    std::fs::remove_file(&mirror).expect("removed");
    std::fs::rename(&hanging, &mirror).expect("moved");
    let begun = std::time::Instant::now();
    while !mirror.join("MIRROR").exists() {
        assert!(begun.elapsed() < node_common::PATIENCE, "not opened again");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // Clients do not notice, and neither does a stop: it ends by itself, with code 0.
    outside.ask(&api, 3, 0);
    outside.settle(&api);
    running.stop();
    judge_log(&outside.data_dir(), &outside.told);
}
