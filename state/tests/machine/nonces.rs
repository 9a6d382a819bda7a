//! One nonce for itself: what speaks against one of its items speaks against no other, and what its
//! stakes wait for comes before it.

use std::collections::{BTreeSet, VecDeque};

use crate::{
    common::{act::*, judge::at_the_end, *},
    sending::{asked, other, rejected, state, wait_but},
};
use infernet_state::{
    Config, Effect, Event, Issued,
    delivery::{Loss, State},
    effect::Action,
    event::{Failure, Outcome, Subscription},
    limits::{REFUSED_ATTEMPTS_MAX, REVERTED_SIMULATIONS_MAX},
    types::{Address, SubscriptionId},
};
use proptest::prelude::*;

const TOKEN: Address = Address([7; 20]);

/// Whether an effect hands over what is more than an empty transfer.
fn hands_over(world: &World, issued: &Issued) -> bool {
    match &issued.effect {
        Effect::Broadcast { tx, .. } => world.signed[tx].action != Action::FillNonce,
        _ => false,
    }
}

fn away() -> Outcome {
    Outcome::Failed(Failure::Unavailable {
        reason: "away".into(),
    })
}

#[test]
fn a_pool_that_was_away_has_refused_nothing() {
    let mut world = asked(1);
    let mut tries = 0;
    let fewer = REFUSED_ATTEMPTS_MAX - 1;
    wait_but(&mut world, 600, |world, issued| {
        tries += u16::from(hands_over(world, issued));
        match tries {
            _ if !hands_over(world, issued) || tries > 2 * fewer => None,
            tries if tries > fewer => Some(rejected(other())),
            _ => Some(away()),
        }
    });
    assert!(tries > 2 * fewer, "{tries}");
    world.run(1);
    assert_eq!(world.delivered(), 1);
}

#[test]
fn refusals_count_whatever_comes_between_them() {
    let mut world = asked(1);
    let mut tries = 0;
    wait_but(&mut world, 600, |world, issued| {
        hands_over(world, issued).then(|| {
            tries += 1;
            if tries % 2 == 0 {
                rejected(other())
            } else {
                away()
            }
        })
    });
    assert_eq!(tries, 2 * REFUSED_ATTEMPTS_MAX);
    assert_eq!(state(&world, 1), State::Withdrawn(Loss::Unavailable));
}

/// What a delivery's gas costs, alone and at the world's price of gas.
const COST: u128 = GAS_USED as u128 * GAS_PRICE;

/// A delivery of its own, and a batch of three behind it, of these prices; none of them in a block.
fn guarded_batch(prices: [u128; 3]) -> World {
    let mut config = world_config(true);
    config.rates = vec![(TOKEN, 1.into())];
    let mut world = World::new(config);
    for price in [COST * 1_000].into_iter().chain(prices) {
        let mut terms = subscription(&["alpha"]);
        terms.payment_amount = price.into();
        world.next.push(Next::Create(terms));
    }
    world.mine(1);
    world.mine_block(1, false);
    world.settle();
    let batch = world
        .pool
        .values()
        .find(|tx| tx.nonce == 1)
        .expect("pooled");
    assert_eq!(items(&batch.action), 3);
    world
}

/// How many answers a transaction brings.
fn items(action: &Action) -> usize {
    match action {
        Action::Deliver(_) | Action::DeliverDelegated { .. } => 1,
        Action::DeliverBatch(items) => items.len(),
        Action::ApproveStake { .. } | Action::FinalizeProof { .. } | Action::FillNonce => 0,
    }
}

/// Fees rise for so many times ten seconds, and no block comes.
fn bump(world: &mut World, times: usize) {
    for _ in 0..times {
        world.wait(10_000);
        world.settle();
    }
}

#[test]
fn an_item_that_is_no_longer_worth_its_gas_leaves_its_batch() {
    for others in [false, true] {
        let mut world = guarded_batch([COST * 2, COST * 4, COST * 1_000]);
        if others {
            world.next.push(Next::Create(subscription(&["alpha"])));
            world.mine_block(1, false);
            world.mine_block(1, false);
            world.settle();
        }
        let old = world
            .pool
            .values()
            .find(|tx| tx.nonce == 1)
            .expect("pooled")
            .clone();
        bump(&mut world, 4);
        assert_eq!(state(&world, 2), State::Withdrawn(Loss::Unprofitable));
        for no in [3, 4] {
            assert!(matches!(state(&world, no), State::Sent(_)), "{no}");
        }
        bump(&mut world, 20);
        assert_eq!(state(&world, 3), State::Withdrawn(Loss::Unprofitable));
        assert!(matches!(state(&world, 4), State::Sent(_)));
        // Twice the base fee and the tip: half of it is what it was made for. Their share of the
        // gas is what it was with three.
        let dearest = |count| {
            let of = world.signed.values().filter(|tx| tx.nonce == 1);
            let of = of.filter(|tx| items(&tx.action) == count);
            of.map(|tx| tx.max_fee).max().expect("one")
        };
        assert!((14..=28).contains(&dearest(3)), "{}", dearest(3));
        assert!((42..=70).contains(&dearest(2)), "{}", dearest(2));
        // What the chain holds is so.
        let late = world
            .pool
            .values()
            .find(|tx| tx.nonce == 1)
            .expect("pooled")
            .hash;
        for (tx, delivered) in [(late, 2), (old.hash, 4)] {
            let mut world = fork(&world);
            let tx = world.signed[&tx].clone();
            world.pool.retain(|_, other| other.nonce != 1);
            world.pool.insert(tx.hash, tx);
            world.run(2);
            assert_eq!(world.delivered(), delivered + usize::from(others));
            let withdrawn = state(&world, 2) == State::Withdrawn(Loss::Unprofitable);
            assert_eq!(withdrawn, delivered == 2);
            at_the_end(&mut world);
        }
    }
}

/// The same world once more.
fn fork(world: &World) -> World {
    let mut fork = World::new(world_config(true));
    fork.log.clone_from(&world.log);
    fork.blocks.clone_from(&world.blocks);
    fork.pool.clone_from(&world.pool);
    fork.signed.clone_from(&world.signed);
    fork.answers.clone_from(&world.answers);
    fork.wall = world.wall;
    fork.machine = world.machine.clone();
    fork.issued.clone_from(&world.issued);
    fork
}

#[test]
fn a_batch_that_the_pool_refuses_is_sent_one_by_one() {
    let mut world = asked_in_a_batch();
    let refuse = |world: &mut World, issued: &Issued| {
        let Effect::Broadcast { tx, .. } = &issued.effect else {
            return None;
        };
        let refused = match &world.signed[tx].action {
            Action::Deliver(item) => item.subscription.0 == 3,
            Action::DeliverBatch(_) => true,
            _ => false,
        };
        refused.then(|| rejected(other()))
    };
    wait_but(&mut world, 5, refuse);
    assert!(matches!(state(&world, 2), State::Sent(_)), "not in haste");
    let answered = wait_but(&mut world, 120, refuse);
    assert!(answered < 200, "{answered} effects in two minutes");
    let of_batches = world.signed.values().filter(|tx| items(&tx.action) > 1);
    assert_eq!(
        of_batches.count(),
        1,
        "not dearer, and no batch of what is left"
    );
    world.run(1);
    assert_eq!(world.delivered(), 3);
    assert_eq!(state(&world, 3), State::Withdrawn(Loss::Unavailable));
    at_the_end(&mut world);
}

/// A callback, and three behind it in one batch, which is not handed over yet.
fn asked_in_a_batch() -> World {
    let mut world = World::new(world_config(true));
    for _ in 0..4 {
        world.next.push(Next::Create(subscription(&["alpha"])));
    }
    world.mine(1);
    world.mine_block(1, false);
    world
}

/// Answers everything but what `leave` names.
fn settle_leaving(world: &mut World, leave: impl Fn(&Effect) -> bool) {
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

/// A callback with a verifier, paid and staked in a token.
fn staked(price: u128, token: Address) -> Subscription {
    let mut terms = verified(price);
    terms.payment_token = token;
    terms
}

/// Three answers with a stake are due; one is delivered, its allowance used up, and what the
/// others wait for is asked for.
fn a_second_approval(batches: bool) -> World {
    let mut world = World::new(world_config(batches));
    for price in [10_000, 15_000, 15_000] {
        world.next.push(Next::Create(staked(price, NATIVE)));
    }
    world.mine(1);
    world.mine(1);
    let mut first = true;
    while let Some(place) = world.issued.iter().position(|issued| {
        !matches!(issued.effect, Effect::RunContainer(_)) || std::mem::take(&mut first)
    }) {
        let issued = world.issued.remove(place).expect("it is there");
        if let Some(outcome) = world.answer(&issued) {
            world.end(&issued, outcome);
        }
    }
    let computes = |effect: &Effect| matches!(effect, Effect::RunContainer(_));
    world.mine(1);
    settle_leaving(&mut world, computes);
    world.mine(1);
    assert_eq!((world.head().nonce, world.delivered()), (2, 1));
    world.settle();
    let approval = world.pool.values().next().expect("pooled");
    assert_eq!(approval.nonce, 2);
    assert!(matches!(approval.action, Action::ApproveStake { .. }));
    world
}

/// Blocks are gone, and no pool remembers what they held.
fn reorg(world: &mut World, depth: usize) {
    world.reorg(depth);
    world.pool.clear();
}

fn fills(world: &World) -> usize {
    let signed = world.signed.values();
    signed.filter(|tx| tx.action == Action::FillNonce).count()
}

#[test]
fn an_approval_comes_back_where_a_later_one_is_under_way() {
    for batches in [false, true] {
        // The second is pooled, or in a block that goes as well, with what it allowed.
        for more in 0..3 {
            let mut world = a_second_approval(batches);
            for _ in 0..more {
                world.mine(1);
                world.settle();
            }
            reorg(&mut world, 2 + more);
            world.run(1);
            for _ in 0..4 {
                world.wait(10_000);
                world.run(2);
            }
            assert_eq!(world.delivered(), 3, "batches {batches}, {more} more");
            assert_eq!(fills(&world), 0, "each is sent as it was");
            at_the_end(&mut world);
        }
    }
}

#[test]
fn a_stake_that_nothing_before_it_allows_is_delivered_behind_it() {
    // The second approval is quoted, waits to be signed, is pooled, is included.
    for stage in 0..4 {
        for foreign in [false, true] {
            let mut world = a_second_approval(false);
            if stage == 3 {
                world.mine(1);
            }
            let mut config = world_config(false);
            if !foreign {
                // Another wallet allows nothing yet: what was approved does nothing for it.
                let wallet = Some(Address([0xb0; 20]));
                config.chain.as_mut().expect("a chain").payment_wallet = wallet;
                world.apply(Event::ConfigChanged(config));
                let waits = |effect: &Effect| match effect {
                    Effect::Simulate { .. } => stage == 0,
                    Effect::Sign { .. } => stage == 1,
                    _ => false,
                };
                settle_leaving(&mut world, waits);
            }
            reorg(&mut world, 2 + usize::from(stage == 3));
            if foreign {
                world.next.push(Next::Foreign);
            }
            world.mine(1);
            for _ in 0..8 {
                world.settle();
                world.wait(10_000);
                world.settle();
                world.mine(1);
            }
            world.run(2);
            assert_eq!(world.delivered(), 3, "stage {stage}, foreign {foreign}");
            at_the_end(&mut world);
        }
    }
}

/// Two tokens at stake in one batch. After a reorg the approval of one comes back, and somebody
/// else uses the nonce of the other's.
#[test]
fn items_of_a_batch_wait_each_for_its_own_token() {
    let mut world = World::new(world_config(true));
    for token in [NATIVE, TOKEN] {
        world.next.push(Next::Create(staked(10_000, token)));
    }
    world.mine(1);
    world.next.push(Next::Create(subscription(&["alpha"])));
    world.mine_block(1, false);
    world.settle();
    assert_eq!(world.pool.len(), 2, "two approvals");
    world.mine_block(1, false);
    let signs = |effect: &Effect| matches!(effect, Effect::Sign { .. });
    settle_leaving(&mut world, signs);
    world.mine(1);
    settle_leaving(&mut world, signs);
    world.settle();
    world.mine(1);
    assert_eq!((world.head().nonce, world.delivered()), (4, 3));
    reorg(&mut world, 2);
    world.settle();
    world.pool.retain(|_, tx| tx.nonce == 0);
    world.mine(1);
    world.next.push(Next::Foreign);
    world.mine(1);
    for _ in 0..8 {
        world.settle();
        world.wait(10_000);
        world.settle();
        world.mine(1);
    }
    world.run(2);
    assert_eq!(world.delivered(), 3);
    assert_eq!(fills(&world), 0, "the other item took its nonce");
    for (no, delivery) in world.machine.deliveries().iter() {
        assert_eq!(delivery.reverts, 0, "{no} is not sent in vain");
    }
    at_the_end(&mut world);
}

/// A delivery that was withdrawn is in a block all the same, and the block goes: it is signed
/// again with its own gas, not with that of the empty transfer.
#[test]
fn what_comes_back_at_a_used_up_nonce_has_its_gas_again() {
    let mut world = asked(1);
    world.settle();
    let old = world.pool.values().next().expect("pooled").clone();
    world.next.push(Next::Cancel(1));
    world.mine_block(1, false);
    world.settle();
    assert_eq!(state(&world, 1), State::Withdrawn(Loss::Cancelled));
    assert_eq!(fills(&world), 1);
    world.reorg(1);
    world.pool.clear();
    world.pool.insert(old.hash, old);
    world.mine(1);
    assert_eq!(world.delivered(), 1);
    reorg(&mut world, 1);
    let mut limits = Vec::new();
    for _ in 0..3 {
        while let Some(issued) = world.issued.pop_front() {
            if let Effect::Sign {
                action: Action::Deliver(_),
                gas_limit,
                ..
            } = &issued.effect
            {
                limits.push(*gas_limit);
            }
            if let Some(outcome) = world.answer(&issued) {
                world.end(&issued, outcome);
            }
        }
        world.wait(10_000);
    }
    assert!(!limits.is_empty());
    assert!(limits.iter().all(|limit| *limit > GAS_USED), "{limits:?}");
    world.run(2);
    assert_eq!(world.delivered(), 1);
    at_the_end(&mut world);
}

/// A stake is allowed as far as the node knows, and a second answer needs it.
fn allowed() -> World {
    let mut world = World::new(world_config(false));
    world.next.push(Next::Create(staked(10_000, NATIVE)));
    world.run(6);
    assert_eq!((world.delivered(), approvals(&world)), (1, 1));
    world.next.push(Next::Create(staked(10_000, NATIVE)));
    world
}

/// How many approvals were signed, whatever they offered.
fn approvals(world: &World) -> usize {
    let approves = |tx: &&Tx| matches!(tx.action, Action::ApproveStake { .. });
    let signed = world.signed.values().filter(approves);
    signed.map(|tx| tx.nonce).collect::<BTreeSet<_>>().len()
}

#[test]
fn an_allowance_that_is_not_what_was_known_is_asked_for_again() {
    // In the chain all of it is gone, or some.
    for left in [0, 9_999] {
        let mut world = allowed();
        let head = world.blocks.last_mut().expect("a head");
        head.allowances.insert(NATIVE, left.into());
        world.mine(1);
        world.mine(1);
        wait_but(&mut world, 20, |_, _| None);
        world.run(4);
        assert_eq!((world.delivered(), approvals(&world)), (2, 2), "{left}");
        at_the_end(&mut world);
    }
}

#[test]
fn an_allowance_that_others_lack_or_that_never_holds_costs_few_approvals() {
    for holds in [true, false] {
        let mut world = allowed();
        world.mine(1);
        world.mine(1);
        let refuse = |world: &mut World, issued: &Issued| {
            if !holds {
                let head = world.blocks.last_mut().expect("a head");
                head.allowances.insert(NATIVE, 0.into());
            }
            let Effect::Simulate { action, .. } = &issued.effect else {
                return None;
            };
            matches!(action, Action::Deliver(_)).then(|| {
                Outcome::Failed(Failure::Reverted {
                    selector: [0x13, 0xbe, 0x25, 0x2b],
                    reason: "InsufficientAllowance".into(),
                })
            })
        };
        for _ in 0..20 {
            wait_but(&mut world, 60, refuse);
            world.mine(1);
        }
        let lost = Loss::Reverts([0x13, 0xbe, 0x25, 0x2b]);
        assert_eq!(state(&world, 2), State::Abandoned(lost));
        // The payer's allowance is none of the node's business.
        let most = if holds {
            1
        } else {
            usize::from(REVERTED_SIMULATIONS_MAX)
        };
        assert!((1..=most).contains(&approvals(&world)), "it holds: {holds}");
        assert!(holds || approvals(&world) > 1);
        at_the_end(&mut world);
    }
}

/// What happens in a life full of stakes.
#[derive(Clone, Debug)]
enum Deed {
    Common(Act),
    /// A callback with a verifier, in one of two tokens.
    Staked(u128, bool),
    /// No pool remembers anything.
    Forget,
    /// Everything that is asked is answered.
    Settle,
    /// Payments go to one of two wallets.
    Wallet(bool),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        20 => act().prop_map(Deed::Common),
        8 => (5..20_u128, any::<bool>()).prop_map(|(price, native)| {
            Deed::Staked(price * 1_000, native)
        }),
        3 => (1..6_usize).prop_map(|depth| Deed::Common(Act::Reorg(depth))),
        4 => Just(Deed::Forget),
        10 => Just(Deed::Settle),
        1 => any::<bool>().prop_map(Deed::Wallet),
    ]
}

fn paid_to(batches: bool, first: bool) -> Config {
    let mut config = world_config(batches);
    if let Some(chain) = config.chain.as_mut().filter(|_| !first) {
        chain.payment_wallet = Some(Address([0xb0; 20]));
    }
    config
}

proptest! {
    #![proptest_config(cases(200))]

    /// Approvals and what they allow come and go with blocks, pools and wallets: no nonce stays
    /// behind, and nothing waits in a circle.
    #[test]
    fn stakes_block_no_nonce(
        deeds in prop::collection::vec(deed(), 1..120),
        batches in any::<bool>(),
    ) {
        let mut world = World::new(world_config(batches));
        for deed in deeds {
            match deed {
                // Its record may be that of a callback: another matter.
                Deed::Common(Act::Delegate { .. }) => {}
                Deed::Common(act) => perform(&mut world, act),
                Deed::Staked(price, native) => {
                    let token = if native { NATIVE } else { TOKEN };
                    world.next.push(Next::Create(staked(price, token)));
                }
                Deed::Forget => world.pool.clear(),
                Deed::Settle => world.settle(),
                Deed::Wallet(first) => {
                    world.apply(Event::ConfigChanged(paid_to(batches, first)));
                    let block = world.head().block;
                    world.apply(Event::SubscriptionsSynced {
                        block,
                        subscriptions: Vec::new(),
                        next: SubscriptionId(0),
                    });
                }
            }
        }
        at_the_end(&mut world);
    }
}
