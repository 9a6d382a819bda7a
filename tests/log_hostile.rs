//! Bytes that clients send stand in the log as payloads, and exports come from strangers: whatever
//! they look like, they neither become history nor lock anybody out.

mod log_common;
mod log_fuzzed;

use std::{fs, path::Path};

use infernet_node::log::{
    EventLog, Head, LogError, LogReader, Mirror, MirrorReader, Record, Salvage, SledLog, Snapshot,
    Source, Stored,
    block::{Builder, PackAt},
    export::{export, verify},
};
use infernet_state::types::{Hash, PayloadRef, Seq};
use log_common::{Lcg, event, options, payload, record};
use sha2::{Digest as _, Sha256};

/// A block that fits behind `before`, of `events` small ones, with payloads that were erased.
fn forged(before: Head, events: usize) -> Vec<u8> {
    let mut rng = Lcg(666);
    let mut block = Builder::new(before, 0);
    for at in 0..events {
        let erased = PayloadRef {
            hash: Hash([6; 32]),
            len: 6,
        };
        let entries = [(erased, None); 3];
        let entries = if at < 3 { &entries[..] } else { &[] };
        block.push(&event(&mut rng, 4), entries).unwrap();
    }
    block.finish(PackAt::default(), true)
}

/// A record whose payload is what somebody sent.
fn sent(rng: &mut Lcg, bytes: Vec<u8>) -> Record {
    let mut record = record(rng, 100);
    let mut sent = payload(rng, bytes.len());
    sent.reference.hash = Hash(Sha256::digest(&bytes).into());
    sent.bytes = bytes;
    record.payloads.push(sent);
    record
}

fn append(log: &mut SledLog, rng: &mut Lcg, events: usize) -> Head {
    let batch: Vec<Record> = (0..events).map(|_| record(rng, 200)).collect();
    log.append(&batch).unwrap()
}

fn events(log: &SledLog) -> Vec<Stored> {
    log.reader().read(Seq(1), usize::MAX).unwrap()
}

/// All events of what was salvaged.
fn salvaged(salvage: &Salvage) -> Vec<Stored> {
    let mut all = Vec::new();
    let mut next = Seq(salvage.base().unwrap().seq.0 + 1);
    while next <= salvage.newest().seq {
        for full in salvage.full(next).unwrap() {
            next = Seq(full.stored.seq.0 + 1);
            all.push(full.stored);
        }
    }
    all
}

fn database(home: &Path, base: u64) -> std::path::PathBuf {
    home.join(format!("log/{base:020}/db"))
}

/// Adds bytes to a file, as a page that sled wrote long ago leaves them.
fn add(path: &Path, bytes: &[u8]) {
    let mut all = fs::read(path).unwrap();
    all.extend(bytes);
    fs::write(path, all).unwrap();
}

#[test]
fn a_salvage_takes_no_payload_for_a_block() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Lcg(1);
    let mut log = SledLog::open(dir.path(), &options()).unwrap();
    append(&mut log, &mut rng, 20);
    for _ in 0..3 {
        let bytes = forged(log.head(), 40);
        assert!(bytes.len() < 2048, "it stands inline");
        let sent = sent(&mut rng, bytes);
        log.append(&[sent]).unwrap();
        append(&mut log, &mut rng, 20);
    }
    let all = events(&log);
    drop(log);
    let salvage = Salvage::open(dir.path()).unwrap();
    assert!(salvaged(&salvage) == all, "another history");
    assert_eq!(salvage.lost(), [""; 0]);
}

#[test]
fn of_two_histories_a_salvage_takes_the_acknowledged_one_or_else_the_longer() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Lcg(2);
    let mut log = SledLog::open(dir.path(), &options()).unwrap();
    let early = append(&mut log, &mut rng, 20);
    append(&mut log, &mut rng, 20);
    append(&mut log, &mut rng, 20);
    let all = events(&log);
    drop(log);
    let db = database(dir.path(), 0);
    // Left over on a page of which only a part was overwritten.
    add(&db, &forged(early, 90));
    let salvage = Salvage::open(dir.path()).unwrap();
    assert!(salvaged(&salvage) == all, "not what was acknowledged");
    drop(salvage);
    // Nothing says what was acknowledged.
    let mut bytes = fs::read(&db).unwrap();
    let end = bytes.len() - forged(early, 90).len();
    bytes.truncate(end);
    bytes.extend(forged(early, 30));
    fs::write(&db, bytes).unwrap();
    fs::remove_file(dir.path().join("HEAD")).unwrap();
    let salvage = Salvage::open(dir.path()).unwrap();
    assert!(salvaged(&salvage) == all, "not the longer one");
}

#[test]
fn a_salvage_begins_where_the_database_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Lcg(3);
    let mut log = SledLog::open(dir.path(), &options()).unwrap();
    append(&mut log, &mut rng, 40);
    let snapshot = Snapshot {
        head: log.head(),
        digest: Hash([3; 32]),
        bytes: vec![7; 1000],
    };
    log.roll(&snapshot).unwrap();
    append(&mut log, &mut rng, 40);
    let all = events(&log);
    drop(log);
    let db = database(dir.path(), 40);
    fs::remove_file(db.with_file_name("snapshot")).unwrap();
    let foreign = |seq| Head {
        seq: Seq(seq),
        hash: Hash([9; 32]),
    };
    add(&db, &forged(foreign(0), 50));
    add(&db, &forged(foreign(40), 50));
    let salvage = Salvage::open(dir.path()).unwrap();
    assert!(salvaged(&salvage) == all, "another history");
}

/// Where the blocks of a mirror begin.
fn blocks(file: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 48;
    while at < file.len() {
        found.push(at);
        let length =
            |from: usize| u32::from_be_bytes(file[at + from..at + from + 4].try_into().unwrap());
        at += 104 + usize::try_from(length(92) + length(96)).unwrap();
    }
    found
}

#[test]
fn a_torn_end_of_a_mirror_is_cut_off_whatever_payloads_are_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (home, mirrored) = (dir.path().join("home"), dir.path().join("mirror"));
    let mut rng = Lcg(4);
    let mut log = SledLog::open(&home, &options()).unwrap();
    append(&mut log, &mut rng, 20);
    // Whole in the mirror first, so that the end is one block.
    let mut mirror = Mirror::open(&mirrored, &log.reader()).unwrap();
    mirror.follow(&log.reader()).unwrap();
    let after = |events| Head {
        seq: Seq(log.head().seq.0 + events),
        hash: Hash([9; 32]),
    };
    let mut last = sent(&mut rng, forged(after(1), 20));
    last.payloads
        .extend(sent(&mut rng, forged(after(1_000), 20)).payloads);
    last.payloads.push(payload(&mut rng, 1000));
    log.append(&[last]).unwrap();
    mirror.follow(&log.reader()).unwrap();
    drop(mirror);
    let path = mirrored.join("blocks");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 500]).unwrap();
    let looked = MirrorReader::look(&mirrored).unwrap();
    assert_eq!(looked.newest().seq, Seq(20));
    drop(looked);
    let mut mirror = Mirror::open(&mirrored, &log.reader()).unwrap();
    mirror.follow(&log.reader()).unwrap();
    assert_eq!(mirror.newest(), log.head());
    drop(mirror);
    assert!(fs::read(&path).unwrap() == whole);

    // A block that says that it is longer than it is hides none behind it.
    append(&mut log, &mut rng, 1);
    let mut mirror = Mirror::open(&mirrored, &log.reader()).unwrap();
    mirror.follow(&log.reader()).unwrap();
    drop(mirror);
    let whole = fs::read(&path).unwrap();
    let starts = blocks(&whole);
    assert_eq!(starts.len(), 3);
    for flipped in [starts[1] + 98, starts[1] + 99, starts[1] + 200] {
        let mut damaged = whole.clone();
        damaged[flipped] ^= 0x40;
        fs::write(&path, &damaged).unwrap();
        assert!(matches!(
            MirrorReader::look(&mirrored),
            Err(LogError::MirrorDamaged { .. })
        ));
        assert!(Mirror::open(&mirrored, &log.reader()).is_err());
        assert!(fs::read(&path).unwrap() == damaged, "it is left as it was");
    }
}

/// The lines of an export of one event with two payloads.
fn lines() -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Lcg(5);
    let mut log = SledLog::open(dir.path(), &options()).unwrap();
    let mut brings = record(&mut rng, 100);
    brings.payloads = vec![payload(&mut rng, 10), payload(&mut rng, 20)];
    log.append(&[brings]).unwrap();
    let mut out = Vec::new();
    export(&log.reader(), "chain 1", &[], &mut out, |_| "".into()).unwrap();
    verify(out.as_slice(), None).unwrap();
    let text = String::from_utf8(out).unwrap();
    text.lines().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_reader_holds_no_more_of_an_export_than_an_event_may_bring() {
    let refused = |lines: &[String]| {
        let text = lines.concat();
        verify(text.as_bytes(), None).unwrap_err().to_string()
    };
    let lines = lines();
    assert!(lines[1].contains("\"payloads\":\"2\"") && lines[3].contains("payload"));
    let erased = |len: u64| {
        let hash = "66".repeat(32);
        format!(
            "{{\"type\":\"payload\",\"seq\":\"1\",\"hash\":\"0x{hash}\",\"len\":\"{len}\",\"bytes\":null}}\n"
        )
    };
    // More than the event says: the first that is too many, not the last.
    let mut many = lines[..4].to_vec();
    many.extend(vec![erased(1); 1000]);
    let error = refused(&many);
    assert!(error.starts_with("E-LOG-021: line 5 "), "{error}");
    // More than any event has.
    let mut says_many = lines[..1].to_vec();
    says_many.push(lines[1].replace("\"payloads\":\"2\"", "\"payloads\":\"257\""));
    says_many.extend(vec![erased(1); 1000]);
    let error = refused(&says_many);
    assert!(error.starts_with("E-LOG-021: line 2 "), "{error}");
    // Longer than those of any event.
    let mut long = lines[..1].to_vec();
    long.push(lines[1].replace("\"payloads\":\"2\"", "\"payloads\":\"256\""));
    long.extend(vec![erased(64 * 1024 * 1024); 256]);
    let error = refused(&long);
    assert!(error.starts_with("E-LOG-021: line 11 "), "{error}");
}

/// Calls `take` with bytes as they are, then cut and with single bytes changed.
fn vary(bytes: &[u8], rounds: usize, mut take: impl FnMut(&[u8]) -> bool) {
    assert!(take(bytes), "what is whole is taken");
    let mut rng = Lcg(9);
    for _ in 0..rounds {
        let mut other = bytes.to_vec();
        let place = rng.below(bytes.len());
        other[place] ^= 1 << rng.below(8);
        take(&other);
        take(&bytes[..place]);
    }
}

/// What the fuzz targets of the log do, without a fuzzer.
#[test]
fn the_fuzz_targets_hold() {
    vary(lines().concat().as_bytes(), 300, log_fuzzed::export);
    assert!(!log_fuzzed::export(b"{}"));

    let mut rng = Lcg(4);
    let mut encoded = Vec::new();
    infernet_node::log::frame::encode(&event(&mut rng, 40), &mut encoded).unwrap();
    vary(&encoded, 300, log_fuzzed::frame);
    let block = forged(Head::default(), 5);
    vary(&block, 300, log_fuzzed::frame);

    for behind in [false, true] {
        vary(&block, 100, |bytes| {
            for at in [0, 7, 300] {
                log_fuzzed::recovery(bytes, &encoded, behind, at);
            }
            log_fuzzed::recovery(b"", &bytes[..bytes.len() / 2], behind, 0)
        });
    }
}
