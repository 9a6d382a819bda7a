//! Whose price it is: where two transactions of one block hold answers to one subscription, and
//! where the record that pays is not the one that was signed.

use crate::{
    common::{act::world_config, judge::at_the_end, *},
    scenes::{block, newest, receipt},
    sending::{other, rejected, state, wait_but},
};
use infernet_state::{
    Effect, Event,
    delivery::{Loss, State},
    effect::Action,
    event::{ChainFact, Subscription, WalletChange, WalletFact},
    ledger::{Balance, Code, Role},
    types::{Address, Amount, Hash, Nonce, SubscriptionId},
};

fn balance(world: &World, role: Role) -> Balance {
    world.machine.ledger().totals(role, NATIVE).balance()
}

fn priced(price: u128) -> Subscription {
    let mut terms = subscription(&["alpha"]);
    terms.payment_amount = Amount::from(price);
    terms
}

fn entries(world: &World, code: Code) -> usize {
    let entries = world.machine.ledger().entries();
    entries.filter(|(_, entry)| entry.code == code).count()
}

/// No price without its transfers, and none of them without a price.
fn assert_explained(world: &World, earned: u128) {
    assert_eq!(
        balance(world, Role::Earnings),
        Balance::Credit(earned.into())
    );
    assert_eq!(balance(world, Role::Receivable), Balance::Debit(0.into()));
    assert_eq!(entries(world, Code::Deposit), 0);
}

/// A batch waits in the pool until its interval is over, and comes into one block with that of the
/// next interval: only that one was answered.
#[test]
fn an_old_batch_beside_the_next_intervals_earned_nothing() {
    let mut world = World::new(world_config(true));
    let mut terms = priced(10_000);
    (terms.period, terms.frequency) = (40, 2);
    world.next = vec![Next::Create(terms); 3];
    world.mine(1);
    world.mine(40);
    world.settle();
    let old: Vec<Tx> = world.pool.values().cloned().collect();
    let items = |tx: &&Tx| matches!(&tx.action, Action::DeliverBatch(items) if items.len() == 2);
    assert_eq!((old.len(), old.iter().filter(items).count()), (2, 1));
    world.mine_block(40, false);
    world.settle();
    assert_eq!(state(&world, 2), State::Withdrawn(Loss::Closed));
    world.pool.retain(|_, tx| tx.nonce >= 2);
    assert_eq!(world.pool.values().filter(items).count(), 1);
    world.pool.extend(old.into_iter().map(|tx| (tx.hash, tx)));
    world.mine(1);
    assert_eq!((world.head().nonce, world.delivered()), (4, 3));
    for no in [1, 2, 3] {
        let late = state(&world, no);
        assert!(!matches!(late, State::Included(_)), "{no}: {late:?}");
    }
    assert_explained(&world, 30_000);
    at_the_end(&mut world);
}

/// The protocol and the node are paid.
fn pays(tx: Hash) -> Vec<ChainFact> {
    let to = [(FEE_RECIPIENT, 500_u128), (NODE_WALLET, 9_500)];
    let pays = |(to, amount): (Address, u128)| {
        ChainFact::Wallet(WalletFact {
            wallet: CONSUMER_WALLET,
            owner: CONSUMER,
            tx,
            change: WalletChange::Transferred {
                spender: CONSUMER,
                token: NATIVE,
                to,
                amount: Amount::from(amount),
            },
        })
    };
    to.map(pays).into()
}

/// A batch is given up for one of its items; the old version comes into a block all the same, the
/// item fails in it, and succeeds by itself in the same block.
#[test]
fn what_fails_in_a_batch_and_succeeds_alone_is_paid_alone() {
    let mut world = World::new(world_config(true));
    world.next = vec![Next::Create(priced(10_000)); 3];
    world.mine(1);
    world.mine_block(1, false);
    let refuse = |world: &mut World, issued: &infernet_state::Issued| {
        let Effect::Broadcast { tx, .. } = &issued.effect else {
            return None;
        };
        let batch = matches!(world.signed[tx].action, Action::DeliverBatch(_));
        batch.then(|| rejected(other()))
    };
    wait_but(&mut world, 120, refuse);
    let batch = world.signed.values();
    let batch = batch.filter(|tx| matches!(tx.action, Action::DeliverBatch(_)));
    let batch = batch.max_by_key(|tx| tx.max_fee).expect("signed").hash;
    let nonce_of = |no| match state(&world, no) {
        State::Sent(nonce) => nonce.0,
        other => panic!("{no}: {other:?}"),
    };
    assert_eq!((nonce_of(1), nonce_of(2), nonce_of(3)), (0, 2, 3));
    let [first, second, third] = [0, 2, 3].map(|nonce| newest(&world, nonce));
    let answered = |id| ChainFact::SubscriptionFulfilled {
        id: SubscriptionId(id),
        node: NODE,
    };
    let mut facts = vec![receipt(0, first, true)];
    facts.extend(pays(first));
    facts.extend([answered(1), receipt(1, batch, true)]);
    facts.extend(pays(batch));
    facts.extend([
        answered(2),
        receipt(2, second, false),
        receipt(3, third, true),
    ]);
    facts.extend(pays(third));
    facts.push(answered(3));
    world.pool.clear();
    block(&mut world, facts, 4);
    let included = [1, 2, 3].map(|no| state(&world, no));
    assert_eq!(
        included,
        [0, 1, 3].map(|nonce| State::Included(Nonce(nonce)))
    );
    assert_explained(&world, 30_000);
    assert_eq!(world.replayed(), world.machine);
}

/// Somebody else answers with the node's key, in the block that holds the node's own batch: the
/// item that comes too late there earned nothing.
#[test]
fn what_the_key_answered_elsewhere_is_not_the_batchs() {
    let mut world = World::new(world_config(true));
    world.next = vec![Next::Create(priced(10_000)); 3];
    world.mine(1);
    world.mine_block(1, false);
    world.settle();
    let batch = newest(&world, 1);
    assert!(
        matches!(&world.signed[&batch].action, Action::DeliverBatch(items) if items.len() == 2)
    );
    let answered = |id| ChainFact::SubscriptionFulfilled {
        id: SubscriptionId(id),
        node: NODE,
    };
    let mut facts = vec![
        ChainFact::ForeignNonceUsed { nonce: Nonce(0) },
        answered(2),
        receipt(1, batch, true),
    ];
    facts.extend(pays(batch));
    facts.push(answered(3));
    world.pool.clear();
    block(&mut world, facts, 2);
    assert!(!matches!(state(&world, 2), State::Included(_)));
    assert_eq!(state(&world, 3), State::Included(Nonce(1)));
    assert_explained(&world, 10_000);
    assert_eq!(world.replayed(), world.machine);
}

/// Before the node creates what was signed, another record is created under its nonce: the answer
/// reaches that one, which pays its own price.
#[test]
fn a_delegated_answer_is_paid_by_the_record_that_took_its_nonce() {
    for proves in [false, true] {
        let terms = |price| {
            if proves {
                verified(price)
            } else {
                priced(price)
            }
        };
        let mut world = World::new(world_config(false));
        world.mine(1);
        let signed = Subscription {
            active_at: world.head().block.time.as_contract_time(),
            ..terms(10_000)
        };
        let at = world.now();
        let other = Subscription {
            payment_amount: Amount::from(6_000),
            ..signed.clone()
        };
        world.apply(Event::DelegatedAccepted(delegated(7, signed, at)));
        world.settle();
        if proves {
            world.mine(1); // What it may lock is allowed first.
            world.settle();
        }
        let delivers = |tx: &Tx| matches!(tx.action, Action::DeliverDelegated { .. });
        assert!(world.pool.values().all(delivers) && world.pool.len() == 1);
        world.next.push(Next::Delegated(other, 7, true));
        world.mine(1);
        assert_eq!(world.delivered(), 1);
        assert_explained(&world, 6_000);
        let (stake, escrow) = if proves { (6_000, 5_100) } else { (0, 0) };
        assert_eq!(balance(&world, Role::Stake), Balance::Debit(stake.into()));
        assert_eq!(balance(&world, Role::Escrow), Balance::Debit(escrow.into()));
        assert_eq!(world.machine.proofs().at_stake(NATIVE), Amount::from(stake));
        assert_eq!(world.replayed(), world.machine);
    }
}
