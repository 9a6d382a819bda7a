//! Exports from arbitrary bytes: verification ends in a finding or an error.
#![no_main]

use infernet_node::log::export::verify;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(found) = verify(bytes, None) {
        assert!(found.head.seq >= found.base.seq);
    }
});
