//! Random nonsense: events that no world would bring.

use infernet_state::{
    Config, Effect, Event, Machine,
    event::{
        ChainFact, Origin, Outcome, Receipt, Subscription, Success, SyncedSubscription,
        TransactionState, WalletChange, WalletFact,
    },
    types::{
        Address, Amount, BlockRef, BlockTime, Interval, JobId, Nonce, SubscriptionId, WallTime,
    },
};
use proptest::prelude::*;

use super::{act::*, setup::*};

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

/// The event, of an effect that is under way where it is an outcome.
pub(crate) fn aimed(mut event: Event, place: usize, machine: &Machine) -> Event {
    if let Event::EffectEnded {
        effect, attempt, ..
    } = &mut event
    {
        let outstanding = machine.outstanding();
        if let Some(issued) = outstanding.get(place % outstanding.len().max(1)) {
            *effect = issued.id;
            *attempt = issued.attempt;
        }
    }
    event
}

/// An event, and for an outcome which of the outstanding effects it is about.
fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        Just(Origin::Owner),
        (0..3_u32).prop_map(Origin::Delegated),
        Just(Origin::Unclear),
    ]
}

pub(crate) fn nonsense() -> impl Strategy<Value = (Event, usize)> {
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
        1 => small_block().prop_map(|head| Event::HeadObserved { head }),
        3 => small_block().prop_map(|ancestor| Event::ChainReorged { ancestor }),
        1 => small_block().prop_map(|block| Event::ChainFinalized { block }),
        2 => (small_block(), prop::collection::vec((0..5_u32, wild_terms(), any::<bool>(), origin()), 0..3), 0..5_u32)
            .prop_map(|(block, list, next)| Event::SubscriptionsSynced {
                block,
                subscriptions: list
                    .into_iter()
                    .map(|(id, subscription, responded, origin)| SyncedSubscription {
                        id: SubscriptionId(id),
                        subscription,
                        responses: u16::from(responded),
                        responded,
                        origin,
                    })
                    .collect(),
                next: SubscriptionId(next),
            }),
        2 => (0..4_u8, at.clone()).prop_map(|(number, at)| {
            Event::JobAccepted(job(number, &["alpha", "beta"], at))
        }),
        2 => (0..3_u32, wild_terms(), at.clone(), 0..3_u32, 0..9_u64).prop_map(|(nonce, terms, at, known, seen)| {
            let mut request = delegated(nonce, terms, at);
            request.seen = BlockTime(GENESIS_TIME + seen);
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
