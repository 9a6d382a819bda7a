//! Bytes drive a life of the machine: in a little world that follows the contract's rules, among
//! strangers, or through nonsense. Every invariant holds after every event, and a replay agrees.
#![no_main]

use infernet_state::{Event, Machine};
use libfuzzer_sys::fuzz_target;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the tests use the rest"
)]
#[path = "../../state/tests/machine/common/mod.rs"]
mod common;

use common::{
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

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, rest)) = bytes.split_first() else {
        return;
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
                return;
            }
            always(&machine);
        }
    }
});
