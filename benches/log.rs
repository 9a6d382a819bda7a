//! How fast the log commits and starts, as ratios to named baselines of the same run.
//!
//! `cargo bench --bench log` prints a table, `-- --json` one object a line:
//! `{"measure","value","unit","baseline"}`. The contenders take turns, round by round, on the
//! same disk; a figure is the median of the rounds' ratios, because the machine is not quiet.
//! With `--features rivals` SQLite (WAL, FULL) and redb do the same work in the same rounds.
//! `INFERNET_BENCH_DIR` chooses the disk (default: the build's target directory).

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use infernet_node::log::{EventLog, LogReader, Options, Record, SledLog, Snapshot, frame};
use infernet_state::{
    codec,
    event::{ChainFact, Event, WalletChange, WalletFact},
    types::{Address, Amount, BlockRef, BlockTime, Hash, Seq},
};

/// Rounds of each measurement; odd, so that the median is one of them.
const ROUNDS: usize = 9;

/// Bytes of the snapshot at which that log is rolled: a machine with some ten thousand jobs.
const SNAPSHOT_BYTES: usize = 8 * 1024 * 1024;

/// Events of the log whose start is measured.
const START_EVENTS: u64 = 1_000_000;

fn main() {
    let json = std::env::args().any(|argument| argument == "--json");
    let disk = std::env::var_os("INFERNET_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let dir = tempfile::Builder::new()
        .prefix("log-bench")
        .tempdir_in(disk)
        .expect("a directory for the bench");
    let mut report = Report { json };
    report.title("durable events/s, ratio to raw append + fdatasync of the same bytes");
    for group in [1, 64, 256] {
        commits(&mut report, &dir.path().join(group.to_string()), group);
    }
    report.title("start");
    start(&mut report, &dir.path().join("start"));
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

    fn seconds(&mut self, measure: &str, begun: Instant) {
        self.line(measure, begun.elapsed().as_secs_f64(), "s", "none");
    }

    fn line(&mut self, measure: &str, value: f64, unit: &str, baseline: &str) {
        if self.json {
            let line = serde_json::json!({
                "measure": measure, "value": value, "unit": unit, "baseline": baseline,
            });
            println!("{line}");
        } else {
            println!("  {measure:<28} {value:>12.3} {unit:<10} {baseline}");
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

/// The same work in SQLite: chained events, a row each, one transaction for the batch.
#[cfg(feature = "rivals")]
struct Sqlite {
    connection: rusqlite::Connection,
    seq: Seq,
    hash: Hash,
}

#[cfg(feature = "rivals")]
impl Sqlite {
    fn open(path: &Path) -> Self {
        let connection = rusqlite::Connection::open(path).expect("open SQLite");
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE log (seq INTEGER PRIMARY KEY, kind, version, body, hash);",
            )
            .expect("create");
        Self {
            connection,
            seq: Seq(0),
            hash: Hash::ZERO,
        }
    }
}

#[cfg(feature = "rivals")]
impl Contender for Sqlite {
    fn commit(&mut self, batch: &[Record]) {
        let transaction = self.connection.transaction().expect("begin");
        let mut insert = transaction
            .prepare_cached("INSERT INTO log VALUES (?, ?, ?, ?, ?)")
            .expect("prepare");
        for Record { event, .. } in batch {
            self.seq = Seq(self.seq.0 + 1);
            self.hash = frame::chain_event(&self.hash, self.seq, event);
            let seq = i64::try_from(self.seq.0).expect("small");
            insert
                .execute((seq, event.kind, event.version, &event.body, &self.hash.0))
                .expect("insert");
        }
        drop(insert);
        transaction.commit().expect("commit");
    }
}

/// The same work in redb: chained events, a row each, one durable transaction for the batch.
#[cfg(feature = "rivals")]
struct Redb {
    database: redb::Database,
    seq: Seq,
    hash: Hash,
}

/// Position to frame and chain hash.
#[cfg(feature = "rivals")]
const TABLE: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("log");

#[cfg(feature = "rivals")]
impl Redb {
    fn open(path: &Path) -> Self {
        Self {
            database: redb::Database::create(path).expect("create redb"),
            seq: Seq(0),
            hash: Hash::ZERO,
        }
    }
}

#[cfg(feature = "rivals")]
impl Contender for Redb {
    fn commit(&mut self, batch: &[Record]) {
        let transaction = self.database.begin_write().expect("begin");
        let mut table = transaction.open_table(TABLE).expect("table");
        let mut row = Vec::new();
        for Record { event, .. } in batch {
            self.seq = Seq(self.seq.0 + 1);
            self.hash = frame::chain_event(&self.hash, self.seq, event);
            row.clear();
            row.extend_from_slice(&self.hash.0);
            frame::encode(event, &mut row).expect("within bounds");
            table.insert(self.seq.0, row.as_slice()).expect("insert");
        }
        drop(table);
        transaction.commit().expect("commit");
    }
}

/// Opens the log in a directory.
fn open(dir: &Path) -> SledLog {
    SledLog::open(dir, &Options::new("bench")).expect("open")
}

/// Commits in groups: every contender in turn, the same batches.
fn commits(report: &mut Report, dir: &Path, group: usize) {
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
        ("sqlite", Box::new(Sqlite::open(&dir.join("sqlite")))),
        ("redb", Box::new(Redb::open(&dir.join("redb")))),
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
    report.line(&format!("raw_rate_{group}"), raw_rate, "events/s", "none");
    for (at, (name, _)) in contenders.iter().enumerate().skip(1) {
        let ratios = rates[at]
            .iter()
            .zip(&rates[0])
            .map(|(rate, raw)| rate / raw)
            .collect();
        let measure = match *name {
            "log" => format!("commit_ratio_{group}"),
            other => format!("commit_ratio_{other}_{group}"),
        };
        report.line(&measure, median(ratios), "ratio", "raw append + fdatasync");
    }
}

/// Starts from a log of a million events: open, read, check, decode.
fn start(report: &mut Report, dir: &Path) {
    let mut log = open(dir);
    let mut bytes = 0;
    let mut number = 0;
    while number < START_EVENTS {
        let batch: Vec<Record> = (number..(number + 1000).min(START_EVENTS))
            .map(record)
            .collect();
        bytes += batch
            .iter()
            .map(|record| (record.event.body.len() + frame::HEAD_BYTES) as u64)
            .sum::<u64>();
        number += batch.len() as u64;
        log.append(&batch).expect("append");
    }
    drop(log);
    let disk = disk_bytes(dir);
    report.line(
        "disk_ratio",
        disk as f64 / bytes as f64,
        "ratio",
        "bytes of the frames",
    );
    let begun = Instant::now();
    let log = open(dir);
    report.seconds("open_1m_events_s", begun);
    let reader = log.reader();
    let mut next = Seq(1);
    loop {
        let events = reader.read(next, 4096).expect("read");
        let Some(last) = events.last() else { break };
        next = Seq(last.seq.0 + 1);
        for stored in &events {
            let event = &stored.event;
            codec::decode(event.kind, event.version, &event.body).expect("decode");
        }
    }
    assert_eq!(next.0, START_EVENTS + 1);
    report.seconds("start_1m_events_s", begun);
    drop((reader, log));
    start_rolled(report, dir, bytes);
}

/// Starts from the same log rolled at a snapshot of a few megabytes.
fn start_rolled(report: &mut Report, dir: &Path, frame_bytes: u64) {
    let mut log = open(dir);
    let snapshot = Snapshot {
        head: log.head(),
        digest: Hash([1; 32]),
        bytes: vec![7; SNAPSHOT_BYTES],
    };
    let begun = Instant::now();
    log.roll(&snapshot).expect("roll");
    report.seconds("roll_1m_events_s", begun);
    drop(log);
    let begun = Instant::now();
    let log = open(dir);
    let found = log.latest_snapshot().expect("read").expect("there is one");
    assert_eq!(found.head, log.head());
    report.seconds("start_from_snapshot_s", begun);
    let ratio = disk_bytes(dir) as f64 / frame_bytes as f64;
    report.line("disk_ratio_rolled", ratio, "ratio", "bytes of the frames");
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
