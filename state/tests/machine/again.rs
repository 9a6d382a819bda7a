//! What is done once, looked at again, and tried again: chores, batches, retries.

use std::collections::VecDeque;

use crate::common::{act::spoiled, judge::at_the_end, *};
use infernet_state::{
    Effect, Event, Issued,
    delivery::{Loss, State},
    effect::Action,
    event::{Outcome, Success},
    limits::REVERTED_SIMULATIONS_MAX,
    machine::JobStatus,
    types::{Amount, JobId},
};

/// Answers everything but signatures, which are left.
fn settle_but_signatures(world: &mut World) {
    let mut left = VecDeque::new();
    while let Some(issued) = world.issued.pop_front() {
        if matches!(issued.effect, Effect::Sign { .. }) {
            left.push_back(issued);
        } else if let Some(outcome) = world.answer(&issued) {
            world.end(&issued, outcome);
        }
    }
    world.issued = left;
}

/// The subscriptions that a signature was asked for, in the order of their transaction.
fn signed_for(issued: &Issued) -> Option<Vec<u32>> {
    match &issued.effect {
        Effect::Sign { action, .. } => Some(match action {
            Action::Deliver(delivery) => vec![delivery.subscription.0],
            Action::DeliverBatch(list) => list.iter().map(|of| of.subscription.0).collect(),
            _ => Vec::new(),
        }),
        _ => None,
    }
}

/// Three callbacks, of which the first is with the signer and the others are ready.
fn two_are_ready() -> World {
    let mut world = world_with(batching(config(), 3), &subscription(&["alpha"]), 3);
    world.mine(1);
    world.mine(1);
    settle_but_signatures(&mut world);
    let asked: Vec<_> = world.issued.iter().filter_map(signed_for).collect();
    assert_eq!(asked, [[1]]);
    world
}

#[test]
fn a_ready_answer_is_judged_again_before_it_is_sent() {
    let mut world = two_are_ready();
    let signature = world.issued.pop_front().expect("it was asked for");
    world.next = vec![Next::Fulfil(2, OTHER)];
    world.mine_block(1, false);
    let outcome = world.answer(&signature).expect("signed");
    world.end(&signature, outcome);
    settle_but_signatures(&mut world);
    let asked: Vec<_> = world.issued.iter().filter_map(signed_for).collect();
    assert_eq!(asked, [[3]], "others met the second");
    at_the_end(&mut world);
    assert_eq!(world.delivered(), 2);
}

#[test]
fn what_is_left_of_a_batch_is_judged_again_before_it_is_signed_again() {
    let mut world = two_are_ready();
    world.next = vec![Next::Create(subscription(&["alpha"]))];
    world.mine_block(1, false);
    world.mine_block(1, false);
    settle_but_signatures(&mut world);
    let signature = world.issued.pop_front().expect("it was asked for");
    let outcome = world.answer(&signature).expect("signed");
    world.end(&signature, outcome);
    settle_but_signatures(&mut world);
    let asked: Vec<_> = world.issued.iter().filter_map(signed_for).collect();
    assert_eq!(asked, [[2, 3, 4]]);
    // One is withdrawn; another was met in the same block, before it.
    world.issued.clear();
    world.next = vec![Next::Fulfil(3, OTHER), Next::Cancel(2)];
    world.mine_block(1, false);
    let asked: Vec<_> = world.issued.iter().filter_map(signed_for).collect();
    assert_eq!(asked, [[4]]);
    at_the_end(&mut world);
    assert_eq!(world.delivered(), 2);
}

/// The node finalised an expired proof; the block goes, and the verdict with it. The transaction
/// waits at its nonce again, and no second one is begun beside it.
#[test]
fn a_finalisation_in_a_reorg_is_one_finalisation() {
    let mut world = world_with(with_prover(), &verified(10_000), 1);
    world.mine(1);
    world.run(6);
    // Time does not go back with the block.
    world.mine(604_801);
    world.mine(1);
    world.settle();
    world.mine(1);
    assert!(world.head().proofs.is_empty(), "finalised");
    let used = world.head().nonce;
    world.reorg(1);
    assert!(!world.head().proofs.is_empty());
    world.settle();
    world.mine(1);
    world.run(2);
    assert!(world.head().proofs.is_empty(), "finalised again");
    assert_eq!(world.head().nonce, used, "by the same nonce");
    at_the_end(&mut world);
}

/// An approval that was refused waits for its time, also where another answer wants one.
#[test]
fn an_approval_is_asked_for_once_at_a_time() {
    let mut world = world_with(with_prover(), &verified(10_000), 1);
    world.mine(1);
    world.mine(1);
    let approvals = |world: &World| {
        let is_one = |issued: &&Issued| {
            matches!(
                &issued.effect,
                Effect::Simulate {
                    action: Action::ApproveStake { .. },
                    ..
                }
            )
        };
        world.issued.iter().filter(is_one).count()
    };
    while let Some(issued) = world.issued.pop_front() {
        let outcome = match &issued.effect {
            Effect::Simulate { .. } => Some(spoiled(&issued.effect, 4)),
            _ => world.answer(&issued),
        };
        if let Some(outcome) = outcome {
            world.end(&issued, outcome);
        }
    }
    world.next = vec![Next::Create(verified(10_000))];
    world.wall -= 2_000; // The blocks come faster than the wall clock tells.
    world.mine(1);
    world.mine(1);
    while let Some(issued) = world.issued.pop_front() {
        assert!(
            !matches!(issued.effect, Effect::Simulate { .. }),
            "too early"
        );
        if let Some(outcome) = world.answer(&issued) {
            world.end(&issued, outcome);
        }
    }
    world.wait(3_000);
    assert_eq!(approvals(&world), 1);
    world.run(6);
    assert_eq!(world.delivered(), 2);
    let left = world.machine.chores().allowance(NATIVE);
    assert!(left < Amount::from(40_000), "{left}");
}

/// The waits double up to the longest, and stay there however often it is tried.
#[test]
fn retries_back_off_and_no_further_than_the_longest_wait() {
    let mut world = world_with(config(), &subscription(&["alpha"]), 1);
    world.mine(1);
    world.mine(1);
    let mut expected = 500;
    for attempt in 1..=80 {
        let read = world.issued.pop_front().expect("the inputs are read");
        assert_eq!(read.attempt, attempt);
        world.end(&read, spoiled(&read.effect, 1));
        let next = world.machine.next_deadline().expect("it is tried again");
        assert_eq!(next.0 - world.wall, expected, "after attempt {attempt}");
        world.wait(expected);
        expected = (2 * expected).min(60_000);
    }
}

/// Nobody may approve for the node: whoever waits for the allowance is told.
#[test]
fn an_approval_that_is_refused_too_often_is_given_up() {
    let mut world = world_with(with_prover(), &verified(10_000), 2);
    world.mine(1);
    world.mine(1);
    let mut refused = 0;
    for _ in 0..10 {
        while let Some(issued) = world.issued.pop_front() {
            let outcome = if matches!(issued.effect, Effect::Simulate { .. }) {
                refused += 1;
                Some(spoiled(&issued.effect, 4))
            } else {
                world.answer(&issued)
            };
            if let Some(outcome) = outcome {
                world.end(&issued, outcome);
            }
        }
        world.wait(60_000);
    }
    assert_eq!(refused, REVERTED_SIMULATIONS_MAX);
    let mut states = world.machine.deliveries().iter().map(|(_, of)| of.state);
    assert!(states.all(|state| state == State::Abandoned(Loss::NoStake)));
    assert_eq!(world.machine.chores().wanted(NATIVE), Amount::ZERO);
    assert_eq!(
        world.machine.next_deadline().map(|at| at.0 > world.wall),
        Some(true)
    );
}

/// Only the present attempt's outcome counts, and only while it is awaited.
#[test]
fn an_outcome_that_comes_late_changes_nothing() {
    let mut world = World::new(config());
    let at = world.now();
    world.apply(Event::JobAccepted(job(1, &["alpha"], at)));
    let first = world.issued.pop_front().expect("the container is called");
    world.start(None);
    let second = world.issued.pop_front().expect("it is called again");
    assert_eq!((first.id, first.attempt, second.attempt), (second.id, 1, 2));
    let answer = Outcome::Succeeded(Success::ContainerAnswered {
        output: payload("late", 1),
    });
    let running = Some(JobStatus::Running);
    let status = |world: &World| world.machine.job_status(JobId([1; 16]));
    world.end(&first, answer.clone());
    assert_eq!(status(&world), running, "of a life before");
    world.end(&second, spoiled(&second.effect, 2));
    world.end(&second, answer.clone());
    assert_eq!(status(&world), running, "it had failed");
    world.wait(1_000);
    let third = world.issued.pop_front().expect("once more");
    world.end(&third, answer);
    assert!(matches!(status(&world), Some(JobStatus::Success { .. })));
}
