//! What is at stake for proofs: never more than the cap, and never forgotten.

use crate::{
    common::{act::spoiled, judge::at_the_end, *},
    scenes::{block, newest, receipt},
};
use infernet_state::{
    Effect, delivery::State, effect::Action, limits::REVERTED_SIMULATIONS_MAX, proof::ProofState,
    types::Amount,
};

/// The consumer emptied its wallet: nobody can finalise, and stake and price stay locked. The
/// node comes back to it for as long as it takes.
#[test]
fn a_finalisation_that_reverts_is_tried_until_it_succeeds() {
    let mut world = world_with(with_prover(), &verified(10_000), 1);
    world.mine(1);
    world.run(6);
    assert_eq!(world.machine.proofs().iter().count(), 1);
    world.mine(604_801);
    let mut refused = 0;
    for _ in 0..50 {
        while let Some(issued) = world.issued.pop_front() {
            assert!(
                matches!(issued.effect, Effect::Simulate { .. }),
                "{issued:?}"
            );
            refused += 1;
            world.end(&issued, spoiled(&issued.effect, 4));
        }
        world.wait(3_600_000);
    }
    assert_eq!(
        refused,
        2 * REVERTED_SIMULATIONS_MAX,
        "a round, a day's rest, another"
    );
    world.wait(24 * 3_600_000);
    world.run(4);
    assert!(world.head().proofs.is_empty(), "finalised in the end");
    assert_eq!(world.machine.proofs().iter().count(), 0);
    assert_eq!(world.machine.proofs().at_stake(NATIVE), Amount::ZERO);
}

/// A verifier came first, and the node's own finalisation reverted behind it. When only the
/// revert's block goes, nothing is left to finalise: the nonce is used up by an empty transfer.
#[test]
fn a_judged_proof_is_not_finalised_again_after_a_reorg() {
    let mut world = world_with(with_prover(), &verified(10_000), 1);
    world.mine(1);
    world.run(6);
    world.mine(604_801);
    world.settle();
    world.next = vec![Next::Judge(0, true)];
    world.mine_block(1, false);
    world.issued.clear();
    world.mine(1);
    world.reorg(1);
    let finalises = |effect: &Effect| {
        matches!(
            effect,
            Effect::Sign {
                action: Action::FinalizeProof { .. },
                ..
            } | Effect::Broadcast { .. }
        )
    };
    assert!(!world.issued.is_empty(), "the nonce is used up");
    assert!(!world.issued.iter().any(|issued| finalises(&issued.effect)));
    at_the_end(&mut world);
}

/// It succeeded, and no verdict came of it: the proof is open, and is finalised again.
#[test]
fn a_finalisation_without_a_verdict_is_none() {
    let mut world = world_with(with_prover(), &verified(10_000), 1);
    world.mine(1);
    world.run(6);
    world.mine(604_801);
    world.settle();
    let tx = newest(&world, 2);
    world.pool.clear();
    block(&mut world, vec![receipt(2, tx, true)], 1);
    let again = world.issued.iter().filter(|issued| {
        matches!(
            &issued.effect,
            Effect::Simulate {
                action: Action::FinalizeProof { .. },
                ..
            }
        )
    });
    assert_eq!(again.count(), 1);
}

/// What is at stake at once: open proofs, and deliveries on their way.
fn at_risk(world: &World) -> u128 {
    let on_their_way = world.machine.deliveries().iter().filter(|(_, delivery)| {
        matches!(
            delivery.state,
            State::Simulating | State::Ready | State::Sent(_)
        )
    });
    let open = world
        .machine
        .proofs()
        .iter()
        .filter(|(_, _, proof)| proof.state == ProofState::Open);
    (on_their_way.count() + open.count()) as u128 * 10_000
}

/// Several answers with a verifier are ready at the same moment, and the cap leaves room for
/// some: the others wait for a verdict, whatever order things come in.
#[test]
fn the_cap_holds_however_many_stakes_are_wanted_at_once() {
    for (cap, at_once, batches) in [
        (10_000, 1, false),
        (20_000, 2, false),
        (29_999, 2, false),
        (29_999, 2, true),
        (30_000, 3, true),
    ] {
        let mut config = with_prover();
        config.stake_caps = vec![(NATIVE, Amount::from(cap))];
        let config = batching(config, if batches { 3 } else { 0 });
        let mut world = world_with(config, &verified(10_000), 3);
        world.mine(1);
        let mut most = 0;
        for _ in 0..8 {
            while let Some(issued) = world.issued.pop_front() {
                if let Some(outcome) = world.answer(&issued) {
                    world.end(&issued, outcome);
                }
                most = at_risk(&world).max(most);
            }
            world.mine(1);
        }
        assert_eq!(most, at_once * 10_000, "cap {cap}, batches {batches}");
        assert_eq!(world.delivered() as u128, at_once);
        // Each verdict makes room for one more, as soon as it is looked for.
        for delivered in at_once + 1..=3 {
            world.next = vec![Next::Judge(0, delivered % 2 == 0)];
            world.mine(1);
            world.wait(60_000);
            world.run(4);
            assert_eq!(world.delivered() as u128, delivered, "cap {cap}");
            assert!(at_risk(&world) <= cap);
        }
        assert_eq!(world.replayed(), world.machine);
    }
}
