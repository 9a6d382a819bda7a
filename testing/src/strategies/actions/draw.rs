//! How actions are drawn.

use proptest::{collection::vec, prelude::*};
use revm::primitives::U256;

use super::{
    Action, Behaviour, Flaw, Holding, Inner, Jump, Money, Purse, Sequence, Setting, Side, Signed,
    Target, Temptation, Transition, When, Who, Wish, Work,
};
use crate::{
    model::{Answer, Restricted, VerifierScript},
    strategies::{
        subscriptions::{frequency, period, redundancy},
        values::{Pick, amount, answer, bytes, containers, edge_u32, pick},
        worlds::{fee, start},
    },
};

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
    let nonce = prop_oneof![8 => 0_u32..5, 1 => edge_u32()];
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
            |(targets, node, wallet, answer)| Action::Work(Work::DeliverBatch {
                targets,
                node,
                wallet,
                answer,
            })
        ),
        3 => (target(), who()).prop_map(|(target, who)| Action::Work(Work::Fund(target, who))),
        2 => target().prop_map(|it| Action::Work(Work::Release(it))),
        // One more than the result has bits.
        1 => (1_u16..20, pick()).prop_map(|(dice, node)| Action::Work(Work::DeliverBatch {
            targets: vec![(Target::Id(0), When::Exactly(1)); if dice == 1 { 257 } else { 1 }],
            node,
            wallet: Purse::Own,
            answer: Answer::default(),
        })),
    ]
    .boxed()
}

/// What subscriptions and deliveries are made of.
fn main_action() -> BoxedStrategy<Action> {
    prop_oneof![
        7 => jump().prop_map(Action::Wait),
        8 => wish().prop_map(|it| Action::Work(Work::Create(it))),
        1 => (target(), who()).prop_map(|(target, who)| Action::Work(Work::Cancel(target, who))),
        16 => (target(), when(), pick(), purse(), answer()).prop_map(
            |(target, when, node, wallet, answer)| Action::Work(Work::Deliver {
                target,
                when,
                node,
                wallet,
                answer,
            })
        ),
        5 => (proptest::option::weighted(0.9, pick()), who(), any::<bool>())
            .prop_map(|(request, by, valid)| Action::Work(Work::Finalize { request, by, valid })),
        3 => signed().prop_map(|it| Action::Work(Work::CreateDelegated(it))),
        3 => (signed(), when(), pick(), purse(), answer()).prop_map(
            |(signed, when, node, wallet, answer)| Action::Work(Work::DeliverDelegated {
                signed,
                when,
                node,
                wallet,
                answer,
            })
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
        1 => pick().prop_map(|it| Action::Money(Money::CreateWallet(it))),
        5 => (pick(), who(), spender, token(), amount()).prop_map(
            |(wallet, by, spender, token, amount)| Action::Money(Money::Approve {
                wallet,
                by,
                spender,
                token,
                amount,
            })
        ),
        3 => (pick(), who(), token(), amount()).prop_map(|(wallet, by, token, amount)| {
            Action::Money(Money::Withdraw { wallet, by, token, amount })
        }),
        1 => (pick(), function, who())
            .prop_map(|(wallet, function, by)| Action::Money(Money::Restricted(wallet, function, by))),
        2 => (proptest::option::weighted(0.7, pick()), who(), transition())
            .prop_map(|(of, by, transition)| Action::Money(Money::Ownership(of, by, transition))),
        1 => (who(), fee()).prop_map(|(by, fee)| Action::Money(Money::UpdateFee(by, fee))),
        1 => (pick(), token(), pick(), amount())
            .prop_map(|(from, token, to, amount)| Action::Money(Money::TransferToken(from, token, to, amount))),
        1 => (pick(), pick(), any::<u32>())
            .prop_map(|(from, to, amount)| Action::Money(Money::SendCoin(from, to, amount.into()))),
        3 => (pick(), token(), holding())
            .prop_map(|(wallet, token, amount)| Action::Setting(Setting::Balance(wallet, token, amount))),
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
    let deliver = (pick(), pick(), answer()).prop_map(|(target, node, answer)| {
        Action::Work(Work::Deliver {
            target: Target::Due(target),
            when: When::Current(0),
            node,
            wallet: Purse::Own,
            answer,
        })
    });
    let allowance = prop_oneof![2 => Just(U256::MAX), 1 => amount()];
    let approve = (pick(), 0_usize..3, allowance).prop_map(|(wallet, token, amount)| {
        Action::Money(Money::Approve {
            wallet,
            by: Who::Entitled,
            spender: None,
            token,
            amount,
        })
    });
    let withdraw = (pick(), 0_usize..3, amount()).prop_map(|(wallet, token, amount)| {
        Action::Money(Money::Withdraw {
            wallet,
            by: Who::Entitled,
            token,
            amount,
        })
    });
    let owner = (pick(), transition()).prop_map(|(wallet, change)| {
        Action::Money(Money::Ownership(Some(wallet), Who::Entitled, change))
    });
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
        2 => (pick(), temptation).prop_map(|(pick, temptation)| Action::Money(Money::AtLock(pick, temptation))),
        8 => escrow_wish().prop_map(|it| Action::Work(Work::Create(it))),
        12 => deliver,
        5 => (pick(), who(), any::<bool>())
            .prop_map(|(pick, by, valid)| Action::Work(Work::Finalize { request: Some(pick), by, valid })),
        3 => approve,
        2 => withdraw,
        2 => owner,
        4 => (pick(), 0_usize..3, holding())
            .prop_map(|(wallet, token, holding)| Action::Setting(Setting::Balance(wallet, token, holding))),
        2 => late.prop_map(Action::Wait),
        1 => (pick(), verifier_script(), pick())
            .prop_map(|(verifier, script, wallet)| Action::Setting(Setting::Verify(verifier, script, wallet))),
        2 => (pick(), who()).prop_map(|(pick, who)| Action::Work(Work::Cancel(Target::Any(pick), who))),
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
            .prop_map(|(node, containers, answer)| Action::Side(Side::WriteInbox(node, containers, answer))),
        1 => pick().prop_map(|it| Action::Side(Side::WriteInboxViaCoordinator(it))),
        1 => (pick(), prop_oneof![3 => Just(0_u64), 1 => 1_u64..4])
            .prop_map(|(item, offset)| Action::Side(Side::ReadInbox(item, offset))),
        2 => (-100_i32..100, period())
            .prop_map(|(active_in, period)| Action::Side(Side::ReadInterval(active_in, period))),
        4 => (pick(), behaviour())
            .prop_map(|(consumer, behaviour)| Action::Setting(Setting::Behave(consumer, behaviour))),
        1 => (pick(), pick()).prop_map(|(consumer, key)| Action::Setting(Setting::Resign(consumer, key))),
        2 => (pick(), verifier_script(), pick())
            .prop_map(|(verifier, script, wallet)| Action::Setting(Setting::Verify(verifier, script, wallet))),
        2 => (pick(), token(), price)
            .prop_map(|(verifier, token, price)| Action::Setting(Setting::VerifierFee(verifier, token, price))),
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
