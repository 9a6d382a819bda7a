//! Limits of gas, fees, attempts, time and height: what happens at them, and one further.

use crate::{
    common::{act::spoiled, *},
    scenes::{block, newest, receipt},
};
use infernet_state::{
    Effect, Event,
    delivery::{Loss, State},
    effect::Action,
    event::{ChainFact, Outcome, Success, SyncedSubscription},
    job::{Cause, Stage},
    limits::REVERTED_SIMULATIONS_MAX,
    types::{Interval, Nonce, SubscriptionId},
};

/// Answers all there is, simulations by `simulate`; gives back how many there were.
fn settle_with(world: &mut World, simulate: impl Fn(&Effect) -> Outcome) -> usize {
    let mut count = 0;
    while let Some(issued) = world.issued.pop_front() {
        let outcome = if matches!(issued.effect, Effect::Simulate { .. }) {
            count += 1;
            Some(simulate(&issued.effect))
        } else {
            world.answer(&issued)
        };
        if let Some(outcome) = outcome {
            world.end(&issued, outcome);
        }
    }
    count
}

fn state(world: &World) -> State {
    let (_, delivery) = world.machine.deliveries().iter().next().expect("planned");
    delivery.state
}

/// A callback that is due.
fn due() -> World {
    let mut world = world_with(config(), &subscription(&["alpha"]), 1);
    world.mine(1);
    world.mine(1);
    world
}

#[test]
fn gas_and_fees_may_be_as_large_as_their_limits() {
    for (gas, base_fee, sent) in [
        (5_000_000, 7, Ok(())),
        (5_000_001, 7, Err(State::Abandoned(Loss::TooMuchGas))),
        (100_000, 1_000_000, Ok(())),
        (100_000, 1_000_001, Err(State::Planned)),
    ] {
        let mut world = due();
        settle_with(&mut world, |_| {
            Outcome::Succeeded(Success::Simulated {
                gas,
                base_fee,
                priority_fee: 0,
            })
        });
        match sent {
            Ok(()) => assert!(matches!(state(&world), State::Sent(_)), "{gas}, {base_fee}"),
            Err(other) => assert_eq!(state(&world), other, "{gas}, {base_fee}"),
        }
    }
}

#[test]
fn a_delivery_is_tried_as_often_as_it_may_and_no_more() {
    let mut world = due();
    let mut count = 0;
    for _ in 0..2 * REVERTED_SIMULATIONS_MAX {
        count += settle_with(&mut world, |effect| spoiled(effect, 4));
        world.wait(60_000);
    }
    assert_eq!(
        (count, state(&world)),
        (
            REVERTED_SIMULATIONS_MAX.into(),
            State::Abandoned(Loss::Reverts([9; 4]))
        )
    );
    // The same where it reverts in a block.
    let mut world = due();
    for nonce in 0..3 {
        world.settle();
        let tx = newest(&world, nonce);
        world.pool.clear();
        block(&mut world, vec![receipt(nonce, tx, false)], 1);
        world.wait(60_000);
    }
    assert_eq!(state(&world), State::Abandoned(Loss::Reverted));
    assert!(world.issued.is_empty());
    // And for a container.
    let mut world = due();
    let read = world.issued.pop_front().expect("the inputs are read");
    let inputs = world.answer(&read).expect("they are there");
    world.end(&read, inputs);
    for attempt in 1..=3 {
        let call = world.issued.pop_front().expect("it is called");
        assert_eq!(call.attempt, attempt);
        world.end(&call, spoiled(&call.effect, 2));
        world.wait(60_000);
    }
    assert!(world.issued.is_empty());
    let job = world
        .machine
        .jobs()
        .by_interval(SubscriptionId(1), Interval(1));
    assert_eq!(
        job.map(|(_, job)| job.stage),
        Some(Stage::Failed(Cause::Container))
    );
}

/// With two seconds until inclusion and two of margin, the fifth second before the end of an
/// interval is the last one for it.
#[test]
fn an_interval_is_begun_until_its_last_moment_and_given_up_behind_it() {
    for (after, begun) in [(35, true), (36, false)] {
        let mut terms = subscription(&["alpha"]);
        (terms.period, terms.frequency) = (40, 2);
        let mut world = world_with(config(), &terms, 1);
        world.mine(1);
        world.mine(39);
        world.mine(1 + after);
        let stage = |world: &World| {
            let job = world
                .machine
                .jobs()
                .by_interval(SubscriptionId(1), Interval(1));
            job.map(|(_, job)| job.stage)
        };
        assert_eq!(stage(&world).is_some(), begun, "{after} seconds into it");
        if begun {
            assert_eq!(stage(&world), Some(Stage::ReadingInputs));
            world.mine(1);
            let closed = Stage::Failed(Cause::IntervalClosed);
            assert_eq!(stage(&world), Some(closed));
        }
    }
}

/// From the second on at which the verifier's week is over, anybody may finalise.
#[test]
fn a_proof_is_finalised_from_the_end_of_its_week_on() {
    let mut world = world_with(with_prover(), &verified(10_000), 1);
    world.mine(1);
    world.run(6);
    let (_, _, proof) = world.machine.proofs().iter().next().expect("open");
    let left = proof.expires - world.head().block.time.0;
    world.mine(left - 1);
    assert!(world.issued.is_empty());
    world.mine(1);
    let finalises = world.issued.iter().any(|issued| {
        matches!(
            &issued.effect,
            Effect::Simulate {
                action: Action::FinalizeProof { .. },
                ..
            }
        )
    });
    assert!(finalises);
}

/// A block that was heard of is not heard of again, unless it comes in parts; a final one may
/// settle what was read of it since.
#[test]
fn a_block_counts_once_and_settles_what_is_read_of_it() {
    let mut world = due();
    let mut terms = subscription(&["unheard-of"]);
    terms.redundancy = 9;
    world.next = vec![Next::Create(terms.clone())];
    world.mine(1);
    let answered = ChainFact::SubscriptionFulfilled {
        id: SubscriptionId(2),
        node: OTHER,
    };
    block(&mut world, vec![answered.clone()], 0);
    let head = world.head().block;
    let responses = |world: &World| {
        let tracked = world.machine.subscriptions().get(SubscriptionId(2));
        tracked.expect("known").responses.count
    };
    let again = Event::ChainCommitted {
        block: head,
        facts: vec![answered],
    };
    world.apply(again.clone());
    assert_eq!(responses(&world), 2, "its second part");
    world.wait(0);
    let now = world.now();
    world.apply(Event::WallTimePassed { now });
    world.apply(again);
    assert_eq!(responses(&world), 2, "heard of before");
    world.apply(Event::ChainFinalized { block: head });
    assert_eq!(world.machine.chain().unfinalized_from(), None);
    world.apply(Event::SubscriptionsSynced {
        block: head,
        subscriptions: vec![SyncedSubscription {
            id: SubscriptionId(7),
            subscription: terms,
            responses: 0,
            responded: false,
        }],
        next: SubscriptionId(8),
    });
    assert_eq!(world.machine.chain().unfinalized_from(), Some(head.number));
    world.apply(Event::ChainFinalized { block: head });
    assert_eq!(world.machine.chain().unfinalized_from(), None);
}

/// So many answers were in a block that they took an event of their own.
#[test]
fn a_batch_is_judged_by_what_the_events_of_its_block_say_together() {
    let mut world = world_with(batching(config(), 3), &subscription(&["alpha"]), 3);
    world.mine(1);
    world.mine(1);
    let mut signatures = Vec::new();
    while let Some(issued) = world.issued.pop_front() {
        if matches!(issued.effect, Effect::Sign { .. }) {
            signatures.push(issued);
        } else if let Some(outcome) = world.answer(&issued) {
            world.end(&issued, outcome);
        }
    }
    for issued in signatures {
        let outcome = world.answer(&issued).expect("signed");
        world.end(&issued, outcome);
    }
    world.settle();
    let (single, batch) = (newest(&world, 0), newest(&world, 1));
    let answered = |id| ChainFact::SubscriptionFulfilled {
        id: SubscriptionId(id),
        node: NODE,
    };
    // The third reverted within the batch.
    block(&mut world, vec![answered(1), answered(2)], 2);
    let facts = vec![receipt(0, single, true), receipt(1, batch, true)];
    let of = world.head().block;
    world.apply(Event::ChainCommitted { block: of, facts });
    let states = |world: &World| -> Vec<State> {
        let all = world.machine.deliveries().iter();
        all.map(|(_, delivery)| delivery.state).collect()
    };
    assert_eq!(
        states(&world),
        [
            State::Included(Nonce(0)),
            State::Included(Nonce(1)),
            State::Planned,
        ]
    );
    assert_eq!(world.replayed(), world.machine);
    // What another block says is no word on it.
    world.reorg(1);
    block(&mut world, vec![answered(1), answered(2)], 0);
    block(
        &mut world,
        vec![receipt(0, single, true), receipt(1, batch, true)],
        2,
    );
    assert_eq!(states(&world).get(1), Some(&State::Planned));
    assert_eq!(world.replayed(), world.machine);
}
