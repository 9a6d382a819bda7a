//! A request that comes while the recorded head is old: blocks that concern nobody are not recorded.

use crate::common::*;
use infernet_state::{
    Effect, Event,
    delegation::delegated_job_id,
    effect::{ContainerInput, Purpose},
    event::{DelegatedRequest, Subscription},
    machine::{JobStatus, Refusal, Verdict},
    types::{BlockTime, Interval, SubscriptionId},
};

/// What the chain has gone on by since the recorded head.
const UNHEARD_S: u32 = 7_200;

/// Intervals of a minute; at the recorded head the second runs.
fn recurring(world: &World) -> Subscription {
    let mut terms = subscription(&["alpha"]);
    (terms.period, terms.frequency) = (60, u32::MAX);
    terms.active_at = world.head().block.time.as_contract_time() - 60;
    terms
}

/// A request that was checked at a block so much later than the recorded head.
fn checked(world: &World, terms: Subscription, later: u32) -> DelegatedRequest {
    let mut request = delegated(7, terms, world.now());
    request.seen = BlockTime(world.head().block.time.0 + u64::from(later));
    request
}

fn world() -> World {
    let mut world = World::new(config());
    world.mine(1);
    world
}

/// The interval for which a container is called, with what the request brought, and nothing else.
fn called_for(world: &World) -> Option<Interval> {
    let mut interval = None;
    for issued in &world.issued {
        match &issued.effect {
            Effect::RunContainer(call) => {
                assert!(matches!(call.input, ContainerInput::Json(_)));
                let Purpose::Interval { interval: of, .. } = call.purpose else {
                    panic!("{call:?}");
                };
                assert_eq!(interval.replace(of), None, "called once");
            }
            other => panic!("{other:?}"),
        }
    }
    interval
}

#[test]
fn a_request_is_worked_on_in_the_interval_in_which_it_came() {
    let mut world = world();
    let request = checked(&world, recurring(&world), UNHEARD_S);
    let seen = request.seen;
    world.apply(Event::DelegatedAccepted(request));
    assert_eq!(called_for(&world), None, "that block is yet to be told");
    assert_eq!(world.machine.next_block_deadline().time, Some(seen));
    // Neither a restart nor a head in between begins what is over.
    world.start(None);
    world.mine(600);
    assert_eq!(called_for(&world), None);
    world.mine_block(u64::from(UNHEARD_S) - 600, true);
    assert_eq!(called_for(&world), Some(Interval(122)));
    world.settle();
    world.mine(5);
    assert_eq!(world.delivered(), 1);
    assert_eq!(world.replayed(), world.machine);
}

/// Where the chain stands still no later block comes, and none is needed.
#[test]
fn a_head_that_is_the_chains_is_late_enough() {
    for later in [None, Some(0)] {
        let mut world = world();
        let mut request = checked(&world, recurring(&world), later.unwrap_or_default());
        if later.is_none() {
            request.seen = BlockTime(0);
        }
        world.apply(Event::DelegatedAccepted(request));
        assert_eq!(called_for(&world), Some(Interval(2)));
    }
}

/// It came for that interval, so that it is answered with what it brought; the recorded head knows
/// an earlier one.
#[test]
fn the_interval_of_a_request_is_not_that_of_the_recorded_head() {
    let mut world = world();
    let terms = recurring(&world);
    let request = checked(&world, terms.clone(), UNHEARD_S);
    world.apply(Event::DelegatedAccepted(request));
    world.next.push(Next::Delegated(terms, 7, true));
    world.mine(u64::from(UNHEARD_S));
    assert_eq!(called_for(&world), Some(Interval(122)));
    let job = world.machine.job_status(delegated_job_id((CONSUMER, 7)));
    assert_eq!(job, Some(JobStatus::Running));
    let jobs = world.machine.jobs();
    assert!(jobs.by_interval(SubscriptionId(1), Interval(122)).is_some());
}

/// What is active later begins then, and no earlier.
#[test]
fn a_request_that_is_active_after_that_block_waits_for_it() {
    let mut world = world();
    let mut terms = recurring(&world);
    terms.active_at += UNHEARD_S + 160;
    world.apply(Event::DelegatedAccepted(checked(&world, terms, UNHEARD_S)));
    world.mine(u64::from(UNHEARD_S));
    assert_eq!(called_for(&world), None);
    world.mine(100);
    assert_eq!(called_for(&world), Some(Interval(1)));
}

/// Verdicts are by the same block: a signature that is void there is refused, and what is active a
/// month behind it has room.
#[test]
fn a_request_is_judged_by_the_block_at_which_it_was_checked() {
    const MONTH_S: u32 = 31 * 24 * 3_600;
    let world = world();
    let judge = |later: u32, expiry: u32, ahead: u32| {
        let mut terms = recurring(&world);
        let recorded = terms.active_at + 60;
        terms.active_at += ahead;
        let mut request = checked(&world, terms, later);
        request.expiry = recorded.saturating_add(expiry);
        world.machine.check(&Event::DelegatedAccepted(request))
    };
    let delay = config().limits.inclusion_delay_s;
    let void = Verdict::Refused(Refusal::SignatureExpired);
    assert_eq!(judge(UNHEARD_S, UNHEARD_S + delay, 0), void);
    assert_eq!(judge(UNHEARD_S, UNHEARD_S + delay + 1, 0), Verdict::Accept);
    assert_eq!(judge(0, UNHEARD_S, 0), Verdict::Accept);
    let ahead = UNHEARD_S + 60 + MONTH_S;
    assert_eq!(judge(UNHEARD_S, u32::MAX, ahead), Verdict::Accept);
    let too_far = Verdict::Refused(Refusal::TooFarAhead);
    assert_eq!(judge(UNHEARD_S, u32::MAX, ahead + 1), too_far);
    assert_eq!(judge(0, u32::MAX, ahead), too_far);
}
