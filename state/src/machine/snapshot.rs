//! The whole state as bytes, and back.

use alloc::vec::Vec;

use super::Machine;
use crate::{admission::Catalog, digest};

/// Why a snapshot cannot be written or read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The state cannot be encoded.
    #[error("E-STATE-040: the state cannot be encoded; please report this")]
    Encode,
    /// The bytes are no snapshot of this version.
    #[error("E-STATE-041: not a snapshot of this version; delete it and replay the log")]
    Malformed,
}

impl Machine {
    /// The whole state as bytes: a snapshot. May exceed [`crate::codec::EVENT_BYTES_MAX`].
    ///
    /// # Errors
    /// [`SnapshotError::Encode`], which no state brings about.
    pub fn snapshot(&self) -> Result<Vec<u8>, SnapshotError> {
        bincode::serde::encode_to_vec(self, digest::CANONICAL).map_err(|_| SnapshotError::Encode)
    }

    /// The state of a snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] when the bytes are not one, or of another version.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (mut machine, read): (Self, usize) =
            bincode::serde::decode_from_slice(bytes, digest::CANONICAL)
                .map_err(|_| SnapshotError::Malformed)?;
        if read != bytes.len() {
            return Err(SnapshotError::Malformed);
        }
        if let Some(config) = &machine.config {
            machine.catalog = Catalog::new(config);
        }
        Ok(machine)
    }
}
