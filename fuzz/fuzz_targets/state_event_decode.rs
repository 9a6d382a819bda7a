//! Events from arbitrary bytes: decoding ends in an event or an error, and an event that was
//! decoded is encoded and decoded to itself, in its newest encoding.
#![no_main]

use infernet_state::codec::{self, EVENT_BYTES_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [kind, version, body @ ..] = bytes else {
        return;
    };
    let Ok(event) = codec::decode(u16::from(*kind), *version, body) else {
        return;
    };
    assert_eq!(codec::kind_of(&event), u16::from(*kind));
    match codec::encode(&event) {
        Ok(again) => {
            assert!(again.body.len() <= EVENT_BYTES_MAX);
            let decoded = codec::decode(again.kind, again.version, &again.body);
            assert_eq!(decoded.as_ref(), Ok(&event));
            let twice = codec::encode(&event);
            assert_eq!(twice.as_ref(), Ok(&again));
        }
        // Only an older, shorter encoding can have held what no longer fits.
        Err(_) => assert!(body.len() > EVENT_BYTES_MAX / 2),
    }
});
