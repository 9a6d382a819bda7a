//! Random lives of a node in the little world: what may happen next.

use infernet_state::{
    Config, Effect, Event, Machine,
    event::{Failure, Outcome, Rejection, Subscription, Success, TransactionState},
    types::{Amount, JobId},
};
use proptest::{
    prelude::*,
    test_runner::{FileFailurePersistence, RngSeed},
};

use super::{Next, World, setup::*};

/// So many cases from a fixed seed; `INFERNET_CASES` and `INFERNET_SEED` explore further.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|n: String| n.parse::<u64>().ok())
    };
    ProptestConfig {
        cases: number("INFERNET_CASES").map_or(usual, |n| n.try_into().unwrap_or(u32::MAX)),
        rng_seed: RngSeed::Fixed(number("INFERNET_SEED").unwrap_or(1)),
        max_shrink_iters: 3_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/machine/lives.proptest-regressions"
        )))),
        ..ProptestConfig::default()
    }
}

/// One thing that happens in a random life.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Create {
        kind: u8,
        redundancy: u16,
    },
    Cancel(u32),
    Fulfil(u32),
    Judge(usize, bool),
    Foreign,
    Mine {
        after: u64,
        pool: bool,
    },
    Reorg(usize),
    Finalize(usize),
    /// A verifier lets a proof's week pass; `coverage` alone draws it.
    Week,
    /// The node, or its RPC, is away while the chain grows by so many blocks; lives with absences
    /// alone draw it.
    Away {
        blocks: usize,
        after: u64,
        restarts: bool,
    },
    Wait(u64),
    /// Answer an effect as a healthy world does.
    Answer(usize),
    /// Carry an effect out and lose the outcome.
    Lose(usize),
    /// An unhappy outcome.
    Spoil(usize, u8),
    /// The process dies and comes back.
    Crash,
    Job {
        number: u8,
        containers: u8,
    },
    CancelJob(u8),
    Delegate {
        nonce: u32,
        kind: u8,
    },
    Snapshot,
}

pub(crate) fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..6_u8, 1..3_u16).prop_map(|(kind, redundancy)| Act::Create { kind, redundancy }),
        1 => (1..6_u32).prop_map(Act::Cancel),
        2 => (1..6_u32).prop_map(Act::Fulfil),
        1 => (0..3_usize, any::<bool>()).prop_map(|(place, valid)| Act::Judge(place, valid)),
        1 => Just(Act::Foreign),
        10 => (1..15_u64, any::<bool>()).prop_map(|(after, pool)| Act::Mine { after, pool }),
        3 => (1..6_usize).prop_map(Act::Reorg),
        2 => (0..6_usize).prop_map(Act::Finalize),
        3 => (1..30_000_u64).prop_map(Act::Wait),
        16 => (0..4_usize).prop_map(Act::Answer),
        2 => (0..4_usize).prop_map(Act::Lose),
        4 => (0..4_usize, 0..9_u8).prop_map(|(place, how)| Act::Spoil(place, how)),
        2 => Just(Act::Crash),
        2 => (0..4_u8, 0..4_u8).prop_map(|(number, containers)| Act::Job { number, containers }),
        1 => (0..4_u8).prop_map(Act::CancelJob),
        1 => (0..3_u32, 0..6_u8).prop_map(|(nonce, kind)| Act::Delegate { nonce, kind }),
        1 => Just(Act::Snapshot),
    ]
}

pub(crate) fn world_config(batches: bool) -> Config {
    let mut config = with_prover();
    config.limits.breaker_pause_ms = 5_000;
    config.limits.retry_backoff_max_ms = 4_000;
    batching(config, if batches { 3 } else { 0 })
}

pub(crate) fn terms(kind: u8, redundancy: u16) -> Subscription {
    let mut terms = match kind {
        0 => subscription(&["alpha"]),
        1 => subscription(&["beta", "alpha"]),
        2 => subscription(&["gamma"]),
        3 => subscription(&["prover"]),
        4 => subscription(&["unheard-of"]),
        _ => subscription(&["alpha"]),
    };
    if kind == 1 || kind == 3 {
        terms.payment_amount = Amount::from(10_000);
    }
    if kind == 3 {
        terms.verifier = VERIFIER;
    }
    if kind == 5 {
        terms.period = 40;
        terms.frequency = 4;
    }
    terms.redundancy = redundancy;
    terms
}

pub(crate) fn perform(world: &mut World, act: Act) {
    match act {
        Act::Create { kind, redundancy } => {
            world.next.push(Next::Create(terms(kind, redundancy)));
        }
        Act::Cancel(id) => world.next.push(Next::Cancel(id)),
        Act::Fulfil(id) => world.next.push(Next::Fulfil(id, OTHER)),
        Act::Judge(place, valid) => world.next.push(Next::Judge(place, valid)),
        Act::Foreign => world.next.push(Next::Foreign),
        Act::Mine { after, pool } => world.mine_block(after, pool),
        Act::Reorg(depth) => {
            if world.blocks.len() > 1 {
                world.reorg(depth);
            }
        }
        Act::Finalize(behind) => world.finalize(behind),
        Act::Week => world.week(),
        Act::Away {
            blocks,
            after,
            restarts,
        } => world.away(blocks, after, restarts),
        Act::Wait(ms) => world.wait(ms),
        Act::Answer(place) => {
            if let Some(issued) = world.issued.remove(place)
                && let Some(outcome) = world.answer(&issued)
            {
                world.end(&issued, outcome);
            }
        }
        Act::Lose(place) => {
            // Carried out, but nobody heard of it before the process died.
            if let Some(issued) = world.issued.get(place).cloned() {
                let _ = world.answer(&issued);
                world.start(None);
            }
        }
        Act::Spoil(place, how) => {
            if let Some(issued) = world.issued.remove(place)
                && !matches!(issued.effect, Effect::StopContainer { .. })
            {
                let outcome = spoiled(&issued.effect, how);
                world.end(&issued, outcome);
            }
        }
        Act::Crash => world.start(None),
        Act::Job { number, containers } => {
            let ids: &[&str] = match containers {
                0 => &["alpha"],
                1 => &["alpha", "beta"],
                2 => &["gamma"],
                _ => &["nobody"],
            };
            let at = world.now();
            world.apply(Event::JobAccepted(job(number, ids, at)));
        }
        Act::CancelJob(number) => {
            let at = world.now();
            world.apply(Event::JobCancelled {
                job: JobId([number; 16]),
                at,
            });
        }
        Act::Delegate { nonce, kind } => {
            let mut terms = terms(kind, 1);
            terms.active_at = world.head().block.time.as_contract_time();
            let at = world.now();
            world.apply(Event::DelegatedAccepted(delegated(nonce, terms, at)));
        }
        Act::Snapshot => {
            let bytes = world.machine.snapshot().expect("encodes");
            let restored = Machine::restore(&bytes).expect("restores");
            assert_eq!(restored, world.machine);
            world.machine = restored;
            if world.watching {
                world.machine.watch();
            }
        }
    }
}

pub(crate) fn spoiled(effect: &Effect, how: u8) -> Outcome {
    let reason = || String::from("spoiled");
    match how {
        0 => Outcome::Unknown { reason: reason() },
        1 => Outcome::Failed(Failure::Unavailable { reason: reason() }),
        2 => Outcome::Failed(Failure::Container {
            error: payload("error", 0),
            retry: true,
        }),
        3 => Outcome::Failed(Failure::Container {
            error: payload("error", 1),
            retry: false,
        }),
        4 => Outcome::Failed(Failure::Reverted {
            selector: [9; 4],
            reason: reason(),
        }),
        5 => Outcome::Failed(Failure::Rejected(Rejection::Underpriced)),
        6 => Outcome::Failed(Failure::Rejected(Rejection::InsufficientFunds)),
        // What was answered belongs to another kind of effect, or is an untruth.
        7 if !matches!(effect, Effect::LookUpTransaction { .. }) => {
            Outcome::Succeeded(Success::LookedUp(TransactionState::Absent))
        }
        _ => Outcome::Failed(Failure::Missing { reason: reason() }),
    }
}

pub(crate) fn is_kind(act: &Act) -> bool {
    match act {
        Act::Spoil(..) | Act::Lose(_) | Act::Foreign | Act::Cancel(_) | Act::Delegate { .. } => {
            false
        }
        Act::Create { .. }
        | Act::Fulfil(_)
        | Act::Judge(..)
        | Act::Mine { .. }
        | Act::Reorg(_)
        | Act::Finalize(_)
        | Act::Week
        | Act::Away { .. }
        | Act::Wait(_)
        | Act::Answer(_)
        | Act::Crash
        | Act::Job { .. }
        | Act::CancelJob(_)
        | Act::Snapshot => true,
    }
}
