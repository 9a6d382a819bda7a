//! The one place where events become bytes and bytes become events.
//!
//! Kind and version stand outside the payload, so that a frame can be routed, and an old event
//! upcast, without a look at its body. Encodings that are no longer written are in `old`.

mod old;

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

/// What one encoded byte stands for at most while decoding, as bincode counts it: a number of 16
/// bytes. (A length counts as 8, a tag as 4, also where one byte holds it.)
pub(crate) const CLAIM_PER_BYTE: usize = 16;

/// What a body may claim to hold: whatever [`encode`] made fits, since none is longer than
/// [`EVENT_BYTES_MAX`], and a hostile length makes nobody allocate more.
const CLAIM_MAX: usize = EVENT_BYTES_MAX * CLAIM_PER_BYTE;

/// The limit that makes hostile lengths harmless while decoding.
const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<CLAIM_MAX>,
> = bincode::config::standard().with_limit::<CLAIM_MAX>();

/// Declares the kinds: number, variant, fields, in one place for both directions.
macro_rules! kinds {
    ($($kind:literal v $version:literal => $variant:ident $({ $($field:ident),+ })? $(( $inner:ident ))?,)+) => {
        /// The number of an event's kind. Numbers are never given twice.
        #[must_use]
        pub fn kind_of(event: &Event) -> u16 {
            match event {
                $(kinds!(@any $variant $({ $($field),+ })? $(( $inner ))?) => $kind,)+
            }
        }

        /// The kinds, each with the version that is written.
        const KINDS: &[(u16, u8)] = &[$(($kind, $version),)+];

        fn version_of(event: &Event) -> u8 {
            match event {
                $(kinds!(@any $variant $({ $($field),+ })? $(( $inner ))?) => $version,)+
            }
        }

        fn body_of(event: &Event) -> Result<Vec<u8>, bincode::error::EncodeError> {
            match event {
                $(Event::$variant $({ $($field),+ })? $(( $inner ))? => {
                    bincode::serde::encode_to_vec(($($($field,)+)? $($inner,)?), CONFIG)
                })+
            }
        }

        fn event_of(kind: u16, body: &[u8]) -> Option<Event> {
            match kind {
                $($kind => {
                    let (($($($field,)+)? $($inner,)?), read) =
                        bincode::serde::decode_from_slice(body, CONFIG).ok()?;
                    (read == body.len())
                        .then_some(Event::$variant $({ $($field),+ })? $(( $inner ))?)
                })+
                _ => None,
            }
        }
    };
    (@any $variant:ident { $($field:ident),+ }) => { Event::$variant { .. } };
    (@any $variant:ident ( $inner:ident )) => { Event::$variant(_) };
    (@any $variant:ident) => { Event::$variant };
}

kinds! {
    1 v 1 => NodeStarted { at, version },
    2 v 3 => ConfigChanged(config),
    3 v 1 => Upgraded { to },
    4 v 1 => WallTimePassed { now },
    5 v 1 => AccountObserved { head, nonce, balance },
    6 v 1 => QuarantineLifted,
    7 v 1 => ChainCommitted { block, facts },
    8 v 1 => ChainReorged { ancestor },
    9 v 1 => ChainFinalized { block },
    10 v 2 => SubscriptionsSynced { block, subscriptions, next },
    11 v 1 => JobAccepted(request),
    12 v 2 => DelegatedAccepted(request),
    13 v 1 => JobReported { job, client, at, status, containers, result },
    14 v 1 => JobCancelled { job, at },
    15 v 1 => EffectEnded { effect, attempt, at, outcome },
    16 v 1 => HeadObserved { head },
}

/// Encodes an event in the newest version of its kind.
///
/// # Errors
/// [`CodecError::TooLarge`].
pub fn encode(event: &Event) -> Result<EncodedEvent, CodecError> {
    let kind = kind_of(event);
    let body = body_of(event).map_err(|_| CodecError::TooLarge {
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
        version: version_of(event),
        body,
    })
}

/// Decodes an event of any version ever released. Whatever [`encode`] made is decoded.
///
/// # Errors
/// [`CodecError::Unknown`], [`CodecError::Malformed`] (also for trailing bytes, and for more than
/// [`EVENT_BYTES_MAX`]).
pub fn decode(kind: u16, version: u8, body: &[u8]) -> Result<Event, CodecError> {
    if body.len() > EVENT_BYTES_MAX {
        return Err(CodecError::Malformed { kind, version });
    }
    let event = if KINDS.contains(&(kind, version)) {
        event_of(kind, body)
    } else if old::OLD.contains(&(kind, version)) {
        old::event_of(kind, version, body)
    } else {
        return Err(CodecError::Unknown { kind, version });
    };
    event.ok_or(CodecError::Malformed { kind, version })
}

/// Every kind with every version of its encoding that was ever written, and whether it still is.
pub fn encodings() -> impl Iterator<Item = (u16, u8, bool)> {
    let newest = KINDS.iter().map(|(kind, version)| (*kind, *version, true));
    let older = old::OLD.iter();
    newest.chain(older.map(|(kind, version)| (*kind, *version, false)))
}
