//! Amounts that a stranger's token may name. None of them stops the node, and none of them costs
//! the native coin its exactness.

use std::collections::BTreeMap;

use crate::common::{act::*, *};
use infernet_state::{
    Event, Machine,
    event::{ChainFact, WalletChange, WalletFact},
    ledger::{Account, Balance, Role, Sum, Totals},
    types::{Address, Amount, Hash},
};
use proptest::prelude::*;

/// A token whose contract says what it likes.
const HOSTILE: Address = Address([0x66; 20]);

/// A wallet of the factory, as anybody can have one.
const STRANGER_WALLET: Address = Address([0x67; 20]);

/// Who owns it.
const STRANGER: Address = Address([0x68; 20]);

/// 2^255.
fn half() -> Amount {
    let mut bytes = [0; 32];
    bytes[0] = 0x80;
    Amount::from_be_bytes(bytes)
}

/// A transfer out of the stranger's wallet.
fn gift(token: Address, amount: Amount, tx: Hash) -> Next {
    Next::Wallet(WalletFact {
        wallet: STRANGER_WALLET,
        owner: STRANGER,
        tx,
        change: WalletChange::Transferred {
            spender: STRANGER,
            token,
            to: NODE_WALLET,
            amount,
        },
    })
}

fn read(balance: Amount) -> Next {
    Next::Wallet(WalletFact {
        wallet: NODE_WALLET,
        owner: NODE,
        tx: hash("read", 0),
        change: WalletChange::BalanceRead {
            token: HOSTILE,
            balance,
        },
    })
}

fn balance(world: &World, role: Role) -> Balance {
    world.machine.ledger().totals(role, HOSTILE).balance()
}

/// `count` times `amount`.
fn times(count: usize, amount: Amount) -> Sum {
    (0..count).fold(Sum::ZERO, |sum, _| {
        sum.checked_add(amount.into()).expect("a sum holds it")
    })
}

#[test]
fn gifts_of_half_the_numbers_there_are_add_up_and_come_and_go_with_their_blocks() {
    let mut world = World::new(world_config(false));
    for number in 0..5 {
        world.next.push(gift(HOSTILE, half(), hash("gift", number)));
        world.mine(1);
    }
    assert_eq!(
        balance(&world, Role::NodeWallet),
        Balance::Debit(times(5, half()))
    );
    assert_eq!(
        balance(&world, Role::Suspense),
        Balance::Credit(times(5, half()))
    );
    world.reorg(2);
    assert_eq!(
        balance(&world, Role::NodeWallet),
        Balance::Debit(times(3, half()))
    );
    world.next.push(gift(HOSTILE, Amount::MAX, hash("gift", 9)));
    world.run(1);
    assert_eq!(
        world
            .machine
            .ledger()
            .totals(Role::NodeWallet, HOSTILE)
            .posted(),
        Balance::Debit(
            times(3, half())
                .checked_add(Amount::MAX.into())
                .expect("fits")
        )
    );
    // The coin itself, where a development chain gives somebody all there is of it.
    for number in 10..14 {
        world
            .next
            .push(gift(NATIVE, Amount::MAX, hash("gift", number)));
    }
    world.run(1);
    assert!(world.machine.ledger().balances());
    assert_eq!(world.replayed(), world.machine);
}

#[test]
fn a_balance_that_no_entry_can_explain_is_booked_as_far_as_entries_go() {
    let mut world = World::new(world_config(false));
    for number in 0..4 {
        world
            .next
            .push(gift(HOSTILE, Amount::MAX, hash("gift", number)));
    }
    world.mine(1);
    world.next.push(read(Amount::ZERO));
    world.mine(1);
    assert_eq!(
        balance(&world, Role::NodeWallet),
        Balance::Debit(times(3, Amount::MAX))
    );
    for _ in 0..3 {
        world.next.push(read(7.into()));
    }
    world.mine(1);
    assert_eq!(
        balance(&world, Role::NodeWallet),
        Balance::Debit(7_u128.into())
    );
    world.reorg(1);
    assert_eq!(
        balance(&world, Role::NodeWallet),
        Balance::Debit(times(3, Amount::MAX))
    );
    assert!(world.machine.ledger().balances());
}

#[test]
fn a_price_near_the_end_of_the_numbers_is_served_and_booked() {
    for (verifier, batches) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::new(world_config(batches));
        for _ in 0..3 {
            let mut terms = terms(if verifier { 3 } else { 0 }, 1);
            terms.payment_token = HOSTILE;
            terms.payment_amount = half();
            world.next.push(Next::Create(terms));
        }
        for _ in 0..4 {
            world.run(4);
        }
        // Three stakes of half the numbers there are cannot all be allowed at once.
        assert!(world.delivered() >= if verifier { 1 } else { 3 });
        let earned = times(world.delivered(), half());
        assert_eq!(balance(&world, Role::Earnings), Balance::Credit(earned));
        assert!(world.machine.ledger().balances());
        assert_eq!(world.replayed(), world.machine);
    }
}

/// What happens in a life among strangers.
#[derive(Clone, Debug)]
enum Hostility {
    Common(Act),
    Offer { verifier: bool, price: Amount },
    Wallet(WalletFact),
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        Just(Amount::MAX),
        Just(half()),
        Just(Amount::from(1)),
        any::<[u8; 32]>().prop_map(Amount::from_be_bytes),
    ]
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        Just(NODE),
        Just(NODE_WALLET),
        Just(CONSUMER),
        Just(CONSUMER_WALLET),
        Just(FEE_RECIPIENT),
        Just(STRANGER),
    ]
}

/// What a wallet may be made to say of a hostile token; the node's own included.
fn saying() -> impl Strategy<Value = WalletFact> {
    let wallet = prop_oneof![
        Just((NODE_WALLET, NODE)),
        Just((CONSUMER_WALLET, CONSUMER)),
        Just((STRANGER_WALLET, STRANGER)),
    ];
    (
        wallet,
        address(),
        address(),
        amount(),
        any::<bool>(),
        0..5_u8,
        0..40_u64,
    )
        .prop_map(
            |((wallet, owner), spender, to, amount, locked, which, tx)| {
                let token = HOSTILE;
                WalletFact {
                    wallet,
                    owner,
                    // Perhaps one of the node's own transactions, whose call gave the stranger the word.
                    tx: hash("tx", tx),
                    change: match which {
                        0 => WalletChange::Transferred {
                            spender,
                            token,
                            to,
                            amount,
                        },
                        1 => WalletChange::Escrowed {
                            spender,
                            token,
                            amount,
                            locked,
                        },
                        2 => WalletChange::Approved {
                            spender,
                            token,
                            amount,
                        },
                        3 => WalletChange::Withdrawn { token, amount },
                        _ => WalletChange::BalanceRead {
                            token,
                            balance: amount,
                        },
                    },
                }
            },
        )
}

fn hostility() -> impl Strategy<Value = Hostility> {
    prop_oneof![
        12 => act().prop_map(Hostility::Common),
        4 => saying().prop_map(Hostility::Wallet),
        1 => (any::<bool>(), amount()).prop_map(|(verifier, price)| Hostility::Offer { verifier, price }),
    ]
}

/// The accounts of the coin.
fn native(machine: &Machine) -> BTreeMap<Account, Totals> {
    machine
        .ledger()
        .accounts()
        .filter(|(account, _)| account.token == NATIVE)
        .map(|(account, totals)| (*account, *totals))
        .collect()
}

/// A log without what wallets said of the hostile token.
fn without_sayings(log: &[Event]) -> Machine {
    let mut machine = Machine::new();
    for event in log {
        let mut event = event.clone();
        if let Event::ChainCommitted { facts, .. } = &mut event {
            facts.retain(|fact| match fact {
                ChainFact::Wallet(fact) => match &fact.change {
                    WalletChange::Transferred { token, .. }
                    | WalletChange::Escrowed { token, .. }
                    | WalletChange::Approved { token, .. }
                    | WalletChange::Withdrawn { token, .. }
                    | WalletChange::BalanceRead { token, .. } => *token != HOSTILE,
                },
                _ => true,
            });
        }
        machine.apply(&event).expect("no halt");
    }
    machine
}

proptest! {
    #![proptest_config(cases(400))]

    /// Whatever wallets say of a hostile token, and whatever it offers to pay, the machine goes
    /// on, its books balance, and a replay agrees.
    #[test]
    fn strangers_do_not_stop_the_node(
        acts in prop::collection::vec(hostility(), 1..120),
        batches in any::<bool>(),
    ) {
        let mut world = World::new(world_config(batches));
        for act in acts {
            match act {
                Hostility::Common(act) => perform(&mut world, act),
                Hostility::Offer { verifier, price } => {
                    let mut terms = terms(if verifier { 3 } else { 0 }, 1);
                    terms.payment_token = HOSTILE;
                    terms.payment_amount = price;
                    world.next.push(Next::Create(terms));
                }
                Hostility::Wallet(fact) => world.next.push(Next::Wallet(fact)),
            }
        }
        world.run(3);
        let replayed = world.replayed();
        prop_assert_eq!(replayed.digest(), world.machine.digest());
        prop_assert_eq!(replayed.effects_digest(), world.machine.effects_digest());
    }

    /// What wallets say of a hostile token leaves the coin's accounts, and all that is done, as
    /// they are without it.
    #[test]
    fn strangers_do_not_touch_the_coin(
        acts in prop::collection::vec(hostility(), 1..120),
        batches in any::<bool>(),
    ) {
        let mut world = World::new(world_config(batches));
        for act in acts {
            match act {
                Hostility::Common(act) => perform(&mut world, act),
                Hostility::Wallet(fact) => world.next.push(Next::Wallet(fact)),
                Hostility::Offer { .. } => {}
            }
        }
        world.run(3);
        let other = without_sayings(&world.log);
        prop_assert_eq!(native(&other), native(&world.machine));
        prop_assert_eq!(other.effects_digest(), world.machine.effects_digest());
    }
}
