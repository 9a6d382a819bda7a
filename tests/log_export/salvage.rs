//! What is damaged is read as far as it goes, and what is lost is told.

use std::{fs, path::Path};

use infernet_node::log::{
    EventLog as _, LogReader as _, Salvage, SledLog, Source as _, export::verify, restore,
};
use infernet_state::types::Seq;

use crate::{
    append, events, exported,
    log_common::{Lcg, options},
    snapshot,
};

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
