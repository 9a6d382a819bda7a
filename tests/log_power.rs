//! Power cuts on a simulated disk: the production framing, packs and recovery come up with a
//! prefix that holds everything acknowledged, and with its payloads.

mod log_common;

use infernet_node::log::{
    EventLog, FileLog, LogError, LogReader, MemoryLog, Record, Stored,
    limits::INLINE_BYTES_MAX,
    sim::{Choices, SimDisk},
};
use infernet_state::types::{PayloadAt, Seq};
use log_common::{Lcg, payload, record};

/// Different workloads.
const WORKLOADS: u64 = 100;

/// Power cuts in each; every cut makes two disk images that are examined.
const CUTS: u64 = 20;

fn batches(seed: u64) -> Vec<Vec<Record>> {
    let mut rng = Lcg(seed);
    let count = 2 + rng.below(6);
    (0..count)
        .map(|_| {
            (0..1 + rng.below(60))
                .map(|_| {
                    let mut record = record(&mut rng, 600);
                    if rng.below(12) == 0 {
                        let len = rng.below(3 * INLINE_BYTES_MAX);
                        record.payloads.push(payload(&mut rng, len));
                    }
                    record
                })
                .collect()
        })
        .collect()
}

/// Appends until the power goes; returns the last acknowledged position.
fn work(disk: &SimDisk, batches: &[Vec<Record>]) -> Result<Seq, Seq> {
    let mut acknowledged = Seq(0);
    let Ok(mut log) = FileLog::open(disk.clone()) else {
        return Err(acknowledged);
    };
    for batch in batches {
        match log.append(batch) {
            Ok(head) => acknowledged = head.seq,
            Err(_) => return Err(acknowledged),
        }
    }
    Ok(acknowledged)
}

/// What a whole log of some batches holds, and where its commits end.
struct Expected {
    events: Vec<Stored>,
    payloads: Vec<(PayloadAt, Vec<u8>)>,
    commits: Vec<Seq>,
}

impl Expected {
    fn of(batches: &[Vec<Record>]) -> Self {
        let mut memory = MemoryLog::new();
        let mut commits = vec![Seq(0)];
        let mut payloads = Vec::new();
        for batch in batches {
            let mut seq = memory.head().seq;
            for record in batch {
                seq = Seq(seq.0 + 1);
                payloads.extend(record.payloads.iter().map(|payload| {
                    let at = PayloadAt {
                        seq,
                        payload: payload.reference,
                    };
                    (at, payload.bytes.clone())
                }));
            }
            commits.push(memory.append(batch).unwrap().seq);
        }
        let events = memory.reader().read(Seq(1), usize::MAX).unwrap();
        Self {
            events,
            payloads,
            commits,
        }
    }

    /// Holds what a disk gives back against it.
    fn examine(&self, disk: &SimDisk, acknowledged: Seq, what: &str) {
        let log = FileLog::open(disk.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let reader = log.reader();
        let head = reader.head().seq;
        assert!(head >= acknowledged, "{what}: {head} of {acknowledged}");
        assert!(
            self.commits.contains(&head),
            "{what}: a commit is whole or not there"
        );
        let events = reader.read(Seq(1), usize::MAX).unwrap();
        assert_eq!(
            events,
            self.events[..usize::try_from(head.0).unwrap()],
            "{what}"
        );
        for (at, bytes) in self.payloads.iter().take_while(|(at, _)| at.seq <= head) {
            assert_eq!(reader.payload(*at).unwrap().as_ref(), Some(bytes), "{what}");
        }
    }
}

#[test]
fn every_power_cut_leaves_what_was_acknowledged() {
    let mut cut_in_recovery = 0;
    for workload in 0..WORKLOADS {
        let batches = batches(workload);
        let expected = Expected::of(&batches);
        let dry = SimDisk::new();
        work(&dry, &batches).unwrap();
        for cut in 0..CUTS {
            let seed = workload * CUTS + cut;
            let mut choices = Choices::new(seed);
            let disk = SimDisk::new();
            let cut = 1 + choices.below(dry.operations() + 5);
            disk.cut_at(cut, choices.clone());
            let (Ok(acknowledged) | Err(acknowledged)) = work(&disk, &batches);
            let found = disk.after_power_cut(&mut choices);
            // And once more, while it recovers.
            let again = found.after_power_cut(&mut choices);
            again.cut_at(1 + choices.below(8), choices.clone());
            cut_in_recovery += u64::from(FileLog::open(again.clone()).is_err());
            let again = again.after_power_cut(&mut choices);
            expected.examine(&found, acknowledged, &format!("seed {seed}, cut at {cut}"));
            expected.examine(&again, acknowledged, &format!("seed {seed}, cut twice"));
        }
    }
    let images = WORKLOADS * CUTS;
    assert!(
        cut_in_recovery > images / 4,
        "only {cut_in_recovery} cuts hit the recovery"
    );
}

#[test]
fn a_log_goes_on_after_a_power_cut() {
    for seed in 0..50 {
        let mut choices = Choices::new(seed);
        let batches = batches(seed);
        let disk = SimDisk::new();
        work(&disk, &batches[..1]).unwrap();
        let more = disk.operations() + 1 + choices.below(6);
        disk.cut_at(more, choices.clone());
        let (Ok(acknowledged) | Err(acknowledged)) = {
            let mut log = FileLog::open(disk.clone());
            match &mut log {
                Ok(log) => log
                    .append(&batches[1])
                    .map(|head| head.seq)
                    .map_err(|_| Seq(0)),
                Err(_) => Err(Seq(0)),
            }
        };
        let disk = disk.after_power_cut(&mut choices);
        let mut log = FileLog::open(disk.clone()).unwrap();
        assert!(log.head().seq >= acknowledged);
        let before = log.head().seq;
        let after = log.append(&batches[0]).unwrap();
        assert_eq!(after.seq.0, before.0 + batches[0].len() as u64);
        drop(log);
        let disk = disk.after_power_cut(&mut choices);
        assert_eq!(FileLog::open(disk).unwrap().head(), after);
    }
}

#[test]
fn bit_rot_is_never_served() {
    let batches = batches(3);
    let disk = SimDisk::new();
    let head = work(&disk, &batches).unwrap();
    let mut memory = MemoryLog::new();
    for batch in &batches {
        memory.append(batch).unwrap();
    }
    let expected = memory.reader().read(Seq(1), usize::MAX).unwrap();
    let mut choices = Choices::new(11);
    let mut refused = 0;
    for _ in 0..400 {
        let reader = FileLog::open(disk.clone()).unwrap().reader();
        assert_eq!(reader.head().seq, head);
        let bit = usize::try_from(choices.below(8 * 100_000)).unwrap();
        disk.flip("blocks", bit);
        match reader.read(Seq(1), usize::MAX) {
            Ok(events) => assert_eq!(events, expected),
            Err(LogError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        disk.flip("blocks", bit);
    }
    assert!(refused > 0);
}
