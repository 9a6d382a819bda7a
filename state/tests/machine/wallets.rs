//! What the books make of the chain's events, where two of them look alike.

use crate::common::{act::world_config, *};
use infernet_state::{
    Effect, Event,
    effect::Action,
    event::{ChainFact, Subscription, WalletChange, WalletFact},
    ledger::{Balance, Code, EntryState, Role},
    types::{Address, Amount},
};

fn verified(price: u128) -> Subscription {
    let mut terms = subscription(&["prover"]);
    terms.payment_amount = Amount::from(price);
    terms.verifier = VERIFIER;
    terms
}

fn codes(world: &World, code: Code) -> usize {
    let entries = world.machine.ledger().entries();
    entries
        .filter(|(_, entry)| entry.code == code && entry.state != EntryState::Voided)
        .count()
}

fn balance(world: &World, role: Role) -> Balance {
    world.machine.ledger().totals(role, NATIVE).balance()
}

/// The node's wallet holds this much, in the next block.
fn read_balance(world: &mut World, balance: u128) {
    world.next.push(Next::Wallet(WalletFact {
        wallet: NODE_WALLET,
        owner: NODE,
        tx: hash("read", 0),
        change: WalletChange::BalanceRead {
            token: NATIVE,
            balance: Amount::from(balance),
        },
    }));
    world.mine(1);
    world.settle();
}

#[test]
fn what_is_locked_in_the_wallet_is_no_gift() {
    let mut world = World::new(world_config(false));
    read_balance(&mut world, 100_000);
    let begun = codes(&world, Code::Reconciled);
    let held = |world: &World| balance(world, Role::NodeWallet);
    assert_eq!(held(&world), Balance::Debit(100_000.into()));
    world.next.push(Next::Create(verified(10_000)));
    world.run(6);
    assert_eq!(balance(&world, Role::Stake), Balance::Debit(10_000.into()));
    // Its balance is what it was.
    read_balance(&mut world, 100_000);
    assert_eq!(codes(&world, Code::Reconciled), begun);
    assert_eq!(held(&world), Balance::Debit(90_000.into()));
    // A deposit without an event is one.
    read_balance(&mut world, 100_007);
    assert_eq!(codes(&world, Code::Reconciled), begun + 1);
    assert_eq!(held(&world), Balance::Debit(90_007.into()));
}

#[test]
fn a_plain_price_of_the_same_payer_is_no_escrow() {
    let mut world = World::new(world_config(false));
    world.next.push(Next::Create(verified(10_000)));
    world.run(6);
    let escrow = balance(&world, Role::Escrow);
    assert_eq!(escrow, Balance::Debit(8_500.into()));
    // What is left of 8,947 after the protocol's share is as much.
    let mut plain = subscription(&["alpha"]);
    plain.payment_amount = Amount::from(8_947);
    world.next.push(Next::Create(plain));
    world.run(6);
    assert_eq!(world.delivered(), 2);
    assert_eq!(codes(&world, Code::EscrowPaid), 0);
    assert_eq!(balance(&world, Role::Escrow), escrow);
    assert_eq!(balance(&world, Role::Receivable), Balance::Debit(0.into()));
    // The verdict pays what was locked for it.
    world.next.push(Next::Judge(0, true));
    world.run(1);
    assert_eq!(codes(&world, Code::EscrowPaid), 1);
    assert_eq!(balance(&world, Role::Escrow), Balance::Debit(0.into()));
}

#[test]
fn an_escrow_is_of_the_delivery_in_whose_transaction_it_was_locked() {
    let mut world = World::new(world_config(false));
    for price in [10_000, 20_000] {
        world.next.push(Next::Create(verified(price)));
    }
    world.mine(1);
    world.mine(1);
    // The second is answered first, and both are in one block.
    while let Some(issued) = world.issued.pop_back() {
        if let Some(outcome) = world.answer(&issued) {
            world.end(&issued, outcome);
        }
    }
    world.run(6);
    let block = world.blocks.iter().find(|block| block.proofs.len() == 2);
    let block = block.expect("both are delivered");
    assert_eq!(
        world.blocks[block.block.number as usize - 1].proofs.len(),
        0
    );
    let escrows: Vec<_> = world
        .machine
        .proofs()
        .iter()
        .map(|(id, _, proof)| (id.0, proof.escrow))
        .collect();
    assert_eq!(
        escrows,
        [(1, Amount::from(8_500)), (2, Amount::from(17_000))]
    );
}

#[test]
fn another_wallet_has_allowed_nothing_yet() {
    let mut world = World::new(world_config(false));
    world.next.push(Next::Create(verified(10_000)));
    world.run(6);
    let allowed = |world: &World| world.machine.chores().allowances().count();
    assert_eq!(allowed(&world), 1);
    let mut config = world_config(false);
    let wallet = Address([0xb0; 20]);
    config.chain.as_mut().expect("a chain").payment_wallet = Some(wallet);
    world.apply(Event::ConfigChanged(config));
    assert_eq!(allowed(&world), 0);
    // What it needs is allowed before anything is delivered with it.
    world.next.push(Next::Create(verified(10_000)));
    world.mine(1);
    world.mine(1);
    let mut approves = Vec::new();
    while let Some(issued) = world.issued.pop_front() {
        if let Effect::Simulate {
            action: Action::ApproveStake { wallet, .. },
            ..
        } = &issued.effect
        {
            approves.push(*wallet);
        }
        if let Some(outcome) = world.answer(&issued) {
            world.end(&issued, outcome);
        }
    }
    assert_eq!(approves, [wallet]);
    let facts = world.blocks.iter().flat_map(|block| &block.facts);
    let approved = |fact: &&ChainFact| matches!(fact, ChainFact::Wallet(fact) if matches!(fact.change, WalletChange::Approved { .. }));
    assert_eq!(facts.filter(approved).count(), 1, "the first wallet's");
}

#[test]
fn an_approval_of_the_wallet_before_allows_nothing_of_the_present_one() {
    let mut world = World::new(world_config(false));
    world.next.push(Next::Create(verified(10_000)));
    world.mine(1);
    world.mine(1);
    world.settle();
    assert_eq!(world.pool.len(), 1, "the approval");
    let mut config = world_config(false);
    let wallet = Address([0xb0; 20]);
    config.chain.as_mut().expect("a chain").payment_wallet = Some(wallet);
    world.apply(Event::ConfigChanged(config));
    let allowed = |world: &World| world.machine.chores().allowances().count();
    world.mine(1);
    assert_eq!(world.head().nonce, 1, "it is included");
    assert_eq!(allowed(&world), 0);
    world.reorg(1);
    world.mine(1);
    assert_eq!(allowed(&world), 0);
    let mut approves = Vec::new();
    while let Some(issued) = world.issued.pop_front() {
        if let Effect::Sign {
            action: Action::ApproveStake { wallet, .. },
            ..
        } = &issued.effect
        {
            approves.push(*wallet);
        }
        if let Some(outcome) = world.answer(&issued) {
            world.end(&issued, outcome);
        }
    }
    assert_eq!(approves, [wallet]);
    assert_eq!(world.delivered(), 0, "before it is allowed");
    world.machine.audit().expect("sound");
    assert_eq!(world.replayed(), world.machine);
}

/// The configuration names another wallet.
fn name_another_wallet(world: &mut World) {
    let mut config = world_config(false);
    config.chain.as_mut().expect("a chain").payment_wallet = Some(Address([0xb0; 20]));
    world.apply(Event::ConfigChanged(config));
}

/// What the wallet that was named before is made to say.
fn former(spender: Address, amount: u128) -> Next {
    Next::Wallet(WalletFact {
        wallet: NODE_WALLET,
        owner: NODE,
        tx: hash("former", 0),
        change: WalletChange::Transferred {
            spender,
            token: NATIVE,
            to: OTHER,
            amount: Amount::from(amount),
        },
    })
}

#[test]
fn a_stake_in_the_wallet_before_is_booked_until_its_verdict_is_final() {
    for valid in [true, false] {
        let mut world = World::new(world_config(false));
        world.next.push(Next::Create(verified(10_000)));
        world.run(6);
        assert_eq!(balance(&world, Role::Stake), Balance::Debit(10_000.into()));
        name_another_wallet(&mut world);
        assert_eq!(world.machine.former_wallets(), [NODE_WALLET]);
        world.next.push(Next::Judge(0, valid));
        world.mine(1);
        // The verdict goes with its block, and comes again.
        world.reorg(1);
        assert_eq!(balance(&world, Role::Stake), Balance::Debit(10_000.into()));
        assert_eq!(balance(&world, Role::Escrow), Balance::Debit(8_500.into()));
        world.next.push(Next::Judge(0, valid));
        world.mine(1);
        assert_eq!(codes(&world, Code::StakeReleased), 1);
        assert_eq!(codes(&world, Code::StakeSlashed), usize::from(!valid));
        assert_eq!(codes(&world, Code::EscrowPaid), usize::from(valid));
        for role in [Role::Stake, Role::Escrow] {
            assert_eq!(balance(&world, role), Balance::Debit(0.into()), "{valid}");
        }
        let lost = if valid { 0 } else { 10_000 };
        assert_eq!(balance(&world, Role::Slashes), Balance::Debit(lost.into()));
        // What was allowed to be locked in it is none of the present one's.
        assert_eq!(world.machine.chores().allowances().count(), 0);
        assert_eq!(world.machine.former_wallets(), [NODE_WALLET]);
        world.finalize(0);
        assert_eq!(world.machine.former_wallets(), []);
        let before = world.machine.ledger().last();
        world.next.push(former(NODE, 3));
        world.mine(1);
        assert_eq!(world.machine.ledger().last(), before, "nobody's any more");
        assert!(world.machine.ledger().balances());
        assert_eq!(world.replayed(), world.machine);
    }
}

#[test]
fn a_delivery_that_was_sent_for_the_wallet_before_is_paid_to_it() {
    let mut world = World::new(world_config(false));
    let mut terms = subscription(&["alpha"]);
    terms.payment_amount = Amount::from(10_000);
    world.next.push(Next::Create(terms));
    world.mine(1);
    world.mine(1);
    world.settle();
    assert_eq!(world.pool.len(), 1);
    name_another_wallet(&mut world);
    // What its owner does with it is no business of the node.
    world.next.push(former(OTHER, 3));
    world.mine(1);
    assert_eq!(world.delivered(), 1);
    assert_eq!(codes(&world, Code::Payout), 1);
    assert_eq!(codes(&world, Code::VerifierFee), 0);
    assert_eq!(codes(&world, Code::Spent), 0);
    assert_eq!(balance(&world, Role::Receivable), Balance::Debit(0.into()));
    world.finalize(0);
    assert_eq!(world.machine.former_wallets(), []);
    assert_eq!(world.replayed(), world.machine);
}

#[test]
fn a_wallet_of_which_nothing_is_open_is_not_remembered_and_one_that_comes_back_is_the_present() {
    let mut world = World::new(world_config(false));
    name_another_wallet(&mut world);
    assert_eq!(world.machine.former_wallets(), []);
    world.apply(Event::ConfigChanged(world_config(false)));
    world.next.push(Next::Create(verified(10_000)));
    world.run(6);
    name_another_wallet(&mut world);
    assert_eq!(world.machine.former_wallets(), [NODE_WALLET]);
    world.apply(Event::ConfigChanged(world_config(false)));
    assert!(!world.machine.former_wallets().contains(&NODE_WALLET));
    world.next.push(Next::Judge(0, true));
    world.run(1);
    assert_eq!(world.machine.former_wallets(), []);
    assert_eq!(balance(&world, Role::Stake), Balance::Debit(0.into()));
    assert_eq!(world.replayed(), world.machine);
}

#[test]
fn what_a_consumer_locks_for_itself_is_no_escrow() {
    let mut world = World::new(world_config(false));
    let mut free = subscription(&["alpha"]);
    free.payment_amount = Amount::ZERO;
    world.next.push(Next::Create(free.clone()));
    let mut sent = None;
    for _ in 0..6 {
        world.mine(1);
        world.settle();
        let mut deliveries = world.machine.deliveries().iter();
        sent = sent.or(deliveries.find_map(|(no, _)| world.machine.transactions_of(no).pop()));
        if world.delivered() == 1 {
            break;
        }
    }
    assert_eq!(world.delivered(), 1);
    let tx = sent.expect("it was sent");
    // It funds another of its subscriptions while it is answered.
    world.next.push(Next::Wallet(WalletFact {
        wallet: free.wallet,
        owner: free.owner,
        tx,
        change: WalletChange::Escrowed {
            spender: free.owner,
            token: NATIVE,
            amount: Amount::from(3_124),
            locked: true,
        },
    }));
    world.mine(1);
    assert_eq!(codes(&world, Code::EscrowLocked), 0);
    assert_eq!(balance(&world, Role::Escrow), Balance::Debit(0.into()));
    assert_eq!(balance(&world, Role::Receivable), Balance::Debit(0.into()));
}
