//! What the fuzz targets of the machine do with bytes, and what must hold of any. Each says whether
//! the bytes were taken.

use infernet_state::{
    Event, Machine,
    codec::{self, EVENT_BYTES_MAX},
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::common::{
    World,
    act::{act, perform, world_config},
    judge::{always, at_the_end},
    nonsense::{aimed, nonsense},
};

/// Bytes that choose one step of a life.
const STEP_BYTES: usize = 4;

/// The most steps of a life.
const STEPS_MAX: usize = 200;

/// A life, a step for every few bytes: what the fuzzer changes in them changes that step alone.
/// (Its bytes cannot be the choices themselves: each fork of such a generator halves them, and
/// zeros, which come when there are none left, are no choice that it accepts.)
fn steps<S: Strategy>(bytes: &[u8], strategy: &S) -> Vec<S::Value> {
    bytes
        .chunks(STEP_BYTES)
        .take(STEPS_MAX)
        .filter_map(|chunk| {
            let mut seed = [0; 32];
            seed[..chunk.len()].copy_from_slice(chunk);
            let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
            let mut runner = TestRunner::new_with_rng(Config::default(), rng);
            Some(strategy.new_tree(&mut runner).ok()?.current())
        })
        .collect()
}

/// Events: decoding ends in an event or an error, and an event that was decoded is encoded and
/// decoded to itself, in its newest encoding.
pub(crate) fn event_decode(bytes: &[u8]) -> bool {
    let [kind, version, body @ ..] = bytes else {
        return false;
    };
    let Ok(event) = codec::decode(u16::from(*kind), *version, body) else {
        return false;
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
    true
}

/// A life of the machine: in a little world that follows the contract's rules, among strangers, or
/// through nonsense. Every invariant holds after every event, and a replay agrees.
pub(crate) fn event_sequence(bytes: &[u8]) -> bool {
    let Some((mode, rest)) = bytes.split_first() else {
        return false;
    };
    let batches = mode & 1 == 1;
    if mode & 2 == 0 {
        let mut world = World::new(world_config(batches));
        for act in steps(rest, &act()) {
            perform(&mut world, act);
        }
        at_the_end(&mut world);
    } else {
        let mut machine = Machine::new();
        machine
            .apply(&Event::ConfigChanged(world_config(batches)))
            .expect("a beginning");
        for (event, place) in steps(rest, &nonsense()) {
            let event = aimed(event, place, &machine);
            if let Err(halt) = machine.apply(&event) {
                assert_eq!(halt.code, 20, "{halt}");
                return true;
            }
            always(&machine);
        }
    }
    true
}
