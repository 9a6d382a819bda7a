//! An RPC that reads and does not send, that lags, that takes no large transaction; fees that rise;
//! reorgs behind which old bytes come back. No answer is given up in haste, nothing waits in
//! circles, and nobody's transaction holds up the others for long.

use crate::common::{judge::at_the_end, *};
use infernet_state::{
    Effect, Issued,
    delivery::{Loss, State},
    effect::Action,
    event::{Failure, Outcome, Rejection, Success},
    ledger::{Balance, Role},
    limits::REVERTED_SIMULATIONS_MAX,
    types::DeliveryNo,
};

/// A chain with `count` callbacks, deep enough to be answered.
pub(crate) fn asked(count: usize) -> World {
    let mut world = World::new(config());
    ask(&mut world, count);
    world
}

pub(crate) fn ask(world: &mut World, count: usize) {
    for _ in 0..count {
        world.next.push(Next::Create(subscription(&["alpha"])));
    }
    world.mine(1);
    world.mine(1);
}

/// Answers as a healthy world, but for what `spoil` says; how many effects there were.
pub(crate) fn settle_but(
    world: &mut World,
    spoil: &mut impl FnMut(&mut World, &Issued) -> Option<Outcome>,
) -> u32 {
    let mut answered = 0;
    while let Some(issued) = world.issued.pop_front() {
        answered += 1;
        assert!(answered < 1_000, "it runs in circles: {:?}", issued.effect);
        let outcome = match spoil(world, &issued) {
            Some(outcome) => Some(outcome),
            None => world.answer(&issued),
        };
        if let Some(outcome) = outcome {
            world.end(&issued, outcome);
        }
    }
    answered
}

/// As [`settle_but`], while the wall clock goes on without a block.
pub(crate) fn wait_but(
    world: &mut World,
    seconds: u64,
    mut spoil: impl FnMut(&mut World, &Issued) -> Option<Outcome>,
) -> u32 {
    let mut answered = settle_but(world, &mut spoil);
    let end = world.wall + seconds * 1_000;
    while world.wall < end {
        let next = world.machine.next_deadline().map_or(end, |at| at.0);
        let ms = next.clamp(world.wall + 1, end) - world.wall;
        world.wait(ms);
        answered += settle_but(world, &mut spoil);
    }
    answered
}

pub(crate) fn state(world: &World, no: u64) -> State {
    world
        .machine
        .deliveries()
        .get(DeliveryNo(no))
        .expect("a delivery")
        .state
}

fn unknown(issued: &Issued) -> Option<Outcome> {
    matches!(issued.effect, Effect::Broadcast { .. }).then(|| Outcome::Unknown {
        reason: "internal error".into(),
    })
}

pub(crate) fn rejected(rejection: Rejection) -> Outcome {
    Outcome::Failed(Failure::Rejected(rejection))
}

pub(crate) fn other() -> Rejection {
    Rejection::Other {
        reason: "no".into(),
    }
}

#[test]
fn what_no_rpc_takes_rests_and_is_given_up() {
    let mut world = asked(2);
    let answered = wait_but(&mut world, 120, |_, issued| unknown(issued));
    assert!(answered < 100, "{answered} effects in two minutes");
    assert!(matches!(state(&world, 1), State::Sent(_)), "not in haste");
    let answered = wait_but(&mut world, 4 * 3_600, |_, issued| unknown(issued));
    assert!(answered < 4_000, "{answered} effects in four hours");
    for no in [1, 2] {
        assert_eq!(state(&world, no), State::Withdrawn(Loss::Unavailable));
    }
    // It takes transactions again: the nonces are used up, and what comes next is delivered.
    wait_but(&mut world, 120, |_, _| None);
    assert!(world.pool.values().all(|tx| tx.action == Action::FillNonce));
    assert_eq!(world.pool.len(), 2);
    ask(&mut world, 1);
    world.run(3);
    assert_eq!(world.delivered(), 1);
}

#[test]
fn what_nobody_knew_to_be_taken_counts_when_a_block_holds_it() {
    let mut world = asked(1);
    wait_but(&mut world, 4 * 3_600, |_, issued| unknown(issued));
    assert_eq!(state(&world, 1), State::Withdrawn(Loss::Unavailable));
    let ours = world
        .signed
        .values()
        .find(|tx| tx.action != Action::FillNonce);
    let ours = ours.expect("signed").clone();
    world.pool.insert(ours.hash, ours);
    world.run(2);
    assert_eq!(world.delivered(), 1);
    assert_eq!(state(&world, 1), State::Final);
}

#[test]
fn a_base_fee_above_the_cap_is_waited_for() {
    let mut world = asked(1);
    let answered = wait_but(&mut world, 600, |_, issued| {
        matches!(issued.effect, Effect::Broadcast { .. }).then(|| rejected(Rejection::Underpriced))
    });
    assert!(answered < 200, "{answered} effects in ten minutes");
    wait_but(&mut world, 120, |_, _| None);
    world.run(2);
    assert_eq!(world.delivered(), 1);
}

/// Batches of up to three.
fn batching() -> infernet_state::Config {
    let mut config = config();
    if let Some(chain) = &mut config.chain {
        chain.delivery_batch_max = 3;
    }
    config
}

/// The containers answer with so many bytes.
fn answering(world: &mut World, issued: &Issued, len: u32) -> Option<Outcome> {
    if !matches!(issued.effect, Effect::RunContainer(_)) {
        return None;
    }
    let mut outcome = world.answer(issued)?;
    if let Outcome::Succeeded(Success::ContainerAnsweredOnchain { deliver_output, .. }) =
        &mut outcome
    {
        deliver_output.len = len;
    }
    Some(outcome)
}

#[test]
fn an_answer_that_fits_no_transaction_gets_no_nonce() {
    // Beside the output: 2 KiB of envelope, 512 bytes of item, 32 each of input and proof.
    let most = 128 * 1024 - 2_048 - 512 - 64;
    for (len, fits) in [(most, true), (most + 1, false), (u32::MAX, false)] {
        let mut world = asked(1);
        settle_but(&mut world, &mut |world, issued| {
            answering(world, issued, len)
        });
        world.run(2);
        assert_eq!(world.delivered(), usize::from(fits), "{len}");
        if !fits {
            assert_eq!(state(&world, 1), State::Abandoned(Loss::TooLarge));
            assert!(world.signed.is_empty());
        }
    }
}

#[test]
fn a_batch_holds_no_more_than_a_transaction() {
    let mut world = World::new(batching());
    ask(&mut world, 7);
    settle_but(&mut world, &mut |world, issued| {
        answering(world, issued, 60_000)
    });
    let sizes: Vec<usize> = world
        .signed
        .values()
        .map(|tx| match &tx.action {
            Action::DeliverBatch(items) => items.len(),
            _ => 1,
        })
        .collect();
    assert_eq!(sizes.iter().max(), Some(&2), "{sizes:?}");
    world.run(3);
    assert_eq!(world.delivered(), 7);
}

#[test]
fn what_the_rpc_refuses_holds_up_nobody_for_long() {
    let mut world = World::new(batching());
    ask(&mut world, 1);
    let refuse = |world: &mut World, issued: &Issued| {
        let Effect::Broadcast { tx, .. } = &issued.effect else {
            return None;
        };
        let first = |item: &infernet_state::effect::Delivery| item.subscription.0 == 1;
        let refused = match &world.signed[tx].action {
            Action::Deliver(item) => first(item),
            _ => false,
        };
        refused.then(|| rejected(other()))
    };
    wait_but(&mut world, 5, refuse);
    assert!(matches!(state(&world, 1), State::Sent(_)), "not in haste");
    ask(&mut world, 2);
    wait_but(&mut world, 1, refuse);
    assert_eq!(world.pool.len(), 2, "others do not wait for it");
    wait_but(&mut world, 60, refuse);
    assert_eq!(state(&world, 1), State::Withdrawn(Loss::Unavailable));
    world.run(1);
    assert_eq!(world.delivered(), 2);
}

/// Says that nothing is taken yet, as an RPC does that is some blocks behind.
fn lagging(issued: &Issued) -> Option<Outcome> {
    matches!(issued.effect, Effect::Simulate { .. }).then(|| {
        Outcome::Failed(Failure::Reverted {
            selector: [9; 4],
            reason: "SubscriptionNotActive".into(),
        })
    })
}

#[test]
fn an_rpc_that_lags_costs_no_answer() {
    for verified in [false, true] {
        let mut world = World::new(act::world_config(false));
        let kind = if verified { 3 } else { 0 };
        world.next = vec![Next::Create(act::terms(kind, 1))];
        world.mine(1);
        world.mine(1);
        let answered = wait_but(&mut world, 20, |_, issued| lagging(issued));
        assert!(answered < 20, "{answered} effects in twenty seconds");
        wait_but(&mut world, 60, |_, _| None);
        world.run(3);
        assert_eq!(world.delivered(), 1, "verified: {verified}");
    }
}

#[test]
fn what_always_reverts_is_given_up() {
    let mut world = asked(1);
    let answered = wait_but(&mut world, 600, |_, issued| lagging(issued));
    assert!(answered < 30, "{answered} effects in ten minutes");
    assert_eq!(state(&world, 1), State::Abandoned(Loss::Reverts([9; 4])));
}

/// A base fee above what the configuration allows.
fn dear(issued: &Issued) -> Option<Outcome> {
    matches!(issued.effect, Effect::Simulate { .. }).then_some(Outcome::Succeeded(
        Success::Simulated {
            gas: GAS_USED,
            base_fee: 1_000_001,
            priority_fee: 1,
        },
    ))
}

#[test]
fn a_dear_week_is_slept_through() {
    for kind in [0, 3] {
        let mut world = World::new(act::world_config(false));
        world.next = vec![Next::Create(act::terms(kind, 1))];
        world.mine(1);
        world.mine(1);
        let before = world.log.len();
        wait_but(&mut world, 3_600, |_, issued| dear(issued));
        let events = world.log.len() - before;
        // The longest wait of this world is four seconds.
        assert!(events < 2_800, "{events} events in an hour, kind {kind}");
        wait_but(&mut world, 60, |_, _| None);
        world.run(3);
        assert_eq!(world.delivered(), 1, "kind {kind}");
    }
}

#[test]
fn what_a_reorg_took_out_of_its_block_gets_higher_fees_again() {
    // An allowance, and a nonce that is used up.
    for filled in [false, true] {
        let mut world = World::new(act::world_config(false));
        world.next = vec![Next::Create(act::terms(3, 1))];
        world.mine(1);
        world.mine(1);
        world.settle();
        if filled {
            // Its subscription goes with the reorg: whatever had a nonce is replaced.
            world.mine(1);
            world.settle();
            world.mine(1);
            assert_eq!(world.delivered(), 1);
            world.reorg(4);
        } else {
            world.mine(1);
            world.reorg(1);
        }
        world.settle();
        let fee = |world: &World, nonce| {
            let tx = world.pool.values().find(|tx| tx.nonce == nonce);
            let tx = tx.expect("pooled");
            (tx.max_fee, tx.action.clone())
        };
        let nonce = u64::from(filled);
        let (before, _) = fee(&world, nonce);
        for _ in 0..3 {
            world.wait(10_000);
            world.settle();
        }
        let (after, action) = fee(&world, nonce);
        assert_eq!(action == Action::FillNonce, filled);
        assert!(after > before, "{before} to {after}, filled: {filled}");
    }
}

#[test]
fn what_comes_back_behind_a_foreign_transaction_is_known_for_our_own() {
    for later in [false, true] {
        let mut world = World::new(act::world_config(false));
        world.next = vec![Next::Create(act::terms(1, 1))];
        world.mine(1);
        world.mine(1);
        world.settle();
        let old = world.pool.values().next().expect("pooled").clone();
        world.next = vec![Next::Foreign];
        world.mine(1);
        assert_eq!(world.machine.account().foreign_nonces(), 1);
        if later {
            // It has another nonce already.
            world.wait(1_000);
            world.settle();
            assert!(world.pool.values().any(|tx| tx.nonce == 1));
        }
        // The foreign one goes with its block, and the old bytes stand in somebody's pool.
        world.reorg(1);
        world.pool.retain(|_, tx| tx.nonce != 0);
        world.pool.insert(old.hash, old);
        world.mine(1);
        assert_eq!(
            world.machine.account().foreign_nonces(),
            1,
            "later: {later}"
        );
        assert_eq!(world.delivered(), 1, "later: {later}");
        world.wait(60_000);
        world.run(4);
        assert_eq!(world.delivered(), 1, "later: {later}");
        assert_eq!(state(&world, 1), State::Final, "later: {later}");
        let earned = world.machine.ledger().totals(Role::Earnings, NATIVE);
        assert_eq!(earned.posted(), Balance::Credit(10_000.into()));
        assert_eq!(world.replayed(), world.machine);
    }
}

#[test]
fn a_foreign_use_that_is_final_leaves_nothing_behind() {
    let mut world = asked(1);
    world.settle();
    world.next = vec![Next::Foreign];
    world.mine(1);
    world.wait(1_000);
    let kept = world.machine.payloads_needed_from();
    world.run(3);
    assert_eq!(world.delivered(), 1);
    assert!(world.machine.payloads_needed_from() > kept);
}

/// The profit guard is on: a callback of kind 1 pays 10,000 wei, its gas costs 7 wei each.
fn guarded(price: u128) -> World {
    let mut config = act::world_config(false);
    config.rates = vec![(infernet_state::types::Address([7; 20]), 1.into())];
    let mut world = World::new(config);
    let mut terms = subscription(&["alpha"]);
    terms.payment_amount = price.into();
    world.next = vec![Next::Create(terms)];
    world.mine(1);
    world.mine(1);
    world
}

/// What a callback costs at the world's price of gas.
const COST: u128 = GAS_USED as u128 * GAS_PRICE;

#[test]
fn a_peak_of_fees_is_waited_out() {
    let peak = |world: &mut World, issued: &Issued| {
        let mut outcome = world.answer(issued)?;
        if let Outcome::Succeeded(Success::Simulated { base_fee, .. }) = &mut outcome {
            *base_fee = GAS_PRICE * 2;
        }
        Some(outcome)
    };
    let mut world = guarded(COST);
    wait_but(&mut world, 120, peak);
    assert!(world.signed.is_empty());
    wait_but(&mut world, 60, |_, _| None);
    world.run(2);
    assert_eq!(world.delivered(), 1);
    // What is never worth it does not wait for ever.
    let mut world = guarded(COST);
    wait_but(&mut world, 3_600, peak);
    assert_eq!(state(&world, 1), State::Abandoned(Loss::Unprofitable));
}

#[test]
fn fees_are_not_raised_above_what_is_earned() {
    for others in [false, true] {
        let mut world = guarded(COST * 2);
        world.settle();
        if others {
            world.next.push(Next::Create(act::terms(0, 1)));
            world.mine_block(1, false);
            world.mine_block(1, false);
            world.settle();
        }
        for _ in 0..30 {
            world.wait(10_000);
            world.settle();
        }
        let mut first: Vec<_> = world.signed.values().filter(|tx| tx.nonce == 0).collect();
        first.sort_by_key(|tx| tx.max_fee);
        let deliveries = first.iter().filter(|tx| tx.action != Action::FillNonce);
        // Twice the base fee and the tip: half of it is what it was made for.
        let dearest = deliveries.map(|tx| tx.max_fee).max().expect("one");
        assert!((14..=28).contains(&dearest), "{dearest}");
        if others {
            assert_eq!(state(&world, 1), State::Withdrawn(Loss::Unprofitable));
        } else {
            assert!(
                matches!(state(&world, 1), State::Sent(_)),
                "it may be included yet"
            );
        }
        world.run(3);
        assert_eq!(world.delivered(), 1, "others: {others}");
    }
}

const INTERVAL_COMPLETED: [u8; 4] = [0x2f, 0x4c, 0xa8, 0x5b];
const NODE_RESPONDED_ALREADY: [u8; 4] = [0x88, 0xa2, 0x1e, 0x4f];

/// A simulation reverts, as far as an RPC knows.
fn reverts(issued: &Issued, selector: [u8; 4]) -> Option<Outcome> {
    matches!(issued.effect, Effect::Simulate { .. }).then(|| {
        Outcome::Failed(Failure::Reverted {
            selector,
            reason: "on another fork".into(),
        })
    })
}

/// Four answers in one block, which is gone: each nonce is looked at again.
fn gone(batch_max: u16) -> World {
    let mut world = World::new(setup::batching(config(), batch_max));
    ask(&mut world, 4);
    world.settle();
    world.mine(1);
    assert_eq!(world.delivered(), 4);
    world.reorg(1);
    world
}

/// Behind the one address of an RPC some node still follows the old fork, where the answers stand,
/// or has not come to their questions.
#[test]
fn a_nonce_outlasts_an_rpc_that_lags_behind_a_reorg() {
    for batch_max in [0, 3] {
        for selector in [NODE_RESPONDED_ALREADY, [9; 4]] {
            let mut world = gone(batch_max);
            let mut refused = 0;
            wait_but(&mut world, 120, |_, issued| {
                refused += u32::from(matches!(issued.effect, Effect::Simulate { .. }));
                reverts(issued, selector).filter(|_| refused <= 10)
            });
            assert!(refused > 10, "{refused}");
            let fills = |tx: &chain::Tx| tx.action == Action::FillNonce;
            assert!(!world.signed.values().any(fills), "batches of {batch_max}");
            world.run(1);
            assert_eq!(world.delivered(), 4);
            at_the_end(&mut world);
        }
    }
}

#[test]
fn a_nonce_that_would_revert_after_a_reorg_is_given_up_in_time() {
    for (selector, loss) in [
        (NODE_RESPONDED_ALREADY, Loss::Met),
        ([9; 4], Loss::Reverts([9; 4])),
    ] {
        let mut world = gone(0);
        let mut refused = 0;
        wait_but(&mut world, 3_600, |_, issued| {
            refused += u16::from(matches!(issued.effect, Effect::Simulate { .. }));
            reverts(issued, selector)
        });
        assert_eq!(refused, 4 * REVERTED_SIMULATIONS_MAX);
        for no in 1..=4 {
            assert_eq!(state(&world, no), State::Withdrawn(loss));
        }
        at_the_end(&mut world);
    }
}

fn responses(issued: &Issued, responses: u16) -> Option<Outcome> {
    matches!(issued.effect, Effect::ReadResponses { .. }).then_some(Outcome::Succeeded(
        Success::ResponsesRead {
            responses,
            responded: false,
        },
    ))
}

/// A simulation ran on a block that this node never followed, and that is gone before it could.
#[test]
fn what_only_hearsay_met_is_delivered() {
    for finalized in [false, true] {
        let mut world = asked(1);
        if finalized {
            world.finalize(0);
        }
        let mut asked = 0;
        wait_but(&mut world, 60, |_, issued| {
            asked += u32::from(matches!(issued.effect, Effect::Simulate { .. }));
            let heard = reverts(issued, INTERVAL_COMPLETED).or_else(|| responses(issued, 1));
            heard.filter(|_| asked <= 3)
        });
        assert!(matches!(state(&world, 1), State::Sent(_)), "{asked}");
        world.run(1);
        assert_eq!(world.delivered(), 1);
        at_the_end(&mut world);
    }
}

#[test]
fn hearsay_that_stays_is_believed_in_time() {
    for (count, loss) in [(1, Loss::Met), (0, Loss::Reverts(INTERVAL_COMPLETED))] {
        let mut world = asked(1);
        let mut asked = 0;
        wait_but(&mut world, 3_600, |_, issued| {
            asked += u16::from(matches!(issued.effect, Effect::Simulate { .. }));
            reverts(issued, INTERVAL_COMPLETED).or_else(|| responses(issued, count))
        });
        assert_eq!(asked, REVERTED_SIMULATIONS_MAX);
        assert_eq!(state(&world, 1), State::Abandoned(loss));
        at_the_end(&mut world);
    }
}

/// Others were first, in a block that is final, while the container was at work: nothing is waited
/// for that does not come.
#[test]
fn what_a_final_block_met_ends_at_once() {
    let mut world = asked(1);
    let runs = |issued: &Issued| matches!(issued.effect, Effect::RunContainer(_));
    while !world.issued.front().is_some_and(runs) {
        let issued = world.issued.pop_front().expect("asked");
        let outcome = world.answer(&issued).expect("an answer");
        world.end(&issued, outcome);
    }
    world.next.push(Next::Fulfil(1, OTHER));
    world.mine(1);
    world.finalize(0);
    assert_eq!(world.machine.chain().unfinalized_from(), None);
    world.settle();
    assert_eq!(state(&world, 1), State::Abandoned(Loss::Met));
    at_the_end(&mut world);
}
