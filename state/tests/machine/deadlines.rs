//! Which blocks and which moments the machine asks for: blocks that hold nothing for the node are
//! recorded only where it does, so that what is not asked for is not looked at.

use crate::common::*;
use infernet_state::{
    Event, Machine,
    event::ChainFact,
    ledger::{Code, EntryState},
    types::{Amount, BlockRef, BlockTime, Nonce, SubscriptionId, WallTime},
};

fn asked(world: &World) -> (Option<u64>, Option<u64>) {
    let deadline = world.machine.next_block_deadline();
    (deadline.time.map(|time| time.0), deadline.number)
}

/// Its depth, its interval's begin, the last moment of its work, the next begin.
#[test]
fn a_recurring_subscription_asks_for_the_blocks_of_its_life() {
    let mut config = config();
    config.chain.as_mut().expect("a chain").trail_head_blocks = 3;
    let mut world = World::new(config);
    let mut terms = subscription(&["alpha"]);
    (terms.period, terms.frequency) = (40, 2);
    world.next = vec![Next::Create(terms)];
    world.mine(1);
    let active_at = world.head().block.time.0 + 40;
    assert_eq!(asked(&world), (None, Some(1 + 3)));
    for _ in 0..3 {
        world.mine(1);
    }
    assert_eq!(asked(&world), (Some(active_at), None));
    world.mine(37);
    assert_eq!(world.head().block.time.0, active_at);
    // Two seconds until inclusion, two of margin.
    assert_eq!(asked(&world), (Some(active_at + 36), None));
    world.settle();
    world.mine(1);
    // It stands in a block that may still go; the window of a job that was sent is its interval.
    assert_eq!(world.delivered(), 1);
    world.finalize(0);
    assert_eq!(asked(&world), (Some(active_at + 40), None));
    // After a reorg time is behind what had begun: it is waited for.
    world.mine(39);
    let begun = world.head().block.time.0;
    assert_eq!(begun, active_at + 40);
    world.mine(7);
    let before = world.head().block.time.0;
    world.reorg(1);
    let (time, _) = asked(&world);
    assert_eq!(time, Some(before), "as late as it was");
    world.mine(7);
    assert_ne!(asked(&world).0, Some(before));
}

#[test]
fn an_open_proof_asks_for_the_end_of_its_week() {
    let mut world = world_with(with_prover(), &verified(10_000), 1);
    world.mine(1);
    world.run(6);
    let (_, _, proof) = world.machine.proofs().iter().next().expect("open");
    assert_eq!(asked(&world), (Some(proof.expires), None));
}

/// A final block that was not heard of as a head is one.
#[test]
fn what_a_final_block_makes_due_is_begun() {
    let mut world = world_with(config(), &subscription(&["alpha"]), 1);
    world.mine(1);
    let head = world.head().block;
    assert!(world.issued.is_empty());
    let block = BlockRef {
        number: head.number + 1,
        hash: hash("final", 1),
        time: BlockTime(head.time.0 + 1),
    };
    world.apply(Event::ChainFinalized { block });
    assert_eq!(world.machine.chain().head, Some(block));
    assert_eq!(world.issued.len(), 1, "its inputs are read");
}

#[test]
fn wall_time_never_runs_backwards() {
    let mut world = World::new(config());
    world.wait(5_000);
    let now = world.now();
    world.apply(Event::WallTimePassed { now });
    let earlier = WallTime(now.0 - 4_000);
    world.apply(Event::WallTimePassed { now: earlier });
    assert_eq!(world.machine.now(), now);
    world.apply(Event::JobAccepted(job(1, &["alpha"], earlier)));
    let expiry = config().limits.job_expiry_ms;
    assert_eq!(
        world.machine.next_deadline(),
        Some(WallTime(now.0 + expiry))
    );
}

/// While a transaction is under way nobody knows which side of its gas a balance was read on.
#[test]
fn a_balance_is_compared_only_where_nothing_is_under_way() {
    for under_way in [true, false] {
        let mut world = world_with(config(), &subscription(&["alpha"]), 1);
        world.mine(1);
        world.mine(1);
        world.settle();
        if !under_way {
            world.mine(1);
            world.finalize(0);
        }
        let reconciled = |world: &World| {
            let entries = world.machine.ledger().entries();
            entries
                .filter(|(_, entry)| {
                    entry.code == Code::Reconciled && entry.state != EntryState::Voided
                })
                .count()
        };
        let before = reconciled(&world);
        world.apply(Event::AccountObserved {
            head: world.head().block,
            nonce: Nonce(world.head().nonce),
            balance: Amount::from(5),
        });
        let compared = reconciled(&world) - before;
        assert_eq!(compared, usize::from(!under_way));
    }
}

/// What is derived and not written is there again: an open proof, a stake on its way, a nonce in
/// hand, an answer that is ready.
#[test]
fn a_restored_machine_goes_on_as_if_nothing_had_been() {
    let mut world = world_with(batching(with_prover(), 3), &verified(10_000), 1);
    world.mine(1);
    world.run(6);
    world.next = vec![
        Next::Create(verified(1_000)),
        Next::Create(subscription(&["alpha"])),
        Next::Create(subscription(&["beta"])),
    ];
    world.mine(1);
    world.mine(1);
    let mut left = Vec::new();
    while let Some(issued) = world.issued.pop_front() {
        if matches!(issued.effect, infernet_state::Effect::Sign { .. }) {
            left.push(issued);
        } else if let Some(outcome) = world.answer(&issued) {
            world.end(&issued, outcome);
        }
        let bytes = world.machine.snapshot().expect("encodes");
        let restored = Machine::restore(&bytes).expect("restores");
        restored.audit().expect("sound");
        assert_eq!(restored, world.machine);
    }
    assert!(!left.is_empty(), "a nonce is in hand");
    let machine = &world.machine;
    assert_eq!(machine.proofs().at_stake(NATIVE), Amount::from(10_000));
    assert_eq!(machine.chores().wanted(NATIVE), Amount::from(1_000));
}

/// Ids at the edges of what is kept together, and far from each other.
#[test]
fn subscriptions_are_kept_by_id_wherever_it_lies() {
    let ids = [
        1,
        2,
        62,
        63,
        64,
        65,
        65_535,
        65_536,
        65_599,
        65_600,
        1 << 20,
        u32::MAX,
    ];
    let block = |number| BlockRef {
        number,
        hash: hash("block", number),
        time: BlockTime(GENESIS_TIME + number),
    };
    let created = |id| ChainFact::SubscriptionCreated {
        id: SubscriptionId(id),
        subscription: subscription(&["unheard-of"]),
        delegation: None,
    };
    let lived = |lives: &[&[u32]]| {
        let mut machine = Machine::new();
        let mut events = vec![Event::ConfigChanged(config())];
        for (number, ids) in (1..).zip(lives) {
            let facts = ids.iter().copied().map(created).collect();
            let block = block(number);
            events.push(Event::ChainCommitted { block, facts });
        }
        for event in events {
            machine.apply(&event).expect("no halt");
        }
        machine
    };
    for (place, id) in ids.iter().enumerate() {
        // All of them, or what comes behind the first block's, goes with a reorg.
        for (kept, gone) in [ids.split_at(place), (&ids[place..=place], &ids[..place])] {
            let mut machine = lived(&[kept, gone]);
            let all = machine.subscriptions();
            assert_eq!(all.len(), kept.len() + gone.len());
            let known: Vec<u32> = all
                .range(SubscriptionId(*id), ids.len())
                .iter()
                .map(|(id, _)| id.0)
                .collect();
            let both = kept.iter().chain(gone);
            let mut expected: Vec<u32> = both.copied().filter(|of| of >= id).collect();
            expected.sort_unstable();
            assert_eq!(known, expected, "from {id}");
            let ancestor = block(1);
            machine
                .apply(&Event::ChainReorged { ancestor })
                .expect("no halt");
            machine.audit().expect("sound");
            // What is gone leaves no trace.
            let left = lived(&[kept]);
            assert_eq!(machine.subscriptions(), left.subscriptions());
            for id in ids {
                let id = SubscriptionId(id);
                assert_eq!(
                    machine.subscriptions().get(id),
                    left.subscriptions().get(id)
                );
            }
        }
    }
}
