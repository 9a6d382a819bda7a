//! Bytes drive a life of the machine: in a little world that follows the contract's rules, among
//! strangers, or through nonsense. Every invariant holds after every event, and a replay agrees.
#![no_main]

use infernet_state::{Event, Machine};
use libfuzzer_sys::fuzz_target;
use proptest::{
    collection::vec,
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

#[allow(dead_code, unused_imports, unreachable_pub, reason = "the tests use the rest")]
#[path = "../../state/tests/machine/common/mod.rs"]
mod common;

use common::{
    World,
    act::{act, perform, world_config},
    judge::{always, at_the_end},
    nonsense::{aimed, nonsense},
};

/// The choices of a life: the bytes, and what a generator makes of them where they end. (Zeros
/// for ever, which the runner would take instead, are no choice that it accepts.)
fn choices(bytes: &[u8]) -> Vec<u8> {
    let mut state = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut all = bytes.to_vec();
    for _ in 0..8_192 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes());
    }
    all
}

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, rest)) = bytes.split_first() else {
        return;
    };
    let rng = TestRng::from_seed(RngAlgorithm::PassThrough, &choices(rest));
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let batches = mode & 1 == 1;
    if mode & 2 == 0 {
        let Ok(acts) = vec(act(), 1..150).new_tree(&mut runner) else {
            return;
        };
        let mut world = World::new(world_config(batches));
        for act in acts.current() {
            perform(&mut world, act);
        }
        at_the_end(&mut world);
    } else {
        let Ok(events) = vec(nonsense(), 1..200).new_tree(&mut runner) else {
            return;
        };
        let mut machine = Machine::new();
        machine
            .apply(&Event::ConfigChanged(world_config(batches)))
            .expect("a beginning");
        for (event, place) in events.current() {
            let event = aimed(event, place, &machine);
            if let Err(halt) = machine.apply(&event) {
                assert_eq!(halt.code, 20, "{halt}");
                return;
            }
            always(&machine);
        }
    }
});
