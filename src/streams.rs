//! Live bytes of streaming jobs, by job id: where the container's call and the client's answer
//! meet.
//!
//! A stream is what its container has sent so far, collected: a reader that comes late misses
//! nothing, and a slow reader holds up nobody. It lives as long as somebody holds it. That a
//! stream has ended is not said here: the job's recorded status says it, so that no client sees
//! an end that is not durable.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, Weak},
};

use bytes::Bytes;
use infernet_state::types::JobId;
use tokio::sync::watch;

/// The most that one stream collects: hours of text at the speed of the fastest models, and
/// small enough that the most calls that may run at once stay within memory.
pub const STREAM_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Entries of streams that have ended are swept when there are this many.
const SWEEP_AT: usize = 256;

/// The streams that are alive. Cheap to clone; all clones are the same hub.
#[derive(Clone, Default)]
pub struct Streams {
    live: Arc<Mutex<HashMap<JobId, Weak<Live>>>>,
}

struct Live {
    collected: Mutex<Collected>,
    grown: watch::Sender<usize>,
}

#[derive(Default)]
struct Collected {
    chunks: Vec<Bytes>,
    len: usize,
}

impl Streams {
    /// The stream of a job, for writing or reading, whoever comes first.
    #[must_use]
    pub fn join(&self, job: JobId) -> LiveStream {
        let mut live = lock(&self.live);
        if let Some(found) = live.get(&job).and_then(Weak::upgrade) {
            return LiveStream { live: found };
        }
        if live.len() >= SWEEP_AT {
            live.retain(|_, stream| stream.strong_count() > 0);
        }
        let stream = Arc::new(Live {
            collected: Mutex::default(),
            grown: watch::Sender::new(0),
        });
        live.insert(job, Arc::downgrade(&stream));
        LiveStream { live: stream }
    }
}

/// One job's stream, kept alive by whoever holds it.
#[derive(Clone)]
pub struct LiveStream {
    live: Arc<Live>,
}

/// A stream has reached [`STREAM_BYTES_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the stream is longer than {STREAM_BYTES_MAX} bytes")]
pub struct StreamFull;

impl LiveStream {
    /// Adds what the container sent.
    ///
    /// # Errors
    /// [`StreamFull`]; the chunk is not added.
    pub fn push(&self, chunk: Bytes) -> Result<(), StreamFull> {
        if chunk.is_empty() {
            return Ok(());
        }
        let count = {
            let mut collected = lock(&self.live.collected);
            let len = collected.len.saturating_add(chunk.len());
            if len > STREAM_BYTES_MAX {
                return Err(StreamFull);
            }
            collected.len = len;
            collected.chunks.push(chunk);
            collected.chunks.len()
        };
        self.live.grown.send_replace(count);
        Ok(())
    }

    /// Whether nothing was sent yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        lock(&self.live.collected).chunks.is_empty()
    }

    /// Everything so far.
    #[must_use]
    pub fn collected(&self) -> Vec<u8> {
        lock(&self.live.collected).chunks.concat()
    }

    /// A reader from the first byte on.
    #[must_use]
    pub fn reader(&self) -> StreamReader {
        StreamReader {
            live: Arc::clone(&self.live),
            grown: self.live.grown.subscribe(),
            next: 0,
        }
    }
}

/// Reads one stream, chunk by chunk as they were pushed.
pub struct StreamReader {
    live: Arc<Live>,
    grown: watch::Receiver<usize>,
    next: usize,
}

impl StreamReader {
    /// The next chunk, if it is there.
    pub fn try_next(&mut self) -> Option<Bytes> {
        self.grown.mark_unchanged();
        let chunk = lock(&self.live.collected).chunks.get(self.next).cloned()?;
        self.next += 1;
        Some(chunk)
    }

    /// Resolves when something was pushed after the last [`StreamReader::try_next`].
    pub async fn grown(&mut self) {
        // The sender lives in what this reader holds: it cannot be gone.
        let _ = self.grown.changed().await;
    }
}

/// A poisoned lock still guards plain data that no panic leaves half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|held| held.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId([7; 16]);

    #[tokio::test]
    async fn a_late_reader_misses_nothing_and_waits_for_the_rest() {
        let streams = Streams::default();
        let writer = streams.join(JOB);
        writer.push(Bytes::from_static(b"one ")).unwrap();
        let mut reader = streams.join(JOB).reader();
        assert_eq!(reader.try_next().as_deref(), Some(&b"one "[..]));
        assert_eq!(reader.try_next(), None);
        let pushed = tokio::spawn(async move {
            tokio::task::yield_now().await;
            writer.push(Bytes::from_static(b"two")).unwrap();
            writer.collected()
        });
        reader.grown().await;
        assert_eq!(reader.try_next().as_deref(), Some(&b"two"[..]));
        assert_eq!(pushed.await.unwrap(), b"one two");
    }

    #[test]
    fn a_stream_is_bounded_and_ends_with_its_last_holder() {
        let streams = Streams::default();
        let writer = streams.join(JOB);
        writer
            .push(Bytes::from(vec![b'x'; STREAM_BYTES_MAX]))
            .unwrap();
        assert_eq!(writer.push(Bytes::from_static(b"x")), Err(StreamFull));
        drop(writer);
        assert!(streams.join(JOB).is_empty());
    }
}
