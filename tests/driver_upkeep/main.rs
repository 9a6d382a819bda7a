//! The loop keeps its log small: snapshots, rolls, retention, and what happens when there is no
//! room. On the log on disk, with a clock that runs fast.

#[path = "../log_common/mod.rs"]
mod log_common;
mod node;
mod retention;

use std::{fs, path::Path, sync::atomic::Ordering};

use infernet_node::{
    driver::{self, Policy, Reply},
    log::{LogReader as _, Retention, Snapshot},
};
use infernet_state::{
    Event, Machine,
    machine::JobStatus,
    types::{JobId, WallTime},
};
use node::*;

#[test]
fn from_a_snapshot_or_from_nothing_the_state_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = dir.path().join("snapshots");
    let mut jobs = 0;
    for _ in 0..3 {
        let node = Loop::start(dir.path(), often(), LONG_MS);
        node.work(jobs..jobs + 60);
        jobs += 60;
        // Snapshots come as far apart as the last one was long, but they come.
        let newest = |dir: &Path| names(dir).last().cloned().unwrap_or_default();
        let before = newest(&snapshots);
        while newest(&snapshots) == before {
            node.work(jobs..jobs + 20);
            jobs += 20;
        }
        let lived = node.end();
        assert_eq!(recovered(dir.path()), lived);
        assert_eq!(replayed(dir.path()), lived);
    }
    assert!(names(&snapshots).len() <= 2, "old ones go");

    // Damaged, cut off or whole but of another state: it is passed over.
    let lived = replayed(dir.path());
    let log = open(dir.path());
    let newest = log.latest_snapshot().unwrap().unwrap();
    let other = Snapshot {
        bytes: Machine::new().snapshot().unwrap(),
        ..newest.clone()
    };
    log.save_snapshot(&other).unwrap();
    drop(log);
    assert_eq!(recovered(dir.path()), lived, "a foreign state");
    let file = snapshots.join(names(&snapshots).pop().unwrap());
    let whole = fs::read(&file).unwrap();
    for damaged in [&whole[..0], &whole[..100], &whole[..whole.len() - 1]] {
        fs::write(&file, damaged).unwrap();
        assert_eq!(recovered(dir.path()), lived, "cut off");
    }
    for file in names(&snapshots) {
        fs::write(snapshots.join(file), b"nothing").unwrap();
    }
    assert_eq!(recovered(dir.path()), lived, "none is left");
}

#[test]
fn a_log_is_rolled_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let policy = rolling(100);
    let node = Loop::start(dir.path(), policy, LONG_MS);
    let archives = || {
        let names = names(&dir.path().join("archives"));
        names
            .iter()
            .filter(|name| name.ends_with(".blocks"))
            .count()
    };
    let mut jobs = 0;
    while archives() < 4 {
        node.work(jobs..jobs + 30);
        jobs += 30;
    }
    // Every result can be read, wherever it stands now.
    for key in 0..jobs {
        let mut id = [1; 16];
        id[..8].copy_from_slice(&key.to_be_bytes());
        let status = node.handle.view(|machine| machine.job_status(JobId(id)));
        let Some(JobStatus::Success {
            output: Some(at), ..
        }) = status
        else {
            panic!("job {key}: {status:?}");
        };
        assert!(node.reader.payload(at).unwrap().is_some());
    }
    let lived = node.end();
    assert_eq!(recovered(dir.path()), lived);
    assert_eq!(replayed(dir.path()), lived);
    let databases = names(&dir.path().join("log"));
    assert_eq!(databases.len(), 1, "{databases:?}");

    // It starts at the last roll, not at the beginning.
    let node = Loop::start(dir.path(), policy, LONG_MS);
    assert_eq!(node.started, lived.0);
    node.work(jobs..jobs + 1);
    node.end();
}

#[test]
fn without_room_nothing_new_is_taken_in_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let with_budget = |budget_bytes| Policy {
        retention: Retention {
            budget_bytes: Some(budget_bytes),
            roll_events: Some(100),
            ..Retention::default()
        },
        ..often()
    };
    let ballast = dir.path().join("ballast");
    const BUDGET: u64 = 300 * 1024 * 1024;
    let node = Loop::start(dir.path(), with_budget(BUDGET), LONG_MS);
    assert!(matches!(node.request(1), Reply::Recorded(_)));
    assert_eq!(node.handle.alarms(), driver::Alarms::default());
    // Somebody fills the directory; the node keeps everything, so it takes nothing new.
    let file = fs::File::create(&ballast).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BUDGET).unwrap();
    node.wait("an alarm", |node| node.handle.alarms().intake.is_some());
    let why = node.handle.alarms().intake.unwrap();
    assert!(why.contains("raise the budget"), "{why}");
    assert_eq!(node.request(2), Reply::NoRoom);
    // What was accepted goes on, and can be asked for again.
    assert!(matches!(node.request(1), Reply::Known(_)));
    let seen = Event::WallTimePassed { now: WallTime(1) };
    node.runtime
        .block_on(node.handle.observe(seen, Vec::new()))
        .unwrap();
    // Nobody waits a day for room because the clock was a day ahead.
    node.world.back.store(24 * 3_600_000, Ordering::SeqCst);
    fs::remove_file(&ballast).unwrap();
    node.wait("room", |node| node.handle.alarms().intake.is_none());
    assert!(matches!(node.request(2), Reply::Recorded(_)));
    node.end();
}
