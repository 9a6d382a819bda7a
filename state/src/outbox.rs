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
    effect::{Effect, Issued},
    event::{Failure, Outcome},
    machine::{Halt, Machine},
    schedule::Timer,
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

/// An effect without a terminal outcome.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The present attempt, from 1.
    pub(crate) attempt: u16,
    /// Attempts that failed; restarts do not count.
    pub(crate) failures: u16,
    /// Not handed out: a transaction, before the account was observed in this run.
    pub(crate) held: bool,
    /// Backing off until then; `None` while in flight.
    pub(crate) retry_at: Option<WallTime>,
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
        self.outbox.pending.insert(
            id,
            Pending {
                attempt: 1,
                failures: 0,
                held: false,
                retry_at: None,
                owner,
                effect: Box::new(effect),
            },
        );
        Ok(id)
    }

    /// The machine no longer wants an effect: what comes of it is ignored, and a container call
    /// under way is stopped.
    pub(crate) fn drop_effect(&mut self, turn: &mut Turn, id: EffectId) -> Result<(), Halt> {
        let Some(pending) = self.outbox.pending.remove(&id) else {
            return Ok(());
        };
        // Issued by this very event: it never leaves.
        if let Some(place) = turn.issued.iter().rposition(|issued| issued.id == id) {
            turn.issued.remove(place);
            return Ok(());
        }
        if let Some(at) = pending.retry_at {
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
            self.outbox.pending.remove(&id);
            return false;
        }
        let at = WallTime(now.0.saturating_add(backoff_ms(
            limits.retry_backoff_ms,
            limits.retry_backoff_max_ms,
            pending.failures,
        )));
        pending.retry_at = Some(at);
        self.schedule.timers.insert((at, Timer::Retry(id)));
        true
    }

    /// A retry's timer passed: the next attempt goes out.
    pub(crate) fn retry_due(&mut self, turn: &mut Turn, id: EffectId) {
        let may_send = self.account.may_send();
        if let Some(pending) = self.outbox.pending.get_mut(&id) {
            pending.attempt = pending.attempt.saturating_add(1);
            pending.retry_at = None;
            pending.held = !may_send && matches!(*pending.effect, Effect::Broadcast { .. });
            if !pending.held {
                turn.issued.push(Issued {
                    id,
                    attempt: pending.attempt,
                    effect: pending.effect.as_ref().clone(),
                });
            }
        }
    }

    /// Effects in flight, with their present attempts, in the order in which they were issued.
    pub(crate) fn in_flight(&self) -> Vec<Issued> {
        self.outbox
            .pending
            .iter()
            .filter(|(_, pending)| pending.retry_at.is_none() && !pending.held)
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
            .filter(|(_, pending)| pending.retry_at.is_none())
            .map(|(id, pending)| (*id, pending.owner))
            .collect();
        for (id, owner) in in_flight {
            if self.forbids_rerun(id) {
                self.end_effect(turn, owner, id, &Outcome::Failed(Failure::NotRerun))?;
            } else if let Some(pending) = self.outbox.pending.get_mut(&id) {
                pending.attempt = pending.attempt.saturating_add(1);
                pending.held = matches!(*pending.effect, Effect::Broadcast { .. });
            }
        }
        Ok(())
    }

    /// Takes a broadcast that was just issued back into waiting, where the account may not send.
    pub(crate) fn hold_unless_allowed(&mut self, turn: &mut Turn, id: EffectId) {
        if self.account.may_send() {
            return;
        }
        if let Some(pending) = self.outbox.pending.get_mut(&id) {
            pending.held = true;
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
            if let Some(pending) = self.outbox.pending.get_mut(&id)
                && core::mem::take(&mut pending.held)
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
        let present = self.outbox.pending.get(&id).filter(|pending| {
            pending.attempt == attempt && pending.retry_at.is_none() && !pending.held
        });
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
