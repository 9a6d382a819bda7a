//! What operators and clients are shown, and what a client may give up.

use crate::common::*;
use infernet_state::{
    Event,
    delegation::delegated_job_id,
    delivery::{Inclusion, Loss, State},
    event::{ChainFact, Receipt},
    job::{Cause, Stage},
    ledger::Role,
    machine::{JobStatus, Refusal, Verdict},
    types::{DeliveryNo, JobId},
};

const FIRST: DeliveryNo = DeliveryNo(1);

/// A callback whose answer is in the pool.
fn pooled(config: infernet_state::Config) -> World {
    let mut world = world_with(config, &subscription(&["alpha"]), 1);
    world.mine(1);
    world.mine(1);
    world.settle();
    world
}

/// The receipts of the newest block.
fn receipts(world: &World) -> Vec<Receipt> {
    let facts = world.head().facts.iter();
    facts
        .filter_map(|fact| match fact {
            ChainFact::TransactionIncluded(receipt) => Some(receipt.clone()),
            _ => None,
        })
        .collect()
}

fn shown(world: &World) -> (State, Option<Inclusion>, Option<Inclusion>) {
    let delivery = world.machine.deliveries().get(FIRST).expect("it is kept");
    (
        delivery.state,
        world.machine.inclusion_of(delivery),
        delivery.settled,
    )
}

#[test]
fn what_is_final_tells_by_which_transaction() {
    let mut world = pooled(config());
    assert!(matches!(shown(&world), (State::Sent(_), None, None)));
    world.mine(1);
    let receipt = receipts(&world).pop().expect("included");
    let by = Inclusion {
        nonce: receipt.nonce,
        tx: receipt.tx,
        block: world.head().block.number,
    };
    assert_eq!(shown(&world), (State::Included(by.nonce), Some(by), None));
    // A block that is gone is told no longer.
    world.reorg(1);
    assert!(matches!(shown(&world), (State::Sent(_), None, None)));
    world.settle();
    world.mine(1);
    world.mine(1);
    world.finalize(0);
    assert_eq!(world.machine.transaction(by.nonce), None, "it is closed");
    assert_eq!(shown(&world), (State::Final, Some(by), Some(by)));
    world.machine.audit().expect("every invariant");
    assert_eq!(world.replayed(), world.machine);
}

#[test]
fn what_reverted_tells_by_which_transaction() {
    let mut config = config();
    config.limits.delivery_attempts_max = 1;
    let mut world = pooled(config);
    // Somebody else meets the interval in the same block.
    world.next = vec![Next::Fulfil(1, OTHER)];
    world.mine(1);
    let receipt = receipts(&world).pop().expect("included");
    assert!(!receipt.succeeded);
    let lost = State::Abandoned(Loss::Reverted);
    assert_eq!(shown(&world), (lost, None, None));
    let by = Inclusion {
        nonce: receipt.nonce,
        tx: receipt.tx,
        block: world.head().block.number,
    };
    world.finalize(0);
    assert_eq!(shown(&world), (lost, None, Some(by)));
    assert_eq!(world.replayed(), world.machine);
}

#[test]
fn a_higher_fee_is_as_configured() {
    for percent in [10, 25, 100] {
        let mut config = config();
        config.limits.fee_bump_percent = percent;
        let mut world = pooled(config);
        let fee = |world: &World| world.pool.values().map(|tx| tx.max_fee).max();
        let before = fee(&world).expect("pooled");
        world.wait(10_000);
        world.settle();
        let more = before * u128::from(percent) / 100;
        assert_eq!(fee(&world), Some(before + more + 1), "{percent} percent");
    }
}

fn judged(world: &World, job: JobId) -> Verdict {
    let at = world.now();
    world.machine.check(&Event::JobCancelled { job, at })
}

fn cancel(world: &mut World, job: JobId) {
    let at = world.now();
    world.apply(Event::JobCancelled { job, at });
}

#[test]
fn a_clients_job_is_given_up_once_and_not_when_it_is_done() {
    let mut world = World::new(config());
    let (done, open) = (JobId([1; 16]), JobId([2; 16]));
    assert_eq!(judged(&world, done), Verdict::Refused(Refusal::UnknownJob));
    for (number, id) in [(1, done), (2, open)] {
        let request = job(number, &["alpha"], world.now());
        world.apply(Event::JobAccepted(request));
        assert_eq!(judged(&world, id), Verdict::Accept);
        if id == done {
            world.settle();
        }
    }
    assert_eq!(judged(&world, done), Verdict::Refused(Refusal::Done));
    cancel(&mut world, open);
    // The container's call is stopped, and a second wish changes nothing.
    assert_eq!(judged(&world, open), Verdict::Known(open));
    let before = world.machine.job_status(open);
    cancel(&mut world, open);
    assert_eq!(world.machine.job_status(open), before);
    assert!(
        matches!(before, Some(JobStatus::Failed { ref reason, .. }) if reason == "cancelled"),
        "{before:?}"
    );
    world.settle();
    assert_eq!(world.machine.job_status(open), before, "a late answer");
}

#[test]
fn a_delegated_request_is_given_up_until_its_answer_is_in_a_block() {
    let id = delegated_job_id((CONSUMER, 7));
    let stage = |world: &World| world.machine.job(id).map(|job| job.stage);
    let mut world = World::new(config());
    world.mine(1);
    let at = world.now();
    let request = delegated(7, subscription(&["alpha"]), at);
    world.apply(Event::DelegatedAccepted(request.clone()));
    assert_eq!(judged(&world, id), Verdict::Accept);
    world.settle();
    assert_eq!(stage(&world), Some(Stage::Delivering));
    assert_eq!(judged(&world, id), Verdict::Accept);
    let mut given_up = World::new(config());
    world.mine(1);
    assert_eq!(stage(&world), Some(Stage::Included));
    assert_eq!(judged(&world, id), Verdict::Refused(Refusal::InBlock));
    world.finalize(0);
    assert_eq!(judged(&world, id), Verdict::Refused(Refusal::Done));

    // One whose answer is in the pool: it is replaced by an empty transfer.
    given_up.mine(1);
    given_up.apply(Event::DelegatedAccepted(request));
    given_up.settle();
    cancel(&mut given_up, id);
    assert_eq!(stage(&given_up), Some(Stage::Failed(Cause::Cancelled)));
    assert_eq!(judged(&given_up, id), Verdict::Known(id));
    given_up.settle();
    given_up.run(2);
    assert_eq!(given_up.delivered(), 0);
    assert_eq!(stage(&given_up), Some(Stage::Failed(Cause::Cancelled)));
}

/// Others answered it: its job failed, and a reorg may take back what they did.
#[test]
fn what_may_be_begun_again_is_withdrawn_although_it_failed() {
    let id = delegated_job_id((CONSUMER, 7));
    let mut world = World::new(config());
    world.mine(1);
    let terms = subscription(&["alpha"]);
    let at = world.now();
    world.apply(Event::DelegatedAccepted(delegated(7, terms.clone(), at)));
    world.next = vec![Next::Delegated(terms, 7, false), Next::Cancel(1)];
    world.mine(1);
    world.settle();
    let failed = world.machine.job_status(id);
    assert!(
        matches!(failed, Some(JobStatus::Failed { .. })),
        "{failed:?}"
    );
    assert_eq!(judged(&world, id), Verdict::Accept);
    cancel(&mut world, id);
    assert_eq!(world.machine.job_status(id), failed);
    assert_eq!(judged(&world, id), Verdict::Known(id));
    world.reorg(1);
    world.run(3);
    assert_eq!(world.delivered(), 0);
}

#[test]
fn requests_without_an_id_are_listed_until_they_have_one() {
    let mut world = World::new(config());
    world.mine(1);
    let mut waiting = subscription(&["alpha"]);
    waiting.active_at = world.head().block.time.as_contract_time() + 50;
    for nonce in 1..=5 {
        // Equal but for the nonce, and others.
        waiting.redundancy = if nonce > 3 { 2 } else { 1 };
        let at = world.now();
        let request = delegated(nonce, waiting.clone(), at);
        world.apply(Event::DelegatedAccepted(request));
    }
    let at = world.now();
    let begun = delegated(6, subscription(&["alpha"]), at);
    world.apply(Event::DelegatedAccepted(begun));
    let listed = |world: &World| {
        let mut nonces = Vec::new();
        let mut from = Some(Default::default());
        while let Some(place) = from {
            // Pages of two.
            let mut page = world.machine.delegations().unnamed_from(place);
            nonces.extend(page.by_ref().take(2).map(|(at, _)| at.1.1));
            from = page.next().map(|(at, _)| at);
        }
        nonces.sort_unstable();
        nonces
    };
    assert_eq!(listed(&world), [1, 2, 3, 4, 5, 6]);
    world.run(2);
    assert_eq!(world.delivered(), 1);
    assert_eq!(listed(&world), [1, 2, 3, 4, 5]);
}

/// What [`Role::ALL`] leaves out, nobody is shown.
#[test]
fn every_role_is_among_all() {
    let place = |role| match role {
        Role::NodeAccount => 0,
        Role::NodeWallet => 1,
        Role::Receivable => 2,
        Role::Escrow => 3,
        Role::Stake => 4,
        Role::Earnings => 5,
        Role::ProtocolFees => 6,
        Role::VerifierFees => 7,
        Role::Slashes => 8,
        Role::Gas => 9,
        Role::DataFees => 10,
        Role::Suspense => 11,
        Role::Owner => 12,
    };
    assert_eq!(Role::ALL.map(place).to_vec(), (0..13).collect::<Vec<_>>());
    assert!(Role::ALL.is_sorted());
}
