//! All jobs that are open or kept, with their indices and their retention.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use super::{Job, Work};
use crate::{
    config::ClientId,
    delegation::DelegationKey,
    numbered::Numbered,
    types::{Hash, Interval, JobId, JobNo, SubscriptionId, WallTime},
};

/// All jobs that are open or kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Jobs {
    last: JobNo,
    pub(crate) all: Numbered<JobNo, Job>,
    by_id: BTreeMap<JobId, JobNo>,
    by_client: BTreeSet<(ClientId, JobNo)>,
    by_key: BTreeMap<(ClientId, Hash), (Hash, JobNo)>,
    pub(crate) by_interval: BTreeMap<(SubscriptionId, Interval), JobNo>,
    pub(crate) open_client: u32,
    pub(crate) open_interval: u32,
    /// Delegated ones that wait for their subscription to become active: open, and not yet among
    /// the open ones of intervals, whose room they would take from what is due.
    pub(crate) waiting: u32,
    /// The same by client; without zeroes.
    waiting_of: BTreeMap<ClientId, u32>,
    /// Ended jobs that may be forgotten, oldest first; clients' and intervals' apart, so that
    /// neither crowds out the other.
    ended_client: BTreeSet<(WallTime, JobNo)>,
    ended_interval: BTreeSet<(WallTime, JobNo)>,
}

impl Jobs {
    /// A job by its number.
    #[must_use]
    pub fn get(&self, no: JobNo) -> Option<&Job> {
        self.all.get(no)
    }

    /// A client's job by its id.
    #[must_use]
    pub fn by_id(&self, job: JobId) -> Option<(JobNo, &Job)> {
        let no = *self.by_id.get(&job)?;
        self.all.get(no).map(|job| (no, job))
    }

    /// The job of an interval.
    #[must_use]
    pub fn by_interval(&self, id: SubscriptionId, interval: Interval) -> Option<(JobNo, &Job)> {
        let no = *self.by_interval.get(&(id, interval))?;
        self.all.get(no).map(|job| (no, job))
    }

    /// The jobs of a client, in the order of their acceptance.
    pub fn of_client(&self, client: ClientId) -> impl Iterator<Item = (JobNo, &Job)> {
        self.by_client
            .range((client, JobNo(0))..=(client, JobNo(u64::MAX)))
            .filter_map(|(_, no)| self.all.get(*no).map(|job| (*no, job)))
    }

    /// The body and job of an idempotency key.
    pub(crate) fn by_key(&self, client: ClientId, key: Hash) -> Option<(Hash, JobNo)> {
        self.by_key.get(&(client, key)).copied()
    }

    pub(super) fn insert(&mut self, job: Job) -> JobNo {
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
            Work::Delegated {
                job: id, client, ..
            } => {
                self.by_id.insert(*id, no);
                self.waiting = self.waiting.saturating_add(1);
                let of = self.waiting_of.entry(*client).or_default();
                *of = of.saturating_add(1);
            }
            Work::Interval { identity, interval } => {
                self.by_interval.insert((identity.id, *interval), no);
                self.open_interval = self.open_interval.saturating_add(1);
            }
        }
        self.all.insert(no, job);
        no
    }

    /// Counts a job as ended. Jobs end at most once at a time; a late inclusion opens an interval's
    /// job again.
    pub(super) fn close(&mut self, no: JobNo, now: WallTime) {
        let Some(job) = self.all.get_mut(no) else {
            return;
        };
        job.ended = Some(now);
        job.effect = None;
        match &job.work {
            Work::Client { .. } | Work::Reported { .. } => {
                self.open_client = self.open_client.saturating_sub(1);
            }
            Work::Interval { .. } | Work::Delegated { .. } => {
                self.open_interval = self.open_interval.saturating_sub(1);
            }
        }
    }

    /// Puts an ended job among those that are forgotten in their time, or takes it out.
    pub(crate) fn queue(&mut self, no: JobNo, may_be_forgotten: bool) {
        let Some(job) = self.all.get(no) else {
            return;
        };
        let Some(at) = job.ended else {
            return;
        };
        let ended = match &job.work {
            Work::Client { .. } | Work::Reported { .. } => &mut self.ended_client,
            Work::Interval { .. } | Work::Delegated { .. } => &mut self.ended_interval,
        };
        if may_be_forgotten {
            ended.insert((at, no));
        } else {
            ended.remove(&(at, no));
        }
    }

    /// Whether a job is among those that are forgotten in their time.
    pub(crate) fn is_queued(&self, no: JobNo) -> bool {
        let entry = self.all.get(no).and_then(|job| Some((job.ended?, no)));
        entry.is_some_and(|entry| {
            self.ended_client.contains(&entry) || self.ended_interval.contains(&entry)
        })
    }

    /// How many are.
    pub(crate) fn queued(&self) -> usize {
        self.ended_client
            .len()
            .saturating_add(self.ended_interval.len())
    }

    /// A delegated job is its request's again.
    pub(crate) fn answer_with(&mut self, no: JobNo) {
        if let Some(Work::Delegated { job, .. }) = self.all.get(no).map(|job| &job.work) {
            self.by_id.insert(*job, no);
        }
    }

    /// How many of a client's delegated jobs wait.
    pub(crate) fn waiting_of(&self, client: ClientId) -> u32 {
        self.waiting_of.get(&client).copied().unwrap_or_default()
    }

    /// A delegated job waits no longer.
    pub(super) fn begin(&mut self, no: JobNo) {
        self.waiting = self.waiting.saturating_sub(1);
        self.open_interval = self.open_interval.saturating_add(1);
        if let Some(Work::Delegated { client, .. }) = self.all.get(no).map(|job| &job.work)
            && let Some(of) = self.waiting_of.get_mut(client)
        {
            *of = of.saturating_sub(1);
            if *of == 0 {
                self.waiting_of.remove(client);
            }
        }
    }

    /// Takes an ended interval's job up again.
    pub(super) fn reopen(&mut self, no: JobNo) {
        let Some(job) = self.all.get_mut(no) else {
            return;
        };
        if let Some(at) = job.ended.take() {
            self.ended_interval.remove(&(at, no));
            self.open_interval = self.open_interval.saturating_add(1);
        }
    }

    /// When the oldest ended job is to be forgotten: at its age, or at once where there are too
    /// many.
    pub(crate) fn next_eviction(&self, age_ms: u64, count_max: u32) -> Option<WallTime> {
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        [&self.ended_client, &self.ended_interval]
            .into_iter()
            .filter_map(|set| {
                let age_ms = if set.len() > count_max { 0 } else { age_ms };
                set.first()
                    .map(|(at, _)| WallTime(at.0.saturating_add(age_ms)))
            })
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
    ) -> Vec<(DelegationKey, JobNo)> {
        let mut delegations = Vec::new();
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        for _ in 0..batch {
            let old = |set: &BTreeSet<(WallTime, JobNo)>| {
                set.first().copied().filter(|(at, _)| {
                    let age_ms = if set.len() > count_max { 0 } else { age_ms };
                    at.0.saturating_add(age_ms) <= now.0
                })
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

    /// An id is forgotten with its newest job: another may have been begun under it.
    fn forget_id(&mut self, job: JobId, no: JobNo) {
        if self.by_id.get(&job) == Some(&no) {
            self.by_id.remove(&job);
        }
    }

    fn forget(&mut self, no: JobNo) -> Option<(DelegationKey, JobNo)> {
        let job = self.all.remove(no)?;
        match job.work {
            Work::Client {
                job,
                client,
                idempotency,
                ..
            } => {
                self.forget_id(job, no);
                self.by_client.remove(&(client, no));
                if let Some(idempotency) = idempotency {
                    self.by_key.remove(&(client, idempotency.key));
                }
            }
            Work::Reported { job, client } => {
                self.forget_id(job, no);
                self.by_client.remove(&(client, no));
            }
            Work::Interval { identity, interval } => {
                if self.by_interval.get(&(identity.id, interval)) == Some(&no) {
                    self.by_interval.remove(&(identity.id, interval));
                }
            }
            Work::Delegated { job, key, .. } => {
                self.forget_id(job, no);
                return Some((key, no));
            }
        }
        None
    }
}
