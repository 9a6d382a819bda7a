//! What strangers leave behind is forgotten: memory is bounded by what is alive.

use crate::{common::*, scenes::receipt};
use infernet_state::{
    Effect, Event, Issued, Machine,
    admission::Reason,
    delegation::delegated_job_id,
    delivery::State,
    effect::Action,
    event::{
        ChainFact, Failure, Origin, Outcome, Rejection, Subscription, Success, SyncedSubscription,
    },
    ledger::Code,
    limits::{DELIVERIES_KEPT, RETIRED_SUBSCRIPTIONS_KEPT},
    machine::JobStatus,
    subscription::{Standing, Tracked},
    types::{
        Address, Amount, BlockRef, BlockTime, DeliveryNo, Interval, JobNo, Nonce, PayloadRef,
        SubscriptionId,
    },
};

const PER_BLOCK: u32 = 500;

fn block(number: u64) -> BlockRef {
    BlockRef {
        number,
        hash: hash("block", number),
        time: BlockTime(GENESIS_TIME + number),
    }
}

fn created(id: u32, container: &str) -> ChainFact {
    let mut subscription = subscription(&[container]);
    (subscription.period, subscription.frequency) = (100, 1_000);
    subscription.active_at = (GENESIS_TIME + 1_000) as u32;
    ChainFact::SubscriptionCreated {
        id: SubscriptionId(id),
        subscription,
        delegation: None,
    }
}

#[test]
fn retired_subscriptions_are_forgotten_when_they_are_final_and_many() {
    let kept = u32::try_from(RETIRED_SUBSCRIPTIONS_KEPT).expect("few");
    let mut machine = Machine::new();
    let apply = |machine: &mut Machine, event: Event| {
        machine.apply(&event).expect("no halt");
    };
    apply(&mut machine, Event::ConfigChanged(config()));
    // The first is served, the second is cancelled, all others are of nobody's container.
    let mut facts = vec![created(1, "alpha"), created(2, "alpha")];
    facts.push(ChainFact::SubscriptionCancelled {
        id: SubscriptionId(2),
    });
    let mut next = 3;
    let blocks = u64::from(kept / PER_BLOCK) + 4;
    for number in 1..=blocks {
        facts.extend((next..next + PER_BLOCK).map(|id| created(id, "unheard-of")));
        next += PER_BLOCK;
        let (block, facts) = (block(number), std::mem::take(&mut facts));
        apply(&mut machine, Event::ChainCommitted { block, facts });
    }
    // As long as a reorg may come, all are kept.
    assert_eq!(machine.subscriptions().len(), next as usize - 1);
    machine.audit().expect("sound");
    apply(
        &mut machine,
        Event::ChainFinalized {
            block: block(blocks),
        },
    );
    let more = 5 * PER_BLOCK;
    let facts = (next..next + more)
        .map(|id| created(id, "unheard-of"))
        .collect();
    let late = block(blocks + 1);
    apply(&mut machine, Event::ChainCommitted { block: late, facts });
    machine.audit().expect("sound");
    let all = machine.subscriptions();
    assert_eq!(all.len(), RETIRED_SUBSCRIPTIONS_KEPT + 1, "and the served");
    let standing = |id| all.get(SubscriptionId(id)).map(|tracked| tracked.standing);
    assert_eq!(standing(1), Some(Standing::Admitted));
    assert_eq!((standing(2), standing(3)), (None, None));
    assert!(standing(next - 1).is_some());

    // What is said of one that is forgotten changes nothing, and a reorg brings none back.
    let facts = vec![
        ChainFact::SubscriptionCancelled {
            id: SubscriptionId(3),
        },
        ChainFact::SubscriptionFulfilled {
            id: SubscriptionId(4),
            node: NODE,
        },
    ];
    let head = block(blocks + 2);
    apply(&mut machine, Event::ChainCommitted { block: head, facts });
    apply(
        &mut machine,
        Event::ChainReorged {
            ancestor: block(blocks),
        },
    );
    machine.audit().expect("sound");
    let unfinal = usize::try_from(more).expect("few");
    assert_eq!(
        machine.subscriptions().len(),
        RETIRED_SUBSCRIPTIONS_KEPT + 1 - unfinal
    );

    // A sync that reads one again judges it anew.
    let ChainFact::SubscriptionCreated { subscription, .. } = created(3, "alpha") else {
        panic!("a creation");
    };
    apply(
        &mut machine,
        Event::SubscriptionsSynced {
            block: block(blocks),
            subscriptions: vec![SyncedSubscription {
                id: SubscriptionId(3),
                subscription,
                responses: 0,
                responded: false,
                origin: Origin::Owner,
            }],
            next: SubscriptionId(4),
        },
    );
    let third = machine.subscriptions().get(SubscriptionId(3));
    assert_eq!(third.expect("read").standing, Standing::Admitted);
    machine.audit().expect("sound");
}

/// How a subscription of the past came to be decides as it does for one that is created now; what
/// is known of it is not forgotten when the past is read again.
#[test]
fn the_past_is_judged_by_how_it_came_to_be() {
    let mut config = config();
    let mut standings = |allowed: Vec<Address>, reads: &[[Origin; 3]]| {
        config.containers[0].allowed_delegate_addresses = allowed;
        let mut machine = Machine::new();
        let mut apply = |event| drop(machine.apply(&event).expect("no halt"));
        apply(Event::ConfigChanged(config.clone()));
        for origins in reads {
            let of_id = (1..).zip(origins).map(|(id, origin)| SyncedSubscription {
                id: SubscriptionId(id),
                subscription: subscription(&["alpha"]),
                responses: 0,
                responded: false,
                origin: *origin,
            });
            apply(Event::SubscriptionsSynced {
                block: block(1),
                subscriptions: of_id.collect(),
                next: SubscriptionId(4),
            });
        }
        machine.audit().expect("sound");
        let all = machine.subscriptions().range(SubscriptionId(1), 3);
        let of = |(_, tracked): (_, &Tracked)| (tracked.standing, tracked.origin);
        all.into_iter().map(of).collect::<Vec<_>>()
    };
    let (owner, delegated, unclear) = (Origin::Owner, Origin::Delegated(5), Origin::Unclear);
    let told = [owner, delegated, unclear];
    let (served, refused) = (
        Standing::Admitted,
        Standing::Refused(Reason::OwnerNotAllowed),
    );
    let somebody = vec![NODE];
    let expected = [(served, owner), (refused, delegated), (refused, unclear)];
    assert_eq!(standings(somebody.clone(), &[told]), expected);
    // The owner is on the list, or nobody asks.
    for allowed in [vec![CONSUMER], Vec::new()] {
        for (standing, _) in standings(allowed, &[told]) {
            assert_eq!(standing, served);
        }
    }
    // What was served before anybody asked no longer is; what is known stays known.
    assert_eq!(standings(somebody.clone(), &[[owner; 3], told]), expected);
    assert_eq!(standings(somebody.clone(), &[told, [owner; 3]]), expected);
    let found = [owner, delegated, delegated];
    let expected = [(served, owner), (refused, delegated), (refused, delegated)];
    assert_eq!(standings(somebody, &[told, found, told]), expected);
}

/// Blocks of creations that nobody serves, until all that was retired before is final and beyond
/// what is kept.
fn crowd(world: &mut World) {
    let kept = u32::try_from(RETIRED_SUBSCRIPTIONS_KEPT).expect("few");
    world.finalize(0);
    for _ in 0..kept / PER_BLOCK + 2 {
        let nobodys = Next::Create(subscription(&["unheard-of"]));
        world.next = vec![nobodys; PER_BLOCK as usize];
        world.mine(1);
        world.finalize(0);
    }
}

/// A request that is active long after the crowd.
fn far_ahead(world: &World) -> Subscription {
    let mut terms = subscription(&["alpha"]);
    terms.active_at = world.head().block.time.as_contract_time() + 1_000;
    terms
}

fn status(world: &World) -> Option<JobStatus> {
    world.machine.job_status(delegated_job_id((CONSUMER, 7)))
}

#[test]
fn the_record_that_a_waiting_request_is_judged_by_is_not_forgotten() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = far_ahead(&world);
    let at = world.now();
    world.apply(Event::DelegatedAccepted(delegated(7, terms, at)));
    // The owner has another record under the same nonce, which nobody here serves.
    let other = Next::Delegated(subscription(&["unheard-of"]), 7, true);
    world.next.push(other);
    world.mine(1);
    crowd(&mut world);
    assert!(
        world
            .machine
            .subscriptions()
            .get(SubscriptionId(1))
            .is_some()
    );
    assert!(
        world
            .machine
            .subscriptions()
            .get(SubscriptionId(2))
            .is_none()
    );
    world.mine(1_000);
    assert!(world.issued.is_empty(), "nothing is computed for it");
    assert!(matches!(status(&world), Some(JobStatus::Failed { .. })));
    world.machine.audit().expect("sound");
}

#[test]
fn a_request_whose_known_record_is_forgotten_is_not_answered() {
    let mut world = World::new(config());
    let other = Next::Delegated(subscription(&["unheard-of"]), 7, true);
    world.next.push(other);
    world.mine(1);
    crowd(&mut world);
    assert!(
        world
            .machine
            .subscriptions()
            .get(SubscriptionId(1))
            .is_none()
    );
    let mut request = delegated(7, subscription(&["alpha"]), world.now());
    request.known_id = SubscriptionId(1);
    world.apply(Event::DelegatedAccepted(request));
    assert!(world.issued.is_empty());
    assert!(matches!(status(&world), Some(JobStatus::Failed { .. })));
}

#[test]
fn a_request_waits_until_its_known_record_is_heard_of() {
    let mut world = World::new(config());
    world.mine(1);
    let terms = subscription(&["alpha"]);
    let mut request = delegated(7, terms.clone(), world.now());
    request.known_id = SubscriptionId(1);
    world.apply(Event::DelegatedAccepted(request));
    world.mine(1);
    assert!(world.issued.is_empty(), "its record is yet to come");
    assert_eq!(status(&world), Some(JobStatus::Running));
    world.next.push(Next::Delegated(terms, 7, true));
    world.mine(1);
    world.run(4);
    assert_eq!(world.delivered(), 1);
    assert!(matches!(status(&world), Some(JobStatus::Success { .. })));
    assert_eq!(world.replayed(), world.machine);
}

/// An answer that the RPC refuses until it is given up, while its pool holds it all the same.
fn withdrawn() -> World {
    let mut terms = subscription(&["alpha"]);
    terms.payment_amount = Amount::from(1_000_000_000);
    let mut world = world_with(config(), &terms, 1);
    world.mine(1);
    world.mine(1);
    let mut replaced = false;
    while !replaced {
        while let Some(issued) = world.issued.pop_front() {
            let Some(outcome) = world.answer(&issued) else {
                continue;
            };
            if let Effect::Sign { action, .. } = &issued.effect {
                replaced = *action == Action::FillNonce;
            }
            if replaced {
                break;
            }
            let refused = Outcome::Failed(Failure::Rejected(Rejection::Other {
                reason: "no".into(),
            }));
            let is_sent = matches!(issued.effect, Effect::Broadcast { .. });
            world.end(&issued, if is_sent { refused } else { outcome });
        }
        world.wait(60_000);
    }
    assert_eq!(world.pool.len(), 1);
    world
}

#[test]
fn the_record_of_a_withdrawn_answer_is_kept_while_a_pool_may_hold_it() {
    let mut world = withdrawn();
    let pool = std::mem::take(&mut world.pool);
    crowd(&mut world);
    assert!(
        world
            .machine
            .subscriptions()
            .get(SubscriptionId(2))
            .is_none()
    );
    world.pool = pool;
    world.mine(1);
    assert_eq!(world.delivered(), 1);
    let entries = world.machine.ledger().entries();
    let prices = entries.filter(|(_, entry)| entry.code == Code::Price);
    assert_eq!(prices.count(), 1);
    world.machine.audit().expect("sound");
}

/// As long as a block may hold its answer a job is kept, as it ended; then it goes at once, where
/// its time is over.
#[test]
fn a_job_is_forgotten_when_no_block_can_hold_its_answer() {
    let mut world = withdrawn();
    let ended = |world: &World| world.machine.job_by_no(JobNo(1)).map(|job| job.ended);
    let when = ended(&world).expect("kept");
    assert!(when.is_some(), "it was given up");
    let age = config().limits.result_age_max_ms;
    world.wait(age + 1);
    world.wait(age);
    assert_eq!(ended(&world), Some(when), "the pool may hold it");
    // What was signed but not sent when the node went down: the empty transfer.
    world.start(None);
    world.settle();
    world.mine(1);
    assert_eq!(world.delivered(), 0);
    assert_eq!(ended(&world), Some(when), "a reorg may take the transfer");
    assert_eq!(world.replayed(), world.machine);
    world.finalize(0);
    world.tick();
    assert_eq!(ended(&world), None);
    world.machine.audit().expect("sound");
    assert_eq!(world.replayed(), world.machine);
}

/// A request goes with its newest job: it is kept as long as a block may hold what was signed for
/// an earlier one, which is its job again then.
#[test]
fn a_request_is_kept_while_a_block_may_hold_an_earlier_answer() {
    let mut config = config();
    config.limits.result_age_max_ms = 5_000;
    let mut world = World::new(config);
    world.mine(1);
    let mut terms = subscription(&["alpha"]);
    (terms.period, terms.frequency) = (100, 2);
    terms.active_at = world.head().block.time.as_contract_time();
    let at = world.now();
    world.apply(Event::DelegatedAccepted(delegated(7, terms, at)));
    world.settle();
    let sent = world.pool.clone();
    assert_eq!(sent.len(), 1);
    // Nobody includes it in its interval, and the container fails in the next, which is the last.
    world.mine_block(10, false);
    world.mine_block(90, false);
    let is_call = |issued: &Issued| matches!(issued.effect, Effect::RunContainer(_));
    let place = world.issued.iter().position(is_call).expect("called again");
    let call = world.issued.remove(place).expect("there");
    let failed = Failure::Container {
        error: payload("error", 1),
        retry: false,
    };
    world.end(&call, Outcome::Failed(failed));
    world.wait(6_000);
    world.wait(6_000);
    let key = (CONSUMER, 7);
    assert!(world.machine.delegations().get(key).is_some());
    // Another fork holds it.
    world.reorg(1);
    world.pool = sent;
    world.mine(5);
    assert_eq!(world.delivered(), 1);
    assert_eq!(status(&world), Some(JobStatus::Running), "it may go again");
    assert_eq!(world.replayed(), world.machine);
    world.finalize(0);
    assert!(matches!(status(&world), Some(JobStatus::Success { .. })));
    world.wait(6_000);
    assert!(world.machine.delegations().get(key).is_none());
}

/// The record went with a reorg, and its work is forgotten in its time: not that of the record
/// which has the id now.
#[test]
fn the_work_on_an_id_outlives_that_for_the_one_before() {
    let mut config = config();
    config.limits.result_age_max_ms = 5_000;
    let mut world = world_with(config, &subscription(&["alpha"]), 1);
    world.mine(1);
    world.mine(1);
    world.reorg(2);
    world.next = vec![Next::Create(subscription(&["beta"]))];
    world.mine(1);
    world.mine(1);
    let work = |world: &World| {
        let jobs = world.machine.jobs();
        let job = jobs.by_interval(SubscriptionId(1), Interval(1));
        job.map(|(no, _)| no)
    };
    assert_eq!(work(&world), Some(JobNo(2)));
    assert!(world.machine.job_by_no(JobNo(1)).is_some());
    world.wait(6_000);
    assert!(world.machine.job_by_no(JobNo(1)).is_none());
    assert_eq!(work(&world), Some(JobNo(2)));
}

/// Ended deliveries are kept for a while: one that a block may still hold as long as that is so.
#[test]
fn a_withdrawn_answer_is_kept_while_a_pool_may_hold_it() {
    let mut world = withdrawn();
    let old = world.pool.values().next().expect("pooled").hash;
    let head = world.head().block;
    let machine = &mut world.machine;
    let apply = |machine: &mut Machine, event: Event| machine.apply(&event).expect("no halt");
    let next = |after: u64| BlockRef {
        number: head.number + after,
        hash: hash("crowd", after),
        time: BlockTime(head.time.0 + after),
    };
    // As many more as are kept, and some: answers that fit no transaction.
    let kept = u32::try_from(DELIVERIES_KEPT).expect("few");
    let mut blocks = 0;
    for first in (2..kept + 2_000).step_by(1_000) {
        let created = |id| ChainFact::SubscriptionCreated {
            id: SubscriptionId(id),
            subscription: subscription(&["alpha"]),
            delegation: None,
        };
        blocks += 1;
        let (block, facts) = (next(blocks), (first..first + 1_000).map(created).collect());
        let mut asked = apply(machine, Event::ChainCommitted { block, facts });
        while let Some(issued) = asked.pop() {
            let input = payload("any", 1);
            let outcome = match issued.effect {
                Effect::ReadInputs { .. } => Success::InputsRead { input },
                Effect::RunContainer(_) => Success::ContainerAnsweredOnchain {
                    output: input,
                    deliver_input: input,
                    deliver_output: PayloadRef {
                        len: u32::MAX,
                        ..input
                    },
                    deliver_proof: input,
                },
                _ => continue,
            };
            let ended = Event::EffectEnded {
                effect: issued.id,
                attempt: issued.attempt,
                at: machine.now(),
                outcome: Outcome::Succeeded(outcome),
            };
            asked.extend(apply(machine, ended));
        }
    }
    let count = machine.deliveries().iter().count();
    assert_eq!(count, DELIVERIES_KEPT);
    let answered = ChainFact::SubscriptionFulfilled {
        id: SubscriptionId(1),
        node: NODE,
    };
    let (block, facts) = (next(blocks + 1), vec![receipt(0, old, true), answered]);
    apply(machine, Event::ChainCommitted { block, facts });
    let first = machine.deliveries().get(DeliveryNo(1)).expect("kept");
    assert_eq!(first.state, State::Included(Nonce(0)));
    let prices = machine.ledger().entries();
    let prices = prices.filter(|(_, entry)| entry.code == Code::Price);
    assert_eq!(prices.count(), 1);
    machine.audit().expect("sound");
}
