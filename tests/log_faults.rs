//! Faults while the log is opened and written: at each system call in turn that changes or reads
//! the disk, the disk is full, the disk fails, or the process is killed. Whatever happens, the
//! next start has everything that was acknowledged.
//!
//! `strace` makes the faults.

mod log_common;

use std::{path::Path, process::Command};

use infernet_node::log::{EventLog, LogReader, Record, SledLog, Stored};
use infernet_state::types::Seq;
use log_common::{Lcg, copy, options, payload, record};

/// The calls at which faults are made.
const CALLS: [&str; 10] = [
    "pwrite64",
    "pread64",
    "sync_file_range",
    "fdatasync",
    "fsync",
    "ftruncate",
    "rename",
    "mkdir",
    "unlink",
    "copy_file_range",
];

/// What goes wrong at a call.
const FAULTS: [&str; 3] = ["error=ENOSPC", "error=EIO", "signal=KILL"];

/// Faults made at one kind of call, at most.
const FAULTS_PER_CALL_MAX: usize = 12;

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
    hit: bool,
}

/// Runs the child with a fault at the n-th call of a kind; without one to see that all is well.
fn run(dir: &Path, fault: Option<(&str, &str, usize)>) -> Run {
    let trace = dir.with_extension("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-o"]).arg(&trace);
    match fault {
        Some((call, fault, at)) => {
            command.args(["-e", &format!("trace={call}")]);
            command.args(["-e", &format!("inject={call}:{fault}:when={at}")]);
        }
        None => {
            command.args(["-e", "trace=none"]);
        }
    }
    let output = command
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("INFERNET_TEST_LOG", dir)
        .output()
        .unwrap_or_else(|error| panic!("strace: {error}; install it with apt-get install strace"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = || text.lines();
    let traced = std::fs::read_to_string(&trace).unwrap_or_default();
    Run {
        acknowledged: lines()
            .filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok())
            .next_back()
            .unwrap_or(0),
        refusal: lines()
            .find(|line| line.starts_with("refused"))
            .map(str::to_owned),
        hit: traced.contains("INJECTED") || traced.contains("killed by SIGKILL"),
    }
}

fn events(dir: &Path) -> Vec<Stored> {
    let log = SledLog::open(dir, &options()).unwrap();
    let events = log.reader().read(Seq(1), usize::MAX).unwrap();
    assert_eq!(events.len() as u64, log.head().seq.0);
    events
}

#[test]
fn a_fault_at_any_call_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut log = SledLog::open(&home, &options()).unwrap();
    for number in 10..16 {
        log.append(&batch(number)).unwrap();
    }
    let before = log.head().seq.0;
    drop(log);
    let whole = dir.path().join("whole");
    copy(&home, &whole);
    assert!(run(&whole, None).refusal.is_none());
    let expected = events(&whole);
    assert_eq!(expected.len() as u64, before + 40);
    let (mut faults, mut refusals) = (0, 0);
    for call in CALLS {
        for fault in FAULTS {
            for at in 1..=FAULTS_PER_CALL_MAX {
                let what = format!("{fault} at {call} number {at}");
                let copied = dir.path().join("copy");
                copy(&home, &copied);
                let run = run(&copied, Some((call, fault, at)));
                faults += usize::from(run.hit);
                refusals += usize::from(run.refusal.is_some());
                if let Some(refusal) = run.refusal {
                    assert!(refusal.contains("E-LOG-0"), "{what}: {refusal}");
                }
                let found = events(&copied);
                let acknowledged = run.acknowledged.max(before);
                assert!(
                    found.len() as u64 >= acknowledged,
                    "{what}: {} of {acknowledged}",
                    found.len()
                );
                assert!(found == expected[..found.len()], "{what}: another history");
                std::fs::remove_dir_all(&copied).unwrap();
                if !run.hit {
                    break;
                }
            }
        }
    }
    assert!(faults > 80, "only {faults} faults were made");
    assert!(refusals > 60, "only {refusals} of them were noticed");
}
