//! Events from arbitrary bytes.
#![no_main]
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the tests use the rest"
)]
#[path = "../../state/tests/machine/common/mod.rs"]
mod common;
#[allow(dead_code, reason = "the other targets use the rest")]
#[path = "../../state/tests/machine/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = fuzzed::event_decode(bytes);
});
