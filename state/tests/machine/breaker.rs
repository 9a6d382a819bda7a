//! The circuit breaker: what opens it, and what waits until it closes.

use crate::{
    common::*,
    scenes::{block, newest, receipt},
};
use infernet_state::{
    Effect, Event,
    delegation::delegated_job_id,
    job::Stage,
    machine::{JobStatus, Refusal, Verdict},
};

/// An approval that reverts costs gas like a delivery that does, and counts like one.
#[test]
fn the_breaker_counts_losses_in_a_row_and_opens_for_its_time() {
    let mut config = with_prover();
    config.limits.breaker_losses = 2;
    config.limits.breaker_pause_ms = 5_000;
    config.limits.retry_backoff_ms = 1;
    let mut world = World::new(config);
    world.next = vec![Next::Create(verified(10_000))];
    world.mine(1);
    world.mine(1);
    let lose = |world: &mut World, nonce| {
        world.settle();
        let tx = newest(world, nonce);
        world.pool.clear();
        block(world, vec![receipt(nonce, tx, false)], 1);
        world.wait(10);
    };
    lose(&mut world, 0);
    assert_eq!(world.machine.breaker().losses, 1);
    assert!(!world.machine.paused());
    lose(&mut world, 1);
    assert!(world.machine.paused(), "the second in a row");
    let until = world.machine.breaker().open_until.expect("it is open");
    let asked = Event::JobAccepted(job(1, &["alpha"], world.now()));
    let refused = Verdict::Refused(Refusal::Paused);
    assert_eq!(world.machine.check(&asked), refused);
    // What was taken on goes on, and succeeds.
    world.settle();
    world.mine(1);
    world.settle();
    world.mine(1);
    assert_eq!(world.delivered(), 1);
    assert_eq!(world.machine.breaker().losses, 0);
    assert_eq!(world.machine.breaker().open_until, Some(until));
    world.wait(until.0 - 1 - world.wall);
    assert_eq!(world.machine.check(&asked), refused);
    world.wait(1);
    assert_eq!(world.machine.check(&asked), Verdict::Accept);
}

/// A loss, and a success between two losses; and a limit of nothing.
#[test]
fn a_success_begins_the_count_of_losses_anew() {
    for (limit, met, paused) in [
        (2, [true, false, true], false),
        (0, [true; 3], false),
        (3, [true; 3], true),
    ] {
        let mut config = config();
        config.limits.breaker_losses = limit;
        let mut world = World::new(config);
        for (id, met) in (1..).zip(met) {
            world.next = vec![Next::Create(subscription(&["alpha"]))];
            world.mine(1);
            world.mine(1);
            world.settle();
            if met {
                world.next = vec![Next::Fulfil(id, OTHER)];
            }
            world.mine(1);
        }
        assert_eq!(world.machine.paused(), paused, "{limit} of {met:?}");
    }
}

/// What was accepted before, and becomes active while it is open, waits like everything else that
/// is due: no container is called.
#[test]
fn delegated_work_that_becomes_due_in_a_pause_is_begun_after_it() {
    let mut config = config();
    config.limits.breaker_losses = 1;
    config.limits.breaker_pause_ms = 60_000;
    let mut world = World::new(config);
    world.mine(1);
    let mut terms = subscription(&["alpha"]);
    terms.active_at = world.head().block.time.as_contract_time() + 30;
    let at = world.now();
    world.apply(Event::DelegatedAccepted(delegated(7, terms, at)));
    let id = delegated_job_id((CONSUMER, 7));
    // Somebody else meets an interval while our answer is in the pool: a revert, a loss.
    world.next = vec![Next::Create(subscription(&["alpha"]))];
    world.mine(1);
    world.mine(1);
    world.settle();
    world.next = vec![Next::Fulfil(1, OTHER)];
    world.mine(1);
    world.settle();
    let until = world.machine.breaker().open_until.expect("it is open");
    let stage = |world: &World| world.machine.job(id).map(|job| job.stage);
    for _ in 0..4 {
        world.mine(10);
        assert!(
            world.issued.is_empty(),
            "nothing is begun: {:?}",
            world.issued
        );
        assert_eq!(stage(&world), Some(Stage::Waiting));
        world.machine.audit().expect("it waits for something");
    }
    assert_eq!(world.replayed(), world.machine);
    world.wait(until.0 - world.wall);
    assert!(!world.machine.paused());
    let call = world.issued.front().expect("it is begun at once");
    assert!(matches!(call.effect, Effect::RunContainer(_)), "{call:?}");
    world.settle();
    world.mine(1);
    world.finalize(0);
    assert!(matches!(
        world.machine.job_status(id),
        Some(JobStatus::Success { .. })
    ));
    assert_eq!(world.replayed(), world.machine);
}
