//! Random lives of a node in the little world: reorgs, lost and late outcomes, crashes, other
//! nodes, bumps, proofs.

use crate::common::{act::*, judge::at_the_end, *};
use infernet_state::{
    subscription::Standing,
    types::{Interval, SubscriptionId},
};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_random_life_keeps_its_promises(
        acts in prop::collection::vec(act(), 1..120),
        batches in any::<bool>(),
    ) {
        let mut world = World::new(world_config(batches));
        for act in acts {
            perform(&mut world, act);
        }
        at_the_end(&mut world);
    }
}

/// The same with absences, of the node or of its RPC.
fn act_or_absence() -> impl Strategy<Value = Act> {
    let away =
        (1..8_usize, 1..90_u64, any::<bool>()).prop_map(|(blocks, after, restarts)| Act::Away {
            blocks,
            after,
            restarts,
        });
    prop_oneof![20 => act(), 1 => away]
}

proptest! {
    #![proptest_config(cases(300))]

    /// What the node missed it reads, and begins nothing of it; what runs when it is back it begins.
    #[test]
    fn nothing_of_an_absence_is_begun_and_nothing_after_it_is_forgotten(
        acts in prop::collection::vec(act_or_absence(), 1..120),
        batches in any::<bool>(),
    ) {
        let mut world = World::new(world_config(batches));
        for act in acts {
            perform(&mut world, act);
        }
        at_the_end(&mut world);
    }
}

/// The same with weeks in which results are forgotten; without requests that wait longer than the
/// end of a life does.
fn act_or_week() -> impl Strategy<Value = Act> {
    let kept = act().prop_filter("waits for weeks", |act| {
        !matches!(act, Act::Delegate { .. })
    });
    prop_oneof![25 => kept, 1 => Just(Act::Week)]
}

proptest! {
    #![proptest_config(cases(400))]

    /// What has ended is not forgotten while a block may still hold what was signed for it.
    #[test]
    fn weeks_pass_and_nothing_is_answered_twice(
        acts in prop::collection::vec(act_or_week(), 1..120),
        batches in any::<bool>(),
    ) {
        let mut world = World::new(world_config(batches));
        for act in acts {
            perform(&mut world, act);
        }
        at_the_end(&mut world);
    }
}

proptest! {
    #![proptest_config(cases(400))]

    /// Where chain and containers answer, every callback that is served gets its response,
    /// whatever reorgs, crashes and other nodes do in between.
    #[test]
    fn every_callback_is_answered_in_a_kind_world(
        acts in prop::collection::vec(act(), 1..150),
        batches in any::<bool>(),
    ) {
        let mut world = World::new(world_config(batches));
        for act in acts.into_iter().filter(is_kind) {
            perform(&mut world, act);
        }
        at_the_end(&mut world);
        for (id, chain) in &world.head().subscriptions {
            let served = chain.record.period == 0
                && world.machine.subscriptions().get(SubscriptionId(*id)).is_some_and(|tracked| {
                    tracked.standing == Standing::Completed
                });
            let once_only = chain.record.container_id == terms(2, 1).container_id;
            let count = chain.counts.get(&1).copied().unwrap_or(0);
            let answered = count == chain.record.redundancy || chain.ours.contains_key(&1);
            let outrun = world.machine.deliveries().iter().any(|(_, delivery)| {
                delivery.identity.id.0 == *id && delivery.reverts > 0
            });
            prop_assert!(
                !served || once_only || answered || outrun,
                "subscription {} of {:?}: {:?}",
                id, chain.record, world.machine.jobs().by_interval(SubscriptionId(*id), Interval(1))
            );
        }
    }
}
