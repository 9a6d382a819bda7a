//! The circuit breaker: after repeated losses, intake pauses and says so.
//!
//! ```text
//!             loss, below the limit      delivered
//!            ┌───────┐                ┌───────────┐
//!            ▼       │                ▼           │
//!          Closed ───┴── the last loss of a row ──┴──► Open ── timer ──► Closed
//! ```
//! A loss is gas paid for a revert, or a stake slashed. What was taken on before goes on.

use serde::{Deserialize, Serialize};

use crate::{
    machine::{Halt, Machine},
    outbox::Turn,
    schedule::Timer,
    types::WallTime,
};

/// The breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Breaker {
    /// Losses in a row.
    pub losses: u16,
    /// Intake is paused until then.
    pub open_until: Option<WallTime>,
}

impl Machine {
    /// Whether intake is paused.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.breaker.open_until.is_some()
    }

    /// The circuit breaker.
    #[must_use]
    pub fn breaker(&self) -> Breaker {
        self.breaker
    }

    /// A loss.
    pub(crate) fn count_loss(&mut self) {
        let limits = self.limits();
        self.breaker.losses = self.breaker.losses.saturating_add(1);
        if limits.breaker_losses == 0
            || self.breaker.losses < limits.breaker_losses
            || self.paused()
        {
            return;
        }
        let until = WallTime(self.now.0.saturating_add(limits.breaker_pause_ms));
        self.breaker.open_until = Some(until);
        self.schedule.timers.insert((until, Timer::BreakerCloses));
    }

    /// A delivery succeeded.
    pub(crate) fn count_success(&mut self) {
        self.breaker.losses = 0;
    }

    /// The pause is over: what became due meanwhile is taken up.
    pub(crate) fn breaker_closes(&mut self, turn: &mut Turn) -> Result<(), Halt> {
        self.breaker = Breaker::default();
        self.serve_head(turn)
    }
}
