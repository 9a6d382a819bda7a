//! Room at the end of sled's file, written ahead.
//!
//! A sync of a file that has grown writes its length and its place on the disk too, one that was
//! written within its length only the bytes: two thirds of the time, measured. So the file is
//! extended by zeroes, a piece at a time.
//!
//! Zeroes behind the newest record are nothing new to sled 0.34: when it opens, it writes them
//! itself from there to the end of the segment ("shred zone" in `advance_snapshot`), and reads a
//! zero as the kind of message that ends a segment. Never are they written into a segment that
//! sled has not begun, which would be a state that it does not make itself; and never before the
//! end of the file, so that no mistake of reckoning can touch a record.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError},
};

use super::limits::{ROOM_BYTES, SEGMENT_BYTES};

/// Where sled writes, about, and how far the file reaches.
#[derive(Debug, Default)]
pub(crate) struct Room(Mutex<Reckoning>);

#[derive(Clone, Copy, Debug, Default)]
struct Reckoning {
    /// Where sled writes next, or before that: reckoned by sled's own count, which misses what it
    /// wrote before it was asked to flush. The file's length corrects it.
    tip: u64,
    /// The length of the file when it was looked at last.
    end: u64,
    /// What sled wrote last.
    last: u64,
}

impl Room {
    /// Makes room if the next commit may not have it; `written` is what sled wrote in this one.
    /// Call it between sled's flush and the sync, from the log's only writer.
    ///
    /// Without durability of its own: the sync that follows has it. Room is only a saving: where
    /// there is none left on the disk, the next commit says so.
    pub(crate) fn advance(&self, file: &File, written: u64) {
        let mut reckoning = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reckoning.tip += written;
        reckoning.last = written;
        if written > ROOM_BYTES / 4 || reckoning.tip + reckoning.last <= reckoning.end {
            return;
        }
        let Ok(length) = file.metadata().map(|metadata| metadata.len()) else {
            return;
        };
        if length != reckoning.end {
            // Longer than it was made: sled wrote up to its end.
            reckoning.tip = length;
        }
        reckoning.end = length;
        let extended = extended(length, reckoning.tip + reckoning.last);
        while reckoning.end < extended {
            let zeroes = &ZEROES[..ZEROES.len().min((extended - reckoning.end) as usize)];
            if file.write_all_at(zeroes, reckoning.end).is_err() {
                return;
            }
            reckoning.end += zeroes.len() as u64;
        }
    }
}

/// What is written, small enough to stay in the processor's cache.
static ZEROES: [u8; 32 * 1024] = [0; 32 * 1024];

/// How long a file of this length is made, so that it reaches behind `needed`: not beyond the
/// segment that it ends in, and not at all near the end of one. Threads that read may make sled
/// write too, when they come upon a page of its index that is to be split and there is no room for
/// it in the segment: only there could such a write meet the zeroes.
fn extended(length: u64, needed: u64) -> u64 {
    let segment_end = length.next_multiple_of(SEGMENT_BYTES as u64);
    if segment_end - length < ROOM_BYTES {
        return length;
    }
    let wanted = length.max(needed) + ROOM_BYTES;
    wanted.min(segment_end)
}
