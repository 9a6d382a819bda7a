//! Whole lives, from fact to final: what the node does for a subscription or a client, and what
//! its books say afterwards.

use crate::common::*;
use infernet_state::{
    Effect, Event,
    delivery::State,
    effect::Action,
    event::{Outcome, Success},
    job::Stage,
    ledger::{Balance, Role},
    machine::JobStatus,
    types::{Amount, Interval, JobId, Nonce, Seq, SubscriptionId},
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

#[test]
fn a_proof_is_staked_for_judged_and_booked_both_ways() {
    for (valid, wait, wallet, earned, slashed) in [
        (true, 1, 8_500, 10_000, 0),
        (false, 1, -10_000, 1_500, 10_000),
        (false, 604_801, 8_500, 10_000, 0),
    ] {
        let mut world = world_with(with_prover(), &verified(10_000), 1);
        world.mine(1);
        world.run(6);
        assert_eq!(world.delivered(), 1, "approved, then delivered");
        assert_eq!(
            world.machine.chores().allowance(NATIVE),
            Amount::from(10_000)
        );
        assert_eq!(balance(&world, Role::Stake), Balance::Debit(10_000.into()));
        assert_eq!(balance(&world, Role::Escrow), Balance::Debit(8_500.into()));
        if wait == 1 {
            world.next = vec![Next::Judge(0, valid)];
            world.mine(wait);
        } else {
            // Nobody judges: the node finalises itself when the week has passed.
            world.mine(wait);
        }
        world.run(4);
        assert!(world.head().proofs.is_empty());
        assert!(world.machine.proofs().iter().next().is_none());
        for (role, amount) in [
            (Role::Stake, 0),
            (Role::Escrow, 0),
            (Role::Receivable, 0),
            (Role::NodeWallet, wallet),
            (Role::Earnings, -earned),
            (Role::ProtocolFees, 500 + 25),
            (Role::VerifierFees, 975),
            (Role::Slashes, slashed),
        ] {
            let size = u128::from(i64::unsigned_abs(amount)).into();
            let expected = if amount < 0 {
                Balance::Credit(size)
            } else {
                Balance::Debit(size)
            };
            assert_eq!(balance(&world, role), expected, "{role:?}, valid {valid}");
        }
        assert_eq!(world.replayed(), world.machine);
    }
}

#[test]
fn a_delegated_subscription_is_created_by_its_delivery_and_then_an_ordinary_one() {
    let mut world = World::new(config());
    let mut terms = subscription(&["alpha"]);
    terms.period = 100;
    terms.frequency = 3;
    terms.active_at = world.head().block.time.as_contract_time() + 20;
    world.mine(1);
    let request = delegated(7, terms.clone(), world.now());
    world.apply(Event::DelegatedAccepted(request.clone()));
    // The same again is known, another body is a conflict.
    let id = infernet_state::delegation::delegated_job_id((CONSUMER, 7));
    let known = infernet_state::machine::Verdict::Known(id);
    assert_eq!(
        world
            .machine
            .check(&Event::DelegatedAccepted(request.clone())),
        known
    );
    let mut other = request;
    other.input = payload("other", 1);
    assert_eq!(
        world.machine.check(&Event::DelegatedAccepted(other)),
        infernet_state::machine::Verdict::Refused(infernet_state::machine::Refusal::Conflict)
    );
    assert!(world.issued.is_empty(), "not active yet");
    for _ in 0..30 {
        world.settle();
        world.mine(1);
    }
    assert_eq!(world.delivered(), 1);
    assert_eq!(stage(&world, 1, 1), Stage::Included);
    // The creation goes with its block; signature and nonce still hold.
    let depth = world
        .blocks
        .iter()
        .rev()
        .take_while(|b| !b.delegated.is_empty())
        .count();
    world.reorg(depth);
    assert!(world.machine.subscriptions().is_empty());
    for _ in 0..290 {
        world.settle();
        world.mine(1);
    }
    world.finalize(0);
    assert_eq!(world.delivered(), 3);
    assert_eq!(world.machine.subscriptions().len(), 1);
    assert!(matches!(
        world.machine.job_status(id),
        Some(JobStatus::Success { .. })
    ));
    assert_eq!(world.replayed(), world.machine);
}

#[test]
fn ready_answers_go_out_as_one_batch_and_each_item_stands_alone() {
    let mut world = world_with(batching(config(), 3), &subscription(&["alpha"]), 5);
    world.mine(1);
    world.mine(1);
    world.settle();
    let mut sizes: Vec<usize> = world
        .pool
        .values()
        .map(|tx| match &tx.action {
            infernet_state::effect::Action::DeliverBatch(items) => items.len(),
            _ => 1,
        })
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes.iter().sum::<usize>(), 5);
    assert!(sizes.len() < 5, "at least one batch");
    // Another node meets one of them first: the others of its batch still count.
    world.next = vec![Next::Fulfil(3, OTHER)];
    world.mine(1);
    assert_eq!(world.delivered(), 4);
    world.wait(1_000);
    world.run(3);
    assert_eq!(world.delivered(), 4);
    assert!(matches!(stage(&world, 3, 1), Stage::Failed(_)));
    assert_eq!(stage(&world, 4, 1), Stage::Succeeded);
}

/// The contract shares a batch's gas out evenly over what is still to come: who is early in the
/// queue is in the batch, and who needs much is at its end.
#[test]
fn the_heavy_ones_of_a_batch_come_last() {
    let mut world = world_with(batching(config(), 3), &subscription(&["alpha"]), 5);
    world.mine(1);
    world.mine(1);
    while let Some(issued) = world.issued.pop_front() {
        let Some(mut outcome) = world.answer(&issued) else {
            continue;
        };
        if let Effect::Simulate {
            action: Action::Deliver(delivery),
            ..
        } = &issued.effect
            && let Outcome::Succeeded(Success::Simulated { gas, .. }) = &mut outcome
        {
            // The third needs as much as the fourth.
            *gas = match delivery.subscription.0 {
                2 => 900_000,
                5 => 100_000,
                _ => 300_000,
            };
        }
        world.end(&issued, outcome);
    }
    let batches: Vec<Vec<u32>> = world
        .pool
        .values()
        .filter_map(|tx| match &tx.action {
            Action::DeliverBatch(items) => Some(items.iter().map(|d| d.subscription.0).collect()),
            _ => None,
        })
        .collect();
    assert_eq!(batches, [[3, 4, 2]]);
    world.run(3);
    assert_eq!(world.delivered(), 5);
}

#[test]
fn repeated_losses_pause_intake_and_redundancy_met_by_others_is_not_sent() {
    let mut careful = config();
    careful.limits.breaker_losses = 2;
    careful.limits.breaker_pause_ms = 60_000;
    let mut world = World::new(careful);
    world.next = vec![Next::Create(subscription(&["alpha"]))];
    world.mine(1);
    world.next = vec![Next::Fulfil(1, OTHER)];
    world.mine(1);
    world.run(2);
    assert_eq!(world.delivered(), 0);
    assert!(world.signed.is_empty(), "met before: not sent");
    // Two deliveries that others precede in the very block of their inclusion.
    for id in [2, 3] {
        world.next = vec![Next::Create(subscription(&["alpha"]))];
        world.mine(1);
        world.mine(1);
        world.settle();
        world.next = vec![Next::Fulfil(id, OTHER)];
        world.mine(1);
    }
    assert!(world.machine.paused());
    world.next = vec![Next::Create(subscription(&["alpha"]))];
    world.mine(1);
    world.run(2);
    assert!(
        world
            .machine
            .jobs()
            .by_interval(SubscriptionId(4), Interval(1))
            .is_none()
    );
    world.wait(60_000);
    world.run(3);
    assert_eq!(world.delivered(), 1);
}

#[test]
fn a_statement_of_any_range_is_what_a_replay_shows() {
    use infernet_state::{Machine, ledger::Statement};

    let mut world = World::new(config());
    for _ in 0..3 {
        let mut terms = subscription(&["alpha"]);
        terms.payment_amount = 1_000.into();
        world.next.push(Next::Create(terms));
    }
    world.run(2);
    world.reorg(1);
    world.run(6);
    let kept = |from, to| -> Vec<_> {
        let entries = world.machine.ledger().statement(Seq(from), Seq(to));
        entries
            .into_iter()
            .map(|(no, entry)| (no, entry.clone()))
            .collect()
    };
    let last = world.machine.seq().0;
    for (from, to) in [
        (1, last),
        (5, last / 2),
        (last / 2, last),
        (last, last),
        (9, 2),
    ] {
        let (mut machine, mut statement) = (Machine::new(), Statement::new(Seq(from), Seq(to)));
        for event in &world.log {
            machine.apply(event).expect("no halt");
            statement.follow(machine.seq(), machine.ledger());
        }
        let shown: Vec<_> = statement
            .entries()
            .map(|(no, entry)| (no, entry.clone()))
            .collect();
        assert_eq!(shown, kept(from, to), "{from} to {to}");
    }
    assert!(kept(1, last).len() > 10);
}
