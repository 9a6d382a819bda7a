//! What each of the chain's events is booked as, and what is none of the node's.

use crate::{
    common::*,
    scenes::{block, newest, receipt},
};
use infernet_state::{
    Machine,
    event::{ChainFact, WalletChange, WalletFact},
    ledger::{Balance, Role, Statement},
    proof::ProofState,
    types::{Address, Amount, EntryNo, Hash, Interval, Nonce, Seq, SubscriptionId},
};

const TOKEN: Address = Address([7; 20]);

const ROLES: [Role; 13] = [
    Role::NodeAccount,
    Role::NodeWallet,
    Role::Receivable,
    Role::Escrow,
    Role::Stake,
    Role::Earnings,
    Role::ProtocolFees,
    Role::VerifierFees,
    Role::Slashes,
    Role::Gas,
    Role::DataFees,
    Role::Suspense,
    Role::Owner,
];

fn balance(world: &World, role: Role, token: Address) -> Balance {
    world.machine.ledger().totals(role, token).balance()
}

fn debit(amount: u128) -> Balance {
    Balance::Debit(amount.into())
}

fn says(wallet: Address, tx: Hash, change: WalletChange) -> Next {
    Next::Wallet(WalletFact {
        wallet,
        owner: NODE,
        tx,
        change,
    })
}

fn transferred(spender: Address, to: Address, amount: u128) -> WalletChange {
    WalletChange::Transferred {
        spender,
        token: TOKEN,
        to,
        amount: Amount::from(amount),
    }
}

fn escrowed(spender: Address, amount: u128, locked: bool) -> WalletChange {
    WalletChange::Escrowed {
        spender,
        token: TOKEN,
        amount: Amount::from(amount),
        locked,
    }
}

/// Each from debit to credit; nothing else is booked.
#[test]
fn an_event_of_a_wallet_is_booked_by_whose_it_is() {
    let approved = |spender| WalletChange::Approved {
        spender,
        token: TOKEN,
        amount: Amount::from(100),
    };
    let withdrawn = WalletChange::Withdrawn {
        token: TOKEN,
        amount: Amount::from(100),
    };
    let read = WalletChange::BalanceRead {
        token: TOKEN,
        balance: Amount::from(100),
    };
    for (wallet, change, sides, allowed) in [
        (
            NODE_WALLET,
            withdrawn.clone(),
            Some((Role::Owner, Role::NodeWallet)),
            0,
        ),
        (CONSUMER_WALLET, withdrawn, None, 0),
        (
            NODE_WALLET,
            read.clone(),
            Some((Role::NodeWallet, Role::Suspense)),
            0,
        ),
        (CONSUMER_WALLET, read, None, 0),
        (NODE_WALLET, approved(NODE), None, 100),
        (NODE_WALLET, approved(OTHER), None, 0),
        (CONSUMER_WALLET, approved(NODE), None, 0),
        (
            NODE_WALLET,
            escrowed(NODE, 100, true),
            Some((Role::Stake, Role::NodeWallet)),
            0,
        ),
        (NODE_WALLET, escrowed(OTHER, 100, true), None, 0),
        (CONSUMER_WALLET, escrowed(NODE, 100, true), None, 0),
        (
            NODE_WALLET,
            escrowed(NODE, 100, false),
            Some((Role::NodeWallet, Role::Stake)),
            100,
        ),
        (NODE_WALLET, escrowed(OTHER, 100, false), None, 0),
        (
            NODE_WALLET,
            transferred(NODE, OTHER, 100),
            Some((Role::Slashes, Role::NodeWallet)),
            0,
        ),
        (
            NODE_WALLET,
            transferred(OTHER, CONSUMER_WALLET, 100),
            Some((Role::Owner, Role::NodeWallet)),
            0,
        ),
        (
            CONSUMER_WALLET,
            transferred(CONSUMER, NODE_WALLET, 100),
            Some((Role::NodeWallet, Role::Suspense)),
            0,
        ),
        (CONSUMER_WALLET, transferred(CONSUMER, OTHER, 100), None, 0),
    ] {
        let mut world = World::new(config());
        world.next = vec![says(wallet, hash("theirs", 1), change.clone())];
        world.mine(1);
        for role in ROLES {
            let expected = match sides {
                Some((debited, _)) if debited == role => debit(100),
                Some((_, credited)) if credited == role => Balance::Credit(100_u128.into()),
                _ => debit(0),
            };
            assert_eq!(
                balance(&world, role, TOKEN),
                expected,
                "{role:?}: {change:?}"
            );
        }
        let allowance = world.machine.chores().allowance(TOKEN);
        assert_eq!(allowance, Amount::from(allowed), "{change:?}");
    }
}

/// Another spender moves within the node's own wallet: no deposit.
#[test]
fn a_transfer_of_the_wallet_to_itself_is_no_deposit() {
    let mut world = World::new(config());
    let change = transferred(OTHER, NODE_WALLET, 100);
    world.next = vec![says(NODE_WALLET, hash("theirs", 1), change)];
    world.mine(1);
    assert_eq!(balance(&world, Role::Suspense, TOKEN), debit(0));
}

/// What is given back to a payer and then paid looks like a verdict; nobody owes the node an
/// escrow.
#[test]
fn a_payment_that_no_proof_is_owed_is_a_deposit() {
    let mut world = World::new(config());
    let tx = hash("theirs", 1);
    world.next = vec![
        says(CONSUMER_WALLET, tx, escrowed(CONSUMER, 100, false)),
        says(CONSUMER_WALLET, tx, transferred(CONSUMER, NODE_WALLET, 100)),
    ];
    world.mine(1);
    assert_eq!(balance(&world, Role::NodeWallet, TOKEN), debit(100));
    assert_eq!(balance(&world, Role::Escrow, TOKEN), debit(0));
    let suspended = balance(&world, Role::Suspense, TOKEN);
    assert_eq!(suspended, Balance::Credit(100_u128.into()));
}

/// Gas, and what a rollup charges beside it: of a delivery, of a revert, of a transaction that
/// somebody else signed with the node's key.
#[test]
fn each_receipt_costs_its_gas_and_its_data_once() {
    let costs = |world: &World| {
        [Role::Gas, Role::DataFees, Role::NodeAccount].map(|role| balance(world, role, NATIVE))
    };
    let held = 1_000_000_000_000_000_000;
    let gas = u128::from(GAS_USED) * GAS_PRICE;
    for (ours, succeeded) in [(true, true), (true, false), (false, true)] {
        let mut world = world_with(config(), &subscription(&["alpha"]), 1);
        world.mine(1);
        world.mine(1);
        world.settle();
        assert_eq!(costs(&world), [debit(0), debit(0), debit(held)]);
        let tx = if ours {
            newest(&world, 0)
        } else {
            hash("foreign", 1)
        };
        world.pool.clear();
        let mut fact = receipt(0, tx, succeeded);
        if let ChainFact::TransactionIncluded(receipt) = &mut fact {
            receipt.l1_fee = Amount::from(13);
        }
        block(&mut world, vec![fact.clone()], 1);
        let paid = [debit(gas), debit(13), debit(held - gas - 13)];
        assert_eq!(costs(&world), paid, "ours: {ours}");
        let account = world.machine.account();
        assert_eq!(account.foreign_nonces(), u64::from(!ours));
        assert_eq!(account.next_nonce(), Some(Nonce(1)));
        if ours {
            block(&mut world, vec![fact], 0);
            assert_eq!(costs(&world), paid, "heard of twice");
        }
        world.finalize(0);
        assert_eq!(costs(&world), paid, "ours: {ours}");
    }
}

/// Within the transaction of a delivery, others lock and lose what is theirs: a consumer that is
/// called may do as it likes, and so may a verifier.
#[test]
fn what_others_do_in_a_delivery_is_not_its_price() {
    let mut world = world_with(with_prover(), &verified(10_000), 1);
    world.mine(1);
    for _ in 0..3 {
        world.settle();
        if world.pool.values().any(|tx| tx.nonce == 1) {
            break;
        }
        world.mine(1);
    }
    let tx = newest(&world, 1);
    let slash = WalletChange::Transferred {
        spender: NODE,
        token: NATIVE,
        to: CONSUMER_WALLET,
        amount: Amount::from(77),
    };
    let lock = WalletChange::Escrowed {
        spender: OTHER,
        token: NATIVE,
        amount: Amount::from(55),
        locked: true,
    };
    world.next = vec![
        says(NODE_WALLET, tx, slash),
        says(Address([0x67; 20]), tx, lock),
    ];
    world.mine(1);
    assert_eq!(world.delivered(), 1);
    let (_, _, proof) = world.machine.proofs().iter().next().expect("open");
    assert_eq!(proof.escrow, Amount::from(8_500), "the payer's own");
    assert_eq!(proof.state, ProofState::Open);
    let expiry = world.head().proofs[&(1, 1)].expiry;
    assert_eq!(proof.expires, expiry, "as the contract has it");
    for (role, amount) in [
        (Role::ProtocolFees, 525),
        (Role::VerifierFees, 975),
        (Role::Slashes, 77),
        (Role::Stake, 10_000),
    ] {
        assert_eq!(balance(&world, role, NATIVE), debit(amount), "{role:?}");
    }
}

/// A verdict ends what was given back before it: what the consumer pays behind it in the same
/// transaction is no escrow, though it be as much as it owes for another proof.
#[test]
fn what_is_paid_behind_a_verdict_is_no_escrow() {
    let mut world = world_with(with_prover(), &verified(10_000), 1);
    world.mine(1);
    world.run(6);
    assert_eq!(balance(&world, Role::Escrow, NATIVE), debit(8_500));
    let tx = hash("theirs", 1);
    let amount = Amount::from(8_500);
    let said = |change| {
        ChainFact::Wallet(WalletFact {
            wallet: CONSUMER_WALLET,
            owner: CONSUMER,
            tx,
            change,
        })
    };
    let released = said(WalletChange::Escrowed {
        spender: CONSUMER,
        token: NATIVE,
        amount,
        locked: false,
    });
    let paid = said(WalletChange::Transferred {
        spender: CONSUMER,
        token: NATIVE,
        to: NODE_WALLET,
        amount,
    });
    let verdict = ChainFact::ProofVerified {
        id: SubscriptionId(9),
        interval: Interval(1),
        node: OTHER,
        active: true,
        valid: false,
    };
    let suspended = |world: &World| balance(world, Role::Suspense, NATIVE);
    let before = suspended(&world);
    block(&mut world, vec![released, verdict, paid], 0);
    assert_eq!(balance(&world, Role::Escrow, NATIVE), debit(8_500));
    assert_ne!(suspended(&world), before, "a deposit");
}

/// A statement of one event has the entries of that event, and none of those beside it.
#[test]
fn a_statement_holds_its_first_and_its_last_event() {
    let mut terms = subscription(&["alpha"]);
    terms.payment_amount = Amount::from(1_000);
    let mut world = world_with(config(), &terms, 2);
    world.run(6);
    let entries: Vec<(EntryNo, Seq)> = world
        .machine
        .ledger()
        .entries()
        .map(|(no, entry)| (no, entry.seq))
        .collect();
    let (first, last) = (entries[0].1, entries[entries.len() - 1].1);
    assert!(first < last);
    for (from, to) in [(first, first), (last, last), (first, last)] {
        let (mut machine, mut statement) = (Machine::new(), Statement::new(from, to));
        for event in &world.log {
            machine.apply(event).expect("no halt");
            statement.follow(machine.seq(), machine.ledger());
        }
        let shown: Vec<_> = statement.entries().map(|(no, _)| no).collect();
        let of_range = entries.iter().filter(|(_, seq)| (from..=to).contains(seq));
        let expected: Vec<_> = of_range.map(|(no, _)| *no).collect();
        assert!(!expected.is_empty());
        assert_eq!(shown, expected, "{from} to {to}");
    }
}

/// An allowance so large that what a stake gives back does not fit saturates, as our wallets do.
#[test]
fn an_allowance_that_overflows_saturates() {
    let mut world = World::new(config());
    let tx = hash("operators", 1);
    let approved = WalletChange::Approved {
        spender: NODE,
        token: TOKEN,
        amount: Amount::MAX,
    };
    let stake = |amount: u128, locked| WalletChange::Escrowed {
        spender: NODE,
        token: TOKEN,
        amount: Amount::from(amount),
        locked,
    };
    let changes = [approved, stake(5, true), stake(10, false)];
    world.next = changes.map(|change| says(NODE_WALLET, tx, change)).to_vec();
    world.mine(1);
    assert_eq!(world.machine.chores().allowance(TOKEN), Amount::MAX);
}
