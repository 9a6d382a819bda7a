//! Digests: of the whole state, and the running digest of all effects.
//!
//! Both are SHA-256 over the canonical encoding: bincode's fixed layout over types without hash
//! order and without floats, so that equal states have equal bytes.

use bincode::{config, enc::write::Writer, error::EncodeError};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::types::Hash;

/// Hashes what is encoded instead of keeping it.
struct Hasher(Sha256);

impl Writer for Hasher {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.update(bytes);
        Ok(())
    }
}

/// The canonical encoding: fixed-width little-endian integers.
pub(crate) const CANONICAL: config::Configuration<config::LittleEndian, config::Fixint> =
    config::standard().with_fixed_int_encoding();

/// SHA-256 over `before` and the canonical encoding of `value`.
///
/// `None` when the value cannot be encoded, which no type of this crate brings about.
pub(crate) fn chained<T: Serialize>(before: Hash, value: &T) -> Option<Hash> {
    let mut hasher = Hasher(Sha256::new());
    hasher.0.update(before.0);
    bincode::serde::encode_into_writer(value, &mut hasher, CANONICAL).ok()?;
    Some(Hash(hasher.0.finalize().into()))
}
