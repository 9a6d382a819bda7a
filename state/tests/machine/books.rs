//! What the books make of several payments that are outstanding at once, and look alike.

use std::collections::BTreeMap;

use crate::common::*;
use infernet_state::{
    Effect,
    effect::Action,
    event::{Outcome, Success},
    ledger::{Balance, Role},
    types::Amount,
};

fn balance(world: &World, role: Role) -> Balance {
    world.machine.ledger().totals(role, NATIVE).posted()
}

/// While a proof is open, the same consumer pays for another answer, and what comes of that price
/// is exactly what it owes for the proof: a payout, and not the escrow.
#[test]
fn a_payout_as_large_as_an_escrow_is_a_payout() {
    let mut world = world_with(with_prover(), &verified(10_000), 1);
    world.mine(1);
    world.run(6);
    assert_eq!(balance(&world, Role::Escrow), Balance::Debit(8_500.into()));
    let mut alike = subscription(&["alpha"]);
    alike.payment_amount = Amount::from(8_947);
    world.next = vec![Next::Create(alike)];
    world.run(6);
    assert_eq!(world.delivered(), 2);
    assert_eq!(balance(&world, Role::Receivable), Balance::Debit(0.into()));
    assert_eq!(balance(&world, Role::Escrow), Balance::Debit(8_500.into()));
    let unexplained = balance(&world, Role::Suspense);
    world.next = vec![Next::Judge(0, true)];
    world.run(4);
    assert_eq!(balance(&world, Role::Escrow), Balance::Debit(0.into()));
    assert_eq!(balance(&world, Role::Suspense), unexplained);
    let paid = Balance::Debit((8_500 + 8_500_u128).into());
    assert_eq!(balance(&world, Role::NodeWallet), paid);
}

/// Two answers of one payer go in one batch, in the order of their gas and not of their ids: each
/// proof knows its own escrow, and a verdict settles that one.
#[test]
fn each_proof_of_a_batch_knows_its_own_escrow() {
    let mut world = World::new(batching(with_prover(), 3));
    world.next = [1_000, 10_000, 20_000]
        .map(|price| Next::Create(verified(price)))
        .to_vec();
    world.mine(1);
    for _ in 0..6 {
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
                *gas = 1_000_000 / u64::from(delivery.subscription.0);
            }
            world.end(&issued, outcome);
        }
        world.mine(1);
    }
    world.finalize(0);
    assert_eq!(world.delivered(), 3);
    let escrows: BTreeMap<u32, Amount> = world
        .machine
        .proofs()
        .iter()
        .map(|(id, _, proof)| (id.0, proof.escrow))
        .collect();
    let expected = [(1, 850), (2, 8_500), (3, 17_000)]
        .map(|(id, amount): (u32, u128)| (id, Amount::from(amount)));
    assert_eq!(escrows, BTreeMap::from(expected));
    world.next = vec![Next::Judge(1, false)];
    world.run(4);
    let left = Balance::Debit((850 + 17_000_u128).into());
    assert_eq!(balance(&world, Role::Escrow), left);
    let earned = Balance::Credit((31_000 - 8_500_u128).into());
    assert_eq!(balance(&world, Role::Earnings), earned);
    world.next = vec![Next::Judge(0, true), Next::Judge(0, true)];
    world.run(4);
    assert_eq!(balance(&world, Role::Escrow), Balance::Debit(0.into()));
    assert_eq!(balance(&world, Role::Stake), Balance::Debit(0.into()));
}
