//! The whole state as bytes, and back.

use alloc::vec::Vec;

use bincode::{config::Configuration, error::DecodeError, serde::decode_from_slice};

use super::Machine;
use crate::{
    admission::Catalog,
    codec::CLAIM_PER_BYTE,
    digest,
    proof::{Owed, ProofState},
    tally::Tally,
    transaction::Slot,
    types::Address,
};

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
        let (mut machine, read) = decode(bytes).map_err(|_| SnapshotError::Malformed)?;
        if read != bytes.len() {
            return Err(SnapshotError::Malformed);
        }
        if let Some(config) = &machine.config {
            machine.catalog = Catalog::new(config);
        }
        let sums = machine.added_up();
        machine.proofs.staked = sums.staked;
        machine.proofs.owed = sums.owed;
        machine.chores.wanted = sums.wanted;
        machine.chores.committed = sums.committed;
        machine.account.in_hand = sums.in_hand;
        Ok(machine)
    }

    /// The running sums, made anew from what they add up.
    fn added_up(&self) -> Sums {
        let mut sums = Sums::default();
        for proof in self.proofs.all.values() {
            if proof.state == ProofState::Open {
                sums.staked.add(proof.token, proof.stake);
                sums.owed.add(proof.owed(), 1);
            }
        }
        for (no, (token, amount)) in &self.chores.stakes {
            sums.wanted.add(*token, *amount);
            let delivery = self.deliveries.get(*no);
            if delivery.is_some_and(|delivery| delivery.state.commits()) {
                sums.committed.add(*token, *amount);
            }
        }
        let in_hand = |slot: &&Slot| slot.phase.in_hand();
        let in_hand = self.account.slots.values().filter(in_hand).count();
        sums.in_hand = u32::try_from(in_hand).unwrap_or(u32::MAX);
        sums
    }

    /// Whether the running sums are what they would be, made anew.
    pub(crate) fn adds_up(&self) -> bool {
        let sums = self.added_up();
        sums.staked == self.proofs.staked
            && sums.owed == self.proofs.owed
            && sums.wanted == self.chores.wanted
            && sums.committed == self.chores.committed
            && sums.in_hand == self.account.in_hand
    }
}

/// The running sums of all rooms.
#[derive(Default)]
struct Sums {
    staked: Tally<Address>,
    owed: Tally<Owed>,
    wanted: Tally<Address>,
    committed: Tally<Address>,
    in_hand: u32,
}

/// Decodes bytes of unknown origin: what they claim to hold is bounded by what they are, so that
/// a length in them makes nobody allocate more.
fn decode(bytes: &[u8]) -> Result<(Machine, usize), DecodeError> {
    const SMALL: usize = 1 << 20;
    const LARGE: usize = 1 << 26;
    const HUGE: usize = 1 << 31;
    let claim = bytes.len().saturating_mul(CLAIM_PER_BYTE);
    if claim <= SMALL {
        decode_from_slice(bytes, limited::<SMALL>())
    } else if claim <= LARGE {
        decode_from_slice(bytes, limited::<LARGE>())
    } else if claim <= HUGE {
        decode_from_slice(bytes, limited::<HUGE>())
    } else {
        decode_from_slice(
            bytes,
            limited::<{ usize::MAX >> (usize::BITS / 64 * 26) }>(),
        )
    }
}

/// [`digest::CANONICAL`] with a limit.
const fn limited<const N: usize>()
-> Configuration<bincode::config::LittleEndian, bincode::config::Varint, bincode::config::Limit<N>>
{
    digest::CANONICAL.with_limit::<N>()
}
