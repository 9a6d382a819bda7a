//! The mirror: it follows, restores everything, and never takes damage for the end.

use std::{fs, path::Path};

use infernet_node::log::{
    EventLog as _, LogError, LogReader as _, Mirror, MirrorReader, SledLog, Source as _,
    Upkeep as _, restore,
};
use infernet_state::types::Seq;

use crate::{
    append, checkpoint, events,
    log_common::{Lcg, options, record},
    snapshot,
};

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
    log.retain(&tight, &|| Seq(u64::MAX)).unwrap();
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
    log.retain(&tight, &|| Seq(u64::MAX)).unwrap();
    assert_eq!(log.reader().first(), Seq(161));
    let mirror = Mirror::open(&dir.path().join("mirror"), &log.reader()).unwrap();
    let result = mirror.agrees(&log.reader());
    assert!(
        matches!(result, Err(LogError::Gone { seq: Seq(121), .. })),
        "{result:?}"
    );
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
