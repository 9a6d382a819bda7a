//! What a reorg gives back to the pool, and the approvals that stakes wait for: each nonce is used
//! once, for what still holds, at a fee that is taken.

use crate::{
    common::{act::spoiled, *},
    moves::{due, good, is_broadcast, is_sign, is_simulation, met, state, until},
    scenes::{block, newest, receipt},
};
use infernet_state::{
    Effect,
    delivery::{Loss, State},
    effect::Action,
    event::ChainFact,
    types::{DeliveryNo, Interval, Nonce, SubscriptionId},
};

/// Its block is gone, and so is the time at which its interval began: it waits for that, is
/// simulated again, and only then handed over; from there on as ever.
#[test]
fn what_comes_back_before_its_interval_waits_and_is_simulated_again() {
    let mut world = World::new(config());
    let mut terms = subscription(&["alpha"]);
    (terms.period, terms.frequency) = (100, 5);
    world.next.push(Next::Create(terms));
    world.mine(1);
    world.mine(90);
    world.mine(10);
    world.settle();
    world.mine(1);
    assert_eq!(world.delivered(), 1);
    world.reorg(2);
    world.pool.clear();
    assert!(world.issued.is_empty(), "it is too early");
    world.mine(5);
    world.wait(10_000);
    assert!(world.issued.is_empty(), "still");
    world.mine(5);
    world.wait(10_000);
    let recheck = world.issued.pop_front().expect("it is looked at");
    assert!(is_simulation(&recheck.effect), "{recheck:?}");
    world.end(&recheck, good());
    let sent = world.issued.pop_front().expect("it is handed over");
    assert!(is_broadcast(&sent.effect));
    let outcome = world.answer(&sent).expect("taken");
    world.end(&sent, outcome);
    world.wait(10_000);
    let raised = world.issued.pop_front().expect("it is looked after");
    assert!(is_sign(&raised.effect), "{raised:?}");
}

/// Each simulation after a reorg says that others met the interval: that is how it ends.
#[test]
fn what_is_met_after_a_reorg_is_withdrawn_as_met() {
    let mut world = due(config(), 1);
    world.settle();
    world.mine(1);
    world.reorg(1);
    let before = world.pool.values().next().expect("pooled").max_fee;
    for _ in 0..9 {
        assert!(matches!(state(&world, 1), State::Sent(_)));
        world.wait(60_000);
        let recheck = until(&mut world, is_simulation);
        world.end(&recheck, met());
    }
    assert_eq!(state(&world, 1), State::Withdrawn(Loss::Met));
    let Effect::Sign {
        action,
        max_fee_per_gas,
        ..
    } = until(&mut world, is_sign).effect
    else {
        panic!("a signature");
    };
    assert_eq!(action, Action::FillNonce);
    assert!(max_fee_per_gas > before, "it offers more");
}

/// The record goes with the reorg too: what replaces its answer offers more than it did.
#[test]
fn what_a_reorg_left_nothing_of_is_replaced_at_a_higher_fee() {
    let mut world = due(config(), 1);
    world.settle();
    world.mine(1);
    world.reorg(3);
    let before = world.pool.values().next().expect("pooled").max_fee;
    let Effect::Sign {
        action,
        max_fee_per_gas,
        ..
    } = until(&mut world, is_sign).effect
    else {
        panic!("a signature");
    };
    assert_eq!(action, Action::FillNonce);
    assert!(max_fee_per_gas > before + before / 10);
}

/// A revert counts as long as its block stands.
#[test]
fn a_revert_that_a_reorg_takes_away_was_none() {
    let mut world = due(config(), 1);
    world.settle();
    let tx = newest(&world, 0);
    block(&mut world, vec![receipt(0, tx, false)], 1);
    let reverts = |world: &World| {
        let delivery = world.machine.deliveries().get(DeliveryNo(1));
        delivery.expect("planned").reverts
    };
    assert_eq!(reverts(&world), 1);
    world.reorg(1);
    assert_eq!(reverts(&world), 0);
    assert_eq!(state(&world, 1), State::Sent(Nonce(0)));
}

/// Its allowance went with the reorg, and comes before it: it waits, and is not given up.
#[test]
fn a_stake_whose_allowance_went_with_a_reorg_waits_for_it() {
    let delivered = || {
        let mut world = world_with(with_prover(), &verified(10_000), 1);
        world.mine(1);
        world.mine(1);
        for _ in 0..2 {
            world.settle();
            world.mine(1);
        }
        assert_eq!(world.delivered(), 1);
        assert_eq!(world.machine.chores().wanted(NATIVE), 0.into());
        world
    };
    let (mut both, mut one_by_one) = (delivered(), delivered());
    both.reorg(2);
    assert!(
        !both
            .issued
            .iter()
            .any(|issued| is_simulation(&issued.effect))
    );
    assert_eq!(both.machine.chores().wanted(NATIVE), 10_000.into());
    // The second goes while what the first took away is simulated.
    one_by_one.reorg(1);
    let recheck = until(&mut one_by_one, is_simulation);
    one_by_one.reorg(1);
    one_by_one.end(&recheck, spoiled(&recheck.effect, 4));
    for mut world in [both, one_by_one] {
        assert!(matches!(state(&world, 1), State::Sent(_)));
        for _ in 0..4 {
            world.settle();
            world.mine(1);
            world.wait(10_000);
        }
        world.run(2);
        assert_eq!(world.delivered(), 1);
        assert_eq!(world.head().nonce, 2, "by the same nonces");
        let reverted = |fact: &&ChainFact| matches!(fact, ChainFact::TransactionIncluded(receipt) if !receipt.succeeded);
        let facts = world.blocks.iter().flat_map(|block| &block.facts);
        assert_eq!(facts.filter(reverted).count(), 0);
    }
}

/// A delivery's simulation reverts because its allowance went with a reorg: no refusal.
#[test]
fn a_refusal_for_want_of_an_allowance_is_a_wait() {
    let mut world = world_with(with_prover(), &verified(10_000), 1);
    world.mine(1);
    world.mine(1);
    world.settle();
    world.mine(1);
    let simulation = until(&mut world, is_simulation);
    world.reorg(1);
    world.end(&simulation, spoiled(&simulation.effect, 4));
    assert_eq!(state(&world, 1), State::Planned);
    // Not by its timer: as soon as the approval is in a block again.
    world.settle();
    world.wall -= 1_000; // The block comes faster than the wall clock tells.
    world.mine(1);
    assert_eq!(state(&world, 1), State::Simulating);
    world.run(2);
    assert_eq!(world.delivered(), 1);
}

/// Approvals that revert, one block after the other: whoever waits for one is told in the end.
#[test]
fn an_approval_that_reverts_as_often_as_it_may_is_given_up() {
    let mut world = world_with(with_prover(), &verified(10_000), 1);
    world.mine(1);
    world.mine(1);
    for nonce in 0..3 {
        world.wait(60_000);
        world.settle();
        assert_eq!(state(&world, 1), State::Planned, "{nonce} reverted");
        let tx = newest(&world, nonce);
        world.pool.clear();
        block(&mut world, vec![receipt(nonce, tx, false)], 1);
    }
    assert_eq!(state(&world, 1), State::Abandoned(Loss::NoStake));
    world.wait(60_000);
    assert!(world.issued.is_empty(), "no fourth");
}

/// It reverted in a block that is gone, and has another nonce by now: the first is used up by what
/// offers more than it did. If its old bytes come first all the same, they count where they are good,
/// and then the other nonce is used up; where they revert again, they count for nothing.
#[test]
fn a_delivery_is_that_of_its_newest_nonce() {
    for succeeded in [false, true] {
        let mut world = due(config(), 1);
        world.settle();
        let (old, fee) = {
            let tx = world.pool.values().next().expect("pooled");
            (tx.hash, tx.max_fee)
        };
        world.pool.clear();
        block(&mut world, vec![receipt(0, old, false)], 1);
        world.wait(1_000);
        world.settle();
        assert_eq!(state(&world, 1), State::Sent(Nonce(1)));
        world.reorg(1);
        let fill = |world: &mut World| match until(world, is_sign).effect {
            Effect::Sign {
                nonce,
                action: Action::FillNonce,
                max_fee_per_gas,
                ..
            } => (nonce, max_fee_per_gas > fee + fee / 10),
            effect => panic!("{effect:?}"),
        };
        assert_eq!(fill(&mut world), (Nonce(0), true));
        let answered = ChainFact::SubscriptionFulfilled {
            id: SubscriptionId(1),
            node: NODE,
        };
        let mut facts = vec![receipt(0, old, succeeded)];
        facts.extend(succeeded.then_some(answered));
        block(&mut world, facts, 1);
        if succeeded {
            assert_eq!(state(&world, 1), State::Included(Nonce(0)));
            assert_eq!(fill(&mut world), (Nonce(1), true));
        } else {
            assert_eq!(state(&world, 1), State::Sent(Nonce(1)));
        }
    }
}

/// An answer whose record is gone comes into a block all the same, where a stranger has the id:
/// the stranger's work is its own.
#[test]
fn a_late_answer_takes_no_strangers_interval() {
    let mut world = due(config(), 1);
    world.settle();
    let old = newest(&world, 0);
    world.reorg(3);
    world.next = vec![Next::Create(subscription(&["beta"]))];
    world.mine_block(1, false);
    world.mine_block(1, false);
    let work = |world: &World| {
        let jobs = world.machine.jobs();
        let job = jobs.by_interval(SubscriptionId(1), Interval(1));
        job.map(|(no, job)| (no, job.stage.is_end()))
    };
    let strangers = work(&world).expect("it is begun");
    let answered = ChainFact::SubscriptionFulfilled {
        id: SubscriptionId(1),
        node: NODE,
    };
    block(&mut world, vec![receipt(0, old, true), answered], 1);
    assert_eq!(work(&world), Some(strangers));
}
