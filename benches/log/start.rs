//! How long a start takes, from the first event and from a snapshot, and what the log takes on
//! the disk.

#[allow(dead_code, reason = "the machine's benchmark uses the rest")]
#[path = "../../state/benches/life/mod.rs"]
mod life;

use std::{path::Path, time::Instant};

use infernet_node::{
    driver::{self, Driver, Policy, SystemWorld},
    log::{EventLog, Options, Record, SledLog, Snapshot, frame},
};
use infernet_state::{Machine, codec, types::Hash};
use life::{Life, MIX};

use crate::Report;

/// Events of the log whose start is measured.
const EVENTS: u64 = 1_000_000;

/// Events of one commit: as many as the driver takes at most.
const GROUP: usize = driver::BATCH_EVENTS_MAX;

/// Starts of each kind; the best counts.
const STARTS: usize = 3;

pub(crate) fn measure(report: &Report, dir: &Path) {
    report.title(&format!("start; {EVENTS} events, {MIX}"));
    let (machine, bytes) = write(dir);
    let baseline = read_plainly(dir);
    report.say(
        "disk_ratio",
        crate::disk_bytes(dir) as f64 / bytes as f64,
        "ratio",
        bytes as f64,
        "bytes of the frames and payloads",
    );
    let digest = machine.digest();
    let zero = best_start(dir, digest);
    report.say(
        "start_1m_events_s",
        zero,
        "s",
        baseline,
        "reading its files",
    );

    let mut log = open(dir);
    let snapshot = Snapshot {
        head: log.head(),
        digest,
        bytes: machine.snapshot().expect("encodes"),
    };
    let len = snapshot.bytes.len() as f64;
    drop(machine);
    let begun = Instant::now();
    log.roll(&snapshot).expect("roll");
    report.say(
        "roll_1m_events_s",
        begun.elapsed().as_secs_f64(),
        "s",
        baseline,
        "reading its files",
    );
    drop((log, snapshot));
    let rolled = best_start(dir, digest);
    report.say(
        "start_from_snapshot_s",
        rolled,
        "s",
        len,
        "bytes of the snapshot",
    );
    report.say(
        "disk_ratio_rolled",
        crate::disk_bytes(dir) as f64 / bytes as f64,
        "ratio",
        bytes as f64,
        "bytes of the frames and payloads",
    );
}

/// Writes the log; the machine behind it, and the bytes of its frames and payloads.
fn write(dir: &Path) -> (Machine, u64) {
    let mut log = open(dir);
    let mut life = Life::new(true);
    life.begin_mix();
    let mut bytes = 0;
    while log.head().seq.0 < EVENTS {
        while life.log.len() < GROUP {
            life.mixed_block();
        }
        let batch: Vec<Record> = life
            .log
            .drain(..)
            .map(|recorded| Record {
                event: codec::encode(&recorded.event).expect("encodes"),
                payloads: recorded.payloads.into_iter().map(driver::payload).collect(),
            })
            .collect();
        for group in batch.chunks(GROUP) {
            log.append(group).expect("append");
        }
        bytes += batch
            .iter()
            .map(|record| {
                let payloads: usize = record.payloads.iter().map(|p| p.bytes.len()).sum();
                (frame::HEAD_BYTES + record.event.body.len() + payloads) as u64
            })
            .sum::<u64>();
    }
    (life.machine, bytes)
}

fn open(dir: &Path) -> SledLog {
    SledLog::open(dir, &Options::new("bench")).expect("open")
}

/// The shortest of several starts, in seconds: what a node does before it records that it came up.
fn best_start(dir: &Path, digest: Hash) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    (0..STARTS)
        .map(|_| {
            let begun = Instant::now();
            let (_driver, handle) =
                Driver::recover(open(dir), SystemWorld::current(), Policy::default())
                    .expect("recovers");
            let spent = begun.elapsed().as_secs_f64();
            assert_eq!(handle.view(Machine::digest), digest);
            spent
        })
        .fold(f64::INFINITY, f64::min)
}

/// Seconds to read every file of the directory once.
fn read_plainly(dir: &Path) -> f64 {
    fn read(dir: &Path) {
        for entry in dir.read_dir().expect("list") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                read(&path);
            } else {
                std::hint::black_box(std::fs::read(&path).expect("read"));
            }
        }
    }
    let begun = Instant::now();
    read(dir);
    begun.elapsed().as_secs_f64()
}
