//! What strangers leave behind is forgotten: memory is bounded by what is alive.

use crate::common::*;
use infernet_state::{
    Event, Machine,
    event::{ChainFact, SyncedSubscription},
    limits::RETIRED_SUBSCRIPTIONS_KEPT,
    subscription::Standing,
    types::{BlockRef, BlockTime, SubscriptionId},
};

const PER_BLOCK: u32 = 500;

fn block(number: u64) -> BlockRef {
    BlockRef {
        number,
        hash: hash("block", number),
        time: BlockTime(GENESIS_TIME + number),
    }
}

fn created(id: u32, container: &str) -> ChainFact {
    let mut subscription = subscription(&[container]);
    (subscription.period, subscription.frequency) = (100, 1_000);
    subscription.active_at = (GENESIS_TIME + 1_000) as u32;
    ChainFact::SubscriptionCreated {
        id: SubscriptionId(id),
        subscription,
        delegation: None,
    }
}

#[test]
fn retired_subscriptions_are_forgotten_when_they_are_final_and_many() {
    let kept = u32::try_from(RETIRED_SUBSCRIPTIONS_KEPT).expect("few");
    let mut machine = Machine::new();
    let apply = |machine: &mut Machine, event: Event| {
        machine.apply(&event).expect("no halt");
    };
    apply(&mut machine, Event::ConfigChanged(config()));
    // The first is served, the second is cancelled, all others are of nobody's container.
    let mut facts = vec![created(1, "alpha"), created(2, "alpha")];
    facts.push(ChainFact::SubscriptionCancelled {
        id: SubscriptionId(2),
    });
    let mut next = 3;
    let blocks = u64::from(kept / PER_BLOCK) + 4;
    for number in 1..=blocks {
        facts.extend((next..next + PER_BLOCK).map(|id| created(id, "unheard-of")));
        next += PER_BLOCK;
        let (block, facts) = (block(number), std::mem::take(&mut facts));
        apply(&mut machine, Event::ChainCommitted { block, facts });
    }
    // As long as a reorg may come, all are kept.
    assert_eq!(machine.subscriptions().len(), next as usize - 1);
    machine.audit().expect("sound");
    apply(
        &mut machine,
        Event::ChainFinalized {
            block: block(blocks),
        },
    );
    let more = 5 * PER_BLOCK;
    let facts = (next..next + more)
        .map(|id| created(id, "unheard-of"))
        .collect();
    let late = block(blocks + 1);
    apply(&mut machine, Event::ChainCommitted { block: late, facts });
    machine.audit().expect("sound");
    let all = machine.subscriptions();
    assert_eq!(all.len(), RETIRED_SUBSCRIPTIONS_KEPT + 1, "and the served");
    let standing = |id| all.get(SubscriptionId(id)).map(|tracked| tracked.standing);
    assert_eq!(standing(1), Some(Standing::Admitted));
    assert_eq!((standing(2), standing(3)), (None, None));
    assert!(standing(next - 1).is_some());

    // What is said of one that is forgotten changes nothing, and a reorg brings none back.
    let facts = vec![
        ChainFact::SubscriptionCancelled {
            id: SubscriptionId(3),
        },
        ChainFact::SubscriptionFulfilled {
            id: SubscriptionId(4),
            node: NODE,
        },
    ];
    let head = block(blocks + 2);
    apply(&mut machine, Event::ChainCommitted { block: head, facts });
    apply(
        &mut machine,
        Event::ChainReorged {
            ancestor: block(blocks),
        },
    );
    machine.audit().expect("sound");
    let unfinal = usize::try_from(more).expect("few");
    assert_eq!(
        machine.subscriptions().len(),
        RETIRED_SUBSCRIPTIONS_KEPT + 1 - unfinal
    );

    // A sync that reads one again judges it anew.
    let ChainFact::SubscriptionCreated { subscription, .. } = created(3, "alpha") else {
        panic!("a creation");
    };
    apply(
        &mut machine,
        Event::SubscriptionsSynced {
            block: block(blocks),
            subscriptions: vec![SyncedSubscription {
                id: SubscriptionId(3),
                subscription,
                responses: 0,
                responded: false,
            }],
            next: SubscriptionId(4),
        },
    );
    let third = machine.subscriptions().get(SubscriptionId(3));
    assert_eq!(third.expect("read").standing, Standing::Admitted);
    machine.audit().expect("sound");
}
