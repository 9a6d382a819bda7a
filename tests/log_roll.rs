//! Snapshots, rolling, archives and retention: the history stays the same whatever is moved, and
//! goes only where the configuration lets it.

mod log_common;

use std::{fs, path::Path};

use infernet_node::log::{
    EventLog, Keeper as _, LogError, LogReader, Mirror, Record, Retention, SledLog, Snapshot,
    Stored, Upkeep, tree_bytes,
};
use infernet_state::types::{Hash, PayloadAt, Seq};
use log_common::{Lcg, copy, event, options, payload, record};

/// A log with payloads, and what it holds.
struct Story {
    log: SledLog,
    rng: Lcg,
    payloads: Vec<(PayloadAt, Vec<u8>)>,
}

impl Story {
    fn begin(dir: &Path) -> Self {
        Self {
            log: SledLog::open(dir, &options()).unwrap(),
            rng: Lcg(21),
            payloads: Vec::new(),
        }
    }

    fn append(&mut self, events: usize) {
        let batch: Vec<Record> = (0..events)
            .map(|at| {
                let mut record = record(&mut self.rng, 500);
                if at % 7 == 0 {
                    let len = self.rng.below(5000);
                    record.payloads.push(payload(&mut self.rng, len));
                }
                record
            })
            .collect();
        let mut seq = self.log.head().seq;
        for record in &batch {
            seq = Seq(seq.0 + 1);
            self.payloads.extend(record.payloads.iter().map(|payload| {
                let at = PayloadAt {
                    seq,
                    payload: payload.reference,
                };
                (at, payload.bytes.clone())
            }));
        }
        self.log.append(&batch).unwrap();
    }

    fn snapshot(&self) -> Snapshot {
        let head = self.log.head();
        Snapshot {
            head,
            digest: Hash([7; 32]),
            bytes: format!("state after {}", head.seq).into_bytes(),
        }
    }

    fn reopen(self, dir: &Path) -> Self {
        let Self { log, rng, payloads } = self;
        drop(log);
        Self {
            log: SledLog::open(dir, &options()).unwrap(),
            rng,
            payloads,
        }
    }

    fn events(&self) -> Vec<Stored> {
        self.log.reader().read(Seq(1), usize::MAX).unwrap()
    }

    fn check_payloads(&self) {
        for (at, bytes) in &self.payloads {
            assert_eq!(
                self.log.reader().payload(*at).unwrap().as_ref(),
                Some(bytes)
            );
        }
    }
}

#[test]
fn a_rolled_log_reads_as_before_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::begin(dir.path());
    for _ in 0..3 {
        story.append(150);
        story.append(30);
        let before = story.events();
        let snapshot = story.snapshot();
        story.log.roll(&snapshot).unwrap();
        assert_eq!(story.events(), before);
        story = story.reopen(dir.path());
        assert_eq!(story.events(), before);
        assert_eq!(story.log.latest_snapshot().unwrap(), Some(snapshot));
        assert_eq!(story.log.head().seq.0, before.len() as u64);
    }
    story.append(40);
    story.check_payloads();
    // Reads that begin and end anywhere cross the archives' borders unnoticed.
    let all = story.events();
    for from in (0..all.len()).step_by(67) {
        let part = story.log.reader().read(Seq(from as u64 + 1), 120).unwrap();
        assert_eq!(part, all[from..(from + 120).min(all.len())]);
    }
    assert_eq!(fs::read_dir(dir.path().join("log")).unwrap().count(), 1);
    // An erasure reaches into an archive, and changes nothing else.
    for at in [0, 1, story.payloads.len() - 1] {
        assert!(story.log.erase(story.payloads[at].0).unwrap());
        assert_eq!(
            story.log.reader().payload(story.payloads[at].0).unwrap(),
            None
        );
    }
    story = story.reopen(dir.path());
    assert_eq!(
        story.log.reader().payload(story.payloads[1].0).unwrap(),
        None
    );
    assert_eq!(story.events(), all);
}

#[test]
fn a_crash_while_rolling_leaves_the_old_log_or_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let (home, before) = (dir.path().join("home"), dir.path().join("before"));
    let mut story = Story::begin(&home);
    story.append(100);
    story.log.roll(&story.snapshot()).unwrap();
    story.append(100);
    let expected = story.events();
    story = story.reopen(&home);
    copy(&home, &before);
    story.log.roll(&story.snapshot()).unwrap();
    story = story.reopen(&home);
    drop(story.log);
    let (old, new) = ("log/00000000000000000100", "log/00000000000000000200");
    let archive = "archives/00000000000000000101-00000000000000000200.blocks";
    // Each stage of a roll: what is there of the new, and whether the switch happened.
    let stages: [(&str, &[&str], bool); 5] = [
        ("half an archive", &[], false),
        ("the archive", &[archive], false),
        (
            "the archive and half a database",
            &[archive, "log/00000000000000000200/snapshot"],
            false,
        ),
        ("the whole new database", &[archive, new], false),
        ("switched, the old one still there", &[archive, new], true),
    ];
    for (stage, parts, switched) in stages {
        let found = dir.path().join("found");
        copy(&before, &found);
        fs::write(found.join(archive).with_extension("new"), b"half").unwrap();
        for part in parts {
            let from = home.join(part);
            if from.is_dir() {
                copy(&from, &found.join(part));
            } else {
                fs::create_dir_all(found.join(part).parent().unwrap()).unwrap();
                fs::copy(from, found.join(part)).unwrap();
            }
        }
        if switched {
            fs::copy(home.join("FORMAT"), found.join("FORMAT")).unwrap();
        }
        let mut log = SledLog::open(&found, &options()).unwrap();
        assert_eq!(
            log.reader().read(Seq(1), usize::MAX).unwrap(),
            expected,
            "{stage}"
        );
        assert_eq!(found.join(new).exists(), switched, "{stage}");
        assert_eq!(found.join(old).exists(), !switched, "{stage}");
        let snapshot = Snapshot {
            head: log.head(),
            digest: Hash::ZERO,
            bytes: vec![1],
        };
        log.roll(&snapshot).unwrap();
        assert_eq!(
            log.reader().read(Seq(1), usize::MAX).unwrap(),
            expected,
            "{stage}"
        );
        drop(log);
        fs::remove_dir_all(&found).unwrap();
    }
}

#[test]
fn a_budget_drops_only_what_may_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::begin(dir.path());
    for _ in 0..4 {
        story.append(200);
        story.log.roll(&story.snapshot()).unwrap();
    }
    story.append(10);
    let all = story.events();
    let tight = |keep_events| Retention {
        budget_bytes: Some(1),
        keep_events,
        ..Retention::default()
    };

    let space = story.log.retain(&tight(None), &|| Seq(u64::MAX)).unwrap();
    assert!(
        space
            .intake_stopped
            .is_some_and(|why| why.contains("raise the budget"))
    );
    assert_eq!(story.log.reader().first(), Seq(1), "everything is kept");

    story.log.retain(&tight(Some(450)), &|| Seq(250)).unwrap();
    assert_eq!(
        story.log.reader().first(),
        Seq(201),
        "a payload of event 250 is needed"
    );

    let space = story
        .log
        .retain(&tight(Some(450)), &|| Seq(u64::MAX))
        .unwrap();
    assert!(space.intake_stopped.is_some());
    assert_eq!(
        story.log.reader().first(),
        Seq(201),
        "450 events are kept, so 360 on"
    );

    story
        .log
        .retain(&tight(Some(210)), &|| Seq(u64::MAX))
        .unwrap();
    assert_eq!(story.log.reader().first(), Seq(601));
    let roomy = Retention {
        budget_bytes: Some(1 << 40),
        keep_events: Some(1),
        ..Retention::default()
    };
    let space = story.log.retain(&roomy, &|| Seq(u64::MAX)).unwrap();
    assert_eq!(space.intake_stopped, None);
    assert_eq!(story.log.reader().first(), Seq(601), "there is no need");

    story = story.reopen(dir.path());
    assert!(matches!(
        story.log.reader().read(Seq(1), 1),
        Err(LogError::Gone {
            seq: Seq(1),
            first: Seq(601)
        })
    ));
    assert_eq!(
        story.log.reader().read(Seq(601), usize::MAX).unwrap(),
        all[600..]
    );
    story.payloads.retain(|(at, _)| at.seq > Seq(600));
    story.check_payloads();
}

#[test]
fn a_snapshot_is_used_only_where_it_fits() {
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::begin(dir.path());
    assert_eq!(story.log.latest_snapshot().unwrap(), None);
    let mut saved = Vec::new();
    for _ in 0..3 {
        story.append(20);
        saved.push(story.snapshot());
        story.log.save_snapshot(saved.last().unwrap()).unwrap();
        assert_eq!(story.log.latest_snapshot().unwrap().as_ref(), saved.last());
    }
    let snapshots = dir.path().join("snapshots");
    assert_eq!(
        fs::read_dir(&snapshots).unwrap().count(),
        2,
        "the oldest one went"
    );
    let foreign = Snapshot {
        head: infernet_node::log::Head {
            hash: Hash([1; 32]),
            ..saved[2].head
        },
        ..saved[2].clone()
    };
    assert!(matches!(
        story.log.save_snapshot(&foreign),
        Err(LogError::Missing { .. })
    ));
    // The newest is damaged, anywhere: the one before is used.
    let newest = snapshots.join(format!("{:020}.snap", 60));
    let whole = fs::read(&newest).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&newest, &bytes).unwrap();
        let found = story.log.latest_snapshot().unwrap();
        assert!(
            found.as_ref() == Some(&saved[1]) || (5..8).contains(&at),
            "byte {at}: {found:?}"
        );
    }
    fs::write(&newest, &whole[..50]).unwrap();
    assert_eq!(
        story.log.latest_snapshot().unwrap().as_ref(),
        Some(&saved[1])
    );

    // The one that a rolled log begins with is no cache: damage is an error.
    story.log.roll(&story.snapshot()).unwrap();
    fs::write(
        dir.path().join("log/00000000000000000060/snapshot"),
        b"other",
    )
    .unwrap();
    let error = story.log.latest_snapshot().unwrap_err();
    assert!(error.to_string().starts_with("E-LOG-002"), "{error}");
}

/// Everything may go, and there is never room.
fn drop_all() -> Retention {
    Retention {
        budget_bytes: Some(1),
        keep_events: Some(1),
        ..Retention::default()
    }
}

fn packs(dir: &Path) -> usize {
    fs::read_dir(dir.join("packs")).unwrap().count()
}

#[test]
fn a_damaged_part_that_is_to_go_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::begin(dir.path());
    for _ in 0..3 {
        story.append(100);
        story.log.roll(&story.snapshot()).unwrap();
    }
    story.append(100);
    story = story.reopen(dir.path());
    assert_eq!(packs(dir.path()), 4);
    let damage = |first: u64, at: usize| {
        let name = format!("archives/{first:020}-{:020}.blocks", first + 99);
        let file = dir.path().join(name);
        let mut bytes = fs::read(&file).unwrap();
        let at = at.min(bytes.len() / 2);
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
    };
    // In the middle of the first part, and in the first block of the second.
    damage(1, usize::MAX);
    damage(101, 200);
    story.log.retain(&drop_all(), &|| Seq(101)).unwrap();
    assert_eq!(story.log.reader().first(), Seq(101));
    assert_eq!(packs(dir.path()), 4, "the second part does not say");
    story.log.retain(&drop_all(), &|| Seq(201)).unwrap();
    assert_eq!(story.log.reader().first(), Seq(201));
    assert_eq!(packs(dir.path()), 2);
    story.payloads.retain(|(at, _)| at.seq > Seq(200));
    story.check_payloads();
    story.reopen(dir.path()).check_payloads();
}

#[test]
fn a_mirror_can_be_begun_whatever_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (home, mirror) = (dir.path().join("home"), dir.path().join("mirror"));
    let mut story = Story::begin(&home);
    story.append(100);
    story.log.roll(&story.snapshot()).unwrap();
    // So much without payloads that a mirror syncs in between, where the first pack ends.
    for _ in 0..10 {
        let batch: Vec<Record> = (0..32)
            .map(|_| Record {
                event: event(&mut story.rng, 32 * 1024),
                payloads: Vec::new(),
            })
            .collect();
        story.log.append(&batch).unwrap();
    }
    story.append(100);
    story.log.retain(&drop_all(), &|| Seq(u64::MAX)).unwrap();
    assert_eq!(story.log.reader().first(), Seq(101));
    let reader = story.log.reader();
    let head = Mirror::open(&mirror, &reader).unwrap().follow(&reader);
    assert_eq!(head.unwrap(), story.log.head());
    Mirror::existing(&mirror).unwrap();

    // It goes with the events that name it.
    story.log.roll(&story.snapshot()).unwrap();
    story.append(100);
    assert_eq!(packs(&home), 3);
    story.log.retain(&drop_all(), &|| Seq(u64::MAX)).unwrap();
    assert_eq!(packs(&home), 1);
}

#[test]
fn packs_without_payloads_take_no_space() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut story = Story::begin(&home);
    for _ in 0..2 {
        story.append(400);
        story.log.roll(&story.snapshot()).unwrap();
    }
    story.append(400);
    let space = || tree_bytes(&home.join("packs")).unwrap();
    let before = space();
    let end = story.snapshot().head.seq;
    story.log.keeper().erase_before(end).unwrap();
    assert!(space() < before / 2, "{} of {before}", space());
    story.payloads.retain(|(at, _)| {
        let erased = at.seq.0 <= 800;
        if erased {
            assert_eq!(story.log.reader().payload(*at).unwrap(), None);
        }
        !erased
    });
    story.check_payloads();
    story = story.reopen(&home);
    story.check_payloads();
    let reader = story.log.reader();
    let mirror = dir.path().join("mirror");
    let head = Mirror::open(&mirror, &reader).unwrap().follow(&reader);
    assert_eq!(head.unwrap(), story.log.head());
}

#[test]
fn what_vanished_takes_no_space() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(tree_bytes(&dir.path().join("gone")).unwrap(), 0);
}
