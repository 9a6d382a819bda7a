//! Digests: of the whole state, and the running digest of all effects.
//!
//! Both are SHA-256 over the canonical encoding: bincode's fixed layout over types without hash
//! order and without floats, so that equal states have equal bytes.

use alloc::vec::Vec;

use bincode::{config, enc::write::Writer, error::EncodeError};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::types::Hash;

/// Bytes gathered before they are hashed: the encoder writes byte by byte, and a hash is fastest
/// over long runs.
const BUFFER_BYTES: usize = 4_096;

/// Hashes what is encoded instead of keeping it.
struct Hasher {
    hash: Sha256,
    buffer: Vec<u8>,
}

impl Writer for Hasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.hash.update(&self.buffer);
            self.buffer.clear();
        }
        Ok(())
    }
}

/// The canonical encoding: bincode's standard one, without a limit.
pub(crate) const CANONICAL: config::Configuration = config::standard();

/// SHA-256 over `before` and the canonical encoding of `value`.
///
/// `None` when the value cannot be encoded, which no type of this crate brings about.
pub(crate) fn chained<T: Serialize>(before: Hash, value: &T) -> Option<Hash> {
    let mut hasher = Hasher {
        hash: Sha256::new(),
        buffer: Vec::with_capacity(BUFFER_BYTES.saturating_add(64)),
    };
    hasher.buffer.extend_from_slice(&before.0);
    bincode::serde::encode_into_writer(value, &mut hasher, CANONICAL).ok()?;
    hasher.hash.update(&hasher.buffer);
    Some(Hash(hasher.hash.finalize().into()))
}
