//! Frames and blocks from arbitrary bytes: decoding ends in a value or an error, and a value is
//! exactly what its bytes say.
#![no_main]

use infernet_node::log::{
    block::{self, Block, Builder},
    frame,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((decoded, len)) = frame::decode(bytes) {
        let mut again = Vec::new();
        frame::encode(&decoded.to_event(), &mut again).expect("it was within bounds");
        assert_eq!(again, bytes[..len]);
    }
    let Ok((parsed, len)) = Block::parse(bytes) else {
        return;
    };
    assert!(len <= bytes.len());
    if parsed.check().is_err() {
        return;
    }
    let mut builder = Builder::new(parsed.head_before());
    let mut payloads = Vec::new();
    parsed.payloads(|entry| payloads.push(entry)).expect("checked");
    parsed
        .events(|seq, _, frame| {
            let index = u16::try_from(seq.0 - parsed.first.0).expect("within the count");
            let places: Vec<_> = payloads
                .iter()
                .filter(|entry| entry.index == index)
                .map(|entry| (entry.reference, Some(entry.place)))
                .collect();
            builder.push(&frame.to_event(), &places).expect("within bounds");
        })
        .expect("checked");
    assert_eq!(builder.head(), parsed.head());
    // Erased payloads are written as they are, so only blocks without them come out the same;
    // entries that were not in the order of their events come out in it.
    let ordered = payloads.is_sorted_by_key(|entry| entry.index);
    if ordered && payloads.iter().all(|entry| !entry.erased) {
        assert_eq!(builder.finish(parsed.packs, parsed.ends_commit), bytes[..len]);
    }
    for entry in payloads {
        let seq = infernet_state::types::Seq(parsed.first.0 + u64::from(entry.index));
        let erased = block::erase(&bytes[..len], seq, entry.reference)
            .expect("a block")
            .expect("it is there");
        let (again, _) = Block::parse(&erased.block).expect("still a block");
        again.check().expect("the same chain");
        assert_eq!(again.head(), parsed.head());
        assert!(again.payload(seq, entry.reference).expect("entries").expect("there").erased);
    }
});
