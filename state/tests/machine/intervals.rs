//! Intervals: the contract's arithmetic, its judgement of a delivery, and what is missed.

use crate::common::{judge::at_the_end, *};
use infernet_state::{
    subscription::{Rejected, Standing, interval_at, interval_end, interval_start, judge},
    types::{Address, Interval, SubscriptionId},
};

/// `docs/spec/contracts.md` 2.3: `uint32`, unchecked.
#[test]
fn intervals_wrap_as_the_contracts_do() {
    assert_eq!(interval_at(140, 40, 179), Interval(1));
    assert_eq!(interval_at(140, 40, 180), Interval(2));
    assert_eq!(interval_at(11, 10, 10), Interval(u32::MAX / 10 + 1));
    assert_eq!(interval_at(1, 1, 0), Interval(0), "2^32 intervals");
    assert_eq!(interval_at(11, 0, 10), Interval(1), "a callback has one");
    assert_eq!(interval_start(140, 40, Interval(0)), None);
    assert_eq!(interval_end(140, 40, Interval(1)), Some(180));
    assert_eq!(interval_end(u32::MAX - 9, 10, Interval(1)), None);
    assert_eq!(interval_end(u32::MAX - 10, 10, Interval(1)), Some(u32::MAX));
}

/// `docs/spec/contracts.md` 2.4, steps 1 to 6: each from its edge on.
#[test]
fn a_delivery_is_judged_as_the_contract_does() {
    let mut terms = subscription(&["alpha"]);
    (terms.active_at, terms.period) = (140, 40);
    (terms.frequency, terms.redundancy) = (2, 3);
    for (now, interval, responses, responded, expected) in [
        (139, 1, 0, false, Err(Rejected::NotActive)),
        (140, 1, 0, false, Ok(())),
        (179, 1, 0, false, Ok(())),
        (180, 1, 0, false, Err(Rejected::IntervalMismatch)),
        (179, 2, 0, false, Err(Rejected::IntervalMismatch)),
        (219, 2, 0, false, Ok(())),
        (220, 3, 0, false, Err(Rejected::SubscriptionCompleted)),
        (140, 1, 2, false, Ok(())),
        (140, 1, 3, false, Err(Rejected::IntervalCompleted)),
        (140, 1, 3, true, Err(Rejected::IntervalCompleted)),
        (140, 1, 2, true, Err(Rejected::NodeRespondedAlready)),
    ] {
        let verdict = judge(&terms, now, Interval(interval), responses, responded);
        assert_eq!(verdict, expected, "{now}, {interval}, {responses}");
    }
    terms.owner = Address::ZERO;
    let none = judge(&terms, 140, Interval(1), 0, false);
    assert_eq!(none, Err(Rejected::NotFound));
}

/// Intervals that ran while the node could not answer are passed over, each at most once: what is
/// late for one is not too late for the next.
#[test]
fn missed_intervals_are_passed_over() {
    let mut world = World::new(config());
    let mut terms = subscription(&["alpha"]);
    (terms.period, terms.frequency) = (40, 6);
    world.next = vec![Next::Create(terms)];
    world.mine(1);
    let begun = |world: &World| -> Vec<u32> {
        let jobs = world.machine.jobs();
        let has = |interval: &u32| {
            jobs.by_interval(SubscriptionId(1), Interval(*interval))
                .is_some()
        };
        (0..8).filter(has).collect()
    };
    world.mine(40);
    assert_eq!(begun(&world), [1]);
    world.settle();
    world.mine(1);
    // Three intervals in one block; the next block comes in the last second of the fifth, too late
    // for it, and the one after in the first second of the sixth.
    world.mine(119);
    assert_eq!(begun(&world), [1, 4]);
    world.mine(79);
    assert_eq!(begun(&world), [1, 4]);
    world.mine(1);
    assert_eq!(begun(&world), [1, 4, 6]);
    world.settle();
    world.mine(1);
    world.mine(40);
    assert_eq!(begun(&world), [1, 4, 6]);
    let tracked = world
        .machine
        .subscriptions()
        .get(SubscriptionId(1))
        .expect("known");
    assert_eq!(tracked.standing, Standing::Completed);
    assert_eq!(world.machine.next_block_deadline().time, None);
    at_the_end(&mut world);
}
