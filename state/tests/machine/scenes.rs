//! Scenes for the steps that random lives hardly ever make: several reorgs in a row with a batch
//! under way, crashes between two events, an interval that has not begun again.

use std::collections::VecDeque;

use crate::common::{act::*, *};
use infernet_state::{
    Effect, Event,
    delivery::State,
    event::{ChainFact, Receipt},
    types::{Amount, BlockRef, BlockTime, Hash, Nonce, SubscriptionId},
};

/// All of them, played.
pub(crate) fn scenes() -> Vec<World> {
    let mut worlds = vec![
        an_old_version_includes_a_delivery(|_| {}),
        an_old_version_includes_a_delivery(|world| {
            world.wait(600);
            assert_eq!(third(world), State::Simulating);
        }),
        an_old_version_includes_a_delivery(ready),
        an_old_version_includes_a_delivery(|world| {
            let met = ChainFact::SubscriptionFulfilled {
                id: SubscriptionId(3),
                node: OTHER,
            };
            block(world, vec![met], 0);
            world.wait(600);
            assert_eq!(third(world), State::Parked);
        }),
    ];
    worlds.extend([
        a_revert_is_undone_while_the_next_attempt_is_ready(),
        an_interval_has_not_begun_again(),
        a_week_passes_before_the_account_was_observed(),
        a_held_transaction_is_restarted_and_dropped(),
        a_ready_delivery_meets(Next::Cancel(2)),
        a_ready_delivery_meets(Next::Fulfil(2, OTHER)),
        an_approval_reverts_in_a_fork(),
    ]);
    worlds
}

fn world() -> World {
    World::watched(world_config(true))
}

/// Answers everything but what `leave` names.
fn settle_but(world: &mut World, leave: impl Fn(&Effect) -> bool) {
    let mut left = VecDeque::new();
    while let Some(issued) = world.issued.pop_front() {
        if leave(&issued.effect) {
            left.push_back(issued);
        } else if let Some(outcome) = world.answer(&issued) {
            world.end(&issued, outcome);
        }
    }
    world.issued = left;
}

/// A block that holds just this, whatever a chain would say of it.
pub(crate) fn block(world: &mut World, facts: Vec<ChainFact>, used: u64) {
    let mut state = world.head().clone();
    state.block = BlockRef {
        number: state.block.number + 1,
        hash: hash("raw", world.log.len() as u64),
        time: BlockTime(state.block.time.0 + 1),
    };
    state.nonce += used;
    state.facts = facts.clone();
    let block = state.block;
    world.blocks.push(state);
    world.apply(Event::ChainCommitted { block, facts });
}

pub(crate) fn receipt(nonce: u64, tx: Hash, succeeded: bool) -> ChainFact {
    ChainFact::TransactionIncluded(Receipt {
        nonce: Nonce(nonce),
        tx,
        succeeded,
        gas_used: GAS_USED,
        effective_gas_price: GAS_PRICE,
        l1_fee: Amount::ZERO,
    })
}

fn answered(id: u32) -> ChainFact {
    ChainFact::SubscriptionFulfilled {
        id: SubscriptionId(id),
        node: NODE,
    }
}

/// The newest version of an open nonce.
pub(crate) fn newest(world: &World, nonce: u64) -> Hash {
    world
        .machine
        .account()
        .slots()
        .find(|(of, _)| of.0 == nonce)
        .and_then(|(_, slot)| slot.versions.last())
        .expect("it was signed")
        .tx
}

fn third(world: &World) -> State {
    let of_third = |(_, delivery): (_, &infernet_state::delivery::Delivery)| {
        (delivery.identity.id.0 == 3).then_some(delivery.state)
    };
    let deliveries = world.machine.deliveries();
    deliveries
        .iter()
        .find_map(of_third)
        .expect("it was planned")
}

/// The third delivery is ready while another transaction is in hand.
fn ready(world: &mut World) {
    // The first nonce is looked at again, found good, and on its way to the RPC.
    let recheck = world
        .issued
        .iter()
        .position(|issued| matches!(issued.effect, Effect::Simulate { .. }))
        .and_then(|place| world.issued.remove(place))
        .expect("the first nonce is simulated again");
    let outcome = world.answer(&recheck).expect("a simulation ends");
    world.end(&recheck, outcome);
    let before = world.issued.len();
    world.wait(600);
    let simulation = world.issued.remove(before).expect("the third is simulated");
    let outcome = world.answer(&simulation).expect("a simulation ends");
    world.end(&simulation, outcome);
    assert_eq!(third(world), State::Ready);
}

/// A batch loses its second delivery in one fork, brings it in the next, lacks it in a third; and
/// then an old version comes first after all.
fn an_old_version_includes_a_delivery(meanwhile: impl Fn(&mut World)) -> World {
    let mut world = world();
    for _ in 0..3 {
        world.next.push(Next::Create(terms(0, 1)));
    }
    world.mine(1);
    world.mine(1);
    settle_but(&mut world, |effect| matches!(effect, Effect::Sign { .. }));
    world.settle();
    let (single, both) = (newest(&world, 0), newest(&world, 1));
    world.next.push(Next::Cancel(3));
    world.mine_block(1, false);
    world.settle();
    let without = newest(&world, 1);
    assert_ne!(both, without);
    world.reorg(1);
    let first = vec![receipt(0, single, true), answered(1)];
    let with_both = {
        let batch = [receipt(1, both, true), answered(2), answered(3)];
        [first.clone(), batch.to_vec()].concat()
    };
    block(&mut world, with_both.clone(), 2);
    assert_eq!(third(&world), State::Included(Nonce(1)));
    world.reorg(1);
    let lacking = [first, vec![receipt(1, without, true), answered(2)]].concat();
    block(&mut world, lacking, 2);
    assert_eq!(third(&world), State::Planned);
    world.issued.clear();
    world.reorg(1);
    assert_eq!(third(&world), State::Planned);
    meanwhile(&mut world);
    block(&mut world, with_both, 2);
    assert_eq!(third(&world), State::Included(Nonce(1)));
    world
}

fn a_revert_is_undone_while_the_next_attempt_is_ready() -> World {
    let mut world = world();
    for _ in 0..2 {
        world.next.push(Next::Create(terms(0, 1)));
    }
    world.mine(1);
    world.mine(1);
    settle_but(
        &mut world,
        |effect| matches!(effect, Effect::Broadcast { nonce, .. } if nonce.0 == 1),
    );
    let first = newest(&world, 0);
    block(&mut world, vec![receipt(0, first, false)], 1);
    world.wait(600);
    settle_but(&mut world, |effect| {
        matches!(effect, Effect::Broadcast { .. })
    });
    let states: Vec<State> = world
        .machine
        .deliveries()
        .iter()
        .map(|(_, delivery)| delivery.state)
        .collect();
    assert_eq!(states, [State::Ready, State::Sent(Nonce(1))]);
    world.reorg(1);
    world
}

fn an_interval_has_not_begun_again() -> World {
    let mut world = world();
    for _ in 0..2 {
        world.next.push(Next::Create(terms(5, 1)));
    }
    world.mine(1);
    world.mine(1);
    world.mine(41);
    settle_but(&mut world, |effect| matches!(effect, Effect::Sign { .. }));
    assert!(
        world
            .machine
            .deliveries()
            .iter()
            .any(|(_, delivery)| delivery.state == State::Ready)
    );
    world.reorg(1);
    world.settle();
    assert!(
        world
            .machine
            .deliveries()
            .iter()
            .all(|(_, delivery)| delivery.state != State::Ready)
    );
    world
}

fn a_week_passes_before_the_account_was_observed() -> World {
    let mut world = world();
    world.next.push(Next::Create(terms(3, 1)));
    world.run(8);
    assert_eq!(world.machine.proofs().iter().count(), 1);
    let at = world.now();
    world.apply(Event::NodeStarted {
        at,
        version: "test".into(),
    });
    world.mine(604_801);
    world
}

fn a_held_transaction_is_restarted_and_dropped() -> World {
    let mut world = world();
    world.next.push(Next::Create(terms(0, 1)));
    world.mine(1);
    world.mine(1);
    settle_but(&mut world, |effect| {
        matches!(effect, Effect::Broadcast { .. })
    });
    for _ in 0..2 {
        let at = world.now();
        world.apply(Event::NodeStarted {
            at,
            version: "test".into(),
        });
    }
    world.issued.clear();
    world.next.push(Next::Cancel(1));
    world.mine_block(1, false);
    world
}

fn a_ready_delivery_meets(end: Next) -> World {
    let mut world = world();
    for _ in 0..2 {
        world.next.push(Next::Create(terms(0, 1)));
    }
    world.mine(1);
    world.mine(1);
    settle_but(&mut world, |effect| matches!(effect, Effect::Sign { .. }));
    world.next.push(end);
    world.mine(1);
    world.settle();
    world
}

fn an_approval_reverts_in_a_fork() -> World {
    let mut world = world();
    world.next.push(Next::Create(terms(3, 1)));
    world.mine(1);
    world.mine(1);
    world.settle();
    let approval = newest(&world, 0);
    block(&mut world, vec![receipt(0, approval, false)], 1);
    world.reorg(1);
    world
}
