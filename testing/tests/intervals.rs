//! The machine's interval arithmetic is the model's, which is the contract's.

use infernet_state::{
    subscription::{interval_at, interval_end, interval_start},
    types::{Hash, Interval},
};
use infernet_testing::{
    model::{Reference, Rules, container_id},
    strategies::values::{containers, edge_u32},
};
use proptest::prelude::*;

fn period() -> impl Strategy<Value = u32> {
    prop_oneof![edge_u32(), 1_u32..1_000]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Also where the activation lies ahead and the subtraction wraps.
    #[test]
    fn the_interval_that_runs(
        now in edge_u32(),
        active_at in edge_u32(),
        period in period(),
        step in -2_i32..3,
    ) {
        for now in [now, active_at.wrapping_add_signed(step), active_at.wrapping_add(period)] {
            let expected = Reference.interval(now, active_at, period);
            prop_assert_eq!(interval_at(active_at, period, now), Interval(expected));
        }
    }

    /// An interval begins where the contract begins to count it, and ends where it counts the next.
    #[test]
    fn where_an_interval_begins_and_ends(
        active_at in edge_u32(),
        period in period(),
        interval in prop_oneof![1_u32..50, edge_u32().prop_map(|interval| interval.max(1))],
    ) {
        let at = |second: u32| Reference.interval(second, active_at, period);
        if let Some(start) = interval_start(active_at, period, Interval(interval)) {
            prop_assert!(Reference.is_active(start, active_at));
            prop_assert_eq!(at(start), if period == 0 { 1 } else { interval });
            if start > active_at {
                prop_assert_eq!(at(start - 1), interval - 1);
            }
        }
        if let Some(end) = interval_end(active_at, period, Interval(interval)) {
            prop_assert_eq!(at(end - 1), interval);
            prop_assert_eq!(at(end), interval + 1);
        }
    }

    /// The hash by which a subscription names its containers.
    #[test]
    fn the_hash_of_containers(names in prop_oneof![containers(), "[a-z,]{0,80}"]) {
        let ids: Vec<&str> = names.split(',').collect();
        prop_assert_eq!(
            infernet_state::admission::container_hash(&ids),
            Hash(container_id(&names).0)
        );
    }
}
