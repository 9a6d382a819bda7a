//! The log on sled under real faults: killed processes, power cuts, damaged files, a full disk.
//! It opens to a prefix that holds everything acknowledged, or refuses with a code.

mod log_common;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use infernet_node::log::{
    EventLog, LogError, LogReader, MemoryLog, Record, Salvage, SledLog, SledReader, Source as _,
    Stored,
};
use infernet_state::types::{PayloadAt, Seq};
use log_common::{Lcg, copy, options, payload, record};

/// How often a process is killed.
const KILLS: usize = 12;

/// Power-cut images of the database file.
const POWER_CUTS: usize = 60;

/// Damaged copies.
const DAMAGES: usize = 60;

/// Every so many batches one takes several blocks of the store.
const LARGE: u64 = 8;

/// The n-th batch of the workload: the same in the child and in the parent.
fn batch(number: u64) -> Vec<Record> {
    let mut rng = Lcg(number.wrapping_mul(0x1000_0001));
    let most = if number % LARGE == LARGE - 1 { 400 } else { 40 };
    (0..most / 2 + 1 + rng.below(most / 2))
        .map(|_| {
            let mut record = record(&mut rng, 1200);
            if rng.below(10) == 0 {
                let len = rng.below(6000);
                record.payloads.push(payload(&mut rng, len));
            }
            record
        })
        .collect()
}

/// The events of the first `batches` batches.
fn expected(batches: u64) -> (Vec<Stored>, Vec<(PayloadAt, Vec<u8>)>) {
    let mut memory = MemoryLog::new();
    let mut payloads = Vec::new();
    for number in 0..batches {
        let batch = batch(number);
        let first = memory.head().seq.0 + 1;
        memory.append(&batch).unwrap();
        for (seq, record) in (first..).zip(batch) {
            payloads.extend(record.payloads.into_iter().map(|payload| {
                let at = PayloadAt {
                    seq: Seq(seq),
                    payload: payload.reference,
                };
                (at, payload.bytes)
            }));
        }
    }
    (memory.reader().read(Seq(1), usize::MAX).unwrap(), payloads)
}

/// Reads everything; the payloads too.
fn read_all(log: &SledLog, payloads: &[(PayloadAt, Vec<u8>)]) -> Result<Vec<Stored>, LogError> {
    let reader = log.reader();
    let events = reader.read(Seq(1), usize::MAX)?;
    for (at, bytes) in payloads
        .iter()
        .take_while(|(at, _)| at.seq <= reader.head().seq)
    {
        assert_eq!(reader.payload(*at)?.as_ref(), Some(bytes));
    }
    Ok(events)
}

/// Not a test of its own: what the other tests start as a process and kill. Continues the
/// workload where the log stands, and says after each commit how far it is.
#[test]
#[ignore = "started by the other tests"]
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
    let mut number = 0;
    let mut seq = 0;
    while seq < log.head().seq.0 {
        seq += batch(number).len() as u64;
        number += 1;
    }
    assert_eq!(seq, log.head().seq.0, "a commit is whole or not there");
    println!("open {seq}");
    for number in number..u64::MAX {
        match log.append(&batch(number)) {
            Ok(head) => println!("acknowledged {}", head.seq),
            Err(error) => {
                println!("failed {error}");
                return;
            }
        }
    }
}

/// The command that runs [`child`] on a directory.
fn child_command(dir: &Path) -> String {
    let exe = std::env::current_exe().unwrap();
    format!(
        "INFERNET_TEST_LOG='{}' exec '{}' --exact child --ignored --nocapture",
        dir.display(),
        exe.display()
    )
}

/// What a child said: the last acknowledged position, and its last line.
fn listen(stdout: impl std::io::Read) -> (u64, String) {
    let mut acknowledged = 0;
    let mut last = String::new();
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if let Some(seq) = line
            .strip_prefix("acknowledged ")
            .or(line.strip_prefix("open "))
        {
            acknowledged = seq.parse().unwrap_or(acknowledged);
        }
        if ["acknowledged", "open", "failed", "refused"]
            .iter()
            .any(|word| line.starts_with(word))
        {
            last = line;
        }
    }
    (acknowledged, last)
}

/// Opens the log and holds it against the workload.
fn examine(dir: &Path, acknowledged: u64, what: &str) -> u64 {
    let log = SledLog::open(dir, &options()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let head = log.head().seq.0;
    assert!(head >= acknowledged, "{what}: {head} of {acknowledged}");
    let mut batches = 0;
    let mut seq = 0;
    while seq < head {
        seq += batch(batches).len() as u64;
        batches += 1;
    }
    assert_eq!(seq, head, "{what}: a commit is whole or not there");
    let (events, payloads) = expected(batches);
    assert!(
        read_all(&log, &payloads).unwrap() == events,
        "{what}: another history"
    );
    head
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Lcg(std::process::id().into());
    let mut before = 0;
    for round in 0..KILLS {
        let mut child = Command::new("sh")
            .args(["-c", &child_command(dir.path())])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        // Some die while they open, most while they append.
        let life =
            Duration::from_micros(rng.below(if round % 3 == 0 { 30_000 } else { 400_000 }) as u64);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(life);
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let (acknowledged, last) = listen(stdout);
        killer.join().unwrap();
        assert!(
            !last.starts_with("refused") && !last.starts_with("failed"),
            "{last}"
        );
        before = examine(
            dir.path(),
            acknowledged.max(before),
            &format!("killed after {life:?}"),
        );
    }
    assert!(before > 0, "no child lived long enough to append");
}

#[test]
fn a_full_disk_stops_the_log_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    // A limit on the size of files stands for the full disk: 24 MiB in units of 1 KiB.
    let limited = format!(
        "trap '' XFSZ; ulimit -f 24576; {}",
        child_command(dir.path())
    );
    let run = || {
        let output = Command::new("bash")
            .args(["-c", &limited])
            .output()
            .unwrap();
        listen(output.stdout.as_slice())
    };
    let (acknowledged, last) = run();
    assert!(last.starts_with("failed E-LOG-001"), "{last}");
    assert!(acknowledged > 1000, "{acknowledged}");
    // Started again while it is full: refused, or stopped at the same place; nothing is lost.
    let (again, last) = run();
    assert!(
        last.starts_with("failed E-LOG-0") || last.starts_with("refused E-LOG-0"),
        "{last}"
    );
    examine(dir.path(), acknowledged.max(again), "space was freed");
}

/// sled's database file.
fn database(dir: &Path) -> PathBuf {
    dir.join("log/00000000000000000000/db")
}

#[test]
fn a_power_cut_between_two_syncs_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut log = SledLog::open(&home, &options()).unwrap();
    let mut rng = Lcg(4);
    let mut number = 0;
    for cut in 0..POWER_CUTS {
        for _ in 0..rng.below(12) {
            log.append(&batch(number)).unwrap();
            number += 1;
        }
        let acknowledged = log.head().seq.0;
        let before = dir.path().join("before");
        copy(&home, &before);
        log.append(&batch(number)).unwrap();
        number += 1;
        let old = fs::read(database(&before)).unwrap();
        let new = fs::read(database(&home)).unwrap();
        // The packs were synced before the database was written; of the database, each sector
        // that the commit wrote is there, is not, or is torn.
        copy(&home.join("packs"), &before.join("packs"));
        let image = torn(&old, &new, &mut rng);
        fs::write(database(&before), image).unwrap();
        examine(&before, acknowledged, &format!("cut {cut}"));
        fs::remove_dir_all(&before).unwrap();
    }
}

#[test]
fn a_commit_of_several_blocks_is_there_or_not_wherever_its_writing_ended() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut log = SledLog::open(&home, &options()).unwrap();
    for number in 0..LARGE - 1 {
        log.append(&batch(number)).unwrap();
    }
    let acknowledged = log.head().seq.0;
    let before = dir.path().join("before");
    copy(&home, &before);
    log.append(&batch(LARGE - 1)).unwrap();
    let whole = log.head().seq.0;
    let old = fs::read(database(&before)).unwrap();
    let new = fs::read(database(&home)).unwrap();
    let differs = |at: &usize| old.get(*at).unwrap_or(&0) != &new[*at];
    let first = (0..new.len()).find(differs).unwrap();
    let last = (0..new.len()).rfind(differs).unwrap();
    copy(&home.join("packs"), &before.join("packs"));
    const STEPS: usize = 24;
    for step in 0..=STEPS {
        let reached = first + (last + 1 - first) * step / STEPS;
        let copied = dir.path().join("copied");
        copy(&before, &copied);
        let mut image = new.clone();
        for (at, byte) in image.iter_mut().enumerate().skip(reached) {
            *byte = old.get(at).copied().unwrap_or(0);
        }
        fs::write(database(&copied), image).unwrap();
        let what = format!("written up to {reached} of {first} to {last}");
        let salvaged = Salvage::open(&copied).unwrap().newest().seq.0;
        let end = if step == STEPS { whole } else { acknowledged };
        assert_eq!(salvaged, end, "{what}: salvaged without sled");
        let head = examine(&copied, acknowledged, &what);
        assert_eq!(head == whole, step == STEPS, "{what}");
        // It goes on over what is left of the commit.
        let next = if head == whole { LARGE } else { LARGE - 1 };
        let mut log = SledLog::open(&copied, &options()).unwrap();
        let head = log.append(&batch(next)).unwrap().seq.0;
        drop(log);
        assert_eq!(examine(&copied, head, &what), head);
        fs::remove_dir_all(&copied).unwrap();
    }
}

/// A mix of two images of a file, sector by sector.
fn torn(old: &[u8], new: &[u8], rng: &mut Lcg) -> Vec<u8> {
    let len = if rng.below(2) == 0 {
        old.len().max(new.len())
    } else {
        old.len()
    };
    let mut image = old.to_vec();
    image.resize(len, 0);
    let mood = rng.below(4);
    for at in (0..len.min(new.len())).step_by(512) {
        let end = (at + 512).min(len).min(new.len());
        let kept = match (mood, rng.below(6)) {
            (0, _) => 0,
            (1, at_most) if at_most < 5 => end - at,
            (_, 0) => rng.below(end - at),
            (_, half) => (end - at) * (half % 2),
        };
        image[at..at + kept].copy_from_slice(&new[at..at + kept]);
    }
    image
}

#[test]
fn a_damaged_log_is_refused_with_a_code_or_whole() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut log = SledLog::open(&home, &options()).unwrap();
    for number in 0..120 {
        log.append(&batch(number)).unwrap();
    }
    let acknowledged = log.head().seq.0;
    drop(log);
    let (events, payloads) = expected(120);
    let mut rng = Lcg(5);
    let mut refused = 0;
    for round in 0..DAMAGES {
        let copied = dir.path().join("copy");
        copy(&home, &copied);
        let path = database(&copied);
        let mut bytes = fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        let at = rng.below(used);
        let what = match round % 4 {
            0 => {
                bytes.truncate(at);
                format!("cut off at {at} of {used}")
            }
            1 => {
                bytes[at..].fill(0);
                format!("zeroes from {at} of {used}")
            }
            2 => {
                let end = (at + 4096).min(bytes.len());
                bytes[at..end].fill(0);
                format!("a page of zeroes at {at}")
            }
            _ => {
                bytes[at] ^= 1 << rng.below(8);
                format!("a bit flipped at {at}")
            }
        };
        fs::write(&path, &bytes).unwrap();
        let read = SledLog::open(&copied, &options()).and_then(|log| {
            assert_eq!(
                log.head().seq.0,
                acknowledged,
                "{what}: a shorter history unnoticed"
            );
            read_all(&log, &payloads)
        });
        match read {
            Ok(read) => assert!(read == events, "{what}: another history"),
            Err(error) => {
                refused += 1;
                // Damage that shows only when it is read leaves the log open until then.
                let untouched = fs::read(&path).unwrap() == bytes;
                assert!(
                    untouched || matches!(error, LogError::Damaged { .. }),
                    "{what}: {error}"
                );
                assert!(error.to_string().starts_with("E-LOG-0"), "{what}: {error}");
                assert!(error.to_string().contains("restore"), "{what}: {error}");
            }
        }
        fs::remove_dir_all(&copied).unwrap();
    }
    assert!(refused > DAMAGES / 3, "only {refused} damages were noticed");
}

#[test]
fn unfinished_snapshots_of_sled_do_not_lock_the_log_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = SledLog::open(dir.path(), &options()).unwrap();
    for number in 0..5 {
        log.append(&batch(number)).unwrap();
    }
    let acknowledged = log.head().seq.0;
    drop(log);
    let sled = database(dir.path()).parent().unwrap().to_owned();
    for (name, content) in [
        ("snap.0000000000000000.generating", &b""[..]),
        ("snap.00000000000003E8.generating", &b"short"[..]),
        ("snap.FFFFFFFFFFFFFFFF.generating", &[0x5a; 4096][..]),
    ] {
        fs::write(sled.join(name), content).unwrap();
        examine(dir.path(), acknowledged, name);
        assert!(!sled.join(name).exists());
    }
}

/// Opens a log in a process that is killed when the database was copied; where the copy is.
fn killed_while_opening(dir: &Path) -> PathBuf {
    let output = Command::new("sh")
        .args(["-c", &child_command(dir)])
        .env("INFERNET_CRASH_POINT", "open.preserved:1")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let before = database(dir).parent().unwrap().with_extension("before");
    assert!(before.join("db").exists());
    before
}

#[test]
fn an_opening_that_was_interrupted_begins_again_from_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = SledLog::open(dir.path(), &options()).unwrap();
    for number in 0..10 {
        log.append(&batch(number)).unwrap();
    }
    let acknowledged = log.head().seq.0;
    drop(log);
    let sled = database(dir.path()).parent().unwrap().to_owned();
    // Killed while it copied: the copy is not whole, the database is.
    copy(&sled, &sled.with_extension("copying"));
    fs::write(sled.with_extension("copying").join("db"), b"half").unwrap();
    examine(dir.path(), acknowledged, "killed while copying");
    // Killed while sled changed the database, or while the copy was put back.
    killed_while_opening(dir.path());
    fs::write(database(dir.path()), vec![0; 100_000]).unwrap();
    examine(dir.path(), acknowledged, "killed while opening");
    killed_while_opening(dir.path());
    fs::remove_dir_all(&sled).unwrap();
    examine(dir.path(), acknowledged, "killed while putting back");
    // Killed while the copy was thrown away: what was appended since counts.
    copy(&sled, &sled.with_extension("discard"));
    let mut log = SledLog::open(dir.path(), &options()).unwrap();
    log.append(&batch(10)).unwrap();
    let acknowledged = log.head().seq.0;
    drop(log);
    examine(dir.path(), acknowledged, "killed while discarding");
    let names = fs::read_dir(sled.parent().unwrap()).unwrap().count();
    assert_eq!(names, 1, "nothing is left over");
}

#[test]
fn a_copy_that_a_power_cut_kept_from_the_disk_does_not_take_the_logs_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = SledLog::open(dir.path(), &options()).unwrap();
    for number in 0..10 {
        log.append(&batch(number)).unwrap();
    }
    let acknowledged = log.head().seq.0;
    drop(log);
    let before = killed_while_opening(dir.path());
    let made = dir.path().join("made");
    fs::rename(&before, &made).unwrap();
    // Its name reached the disk, and so much of its bytes.
    type Lose = fn(&Path);
    let losses: [(&str, Lose); 6] = [
        ("the database is empty", |copy| {
            fs::write(copy.join("db"), b"").unwrap();
        }),
        ("the database is zeroes", |copy| {
            let len = copy.join("db").metadata().unwrap().len();
            fs::write(copy.join("db"), vec![0; usize::try_from(len).unwrap()]).unwrap();
        }),
        ("the end of the database is zeroes", |copy| {
            let mut bytes = fs::read(copy.join("db")).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            bytes[used - 3000..].fill(0);
            fs::write(copy.join("db"), bytes).unwrap();
        }),
        ("the database is not there", |copy| {
            fs::remove_file(copy.join("db")).unwrap();
        }),
        ("the list is empty", |copy| {
            fs::write(copy.join("preserved.json"), b"").unwrap();
        }),
        ("nothing is there", |copy| {
            fs::remove_dir_all(copy).unwrap();
            fs::create_dir(copy).unwrap();
        }),
    ];
    for (what, lose) in losses {
        copy(&made, &before);
        lose(&before);
        let looked = SledReader::look(dir.path()).unwrap();
        assert_eq!(looked.head().seq.0, acknowledged, "{what}: looked at");
        drop(looked);
        let salvaged = Salvage::open(dir.path()).unwrap();
        assert_eq!(salvaged.newest().seq.0, acknowledged, "{what}: salvaged");
        drop(salvaged);
        examine(dir.path(), acknowledged, what);
        assert!(!before.exists(), "{what}: it is gone");
    }
}
