//! Copies of the log: exports, mirrors and what is salvaged lead back to the same history, and a
//! change anywhere is noticed.

mod log_common;

use std::{fs, path::Path};

use alloy::signers::{SignerSync as _, local::PrivateKeySigner};
use infernet_node::log::{
    EventLog, LogError, LogReader, Mirror, MirrorReader, Options, Record, Salvage, SledLog,
    Snapshot, Source, Stored, Upkeep,
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
fn a_mirror_follows_across_rolls_and_restores_everything() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("mirror");
    let mut rng = Lcg(34);
    let mut log = SledLog::open(&dir.path().join("home"), &options()).unwrap();
    let mut mirror = Mirror::open(&at, &log.reader()).unwrap();
    let mut payloads = Vec::new();
    for round in 0..6 {
        payloads.extend(append(&mut log, &mut rng, 60));
        assert_eq!(mirror.follow(&log.reader()).unwrap(), log.head());
        if round % 2 == 1 {
            log.roll(&snapshot(&log)).unwrap();
        }
        if round == 3 {
            drop(mirror);
            mirror = Mirror::open(&at, &log.reader()).unwrap();
        }
    }
    // It keeps what the log's budget drops.
    let tight = infernet_node::log::Retention {
        budget_bytes: Some(1),
        keep_events: Some(0),
        ..infernet_node::log::Retention::default()
    };
    let all = events(&log);
    log.retain(&tight, Seq(u64::MAX)).unwrap();
    assert_eq!(log.reader().first(), Seq(361));
    log.append(&[record(&mut rng, 10)]).unwrap();
    mirror.follow(&log.reader()).unwrap();
    mirror.erase(payloads[7]).unwrap();
    drop(mirror);
    // A crash of its process in the middle of a write.
    let blocks = at.join("blocks");
    let whole = fs::read(&blocks).unwrap();
    fs::write(&blocks, &whole[..whole.len() - 5]).unwrap();
    let mut mirror = Mirror::open(&at, &log.reader()).unwrap();
    assert_eq!(mirror.newest().seq, Seq(360));
    assert_eq!(mirror.follow(&log.reader()).unwrap(), log.head());

    let restored = dir.path().join("restored");
    restore(&mirror, &restored, &options()).unwrap();
    let restored = SledLog::open(&restored, &options()).unwrap();
    assert_eq!(restored.head(), log.head());
    assert_eq!(events(&restored)[..360], all);
    assert_eq!(restored.reader().payload(payloads[7]).unwrap(), None);
    for place in payloads.iter().filter(|place| **place != payloads[7]) {
        assert!(restored.reader().payload(*place).unwrap().is_some());
    }
    drop(mirror);
    // Another log is not taken for this one.
    let mut other = SledLog::open(&dir.path().join("other"), &options()).unwrap();
    append(&mut other, &mut rng, 400);
    let mut mirror = Mirror::open(&at, &other.reader()).unwrap();
    assert!(matches!(
        mirror.follow(&other.reader()),
        Err(LogError::Mirror { .. })
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
    log.retain(&tight, Seq(u64::MAX)).unwrap();
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

/// sled's database file.
fn database(dir: &Path) -> std::path::PathBuf {
    let log = fs::read_dir(dir.join("log"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    log.path().join("db")
}

/// Where a word stands.
fn find(bytes: &[u8], word: &[u8]) -> Vec<usize> {
    let windows = bytes.windows(word.len()).enumerate();
    windows
        .filter(|(_, window)| *window == word)
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn what_sled_does_not_open_is_read_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut rng = Lcg(36);
    let mut log = SledLog::open(&home, &options()).unwrap();
    let mut payloads = append(&mut log, &mut rng, 300);
    log.roll(&snapshot(&log)).unwrap();
    for _ in 0..8 {
        payloads.extend(append(&mut log, &mut rng, 150));
    }
    log.erase(payloads[200]).unwrap();
    log.erase(payloads[900]).unwrap();
    let all = events(&log);
    let kept: Vec<_> = payloads
        .iter()
        .map(|at| log.reader().payload(*at).unwrap())
        .collect();
    drop(log);
    // Wreck what sled needs and we do not.
    let path = database(&home);
    let mut bytes = fs::read(&path).unwrap();
    for at in find(&bytes, b"pack_offset") {
        bytes[at] ^= 1;
    }
    fs::write(&path, &bytes).unwrap();
    let error = SledLog::open(&home, &options()).unwrap_err();
    assert!(error.to_string().contains("salvage"), "{error}");
    assert!(
        fs::read(&path).unwrap() == bytes,
        "the attempt changed what it could not read"
    );
    let salvage = Salvage::open(&home).unwrap();
    assert_eq!(
        (salvage.lost().len(), salvage.identity()),
        (0, Some("chain 1"))
    );
    let copy = dir.path().join("copy");
    restore(&salvage, &copy, &options()).unwrap();
    let copy = SledLog::open(&copy, &options()).unwrap();
    assert_eq!(events(&copy), all);
    for (at, kept) in payloads.iter().zip(kept) {
        assert_eq!(copy.reader().payload(*at).unwrap(), kept);
    }
    drop(salvage);
    // With a hole in the middle, everything before it.
    let magics = find(&bytes, b"IFBK");
    let first = |at: usize| bytes[at + 8..at + 16].to_vec();
    let middle = first(magics[magics.len() / 2]);
    let holes: Vec<usize> = magics
        .into_iter()
        .filter(|at| first(*at) == middle)
        .collect();
    for hole in holes {
        bytes[hole + 50] ^= 1;
    }
    fs::write(&path, bytes).unwrap();
    let salvage = Salvage::open(&home).unwrap();
    let last = salvage.newest().seq;
    assert!(last > Seq(300) && last < all.last().unwrap().seq, "{last}");
    let verified = verify(exported(&salvage, &[]).as_slice(), None).unwrap();
    assert_eq!(
        verified.head.hash,
        all[usize::try_from(last.0).unwrap() - 1].hash
    );
}

/// A log of three appends, with a mirror that nobody writes.
fn mirrored(dir: &Path) -> SledLog {
    let mut rng = Lcg(41);
    let mut log = SledLog::open(&dir.join("home"), &options()).unwrap();
    let mut mirror = Mirror::open(&dir.join("mirror"), &log.reader()).unwrap();
    for _ in 0..3 {
        append(&mut log, &mut rng, 40);
        mirror.follow(&log.reader()).unwrap();
    }
    log
}

#[test]
fn a_damaged_mirror_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let log = mirrored(dir.path());
    let at = dir.path().join("mirror");
    let whole = bytes_of(&at);
    let blocks = &whole["blocks"];
    // In the head, in the first block's head, in its body, in the middle.
    for place in [0, 4, 20, 48, 60, 68, 300, blocks.len() / 2] {
        let mut bytes = blocks.clone();
        bytes[place] ^= 4;
        fs::write(at.join("blocks"), bytes).unwrap();
        let before = bytes_of(&at);
        let results = [
            MirrorReader::look(&at).err(),
            Mirror::existing(&at).err(),
            Mirror::open(&at, &log.reader()).err(),
        ];
        for result in results {
            assert!(
                matches!(result, Some(LogError::MirrorDamaged { .. })),
                "byte {place}: {result:?}"
            );
        }
        assert!(before == bytes_of(&at), "byte {place}: changed");
    }
}

#[test]
fn a_torn_end_of_a_mirror_is_not_read_and_cut_only_by_its_writer() {
    let dir = tempfile::tempdir().unwrap();
    let log = mirrored(dir.path());
    let at = dir.path().join("mirror");
    let blocks = fs::read(at.join("blocks")).unwrap();
    fs::write(at.join("blocks"), &blocks[..blocks.len() - 5]).unwrap();
    let before = bytes_of(&at);
    assert_eq!(MirrorReader::look(&at).unwrap().newest().seq, Seq(80));
    assert!(before == bytes_of(&at), "reading changed it");
    // Of several blocks the first lacks its magic until the others are durable.
    let magics: Vec<usize> = (0..blocks.len() - 4)
        .filter(|at| blocks[*at..].starts_with(b"IFBK"))
        .collect();
    let first = |at: usize| u64::from_be_bytes(blocks[at + 8..at + 16].try_into().unwrap());
    let begun = magics.into_iter().find(|at| first(*at) == 81).unwrap();
    for magic in [*b"\0\0\0\0", *b"IF\0\0"] {
        let mut bytes = blocks.clone();
        bytes[begun..begun + 4].copy_from_slice(&magic);
        fs::write(at.join("blocks"), bytes).unwrap();
        assert_eq!(MirrorReader::look(&at).unwrap().newest().seq, Seq(80));
    }
    // What a checkpoint names was there.
    log.save_checkpoint(&checkpoint(&log)).unwrap();
    fs::copy(
        dir.path().join("home/checkpoints.jsonl"),
        at.join("checkpoints.jsonl"),
    )
    .unwrap();
    let before = bytes_of(&at);
    for result in [
        MirrorReader::look(&at).err(),
        Mirror::open(&at, &log.reader()).err(),
    ] {
        assert!(
            matches!(result, Some(LogError::MirrorDamaged { .. })),
            "{result:?}"
        );
    }
    assert!(before == bytes_of(&at), "refusing changed it");
    fs::remove_file(at.join("checkpoints.jsonl")).unwrap();
    let mut mirror = Mirror::open(&at, &log.reader()).unwrap();
    assert_eq!(mirror.newest().seq, Seq(80));
    assert_eq!(mirror.follow(&log.reader()).unwrap(), log.head());
}

#[test]
fn a_mirror_that_fell_behind_what_is_kept_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Lcg(42);
    let mut log = mirrored(dir.path());
    append(&mut log, &mut rng, 40);
    log.roll(&snapshot(&log)).unwrap();
    append(&mut log, &mut rng, 40);
    let tight = infernet_node::log::Retention {
        budget_bytes: Some(1),
        keep_events: Some(0),
        ..infernet_node::log::Retention::default()
    };
    log.retain(&tight, Seq(u64::MAX)).unwrap();
    assert_eq!(log.reader().first(), Seq(161));
    let mirror = Mirror::open(&dir.path().join("mirror"), &log.reader()).unwrap();
    let result = mirror.agrees(&log.reader());
    assert!(
        matches!(result, Err(LogError::Gone { seq: Seq(121), .. })),
        "{result:?}"
    );
}

/// Damages the blocks of a database that begin behind an event, or only the first of them.
fn damage(home: &Path, behind: u64, all: bool) {
    let path = database(home);
    let mut bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() - 60 {
        if bytes[at..].starts_with(b"IFBK") {
            let first = u64::from_be_bytes(bytes[at + 8..at + 16].try_into().unwrap());
            if all || first == behind + 1 {
                bytes[at + 60] ^= 1;
            }
        }
    }
    fs::write(&path, bytes).unwrap();
}

#[test]
fn a_rolled_log_whose_first_blocks_are_damaged_is_salvaged_with_its_archives() {
    for all in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let mut rng = Lcg(43);
        let mut log = SledLog::open(&home, &options()).unwrap();
        append(&mut log, &mut rng, 40);
        log.roll(&snapshot(&log)).unwrap();
        for _ in 0..3 {
            append(&mut log, &mut rng, 40);
        }
        drop(log);
        damage(&home, 40, all);
        let salvage = Salvage::open(&home).unwrap();
        assert_eq!(salvage.base().unwrap().seq, Seq(0), "{:?}", salvage.lost());
        assert_eq!(salvage.newest().seq, Seq(40));
        assert!(salvage.base_snapshot().unwrap().is_none());
        assert!(!salvage.lost().is_empty());
        let found = verify(exported(&salvage, &[]).as_slice(), None).unwrap();
        assert_eq!(found.head.seq, Seq(40));
        // Without the archives it begins with its snapshot; without that, the loss is told.
        fs::remove_dir_all(home.join("archives")).unwrap();
        let salvage = Salvage::open(&home).unwrap();
        assert_eq!(salvage.base_snapshot().unwrap().unwrap().head.seq, Seq(40));
        assert_eq!(salvage.newest().seq, Seq(40));
        fs::remove_file(database(&home).with_file_name("snapshot")).unwrap();
        let salvage = Salvage::open(&home).unwrap();
        assert!(salvage.base_snapshot().unwrap().is_none());
        assert!(!salvage.lost().is_empty());
    }
}

#[test]
fn a_roll_that_did_not_come_to_an_end_hides_no_archive_from_the_salvage() {
    let dir = tempfile::tempdir().unwrap();
    let (home, dead) = (dir.path().join("home"), dir.path().join("dead"));
    let mut rng = Lcg(44);
    let mut log = SledLog::open(&home, &options()).unwrap();
    append(&mut log, &mut rng, 40);
    log.roll(&snapshot(&log)).unwrap();
    append(&mut log, &mut rng, 40);
    drop(log);
    copy(&home, &dead);
    // The process died when the second archive had its name.
    let mut log = SledLog::open(&home, &options()).unwrap();
    log.roll(&snapshot(&log)).unwrap();
    drop(log);
    copy(&home.join("archives"), &dead.join("archives"));
    assert!(fs::read_dir(dead.join("archives")).unwrap().count() > 2);
    let salvage = Salvage::open(&dead).unwrap();
    assert_eq!(salvage.lost(), [""; 0]);
    assert_eq!(salvage.base().unwrap().seq, Seq(0));
    assert_eq!(salvage.newest().seq, Seq(80));
    let found = verify(exported(&salvage, &[]).as_slice(), None).unwrap();
    assert_eq!(found.head.seq, Seq(80));
}

/// Copies a directory over another.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The files of a directory.
fn bytes_of(path: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    fs::read_dir(path)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}
