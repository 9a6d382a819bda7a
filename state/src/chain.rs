//! The chain view: head, finality, and one undo record per unfinalized block.
//!
//! ```text
//!   ChainCommitted ──► the block's facts change the view, each with its undo
//!   ChainReorged   ──► the undos above the ancestor, newest first; then what is left is decided:
//!                      answers of gone subscriptions are withdrawn, nonces sent again or used up
//!   ChainFinalized ──► the undos up to it are dropped: entries are posted, nonces closed
//! ```
//! A reorg undoes the view and nothing else: jobs, results and signed transactions are local
//! facts and move forward.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use crate::{
    delegation::DelegationKey,
    delivery::Loss,
    event::{ChainFact, SyncedSubscription},
    job::Work,
    ledger::{EntryState, Settlement},
    limits::RECENT_BLOCKS_MAX,
    machine::{Halt, Machine},
    outbox::Turn,
    payee::Former,
    payments::Payments,
    proof::Verdict,
    subscription::{Responses, Standing, Step, Tracked},
    trace::Transition,
    transaction::after,
    types::{Address, Amount, BlockRef, BlockTime, EntryNo, Interval, Nonce, Seq, SubscriptionId},
};

/// How one change of the view is taken back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Undo {
    /// A subscription appeared.
    Created(SubscriptionId),
    /// A record took another's place.
    Replaced(SubscriptionId, Box<Tracked>),
    /// A subscription was cancelled.
    Cancelled {
        id: SubscriptionId,
        active_at: u32,
        standing: Standing,
    },
    /// Somebody responded.
    Counted {
        id: SubscriptionId,
        responses: Responses,
    },
    /// A transaction of ours was included.
    Included(Nonce),
    /// A nonce was used by somebody else.
    Foreign(Nonce),
    /// An entry was booked.
    Booked(EntryNo),
    /// The sync moved on.
    Cursor(Option<SubscriptionId>),
    /// A stake allowance changed.
    Allowance {
        token: Address,
        before: Option<Amount>,
    },
    /// A proof was opened.
    ProofOpened(SubscriptionId, Interval),
    /// A proof was judged.
    ProofJudged(SubscriptionId, Interval),
    /// A delegated subscription got its id.
    Aliased(DelegationKey),
    /// The interval that ran was passed over: there was no time or no need to work on it.
    Passed(SubscriptionId),
}

/// What the machine knows of the chain itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ChainView {
    /// The newest block heard of.
    pub head: Option<BlockRef>,
    /// The newest final block heard of.
    pub finalized: Option<BlockRef>,
    /// The height of the chain's head where the node is still to read up to it: below it nothing is
    /// taken up.
    pub catching_up: Option<u64>,
    /// The newest recorded blocks that are not final, by height.
    pub(crate) recent: BTreeMap<u64, BlockRef>,
    /// Undos of unfinalized blocks, by height; within a height in the order they were made.
    pub(crate) undo: BTreeMap<u64, Vec<Undo>>,
    /// The event that last brought facts of the head: the next event may bring more of them.
    pub(crate) committed_at: Seq,
    /// The head's time before a reorg moved it back: what had begun by then waits for a head
    /// that is as late, and for no fact.
    pub(crate) time_before: Option<BlockTime>,
    /// What the payers of the head's transactions have still to explain.
    pub(crate) payments: Payments,
    /// The subscriptions that the node answered in the head, as far as its events told: a batch
    /// succeeds item by item, and its receipt may come with the next of them.
    pub(crate) fulfilled: BTreeSet<SubscriptionId>,
    /// The wallets that were paid before the present one, in the order in which they were
    /// replaced.
    pub(crate) former: Vec<Former>,
}

impl ChainView {
    /// The newest recorded blocks that are not final, ascending; at most
    /// [`RECENT_BLOCKS_MAX`].
    pub fn recent(&self) -> impl DoubleEndedIterator<Item = &BlockRef> {
        self.recent.values()
    }

    /// The lowest height of which something can still be undone; `None` when all is final.
    #[must_use]
    pub fn unfinalized_from(&self) -> Option<u64> {
        self.undo.keys().next().copied()
    }
}

impl Machine {
    /// Remembers how to take a change back, unless its block is final.
    pub(crate) fn journal(&mut self, height: u64, undo: Undo) {
        self.chain.undo.entry(height).or_default().push(undo);
    }

    /// The sync begins anew: no reorg takes it to where an older one stood.
    pub(crate) fn forget_cursors(&mut self) {
        for undos in self.chain.undo.values_mut() {
            undos.retain(|undo| !matches!(undo, Undo::Cursor(_)));
        }
    }

    /// `ChainCommitted`.
    pub(crate) fn chain_committed(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        facts: &[ChainFact],
    ) -> Result<(), Halt> {
        let stale =
            |known: Option<BlockRef>| known.is_some_and(|known| known.number >= block.number);
        // A block with many facts comes as several events in one atomic step.
        let continued = self.chain.head == Some(*block)
            && self.chain.committed_at.0.saturating_add(1) == turn.seq.0;
        if !continued && (stale(self.chain.head) || stale(self.chain.finalized)) {
            return Ok(());
        }
        self.chain.head = Some(*block);
        self.head_reached(block);
        self.chain.time_before = self.chain.time_before.filter(|time| *time > block.time);
        self.chain.recent.insert(block.number, *block);
        while self.chain.recent.len() > RECENT_BLOCKS_MAX {
            self.chain.recent.pop_first();
        }
        self.chain.committed_at = turn.seq;
        if !continued {
            self.chain.payments = Payments::default();
            self.chain.fulfilled.clear();
        }
        self.take_facts(turn, block, facts)?;
        self.serve_head(turn)
    }

    /// The facts of a block, in three passes: creations, then receipts, which may be of
    /// deliveries that created their subscription, then what is read with both at hand.
    fn take_facts(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        facts: &[ChainFact],
    ) -> Result<(), Halt> {
        let node = self.chain_config().map(|chain| chain.node);
        let mut receipts = false;
        for fact in facts {
            match fact {
                ChainFact::SubscriptionCreated {
                    id,
                    subscription,
                    delegation,
                } => self.subscription_created(turn, block, *id, subscription, *delegation),
                ChainFact::SubscriptionFulfilled { id, node: by } if node == Some(*by) => {
                    self.chain.fulfilled.insert(*id);
                }
                ChainFact::TransactionIncluded(_) | ChainFact::ForeignNonceUsed { .. } => {
                    receipts = true;
                }
                ChainFact::SubscriptionCancelled { .. }
                | ChainFact::SubscriptionFulfilled { .. }
                | ChainFact::ProofVerified { .. }
                | ChainFact::Wallet(_) => {}
            }
        }
        let fulfilled = core::mem::take(&mut self.chain.fulfilled);
        let mut answers = self.answers_in(facts, &fulfilled, node);
        for fact in facts.iter().filter(|_| receipts) {
            match fact {
                ChainFact::TransactionIncluded(receipt) => {
                    self.receipt(turn, block, receipt, &mut answers)?;
                }
                ChainFact::ForeignNonceUsed { nonce } => {
                    self.foreign_used(turn, block, *nonce)?;
                }
                ChainFact::SubscriptionCreated { .. }
                | ChainFact::SubscriptionCancelled { .. }
                | ChainFact::SubscriptionFulfilled { .. }
                | ChainFact::ProofVerified { .. }
                | ChainFact::Wallet(_) => {}
            }
        }
        self.chain.fulfilled = fulfilled;
        for fact in facts {
            match fact {
                ChainFact::SubscriptionCancelled { id } => {
                    self.subscription_cancelled(turn, block, *id)?;
                }
                ChainFact::SubscriptionFulfilled { id, node } => {
                    self.subscription_fulfilled(block, *id, *node);
                }
                ChainFact::Wallet(fact) => self.wallet_fact(turn, block, fact)?,
                ChainFact::ProofVerified {
                    id,
                    interval,
                    node: by,
                    active,
                    valid,
                } if node == Some(*by) => {
                    let verdict = Verdict {
                        active: *active,
                        valid: *valid,
                    };
                    self.proof_verified(turn, block, *id, *interval, verdict)?;
                }
                ChainFact::ProofVerified { .. }
                | ChainFact::SubscriptionCreated { .. }
                | ChainFact::TransactionIncluded(_)
                | ChainFact::ForeignNonceUsed { .. } => {}
            }
        }
        self.bring_back(turn)
    }

    /// `ChainReorged`.
    pub(crate) fn chain_reorged(
        &mut self,
        turn: &mut Turn,
        ancestor: &BlockRef,
    ) -> Result<(), Halt> {
        if let Some(finalized) = self.chain.finalized
            && ancestor.number < finalized.number
        {
            let reason = alloc::format!(
                "a reorg back to block {} ({}) reaches below the final block {} ({}): the chain \
                 broke its promise, or another chain is behind the RPC; nothing was done since. \
                 Compare the RPC with others: where it alone says so, go on from the log as it was \
                 before this event; else begin a new data directory, since this log tells of a \
                 chain that is no more",
                ancestor.number,
                ancestor.hash,
                finalized.number,
                finalized.hash,
            );
            return Err(Halt::new(turn.seq, 20, &reason));
        }
        if self
            .chain
            .head
            .is_none_or(|head| head.number <= ancestor.number)
        {
            return Ok(());
        }
        let above = ancestor.number.saturating_add(1);
        let gone = self.chain.undo.split_off(&above);
        self.chain.recent.split_off(&above);
        self.chain.time_before = self
            .chain
            .time_before
            .max(self.chain.head.map(|head| head.time));
        self.chain.head = Some(*ancestor);
        for undo in gone
            .into_values()
            .rev()
            .flat_map(|ops| ops.into_iter().rev())
        {
            self.undo(turn, undo)?;
        }
        self.account.doubt_observed();
        for job in core::mem::take(&mut turn.gone) {
            self.give_up(turn, job, Loss::Gone)?;
        }
        for id in core::mem::take(&mut turn.touched) {
            self.reconsider(turn, id)?;
        }
        self.bring_back(turn)?;
        for nonce in core::mem::take(&mut turn.resume) {
            self.resume_slot(turn, nonce)?;
        }
        self.serve_head(turn)
    }

    fn undo(&mut self, turn: &mut Turn, undo: Undo) -> Result<(), Halt> {
        match undo {
            Undo::Created(id) => {
                self.unschedule(id);
                self.subscriptions.tracked.remove(id.0);
                self.forget_jobs_of(turn, id);
                turn.touched.remove(&id);
            }
            Undo::Replaced(id, before) => {
                self.forget_jobs_of(turn, id);
                self.unschedule(id);
                self.subscriptions.tracked.insert(id.0, *before);
                turn.touched.insert(id);
            }
            Undo::Cancelled {
                id,
                active_at,
                standing,
            } => {
                self.step_standing(id, Step::Restore(standing));
                if let Some(tracked) = self.subscriptions.tracked.get_mut(id.0) {
                    tracked.subscription.active_at = active_at;
                    turn.touched.insert(id);
                }
            }
            Undo::Counted { id, responses } => {
                if let Some(tracked) = self.subscriptions.tracked.get_mut(id.0) {
                    tracked.responses = responses;
                    turn.touched.insert(id);
                }
            }
            Undo::Included(nonce) => {
                self.transaction_undone(turn, nonce)?;
                turn.resume.insert(nonce);
            }
            Undo::Foreign(nonce) => self.foreign_undone(turn, nonce)?,
            Undo::Booked(no) => {
                self.ledger
                    .void(no)
                    .map_err(|_| Halt::new(turn.seq, 30, "an entry cannot be voided"))?;
                self.note_settlement(no, Settlement::Void);
            }
            Undo::Cursor(cursor) => self.subscriptions.cursor = cursor,
            Undo::Allowance { token, before } => {
                match before {
                    Some(amount) => self.chores.allowances.insert(token, amount),
                    None => self.chores.allowances.remove(&token),
                };
            }
            Undo::ProofOpened(id, interval) => {
                self.proof_undone(id, interval);
                self.drop_finalization(turn, id, interval)?;
            }
            Undo::ProofJudged(id, interval) => self.verdict_undone(id, interval),
            Undo::Aliased(key) => self.alias_undone(turn, key),
            Undo::Passed(id) => {
                turn.touched.insert(id);
            }
        }
        Ok(())
    }

    pub(crate) fn note_settlement(&mut self, no: EntryNo, step: Settlement) {
        let from = EntryState::Pending;
        if let Some(to) = from.step(step) {
            self.trace.note(Transition::Entry { no, from, step, to });
        }
    }

    /// The jobs of a subscription that is gone are no longer those of its id.
    fn forget_jobs_of(&mut self, turn: &mut Turn, id: SubscriptionId) {
        // One that waits has no job on it yet.
        for key in self.delegations.of_id(id) {
            self.alias_undone(turn, key);
        }
        for no in self.jobs_on(id) {
            match self.jobs.get(no).map(|job| &job.work) {
                // It binds to its signature, not to the id, and goes on without one.
                Some(Work::Delegated { key, .. }) => {
                    let key = *key;
                    self.alias_undone(turn, key);
                }
                Some(Work::Interval { .. } | Work::Client { .. } | Work::Reported { .. })
                | None => {
                    turn.gone.insert(no);
                }
            }
        }
        let keys: Vec<(SubscriptionId, Interval)> = self
            .jobs
            .by_interval
            .range((id, Interval(0))..=(id, Interval(u32::MAX)))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.jobs.by_interval.remove(&key);
        }
    }

    /// `ChainFinalized`.
    pub(crate) fn chain_finalized(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
    ) -> Result<(), Halt> {
        if self
            .chain
            .finalized
            .is_some_and(|known| known.number > block.number)
        {
            return Ok(());
        }
        // The same block again settles what was recorded of it since: a read of the past.
        self.chain.finalized = Some(*block);
        let behind = self
            .chain
            .head
            .is_none_or(|head| head.number < block.number);
        if behind {
            self.chain.head = Some(*block);
            self.head_reached(block);
        }
        let above = block.number.saturating_add(1);
        self.chain.recent = self.chain.recent.split_off(&above);
        let later = self.chain.undo.split_off(&above);
        let settled = core::mem::replace(&mut self.chain.undo, later);
        let mut posted = 0_usize;
        for undo in settled.into_values().flatten() {
            match undo {
                Undo::Included(nonce) => self.transaction_final(nonce),
                Undo::Booked(no) => {
                    self.ledger
                        .post(no)
                        .map_err(|_| Halt::new(turn.seq, 31, "an entry cannot be posted"))?;
                    self.note_settlement(no, Settlement::Post);
                    posted = posted.saturating_add(1);
                }
                Undo::ProofJudged(id, interval) => self.verdict_final(id, interval),
                Undo::Foreign(nonce) => {
                    let versions = self.account.overtaken.remove(&nonce);
                    self.note_dropped(versions.iter().flatten());
                    self.account.explain_below(after(nonce));
                }
                Undo::Aliased(key) => self.alias_final(key, block),
                Undo::Created(_)
                | Undo::Replaced(..)
                | Undo::Cancelled { .. }
                | Undo::Counted { .. }
                | Undo::Cursor(_)
                | Undo::Allowance { .. }
                | Undo::ProofOpened(..)
                | Undo::Passed(_) => {}
            }
        }
        self.forget_tokens(turn, block, posted)?;
        self.forget_payees();
        self.settle_parked(turn, block.number)?;
        if behind {
            self.serve_head(turn)?;
        }
        Ok(())
    }

    /// `SubscriptionsSynced`.
    pub(crate) fn subscriptions_synced(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        entries: &[SyncedSubscription],
        next: SubscriptionId,
    ) -> Result<(), Halt> {
        if self.chain_config().is_none() {
            return Ok(());
        }
        for entry in entries {
            self.subscription_synced(turn, block, entry);
        }
        self.bring_back(turn)?;
        // An end is no step: what it found (nothing) needs no second look after a reorg.
        self.subscriptions.cursor = if entries.is_empty() || next.0 == 0 {
            None
        } else {
            self.journal(block.number, Undo::Cursor(self.subscriptions.cursor));
            Some(next)
        };
        self.serve_head(turn)
    }
}
