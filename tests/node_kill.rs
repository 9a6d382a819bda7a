//! The real node, really killed: at every named place between two durable steps, twice in a row
//! while it recovers, and from outside at any moment. Whatever happens, each acknowledged job has
//! exactly one result, each request on chain is answered once, the books balance, and a replay of
//! the log gives the state that the running node had.

mod node_common;

use std::{collections::BTreeSet, fs::File, os::unix::process::ExitStatusExt as _, time::Duration};

use infernet_node::crash::POINTS;
use node_common::{Outside, Running, get, judge_log, lock};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// Kills from outside.
const KILLS: u64 = 200;

/// Requests of clients, and on chain, in the life of one process.
const ASKED: u64 = 24;

/// A log that is rolled and snapshotted all the time.
const BUSY: &str = "snapshot_events = 16\nroll_events = 48";

/// One that is only snapshotted: a part that is large enough to be rolled goes before.
const SNAPPING: &str = "snapshot_events = 16";

/// One that erases what nothing asks for any more.
const ERASING: &str = "snapshot_events = 16\nroll_events = 16\nerase_payloads = true";

/// One that drops what it need not keep.
const DROPPING: &str = "snapshot_events = 16\nroll_events = 48\nkeep_events = 60\n\
                        budget_mib = 256\n[results]\nkeep_minutes = 0";

/// What the node of [`DROPPING`] finds in its directory: so much that the budget is always short.
const BALLAST_BYTES: u64 = 200 * 1024 * 1024;

/// A crash at the given passage of a place.
fn armed(outside: &Outside, name: &str, passage: u64) -> Running {
    let mut command = outside.command(&[]);
    command.env("INFERNET_CRASH_POINT", format!("{name}:{passage}"));
    outside.start(command)
}

/// The process ended as one that is killed.
fn check_killed(running: &mut Running) {
    let (status, said) = running.end();
    assert!(
        status.signal().is_some(),
        "it ended by itself: {status}, {said}"
    );
}

/// Runs until the place is passed, with all kinds of work; whether it was.
fn crash_at(outside: &Outside, name: &str, passage: u64, clients: u64, onchain: u64) -> bool {
    let mut running = armed(outside, name, passage);
    if let Some(api) = running.api() {
        outside.ask(&api, clients, onchain);
        if running.ended().is_none() {
            // Upkeep runs beside the work, and may come a little later.
            for _ in 0..100 {
                if running.ended().is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if running.ended().is_none() {
            running.kill();
            return false;
        }
    }
    check_killed(&mut running);
    true
}

/// A life without a crash: everything is served, and the state is the one that the log leads to.
fn serve_and_judge(outside: &Outside) {
    let mut running = outside.start(outside.command(&[]));
    let (api, admin) = running.urls();
    outside.ask(&api, 4, u64::from(outside.chain.is_some()));
    outside.settle(&api);
    outside.judge_chain();
    let status = outside
        .runtime
        .block_on(get(&format!("{admin}/admin/status")));
    running.kill();
    let machine = judge_log(&outside.data_dir(), &outside.told);
    // The log may have gone on behind the answer: blocks are still seen.
    if status["seq"] == machine.seq().0 {
        assert_eq!(status["digest"], machine.digest().to_string());
    } else {
        let log = node_common::open_log(&outside.data_dir());
        let mut machine = infernet_state::Machine::new();
        let to = infernet_state::types::Seq(status["seq"].as_u64().expect("a number"));
        let reader = infernet_node::log::EventLog::reader(&log);
        infernet_node::driver::replay_to(&reader, &mut machine, to, |_, _, _| {}).expect("replays");
        assert_eq!(status["digest"], machine.digest().to_string());
    }
}

/// The places of which a name begins so.
fn points(prefixes: &[&str]) -> Vec<&'static str> {
    let begins = |name: &&&str| prefixes.iter().any(|prefix| name.starts_with(prefix));
    POINTS.iter().filter(begins).copied().collect()
}

/// Places passed by a node that erases, by one that drops, and by one that is new.
const ELSEWHERE: [&str; 3] = ["erase.", "retain.", "create."];

#[test]
fn killed_at_every_named_place_it_keeps_its_promises() {
    let mut reached = BTreeSet::new();
    let outside = Outside::new(true);
    outside.configure(BUSY);
    // The first process makes the directory.
    for name in points(&["create."]) {
        assert!(
            crash_at(&outside, name, 1, ASKED, 0),
            "{name} is never passed"
        );
        reached.insert(name);
    }
    let usual: Vec<_> = POINTS
        .iter()
        .copied()
        .filter(|name| !ELSEWHERE.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    // Where an opening passes it, it passes it once.
    let opening = |name: &str| name.starts_with("open.");
    for (place, name) in (0..).zip(&usual) {
        let passages: &[u64] = if opening(name) { &[1] } else { &[1, 5] };
        let snapping = name.starts_with("snapshot.");
        outside.configure(if snapping { SNAPPING } else { BUSY });
        for passage in passages {
            // Upkeep comes when there is enough of the log, which may be a few lives later.
            let lives = if *passage == 1 { 6 } else { 1 };
            if (0..lives).any(|_| crash_at(&outside, name, *passage, ASKED, 1)) {
                reached.insert(*name);
                // And once more while it recovers, at another place each time.
                let again = usual[(place * 7 + 3) % usual.len()];
                crash_at(&outside, again, 1, ASKED, 0);
            }
        }
        assert!(reached.contains(name), "{name} is never passed");
    }
    serve_and_judge(&outside);

    // Results of clients are asked for until they are old, so there are none here.
    let outside = Outside::new(true);
    outside.configure(ERASING);
    for name in points(&["erase."]) {
        // Its first parts have nothing that may be erased yet.
        let passed = (0..4).any(|_| crash_at(&outside, name, 1, 0, 6));
        assert!(passed, "{name} is never passed");
        reached.insert(name);
    }
    serve_and_judge(&outside);

    let unreached: Vec<_> = POINTS
        .iter()
        .filter(|name| !reached.contains(*name))
        .collect();
    assert_eq!(unreached, points(&["retain."]).iter().collect::<Vec<_>>());
}

#[test]
fn killed_while_it_drops_what_it_need_not_keep() {
    let outside = Outside::new(false);
    outside.configure(DROPPING);
    std::fs::create_dir_all(outside.data_dir()).expect("a directory");
    let ballast = File::create(outside.data_dir().join("ballast")).expect("a file");
    rustix::fs::fallocate(
        &ballast,
        rustix::fs::FallocateFlags::empty(),
        0,
        BALLAST_BYTES,
    )
    .expect("space");
    for name in points(&["retain."]) {
        let passed = (0..4).any(|_| crash_at(&outside, name, 1, 60, 0));
        assert!(passed, "{name} is never passed");
    }
    let mut running = outside.start(outside.command(&[]));
    let (api, admin) = running.urls();
    outside.wait_until_idle(&api);
    let status = outside
        .runtime
        .block_on(get(&format!("{admin}/admin/status")));
    running.kill();
    // The beginning is gone; what is kept begins with a snapshot and leads to the same state.
    let log = node_common::open_log(&outside.data_dir());
    let reader = infernet_node::log::EventLog::reader(&log);
    assert!(reader.first().0 > 1, "nothing was dropped");
    let snapshot = infernet_node::log::Source::base_snapshot(&reader)
        .expect("readable")
        .expect("kept");
    let mut machine = infernet_state::Machine::restore(&snapshot.bytes).expect("a state");
    assert_eq!(machine.digest(), snapshot.digest);
    let to = infernet_state::types::Seq(status["seq"].as_u64().expect("a number"));
    infernet_node::driver::replay_to(&reader, &mut machine, to, |_, _, _| {}).expect("replays");
    assert_eq!(status["digest"], machine.digest().to_string());
}

/// A job that was given up stays so, whenever the process dies after it said so.
#[test]
fn killed_behind_the_answer_a_job_stays_given_up() {
    let outside = Outside::new(false);
    // A container that takes every call and answers none.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    outside.configure(&format!(
        "[[containers]]\nid = \"silent\"\nurl = \"http://{}\"\nexternal = true",
        silent.local_addr().expect("bound")
    ));
    let client = reqwest::Client::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut running = outside.start(outside.command(&[]));
        let api = running.api().expect("it starts");
        let id = outside.runtime.block_on(async {
            for id in &ids {
                let jobs = get(&format!("{api}/api/jobs?id={id}")).await;
                assert_eq!(jobs[0]["result"]["error"], "cancelled", "{jobs}");
            }
            let job = serde_json::json!({ "containers": ["silent"], "data": {} });
            let taken = client.post(format!("{api}/api/jobs")).json(&job).send();
            let taken: serde_json::Value = taken.await.expect("taken").json().await.expect("JSON");
            let id = taken["id"].as_str().expect("an id").to_owned();
            let given_up = client.delete(format!("{api}/api/jobs?id={id}")).send();
            assert_eq!(given_up.await.expect("answers").status(), 200);
            id
        });
        running.kill();
        ids.push(id);
    }
    let log = node_common::open_log(&outside.data_dir());
    let reader = infernet_node::log::EventLog::reader(&log);
    let machine = infernet_node::driver::replay(&reader).expect("replays");
    assert_eq!(machine.pending().offchain, 0);
}

#[test]
fn killed_at_two_hundred_moments_it_keeps_its_promises() {
    let outside = Outside::new(true);
    outside.configure(BUSY);
    let seed =
        std::env::var("INFERNET_TEST_SEED").map_or(7, |seed| seed.parse().expect("a number"));
    let mut random = StdRng::seed_from_u64(seed);
    let mut served = 0;
    for kill in 0..KILLS {
        let mut running = outside.start(outside.command(&[]));
        // Some die while they open, most at work.
        let opening = kill % 4 == 0;
        let ready = if opening { None } else { running.api() };
        let life = Duration::from_millis(random.random_range(0..400));
        let id = running.id();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(life);
            let killed = std::process::Command::new("kill")
                .args(["-9", &id.to_string()])
                .status();
            assert!(killed.expect("kill").success());
        });
        if let Some(api) = ready {
            served += 1;
            outside.ask(&api, ASKED, u64::from(kill % 3 == 0));
        }
        killer.join().expect("killed");
        check_killed(&mut running);
    }
    assert_eq!(served, KILLS - KILLS / 4, "lives that came to work");
    println!(
        "{served} of {KILLS} processes came to work, {} jobs acknowledged, {} requests on chain",
        lock(&outside.told.jobs).len(),
        lock(&outside.told.subscriptions).len()
    );
    serve_and_judge(&outside);
}
