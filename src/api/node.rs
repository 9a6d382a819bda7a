//! What the handlers share: the loop's handle and what stands around it.

use std::{sync::Arc, time::Duration};

use infernet_state::types::{JobId, PayloadAt, Seq, WallTime};
use tokio::sync::{Semaphore, watch};

use super::{client::ClientKey, limit::Limiter};
use crate::{
    driver::{BoxFuture, Clock, Handle, Random, Spawner},
    executor::{PayloadError, Payloads as _},
    log::{Head, LogError, LogReader},
    ports::{ContainerDirectory, DelegationChecker},
    streams::Streams,
};

/// Everything that a handler may use.
pub(super) struct Node {
    pub(super) handle: Handle,
    pub(super) log: Arc<dyn Log>,
    pub(super) world: Arc<dyn Surroundings>,
    pub(super) containers: Arc<dyn ContainerDirectory>,
    pub(super) delegation: Option<Arc<dyn DelegationChecker>>,
    pub(super) streams: Streams,
    pub(super) client_key: ClientKey,
    pub(super) limiter: Option<Limiter>,
    pub(super) development: Option<serde_json::Value>,
    /// One permit a client that reads a stream.
    pub(super) streaming: Arc<Semaphore>,
    /// True once the server shall end: nobody waits any longer.
    pub(super) stopping: watch::Receiver<bool>,
}

/// The world without its type.
pub(super) trait Surroundings: Clock + Random + Spawner {}

impl<T: Clock + Random + Spawner> Surroundings for T {}

/// The log's reading side without its type.
pub(super) trait Log: Send + Sync + 'static {
    fn payload(&self, at: PayloadAt) -> Result<Vec<u8>, PayloadError>;

    /// The chain hash up to and with an event.
    fn hash_at(&self, seq: Seq) -> Result<Head, LogError>;
}

impl<R: LogReader> Log for R {
    fn payload(&self, at: PayloadAt) -> Result<Vec<u8>, PayloadError> {
        self.fetch(at)
    }

    fn hash_at(&self, seq: Seq) -> Result<Head, LogError> {
        if seq == Seq(0) {
            return Ok(Head::default());
        }
        match self.read(seq, 1)?.into_iter().next() {
            Some(stored) => Ok(Head {
                seq: stored.seq,
                hash: stored.hash,
            }),
            None => Err(LogError::Damaged {
                seq,
                reason: "the machine has seen an event that the log does not hold".to_owned(),
            }),
        }
    }
}

impl Node {
    /// A random id (UUID, version 4) for a new job.
    pub(super) fn new_job_id(&self) -> JobId {
        let mut id = [0; 16];
        self.world.fill(&mut id);
        id[6] = (id[6] & 0x0f) | 0x40;
        id[8] = (id[8] & 0x3f) | 0x80;
        JobId(id)
    }

    pub(super) fn now(&self) -> WallTime {
        self.world.now()
    }

    /// Resolves after `wait`, or when the server shall end.
    pub(super) fn pause(&self, wait: Duration) -> BoxFuture<()> {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let until = WallTime(self.now().0.saturating_add(millis));
        let passed = self.world.sleep_until(until);
        let mut stopping = self.stopping.clone();
        Box::pin(async move {
            tokio::select! {
                () = passed => {}
                // Without a sender nobody serves any more.
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        })
    }

    /// The bytes of a payload, read off the async threads.
    pub(super) async fn payload(&self, at: PayloadAt) -> Result<Vec<u8>, PayloadError> {
        let log = Arc::clone(&self.log);
        let hash = at.payload.hash;
        tokio::task::spawn_blocking(move || log.payload(at))
            .await
            .unwrap_or_else(|error| {
                Err(PayloadError::Unreadable {
                    hash,
                    reason: error.to_string(),
                })
            })
    }
}

/// The id of a job from its text: a UUID, with or without hyphens, in any case.
pub(super) fn parse_job_id(text: &str) -> Option<JobId> {
    let mut digits = [0_u8; 32];
    let mut count = 0;
    for (place, byte) in text.bytes().enumerate() {
        if byte == b'-' && text.len() == 36 && matches!(place, 8 | 13 | 18 | 23) {
            continue;
        }
        *digits.get_mut(count)? = byte;
        count += 1;
    }
    let mut id = [0; 16];
    (count == digits.len()).then_some(())?;
    alloy::hex::decode_to_slice(digits, &mut id).ok()?;
    Some(JobId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_is_a_uuid() {
        let id = JobId(*b"0123456789abcdef");
        let text = id.to_string();
        assert_eq!(parse_job_id(&text), Some(id));
        assert_eq!(parse_job_id(&text.to_uppercase()), Some(id));
        assert_eq!(parse_job_id(&text.replace('-', "")), Some(id));
        for wrong in [
            "",
            "x",
            &text[1..],
            &format!("{text}0"),
            &text.replace('-', "x"),
            &text.replacen('3', "g", 1),
        ] {
            assert_eq!(parse_job_id(wrong), None, "{wrong}");
        }
    }
}
