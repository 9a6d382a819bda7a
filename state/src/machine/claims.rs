//! The verdicts on requests that are recorded together, before any of them is applied.

use alloc::collections::{BTreeMap, BTreeSet};

use super::{Machine, Verdict};
use crate::{
    config::ClientId,
    delegation::delegated_job_id,
    event::Event,
    types::{Hash, JobId},
};

/// What the accepted requests of one commit take. Begin with none, judge each request of the
/// commit with [`Machine::judge`], and record the accepted ones in this order, before the
/// commit's other events: each of them is then accepted when it is applied.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Claims {
    jobs: BTreeSet<JobId>,
    keys: BTreeSet<(ClientId, Hash)>,
    /// New jobs of clients.
    open: u32,
    /// New delegated ones, which wait at first.
    waiting: u32,
    waiting_of: BTreeMap<ClientId, u32>,
}

/// What a request takes.
struct Claim {
    /// The job that it is about.
    job: JobId,
    /// The idempotency key that it brings.
    key: Option<(ClientId, Hash)>,
    /// Where its new job needs room.
    room: Option<Room>,
}

/// Where a new job needs room.
enum Room {
    Open,
    Waiting(ClientId),
}

impl Machine {
    /// Judges a request of a commit beside those of `claims`, and adds it to them if it is
    /// accepted; changes nothing else. `None` where the verdict depends on what comes of the
    /// others: ask again after the commit.
    #[must_use]
    pub fn judge(&self, event: &Event, claims: &mut Claims) -> Option<Verdict> {
        let Some(claim) = self.claim(event) else {
            return Some(self.check(event));
        };
        if claims.jobs.contains(&claim.job)
            || claim.key.is_some_and(|key| claims.keys.contains(&key))
        {
            return None;
        }
        let verdict = self.check(event);
        if verdict != Verdict::Accept {
            return Some(verdict);
        }
        match claim.room {
            Some(Room::Open) => {
                if self.jobs.open_client.saturating_add(claims.open) >= self.open_max() {
                    return None;
                }
                claims.open = claims.open.saturating_add(1);
            }
            Some(Room::Waiting(client)) => {
                let of = claims.waiting_of.entry(client).or_default();
                let known = self.jobs.waiting_of(client);
                if known.saturating_add(*of) >= self.limits().delegated_waiting_max
                    || self.jobs.waiting.saturating_add(claims.waiting) >= self.open_max()
                {
                    return None;
                }
                *of = of.saturating_add(1);
                claims.waiting = claims.waiting.saturating_add(1);
            }
            None => {}
        }
        claims.jobs.insert(claim.job);
        claims.keys.extend(claim.key);
        Some(verdict)
    }

    fn claim(&self, event: &Event) -> Option<Claim> {
        match event {
            Event::JobAccepted(request) => Some(Claim {
                job: request.job,
                key: request
                    .idempotency
                    .map(|idempotency| (request.client, idempotency.key)),
                room: Some(Room::Open),
            }),
            Event::DelegatedAccepted(request) => Some(Claim {
                job: delegated_job_id((request.subscription.owner, request.nonce)),
                key: None,
                room: Some(Room::Waiting(request.client)),
            }),
            Event::JobReported { job, .. } => Some(Claim {
                job: *job,
                key: None,
                room: self.jobs.by_id(*job).is_none().then_some(Room::Open),
            }),
            Event::JobCancelled { job, .. } => Some(Claim {
                job: *job,
                key: None,
                room: None,
            }),
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
            | Event::EffectEnded { .. } => None,
        }
    }
}
