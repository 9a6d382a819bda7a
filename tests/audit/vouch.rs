//! Exports, checkpoints and proofs: what is handed over is what was, and any change is noticed.

use std::{
    fs,
    process::{Command, Stdio},
};

use infernet_node::{
    audit,
    log::{
        EventLog as _, Options, Record, SledLog,
        export::{self, export},
    },
};
use infernet_state::types::Address;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{NODE, STRANGER, bytes_below, infernet, path, refused, says, world};

#[test]
fn an_export_comes_back_as_the_same_past() {
    let world = world();
    let own = world.own_end();
    assert!(own.contains("state digest 0x"), "{own}");
    assert_eq!(own, world.end(&["--file", path(&world.export)]));
    let verified = says(["log", "verify", path(&world.export), "--address", NODE]);
    for line in own.lines().skip(1) {
        assert!(verified.contains(line), "{line} is not in\n{verified}");
    }
    assert!(
        verified.contains("2 fit: hash, signature and state"),
        "{verified}"
    );
    assert!(
        verified.contains(&format!("signed by    {NODE}, as it must be")),
        "{verified}"
    );
    // To standard output the same bytes, and again the same.
    let export = fs::read(&world.export).expect("read");
    for _ in 0..2 {
        let output = infernet(["log", "export", "--data-dir", path(&world.data)]);
        assert!(output.stdout == export, "another export");
    }
    let copy = world.fresh("imported");
    let import = [
        "log",
        "import",
        path(&world.export),
        "--data-dir",
        path(&copy),
    ];
    says(import);
    assert_eq!(own, world.end(&["--data-dir", path(&copy)]));
    let again = infernet(["log", "export", "--data-dir", path(&copy)]);
    assert!(again.stdout == export, "another export of the copy");
    let twice = refused(5, import);
    assert!(twice.contains("E-LOG-012"), "{twice}");
    // What exists is not written over.
    let over = [
        "log",
        "export",
        "--data-dir",
        path(&world.data),
        path(&world.export),
    ];
    assert!(refused(1, over).contains("E-CLI-001"));
    assert!(fs::read(&world.export).expect("read") == export);
}

#[test]
fn reading_changes_nothing_and_says_the_same_twice() {
    let world = world();
    let data = world.copy("untouched");
    let before = bytes_below(&data);
    let commands: [&[&str]; 9] = [
        &["replay"],
        &["replay", "--quiet", "--to", "5"],
        &["replay", "--break", "9"],
        &["replay", "--diff", "3", "12"],
        &["replay", "--explain", "sub:1"],
        &["log", "info"],
        &["log", "export"],
        &["log", "salvage"],
        &["log", "prove", "7"],
    ];
    for command in commands {
        let command = [command, &["--data-dir", path(&data)]].concat();
        assert_eq!(says(&command), says(&command), "{command:?}");
        assert!(
            before == bytes_below(&data),
            "{command:?} changed the directory"
        );
    }
    says(["log", "verify", path(&data)]);
    assert!(before == bytes_below(&data));
}

#[test]
fn a_flipped_byte_anywhere_is_noticed() {
    let world = world();
    let export = fs::read(&world.export).expect("read");
    let flipped = world.fresh("flipped.jsonl");
    let node: Address = Address(alloy::hex::decode_to_array(NODE).expect("an address"));
    let last_line = export.len() - 200;
    let places = (0..export.len())
        .step_by(export.len() / 400)
        .chain(last_line..export.len());
    for (turn, at) in places.enumerate() {
        let mut bytes = export.clone();
        bytes[at] ^= [0x01, 0x20, 0x80][turn % 3];
        fs::write(&flipped, &bytes).expect("written");
        let found = audit::verify(&flipped, Some(node));
        assert!(found.is_err(), "byte {at}: {found:?}");
    }
    // From the outside: one in a frame, one in a readable view, one in a payload.
    let text = String::from_utf8(export).expect("text");
    for field in ["\"frame\":\"", "\"words\":\"", "\"bytes\":\""] {
        let at = text.find(field).expect(field) + field.len() + 3;
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 0x01;
        fs::write(&flipped, &bytes).expect("written");
        let said = refused(7, ["log", "verify", path(&flipped)]);
        assert!(said.contains("E-"), "{field}: {said}");
        let copy = world.fresh("from-flipped");
        refused(
            7,
            ["log", "import", path(&flipped), "--data-dir", path(&copy)],
        );
        assert!(!copy.exists(), "nothing is made of what does not verify");
    }
}

#[test]
fn who_must_have_signed_is_checked() {
    let world = world();
    let said = refused(
        7,
        ["log", "verify", path(&world.export), "--address", STRANGER],
    );
    assert!(said.contains("E-LOG-024") && said.contains(NODE), "{said}");
    let said = refused(
        2,
        ["log", "verify", path(&world.export), "--address", "0x12"],
    );
    assert!(said.contains("40 hexadecimal digits"), "{said}");
    // Without its checkpoints nobody vouches for it.
    let data = world.copy("unsigned");
    fs::remove_file(data.join("checkpoints.jsonl")).expect("removed");
    let said = says(["log", "verify", path(&data)]);
    assert!(said.contains("nobody vouches"), "{said}");
    let said = refused(7, ["log", "verify", path(&data), "--address", NODE]);
    assert!(said.contains("E-AUDIT-011"), "{said}");
    let said = refused(1, ["log", "prove", "7", "--data-dir", path(&data)]);
    assert!(said.contains("E-AUDIT-007"), "{said}");
    // A checkpoint whose signature is right and whose state is another one.
    let mut lines = fs::read_to_string(&world.export).expect("read");
    let state = lines.find("\"state\":\"0x").expect("a checkpoint") + 11;
    lines.replace_range(state..state + 4, "dead");
    let forged = world.fresh("forged.jsonl");
    fs::write(&forged, lines).expect("written");
    refused(7, ["log", "verify", path(&forged), "--address", NODE]);
}

#[test]
fn a_truncated_export_is_refused() {
    let world = world();
    let export = fs::read(&world.export).expect("read");
    let cut = world.fresh("cut.jsonl");
    let lines: Vec<usize> = export
        .iter()
        .enumerate()
        .filter_map(|(at, byte)| (*byte == b'\n').then_some(at + 1))
        .collect();
    let places = [
        0,
        1,
        lines[0],
        lines[1] + 9,
        lines[lines.len() / 2],
        lines[lines.len() - 2],
    ];
    for at in places.into_iter().chain([export.len() - 1]) {
        fs::write(&cut, &export[..at]).expect("written");
        let said = refused(7, ["log", "verify", path(&cut)]);
        assert!(said.contains("E-LOG-02"), "cut at {at}: {said}");
    }
    let said = refused(1, ["log", "verify", path(&world.fresh("nothing"))]);
    assert!(said.contains("E-LOG-020"), "{said}");
}

#[test]
fn a_proof_holds_without_the_log_and_a_mutated_one_does_not() {
    let world = world();
    let file = world.fresh("proof.json");
    for seq in ["1", "2", "9"] {
        let json = says(["log", "prove", seq, "--data-dir", path(&world.data)]);
        fs::write(&file, &json).expect("written");
        let said = says(["log", "verify-proof", path(&file), "--address", NODE]);
        assert!(said.starts_with(&format!("event {seq}: ")), "{said}");
        assert_eq!(
            json,
            says(["log", "prove", seq, "--file", path(&world.export)])
        );
    }
    let json = fs::read_to_string(&file).expect("read");
    let proof: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let refuse = |changed: &serde_json::Value, what: &str| {
        fs::write(&file, changed.to_string()).expect("written");
        let said = refused(7, ["log", "verify-proof", path(&file), "--address", NODE]);
        assert!(said.contains("E-AUDIT-00"), "{what}: {said}");
    };
    let other = |text: &str| {
        // Another last digit, or another letter of the frame.
        let mut bytes = text.as_bytes().to_vec();
        let at = bytes.len() / 2;
        bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
        String::from_utf8(bytes).expect("text")
    };
    for field in ["seq", "frame"] {
        let mut changed = proof.clone();
        changed[field] = other(proof[field].as_str().expect("text")).into();
        refuse(&changed, field);
    }
    for field in [
        "identity",
        "first",
        "seq",
        "hash",
        "tree",
        "state",
        "time",
        "signature",
    ] {
        let mut changed = proof.clone();
        let text = proof["checkpoint"][field].as_str().expect("text");
        changed["checkpoint"][field] = other(text).into();
        refuse(&changed, field);
    }
    let mut changed = proof.clone();
    changed["event"]["words"] = "nothing happened".into();
    refuse(&changed, "words");
    let mut changed = proof.clone();
    changed["path"][0] = other(proof["path"][0].as_str().expect("text")).into();
    refuse(&changed, "path");
    changed["path"].as_array_mut().expect("a list").clear();
    refuse(&changed, "no path");
    fs::write(&file, &json).expect("written");
    let said = refused(
        7,
        ["log", "verify-proof", path(&file), "--address", STRANGER],
    );
    assert!(said.contains(NODE), "{said}");
    let said = refused(
        1,
        ["log", "prove", "100000", "--data-dir", path(&world.data)],
    );
    assert!(said.contains("E-LOG-015"), "{said}");
}

#[test]
fn a_part_of_a_log_is_exported_with_the_state_before_it() {
    let world = world();
    let part = world.fresh("part.jsonl");
    let data = path(&world.data);
    says([
        "log",
        "export",
        "--data-dir",
        data,
        "--from",
        "8",
        "--to",
        "12",
        path(&part),
    ]);
    let verified = says(["log", "verify", path(&part)]);
    assert!(verified.contains("events       8-12"), "{verified}");
    let of_part = world.end(&["--file", path(&part)]);
    assert!(
        of_part.ends_with(&world.end(&["--data-dir", data, "--to", "12"])),
        "{of_part}"
    );
    for range in [["--from", "0"], ["--from", "100000"], ["--to", "100000"]] {
        refused(
            1,
            [&["log", "export", "--data-dir", data], &range[..]].concat(),
        );
    }
}

#[test]
fn a_checkpoint_is_signed_by_the_node_and_by_nobody_else() {
    let world = world();
    let data = world.copy("checkpointed");
    fs::remove_file(data.join("checkpoints.jsonl")).expect("removed");
    let checkpoint = ["log", "checkpoint", "--data-dir", path(&data)];
    assert!(refused(3, checkpoint).contains("E-KEY-003"));
    let key = world.fresh("key");
    let with_key = [&checkpoint[..], &["--private-key-file", path(&key)]].concat();
    // Well-known development keys: another account's, then the node's.
    fs::write(
        &key,
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    )
    .expect("written");
    assert!(refused(3, &with_key).contains("E-CLI-003"));
    fs::write(
        &key,
        "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    )
    .expect("written");
    // The file that is named goes before the environment.
    let status = Command::new(env!("CARGO_BIN_EXE_infernet"))
        .args(&with_key)
        .env(
            "INFERNET_PRIVATE_KEY",
            "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        )
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("starts").success());
    fs::remove_file(data.join("checkpoints.jsonl")).expect("removed");
    let said = says(&with_key);
    for line in world.own_end().lines().skip(1) {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    let verified = says(["log", "verify", path(&data), "--address", NODE]);
    assert!(verified.contains("1 fit"), "{verified}");
    let info = says(["log", "info", "--data-dir", path(&data)]);
    assert!(info.contains(&format!("by {NODE}")), "{info}");
}

/// An export with its lines changed, and the last line made to fit them.
fn forged(export: &str, change: impl FnOnce(&mut Vec<Value>)) -> String {
    let mut lines: Vec<Value> = export
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    change(&mut lines);
    lines.pop().expect("a last line");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let hash = alloy::hex::encode_prefixed(Sha256::digest(&text));
    // The last line counts to the byte: as it was written, with another hash.
    let last = export.lines().last().expect("a last line");
    let at = last.find("\"sha256\":\"").expect("a hash") + 10;
    text + &last[..at] + &hash + &last[at + 66..] + "\n"
}

#[test]
fn a_payload_that_was_exchanged_added_or_taken_away_is_noticed() {
    let world = world();
    let export = fs::read_to_string(&world.export).expect("read");
    let is_payload = |line: &Value| line["type"] == "payload";
    let at_payload = |lines: &[Value]| lines.iter().position(is_payload).expect("a payload");
    let event_before = |lines: &[Value], at: usize| {
        let before = &lines[..at];
        before
            .iter()
            .rposition(|line| line["type"] == "event")
            .expect("an event")
    };
    let count = |lines: &mut Vec<Value>, at: usize, by: i64| {
        let now: i64 = lines[at]["payloads"]
            .as_str()
            .expect("text")
            .parse()
            .expect("a number");
        lines[at]["payloads"] = (now + by).to_string().into();
    };
    let other = |seq: &Value| {
        serde_json::json!({
            "type": "payload", "seq": seq, "len": "5", "bytes": "aGVsbG8=",
            "hash": alloy::hex::encode_prefixed(Sha256::digest(b"hello")),
        })
    };
    let place = world.fresh("payloads.jsonl");
    fs::write(&place, forged(&export, |_| {})).expect("written");
    says(["log", "verify", path(&place), "--address", NODE]);
    let exchanged = forged(&export, |lines| {
        let at = at_payload(lines);
        lines[at] = other(&lines[at]["seq"]);
    });
    let added = forged(&export, |lines| {
        let at = at_payload(lines);
        let event = event_before(lines, at);
        count(lines, event, 1);
        lines.insert(at, other(&lines[at]["seq"]));
    });
    let doubled = forged(&export, |lines| {
        let at = at_payload(lines);
        let event = event_before(lines, at);
        count(lines, event, 1);
        lines.insert(at, lines[at].clone());
    });
    let removed = forged(&export, |lines| {
        let at = at_payload(lines);
        let event = event_before(lines, at);
        count(lines, event, -1);
        lines.remove(at);
    });
    let cases = [
        ("exchanged", exchanged, "E-AUDIT-013"),
        ("added", added, "E-AUDIT-013"),
        ("doubled", doubled, "E-AUDIT-013"),
        ("removed", removed, "E-AUDIT-014"),
    ];
    for (what, text, code) in cases {
        fs::write(&place, text).expect("written");
        let said = refused(7, ["log", "verify", path(&place), "--address", NODE]);
        assert!(said.contains(code), "{what}: {said}");
        let data = world.fresh("from-payloads");
        let import = ["log", "import", path(&place), "--data-dir", path(&data)];
        assert!(refused(7, import).contains(code), "{what}");
        assert!(!data.exists(), "{what}");
        // The library by itself makes no log of it either.
        let options = Options {
            create: true,
            ..Options::existing()
        };
        let text = fs::read(&place).expect("read");
        let error = export::import(text.as_slice(), &data, &options).expect_err(what);
        assert!(
            error.to_string().starts_with("E-LOG-021"),
            "{what}: {error}"
        );
        assert!(
            SledLog::open(&data, &Options::existing()).is_err(),
            "{what}"
        );
    }
}

#[test]
fn an_event_that_no_node_records_does_not_verify() {
    let world = world();
    let place = world.fresh("garbage.jsonl");
    let data = world.fresh("garbage");
    let options = Options {
        identity: Some("an\u{1b}[2Jidentity".to_owned()),
        create: true,
        ..Options::existing()
    };
    let mut log = SledLog::open(&data, &options).expect("begun");
    let begun = infernet_state::codec::encode(&infernet_state::Event::NodeStarted {
        at: infernet_state::types::WallTime(1),
        version: "1".to_owned(),
    });
    let mut record = Record {
        event: begun.expect("encoded"),
        payloads: Vec::new(),
    };
    log.append(std::slice::from_ref(&record)).expect("appended");
    let exported = |log: &SledLog| {
        let (reader, mut out) = (log.reader(), Vec::new());
        export(&reader, log.identity(), &[], &mut out, audit::view).expect("exported");
        fs::write(&place, out).expect("written");
    };
    exported(&log);
    let said = says(["log", "verify", path(&place)]);
    assert!(said.contains("an\\u{1b}[2Jidentity"), "{said}");
    record.event.body = vec![0xff; 40];
    log.append(&[record]).expect("appended");
    exported(&log);
    let said = refused(7, ["log", "verify", path(&place)]);
    assert!(said.contains("E-AUDIT-015"), "{said}");
}
