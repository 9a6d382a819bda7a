//! Jobs: the work on a client's request, or on one interval of a subscription.
//!
//! ```text
//!  client:    (accepted) ─────────────────────────────► Running ──last answer──► Succeeded
//!                                                        │ ▲ │
//!                                        next container  └─┘ │
//!  delegated: (accepted) ─► Waiting ─ active ─► ReadingPayer (if paid) ─► Running …
//!  interval:  (due) ─► ReadingPayer ─► ReadingInputs ──► Running ──last answer──► Delivering
//!                        │ (if paid)                                                │   ▲
//!                        │                                                 included ▼   │ reorg
//!                        │                                                        Included
//!                        │                                                          │ final
//!                        ▼                                                          ▼
//!                  Failed (from any stage before Included)                      Succeeded
//! ```
//! A job is a local fact: a reorg of the chain never undoes its answer, but a job whose
//! subscription is gone ends, and its answer reaches nobody.

mod begin;
mod outcome;
mod reported;
mod store;

use alloc::{string::String, vec::Vec};
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    admission::Reason,
    config::ClientId,
    delegation::DelegationKey,
    delivery::Loss,
    effect::ContainerInput,
    event::{Idempotency, JobKind, Subscription},
    machine::{Halt, Machine},
    outbox::Turn,
    schedule::Timer,
    subscription::Identity,
    trace::Transition,
    types::{DeliveryNo, EffectId, Interval, JobId, JobNo, PayloadAt, SubscriptionId, WallTime},
};

pub use store::Jobs;

/// Where a job stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Stage {
    /// A delegated subscription's: accepted, not active yet.
    Waiting,
    /// Asking what the consumer's wallet can pay.
    ReadingPayer,
    /// Asking the consumer for the inputs.
    ReadingInputs,
    /// A container is called.
    Running {
        /// Which of the job's containers, from 0.
        position: u16,
    },
    /// Answered; the answer is on its way to the chain.
    Delivering,
    /// The delivery stands in a block that may still go.
    Included,
    /// Done for good.
    Succeeded,
    /// Not done, for good.
    Failed(Cause),
}

/// Why a job failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Cause {
    /// A container answered with an error, as often as it was asked.
    Container,
    /// A crash may have run it once, and its container forbids a second run.
    NotRerun,
    /// It was too old.
    Expired,
    /// Its client went away or withdrew it, or its subscription was cancelled.
    Cancelled,
    /// Its interval closed first.
    IntervalClosed,
    /// The chain could not be read.
    ChainUnavailable,
    /// Bytes that it needs are erased or missing.
    PayloadMissing,
    /// What was read of the consumer's wallet speaks against it.
    Refused(Reason),
    /// What came of an effect does not fit what was asked.
    Mismatched,
    /// Its answer could not be delivered.
    Undelivered(Loss),
    /// A reorg took its subscription away.
    Superseded,
    /// Reported as failed by the one who ran it.
    Reported,
    /// Somebody else created its subscription on chain: its intervals are answered like any
    /// other's.
    Created,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container => f.write_str("a container failed"),
            Self::NotRerun => {
                f.write_str("the node was interrupted and the container must not run twice")
            }
            Self::Expired => f.write_str("the job expired"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::IntervalClosed => f.write_str("the interval closed before the answer"),
            Self::ChainUnavailable => f.write_str("the chain could not be read"),
            Self::PayloadMissing => f.write_str("a payload is missing"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::Mismatched => f.write_str("an effect ended with another kind of result"),
            Self::Undelivered(loss) => write!(f, "not delivered: {loss}"),
            Self::Superseded => f.write_str("a reorg removed the subscription"),
            Self::Reported => f.write_str("reported as failed"),
            Self::Created => f.write_str(
                "the subscription is on chain: its intervals are answered with the chain's inputs",
            ),
        }
    }
}

/// What happens to a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A delegated subscription is active, and pays.
    BeginPaid,
    /// A delegated subscription is active, and is free.
    BeginFree,
    /// The wallet can pay; the inputs are asked for.
    PayerRead,
    /// The wallet can pay; the inputs came with the request.
    PayerReadDelegated,
    /// The inputs are there.
    InputsRead,
    /// A container answered, and another follows.
    Answered,
    /// The last container of a client's job answered.
    AnsweredClient,
    /// The last container of an interval's job answered.
    AnsweredInterval,
    /// The delivery is in a block.
    Included,
    /// That block is gone.
    Undone,
    /// That block is final.
    Finalized,
    /// It cannot be done.
    Fail(Cause),
}

impl Stage {
    /// The next stage, or `None` where the step does not apply.
    #[must_use]
    pub fn step(self, step: Step) -> Option<Self> {
        match (self, step) {
            (Self::Waiting, Step::BeginPaid) => Some(Self::ReadingPayer),
            (Self::ReadingPayer, Step::PayerRead) => Some(Self::ReadingInputs),
            (Self::Waiting, Step::BeginFree)
            | (Self::ReadingPayer, Step::PayerReadDelegated)
            | (Self::ReadingInputs, Step::InputsRead) => Some(Self::Running { position: 0 }),
            (Self::Running { position }, Step::Answered) => Some(Self::Running {
                position: position.saturating_add(1),
            }),
            (Self::Running { .. }, Step::AnsweredClient) => Some(Self::Succeeded),
            (Self::Running { .. }, Step::AnsweredInterval) => Some(Self::Delivering),
            // A withdrawn delivery may be included all the same: the chain's word counts.
            (Self::Delivering | Self::Failed(_), Step::Included) => Some(Self::Included),
            (Self::Included, Step::Undone) => Some(Self::Delivering),
            (Self::Included, Step::Finalized) => Some(Self::Succeeded),
            (
                Self::Waiting
                | Self::ReadingPayer
                | Self::ReadingInputs
                | Self::Running { .. }
                | Self::Delivering,
                Step::Fail(cause),
            ) => Some(Self::Failed(cause)),
            (
                Self::Waiting
                | Self::ReadingPayer
                | Self::ReadingInputs
                | Self::Running { .. }
                | Self::Delivering
                | Self::Included
                | Self::Succeeded
                | Self::Failed(_),
                Step::BeginPaid
                | Step::BeginFree
                | Step::PayerRead
                | Step::PayerReadDelegated
                | Step::InputsRead
                | Step::Answered
                | Step::AnsweredClient
                | Step::AnsweredInterval
                | Step::Included
                | Step::Undone
                | Step::Finalized
                | Step::Fail(_),
            ) => None,
        }
    }

    /// Whether nothing more is done for it.
    #[must_use]
    pub fn is_end(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed(_) => true,
            Self::Waiting
            | Self::ReadingPayer
            | Self::ReadingInputs
            | Self::Running { .. }
            | Self::Delivering
            | Self::Included => false,
        }
    }
}

/// For whom a job is done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Work {
    /// A client's job.
    Client {
        /// Its id.
        job: JobId,
        /// Who asked.
        client: ClientId,
        /// How the answer travels.
        kind: JobKind,
        /// Its idempotency key.
        idempotency: Option<Idempotency>,
    },
    /// A job that ran elsewhere, as a client reported it.
    Reported {
        /// Its id.
        job: JobId,
        /// Who reported it.
        client: ClientId,
    },
    /// The first interval of a delegated subscription that can be answered, as a client brought
    /// it.
    Delegated {
        /// The id under which its client may ask for it.
        job: JobId,
        /// Who brought it.
        client: ClientId,
        /// Of which.
        key: DelegationKey,
        /// Which; 0 while it waits.
        interval: Interval,
    },
    /// An interval of a subscription.
    Interval {
        /// Of which.
        identity: Identity,
        /// Which.
        interval: Interval,
    },
}

/// A job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// For whom.
    pub work: Work,
    /// The containers, in order.
    pub containers: Vec<String>,
    /// Whether the last container must prove its answer.
    pub requires_proof: bool,
    /// What the first container gets; known from the start for a client's job.
    pub input: Option<ContainerInput>,
    /// The JSON answers so far, in the order of the containers.
    pub results: Vec<PayloadAt>,
    /// The JSON error of the container that failed, where one was recorded.
    pub error: Option<PayloadAt>,
    /// Where it stands.
    pub stage: Stage,
    /// When it was accepted or became due.
    pub since: WallTime,
    /// When it ended.
    pub ended: Option<WallTime>,
    /// Its delivery, once it is answered.
    pub delivery: Option<DeliveryNo>,
    /// The effect it waits for.
    pub(crate) effect: Option<EffectId>,
    /// Its entry in the schedule, in block time: while it waits among what becomes active, then
    /// among the closings of intervals.
    pub(crate) closes: Option<u64>,
    /// Its entry among the timers, for a client's job.
    pub(crate) expires: Option<WallTime>,
}

impl Machine {
    /// What the subscription of an interval's job says.
    fn job_terms(&self, no: JobNo) -> Option<&Subscription> {
        match &self.jobs.get(no)?.work {
            Work::Interval { identity, .. } => self
                .subscriptions
                .get(identity.id)
                .map(|tracked| &tracked.subscription),
            Work::Delegated { key, .. } => self
                .delegations
                .get(*key)
                .map(|delegation| &delegation.request.subscription),
            Work::Client { .. } | Work::Reported { .. } => None,
        }
    }

    /// The chain's id of what a job answers; 0 for none.
    fn job_subscription(&self, no: JobNo) -> SubscriptionId {
        let work = self.jobs.get(no).map(|job| &job.work);
        let id = match work {
            Some(Work::Interval { identity, .. }) => Some(identity.id),
            Some(Work::Delegated { key, .. }) => {
                let delegation = self.delegations.get(*key);
                delegation.and_then(|delegation| delegation.id)
            }
            Some(Work::Client { .. } | Work::Reported { .. }) | None => None,
        };
        id.unwrap_or_default()
    }

    /// A job cannot be done: what it waits for is dropped, its delivery withdrawn.
    pub(crate) fn fail_job(
        &mut self,
        turn: &mut Turn,
        no: JobNo,
        cause: Cause,
    ) -> Result<(), Halt> {
        let before = self.jobs.get(no).map(|job| job.stage);
        if !self.step_job(no, Step::Fail(cause)) {
            return Ok(());
        }
        if let Some(before) = before {
            self.count_attempt(no, cause, before);
        }
        let effect = self.jobs.all.get_mut(no).and_then(|job| job.effect.take());
        if let Some(id) = effect {
            self.drop_effect(turn, id)?;
        }
        self.close_job(no);
        self.attempt_again(no, cause);
        Ok(())
    }

    /// An ended job leaves the schedule and is kept for its time.
    pub(crate) fn close_job(&mut self, no: JobNo) {
        if let Some(job) = self.jobs.all.get_mut(no) {
            if let Some(at) = job.closes.take() {
                self.schedule.ends.remove(&(at, no));
                self.schedule.delegated.remove(&(at, no));
            }
            if let Some(at) = job.expires.take() {
                self.schedule.timers.remove(&(at, Timer::JobExpiry(no)));
            }
        }
        self.jobs.close(no, self.now);
        self.queue_ended(no);
    }

    /// Moves a job on; `false` where the step does not apply.
    pub(crate) fn step_job(&mut self, no: JobNo, step: Step) -> bool {
        let Some(job) = self.jobs.all.get_mut(no) else {
            return false;
        };
        let Some(next) = job.stage.step(step) else {
            return false;
        };
        let from = core::mem::replace(&mut job.stage, next);
        self.trace.note(Transition::Job {
            no,
            from,
            step,
            to: next,
        });
        if from == Stage::Waiting {
            self.jobs.begin(no);
        }
        if from.is_end() && !next.is_end() {
            self.jobs.reopen(no);
        }
        true
    }

    /// A client's job that is not final after its time fails.
    fn expire_later(&mut self, no: JobNo) {
        let at = WallTime(self.now.0.saturating_add(self.limits().job_expiry_ms));
        if let Some(job) = self.jobs.all.get_mut(no) {
            job.expires = Some(at);
            self.schedule.timers.insert((at, Timer::JobExpiry(no)));
        }
    }

    fn job_waits(&mut self, no: JobNo, id: EffectId) {
        if let Some(job) = self.jobs.all.get_mut(no) {
            job.effect = Some(id);
        }
    }

    /// The subscription and interval of an ordinary interval's job.
    pub(crate) fn interval_of(&self, no: JobNo) -> Option<(Identity, Interval)> {
        match self.jobs.get(no)?.work {
            Work::Interval { identity, interval } => Some((identity, interval)),
            Work::Client { .. } | Work::Reported { .. } | Work::Delegated { .. } => None,
        }
    }

    /// The terms and the interval of a job whose answer goes on chain.
    pub(crate) fn interval_terms(&self, no: JobNo) -> Option<(&Subscription, Interval)> {
        let interval = match self.jobs.get(no)?.work {
            Work::Interval { interval, .. } | Work::Delegated { interval, .. } => interval,
            Work::Client { .. } | Work::Reported { .. } => return None,
        };
        self.job_terms(no).map(|terms| (terms, interval))
    }
}
