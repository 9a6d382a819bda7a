//! Digests: of the whole state, and the running digest of all effects.
//!
//! Both are SHA-256 over the canonical encoding: bincode's fixed layout over types without hash
//! order and without floats, so that equal states have equal bytes.

use bincode::{config, enc::write::Writer, error::EncodeError};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::types::Hash;

/// Bytes gathered before they are hashed: the encoder writes byte by byte, and a hash is fastest
/// over long runs. On the stack, since most events have few effects.
const BUFFER_BYTES: usize = 1_024;

/// Hashes what is encoded instead of keeping it.
struct Hasher {
    hash: Sha256,
    buffer: [u8; BUFFER_BYTES],
    filled: usize,
}

impl Hasher {
    fn new() -> Self {
        Self {
            hash: Sha256::new(),
            buffer: [0; BUFFER_BYTES],
            filled: 0,
        }
    }

    /// Hashes what was gathered.
    fn flush(&mut self) {
        if let Some(gathered) = self.buffer.get(..self.filled) {
            self.hash.update(gathered);
        }
        self.filled = 0;
    }

    #[inline]
    fn gather(&mut self, bytes: &[u8]) {
        let end = self.filled.saturating_add(bytes.len());
        match self.buffer.get_mut(self.filled..end) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.filled = end;
            }
            None => self.overflow(bytes),
        }
    }

    /// What no longer fits.
    #[cold]
    fn overflow(&mut self, bytes: &[u8]) {
        self.flush();
        match self.buffer.get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.filled = bytes.len();
            }
            None => self.hash.update(bytes),
        }
    }

    fn finish(mut self) -> Hash {
        self.flush();
        Hash(self.hash.finalize().into())
    }
}

impl Writer for Hasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.gather(bytes);
        Ok(())
    }
}

/// The canonical encoding: bincode's standard one, without a limit.
pub(crate) const CANONICAL: config::Configuration = config::standard();

/// SHA-256 over `before` and the canonical encoding of `value`.
///
/// `None` when the value cannot be encoded, which no type of this crate brings about.
pub(crate) fn chained<T: Serialize>(before: Hash, value: &T) -> Option<Hash> {
    let mut hasher = Hasher::new();
    hasher.gather(&before.0);
    bincode::serde::encode_into_writer(value, &mut hasher, CANONICAL).ok()?;
    Some(hasher.finish())
}

/// What [`chained`] says, behind nothing, of the value that `encoded` is the canonical encoding of.
pub(crate) fn of_encoded(encoded: &[u8]) -> Hash {
    let mut hasher = Hasher::new();
    hasher.gather(&Hash::ZERO.0);
    hasher.gather(encoded);
    hasher.finish()
}
