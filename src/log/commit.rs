//! From a batch of records to the blocks of one commit: the same for every store.

use infernet_state::{
    codec::{EVENT_BYTES_MAX, EncodedEvent},
    types::PayloadRef,
};

use super::{
    Head, LogError, Record,
    block::{Builder, ENTRY_BYTES_MAX, PackAt, Place},
    frame,
    limits::{
        BATCH_RECORDS_MAX, BLOCK_BYTES_TARGET, INLINE_BYTES_MAX, INLINE_BYTES_PER_RECORD_MAX,
        PAYLOAD_BYTES_MAX, PAYLOADS_PER_RECORD_MAX,
    },
    pack::{PackWriter, Packs, sha256},
    volume::Volume,
};

/// What is to be stored as one atomic step.
#[derive(Debug)]
pub(crate) struct Commit {
    /// The blocks, in order.
    pub(crate) blocks: Vec<Vec<u8>>,
    /// The head after them.
    pub(crate) head: Head,
}

/// A record as it is to be stored: a payload without bytes was erased elsewhere.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// The event.
    pub(crate) event: &'a EncodedEvent,
    /// Its payloads.
    pub(crate) payloads: Vec<(PayloadRef, Option<&'a [u8]>)>,
}

/// The drafts of a batch.
pub(crate) fn drafts(batch: &[Record]) -> Vec<Draft<'_>> {
    batch
        .iter()
        .map(|record| Draft {
            event: &record.event,
            payloads: record
                .payloads
                .iter()
                .map(|payload| (payload.reference, Some(payload.bytes.as_slice())))
                .collect(),
        })
        .collect()
}

/// Packs a batch into blocks. Large payloads are in the packs, durably, when it returns.
///
/// # Errors
/// [`LogError::TooLarge`] and [`LogError::Payload`] before anything was written;
/// [`LogError::Storage`].
pub(crate) fn plan<V: Volume>(
    before: Head,
    batch: &[Draft<'_>],
    packs: &Packs<V>,
    writer: &mut PackWriter,
) -> Result<Commit, LogError> {
    check(batch)?;
    let places = batch
        .iter()
        .map(|draft| place(draft, packs, writer))
        .collect::<Result<Vec<_>, _>>()?;
    packs.sync(writer)?;
    blocks(before, batch, &places, writer.end())
}

/// Asserts the bounds and the payloads' hashes, before anything is written.
pub(crate) fn check(batch: &[Draft<'_>]) -> Result<(), LogError> {
    let bound = |what, len, limit| {
        if len > limit {
            return Err(LogError::TooLarge { what, len, limit });
        }
        Ok(())
    };
    bound(
        "a batch (in records, not bytes)",
        batch.len(),
        BATCH_RECORDS_MAX,
    )?;
    for draft in batch {
        bound("an event", draft.event.body.len(), EVENT_BYTES_MAX)?;
        bound(
            "a record (in payloads, not bytes)",
            draft.payloads.len(),
            PAYLOADS_PER_RECORD_MAX,
        )?;
        for (reference, bytes) in &draft.payloads {
            let Some(bytes) = bytes else { continue };
            bound("a payload", bytes.len(), PAYLOAD_BYTES_MAX)?;
            if reference.len as usize != bytes.len() || reference.hash != sha256(bytes) {
                return Err(LogError::Payload {
                    hash: reference.hash,
                    reason: "the bytes handed over are not what the reference says".into(),
                });
            }
        }
    }
    Ok(())
}

/// The payloads of a record with their places.
type Places<'a> = Vec<(PayloadRef, Option<Place<'a>>)>;

/// Decides for each payload of a record whether it stands inline, and writes it to the pack if
/// not.
fn place<'a, V: Volume>(
    draft: &Draft<'a>,
    packs: &Packs<V>,
    writer: &mut PackWriter,
) -> Result<Places<'a>, LogError> {
    let mut inline = 0;
    let mut places = Vec::with_capacity(draft.payloads.len());
    for (reference, bytes) in &draft.payloads {
        let place = match bytes {
            None => None,
            Some(bytes)
                if bytes.len() <= INLINE_BYTES_MAX
                    && inline + bytes.len() <= INLINE_BYTES_PER_RECORD_MAX =>
            {
                inline += bytes.len();
                Some(Place::Inline(bytes))
            }
            Some(bytes) => Some(Place::Pack(packs.put(writer, *reference, bytes)?)),
        };
        places.push((*reference, place));
    }
    Ok(places)
}

/// Fills blocks up to their target.
fn blocks(
    before: Head,
    batch: &[Draft<'_>],
    places: &[Places<'_>],
    packs: PackAt,
) -> Result<Commit, LogError> {
    let lens: Vec<usize> = batch
        .iter()
        .zip(places)
        .map(|(draft, places)| record_len(draft, places))
        .collect();
    let mut left: usize = lens.iter().sum();
    let mut blocks = Vec::new();
    let mut builder = Builder::new(before, left.min(BLOCK_BYTES_TARGET));
    for ((draft, places), len) in batch.iter().zip(places).zip(lens) {
        if !builder.is_empty() && (builder.len() + len > BLOCK_BYTES_TARGET || builder.is_full()) {
            let head = builder.head();
            blocks.push(builder.finish(packs, false));
            builder = Builder::new(head, left.min(BLOCK_BYTES_TARGET));
        }
        builder
            .push(draft.event, places)
            .map_err(|_| LogError::TooLarge {
                what: "an event",
                len: draft.event.body.len(),
                limit: EVENT_BYTES_MAX,
            })?;
        left -= len;
    }
    let head = builder.head();
    if !builder.is_empty() {
        blocks.push(builder.finish(packs, true));
    }
    Ok(Commit { blocks, head })
}

/// How many bytes a record takes in a block, at most.
fn record_len(draft: &Draft<'_>, places: &[(PayloadRef, Option<Place<'_>>)]) -> usize {
    let inline: usize = places
        .iter()
        .map(|(_, place)| match place {
            Some(Place::Inline(bytes)) => bytes.len(),
            Some(Place::Pack(_)) | None => 0,
        })
        .sum();
    frame::HEAD_BYTES + draft.event.body.len() + inline + places.len() * ENTRY_BYTES_MAX
}
