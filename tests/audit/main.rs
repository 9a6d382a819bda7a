//! The auditor's and the operator's commands from the outside: the real binary on directories
//! that a real node made.

mod repair;
mod vouch;
mod words;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
};

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
