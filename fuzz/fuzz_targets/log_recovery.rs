//! Recovery from arbitrary bytes.
#![no_main]
#[allow(dead_code, reason = "the other targets use the rest")]
#[path = "../../tests/log_fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|input: (Vec<u8>, Vec<u8>, bool, u16)| {
    let (blocks, pack, behind, at) = input;
    let _ = fuzzed::recovery(&blocks, &pack, behind, at);
});
