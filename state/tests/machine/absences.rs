//! What became due while the node was away, or its RPC was: it is read, and not worked on.

use crate::common::*;
use infernet_state::{
    Effect, Event,
    delegation::delegated_job_id,
    event::{Origin, SyncedSubscription},
    job::Stage,
    subscription::Standing,
    types::{Amount, BlockRef, Interval, Nonce, SubscriptionId, WallTime},
};

/// A subscription of ten-minute intervals.
fn recurring() -> infernet_state::event::Subscription {
    let mut terms = subscription(&["alpha"]);
    (terms.period, terms.frequency) = (600, 1_000);
    terms
}

fn callbacks(count: usize) -> Vec<Next> {
    vec![Next::Create(subscription(&["alpha"])); count]
}

fn answered_by_others(ids: std::ops::RangeInclusive<u32>) -> Vec<Next> {
    ids.map(|id| Next::Fulfil(id, OTHER)).collect()
}

/// Blocks that hold something, a period apart; the node does not hear of them.
fn periods_pass(world: &mut World, count: usize) {
    for _ in 0..count {
        world.next = vec![Next::Create(subscription(&["unheard-of"]))];
        world.grow(600, true, false);
    }
}

/// How often a consumer was asked for its inputs, which is how a free interval begins.
fn begun(world: &World) -> Vec<(u32, u32)> {
    let begins = world
        .issued
        .iter()
        .filter_map(|issued| match &issued.effect {
            Effect::ReadInputs {
                subscription,
                interval,
                ..
            } => Some((subscription.0, interval.0)),
            _ => None,
        });
    begins.collect()
}

fn interval_now(world: &World, id: u32) -> Interval {
    let tracked = world.machine.subscriptions().get(SubscriptionId(id));
    tracked.expect("tracked").interval(&world.head().block)
}

fn observed(head: BlockRef) -> Event {
    Event::AccountObserved {
        head,
        nonce: Nonce(0),
        balance: Amount::ZERO,
    }
}

fn started(at: WallTime) -> Event {
    Event::NodeStarted {
        at,
        version: "test".into(),
    }
}

/// The world, whose one subscription was served in its first interval.
fn served() -> World {
    let mut world = World::new(config());
    world.next = vec![Next::Create(recurring())];
    world.mine(1);
    world.mine(601);
    world.run(3);
    assert_eq!(world.delivered(), 1);
    world
}

#[test]
fn of_a_day_away_only_the_interval_that_runs_is_begun() {
    for restarts in [true, false] {
        let mut world = served();
        periods_pass(&mut world, 144);
        world.come_back(restarts);
        let head = world.head().block.number;
        assert_eq!(world.machine.chain().catching_up, Some(head));
        world.read(143);
        assert_eq!(begun(&world), []);
        assert_eq!(world.machine.pending().onchain, 0);
        // Only the head is asked for: not each period that begins below it.
        let asked = world.machine.next_block_deadline();
        assert_eq!((asked.time, asked.number), (None, Some(head)));
        world.read(1);
        assert_eq!(world.machine.chain().catching_up, None);
        let now = interval_now(&world, 1);
        assert_eq!(begun(&world), [(1, now.0)]);
        world.run(2);
        assert_eq!(world.delivered(), 2);
    }
}

#[test]
fn callbacks_that_others_answered_meanwhile_call_no_container() {
    for restarts in [true, false] {
        let mut world = World::new(config());
        world.mine(1);
        world.next = callbacks(500);
        world.grow(600, true, false);
        for _ in 0..3 {
            world.grow(1, true, false);
        }
        world.next = answered_by_others(1..=499);
        world.grow(600, true, false);
        world.grow(1, true, false);
        world.come_back(restarts);
        world.read(usize::MAX);
        assert_eq!(begun(&world), [(500, 1)]);
        world.run(2);
        assert_eq!(world.delivered(), 1);
        let tracked = world.machine.subscriptions().get(SubscriptionId(1));
        let standing = tracked.map(|tracked| tracked.standing);
        assert_eq!(standing, Some(Standing::Completed));
    }
}

/// What runs when the node goes away closes in its time, also where it comes back to read of it.
#[test]
fn what_was_begun_before_closes_while_the_node_catches_up() {
    let mut world = World::new(config());
    world.next = vec![Next::Create(recurring())];
    world.mine(1);
    world.mine(601);
    let stage = |world: &World| {
        let job = world
            .machine
            .jobs()
            .by_interval(SubscriptionId(1), Interval(1));
        job.map(|(_, job)| job.stage)
    };
    assert_eq!(stage(&world), Some(Stage::ReadingInputs));
    periods_pass(&mut world, 5);
    world.come_back(true);
    world.read(2);
    assert!(world.machine.chain().catching_up.is_some());
    assert!(stage(&world).is_some_and(Stage::is_end));
    assert!(world.machine.outstanding().is_empty());
}

/// The configuration is recorded before anybody looked at the chain.
#[test]
fn a_start_with_another_configuration_begins_nothing_of_the_past() {
    let mut narrow = config();
    narrow.limits.jobs_open_max = 1;
    let mut world = World::new(narrow);
    world.next = callbacks(2);
    world.mine(1);
    world.mine(1);
    assert_eq!(begun(&world), [(1, 1)], "the second has no room");
    world.next = answered_by_others(2..=2);
    world.grow(60, true, false);
    world.grow(1, true, false);
    world.start(Some(config()));
    world.read(usize::MAX);
    assert_eq!(world.machine.chain().catching_up, None);
    assert_eq!(begun(&world), [(1, 1)], "again, as it was under way");
}

/// Nothing is known of the chain before the account was read: whatever brings the head forth.
#[test]
fn nothing_is_begun_before_the_account_was_observed() {
    let mut world = world_with(config(), &subscription(&["alpha"]), 1);
    world.mine(1);
    let at = world.now();
    world.apply(started(at));
    let mut second = config();
    second.permutation_length_max = 3;
    world.apply(Event::ConfigChanged(second));
    world.mine(1);
    assert_eq!(begun(&world), []);
    // The chain stands still: what is due begins with the observation.
    let head = world.head().block;
    world.apply(observed(head));
    assert_eq!(begun(&world), [(1, 1)]);
}

/// A head that does not come: another chain behind the RPC for a moment, an untruth.
#[test]
fn a_head_that_was_never_there_is_corrected() {
    for seen in [10, u64::MAX] {
        let mut world = world_with(config(), &subscription(&["alpha"]), 1);
        world.mine(1);
        let head = BlockRef {
            number: seen,
            ..world.head().block
        };
        let at = world.now();
        world.apply(started(at));
        world.apply(observed(head));
        for _ in 0..4 {
            world.mine(1);
        }
        assert_eq!(world.machine.chain().catching_up, Some(seen));
        assert_eq!(begun(&world), []);
        // Whoever follows the chain has read all of it.
        world.rest();
        assert_eq!(world.machine.chain().catching_up, None);
        assert_eq!(begun(&world), [(1, 1)]);
    }
}

#[test]
fn a_reorg_below_the_head_that_is_waited_for_changes_nothing() {
    let mut world = World::new(config());
    world.next = callbacks(1);
    world.mine(1);
    for _ in 0..4 {
        world.next = callbacks(1);
        world.grow(30, true, false);
    }
    world.come_back(true);
    let to = world.head().block.number;
    world.read(3);
    // The fork of the chain is as long as the old one was.
    let ancestor = world.blocks[to as usize - 3].block;
    world.blocks.truncate(to as usize - 2);
    world.unheard = 0;
    world.apply(Event::ChainReorged { ancestor });
    assert_eq!(world.machine.chain().catching_up, Some(to));
    for _ in 0..3 {
        assert_eq!(begun(&world), []);
        world.next = answered_by_others(1..=1);
        world.mine(30);
    }
    assert_eq!(world.machine.chain().catching_up, None);
    assert_eq!(begun(&world), [(2, 1)]);
    // For good: a reorg takes the head below it, and the present is the present.
    world.next = callbacks(1);
    world.mine(1);
    world.reorg(2);
    assert_eq!(world.machine.chain().catching_up, None);
}

/// Finality may be the first that is heard of a block.
#[test]
fn a_final_block_is_a_head_that_was_reached() {
    let mut world = world_with(config(), &subscription(&["alpha"]), 1);
    world.mine(1);
    world.grow(1, true, false);
    world.come_back(true);
    assert_eq!(begun(&world), []);
    world.unheard = 0;
    world.finalize(0);
    assert_eq!(world.machine.chain().catching_up, None);
    assert_eq!(begun(&world), [(1, 1)]);
}

#[test]
fn a_delegated_request_that_comes_meanwhile_waits_for_the_head() {
    let mut world = World::new(config());
    world.mine(1);
    periods_pass(&mut world, 3);
    world.come_back(true);
    let mut terms = subscription(&["alpha"]);
    terms.active_at = world.head().block.time.as_contract_time() - 900;
    let at = world.now();
    world.apply(Event::DelegatedAccepted(delegated(7, terms, at)));
    let stage = |world: &World| {
        let job = world.machine.job(delegated_job_id((CONSUMER, 7)));
        job.map(|job| job.stage)
    };
    world.read(2);
    assert_eq!(stage(&world), Some(Stage::Waiting));
    world.read(1);
    assert!(matches!(stage(&world), Some(Stage::Running { .. })));
    world.run(2);
    assert_eq!(stage(&world), Some(Stage::Succeeded));
}

/// The breaker's timer passes while the node catches up.
#[test]
fn the_end_of_a_pause_begins_nothing_of_the_past() {
    let mut limited = config();
    limited.limits.breaker_losses = 1;
    limited.limits.breaker_pause_ms = 60_000;
    let mut world = World::new(limited);
    world.next = callbacks(1);
    world.mine(1);
    world.mine(1);
    world.settle();
    world.next = answered_by_others(1..=1);
    world.mine(1);
    assert!(world.machine.paused());
    world.next = callbacks(1);
    world.mine(1);
    world.mine(1);
    world.next = answered_by_others(2..=2);
    world.grow(120, true, false);
    world.grow(1, true, false);
    world.come_back(true);
    assert!(!world.machine.paused());
    assert_eq!(begun(&world), []);
    world.read(usize::MAX);
    assert_eq!(begun(&world), []);
}

/// With the chain disabled no head comes; with the chain enabled the account is read anew.
#[test]
fn a_chain_that_is_disabled_meanwhile_holds_up_nothing() {
    let mut world = served();
    periods_pass(&mut world, 3);
    world.come_back(true);
    world.read(1);
    let mut off = config();
    off.chain = None;
    let at = world.now();
    world.apply(started(at));
    world.apply(Event::ConfigChanged(off));
    assert_eq!(world.machine.next_block_deadline().number, None);
    world.apply(Event::JobAccepted(job(1, &["alpha"], at)));
    world.settle();
    world.start(Some(config()));
    world.read(usize::MAX);
    assert_eq!(world.machine.chain().catching_up, None);
    // What was refused without a chain is read again.
    let now = interval_now(&world, 1);
    let entry = SyncedSubscription {
        id: SubscriptionId(1),
        subscription: world.head().subscriptions[&1].record.clone(),
        responses: 0,
        responded: false,
        origin: Origin::Owner,
    };
    world.apply(Event::SubscriptionsSynced {
        block: world.head().block,
        subscriptions: vec![entry],
        next: SubscriptionId(2),
    });
    assert_eq!(begun(&world), [(1, now.0)]);
}
