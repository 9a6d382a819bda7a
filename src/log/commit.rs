//! From a batch of records to the blocks of one commit: the same for every store.

use infernet_state::{codec::EVENT_BYTES_MAX, types::PayloadRef};

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

/// Packs a batch into blocks. Large payloads are in the packs, durably, when it returns.
///
/// # Errors
/// [`LogError::TooLarge`] and [`LogError::Payload`] before anything was written;
/// [`LogError::Storage`].
pub(crate) fn plan<V: Volume>(
    before: Head,
    batch: &[Record],
    packs: &Packs<V>,
    writer: &mut PackWriter,
) -> Result<Commit, LogError> {
    check(batch)?;
    let places = batch
        .iter()
        .map(|record| place(record, packs, writer))
        .collect::<Result<Vec<_>, _>>()?;
    packs.sync(writer)?;
    blocks(before, batch, &places, writer.end())
}

/// Asserts the bounds and the payloads' hashes, before anything is written.
pub(crate) fn check(batch: &[Record]) -> Result<(), LogError> {
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
    for record in batch {
        bound("an event", record.event.body.len(), EVENT_BYTES_MAX)?;
        bound(
            "a record (in payloads, not bytes)",
            record.payloads.len(),
            PAYLOADS_PER_RECORD_MAX,
        )?;
        for payload in &record.payloads {
            bound("a payload", payload.bytes.len(), PAYLOAD_BYTES_MAX)?;
            let reference = payload.reference;
            if reference.len as usize != payload.bytes.len()
                || reference.hash != sha256(&payload.bytes)
            {
                return Err(LogError::Payload {
                    hash: reference.hash,
                    reason: "the bytes handed over are not what the reference says".into(),
                });
            }
        }
    }
    Ok(())
}

/// Decides for each payload of a record whether it stands inline, and writes it to the pack if
/// not.
fn place<'a, V: Volume>(
    record: &'a Record,
    packs: &Packs<V>,
    writer: &mut PackWriter,
) -> Result<Vec<(PayloadRef, Place<'a>)>, LogError> {
    let mut inline = 0;
    let mut places = Vec::with_capacity(record.payloads.len());
    for payload in &record.payloads {
        let len = payload.bytes.len();
        let place = if len <= INLINE_BYTES_MAX && inline + len <= INLINE_BYTES_PER_RECORD_MAX {
            inline += len;
            Place::Inline(&payload.bytes)
        } else {
            Place::Pack(packs.put(writer, payload)?)
        };
        places.push((payload.reference, place));
    }
    Ok(places)
}

/// Fills blocks up to their target.
fn blocks(
    before: Head,
    batch: &[Record],
    places: &[Vec<(PayloadRef, Place<'_>)>],
    packs: PackAt,
) -> Result<Commit, LogError> {
    let mut blocks = Vec::new();
    let mut builder = Builder::new(before);
    for (record, places) in batch.iter().zip(places) {
        let inline: usize = places
            .iter()
            .map(|(_, place)| match place {
                Place::Inline(bytes) => bytes.len(),
                Place::Pack(_) => 0,
            })
            .sum();
        let len =
            frame::HEAD_BYTES + record.event.body.len() + inline + places.len() * ENTRY_BYTES_MAX;
        if !builder.is_empty() && (builder.len() + len > BLOCK_BYTES_TARGET || builder.is_full()) {
            let head = builder.head();
            blocks.push(builder.finish(packs, false));
            builder = Builder::new(head);
        }
        builder
            .push(&record.event, places)
            .map_err(|_| LogError::TooLarge {
                what: "an event",
                len: record.event.body.len(),
                limit: EVENT_BYTES_MAX,
            })?;
    }
    let head = builder.head();
    if !builder.is_empty() {
        blocks.push(builder.finish(packs, true));
    }
    Ok(Commit { blocks, head })
}
