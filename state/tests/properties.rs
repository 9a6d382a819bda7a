//! Random lives of a node in the little world: reorgs, lost and late outcomes, crashes, other
//! nodes, bumps, proofs. And random nonsense: events that no world would bring.

mod common;

use std::collections::BTreeMap;

use common::*;
use infernet_state::{
    Config, Effect, Event, Machine,
    event::{
        ChainFact, Failure, Outcome, Receipt, Rejection, Subscription, Success, SyncedSubscription,
        TransactionState, WalletChange, WalletFact,
    },
    subscription::Standing,
    types::{
        Address, Amount, BlockRef, BlockTime, Interval, JobId, Nonce, SubscriptionId, WallTime,
    },
};
use proptest::prelude::*;

const VERIFIER: Address = Address([0xee; 20]);
const OTHER: Address = Address([9; 20]);

/// One thing that happens in a random life.
#[derive(Clone, Debug)]
enum Act {
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

fn act() -> impl Strategy<Value = Act> {
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

fn world_config(batches: bool) -> Config {
    let mut config = config();
    let mut prover = container("prover");
    prover.generates_proofs = true;
    config.containers.push(prover);
    config.limits.breaker_pause_ms = 5_000;
    config.limits.retry_backoff_max_ms = 4_000;
    if batches && let Some(chain) = &mut config.chain {
        chain.delivery_batch_max = 3;
    }
    config
}

fn terms(kind: u8, redundancy: u16) -> Subscription {
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

fn perform(world: &mut World, act: Act) {
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
        }
    }
}

fn spoiled(effect: &Effect, how: u8) -> Outcome {
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

/// A healthy world until nothing is left to do; then nothing due may have been forgotten.
fn drain(world: &mut World) {
    world.start(None);
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
                    || done.is_some_and(|(_, job)| job.stage.is_end()),
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
        let open = books.totals(infernet_state::ledger::Role::Receivable, NATIVE);
        assert_eq!(
            open.balance(),
            Some(infernet_state::ledger::Balance::Debit(Amount::ZERO)),
            "every price is explained by transfers"
        );
    }
}

/// The world's own count of successful deliveries of the node.
fn delivered_twice(world: &World) -> Option<(u32, u32)> {
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

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("INFERNET_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400),
        max_shrink_iters: 3_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_random_life_keeps_its_promises(
        acts in prop::collection::vec(act(), 1..120),
        batches in any::<bool>(),
    ) {
        let mut world = World::new(world_config(batches));
        for act in acts {
            perform(&mut world, act);
        }
        drain(&mut world);
        prop_assert_eq!(delivered_twice(&world), None);
        let replayed = world.replayed();
        prop_assert_eq!(replayed.digest(), world.machine.digest());
        prop_assert_eq!(replayed.effects_digest(), world.machine.effects_digest());
    }
}

fn is_kind(act: &Act) -> bool {
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
        | Act::Wait(_)
        | Act::Answer(_)
        | Act::Crash
        | Act::Job { .. }
        | Act::CancelJob(_)
        | Act::Snapshot => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("INFERNET_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400),
        max_shrink_iters: 3_000,
        ..ProptestConfig::default()
    })]

    /// Where chain and containers answer, every callback that is served gets its response,
    /// whatever reorgs, crashes and other nodes do in between.
    #[test]
    fn every_callback_is_answered_in_a_kind_world(
        acts in prop::collection::vec(act(), 1..150),
        batches in any::<bool>(),
    ) {
        let mut world = World::new(world_config(batches));
        for act in acts.into_iter().filter(is_kind) {
            perform(&mut world, act);
        }
        drain(&mut world);
        for (id, chain) in &world.head().subscriptions {
            let served = chain.record.period == 0
                && world.machine.subscriptions().get(SubscriptionId(*id)).is_some_and(|tracked| {
                    tracked.standing == Standing::Completed
                });
            let once_only = chain.record.container_id == terms(2, 1).container_id;
            let count = chain.counts.get(&1).copied().unwrap_or(0);
            let answered = count == chain.record.redundancy || chain.ours.contains_key(&1);
            let outrun = world.machine.deliveries().iter().any(|(_, delivery)| {
                delivery.identity.id.0 == *id && delivery.reverts > 0
            });
            prop_assert!(
                !served || once_only || answered || outrun,
                "subscription {} of {:?}: {:?}",
                id, chain.record, world.machine.jobs().by_interval(SubscriptionId(*id), Interval(1))
            );
        }
    }
}

// --- nonsense

fn small_block() -> impl Strategy<Value = BlockRef> {
    (0..20_u64, 0..3_u64).prop_map(|(number, fork)| BlockRef {
        number,
        hash: hash("fork", number * 10 + fork),
        time: BlockTime(GENESIS_TIME + number * 10 + fork),
    })
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        8 => (0..100_000_u128).prop_map(Amount::from),
        1 => Just(Amount::MAX),
    ]
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        Just(NODE),
        Just(NODE_WALLET),
        Just(CONSUMER),
        Just(CONSUMER_WALLET),
        Just(FEE_RECIPIENT),
        Just(VERIFIER),
        Just(Address::ZERO),
    ]
}

fn wild_terms() -> impl Strategy<Value = Subscription> {
    (
        0..6_u8,
        prop_oneof![
            Just(0_u32),
            Just(u32::MAX),
            Just(GENESIS_TIME as u32),
            any::<u32>()
        ],
        prop_oneof![Just(0_u32), Just(1), Just(7), Just(u32::MAX), any::<u32>()],
        prop_oneof![Just(0_u32), Just(1), Just(3), Just(u32::MAX)],
        prop_oneof![Just(0_u16), Just(1), Just(u16::MAX)],
        amount(),
        address(),
    )
        .prop_map(
            |(kind, active_at, period, frequency, redundancy, price, owner)| {
                let mut terms = terms(kind, redundancy);
                terms.active_at = active_at;
                terms.period = period;
                terms.frequency = frequency;
                terms.payment_amount = price;
                terms.owner = owner;
                terms
            },
        )
}

fn change() -> impl Strategy<Value = WalletChange> {
    (address(), address(), amount(), any::<bool>(), 0..5_u8).prop_map(
        |(spender, to, amount, locked, which)| match which {
            0 => WalletChange::Transferred {
                spender,
                token: NATIVE,
                to,
                amount,
            },
            1 => WalletChange::Escrowed {
                spender,
                token: NATIVE,
                amount,
                locked,
            },
            2 => WalletChange::Approved {
                spender,
                token: NATIVE,
                amount,
            },
            3 => WalletChange::Withdrawn {
                token: NATIVE,
                amount,
            },
            _ => WalletChange::BalanceRead {
                token: NATIVE,
                balance: amount,
            },
        },
    )
}

fn fact() -> impl Strategy<Value = ChainFact> {
    let id = (0..5_u32).prop_map(SubscriptionId);
    prop_oneof![
        (id.clone(), wild_terms(), prop::option::of(0..3_u32)).prop_map(
            |(id, subscription, delegation)| ChainFact::SubscriptionCreated {
                id,
                subscription,
                delegation
            }
        ),
        id.clone()
            .prop_map(|id| ChainFact::SubscriptionCancelled { id }),
        (id.clone(), address())
            .prop_map(|(id, node)| ChainFact::SubscriptionFulfilled { id, node }),
        (id, 0..3_u32, address(), any::<bool>(), any::<bool>()).prop_map(
            |(id, interval, node, active, valid)| ChainFact::ProofVerified {
                id,
                interval: Interval(interval),
                node,
                active,
                valid
            }
        ),
        (0..6_u64, 0..6_u64, any::<bool>()).prop_map(|(nonce, tx, succeeded)| {
            ChainFact::TransactionIncluded(Receipt {
                nonce: Nonce(nonce),
                tx: hash("tx", tx),
                succeeded,
                gas_used: 21_000,
                effective_gas_price: 3,
                l1_fee: Amount::ZERO,
            })
        }),
        (0..6_u64).prop_map(|nonce| ChainFact::ForeignNonceUsed {
            nonce: Nonce(nonce)
        }),
        (address(), address(), 0..6_u64, change()).prop_map(|(wallet, owner, tx, change)| {
            ChainFact::Wallet(WalletFact {
                wallet,
                owner,
                tx: hash("tx", tx),
                change,
            })
        }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (0..10_u8).prop_map(|how| spoiled(
            &Effect::StopContainer {
                call: effect_id(0, 0)
            },
            how
        )),
        (0..6_u64).prop_map(|tx| Outcome::Succeeded(Success::Signed {
            tx: hash("tx", tx),
            raw: payload("raw", tx)
        })),
        Just(Outcome::Succeeded(Success::Broadcast)),
        Just(Outcome::Succeeded(Success::Simulated {
            gas: 1,
            base_fee: u128::MAX,
            priority_fee: u128::MAX
        })),
        Just(Outcome::Succeeded(Success::Simulated {
            gas: 100,
            base_fee: 1,
            priority_fee: 1
        })),
        Just(Outcome::Succeeded(Success::InputsRead {
            input: payload("input", 1)
        })),
        amount().prop_map(|balance| Outcome::Succeeded(Success::PayerRead {
            valid: true,
            balance,
            allowance: balance
        })),
        Just(Outcome::Succeeded(Success::ContainerAnswered {
            output: payload("json", 1)
        })),
        Just(Outcome::Succeeded(Success::ContainerAnsweredOnchain {
            output: payload("json", 1),
            deliver_input: payload("a", 1),
            deliver_output: payload("b", 1),
            deliver_proof: payload("c", 1)
        })),
        Just(Outcome::Succeeded(Success::LookedUp(
            TransactionState::NonceTaken
        ))),
    ]
}

/// An event, and for an outcome which of the outstanding effects it is about.
fn nonsense() -> impl Strategy<Value = (Event, usize)> {
    let at = (0..100_000_000_u64).prop_map(WallTime);
    let event = prop_oneof![
        1 => at.clone().prop_map(|at| Event::NodeStarted { at, version: "n".into() }),
        1 => any::<bool>().prop_map(|batches| Event::ConfigChanged(world_config(batches))),
        1 => Just(Event::ConfigChanged(Config::default())),
        2 => prop_oneof![Just(u64::MAX), 0..200_000_000_u64]
            .prop_map(|now| Event::WallTimePassed { now: WallTime(now) }),
        2 => (small_block(), 0..6_u64, amount()).prop_map(|(head, nonce, balance)| {
            Event::AccountObserved { head, nonce: Nonce(nonce), balance }
        }),
        1 => Just(Event::QuarantineLifted),
        10 => (small_block(), prop::collection::vec(fact(), 0..5))
            .prop_map(|(block, facts)| Event::ChainCommitted { block, facts }),
        3 => small_block().prop_map(|ancestor| Event::ChainReorged { ancestor }),
        1 => small_block().prop_map(|block| Event::ChainFinalized { block }),
        2 => (small_block(), prop::collection::vec((0..5_u32, wild_terms(), any::<bool>()), 0..3), 0..5_u32)
            .prop_map(|(block, list, next)| Event::SubscriptionsSynced {
                block,
                subscriptions: list
                    .into_iter()
                    .map(|(id, subscription, responded)| SyncedSubscription {
                        id: SubscriptionId(id),
                        subscription,
                        responses: u16::from(responded),
                        responded,
                    })
                    .collect(),
                next: SubscriptionId(next),
            }),
        2 => (0..4_u8, at.clone()).prop_map(|(number, at)| {
            Event::JobAccepted(job(number, &["alpha", "beta"], at))
        }),
        2 => (0..3_u32, wild_terms(), at.clone(), 0..3_u32).prop_map(|(nonce, terms, at, known)| {
            let mut request = delegated(nonce, terms, at);
            request.known_id = SubscriptionId(known);
            Event::DelegatedAccepted(request)
        }),
        1 => (0..4_u8, at.clone()).prop_map(|(number, at)| Event::JobCancelled {
            job: JobId([number; 16]),
            at,
        }),
        14 => (outcome(), at, 1..3_u16).prop_map(|(outcome, at, attempt)| Event::EffectEnded {
            effect: effect_id(0, 0),
            attempt,
            at,
            outcome,
        }),
    ];
    (event, 0..8_usize)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("INFERNET_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000),
        max_shrink_iters: 3_000,
        ..ProptestConfig::default()
    })]

    /// No event in any order panics the machine, unbalances the books or breaks an invariant;
    /// it may halt, and then says why.
    #[test]
    fn nonsense_breaks_nothing(events in prop::collection::vec(nonsense(), 1..150)) {
        let mut machine = Machine::new();
        machine.apply(&Event::ConfigChanged(world_config(false))).expect("a beginning");
        for (mut event, place) in events {
            if let Event::EffectEnded { effect, attempt, .. } = &mut event {
                let outstanding = machine.outstanding();
                if let Some(issued) = outstanding.get(place % outstanding.len().max(1)) {
                    *effect = issued.id;
                    *attempt = issued.attempt;
                }
            }
            let encoded = infernet_state::codec::encode(&event).expect("encodes");
            let decoded = infernet_state::codec::decode(encoded.kind, encoded.version, &encoded.body);
            prop_assert_eq!(decoded.as_ref(), Ok(&event));
            if let Err(halt) = machine.apply(&event) {
                prop_assert!(matches!(halt.code, 20 | 32 | 33), "{}", halt);
                return Ok(());
            }
            prop_assert!(machine.ledger().balances());
            let mut live = BTreeMap::new();
            for (no, delivery) in machine.deliveries().iter() {
                if delivery.state.is_live() {
                    let key = (delivery.identity, delivery.delegation, delivery.interval);
                    prop_assert_eq!(live.insert(key, no), None);
                }
            }
        }
        let bytes = machine.snapshot().expect("encodes");
        prop_assert_eq!(&Machine::restore(&bytes).expect("restores"), &machine);
    }
}
