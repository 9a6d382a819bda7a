//! Values near the places where things break.

use proptest::prelude::*;
use revm::primitives::{Address, B256, Bytes, U256};

use crate::model::{Answer, address};

/// A choice among things that are known when it is resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pick(pub u16);

impl Pick {
    /// The chosen one; `None` of nothing.
    #[must_use]
    pub fn of<T: Clone>(self, things: &[T]) -> Option<T> {
        let place = usize::from(self.0).checked_rem(things.len())?;
        things.get(place).cloned()
    }
}

/// Any choice.
pub fn pick() -> impl Strategy<Value = Pick> + Clone {
    (0_u16..64).prop_map(Pick)
}

/// Amounts of money: mostly small ones that a wallet can pay, and the powers of two at which packed
/// storage splits or arithmetic overflows.
pub fn amount() -> impl Strategy<Value = U256> + Clone {
    let power = prop_oneof![
        Just(80_usize),
        Just(96),
        Just(128),
        Just(160),
        Just(192),
        Just(255)
    ];
    prop_oneof![
        3 => Just(U256::ZERO),
        2 => Just(U256::ONE),
        8 => (1_u64..20_000).prop_map(U256::from),
        4 => (1_u64..100).prop_map(|ether| {
            U256::from(ether).wrapping_mul(U256::from(1_000_000_000_000_000_000_u64))
        }),
        2 => (power, 0_u64..4).prop_map(|(power, offset)| {
            (U256::ONE << power).wrapping_add(U256::from(offset)).wrapping_sub(U256::from(2))
        }),
        1 => Just(U256::MAX),
    ]
}

/// A uint32 near zero, near 2^32, or anywhere.
pub fn edge_u32() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![
        2 => 0_u32..4,
        2 => (0_u32..4).prop_map(|offset| u32::MAX - offset),
        1 => any::<u32>(),
    ]
}

/// Any address.
pub fn any_address() -> impl Strategy<Value = Address> + Clone {
    prop_oneof![
        4 => (0_u64..16).prop_map(address),
        1 => any::<[u8; 20]>().prop_map(Address::from),
    ]
}

/// Any 32 bytes.
pub fn any_hash() -> impl Strategy<Value = B256> + Clone {
    any::<[u8; 32]>().prop_map(B256::from)
}

/// Bytes whose length is near a word's or two words', or empty.
pub fn bytes() -> impl Strategy<Value = Bytes> + Clone {
    prop_oneof![
        3 => Just(0_usize),
        4 => 1_usize..8,
        3 => 30_usize..35,
        1 => 62_usize..67,
        1 => 100_usize..300,
    ]
    .prop_flat_map(|length| any::<u8>().prop_map(move |byte| vec![byte; length].into()))
}

/// An answer.
pub fn answer() -> impl Strategy<Value = Answer> + Clone {
    (bytes(), bytes(), bytes()).prop_map(|(input, output, proof)| Answer {
        input,
        output,
        proof,
    })
}

/// Comma-joined container ids.
pub fn containers() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        Just("hello-world".to_owned()),
        Just("a,b,c".to_owned()),
        Just(String::new()),
        Just("a-container-whose-name-is-longer-than-one-word".to_owned()),
    ]
}
