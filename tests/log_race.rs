//! What happens to the log while something else is in the middle of it: at a named place of the
//! one, the other is carried out as a whole.

mod log_common;

use std::{
    cell::RefCell,
    path::Path,
    rc::Rc,
    sync::{Arc, Mutex, Once, OnceLock, mpsc},
    thread,
};

use infernet_node::{
    crash,
    log::{
        EventLog, Keeper as _, LogError, LogReader, Mirror, MirrorReader, Record, Retention,
        SledLog, Snapshot, Source as _, Stored, Upkeep, restore,
    },
};
use infernet_state::types::{Hash, PayloadAt, Seq};
use log_common::{Lcg, copy, event, options, payload, record};

/// What is to be done, where, and at which passage.
struct Interruption {
    place: &'static str,
    passages: u32,
    then: Box<dyn FnOnce()>,
}

thread_local! {
    static NEXT: RefCell<Option<Interruption>> = const { RefCell::new(None) };
}

/// Opens a log whose places are watched.
fn open(dir: &Path) -> SledLog {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| assert!(crash::watch(passed)));
    SledLog::open(dir, &options()).unwrap()
}

/// Does something at the next passage of a place by this thread.
fn at(place: &'static str, then: impl FnOnce() + 'static) {
    at_passage(place, 1, then);
}

/// Does something when this thread passes a place for the n-th time from now on.
fn at_passage(place: &'static str, passages: u32, then: impl FnOnce() + 'static) {
    NEXT.set(Some(Interruption {
        place,
        passages,
        then: Box::new(then),
    }));
}

fn passed(place: &'static str) {
    match NEXT.take() {
        Some(due) if due.place == place && due.passages == 1 => (due.then)(),
        Some(due) => NEXT.set(Some(Interruption {
            passages: due.passages - u32::from(due.place == place),
            ..due
        })),
        None => {}
    }
}

/// That it was done.
fn done() {
    assert!(
        NEXT.take().is_none(),
        "the place of the interruption was not passed"
    );
}

/// Where payloads stand, and what they are.
type Payloads = Vec<(PayloadAt, Vec<u8>)>;

/// A log of several parts, each larger than what a mirror copies at once.
struct Story {
    log: Rc<RefCell<SledLog>>,
    events: Vec<Stored>,
    payloads: &'static Payloads,
}

/// Events of a part.
const PART: u64 = 330;

impl Story {
    /// A copy of the log that is made once.
    fn begin(dir: &Path) -> Self {
        static MADE: OnceLock<(tempfile::TempDir, Payloads)> = OnceLock::new();
        let (made, payloads) = MADE.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let payloads = make(dir.path());
            (dir, payloads)
        });
        copy(made.path(), dir);
        let log = open(dir);
        assert_eq!(log.head().seq, Seq(3 * PART));
        let events = log.reader().read(Seq(1), usize::MAX).unwrap();
        Self {
            log: Rc::new(RefCell::new(log)),
            events,
            payloads,
        }
    }

    /// A mirror is a prefix of the log from `first` on, and becomes a log with every payload as
    /// it was, or erased where it may be.
    fn check_mirror(&self, mirror: &Path, first: u64, erased: impl Fn(Seq) -> bool) -> u64 {
        let look = MirrorReader::look(mirror).unwrap();
        let newest = look.newest().seq;
        let dir = tempfile::tempdir().unwrap();
        restore(&look, dir.path(), &options()).unwrap();
        let restored = open(dir.path());
        let reader = restored.reader();
        let range = usize::try_from(first - 1).unwrap()..usize::try_from(newest.0).unwrap();
        assert_eq!(
            reader.read(Seq(first), usize::MAX).unwrap(),
            self.events[range]
        );
        for (at, bytes) in self.payloads {
            if at.seq.0 < first || at.seq > newest {
                continue;
            }
            match reader.payload(*at).unwrap() {
                Some(found) => assert!(found == *bytes, "event {}", at.seq),
                None => assert!(erased(at.seq), "event {}", at.seq),
            }
        }
        newest.0
    }
}

/// Makes such a log; returns its payloads.
fn make(dir: &Path) -> Payloads {
    let mut rng = Lcg(5);
    let mut log = open(dir);
    let mut payloads = Vec::new();
    for part in 0..3 {
        for _ in 0..11 {
            let mut batch: Vec<Record> = (0..30)
                .map(|_| Record {
                    event: event(&mut rng, 30 * 1024),
                    payloads: Vec::new(),
                })
                .collect();
            // One that stands in a pack, and one inline.
            for (place, len) in [(3, 9000), (7, 900)] {
                let new = payload(&mut rng, len);
                let seq = Seq(log.head().seq.0 + place + 1);
                let payload = new.reference;
                payloads.push((PayloadAt { seq, payload }, new.bytes.clone()));
                batch[usize::try_from(place).unwrap()].payloads.push(new);
            }
            log.append(&batch).unwrap();
        }
        if part < 2 {
            log.roll(&snapshot(&log)).unwrap();
        }
    }
    payloads
}

fn snapshot(log: &SledLog) -> Snapshot {
    Snapshot {
        head: log.head(),
        digest: Hash([7; 32]),
        bytes: vec![3; 50],
    }
}

/// Everything may go.
fn drop_all() -> Retention {
    Retention {
        budget_bytes: Some(1),
        keep_events: Some(1),
        ..Retention::default()
    }
}

/// The places of a mirror that follows, between what it reads and what it keeps.
const WHILE_IT_FOLLOWS: [&str; 3] = [
    "mirror.blocks-read",
    "mirror.packs-copied",
    "mirror.blocks-synced",
];

#[test]
fn a_mirror_that_follows_while_payloads_are_erased_can_be_restored() {
    for place in WHILE_IT_FOLLOWS {
        let dir = tempfile::tempdir().unwrap();
        let story = Story::begin(&dir.path().join("home"));
        let reader = story.log.borrow().reader();
        let at_mirror = dir.path().join("mirror");
        let mut mirror = Mirror::open(&at_mirror, &reader).unwrap();
        let keeper = story.log.borrow().keeper();
        at(place, move || keeper.erase_before(Seq(u64::MAX)).unwrap());
        assert_eq!(mirror.follow(&reader).unwrap().seq, Seq(3 * PART));
        done();
        drop(mirror);
        story.check_mirror(&at_mirror, 1, |seq| seq.0 <= 2 * PART);
        // It is opened again although its packs were emptied in the log.
        Mirror::open(&at_mirror, &reader).unwrap();
    }
}

#[test]
fn a_mirror_that_follows_while_one_payload_is_erased_can_be_restored() {
    // In an archive, and in the current database.
    for behind in [PART, 2 * PART] {
        let dir = tempfile::tempdir().unwrap();
        let story = Story::begin(&dir.path().join("home"));
        let reader = story.log.borrow().reader();
        let at_mirror = dir.path().join("mirror");
        let mut mirror = Mirror::open(&at_mirror, &reader).unwrap();
        let large = |(at, bytes): &&(PayloadAt, Vec<u8>)| at.seq.0 > behind && bytes.len() > 2048;
        let (erased, _) = *story.payloads.iter().find(large).unwrap();
        let log = Rc::clone(&story.log);
        // Its block was read when it goes.
        let erase = move || assert!(log.borrow_mut().erase(erased).unwrap());
        let passages = if behind == PART { 1 } else { 3 };
        at_passage("mirror.blocks-read", passages, erase);
        assert_eq!(mirror.follow(&reader).unwrap().seq, Seq(3 * PART));
        done();
        drop(mirror);
        story.check_mirror(&at_mirror, 1, |seq| seq == erased.seq);
    }
}

#[test]
fn a_mirror_that_follows_while_parts_are_dropped_says_so_and_is_whole() {
    for place in WHILE_IT_FOLLOWS {
        let dir = tempfile::tempdir().unwrap();
        let story = Story::begin(&dir.path().join("home"));
        let reader = story.log.borrow().reader();
        let at_mirror = dir.path().join("mirror");
        let mut mirror = Mirror::open(&at_mirror, &reader).unwrap();
        let log = Rc::clone(&story.log);
        at(place, move || {
            let mut log = log.borrow_mut();
            log.retain(&drop_all(), &|| Seq(u64::MAX)).unwrap();
        });
        let result = mirror.follow(&reader);
        done();
        assert!(
            matches!(result, Err(LogError::Gone { first, .. }) if first == Seq(2 * PART + 1)),
            "{place}: {result:?}"
        );
        drop(mirror);
        let newest = story.check_mirror(&at_mirror, 1, |_| false);
        assert_eq!(newest > 0, place == "mirror.blocks-synced", "{place}");
        // Without an event it is begun anew where the log now begins.
        if newest == 0 {
            let mut mirror = Mirror::open(&at_mirror, &reader).unwrap();
            assert_eq!(mirror.follow(&reader).unwrap().seq, Seq(3 * PART));
            drop(mirror);
            story.check_mirror(&at_mirror, 2 * PART + 1, |_| false);
        }
    }
}

#[test]
fn a_mirror_begins_at_one_moment_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let story = Story::begin(&dir.path().join("home"));
    let only_oldest = Retention {
        keep_events: Some(2 * PART),
        ..drop_all()
    };
    let mut log = story.log.borrow_mut();
    log.retain(&only_oldest, &|| Seq(u64::MAX)).unwrap();
    let reader = log.reader();
    drop(log);
    assert_eq!(reader.first(), Seq(PART + 1));
    let at_mirror = dir.path().join("mirror");
    let log = Rc::clone(&story.log);
    at("mirror.began", move || {
        let mut log = log.borrow_mut();
        log.retain(&drop_all(), &|| Seq(u64::MAX)).unwrap();
    });
    let mirror = Mirror::open(&at_mirror, &reader).unwrap();
    done();
    let (base, snapshot) = (mirror.base().unwrap(), mirror.base_snapshot().unwrap());
    assert_eq!(snapshot.map(|snapshot| snapshot.head), Some(base));
    drop(mirror);
    let mut mirror = Mirror::open(&at_mirror, &reader).unwrap();
    assert_eq!(mirror.follow(&reader).unwrap().seq, Seq(3 * PART));
    drop(mirror);
    story.check_mirror(&at_mirror, 2 * PART + 1, |_| false);
}

#[test]
fn a_payload_that_is_erased_during_a_roll_is_erased_behind_it() {
    for place in ["roll.before-close", "roll.archived", "roll.closed"] {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = Lcg(8);
        let mut log = open(dir.path());
        let mut records: Vec<Record> = (0..40).map(|_| record(&mut rng, 200)).collect();
        let (large, small) = (payload(&mut rng, 5000), payload(&mut rng, 50));
        let erased = [&large, &small].map(|payload| PayloadAt {
            seq: Seq(10),
            payload: payload.reference,
        });
        records[9].payloads = vec![large, small];
        log.append(&records).unwrap();
        let events = log.reader().read(Seq(1), usize::MAX).unwrap();
        let (keeper, snapshot) = (log.keeper(), snapshot(&log));
        let log = Arc::new(Mutex::new(log));
        // It is asked for while the part is closed, and waits until that is done.
        let (tell, erasing) = mpsc::channel();
        let erased_in = Arc::clone(&log);
        at(place, move || {
            let thread = thread::spawn(move || {
                let mut log = erased_in.lock().unwrap();
                for at in erased {
                    assert!(log.erase(at).unwrap());
                }
            });
            tell.send(thread).unwrap();
        });
        let closed = keeper.close(&snapshot).unwrap().unwrap();
        done();
        erasing.recv().unwrap().join().unwrap();
        let mut log = Arc::into_inner(log).unwrap().into_inner().unwrap();
        assert!(!log.adopt(closed).unwrap(), "the part still has them");
        let closed = keeper.close(&snapshot).unwrap().unwrap();
        assert!(log.adopt(closed).unwrap());
        drop((log, keeper));
        let log = open(dir.path());
        for at in erased {
            assert_eq!(log.reader().payload(at).unwrap(), None, "{place}");
        }
        assert_eq!(log.reader().read(Seq(1), usize::MAX).unwrap(), events);
    }
}
