//! The event sequences reach deep into the machine, and nothing in them breaks it.

use std::collections::BTreeMap;

use infernet_state::{Effect, Event, Machine, codec, delivery::State};
use infernet_testing::strategies::events::{Happening, Scene, event, happenings, wild_happenings};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

/// Sequences, each of [`LENGTH`] happenings.
const SEQUENCES: usize = 150;

/// Where the machine may stop: an unknown logic, a reorg below the final block.
const TRUE_INVARIANTS: [u16; 2] = [2, 20];

/// Happenings in a sequence.
const LENGTH: usize = 150;

fn kind(effect: &Effect) -> &'static str {
    match effect {
        Effect::ReadInputs { .. } => "ReadInputs",
        Effect::ReadPayer { .. } => "ReadPayer",
        Effect::ReadResponses { .. } => "ReadResponses",
        Effect::RunContainer(_) => "RunContainer",
        Effect::StopContainer { .. } => "StopContainer",
        Effect::Simulate { .. } => "Simulate",
        Effect::Sign { .. } => "Sign",
        Effect::Broadcast { .. } => "Broadcast",
        Effect::LookUpTransaction { .. } => "LookUpTransaction",
    }
}

/// What one sequence came to.
#[derive(Default)]
struct Played {
    issued: BTreeMap<&'static str, u64>,
    events: u64,
    halts: BTreeMap<u16, u64>,
    /// Where deliveries stood at the end.
    deliveries: BTreeMap<&'static str, u64>,
}

fn place(state: State) -> &'static str {
    match state {
        State::Planned | State::Simulating | State::Ready => "before its nonce",
        State::Sent(_) => "sent",
        State::Included(_) => "included",
        State::Final => "final",
        State::Parked => "parked",
        State::Abandoned(_) => "abandoned",
        State::Withdrawn(_) => "withdrawn",
    }
}

impl Played {
    /// Plays a sequence; its log, through the codec, must give the same state.
    fn play(&mut self, sequence: &[Happening]) {
        let (mut scene, mut machine, mut log) = (Scene::new(), Machine::new(), Vec::new());
        for happening in sequence {
            let Some(event) = scene.event(happening, &machine) else {
                continue;
            };
            self.events += 1;
            log.push(event.clone());
            match machine.apply(&event) {
                Ok(effects) => {
                    assert_eq!(machine.audit(), Ok(()), "after {event:?}");
                    for effect in effects {
                        *self.issued.entry(kind(&effect.effect)).or_default() += 1;
                    }
                }
                Err(halt) => {
                    *self.halts.entry(halt.code).or_default() += 1;
                    break;
                }
            }
        }
        assert_eq!(replay(&log).digest(), machine.digest());
        for (_, delivery) in machine.deliveries().iter() {
            *self.deliveries.entry(place(delivery.state)).or_default() += 1;
        }
    }
}

/// Every effect of a sane life is asked for; a replay gives the same state; what is encoded is decoded again.
#[test]
fn sequences_reach_every_effect_and_replay() {
    let mut runner = TestRunner::deterministic();
    let (mut sane, mut wild) = (Played::default(), Played::default());
    for _ in 0..SEQUENCES {
        let tree = happenings(LENGTH)
            .new_tree(&mut runner)
            .expect("there are sequences");
        sane.play(&tree.current());
        let tree = wild_happenings(LENGTH)
            .new_tree(&mut runner)
            .expect("there are sequences");
        wild.play(&tree.current());
    }
    for played in [&sane, &wild] {
        println!(
            "{} events, halts {:?}, effects {:#?}, deliveries {:?}",
            played.events, played.halts, played.issued, played.deliveries
        );
    }
    assert_eq!(
        sane.halts,
        BTreeMap::new(),
        "nothing sane stops the machine"
    );
    let others: Vec<_> = wild
        .halts
        .keys()
        .filter(|code| !TRUE_INVARIANTS.contains(code))
        .collect();
    assert_eq!(
        others,
        Vec::<&u16>::new(),
        "halts that no nonsense may bring about"
    );
    // Responses are read where facts stay away for long, which no sequence waits for.
    for kind in [
        "ReadInputs",
        "ReadPayer",
        "RunContainer",
        "StopContainer",
        "Simulate",
        "Sign",
        "Broadcast",
        "LookUpTransaction",
    ] {
        assert!(sane.issued.contains_key(kind), "{kind} was never asked for");
    }
    for place in [
        "sent",
        "included",
        "final",
        "parked",
        "abandoned",
        "withdrawn",
    ] {
        assert!(
            sane.deliveries.contains_key(place),
            "no delivery was ever {place}"
        );
    }
}

/// The state after a log went through the codec.
fn replay(log: &[Event]) -> Machine {
    let mut machine = Machine::new();
    for event in log {
        let Ok(encoded) = codec::encode(event) else {
            let _ = machine.apply(event);
            continue;
        };
        let decoded = codec::decode(encoded.kind, encoded.version, &encoded.body)
            .expect("what was encoded can be decoded");
        assert_eq!(decoded, *event);
        let _ = machine.apply(&decoded);
    }
    machine
}

/// Events that no driver would send neither panic the machine nor stop it.
#[test]
fn nonsense_does_not_panic_the_machine() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..SEQUENCES {
        let mut machine = Machine::new();
        for _ in 0..LENGTH {
            let event = event()
                .new_tree(&mut runner)
                .expect("there are events")
                .current();
            let _ = machine.check(&event);
            if let Err(halt) = machine.apply(&event) {
                assert!(TRUE_INVARIANTS.contains(&halt.code), "{halt}");
                break;
            }
            assert_eq!(machine.audit(), Ok(()), "after {event:?}");
        }
        let _ = (
            machine.outstanding(),
            machine.next_deadline(),
            machine.digest(),
        );
    }
}
