//! Events that no world would bring, in any order: nothing breaks.

use crate::common::{
    act::*,
    judge::always,
    nonsense::{aimed, nonsense},
};
use infernet_state::{Event, Machine};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(1000))]

    /// No event in any order panics the machine, unbalances the books or breaks an invariant;
    /// it may halt, and then says why.
    #[test]
    fn nonsense_breaks_nothing(events in prop::collection::vec(nonsense(), 1..150)) {
        let mut machine = Machine::new();
        machine.apply(&Event::ConfigChanged(world_config(false))).expect("a beginning");
        for (event, place) in events {
            let event = aimed(event, place, &machine);
            let encoded = infernet_state::codec::encode(&event).expect("encodes");
            let decoded = infernet_state::codec::decode(encoded.kind, encoded.version, &encoded.body);
            prop_assert_eq!(decoded.as_ref(), Ok(&event));
            if let Err(halt) = machine.apply(&event) {
                prop_assert_eq!(halt.code, 20, "{}", halt);
                return Ok(());
            }
            always(&machine);
        }
        let bytes = machine.snapshot().expect("encodes");
        prop_assert_eq!(&Machine::restore(&bytes).expect("restores"), &machine);
    }
}

/// A length in a snapshot that claims more than there is makes nobody allocate it.
#[test]
fn a_snapshot_with_absurd_lengths_is_no_snapshot() {
    let mut machine = Machine::new();
    machine
        .apply(&Event::ConfigChanged(world_config(true)))
        .expect("a beginning");
    let bytes = machine.snapshot().expect("encodes");
    assert_eq!(Machine::restore(&bytes).as_ref(), Ok(&machine));
    for length in [1_u64 << 32, 1 << 45, 1 << 63, u64::MAX] {
        for at in 0..bytes.len() {
            // As bincode writes a number of 64 bits.
            let mut hostile = bytes[..at].to_vec();
            hostile.push(253);
            hostile.extend(length.to_le_bytes());
            hostile.extend(&bytes[at + 1..]);
            let restored = Machine::restore(&hostile);
            assert_ne!(restored.as_ref(), Ok(&machine), "{length} at {at}");
        }
    }
}
