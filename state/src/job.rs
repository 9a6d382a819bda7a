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
//!                  Failed (from any stage that is not an end)                   Succeeded
//! ```
//! A job is a local fact: a reorg of the chain never undoes its answer, but a job whose
//! subscription is gone ends, and its answer reaches nobody.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    admission::{self, Reason},
    config::ClientId,
    delegation::DelegationKey,
    delivery::{Arguments, Loss},
    effect::{ContainerCall, ContainerInput, Effect, Location, Purpose},
    event::{
        Failure, Idempotency, JobKind, JobRequest, Outcome, ReportedStatus, Subscription, Success,
    },
    limits::READ_ATTEMPTS_MAX,
    machine::{Halt, Machine},
    outbox::{Owner, Turn},
    schedule::Timer,
    subscription::Identity,
    types::{
        DeliveryNo, EffectId, Hash, Interval, JobId, JobNo, PayloadAt, PayloadRef, SubscriptionId,
        WallTime,
    },
};

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
                | Self::Delivering
                | Self::Included,
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
    /// The first interval of a delegated subscription, as a client brought it.
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
    /// Its entry among the closings of intervals, in block time.
    pub(crate) closes: Option<u64>,
    /// Its entry among the timers, for a client's job.
    pub(crate) expires: Option<WallTime>,
}

/// All jobs that are open or kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Jobs {
    last: JobNo,
    pub(crate) all: BTreeMap<JobNo, Job>,
    by_id: BTreeMap<JobId, JobNo>,
    by_client: BTreeSet<(ClientId, JobNo)>,
    by_key: BTreeMap<(ClientId, Hash), (Hash, JobNo)>,
    pub(crate) by_interval: BTreeMap<(SubscriptionId, Interval), JobNo>,
    pub(crate) open_client: u32,
    pub(crate) open_interval: u32,
    /// Ended jobs, oldest first; clients' and intervals' apart, so that neither crowds out the
    /// other.
    ended_client: BTreeSet<(WallTime, JobNo)>,
    ended_interval: BTreeSet<(WallTime, JobNo)>,
}

impl Jobs {
    /// A job by its number.
    #[must_use]
    pub fn get(&self, no: JobNo) -> Option<&Job> {
        self.all.get(&no)
    }

    /// A client's job by its id.
    #[must_use]
    pub fn by_id(&self, job: JobId) -> Option<(JobNo, &Job)> {
        let no = *self.by_id.get(&job)?;
        self.all.get(&no).map(|job| (no, job))
    }

    /// The job of an interval.
    #[must_use]
    pub fn by_interval(&self, id: SubscriptionId, interval: Interval) -> Option<(JobNo, &Job)> {
        let no = *self.by_interval.get(&(id, interval))?;
        self.all.get(&no).map(|job| (no, job))
    }

    /// The jobs of a client, in the order of their acceptance.
    pub fn of_client(&self, client: ClientId) -> impl Iterator<Item = (JobNo, &Job)> {
        self.by_client
            .range((client, JobNo(0))..=(client, JobNo(u64::MAX)))
            .filter_map(|(_, no)| self.all.get(no).map(|job| (*no, job)))
    }

    /// The body and job of an idempotency key.
    pub(crate) fn by_key(&self, client: ClientId, key: Hash) -> Option<(Hash, JobNo)> {
        self.by_key.get(&(client, key)).copied()
    }

    fn insert(&mut self, job: Job) -> JobNo {
        self.last = JobNo(self.last.0.saturating_add(1));
        let no = self.last;
        match &job.work {
            Work::Client {
                job: id,
                client,
                idempotency,
                ..
            } => {
                self.by_id.insert(*id, no);
                self.by_client.insert((*client, no));
                if let Some(idempotency) = idempotency {
                    self.by_key
                        .insert((*client, idempotency.key), (idempotency.body, no));
                }
                self.open_client = self.open_client.saturating_add(1);
            }
            Work::Reported { job: id, client } => {
                self.by_id.insert(*id, no);
                self.by_client.insert((*client, no));
                self.open_client = self.open_client.saturating_add(1);
            }
            Work::Delegated { job: id, .. } => {
                self.by_id.insert(*id, no);
                self.open_interval = self.open_interval.saturating_add(1);
            }
            Work::Interval { identity, interval } => {
                self.by_interval.insert((identity.id, *interval), no);
                self.open_interval = self.open_interval.saturating_add(1);
            }
        }
        self.all.insert(no, job);
        no
    }

    /// Counts a job as ended and keeps it for its time. Jobs end at most once at a time; a late
    /// inclusion opens an interval's job again.
    fn close(&mut self, no: JobNo, now: WallTime) {
        let Some(job) = self.all.get_mut(&no) else {
            return;
        };
        job.ended = Some(now);
        job.effect = None;
        match &job.work {
            Work::Client { .. } | Work::Reported { .. } => {
                self.open_client = self.open_client.saturating_sub(1);
                self.ended_client.insert((now, no));
            }
            Work::Interval { .. } | Work::Delegated { .. } => {
                self.open_interval = self.open_interval.saturating_sub(1);
                self.ended_interval.insert((now, no));
            }
        }
    }

    /// Takes an ended interval's job up again.
    fn reopen(&mut self, no: JobNo) {
        let Some(job) = self.all.get_mut(&no) else {
            return;
        };
        if let Some(at) = job.ended.take() {
            self.ended_interval.remove(&(at, no));
            self.open_interval = self.open_interval.saturating_add(1);
        }
    }

    /// When the oldest ended job is to be forgotten.
    pub(crate) fn next_eviction(&self, age_ms: u64) -> Option<WallTime> {
        [self.ended_client.first(), self.ended_interval.first()]
            .into_iter()
            .flatten()
            .map(|(at, _)| WallTime(at.0.saturating_add(age_ms)))
            .min()
    }

    /// Forgets ended jobs beyond age or count, at most `batch` of each kind; gives back what else
    /// goes with them.
    pub(crate) fn evict(
        &mut self,
        now: WallTime,
        age_ms: u64,
        count_max: u32,
        batch: usize,
    ) -> Vec<DelegationKey> {
        let mut delegations = Vec::new();
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        for _ in 0..batch {
            let old = |set: &BTreeSet<(WallTime, JobNo)>| {
                set.first()
                    .copied()
                    .filter(|(at, _)| set.len() > count_max || at.0.saturating_add(age_ms) <= now.0)
            };
            let client = old(&self.ended_client);
            let interval = old(&self.ended_interval);
            if client.is_none() && interval.is_none() {
                break;
            }
            for (at, no) in client.into_iter().chain(interval) {
                self.ended_client.remove(&(at, no));
                self.ended_interval.remove(&(at, no));
                delegations.extend(self.forget(no));
            }
        }
        delegations
    }

    fn forget(&mut self, no: JobNo) -> Option<DelegationKey> {
        let job = self.all.remove(&no)?;
        match job.work {
            Work::Client {
                job,
                client,
                idempotency,
                ..
            } => {
                self.by_id.remove(&job);
                self.by_client.remove(&(client, no));
                if let Some(idempotency) = idempotency {
                    self.by_key.remove(&(client, idempotency.key));
                }
            }
            Work::Reported { job, client } => {
                self.by_id.remove(&job);
                self.by_client.remove(&(client, no));
            }
            Work::Interval { identity, interval } => {
                if self.by_interval.get(&(identity.id, interval)) == Some(&no) {
                    self.by_interval.remove(&(identity.id, interval));
                }
            }
            Work::Delegated { job, key, .. } => {
                self.by_id.remove(&job);
                return Some(key);
            }
        }
        None
    }
}

impl Machine {
    /// `JobAccepted`: a client's job begins, unless it is refused or known already (which the
    /// driver's `check` has answered before; two of a kind can still meet in one batch).
    pub(crate) fn job_accepted(
        &mut self,
        turn: &mut Turn,
        request: &JobRequest,
    ) -> Result<(), Halt> {
        let no = self.jobs.insert(Job {
            work: Work::Client {
                job: request.job,
                client: request.client,
                kind: request.kind,
                idempotency: request.idempotency,
            },
            containers: request.containers.clone(),
            requires_proof: request.requires_proof,
            input: Some(ContainerInput::Json(PayloadAt {
                seq: turn.seq,
                payload: request.input,
            })),
            results: Vec::new(),
            error: None,
            stage: Stage::Running { position: 0 },
            since: self.now,
            ended: None,
            delivery: None,
            effect: None,
            closes: None,
            expires: None,
        });
        self.expire_later(no);
        self.run_container(turn, no)
    }

    /// Work on an interval begins.
    pub(crate) fn begin_interval(
        &mut self,
        turn: &mut Turn,
        identity: Identity,
        interval: Interval,
        closes: Option<u64>,
    ) -> Result<(), Halt> {
        let (Some(config), Some(tracked)) =
            (self.config.as_ref(), self.subscriptions.get(identity.id))
        else {
            return Ok(());
        };
        let containers = self
            .catalog
            .chain(config, &tracked.subscription.container_id)
            .into_iter()
            .map(|container| container.id.clone())
            .collect();
        let subscription = &tracked.subscription;
        let paid = !subscription.payment_amount.is_zero();
        let requires_proof = !subscription.verifier.is_zero();
        let no = self.jobs.insert(Job {
            work: Work::Interval { identity, interval },
            containers,
            requires_proof,
            input: None,
            results: Vec::new(),
            error: None,
            stage: if paid {
                Stage::ReadingPayer
            } else {
                Stage::ReadingInputs
            },
            since: self.now,
            ended: None,
            delivery: None,
            effect: None,
            closes,
            expires: None,
        });
        if let Some(at) = closes {
            self.schedule.ends.insert((at, no));
        }
        if paid {
            self.read_payer(turn, no)
        } else {
            self.read_inputs(turn, no)
        }
    }

    /// Asks what the wallet of a job's consumer can pay.
    pub(crate) fn read_payer(&mut self, turn: &mut Turn, no: JobNo) -> Result<(), Halt> {
        let Some(terms) = self.job_terms(no) else {
            return self.fail_job(turn, no, Cause::Superseded);
        };
        let effect = Effect::ReadPayer {
            wallet: terms.wallet,
            spender: terms.owner,
            token: terms.payment_token,
        };
        let id = self.issue(turn, Owner::Job(no), effect)?;
        self.job_waits(no, id);
        Ok(())
    }

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

    /// A delegated subscription's job begins to wait.
    pub(crate) fn wait_delegated(
        &mut self,
        work: Work,
        containers: Vec<String>,
        requires_proof: bool,
        input: ContainerInput,
    ) -> JobNo {
        self.jobs.insert(Job {
            work,
            containers,
            requires_proof,
            input: Some(input),
            results: Vec::new(),
            error: None,
            stage: Stage::Waiting,
            since: self.now,
            ended: None,
            delivery: None,
            effect: None,
            closes: None,
            expires: None,
        })
    }

    /// A waiting job knows its interval now.
    pub(crate) fn set_delegated_interval(
        &mut self,
        no: JobNo,
        interval: Interval,
        closes: Option<u64>,
    ) {
        if let Some(job) = self.jobs.all.get_mut(&no) {
            if let Work::Delegated { interval: of, .. } = &mut job.work {
                *of = interval;
            }
            job.closes = closes;
            if let Some(at) = closes {
                self.schedule.ends.insert((at, no));
            }
        }
    }

    fn read_inputs(&mut self, turn: &mut Turn, no: JobNo) -> Result<(), Halt> {
        let Some((identity, interval)) = self.interval_of(no) else {
            return Ok(());
        };
        let (Some(chain), Some(head), Some(tracked)) = (
            self.chain_config(),
            self.chain.head,
            self.subscriptions.get(identity.id),
        ) else {
            return self.fail_job(turn, no, Cause::Superseded);
        };
        let effect = Effect::ReadInputs {
            consumer: tracked.subscription.owner,
            subscription: identity.id,
            interval,
            timestamp: head.time,
            caller: chain.node,
        };
        let id = self.issue(turn, Owner::Job(no), effect)?;
        self.job_waits(no, id);
        Ok(())
    }

    /// Calls the container of a running job's position.
    pub(crate) fn run_container(&mut self, turn: &mut Turn, no: JobNo) -> Result<(), Halt> {
        let Some(job) = self.jobs.all.get(&no) else {
            return Ok(());
        };
        let Stage::Running { position } = job.stage else {
            return Ok(());
        };
        let position = usize::from(position);
        let last = position.saturating_add(1) >= job.containers.len();
        let onchain = if last {
            Location::Onchain
        } else {
            Location::Offchain
        };
        let (purpose, destination) = match &job.work {
            Work::Client { job, kind, .. } => (
                Purpose::Job(*job),
                match kind {
                    JobKind::Offchain => Location::Offchain,
                    JobKind::Stream => Location::Stream,
                },
            ),
            Work::Reported { .. } => return Ok(()),
            Work::Interval { identity, interval } => (
                Purpose::Interval {
                    subscription: identity.id,
                    interval: *interval,
                },
                onchain,
            ),
            Work::Delegated { key, interval, .. } => (
                Purpose::Interval {
                    subscription: self
                        .delegations
                        .get(*key)
                        .and_then(|delegation| delegation.id)
                        .unwrap_or_default(),
                    interval: *interval,
                },
                onchain,
            ),
        };
        let before = position
            .checked_sub(1)
            .and_then(|before| job.results.get(before))
            .map(|output| ContainerInput::Json(*output));
        let (Some(container), Some(input)) =
            (job.containers.get(position).cloned(), before.or(job.input))
        else {
            return self.fail_job(turn, no, Cause::Mismatched);
        };
        let effect = Effect::RunContainer(ContainerCall {
            container,
            purpose,
            input,
            destination,
            requires_proof: job.requires_proof && last,
        });
        let id = self.issue(turn, Owner::Job(no), effect)?;
        self.job_waits(no, id);
        Ok(())
    }

    /// What came of an effect that a job waits for.
    pub(crate) fn job_effect_ended(
        &mut self,
        turn: &mut Turn,
        no: JobNo,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        let attempts_max = self.limits().container_attempts_max;
        match outcome {
            Outcome::Succeeded(success) => {
                self.outbox.pending.remove(&id);
                self.job_effect_succeeded(turn, no, success)
            }
            Outcome::Failed(Failure::Container { error, retry }) => {
                if *retry && self.retry(id, attempts_max) {
                    return Ok(());
                }
                self.record_error(no, turn, *error);
                self.job_effect_failed(turn, no, id, Cause::Container)
            }
            Outcome::Failed(Failure::Unavailable { .. }) => {
                let running = self
                    .jobs
                    .get(no)
                    .is_some_and(|job| matches!(job.stage, Stage::Running { .. }));
                let (bound, cause) = if running {
                    (attempts_max, Cause::Container)
                } else {
                    (READ_ATTEMPTS_MAX, Cause::ChainUnavailable)
                };
                if self.retry(id, bound) {
                    return Ok(());
                }
                self.job_effect_failed(turn, no, id, cause)
            }
            Outcome::Failed(Failure::NotRerun) => {
                self.job_effect_failed(turn, no, id, Cause::NotRerun)
            }
            Outcome::Failed(Failure::Missing { .. }) => {
                self.job_effect_failed(turn, no, id, Cause::PayloadMissing)
            }
            Outcome::Failed(Failure::Reverted { .. } | Failure::Rejected(_)) => {
                self.job_effect_failed(turn, no, id, Cause::Mismatched)
            }
            Outcome::Unknown { .. } => {
                // Looking is not possible at a container: it is asked again where that does no
                // harm, and not where it could.
                if self.forbids_rerun(id) {
                    self.job_effect_failed(turn, no, id, Cause::NotRerun)
                } else if self.retry(id, attempts_max) {
                    Ok(())
                } else {
                    self.job_effect_failed(turn, no, id, Cause::Container)
                }
            }
        }
    }

    fn job_effect_failed(
        &mut self,
        turn: &mut Turn,
        no: JobNo,
        id: EffectId,
        cause: Cause,
    ) -> Result<(), Halt> {
        self.outbox.pending.remove(&id);
        self.fail_job(turn, no, cause)
    }

    fn record_error(&mut self, no: JobNo, turn: &Turn, error: PayloadRef) {
        if let Some(job) = self.jobs.all.get_mut(&no) {
            job.error = Some(PayloadAt {
                seq: turn.seq,
                payload: error,
            });
        }
    }

    fn job_effect_succeeded(
        &mut self,
        turn: &mut Turn,
        no: JobNo,
        success: &Success,
    ) -> Result<(), Halt> {
        let Some(job) = self.jobs.all.get_mut(&no) else {
            return Ok(());
        };
        job.effect = None;
        let at = |payload: &PayloadRef| PayloadAt {
            seq: turn.seq,
            payload: *payload,
        };
        let last = match job.stage {
            Stage::Running { position } => {
                usize::from(position).saturating_add(1) >= job.containers.len()
            }
            Stage::Waiting
            | Stage::ReadingPayer
            | Stage::ReadingInputs
            | Stage::Delivering
            | Stage::Included
            | Stage::Succeeded
            | Stage::Failed(_) => false,
        };
        let delegated = matches!(job.work, Work::Delegated { .. });
        let onchain = delegated || matches!(job.work, Work::Interval { .. });
        match (job.stage, success) {
            (
                Stage::ReadingPayer,
                Success::PayerRead {
                    valid,
                    balance,
                    allowance,
                },
            ) => {
                let price = self
                    .job_terms(no)
                    .map(|terms| terms.payment_amount)
                    .unwrap_or_default();
                match admission::admit_payer(price, *valid, *balance, *allowance) {
                    Ok(()) if delegated => {
                        self.step_job(no, Step::PayerReadDelegated);
                        self.run_container(turn, no)
                    }
                    Ok(()) => {
                        self.step_job(no, Step::PayerRead);
                        self.read_inputs(turn, no)
                    }
                    Err(reason) => self.fail_job(turn, no, Cause::Refused(reason)),
                }
            }
            (Stage::ReadingInputs, Success::InputsRead { input }) => {
                job.input = Some(ContainerInput::Onchain(at(input)));
                self.step_job(no, Step::InputsRead);
                self.run_container(turn, no)
            }
            (Stage::Running { .. }, Success::ContainerAnswered { output }) if !last => {
                job.results.push(at(output));
                self.step_job(no, Step::Answered);
                self.run_container(turn, no)
            }
            (Stage::Running { .. }, Success::ContainerAnswered { output }) if !onchain => {
                job.results.push(at(output));
                self.step_job(no, Step::AnsweredClient);
                self.close_job(no);
                Ok(())
            }
            (
                Stage::Running { .. },
                Success::ContainerAnsweredOnchain {
                    output,
                    deliver_input,
                    deliver_output,
                    deliver_proof,
                },
            ) if last && onchain => {
                job.results.push(at(output));
                let arguments = Arguments {
                    input: at(deliver_input),
                    output: at(deliver_output),
                    proof: at(deliver_proof),
                };
                self.step_job(no, Step::AnsweredInterval);
                self.plan_delivery(turn, no, arguments)
            }
            (
                Stage::Waiting
                | Stage::ReadingPayer
                | Stage::ReadingInputs
                | Stage::Running { .. }
                | Stage::Delivering
                | Stage::Included
                | Stage::Succeeded
                | Stage::Failed(_),
                Success::InputsRead { .. }
                | Success::PayerRead { .. }
                | Success::ResponsesRead { .. }
                | Success::ContainerAnswered { .. }
                | Success::ContainerAnsweredOnchain { .. }
                | Success::Simulated { .. }
                | Success::Signed { .. }
                | Success::Broadcast
                | Success::LookedUp(_),
            ) => self.fail_job(turn, no, Cause::Mismatched),
        }
    }

    /// A job cannot be done: what it waits for is dropped, its delivery withdrawn.
    pub(crate) fn fail_job(
        &mut self,
        turn: &mut Turn,
        no: JobNo,
        cause: Cause,
    ) -> Result<(), Halt> {
        if !self.step_job(no, Step::Fail(cause)) {
            return Ok(());
        }
        let effect = self.jobs.all.get_mut(&no).and_then(|job| job.effect.take());
        if let Some(id) = effect {
            self.drop_effect(turn, id)?;
        }
        self.close_job(no);
        Ok(())
    }

    /// An ended job leaves the schedule and is kept for its time.
    pub(crate) fn close_job(&mut self, no: JobNo) {
        if let Some(job) = self.jobs.all.get_mut(&no) {
            if let Some(at) = job.closes.take() {
                self.schedule.ends.remove(&(at, no));
            }
            if let Some(at) = job.expires.take() {
                self.schedule.timers.remove(&(at, Timer::JobExpiry(no)));
            }
        }
        self.jobs.close(no, self.now);
    }

    /// Moves a job on; `false` where the step does not apply.
    pub(crate) fn step_job(&mut self, no: JobNo, step: Step) -> bool {
        let Some(job) = self.jobs.all.get_mut(&no) else {
            return false;
        };
        let Some(next) = job.stage.step(step) else {
            return false;
        };
        let was_end = job.stage.is_end();
        job.stage = next;
        if was_end && !next.is_end() {
            self.jobs.reopen(no);
        }
        true
    }

    /// A client's job that is not final after its time fails.
    fn expire_later(&mut self, no: JobNo) {
        let at = WallTime(self.now.0.saturating_add(self.limits().job_expiry_ms));
        if let Some(job) = self.jobs.all.get_mut(&no) {
            job.expires = Some(at);
            self.schedule.timers.insert((at, Timer::JobExpiry(no)));
        }
    }

    fn job_waits(&mut self, no: JobNo, id: EffectId) {
        if let Some(job) = self.jobs.all.get_mut(&no) {
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

    /// `JobReported`: what ran elsewhere is recorded, and may be reported again until it is final.
    pub(crate) fn job_reported(
        &mut self,
        turn: &mut Turn,
        id: JobId,
        client: ClientId,
        status: ReportedStatus,
        containers: &[String],
        result: Option<PayloadRef>,
    ) -> Result<(), Halt> {
        let result = result.map(|payload| PayloadAt {
            seq: turn.seq,
            payload,
        });
        let no = match self.jobs.by_id(id) {
            Some((no, job)) => {
                if !matches!(job.work, Work::Reported { .. }) || job.stage.is_end() {
                    return Ok(());
                }
                no
            }
            None => {
                let no = self.jobs.insert(Job {
                    work: Work::Reported { job: id, client },
                    containers: containers.to_vec(),
                    requires_proof: false,
                    input: None,
                    results: Vec::new(),
                    error: None,
                    stage: Stage::Running { position: 0 },
                    since: self.now,
                    ended: None,
                    delivery: None,
                    effect: None,
                    closes: None,
                    expires: None,
                });
                self.expire_later(no);
                no
            }
        };
        match status {
            ReportedStatus::Running => Ok(()),
            ReportedStatus::Success => {
                if let Some(job) = self.jobs.all.get_mut(&no) {
                    job.results.extend(result);
                }
                self.step_job(no, Step::AnsweredClient);
                self.close_job(no);
                Ok(())
            }
            ReportedStatus::Failed => {
                if let Some(job) = self.jobs.all.get_mut(&no) {
                    job.error = result;
                }
                self.fail_job(turn, no, Cause::Reported)
            }
        }
    }
}
