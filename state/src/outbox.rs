//! Effects that were issued and have not ended.
//!
//! ```text
//!             issue                 Succeeded, or Failed for good
//!  (intended) ─────► InFlight ────────────────────────────────────► (ended)
//!                     │    ▲  │ the machine no longer wants it          ▲
//!      Failed, and    │    │  └─────────────────────────────────────────┤
//!      worth a retry  ▼    │ its timer passes: attempt + 1              │
//!                   BackingOff ──────────────────────────────────────── ┘
//! ```
//! A restart raises the attempt of all that is in flight. Outcomes of an attempt that is not the
//! present one are late and change nothing.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use crate::{
    chore::Chore,
    delegation::DelegationKey,
    effect::{Effect, Issued},
    event::{Failure, Outcome},
    machine::{Halt, Machine},
    schedule::Timer,
    trace::Transition,
    transaction::Phase,
    types::{DeliveryNo, EffectId, JobNo, Nonce, Seq, SubscriptionId, WallTime},
};

/// Who waits for an effect's outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Owner {
    /// A job.
    Job(JobNo),
    /// A delivery that has no nonce yet.
    Delivery(DeliveryNo),
    /// A transaction, by its nonce.
    Slot(Nonce),
    /// A transaction that is nobody's delivery, before it has a nonce.
    Chore(Chore),
}

/// Where an effect without a terminal outcome stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Flight {
    /// Handed out; an outcome is awaited.
    InFlight,
    /// Not handed out: a transaction, before the account was observed in this run.
    Held,
    /// Waits for its next attempt.
    BackingOff(WallTime),
}

/// What happens to an effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It is issued.
    Issue,
    /// It is a transaction, and nothing may be sent now.
    Hold,
    /// Transactions may be sent.
    Release,
    /// An attempt failed, and another follows.
    BackOff(WallTime),
    /// Its timer passed.
    Retry,
    /// The node came up.
    Restart,
    /// It ended, or is no longer wanted.
    End,
}

impl Flight {
    /// The next stand (`None` for an effect that has ended), or `None` where the step does not
    /// apply.
    #[must_use]
    pub fn step(from: Option<Self>, step: Step) -> Option<Option<Self>> {
        match (from, step) {
            (None, Step::Issue)
            | (Some(Self::Held), Step::Release)
            | (Some(Self::BackingOff(_)), Step::Retry)
            | (Some(Self::InFlight | Self::Held), Step::Restart) => Some(Some(Self::InFlight)),
            (Some(Self::InFlight), Step::Hold) => Some(Some(Self::Held)),
            (Some(Self::InFlight), Step::BackOff(at)) => Some(Some(Self::BackingOff(at))),
            (Some(Self::InFlight | Self::Held | Self::BackingOff(_)), Step::End) => Some(None),
            (
                None,
                Step::Hold
                | Step::Release
                | Step::BackOff(_)
                | Step::Retry
                | Step::Restart
                | Step::End,
            )
            | (Some(Self::InFlight), Step::Issue | Step::Release | Step::Retry)
            | (Some(Self::Held), Step::Issue | Step::Hold | Step::BackOff(_) | Step::Retry)
            | (
                Some(Self::BackingOff(_)),
                Step::Issue | Step::Hold | Step::Release | Step::BackOff(_) | Step::Restart,
            ) => None,
        }
    }
}

/// An effect without a terminal outcome.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The present attempt, from 1.
    pub(crate) attempt: u16,
    /// Attempts that failed; restarts do not count.
    pub(crate) failures: u16,
    /// Where it stands.
    pub(crate) flight: Flight,
    /// Who waits.
    pub(crate) owner: Owner,
    /// What is asked. Boxed: it is large, and lives in a map that changes all the time.
    pub(crate) effect: Box<Effect>,
}

/// All of them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outbox {
    pub(crate) pending: BTreeMap<EffectId, Pending>,
}

/// One call of `apply`: where it stands and what it has issued so far.
pub(crate) struct Turn {
    /// The event's position.
    pub(crate) seq: Seq,
    /// Issued so far, in order.
    pub(crate) issued: Vec<Issued>,
    /// Nonces whose inclusion a reorg took away: decided on when all of it is undone.
    pub(crate) resume: BTreeSet<Nonce>,
    /// Subscriptions that a reorg touched.
    pub(crate) touched: BTreeSet<SubscriptionId>,
    /// Jobs of subscriptions that are gone.
    pub(crate) gone: BTreeSet<JobNo>,
    /// Delegated subscriptions whose id is gone.
    pub(crate) unaliased: BTreeSet<DelegationKey>,
    /// The place of the next effect among this event's.
    next: u16,
}

impl Turn {
    pub(crate) fn new(seq: Seq) -> Self {
        Self {
            seq,
            issued: Vec::new(),
            resume: BTreeSet::new(),
            touched: BTreeSet::new(),
            gone: BTreeSet::new(),
            unaliased: BTreeSet::new(),
            next: 0,
        }
    }

    /// The name of the next effect of this event.
    fn next_id(&mut self) -> Result<EffectId, Halt> {
        let ordinal = self.next;
        self.next = ordinal
            .checked_add(1)
            .ok_or_else(|| Halt::new(self.seq, 3, "more than 65,535 effects of one event"))?;
        Ok(EffectId {
            seq: self.seq,
            ordinal,
        })
    }
}

impl Machine {
    /// Issues an effect and keeps it until it ends.
    pub(crate) fn issue(
        &mut self,
        turn: &mut Turn,
        owner: Owner,
        effect: Effect,
    ) -> Result<EffectId, Halt> {
        let id = turn.next_id()?;
        if turn.issued.is_empty() {
            turn.issued.reserve_exact(1); // Most events issue one effect, and effects are large.
        }
        turn.issued.push(Issued {
            id,
            attempt: 1,
            effect: effect.clone(),
        });
        self.trace.note(Transition::Effect {
            id,
            from: None,
            step: Step::Issue,
            to: Some(Flight::InFlight),
        });
        self.outbox.pending.insert(
            id,
            Pending {
                attempt: 1,
                failures: 0,
                flight: Flight::InFlight,
                owner,
                effect: Box::new(effect),
            },
        );
        Ok(id)
    }

    /// The machine no longer wants an effect: what comes of it is ignored, and a container call
    /// under way is stopped.
    pub(crate) fn drop_effect(&mut self, turn: &mut Turn, id: EffectId) -> Result<(), Halt> {
        let Some(pending) = self.close_effect(id) else {
            return Ok(());
        };
        // Issued by this very event: it never leaves.
        if let Some(place) = turn.issued.iter().rposition(|issued| issued.id == id) {
            turn.issued.remove(place);
            return Ok(());
        }
        if let Flight::BackingOff(at) = pending.flight {
            self.schedule.timers.remove(&(at, Timer::Retry(id)));
        } else if matches!(*pending.effect, Effect::RunContainer(_)) {
            let stop = turn.next_id()?;
            turn.issued.push(Issued {
                id: stop,
                attempt: 1,
                effect: Effect::StopContainer { call: id },
            });
        }
        Ok(())
    }

    /// After a failed attempt: backs off, unless `attempts_max` attempts have failed. Says
    /// whether another attempt follows; if not, the effect has ended.
    pub(crate) fn retry(&mut self, id: EffectId, attempts_max: u16) -> bool {
        let limits = self.limits();
        let now = self.now;
        let Some(pending) = self.outbox.pending.get_mut(&id) else {
            return false;
        };
        pending.failures = pending.failures.saturating_add(1);
        if pending.failures >= attempts_max {
            self.close_effect(id);
            return false;
        }
        let at = WallTime(now.0.saturating_add(backoff_ms(
            limits.retry_backoff_ms,
            limits.retry_backoff_max_ms,
            pending.failures,
        )));
        self.step_effect(id, Step::BackOff(at));
        self.schedule.timers.insert((at, Timer::Retry(id)));
        true
    }

    /// A retry's timer passed: the next attempt goes out.
    pub(crate) fn retry_due(&mut self, turn: &mut Turn, id: EffectId) {
        self.step_effect(id, Step::Retry);
        let may_send = self.account.may_send();
        let Some(pending) = self.outbox.pending.get_mut(&id) else {
            return;
        };
        pending.attempt = pending.attempt.saturating_add(1);
        if !may_send && matches!(*pending.effect, Effect::Broadcast { .. }) {
            self.step_effect(id, Step::Hold);
            return;
        }
        turn.issued.push(Issued {
            id,
            attempt: pending.attempt,
            effect: pending.effect.as_ref().clone(),
        });
    }

    /// Moves an effect on; `false` where the step does not apply.
    pub(crate) fn step_effect(&mut self, id: EffectId, step: Step) -> bool {
        let Some(pending) = self.outbox.pending.get_mut(&id) else {
            return false;
        };
        let Some(Some(to)) = Flight::step(Some(pending.flight), step) else {
            return false;
        };
        let from = core::mem::replace(&mut pending.flight, to);
        self.trace.note(Transition::Effect {
            id,
            from: Some(from),
            step,
            to: Some(to),
        });
        true
    }

    /// An effect has ended; gives back what there was of it.
    pub(crate) fn close_effect(&mut self, id: EffectId) -> Option<Pending> {
        let pending = self.outbox.pending.remove(&id)?;
        self.trace.note(Transition::Effect {
            id,
            from: Some(pending.flight),
            step: Step::End,
            to: None,
        });
        Some(pending)
    }

    /// Effects in flight, with their present attempts, in the order in which they were issued.
    pub(crate) fn in_flight(&self) -> Vec<Issued> {
        self.outbox
            .pending
            .iter()
            .filter(|(_, pending)| pending.flight == Flight::InFlight)
            .map(|(id, pending)| Issued {
                id: *id,
                attempt: pending.attempt,
                effect: pending.effect.as_ref().clone(),
            })
            .collect()
    }

    /// `NodeStarted`: everything in flight gets its next attempt, except what must not run twice,
    /// which fails, and transactions, which wait until the account was observed.
    pub(crate) fn restart_effects(&mut self, turn: &mut Turn) -> Result<(), Halt> {
        let in_flight: Vec<(EffectId, Owner)> = self
            .outbox
            .pending
            .iter()
            .filter(|(_, pending)| !matches!(pending.flight, Flight::BackingOff(_)))
            .map(|(id, pending)| (*id, pending.owner))
            .collect();
        for (id, owner) in in_flight {
            if self.forbids_rerun(id) {
                self.end_effect(turn, owner, id, &Outcome::Failed(Failure::NotRerun))?;
            } else if self.step_effect(id, Step::Restart)
                && let Some(pending) = self.outbox.pending.get_mut(&id)
            {
                pending.attempt = pending.attempt.saturating_add(1);
                if matches!(*pending.effect, Effect::Broadcast { .. }) {
                    self.step_effect(id, Step::Hold);
                }
            }
        }
        Ok(())
    }

    /// Takes a broadcast that was just issued back into waiting, where the account may not send.
    pub(crate) fn hold_unless_allowed(&mut self, turn: &mut Turn, id: EffectId) {
        if self.account.may_send() {
            return;
        }
        if self.step_effect(id, Step::Hold) {
            turn.issued.retain(|issued| issued.id != id);
        }
    }

    /// The account may send: transactions that were held go out.
    pub(crate) fn release_held(&mut self, turn: &mut Turn) {
        let sending: Vec<EffectId> = self
            .account
            .slots
            .values()
            .filter_map(|slot| match slot.phase {
                Phase::Sending(id) => Some(id),
                Phase::Signing(_)
                | Phase::Pooled
                | Phase::Looking(_)
                | Phase::Rechecking(_)
                | Phase::Included { .. } => None,
            })
            .collect();
        for id in sending {
            if self.step_effect(id, Step::Release)
                && let Some(pending) = self.outbox.pending.get(&id)
            {
                turn.issued.push(Issued {
                    id,
                    attempt: pending.attempt,
                    effect: pending.effect.as_ref().clone(),
                });
            }
        }
    }

    /// Whether an effect is a container call whose container must not run twice.
    pub(crate) fn forbids_rerun(&self, id: EffectId) -> bool {
        match self
            .outbox
            .pending
            .get(&id)
            .map(|pending| pending.effect.as_ref())
        {
            Some(Effect::RunContainer(call)) => self
                .config
                .as_ref()
                .and_then(|config| self.catalog.container(config, &call.container))
                .is_some_and(|container| !container.rerun),
            Some(
                Effect::ReadInputs { .. }
                | Effect::ReadPayer { .. }
                | Effect::ReadResponses { .. }
                | Effect::StopContainer { .. }
                | Effect::Simulate { .. }
                | Effect::Sign { .. }
                | Effect::Broadcast { .. }
                | Effect::LookUpTransaction { .. },
            )
            | None => false,
        }
    }

    /// `EffectEnded`: the outcome goes to the one who waits for it; that of another attempt than
    /// the present one is late and ignored.
    pub(crate) fn effect_ended(
        &mut self,
        turn: &mut Turn,
        id: EffectId,
        attempt: u16,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        let present = self
            .outbox
            .pending
            .get(&id)
            .filter(|pending| pending.attempt == attempt && pending.flight == Flight::InFlight);
        match present.map(|pending| pending.owner) {
            Some(owner) => self.end_effect(turn, owner, id, outcome),
            None => Ok(()),
        }
    }

    fn end_effect(
        &mut self,
        turn: &mut Turn,
        owner: Owner,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        match owner {
            Owner::Job(no) => self.job_effect_ended(turn, no, id, outcome),
            Owner::Delivery(no) => self.delivery_effect_ended(turn, no, id, outcome),
            Owner::Slot(nonce) => self.slot_effect_ended(turn, nonce, id, outcome),
            Owner::Chore(chore) => self.chore_effect_ended(turn, chore, id, outcome),
        }
    }
}

/// `base · 2^(failures − 1)`, at most `max`.
pub(crate) fn backoff_ms(base: u64, max: u64, failures: u16) -> u64 {
    let doublings = u32::from(failures.saturating_sub(1));
    1_u64
        .checked_shl(doublings)
        .and_then(|factor| base.checked_mul(factor))
        .unwrap_or(max)
        .min(max)
}
