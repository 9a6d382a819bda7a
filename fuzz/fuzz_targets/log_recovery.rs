//! Recovery from arbitrary bytes: a block file and a pack that hold anything open to some prefix,
//! which reads back the same after another start, and goes on.
#![no_main]

use infernet_node::log::{
    EventLog, FileLog, LogReader, Record,
    sim::SimDisk,
    volume::{Volume, VolumeFile},
};
use infernet_state::{codec::EncodedEvent, types::Seq};
use libfuzzer_sys::fuzz_target;

fn event(body: &[u8]) -> Record {
    Record {
        event: EncodedEvent {
            kind: 1,
            version: 1,
            body: body.to_vec(),
        },
        payloads: Vec::new(),
    }
}

fn put(disk: &SimDisk, name: &str, at: u64, bytes: &[u8]) {
    let file = disk.open(name, true).expect("the disk works");
    file.write_at(at, bytes).expect("the disk works");
    file.sync().expect("the disk works");
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>, bool, u16)| {
    let (blocks, pack, behind, at) = input;
    let disk = SimDisk::new();
    if behind {
        // Damage to a log that was whole.
        let mut log = FileLog::open(disk.clone()).expect("an empty disk");
        for number in 0..4_u8 {
            log.append(&[event(&[number; 40]), event(&[number; 3])]).expect("the disk works");
        }
    }
    put(&disk, "blocks", u64::from(at), &blocks);
    put(&disk, "0000000001.pack", 0, &pack);
    let Ok(log) = FileLog::open(disk.clone()) else {
        return;
    };
    let head = log.head();
    let events = log.reader().read(Seq(1), 1000);
    drop(log);
    let mut log = FileLog::open(disk.clone()).expect("it opened before");
    assert_eq!(log.head(), head);
    if let (Ok(before), Ok(after)) = (events, log.reader().read(Seq(1), 1000)) {
        assert_eq!(before, after);
    }
    if head.seq.0 < u64::MAX / 2 {
        let next = log.append(&[event(b"next")]).expect("the disk works");
        assert_eq!(next.seq.0, head.seq.0 + 1);
        drop(log);
        assert_eq!(FileLog::open(disk).expect("it opened before").head(), next);
    }
});
