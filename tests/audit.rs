//! The auditor's and the operator's commands from the outside: the real binary on directories
//! that a real node made.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
};

use infernet_node::{
    audit::{self, Past},
    log::{Options, SledLog},
};
use infernet_state::types::Address;

/// The account that signs in the development world: a well-known key.
const NODE: &str = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8";

/// Somebody else.
const STRANGER: &str = "0x00000000000000000000000000000000000000aa";

/// What every test looks at: two runs of a node, with a paid request and a client's job.
struct World {
    /// The stopped node's data directory.
    data: PathBuf,
    /// An export of it.
    export: PathBuf,
    /// The client's job.
    job: String,
    /// The transaction that delivered the paid answer.
    tx: String,
    /// Where tests put what they make.
    scratch: PathBuf,
}

fn infernet<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_infernet"))
        .args(arguments)
        .env_remove("INFERNET_DATA_DIR")
        .env_remove("INFERNET_PRIVATE_KEY")
        .stdin(Stdio::null())
        .output()
        .expect("starts")
}

fn shown(output: &Output) -> String {
    format!(
        "{}\n--- stderr\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What a command that succeeds says.
fn says<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> String {
    let output = infernet(arguments);
    assert!(output.status.success(), "{}", shown(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// What a command that is refused says, with its exit code.
fn refused<S: AsRef<std::ffi::OsStr>>(code: i32, arguments: impl IntoIterator<Item = S>) -> String {
    let output = infernet(arguments);
    assert_eq!(output.status.code(), Some(code), "{}", shown(&output));
    String::from_utf8(output.stderr).expect("text")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A process that is asked to stop, and killed if a test fails before.
struct Running(Child);

impl Running {
    /// Starts, and reads until a line holds `wanted`; what it says meanwhile.
    fn until(arguments: &[&str], wanted: &str) -> (Self, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_infernet"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let running = Self(child);
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let read = lines.read_line(&mut line).expect("readable");
            assert!(read > 0, "`{wanted}` was not shown:\n{said}");
            said.push_str(&line);
            if line.contains(wanted) {
                // What follows is read away, so that the child never blocks on a full pipe.
                std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
                return (running, said);
            }
        }
    }

    /// A stop with good manners.
    fn stop(mut self) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill starts").success());
        assert!(self.0.wait().expect("ends").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const LOOPBACK: [&str; 6] = [
    "--listen",
    "127.0.0.1:0",
    "--admin-listen",
    "127.0.0.1:0",
    "--rpc-listen",
    "127.0.0.1:0",
];

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("audit");
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch).expect("a directory");
        let data = scratch.join("data");
        let dev = [&["dev", "--data-dir", path(&data)], &LOOPBACK[..]].concat();
        says([&dev[..], &["--once"]].concat());
        let (running, _) = Running::until(&[&dev[..], &["--no-request"]].concat(), "ready");
        let said = says(["request", "--offchain", "--data-dir", path(&data)]);
        let job = said
            .lines()
            .find_map(|line| line.strip_prefix("job ")?.strip_suffix(" succeeded"))
            .expect("a job")
            .to_owned();
        running.stop();
        let replay = says(["replay", "--data-dir", path(&data)]);
        let tx = replay
            .lines()
            .find_map(|line| line.split("signed as ").nth(1))
            .expect("a transaction")
            .to_owned();
        let export = scratch.join("export.jsonl");
        says(["log", "export", "--data-dir", path(&data), path(&export)]);
        World {
            data,
            export,
            job,
            tx,
            scratch,
        }
    })
}

impl World {
    /// A place that nothing is at.
    fn fresh(&self, name: &str) -> PathBuf {
        let place = self.scratch.join(name);
        let _ = fs::remove_dir_all(&place);
        let _ = fs::remove_file(&place);
        place
    }

    /// A copy of the data directory.
    fn copy(&self, name: &str) -> PathBuf {
        let place = self.fresh(name);
        copy(&self.data, &place);
        place
    }

    /// The last lines of a replay: count, head, digest.
    fn end(&self, more: &[&str]) -> String {
        says([&["replay", "--quiet"], more].concat())
    }

    /// Those of the world itself.
    fn own_end(&self) -> String {
        self.end(&["--data-dir", path(&self.data)])
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in from.read_dir().expect("listed") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Every file below a directory, with its bytes.
fn files(directory: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in directory.read_dir().expect("listed") {
        let entry = entry.expect("an entry").path();
        if entry.is_dir() {
            files(&entry, into);
        } else {
            into.insert(entry.clone(), fs::read(&entry).expect("read"));
        }
    }
}

fn bytes_below(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    files(directory, &mut found);
    found
}

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
fn a_story_tells_every_event_of_its_subject_and_why() {
    let world = world();
    let explain = |subject: &str| {
        let of_directory = says([
            "replay",
            "--data-dir",
            path(&world.data),
            "--explain",
            subject,
        ]);
        let of_export = says([
            "replay",
            "--file",
            path(&world.export),
            "--explain",
            subject,
        ]);
        assert_eq!(of_directory, of_export, "{subject}");
        of_directory
    };
    let holds = |story: &str, wanted: &[&str]| {
        // In this order.
        let mut rest = story;
        for words in wanted {
            let at = rest
                .find(words)
                .unwrap_or_else(|| panic!("`{words}` is not next in\n{story}"));
            rest = &rest[at..];
        }
    };
    let subscription = explain("sub:1");
    holds(
        &subscription,
        &[
            "subscription 1 created by",
            "read what wallet",
            "because it pays",
            "read the inputs of subscription 1, interval 1",
            "because its interval is due",
            "run onnx-iris for subscription 1, interval 1",
            "because the input of onnx-iris is there",
            "because the answer is there",
            "because the simulation succeeded",
            &world.tx,
            "because its signed bytes are on disk",
            "subscription 1 answered by",
            "price of a delivery, 10000000000000000 wei, receivable ← earnings, pending",
            "is final",
            "price of a delivery, 10000000000000000 wei, receivable ← earnings, posted",
        ],
    );
    assert_eq!(subscription, explain("1"));
    let transaction = explain(&format!("tx:{}", world.tx));
    holds(
        &transaction,
        &[
            "because the answer is there",
            "because the simulation succeeded",
            "signed as",
            "because its signed bytes are on disk",
            "succeeded, ",
            "is final",
            "nonce 0: closed",
        ],
    );
    assert!(!transaction.contains("run onnx-iris"), "{transaction}");
    assert_eq!(transaction, explain(&world.tx));
    let job = explain(&format!("job:{}", world.job));
    holds(
        &job,
        &[
            "accepted for onnx-iris",
            "because the input of onnx-iris is there",
            "the container answered",
            ": succeeded",
        ],
    );
    assert!(!job.contains("subscription 1"), "{job}");
    assert_eq!(job, explain(&world.job));
    // Every event that names it is told of.
    let replay = says(["replay", "--data-dir", path(&world.data)]);
    for line in replay.lines().filter(|line| line.contains(&world.job)) {
        if let Some(seq) = line.split_whitespace().next().filter(|seq| *seq != "→") {
            let told = job
                .lines()
                .any(|line| line.trim_start().starts_with(&format!("{seq}  ")));
            assert!(told, "event {seq} is not told of in\n{job}");
        }
    }
    let unknown = [
        "replay",
        "--data-dir",
        path(&world.data),
        "--explain",
        "sub:7",
    ];
    assert!(refused(1, unknown).contains("E-AUDIT-005"));
    let unclear = [
        "replay",
        "--data-dir",
        path(&world.data),
        "--explain",
        "block:7",
    ];
    assert!(refused(2, unclear).contains("job:UUID"));
}

#[test]
fn what_differs_between_two_moments_is_said_in_words() {
    let world = world();
    let diff = |a: &str, b: &str| {
        let of_directory = says(["replay", "--data-dir", path(&world.data), "--diff", a, b]);
        let of_export = says(["replay", "--file", path(&world.export), "--diff", a, b]);
        assert_eq!(of_directory, of_export, "{a} {b}");
        of_directory
    };
    // Where the answer stood in a block: found by its words, not by its number.
    let replay = says(["replay", "--data-dir", path(&world.data)]);
    let seq_of = |words: &str| {
        let line = replay
            .lines()
            .find(|line| line.contains(words))
            .expect(words);
        line.split_whitespace()
            .next()
            .expect("a position")
            .to_owned()
    };
    let created = seq_of("subscription 1 created by");
    let included = seq_of("subscription 1 answered by");
    let said = diff(&created, &included);
    for words in [
        "job 1 for subscription 1, interval 1",
        "asks what the consumer's wallet can pay → its delivery is in a block that may still go",
        "delivery 1 to subscription 1, interval 1 was planned",
        "nonce 0 was opened",
        "next nonce           0 → 1",
        "earnings has its first entry",
        "protocol's share was booked",
        "has ended",
        "head                 block",
    ] {
        assert!(said.contains(words), "`{words}` is not in\n{said}");
    }
    for debug in ["Some(", "Stage", "{ ", "Delivery {"] {
        assert!(!said.contains(debug), "`{debug}` is in\n{said}");
    }
    assert!(diff(&created, &created).contains("nothing differs"));
    assert_eq!(
        said,
        diff(&included, &created),
        "the order of the two does not matter"
    );
    assert!(diff("0", "2").contains("the configuration appeared"));
    let beyond = [
        "replay",
        "--data-dir",
        path(&world.data),
        "--diff",
        "1",
        "100000",
    ];
    assert!(refused(1, beyond).contains("E-LOG-015"));
}

#[test]
fn a_breakpoint_shows_the_state_and_waits_for_nobody() {
    let world = world();
    let said = says(["replay", "--data-dir", path(&world.data), "--break", "7"]);
    for words in [
        "state behind event 7",
        "the node's account",
        "  subscription 1\n",
        "asks what the consumer's wallet can pay",
        "effects under way",
        "suspense",
    ] {
        assert!(said.contains(words), "`{words}` is not in\n{said}");
    }
    let to = says([
        "replay",
        "--data-dir",
        path(&world.data),
        "--to",
        "7",
        "--quiet",
    ]);
    assert!(said.ends_with(&to), "{said} does not end with {to}");
    let both = [
        "replay",
        "--data-dir",
        path(&world.data),
        "--break",
        "7",
        "--to",
        "9",
    ];
    refused(2, both);
}

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
    let said = says(&with_key);
    for line in world.own_end().lines().skip(1) {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    let verified = says(["log", "verify", path(&data), "--address", NODE]);
    assert!(verified.contains("1 fit"), "{verified}");
    let info = says(["log", "info", "--data-dir", path(&data)]);
    assert!(info.contains(&format!("by {NODE}")), "{info}");
}
