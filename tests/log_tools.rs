//! Tools, killed at every named place between two durable steps: a mirror comes back as a prefix
//! and goes on, an erasure that was interrupted is done again, and the log stays what it was.

mod log_common;

use std::{os::unix::process::ExitStatusExt as _, path::Path, process::Command};

use infernet_node::{
    crash::TOOL_POINTS,
    log::{EventLog, LogReader, MemoryLog, Mirror, Record, SledLog, Source},
};
use infernet_state::types::{PayloadAt, Seq};
use log_common::{Lcg, options, payload, record};

/// The n-th batch: each has a payload that stands inline and one in a pack.
fn batch(number: u64) -> Vec<Record> {
    let mut rng = Lcg(number);
    (0..12)
        .map(|at| {
            let mut record = record(&mut rng, 300);
            if at == 3 {
                record.payloads.push(payload(&mut rng, 500));
                record.payloads.push(payload(&mut rng, 5000));
            }
            record
        })
        .collect()
}

const BATCHES: u64 = 4;

/// Where the payloads of the first batch stand.
fn payloads() -> Vec<PayloadAt> {
    batch(0)
        .iter()
        .zip(1..)
        .flat_map(|(record, seq)| {
            record.payloads.iter().map(move |payload| PayloadAt {
                seq: Seq(seq),
                payload: payload.reference,
            })
        })
        .collect()
}

/// Fills the log, copies it into the mirror batch by batch, and erases the first payloads: as far
/// as it has not come yet.
fn work(dir: &Path) {
    let mut log = SledLog::open(&dir.join("log"), &options()).unwrap();
    let mut mirror = Mirror::open(&dir.join("mirror"), &log.reader()).unwrap();
    mirror.follow(&log.reader()).unwrap();
    for number in log.head().seq.0 / 12..BATCHES {
        log.append(&batch(number)).unwrap();
        mirror.follow(&log.reader()).unwrap();
    }
    for at in payloads() {
        log.erase(at).unwrap();
    }
}

/// Not a test of its own: what the other one starts as a process.
#[test]
#[ignore = "started by the other test"]
fn child() {
    if let Some(dir) = std::env::var_os("INFERNET_TEST_LOG") {
        work(Path::new(&dir));
    }
}

#[test]
fn killed_at_every_place_of_a_tool_nothing_is_lost() {
    let mut memory = MemoryLog::new();
    for number in 0..BATCHES {
        memory.append(&batch(number)).unwrap();
    }
    let expected = memory.reader().read(Seq(1), usize::MAX).unwrap();
    for name in TOOL_POINTS {
        for passage in [1, 2] {
            let dir = tempfile::tempdir().unwrap();
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child", "--ignored"])
                .env("INFERNET_TEST_LOG", dir.path())
                .env("INFERNET_CRASH_POINT", format!("{name}:{passage}"))
                .output()
                .unwrap()
                .status;
            let what = format!("{name}, passage {passage}");
            // A mirror begins once.
            let killed = status.signal().is_some();
            assert!(
                killed || (*name == "mirror.began" && passage == 2),
                "{what}: {status}"
            );
            // What was done when it died is a prefix; done again, it is whole.
            let log = SledLog::open(&dir.path().join("log"), &options()).unwrap();
            let before = log.reader().read(Seq(1), usize::MAX).unwrap();
            assert_eq!(before, expected[..before.len()], "{what}");
            drop(log);
            work(dir.path());
            let log = SledLog::open(&dir.path().join("log"), &options()).unwrap();
            let reader = log.reader();
            let events = reader.read(Seq(1), usize::MAX).unwrap();
            assert_eq!(events, expected, "{what}");
            for at in payloads() {
                assert_eq!(reader.payload(at).unwrap(), None, "{what}: erased");
            }
            let mirror = Mirror::existing(&dir.path().join("mirror")).unwrap();
            assert_eq!(mirror.newest(), log.head(), "{what}: the mirror");
            let mut next = Seq(1);
            while next <= log.head().seq {
                for full in mirror.full(next).unwrap() {
                    let place = usize::try_from(full.stored.seq.0).unwrap() - 1;
                    assert_eq!(full.stored, expected[place], "{what}: the mirror");
                    next = Seq(full.stored.seq.0 + 1);
                }
            }
        }
    }
}
