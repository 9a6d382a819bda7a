//! What the fuzz targets of the log do with bytes, and what must hold of any. Each says whether the
//! bytes were taken.

use infernet_node::log::{
    EventLog, FileLog, LogReader, Record,
    block::{self, Block, Builder},
    export::verify,
    frame,
    sim::SimDisk,
    volume::{Volume, VolumeFile},
};
use infernet_state::{codec::EncodedEvent, types::Seq};

/// Exports: verification ends in a finding or an error.
pub(crate) fn export(bytes: &[u8]) -> bool {
    let found = verify(bytes, None);
    if let Ok(found) = &found {
        assert!(found.head.seq >= found.base.seq);
    }
    found.is_ok()
}

/// Frames and blocks: decoding ends in a value or an error, and a value is exactly what its bytes
/// say.
pub(crate) fn frame(bytes: &[u8]) -> bool {
    let mut decoded = false;
    if let Ok((event, len)) = frame::decode(bytes) {
        let mut again = Vec::new();
        frame::encode(&event.to_event(), &mut again).expect("it was within bounds");
        assert_eq!(again, bytes[..len]);
        decoded = true;
    }
    let Ok((parsed, len)) = Block::parse(bytes) else {
        return decoded;
    };
    assert!(len <= bytes.len());
    if parsed.check().is_err() {
        return decoded;
    }
    let mut builder = Builder::new(parsed.head_before(), bytes.len());
    let mut payloads = Vec::new();
    parsed
        .payloads(|entry| payloads.push(entry))
        .expect("checked");
    parsed
        .events(|seq, _, frame| {
            let index = u16::try_from(seq.0 - parsed.first.0).expect("within the count");
            let places: Vec<_> = payloads
                .iter()
                .filter(|entry| entry.index == index)
                .map(|entry| (entry.reference, Some(entry.place)))
                .collect();
            builder
                .push(&frame.to_event(), &places)
                .expect("within bounds");
        })
        .expect("checked");
    assert_eq!(builder.head(), parsed.head());
    // Erased payloads are written as they are, so only blocks without them come out the same;
    // entries that were not in the order of their events come out in it.
    let ordered = payloads.is_sorted_by_key(|entry| entry.index);
    if ordered && payloads.iter().all(|entry| !entry.erased) {
        assert_eq!(
            builder.finish(parsed.packs, parsed.ends_commit),
            bytes[..len]
        );
    }
    for entry in payloads {
        let seq = infernet_state::types::Seq(parsed.first.0 + u64::from(entry.index));
        let erased = block::erase(&bytes[..len], seq, entry.reference)
            .expect("a block")
            .expect("it is there");
        let (again, _) = Block::parse(&erased.block).expect("still a block");
        again.check().expect("the same chain");
        assert_eq!(again.head(), parsed.head());
        assert!(
            again
                .payload(seq, entry.reference)
                .expect("entries")
                .expect("there")
                .erased
        );
    }
    true
}

/// Recovery: a block file and a pack that hold anything, `behind` a log that was whole or not,
/// open to some prefix, which reads back the same after another start, and goes on.
pub(crate) fn recovery(blocks: &[u8], pack: &[u8], behind: bool, at: u16) -> bool {
    let disk = SimDisk::new();
    if behind {
        // Damage to a log that was whole.
        let mut log = FileLog::open(disk.clone()).expect("an empty disk");
        for number in 0..4_u8 {
            log.append(&[event(&[number; 40]), event(&[number; 3])])
                .expect("the disk works");
        }
    }
    put(&disk, "blocks", u64::from(at), blocks);
    put(&disk, "0000000001.pack", 0, pack);
    let Ok(log) = FileLog::open(disk.clone()) else {
        return false;
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
    true
}

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
