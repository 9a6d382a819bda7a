//! The machine: the state, and the only function that changes it.

use alloc::{string::String, vec::Vec};

use crate::{
    config::Config,
    effect::Issued,
    event::Event,
    types::{BlockTime, Hash, JobId, Nonce, PayloadAt, Seq, SubscriptionId, WallTime},
};

/// An invariant of money or sequence would break: the node stops before any effect.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("E-STATE-{code:03}: at event {seq}: {reason}")]
pub struct Halt {
    /// The event that cannot be applied.
    pub seq: Seq,
    /// Stable number of the invariant.
    pub code: u16,
    /// What would break.
    pub reason: String,
}

/// What the machine says of an event that is not in the log yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It may be recorded.
    Accept,
    /// It is recorded already, under this job (an idempotency key seen before).
    Known(JobId),
    /// It is refused; nothing is recorded.
    Refused(Refusal),
}

/// Why a request is refused (`docs/spec/rest.md`, policy errors).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// `No containers specified`
    NoContainers,
    /// `Container not supported`
    ContainerNotSupported {
        /// Its id.
        container: String,
    },
    /// `First container must be external`
    FirstContainerNotExternal {
        /// Its id.
        container: String,
    },
    /// `Container does not generate proof`
    NoProof {
        /// Its id.
        container: String,
    },
    /// `Container not allowed for address`
    NotAllowed {
        /// Its id.
        container: String,
    },
    /// `Chain not enabled`
    ChainNotEnabled,
    /// `Signature expired`
    SignatureExpired,
    /// The same idempotency key, or the same delegated subscription, with another body.
    Conflict,
    /// A job that this node ran itself cannot be reported from outside.
    OwnJob,
    /// Too many open jobs.
    Busy,
    /// Intake is paused after repeated losses.
    Paused,
    /// No such job.
    UnknownJob,
}

/// Where a job stands, as `GET /api/jobs` says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JobStatus {
    /// Not final.
    Running,
    /// Done: the last container and its JSON answer.
    Success {
        /// The container that answered.
        container: String,
        /// Its answer.
        output: Option<PayloadAt>,
    },
    /// Failed.
    Failed {
        /// The container that failed, or empty.
        container: String,
        /// The JSON error, where one was recorded.
        error: Option<PayloadAt>,
        /// In words.
        reason: String,
    },
}

/// The deterministic state of a node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Machine {
    seq: Seq,
}

impl Machine {
    /// The machine before the first event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies a durable event and says what the node now intends to do.
    ///
    /// Total: no event, in any order, panics it.
    ///
    /// # Errors
    /// [`Halt`] when an invariant of money or sequence would break; the machine must not be used
    /// any further.
    ///
    /// # Replay
    /// The same events give the same state and the same effects, on any machine.
    pub fn apply(&mut self, event: &Event) -> Result<Vec<Issued>, Halt> {
        let _ = event;
        self.seq = Seq(self.seq.0.saturating_add(1));
        Ok(Vec::new())
    }

    /// Judges an event before it is recorded; changes nothing. Asked again after `apply`, the
    /// verdict on an accepted job is [`Verdict::Known`] with its id.
    #[must_use]
    pub fn check(&self, event: &Event) -> Verdict {
        let _ = event;
        Verdict::Accept
    }

    /// The effects that were issued and have no terminal outcome, with their present attempts:
    /// what the executor gets after a restart's `NodeStarted`.
    #[must_use]
    pub fn outstanding(&self) -> Vec<Issued> {
        Vec::new()
    }

    /// The next wall time at which the machine wants `WallTimePassed`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<WallTime> {
        None
    }

    /// The next head (block time, or height) at which the machine wants a `ChainCommitted` even
    /// if the block holds nothing for the node.
    #[must_use]
    pub fn next_block_deadline(&self) -> BlockDeadline {
        BlockDeadline::default()
    }

    /// The nonces that wait for inclusion, with the hashes of every version sent, ascending.
    #[must_use]
    pub fn awaiting_inclusion(&self) -> Vec<(Nonce, Vec<Hash>)> {
        Vec::new()
    }

    /// The next subscription id to read in the sync of the past; `None` when done.
    #[must_use]
    pub fn sync_cursor(&self) -> Option<SubscriptionId> {
        None
    }

    /// The position of the newest applied event.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The recorded configuration; `None` before the first.
    #[must_use]
    pub fn config(&self) -> Option<&Config> {
        None
    }

    /// SHA-256 over the canonical encoding of the whole state.
    #[must_use]
    pub fn digest(&self) -> Hash {
        Hash::ZERO
    }

    /// Where a job stands.
    #[must_use]
    pub fn job_status(&self, job: JobId) -> Option<JobStatus> {
        let _ = job;
        None
    }
}

/// When the machine wants to hear of a block that holds nothing for the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BlockDeadline {
    /// The first block with at least this timestamp.
    pub time: Option<BlockTime>,
    /// The first block of at least this height.
    pub number: Option<u64>,
}
