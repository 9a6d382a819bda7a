//! Copies of the log: exports, mirrors and what is salvaged lead back to the same history, and a
//! change anywhere is noticed.

#[path = "../log_common/mod.rs"]
mod log_common;
mod mirror;
mod salvage;

use std::fs;

use alloy::signers::{SignerSync as _, local::PrivateKeySigner};
use infernet_node::log::{
    EventLog, LogReader, Mirror, Options, Record, SledLog, Snapshot, Source, Stored, Upkeep,
    checkpoint::{Checkpoint, Statement},
    export::{ExportError, Verified, export, import, verify},
    merkle, restore,
};
use infernet_state::types::{Address, Hash, PayloadAt, Seq, WallTime};
use log_common::{Lcg, options, payload, record};

const KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

fn append(log: &mut SledLog, rng: &mut Lcg, events: usize) -> Vec<PayloadAt> {
    let batch: Vec<Record> = (0..events)
        .map(|at| {
            let mut record = record(rng, 200);
            for _ in 0..at % 3 {
                let len = rng.below(5000);
                record.payloads.push(payload(rng, len));
            }
            record
        })
        .collect();
    let mut seq = log.head().seq;
    let mut places = Vec::new();
    for record in &batch {
        seq = Seq(seq.0 + 1);
        places.extend(record.payloads.iter().map(|payload| PayloadAt {
            seq,
            payload: payload.reference,
        }));
    }
    log.append(&batch).unwrap();
    places
}

fn snapshot(log: &SledLog) -> Snapshot {
    Snapshot {
        head: log.head(),
        digest: Hash([3; 32]),
        bytes: vec![7; 1000],
    }
}

fn events(log: &SledLog) -> Vec<Stored> {
    log.reader().read(log.reader().first(), usize::MAX).unwrap()
}

/// The tree over all events so far, signed.
fn checkpoint(log: &SledLog) -> Checkpoint {
    let signer: PrivateKeySigner = KEY.parse().unwrap();
    let mut tree = merkle::Accumulator::default();
    for stored in events(log) {
        tree.push(merkle::leaf(stored.seq, &stored.event));
    }
    let statement = Statement {
        identity: log.identity().to_owned(),
        first: log.reader().first(),
        head: log.head(),
        tree: tree.root(),
        state: Hash([3; 32]),
        time: WallTime(1_800_000_000_000),
    };
    let sign = |text: &str| {
        signer
            .sign_message_sync(text.as_bytes())
            .map(|signed| signed.as_bytes())
    };
    statement.sign(sign).unwrap()
}

fn signer() -> Address {
    let signer: PrivateKeySigner = KEY.parse().unwrap();
    Address(signer.address().into_array())
}

fn exported(source: &impl Source, checkpoints: &[Checkpoint]) -> Vec<u8> {
    let mut out = Vec::new();
    export(
        source,
        "chain 1",
        checkpoints,
        &mut out,
        |stored| serde_json::json!({ "kind": stored.event.kind, "bytes": stored.event.body.len() }),
    )
    .unwrap();
    out
}

fn same(a: &SledLog, b: &SledLog, payloads: &[PayloadAt]) {
    assert_eq!(a.head(), b.head());
    assert_eq!(events(a), events(b));
    for at in payloads {
        assert_eq!(
            a.reader().payload(*at).unwrap(),
            b.reader().payload(*at).unwrap()
        );
    }
}

#[test]
fn an_export_verifies_and_comes_back_as_the_same_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Lcg(31);
    let mut log = SledLog::open(&dir.path().join("home"), &options()).unwrap();
    let mut payloads = append(&mut log, &mut rng, 40);
    let first = checkpoint(&log);
    log.save_checkpoint(&first).unwrap();
    log.roll(&snapshot(&log)).unwrap();
    payloads.extend(append(&mut log, &mut rng, 30));
    log.save_checkpoint(&checkpoint(&log)).unwrap();
    log.erase(payloads[3]).unwrap();
    log.erase(payloads[40]).unwrap();
    assert_eq!(log.checkpoints().unwrap().len(), 2);

    let bytes = exported(&log.reader(), &log.checkpoints().unwrap());
    assert_eq!(
        bytes,
        exported(&log.reader(), &log.checkpoints().unwrap()),
        "stable"
    );
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(
        text.lines().nth(1).unwrap().contains("\"event\":{"),
        "{text}"
    );
    assert!(
        !text.contains(":1,") && !text.contains(":2}"),
        "numbers are strings"
    );
    let found = verify(bytes.as_slice(), Some(signer())).unwrap();
    let expected = Verified {
        program: infernet_node::log::export::PROGRAM.into(),
        identity: "chain 1".into(),
        base: infernet_node::log::Head::default(),
        head: log.head(),
        payloads: payloads.len() as u64 - 2,
        erased: 2,
        checkpoints: 2,
        trees: 2,
        signers: vec![signer()],
    };
    assert_eq!(found, expected);
    assert!(matches!(
        verify(bytes.as_slice(), Some(Address([1; 20]))),
        Err(ExportError::Signer { .. })
    ));

    let copy = dir.path().join("copy");
    import(bytes.as_slice(), &copy, &options()).unwrap();
    let copied = SledLog::open(&copy, &options()).unwrap();
    same(&log, &copied, &payloads);
    assert_eq!(
        exported(&copied.reader(), &copied.checkpoints().unwrap()),
        bytes
    );
    drop(copied);
    let twice = import(bytes.as_slice(), &copy, &options()).unwrap_err();
    assert!(twice.to_string().starts_with("E-LOG-012"), "{twice}");
    let foreign = import(
        bytes.as_slice(),
        &dir.path().join("new"),
        &Options::new("chain 2"),
    );
    assert!(foreign.unwrap_err().to_string().starts_with("E-LOG-006"));

    // A failed import leaves no log behind, and does not stand in the way of the next one.
    let half = dir.path().join("half");
    assert!(matches!(
        import(&bytes[..bytes.len() / 2], &half, &options()),
        Err(ExportError::Line { .. } | ExportError::Incomplete { .. })
    ));
    assert!(SledLog::open(&half, &Options::existing()).is_err());
    import(bytes.as_slice(), &half, &options()).unwrap();
    same(&log, &SledLog::open(&half, &options()).unwrap(), &payloads);
}

#[test]
fn any_change_to_an_export_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Lcg(32);
    let mut log = SledLog::open(dir.path(), &options()).unwrap();
    append(&mut log, &mut rng, 12);
    let bytes = exported(&log.reader(), &[checkpoint(&log)]);
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let joined = |lines: &[&str]| lines.join("\n") + "\n";
    assert_eq!(joined(&lines), text);
    for drop in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(drop);
        let verified = verify(joined(&without).as_bytes(), None);
        assert!(verified.is_err(), "without line {drop}: {verified:?}");
    }
    for swap in 0..lines.len() - 1 {
        let mut swapped = lines.clone();
        swapped.swap(swap, swap + 1);
        let verified = verify(joined(&swapped).as_bytes(), None);
        assert!(verified.is_err(), "swapped {swap}: {verified:?}");
    }
    let mut changed = 0;
    for at in (0..text.len()).step_by(41) {
        for flip in [0x01, 0x20] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= flip;
            changed += 1;
            let verified = verify(bytes.as_slice(), Some(signer()));
            assert!(verified.is_err(), "byte {at} ^ {flip}: {verified:?}");
        }
    }
    // The last line, which no other vouches for, byte by byte.
    let last = text.trim_end().rfind('\n').expect("several lines") + 1;
    for at in last..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 0x20;
        assert!(verify(bytes.as_slice(), None).is_err(), "byte {at}");
        assert!(verify(&text.as_bytes()[..at], None).is_err(), "cut at {at}");
    }
    assert!(changed > 100);
}

#[test]
fn one_event_is_proven_by_a_signed_tree() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = SledLog::open(dir.path(), &options()).unwrap();
    append(&mut log, &mut Lcg(33), 50);
    let signed = checkpoint(&log);
    assert_eq!(signed.signer(), Some(signer()));
    let mut tampered = signed.clone();
    tampered.statement.time = WallTime(1);
    assert_ne!(tampered.signer(), Some(signer()));
    let all = events(&log);
    let leaves: Vec<Hash> = all
        .iter()
        .map(|stored| merkle::leaf(stored.seq, &stored.event))
        .collect();
    let path = merkle::path(&leaves, 17).unwrap();
    let leaf = merkle::leaf(all[17].seq, &all[17].event);
    assert!(merkle::verify(&signed.statement.tree, &leaf, 17, 50, &path));
    assert!(!merkle::verify(
        &signed.statement.tree,
        &leaves[18],
        17,
        50,
        &path
    ));
}

#[test]
fn a_log_that_begins_with_a_snapshot_is_copied_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Lcg(35);
    let mut log = SledLog::open(&dir.path().join("home"), &options()).unwrap();
    append(&mut log, &mut rng, 100);
    let kept = snapshot(&log);
    log.roll(&kept).unwrap();
    let tight = infernet_node::log::Retention {
        budget_bytes: Some(1),
        keep_events: Some(0),
        ..infernet_node::log::Retention::default()
    };
    log.retain(&tight, &|| Seq(u64::MAX)).unwrap();
    let payloads = append(&mut log, &mut rng, 20);
    let bytes = exported(&log.reader(), &[]);
    assert_eq!(verify(bytes.as_slice(), None).unwrap().base, kept.head);
    let mut mirror = Mirror::open(&dir.path().join("mirror"), &log.reader()).unwrap();
    mirror.follow(&log.reader()).unwrap();
    let (imported, restored) = (dir.path().join("imported"), dir.path().join("restored"));
    import(bytes.as_slice(), &imported, &options()).unwrap();
    restore(&mirror, &restored, &options()).unwrap();
    for copy in [imported, restored] {
        let copy = SledLog::open(&copy, &options()).unwrap();
        same(&log, &copy, &payloads);
        assert_eq!(copy.latest_snapshot().unwrap().as_ref(), Some(&kept));
    }
}

#[test]
fn a_log_that_begins_with_a_large_snapshot_is_exported_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Lcg(45);
    let mut log = SledLog::open(&dir.path().join("home"), &options()).unwrap();
    append(&mut log, &mut rng, 10);
    let large = Snapshot {
        bytes: vec![7; 9 * 1024 * 1024],
        ..snapshot(&log)
    };
    log.roll(&large).unwrap();
    fs::remove_dir_all(dir.path().join("home/archives")).unwrap();
    append(&mut log, &mut rng, 10);
    drop(log);
    let log = SledLog::open(&dir.path().join("home"), &options()).unwrap();
    let exported = exported(&log.reader(), &[]);
    let copy = dir.path().join("copy");
    import(exported.as_slice(), &copy, &options()).unwrap();
    let copy = SledLog::open(&copy, &options()).unwrap();
    assert_eq!(events(&copy), events(&log));
    assert!(copy.reader().base_snapshot().unwrap() == Some(large));
    // A part that is missing, empty or too much is noticed.
    let text = String::from_utf8(exported).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[2].starts_with("{\"type\":\"snapshot_part\""));
    assert!(!lines[3].contains("snapshot_part"));
    let empty = "{\"type\":\"snapshot_part\",\"bytes\":\"\"}";
    let missing = [&lines[..2], &lines[3..]].concat();
    let without = [&lines[..2], &[empty], &lines[2..]].concat();
    let twice = [&lines[..3], &lines[2..]].concat();
    for lines in [missing, without, twice] {
        let error = verify(lines.join("\n").as_bytes(), None).unwrap_err();
        assert!(error.to_string().starts_with("E-LOG-021"), "{error}");
    }
}
