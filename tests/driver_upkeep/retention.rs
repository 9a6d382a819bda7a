//! What is kept and what goes: budgets, damaged parts, payloads and results.

use std::fs;

use crate::node::*;
use infernet_node::{
    driver::{self, Driver, Policy, SystemWorld},
    log::{EventLog as _, LogReader as _, Retention, Snapshot, Upkeep as _},
};
use infernet_state::{
    Event, Machine,
    event::{Outcome, Success},
    machine::SnapshotError,
    types::{JobId, PayloadAt, Seq, WallTime},
};

#[test]
fn a_budget_drops_the_oldest_parts_that_need_not_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let policy = |keep_events| Policy {
        retention: Retention {
            // Less than anything takes: the budget is always short.
            budget_bytes: Some(1),
            keep_events,
            roll_events: Some(60),
            ..Retention::default()
        },
        ..often()
    };
    // Jobs that ran elsewhere come in as facts do, so that intake may be stopped.
    let observe = |node: &Loop, events: u64| {
        for _ in 0..events {
            let seen = Event::WallTimePassed { now: WallTime(1) };
            node.runtime
                .block_on(node.handle.observe(seen, Vec::new()))
                .unwrap();
        }
    };
    let rolls = |node: &Loop, parts: usize| {
        let archives = dir.path().join("archives");
        let newest = || names(&archives).pop().unwrap_or_default();
        for _ in 0..parts {
            let before = newest();
            observe(node, 70);
            node.wait("a roll", |_| newest() != before);
        }
    };
    let node = Loop::start(dir.path(), policy(None), LONG_MS);
    rolls(&node, 3);
    assert_eq!(node.reader.first(), Seq(1), "everything is kept");
    node.end();

    let node = Loop::start(dir.path(), policy(Some(100)), LONG_MS);
    rolls(&node, 2);
    node.wait("the oldest part goes", |node| node.reader.first() > Seq(1));
    let head = node.reader.head().seq.0;
    assert!(node.reader.first().0 + 100 <= head + 1, "100 are kept");
    let lived = node.end();
    assert_eq!(recovered(dir.path()), lived);

    // Where the beginning is gone, a state that a newer program laid out is no state to start
    // from, and a new machine is none either.
    let mut log = open(dir.path());
    let mut bytes = Machine::new().snapshot().unwrap();
    bytes[5] += 1;
    let newer = Snapshot {
        head: log.head(),
        digest: lived.1,
        bytes,
    };
    log.roll(&newer).unwrap();
    drop(log);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let log = open(dir.path());
    let begun = Driver::recover(log, SystemWorld::current(), Policy::default());
    let why = begun.map(|_| ()).unwrap_err();
    assert!(
        matches!(
            why,
            driver::Fatal::Snapshot(SnapshotError::Unknown { number: 2, .. })
        ),
        "{why}"
    );
}

#[test]
fn a_budget_that_is_exceeded_from_the_start_drops_what_may_go() {
    let dir = tempfile::tempdir().unwrap();
    let rolling = rolling(60);
    let node = Loop::start(dir.path(), rolling, LONG_MS);
    let archives = || names(&dir.path().join("archives")).len();
    while archives() < 4 {
        let seen = Event::WallTimePassed { now: WallTime(1) };
        node.runtime
            .block_on(node.handle.observe(seen, Vec::new()))
            .unwrap();
    }
    node.end();

    const BUDGET: u64 = 300 * 1024 * 1024;
    let file = fs::File::create(dir.path().join("ballast")).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BUDGET).unwrap();
    // Nothing new is taken in, so nothing else becomes due.
    let policy = Policy {
        snapshot_events: u64::MAX,
        retention: Retention {
            budget_bytes: Some(BUDGET),
            keep_events: Some(1),
            ..Retention::default()
        },
    };
    let node = Loop::start(dir.path(), policy, LONG_MS);
    node.wait("the parts go", |_| archives() == 0);
    node.end();
}

#[test]
fn a_part_is_closed_although_nothing_can_be_erased() {
    let dir = tempfile::tempdir().unwrap();
    let policy = Policy {
        retention: Retention {
            roll_events: Some(80),
            erase_payloads: true,
            ..Retention::default()
        },
        ..often()
    };
    let archives = dir.path().join("archives");
    let count = |kind: &str| {
        let names = names(&archives);
        names.iter().filter(|name| name.ends_with(kind)).count()
    };
    let node = Loop::start(dir.path(), policy, LONG_MS);
    let mut jobs = 0;
    let mut work = |node: &Loop| {
        node.work(jobs..jobs + 10);
        jobs += 10;
    };
    while count(".blocks") < 1 {
        work(&node);
    }
    // What says that a part is erased cannot be written.
    let oldest = names(&archives)
        .into_iter()
        .find(|name| name.ends_with(".blocks"));
    let obstacle = archives.join(oldest.unwrap()).with_extension("bare");
    fs::create_dir(&obstacle).unwrap();
    let aging = Event::ConfigChanged(config(60_000));
    node.runtime
        .block_on(node.handle.observe(aging, Vec::new()))
        .unwrap();
    while node.handle.alarms().upkeep.is_none() {
        work(&node);
    }
    let before = count(".blocks");
    while count(".blocks") < before + 3 {
        work(&node);
    }
    fs::remove_dir(&obstacle).unwrap();
    node.wait("it is erased", |node| {
        obstacle.is_file() && node.handle.alarms().upkeep.is_none()
    });
    let lived = node.end();
    assert_eq!(recovered(dir.path()), lived);
}

#[test]
fn a_damaged_part_that_nobody_needs_neither_stops_the_node_nor_holds_up_others() {
    let dir = tempfile::tempdir().unwrap();
    let policy = |erase_payloads| Policy {
        retention: Retention {
            roll_events: Some(80),
            erase_payloads,
            ..Retention::default()
        },
        ..often()
    };
    let archives = dir.path().join("archives");
    let all = |kind: &str| {
        let mut names = names(&archives);
        names.retain(|name| name.ends_with(kind));
        names
    };
    let mut jobs = 0;
    let mut work = |node: &Loop| {
        node.work(jobs..jobs + 10);
        jobs += 10;
    };
    let node = Loop::start(dir.path(), policy(false), LONG_MS);
    while all(".blocks").len() < 2 {
        work(&node);
    }
    node.end();
    let oldest = archives.join(&all(".blocks")[0]);
    let mut bytes = fs::read(&oldest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&oldest, &bytes).unwrap();
    let node = Loop::start(dir.path(), policy(true), 60_000);
    while all(".bare").is_empty() || node.handle.alarms().upkeep.is_none() {
        work(&node);
    }
    let why = node.handle.alarms().upkeep.unwrap();
    assert!(why.contains("a closed part of the log is damaged"), "{why}");
    assert!(!oldest.with_extension("bare").exists());
    assert!(fs::read(&oldest).unwrap() == bytes, "it is left as it was");
    let before = all(".blocks").len();
    while all(".blocks").len() < before + 2 {
        work(&node);
    }
    let lived = node.end();
    assert_eq!(recovered(dir.path()), lived);
}

#[test]
fn payloads_that_nothing_asks_for_are_erased() {
    let dir = tempfile::tempdir().unwrap();
    let policy = Policy {
        retention: Retention {
            roll_events: Some(80),
            erase_payloads: true,
            ..Retention::default()
        },
        ..often()
    };
    // Results are kept for a minute, which is a second here.
    let node = Loop::start(dir.path(), policy, 60_000);
    let mut jobs = 0;
    let bare = || {
        let names = names(&dir.path().join("archives"));
        names.iter().filter(|name| name.ends_with(".bare")).count()
    };
    while bare() < 2 {
        node.work(jobs..jobs + 10);
        jobs += 10;
    }
    let needed_from = node.handle.view(Machine::payloads_needed_from);
    let (mut erased, mut kept) = (0, 0);
    let head = node.reader.head().seq.0;
    for seq in 1..=head {
        let stored = &node.reader.read(Seq(seq), 1).unwrap()[0].event;
        let event =
            infernet_state::codec::decode(stored.kind, stored.version, &stored.body).unwrap();
        let reference = match event {
            Event::JobAccepted(request) => request.input,
            Event::EffectEnded {
                outcome: Outcome::Succeeded(Success::ContainerAnswered { output }),
                ..
            } => output,
            _ => continue,
        };
        let at = PayloadAt {
            seq: Seq(seq),
            payload: reference,
        };
        match node.reader.payload(at).unwrap() {
            None => {
                assert!(seq < needed_from.0, "event {seq} is needed");
                erased += 1;
            }
            Some(_) => kept += 1,
        }
    }
    assert!(erased > 50 && kept > 0, "{erased} erased, {kept} kept");
    let lived = node.end();
    assert_eq!(recovered(dir.path()), lived);
    assert_eq!(replayed(dir.path()), lived, "the chain is whole");
    // What is erased stays so, and is not erased again.
    let mut log = open(dir.path());
    let space = log.retain(&Retention::default(), &|| Seq(0)).unwrap();
    assert_eq!(space.intake_stopped, None);
}

#[test]
fn results_beyond_the_maximum_go_when_the_next_ones_come() {
    let dir = tempfile::tempdir().unwrap();
    let node = Loop::start(dir.path(), Policy::default(), LONG_MS);
    let mut few = config(LONG_MS);
    few.limits.results_max = 5;
    node.runtime
        .block_on(node.handle.observe(Event::ConfigChanged(few), Vec::new()))
        .unwrap();
    node.work(0..20);
    node.wait("only the newest results are kept", |node| {
        let kept = |key: &u64| {
            let mut id = [1; 16];
            id[..8].copy_from_slice(&key.to_be_bytes());
            node.handle
                .view(|machine| machine.job_status(JobId(id)).is_some())
        };
        (0..20).filter(kept).count() == 5
    });
    let lived = node.end();
    assert_eq!(replayed(dir.path()), lived);
}
