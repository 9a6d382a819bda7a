//! Sums that no token can overflow.

use core::fmt;

use ruint::Uint;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::{Amount, Decimal, Piece, number_in_one_piece};

/// The number behind a [`Sum`].
type U320 = Uint<320, 5>;

/// A sum of amounts: 320 bits.
///
/// An entry is at most 2^256 − 1, and entries are numbered with 64 bits: all that can ever be
/// booked fits, whatever amounts a stranger's token claims. Persisted as 40 big-endian bytes;
/// printed in decimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Sum(U320);

impl Sum {
    /// Nothing.
    pub const ZERO: Self = Self(U320::ZERO);

    /// `self + amount`, or `None` where 2^64 entries of 2^256 would not fit either.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// `self - amount`, or `None` below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// `self + other`, starting again at 2^320: two sums that are equal stay equal.
    pub(crate) fn wrapping_add(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// The amount, where it fits one: 2^256 − 1 at most.
    #[must_use]
    pub fn amount(self) -> Option<Amount> {
        let bytes: [u8; 40] = self.0.to_be_bytes();
        let (high, low) = bytes.split_first_chunk::<8>()?;
        let low = <[u8; 32]>::try_from(low).ok()?;
        (*high == [0; 8]).then(|| Amount::from_be_bytes(low))
    }
}

impl From<Amount> for Sum {
    fn from(amount: Amount) -> Self {
        Self(U320::from(amount.0))
    }
}

impl From<u128> for Sum {
    fn from(value: u128) -> Self {
        Self(U320::from(value))
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

number_in_one_piece!(Sum, 40);
