//! What the wall clock has made due.

use alloc::collections::BTreeSet;
use core::cell::LazyCell;

use crate::{
    delivery::State,
    job::{Cause, Work},
    limits::DEADLINES_PER_EVENT_MAX,
    machine::{Halt, Machine},
    outbox::Turn,
    schedule::Timer,
    types::WallTime,
};

impl Machine {
    /// Serves what the wall clock has made due, a bounded part at a time.
    pub(crate) fn serve_clock(&mut self, turn: &mut Turn, now: WallTime) -> Result<(), Halt> {
        for _ in 0..DEADLINES_PER_EVENT_MAX {
            let Some(timer) = self.schedule.pop_timer(now) else {
                break;
            };
            match timer {
                Timer::Retry(id) => self.retry_due(turn, id),
                Timer::Bump(nonce) => self.bump_due(turn, nonce)?,
                Timer::JobExpiry(no) => {
                    if let Some(job) = self.jobs.all.get_mut(no) {
                        job.expires = None;
                    }
                    self.fail_job(turn, no, Cause::Expired)?;
                }
                Timer::Replan(no) => self.replan_due(turn, no)?,
                Timer::Chore(chore) => self.chore_due(turn, chore)?,
                Timer::BreakerCloses => self.breaker_closes(turn)?,
            }
        }
        let limits = self.limits();
        // A block may still hold what was signed: the job is its interval's again then. Looked up
        // where an interval's job is due to go; clients' jobs, which are many, need none of it.
        let signed = LazyCell::new(|| {
            let mut jobs = BTreeSet::new();
            let mut requests = BTreeSet::new();
            for no in self.account.versions().flat_map(|of| of.does.deliveries()) {
                if let Some(delivery) = self.deliveries.get(*no)
                    && delivery.state != State::Final
                {
                    jobs.insert(delivery.job);
                    requests.extend(delivery.delegation);
                }
            }
            (jobs, requests)
        });
        let forgotten = self.jobs.evict(
            now,
            limits.result_age_max_ms,
            limits.results_max,
            DEADLINES_PER_EVENT_MAX,
            |job, no| match &job.work {
                Work::Delegated { key, .. } => signed.0.contains(&no) || signed.1.contains(key),
                Work::Interval { .. } => signed.0.contains(&no),
                Work::Client { .. } | Work::Reported { .. } => false,
            },
        );
        for (key, no) in forgotten {
            self.forget_delegation(key, no);
        }
        Ok(())
    }
}
