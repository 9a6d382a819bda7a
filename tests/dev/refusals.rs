//! What `infernet` refuses: each with its exit code and a reason, and nothing damaged.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use infernet_node::{
    devnet::{Devnet, DevnetConfig},
    log::{EventLog as _, Options, Record, SledLog},
};
use infernet_state::codec::EncodedEvent;

use super::{dev, infernet, request, runtime, text};

fn refused(output: &Output, code: i32, named: &[&str]) {
    let shown = text(output);
    assert_eq!(output.status.code(), Some(code), "{shown}");
    assert!(!shown.contains("panicked"), "{shown}");
    for named in named {
        assert!(shown.contains(named), "`{named}` is not in {shown}");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// The state that a replay gives: `None` when it is refused.
fn digest(data_dir: &Path) -> Option<String> {
    let output = infernet(&["replay", "--quiet", "--data-dir", path(data_dir)]);
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn each_port_in_use_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = listener.local_addr().expect("bound").to_string();
    for flag in ["--listen", "--admin-listen", "--rpc-listen"] {
        let mut arguments = vec!["dev", "--once"];
        for port in ["--listen", "--admin-listen", "--rpc-listen"] {
            arguments.extend([port, if port == flag { &taken } else { "127.0.0.1:0" }]);
        }
        refused(&infernet(&arguments), 3, &["in use", &taken]);
    }
}

#[test]
fn wrong_flags_are_named() {
    for (flower, named) in [
        ("1,2,3", "four numbers"),
        ("a,b,c,d", "no number"),
        ("1,2,3,-4", "between 0 and 100"),
    ] {
        for command in ["dev", "request"] {
            refused(&infernet(&[command, "--flower", flower]), 2, &[named]);
        }
    }
    refused(&infernet(&["dev", "--block-time", "0"]), 2, &["1..=30"]);
    refused(&infernet(&["dev", "--listen", "here"]), 2, &["--listen"]);
    refused(&infernet(&["replay"]), 2, &["--data-dir"]);
}

#[test]
fn a_request_without_a_world_says_where_it_looked() {
    let empty = tempfile::tempdir().expect("a directory");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nobody = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let hint = "is `infernet dev` running there?";
    for more in [&[][..], &["--offchain"]] {
        let mut arguments = vec!["--url", &nobody];
        arguments.extend(more);
        refused(&request(&arguments), 1, &["E-DEV-009", hint]);
        let mut arguments = vec!["--data-dir", path(empty.path())];
        arguments.extend(more);
        refused(&request(&arguments), 1, &["E-DEV-011", hint]);
    }
    refused(&request(&["--url", "nonsense"]), 1, &["E-DEV-009"]);
}

#[test]
fn a_directory_of_something_else_is_refused_and_left_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let data_dir = home.path().join("world");
    let output = dev(Some(&data_dir), &["--once"]).output().expect("starts");
    assert!(output.status.success(), "{}", text(&output));
    let before = digest(&data_dir).expect("a world");
    let start = || dev(Some(&data_dir), &["--once"]).output().expect("starts");
    let replay = || infernet(&["replay", "--data-dir", path(&data_dir)]);

    // A format of the future, and another owner.
    let format = data_dir.join("FORMAT");
    let ours = fs::read_to_string(&format).expect("a description");
    let newer = ours.replace("\"format\": 1", "\"format\": 2");
    assert_ne!(newer, ours);
    fs::write(&format, newer).expect("writable");
    refused(&start(), 4, &["E-LOG-004", "use the newer program"]);
    refused(&replay(), 4, &["E-LOG-004"]);
    let other = ours.replace("registry 0x663f", "registry 0x763f");
    assert_ne!(other, ours);
    fs::write(&format, other).expect("writable");
    refused(&start(), 4, &["E-LOG-006", "choose another --data-dir"]);
    fs::write(&format, ours).expect("writable");
    assert_eq!(digest(&data_dir), Some(before));

    // A chain with another id.
    let foreign = home.path().join("foreign");
    runtime().block_on(async {
        let config = DevnetConfig {
            chain_id: 1,
            dir: Some(foreign.join("devnet")),
            ..DevnetConfig::default()
        };
        Devnet::start(config)
            .await
            .expect("starts")
            .shutdown()
            .await;
    });
    let output = dev(Some(&foreign), &["--once"]).output().expect("starts");
    refused(&output, 4, &["E-DEVNET-005", "holds chain 1, not 31337"]);

    // An event of the future, in an otherwise good log.
    let log = SledLog::open(&data_dir, &Options::existing());
    log.expect("a log")
        .append(&[Record {
            event: EncodedEvent {
                kind: 60_000,
                version: 1,
                body: vec![0],
            },
            payloads: Vec::new(),
        }])
        .expect("appended");
    let named = ["E-CODEC-002", "60000"];
    refused(&start(), 4, &named);
    refused(&replay(), 4, &named);
}

#[test]
fn a_place_that_is_no_directory_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("file");
    fs::write(&file, "mine").expect("writable");
    let output = dev(Some(&file), &["--once"]).output().expect("starts");
    refused(&output, 5, &["E-DEVNET-003", path(&file)]);
    assert_eq!(fs::read_to_string(&file).expect("there"), "mine");

    let missing = home.path().join("missing");
    for data_dir in [&file, &missing, &home.path().to_owned()] {
        let output = infernet(&["replay", "--data-dir", path(data_dir)]);
        refused(&output, 5, &["E-LOG-012", path(data_dir)]);
    }
    assert!(!missing.exists());
}

#[test]
fn a_missing_service_is_named() {
    let home = tempfile::tempdir().expect("a directory");
    let alone = home.path().join("infernet");
    fs::copy(env!("CARGO_BIN_EXE_infernet"), &alone).expect("a copy");
    let data_dir = home.path().join("world");
    let output = Command::new(&alone)
        .args(["dev", "--once", "--data-dir", path(&data_dir)])
        .output()
        .expect("starts");
    let missing = format!("{}/infernet-service is missing", path(home.path()));
    refused(&output, 3, &["E-DEV-012", &missing]);
    assert!(!data_dir.exists(), "nothing was begun");
}

#[test]
fn a_replay_beyond_the_end_says_where_the_end_is() {
    let world = tempfile::tempdir().expect("a directory");
    let output = dev(Some(world.path()), &["--once"])
        .output()
        .expect("starts");
    assert!(output.status.success(), "{}", text(&output));
    let replay = [
        "replay",
        "--data-dir",
        path(world.path()),
        "--to",
        "9999999",
    ];
    refused(&infernet(&replay), 1, &["E-LOG-015", "ends at event"]);
}

#[test]
fn a_configuration_that_cannot_be_meant_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("node.toml");
    let data_dir = home.path().join("data");
    let run = || {
        infernet(&[
            "run",
            "--config",
            path(&file),
            "--data-dir",
            path(&data_dir),
        ])
    };
    refused(&run(), 3, &["E-CONFIG-001", path(&file)]);
    let chain = "[chain]\nrpc_url = \"http://127.0.0.1:1\"\nregistry = \"0x663F3ad617193148711d28f5334eE4Ed07016602\"\n";
    let cases = [
        ("colour = 1".to_owned(), "colour"),
        ("[server]\nlisten = \"4000\"".to_owned(), "listen"),
        (chain.to_owned(), "INFERNET_PRIVATE_KEY"),
        (
            format!("{chain}private_key_file = \"{}\"", path(&data_dir)),
            path(&data_dir),
        ),
        (
            "[[containers]]\nid = \"a\"\ncommand = [\"/missing/program\"]".to_owned(),
            "/missing/program",
        ),
        (
            "[[containers]]\nid = \"a\"\ncommand = [\"false\"]".to_owned(),
            "`a`",
        ),
        (
            "[[containers]]\nid = \"a\"\nurl = \"http://127.0.0.1:1\"\n\
             allowed_ips = [\"10.0.0.0/8\"]"
                .to_owned(),
            "E-CONFIG-003: containers[0].allowed_ips: `10.0.0.0/8` is more than 1024 clients",
        ),
    ];
    for (text, named) in cases {
        fs::write(&file, text).expect("writable");
        refused(&run(), 3, &[named]);
    }
    assert!(!data_dir.join("FORMAT").exists(), "nothing was begun");
}

#[test]
fn a_configuration_may_come_through_a_pipe() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_infernet"))
        .args(["run", "--config", "/dev/stdin"])
        .env_remove("INFERNET_DATA_DIR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut config = child.stdin.take().expect("piped");
    config
        .write_all(b"data_dir = \"world\"\n[[containers]]\nid = \"named\"\n")
        .expect("taken");
    drop(config);
    let output = child.wait_with_output().expect("ends");
    refused(&output, 3, &["containers[0]"]);
}
