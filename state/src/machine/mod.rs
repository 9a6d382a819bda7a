//! The machine: the state, and the only function that changes it.
//!
//! Each room has its part of `impl Machine`: what happens to a subscription is in
//! [`crate::subscription`] and `tracking`, to a job in [`crate::job`], to a delivery in
//! [`crate::delivery`] and [`crate::transaction`], to the chain view in [`crate::chain`]. Here is
//! the way in.

mod check;
mod claims;
mod snapshot;
mod views;

use alloc::{format, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    account::{self, Account},
    admission::Catalog,
    breaker::Breaker,
    chain::ChainView,
    chore::Chores,
    config::{ChainConfig, Config, Limits},
    delegation::Delegations,
    delivery::{Deliveries, Loss},
    digest,
    effect::Issued,
    event::Event,
    job::Jobs,
    ledger::{Ledger, Role},
    outbox::{Outbox, Turn},
    payee::payee,
    proof::Proofs,
    schedule::Schedule,
    subscription::Subscriptions,
    trace::Trace,
    types::{Address, Hash, Seq, SubscriptionId, WallTime},
};

pub use check::{Refusal, Verdict};
pub use claims::Claims;
pub use snapshot::{SnapshotError, layouts};
pub use views::{BlockDeadline, JobStatus, PendingCounts};

/// An invariant of money or sequence would break: the node stops before any effect.
///
/// Nothing that a stranger can put on chain, and no client, brings any of these about; tests
/// feed the machine both, and nonsense, and hold it to that.
///
/// | code | invariant | who could bring it about |
/// |---|---|---|
/// | 1 | effects have an encoding | nobody: every type of this crate has one |
/// | 2 | the logic in force is known | an operator who goes back to an older program |
/// | 3 | an event has at most 65,535 effects | nobody: [`limits`](crate::limits) bounds what one event can end |
/// | 10 | a nonce is opened once one is known | nobody: it is asked before |
/// | 11 | a nonce is opened once | nobody: nonces are counted up from the account's |
/// | 20 | what is final stays | a chain that breaks its promise, or another chain behind the RPC |
/// | 30, 31 | an entry is settled once | nobody: its undo exists once |
/// | 33 | an entry has two sides | nobody: each kind of entry names two roles |
///
/// 32 was an overflow of the cost of gas, which fits by its types.
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
    /// The code of an unknown logic.
    const NEWER: u16 = 2;

    /// Whether nothing is wrong but the program's age: a newer version continued the log.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.code == Self::NEWER
    }

    /// A halt at an event.
    pub(crate) fn new(seq: Seq, code: u16, reason: &str) -> Self {
        Self {
            seq,
            code,
            reason: String::from(reason),
        }
    }
}

/// The newest logic that this version knows.
///
/// A log begins in logic 0; the first commit of a start brings it to this one
/// ([`Machine::upgrade`]), so that every run of the node is of one logic, and nothing else writes
/// [`Event::Upgraded`]. The first release has 1, which decides as 0 does.
///
/// **When it must be raised:** when the same events would lead to other effects, or to a state
/// that says something else. Then the number goes up by one in the release, the old way stays in
/// the code for `self.logic` below it, and the golden logs stay as they are, digest of the effects
/// for digest. It is raised once for all such changes between two releases, and never lowered. It
/// stays where no log can show the difference: new events, views, speed, layout of the state
/// (which has a number of its own in the snapshots).
pub const LOGIC: u16 = 1;

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
    #[serde(skip)]
    pub(crate) trace: Trace,
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
        self.trace.begin();
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
                self.step_account(account::Step::Start);
                self.restart_effects(turn)
            }
            Event::ConfigChanged(config) => self.config_changed(turn, config),
            Event::Upgraded { to } => {
                if *to > LOGIC {
                    return Err(Halt::new(
                        turn.seq,
                        Halt::NEWER,
                        &format!(
                            "logic {to} takes effect, and this version of the program knows none \
                             above {LOGIC}: a newer one continued the log; nothing was changed, \
                             use that version"
                        ),
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
                self.account_observed(turn, head, *nonce)?;
                self.head_observed(turn, head)
            }
            Event::QuarantineLifted => self.quarantine_lifted(turn),
            Event::ChainCommitted { block, facts } => self.chain_committed(turn, block, facts),
            Event::HeadObserved { head } => self.head_observed(turn, head),
            Event::ChainReorged { ancestor } => self.chain_reorged(turn, ancestor),
            Event::ChainFinalized { block } => self.chain_finalized(turn, block),
            Event::SubscriptionsSynced {
                block,
                subscriptions,
                next,
            } => self.subscriptions_synced(turn, block, subscriptions, *next),
            Event::JobAccepted(request) => {
                self.see(request.at);
                if self.stands(event) {
                    self.job_accepted(turn, request)?;
                }
                Ok(())
            }
            Event::DelegatedAccepted(request) => {
                self.see(request.at);
                if self.stands(event) {
                    self.delegated_accepted(turn, request)?;
                }
                Ok(())
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
                if self.stands(event) {
                    self.job_reported(turn, *job, *client, *status, containers, *result)?;
                }
                Ok(())
            }
            Event::JobCancelled { job, at } => {
                self.see(*at);
                match self.jobs.by_id(*job) {
                    Some((no, _)) => {
                        self.request_withdrawn(no);
                        self.give_up(turn, no, Loss::Cancelled)
                    }
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
        let account =
            |chain: Option<&ChainConfig>| chain.map(|chain| (chain.node, chain.payment_wallet));
        let is_other = account(self.chain_config()) != account(config.chain.as_ref());
        let before = payee(self.chain_config());
        self.config = Some(config.clone());
        if is_other {
            self.payee_replaced(before);
            self.forget_allowances(turn)?;
        }
        self.forget_cursors();
        self.subscriptions.cursor = config.chain.as_ref().map(|_| SubscriptionId(1));
        self.serve_head(turn)
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
}
