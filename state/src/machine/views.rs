//! What the machine shows: to the driver, which deadlines and effects it has; to API and
//! auditors, what it knows. Nothing here changes anything.

use alloc::{string::String, vec::Vec};

use super::{LOGIC, Machine};
use crate::{
    account::Account,
    chain::ChainView,
    chore::Chores,
    config::{ClientId, Config},
    delegation::Delegations,
    delivery::{Deliveries, Delivery, Inclusion, State},
    digest,
    effect::{Effect, Issued},
    event::Event,
    job::{Cause, Job, Jobs, Stage, Work},
    ledger::Ledger,
    proof::Proofs,
    subscription::Subscriptions,
    transaction::{Phase, Slot},
    types::{
        BlockTime, DeliveryNo, Hash, Interval, JobId, JobNo, Nonce, PayloadAt, Seq, SubscriptionId,
        WallTime,
    },
};

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
                | Cause::Reported
                | Cause::Created => String::new(),
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

/// When the machine wants to hear of a block that holds nothing for the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BlockDeadline {
    /// The first block with at least this timestamp.
    pub time: Option<BlockTime>,
    /// The first block of at least this height.
    pub number: Option<u64>,
}

impl Machine {
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
        let limits = self.limits();
        let eviction = self
            .jobs
            .next_eviction(limits.result_age_max_ms, limits.results_max);
        self.schedule.next_timer().into_iter().chain(eviction).min()
    }

    /// The next head (block time, or height) at which the machine wants a `ChainCommitted` even
    /// if the block holds nothing for the node.
    #[must_use]
    pub fn next_block_deadline(&self) -> BlockDeadline {
        if self.chain_config().is_none() {
            return BlockDeadline::default();
        }
        let begins = self.schedule.next_begin().filter(|_| self.takes_up());
        let ends = self.schedule.next_end();
        let times = [begins, ends, self.chain.time_before];
        let heights = [self.schedule.next_height(), self.chain.catching_up];
        BlockDeadline {
            time: times.into_iter().flatten().min(),
            number: if self.chain.head.is_none() {
                Some(0)
            } else {
                heights.into_iter().flatten().min()
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

    /// The number of the logic in force: 0 until an event says otherwise.
    #[must_use]
    pub fn logic(&self) -> u16 {
        self.logic
    }

    /// The event that a start must record so that [`LOGIC`] is in force; `None`
    /// when it is.
    #[must_use]
    pub fn upgrade(&self) -> Option<Event> {
        (self.logic < LOGIC).then_some(Event::Upgraded { to: LOGIC })
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
            onchain: self.jobs.open_interval.saturating_add(self.jobs.waiting),
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

    /// Deliveries that are live or kept, ascending by number from `from` on.
    pub fn deliveries_from(
        &self,
        from: DeliveryNo,
    ) -> impl DoubleEndedIterator<Item = (DeliveryNo, &Delivery)> {
        self.deliveries.all.range_from(from)
    }

    /// The block that a delivery stands in, and by which transaction: as long as it is kept. `None`
    /// for one that is in none.
    #[must_use]
    pub fn inclusion_of(&self, delivery: &Delivery) -> Option<Inclusion> {
        match delivery.state {
            State::Included(nonce) => match self.account.slots.get(&nonce)?.phase {
                Phase::Included { height, tx, .. } => Some(Inclusion {
                    nonce,
                    tx,
                    block: height,
                }),
                Phase::Signing(_)
                | Phase::Sending(_)
                | Phase::Pooled
                | Phase::Looking(_)
                | Phase::Rechecking(_) => None,
            },
            State::Final => delivery.settled,
            State::Planned
            | State::Simulating
            | State::Ready
            | State::Sent(_)
            | State::Parked
            | State::Abandoned(_)
            | State::Withdrawn(_) => None,
        }
    }

    /// The newest intervals of a subscription that the machine works on or keeps the work of, at
    /// most `count`, newest first.
    #[must_use]
    pub fn intervals_of(&self, id: SubscriptionId, count: usize) -> Vec<(Interval, JobNo)> {
        self.jobs
            .by_interval
            .range((id, Interval(0))..=(id, Interval(u32::MAX)))
            .rev()
            .take(count)
            .map(|((_, interval), no)| (*interval, *no))
            .collect()
    }

    /// The ids of the configured containers that a subscription asks for by their hash, in order;
    /// none where the hash is unknown.
    #[must_use]
    pub fn containers_of(&self, hash: &Hash) -> Vec<String> {
        self.config.as_ref().map_or_else(Vec::new, |config| {
            self.catalog
                .chain(config, hash)
                .map(|container| container.id.clone())
                .collect()
        })
    }

    /// What is open under a nonce.
    #[must_use]
    pub fn transaction(&self, nonce: Nonce) -> Option<&Slot> {
        self.account.slots.get(&nonce)
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

    /// What an effect under way is for; `None` when it has ended.
    #[must_use]
    pub fn effect(&self, id: crate::types::EffectId) -> Option<&Effect> {
        self.outbox
            .pending
            .get(&id)
            .map(|pending| pending.effect.as_ref())
    }
}
