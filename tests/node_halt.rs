//! The real node at an event that breaks an invariant: it ends with exit code 6 before any effect,
//! again at the same event when it is started again, and goes on from the log as it was before,
//! with the commands that it names. And the node on a log of another version's logic.

mod log_common;
mod node_common;

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use infernet_node::{
    dev::{self, Role},
    devnet::{Devnet, DevnetConfig},
    log::{
        EventLog as _, LogReader as _, MirrorReader, Options, Record, SledLog, SledReader,
        Source as _, checkpoint::Checkpoint,
    },
};
use infernet_state::{
    Event,
    machine::LOGIC,
    types::{Seq, WallTime},
};
use node_common::{Outside, PATIENCE, Running, event, get, judge_log, lock, open_log};

/// The node's account in the development world.
const NODE: &str = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8";

/// Runs a command of the same binary on directories: what it says on standard error.
fn infernet(code: i32, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_infernet"))
        .args(arguments)
        .env_remove("INFERNET_DATA_DIR")
        .env_remove("INFERNET_PRIVATE_KEY")
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The newest event, as the operator sees it.
fn seq(outside: &Outside, admin: &str) -> u64 {
    let status = outside
        .runtime
        .block_on(get(&format!("{admin}/admin/status")));
    status["seq"].as_u64().expect("a number")
}

/// Ends with exit code 6; the event it names, and the commands that it names, as typed.
fn halts(running: &mut Running) -> (u64, Vec<Vec<String>>) {
    let (status, said) = running.end();
    assert_eq!(status.code(), Some(6), "{said}");
    let named = said.split("E-STATE-020: at event ").nth(1).expect(&said);
    let at = named.split(':').next().and_then(|at| at.parse().ok());
    let commands = said
        .lines()
        .filter_map(|line| line.strip_prefix("  infernet "))
        .map(|line| {
            let typed = line.split("   ").next().unwrap_or_default();
            typed.split(' ').map(str::to_owned).collect()
        })
        .collect();
    (at.expect("a number"), commands)
}

/// Appends what a broken RPC could make the node record: a reorg below what is final.
fn append_broken_promise(data_dir: &Path) -> Seq {
    let mut log = open_log(data_dir);
    let reader = log.reader();
    let mut finals = (1..=reader.head().seq.0).filter_map(|seq| match event(&reader, seq) {
        Event::ChainFinalized { block } => Some(block),
        _ => None,
    });
    let mut ancestor = finals.next_back().expect("a final block");
    ancestor.number -= 1;
    let reorg = infernet_state::codec::encode(&Event::ChainReorged { ancestor });
    let record = Record {
        event: reorg.expect("encoded"),
        payloads: Vec::new(),
    };
    log.append(&[record]).expect("appended").seq
}

/// A chain with a journal; `listen` may be where another one listened before.
async fn chain(dir: &Path, listen: SocketAddr) -> Devnet {
    let config = DevnetConfig {
        listen,
        dir: Some(dir.to_owned()),
        ..DevnetConfig::default()
    };
    Devnet::start(config).await.expect("a chain")
}

async fn mine(url: &str, blocks: u32) {
    let call = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "anvil_mine", "params": [format!("{blocks:#x}")],
    });
    let sent = reqwest::Client::new().post(url).json(&call).send().await;
    let answer: serde_json::Value = sent.expect("answers").json().await.expect("JSON");
    assert!(answer.get("error").is_none(), "{answer}");
}

/// Waits until a running node has signed so many checkpoints.
fn wait_for_checkpoints(data_dir: &Path, count: usize) {
    let begun = Instant::now();
    let made = || {
        let saved = std::fs::read_to_string(data_dir.join("checkpoints.jsonl"));
        saved.map_or(0, |saved| saved.lines().count())
    };
    while made() < count {
        assert!(begun.elapsed() < PATIENCE, "{} checkpoints", made());
        thread::sleep(Duration::from_millis(20));
    }
}

fn checkpoints(data_dir: &Path) -> Vec<Checkpoint> {
    let reader = SledReader::look(data_dir).expect("opened");
    reader.checkpoints().expect("readable")
}

#[test]
fn a_reorg_below_what_is_final_halts_the_node_and_nobody_vouches_for_it() {
    let mut outside = Outside::new(true);
    let (journal, earlier) = (outside.path("chain"), outside.path("earlier"));
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let started = outside.runtime.block_on(async {
        let devnet = chain(&journal, free).await;
        dev::deploy(&devnet.url()).await.expect("contracts");
        devnet
    });
    let (url, listen) = (started.url(), started.address());
    outside.chain.as_mut().expect("a chain").devnet = started;
    let (data, mirror) = (outside.data_dir(), outside.path("mirror"));
    outside.configure(&format!("mirror = {mirror:?}\ncheckpoint_events = 10"));
    let mut running = outside.start(outside.command(&[]));
    let (api, _) = running.urls();
    outside.ask(&api, 8, 0);
    outside.runtime.block_on(mine(&url, 5));
    outside.settle(&api);
    wait_for_checkpoints(&data, 1);
    log_common::copy(&journal, &earlier);
    outside.ask(&api, 8, 1);
    outside.settle(&api);
    wait_for_checkpoints(&data, 2);

    // The chain goes back to where it was, and on from there.
    let chain_now = outside.chain.as_mut().expect("a chain");
    outside.runtime.block_on(async {
        let other = Devnet::start(DevnetConfig::default())
            .await
            .expect("a chain");
        std::mem::replace(&mut chain_now.devnet, other)
            .shutdown()
            .await;
        let replaced = chain(&earlier, listen).await;
        mine(&url, 100).await;
        std::mem::replace(&mut chain_now.devnet, replaced)
            .shutdown()
            .await;
    });
    let (at, _) = halts(&mut running);
    let signed = checkpoints(&data);
    let seqs: Vec<u64> = signed.iter().map(|one| one.statement.head.seq.0).collect();
    assert!(seqs.is_sorted_by(|a, b| a + 10 <= *b), "{seqs:?}");
    let newest = |data: &Path| checkpoints(data).pop().expect("one").statement.head.seq;
    assert!(newest(&data).0 < at, "nobody signs what halted");
    // The mirror holds the log as it is, with the event, and vouches for no more of it.
    let followed = MirrorReader::look(&mirror).expect("whole");
    assert_eq!(followed.newest(), open_log(&data).head());
    assert!(followed.newest().seq.0 >= at);
    assert_eq!(followed.checkpoints().expect("readable"), signed);
    drop(followed);

    // Again at the same place, with nothing done, by the node and by the tools.
    for _ in 0..2 {
        assert_eq!(halts(&mut outside.start(outside.command(&[]))).0, at);
    }
    let replay = infernet(6, &["replay", "--data-dir", text(&data), "--quiet"]);
    assert!(replay.contains(&format!("at event {at}:")), "{replay}");
    assert!(replay.contains("log export"), "{replay}");
    let key = outside.path("key");
    std::fs::write(&key, Role::Node.key()).expect("written");
    let checkpoint = [
        "log",
        "checkpoint",
        "--data-dir",
        text(&data),
        "--private-key-file",
        text(&key),
    ];
    infernet(6, &checkpoint);
    assert!(newest(&data).0 < at);

    // It is exported whole, as it is; whoever verifies or imports that is told.
    let whole = outside.path("whole.jsonl");
    infernet(
        0,
        &["log", "export", "--data-dir", text(&data), text(&whole)],
    );
    for refused in [
        &["log", "verify", text(&whole)][..],
        &[
            "log",
            "import",
            text(&whole),
            "--data-dir",
            text(&outside.path("no")),
        ],
    ] {
        let said = infernet(7, refused);
        assert!(
            said.contains("E-AUDIT-015") && said.contains("E-STATE-020"),
            "{said}"
        );
    }
    assert!(!outside.path("no").exists());
    // The part before it verifies, with the node's signature; the part behind it has no state.
    let before = outside.path("before.jsonl");
    let (at, last) = (at.to_string(), (at - 1).to_string());
    let part = ["log", "export", "--data-dir", text(&data)];
    infernet(0, &[&part[..], &["--to", &last, text(&before)]].concat());
    infernet(0, &["log", "verify", text(&before), "--address", NODE]);
    infernet(
        0,
        &[
            &part[..],
            &["--from", &at, text(&outside.path("event.jsonl"))],
        ]
        .concat(),
    );
    let next = (last.parse::<u64>().expect("a number") + 2).to_string();
    infernet(6, &[&part[..], &["--from", &next]].concat());
}

#[test]
fn a_log_with_an_event_that_halts_is_cut_before_it_with_the_named_commands() {
    let outside = Outside::new(true);
    outside.configure("");
    let mut running = outside.start(outside.command(&[]));
    let (api, admin) = running.urls();
    outside.wait_until_idle(&api);
    let early = seq(&outside, &admin);
    outside.ask(&api, 4, 1);
    outside.settle(&api);
    running.kill();
    let data = outside.data_dir();
    let bad = append_broken_promise(&data);

    let (at, commands) = halts(&mut outside.start(outside.command(&[])));
    assert_eq!(at, bad.0);
    assert_eq!(commands.len(), 3, "{commands:?}");
    let restored = outside.path("restored");
    let export = outside.path("before.jsonl");
    for command in &commands {
        let place = |word: &String| match word.as_str() {
            "before.jsonl" => text(&export).to_owned(),
            "NEW" => text(&restored).to_owned(),
            word => word.to_owned(),
        };
        let typed: Vec<String> = command.iter().map(place).collect();
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        infernet(0, &typed);
    }
    // Nothing was acknowledged behind it, so nothing is missing: it goes on at once.
    let on = |place: &Path, more: &[&str]| {
        let mut command = outside.command(&[]);
        command.arg("--data-dir").arg(place).args(more);
        outside.start(command)
    };
    let mut running = on(&restored, &[]);
    let (api, _) = running.urls();
    outside.wait_for_health(&api, 200);
    outside.ask(&api, 2, 1);
    outside.settle(&api);
    running.kill();
    judge_log(&restored, &outside.told);
    outside.judge_chain();

    // Cut further back, the chain is ahead of it: nothing is sent until somebody says so.
    let (older, cut) = (outside.path("older"), outside.path("older.jsonl"));
    let to = early.to_string();
    infernet(
        0,
        &[
            "log",
            "export",
            "--data-dir",
            text(&data),
            "--to",
            &to,
            text(&cut),
        ],
    );
    infernet(
        0,
        &["log", "import", text(&cut), "--data-dir", text(&older)],
    );
    let mut running = on(&older, &[]);
    let (api, _) = running.urls();
    let body = outside.wait_for_health(&api, 503);
    let why = body["reasons"][0].as_str().expect("a reason");
    assert!(why.contains("--lift-quarantine"), "{why}");
    running.kill();
    let mut running = on(&older, &["--lift-quarantine"]);
    let (api, _) = running.urls();
    outside.wait_for_health(&api, 200);
    // What clients were told since is gone with the log that knew it.
    lock(&outside.told.jobs).clear();
    outside.ask(&api, 0, 1);
    outside.settle(&api);
    running.kill();
    outside.judge_chain();
}

/// Appends an event as another version of the program would.
fn append(data_dir: &Path, event: &Event) -> Seq {
    let event = infernet_state::codec::encode(event).expect("encoded");
    let payloads = Vec::new();
    let record = Record { event, payloads };
    open_log(data_dir).append(&[record]).expect("appended").seq
}

/// Where the logic was brought up, and what stands before each.
fn upgrades(data_dir: &Path) -> Vec<(u64, u16)> {
    let reader = open_log(data_dir).reader();
    (1..=reader.head().seq.0)
        .filter_map(|seq| match event(&reader, seq) {
            Event::Upgraded { to } => {
                let before = event(&reader, seq - 1);
                assert!(matches!(before, Event::NodeStarted { .. }), "{before:?}");
                Some((seq, to))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_start_brings_the_logic_up_once_and_a_newer_one_is_refused() {
    let outside = Outside::new(false);
    outside.configure("");
    let data = outside.data_dir();
    // What a program that knew of no logic left.
    std::fs::create_dir_all(&data).expect("a directory");
    drop(SledLog::open(&data, &Options::new("no chain".to_owned())).expect("a new log"));
    let old = Event::NodeStarted {
        at: WallTime(1_000),
        version: "0.0.1".into(),
    };
    append(&data, &old);
    for _ in 0..2 {
        let mut running = outside.start(outside.command(&[]));
        let (api, admin) = running.urls();
        outside.ask(&api, 2, 0);
        outside.settle(&api);
        let status = outside
            .runtime
            .block_on(get(&format!("{admin}/admin/status")));
        assert_eq!(status["logic"], LOGIC);
        running.kill();
    }
    assert_eq!(upgrades(&data), [(3, LOGIC)]);
    assert_eq!(judge_log(&data, &outside.told).logic(), LOGIC);

    // A newer program goes on with it: this one changes nothing, and says which is asked for.
    append(
        &data,
        &Event::NodeStarted {
            at: WallTime(2_000),
            version: "9.8.7".into(),
        },
    );
    let at = append(&data, &Event::Upgraded { to: LOGIC + 1 });
    let head = open_log(&data).head();
    let mut named = Vec::new();
    for _ in 0..2 {
        let (status, said) = outside.start(outside.command(&[])).end();
        assert_eq!(status.code(), Some(4), "{said}");
        assert!(
            said.contains(&format!("E-STATE-002: at event {at}:")),
            "{said}"
        );
        let helps = said
            .lines()
            .filter_map(|line| line.strip_prefix("  infernet "));
        named = helps
            .map(|line| line.split("   ").next().unwrap_or_default().to_owned())
            .collect();
    }
    assert_eq!(open_log(&data).head(), head);
    let [replay] = &named[..] else {
        panic!("{named:?}");
    };
    let typed: Vec<&str> = replay.split(' ').collect();
    let output = Command::new(env!("CARGO_BIN_EXE_infernet"))
        .args(&typed)
        .output()
        .expect("starts");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("9.8.7"), "{shown}");
    let export = outside.path("newer.jsonl");
    infernet(
        0,
        &["log", "export", "--data-dir", text(&data), text(&export)],
    );
    for refused in [
        &["replay", "--data-dir", text(&data), "--quiet"][..],
        &["log", "verify", text(&data)],
        &["log", "verify", text(&export)],
    ] {
        let said = infernet(4, refused);
        assert!(said.contains("E-STATE-002"), "{said}");
    }
}
