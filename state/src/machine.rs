//! The machine: the state, and the only function that changes it.
//!
//! Each room has its part of `impl Machine`: what happens to a subscription is in
//! [`crate::subscription`] and `tracking`, to a job in [`crate::job`], to a delivery in
//! [`crate::delivery`] and [`crate::transaction`], to the chain view in [`crate::chain`]. Here is
//! the way in.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    account::Account,
    admission::{self, Catalog},
    breaker::Breaker,
    chain::ChainView,
    chore::Chores,
    config::{ChainConfig, ClientId, Config, Limits},
    delegation::Delegations,
    delivery::Deliveries,
    digest,
    effect::{Effect, Issued},
    event::Event,
    job::{Cause, Job, Jobs, Stage, Work},
    ledger::{Ledger, Role},
    limits::OPEN_JOBS_CAP,
    outbox::{Outbox, Turn},
    proof::Proofs,
    schedule::Schedule,
    subscription::Subscriptions,
    types::{
        Address, BlockTime, DeliveryNo, Hash, JobId, JobNo, Nonce, PayloadAt, Seq, SubscriptionId,
        WallTime,
    },
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

impl Halt {
    /// A halt at an event.
    pub(crate) fn new(seq: Seq, code: u16, reason: &str) -> Self {
        Self {
            seq,
            code,
            reason: String::from(reason),
        }
    }
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

/// The newest logic that this version knows. A change that would alter what an old log leads to
/// gets the next number, and takes effect with [`Event::Upgraded`] alone.
pub const LOGIC: u16 = 0;

/// The deterministic state of a node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The newest applied event.
    pub(crate) seq: Seq,
    /// The latest wall time that an event brought.
    pub(crate) now: WallTime,
    /// The number of the logic in force.
    pub(crate) logic: u16,
    /// The running digest of all effects.
    pub(crate) effects: Hash,
    pub(crate) config: Option<Config>,
    /// Derived from `config`.
    #[serde(skip)]
    pub(crate) catalog: Catalog,
    pub(crate) chain: ChainView,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) schedule: Schedule,
    pub(crate) outbox: Outbox,
    pub(crate) jobs: Jobs,
    pub(crate) deliveries: Deliveries,
    pub(crate) account: Account,
    pub(crate) chores: Chores,
    pub(crate) proofs: Proofs,
    pub(crate) delegations: Delegations,
    pub(crate) breaker: Breaker,
    pub(crate) ledger: Ledger,
}

impl Machine {
    /// The machine before the first event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies a durable event and says what the node now intends to do.
    ///
    /// Total: no event, in any order, panics it. Of what `NodeStarted` issues again, nothing is
    /// returned: [`Machine::outstanding`] lists it, with raised attempts, as soon as it was
    /// applied.
    ///
    /// # Errors
    /// [`Halt`] when an invariant of money or sequence would break; the machine must not be used
    /// any further.
    ///
    /// # Replay
    /// The same events give the same state and the same effects, on any machine.
    pub fn apply(&mut self, event: &Event) -> Result<Vec<Issued>, Halt> {
        self.seq = Seq(self.seq.0.saturating_add(1));
        let mut turn = Turn::new(self.seq);
        let started = matches!(event, Event::NodeStarted { .. });
        self.dispatch(&mut turn, event)?;
        self.flush_ready(&mut turn)?;
        let issued = if started {
            self.in_flight()
        } else {
            turn.issued
        };
        if !issued.is_empty() {
            self.effects = digest::chained(self.effects, &issued)
                .ok_or_else(|| Halt::new(self.seq, 1, "effects cannot be encoded"))?;
        }
        Ok(if started { Vec::new() } else { issued })
    }

    fn dispatch(&mut self, turn: &mut Turn, event: &Event) -> Result<(), Halt> {
        match event {
            Event::NodeStarted { at, .. } => {
                self.see(*at);
                self.account.observed = false;
                self.restart_effects(turn)
            }
            Event::ConfigChanged(config) => self.config_changed(turn, config),
            Event::Upgraded { to } => {
                if *to > LOGIC {
                    return Err(Halt::new(
                        turn.seq,
                        2,
                        "the log was continued by a newer version of the program; use that one",
                    ));
                }
                self.logic = self.logic.max(*to);
                Ok(())
            }
            Event::WallTimePassed { now } => {
                self.see(*now);
                self.serve_clock(turn, self.now)
            }
            Event::AccountObserved {
                head,
                nonce,
                balance,
            } => {
                let known = self.chain.head.map_or(0, |known| known.number);
                if self.chain.head.is_none() || (head.number == known && self.account.idle()) {
                    self.reconcile(turn, head, Role::NodeAccount, Address::ZERO, *balance)?;
                }
                self.account_observed(turn, *nonce)
            }
            Event::QuarantineLifted => self.quarantine_lifted(turn),
            Event::ChainCommitted { block, facts } => self.chain_committed(turn, block, facts),
            Event::ChainReorged { ancestor } => self.chain_reorged(turn, ancestor),
            Event::ChainFinalized { block } => self.chain_finalized(turn, block),
            Event::SubscriptionsSynced {
                block,
                subscriptions,
                next,
            } => self.subscriptions_synced(turn, block, subscriptions, *next),
            Event::JobAccepted(request) => {
                self.see(request.at);
                match self.check(event) {
                    Verdict::Accept => self.job_accepted(turn, request),
                    Verdict::Known(_) | Verdict::Refused(_) => Ok(()),
                }
            }
            Event::DelegatedAccepted(request) => {
                self.see(request.at);
                match self.check(event) {
                    Verdict::Accept => self.delegated_accepted(turn, request),
                    Verdict::Known(_) | Verdict::Refused(_) => Ok(()),
                }
            }
            Event::JobReported {
                job,
                client,
                at,
                status,
                containers,
                result,
            } => {
                self.see(*at);
                match self.check(event) {
                    Verdict::Accept => {
                        self.job_reported(turn, *job, *client, *status, containers, *result)
                    }
                    Verdict::Known(_) | Verdict::Refused(_) => Ok(()),
                }
            }
            Event::JobCancelled { job, at } => {
                self.see(*at);
                match self.jobs.by_id(*job) {
                    Some((no, _)) => self.fail_job(turn, no, Cause::Cancelled),
                    None => Ok(()),
                }
            }
            Event::EffectEnded {
                effect,
                attempt,
                at,
                outcome,
            } => {
                self.see(*at);
                self.effect_ended(turn, *effect, *attempt, outcome)
            }
        }
    }

    /// Wall time never runs backwards for the machine.
    fn see(&mut self, at: WallTime) {
        self.now = self.now.max(at);
    }

    /// `ConfigChanged`. What is served may be more than before: the past is scanned anew. What is
    /// no longer served is noticed when its next interval is due; no pass over all.
    fn config_changed(&mut self, turn: &mut Turn, config: &Config) -> Result<(), Halt> {
        self.catalog = Catalog::new(config);
        self.config = Some(config.clone());
        self.subscriptions.cursor = config.chain.as_ref().map(|_| SubscriptionId(1));
        self.serve_head(turn)
    }

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
                self.check_room()
            }
            Event::JobReported { job, .. } => match self.jobs.by_id(*job) {
                Some((_, known)) => match (&known.work, known.stage.is_end()) {
                    (Work::Reported { .. }, false) => Verdict::Accept,
                    (Work::Reported { .. }, true) => Verdict::Refused(Refusal::Conflict),
                    (Work::Client { .. } | Work::Interval { .. } | Work::Delegated { .. }, _) => {
                        Verdict::Refused(Refusal::OwnJob)
                    }
                },
                None => self.check_room(),
            },
            Event::JobCancelled { job, .. } => match self.jobs.by_id(*job) {
                Some(_) => Verdict::Accept,
                None => Verdict::Refused(Refusal::UnknownJob),
            },
            Event::DelegatedAccepted(request) => self.check_delegated(request),
            Event::NodeStarted { .. }
            | Event::ConfigChanged(_)
            | Event::Upgraded { .. }
            | Event::WallTimePassed { .. }
            | Event::AccountObserved { .. }
            | Event::QuarantineLifted
            | Event::ChainCommitted { .. }
            | Event::ChainReorged { .. }
            | Event::ChainFinalized { .. }
            | Event::SubscriptionsSynced { .. }
            | Event::EffectEnded { .. } => Verdict::Accept,
        }
    }

    /// Whether one more client's job may be open.
    pub(crate) fn check_room(&self) -> Verdict {
        if self.paused() {
            Verdict::Refused(Refusal::Paused)
        } else if self.jobs.open_client >= self.limits().jobs_open_max.min(OPEN_JOBS_CAP) {
            Verdict::Refused(Refusal::Busy)
        } else {
            Verdict::Accept
        }
    }

    /// The limits in force.
    pub(crate) fn limits(&self) -> Limits {
        self.config
            .as_ref()
            .map_or_else(Limits::default, |config| config.limits)
    }

    /// The chain side of the configuration.
    pub(crate) fn chain_config(&self) -> Option<&ChainConfig> {
        self.config
            .as_ref()
            .and_then(|config| config.chain.as_ref())
    }

    /// The effects that are under way, with their present attempts: what the executor gets after
    /// a restart, once `NodeStarted` (and what the driver commits with it) was applied. What
    /// backs off is not among them: it is returned by `apply` when its timer passes. Broadcasts
    /// are not among them before the account was observed: they are returned by the `apply` of
    /// `AccountObserved`.
    #[must_use]
    pub fn outstanding(&self) -> Vec<Issued> {
        self.in_flight()
    }

    /// The next wall time at which the machine wants `WallTimePassed`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<WallTime> {
        let eviction = self.jobs.next_eviction(self.limits().result_age_max_ms);
        self.schedule.next_timer().into_iter().chain(eviction).min()
    }

    /// The next head (block time, or height) at which the machine wants a `ChainCommitted` even
    /// if the block holds nothing for the node.
    #[must_use]
    pub fn next_block_deadline(&self) -> BlockDeadline {
        if self.chain_config().is_none() {
            return BlockDeadline::default();
        }
        BlockDeadline {
            time: self
                .schedule
                .next_time()
                .into_iter()
                .chain(self.chain.time_before)
                .min(),
            number: if self.chain.head.is_none() {
                Some(0)
            } else {
                self.schedule.next_height()
            },
        }
    }

    /// The nonces that wait for inclusion, with the hashes of every version sent, ascending.
    #[must_use]
    pub fn awaiting_inclusion(&self) -> Vec<(Nonce, Vec<Hash>)> {
        self.nonces_awaiting()
    }

    /// The next subscription id to read in the sync of the past; `None` when done. The sync ends
    /// with a chunk that is empty, or whose `next` is 0.
    #[must_use]
    pub fn sync_cursor(&self) -> Option<SubscriptionId> {
        self.subscriptions.cursor
    }

    /// The position of the newest applied event.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The latest wall time that an event brought.
    #[must_use]
    pub fn now(&self) -> WallTime {
        self.now
    }

    /// The recorded configuration; `None` before the first.
    #[must_use]
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// SHA-256 over the canonical encoding of the whole state.
    #[must_use]
    pub fn digest(&self) -> Hash {
        digest::chained(Hash::ZERO, self).unwrap_or_default()
    }

    /// The running digest of all effects: SHA-256 over the one before and the effects of an
    /// event, for each event that has any.
    #[must_use]
    pub fn effects_digest(&self) -> Hash {
        self.effects
    }

    /// Where a job stands.
    #[must_use]
    pub fn job_status(&self, job: JobId) -> Option<JobStatus> {
        self.jobs.by_id(job).map(|(_, job)| status_of(job))
    }

    /// A client's job as the machine keeps it.
    #[must_use]
    pub fn job(&self, job: JobId) -> Option<&Job> {
        self.jobs.by_id(job).map(|(_, job)| job)
    }

    /// The ids of a client's jobs, oldest first; only the open ones with `Some(true)`, only the
    /// ended ones with `Some(false)`.
    #[must_use]
    pub fn jobs_of(&self, client: ClientId, pending: Option<bool>) -> Vec<JobId> {
        self.jobs
            .of_client(client)
            .filter(|(_, job)| pending.is_none_or(|pending| pending != job.stage.is_end()))
            .filter_map(|(_, job)| match job.work {
                Work::Client { job, .. } | Work::Reported { job, .. } => Some(job),
                Work::Interval { .. } | Work::Delegated { .. } => None,
            })
            .collect()
    }

    /// How many jobs are open: on chain, and of clients.
    #[must_use]
    pub fn pending(&self) -> PendingCounts {
        PendingCounts {
            onchain: self.jobs.open_interval,
            offchain: self.jobs.open_client,
        }
    }

    /// All jobs that are open or kept.
    #[must_use]
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// A job by its number.
    #[must_use]
    pub fn job_by_no(&self, no: JobNo) -> Option<&Job> {
        self.jobs.get(no)
    }

    /// All subscriptions that the machine knows.
    #[must_use]
    pub fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// Deliveries that are live or kept.
    #[must_use]
    pub fn deliveries(&self) -> &Deliveries {
        &self.deliveries
    }

    /// The hashes of the transactions of a delivery that are still open.
    #[must_use]
    pub fn transactions_of(&self, no: DeliveryNo) -> Vec<Hash> {
        self.account
            .slots()
            .flat_map(|(_, slot)| slot.versions.iter())
            .filter(|version| version.does.deliveries().contains(&no))
            .map(|version| version.tx)
            .collect()
    }

    /// The node's account: nonces and quarantine.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Stake allowances.
    #[must_use]
    pub fn chores(&self) -> &Chores {
        &self.chores
    }

    /// Proofs that are open, or whose verdict is not final.
    #[must_use]
    pub fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// Delegated subscriptions that clients brought.
    #[must_use]
    pub fn delegations(&self) -> &Delegations {
        &self.delegations
    }

    /// The books.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Head and finality.
    #[must_use]
    pub fn chain(&self) -> &ChainView {
        &self.chain
    }

    /// The whole state as bytes: a snapshot. May exceed [`crate::codec::EVENT_BYTES_MAX`].
    ///
    /// # Errors
    /// [`SnapshotError::Encode`], which no state brings about.
    pub fn snapshot(&self) -> Result<Vec<u8>, SnapshotError> {
        bincode::serde::encode_to_vec(self, digest::CANONICAL).map_err(|_| SnapshotError::Encode)
    }

    /// The state of a snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] when the bytes are not one, or of another version.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (mut machine, read): (Self, usize) =
            bincode::serde::decode_from_slice(bytes, digest::CANONICAL)
                .map_err(|_| SnapshotError::Malformed)?;
        if read != bytes.len() {
            return Err(SnapshotError::Malformed);
        }
        if let Some(config) = &machine.config {
            machine.catalog = Catalog::new(config);
        }
        Ok(machine)
    }

    /// What an effect under way is for; `None` when it has ended.
    #[must_use]
    pub fn effect(&self, id: crate::types::EffectId) -> Option<&Effect> {
        self.outbox
            .pending
            .get(&id)
            .map(|pending| pending.effect.as_ref())
    }
}

/// A job's stage as `GET /api/jobs` says it.
fn status_of(job: &Job) -> JobStatus {
    match job.stage {
        Stage::Waiting
        | Stage::ReadingPayer
        | Stage::ReadingInputs
        | Stage::Running { .. }
        | Stage::Delivering
        | Stage::Included => JobStatus::Running,
        Stage::Succeeded => JobStatus::Success {
            container: job.containers.last().cloned().unwrap_or_default(),
            output: job.results.last().copied(),
        },
        Stage::Failed(cause) => JobStatus::Failed {
            container: match cause {
                Cause::Container | Cause::NotRerun => job
                    .containers
                    .get(job.results.len())
                    .cloned()
                    .unwrap_or_default(),
                Cause::Expired
                | Cause::Cancelled
                | Cause::IntervalClosed
                | Cause::ChainUnavailable
                | Cause::PayloadMissing
                | Cause::Refused(_)
                | Cause::Mismatched
                | Cause::Undelivered(_)
                | Cause::Superseded
                | Cause::Reported => String::new(),
            },
            error: job.error,
            reason: alloc::format!("{cause}"),
        },
    }
}

/// Open jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PendingCounts {
    /// Intervals of subscriptions.
    pub onchain: u32,
    /// Clients' jobs.
    pub offchain: u32,
}

/// Why a snapshot cannot be written or read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The state cannot be encoded.
    #[error("E-STATE-040: the state cannot be encoded; please report this")]
    Encode,
    /// The bytes are no snapshot of this version.
    #[error("E-STATE-041: not a snapshot of this version; delete it and replay the log")]
    Malformed,
}

/// When the machine wants to hear of a block that holds nothing for the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BlockDeadline {
    /// The first block with at least this timestamp.
    pub time: Option<BlockTime>,
    /// The first block of at least this height.
    pub number: Option<u64>,
}
