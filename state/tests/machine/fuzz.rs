//! The fuzz targets without a fuzzer: what they do, with a few inputs, so that they cannot break
//! unseen.

use crate::{
    common::{golden, samples::samples},
    fuzzed::{event_decode, event_sequence},
};
use infernet_state::codec;

/// Numbers that look random (Knuth's MMIX).
fn noise(seed: u64) -> impl FnMut() -> u8 {
    let mut state = seed;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    }
}

#[test]
fn event_decode_holds() {
    let mut next = noise(1);
    for event in samples() {
        let encoded = codec::encode(&event).expect("small");
        let kind = u8::try_from(encoded.kind).expect("few kinds");
        let mut bytes = vec![kind, encoded.version];
        bytes.extend(encoded.body);
        assert!(event_decode(&bytes));
        for _ in 0..20 {
            let mut other = bytes.clone();
            let place = (usize::from(next()) << 8 | usize::from(next())) % other.len();
            other[place] = next();
            event_decode(&other);
            event_decode(&other[..place]);
        }
    }
    assert!(!event_decode(&[]) && !event_decode(&[255; 9]));
}

#[test]
fn event_sequence_holds() {
    for mode in 0..4_u8 {
        for seed in 0..3 {
            let mut next = noise(u64::from(mode) << 8 | seed);
            let mut bytes = vec![mode];
            bytes.extend(std::iter::repeat_with(&mut next).take(400));
            assert!(event_sequence(&bytes));
        }
    }
    assert!(!event_sequence(&[]));
}

/// The targets are what is tested here and in the tests of the log, and nothing else.
#[test]
fn every_target_calls_one_of_these() {
    let fuzz = golden::place("../../../fuzz");
    if !fuzz.exists() {
        return; // The package alone.
    }
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("a manifest");
    let mut targets = 0;
    for file in std::fs::read_dir(fuzz.join("fuzz_targets")).expect("a folder") {
        let path = file.expect("a file").path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.expect("a plain name");
        let (room, body) = name.split_once('_').expect("room_body");
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.contains(&format!("fuzzed::{body}(")), "{name}");
        assert!(text.lines().count() <= 20, "{name} does something itself");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let bodies = match room {
            "state" => "../state/tests/machine/fuzzed/mod.rs",
            "log" => "../tests/log_fuzzed/mod.rs",
            other => panic!("{other}"),
        };
        let bodies = std::fs::read_to_string(fuzz.join(bodies)).expect("readable");
        assert!(bodies.contains(&format!("fn {body}(")), "{name}");
        targets += 1;
    }
    assert_eq!(targets, manifest.matches("[[bin]]").count());
}
