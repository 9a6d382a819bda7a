//! Faults while the log is opened and written: at each system call in turn that touches the log's
//! directory, the disk fails, is full, or the process is killed. Whatever happens, the next start
//! has everything that was acknowledged.
//!
//! `strace` says which calls there are, and makes the faults.

mod log_common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use infernet_node::log::{EventLog, LogReader, Record, SledLog, Snapshot, Stored};
use infernet_state::types::{Hash, Seq};
use log_common::{Lcg, copy, options, payload, record};

/// The calls at which faults are made: all that the log makes on files and directories, but for
/// those that cannot fail (`close`, `fcntl` on an open file).
const CALLS: [&str; 24] = [
    "openat",
    "write",
    "pwrite64",
    "copy_file_range",
    "ftruncate",
    "fallocate",
    "sync_file_range",
    "fdatasync",
    "fsync",
    "rename",
    "mkdir",
    "rmdir",
    "unlink",
    "unlinkat",
    "fchmod",
    "read",
    "pread64",
    "getdents64",
    "lseek",
    "flock",
    "fstat",
    "newfstatat",
    "statx",
    "statfs",
];

/// What goes wrong at a call.
const FAULTS: [&str; 3] = ["error=ENOSPC", "error=EIO", "signal=KILL"];

/// Children that run at once.
const WORKERS: usize = 4;

/// No child takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// The events that the child appends after it has opened the log.
fn batch(number: u64) -> Vec<Record> {
    let mut rng = Lcg(number);
    (0..20)
        .map(|at| {
            let mut record = record(&mut rng, 300);
            if at == 0 {
                record.payloads.push(payload(&mut rng, 5000));
            }
            record
        })
        .collect()
}

/// Not a test of its own: opens the log, appends, and says how far it came.
#[test]
#[ignore = "started by the other test"]
fn child() {
    let Some(dir) = std::env::var_os("INFERNET_TEST_LOG") else {
        return;
    };
    // The harness begins the line.
    println!();
    let mut log = match SledLog::open(Path::new(&dir), &options()) {
        Ok(log) => log,
        Err(error) => {
            println!("refused {error}");
            return;
        }
    };
    for number in 0..2 {
        match log.append(&batch(number)) {
            Ok(head) => println!("acknowledged {}", head.seq),
            Err(error) => {
                println!("refused {error}");
                return;
            }
        }
    }
}

/// What a run of the child showed.
struct Run {
    acknowledged: u64,
    refusal: Option<String>,
    trace: String,
}

/// A fault at the n-th call of a kind of any thread.
#[derive(Clone, Copy, Debug)]
struct Fault {
    call: &'static str,
    at: usize,
    what: &'static str,
}

/// Runs the child with a fault; without one, and with all its calls in the trace, to see what it
/// does when all is well.
fn run(dir: &Path, fault: Option<Fault>) -> Run {
    let trace = dir.with_extension("trace");
    let said = dir.with_extension("said");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-o"]).arg(&trace);
    match fault {
        Some(Fault { call, at, what }) => {
            command.args(["-e", &format!("trace={call}")]);
            command.args(["-e", &format!("inject={call}:{what}:when={at}")]);
        }
        None => {
            command.args(["-e", &format!("trace={}", CALLS.join(","))]);
        }
    }
    let mut child = command
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("INFERNET_TEST_LOG", dir)
        .stdout(fs::File::create(&said).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("strace: {error}; install it with apt-get install strace"));
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("{fault:?}: it hangs");
        }
        thread::sleep(Duration::from_millis(2));
    }
    let text = fs::read_to_string(&said).unwrap();
    let lines = || text.lines();
    Run {
        acknowledged: lines()
            .filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok())
            .next_back()
            .unwrap_or(0),
        refusal: lines()
            .find(|line| line.starts_with("refused"))
            .map(str::to_owned),
        trace: fs::read_to_string(&trace).unwrap(),
    }
}

/// Which calls of each kind touch the directory, counted in each thread, as `strace` counts.
fn calls_on(dir: &Path, trace: &str) -> BTreeMap<&'static str, BTreeSet<usize>> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut found: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        let Some((name, arguments)) = call.trim_start().split_once('(') else {
            continue;
        };
        let Some(name) = CALLS.into_iter().find(|known| *known == name) else {
            continue;
        };
        let count = counts.entry((thread, name)).or_default();
        *count += 1;
        if arguments.contains(dir.to_str().unwrap()) {
            found.entry(name).or_default().insert(*count);
        }
    }
    found
}

fn events(dir: &Path) -> Vec<Stored> {
    let log = SledLog::open(dir, &options()).unwrap();
    let events = log.reader().read(Seq(1), usize::MAX).unwrap();
    assert_eq!(events.len() as u64, log.head().seq.0);
    events
}

/// Where faults are made many hundred times: in memory where there is such a place, since no call
/// that is made to fail, or counted, depends on what is below.
fn place() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let roomy = rustix::fs::statvfs(memory)
        .is_ok_and(|space| space.f_bavail * space.f_frsize > 512 * 1024 * 1024);
    roomy
        .then(|| tempfile::tempdir_in(memory).ok())
        .flatten()
        .unwrap_or_else(|| tempfile::tempdir().unwrap())
}

#[test]
fn a_fault_at_any_call_loses_nothing_acknowledged() {
    let dir = place();
    let home = dir.path().join("home");
    let mut log = SledLog::open(&home, &options()).unwrap();
    for number in 10..16 {
        log.append(&batch(number)).unwrap();
        if number == 12 {
            let snapshot = Snapshot {
                head: log.head(),
                digest: Hash([1; 32]),
                bytes: vec![5; 100],
            };
            log.roll(&snapshot).unwrap();
        }
    }
    let before = log.head().seq.0;
    drop(log);
    let whole = dir.path().join("whole");
    copy(&home, &whole);
    let well = run(&whole, None);
    assert_eq!((well.acknowledged, well.refusal), (before + 40, None));
    let expected = events(&whole);
    let calls = calls_on(&whole, &well.trace);
    let mut faults = Vec::new();
    for (call, places) in &calls {
        for at in places {
            faults.extend(FAULTS.map(|what| Fault {
                call,
                at: *at,
                what,
            }));
        }
    }
    assert!(faults.len() > 300, "{calls:?}");
    let (next, hits, refusals) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let check = |number: usize, fault: Fault| {
        let copied = dir.path().join(format!("copy-{number}"));
        copy(&home, &copied);
        let run = run(&copied, Some(fault));
        let hit = run.trace.contains("INJECTED") || run.trace.contains("killed by SIGKILL");
        hits.fetch_add(usize::from(hit), Ordering::Relaxed);
        refusals.fetch_add(usize::from(run.refusal.is_some()), Ordering::Relaxed);
        if let Some(refusal) = run.refusal {
            assert!(refusal.contains("E-LOG-0"), "{fault:?}: {refusal}");
        }
        let found = events(&copied);
        let acknowledged = run.acknowledged.max(before);
        assert!(
            found.len() as u64 >= acknowledged,
            "{fault:?}: {} of {acknowledged}",
            found.len()
        );
        assert!(
            found == expected[..found.len()],
            "{fault:?}: another history"
        );
        fs::remove_dir_all(&copied).unwrap();
    };
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(fault) = faults.get(number) else {
                        return;
                    };
                    check(number, *fault);
                }
            });
        }
    });
    let (hits, refusals) = (hits.into_inner(), refusals.into_inner());
    println!(
        "{} faults at {calls:?}: {hits} made, {refusals} refusals",
        faults.len()
    );
    // Threads may share calls otherwise than they did when all was well.
    assert!(hits * 5 > faults.len() * 4, "only {hits} were made");
    assert!(
        refusals * 3 > hits,
        "only {refusals} of {hits} were noticed"
    );
}
