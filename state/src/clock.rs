//! What the wall clock has made due.

use crate::{
    job::Cause,
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
        let forgotten = self.jobs.evict(
            now,
            limits.result_age_max_ms,
            limits.results_max,
            DEADLINES_PER_EVENT_MAX,
        );
        for (key, no) in forgotten {
            self.forget_delegation(key, no);
        }
        Ok(())
    }
}
