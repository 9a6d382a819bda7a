//! The log on a real disk: what is appended is read back, now and after a restart; what is not
//! this node's, not readable or not affordable is refused with a code.

mod log_common;

use std::{fs, path::Path};

use infernet_node::log::{
    Durability, EventLog, LogError, LogReader, MemoryLog, Options, SledLog, SledReader,
    limits::{BLOCK_BYTES_MAX, INLINE_BYTES_MAX},
};
use infernet_state::{
    codec::EVENT_BYTES_MAX,
    types::{PayloadAt, Seq},
};
use log_common::{Lcg, event, options, payload, record};

fn open(dir: &Path) -> SledLog {
    SledLog::open(dir, &options()).unwrap()
}

/// Batches of all shapes: single, many, large events, payloads inline and packed.
fn batches(rng: &mut Lcg) -> Vec<Vec<infernet_node::log::Record>> {
    let mut batches = Vec::new();
    for round in 0..40_u64 {
        let count = if round % 3 == 0 {
            1
        } else {
            1 + rng.below(200)
        };
        batches.push(
            (0..count)
                .map(|_| {
                    let mut record = record(rng, 300);
                    if rng.below(10) == 0 {
                        let len = 1 + rng.below(4 * INLINE_BYTES_MAX);
                        record.payloads.push(payload(rng, len));
                    }
                    if rng.below(200) == 0 {
                        record.event = event(rng, EVENT_BYTES_MAX);
                    }
                    record
                })
                .collect(),
        );
    }
    batches
}

#[test]
fn both_logs_agree_and_a_restart_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Lcg(7);
    let mut memory = MemoryLog::new();
    let mut disk = open(dir.path());
    assert_eq!(disk.durability(), Durability::PowerLoss);
    for batch in batches(&mut rng) {
        assert_eq!(disk.append(&batch).unwrap(), memory.append(&batch).unwrap());
    }
    let same = |disk: &SledLog| {
        let (disk, memory) = (disk.reader(), memory.reader());
        assert_eq!(disk.head(), memory.head());
        let all = memory.read(Seq(1), usize::MAX).unwrap();
        assert_eq!(disk.read(Seq(0), usize::MAX).unwrap(), all);
        for (from, limit) in [
            (1, 1),
            (17, 100),
            (all.len() as u64, 5),
            (all.len() as u64 + 1, 5),
        ] {
            let (from, limit) = (Seq(from), limit);
            assert_eq!(
                disk.read(from, limit).unwrap(),
                memory.read(from, limit).unwrap()
            );
        }
    };
    same(&disk);
    drop(disk);
    same(&open(dir.path()));
}

#[test]
fn payloads_come_back_inline_and_packed_until_they_are_erased() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Lcg(8);
    let mut log = open(dir.path());
    let mut places = Vec::new();
    for len in [0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 3_000_000] {
        let mut record = record(&mut rng, 100);
        let payload = payload(&mut rng, len);
        record.payloads.push(payload.clone());
        let head = log.append(&[record]).unwrap();
        let at = PayloadAt {
            seq: head.seq,
            payload: payload.reference,
        };
        places.push((at, payload.bytes));
    }
    let before = log.reader().read(Seq(1), 100).unwrap();
    drop(log);
    let mut log = open(dir.path());
    for (at, bytes) in &places {
        assert_eq!(log.reader().payload(*at).unwrap().as_ref(), Some(bytes));
        let elsewhere = PayloadAt {
            seq: Seq(at.seq.0 % 5 + 1),
            ..*at
        };
        assert!(matches!(
            log.reader().payload(elsewhere),
            Err(LogError::Payload { .. })
        ));
    }
    for (at, _) in &places {
        assert!(log.erase(*at).unwrap());
        assert!(!log.erase(*at).unwrap());
    }
    drop(log);
    let log = open(dir.path());
    for (at, bytes) in &places {
        assert_eq!(log.reader().payload(*at).unwrap(), None);
        let pack = fs::read(dir.path().join("packs/0000000001.pack")).unwrap();
        assert!(bytes.len() < 100 || !pack.windows(64).any(|part| part == &bytes[..64]));
    }
    assert_eq!(log.reader().read(Seq(1), 100).unwrap(), before);
}

#[test]
fn no_record_ever_becomes_an_unsynced_blob() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Lcg(9);
    let mut log = open(dir.path());
    // The largest records there are, one to a block, several leaves of them.
    for _ in 0..6 {
        let batch: Vec<_> = (0..20)
            .map(|_| {
                let mut record = record(&mut rng, 0);
                record.event = event(&mut rng, EVENT_BYTES_MAX);
                record.payloads = (0..256).map(|_| payload(&mut rng, 64)).collect();
                record
            })
            .collect();
        log.append(&batch).unwrap();
    }
    let blobs: Vec<_> = walk(dir.path())
        .into_iter()
        .filter(|path| path.contains("/blobs/"))
        .collect();
    assert_eq!(
        blobs,
        Vec::<String>::new(),
        "BLOCK_BYTES_MAX = {BLOCK_BYTES_MAX}"
    );
}

/// Every file below a directory.
fn walk(dir: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(walk(&path));
        } else {
            out.push(path.display().to_string());
        }
    }
    out
}

#[test]
fn a_log_of_another_node_a_newer_program_or_another_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let second = SledLog::open(dir.path(), &options()).unwrap_err();
    assert!(second.to_string().starts_with("E-LOG-003"), "{second}");
    let reader = log.reader();
    drop(log);
    assert!(matches!(
        SledLog::open(dir.path(), &options()),
        Err(LogError::Locked { .. })
    ));
    drop(reader);

    // What stands in a directory that another process holds is not judged: it may be half of
    // what that process is about to write.
    let format = dir.path().join("FORMAT");
    let kept = fs::read_to_string(&format).unwrap();
    let log = open(dir.path());
    for half in ["", "{\"format\": 9}"] {
        fs::write(&format, half).unwrap();
        let looked = SledReader::look(dir.path()).unwrap_err();
        assert!(looked.to_string().starts_with("E-LOG-003"), "{looked}");
    }
    fs::write(&format, &kept).unwrap();
    drop(log);
    SledReader::look(dir.path()).unwrap();

    let other = SledLog::open(dir.path(), &Options::new("chain 2")).unwrap_err();
    let text = other.to_string();
    assert!(text.starts_with("E-LOG-006") && text.contains("chain 2") && text.contains("chain 1"));

    let greedy = Options {
        free_floor_bytes: u64::MAX,
        ..options()
    };
    let full = SledLog::open(dir.path(), &greedy).unwrap_err();
    assert!(full.to_string().starts_with("E-LOG-007"), "{full}");

    fs::write(
        &format,
        kept.replace("\"format\": 1", "\"format\": 2, \"more\": {}"),
    )
    .unwrap();
    let newer = SledLog::open(dir.path(), &options()).unwrap_err();
    assert!(newer.to_string().starts_with("E-LOG-004"), "{newer}");
    fs::remove_file(&format).unwrap();
    let headless = SledLog::open(dir.path(), &options()).unwrap_err();
    assert!(headless.to_string().starts_with("E-LOG-012"), "{headless}");
    fs::write(&format, kept).unwrap();
    assert_eq!(open(dir.path()).head().seq, Seq(0));

    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        SledLog::open(empty.path(), &Options::existing()),
        Err(LogError::Directory { .. })
    ));
}

#[test]
fn nothing_over_a_bound_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Lcg(10);
    let mut too_large = record(&mut rng, 0);
    too_large.event = event(&mut rng, EVENT_BYTES_MAX);
    too_large.event.body.push(0);
    let mut lying = record(&mut rng, 10);
    let mut wrong = payload(&mut rng, 10);
    wrong.bytes[0] ^= 1;
    lying.payloads.push(wrong);
    for bad in [too_large, lying] {
        let good = record(&mut rng, 10);
        let mut log = open(dir.path());
        assert!(log.append(&[good, bad]).is_err());
        assert!(
            matches!(log.append(&[]), Err(LogError::Failed)),
            "a failed log takes nothing"
        );
        drop(log);
        assert_eq!(open(dir.path()).head().seq, Seq(0));
    }
}
