//! Subscriptions, standing alone.

use proptest::prelude::*;

use super::values::{amount, any_address, any_hash, edge_u32};
use crate::model::Subscription;

/// Periods: callbacks, short ones, long ones, extremes.
pub fn period() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![
        6 => Just(0_u32),
        3 => 1_u32..5,
        6 => 10_u32..100,
        1 => Just(3_600_u32),
        1 => edge_u32(),
    ]
}

/// Frequencies: 0 (never), 1, a few, extremes.
pub fn frequency() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![
        1 => Just(0_u32),
        8 => Just(1_u32),
        8 => 2_u32..6,
        1 => Just(1_000_000_u32),
        1 => edge_u32(),
    ]
}

/// Redundancies: 0 (never), one, a few, the largest.
pub fn redundancy() -> impl Strategy<Value = u16> + Clone {
    prop_oneof![
        1 => Just(0_u16),
        8 => Just(1_u16),
        6 => 2_u16..4,
        1 => Just(u16::MAX),
    ]
}

/// Any subscription around a block time (uint32): past, present and future activations, cancelled ones, every
/// extreme of every field.
pub fn subscription(now: u32) -> impl Strategy<Value = Subscription> {
    let active_at = prop_oneof![
        4 => (0_u32..200).prop_map(move |ago| now.wrapping_sub(ago)),
        2 => (0_u32..200).prop_map(move |ahead| now.wrapping_add(ahead)),
        1 => edge_u32(),
    ];
    (
        (
            any_address(),
            active_at,
            period(),
            frequency(),
            redundancy(),
            any_hash(),
        ),
        (
            any::<bool>(),
            any_address(),
            amount(),
            any_address(),
            any_address(),
        ),
    )
        .prop_map(|(timing, payment)| {
            let (owner, active_at, period, frequency, redundancy, container_id) = timing;
            let (lazy, verifier, payment_amount, payment_token, wallet) = payment;
            Subscription {
                owner,
                active_at,
                period,
                frequency,
                redundancy,
                container_id,
                lazy,
                verifier,
                payment_amount,
                payment_token,
                wallet,
            }
        })
}
