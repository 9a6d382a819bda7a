//! Every step that a life cycle allows is made by random lives, or by a scene of its own: a table
//! holds nothing that never happens.

use std::collections::BTreeMap;

use crate::common::{act::*, table, *};
use infernet_state::{
    Config, Event,
    event::SyncedSubscription,
    types::{JobId, SubscriptionId},
};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

/// Random lives.
const LIVES: usize = 1_500;

/// Deeds of a life.
const DEEDS: usize = 150;

/// What happens in a life that is to see everything.
#[derive(Clone, Debug)]
enum Deed {
    Common(Act),
    /// Everything that is asked is answered.
    Settle,
    /// A verifier lets the week pass.
    Week,
    /// What is served changes, and the past is read again.
    Configure(u8),
    /// A client withdraws a delegated subscription.
    Withdraw(u32),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        30 => act().prop_map(Deed::Common),
        8 => Just(Deed::Settle),
        4 => Just(Deed::Common(Act::Create { kind: 3, redundancy: 1 })),
        4 => (0..3_usize, any::<bool>()).prop_map(|(at, valid)| Deed::Common(Act::Judge(at, valid))),
        1 => Just(Deed::Week),
        1 => (0..3_u8).prop_map(Deed::Configure),
        1 => (0..3_u32).prop_map(Deed::Withdraw),
    ]
}

fn configured(batches: bool, which: u8) -> Config {
    let mut config = world_config(batches);
    config.limits.breaker_losses = 1;
    match which {
        1 => config.containers.truncate(1),
        2 => config.verifiers = Some(Vec::new()),
        _ => {}
    }
    config
}

fn do_deed(world: &mut World, deed: Deed, batches: bool) {
    match deed {
        Deed::Common(act) => perform(world, act),
        Deed::Settle => world.settle(),
        Deed::Week => world.mine(604_800),
        Deed::Configure(which) => {
            let head = world.head().block;
            let subscriptions = world
                .head()
                .subscriptions
                .iter()
                .map(|(id, known)| SyncedSubscription {
                    id: SubscriptionId(*id),
                    subscription: known.record.clone(),
                    responses: 0,
                    responded: false,
                })
                .collect();
            world.apply(Event::ConfigChanged(configured(batches, which)));
            let next = SubscriptionId(0);
            world.apply(Event::SubscriptionsSynced {
                block: head,
                subscriptions,
                next,
            });
        }
        Deed::Withdraw(nonce) => {
            let job: JobId = infernet_state::delegation::delegated_job_id((CONSUMER, nonce));
            let at = world.now();
            world.apply(Event::JobCancelled { job, at });
        }
    }
}

type Seen = BTreeMap<(&'static str, String, String), u64>;

fn live(lives: usize) -> Seen {
    let mut seen = Seen::new();
    let mut runner = TestRunner::deterministic();
    for life in 0..lives {
        let batches = life % 2 == 0;
        let mut world = World::watched(configured(batches, 0));
        let deeds = vec(deed(), DEEDS)
            .new_tree(&mut runner)
            .expect("there are lives")
            .current();
        for deed in deeds {
            do_deed(&mut world, deed, batches);
        }
        for (key, count) in &world.seen {
            *seen.entry(key.clone()).or_default() += count;
        }
    }
    seen
}

#[test]
fn every_step_that_is_allowed_is_made() {
    let seen = live(LIVES);
    let mut missed = Vec::new();
    for cycle in table::cycles() {
        for row in cycle.rows.into_iter().filter(|row| row.to.is_some()) {
            let key = (cycle.name, row.from, row.step);
            let count = seen.get(&key).copied().unwrap_or(0);
            println!("{count:>8} {} {} + {}", key.0, key.1, key.2);
            if count == 0 {
                missed.push(key);
            }
        }
    }
    assert_eq!(missed, [], "allowed, and never made");
}
