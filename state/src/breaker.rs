//! The circuit breaker: after repeated losses, intake pauses and says so.
//!
//! ```text
//!             loss, below the limit      delivered
//!            ┌───────┐                ┌───────────┐
//!            ▼       │                ▼           │
//!          Closed ───┴── the last loss of a row ──┴──► Open ── timer ──► Closed
//! ```
//! A loss is gas paid for a revert (of a delivery, an approval, a finalisation), or a stake
//! slashed. What was begun before goes on; what is due meanwhile, of subscriptions on chain and of
//! delegated ones, is begun when it closes.

use serde::{Deserialize, Serialize};

use crate::{
    machine::{Halt, Machine},
    outbox::Turn,
    schedule::Timer,
    trace::Transition,
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

/// What happens to the breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A loss.
    Lose {
        /// Losses in a row that open it; 0 for never.
        limit: u16,
        /// Until when it would be open.
        until: WallTime,
    },
    /// A delivery succeeded.
    Succeed,
    /// Its timer passed.
    Close,
}

impl Breaker {
    /// The next state, or `None` where the step does not apply. Losses are counted while it is
    /// open, too.
    #[must_use]
    pub fn step(self, step: Step) -> Option<Self> {
        match (self.open_until, step) {
            (_, Step::Lose { limit, until }) => {
                let losses = self.losses.saturating_add(1);
                let opens = limit > 0 && losses >= limit;
                Some(Self {
                    losses,
                    open_until: self.open_until.or(opens.then_some(until)),
                })
            }
            (_, Step::Succeed) => Some(Self { losses: 0, ..self }),
            (Some(_), Step::Close) => Some(Self::default()),
            (None, Step::Close) => None,
        }
    }
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
        let was_open = self.paused();
        self.step_breaker(Step::Lose {
            limit: limits.breaker_losses,
            until: WallTime(self.now.0.saturating_add(limits.breaker_pause_ms)),
        });
        if let (false, Some(until)) = (was_open, self.breaker.open_until) {
            self.schedule.timers.insert((until, Timer::BreakerCloses));
        }
    }

    pub(crate) fn step_breaker(&mut self, step: Step) {
        let from = self.breaker;
        if let Some(to) = from.step(step) {
            self.breaker = to;
            self.trace.note(Transition::Breaker { from, step, to });
        }
    }

    /// A delivery succeeded.
    pub(crate) fn count_success(&mut self) {
        self.step_breaker(Step::Succeed);
    }

    /// The pause is over: what became due meanwhile is taken up.
    pub(crate) fn breaker_closes(&mut self, turn: &mut Turn) -> Result<(), Halt> {
        self.step_breaker(Step::Close);
        self.serve_head(turn)
    }
}
