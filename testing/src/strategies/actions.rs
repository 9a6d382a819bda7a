//! Sequences of calls.
//!
//! An [`Action`] says what somebody means to do ("deliver to a subscription that is due"); which ids,
//! intervals and wallets that are is found when it is played, from the model's state
//! ([`Action::resolve`]). So sequences stay meaningful, also while proptest shrinks them.

use proptest::{collection::vec, prelude::*};
use revm::primitives::{Bytes, U256};

use super::{
    subscriptions::{frequency, period, redundancy},
    values::{Pick, amount, answer, bytes, containers, edge_u32, pick},
    worlds::{Start, fee, start},
};
use crate::model::{Answer, Restricted, VerifierScript};

/// Which subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// One that wants an answer now, or any.
    Due(Pick),
    /// Any that exists.
    Any(Pick),
    /// One of this id, which may not exist.
    Id(u32),
}

/// Which interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// The one that runs, moved by so many.
    Current(i32),
    /// This one.
    Exactly(u32),
}

/// Which wallet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purse {
    /// That of the consumer or node in question.
    Own,
    /// Any of the cast, the stray one and addresses that are none included.
    Any(Pick),
}

/// Who calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// The one who may.
    Entitled,
    /// Anybody of the cast.
    Any(Pick),
}

/// Where time goes; never back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Jump {
    /// So many seconds on.
    Seconds(u64),
    /// To an interval boundary of a subscription (its activation, if that is still to come), and so many seconds
    /// further, which may be fewer.
    Boundary(Pick, i64),
    /// To where an open proof request expires, and so many seconds further.
    ProofExpiry(Pick, i64),
}

/// The fields of a new subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// Which consumer asks; the last choice is an account without code.
    pub consumer: Pick,
    /// Comma-joined container ids.
    pub containers: String,
    /// Number of intervals.
    pub frequency: u32,
    /// Seconds of an interval.
    pub period: u32,
    /// Answers per interval.
    pub redundancy: u16,
    /// To the Inbox.
    pub lazy: bool,
    /// Which token of the cast.
    pub token: usize,
    /// Price.
    pub amount: U256,
    /// Who pays.
    pub wallet: Purse,
    /// Which verifier; `None` for none. Beyond the cast's: an account, a consumer.
    pub verifier: Option<Pick>,
}

/// What is wrong with a signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// Nothing.
    None,
    /// The twin of the signature, with the larger s.
    HighS,
    /// A recovery byte that does not exist.
    RecoveryByte(u8),
    /// The subscription was changed after signing.
    Tampered,
    /// Signed with this key of the cast.
    Key(Pick),
    /// r is zero.
    Zero,
}

/// A signed subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signed {
    /// What is wanted; the consumer may be no delegator.
    pub wish: Wish,
    /// Activation, in seconds from now.
    pub active_in: i32,
    /// The nonce.
    pub nonce: u32,
    /// End of validity, in seconds from now.
    pub expires_in: i32,
    /// What is wrong.
    pub flaw: Flaw,
}

/// A call that a consumer makes inside a delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inner {
    /// Another delivery.
    Deliver(Target),
    /// A verdict on an open proof request.
    Finalize(Pick, bool),
    /// Another request.
    Create(Wish),
    /// Cancel a subscription.
    Cancel(Pick),
    /// Change an allowance in a wallet.
    Approve(Purse, usize, U256),
    /// Take funds out of a wallet.
    Withdraw(Purse, usize, U256),
    /// Create a delegated subscription and deliver to it.
    DeliverDelegated(Signed),
    /// Write to the Inbox.
    WriteInbox(Answer),
    /// Lock payments ahead.
    Fund(Target),
    /// Unlock payments that were locked ahead.
    Release(Target),
    /// Several deliveries.
    DeliverBatch(Target),
}

/// What a consumer does from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// Takes every answer.
    Accept,
    /// Reverts with this.
    Revert(Bytes),
    /// Makes a call; hands its revert on.
    Call(Inner),
    /// Makes a call; takes its revert.
    Try(Inner),
}

/// What the owner of a wallet might do while it locks something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Temptation {
    /// Take so much out.
    Withdraw(U256),
    /// Make the spender's allowance too large to give anything back to.
    ApproveAll,
    /// Go away.
    Renounce,
}

/// What a wallet holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holding {
    /// What it locks, and so many more, which may be fewer.
    Locked(i64),
    /// This.
    Exactly(U256),
}

/// A change of an ownership.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transition {
    /// At once; to nobody if `None`.
    Transfer(Option<Pick>),
    /// Given up.
    Renounce,
    /// Asked for.
    Request,
    /// No longer asked for.
    Cancel,
    /// The handover to somebody is completed.
    Complete(Pick),
    /// The handover to somebody who asked is completed.
    CompleteAsked(Pick),
}

/// What somebody means to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Time passes.
    Wait(Jump),
    /// Somebody asks for compute.
    Create(Wish),
    /// Somebody cancels.
    Cancel(Target, Who),
    /// A node answers.
    Deliver {
        /// What.
        target: Target,
        /// Which interval.
        when: When,
        /// Which node.
        node: Pick,
        /// Who is paid.
        wallet: Purse,
        /// The answer.
        answer: Answer,
    },
    /// A node answers several at once.
    DeliverBatch {
        /// What, each with which interval.
        targets: Vec<(Target, When)>,
        /// Which node.
        node: Pick,
        /// Who is paid.
        wallet: Purse,
        /// The answer.
        answer: Answer,
    },
    /// Somebody locks the payments of a subscription ahead.
    Fund(Target, Who),
    /// Somebody unlocks what no interval of a subscription can use.
    Release(Target),
    /// A verdict on a proof.
    Finalize {
        /// On an open request; on anything, if `None`.
        request: Option<Pick>,
        /// By whom.
        by: Who,
        /// The verdict.
        valid: bool,
    },
    /// A signed subscription is handed in.
    CreateDelegated(Signed),
    /// A signed subscription is handed in with an answer.
    DeliverDelegated {
        /// The subscription.
        signed: Signed,
        /// Which interval.
        when: When,
        /// Which node.
        node: Pick,
        /// Who is paid.
        wallet: Purse,
        /// The answer.
        answer: Answer,
    },
    /// A wallet is made.
    CreateWallet(Pick),
    /// An allowance is set.
    Approve {
        /// In which wallet of the cast.
        wallet: Pick,
        /// By whom.
        by: Who,
        /// For whom; its usual spender if `None`.
        spender: Option<Pick>,
        /// Token.
        token: usize,
        /// How much.
        amount: U256,
    },
    /// The owner of a wallet that locks something is tempted.
    AtLock(Pick, Temptation),
    /// Funds are taken out.
    Withdraw {
        /// Of which wallet of the cast.
        wallet: Pick,
        /// By whom.
        by: Who,
        /// Token.
        token: usize,
        /// How much.
        amount: U256,
    },
    /// Somebody tries what only the Coordinator may.
    Restricted(Pick, Restricted, Who),
    /// An ownership changes: of the fee contract if `None`.
    Ownership(Option<Pick>, Who, Transition),
    /// The fee changes.
    UpdateFee(Who, u16),
    /// A node writes to the Inbox.
    WriteInbox(Pick, String, Answer),
    /// Somebody tries to write in another's name.
    WriteInboxViaCoordinator(Pick),
    /// An item is read: one that exists, moved by so many.
    ReadInbox(Pick, u64),
    /// An interval is computed, for an activation so many seconds from now.
    ReadInterval(i32, u32),
    /// Somebody sends tokens to a wallet.
    TransferToken(Pick, usize, Pick, U256),
    /// Somebody sends coins: to a wallet, an account, a consumer.
    SendCoin(Pick, Pick, u64),
    /// A consumer changes what it does.
    Behave(Pick, Behaviour),
    /// A consumer changes its signer: to the account of a key.
    Resign(Pick, Pick),
    /// A verifier changes what it does.
    Verify(Pick, VerifierScript, Pick),
    /// A verifier changes its fee in a token.
    VerifierFee(Pick, usize, Option<U256>),
    /// What a wallet holds changes.
    Balance(Pick, usize, Holding),
}

/// A sequence: where it begins, and what is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sequence {
    /// Where it begins.
    pub start: Start,
    /// It ends after so many calls.
    pub calls: usize,
    /// What is done, in order.
    pub actions: Vec<Action>,
}

/// Sequences of so many calls, with what happens between them.
pub fn sequence(calls: usize) -> impl Strategy<Value = Sequence> {
    // More than a third of the actions let time pass or change what stands around.
    let actions = calls.saturating_mul(2);
    let actions = prop_oneof![3 => vec(action(), actions), 2 => vec(escrow_action(), actions)];
    (start(), actions).prop_map(move |(start, actions)| Sequence {
        start,
        calls,
        actions,
    })
}

/// The place of a token in the cast: mostly the coin and the honest tokens.
fn token() -> impl Strategy<Value = usize> + Clone {
    prop_oneof![8 => Just(0_usize), 8 => Just(1), 3 => Just(2), 1 => 3_usize..7]
}

fn target() -> impl Strategy<Value = Target> + Clone {
    prop_oneof![
        16 => pick().prop_map(Target::Due),
        3 => pick().prop_map(Target::Any),
        1 => edge_u32().prop_map(Target::Id),
    ]
}

fn when() -> impl Strategy<Value = When> + Clone {
    prop_oneof![
        20 => Just(When::Current(0)),
        2 => (-1_i32..2).prop_map(When::Current),
        1 => edge_u32().prop_map(When::Exactly),
    ]
}

fn purse() -> impl Strategy<Value = Purse> + Clone {
    prop_oneof![12 => Just(Purse::Own), 2 => pick().prop_map(Purse::Any)]
}

fn who() -> impl Strategy<Value = Who> + Clone {
    prop_oneof![6 => Just(Who::Entitled), 1 => pick().prop_map(Who::Any)]
}

fn jump() -> BoxedStrategy<Jump> {
    prop_oneof![
        4 => (0_u64..30).prop_map(Jump::Seconds),
        1 => Just(Jump::Seconds(100_000)),
        8 => (pick(), -1_i64..2).prop_map(|(pick, offset)| Jump::Boundary(pick, offset)),
        1 => (pick(), -1_i64..2).prop_map(|(pick, offset)| Jump::ProofExpiry(pick, offset)),
    ]
    .boxed()
}

fn wish() -> BoxedStrategy<Wish> {
    let verifier = prop_oneof![5 => Just(None), 6 => pick().prop_map(Some)];
    let price = prop_oneof![2 => Just(U256::ZERO), 3 => amount()];
    (
        (
            pick(),
            containers(),
            frequency(),
            period(),
            redundancy(),
            any::<bool>(),
        ),
        (token(), price, purse(), verifier),
    )
        .prop_map(|(timing, payment)| {
            let (consumer, containers, frequency, period, redundancy, lazy) = timing;
            let (token, amount, wallet, verifier) = payment;
            Wish {
                consumer,
                containers,
                frequency,
                period,
                redundancy,
                lazy,
                token,
                amount,
                wallet,
                verifier,
            }
        })
        .boxed()
}

fn signed() -> BoxedStrategy<Signed> {
    let active_in =
        prop_oneof![4 => Just(0_i32), 6 => -100_i32..0, 2 => 1_i32..50, 1 => any::<i32>()];
    let nonce = prop_oneof![8 => 0_u32..8, 1 => edge_u32()];
    let expires_in = prop_oneof![8 => 50_i32..1_000, 2 => -1_i32..2];
    let flaw = prop_oneof![
        16 => Just(Flaw::None),
        2 => Just(Flaw::HighS),
        1 => prop_oneof![Just(0_u8), Just(1), Just(26), Just(29), Just(255)]
            .prop_map(Flaw::RecoveryByte),
        1 => Just(Flaw::Tampered),
        1 => pick().prop_map(Flaw::Key),
        1 => Just(Flaw::Zero),
    ];
    (wish(), active_in, nonce, expires_in, flaw)
        .prop_map(|(wish, active_in, nonce, expires_in, flaw)| Signed {
            wish,
            active_in,
            nonce,
            expires_in,
            flaw,
        })
        .boxed()
}

fn inner() -> BoxedStrategy<Inner> {
    prop_oneof![
        3 => target().prop_map(Inner::Deliver),
        3 => (pick(), any::<bool>()).prop_map(|(pick, valid)| Inner::Finalize(pick, valid)),
        2 => wish().prop_map(Inner::Create),
        2 => pick().prop_map(Inner::Cancel),
        2 => (purse(), token(), amount())
            .prop_map(|(purse, token, amount)| Inner::Approve(purse, token, amount)),
        2 => (purse(), token(), amount())
            .prop_map(|(purse, token, amount)| Inner::Withdraw(purse, token, amount)),
        1 => signed().prop_map(Inner::DeliverDelegated),
        1 => answer().prop_map(Inner::WriteInbox),
        1 => target().prop_map(Inner::Fund),
        1 => target().prop_map(Inner::Release),
        1 => target().prop_map(Inner::DeliverBatch),
    ]
    .boxed()
}

fn behaviour() -> BoxedStrategy<Behaviour> {
    prop_oneof![
        5 => Just(Behaviour::Accept),
        1 => bytes().prop_map(Behaviour::Revert),
        1 => inner().prop_map(Behaviour::Call),
        3 => inner().prop_map(Behaviour::Try),
    ]
    .boxed()
}

fn transition() -> BoxedStrategy<Transition> {
    prop_oneof![
        2 => proptest::option::weighted(0.8, pick()).prop_map(Transition::Transfer),
        1 => Just(Transition::Renounce),
        3 => Just(Transition::Request),
        1 => Just(Transition::Cancel),
        1 => pick().prop_map(Transition::Complete),
        3 => pick().prop_map(Transition::CompleteAsked),
    ]
    .boxed()
}

/// What goes beyond the reference.
fn extra_action() -> BoxedStrategy<Action> {
    prop_oneof![
        3 => (vec((target(), when()), 0..4), pick(), purse(), answer()).prop_map(
            |(targets, node, wallet, answer)| Action::DeliverBatch {
                targets,
                node,
                wallet,
                answer,
            }
        ),
        3 => (target(), who()).prop_map(|(target, who)| Action::Fund(target, who)),
        2 => target().prop_map(Action::Release),
        // One more than the result has bits.
        1 => (1_u16..20, pick()).prop_map(|(dice, node)| Action::DeliverBatch {
            targets: vec![(Target::Id(0), When::Exactly(1)); if dice == 1 { 257 } else { 1 }],
            node,
            wallet: Purse::Own,
            answer: Answer::default(),
        }),
    ]
    .boxed()
}

/// What subscriptions and deliveries are made of.
fn main_action() -> BoxedStrategy<Action> {
    prop_oneof![
        7 => jump().prop_map(Action::Wait),
        8 => wish().prop_map(Action::Create),
        1 => (target(), who()).prop_map(|(target, who)| Action::Cancel(target, who)),
        16 => (target(), when(), pick(), purse(), answer()).prop_map(
            |(target, when, node, wallet, answer)| Action::Deliver {
                target,
                when,
                node,
                wallet,
                answer,
            }
        ),
        5 => (proptest::option::weighted(0.9, pick()), who(), any::<bool>())
            .prop_map(|(request, by, valid)| Action::Finalize { request, by, valid }),
        3 => signed().prop_map(Action::CreateDelegated),
        3 => (signed(), when(), pick(), purse(), answer()).prop_map(
            |(signed, when, node, wallet, answer)| Action::DeliverDelegated {
                signed,
                when,
                node,
                wallet,
                answer,
            }
        ),
    ]
    .boxed()
}

/// What money is made of.
fn money_action() -> BoxedStrategy<Action> {
    let spender = proptest::option::weighted(0.3, pick());
    let function = prop_oneof![
        Just(Restricted::Transfer),
        Just(Restricted::Lock),
        Just(Restricted::Unlock)
    ];
    prop_oneof![
        1 => pick().prop_map(Action::CreateWallet),
        5 => (pick(), who(), spender, token(), amount()).prop_map(
            |(wallet, by, spender, token, amount)| Action::Approve {
                wallet,
                by,
                spender,
                token,
                amount,
            }
        ),
        3 => (pick(), who(), token(), amount()).prop_map(|(wallet, by, token, amount)| {
            Action::Withdraw { wallet, by, token, amount }
        }),
        1 => (pick(), function, who())
            .prop_map(|(wallet, function, by)| Action::Restricted(wallet, function, by)),
        2 => (proptest::option::weighted(0.7, pick()), who(), transition())
            .prop_map(|(of, by, transition)| Action::Ownership(of, by, transition)),
        1 => (who(), fee()).prop_map(|(by, fee)| Action::UpdateFee(by, fee)),
        1 => (pick(), token(), pick(), amount())
            .prop_map(|(from, token, to, amount)| Action::TransferToken(from, token, to, amount)),
        1 => (pick(), pick(), any::<u32>())
            .prop_map(|(from, to, amount)| Action::SendCoin(from, to, amount.into())),
        3 => (pick(), token(), holding())
            .prop_map(|(wallet, token, amount)| Action::Balance(wallet, token, amount)),
    ]
    .boxed()
}

fn verifier_script() -> impl Strategy<Value = VerifierScript> + Clone {
    prop_oneof![
        4 => Just(VerifierScript::Wait),
        2 => Just(VerifierScript::Valid),
        2 => Just(VerifierScript::Invalid),
        1 => Just(VerifierScript::Revert),
    ]
}

fn holding() -> impl Strategy<Value = Holding> + Clone {
    prop_oneof![
        2 => (-3_i64..3).prop_map(Holding::Locked),
        3 => (0_i64..20_000).prop_map(Holding::Locked),
        2 => amount().prop_map(Holding::Exactly),
    ]
}

/// A request that needs a verdict, and that can be paid.
fn escrow_wish() -> impl Strategy<Value = Wish> + Clone {
    let tokens = prop_oneof![3 => Just(0_usize), 3 => Just(1), 1 => Just(2)];
    let verifier = prop_oneof![3 => Just(None), 6 => (0_u16..2).prop_map(|pick| Some(Pick(pick)))];
    let timing = prop_oneof![
        3 => Just((0_u32, 1_u32)),
        1 => (1_u32..10, 1_u32..4),
    ];
    (
        pick(),
        timing,
        redundancy(),
        any::<bool>(),
        tokens,
        amount(),
        verifier,
    )
        .prop_map(
            |(consumer, (period, frequency), redundancy, lazy, token, amount, verifier)| Wish {
                consumer,
                containers: "hello-world".into(),
                frequency,
                period,
                redundancy,
                lazy,
                token,
                amount,
                wallet: Purse::Own,
                verifier,
            },
        )
}

/// What happens while funds are locked: verdicts in time and late, and everything that could get between.
fn escrow_action() -> BoxedStrategy<Action> {
    let deliver = (pick(), pick(), answer()).prop_map(|(target, node, answer)| Action::Deliver {
        target: Target::Due(target),
        when: When::Current(0),
        node,
        wallet: Purse::Own,
        answer,
    });
    let allowance = prop_oneof![2 => Just(U256::MAX), 1 => amount()];
    let approve =
        (pick(), 0_usize..3, allowance).prop_map(|(wallet, token, amount)| Action::Approve {
            wallet,
            by: Who::Entitled,
            spender: None,
            token,
            amount,
        });
    let withdraw =
        (pick(), 0_usize..3, amount()).prop_map(|(wallet, token, amount)| Action::Withdraw {
            wallet,
            by: Who::Entitled,
            token,
            amount,
        });
    let owner = (pick(), transition())
        .prop_map(|(wallet, change)| Action::Ownership(Some(wallet), Who::Entitled, change));
    let late = prop_oneof![
        2 => (pick(), -1_i64..2).prop_map(|(pick, offset)| Jump::ProofExpiry(pick, offset)),
        1 => pick().prop_map(|pick| Jump::ProofExpiry(pick, 0)),
        3 => (0_u64..20).prop_map(Jump::Seconds),
    ];
    let temptation = prop_oneof![
        3 => amount().prop_map(Temptation::Withdraw),
        1 => Just(Temptation::ApproveAll),
        1 => Just(Temptation::Renounce),
    ];
    prop_oneof![
        2 => (pick(), temptation).prop_map(|(pick, temptation)| Action::AtLock(pick, temptation)),
        8 => escrow_wish().prop_map(Action::Create),
        12 => deliver,
        5 => (pick(), who(), any::<bool>())
            .prop_map(|(pick, by, valid)| Action::Finalize { request: Some(pick), by, valid }),
        3 => approve,
        2 => withdraw,
        2 => owner,
        4 => (pick(), 0_usize..3, holding())
            .prop_map(|(wallet, token, holding)| Action::Balance(wallet, token, holding)),
        2 => late.prop_map(Action::Wait),
        1 => (pick(), verifier_script(), pick())
            .prop_map(|(verifier, script, wallet)| Action::Verify(verifier, script, wallet)),
        1 => (target(), who()).prop_map(|(target, who)| Action::Cancel(target, who)),
        3 => extra_action(),
        2 => action(),
    ]
    .boxed()
}

/// What stands around.
fn other_action() -> BoxedStrategy<Action> {
    let price = prop_oneof![
        1 => Just(None),
        4 => (0_u64..2_000).prop_map(|fee| Some(U256::from(fee))),
        1 => amount().prop_map(Some),
    ];
    prop_oneof![
        1 => (pick(), containers(), answer())
            .prop_map(|(node, containers, answer)| Action::WriteInbox(node, containers, answer)),
        1 => pick().prop_map(Action::WriteInboxViaCoordinator),
        1 => (pick(), prop_oneof![3 => Just(0_u64), 1 => 1_u64..4])
            .prop_map(|(item, offset)| Action::ReadInbox(item, offset)),
        2 => (-100_i32..100, period())
            .prop_map(|(active_in, period)| Action::ReadInterval(active_in, period)),
        4 => (pick(), behaviour())
            .prop_map(|(consumer, behaviour)| Action::Behave(consumer, behaviour)),
        1 => (pick(), pick()).prop_map(|(consumer, key)| Action::Resign(consumer, key)),
        2 => (pick(), verifier_script(), pick())
            .prop_map(|(verifier, script, wallet)| Action::Verify(verifier, script, wallet)),
        2 => (pick(), token(), price)
            .prop_map(|(verifier, token, price)| Action::VerifierFee(verifier, token, price)),
    ]
    .boxed()
}

/// Any action: mostly the life of subscriptions, then money, then the rest.
pub fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        16 => main_action(),
        4 => money_action(),
        3 => extra_action(),
        2 => other_action(),
    ]
}
