//! Reorgs across the boundary of intervals: what the old chain did in a later interval is undone,
//! and that interval is answered in the new chain.

use crate::common::*;
use infernet_state::{
    Event,
    event::{Origin, SyncedSubscription},
    job::Stage,
    types::{Interval, SubscriptionId},
};

const ID: SubscriptionId = SubscriptionId(1);

/// Deep in interval 2 of five, of 100 seconds each; the first two are answered.
fn deep_in_the_second() -> World {
    let mut world = World::new(config());
    let mut terms = subscription(&["alpha"]);
    (terms.period, terms.frequency) = (100, 5);
    world.next.push(Next::Create(terms));
    world.mine(1);
    for _ in 0..19 {
        world.mine(10);
        world.settle();
    }
    assert_eq!(world.delivered(), 1);
    world.mine(90);
    world.settle();
    world.mine(5);
    world
}

fn interval(world: &World) -> u32 {
    let tracked = world.machine.subscriptions().get(ID).expect("tracked");
    tracked.interval(&world.head().block).0
}

/// The new chain goes on into interval 3, and nobody else answers it.
fn goes_on(mut world: World) {
    assert_eq!(interval(&world), 2);
    let before = world.delivered();
    for _ in 0..8 {
        world.mine(10);
        world.settle();
    }
    assert_eq!(interval(&world), 3);
    assert_eq!(world.delivered(), before + 1);
    world.finalize(0);
    let third = world.machine.jobs().by_interval(ID, Interval(3));
    assert_eq!(third.expect("a job").1.stage, Stage::Succeeded);
    assert_eq!(world.replayed(), world.machine);
}

#[test]
fn an_interval_that_was_passed_over_in_the_old_chain_is_begun() {
    let mut world = deep_in_the_second();
    world.next.push(Next::Fulfil(1, OTHER));
    world.mine(20);
    assert_eq!(interval(&world), 3);
    let third = world.machine.jobs().by_interval(ID, Interval(3));
    assert!(third.is_none(), "others met it");
    world.reorg(1);
    goes_on(world);
}

#[test]
fn a_delivery_that_was_met_in_the_old_chain_is_sent() {
    let mut world = deep_in_the_second();
    world.mine_block(20, false);
    // Ready to be sent when others meet the interval.
    while let Some(issued) = world.issued.pop_front() {
        if matches!(issued.effect, infernet_state::Effect::Simulate { .. }) {
            world.issued.push_front(issued);
            break;
        }
        let outcome = world.answer(&issued).expect("an answer");
        world.end(&issued, outcome);
    }
    world.next.push(Next::Fulfil(1, OTHER));
    world.mine_block(1, false);
    world.settle();
    assert_eq!(interval(&world), 3);
    world.reorg(2);
    goes_on(world);
}

#[test]
fn a_delivery_that_was_met_is_sent_where_time_moved_back_before_the_first_interval() {
    let mut world = World::new(config());
    let mut terms = subscription(&["alpha"]);
    (terms.period, terms.frequency) = (100, 5);
    world.next.push(Next::Create(terms));
    world.mine(1);
    world.mine(90);
    world.settle();
    world.mine_block(10, false);
    while let Some(issued) = world.issued.pop_front() {
        if matches!(issued.effect, infernet_state::Effect::Simulate { .. }) {
            world.issued.push_front(issued);
            break;
        }
        let outcome = world.answer(&issued).expect("an answer");
        world.end(&issued, outcome);
    }
    world.next.push(Next::Fulfil(1, OTHER));
    world.mine_block(1, false);
    world.settle();
    world.reorg(2);
    for _ in 0..5 {
        world.mine(10);
        world.settle();
    }
    assert_eq!(interval(&world), 1);
    assert_eq!(world.delivered(), 1);
    assert_eq!(world.replayed(), world.machine);
}

#[test]
fn a_scan_that_begins_anew_is_not_cut_short_by_the_undo_of_an_older_one() {
    let mut world = World::new(config());
    world.apply(Event::ConfigChanged(config()));
    for (id, next) in [(1, 400), (400, 700)] {
        world.mine(1);
        let entry = SyncedSubscription {
            id: SubscriptionId(id),
            subscription: subscription(&["unheard-of"]),
            responses: 0,
            responded: false,
            origin: Origin::Owner,
        };
        world.apply(Event::SubscriptionsSynced {
            block: world.head().block,
            subscriptions: vec![entry],
            next: SubscriptionId(next),
        });
    }
    world.apply(Event::ConfigChanged(config()));
    world.reorg(1);
    assert_eq!(world.machine.sync_cursor(), Some(SubscriptionId(1)));
    assert_eq!(world.replayed(), world.machine);
}

/// Others met it before there was room for it; their block is gone, and there is room now.
#[test]
fn what_a_reorg_makes_due_is_begun_with_it() {
    let mut config = config();
    config.limits.jobs_open_max = 1;
    let mut world = world_with(config, &subscription(&["alpha"]), 2);
    world.mine(1);
    world.mine(1);
    world.settle();
    world.mine(1);
    assert_eq!(world.delivered(), 1);
    world.finalize(0);
    world.next = vec![Next::Fulfil(2, OTHER)];
    world.mine(1);
    assert!(world.issued.is_empty(), "it is met");
    world.reorg(1);
    assert_eq!(world.issued.len(), 1, "its inputs are read");
}

/// A reorg takes time back to two seconds before interval 3, whose work has begun: a block may come
/// sooner than expected, so nothing is sent before the interval runs.
#[test]
fn nothing_is_sent_before_its_interval_runs_again() {
    let mut world = deep_in_the_second();
    let tracked = world.machine.subscriptions().get(ID).expect("tracked");
    let starts = u64::from(tracked.subscription.active_at) + 200;
    let before = world.delivered();
    world.mine(starts - 2 - world.head().block.time.0);
    world.settle();
    world.mine(2);
    assert!(world.machine.jobs().by_interval(ID, Interval(3)).is_some());
    world.reorg(1);
    world.settle();
    assert!(world.pool.is_empty());
    for _ in 0..8 {
        world.mine(1);
        world.settle();
    }
    assert_eq!(world.delivered(), before + 1);
    let deliveries = world.machine.deliveries().iter();
    assert_eq!(deliveries.filter(|(_, it)| it.reverts > 0).count(), 0);
    assert_eq!(world.replayed(), world.machine);
}

/// The head came too late for interval 3, and is gone: in the chain that takes its place there is
/// time for it.
#[test]
fn an_interval_that_a_gone_head_passed_over_is_worked_on() {
    let mut world = deep_in_the_second();
    let tracked = world.machine.subscriptions().get(ID).expect("tracked");
    let starts = u64::from(tracked.subscription.active_at) + 200;
    let before = world.delivered();
    world.mine(starts + 98 - world.head().block.time.0);
    world.settle();
    let job = |world: &World| world.machine.jobs().by_interval(ID, Interval(3)).is_some();
    assert!(!job(&world));
    world.reorg(1);
    world.mine(starts + 10 - world.head().block.time.0);
    world.settle();
    assert!(job(&world));
    for _ in 0..8 {
        world.mine(1);
        world.settle();
    }
    assert_eq!(world.delivered(), before + 1);
    assert_eq!(world.replayed(), world.machine);
}
