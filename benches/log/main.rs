//! How fast the log commits and starts, as ratios to named baselines of the same run.
//!
//! `cargo bench --bench log` prints a table, `-- --json` one object a line:
//! `{"measure","value","unit","baseline"}`. The contenders take turns, round by round, on the
//! same disk; a figure is the median of the rounds' ratios, because the machine is not quiet.
//! With `--features rivals` SQLite (WAL, FULL) and redb do the same work in the same rounds.
//! `INFERNET_BENCH_DIR` chooses the disk (default: the build's target directory). A part alone:
//! `commit`, `jobs`, `start`.

mod jobs;
#[cfg(feature = "rivals")]
mod rivals;
mod start;

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use infernet_node::log::{EventLog, Options, Record, SledLog, frame};
use infernet_state::{
    codec,
    event::{ChainFact, Event, WalletChange, WalletFact},
    types::{Address, Amount, BlockRef, BlockTime, Hash, Seq},
};

/// Rounds of each measurement; odd, so that the median is one of them.
const ROUNDS: usize = 9;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let disk = std::env::var_os("INFERNET_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let dir = tempfile::Builder::new()
        .prefix("log-bench")
        .tempdir_in(disk)
        .expect("a directory for the bench");
    let report = Report {
        json: has("--json"),
    };
    type Part = fn(&Report, &Path);
    let parts: [(&str, Part); 3] = [
        ("commit", commit),
        ("jobs", jobs::measure),
        ("start", start::measure),
    ];
    let chosen = parts.iter().any(|(name, _)| has(name));
    for (name, part) in parts {
        if !chosen || has(name) {
            part(&report, &dir.path().join(name));
        }
    }
}

/// Durable events a second, by the size of the group.
fn commit(report: &Report, dir: &Path) {
    report.title("durable events/s, ratio to raw append + fdatasync of the same bytes");
    for group in [1, 64, 256] {
        commits(report, &dir.join(group.to_string()), group);
    }
}

/// Prints figures for people or for programs.
struct Report {
    json: bool,
}

impl Report {
    fn title(&self, title: &str) {
        if !self.json {
            println!("\n{title}");
        }
    }

    /// A figure, and the same quantity of something plain in the same run.
    fn say(&self, measure: &str, value: f64, unit: &str, baseline: f64, of: &str) {
        if self.json {
            let line = serde_json::json!({
                "measure": measure, "value": value, "unit": unit, "baseline": baseline,
            });
            println!("{line}");
        } else {
            println!("  {measure:<28} {value:>12.3} {unit:<10} {baseline:>12.3}  {of}");
        }
    }
}

/// A real event of about 300 bytes: a block with two facts.
fn record(number: u64) -> Record {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    let hash = frame::chain(&Hash(hash), Seq(number), 0, 0, b"");
    let address = |at: usize| Address(std::array::from_fn(|byte| hash.0[(at + byte) % 32]));
    let fact = |at: usize| {
        ChainFact::Wallet(WalletFact {
            wallet: address(at),
            owner: address(at + 1),
            tx: hash,
            change: WalletChange::Transferred {
                spender: address(at + 2),
                token: Address::ZERO,
                to: address(at + 3),
                amount: Amount::from(u128::from(number)),
            },
        })
    };
    let event = Event::ChainCommitted {
        block: BlockRef {
            number,
            hash,
            time: BlockTime(1_700_000_000 + number),
        },
        facts: vec![fact(0), fact(7)],
    };
    Record {
        event: codec::encode(&event).expect("a small event"),
        payloads: Vec::new(),
    }
}

/// Something that makes batches durable.
trait Contender {
    fn commit(&mut self, batch: &[Record]);
}

/// The baseline: the frames' bytes at the end of a file, and `fdatasync`.
struct Raw(File);

impl Contender for Raw {
    fn commit(&mut self, batch: &[Record]) {
        let mut bytes = Vec::new();
        for record in batch {
            frame::encode(&record.event, &mut bytes).expect("within bounds");
        }
        self.0.write_all(&bytes).expect("append");
        self.0.sync_data().expect("sync");
    }
}

impl Contender for SledLog {
    fn commit(&mut self, batch: &[Record]) {
        self.append(batch).expect("append");
    }
}

/// Opens the log in a directory.
fn open(dir: &Path) -> SledLog {
    SledLog::open(dir, &Options::new("bench")).expect("open")
}

/// Commits in groups: every contender in turn, the same batches.
fn commits(report: &Report, dir: &Path, group: usize) {
    fs::create_dir_all(dir).expect("create");
    let raw = OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("raw"))
        .expect("create");
    let mut contenders: Vec<(&str, Box<dyn Contender>)> = vec![
        ("raw", Box::new(Raw(raw))),
        ("log", Box::new(open(&dir.join("log")))),
    ];
    #[cfg(feature = "rivals")]
    contenders.extend::<[(&str, Box<dyn Contender>); 2]>([
        (
            "sqlite",
            Box::new(rivals::Sqlite::open(&dir.join("sqlite"))),
        ),
        ("redb", Box::new(rivals::Redb::open(&dir.join("redb")))),
    ]);
    let per_round = if group == 1 {
        600
    } else {
        60 * 256 / group.min(256)
    };
    let batches: Vec<Vec<Record>> = (0..per_round)
        .map(|batch| {
            (0..group)
                .map(|at| record((batch * group + at) as u64))
                .collect()
        })
        .collect();
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
    // The first round warms files and caches up and is not counted.
    for round in 0..=ROUNDS {
        for (rates, (_, contender)) in rates.iter_mut().zip(&mut contenders) {
            let begun = Instant::now();
            for batch in &batches {
                contender.commit(batch);
            }
            let rate = (per_round * group) as f64 / begun.elapsed().as_secs_f64();
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    let raw_rate = median(rates[0].clone());
    for (at, (name, _)) in contenders.iter().enumerate().skip(1) {
        let measure = match *name {
            "log" => format!("commit_ratio_{group}"),
            other => format!("commit_ratio_{other}_{group}"),
        };
        report.say(
            &measure,
            median(ratios(&rates[at], &rates[0])),
            "ratio",
            raw_rate,
            "events/s of raw append + fdatasync",
        );
    }
    if let Some(at) = contenders.iter().position(|(name, _)| *name == "sqlite") {
        report.say(
            &format!("commit_vs_sqlite_{group}"),
            median(ratios(&rates[1], &rates[at])),
            "ratio",
            median(rates[at].clone()),
            "events/s of SQLite",
        );
    }
}

/// Round by round.
fn ratios(some: &[f64], others: &[f64]) -> Vec<f64> {
    some.iter()
        .zip(others)
        .map(|(one, other)| one / other)
        .collect()
}

/// Bytes that the files below a directory take on the disk.
fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in dir.read_dir().expect("list") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            sum += disk_bytes(&path);
        } else {
            sum += path.metadata().expect("metadata").blocks() * 512;
        }
    }
    sum
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
