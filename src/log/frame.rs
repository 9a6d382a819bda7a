//! One event as bytes, and the hash that chains it to the one before.
//!
//! All numbers are big-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 2 | magic `IF` |
//! | 2 | 1 | format of the frame, 1 |
//! | 3 | 1 | version of the event's encoding |
//! | 4 | 2 | kind of the event |
//! | 6 | 4 | length of the body |
//! | 10 | 4 | CRC-32 of the bytes before it and the body |
//! | 14 | … | body |
//!
//! The frame's position is not in it: the chain hash binds it, see [`chain`].

use infernet_state::{
    codec::{EVENT_BYTES_MAX, EncodedEvent},
    types::{Hash, Seq},
};
use sha2::{Digest, Sha256};

/// The first bytes of every frame.
pub const MAGIC: [u8; 2] = *b"IF";

/// The format of frames that this program writes, and the only one so far.
pub const FORMAT: u8 = 1;

/// The bytes before the body.
pub const HEAD_BYTES: usize = 14;

/// Why bytes are no frame.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// The bytes end within the frame.
    #[error("the frame is cut off: {have} of {need} bytes")]
    Short {
        /// Bytes at hand.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// Something else than a frame.
    #[error("no frame: it begins with {found:02x?}")]
    Magic {
        /// What stands there.
        found: [u8; 2],
    },
    /// A format that this program does not know.
    #[error("frame format {found}, known is {FORMAT}")]
    Format {
        /// The format.
        found: u8,
    },
    /// A length beyond the bound.
    #[error("a body of {len} bytes, the limit is {EVENT_BYTES_MAX}")]
    Length {
        /// The length.
        len: usize,
    },
    /// The checksum does not fit the bytes.
    #[error("checksum {found:08x}, the bytes give {computed:08x}")]
    Checksum {
        /// What the frame says.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
}

/// A decoded frame that borrows its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Kind of the event.
    pub kind: u16,
    /// Version of its encoding.
    pub version: u8,
    /// Its bytes.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// The event with bytes of its own.
    #[must_use]
    pub fn to_event(self) -> EncodedEvent {
        EncodedEvent {
            kind: self.kind,
            version: self.version,
            body: self.body.to_vec(),
        }
    }
}

/// The chain hash up to and with an event: SHA-256 of the previous chain hash (32 bytes), the
/// position (8), the kind (2), the version (1) and the body.
///
/// Every part but the last has a fixed length, so that no two different events give the same
/// bytes.
#[must_use]
pub fn chain(previous: &Hash, seq: Seq, kind: u16, version: u8, body: &[u8]) -> Hash {
    let mut head = [0; 43];
    head[..32].copy_from_slice(&previous.0);
    head[32..40].copy_from_slice(&seq.0.to_be_bytes());
    head[40..42].copy_from_slice(&kind.to_be_bytes());
    head[42] = version;
    let mut hasher = Sha256::new();
    hasher.update(head);
    hasher.update(body);
    Hash(hasher.finalize().into())
}

/// [`chain`] for an encoded event.
#[must_use]
pub fn chain_event(previous: &Hash, seq: Seq, event: &EncodedEvent) -> Hash {
    chain(previous, seq, event.kind, event.version, &event.body)
}

/// Appends the frame of `event` to `out`.
///
/// # Errors
/// [`FrameError::Length`] for a body beyond [`EVENT_BYTES_MAX`]; `out` is then unchanged.
pub fn encode(event: &EncodedEvent, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let len = event.body.len();
    let Some(len32) = u32::try_from(len).ok().filter(|_| len <= EVENT_BYTES_MAX) else {
        return Err(FrameError::Length { len });
    };
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[FORMAT, event.version]);
    out.extend_from_slice(&event.kind.to_be_bytes());
    out.extend_from_slice(&len32.to_be_bytes());
    let checksum = checksum(&out[start..], &event.body);
    out.extend_from_slice(&checksum.to_be_bytes());
    out.extend_from_slice(&event.body);
    Ok(())
}

/// Decodes the frame at the beginning of `bytes`; also returns how many bytes it takes.
///
/// # Errors
/// [`FrameError`].
pub fn decode(bytes: &[u8]) -> Result<(Frame<'_>, usize), FrameError> {
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else {
        return Err(FrameError::Short {
            have: bytes.len(),
            need: HEAD_BYTES,
        });
    };
    if head[..2] != MAGIC {
        return Err(FrameError::Magic {
            found: [head[0], head[1]],
        });
    }
    if head[2] != FORMAT {
        return Err(FrameError::Format { found: head[2] });
    }
    let len = u32::from_be_bytes([head[6], head[7], head[8], head[9]]) as usize;
    if len > EVENT_BYTES_MAX {
        return Err(FrameError::Length { len });
    }
    let Some(body) = rest.get(..len) else {
        return Err(FrameError::Short {
            have: bytes.len(),
            need: HEAD_BYTES + len,
        });
    };
    let found = u32::from_be_bytes([head[10], head[11], head[12], head[13]]);
    let computed = checksum(&head[..10], body);
    if found != computed {
        return Err(FrameError::Checksum { found, computed });
    }
    let frame = Frame {
        kind: u16::from_be_bytes([head[4], head[5]]),
        version: head[3],
        body,
    };
    Ok((frame, HEAD_BYTES + len))
}

/// CRC-32 of the head (without the checksum) and the body.
fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(body);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: &[u8]) -> EncodedEvent {
        EncodedEvent {
            kind: 0x0102,
            version: 3,
            body: body.to_vec(),
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let mut out = Vec::new();
        encode(&event(b"abc"), &mut out).unwrap();
        assert_eq!(
            out[..10],
            [b'I', b'F', 1, 3, 1, 2, 0, 0, 0, 3],
            "magic, format, version, kind, length"
        );
        assert_eq!(&out[14..], b"abc");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let mut bytes = Vec::new();
        encode(&event(b"the body of an event"), &mut bytes).unwrap();
        assert_eq!(decode(&bytes).unwrap().1, bytes.len());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn the_chain_binds_position_kind_version_and_body() {
        let base = chain(&Hash::ZERO, Seq(1), 1, 1, b"a");
        assert_ne!(base, chain(&Hash([1; 32]), Seq(1), 1, 1, b"a"));
        assert_ne!(base, chain(&Hash::ZERO, Seq(2), 1, 1, b"a"));
        assert_ne!(base, chain(&Hash::ZERO, Seq(1), 2, 1, b"a"));
        assert_ne!(base, chain(&Hash::ZERO, Seq(1), 1, 2, b"a"));
        assert_ne!(base, chain(&Hash::ZERO, Seq(1), 1, 1, b"b"));
    }

    #[test]
    fn an_oversized_body_is_refused_on_both_sides() {
        let mut out = Vec::new();
        let too_long = event(&vec![0; EVENT_BYTES_MAX + 1]);
        assert!(matches!(
            encode(&too_long, &mut out),
            Err(FrameError::Length { .. })
        ));
        assert!(out.is_empty());
        let mut head = [0; HEAD_BYTES];
        head[..3].copy_from_slice(&[b'I', b'F', FORMAT]);
        head[6..10].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(decode(&head), Err(FrameError::Length { .. })));
    }
}
