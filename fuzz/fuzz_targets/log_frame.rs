//! Frames and blocks from arbitrary bytes.
#![no_main]
#[allow(dead_code, reason = "the other targets use the rest")]
#[path = "../../tests/log_fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = fuzzed::frame(bytes);
});
