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
