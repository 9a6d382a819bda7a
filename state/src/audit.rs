//! Every invariant that a state shows, checked against all of it: for tests, fuzzers and those
//! who verify a log. `apply` never asks; it costs as much as there is.
//!
//! The most important kind is "nothing due is forgotten": whatever is not at an end waits for
//! something that will come (an effect, a timer, a height, a time, a block), and what it waits
//! for knows of it.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
};

use crate::{
    chain::Undo,
    chore::{self, Chore},
    delivery::{Delivery, State},
    job::{Job, Stage, Work},
    ledger::{Account, EntryState, Sum},
    machine::Machine,
    outbox::{Flight, Owner},
    schedule::Timer,
    subscription::{Due, Standing},
    transaction::{Phase, after},
    types::{DeliveryNo, EffectId, JobNo, Nonce},
};

/// What does not hold, in words.
pub type Broken = String;

/// Says what does not hold, unless it does.
fn hold(holds: bool, what: impl FnOnce() -> Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(what()) }
}

impl Machine {
    /// Looks at everything.
    ///
    /// # Errors
    /// The first invariant that does not hold: a mistake of the machine, never of its input.
    pub fn audit(&self) -> Result<(), Broken> {
        hold(self.adds_up(), || "the running sums add up".into())?;
        self.audit_money()?;
        self.audit_catching_up()?;
        self.audit_subscriptions()?;
        self.audit_jobs()?;
        self.audit_deliveries()?;
        self.audit_nonces()?;
        self.audit_chores()?;
        self.audit_proofs()?;
        self.audit_effects()
    }

    /// Debits equal credits, and what is pending is what the pending entries say.
    fn audit_money(&self) -> Result<(), Broken> {
        hold(self.ledger.balances(), || "the ledger balances".into())?;
        let mut pending: BTreeMap<Account, (Sum, Sum)> = BTreeMap::new();
        for (_, entry) in self.ledger.entries() {
            if entry.state == EntryState::Pending {
                let debit = &mut pending.entry(entry.debit).or_default().0;
                *debit = debit.wrapping_add(entry.amount.into());
                let credit = &mut pending.entry(entry.credit).or_default().1;
                *credit = credit.wrapping_add(entry.amount.into());
            }
        }
        for (account, totals) in self.ledger.accounts() {
            let said = (totals.debits_pending, totals.credits_pending);
            let (debits, credits) = pending.get(account).copied().unwrap_or_default();
            hold(said == (debits, credits), || {
                format!("the pending entries of {account:?} add up")
            })?;
            let known = account.token.is_zero() || self.ledger.moves.knows(account.token);
            hold(known, || {
                format!("token {} is written off in its time", account.token)
            })?;
        }
        Ok(())
    }

    /// The head that is waited for while nothing is taken up is still to come, and asked for.
    fn audit_catching_up(&self) -> Result<(), Broken> {
        let Some(to) = self.chain.catching_up else {
            return Ok(());
        };
        let is_above = self.chain.head.is_some_and(|head| head.number < to);
        let asked = self.next_block_deadline().number;
        let comes = self.takes_up() || asked.is_some_and(|number| number <= to);
        hold(is_above && comes, || {
            format!("block {to} is still to come: {:?}", self.chain.head)
        })
    }

    /// What is served is looked at again; all else is retired, and forgotten in its time.
    fn audit_subscriptions(&self) -> Result<(), Broken> {
        let (mut retired, mut heights, mut times) = (0_usize, 0_usize, 0_usize);
        for (id, tracked) in self.subscriptions.tracked.range_from(0) {
            let id = crate::types::SubscriptionId(id);
            let scheduled = match tracked.due {
                Due::Never => false,
                Due::Retired(height) => {
                    retired = retired.saturating_add(1);
                    tracked.standing != Standing::Admitted
                        && self.schedule.retired.contains(&(height, id))
                }
                Due::Height(height) => {
                    heights = heights.saturating_add(1);
                    self.schedule.depths.contains(&(height, id))
                }
                Due::Time(time) => {
                    times = times.saturating_add(1);
                    self.schedule.starts.contains(&(time, id))
                }
            };
            hold(scheduled, || {
                format!("subscription {id} is looked at again: {tracked:?}")
            })?;
        }
        hold(
            (retired, heights, times)
                == (
                    self.schedule.retired.len(),
                    self.schedule.depths.len(),
                    self.schedule.starts.len(),
                ),
            || "each entry of the schedule is a subscription's".into(),
        )
    }

    fn audit_jobs(&self) -> Result<(), Broken> {
        let (mut client, mut interval, mut waiting, mut ends) = (0_u32, 0_u32, 0_u32, 0_usize);
        let mut queued = 0_usize;
        for (no, job) in self.jobs.all.iter() {
            self.audit_job(no, job)
                .map_err(|broken| format!("job {no}: {broken}: {job:?}"))?;
            let scheduled = job.closes.is_some() && job.stage != Stage::Waiting;
            ends = ends.saturating_add(usize::from(scheduled));
            queued = queued.saturating_add(usize::from(self.jobs.is_queued(no)));
            let count = match (&job.work, job.stage) {
                (_, Stage::Succeeded | Stage::Failed(_)) => continue,
                (Work::Client { .. } | Work::Reported { .. }, _) => &mut client,
                (_, Stage::Waiting) => &mut waiting,
                (Work::Interval { .. } | Work::Delegated { .. }, _) => &mut interval,
            };
            *count = count.saturating_add(1);
        }
        hold(
            (client, interval, waiting)
                == (
                    self.jobs.open_client,
                    self.jobs.open_interval,
                    self.jobs.waiting,
                ),
            || "the open jobs are counted".into(),
        )?;
        hold(ends == self.schedule.ends.len(), || {
            "each closing is a job's".into()
        })?;
        hold(queued == self.jobs.queued(), || {
            "each place among the ended ones is a job's".into()
        })?;
        let waiting = usize::try_from(self.jobs.waiting).unwrap_or(usize::MAX);
        hold(waiting == self.schedule.delegated.len(), || {
            "what becomes active is a waiting job's".into()
        })
    }

    /// A job waits for something that comes.
    fn audit_job(&self, no: JobNo, job: &Job) -> Result<(), Broken> {
        let asked = job
            .effect
            .is_some_and(|id| self.is_owned(id, Owner::Job(no)));
        let delivery = job
            .delivery
            .and_then(|no| self.deliveries.get(no))
            .map(|delivery| delivery.state);
        let waits = match job.stage {
            Stage::Waiting => job
                .closes
                .is_some_and(|at| self.schedule.delegated.contains(&(at, no))),
            Stage::ReadingPayer | Stage::ReadingInputs => asked,
            Stage::Running { .. } => asked || matches!(job.work, Work::Reported { .. }),
            Stage::Delivering => delivery.is_some_and(State::is_live),
            Stage::Included => matches!(delivery, Some(State::Included(_))),
            Stage::Succeeded | Stage::Failed(_) => job.effect.is_none() && job.ended.is_some(),
        };
        hold(waits, || "waits for something that comes".into())?;
        let closes = job
            .closes
            .filter(|_| job.stage != Stage::Waiting)
            .is_none_or(|at| self.schedule.ends.contains(&(at, no)));
        hold(closes, || "its closing is scheduled".into())?;
        let timer = Timer::JobExpiry(no);
        let expires = job
            .expires
            .is_none_or(|at| self.schedule.timers.contains(&(at, timer)));
        hold(expires, || "its expiry is scheduled".into())?;
        let forgotten = job.stage.is_end() && !self.is_kept_for_block(no);
        hold(self.jobs.is_queued(no) == forgotten, || {
            "is forgotten when it ended, and no block can hold what was signed for it".into()
        })?;
        let must_expire = matches!(job.work, Work::Client { .. } | Work::Reported { .. });
        hold(
            !must_expire || job.stage.is_end() || job.expires.is_some(),
            || "a client's job expires".into(),
        )
    }

    /// At most one live delivery of an interval, and each waits for something that comes. What a
    /// block may still hold finds its job there, and its request.
    fn audit_deliveries(&self) -> Result<(), Broken> {
        for no in self.account.signed.deliveries() {
            let of = self.deliveries.get(no);
            let finds = of.is_some_and(|of| {
                let request = of.delegation;
                self.jobs.get(of.job).is_some()
                    && request.is_none_or(|key| self.delegations.get(key).is_some())
            });
            hold(finds, || format!("delivery {no} finds its job: {of:?}"))?;
        }
        let mut live = BTreeMap::new();
        for (no, delivery) in self.deliveries.iter() {
            self.audit_delivery(no, delivery)
                .map_err(|broken| format!("delivery {no}: {broken}: {delivery:?}"))?;
            if delivery.state.is_live() {
                let of = (delivery.identity, delivery.delegation, delivery.interval);
                hold(live.insert(of, no).is_none(), || {
                    format!("one delivery of {of:?} is live")
                })?;
            }
        }
        Ok(())
    }

    fn audit_delivery(&self, no: DeliveryNo, delivery: &Delivery) -> Result<(), Broken> {
        let phase = |nonce: Nonce| self.account.slots.get(&nonce).map(|slot| slot.phase);
        let waits = match delivery.state {
            State::Planned => {
                let timer = Timer::Replan(no);
                let stake = self.chores.stakes.get(&no).map(|(token, _)| *token);
                self.deliveries.blocked.contains(&no)
                    || delivery
                        .replan_at
                        .is_some_and(|at| self.schedule.timers.contains(&(at, timer)))
                    || stake.is_some_and(|token| self.chores.waiting.contains(&(token, no)))
            }
            State::Simulating => delivery
                .effect
                .is_some_and(|id| self.is_owned(id, Owner::Delivery(no))),
            State::Ready => self.deliveries.ready.contains_key(&no),
            State::Sent(nonce) => {
                let slot = self.account.slots.get(&nonce);
                slot.is_some_and(|slot| slot.wanted.deliveries().contains(&no))
            }
            State::Included(nonce) => matches!(phase(nonce), Some(Phase::Included { .. })),
            State::Parked => delivery
                .parked_at
                .is_some_and(|height| self.deliveries.parked.contains(&(height, no))),
            State::Final | State::Abandoned(_) | State::Withdrawn(_) => delivery.effect.is_none(),
        };
        if delivery.state == State::Final {
            hold(delivery.settled.is_some(), || "is final in a block".into())?;
        }
        hold(waits, || "waits for something that comes".into())
    }

    /// Nonces are contiguous as far as the node opened them, and each waits for something.
    fn audit_nonces(&self) -> Result<(), Broken> {
        let mut versions = 0_usize;
        for (nonce, slot) in &self.account.slots {
            hold(self.account.next.is_some_and(|next| *nonce < next), || {
                format!("nonce {nonce} is below the next")
            })?;
            let waits = match slot.phase {
                Phase::Signing(id)
                | Phase::Sending(id)
                | Phase::Looking(id)
                | Phase::Rechecking(id) => self.is_owned(id, Owner::Slot(*nonce)),
                Phase::Pooled => slot.timer.is_some_and(|at| {
                    let timer = Timer::Bump(*nonce);
                    self.schedule.timers.contains(&(at, timer))
                }),
                Phase::Included { height, .. } => self.chain.undo.contains_key(&height),
            };
            hold(waits, || {
                format!("nonce {nonce} waits for something that comes: {slot:?}")
            })?;
            for version in &slot.versions {
                versions = versions.saturating_add(1);
                hold(self.account.by_tx.get(&version.tx) == Some(nonce), || {
                    format!("transaction {} is known by its hash", version.tx)
                })?;
            }
        }
        hold(versions == self.account.by_tx.len(), || {
            "each known hash is a version's".into()
        })?;
        self.audit_contiguity()
    }

    /// Every nonce from the first that is not settled to the next has a slot, or was used by others
    /// in a block that may still go; those below [`Account::explained`](crate::account::Account)
    /// need neither.
    fn audit_contiguity(&self) -> Result<(), Broken> {
        let Some(next) = self.account.next else {
            return Ok(());
        };
        let from = self.account.settled.max(self.account.explained);
        if from >= next {
            return Ok(());
        }
        let foreign = self
            .chain
            .undo
            .values()
            .flatten()
            .filter_map(|undo| match undo {
                Undo::Foreign(nonce) => Some(*nonce),
                Undo::Created(_)
                | Undo::Replaced(..)
                | Undo::Cancelled { .. }
                | Undo::Counted { .. }
                | Undo::Included(_)
                | Undo::Booked(_)
                | Undo::Cursor(_)
                | Undo::Allowance { .. }
                | Undo::ProofOpened(..)
                | Undo::ProofJudged(..)
                | Undo::Aliased(_)
                | Undo::Passed(_) => None,
            });
        let known: BTreeSet<Nonce> = self.account.slots.keys().copied().chain(foreign).collect();
        let mut expected = from;
        for nonce in known.range(from..next) {
            hold(*nonce == expected, || {
                format!("nonce {expected} is open or was used by somebody else")
            })?;
            expected = after(expected);
        }
        hold(expected == next, || {
            format!("nonce {expected}, below the next, is open or was used by somebody else")
        })
    }

    fn audit_chores(&self) -> Result<(), Broken> {
        for (chore, task) in &self.chores.tasks {
            let waits = match task.stage {
                chore::Stage::Quoting(id) => self.is_owned(id, Owner::Chore(*chore)),
                chore::Stage::Sent(nonce) => {
                    let slot = self.account.slots.get(&nonce);
                    slot.is_some_and(|slot| slot.wanted.chore() == Some(*chore))
                }
                chore::Stage::BackingOff(at) => {
                    self.schedule.timers.contains(&(at, Timer::Chore(*chore)))
                }
            };
            hold(waits, || {
                format!("{chore:?} waits for something that comes: {task:?}")
            })?;
        }
        // Nothing waits for an approval with a higher nonce than its own: what waits for the chore
        // has none yet, and what has one waits for lower nonces alone, as long as all approvals
        // above those in the pool are the chore's.
        for (token, no) in &self.chores.waiting {
            hold(
                self.chores.tasks.contains_key(&Chore::Stake(*token)),
                || format!("an allowance for delivery {no} is under way"),
            )?;
            let state = self.deliveries.get(*no).map(|delivery| delivery.state);
            hold(state == Some(State::Planned), || {
                format!("delivery {no} has no nonce while it waits for an allowance: {state:?}")
            })?;
        }
        for (nonce, slot) in &self.account.slots {
            let open = !matches!(slot.phase, Phase::Included { .. });
            let chore = slot.wanted.chore().filter(|_| open);
            let task = chore.and_then(|chore| self.chores.tasks.get(&chore));
            let newest = match task.map(|task| task.stage) {
                Some(chore::Stage::Sent(newest)) => newest >= *nonce,
                Some(chore::Stage::Quoting(_) | chore::Stage::BackingOff(_)) | None => true,
            };
            hold(newest, || {
                format!("nonce {nonce} is not behind its chore's: {task:?}")
            })?;
        }
        let closes = |until| {
            self.schedule
                .timers
                .contains(&(until, Timer::BreakerCloses))
        };
        hold(self.breaker.open_until.is_none_or(closes), || {
            "the breaker closes again".into()
        })
    }

    /// An open proof waits for its week, or is finalised; nothing else is.
    fn audit_proofs(&self) -> Result<(), Broken> {
        for (id, interval, proof) in self.proofs.iter() {
            let chore = Chore::Finalize(id, interval);
            let entry = (proof.expires, id, interval);
            let waits =
                self.schedule.proofs.contains(&entry) || self.chores.tasks.contains_key(&chore);
            let is_open = self.proofs.is_open(id, interval);
            hold(waits == is_open, || {
                format!("an open proof waits for something that comes: {proof:?}")
            })?;
        }
        for (expires, id, interval) in &self.schedule.proofs {
            let proof = self.proofs.all.get(&(*id, *interval));
            hold(proof.is_some_and(|proof| proof.expires == *expires), || {
                format!("a week of {id}, {interval} is a proof's")
            })?;
        }
        Ok(())
    }

    /// What is asked of the outside is asked for somebody, and comes again where it waits.
    fn audit_effects(&self) -> Result<(), Broken> {
        for (id, pending) in &self.outbox.pending {
            let known = match pending.owner {
                Owner::Job(no) => self.jobs.get(no).and_then(|job| job.effect),
                Owner::Delivery(no) => self.deliveries.get(no).and_then(|of| of.effect),
                Owner::Slot(nonce) => {
                    let slot = self.account.slots.get(&nonce);
                    slot.and_then(|slot| slot.phase.effect())
                }
                Owner::Chore(chore) => match self.chores.tasks.get(&chore).map(|task| task.stage) {
                    Some(chore::Stage::Quoting(of)) => Some(of),
                    Some(chore::Stage::Sent(_) | chore::Stage::BackingOff(_)) | None => None,
                },
            };
            hold(known == Some(*id), || {
                format!("effect {id} is somebody's: {pending:?}")
            })?;
            let comes = match pending.flight {
                Flight::InFlight | Flight::Held => true,
                Flight::BackingOff(at) => self.schedule.timers.contains(&(at, Timer::Retry(*id))),
            };
            hold(comes, || format!("effect {id} is tried again"))?;
        }
        Ok(())
    }

    fn is_owned(&self, id: EffectId, owner: Owner) -> bool {
        let pending = self.outbox.pending.get(&id);
        pending.is_some_and(|pending| pending.owner == owner)
    }
}
