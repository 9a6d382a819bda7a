//! Amounts that a stranger's token may name. None of them stops the node, and none of them costs
//! the native coin its exactness.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{act::*, *};
use infernet_state::{
    Event, Machine,
    event::{ChainFact, WalletChange, WalletFact},
    ledger::{Account, Balance, Entry, EntryState, Role, Statement, Sum, Totals},
    limits::{LEDGER_TOKENS_KEPT, WRITE_OFFS_AT_ONCE_MAX},
    types::{Address, Amount, Hash, Seq},
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

/// One of as many tokens as a stranger likes.
fn worthless(number: u64) -> Address {
    let mut token = [0x99; 20];
    token[..8].copy_from_slice(&number.to_be_bytes());
    Address(token)
}

/// What all entries of the log say of each account, voided ones aside.
fn by_entries(world: &World) -> BTreeMap<Account, (Sum, Sum)> {
    let (mut machine, mut statement) = (Machine::new(), Statement::new(Seq(0), Seq(u64::MAX)));
    for event in &world.log {
        machine.apply(event).expect("no halt");
        statement.follow(machine.seq(), machine.ledger());
    }
    assert_eq!(machine, world.machine);
    let mut sums: BTreeMap<Account, (Sum, Sum)> = BTreeMap::new();
    let more = |sum: &mut Sum, entry: &Entry| {
        *sum = sum
            .checked_add(entry.amount.into())
            .expect("a sum holds it");
    };
    for (_, entry) in statement.entries() {
        if entry.state != EntryState::Voided {
            more(&mut sums.entry(entry.debit).or_default().0, entry);
            more(&mut sums.entry(entry.credit).or_default().1, entry);
        }
    }
    sums
}

/// Strangers pay in ever new tokens: no more than so many are kept, and the entries of the log
/// add up to what the accounts say, of the kept ones and of the forgotten ones.
#[test]
fn tokens_that_nobody_accepts_are_written_off_when_they_are_many() {
    let accepted = worthless(3);
    let mut config = world_config(false);
    config.containers[0].accepted_payments = vec![(accepted, Amount::from(1))];
    let mut world = World::new(config);
    let many = LEDGER_TOKENS_KEPT as u64 + 300;
    for number in 0..many {
        let token = worthless(number);
        let amount = if number % 2 == 0 {
            Amount::MAX
        } else {
            7.into()
        };
        // More than one entry holds; of one, more than may be written off at once.
        let times = match number {
            4 => 2 * WRITE_OFFS_AT_ONCE_MAX,
            8 => 3,
            _ => 1,
        };
        for of in 0..times as u64 {
            let tx = hash("gift", 100 * number + of);
            world.next.push(gift(token, amount, tx));
        }
        if number % 100 == 99 {
            let gifts = world.next.clone();
            world.mine(1);
            if number % 300 == 299 {
                world.reorg(1);
                world.next = gifts;
                world.mine(1);
            }
            world.finalize(0);
        }
    }
    let tokens = |world: &World| -> BTreeSet<Address> {
        let accounts = world.machine.ledger().accounts();
        accounts.map(|(account, _)| account.token).collect()
    };
    let kept = tokens(&world);
    assert!(kept.len() <= LEDGER_TOKENS_KEPT + 1, "{}", kept.len());
    assert!(kept.contains(&accepted), "it is of use, however old");
    for number in [0, 1, 4, 8] {
        assert!(!kept.contains(&worthless(number)), "{number}");
    }
    // One that was forgotten moves again.
    let again = worthless(1);
    world.next.push(gift(again, 5.into(), hash("again", 0)));
    world.mine(1);
    let totals = world.machine.ledger().totals(Role::NodeWallet, again);
    assert_eq!(totals.balance(), Balance::Debit(5_u128.into()));
    world.finalize(0);
    assert!(world.machine.ledger().balances());
    let sums = by_entries(&world);
    assert!(sums.len() > world.machine.ledger().accounts().count());
    for (account, (debits, credits)) in sums {
        let said = world.machine.ledger().totals(account.role, account.token);
        let summed = match debits.checked_sub(credits) {
            Some(more) => Balance::Debit(more),
            None => Balance::Credit(credits.checked_sub(debits).expect("more")),
        };
        assert_eq!(said.balance(), summed, "{account:?}");
    }
    let bytes = world.machine.snapshot().expect("encodes");
    assert_eq!(Machine::restore(&bytes).as_ref(), Ok(&world.machine));
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
