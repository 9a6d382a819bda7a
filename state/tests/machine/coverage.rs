//! Every step that a life cycle allows is made by random lives, or by a scene of its own: a table
//! holds nothing that never happens. And every step that it does not allow is tried on a machine
//! that holds something in that state: nothing changes.

use std::collections::BTreeMap;

use crate::{
    common::{
        act::*,
        judge::always,
        nonsense::{aimed, nonsense},
        table, *,
    },
    scenes::scenes,
};
use infernet_state::{
    Config, Effect, Event, Machine,
    event::{Failure, Origin, Outcome, SyncedSubscription},
    types::{JobId, SubscriptionId},
};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

/// Random lives.
const LIVES: usize = 700;

/// Deeds of a life.
const DEEDS: usize = 150;

/// What happens in a life that is to see everything.
#[derive(Clone, Debug)]
enum Deed {
    Common(Act),
    /// Everything that is asked is answered.
    Settle,
    /// The key was used elsewhere while the node was down.
    Elsewhere,
    /// An operator confirms.
    Lift,
    /// What is served changes, and the past is read again.
    Configure(u8),
    /// A client withdraws a delegated subscription.
    Withdraw(u32),
    /// An RPC that is ahead says of a simulation that the interval is met.
    Ahead(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        30 => act().prop_map(Deed::Common),
        8 => Just(Deed::Settle),
        4 => Just(Deed::Common(Act::Create { kind: 3, redundancy: 1 })),
        4 => (0..3_usize, any::<bool>()).prop_map(|(at, valid)| Deed::Common(Act::Judge(at, valid))),
        1 => Just(Deed::Common(Act::Week)),
        1 => Just(Deed::Elsewhere),
        2 => Just(Deed::Lift),
        1 => (0..3_u8).prop_map(Deed::Configure),
        1 => (0..3_u32).prop_map(Deed::Withdraw),
        1 => (0..4_usize).prop_map(Deed::Ahead),
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
        Deed::Elsewhere => {
            world.blocks.last_mut().expect("a block").nonce += 1;
            world.start(None);
        }
        Deed::Lift => {
            world.apply(Event::QuarantineLifted);
        }
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
                    origin: Origin::Owner,
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
        Deed::Ahead(place) => {
            if let Some(issued) = world.issued.get(place).cloned()
                && matches!(issued.effect, Effect::Simulate { .. })
            {
                world.issued.remove(place);
                world.end(
                    &issued,
                    Outcome::Failed(Failure::Reverted {
                        selector: [0x2f, 0x4c, 0xa8, 0x5b],
                        reason: "IntervalCompleted".into(),
                    }),
                );
            }
        }
        Deed::Withdraw(nonce) => {
            let job: JobId = infernet_state::delegation::delegated_job_id((CONSUMER, nonce));
            let at = world.now();
            world.apply(Event::JobCancelled { job, at });
        }
    }
}

type Seen = BTreeMap<(&'static str, String, String), u64>;

fn add(seen: &mut Seen, world: &World) {
    for (key, count) in &world.seen {
        *seen.entry(key.clone()).or_default() += count;
    }
}

/// How often each step that does not apply was tried.
#[derive(Default)]
struct Tried {
    counts: Seen,
    /// Those that were tried often enough are over.
    left: usize,
}

/// Trials of each step that does not apply.
const TRIALS: u64 = 3;

impl Tried {
    fn new() -> Self {
        let rows = table::cycles().into_iter().flat_map(|cycle| {
            let refused = cycle.rows.into_iter().filter(|row| row.to.is_none());
            refused.map(move |row| (cycle.name, row.from, row.step))
        });
        let counts: Seen = rows.map(|key| (key, 0)).collect();
        let left = counts.len();
        Self { counts, left }
    }

    /// Tries the steps that do not apply to what a machine holds.
    fn try_all(&mut self, machine: &Machine) {
        if self.left == 0 {
            return;
        }
        for thing in machine.things() {
            for step in table::refused(thing) {
                let key = table::key(&step);
                let count = self.counts.get_mut(&key);
                let count = count.unwrap_or_else(|| panic!("{key:?} is in no table"));
                if *count >= TRIALS {
                    continue;
                }
                *count += 1;
                self.left -= usize::from(*count == TRIALS);
                let mut other = machine.clone();
                other.watch();
                other.try_step(&step);
                assert_eq!(other, *machine, "{step:?}");
                assert_eq!(other.transitions(), [], "{step:?}");
            }
        }
    }
}

fn live(lives: usize, tried: &mut Tried) -> Seen {
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
            tried.try_all(&world.machine);
        }
        add(&mut seen, &world);
    }
    seen
}

/// Events that no world would bring reach what only the unlikeliest lives do.
fn add_nonsense(seen: &mut Seen, sequences: usize, tried: &mut Tried) {
    let mut runner = TestRunner::deterministic();
    for sequence in 0..sequences {
        let mut machine = Machine::new();
        machine.watch();
        let mut config = world_config(sequence % 2 == 0);
        config.limits.breaker_losses = 1;
        machine
            .apply(&Event::ConfigChanged(config))
            .expect("a beginning");
        let events = vec(nonsense(), DEEDS)
            .new_tree(&mut runner)
            .expect("there are events")
            .current();
        for (event, place) in events {
            if machine.apply(&aimed(event, place, &machine)).is_err() {
                break;
            }
            always(&machine);
            tried.try_all(&machine);
            for transition in machine.transitions() {
                *seen.entry(table::key(transition)).or_default() += 1;
            }
        }
    }
}

#[test]
fn every_step_that_is_allowed_is_made_and_no_other() {
    let mut tried = Tried::new();
    let mut seen = live(LIVES, &mut tried);
    add_nonsense(&mut seen, LIVES, &mut tried);
    for world in scenes() {
        add(&mut seen, &world);
        tried.try_all(&world.machine);
    }
    tried.counts.retain(|_, count| *count == 0);
    assert_eq!(tried.counts, Seen::new(), "not allowed, and never tried");
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
