//! Delegated subscriptions beyond the plain life: what is late, what fails, what is brought twice.

use crate::common::*;
use infernet_state::{
    Effect, Event,
    config::{ClientId, Limits},
    delegation::{Delegations, delegated_job_id},
    delivery::{Loss, State},
    event::{Failure, Outcome, Subscription},
    machine::{JobStatus, Refusal, Verdict},
    types::{Interval, JobNo, SubscriptionId},
};

/// Three intervals of 100 seconds, the first of which begins `ahead` of the head.
fn recurring(world: &World, ahead: u32) -> Subscription {
    let mut terms = subscription(&["alpha"]);
    terms.period = 100;
    terms.frequency = 3;
    terms.active_at = world.head().block.time.as_contract_time() + ahead;
    terms
}

fn pass(world: &mut World, seconds: u64) {
    for _ in 0..seconds / 10 {
        world.settle();
        world.mine(10);
    }
    world.settle();
}

#[test]
fn one_that_comes_at_the_end_of_an_interval_is_created_in_the_next() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = recurring(&world, 0);
    world.mine(98);
    let at = world.now();
    world.apply(Event::DelegatedAccepted(delegated(7, terms, at)));
    let id = delegated_job_id((CONSUMER, 7));
    assert_eq!(world.machine.job_status(id), Some(JobStatus::Running));
    pass(&mut world, 300);
    world.finalize(0);
    assert_eq!(world.delivered(), 2);
    assert!(matches!(
        world.machine.job_status(id),
        Some(JobStatus::Success { .. })
    ));
    assert_eq!(world.replayed(), world.machine);
}

#[test]
fn one_whose_container_failed_is_attempted_in_its_next_interval() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = recurring(&world, 0);
    let at = world.now();
    world.apply(Event::DelegatedAccepted(delegated(7, terms, at)));
    let id = delegated_job_id((CONSUMER, 7));
    let call = world.issued.pop_front().expect("a call");
    let error = payload("error", 1);
    let failed = Failure::Container {
        error,
        retry: false,
    };
    world.end(&call, Outcome::Failed(failed.clone()));
    assert_eq!(world.machine.job_status(id), Some(JobStatus::Running));
    pass(&mut world, 90);
    assert!(world.issued.is_empty(), "not in this interval");
    world.mine(10);
    let again = world.issued.pop_front().expect("a call in the next");
    assert!(matches!(again.effect, Effect::RunContainer(_)));
    world.end(&again, Outcome::Failed(failed.clone()));
    pass(&mut world, 90);
    // The last interval fails too: that is the end of it.
    world.mine(10);
    let last = world.issued.pop_front().expect("a call in the last");
    world.end(&last, Outcome::Failed(failed));
    assert!(matches!(
        world.machine.job_status(id),
        Some(JobStatus::Failed { .. })
    ));
    assert!(world.machine.job_by_no(JobNo(3)).is_some());
    assert!(world.machine.job_by_no(JobNo(4)).is_none());
    assert_eq!(world.replayed(), world.machine);
    // All are forgotten in their time, and the request with the last.
    let far = Limits::default().result_age_max_ms + 1;
    world.wait(far);
    assert_eq!(world.machine.job_status(id), None);
    assert_eq!(*world.machine.delegations(), Delegations::default());
}

#[test]
fn one_whose_signature_is_void_by_then_is_not_attempted_again() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = recurring(&world, 0);
    world.mine(98);
    let mut request = delegated(7, terms.clone(), world.now());
    request.expiry = terms.active_at + 100;
    let at = world.now();
    assert_eq!(request.at, at);
    world.apply(Event::DelegatedAccepted(request));
    // Refused at the door, or failed at once: never waiting for nothing.
    assert_ne!(
        world.machine.job_status(delegated_job_id((CONSUMER, 7))),
        Some(JobStatus::Running)
    );
}

#[test]
fn two_with_the_same_record_get_an_id_each() {
    for (first, known) in [(1, true), (2, true), (1, false)] {
        let mut world = World::new(config());
        world.mine(1);
        let terms = recurring(&world, 50);
        for nonce in [1, 2] {
            let at = world.now();
            world.apply(Event::DelegatedAccepted(delegated(
                nonce,
                terms.clone(),
                at,
            )));
        }
        let id_of = |world: &World, nonce| {
            let all = world.machine.delegations();
            all.get((CONSUMER, nonce)).expect("kept").id
        };
        // Somebody else creates them, one after the other.
        for (id, nonce) in [(1, first), (2, 3 - first)] {
            world
                .next
                .push(Next::Delegated(terms.clone(), nonce, known));
            world.mine(1);
            assert_eq!(id_of(&world, nonce), Some(SubscriptionId(id)), "{known}");
        }
        world.reorg(1);
        assert_eq!(id_of(&world, first), Some(SubscriptionId(1)));
        assert_eq!(id_of(&world, 3 - first), None);
        world.reorg(1);
        assert_eq!(id_of(&world, first), None);
        assert_eq!(world.replayed(), world.machine);
    }
}

#[test]
fn an_id_that_was_known_and_went_with_its_block_is_no_strangers() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = recurring(&world, 50);
    world.next.push(Next::Delegated(terms.clone(), 7, true));
    world.mine(1);
    let mut request = delegated(7, terms.clone(), world.now());
    request.known_id = SubscriptionId(1);
    world.apply(Event::DelegatedAccepted(request));
    // The creation is gone, and a stranger has the id.
    world.reorg(1);
    world.next.push(Next::Create(subscription(&["alpha"])));
    world.mine(1);
    // Somebody creates it again.
    world.next.push(Next::Delegated(terms, 7, true));
    world.mine(1);
    let all = world.machine.delegations();
    let again = all.get((CONSUMER, 7)).expect("kept").id;
    assert_eq!(again, Some(SubscriptionId(2)));
    pass(&mut world, 400);
    world.finalize(0);
    assert_eq!(
        world.delivered(),
        1 + 3,
        "the stranger's, and each interval"
    );
    let first = world
        .machine
        .jobs()
        .by_interval(SubscriptionId(2), Interval(1));
    assert!(first.is_some());
    assert_eq!(world.replayed(), world.machine);
}

#[test]
fn what_cannot_be_created_or_waits_too_long_takes_nobodys_room() {
    const DAY_S: u32 = 24 * 3_600;
    let mut world = World::new(config());
    world.mine(1);
    let head = world.head().block.time.as_contract_time();
    let verdict = |ahead: u32, expiry: u32, known: u32| {
        let mut request = delegated(7, recurring(&world, ahead), world.now());
        request.expiry = head + expiry;
        request.known_id = SubscriptionId(known);
        world.machine.check(&Event::DelegatedAccepted(request))
    };
    let refused = Verdict::Refused;
    assert_eq!(verdict(DAY_S, 2 * DAY_S, 0), Verdict::Accept);
    assert_eq!(
        verdict(2 * DAY_S, DAY_S, 0),
        refused(Refusal::SignatureExpired)
    );
    assert_eq!(verdict(DAY_S, DAY_S, 0), refused(Refusal::SignatureExpired));
    // One that the chain has already needs no signature.
    assert_eq!(verdict(2 * DAY_S, DAY_S, 1), Verdict::Accept);
    assert_eq!(verdict(31 * DAY_S, 40 * DAY_S, 0), Verdict::Accept);
    assert_eq!(
        verdict(31 * DAY_S + 1, 40 * DAY_S, 0),
        refused(Refusal::TooFarAhead)
    );
}

#[test]
fn one_begins_with_the_first_block_of_its_interval() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = recurring(&world, 20);
    let at = world.now();
    world.apply(Event::DelegatedAccepted(delegated(7, terms, at)));
    world.mine(19);
    assert!(world.issued.is_empty(), "a second before");
    world.mine(1);
    let call = world.issued.pop_front().expect("it begins");
    assert!(matches!(call.effect, Effect::RunContainer(_)));
}

/// With two seconds until inclusion.
#[test]
fn a_signature_holds_until_the_second_of_its_expiry() {
    for (after, state) in [
        (7, State::Simulating),
        (8, State::Abandoned(Loss::Closed)),
        (9, State::Abandoned(Loss::Closed)),
    ] {
        let mut world = World::new(config());
        world.mine(1);
        let mut request = delegated(7, subscription(&["alpha"]), world.now());
        request.expiry = world.head().block.time.as_contract_time() + 10;
        world.apply(Event::DelegatedAccepted(request));
        let call = world.issued.pop_front().expect("it begins");
        world.mine(after);
        let answer = world.answer(&call).expect("it answers");
        world.end(&call, answer);
        let (_, delivery) = world.machine.deliveries().iter().next().expect("planned");
        assert_eq!(delivery.state, state, "after {after} seconds");
    }
    // The same at the door.
    let mut world = World::new(config());
    world.mine(1);
    let expired = Verdict::Refused(Refusal::SignatureExpired);
    for (expiry, verdict) in [(3, Verdict::Accept), (2, expired.clone()), (1, expired)] {
        let mut request = delegated(7, subscription(&["alpha"]), world.now());
        request.expiry = world.head().block.time.as_contract_time() + expiry;
        let event = Event::DelegatedAccepted(request);
        assert_eq!(world.machine.check(&event), verdict, "{expiry}");
    }
}

#[test]
fn a_client_waits_for_as_many_as_it_may_and_no_other_client_for_them() {
    let mut config = config();
    config.limits.delegated_waiting_max = 2;
    let mut world = World::new(config);
    world.mine(1);
    let request = |world: &World, client, nonce| {
        let mut request = delegated(nonce, recurring(world, 50), world.now());
        request.client = ClientId([client; 16]);
        Event::DelegatedAccepted(request)
    };
    for nonce in 1..=2 {
        let event = request(&world, 1, nonce);
        assert_eq!(world.machine.check(&event), Verdict::Accept, "{nonce}");
        world.apply(event);
    }
    let third = request(&world, 1, 3);
    let busy = Verdict::Refused(Refusal::Busy);
    assert_eq!(world.machine.check(&third), busy);
    let others = request(&world, 2, 4);
    assert_eq!(world.machine.check(&others), Verdict::Accept);
    // One that is withdrawn makes room, and so does what begins.
    let at = world.now();
    let job = delegated_job_id((CONSUMER, 1));
    world.apply(Event::JobCancelled { job, at });
    assert_eq!(world.machine.check(&third), Verdict::Accept);
    world.apply(third);
    assert_eq!(world.machine.check(&request(&world, 1, 5)), busy);
    world.mine(50);
    assert_eq!(world.machine.check(&request(&world, 1, 5)), Verdict::Accept);
}
