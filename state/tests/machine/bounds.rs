//! What one event does is bounded, and what has no chance takes nobody's turn.

use std::collections::BTreeSet;

use infernet_state::{
    Effect, Event, Machine,
    admission::Reason,
    config::ClientId,
    delegation::delegated_job_id,
    effect::Action,
    event::{ChainFact, ReportedStatus, Subscription},
    limits::TAKE_UPS_PER_EVENT_MAX,
    subscription::Standing,
    types::{Amount, BlockRef, BlockTime, Interval, Nonce, SubscriptionId},
};

use crate::common::{World, setup::*};

/// A block's time, by its number.
fn time(number: u64) -> u64 {
    GENESIS_TIME + 12 * number
}

fn block(number: u64) -> BlockRef {
    BlockRef {
        number,
        hash: hash("bounds", number),
        time: BlockTime(time(number)),
    }
}

fn commit(machine: &mut Machine, number: u64, facts: Vec<ChainFact>) {
    let block = block(number);
    let event = Event::ChainCommitted { block, facts };
    machine.apply(&event).expect("no halt");
}

fn created(id: u32, subscription: Subscription) -> ChainFact {
    ChainFact::SubscriptionCreated {
        id: SubscriptionId(id),
        subscription,
        delegation: None,
    }
}

fn recurring(period: u32, active_at: u64) -> Subscription {
    let mut terms = subscription(&["alpha"]);
    (terms.period, terms.frequency) = (period, u32::MAX);
    terms.active_at = u32::try_from(active_at).expect("32 bits");
    terms
}

/// After how many blocks an honest one is taken up beside so many strangers.
fn waits(strangers: u32, period: u32) -> (u64, Machine) {
    let mut machine = Machine::new();
    let account = Event::AccountObserved {
        head: block(0),
        nonce: Nonce(0),
        balance: Amount::ZERO,
    };
    for event in [Event::ConfigChanged(config()), account] {
        machine.apply(&event).expect("no halt");
    }
    let hostile = recurring(period, time(1) + u64::from(period));
    let facts = (0..strangers).map(|place| created(10 + place, hostile.clone()));
    commit(&mut machine, 1, facts.collect());
    for number in 2..6 {
        commit(&mut machine, number, Vec::new());
    }
    let honest = recurring(600, time(8));
    commit(&mut machine, 6, vec![created(5, honest)]);
    for number in 7..40 {
        commit(&mut machine, number, Vec::new());
        let begun = machine.jobs().by_interval(SubscriptionId(5), Interval(1));
        if begun.is_some() {
            assert_eq!(machine.audit(), Ok(()));
            return (number - 8, machine);
        }
    }
    panic!("never taken up beside {strangers} of period {period}");
}

/// A period that is over before an answer could be included with its margin is no work at all.
#[test]
fn what_can_never_be_answered_is_refused_and_takes_no_turns() {
    for period in [1, 4] {
        let (waited, machine) = waits(5_000, period);
        assert_eq!(waited, 0, "period {period}");
        let of = machine.subscriptions().get(SubscriptionId(10));
        let refused = Standing::Refused(Reason::PeriodTooShort);
        assert_eq!(of.map(|of| of.standing), Some(refused));
    }
    let (_, machine) = waits(1, 5);
    let of = machine.subscriptions().get(SubscriptionId(10));
    assert_eq!(of.map(|of| of.standing), Some(Standing::Admitted));
}

/// All of a week's proofs expire at once.
#[test]
fn proofs_that_expire_together_are_finalised_a_part_at_a_time() {
    let count = TAKE_UPS_PER_EVENT_MAX + 30;
    let mut world = world_with(batching(with_prover(), 100), &verified(10), count);
    world.run(12);
    let open = world.machine.proofs().iter().count();
    assert_eq!(open, count);
    world.issued.clear();
    world.mine(604_801 + 60);
    let mut asked = BTreeSet::new();
    let mut take = |world: &mut World| {
        let mut taken = 0;
        for issued in world.issued.drain(..) {
            if let Effect::Simulate {
                action: Action::FinalizeProof { subscription, .. },
                ..
            } = issued.effect
            {
                assert!(asked.insert(subscription.0), "twice");
                taken += 1;
            }
        }
        taken
    };
    assert_eq!(take(&mut world), TAKE_UPS_PER_EVENT_MAX);
    assert_eq!(world.machine.audit(), Ok(()));
    world.mine(1);
    assert_eq!(take(&mut world), 30);
}

/// A job that was reported under the id of a delegated request that came later is forgotten, not
/// the request's.
#[test]
fn an_id_is_forgotten_with_its_newest_job() {
    let mut config = config();
    config.limits.result_age_max_ms = 1_000;
    let mut world = World::new(config);
    world.mine(1);
    let mut terms = subscription(&["alpha"]);
    let now = u32::try_from(world.head().block.time.0).expect("32 bits");
    terms.active_at = now + 500;
    let request = delegated(1, terms, world.now());
    let job = delegated_job_id((request.subscription.owner, request.nonce));
    let at = world.now();
    world.apply(Event::JobReported {
        job,
        client: ClientId([1; 16]),
        at,
        status: ReportedStatus::Success,
        containers: vec!["alpha".to_owned()],
        result: None,
    });
    world.apply(Event::DelegatedAccepted(request));
    let asked = world.machine.job(job).expect("waits").clone();
    world.wait(2_000);
    assert_eq!(world.machine.jobs().of_client(ClientId([1; 16])).count(), 0);
    assert_eq!(world.machine.job(job), Some(&asked));
}
