//! Delegated requests beside the chain's own records: the same nonce brought again, an id that is
//! another's, work that was begun already, rooms that are full.

use crate::{common::*, scenes::block};
use infernet_state::{
    Effect, Event,
    admission::Reason,
    config::ClientId,
    delegation::delegated_job_id,
    effect::ContainerCall,
    event::{ChainFact, DelegatedRequest, Failure, Outcome, Subscription},
    job::{Cause, Stage},
    machine::{JobStatus, Refusal, Verdict},
    types::{Address, Interval, JobId, SubscriptionId},
};

fn id() -> JobId {
    delegated_job_id((CONSUMER, 7))
}

fn stage(world: &World) -> Option<Stage> {
    world.machine.job(id()).map(|job| job.stage)
}

/// Three intervals of 100 seconds, of which the first begins now.
fn recurring(world: &World) -> Subscription {
    let mut terms = subscription(&["alpha"]);
    (terms.period, terms.frequency) = (100, 3);
    terms.active_at = world.head().block.time.as_contract_time();
    terms
}

fn bring(world: &mut World, terms: &Subscription, known: u32) -> DelegatedRequest {
    let mut request = delegated(7, terms.clone(), world.now());
    request.known_id = SubscriptionId(known);
    world.apply(Event::DelegatedAccepted(request.clone()));
    request
}

/// The container calls that are asked for, and no other effect is.
fn calls(world: &World) -> Vec<ContainerCall> {
    let call = |issued: &infernet_state::Issued| match &issued.effect {
        Effect::RunContainer(call) => call.clone(),
        effect => panic!("{effect:?}"),
    };
    world.issued.iter().map(call).collect()
}

fn fail(world: &mut World) {
    let call = world.issued.pop_front().expect("the container is called");
    let failed = Failure::Container {
        error: payload("error", 1),
        retry: false,
    };
    world.end(&call, Outcome::Failed(failed));
}

/// The first durable request of a nonce wins: whatever differs in the next is a conflict.
#[test]
fn another_request_under_the_same_nonce_is_a_conflict() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = subscription(&["alpha"]);
    let first = bring(&mut world, &terms, 0);
    let ask = |request| world.machine.check(&Event::DelegatedAccepted(request));
    let mut same = first.clone();
    same.client = ClientId([2; 16]);
    same.at = world.now();
    assert_eq!(ask(same), Verdict::Known(id()));
    let changes: [fn(&mut DelegatedRequest); 6] = [
        |other| other.input = payload("other", 1),
        |other| other.expiry -= 1,
        |other| other.v = 28,
        |other| other.r = hash("other", 1),
        |other| other.s = hash("other", 1),
        |other| other.subscription.redundancy = 2,
    ];
    for (place, change) in changes.iter().enumerate() {
        let mut other = first.clone();
        change(&mut other);
        let conflict = Verdict::Refused(Refusal::Conflict);
        assert_eq!(ask(other), conflict, "change {place}");
    }
}

/// A price is no matter of the request's form: it is accepted, and its job says why not.
#[test]
fn a_request_at_no_price_that_is_taken_fails_at_once() {
    let mut world = World::new(config());
    let mut config = config();
    config.containers[0].accepted_payments = vec![(NATIVE, 100.into())];
    world.apply(Event::ConfigChanged(config));
    world.mine(1);
    bring(&mut world, &subscription(&["alpha"]), 0);
    assert!(world.issued.is_empty());
    let refused = Cause::Refused(Reason::PriceTooLow);
    assert_eq!(stage(&world), Some(Stage::Failed(refused)));
    assert_eq!(world.machine.pending().onchain, 0);
}

/// The ordinary work on an interval came first: the request is not answered beside it.
#[test]
fn a_request_whose_interval_is_worked_on_is_not_answered_beside_it() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = recurring(&world);
    world.next = vec![Next::Delegated(terms.clone(), 7, true)];
    world.mine(1);
    world.mine(1);
    let begun = world.issued.len();
    assert_eq!(begun, 1, "its inputs are read");
    bring(&mut world, &terms, 1);
    assert_eq!(world.issued.len(), begun);
    assert_eq!(stage(&world), Some(Stage::Failed(Cause::Created)));
    world.run(4);
    assert_eq!(world.delivered(), 1);
}

/// And the other way round: the request's work is that of its interval.
#[test]
fn a_request_that_others_create_is_the_work_on_its_interval() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = recurring(&world);
    bring(&mut world, &terms, 0);
    assert_eq!(calls(&world).len(), 1);
    world.next = vec![Next::Delegated(terms, 7, true)];
    world.mine(1);
    world.mine(1);
    assert_eq!(calls(&world).len(), 1, "no second one");
    world.run(4);
    assert_eq!(world.delivered(), 1);
    let job = world
        .machine
        .jobs()
        .by_interval(SubscriptionId(1), Interval(1));
    let of = world.machine.job(id()).expect("kept");
    assert_eq!(job.map(|(_, job)| job), Some(of));
}

/// It was created meanwhile: what its first interval failed at is nobody's second attempt; the
/// next interval is an ordinary one.
#[test]
fn one_that_others_created_is_not_attempted_again_beside_its_record() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = recurring(&world);
    bring(&mut world, &terms, 0);
    world.next = vec![Next::Delegated(terms, 7, true)];
    world.mine(1);
    fail(&mut world);
    assert_eq!(stage(&world), Some(Stage::Failed(Cause::Container)));
    world.mine(99);
    let asked: Vec<_> = world.issued.iter().map(|issued| &issued.effect).collect();
    assert!(
        matches!(asked[..], [Effect::ReadInputs { .. }]),
        "{asked:?}"
    );
    world.run(4);
    assert_eq!(world.delivered(), 1);
}

/// As long as its signature holds then, and as it was asked for.
#[test]
fn an_attempt_in_the_next_interval_needs_the_signature_and_the_proof() {
    for (expiry, again) in [(100, false), (101, true)] {
        let mut world = World::new(with_prover());
        world.mine(1);
        let mut terms = recurring(&world);
        terms.container_id = infernet_state::admission::container_hash(&["prover"]);
        terms.verifier = VERIFIER;
        let mut request = delegated(7, terms.clone(), world.now());
        request.expiry = terms.active_at + expiry;
        world.apply(Event::DelegatedAccepted(request));
        assert!(calls(&world)[0].requires_proof);
        fail(&mut world);
        let failed = Stage::Failed(Cause::Container);
        let expected = if again { Stage::Waiting } else { failed };
        assert_eq!(stage(&world), Some(expected), "{expiry}");
        // A late one fails by its signature; one second more, and nothing of it could be sent.
        world.mine(100);
        assert_eq!(stage(&world).map(Stage::is_end), Some(true));
    }
    let mut world = World::new(with_prover());
    world.mine(1);
    let mut terms = recurring(&world);
    terms.container_id = infernet_state::admission::container_hash(&["prover"]);
    terms.verifier = VERIFIER;
    bring(&mut world, &terms, 0);
    fail(&mut world);
    world.mine(100);
    assert!(calls(&world)[0].requires_proof);
}

/// The failed job of one interval is forgotten while the job of the next goes on.
#[test]
fn a_request_is_known_as_long_as_its_newest_job() {
    let mut config = config();
    config.limits.result_age_max_ms = 1_000;
    let mut world = World::new(config);
    world.mine(1);
    let terms = recurring(&world);
    let request = bring(&mut world, &terms, 0);
    fail(&mut world);
    world.wait(2_000);
    assert_eq!(world.machine.job_status(id()), Some(JobStatus::Running));
    let known = world.machine.check(&Event::DelegatedAccepted(request));
    assert_eq!(known, Verdict::Known(id()));
    world.mine(100);
    world.run(3);
    assert_eq!(world.delivered(), 1);
}

/// More than may be open waits, and more than may wait is refused, whoever asks.
#[test]
fn requests_take_no_more_room_than_there_is() {
    let mut config = config();
    config.limits.jobs_open_max = 1;
    let mut world = World::new(config);
    world.mine(1);
    let request = |world: &World, nonce: u32| {
        let mut request = delegated(nonce, subscription(&["alpha"]), world.now());
        request.client = ClientId([nonce as u8; 16]);
        Event::DelegatedAccepted(request)
    };
    for nonce in 1..=2 {
        let event = request(&world, nonce);
        assert_eq!(world.machine.check(&event), Verdict::Accept, "{nonce}");
        world.apply(event);
    }
    assert_eq!(calls(&world).len(), 1, "the other waits");
    let third = request(&world, 3);
    let busy = Verdict::Refused(Refusal::Busy);
    assert_eq!(world.machine.check(&third), busy);
    world.run(3);
    assert_eq!(world.machine.check(&third), busy, "the first is over");
    world.mine(1);
    assert_eq!(world.machine.check(&third), Verdict::Accept);
    world.run(4);
    assert_eq!(world.delivered(), 2);
}

fn created(id: u32, owner: Address, nonce: Option<u32>) -> ChainFact {
    let mut terms = subscription(&["unheard-of"]);
    terms.owner = owner;
    ChainFact::SubscriptionCreated {
        id: SubscriptionId(id),
        subscription: terms,
        delegation: nonce,
    }
}

/// A known id may turn out to be another's: of another owner, or under another nonce.
#[test]
fn a_known_id_that_is_a_strangers_is_not_the_requests() {
    for (owner, nonce, alias) in [
        (CONSUMER, Some(7), Some(1)),
        (CONSUMER, None, Some(1)),
        (CONSUMER, Some(8), None),
        (OTHER, Some(7), None),
        (OTHER, None, None),
    ] {
        let mut world = World::new(config());
        world.mine(1);
        let mut terms = subscription(&["alpha"]);
        terms.active_at = world.head().block.time.as_contract_time() + 50;
        bring(&mut world, &terms, 1);
        block(&mut world, vec![created(1, owner, nonce)], 0);
        let all = world.machine.delegations();
        let known = all.get((CONSUMER, 7)).expect("kept").id;
        assert_eq!(known, alias.map(SubscriptionId), "{owner}, {nonce:?}");
    }
}

/// A nonce has one id at a time: what was known of it went with its block.
#[test]
fn a_request_has_the_id_that_the_chain_gave_last() {
    let mut world = World::new(config());
    world.mine(1);
    let mut terms = subscription(&["alpha"]);
    terms.active_at = world.head().block.time.as_contract_time() + 50;
    bring(&mut world, &terms, 1);
    block(&mut world, vec![created(2, CONSUMER, Some(7))], 0);
    let all = world.machine.delegations();
    let known = all.get((CONSUMER, 7)).expect("kept").id;
    assert_eq!(known, Some(SubscriptionId(2)));
}

/// What the id holds is not what was signed: nothing is computed for it, or delivered to it.
#[test]
fn a_record_that_was_not_signed_gets_no_answer() {
    for late in [false, true] {
        let mut world = World::new(config());
        world.mine(1);
        let terms = recurring(&world);
        let mut other = terms.clone();
        other.redundancy = 5;
        other.container_id = infernet_state::admission::container_hash(&["unheard-of"]);
        let creation = Next::Delegated(other, 7, true);
        if late {
            // It is heard of while the container computes.
            bring(&mut world, &terms, 0);
            let call = world.issued.pop_front().expect("the container is called");
            world.next = vec![creation];
            world.mine(1);
            let answer = world.answer(&call).expect("it answers");
            world.end(&call, answer);
        } else {
            world.next = vec![creation];
            world.mine(1);
            bring(&mut world, &terms, 1);
        }
        assert!(world.issued.is_empty(), "late: {late}");
        let superseded = Stage::Failed(Cause::Superseded);
        assert_eq!(stage(&world), Some(superseded), "late: {late}");
    }
}

/// Its creation is gone with its block, and the id is a stranger's: both are answered.
#[test]
fn the_work_on_an_id_that_went_is_not_the_strangers() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = subscription(&["alpha"]);
    bring(&mut world, &terms, 0);
    world.next = vec![Next::Delegated(terms, 7, true)];
    world.mine(1);
    let on = |world: &World| {
        let jobs = world.machine.jobs();
        jobs.by_interval(SubscriptionId(1), Interval(1)).is_some()
    };
    assert!(on(&world));
    world.reorg(1);
    assert!(!on(&world));
    world.next = vec![Next::Create(subscription(&["beta"]))];
    world.mine(1);
    world.run(6);
    assert_eq!(world.delivered(), 2);
}

/// The proof of an answer that created its subscription is that of the id it got.
#[test]
fn the_proof_of_a_delegated_answer_is_known_by_its_id() {
    let mut world = World::new(with_prover());
    world.mine(1);
    let terms = verified(10_000);
    bring(&mut world, &terms, 0);
    world.run(6);
    assert_eq!(world.delivered(), 1);
    let proofs: Vec<_> = world
        .machine
        .proofs()
        .iter()
        .map(|(id, interval, proof)| (id.0, interval.0, proof.escrow))
        .collect();
    assert_eq!(proofs, [(1, 1, 8_500.into())]);
    world.next = vec![Next::Judge(0, true)];
    world.run(2);
    assert!(world.machine.proofs().iter().next().is_none());
}
