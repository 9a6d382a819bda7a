//! The whole state as bytes, and back.
//!
//! Where the log before it was dropped, a snapshot is the only past there is. So it says how it
//! is laid out, and a layout that a release wrote is read by every later one, as events are.
//!
//! Head: magic `IFST` (4), number of the layout (2, big-endian), its fingerprint (8, big-endian),
//! length of the program's version (1) and that version as text; then the state by position. A
//! change of the state's types is a change of `layouts/<newest>.txt`, which a test holds them to,
//! and so of the fingerprint: bytes of another layout are refused, even where they would decode.

use alloc::{string::String, vec::Vec};

use bincode::{
    config::Configuration,
    enc::write::Writer,
    error::{DecodeError, EncodeError},
    serde::decode_from_slice,
};
use serde::de::DeserializeOwned;

use super::{LOGIC, Machine};
use crate::{
    admission::Catalog,
    codec::CLAIM_PER_BYTE,
    delivery::State,
    digest,
    proof::{Owed, ProofState},
    signed::Signed,
    tally::Tally,
    transaction::Slot,
    types::{Address, Hash},
};

/// Why a snapshot cannot be written or read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The state cannot be encoded.
    #[error("E-STATE-040: the state cannot be encoded; please report this")]
    Encode,
    /// The bytes are no snapshot, or not a whole one.
    #[error(
        "E-STATE-041: not a snapshot of the state, or a damaged one; where the log before it is \
         still there, delete it and replay the log, else restore it from a mirror or an export"
    )]
    Malformed,
    /// The state is laid out as this program does not know.
    #[error(
        "E-STATE-042: the snapshot was written by version {program} of the program, in layout \
         {number} ({fingerprint:016x}), which version {this} does not read; use version {program}, \
         or, where the log before it is still there, delete it and replay the log",
        this = PROGRAM
    )]
    Unknown {
        /// The layout's number.
        number: u16,
        /// Its fingerprint.
        fingerprint: u64,
        /// The version of the program that wrote it, and that can read it.
        program: String,
    },
    /// The state is of a logic that this program does not know.
    #[error(
        "E-STATE-043: the snapshot was written by version {program} of the program with logic \
         {logic} in force; version {this} knows none above {LOGIC}; use version {program}, or a \
         newer one",
        this = PROGRAM
    )]
    Newer {
        /// The logic in force.
        logic: u16,
        /// The version of the program that wrote it.
        program: String,
    },
}

/// A layout of the state, and how it is read.
struct Layout {
    number: u16,
    /// Every type of it, written out.
    text: &'static str,
    fingerprint: u64,
    read: fn(&[u8]) -> Option<Machine>,
}

impl Layout {
    const fn new(number: u16, text: &'static str, read: fn(&[u8]) -> Option<Machine>) -> Self {
        Self {
            number,
            text,
            fingerprint: fingerprint(text.as_bytes()),
            read,
        }
    }
}

/// The layout that is written.
const NEWEST: Layout = Layout::new(1, include_str!("layouts/1.txt"), whole::<Machine>);

/// Those that are no longer written: each with its text, and a `read` that decodes into types of
/// its own and says what they mean today, as `codec::old` does for events.
const OLD: &[Layout] = &[];

/// What wrote a snapshot.
const PROGRAM: &str = env!("CARGO_PKG_VERSION");

const MAGIC: [u8; 4] = *b"IFST";

/// The layouts of the state that can be read, the newest first: number, and every type of it.
pub fn layouts() -> impl Iterator<Item = (u16, &'static str)> {
    let all = core::iter::once(&NEWEST).chain(OLD);
    all.map(|layout| (layout.number, layout.text))
}

/// FNV-1a: no secret, and no more than a name.
const fn fingerprint(mut text: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    while let [first, rest @ ..] = text {
        hash = (hash ^ u64::from_be_bytes([0, 0, 0, 0, 0, 0, 0, *first]))
            .wrapping_mul(0x0000_0100_0000_01b3);
        text = rest;
    }
    hash
}

impl Machine {
    /// The whole state as bytes: a snapshot. May exceed [`crate::codec::EVENT_BYTES_MAX`].
    ///
    /// # Errors
    /// [`SnapshotError::Encode`], which no state brings about.
    pub fn snapshot(&self) -> Result<Vec<u8>, SnapshotError> {
        let len = u8::try_from(PROGRAM.len()).map_err(|_| SnapshotError::Encode)?;
        let mut bytes = Vec::from(MAGIC);
        bytes.extend(NEWEST.number.to_be_bytes());
        bytes.extend(NEWEST.fingerprint.to_be_bytes());
        bytes.push(len);
        bytes.extend(PROGRAM.as_bytes());
        let mut behind = Behind(bytes);
        bincode::serde::encode_into_writer(self, &mut behind, digest::CANONICAL)
            .map_err(|_| SnapshotError::Encode)?;
        Ok(behind.0)
    }

    /// The state of a snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] when the bytes are not one, [`SnapshotError::Unknown`] when
    /// they are one of a layout that is not known, [`SnapshotError::Newer`] of a logic that is not.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (head, state) = Head::split(bytes).ok_or(SnapshotError::Malformed)?;
        let layout = core::iter::once(&NEWEST)
            .chain(OLD)
            .find(|of| (of.number, of.fingerprint) == (head.number, head.fingerprint))
            .ok_or_else(|| SnapshotError::Unknown {
                number: head.number,
                fingerprint: head.fingerprint,
                program: String::from(head.program),
            })?;
        let mut machine = (layout.read)(state).ok_or(SnapshotError::Malformed)?;
        if machine.logic > LOGIC {
            return Err(SnapshotError::Newer {
                logic: machine.logic,
                program: String::from(head.program),
            });
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
        machine.account.signed = sums.signed;
        Ok(machine)
    }

    /// The digest of the state that a snapshot holds, in the layout that it was written in: what
    /// [`Machine::digest`] said then, whatever it says of the same state today.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`].
    pub fn snapshot_digest(bytes: &[u8]) -> Result<Hash, SnapshotError> {
        let (_, state) = Head::split(bytes).ok_or(SnapshotError::Malformed)?;
        Ok(digest::of_encoded(state))
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
        for no in self.account.versions().flat_map(|of| of.does.deliveries()) {
            if let Some(delivery) = self.deliveries.get(*no)
                && delivery.state != State::Final
            {
                sums.signed.add(*no, delivery.delegation);
            }
        }
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
            && sums.signed == self.account.signed
    }
}

/// Writes behind what is there, so that a large state is not copied for its head.
struct Behind(Vec<u8>);

impl Writer for Behind {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// What stands before the state.
struct Head<'a> {
    number: u16,
    fingerprint: u64,
    program: &'a str,
}

impl<'a> Head<'a> {
    /// The head and the state of a snapshot.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let bytes = bytes.strip_prefix(&MAGIC)?;
        let (number, bytes) = bytes.split_first_chunk()?;
        let (fingerprint, bytes) = bytes.split_first_chunk()?;
        let (len, bytes) = bytes.split_first()?;
        let (program, state) = bytes.split_at_checked(usize::from(*len))?;
        let head = Self {
            number: u16::from_be_bytes(*number),
            fingerprint: u64::from_be_bytes(*fingerprint),
            program: core::str::from_utf8(program).ok()?,
        };
        Some((head, state))
    }
}

/// A value that is the whole of some bytes.
fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, read) = decode(bytes).ok()?;
    (read == bytes.len()).then_some(value)
}

/// The running sums of all rooms.
#[derive(Default)]
struct Sums {
    staked: Tally<Address>,
    owed: Tally<Owed>,
    wanted: Tally<Address>,
    committed: Tally<Address>,
    in_hand: u32,
    signed: Signed,
}

/// Decodes bytes of unknown origin: what they claim to hold is bounded by what they are, so that
/// a length in them makes nobody allocate more.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
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
