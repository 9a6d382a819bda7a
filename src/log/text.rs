//! How numbers, hashes and bytes stand in JSON: decimal strings, hexadecimal, base64.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use infernet_state::types::Hash;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A number as a decimal string: JSON's own numbers lose precision in many readers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Number(pub(crate) u64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// Bytes as `0x` and lower-case hexadecimal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl Hex {
    /// A hash.
    pub(crate) fn of(hash: Hash) -> Self {
        Self(hash.0.to_vec())
    }

    /// The hash, if it is as long as one.
    pub(crate) fn hash(&self) -> Option<Hash> {
        self.0.as_slice().try_into().ok().map(Hash)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&alloy::primitives::hex::encode_prefixed(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        alloy::primitives::hex::decode(text)
            .map(Self)
            .map_err(D::Error::custom)
    }
}

/// Bytes in base64 with the standard alphabet and padding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Base64(pub(crate) Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}
