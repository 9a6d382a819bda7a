//! The verdict on an event that is not in the log yet.

use alloc::string::String;

use super::Machine;
use crate::{
    admission,
    event::Event,
    job::{Stage, Work},
    limits::{JOB_CONTAINERS_MAX, OPEN_JOBS_CAP},
    types::JobId,
};

/// What the machine says of an event that is not in the log yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It may be recorded.
    Accept,
    /// It is so already, of this job: an idempotency key seen before, or a job to be given up that
    /// failed.
    Known(JobId),
    /// It is refused; nothing is recorded.
    Refused(Refusal),
}

/// Why a request is refused (`docs/spec/rest.md`, policy errors).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// `No containers specified`
    NoContainers,
    /// More than [`JOB_CONTAINERS_MAX`].
    TooManyContainers {
        /// How many.
        count: usize,
    },
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
    /// `Subscription too far ahead`
    TooFarAhead,
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
    /// The job is done: its answer is there.
    Done,
    /// The job's answer is in a block that may still go: it is the chain's.
    InBlock,
}

impl Machine {
    /// Judges an event before it is recorded; changes nothing. Asked again after `apply`, the
    /// verdict on an accepted job is [`Verdict::Known`] with its id.
    #[must_use]
    pub fn check(&self, event: &Event) -> Verdict {
        match event {
            Event::JobAccepted(request) => {
                if let Some((_, job)) = self.jobs.by_id(request.job) {
                    return match job.work {
                        Work::Client { .. } => Verdict::Known(request.job),
                        Work::Reported { .. } | Work::Interval { .. } | Work::Delegated { .. } => {
                            Verdict::Refused(Refusal::Conflict)
                        }
                    };
                }
                if let Some(idempotency) = &request.idempotency
                    && let Some((body, no)) = self.jobs.by_key(request.client, idempotency.key)
                {
                    return match self.jobs.get(no).map(|job| &job.work) {
                        Some(Work::Client { job, .. }) if body == idempotency.body => {
                            Verdict::Known(*job)
                        }
                        Some(
                            Work::Client { .. }
                            | Work::Reported { .. }
                            | Work::Interval { .. }
                            | Work::Delegated { .. },
                        )
                        | None => Verdict::Refused(Refusal::Conflict),
                    };
                }
                let Some(config) = self.config.as_ref() else {
                    return Verdict::Refused(Refusal::NoContainers);
                };
                if let Err(refusal) = admission::admit_job(
                    config,
                    &self.catalog,
                    &request.containers,
                    request.client,
                    request.requires_proof,
                ) {
                    return Verdict::Refused(refusal);
                }
                self.check_room(self.jobs.open_client)
            }
            Event::JobReported { containers, .. } if containers.len() > JOB_CONTAINERS_MAX => {
                Verdict::Refused(Refusal::TooManyContainers {
                    count: containers.len(),
                })
            }
            Event::JobReported { job, .. } => match self.jobs.by_id(*job) {
                Some((_, known)) => match (&known.work, known.stage.is_end()) {
                    (Work::Reported { .. }, false) => Verdict::Accept,
                    (Work::Reported { .. }, true) => Verdict::Refused(Refusal::Conflict),
                    (Work::Client { .. } | Work::Interval { .. } | Work::Delegated { .. }, _) => {
                        Verdict::Refused(Refusal::OwnJob)
                    }
                },
                None => self.check_room(self.jobs.open_client),
            },
            Event::JobCancelled { job, .. } => self.check_cancelled(*job),
            Event::DelegatedAccepted(request) => self.check_delegated(request),
            Event::NodeStarted { .. }
            | Event::ConfigChanged(_)
            | Event::Upgraded { .. }
            | Event::WallTimePassed { .. }
            | Event::AccountObserved { .. }
            | Event::QuarantineLifted
            | Event::ChainCommitted { .. }
            | Event::HeadObserved { .. }
            | Event::ChainReorged { .. }
            | Event::ChainFinalized { .. }
            | Event::SubscriptionsSynced { .. }
            | Event::EffectEnded { .. } => Verdict::Accept,
        }
    }

    /// Judges a client's wish that nothing come of a job: where it failed, that is so already, unless
    /// its delegated subscription may be begun again.
    fn check_cancelled(&self, id: JobId) -> Verdict {
        let Some((no, job)) = self.jobs.by_id(id) else {
            return Verdict::Refused(Refusal::UnknownJob);
        };
        match job.stage {
            Stage::Waiting
            | Stage::ReadingPayer
            | Stage::ReadingInputs
            | Stage::Running { .. }
            | Stage::Delivering => Verdict::Accept,
            Stage::Included => Verdict::Refused(Refusal::InBlock),
            Stage::Failed(_) if self.may_be_brought_back(no, job) => Verdict::Accept,
            Stage::Failed(_) => Verdict::Known(id),
            Stage::Succeeded => Verdict::Refused(Refusal::Done),
        }
    }

    /// Whether a recorded request takes effect. What its acceptance promised holds although the
    /// breaker opened meanwhile, or others took the room: a timer that ran out between its verdict
    /// and its turn may have brought that about.
    pub(super) fn stands(&self, event: &Event) -> bool {
        match self.check(event) {
            Verdict::Accept | Verdict::Refused(Refusal::Busy | Refusal::Paused) => true,
            Verdict::Known(_) | Verdict::Refused(_) => false,
        }
    }

    /// Jobs that may be open at once, of each kind.
    pub(crate) fn open_max(&self) -> u32 {
        self.limits().jobs_open_max.min(OPEN_JOBS_CAP)
    }

    /// Whether one more of a client's requests may be open beside `open` of its kind.
    pub(crate) fn check_room(&self, open: u32) -> Verdict {
        if self.paused() {
            Verdict::Refused(Refusal::Paused)
        } else if open >= self.open_max() {
            Verdict::Refused(Refusal::Busy)
        } else {
            Verdict::Accept
        }
    }
}
