//! What changes under work that is under way: the chain is not configured any more, payments go to
//! another wallet or to none, nonces that others used are free again.

use crate::{
    common::{judge::at_the_end, *},
    sending::{ask, asked, rejected, state, wait_but},
};
use infernet_state::{
    Config, Effect, Event, Issued,
    delivery::{Loss, State},
    effect::{Action, Delivery},
    event::{Failure, Outcome, Rejection, Subscription},
    types::{Address, Amount, Nonce},
};

const OTHER_WALLET: Address = Address([0xb0; 20]);

fn away() -> Outcome {
    Outcome::Failed(Failure::Unavailable {
        reason: "away".into(),
    })
}

fn without_a_chain() -> Config {
    Config {
        chain: None,
        ..config()
    }
}

fn paid_to(wallet: Option<Address>) -> Config {
    let mut config = with_prover();
    config.chain.as_mut().expect("a chain").payment_wallet = wallet;
    config
}

/// A price, without a verifier.
fn priced(price: u128) -> Subscription {
    let mut terms = subscription(&["alpha"]);
    terms.payment_amount = Amount::from(price);
    terms
}

/// Answers everything until an effect comes that `stops` names, which is left with what is behind
/// it.
fn settle_until(world: &mut World, stops: impl Fn(&Effect) -> bool) {
    while let Some(issued) = world.issued.pop_front() {
        if stops(&issued.effect) {
            world.issued.push_front(issued);
            return;
        }
        if let Some(outcome) = world.answer(&issued) {
            world.end(&issued, outcome);
        }
    }
}

fn signs(effect: &Effect) -> bool {
    matches!(effect, Effect::Sign { .. })
}

#[test]
fn a_nonce_waits_for_a_chain_to_be_configured_again() {
    let mut world = asked(2);
    settle_until(&mut world, signs);
    world.issued.clear();
    let at = world.now();
    world.apply(Event::NodeStarted {
        at,
        version: "test".into(),
    });
    world.apply(Event::ConfigChanged(without_a_chain()));
    world.issued = world.machine.outstanding().into();
    wait_but(&mut world, 4 * 3_600, |_, issued| {
        signs(&issued.effect).then(away)
    });
    world.start(Some(config()));
    wait_but(&mut world, 120, |_, _| None);
    ask(&mut world, 1);
    world.run(2);
    assert!(world.delivered() > 0);
    at_the_end(&mut world);
}

#[test]
fn a_fee_is_raised_when_a_chain_is_configured_again() {
    let mut world = asked(1);
    settle_until(&mut world, |effect| {
        matches!(effect, Effect::Broadcast { .. })
    });
    let issued = world.issued.pop_front().expect("handed over");
    world.apply(Event::ConfigChanged(without_a_chain()));
    world.end(&issued, rejected(Rejection::Underpriced));
    world.start(Some(config()));
    wait_but(&mut world, 120, |_, _| None);
    world.run(2);
    assert_eq!(world.delivered(), 1);
    at_the_end(&mut world);
}

/// What a reorg gave back is simulated again when there is a chain to do it on.
#[test]
fn what_was_in_a_block_waits_for_a_chain_to_be_configured_again() {
    let mut world = asked(1);
    world.settle();
    world.mine(1);
    assert_eq!(world.delivered(), 1);
    world.apply(Event::ConfigChanged(without_a_chain()));
    world.reorg(1);
    world.pool.clear();
    wait_but(&mut world, 600, |_, _| None);
    assert!(matches!(state(&world, 1), State::Sent(_)));
    world.start(Some(config()));
    wait_but(&mut world, 60, |_, _| None);
    world.run(2);
    assert_eq!(world.delivered(), 1);
    at_the_end(&mut world);
}

/// The delivery in an effect, where it is to be run, or to be signed.
fn delivery_in(issued: &Issued) -> Option<(&'static str, &Delivery)> {
    match &issued.effect {
        Effect::Simulate {
            action: Action::Deliver(delivery),
            ..
        } => Some(("simulated", delivery)),
        Effect::Sign {
            action: Action::Deliver(delivery),
            ..
        } => Some(("signed", delivery)),
        _ => None,
    }
}

/// A delivery whose simulation is asked for, or that waits in the pool.
fn under_way(terms: &Subscription, pooled: bool) -> World {
    let mut world = world_with(with_prover(), terms, 1);
    world.mine(1);
    world.mine(1);
    if !terms.verifier.is_zero() {
        world.settle();
        world.mine(1);
    }
    if pooled {
        world.settle();
        assert!(matches!(state(&world, 1), State::Sent(_)));
    } else {
        settle_until(&mut world, |effect| {
            matches!(effect, Effect::Simulate { .. })
        });
        assert_eq!(state(&world, 1), State::Simulating);
    }
    world
}

#[test]
fn nothing_names_another_wallet_before_it_was_simulated() {
    for terms in [verified(10_000), priced(10_000)] {
        for pooled in [false, true] {
            let mut world = under_way(&terms, pooled);
            world.apply(Event::ConfigChanged(paid_to(Some(OTHER_WALLET))));
            let mut seen = Vec::new();
            for _ in 0..4 {
                // A pool that is never emptied bumps the fee.
                wait_but(&mut world, 30, |_, issued| {
                    let named = delivery_in(issued)
                        .filter(|(_, delivery)| delivery.node_wallet == OTHER_WALLET);
                    seen.extend(named.map(|(what, _)| what));
                    if let Effect::Sign {
                        action: Action::ApproveStake { wallet, .. },
                        ..
                    } = &issued.effect
                    {
                        assert_eq!(*wallet, OTHER_WALLET);
                        seen.push("approved");
                    }
                    None
                });
                if !terms.verifier.is_zero() {
                    world.mine(1);
                }
            }
            let approved = if terms.verifier.is_zero() {
                None
            } else {
                Some("approved")
            };
            let order = approved.into_iter().chain(["simulated", "signed"]);
            let mut first: Vec<&str> = Vec::new();
            for what in seen {
                if !first.contains(&what) {
                    first.push(what);
                }
            }
            assert_eq!(first, order.collect::<Vec<_>>(), "{terms:?}, {pooled}");
            world.run(2);
            assert_eq!(world.delivered(), 1);
            assert_eq!(world.replayed(), world.machine);
        }
    }
}

#[test]
fn without_a_wallet_an_answer_with_a_price_is_given_up_and_one_without_is_delivered() {
    for terms in [verified(10_000), priced(10_000), subscription(&["alpha"])] {
        for stage in 0..3 {
            let mut world = match stage {
                0 => {
                    let mut world = world_with(with_prover(), &terms, 1);
                    world.mine(1);
                    world.mine(1);
                    settle_until(&mut world, |effect| {
                        matches!(effect, Effect::RunContainer(_))
                    });
                    world
                }
                1 => under_way(&terms, false),
                _ => under_way(&terms, true),
            };
            world.apply(Event::ConfigChanged(paid_to(None)));
            let pays = !terms.payment_amount.is_zero();
            wait_but(&mut world, 120, |_, issued| {
                if let Some((_, delivery)) = delivery_in(issued) {
                    assert!(!pays || delivery.node_wallet == NODE_WALLET, "paid to none");
                }
                None
            });
            world.run(2);
            assert_eq!(world.delivered(), usize::from(!pays), "stage {stage}");
            let is_lost = matches!(
                state(&world, 1),
                State::Abandoned(Loss::Unconfigured) | State::Withdrawn(Loss::Unconfigured)
            );
            assert_eq!(is_lost, pays, "stage {stage}: {:?}", state(&world, 1));
            at_the_end(&mut world);
        }
    }
}

/// Of a batch, the item with a price is given up without a wallet, and the other goes on.
#[test]
fn without_a_wallet_a_batch_goes_on_with_what_is_free() {
    let mut world = World::new(batching(config(), 3));
    let mut priced = subscription(&["alpha"]);
    priced.payment_amount = Amount::from(10_000);
    let free = subscription(&["alpha"]);
    world.next = [free.clone(), free, priced].map(Next::Create).to_vec();
    world.mine(1);
    world.mine_block(1, false);
    world.settle();
    assert_eq!(
        [2, 3].map(|no| state(&world, no)),
        [State::Sent(Nonce(1)); 2]
    );
    let mut without = batching(config(), 3);
    without.chain.as_mut().expect("a chain").payment_wallet = None;
    world.apply(Event::ConfigChanged(without));
    wait_but(&mut world, 60, |_, _| None);
    assert_eq!(state(&world, 3), State::Withdrawn(Loss::Unconfigured));
    world.run(2);
    assert_eq!(world.delivered(), 2);
    at_the_end(&mut world);
}

/// The account has used so many nonces, in each block so far.
fn used(world: &mut World, nonces: u64) {
    for block in &mut world.blocks {
        block.nonce = nonces;
    }
}

#[test]
fn nonces_of_others_that_are_free_again_hold_up_nothing() {
    for (waits, away) in [(false, true), (true, true), (true, false)] {
        let mut world = asked(1);
        world.run(1);
        assert_eq!(world.head().nonce, 1);
        // Others used three with the same key, and nobody knows by which transactions.
        used(&mut world, 4);
        world.start(None);
        world.apply(Event::QuarantineLifted);
        assert_eq!(world.machine.account().next_nonce(), Some(Nonce(4)));
        if waits {
            ask(&mut world, 2);
            world.settle();
        }
        // A reorg takes them away while the node is, or the watcher finds that they are.
        used(&mut world, 1);
        if away {
            world.start(None);
        } else {
            world.apply(Event::AccountObserved {
                head: world.head().block,
                nonce: Nonce(1),
                balance: Amount::from(1),
            });
        }
        ask(&mut world, 1);
        world.run(2);
        assert_eq!(world.delivered(), if waits { 4 } else { 2 });
        at_the_end(&mut world);
    }
}

/// An RPC that lags behind the record does not yet know the nonce that somebody else used.
#[test]
fn a_nonce_that_an_older_head_lacks_is_not_used_again() {
    let mut world = asked(0);
    let before = world.head().block;
    world.next.push(Next::Foreign);
    world.mine(1);
    assert_eq!(world.machine.account().next_nonce(), Some(Nonce(1)));
    let at = world.now();
    world.apply(Event::NodeStarted {
        at,
        version: "test".into(),
    });
    world.apply(Event::AccountObserved {
        head: before,
        nonce: Nonce(0),
        balance: Amount::from(1),
    });
    assert_eq!(world.machine.account().next_nonce(), Some(Nonce(1)));
    ask(&mut world, 1);
    world.run(1);
    assert_eq!(world.delivered(), 1);
    at_the_end(&mut world);
}

/// The nonce that others used is free again before an operator confirms: nothing waits behind it.
#[test]
fn what_others_used_and_a_reorg_freed_is_the_next_nonce() {
    let mut world = asked(1);
    world.run(1);
    used(&mut world, 2);
    world.start(None);
    assert!(world.machine.account().quarantine().is_some());
    used(&mut world, 1);
    world.next = vec![Next::Foreign];
    world.mine(1);
    assert_eq!(world.machine.account().next_nonce(), Some(Nonce(2)));
    world.reorg(1);
    world.apply(Event::QuarantineLifted);
    assert_eq!(world.machine.account().next_nonce(), Some(Nonce(1)));
    ask(&mut world, 1);
    world.run(2);
    assert_eq!(world.delivered(), 2);
    at_the_end(&mut world);
}

#[test]
fn a_chain_that_is_behind_is_caught_up_with() {
    let mut world = asked(2);
    world.run(1);
    ask(&mut world, 1);
    world.settle();
    used(&mut world, 0);
    world.start(None);
    world.apply(Event::QuarantineLifted);
    world.run(2);
    assert_eq!(world.delivered(), 3);
    at_the_end(&mut world);
}
