//! Plain types of our own for everything that is persisted.
//!
//! No foreign type enters an event: libraries change their encodings, the log must not. The
//! edges of the node convert (alloy's address to [`Address`], and so on).

use core::fmt;

use ruint::{Uint, aliases::U256};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Unexpected, Visitor},
};

/// Writes `bytes` as `0x` and lower-case hexadecimal.
fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_str("0x")?;
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Serialises a fixed run of bytes as one piece: bytes for machines, hexadecimal for people.
/// (Serde's own arrays go byte by byte, which costs more than everything else of a digest.)
macro_rules! bytes_in_one_piece {
    ($name:ident, $length:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(&Hex(&self.0))
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let human = deserializer.is_human_readable();
                let visitor = Piece::<$length>;
                if human {
                    deserializer.deserialize_str(visitor).map(Self)
                } else {
                    deserializer.deserialize_bytes(visitor).map(Self)
                }
            }
        }
    };
}
pub(crate) use bytes_in_one_piece;

/// Bytes that print as `0x` and hexadecimal.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, self.0)
    }
}

/// Reads exactly `N` bytes, or their hexadecimal.
pub(crate) struct Piece<const N: usize>;

impl<const N: usize> Visitor<'_> for Piece<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{N} bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        <[u8; N]>::try_from(bytes).map_err(|_| E::invalid_length(bytes.len(), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
        let mut bytes = [0; N];
        if digits.len() != N.saturating_mul(2) {
            return Err(E::invalid_length(digits.len(), &self));
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = core::str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .ok_or_else(|| E::custom("not hexadecimal"))?;
        }
        Ok(bytes)
    }
}

/// An account or contract: 20 bytes. [`Address::ZERO`] as a payment token means the native coin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address(pub [u8; 20]);

bytes_in_one_piece!(Address, 20);

impl Address {
    /// The zero address: "no verifier", "no wallet", or the native coin as a token.
    pub const ZERO: Self = Self([0; 20]);

    /// Whether this is [`Address::ZERO`].
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A 32-byte digest: Keccak-256 where the chain is its source (block, transaction, container),
/// SHA-256 where we are (payloads, the log's chain, the state digest).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

bytes_in_one_piece!(Hash, 32);

impl Hash {
    /// All zeroes: "none", and the hash before the first record.
    pub const ZERO: Self = Self([0; 32]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An unsigned 256-bit amount in a token's smallest unit (wei for the native coin).
///
/// Persisted as 32 big-endian bytes; printed in decimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(pub U256);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(U256::ZERO);

    /// The largest amount, 2^256 - 1.
    pub const MAX: Self = Self(U256::MAX);

    /// An amount from its 32 big-endian bytes, as a word of the ABI holds it.
    #[must_use]
    pub fn from_be_bytes(bytes: [u8; 32]) -> Self {
        Self(U256::from_be_bytes(bytes))
    }

    /// The 32 big-endian bytes of a word of the ABI.
    #[must_use]
    pub fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }

    /// `self + other`, or `None` beyond 2^256 - 1.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// `self - other`, or `None` below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// `self * other`, or `None` beyond 2^256 - 1.
    #[must_use]
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        self.0.checked_mul(other.0).map(Self)
    }

    /// What gas costs in wei. 64 and 128 bits: the product always fits.
    #[must_use]
    pub fn of_gas(gas: u64, price: u128) -> Self {
        Self(U256::from(gas).wrapping_mul(U256::from(price)))
    }

    /// Whether this is nothing.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }
}

impl From<u128> for Amount {
    fn from(value: u128) -> Self {
        Self(U256::from(value))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Serialises a wide number in one piece: big-endian bytes for machines, decimal for people.
macro_rules! number_in_one_piece {
    ($name:ident, $bytes:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0.to_be_bytes::<$bytes>())
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    deserializer.deserialize_str(Decimal).map(Self)
                } else {
                    let bytes = deserializer.deserialize_bytes(Piece::<$bytes>)?;
                    Ok(Self(Uint::from_be_bytes(bytes)))
                }
            }
        }
    };
}
pub(crate) use number_in_one_piece;

number_in_one_piece!(Amount, 32);

/// Reads a number as people write it.
pub(crate) struct Decimal<const BITS: usize, const LIMBS: usize>;

impl<const BITS: usize, const LIMBS: usize> Visitor<'_> for Decimal<BITS, LIMBS> {
    type Value = Uint<BITS, LIMBS>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a decimal number below 2^{BITS}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Uint::from_str_radix(text, 10).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Declares an integer newtype that displays as its number.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, Debug,
        )]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// The position of an event in the log. The first event is 1; 0 means "before everything".
    Seq(u64)
}
number! {
    /// Seconds since 1970 as the chain counts them (a block's timestamp). Never compared with
    /// [`WallTime`]: that is why the two are types.
    BlockTime(u64)
}
number! {
    /// Milliseconds since 1970 by the machine's clock, as an event brought them.
    WallTime(u64)
}
number! {
    /// The id of a subscription in the Coordinator; 0 never exists. Reassigned after a reorg.
    SubscriptionId(u32)
}
number! {
    /// The number of an interval of a subscription, from 1 (`getSubscriptionInterval`).
    Interval(u32)
}
number! {
    /// The transaction count of the node's account that a transaction uses up.
    Nonce(u64)
}

number! {
    /// A job's number inside the machine: client jobs and the work on intervals alike, from 1.
    JobNo(u64)
}
number! {
    /// A delivery's number inside the machine, from 1.
    DeliveryNo(u64)
}
number! {
    /// A ledger entry's number, from 1.
    EntryNo(u64)
}

/// The id of a job: 16 random bytes, drawn at the edge; shown as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub [u8; 16]);

bytes_in_one_piece!(JobId, 16);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(position, byte)| {
            if matches!(position, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")
        })
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A block as the chain view names it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct BlockRef {
    /// Height.
    pub number: u64,
    /// Block hash.
    pub hash: Hash,
    /// The block's timestamp.
    pub time: BlockTime,
}

/// What the machine knows of bytes it does not hold: SHA-256 and length.
///
/// The bytes stand beside the event that first names them (inline or in a pack).
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct PayloadRef {
    /// SHA-256 of the bytes.
    pub hash: Hash,
    /// Length in bytes.
    pub len: u32,
}

/// Where a payload stands: the event it came with, and what it is.
///
/// With it the log finds the bytes without an index.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct PayloadAt {
    /// The event whose record carries the bytes.
    pub seq: Seq,
    /// What the bytes are.
    pub payload: PayloadRef,
}

/// An effect's name: the event that issued it and its place among that event's effects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct EffectId {
    /// The issuing event.
    pub seq: Seq,
    /// Its place among the effects of that event, from 0.
    pub ordinal: u16,
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.seq, self.ordinal)
    }
}
