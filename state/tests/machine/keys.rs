//! A key that others have, too: nonces that they use and lose again, and what an operator confirms.

use crate::{
    common::{judge::at_the_end, *},
    sending::{ask, asked, state, wait_but},
};
use infernet_state::{
    Effect, Event,
    account::{Quarantine, Standing},
    delivery::{Loss, State},
    effect::Action,
    event::{Failure, Outcome},
    ledger::{Balance, Role},
    limits::SEND_ATTEMPTS_MAX,
    types::{Amount, Nonce},
};

/// The account has used so many nonces, in each block so far.
fn used(world: &mut World, nonces: u64) {
    for block in &mut world.blocks {
        block.nonce = nonces;
    }
}

fn next(world: &World) -> Option<Nonce> {
    world.machine.account().next_nonce()
}

/// The chain says so many at this head, in the midst of a run.
fn observe(world: &mut World, nonce: u64) {
    let head = world.head().block;
    world.apply(Event::AccountObserved {
        head,
        nonce: Nonce(nonce),
        balance: Amount::from(1),
    });
}

/// The first nonce ever seen is where the log begins: fewer are another chain.
#[test]
fn an_account_does_not_begin_below_where_it_was_first_seen() {
    let mut world = World::new(config());
    let mut fresh = infernet_state::Machine::new();
    fresh
        .apply(&Event::ConfigChanged(config()))
        .expect("no halt");
    let head = world.head().block;
    for (nonce, standing) in [
        (5, Standing::Sending),
        (5, Standing::Sending),
        (
            4,
            Standing::Quarantined(Quarantine::ChainBehind {
                known: Nonce(5),
                observed: Nonce(4),
            }),
        ),
    ] {
        fresh
            .apply(&Event::AccountObserved {
                head,
                nonce: Nonce(nonce),
                balance: Amount::from(1),
            })
            .expect("no halt");
        assert_eq!(fresh.account().standing(), standing, "{nonce}");
    }
    // And none is the last there can be.
    world.apply(Event::AccountObserved {
        head,
        nonce: Nonce(u64::MAX),
        balance: Amount::from(1),
    });
    world.apply(Event::QuarantineLifted);
    assert_eq!(next(&world), Some(Nonce(u64::MAX)));
    ask(&mut world, 1);
    world.settle();
    assert!(world.signed.is_empty());
}

/// What is confirmed is not what came since.
#[test]
fn a_confirmed_count_takes_no_nonce_back() {
    let mut world = asked(1);
    world.settle();
    used(&mut world, 3);
    world.start(None);
    assert!(matches!(
        world.machine.account().quarantine(),
        Some(Quarantine::ChainAhead { .. })
    ));
    for _ in 0..2 {
        world.next.push(Next::Foreign);
    }
    world.mine_block(1, false);
    assert_eq!(next(&world), Some(Nonce(5)));
    world.issued.clear();
    world.apply(Event::QuarantineLifted);
    assert_eq!(next(&world), Some(Nonce(5)));
    let looks = world.issued.iter();
    let looks = looks.filter(|of| matches!(of.effect, Effect::LookUpTransaction { .. }));
    assert_eq!(looks.count(), 1, "what was in the pool is looked up");
}

/// A chain that was behind and was confirmed is the chain from then on.
#[test]
fn a_confirmed_chain_is_behind_no_more() {
    let mut world = asked(2);
    world.run(1);
    used(&mut world, 0);
    world.start(None);
    assert!(world.machine.account().quarantine().is_some());
    world.apply(Event::QuarantineLifted);
    world.start(None);
    assert_eq!(world.machine.account().standing(), Standing::Sending);
}

/// As long as nobody confirms, nothing is taken back.
#[test]
fn a_quarantine_leaves_the_nonces_alone() {
    let mut world = asked(0);
    world.next.push(Next::Foreign);
    world.mine(1);
    used(&mut world, 4);
    world.start(None);
    assert!(world.machine.account().quarantine().is_some());
    let before = next(&world);
    used(&mut world, 0);
    world.start(None);
    assert!(world.machine.account().quarantine().is_some());
    assert_eq!(next(&world), before);
}

/// What had left for a nonce of others is known when the nonce is found free, and when the reorg
/// that freed it is told.
#[test]
fn what_others_overtook_may_win_when_its_nonce_is_free_again() {
    for (told, again) in [(false, false), (true, false), (false, true)] {
        let mut world = World::new(config());
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
        world.wait(600);
        world.settle();
        assert!(matches!(state(&world, 1), State::Sent(Nonce(1))));
        used(&mut world, 0);
        observe(&mut world, 0);
        if told {
            world.reorg(1);
        }
        if again {
            world.next.push(Next::Foreign);
            world.mine_block(1, false);
            world.reorg(1);
        }
        world.pool.clear();
        world.pool.insert(old.hash, old);
        world.mine(1);
        assert_eq!(state(&world, 1), State::Included(Nonce(0)));
        let earned = world.machine.ledger().totals(Role::Earnings, NATIVE);
        assert_eq!(earned.balance(), Balance::Credit(10_000.into()));
    }
}

/// Nothing of it had left: its nonce is simply the next.
#[test]
fn a_nonce_for_which_nothing_was_sent_is_the_next_when_it_is_free_again() {
    let mut world = asked(1);
    while let Some(issued) = world.issued.pop_front() {
        if matches!(issued.effect, Effect::Sign { .. }) {
            break;
        }
        let outcome = world.answer(&issued).expect("answered");
        world.end(&issued, outcome);
    }
    assert_eq!(next(&world), Some(Nonce(1)));
    world.next.push(Next::Foreign);
    world.mine_block(1, false);
    world.reorg(1);
    assert_eq!(next(&world), Some(Nonce(0)));
    world.run(2);
    wait_but(&mut world, 10, |_, _| None);
    world.run(2);
    assert_eq!(world.delivered(), 1);
    at_the_end(&mut world);
}

/// An allowance that is just enough is enough, also when it comes back.
#[test]
fn an_allowance_of_just_the_stake_stands_after_a_reorg() {
    let mut world = World::new(with_prover());
    let amount = Amount::from(10_000);
    let head = world.blocks.last_mut().expect("a head");
    head.allowances.insert(NATIVE, amount);
    world.next = vec![
        Next::Create(verified(10_000)),
        Next::Wallet(infernet_state::event::WalletFact {
            wallet: NODE_WALLET,
            owner: NODE,
            tx: hash("approved", 0),
            change: infernet_state::event::WalletChange::Approved {
                spender: NODE,
                token: NATIVE,
                amount,
            },
        }),
    ];
    world.mine(1);
    world.mine(1);
    world.settle();
    world.mine(1);
    assert_eq!(world.delivered(), 1);
    world.reorg(1);
    world.pool.clear();
    world.settle();
    assert_eq!(state(&world, 1), State::Sent(Nonce(0)));
    world.run(2);
    assert_eq!((world.delivered(), world.head().nonce), (1, 1));
    at_the_end(&mut world);
}

/// The approval stands in a block, and what it allowed was taken back behind it: another is asked
/// for, although it may still come to stand in another block.
#[test]
fn an_approval_in_a_block_is_none_that_comes() {
    let mut world = World::new(with_prover());
    world.next = vec![Next::Create(verified(10_000))];
    for _ in 0..6 {
        world.settle();
        if world.delivered() == 1 {
            break;
        }
        world.mine(1);
    }
    world.settle();
    assert_eq!((world.delivered(), world.head().nonce), (1, 2));
    world.reorg(1);
    world.pool.clear();
    assert_eq!(world.issued.len(), 1, "it is simulated again");
    let none = Amount::ZERO;
    let head = world.blocks.last_mut().expect("a head");
    head.allowances.insert(NATIVE, none);
    let taken = infernet_state::event::WalletChange::Approved {
        spender: NODE,
        token: NATIVE,
        amount: none,
    };
    world.next = vec![Next::Wallet(infernet_state::event::WalletFact {
        wallet: NODE_WALLET,
        owner: NODE,
        tx: hash("taken", 0),
        change: taken,
    })];
    world.mine_block(1, false);
    for _ in 0..8 {
        wait_but(&mut world, 10, |_, _| None);
        world.mine(1);
    }
    assert_eq!(world.delivered(), 1);
    at_the_end(&mut world);
}

#[test]
fn a_pool_that_is_away_is_asked_so_often() {
    let mut world = asked(1);
    let mut tries = 0;
    wait_but(&mut world, 4 * 3_600, |world, issued| {
        let hands_over = matches!(&issued.effect, Effect::Broadcast { tx, .. }
            if world.signed[tx].action != Action::FillNonce);
        hands_over.then(|| {
            tries += 1;
            Outcome::Failed(Failure::Unavailable {
                reason: "away".into(),
            })
        })
    });
    assert_eq!(tries, SEND_ATTEMPTS_MAX);
    assert_eq!(state(&world, 1), State::Withdrawn(Loss::Unavailable));
}
