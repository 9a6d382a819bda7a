//! The one place where events become bytes and bytes become events.
//!
//! Kind and version stand outside the payload, so that a frame can be routed, and an old event
//! upcast, without a look at its body.

use alloc::vec::Vec;

use crate::event::Event;

/// The largest encoded event, in bytes: a chunk of a sync stays well below it, and a frame of
/// this size still fits one record of the log.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;

/// An event as the log stores it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodedEvent {
    /// Which variant.
    pub kind: u16,
    /// Which encoding of that variant.
    pub version: u8,
    /// The payload, at most [`EVENT_BYTES_MAX`] bytes.
    pub body: Vec<u8>,
}

/// Why bytes are no event, or an event no bytes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    /// The event is larger than [`EVENT_BYTES_MAX`].
    #[error(
        "E-CODEC-001: an event of kind {kind} takes {len} bytes, the limit is {EVENT_BYTES_MAX}; split it"
    )]
    TooLarge {
        /// The kind.
        kind: u16,
        /// Its length.
        len: usize,
    },
    /// No such kind and version: the log is of a newer program, or is not a log.
    #[error(
        "E-CODEC-002: unknown event kind {kind} version {version}; use the version of the program that wrote it"
    )]
    Unknown {
        /// The kind.
        kind: u16,
        /// The version.
        version: u8,
    },
    /// The body is not what its kind and version promise.
    #[error("E-CODEC-003: an event of kind {kind} version {version} does not decode")]
    Malformed {
        /// The kind.
        kind: u16,
        /// The version.
        version: u8,
    },
}

/// The limit that makes hostile lengths harmless while decoding.
const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<EVENT_BYTES_MAX>,
> = bincode::config::standard().with_limit::<EVENT_BYTES_MAX>();

/// Encodes an event.
///
/// # Errors
/// [`CodecError::TooLarge`].
pub fn encode(event: &Event) -> Result<EncodedEvent, CodecError> {
    let kind = 0;
    let body = bincode::serde::encode_to_vec(event, CONFIG).map_err(|_| CodecError::TooLarge {
        kind,
        len: usize::MAX,
    })?;
    if body.len() > EVENT_BYTES_MAX {
        return Err(CodecError::TooLarge {
            kind,
            len: body.len(),
        });
    }
    Ok(EncodedEvent {
        kind,
        version: 1,
        body,
    })
}

/// Decodes an event of any version ever released.
///
/// # Errors
/// [`CodecError::Unknown`], [`CodecError::Malformed`] (also for trailing bytes).
pub fn decode(kind: u16, version: u8, body: &[u8]) -> Result<Event, CodecError> {
    if version != 1 {
        return Err(CodecError::Unknown { kind, version });
    }
    match bincode::serde::decode_from_slice(body, CONFIG) {
        Ok((event, consumed)) if consumed == body.len() => Ok(event),
        _ => Err(CodecError::Malformed { kind, version }),
    }
}
