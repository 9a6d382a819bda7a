//! The rules that decide what the node takes on, at their edges: admission and its reasons, what
//! may be at stake, the profit guard, retention, the breaker, idempotency.

use crate::common::{act::spoiled, judge::at_the_end, *};
use infernet_state::{
    Effect, Event,
    effect::Action,
    job::{Cause, Stage},
    types::Amount,
};

/// A delegated subscription that is withdrawn before it is active leaves nothing behind: neither
/// an entry that would begin it all the same, nor one that a client could pile up.
#[test]
fn a_withdrawn_delegated_subscription_never_begins() {
    let mut world = World::new(config());
    let mut terms = subscription(&["alpha"]);
    terms.payment_amount = Amount::from(1_000);
    terms.active_at = world.head().block.time.as_contract_time() + 20;
    world.mine(1);
    let at = world.now();
    world.apply(Event::DelegatedAccepted(delegated(7, terms, at)));
    assert!(world.machine.next_block_deadline().time.is_some());
    let job = infernet_state::delegation::delegated_job_id((CONSUMER, 7));
    world.apply(Event::JobCancelled { job, at });
    assert_eq!(world.machine.next_block_deadline().time, None);
    world.mine(30);
    assert!(world.issued.is_empty(), "nobody waits for its payer");
    let stage = world.machine.job(job).expect("it is kept").stage;
    assert_eq!(stage, Stage::Failed(Cause::Cancelled));
}

/// The consumer emptied its wallet: nobody can finalise, and stake and price stay locked. The
/// node comes back to it for as long as it takes.
#[test]
fn a_finalisation_that_reverts_is_tried_until_it_succeeds() {
    let mut world = World::new(with_prover());
    world.next = vec![Next::Create(verified(10_000))];
    world.mine(1);
    world.run(6);
    assert_eq!(world.machine.proofs().iter().count(), 1);
    world.mine(604_801);
    let mut refused = 0;
    for _ in 0..40 {
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
    let attempts = world
        .machine
        .config()
        .expect("one")
        .limits
        .delivery_attempts_max;
    assert_eq!(refused, 2 * attempts, "a round, a day's rest, another");
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
    let mut world = World::new(with_prover());
    world.next = vec![Next::Create(verified(10_000))];
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
