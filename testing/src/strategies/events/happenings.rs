//! What may happen next.

use infernet_state::{Event, machine::LOGIC, types::Amount};
use proptest::{collection::vec, prelude::*};

use super::nonsense::event;
use crate::strategies::{
    subscriptions::{frequency, redundancy},
    values::{Pick, amount, pick},
};

/// The record of a subscription that somebody creates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Which of the scene's container chains; beyond them, one that nobody has.
    pub containers: Pick,
    /// First second of interval 1, counted from the block's.
    pub active_in: i32,
    /// Seconds of an interval.
    pub period: u32,
    /// Number of intervals.
    pub frequency: u32,
    /// Answers per interval.
    pub redundancy: u16,
    /// To the Inbox.
    pub lazy: bool,
    /// Whether a verifier is named.
    pub verifier: bool,
    /// Price of an answer.
    pub price: Amount,
    /// Whether the price is in a token instead of the coin.
    pub token: bool,
}

/// A fact that a block may hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FactWish {
    /// A subscription was created; `Some` for a delegated one with its nonce.
    Created(Record, Option<u32>),
    /// A subscription that the scene knows was cancelled.
    Cancelled(Pick),
    /// Somebody answered: the node itself, or another.
    Fulfilled(Pick, bool),
    /// A verdict on a proof of the node.
    Judged {
        /// Which subscription.
        subscription: Pick,
        /// Before the week was over.
        active: bool,
        /// The verdict.
        valid: bool,
    },
    /// A transaction that the node waits for was included; one that it does not know, if it waits for none.
    Included(Pick, bool),
    /// The node's key was used elsewhere.
    ForeignNonce,
    /// A wallet's event: payment received or made, escrow, approval, withdrawal, a balance.
    Wallet(u8, Amount),
}

/// How an effect ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// As it should.
    Well,
    /// In one of the ways it can fail.
    Badly(u8),
    /// Nobody can tell.
    Unknown,
    /// As another kind of effect would.
    Mismatched(u8),
    /// As it should, but for an attempt that is over.
    Late,
}

/// What may happen next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Happening {
    /// The process comes up.
    Start,
    /// The configuration is another: which of the scene's.
    Configure(Pick),
    /// Wall time passes, in milliseconds.
    Tick(u32),
    /// Wall time passes up to the machine's deadline.
    Deadline,
    /// The chain grows by a block, so many seconds after the one before.
    Block(u16, Vec<FactWish>),
    /// A part of the next block's facts comes ahead.
    More(u16, Vec<FactWish>),
    /// So many blocks leave the chain.
    Reorg(u8),
    /// Blocks up to so many below the head become final.
    Finality(u8),
    /// So many subscriptions of the past are read.
    Sync(u8, Record),
    /// The node's account is read: so many transactions more than the scene has seen.
    Account(u8),
    /// The chain's head is seen, so many blocks above the scene's.
    Seen(u8),
    /// An operator lifts the quarantine.
    Lift,
    /// A client asks: which container chain, how it wants the answer, whether with a proof, and one of few
    /// idempotency keys.
    Job(Pick, bool, bool, Option<u8>),
    /// A client hands in a delegated subscription with one of few nonces.
    Delegated(Record, u32),
    /// A client reports a job that ran elsewhere: which, and how it stands.
    Reported(Pick, u8),
    /// A client withdraws a job.
    JobCancelled(Pick),
    /// An outstanding effect ends.
    Ended(Pick, Ending),
    /// The logic changes: to one that this version knows, or (among nonsense) to one that it does not, where
    /// the machine stops.
    Upgraded(u16),
    /// Anything at all.
    Nonsense(Box<Event>),
}

fn money() -> impl Strategy<Value = Amount> + Clone {
    amount().prop_map(Amount)
}

/// Mostly a container chain that is served.
fn chain() -> impl Strategy<Value = Pick> + Clone {
    prop_oneof![6 => (0_u16..4).prop_map(Pick), 1 => Just(Pick(4))]
}

fn record() -> impl Strategy<Value = Record> + Clone {
    let active_in = prop_oneof![4 => Just(0_i32), 3 => -60_i32..60, 1 => any::<i32>()];
    let period = prop_oneof![4 => Just(0_u32), 4 => 10_u32..600, 1 => any::<u32>()];
    let price = prop_oneof![3 => Just(Amount::ZERO), 3 => money()];
    (
        (chain(), active_in, period, frequency(), redundancy()),
        (
            any::<bool>(),
            proptest::bool::weighted(0.3),
            price,
            any::<bool>(),
        ),
    )
        .prop_map(|(timing, payment)| {
            let (containers, active_in, period, frequency, redundancy) = timing;
            let (lazy, verifier, price, token) = payment;
            Record {
                containers,
                active_in,
                period,
                frequency,
                redundancy,
                lazy,
                verifier,
                price,
                token,
            }
        })
}

fn fact() -> BoxedStrategy<FactWish> {
    let nonce = proptest::option::weighted(0.2, 0_u32..4);
    prop_oneof![
        6 => (record(), nonce).prop_map(|(record, nonce)| FactWish::Created(record, nonce)),
        1 => pick().prop_map(FactWish::Cancelled),
        3 => (pick(), any::<bool>()).prop_map(|(pick, own)| FactWish::Fulfilled(pick, own)),
        1 => (pick(), any::<bool>(), any::<bool>()).prop_map(|(subscription, active, valid)| {
            FactWish::Judged { subscription, active, valid }
        }),
        6 => (pick(), proptest::bool::weighted(0.8))
            .prop_map(|(pick, succeeded)| FactWish::Included(pick, succeeded)),
        1 => Just(FactWish::ForeignNonce),
        3 => (any::<u8>(), money()).prop_map(|(kind, amount)| FactWish::Wallet(kind, amount)),
    ]
    .boxed()
}

fn ending() -> impl Strategy<Value = Ending> + Clone {
    prop_oneof![
        12 => Just(Ending::Well),
        3 => any::<u8>().prop_map(Ending::Badly),
        2 => Just(Ending::Unknown),
        1 => any::<u8>().prop_map(Ending::Mismatched),
        1 => Just(Ending::Late),
    ]
}

/// What may happen next: mostly blocks and the ends of effects.
pub fn happening() -> BoxedStrategy<Happening> {
    let key = proptest::option::weighted(0.4, 0_u8..3);
    let common = prop_oneof![
        10 => (0_u16..30, vec(fact(), 0..4)).prop_map(|(after, facts)| Happening::Block(after, facts)),
        24 => (pick(), ending()).prop_map(|(pick, ending)| Happening::Ended(pick, ending)),
        3 => (0_u32..120_000).prop_map(Happening::Tick),
        3 => Just(Happening::Deadline),
        4 => (chain(), any::<bool>(), any::<bool>(), key).prop_map(
            |(containers, stream, proof, key)| Happening::Job(containers, stream, proof, key)
        ),
    ];
    let rare = prop_oneof![
        1 => Just(Happening::Start),
        1 => prop_oneof![2 => Just(Pick(0)), 1 => pick()].prop_map(Happening::Configure),
        1 => (0_u8..6).prop_map(Happening::Reorg),
        3 => (0_u8..4).prop_map(Happening::Finality),
        1 => (0_u16..30, vec(fact(), 0..3)).prop_map(|(part, facts)| Happening::More(part, facts)),
        1 => (0_u8..4, record()).prop_map(|(count, record)| Happening::Sync(count, record)),
        6 => prop_oneof![6 => Just(0_u8), 1 => 1_u8..3].prop_map(Happening::Account),
        1 => (0_u8..6).prop_map(Happening::Seen),
        2 => Just(Happening::Lift),
        2 => (record(), 0_u32..4).prop_map(|(record, nonce)| Happening::Delegated(record, nonce)),
        1 => (pick(), any::<u8>()).prop_map(|(pick, status)| Happening::Reported(pick, status)),
        1 => pick().prop_map(Happening::JobCancelled),
        1 => (0..=LOGIC).prop_map(Happening::Upgraded),
    ];
    prop_oneof![5 => common, 1 => rare].boxed()
}

/// What may happen next, or anything at all.
pub fn wild_happening() -> BoxedStrategy<Happening> {
    prop_oneof![
        180 => happening(),
        19 => event().prop_map(|event| Happening::Nonsense(Box::new(event))),
        1 => (LOGIC.saturating_add(1)..=u16::MAX).prop_map(Happening::Upgraded),
    ]
    .boxed()
}

/// Sequences of so many happenings; they begin as a node does.
pub fn happenings(length: usize) -> impl Strategy<Value = Vec<Happening>> {
    vec(happening(), length).prop_map(beginning)
}

/// The same with nonsense in between.
pub fn wild_happenings(length: usize) -> impl Strategy<Value = Vec<Happening>> {
    vec(wild_happening(), length).prop_map(beginning)
}

fn beginning(rest: Vec<Happening>) -> Vec<Happening> {
    let first = [
        Happening::Start,
        Happening::Configure(Pick(0)),
        Happening::Account(0),
    ];
    first.into_iter().chain(rest).collect()
}
