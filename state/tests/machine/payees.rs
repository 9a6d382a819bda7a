//! The edges of the books: wallets that were named before, verdicts that look alike, tokens that
//! are kept, balances that are short.

use crate::{
    common::{act::world_config, judge::at_the_end, *},
    scenes::{block, newest, receipt},
};
use infernet_state::{
    Event, Machine,
    event::{ChainFact, Subscription, WalletChange, WalletFact},
    ledger::{Balance, Code, EntryState, Role},
    limits::{FORMER_WALLETS_KEPT, LEDGER_TOKENS_KEPT},
    transaction::Use,
    types::{Address, Amount, Hash, SubscriptionId},
};

/// A wallet of the factory, as anybody can have one, and who owns it.
const STRANGER: (Address, Address) = (Address([0x67; 20]), Address([0x68; 20]));

const PAYER: (Address, Address) = (CONSUMER_WALLET, CONSUMER);

const OWN: (Address, Address) = (NODE_WALLET, NODE);

fn says((wallet, owner): (Address, Address), tx: Hash, change: WalletChange) -> Next {
    Next::Wallet(WalletFact {
        wallet,
        owner,
        tx,
        change,
    })
}

fn transfer(of: (Address, Address), token: Address, to: Address, amount: u128, tx: Hash) -> Next {
    let change = WalletChange::Transferred {
        spender: of.1,
        token,
        to,
        amount: Amount::from(amount),
    };
    says(of, tx, change)
}

fn escrow(of: (Address, Address), amount: u128, locked: bool, tx: Hash) -> Next {
    let change = WalletChange::Escrowed {
        spender: of.1,
        token: NATIVE,
        amount: Amount::from(amount),
        locked,
    };
    says(of, tx, change)
}

fn balance_of(world: &World, role: Role, token: Address) -> Balance {
    world.machine.ledger().totals(role, token).balance()
}

fn balance(world: &World, role: Role) -> Balance {
    balance_of(world, role, NATIVE)
}

fn codes(world: &World, code: Code) -> usize {
    let entries = world.machine.ledger().entries();
    entries
        .filter(|(_, entry)| entry.code == code && entry.state != EntryState::Voided)
        .count()
}

/// Payments go to another wallet, or to none.
fn pay_to(world: &mut World, wallet: Option<u8>) {
    let mut config = world_config(false);
    let wallet = wallet.map(|byte| Address([byte; 20]));
    config.chain.as_mut().expect("a chain").payment_wallet = wallet;
    world.apply(Event::ConfigChanged(config));
}

/// One proof is open, and its payer owes 8,500.
fn owed() -> World {
    let mut world = World::new(world_config(false));
    world.next.push(Next::Create(verified(10_000)));
    world.run(6);
    assert_eq!(balance(&world, Role::Escrow), Balance::Debit(8_500.into()));
    world
}

/// A verdict unlocks the stake, then the escrow, and pays all of that to the wallet of that stake,
/// in one transaction.
#[test]
fn what_lacks_a_step_of_a_verdict_pays_no_escrow() {
    let (one, two) = (hash("one", 0), hash("two", 0));
    let paid = |to, tx| transfer(PAYER, NATIVE, to, 8_500, tx);
    let cases = [
        // Less was unlocked than is paid.
        vec![
            escrow(OWN, 10_000, false, one),
            escrow(PAYER, 8_400, false, one),
            paid(NODE_WALLET, one),
        ],
        // The stake was unlocked in a transaction before.
        vec![
            escrow(OWN, 10_000, false, one),
            escrow(PAYER, 8_500, false, two),
            paid(NODE_WALLET, two),
        ],
        // It is another node's, and as large.
        vec![
            escrow(STRANGER, 10_000, false, one),
            escrow(PAYER, 8_500, false, one),
            paid(STRANGER.0, one),
        ],
    ];
    for (place, case) in cases.into_iter().enumerate() {
        let mut world = owed();
        world.next = case;
        world.mine(1);
        assert_eq!(codes(&world, Code::EscrowPaid), 0, "case {place}");
        assert_eq!(codes(&world, Code::Deposit), usize::from(place < 2));
        world.next = vec![Next::Judge(0, true)];
        world.mine(1);
        assert_eq!(codes(&world, Code::EscrowPaid), 1, "case {place}");
    }
    // All of its steps, and nobody owes anything.
    let mut world = World::new(world_config(false));
    world.next = vec![
        escrow(OWN, 10_000, false, one),
        escrow(PAYER, 8_500, false, one),
        paid(NODE_WALLET, one),
    ];
    world.mine(1);
    assert_eq!(codes(&world, Code::EscrowPaid), 0);
}

/// What the payer moves and locks within an answer, and what is not the next step of it.
#[test]
fn what_is_not_the_next_step_of_a_price_is_none_of_it() {
    for (verifier, after, act) in [
        // All that is left is paid to somebody else, in part.
        (false, 1, transfer(PAYER, NATIVE, OTHER, 3, Hash::ZERO)),
        // As much as is left at that moment is locked.
        (true, 0, escrow(PAYER, 10_000, true, Hash::ZERO)),
        (true, 1, escrow(PAYER, 9_500, true, Hash::ZERO)),
        (true, 2, escrow(PAYER, 9_475, true, Hash::ZERO)),
    ] {
        let mut world = World::new(world_config(false));
        let mut terms = verified(10_000);
        if !verifier {
            terms.container_id = subscription(&["alpha"]).container_id;
            terms.verifier = Address::ZERO;
        }
        world.meddle(Some(Meddling {
            after,
            acts: vec![act],
        }));
        world.next.push(Next::Create(terms));
        world.run(6);
        assert_eq!(world.delivered(), 1);
        assert_eq!(balance(&world, Role::Receivable), Balance::Debit(0.into()));
        let expected = if verifier { 8_500 } else { 0 };
        assert_eq!(
            balance(&world, Role::Escrow),
            Balance::Debit(expected.into())
        );
        assert_eq!(codes(&world, Code::Deposit), 0, "{after}");
    }
}

/// A stake for which nothing is paid is none, and an answer that is undone has no proof.
#[test]
fn a_proof_is_open_for_a_price_and_as_long_as_its_block_stands() {
    let mut world = World::new(world_config(false));
    let mut free = verified(10_000);
    free.payment_amount = Amount::ZERO;
    world.next.push(Next::Create(free));
    world.run(4);
    assert_eq!(world.delivered(), 1);
    assert_eq!(world.machine.proofs().iter().count(), 0);
    let mut world = World::new(world_config(false));
    world.next.push(Next::Create(verified(10_000)));
    for _ in 0..8 {
        world.settle();
        if world.delivered() == 1 {
            break;
        }
        world.mine(1);
    }
    assert_eq!(world.machine.proofs().iter().count(), 1);
    world.reorg(1);
    assert_eq!(world.machine.proofs().iter().count(), 0);
    assert_eq!(world.machine.proofs().at_stake(NATIVE), Amount::ZERO);
    world.run(6);
    let before = world.machine.breaker().losses;
    world.next = vec![Next::Judge(0, false)];
    world.mine(1);
    assert_eq!(
        world.machine.breaker().losses,
        before + 1,
        "a stake is lost"
    );
    at_the_end(&mut world);
}

/// Receipts are heard of twice, also when the first is final.
#[test]
fn a_receipt_is_heard_of_again_when_it_is_final() {
    let mut world = world_with(config(), &subscription(&["alpha"]), 1);
    world.mine(1);
    world.mine(1);
    world.settle();
    let tx = newest(&world, 0);
    world.pool.clear();
    block(&mut world, vec![receipt(0, tx, true)], 1);
    world.finalize(0);
    let gas = balance(&world, Role::Gas);
    block(&mut world, vec![receipt(0, tx, true)], 0);
    assert_eq!(balance(&world, Role::Gas), gas);
    assert_eq!(world.machine.account().foreign_nonces(), 0);
}

/// A batch's receipt behind the cancellation of what one of its items answered, in one block that
/// comes in parts.
#[test]
fn an_item_is_answered_though_its_subscription_was_cancelled_behind_it() {
    let mut world = World::new(world_config(true));
    let mut terms = subscription(&["alpha"]);
    (terms.period, terms.frequency) = (40, 2);
    world.next = vec![Next::Create(terms); 3];
    world.mine(1);
    world.mine_block(40, false);
    world.settle();
    let [first, batch] = [0, 1].map(|nonce| newest(&world, nonce));
    let id = SubscriptionId;
    let answered = |of| ChainFact::SubscriptionFulfilled {
        id: id(of),
        node: NODE,
    };
    let facts = vec![
        receipt(0, first, true),
        answered(1),
        answered(2),
        answered(3),
        ChainFact::SubscriptionCancelled { id: id(3) },
    ];
    world.pool.clear();
    block(&mut world, facts, 2);
    let head = world.head().block;
    world.apply(Event::ChainCommitted {
        block: head,
        facts: vec![receipt(1, batch, true)],
    });
    let included = world.machine.deliveries().iter().filter(|(_, delivery)| {
        matches!(delivery.state, infernet_state::delivery::State::Included(_))
    });
    assert_eq!(included.count(), 3);
}

/// It was sent, and somebody else used its nonce, before payments went elsewhere: it may win after
/// all, and pays where it says.
#[test]
fn a_wallet_is_remembered_for_what_others_overtook() {
    let mut world = World::new(world_config(false));
    let mut terms = subscription(&["alpha"]);
    terms.payment_amount = Amount::from(10_000);
    world.next.push(Next::Create(terms));
    world.mine(1);
    world.mine(1);
    world.settle();
    let old = world.pool.values().next().expect("pooled").clone();
    world.next.push(Next::Foreign);
    world.mine_block(1, false);
    world.pool.clear();
    pay_to(&mut world, Some(0xb0));
    assert_eq!(world.machine.former_wallets(), [NODE_WALLET]);
    world.finalize(1);
    assert_eq!(world.machine.former_wallets(), [NODE_WALLET]);
    let mut other = World::new(world_config(false));
    other.machine = world.machine.clone();
    world.reorg(1);
    world.pool.insert(old.hash, old);
    world.mine(1);
    assert_eq!(codes(&world, Code::Payout), 1);
    assert_eq!(balance(&world, Role::Receivable), Balance::Debit(0.into()));
    // Where it stays overtaken, the wallet is forgotten.
    let block = world.machine.chain().head.expect("a head");
    let block = infernet_state::types::BlockRef {
        number: block.number + 1,
        ..block
    };
    other.apply(Event::ChainFinalized { block });
    assert_eq!(other.machine.former_wallets(), []);
}

/// What is begun later, for the present wallet, holds none of those before.
#[test]
fn a_wallet_is_forgotten_though_later_answers_are_open() {
    let mut world = owed();
    pay_to(&mut world, Some(0xb0));
    assert_eq!(world.machine.former_wallets(), [NODE_WALLET]);
    // A nonce of the present wallet's time, and a proof of it.
    world.next = vec![Next::Create(verified(20_000))];
    for _ in 0..8 {
        world.settle();
        world.mine(1);
    }
    assert_eq!(world.delivered(), 2);
    world.next = vec![Next::Create(subscription(&["alpha"]))];
    world.mine(1);
    world.mine(1);
    world.settle();
    let nonce = world.machine.account().next_nonce().expect("known");
    let open = world.machine.account().slots().count();
    assert!(open > 0 && world.pool.values().all(|tx| tx.nonce < nonce.0));
    world.next = vec![Next::Judge(0, true)];
    world.mine_block(1, false);
    world.finalize(0);
    assert_eq!(world.machine.proofs().iter().count(), 1);
    assert_eq!(world.machine.former_wallets(), []);
}

/// The nonce that was next when payments went elsewhere is the present wallet's.
#[test]
fn a_wallet_is_forgotten_before_the_next_nonce_is_used() {
    let mut world = owed();
    pay_to(&mut world, Some(0xb0));
    world.next = vec![Next::Create(subscription(&["alpha"]))];
    world.mine(1);
    world.mine(1);
    world.settle();
    assert_eq!(world.machine.account().slots().count(), 1);
    world.next = vec![Next::Judge(0, true)];
    world.mine_block(1, false);
    world.finalize(0);
    assert_eq!(world.machine.account().slots().count(), 1);
    assert_eq!(world.machine.former_wallets(), []);
}

/// As long as a proof is open, each wallet that was named since may be paid for something.
#[test]
fn only_the_newest_of_many_wallets_are_remembered() {
    let mut world = owed();
    for byte in 1..=u8::try_from(FORMER_WALLETS_KEPT).expect("few") + 5 {
        pay_to(&mut world, Some(byte));
    }
    let kept = world.machine.former_wallets();
    assert_eq!(kept.len(), FORMER_WALLETS_KEPT);
    assert_eq!(kept[0], Address([5; 20]));
}

/// Without a wallet, what is open of the one before is booked; and gifts to it are nobody's.
#[test]
fn a_wallet_of_before_has_what_is_owed_and_no_more() {
    for present in [None, Some(0xb0)] {
        for valid in [true, false] {
            let mut world = owed();
            pay_to(&mut world, present);
            let tx = hash("gift", 0);
            world.next = vec![transfer(STRANGER, NATIVE, NODE_WALLET, 40, tx)];
            world.mine(1);
            assert_eq!(codes(&world, Code::Deposit), 0);
            world.next = vec![Next::Judge(0, valid)];
            world.mine(1);
            assert_eq!(codes(&world, Code::EscrowPaid), usize::from(valid));
            assert_eq!(codes(&world, Code::StakeSlashed), usize::from(!valid));
            for role in [Role::Escrow, Role::Stake] {
                assert_eq!(balance(&world, role), Balance::Debit(0.into()));
            }
        }
    }
}

/// What was sent for the wallet before locks its stake there, where it was allowed.
#[test]
fn a_lock_in_the_wallet_of_before_uses_no_allowance_of_the_present() {
    let mut world = World::new(world_config(false));
    world.next.push(Next::Create(verified(10_000)));
    for _ in 0..6 {
        world.settle();
        if world.pool.values().any(|tx| tx.nonce == 1) {
            break;
        }
        world.mine(1);
    }
    pay_to(&mut world, Some(0xb0));
    let present = (Address([0xb0; 20]), NODE);
    let change = WalletChange::Approved {
        spender: NODE,
        token: NATIVE,
        amount: Amount::from(70_000),
    };
    world.next = vec![says(present, hash("approved", 0), change)];
    world.mine_block(1, false);
    world.mine(1);
    assert_eq!(world.delivered(), 1);
    assert_eq!(balance(&world, Role::Stake), Balance::Debit(10_000.into()));
    let allowed = world.machine.chores().allowance(NATIVE);
    assert_eq!(allowed, Amount::from(70_000));
}

/// Somebody else used the nonce of an approval; payments went elsewhere; and then the approval
/// comes first after all.
#[test]
fn an_overtaken_approval_of_the_wallet_before_allows_nothing() {
    let mut world = World::new(world_config(false));
    world.next.push(Next::Create(verified(10_000)));
    world.mine(1);
    world.mine(1);
    world.settle();
    let approval = world.pool.values().next().expect("pooled").clone();
    world.next.push(Next::Foreign);
    world.mine_block(1, false);
    pay_to(&mut world, Some(0xb0));
    world.issued.clear();
    world.reorg(1);
    let tx = approval.hash;
    world.pool.clear();
    block(&mut world, vec![receipt(0, tx, true)], 1);
    assert_eq!(world.machine.chores().allowances().count(), 0);
    // Nor is it sent again when its block goes.
    world.reorg(1);
    let uses: Vec<&Use> = (world.machine.account().slots())
        .map(|(_, slot)| &slot.wanted)
        .collect();
    assert_eq!(uses, [&Use::Fill]);
}

/// More went out than the books knew of.
#[test]
fn a_balance_is_read_where_the_books_are_short() {
    let mut world = World::new(world_config(false));
    let withdrawn = WalletChange::Withdrawn {
        token: NATIVE,
        amount: Amount::from(100),
    };
    let read = WalletChange::BalanceRead {
        token: NATIVE,
        balance: Amount::from(7),
    };
    world.next = vec![says(OWN, hash("own", 0), withdrawn)];
    world.mine(1);
    assert_eq!(
        balance(&world, Role::NodeWallet),
        Balance::Credit(100.into())
    );
    world.next = vec![says(OWN, Hash::ZERO, read)];
    world.mine(1);
    assert_eq!(balance(&world, Role::NodeWallet), Balance::Debit(7.into()));
}

/// One of as many tokens as a stranger likes.
fn worthless(number: u64) -> Address {
    let mut token = [0x99; 20];
    token[..8].copy_from_slice(&number.to_be_bytes());
    Address(token)
}

fn gifts(world: &mut World, numbers: std::ops::Range<u64>) {
    let gift = |number| {
        let tx = hash("gift", number);
        transfer(STRANGER, worthless(number), NODE_WALLET, 7, tx)
    };
    world.next.extend(numbers.map(gift));
}

fn is_kept(world: &World, token: Address) -> bool {
    let mut accounts = world.machine.ledger().accounts();
    accounts.any(|(account, _)| account.token == token)
}

/// Named by a rate or a cap, allowed as a stake, or at stake: of use, however old, and so is what
/// moved of late, and the coin.
#[test]
fn a_token_of_use_is_not_written_off() {
    let [rated, capped, allowed, staked, late] = [1, 2, 3, 4, 5].map(worthless);
    let mut config = world_config(false);
    config.rates = vec![(rated, Amount::from(1))];
    config.stake_caps = vec![(capped, Amount::from(1))];
    let mut world = World::new(config.clone());
    let proven = Subscription {
        payment_token: staked,
        ..verified(10_000)
    };
    world.next.push(Next::Create(proven));
    world.run(6);
    assert_eq!(world.delivered(), 1);
    // Another wallet: what is at stake is not what is allowed.
    config.chain.as_mut().expect("a chain").payment_wallet = Some(Address([0xb0; 20]));
    world.apply(Event::ConfigChanged(config));
    let present = (Address([0xb0; 20]), NODE);
    let change = WalletChange::Approved {
        spender: NODE,
        token: allowed,
        amount: Amount::from(70_000),
    };
    world.next = vec![says(present, hash("approved", 0), change)];
    let pay = |number| {
        let tx = hash("gift", number);
        transfer(STRANGER, worthless(number), present.0, 7, tx)
    };
    world.next.extend((0..10).map(pay));
    world.mine(1);
    world.finalize(0);
    let many = LEDGER_TOKENS_KEPT as u64 + 100;
    world.next.extend((10..many).map(pay));
    world.next.push(pay(5));
    world.mine(1);
    world.finalize(0);
    world.next.extend((many..many + 100).map(pay));
    world.mine(1);
    world.finalize(0);
    for token in [rated, capped, allowed, staked, late, NATIVE] {
        assert!(is_kept(&world, token), "{token}");
    }
    for number in [0, 6, 7, 10] {
        assert!(!is_kept(&world, worthless(number)), "{number}");
    }
    assert!(balance(&world, Role::Gas) != Balance::Debit(0.into()));
}

/// The oldest of too many has an entry that may still go.
#[test]
fn a_token_is_written_off_only_when_all_of_it_is_final() {
    let mut world = World::new(world_config(false));
    gifts(&mut world, 0..20);
    world.mine(1);
    gifts(&mut world, 20..1_100);
    world.mine(1);
    world.finalize(1);
    assert!(!is_kept(&world, worthless(0)));
    for number in 20..30 {
        let token = worthless(number);
        let held = balance_of(&world, Role::NodeWallet, token);
        assert_eq!(held, Balance::Debit(7.into()), "{number}");
    }
    world.reorg(1);
    gifts(&mut world, 20..1_100);
    world.mine(1);
    world.finalize(0);
    assert!(world.machine.ledger().balances());
    let bytes = world.machine.snapshot().expect("encodes");
    assert_eq!(Machine::restore(&bytes).as_ref(), Ok(&world.machine));
}

/// The entries from an event on, and of a range, begin and end with its own.
#[test]
fn entries_are_found_by_their_events() {
    let world = owed();
    let ledger = world.machine.ledger();
    let all: Vec<_> = ledger
        .entries()
        .map(|(no, entry)| (no, entry.seq))
        .collect();
    let (first, last) = (all[0].1, all[all.len() - 1].1);
    assert!(first < last);
    for from in [first, last] {
        let expected: Vec<_> = all.iter().filter(|(_, seq)| *seq >= from).collect();
        let found: Vec<_> = ledger.entries_from(from).map(|(no, _)| no).collect();
        assert_eq!(
            found,
            expected.iter().map(|(no, _)| *no).collect::<Vec<_>>()
        );
        let found = ledger.statement(from, last);
        assert_eq!(found.len(), expected.len());
    }
}
