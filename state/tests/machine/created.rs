//! Delegated subscriptions that somebody else creates, and reorgs that take that back.

use crate::common::{
    act::{Act, act, cases, perform, spoiled, world_config},
    judge::at_the_end,
    *,
};
use infernet_state::{
    Effect, Event, Machine,
    delegation::delegated_job_id,
    delivery::State,
    effect::ContainerInput,
    event::Subscription,
    machine::JobStatus,
    types::{Interval, Seq, SubscriptionId},
};
use proptest::prelude::*;

const NONCE: u32 = 7;

/// A callback, or three intervals of 100 seconds, active `ahead` of the head.
fn terms(world: &World, period: u32, ahead: u32) -> Subscription {
    let mut terms = subscription(&["alpha"]);
    if period > 0 {
        (terms.period, terms.frequency) = (period, 3);
    }
    terms.active_at = world.head().block.time.as_contract_time() + ahead;
    terms
}

fn ask(world: &mut World, terms: &Subscription) -> Seq {
    let at = world.now();
    let request = delegated(NONCE, terms.clone(), at);
    world.apply(Event::DelegatedAccepted(request));
    world.machine.seq()
}

fn status(world: &World) -> JobStatus {
    let id = delegated_job_id((CONSUMER, NONCE));
    world.machine.job_status(id).expect("kept")
}

fn is_done(world: &World) -> bool {
    matches!(status(world), JobStatus::Success { .. })
}

fn reason(world: &World) -> String {
    match status(world) {
        JobStatus::Failed { reason, .. } => reason,
        other => format!("{other:?}"),
    }
}

/// Answers all but what `leave` names.
fn settle_but(world: &mut World, leave: impl Fn(&Effect) -> bool) {
    let mut left = std::collections::VecDeque::new();
    while let Some(issued) = world.issued.pop_front() {
        if leave(&issued.effect) {
            left.push_back(issued);
        } else if let Some(outcome) = world.answer(&issued) {
            world.end(&issued, outcome);
        }
    }
    world.issued = left;
}

/// Blocks for `seconds`; how often a container was called with a client's input,
/// and with the chain's.
fn pass(world: &mut World, seconds: u64) -> (usize, usize) {
    let (mut clients, mut chains) = (0, 0);
    for block in 0..=seconds / 10 {
        if block > 0 {
            world.mine(10);
        }
        while let Some(issued) = world.issued.pop_front() {
            if let Effect::RunContainer(call) = &issued.effect {
                match call.input {
                    ContainerInput::Json(_) => clients += 1,
                    ContainerInput::Onchain(_) => chains += 1,
                }
            }
            if let Some(outcome) = world.answer(&issued) {
                world.end(&issued, outcome);
            }
        }
    }
    (clients, chains)
}

/// Somebody else creates it, in the next block; the others' answer stands in the same.
fn created(world: &mut World, terms: &Subscription, and: &[Next]) {
    let creation = Next::Delegated(terms.clone(), NONCE, true);
    world.next.push(creation);
    world.next.extend(and.iter().cloned());
    world.mine_block(1, false);
}

fn restart(world: &mut World) {
    let bytes = world.machine.snapshot().expect("encodes");
    world.machine = Machine::restore(&bytes).expect("restores");
    world.start(None);
}

fn fail_container(world: &mut World) {
    let call = world.issued.pop_front().expect("a call");
    assert!(matches!(call.effect, Effect::RunContainer(_)));
    world.end(&call, spoiled(&call.effect, 3));
}

#[test]
fn a_later_interval_of_what_others_created_is_answered_with_the_chains_inputs() {
    for known in [true, false] {
        let mut world = World::new(config());
        world.mine(1);
        let terms = terms(&world, 100, 0);
        ask(&mut world, &terms);
        fail_container(&mut world);
        // Another attempt waits for the second interval. Near the end of the first it is created.
        pass(&mut world, 60);
        let creation = Next::Delegated(terms, NONCE, known);
        world.next.push(creation);
        world.mine(35);
        assert_eq!(status(&world), JobStatus::Running);
        assert_eq!(pass(&mut world, 240), (0, 2), "{known}");
        assert_eq!(world.delivered(), 2, "each interval once");
        let second = world
            .machine
            .jobs()
            .by_interval(SubscriptionId(1), Interval(2));
        assert!(second.is_some());
        assert!(reason(&world).contains("on chain"), "{}", reason(&world));
        at_the_end(&mut world);
    }
}

#[test]
fn an_answer_that_others_had_met_is_sent_when_their_block_is_gone() {
    for dies in [false, true] {
        let mut world = World::new(config());
        world.mine(1);
        let terms = terms(&world, 0, 0);
        ask(&mut world, &terms);
        settle_but(&mut world, |effect| {
            matches!(effect, Effect::Simulate { .. })
        });
        created(&mut world, &terms, &[Next::Fulfil(1, OTHER)]);
        world.settle();
        let state = |world: &World| {
            let (_, delivery) = world.machine.deliveries().iter().next().expect("planned");
            delivery.state
        };
        assert_eq!(state(&world), State::Parked);
        if dies {
            restart(&mut world);
        }
        world.reorg(1);
        assert_ne!(state(&world), State::Parked);
        world.run(3);
        assert_eq!(world.delivered(), 1);
        assert!(is_done(&world));
        at_the_end(&mut world);
    }
}

/// Created and met before its first interval began.
fn met_at_first(period: u32) -> (World, Subscription, Seq) {
    let mut world = World::new(config());
    world.mine(1);
    let terms = terms(&world, period, 2);
    let asked = ask(&mut world, &terms);
    world.mine(1);
    created(&mut world, &terms, &[Next::Fulfil(1, OTHER)]);
    assert!(reason(&world).contains("met"), "{}", reason(&world));
    (world, terms, asked)
}

#[test]
fn a_request_that_others_had_met_is_served_when_their_block_is_gone() {
    for dies in [false, true] {
        let (mut world, _, asked) = met_at_first(0);
        assert!(world.machine.payloads_needed_from() <= asked);
        if dies {
            restart(&mut world);
        }
        world.reorg(1);
        assert_eq!(status(&world), JobStatus::Running);
        if dies {
            restart(&mut world);
        }
        assert_eq!(pass(&mut world, 30), (1, 0));
        world.run(1);
        assert_eq!(world.delivered(), 1);
        assert!(is_done(&world));
        at_the_end(&mut world);
    }
}

#[test]
fn what_stays_met_is_at_its_end_when_that_is_final() {
    let (mut world, _, asked) = met_at_first(0);
    world.run(1);
    assert!(world.machine.payloads_needed_from() > asked);
    assert_eq!(pass(&mut world, 30), (0, 0));
    assert!(reason(&world).contains("met"), "{}", reason(&world));
    at_the_end(&mut world);
}

#[test]
fn the_new_branch_may_create_it_under_another_id() {
    for met in [false, true] {
        let (mut world, terms, _) = met_at_first(0);
        world.reorg(1);
        world.next.push(Next::Create(subscription(&["unheard-of"])));
        world.mine_block(1, false);
        let and = [Next::Fulfil(2, OTHER)];
        created(&mut world, &terms, if met { &and } else { &[] });
        let id = |world: &World| {
            let known = world.machine.delegations().get((CONSUMER, NONCE));
            known.expect("kept").id
        };
        assert_eq!(id(&world), Some(SubscriptionId(2)));
        pass(&mut world, 30);
        world.run(1);
        assert_eq!(world.delivered(), usize::from(!met));
        assert_eq!(is_done(&world), !met);
        if met {
            assert!(reason(&world).contains("met"), "{}", reason(&world));
        }
        at_the_end(&mut world);
    }
}

#[test]
fn another_record_under_its_nonce_ends_it_until_that_is_gone() {
    let mut world = World::new(config());
    world.mine(1);
    let signed = terms(&world, 0, 2);
    ask(&mut world, &signed);
    world.mine(1);
    let mut other = signed.clone();
    other.redundancy = 3;
    created(&mut world, &other, &[]);
    world.issued.clear();
    assert!(matches!(status(&world), JobStatus::Failed { .. }));
    world.reorg(1);
    assert_eq!(status(&world), JobStatus::Running);
    // And again, while its container runs.
    world.mine_block(1, false);
    created(&mut world, &other, &[]);
    settle_but(&mut world, |_| false);
    assert!(matches!(status(&world), JobStatus::Failed { .. }));
    world.reorg(1);
    pass(&mut world, 30);
    world.run(1);
    assert!(is_done(&world));
    assert_eq!(world.head().subscriptions[&1].record, signed);
    at_the_end(&mut world);
}

#[test]
fn a_signature_that_is_void_in_the_new_branch_ends_it() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = terms(&world, 0, 2);
    let mut request = delegated(NONCE, terms.clone(), world.now());
    request.expiry = terms.active_at + 40;
    world.apply(Event::DelegatedAccepted(request));
    world.mine(1);
    created(&mut world, &terms, &[Next::Fulfil(1, OTHER)]);
    assert!(reason(&world).contains("met"), "{}", reason(&world));
    world.reorg(1);
    assert_eq!(status(&world), JobStatus::Running);
    world.mine(60);
    world.settle();
    assert!(reason(&world).contains("closed"), "{}", reason(&world));
    at_the_end(&mut world);
    assert_eq!(world.delivered(), 0);
}

#[test]
fn what_its_owner_cancelled_is_served_when_that_is_gone_and_what_its_client_withdrew_is_not() {
    let mut world = World::new(config());
    world.mine(1);
    let signed = terms(&world, 0, 2);
    ask(&mut world, &signed);
    world.mine(1);
    created(&mut world, &signed, &[Next::Cancel(1)]);
    assert_eq!(reason(&world), "cancelled");
    world.reorg(1);
    pass(&mut world, 30);
    world.run(1);
    assert!(is_done(&world));
    at_the_end(&mut world);

    for before in [false, true] {
        let mut world = World::new(config());
        world.mine(1);
        let signed = terms(&world, 0, 2);
        ask(&mut world, &signed);
        world.mine(1);
        let withdraw = |world: &mut World| {
            let job = delegated_job_id((CONSUMER, NONCE));
            let at = world.now();
            world.apply(Event::JobCancelled { job, at });
        };
        if before {
            withdraw(&mut world);
        }
        created(&mut world, &signed, &[Next::Fulfil(1, OTHER)]);
        if !before {
            withdraw(&mut world);
        }
        world.reorg(1);
        assert_eq!(pass(&mut world, 30), (0, 0), "withdrawn {before}");
        assert!(matches!(status(&world), JobStatus::Failed { .. }));
        assert_eq!(world.delivered(), 0);
        at_the_end(&mut world);
    }
}

#[test]
fn an_attempt_that_waits_or_made_way_serves_its_interval_when_the_creation_is_gone() {
    for made_way in [false, true] {
        let mut world = World::new(config());
        world.mine(1);
        let terms = terms(&world, 100, 0);
        ask(&mut world, &terms);
        fail_container(&mut world);
        pass(&mut world, 60);
        world.mine_block(20, false);
        created(&mut world, &terms, &[Next::Fulfil(1, OTHER)]);
        if made_way {
            world.mine_block(20, false);
            assert!(reason(&world).contains("on chain"), "{}", reason(&world));
            world.mine_block(1, false);
            world.reorg(3);
        } else {
            world.reorg(1);
        }
        assert_eq!(status(&world), JobStatus::Running);
        world.mine(20);
        let (clients, chains) = pass(&mut world, 250);
        assert_eq!((clients, chains), (1, 1), "its second, and the third");
        assert_eq!(world.delivered(), 2);
        world.run(1);
        assert!(is_done(&world));
        at_the_end(&mut world);
    }
}

/// Its answer was in the pool when others met the interval; their block goes, and the new branch
/// includes what had been withdrawn: the client hears of that, not of the attempt beside it.
#[test]
fn a_withdrawn_answer_that_is_included_after_all_is_the_requests() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = terms(&world, 0, 0);
    ask(&mut world, &terms);
    world.settle();
    let sent = world.pool.values().next().expect("sent").clone();
    created(&mut world, &terms, &[Next::Fulfil(1, OTHER)]);
    // Only when the fee is to rise it is seen to be met.
    world.wait(20_000);
    assert!(reason(&world).contains("met"), "{}", reason(&world));
    world.issued.clear();
    world.reorg(1);
    assert_eq!(status(&world), JobStatus::Running);
    settle_but(&mut world, |effect| {
        matches!(
            effect,
            Effect::Simulate { .. } | Effect::Sign { .. } | Effect::Broadcast { .. }
        )
    });
    world.pool.clear();
    world.pool.insert(sent.hash, sent);
    world.mine(1);
    assert_eq!(world.delivered(), 1);
    world.run(2);
    assert!(is_done(&world), "{}", reason(&world));
    at_the_end(&mut world);
    assert_eq!(world.delivered(), 1);
}

/// Somebody has the same record without a signature: it was taken for the signed one, until that
/// was created under another id. Its interval is its own.
#[test]
fn a_subscription_that_was_taken_for_the_signed_one_is_answered_as_its_own() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = terms(&world, 0, 1);
    ask(&mut world, &terms);
    // Its record is the same, to the second.
    world.next.push(Next::Create(terms.clone()));
    world.mine(1);
    assert_eq!(world.head().subscriptions[&1].record, terms);
    pass(&mut world, 40);
    world.run(2);
    assert_eq!(world.head().subscriptions.len(), 2);
    assert_eq!(world.delivered(), 2, "each once");
    assert!(is_done(&world));
    at_the_end(&mut world);
}

/// What happens in a life in which others create what clients bring.
#[derive(Clone, Debug)]
enum Deed {
    Common(Act),
    Bring { nonce: u32, kind: u8 },
    Create { nonce: u32, met: bool, known: bool },
    Settle,
}

fn deed() -> impl Strategy<Value = Deed> {
    let kind = prop_oneof![Just(0_u8), Just(1), Just(5)];
    prop_oneof![
        16 => act().prop_map(Deed::Common),
        3 => (0..3_u32, kind).prop_map(|(nonce, kind)| Deed::Bring { nonce, kind }),
        4 => (0..3_u32, any::<bool>(), any::<bool>())
            .prop_map(|(nonce, met, known)| Deed::Create { nonce, met, known }),
        2 => Just(Deed::Settle),
    ]
}

fn do_deed(world: &mut World, deed: Deed) {
    match deed {
        Deed::Common(act) => perform(world, act),
        Deed::Bring { nonce, kind } => perform(world, Act::Delegate { nonce, kind }),
        Deed::Create { nonce, met, known } => {
            let brought = world.machine.delegations().get((CONSUMER, nonce));
            let is_asked = |next: &Next| matches!(next, Next::Delegated(_, of, _) if *of == nonce);
            let is_there = world.head().delegated.contains_key(&nonce);
            if let Some(brought) = brought
                && !is_there
                && !world.next.iter().any(is_asked)
            {
                let record = brought.request.subscription.clone();
                world.next.push(Next::Delegated(record, nonce, known));
                if met {
                    let id = world.head().subscriptions.len() as u32 + 1;
                    world.next.push(Next::Fulfil(id, OTHER));
                }
            }
        }
        Deed::Settle => world.settle(),
    }
}

proptest! {
    #![proptest_config(cases(200))]

    /// Whatever others create and reorgs take back, no request is left to what is no more.
    #[test]
    fn no_request_is_left_to_a_creation_that_is_gone(
        deeds in prop::collection::vec(deed(), 1..100),
    ) {
        let mut world = World::new(world_config(false));
        for deed in deeds {
            do_deed(&mut world, deed);
        }
        at_the_end(&mut world);
        for (key, delegation) in world.machine.delegations().iter() {
            let there = world.head().delegated.get(&key.1);
            if there.is_some() || delegation.id.is_some() {
                continue;
            }
            if let Some(JobStatus::Failed { reason, .. }) =
                world.machine.job_status(delegated_job_id(*key))
            {
                prop_assert!(
                    !reason.contains("met without") && !reason.contains("on chain:"),
                    "{key:?}: {reason}"
                );
            }
        }
    }
}
