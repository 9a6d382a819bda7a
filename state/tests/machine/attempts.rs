//! How often a delegated request is attempted that nobody created, what it waits for, and which
//! item of a batch a block has answered.

use crate::{
    common::*,
    scenes::{block, newest, receipt},
};
use infernet_state::{
    Config, Effect, Event, Issued,
    delegation::delegated_job_id,
    delivery::{Loss, State},
    event::{ChainFact, Failure, Outcome, Subscription, Success},
    job::{Cause, Stage},
    ledger::Role,
    machine::Verdict,
    types::{Amount, Hash, SubscriptionId},
};

fn stage(world: &World) -> Option<Stage> {
    let job = world.machine.job(delegated_job_id((CONSUMER, 7)));
    job.map(|job| job.stage)
}

/// A request with as many intervals of 100 seconds as there may be.
fn asked(config: Config, price: u128) -> World {
    let mut world = World::new(config);
    world.mine(1);
    let mut terms = subscription(&["alpha"]);
    (terms.period, terms.frequency) = (100, u32::MAX);
    terms.active_at = world.head().block.time.as_contract_time();
    terms.payment_amount = price.into();
    let at = world.now();
    world.apply(Event::DelegatedAccepted(delegated(7, terms, at)));
    world
}

type Answering = fn(&mut World, &Issued) -> Option<Outcome>;

/// Passes an interval; gives back how often the container was called.
fn interval(world: &mut World, answering: Answering) -> usize {
    let mut calls = 0;
    for _ in 0..20 {
        while let Some(issued) = world.issued.pop_front() {
            calls += usize::from(matches!(issued.effect, Effect::RunContainer(_)));
            if let Some(outcome) = answering(world, &issued) {
                world.end(&issued, outcome);
            }
        }
        world.mine_block(5, false);
    }
    calls
}

fn container_fails(world: &mut World, issued: &Issued) -> Option<Outcome> {
    match &issued.effect {
        Effect::RunContainer(_) => Some(Outcome::Failed(Failure::Container {
            error: payload("error", 1),
            retry: false,
        })),
        _ => world.answer(issued),
    }
}

fn container_hangs(world: &mut World, issued: &Issued) -> Option<Outcome> {
    match &issued.effect {
        Effect::RunContainer(_) => None,
        _ => world.answer(issued),
    }
}

/// So seldom tried that the interval is over first.
fn consumer_reverts(world: &mut World, issued: &Issued) -> Option<Outcome> {
    match &issued.effect {
        Effect::Simulate { .. } => Some(Outcome::Failed(Failure::Reverted {
            selector: [9; 4],
            reason: "no".into(),
        })),
        _ => world.answer(issued),
    }
}

fn answer_is_too_large(world: &mut World, issued: &Issued) -> Option<Outcome> {
    let mut outcome = world.answer(issued)?;
    if let Outcome::Succeeded(Success::ContainerAnsweredOnchain { deliver_output, .. }) =
        &mut outcome
    {
        deliver_output.len = u32::MAX;
    }
    Some(outcome)
}

fn takes_too_much_gas(world: &mut World, issued: &Issued) -> Option<Outcome> {
    let mut outcome = world.answer(issued)?;
    if let Outcome::Succeeded(Success::Simulated { gas, .. }) = &mut outcome {
        *gas = 5_000_001;
    }
    Some(outcome)
}

fn wallet_is_not_read(world: &mut World, issued: &Issued) -> Option<Outcome> {
    match &issued.effect {
        Effect::ReadPayer { .. } => None,
        _ => world.answer(issued),
    }
}

/// Whoever brought it pays nothing for that, and each attempt is a container's call.
#[test]
fn a_request_that_fails_by_itself_has_three_attempts() {
    let undelivered = |loss| Stage::Failed(Cause::Undelivered(loss));
    let cases: [(Answering, usize, Stage); 5] = [
        (container_fails, 3, Stage::Failed(Cause::Container)),
        (container_hangs, 3, Stage::Failed(Cause::IntervalClosed)),
        (consumer_reverts, 3, Stage::Failed(Cause::IntervalClosed)),
        (answer_is_too_large, 1, undelivered(Loss::TooLarge)),
        (takes_too_much_gas, 1, undelivered(Loss::TooMuchGas)),
    ];
    for (place, (answering, attempts, end)) in cases.into_iter().enumerate() {
        let mut world = asked(config(), 0);
        let calls: Vec<usize> = (0..6).map(|_| interval(&mut world, answering)).collect();
        let mut expected = vec![1; attempts];
        expected.resize(6, 0);
        assert_eq!(calls, expected, "case {place}");
        assert_eq!(stage(&world), Some(end), "case {place}");
        assert_eq!(world.machine.pending().onchain, 0, "case {place}");
        assert_eq!(world.replayed(), world.machine);
    }
}

/// What is the chain's fault takes none of them.
#[test]
fn an_interval_in_which_no_container_was_called_is_no_attempt() {
    let mut world = asked(config(), 1_000);
    for _ in 0..6 {
        assert_eq!(interval(&mut world, wallet_is_not_read), 0);
    }
    assert!(matches!(stage(&world), Some(Stage::ReadingPayer)));
    assert_eq!(interval(&mut world, container_fails), 1);
    assert_eq!(interval(&mut world, container_fails), 1);
    world.mine(1);
    world.run(3);
    assert_eq!(world.delivered(), 1, "the third");
}

/// It has a place in the waiting room, and nothing would ever begin it.
#[test]
fn a_request_that_was_signed_as_cancelled_fails_at_once() {
    for known in [true, false] {
        let mut world = World::new(config());
        world.mine(1);
        let terms = |active_at| Subscription {
            active_at,
            ..subscription(&["alpha"])
        };
        let now = world.head().block.time.as_contract_time();
        world.next.push(Next::Delegated(terms(now), 7, known));
        world.mine(1);
        let mut request = delegated(7, terms(u32::MAX), world.now());
        request.known_id = SubscriptionId(1);
        let event = Event::DelegatedAccepted(request);
        assert_eq!(world.machine.check(&event), Verdict::Accept);
        world.apply(event);
        assert_eq!(stage(&world), Some(Stage::Failed(Cause::Cancelled)));
        // And nothing brings it back.
        world.reorg(1);
        world.mine_block(1, false);
        assert_eq!(stage(&world), Some(Stage::Failed(Cause::Cancelled)));
        assert_eq!(world.machine.next_block_deadline().time, None);
        assert_eq!(world.replayed(), world.machine);
    }
}

/// After a reorg another has the third's id, and the node answered that in the same block: the
/// third's answer, in the old batch, reverted there.
#[test]
fn what_a_batch_answered_is_known_by_who_it_was_for() {
    let (mut world, single, batch) = batch_for_the_past(&subscription(&["alpha"]), config());
    let mut facts = vec![receipt(0, single, true), answered(1)];
    facts.extend([stranger(subscription(&["beta"])), answered(3)]);
    facts.extend([receipt(1, batch, true), answered(2)]);
    block(&mut world, facts, 2);
    assert_eq!(included(&world), [(1, true), (2, true), (3, false)]);
    assert_eq!(world.replayed(), world.machine);
}

/// After a reorg the third's record came again in another block, and the old batch answered that
/// before it could be replaced: what it earned there is booked.
#[test]
fn what_a_batch_brought_to_another_life_of_an_id_is_booked() {
    let mut terms = subscription(&["alpha"]);
    terms.payment_amount = Amount::from(1_000_u128);
    let (mut world, single, batch) = batch_for_the_past(&terms, config());
    let mut facts = vec![stranger(terms), receipt(0, single, true), answered(1)];
    facts.extend([receipt(1, batch, true), answered(2), answered(3)]);
    block(&mut world, facts, 2);
    assert_eq!(included(&world), [(1, true), (2, true), (3, true)]);
    let earned = world.machine.ledger().totals(Role::Earnings, NATIVE);
    assert_eq!(earned.credits_pending, Amount::from(3_000_u128).into());
    assert_eq!(world.replayed(), world.machine);
}

fn answered(id: u32) -> ChainFact {
    ChainFact::SubscriptionFulfilled {
        id: SubscriptionId(id),
        node: NODE,
    }
}

fn stranger(subscription: Subscription) -> ChainFact {
    ChainFact::SubscriptionCreated {
        id: SubscriptionId(3),
        subscription,
        delegation: None,
    }
}

fn included(world: &World) -> Vec<(u32, bool)> {
    let all = world.machine.deliveries().iter();
    all.map(|(_, of)| (of.identity.id.0, matches!(of.state, State::Included(_))))
        .collect()
}

/// The first's answer was sent alone, those of the second and third in one batch; then a reorg
/// took the third away.
fn batch_for_the_past(terms: &Subscription, config: Config) -> (World, Hash, Hash) {
    let mut world = World::new(batching(config, 3));
    world.next = vec![Next::Create(terms.clone()); 2];
    world.mine(1);
    world.next = vec![Next::Create(terms.clone())];
    world.mine(1);
    let mut signatures = Vec::new();
    let mut settle_but_signatures = |world: &mut World| {
        while let Some(issued) = world.issued.pop_front() {
            if matches!(issued.effect, Effect::Sign { .. }) {
                signatures.push(issued);
            } else if let Some(outcome) = world.answer(&issued) {
                world.end(&issued, outcome);
            }
        }
    };
    settle_but_signatures(&mut world);
    world.mine_block(1, false);
    settle_but_signatures(&mut world);
    for issued in signatures {
        let outcome = world.answer(&issued).expect("signed");
        world.end(&issued, outcome);
    }
    world.settle();
    let (single, batch) = (newest(&world, 0), newest(&world, 1));
    world.reorg(2);
    (world, single, batch)
}
