//! After a storm, and at the end: whatever was owed is delivered, once, and nothing is left open.
//!
//! In a lull chain, pool and containers answer at once and every block holds what the pool holds. When the machine
//! asks for nothing more, an interval is *owed* an answer if
//!
//! * it is open at the head's time, and stays open until what is sent then is included and the margin is over;
//! * its redundancy is not met, and the node has not responded in it;
//! * the machine serves its subscription, whose creation is as deep as the configuration wants;
//! * a delivery of the node would succeed in the EVM now, its stake allowed;
//! * its job did not end before for a reason that the storm gave: its containers failed for good, its payer could
//!   not pay, or its delivery reverted as often as it was tried.
//!
//! No such interval may be left. So where chain and containers answer, and the interval outlasts them, the node has
//! delivered to it, or others have met it; and the Coordinator takes no second delivery of a node.

use std::collections::BTreeSet;

use infernet_contracts::convert::from_address;
use infernet_state::{
    delivery::{self, Loss},
    job::{Cause, Stage},
    ledger::Balance,
    transaction::Phase,
    types::{Interval, WallTime},
};
use revm::primitives::U256;

use super::{Node, differ};
use crate::{
    evm::Execution,
    model::{Answer, Call, ConsumerScript, Control, Subscription},
    twin::{Mismatch, Step},
};

/// Blocks of a lull.
const LULL_BLOCKS_MAX: usize = 24;

/// Blocks at the end, in which nobody else does anything, until nothing more is under way.
const BLOCKS_MAX: usize = 60;

/// The longest wait of the clock for anything that is under way.
const PATIENCE_MS: u64 = 10 * 60_000;

/// Further intervals that begin at the end.
const MORE_INTERVALS: usize = 2;

impl Node {
    /// Nothing goes wrong for a while.
    pub(super) fn pause(&mut self) -> Result<(), Mismatch> {
        if self.quieten(LULL_BLOCKS_MAX)? {
            self.check_owed()?;
        }
        self.lull = false;
        Ok(())
    }

    /// Blocks without anybody else, in which nothing goes wrong, until the machine asks for nothing more.
    fn quieten(&mut self, blocks_max: usize) -> Result<bool, Mismatch> {
        self.lull = true;
        if !self.open.is_empty() || self.is_behind() {
            self.close_block()?;
        }
        for _ in 0..blocks_max {
            self.complete_start()?;
            self.effects.extend(std::mem::take(&mut self.slow));
            self.settle(false)?;
            let now = self.twin.model.time();
            self.set_time(now + 1)?;
            self.include_pool()?;
            self.close_block()?;
            self.settle(false)?;
            if self.is_quiet() {
                return Ok(true);
            }
            // Nobody waits for anything but the clock.
            if self.pool.is_empty()
                && self.slow.is_empty()
                && let Some(WallTime(at)) = self.machine.next_deadline()
                && at.saturating_sub(self.wall_ms) <= PATIENCE_MS
            {
                self.wall_ms = self.wall_ms.max(at);
            }
        }
        Ok(false)
    }

    /// Whether the machine waits for nothing that is under way.
    fn is_quiet(&self) -> bool {
        let is_included = |phase| matches!(phase, Phase::Included { .. });
        let moves = |state| match state {
            // For an interval that has not begun: in years, where the contract's clock began anew.
            delivery::State::Planned => !self.began_anew(),
            delivery::State::Simulating | delivery::State::Ready | delivery::State::Sent(_) => true,
            delivery::State::Included(_)
            | delivery::State::Final
            | delivery::State::Parked
            | delivery::State::Abandoned(_)
            | delivery::State::Withdrawn(_) => false,
        };
        let mut slots = self.machine.account().slots();
        let mut deliveries = self.machine.deliveries().iter();
        !self.is_behind()
            && self.slow.is_empty()
            && self.pool.is_empty()
            && self.machine.pending_effects().next().is_none()
            && slots.all(|(_, slot)| is_included(slot.phase))
            && !deliveries.any(|(_, delivery)| moves(delivery.state))
    }

    /// The end: nothing goes wrong any more, further intervals begin, and all becomes final.
    pub(super) fn come_to_rest(&mut self) -> Result<(), Mismatch> {
        self.lull = true;
        if self.down {
            self.come_up()?;
        }
        if !self.open.is_empty() {
            self.close_block()?;
        }
        let now = self.twin.model.time();
        self.set_time(now.max(self.latest))?;
        for more in (0..=MORE_INTERVALS).rev() {
            let mut quiet = self.quieten(BLOCKS_MAX)?;
            if !quiet {
                // A consumer may ask for more with each answer, for ever.
                self.calm_consumers()?;
                quiet = self.quieten(BLOCKS_MAX)?;
            }
            if !quiet && self.began_anew() {
                return Ok(()); // What was signed waits for its time, 136 years later.
            }
            if !quiet {
                return Err(differ("the end", self.unrest(), "all comes to rest"));
            }
            self.check_owed()?;
            let next = self.machine.next_block_deadline().time;
            // Not across the end of the contract's clock: intervals have the same numbers again then.
            let now = self.twin.model.time();
            let next = next.filter(|next| next.0 >> 32 == now >> 32);
            if let (Some(next), 1..) = (next, more) {
                self.set_time(next.0.max(now))?;
                self.close_block()?;
                self.happened.count("a further interval began at the end");
            }
        }
        self.finalize(self.head().number)?;
        self.settle(false)?;
        let all: BTreeSet<_> = self
            .chain
            .last()
            .map(|it| it.read.clone())
            .unwrap_or_default();
        self.compare(&all)?;
        self.check_final()?;
        self.compare_ends()?;
        self.rebuilt()?;
        self.twin.compare_all()
    }

    /// Consumers take every answer from now on, and do nothing else.
    fn calm_consumers(&mut self) -> Result<(), Mismatch> {
        for consumer in self.twin.cast.consumers {
            let script = ConsumerScript::Accept;
            self.set(Step::Control(Control::Script { consumer, script }))?;
        }
        Ok(())
    }

    /// What does not come to rest.
    fn unrest(&self) -> String {
        let slots: Vec<_> = self.machine.account().slots().collect();
        let effects: Vec<_> = self.machine.pending_effects().collect();
        let deliveries: Vec<_> = self
            .machine
            .deliveries()
            .iter()
            .filter(|(_, delivery)| delivery.state.is_live())
            .collect();
        format!("{slots:?}, {effects:?}, {deliveries:?}")
    }

    /// Where all is final, nothing is pending.
    fn check_final(&self) -> Result<(), Mismatch> {
        let expected =
            |what: &str, found: String| Err(differ(what, found, "none where all is final"));
        if let Some(height) = self.machine.chain().unfinalized_from() {
            return expected("what may still be undone", height.to_string());
        }
        if let Some(slot) = self.machine.account().slots().next() {
            return expected("open nonces", format!("{slot:?}"));
        }
        for (no, delivery) in self.machine.deliveries().iter() {
            if delivery.state.is_live() && !self.began_anew() {
                return expected("live deliveries", format!("{no}: {delivery:?}"));
            }
        }
        if !self.machine.ledger().balances() {
            return expected("sides of the ledger that differ", "some".into());
        }
        for (account, totals) in self.machine.ledger().accounts() {
            let balance = |of: Balance| format!("{of:?}");
            if balance(totals.balance()) != balance(totals.posted()) {
                return expected("pending entries", format!("{account:?}: {totals:?}"));
            }
        }
        Ok(())
    }

    /// No interval is owed an answer.
    fn check_owed(&mut self) -> Result<(), Mismatch> {
        let early = self.twin.model.time() < self.latest;
        if self.is_behind() || !self.open.is_empty() || early {
            return Ok(());
        }
        let subs = self.twin.model.subscriptions().clone();
        for (id, sub) in subs {
            let interval = Interval(self.twin.model.current_interval(id));
            let answer = (id, interval.0, self.account);
            if self.twin.model.responded().contains(&answer) {
                self.happened.count("what was owed was delivered");
            }
            if !self.is_open(id, &sub, interval) || !self.is_served(id) {
                continue;
            }
            let Some(why) = self.unexcused(id, interval) else {
                continue;
            };
            if self.would_succeed(id, &sub, interval) {
                return Err(differ(
                    format!("the answer to ({id}, {interval})"),
                    why,
                    format!("owed: {sub:?}"),
                ));
            }
        }
        Ok(())
    }

    /// Why an interval without an answer has none, unless the storm is to blame.
    fn unexcused(&self, id: u32, interval: Interval) -> Option<String> {
        let Some(job) = self.job_of(id, interval) else {
            return (!self.is_of_old_clock(id, interval)).then(|| "no job".into());
        };
        let why = format!("{:?}", job.stage);
        let Stage::Failed(cause) = job.stage else {
            return Some(why);
        };
        let failed = || {
            let inputs = job.input.map(|input| match input {
                infernet_state::effect::ContainerInput::Onchain(at)
                | infernet_state::effect::ContainerInput::Json(at) => at.payload.hash,
            });
            let origin = inputs.and_then(|hash| self.origins.get(&hash));
            origin.is_some_and(|origin| self.unanswered.contains(origin))
        };
        match cause {
            Cause::Container if failed() => None,
            Cause::Refused(_)
            | Cause::Undelivered(Loss::Reverts(_) | Loss::Reverted | Loss::NoStake) => None,
            Cause::Container
            | Cause::NotRerun
            | Cause::Expired
            | Cause::Cancelled
            | Cause::IntervalClosed
            | Cause::ChainUnavailable
            | Cause::PayloadMissing
            | Cause::Mismatched
            | Cause::Undelivered(_)
            | Cause::Superseded
            | Cause::Reported
            | Cause::Created => Some(why),
        }
    }

    /// Whether a delivery of the node would succeed now, its stake allowed.
    fn would_succeed(&self, id: u32, sub: &Subscription, interval: Interval) -> bool {
        let mut world = self.twin.world.clone();
        let at = *self.twin.model.deployment();
        let allow = Call::Approve {
            wallet: self.wallet,
            spender: self.account,
            token: sub.payment_token,
            amount: U256::MAX >> 1,
        };
        let deliver = Call::DeliverCompute {
            id,
            interval: interval.0,
            answer: Answer::default(),
            node_wallet: self.wallet,
        };
        if !sub.verifier.is_zero() {
            let _ = world.execute(self.account, &allow.message(&at));
        }
        let end = world.execute(self.account, &deliver.message(&at));
        let known = self.tokens.contains(&from_address(sub.payment_token));
        known && matches!(end, Execution::Done { .. })
    }
}
