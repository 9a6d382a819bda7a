//! What must hold: after every event, and when a healthy world has had its time.

use std::collections::BTreeMap;

use infernet_state::{
    Machine,
    event::ChainFact,
    ledger::{Balance, Role, Sum},
    subscription::Standing,
    types::{Interval, Nonce, SubscriptionId},
};

use super::{World, setup::*};

/// Every invariant that a state shows.
pub(crate) fn always(machine: &Machine) {
    if let Err(broken) = machine.audit() {
        panic!("at event {}: {broken}", machine.seq());
    }
}

/// A healthy world has had its time: nothing was forgotten, nothing was delivered twice, and a
/// replay agrees.
pub(crate) fn at_the_end(world: &mut World) {
    drain(world);
    assert_eq!(delivered_twice(world), None);
    let replayed = world.replayed();
    assert_eq!(replayed.digest(), world.machine.digest());
    assert_eq!(replayed.effects_digest(), world.machine.effects_digest());
}

/// A healthy world until nothing is left to do; then nothing due may have been forgotten.
pub(crate) fn drain(world: &mut World) {
    world.start(None);
    world.read(usize::MAX);
    for _ in 0..120 {
        world.settle();
        world.wait(4_000);
        world.settle();
        world.mine(5);
        let latest = world.blocks.len() - 1;
        if latest.is_multiple_of(10) {
            world.finalize(0);
        }
    }
    world.settle();
    world.finalize(0);
    world.settle();
    assert!(
        world.machine.outstanding().is_empty(),
        "{:?}",
        world.machine.outstanding()
    );
    assert!(
        world.machine.awaiting_inclusion().is_empty(),
        "{:?}",
        world.machine.account()
    );
    for (no, delivery) in world.machine.deliveries().iter() {
        assert!(!delivery.state.is_live(), "{no}: {delivery:?}");
    }
    let by_machine = world
        .machine
        .subscriptions()
        .range(SubscriptionId(0), 1_000);
    assert_eq!(by_machine.len(), world.head().subscriptions.len());
    for (id, tracked) in by_machine {
        let chain = &world.head().subscriptions[&id.0];
        assert_eq!(tracked.subscription, chain.record);
        assert_eq!(tracked.block, chain.created);
        assert_eq!(
            tracked.responses.count,
            chain
                .counts
                .get(&tracked.responses.interval.0)
                .copied()
                .unwrap_or(0)
        );
        // A callback that is served has had its work, or was met by others.
        if tracked.subscription.period == 0 && tracked.standing == Standing::Completed {
            let met = tracked.responses.count == tracked.subscription.redundancy;
            let done = world.machine.jobs().by_interval(id, Interval(1));
            assert!(
                met || tracked.responses.responded
                    || done.is_some_and(|(_, job)| job.stage.is_end())
                    || world.ended.contains(&(id, tracked.block)),
                "subscription {id} was forgotten"
            );
        }
        if tracked.subscription.period == 0 {
            assert!(
                tracked.standing != Standing::Admitted,
                "subscription {id} was never taken up: {tracked:?}"
            );
        }
    }
    assert_eq!(world.machine.pending().onchain, 0);
    assert_eq!(world.machine.next_block_deadline().number, None);
    // Every nonce is used up, none is left behind.
    assert_eq!(
        world.machine.account().next_nonce(),
        Some(Nonce(world.head().nonce))
    );
    let books = world.machine.ledger();
    assert!(books.balances());
    if world.machine.proofs().iter().next().is_none() {
        let open = books.totals(Role::Receivable, NATIVE);
        assert_eq!(
            open.balance(),
            Balance::Debit(Sum::ZERO),
            "every price is explained by transfers"
        );
    }
}

/// The world's own count of successful deliveries of the node.
pub(crate) fn delivered_twice(world: &World) -> Option<(u32, u32)> {
    let mut counts: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    for state in &world.blocks {
        for fact in &state.facts {
            if let ChainFact::SubscriptionFulfilled { id, node } = fact
                && *node == NODE
            {
                let terms = &state.subscriptions[&id.0].record;
                let interval = infernet_state::subscription::interval_at(
                    terms.active_at,
                    terms.period,
                    state.block.time.as_contract_time(),
                );
                *counts.entry((id.0, interval.0)).or_default() += 1;
            }
        }
    }
    counts.into_iter().find(|(_, n)| *n > 1).map(|(key, _)| key)
}
