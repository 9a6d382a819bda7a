//! Limits of gas, fees, attempts, time and height: what happens at them, and one further.

use crate::{
    common::{act::spoiled, *},
    scenes::{block, newest, receipt},
};
use infernet_state::{
    Config, Effect, Event, Machine,
    delivery::{Loss, State},
    effect::Action,
    event::{ChainFact, Origin, Outcome, Success, SyncedSubscription},
    job::{Cause, Stage},
    limits::{REVERTED_SIMULATIONS_MAX, VERSIONS_MAX},
    types::{BlockRef, BlockTime, Interval, Nonce, SubscriptionId},
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
            origin: Origin::Owner,
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

fn simulated(gas: u64, base_fee: u128, priority_fee: u128) -> Outcome {
    Outcome::Succeeded(Success::Simulated {
        gas,
        base_fee,
        priority_fee,
    })
}

/// Of which subscriptions a transaction is, in its order.
fn answers_of(action: &Action) -> Vec<u32> {
    match action {
        Action::Deliver(delivery) => vec![delivery.subscription.0],
        Action::DeliverBatch(list) => list.iter().map(|of| of.subscription.0).collect(),
        _ => Vec::new(),
    }
}

/// With its margin of a quarter, what takes 2,000,000 gas is half of what a transaction may take.
#[test]
fn a_batch_takes_as_much_gas_as_a_transaction_may() {
    for (gas, expected) in [
        (2_000_000, vec![vec![1], vec![2, 3]]),
        (2_000_004, vec![vec![1], vec![2], vec![3]]),
    ] {
        let config = batching(config(), 3);
        let mut world = world_with(config, &subscription(&["alpha"]), 3);
        world.mine(1);
        world.mine(1);
        settle_with(&mut world, |_| simulated(gas, 7, 0));
        let mut signed: Vec<_> = world.signed.values().collect();
        signed.sort_by_key(|tx| tx.nonce);
        let signed: Vec<_> = signed.iter().map(|tx| answers_of(&tx.action)).collect();
        assert_eq!(signed, expected, "{gas}");
    }
}

/// Where a batch holds one, there is nothing to wait for.
#[test]
fn an_answer_waits_for_a_batch_only_where_one_holds_several() {
    for (batch_max, at_once) in [(0, 3), (1, 3), (2, 1)] {
        let config = batching(config(), batch_max);
        let mut world = world_with(config, &subscription(&["alpha"]), 3);
        world.mine(1);
        world.mine(1);
        let mut asked = 0;
        while let Some(issued) = world.issued.pop_front() {
            if matches!(issued.effect, Effect::Sign { .. }) {
                asked += 1;
            } else if let Some(outcome) = world.answer(&issued) {
                world.end(&issued, outcome);
            }
        }
        assert_eq!(asked, at_once, "batches of {batch_max}");
    }
}

fn capped(cap: u128) -> Config {
    let mut config = config();
    config.chain.as_mut().expect("a chain").max_fee_per_gas_cap = cap;
    config
}

/// A quarter more than 799,999, and one.
#[test]
fn a_fee_is_raised_as_far_as_its_cap() {
    for (cap, raised) in [(999_999, true), (999_998, false)] {
        let mut world = world_with(capped(cap), &subscription(&["alpha"]), 1);
        world.mine(1);
        world.mine(1);
        settle_with(&mut world, |_| simulated(GAS_USED, 399_999, 1));
        world.wait(9_999);
        assert!(world.issued.is_empty(), "not yet");
        world.wait(1);
        let asked = world.issued.pop_front().expect("it is looked after");
        match asked.effect {
            Effect::Sign {
                max_fee_per_gas, ..
            } => assert_eq!((raised, max_fee_per_gas), (true, 999_999)),
            Effect::LookUpTransaction { .. } => assert!(!raised, "{cap}"),
            effect => panic!("{effect:?}"),
        }
    }
}

#[test]
fn a_nonce_has_as_many_versions_as_it_may() {
    let mut world = due();
    world.settle();
    for bumps in 1..2 * VERSIONS_MAX {
        world.wait(10_000);
        world.settle();
        let (_, slot) = world.machine.account().slots().next().expect("open");
        assert_eq!(slot.versions.len(), VERSIONS_MAX.min(bumps + 1));
    }
    world.run(1);
    assert_eq!(world.delivered(), 1);
}

#[test]
fn a_reorg_that_takes_no_block_away_is_none() {
    let mut world = due();
    world.settle();
    let head = world.head().block;
    let deadline = world.machine.next_block_deadline();
    let above = BlockRef {
        number: head.number + 1,
        hash: hash("other", 1),
        time: BlockTime(head.time.0 + 1),
    };
    for ancestor in [head, above] {
        world.apply(Event::ChainReorged { ancestor });
        assert_eq!(world.machine.chain().head, Some(head));
        assert_eq!(world.machine.next_block_deadline(), deadline);
        assert!(world.issued.is_empty());
    }
}

/// What met an interval may go with its block, as long as that is not final.
#[test]
fn a_delivery_that_others_met_is_given_up_with_their_blocks_finality() {
    let mut world = due();
    for _ in 0..2 {
        let asked = world.issued.pop_front().expect("inputs, container");
        let outcome = world.answer(&asked).expect("an answer");
        world.end(&asked, outcome);
    }
    world.next = vec![Next::Fulfil(1, OTHER)];
    world.mine_block(1, false);
    world.settle();
    assert_eq!(state(&world), State::Parked);
    world.finalize(1);
    assert_eq!(state(&world), State::Parked, "the block before it");
    world.finalize(0);
    assert_eq!(state(&world), State::Abandoned(Loss::Met));
}

/// What a sync read at a block is what that block left behind.
#[test]
fn a_record_that_was_read_at_a_block_holds_its_facts() {
    let terms = subscription(&["unheard-of"]);
    let id = SubscriptionId(1);
    let mut world = World::new(config());
    world.mine(1);
    let head = world.head().block;
    let next = BlockRef {
        number: head.number + 1,
        hash: hash("next", 1),
        time: BlockTime(head.time.0 + 1),
    };
    world.apply(Event::SubscriptionsSynced {
        block: next,
        subscriptions: vec![SyncedSubscription {
            id,
            subscription: terms.clone(),
            responses: 1,
            responded: false,
            origin: Origin::Owner,
        }],
        next: SubscriptionId(2),
    });
    let known = |machine: &Machine| {
        let tracked = machine.subscriptions().get(id).expect("known");
        (tracked.responses.count, tracked.synced)
    };
    let answered = ChainFact::SubscriptionFulfilled { id, node: OTHER };
    let created = ChainFact::SubscriptionCreated {
        id,
        subscription: terms,
        delegation: None,
    };
    for (block, facts, expected) in [
        (next, vec![answered.clone()], (1, true)),
        (next, vec![created.clone(), answered.clone()], (1, true)),
        (
            BlockRef {
                number: next.number + 1,
                ..next
            },
            vec![answered],
            (2, true),
        ),
    ] {
        let mut machine = world.machine.clone();
        let event = Event::ChainCommitted { block, facts };
        machine.apply(&event).expect("no halt");
        assert_eq!(known(&machine), expected, "block {}", block.number);
    }
}

/// Another record under the id, heard of without the reorg that made room for it, or the same one
/// cancelled: what was computed for the one before is not for the present one.
#[test]
fn an_answer_is_for_the_record_that_it_was_computed_for() {
    let id = SubscriptionId(1);
    for (created, cancelled, loss) in [
        (true, false, Loss::Gone),
        (false, false, Loss::Gone),
        (false, true, Loss::Cancelled),
    ] {
        let mut world = due();
        let read = world.issued.pop_front().expect("the inputs are read");
        let inputs = world.answer(&read).expect("they are there");
        world.end(&read, inputs);
        let call = world.issued.pop_front().expect("the container is called");
        let mut terms = world.head().subscriptions[&1].record.clone();
        if cancelled {
            terms.active_at = u32::MAX;
        } else {
            terms.lazy = true;
        }
        if created {
            let creation = ChainFact::SubscriptionCreated {
                id,
                subscription: terms,
                delegation: None,
            };
            block(&mut world, vec![creation], 0);
        } else {
            world.apply(Event::SubscriptionsSynced {
                block: world.head().block,
                subscriptions: vec![SyncedSubscription {
                    id,
                    subscription: terms,
                    responses: 0,
                    responded: false,
                    origin: Origin::Owner,
                }],
                next: SubscriptionId(2),
            });
        }
        let answer = world.answer(&call).expect("it answers");
        world.issued.clear();
        world.end(&call, answer);
        assert_eq!(state(&world), State::Abandoned(loss));
        assert!(world.issued.is_empty(), "nothing is sent");
    }
}

/// A loss during a pause makes it no longer. Behind it the count begins anew, and what became due
/// meanwhile is begun: with the pause's end, not with the next block.
#[test]
fn a_pause_lasts_as_long_as_its_first_loss_says() {
    let mut config = config();
    config.limits.breaker_losses = 1;
    config.limits.breaker_pause_ms = 5_000;
    let mut world = world_with(config, &subscription(&["alpha"]), 2);
    world.mine(1);
    world.mine(1);
    world.settle();
    let (first, second) = (newest(&world, 0), newest(&world, 1));
    world.pool.clear();
    block(&mut world, vec![receipt(0, first, false)], 1);
    let breaker = world.machine.breaker();
    let until = breaker.open_until.expect("it is open");
    assert_eq!(until.0, world.wall + 5_000);
    world.wait(1_000);
    block(&mut world, vec![receipt(1, second, false)], 1);
    let breaker = world.machine.breaker();
    assert_eq!((breaker.losses, breaker.open_until), (2, Some(until)));
    world.next = vec![Next::Create(subscription(&["alpha"]))];
    world.mine(1);
    world.mine(1);
    let begun = |world: &World| {
        let jobs = world.machine.jobs();
        jobs.by_interval(SubscriptionId(3), Interval(1)).is_some()
    };
    world.wait(until.0 - 1 - world.wall);
    assert!(!begun(&world));
    world.wait(1);
    assert!(begun(&world));
    assert_eq!(world.machine.breaker().losses, 0);
}
