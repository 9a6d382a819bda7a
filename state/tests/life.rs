//! Whole lives, from fact to final: what the node does for a subscription or a client, and what
//! its books say afterwards.

mod common;

use common::*;
use infernet_state::{
    Effect, Event,
    delivery::State,
    job::Stage,
    ledger::{Balance, Role},
    machine::JobStatus,
    types::{Amount, Interval, JobId, Nonce, SubscriptionId},
};

fn stage(world: &World, id: u32, interval: u32) -> Stage {
    world
        .machine
        .jobs()
        .by_interval(SubscriptionId(id), Interval(interval))
        .expect("a job")
        .1
        .stage
}

fn balance(world: &World, role: Role) -> Balance {
    world.machine.ledger().totals(role, NATIVE).posted()
}

#[test]
fn a_paid_callback_is_delivered_once_and_booked() {
    let mut world = World::new(config());
    let mut paid = subscription(&["alpha"]);
    paid.payment_amount = Amount::from(1_000);
    world.next = vec![Next::Create(paid)];
    world.mine(1);
    assert!(world.issued.is_empty(), "one block deep is not deep enough");
    world.run(4);
    assert_eq!(world.delivered(), 1);
    assert_eq!(stage(&world, 1, 1), Stage::Succeeded);
    let gas = u128::from(GAS_USED) * GAS_PRICE;
    assert_eq!(
        balance(&world, Role::NodeWallet),
        Balance::Debit(950.into())
    );
    assert_eq!(
        balance(&world, Role::Earnings),
        Balance::Credit(1_000.into())
    );
    assert_eq!(
        balance(&world, Role::ProtocolFees),
        Balance::Debit(50.into())
    );
    assert_eq!(balance(&world, Role::Receivable), Balance::Debit(0.into()));
    assert_eq!(balance(&world, Role::Gas), Balance::Debit(gas.into()));
    let replayed = world.replayed();
    assert_eq!(replayed.digest(), world.machine.digest());
    assert_eq!(replayed, world.machine);
}

#[test]
fn a_recurring_subscription_is_answered_in_each_interval() {
    let mut world = World::new(config());
    let mut recurring = subscription(&["alpha", "beta"]);
    recurring.period = 60;
    recurring.frequency = 3;
    world.next = vec![Next::Create(recurring)];
    world.mine(1);
    for _ in 0..300 {
        world.settle();
        world.mine(1);
    }
    world.finalize(0);
    assert_eq!(world.delivered(), 3);
    for interval in 1..=3 {
        assert_eq!(stage(&world, 1, interval), Stage::Succeeded);
    }
    assert_eq!(world.machine.next_block_deadline().time, None);
}

#[test]
fn a_clients_job_runs_through_its_containers_and_survives_crashes() {
    let mut world = World::new(config());
    let at = world.now();
    world.apply(Event::JobAccepted(job(1, &["alpha", "beta"], at)));
    // Crash: the call is issued again with its next attempt, and the old outcome is late.
    let first = world.issued[0].clone();
    world.start(None);
    let again = world.issued[0].clone();
    assert_eq!((first.id, first.attempt + 1), (again.id, again.attempt));
    let outcome = world.answer(&first).expect("an answer");
    world.end(&first, outcome);
    assert_eq!(
        world.machine.job_status(JobId([1; 16])),
        Some(JobStatus::Running)
    );
    world.settle();
    let Some(JobStatus::Success { container, .. }) = world.machine.job_status(JobId([1; 16]))
    else {
        panic!("not done");
    };
    assert_eq!(container, "beta");
    assert_eq!(
        world
            .machine
            .job(JobId([1; 16]))
            .map(|job| job.results.len()),
        Some(2)
    );
    // A container that must not run twice fails instead.
    world.apply(Event::JobAccepted(job(2, &["gamma"], at)));
    world.start(None);
    assert!(world.issued.is_empty());
    let Some(JobStatus::Failed { container, .. }) = world.machine.job_status(JobId([2; 16])) else {
        panic!("must fail");
    };
    assert_eq!(container, "gamma");
}

#[test]
fn a_reorg_that_takes_the_inclusion_sends_the_same_bytes_again() {
    let mut world = World::new(config());
    world.next = vec![Next::Create(subscription(&["alpha"]))];
    world.mine(1);
    world.mine(1);
    world.settle();
    world.mine(1);
    assert_eq!(world.delivered(), 1);
    let tx = world.signed.values().next().expect("signed").hash;
    world.reorg(1);
    assert_eq!(stage(&world, 1, 1), Stage::Delivering);
    world.pool.clear();
    world.settle();
    assert!(world.pool.contains_key(&tx), "the same bytes");
    world.run(2);
    assert_eq!(world.delivered(), 1);
    assert_eq!(stage(&world, 1, 1), Stage::Succeeded);
    assert!(world.machine.ledger().balances());
    let voided = world
        .machine
        .ledger()
        .entries()
        .filter(|(_, entry)| entry.state == infernet_state::ledger::EntryState::Voided)
        .count();
    assert_eq!(voided, 1, "the gas of the inclusion that is gone");
}

#[test]
fn an_answer_never_reaches_a_stranger_that_took_over_the_id() {
    let mut world = World::new(config());
    world.next = vec![Next::Create(subscription(&["alpha"]))];
    world.mine(1);
    world.mine(1);
    world.settle();
    assert_eq!(world.pool.len(), 1);
    world.reorg(2);
    world.settle();
    let fill = world.pool.values().next().expect("a replacement");
    assert_eq!(fill.action, infernet_state::effect::Action::FillNonce);
    assert_eq!(fill.nonce, 0);
    // The stranger is answered for its own sake.
    world.next = vec![Next::Create(subscription(&["beta"]))];
    world.mine(1);
    world.run(4);
    assert_eq!(world.delivered(), 1);
    assert_eq!(stage(&world, 1, 1), Stage::Succeeded);
}

#[test]
fn a_foreign_nonce_is_healed_and_a_log_behind_the_chain_is_quarantined() {
    let mut world = World::new(config());
    world.next = vec![Next::Create(subscription(&["alpha"]))];
    world.mine(1);
    world.mine(1);
    world.settle();
    world.next = vec![Next::Foreign];
    world.mine(1);
    world.wait(1_000);
    world.run(3);
    assert_eq!(world.delivered(), 1);
    assert_eq!(world.machine.account().foreign_nonces(), 1);
    assert_eq!(world.machine.account().next_nonce(), Some(Nonce(2)));
    // The same key was used while the node was down.
    world.blocks.last_mut().expect("a block").nonce += 3;
    world.start(None);
    assert!(world.machine.account().quarantine().is_some());
    world.next = vec![Next::Create(subscription(&["alpha"]))];
    world.mine(1);
    world.run(3);
    assert_eq!(world.delivered(), 1, "nothing is sent in quarantine");
    world.apply(Event::QuarantineLifted);
    world.run(3);
    assert_eq!(world.delivered(), 2);
}

#[test]
fn an_unincluded_transaction_is_bumped_and_an_unknown_one_looked_up() {
    let mut world = World::new(config());
    world.next = vec![Next::Create(subscription(&["alpha"]))];
    world.mine(1);
    world.mine(1);
    while let Some(issued) = world.issued.pop_front() {
        let outcome = if matches!(issued.effect, Effect::Broadcast { .. }) {
            infernet_state::event::Outcome::Unknown {
                reason: "time-out".into(),
            }
        } else {
            world.answer(&issued).expect("an answer")
        };
        world.end(&issued, outcome);
        if matches!(
            world.issued.front().map(|i| &i.effect),
            Some(Effect::LookUpTransaction { .. })
        ) {
            break;
        }
    }
    assert!(world.pool.is_empty());
    world.settle();
    let first = world
        .pool
        .values()
        .next()
        .expect("sent after the look")
        .clone();
    world.wait(20_000);
    world.settle();
    let second = world.pool.values().next().expect("bumped").clone();
    assert_eq!(first.nonce, second.nonce);
    assert!(second.max_fee >= first.max_fee + first.max_fee / 8);
    world.run(2);
    assert_eq!(world.delivered(), 1);
    assert!(matches!(
        world
            .machine
            .deliveries()
            .iter()
            .next()
            .map(|(_, d)| d.state),
        Some(State::Final)
    ));
}
