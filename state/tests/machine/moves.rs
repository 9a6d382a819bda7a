//! What a nonce goes through where the chain moves on meanwhile: judged again before each step,
//! replaced at a higher fee, taken back, looked at.

use crate::common::{act::spoiled, *};
use infernet_state::{
    Config, Effect, Event, Issued,
    delivery::{Loss, State},
    effect::Action,
    event::{Failure, Outcome, Rejection, Success, TransactionState},
    limits::SEND_ATTEMPTS_MAX,
    types::{DeliveryNo, Nonce, SubscriptionId},
};

/// So many callbacks that are due.
pub(crate) fn due(config: Config, count: usize) -> World {
    let mut world = world_with(config, &subscription(&["alpha"]), count);
    world.mine(1);
    world.mine(1);
    world
}

/// Answers all until the first effect that is `wanted`, which is given back.
pub(crate) fn until(world: &mut World, wanted: impl Fn(&Effect) -> bool) -> Issued {
    while let Some(issued) = world.issued.pop_front() {
        if wanted(&issued.effect) {
            return issued;
        }
        if let Some(outcome) = world.answer(&issued) {
            world.end(&issued, outcome);
        }
    }
    panic!("it was never asked for");
}

pub(crate) fn is_sign(effect: &Effect) -> bool {
    matches!(effect, Effect::Sign { .. })
}

pub(crate) fn is_simulation(effect: &Effect) -> bool {
    matches!(effect, Effect::Simulate { .. })
}

pub(crate) fn is_broadcast(effect: &Effect) -> bool {
    matches!(effect, Effect::Broadcast { .. })
}

pub(crate) fn state(world: &World, no: u64) -> State {
    let delivery = world.machine.deliveries().get(DeliveryNo(no));
    delivery.expect("planned").state
}

/// Others meet the first subscription in the next block, which takes nothing of the pool.
fn others_meet(world: &mut World) {
    world.next = vec![Next::Fulfil(1, OTHER)];
    world.mine_block(1, false);
}

pub(crate) fn good() -> Outcome {
    Outcome::Succeeded(Success::Simulated {
        gas: GAS_USED,
        base_fee: 7,
        priority_fee: 1,
    })
}

pub(crate) fn met() -> Outcome {
    Outcome::Failed(Failure::Reverted {
        selector: [0x2f, 0x4c, 0xa8, 0x5b],
        reason: "IntervalCompleted".into(),
    })
}

#[test]
fn an_answer_that_is_met_is_not_even_simulated() {
    let mut world = due(config(), 1);
    let call = until(&mut world, |effect| {
        matches!(effect, Effect::RunContainer(_))
    });
    others_meet(&mut world);
    let answer = world.answer(&call).expect("it answers");
    world.end(&call, answer);
    assert_eq!(state(&world, 1), State::Parked);
    assert!(world.issued.is_empty());
}

#[test]
fn what_was_met_during_its_simulation_gets_no_nonce() {
    let mut world = due(config(), 1);
    let simulation = until(&mut world, is_simulation);
    others_meet(&mut world);
    world.end(&simulation, good());
    assert_eq!(state(&world, 1), State::Parked);
    assert!(world.issued.is_empty());
}

/// Nothing of it has left the node: its nonce is the next again, and no gap is left.
#[test]
fn what_was_met_while_it_was_signed_gives_its_nonce_back() {
    let mut world = due(config(), 1);
    let signature = until(&mut world, is_sign);
    assert_eq!(world.machine.account().next_nonce(), Some(Nonce(1)));
    others_meet(&mut world);
    let signed = world.answer(&signature).expect("signed");
    world.end(&signature, signed);
    assert!(world.issued.is_empty(), "it is not handed over");
    assert_eq!(state(&world, 1), State::Abandoned(Loss::Met));
    assert_eq!(world.machine.account().next_nonce(), Some(Nonce(0)));
    world.next = vec![Next::Create(subscription(&["alpha"]))];
    world.run(3);
    assert_eq!(world.delivered(), 1);
}

/// It is in the pool: instead of a higher fee for what would revert, an empty transfer.
#[test]
fn what_was_met_in_the_pool_is_replaced_and_not_raised() {
    let mut world = due(config(), 1);
    world.settle();
    let before = world.pool.values().next().expect("pooled").max_fee;
    others_meet(&mut world);
    world.wait(10_000);
    match world.issued.pop_front().map(|issued| issued.effect) {
        Some(Effect::Sign {
            action,
            gas_limit,
            max_fee_per_gas,
            ..
        }) => {
            assert_eq!((action, gas_limit), (Action::FillNonce, 21_000));
            assert!(max_fee_per_gas > before + before / 10);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(state(&world, 1), State::Withdrawn(Loss::Met));
}

#[test]
fn what_is_left_of_a_batch_in_the_pool_offers_more() {
    let mut world = due(batching(config(), 3), 3);
    world.settle();
    let batch = world.pool.values().find(|tx| tx.nonce == 1);
    let before = batch.expect("pooled").max_fee;
    world.next = vec![Next::Cancel(2)];
    world.mine_block(1, false);
    let again = until(&mut world, is_sign);
    let Effect::Sign {
        nonce,
        action,
        max_fee_per_gas,
        ..
    } = again.effect
    else {
        panic!("a signature");
    };
    assert_eq!(nonce, Nonce(1));
    assert!(matches!(action, Action::Deliver(of) if of.subscription == SubscriptionId(3)));
    assert!(max_fee_per_gas > before + before / 10);
}

/// The signer is away, and nothing of the old version is handed over in the meantime.
#[test]
fn a_withdrawn_version_is_not_handed_over_again() {
    let mut world = due(config(), 1);
    let broadcast = until(&mut world, is_broadcast);
    let refused = Outcome::Failed(Failure::Rejected(Rejection::Other {
        reason: "no".into(),
    }));
    world.end(&broadcast, refused);
    world.next = vec![Next::Cancel(1)];
    world.mine_block(1, false);
    for _ in 0..2 * SEND_ATTEMPTS_MAX {
        while let Some(issued) = world.issued.pop_front() {
            assert!(is_sign(&issued.effect), "{issued:?}");
            world.end(&issued, spoiled(&issued.effect, 1));
        }
        world.wait(60_000);
    }
    world.run(2);
    assert_eq!(world.delivered(), 0);
    assert_eq!(world.head().nonce, 1, "used up");
}

/// A process that comes up compares its log with the chain before it sends anything.
#[test]
fn nothing_is_sent_before_the_account_was_observed() {
    let restart = |world: &mut World| {
        let at = world.now();
        world.apply(Event::NodeStarted {
            at,
            version: "test".into(),
        });
        world.issued = world.machine.outstanding().into();
    };
    let observe = |world: &mut World| {
        let (head, nonce) = (world.head().block, Nonce(world.head().nonce));
        world.apply(Event::AccountObserved {
            head,
            nonce,
            balance: 1.into(),
        });
    };
    // While it was simulated.
    let mut world = due(config(), 1);
    until(&mut world, is_simulation);
    restart(&mut world);
    let simulation = world.issued.pop_front().expect("once more");
    world.end(&simulation, good());
    assert!(world.issued.is_empty());
    assert_eq!(state(&world, 1), State::Planned);
    observe(&mut world);
    assert!(
        world
            .issued
            .iter()
            .any(|issued| is_simulation(&issued.effect))
    );
    // While it was signed.
    let mut world = due(config(), 1);
    until(&mut world, is_sign);
    restart(&mut world);
    let signature = world.issued.pop_front().expect("once more");
    let signed = world.answer(&signature).expect("signed");
    world.end(&signature, signed);
    assert!(world.issued.is_empty());
    observe(&mut world);
    assert!(
        world
            .issued
            .iter()
            .all(|issued| is_broadcast(&issued.effect))
    );
    assert_eq!(world.issued.len(), 1);
    // While it was in the pool.
    let mut world = due(config(), 1);
    world.settle();
    restart(&mut world);
    world.wait(60_000);
    assert!(world.issued.is_empty());
    observe(&mut world);
    world.wait(60_000);
    assert!(world.issued.iter().any(|issued| is_sign(&issued.effect)));
}

/// Another transaction has the nonce, as the RPC says: the chain's facts tell which, and no
/// dearer version is made of what may be included.
#[test]
fn a_nonce_that_is_taken_is_looked_at_and_not_raised() {
    let mut world = due(config(), 1);
    let broadcast = until(&mut world, is_broadcast);
    world.end(
        &broadcast,
        Outcome::Failed(Failure::Rejected(Rejection::NonceTooLow)),
    );
    let looks = |issued: &Issued| matches!(issued.effect, Effect::LookUpTransaction { .. });
    for found in [
        TransactionState::NonceTaken,
        TransactionState::Included,
        TransactionState::Pending,
    ] {
        let look = world.issued.pop_front().expect("it is looked after");
        assert!(looks(&look), "{look:?}");
        world.end(&look, Outcome::Succeeded(Success::LookedUp(found)));
        assert!(world.issued.is_empty());
        if found != TransactionState::Pending {
            world.wait(10_000);
        }
    }
    world.wait(10_000);
    assert!(world.issued.iter().any(|issued| is_sign(&issued.effect)));
}

/// An RPC says each time that the interval is met, and no fact did: its responses are read.
#[test]
fn simulations_that_say_met_are_asked_for_the_responses() {
    let reverts = Loss::Reverts([0x2f, 0x4c, 0xa8, 0x5b]);
    for (responses, responded, loss) in [
        (1, false, Loss::Met),
        (0, true, Loss::Met),
        (0, false, reverts),
    ] {
        let mut world = due(config(), 1);
        for _ in 0..9 {
            let simulation = until(&mut world, is_simulation);
            world.end(&simulation, met());
            if world.issued.is_empty() {
                assert_eq!(state(&world, 1), State::Planned);
                world.wait(60_000);
            }
        }
        let read = world.issued.pop_front().expect("they are read");
        assert!(matches!(read.effect, Effect::ReadResponses { .. }));
        let said = Success::ResponsesRead {
            responses,
            responded,
        };
        world.end(&read, Outcome::Succeeded(said));
        let expected = State::Abandoned(loss);
        assert_eq!(state(&world, 1), expected, "{responses}, {responded}");
    }
    // It says so each time, and each time it is not so.
    let mut world = due(config(), 1);
    let mut asked = 0;
    for _ in 0..20 {
        while let Some(issued) = world.issued.pop_front() {
            let outcome = if is_simulation(&issued.effect) {
                asked += 1;
                Some(met())
            } else {
                world.answer(&issued)
            };
            if let Some(outcome) = outcome {
                world.end(&issued, outcome);
            }
        }
        world.wait(60_000);
    }
    assert_eq!(asked, 9);
    assert_eq!(state(&world, 1), State::Abandoned(reverts));
}

/// Refusals count in a row: one good simulation between them begins the count anew.
#[test]
fn a_good_simulation_begins_the_count_of_refusals_anew() {
    let mut world = due(config(), 1);
    for round in 1..=16 {
        let simulation = until(&mut world, is_simulation);
        let outcome = if round == 8 {
            // Good, and too dear for the moment.
            Outcome::Succeeded(Success::Simulated {
                gas: GAS_USED,
                base_fee: 1_000_001,
                priority_fee: 1,
            })
        } else {
            spoiled(&simulation.effect, 4)
        };
        world.end(&simulation, outcome);
        world.wait(600_000);
    }
    assert!(
        world
            .issued
            .iter()
            .any(|issued| is_simulation(&issued.effect))
    );
}

/// Contracts take no delegated delivery in a batch: it goes by itself, and waits for nobody.
#[test]
fn a_delegated_answer_goes_by_itself() {
    let mut world = due(batching(config(), 3), 2);
    let mut asked = Vec::new();
    for delegates in [false, true] {
        if delegates {
            let request = delegated(7, subscription(&["alpha"]), world.now());
            world.apply(Event::DelegatedAccepted(request));
        }
        while let Some(issued) = world.issued.pop_front() {
            if is_sign(&issued.effect) {
                asked.push(issued);
            } else if let Some(outcome) = world.answer(&issued) {
                world.end(&issued, outcome);
            }
        }
        assert_eq!(asked.len(), 1 + usize::from(delegates));
    }
    assert_eq!(state(&world, 2), State::Ready, "behind the first");
    world.issued = asked.into();
    world.run(3);
    assert_eq!(world.delivered(), 3);
}

/// Two that become ready with different fees: what carries both offers the higher.
#[test]
fn a_batch_offers_the_highest_fee_of_its_answers() {
    let mut world = due(batching(config(), 3), 3);
    let mut base_fees = vec![100, 900, 50].into_iter();
    while let Some(issued) = world.issued.pop_front() {
        let outcome = if is_simulation(&issued.effect) {
            base_fees.next().map(|base_fee| {
                Outcome::Succeeded(Success::Simulated {
                    gas: GAS_USED,
                    base_fee,
                    priority_fee: 1,
                })
            })
        } else {
            world.answer(&issued)
        };
        if let Some(outcome) = outcome {
            world.end(&issued, outcome);
        }
    }
    let mut fees: Vec<_> = world
        .pool
        .values()
        .map(|tx| (tx.nonce, tx.max_fee))
        .collect();
    fees.sort_unstable();
    assert_eq!(fees, [(0, 201), (1, 1_801)]);
}

/// A batch is worth what each of its answers is: of its gas, each bears its share.
#[test]
fn each_answer_of_a_batch_bears_its_share_of_the_gas() {
    let mut config = batching(config(), 3);
    config.rates = vec![(OTHER, 1.into())];
    let mut terms = subscription(&["alpha"]);
    // Twice what one costs at 8 wei per gas, as simulated.
    terms.payment_amount = (u128::from(GAS_USED) * 16).into();
    let mut world = world_with(config, &terms, 3);
    world.mine(1);
    world.mine(1);
    world.settle();
    world.wait(10_000);
    let raised: Vec<_> = world
        .issued
        .iter()
        .filter_map(|issued| match &issued.effect {
            Effect::Sign { nonce, .. } => Some(nonce.0),
            _ => None,
        })
        .collect();
    assert_eq!(raised, [0, 1]);
}
