//! What operators do with a log: salvage, mirrors, parts that are gone, erasure.

use std::fs;

use infernet_node::{
    audit::Past,
    log::{Options, SledLog},
};

use super::{LOOPBACK, NODE, Running, bytes_below, infernet, path, refused, says, shown, world};

#[test]
fn a_damaged_log_is_salvaged_with_the_commands_that_its_error_names() {
    let world = world();
    let data = world.copy("damaged");
    let logs: Vec<_> = fs::read_dir(data.join("log")).expect("listed").collect();
    let database = logs[0].as_ref().expect("a database").path().join("db");
    let mut bytes = fs::read(&database).expect("read");
    let word = b"pack_offset";
    for at in 0..bytes.len() - word.len() {
        if bytes[at..].starts_with(word) {
            bytes[at] ^= 1;
        }
    }
    fs::write(&database, &bytes).expect("written");
    let before = bytes_below(&data);
    let said = refused(5, ["replay", "--data-dir", path(&data)]);
    assert!(said.contains("E-LOG-"), "{said}");
    assert!(
        before == bytes_below(&data),
        "the attempt changed something"
    );
    // As typed: the words up to the explanation behind three spaces.
    let help: Vec<Vec<&str>> = said
        .lines()
        .filter_map(|line| line.strip_prefix("  infernet "))
        .map(|line| {
            line.split("   ")
                .next()
                .unwrap_or_default()
                .split(' ')
                .collect()
        })
        .collect();
    assert_eq!(help.len(), 4, "{said}");
    let (exported, restored) = (world.fresh("salvaged.jsonl"), world.fresh("salvaged"));
    let typed = |command: &[&str]| -> Vec<String> {
        let place = |word: &&str| match *word {
            "salvaged.jsonl" => path(&exported).to_owned(),
            "NEW" => path(&restored).to_owned(),
            word => word.to_owned(),
        };
        command.iter().map(place).collect()
    };
    let info = infernet(typed(&help[0]));
    assert_eq!(info.status.code(), Some(5), "{}", shown(&info));
    assert!(String::from_utf8_lossy(&info.stdout).contains("readable     events 1-"));
    let salvage = infernet(typed(&help[1]));
    assert!(salvage.status.success(), "{}", shown(&salvage));
    assert!(shown(&salvage).contains("nothing that was acknowledged is missing"));
    says(typed(&help[2]));
    assert_eq!(world.own_end(), world.end(&["--data-dir", path(&restored)]));
    assert!(
        before == bytes_below(&data),
        "the salvage changed something"
    );
    // The end is gone as well: what is missing is said.
    let magics: Vec<usize> = (0..bytes.len() - 4)
        .filter(|at| bytes[*at..].starts_with(b"IFBK"))
        .collect();
    let first = |at: usize| u64::from_be_bytes(bytes[at + 8..at + 16].try_into().expect("8 bytes"));
    let newest = magics.iter().map(|at| first(*at)).max().expect("blocks");
    let last: Vec<usize> = magics
        .into_iter()
        .filter(|at| first(*at) == newest)
        .collect();
    for at in last {
        bytes[at + 60] ^= 1;
    }
    fs::write(&database, &bytes).expect("written");
    let salvage = infernet(["log", "salvage", "--data-dir", path(&data)]);
    let said = shown(&salvage);
    assert!(salvage.status.success(), "{said}");
    assert!(said.contains(&format!("lost: events {newest}-")), "{said}");
}

#[test]
fn a_log_that_began_later_is_replayed_from_its_snapshot() {
    let world = world();
    let data = world.copy("rolled");
    let replay = Past::open(&data)
        .expect("opened")
        .replay_to(None)
        .expect("replayed");
    let snapshot = replay.snapshot().expect("a snapshot");
    let mut log = SledLog::open(&data, &Options::existing()).expect("opened");
    log.roll(&snapshot).expect("rolled");
    drop(log);
    // Through the archive.
    assert_eq!(world.own_end(), world.end(&["--data-dir", path(&data)]));
    // A run on top of it, then without the archive.
    let dev = [
        &["dev", "--data-dir", path(&data)],
        &LOOPBACK[..],
        &["--once"],
    ]
    .concat();
    says(dev);
    let whole = world.end(&["--data-dir", path(&data)]);
    fs::remove_dir_all(data.join("archives")).expect("removed");
    let said = world.end(&["--data-dir", path(&data)]);
    let begins = format!("the events up to {} are not here", snapshot.head.seq);
    assert!(
        said.starts_with(&begins) && said.ends_with(&whole),
        "{said} is not {whole}"
    );
    let verified = says(["log", "verify", path(&data), "--address", NODE]);
    assert!(verified.contains("begins with  a snapshot"), "{verified}");
    let story = says(["replay", "--data-dir", path(&data), "--explain", "sub:2"]);
    assert!(story.contains("subscription 2 created by"), "{story}");
    let story = says(["replay", "--data-dir", path(&data), "--explain", "sub:1"]);
    assert!(
        story.contains("are no longer kept; where they left off"),
        "{story}"
    );
    let gone = ["replay", "--data-dir", path(&data), "--to", "3"];
    assert!(refused(1, gone).contains("E-LOG-014"));
}

#[test]
fn an_erased_payload_is_gone_and_the_past_is_the_same() {
    let world = world();
    let data = world.copy("erased");
    let mirror = world.fresh("erased-mirror");
    says([
        "log",
        "mirror",
        "update",
        path(&mirror),
        "--data-dir",
        path(&data),
    ]);
    let export = fs::read_to_string(&world.export).expect("read");
    let payload: serde_json::Value = export
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find(|line: &serde_json::Value| line["type"] == "payload")
        .expect("a payload");
    let hash = payload["hash"].as_str().expect("a hash");
    let erase = [
        "log",
        "erase",
        hash,
        "--data-dir",
        path(&data),
        "--mirror",
        path(&mirror),
    ];
    assert!(says(erase).contains("erased"));
    assert!(says(erase).contains("were erased before"));
    assert_eq!(world.own_end(), world.end(&["--data-dir", path(&data)]));
    for place in [&data, &mirror] {
        let verified = says(["log", "verify", path(place), "--address", NODE]);
        assert!(!verified.contains("0 were erased"), "{verified}");
    }
    let exported = says(["log", "export", "--data-dir", path(&data)]);
    assert!(!exported.contains(payload["bytes"].as_str().expect("bytes")));
    let unknown = format!("0x{}", "ab".repeat(32));
    let said = refused(1, ["log", "erase", &unknown, "--data-dir", path(&data)]);
    assert!(said.contains("E-CLI-004"), "{said}");
    refused(2, ["log", "erase", "0x12", "--data-dir", path(&data)]);
}

#[test]
fn a_mirror_follows_a_running_node_and_becomes_a_log() {
    let world = world();
    let (data, mirror) = (world.fresh("mirrored"), world.fresh("mirror"));
    let config = world.fresh("mirrored.toml");
    let text = format!(
        "data_dir = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
         [log]\nmirror = {:?}\n[[containers]]\nid = \"none\"\nurl = \"http://127.0.0.1:9\"\n",
        path(&data),
        path(&mirror)
    );
    fs::write(&config, text).expect("written");
    for _ in 0..2 {
        let (running, _) = Running::until(&["run", "--config", path(&config)], "ready");
        // It is held while the node runs.
        let said = refused(4, ["log", "mirror", "verify", path(&mirror)]);
        assert!(said.contains("E-LOG-003"), "{said}");
        running.stop();
        let own = world.end(&["--data-dir", path(&data)]);
        assert_eq!(own, world.end(&["--data-dir", path(&mirror)]));
        says(["log", "mirror", "verify", path(&mirror)]);
    }
    let restored = world.fresh("restored");
    says([
        "log",
        "mirror",
        "restore",
        path(&mirror),
        "--data-dir",
        path(&restored),
    ]);
    assert_eq!(
        world.end(&["--data-dir", path(&data)]),
        world.end(&["--data-dir", path(&restored)])
    );
    // A node of another log is not started with it.
    let other = world.fresh("other");
    let said = refused(
        3,
        ["run", "--config", path(&config), "--data-dir", path(&other)],
    );
    assert!(said.contains("E-NODE-006"), "{said}");
    // That of the world, with its checkpoints.
    let (copied, back) = (world.fresh("copied"), world.fresh("back"));
    says([
        "log",
        "mirror",
        "update",
        path(&copied),
        "--data-dir",
        path(&world.data),
    ]);
    says(["log", "mirror", "verify", path(&copied), "--address", NODE]);
    says([
        "log",
        "mirror",
        "restore",
        path(&copied),
        "--data-dir",
        path(&back),
    ]);
    says(["log", "verify", path(&back), "--address", NODE]);
    let said = refused(1, ["log", "mirror", "verify", path(&world.data)]);
    assert!(said.contains("no mirror"), "{said}");
}

#[test]
fn a_damaged_mirror_is_refused_by_every_command_and_stays_as_it_is() {
    let world = world();
    let (mirror, data) = (world.fresh("bad-mirror"), world.fresh("from-bad-mirror"));
    let update = [
        "log",
        "mirror",
        "update",
        path(&mirror),
        "--data-dir",
        path(&world.data),
    ];
    says(update);
    // Without its checkpoints only the blocks themselves show it.
    let _ = fs::remove_file(mirror.join("checkpoints.jsonl"));
    let blocks = fs::read(mirror.join("blocks")).expect("read");
    for place in [5, 200] {
        let mut bytes = blocks.clone();
        bytes[place] ^= 1;
        fs::write(mirror.join("blocks"), bytes).expect("written");
        let before = bytes_below(&mirror);
        let commands: [&[&str]; 6] = [
            &["log", "verify", path(&mirror)],
            &["log", "mirror", "verify", path(&mirror)],
            &[
                "log",
                "mirror",
                "restore",
                path(&mirror),
                "--data-dir",
                path(&data),
            ],
            &["log", "export", "--data-dir", path(&mirror)],
            &["replay", "--data-dir", path(&mirror)],
            &update,
        ];
        for command in commands {
            let said = refused(5, command);
            assert!(said.contains("E-LOG-018"), "{command:?}: {said}");
        }
        assert!(before == bytes_below(&mirror), "byte {place}: changed");
        assert!(!data.exists(), "nothing is made of it");
        // With the commands that are named: what is readable of it, and another one.
        let said = refused(5, ["log", "verify", path(&mirror)]);
        let named = |command: &str| said.contains(&format!("  infernet log {command}"));
        let salvage = format!("salvage --data-dir {} salvaged.jsonl", path(&mirror));
        assert!(
            named(&salvage) && named("mirror update EMPTY") && named("import salvaged.jsonl"),
            "{said}"
        );
        let (salvaged, again) = (world.fresh("of-mirror.jsonl"), world.fresh("of-mirror"));
        let salvage = [
            "log",
            "salvage",
            "--data-dir",
            path(&mirror),
            path(&salvaged),
        ];
        let salvage = shown(&infernet(salvage));
        if place == 200 {
            assert!(salvage.contains("lost: events 1-"), "{salvage}");
        } else {
            let import = ["log", "import", path(&salvaged), "--data-dir", path(&again)];
            says(import);
            assert_eq!(world.own_end(), world.end(&["--data-dir", path(&again)]));
        }
        let new = world.fresh("new-mirror");
        says([
            "log",
            "mirror",
            "update",
            path(&new),
            "--data-dir",
            path(&world.data),
        ]);
        says(["log", "mirror", "verify", path(&new), "--address", NODE]);
        assert!(before == bytes_below(&mirror), "byte {place}: changed");
    }
}

#[test]
fn a_node_starts_without_a_mirror_that_is_damaged() {
    let world = world();
    let (data, mirror) = (world.fresh("unmirrored"), world.fresh("unmirroring"));
    let config = world.fresh("unmirrored.toml");
    let text = format!(
        "data_dir = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
         [log]\nmirror = {:?}\n[[containers]]\nid = \"none\"\nurl = \"http://127.0.0.1:9\"\n",
        path(&data),
        path(&mirror)
    );
    fs::write(&config, text).expect("written");
    let run = ["run", "--config", path(&config)];
    // Each start is a commit of its own.
    for _ in 0..2 {
        Running::until(&run, "ready").0.stop();
    }
    let mut bytes = fs::read(mirror.join("blocks")).expect("read");
    bytes[100] ^= 1;
    fs::write(mirror.join("blocks"), &bytes).expect("written");
    Running::until(&run, "ready").0.stop();
    assert!(fs::read(mirror.join("blocks")).expect("read") == bytes);
}
