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

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, rest)) = bytes.split_first() else {
        return;
    };
    let rng = TestRng::from_seed(RngAlgorithm::PassThrough, rest);
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
