//! How fast the machine is, and what a dormant subscription costs.
//!
//! A table for people, or with `--json` one object a line: `measure`, `value`, `unit`, and
//! `baseline`, the same quantity of something plain in the same run (named in the table). A part
//! alone: `memory`, `throughput`, `dormant`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what is measured has no clock; the measurement has"
)]

mod life;

#[cfg(not(unix))]
use std::time::Instant;
use std::{collections::BTreeMap, hint::black_box};

use infernet_state::{
    Machine,
    codec::{self, EncodedEvent},
    event::Subscription,
};
use life::{Life, MIX, Recorded};
use sha2::{Digest, Sha256};

const MILLION: u32 = 1_000_000;

/// Rounds of each timing; the best counts, since the machine under it is noisy.
const ROUNDS: usize = 5;

/// Turns of each pair of machines beside the other.
const TURNS: usize = 3;

/// Events of the mixed log.
const MIXED_EVENTS: usize = 200_000;

/// A mixed log of at least so many events.
fn mixed_log(events: usize) -> Vec<Recorded> {
    let mut life = Life::new(true);
    life.begin_mix();
    while life.log.len() < events {
        life.mixed_block();
    }
    life.log
}

/// Seconds that this thread had a core, to the nanosecond: others may use the machine at the same
/// time. The wall clock where the system does not count them.
fn on_core() -> f64 {
    #[cfg(unix)]
    {
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
    }
    #[cfg(not(unix))]
    {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        START.elapsed().as_secs_f64()
    }
}

/// The shortest of several runs, in seconds; what a run leaves is dropped outside.
fn best<T>(mut run: impl FnMut() -> T) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let start = on_core();
            let left = black_box(run());
            let spent = on_core() - start;
            drop(left);
            spent
        })
        .fold(f64::INFINITY, f64::min)
}

/// Resident memory of this process in bytes, as Linux counts it; 0 elsewhere.
fn resident() -> f64 {
    let pages: f64 = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0.0);
    pages * 4_096.0
}

struct Report {
    json: bool,
}

impl Report {
    /// Says what the mixed log holds.
    fn mix(&self, log: &[Recorded], encoded: &[EncodedEvent]) {
        if self.json {
            return;
        }
        let mut kinds: BTreeMap<u16, (usize, usize)> = BTreeMap::new();
        for event in encoded {
            let (count, bytes) = kinds.entry(event.kind).or_default();
            *count += 1;
            *bytes += event.body.len();
        }
        let payloads: usize = log
            .iter()
            .flat_map(|recorded| &recorded.payloads)
            .map(Vec::len)
            .sum();
        println!(
            "the mix: {MIX}\nof {} events, {} payload bytes each:",
            log.len(),
            payloads / log.len()
        );
        for (kind, (count, bytes)) in kinds {
            println!("  kind {kind:>2}: {count:>8}, {} bytes each", bytes / count);
        }
    }

    fn say(&self, measure: &str, value: f64, unit: &str, baseline: f64, of: &str) {
        if self.json {
            println!(
                r#"{{"measure":"{measure}","value":{value:.3},"unit":"{unit}","baseline":{baseline:.3}}}"#
            );
        } else {
            let digits = if value < 100.0 { 3 } else { 0 };
            println!("{measure:<36}{value:>16.digits$} {unit:<10}{baseline:>16.digits$}  {of}");
        }
    }
}

fn replay(encoded: &[EncodedEvent]) -> (Machine, [u8; 32]) {
    let mut machine = Machine::new();
    let mut chain = [0; 32];
    for event in encoded {
        chain = chained(chain, event);
        let event = codec::decode(event.kind, event.version, &event.body).expect("decodes");
        machine.apply(&event).expect("no halt");
    }
    black_box(machine.digest());
    (machine, chain)
}

/// The log's chain hash over one record.
fn chained(before: [u8; 32], event: &EncodedEvent) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(event.kind.to_be_bytes());
    hasher.update([event.version]);
    hasher.update(&event.body);
    hasher.finalize().into()
}

/// Two machines in the same state: a life to make events with, and one to time them on.
struct Pair {
    life: Life,
    timed: Machine,
}

impl Pair {
    /// Beside so many dormant subscriptions.
    fn beside(dormant: u32) -> Self {
        let mut life = Life::new(false);
        life.load(dormant);
        Self {
            timed: life.machine.clone(),
            life,
        }
    }

    /// Nanoseconds of the machine alone for each of `count` times what `step` lets happen.
    fn cost_ns(&mut self, count: usize, step: impl Fn(&mut Life)) -> f64 {
        let best = (0..ROUNDS)
            .map(|_| {
                self.life.keep(true);
                for _ in 0..count {
                    step(&mut self.life);
                }
                self.life.keep(false);
                let events = std::mem::take(&mut self.life.log);
                let start = on_core();
                for recorded in &events {
                    black_box(self.timed.apply(&recorded.event).expect("no halt"));
                }
                on_core() - start
            })
            .fold(f64::INFINITY, f64::min);
        assert_eq!(self.timed.seq(), self.life.machine.seq());
        best * 1e9 / count as f64
    }

    /// A block with nothing due, a callback from creation to a final block, and a creation with
    /// the reorg that takes it away.
    fn costs(&mut self) -> [f64; 3] {
        [
            self.cost_ns(100_000, Life::mine),
            self.cost_ns(2_000, Life::callback),
            self.cost_ns(2_000, Life::undone_creation),
        ]
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let report = Report {
        json: has("--json"),
    };
    type Part = fn(&Report);
    let parts: [(&str, Part); 3] = [
        ("memory", memory),
        ("throughput", throughput),
        ("dormant", cost_beside_dormant),
    ];
    let chosen = parts.iter().any(|(name, _)| has(name));
    if !report.json {
        println!(
            "{:<36}{:>16} {:<10}{:>16}",
            "measure", "value", "unit", "baseline"
        );
    }
    // Memory comes first, while the process is small.
    for (name, part) in parts {
        if !chosen || has(name) {
            part(&report);
        }
    }
}

/// A million dormant subscriptions: memory, loading, digest, snapshot.
fn memory(report: &Report) {
    let before = resident();
    let mut life = Life::new(false);
    life.load(MILLION);
    let per_subscription = (resident() - before) / f64::from(MILLION);
    report.say(
        "bytes_per_dormant_subscription",
        per_subscription,
        "bytes",
        size_of::<Subscription>() as f64,
        "the bare record",
    );
    let digest = best(|| {
        black_box(life.machine.digest());
    });
    let snapshot = life.machine.snapshot().expect("encodes");
    let hashed = best(|| {
        black_box(Sha256::digest(&snapshot));
    });
    report.say(
        "digest_1m_subscriptions_s",
        digest,
        "s",
        hashed,
        "SHA-256 of the same bytes",
    );
    let written = best(|| life.machine.snapshot().expect("encodes"));
    report.say(
        "snapshot_1m_subscriptions_s",
        written,
        "s",
        hashed,
        "SHA-256 of the same bytes",
    );
    let restored = best(|| Machine::restore(&snapshot).expect("restores"));
    report.say(
        "restore_1m_subscriptions_s",
        restored,
        "s",
        hashed,
        "SHA-256 of the same bytes",
    );
    drop((life, snapshot));
    load(report);
}

/// A million subscriptions from the bytes of a sync.
fn load(report: &Report) {
    let encoded: Vec<EncodedEvent> = Life::new(false)
        .sync_events(MILLION)
        .map(|event| codec::encode(&event).expect("encodes"))
        .collect();
    let hashing = best(|| {
        black_box(encoded.iter().fold([0; 32], chained));
    });
    let loaded = best(|| {
        let mut machine = Life::new(false).machine;
        for event in &encoded {
            let event = codec::decode(event.kind, event.version, &event.body).expect("decodes");
            black_box(machine.apply(&event).expect("no halt"));
        }
        machine
    });
    report.say(
        "load_1m_subscriptions_s",
        loaded,
        "s",
        hashing,
        "the log's chain hash alone",
    );
}

/// Events a second, applied and replayed from bytes.
fn throughput(report: &Report) {
    let log = mixed_log(MIXED_EVENTS);
    let count = log.len() as f64;
    let encoded: Vec<EncodedEvent> = log
        .iter()
        .map(|recorded| codec::encode(&recorded.event).expect("encodes"))
        .collect();
    report.mix(&log, &encoded);
    let hashing = count
        / best(|| {
            black_box(encoded.iter().fold([0; 32], chained));
        });
    let applied = count
        / best(|| {
            let mut machine = Machine::new();
            for recorded in &log {
                black_box(machine.apply(&recorded.event).expect("no halt"));
            }
            machine
        });
    report.say(
        "apply_events_per_s",
        applied,
        "events/s",
        hashing,
        "the log's chain hash alone",
    );
    let replayed = count / best(|| replay(&encoded));
    report.say(
        "replay_events_per_s",
        replayed,
        "events/s",
        hashing,
        "the log's chain hash alone",
    );
}

/// What a block, a callback and a reorg cost beside dormant subscriptions. The pairs take turns,
/// so that what else the machine does meets them alike.
fn cost_beside_dormant(report: &Report) {
    for (dormant, name) in [(10_000, "10k"), (100_000, "100k"), (MILLION, "1m")] {
        let (mut none, mut some) = (Pair::beside(0), Pair::beside(dormant));
        let mut best = [[f64::INFINITY; 3]; 2];
        for _ in 0..TURNS {
            for (best, pair) in best.iter_mut().zip([&mut none, &mut some]) {
                for (best, cost) in best.iter_mut().zip(pair.costs()) {
                    *best = best.min(cost);
                }
            }
        }
        let [base, costs] = best;
        for (what, (cost, base)) in ["block", "callback", "reorg"]
            .into_iter()
            .zip(costs.into_iter().zip(base))
        {
            let ratio = format!("{what}_cost_ratio_{name}_vs_0");
            report.say(&ratio, cost / base, "ratio", 1.0, "none dormant");
            if dormant == MILLION {
                let cost_name = format!("{what}_cost_1m_ns");
                report.say(&cost_name, cost, "ns", base, "none dormant");
            }
        }
    }
}
