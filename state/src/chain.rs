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

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    delivery::Loss,
    event::{ChainFact, Receipt, SyncedSubscription, WalletChange, WalletFact},
    ledger::{Account, Balance, Code, Entry, EntryState, Role},
    limits::RECENT_BLOCKS_MAX,
    machine::{Halt, Machine},
    outbox::Turn,
    schedule::Timer,
    subscription::{Responses, Standing, Tracked},
    transaction::{Phase, Use},
    types::{Address, Amount, BlockRef, EntryNo, Hash, Interval, Nonce, SubscriptionId, WallTime},
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
}

/// What the machine knows of the chain itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ChainView {
    /// The newest block heard of.
    pub head: Option<BlockRef>,
    /// The newest final block heard of.
    pub finalized: Option<BlockRef>,
    /// The newest recorded blocks that are not final, by height.
    pub(crate) recent: BTreeMap<u64, BlockRef>,
    /// Undos of unfinalized blocks, by height; within a height in the order they were made.
    pub(crate) undo: BTreeMap<u64, Vec<Undo>>,
    /// Facts of a block that is not committed yet, where they come in parts.
    pub(crate) staged: Option<Staged>,
}

/// Parts of a block's facts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Staged {
    block: Hash,
    next_part: u16,
    facts: Vec<ChainFact>,
}

impl ChainView {
    /// The newest recorded blocks that are not final, ascending; at most
    /// [`RECENT_BLOCKS_MAX`](crate::limits::RECENT_BLOCKS_MAX).
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

    /// `ChainCommitted`.
    pub(crate) fn chain_committed(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        facts: &[ChainFact],
    ) -> Result<(), Halt> {
        let stale =
            |known: Option<BlockRef>| known.is_some_and(|known| known.number >= block.number);
        if stale(self.chain.head) || stale(self.chain.finalized) {
            return Ok(());
        }
        self.chain.head = Some(*block);
        self.chain.recent.insert(block.number, *block);
        while self.chain.recent.len() > RECENT_BLOCKS_MAX {
            self.chain.recent.pop_first();
        }
        let staged = self
            .chain
            .staged
            .take()
            .filter(|staged| staged.block == block.hash)
            .map(|staged| staged.facts)
            .unwrap_or_default();
        let facts = || staged.iter().chain(facts);
        // Receipts first: what a wallet or the Coordinator says is read with them at hand.
        for fact in facts() {
            match fact {
                ChainFact::TransactionIncluded(receipt) => {
                    self.receipt(turn, block, receipt)?;
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
        let mut payments = Payments::default();
        for fact in facts() {
            match fact {
                ChainFact::SubscriptionCreated {
                    id,
                    subscription,
                    delegation,
                } => self.subscription_created(block, *id, subscription, *delegation),
                ChainFact::SubscriptionCancelled { id } => {
                    self.subscription_cancelled(turn, block, *id)?;
                }
                ChainFact::SubscriptionFulfilled { id, node } => {
                    self.subscription_fulfilled(block, *id, *node);
                }
                ChainFact::Wallet(fact) => self.wallet_fact(turn, block, fact, &mut payments)?,
                ChainFact::ProofVerified { .. }
                | ChainFact::TransactionIncluded(_)
                | ChainFact::ForeignNonceUsed { .. } => {}
            }
        }
        self.serve_head(turn)
    }

    /// `ChainFactsStaged`: a part that does not fit what came before is dropped with it.
    pub(crate) fn facts_staged(&mut self, block: &BlockRef, part: u16, facts: &[ChainFact]) {
        let staged = match self.chain.staged.take() {
            Some(mut staged) if staged.block == block.hash && staged.next_part == part => {
                staged.facts.extend_from_slice(facts);
                staged.next_part = part.saturating_add(1);
                Some(staged)
            }
            Some(_) | None => (part == 0).then(|| Staged {
                block: block.hash,
                next_part: 1,
                facts: facts.to_vec(),
            }),
        };
        self.chain.staged = staged;
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
            return Err(Halt::new(
                turn.seq,
                20,
                "a reorg reaches below the final block: the chain broke its promise, or this is \
                 another chain; stop, compare the RPC with others, and restore from its own data",
            ));
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
        self.chain.head = Some(*ancestor);
        for undo in gone
            .into_values()
            .rev()
            .flat_map(|ops| ops.into_iter().rev())
        {
            self.undo(turn, undo)?;
        }
        for job in core::mem::take(&mut turn.gone) {
            self.give_up(turn, job, Loss::Gone)?;
        }
        for id in core::mem::take(&mut turn.touched) {
            self.reconsider(turn, id)?;
        }
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
                self.unschedule(id);
                self.forget_jobs_of(turn, id);
                self.subscriptions.tracked.insert(id.0, *before);
                turn.touched.insert(id);
            }
            Undo::Cancelled {
                id,
                active_at,
                standing,
            } => {
                if let Some(tracked) = self.subscriptions.tracked.get_mut(id.0) {
                    tracked.subscription.active_at = active_at;
                    tracked.standing = standing;
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
            Undo::Booked(no) => self
                .ledger
                .void(no)
                .map_err(|_| Halt::new(turn.seq, 30, "an entry cannot be voided"))?,
            Undo::Cursor(cursor) => self.subscriptions.cursor = cursor,
        }
        Ok(())
    }

    /// The jobs of a subscription that is gone are no longer those of its id.
    fn forget_jobs_of(&mut self, turn: &mut Turn, id: SubscriptionId) {
        for no in self.jobs_on(id) {
            turn.gone.insert(no);
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
        }
        let above = block.number.saturating_add(1);
        self.chain.recent = self.chain.recent.split_off(&above);
        let later = self.chain.undo.split_off(&above);
        let settled = core::mem::replace(&mut self.chain.undo, later);
        for undo in settled.into_values().flatten() {
            match undo {
                Undo::Included(nonce) => self.transaction_final(nonce),
                Undo::Booked(no) => self
                    .ledger
                    .post(no)
                    .map_err(|_| Halt::new(turn.seq, 31, "an entry cannot be posted"))?,
                Undo::Created(_)
                | Undo::Replaced(..)
                | Undo::Cancelled { .. }
                | Undo::Counted { .. }
                | Undo::Foreign(_)
                | Undo::Cursor(_) => {}
            }
        }
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
            self.subscription_synced(block, entry);
        }
        self.journal(block.number, Undo::Cursor(self.subscriptions.cursor));
        self.subscriptions.cursor = if entries.is_empty() || next.0 == 0 {
            None
        } else {
            Some(next)
        };
        self.serve_head(turn)
    }

    fn receipt(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        receipt: &Receipt,
    ) -> Result<(), Halt> {
        if self.transaction_included(turn, block, receipt)? {
            self.journal(block.number, Undo::Included(receipt.nonce));
        } else if self.foreign_is_news(receipt.nonce) {
            self.foreign_used(turn, block, receipt.nonce)?;
        } else {
            return Ok(()); // A receipt heard of twice.
        }
        let gas = Amount::from(u128::from(receipt.gas_used))
            .checked_mul(Amount::from(receipt.effective_gas_price))
            .ok_or_else(|| Halt::new(turn.seq, 32, "the cost of gas does not fit 256 bits"))?;
        let native = Address::ZERO;
        self.book(
            turn,
            block,
            receipt.tx,
            Role::Gas,
            Role::NodeAccount,
            native,
            gas,
            Code::Gas,
        )?;
        self.book(
            turn,
            block,
            receipt.tx,
            Role::DataFees,
            Role::NodeAccount,
            native,
            receipt.l1_fee,
            Code::DataFee,
        )?;
        if receipt.succeeded {
            self.book_price(turn, block, receipt)?;
        }
        Ok(())
    }

    /// Whether a nonce that none of our transactions used is not known to be used up.
    fn foreign_is_news(&self, nonce: Nonce) -> bool {
        nonce >= self.account.settled
            && self
                .account
                .slots
                .get(&nonce)
                .is_none_or(|slot| !matches!(slot.phase, Phase::Included { .. }))
    }

    fn foreign_used(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        nonce: Nonce,
    ) -> Result<(), Halt> {
        if !self.foreign_is_news(nonce) {
            return Ok(());
        }
        self.foreign_nonce(turn, nonce)?;
        self.journal(block.number, Undo::Foreign(nonce));
        Ok(())
    }

    /// An included delivery of a paid subscription earned its price.
    fn book_price(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        receipt: &Receipt,
    ) -> Result<(), Halt> {
        let earned = self
            .account
            .slots
            .get(&receipt.nonce)
            .and_then(|slot| {
                slot.versions
                    .iter()
                    .find(|version| version.tx == receipt.tx)
            })
            .and_then(|version| match version.does {
                Use::Deliver(no) => self.deliveries.get(no),
                Use::Fill => None,
            })
            .and_then(|delivery| self.subscriptions.get(delivery.identity.id))
            .map(|tracked| {
                (
                    tracked.subscription.payment_token,
                    tracked.subscription.payment_amount,
                )
            });
        let Some((token, price)) = earned else {
            return Ok(());
        };
        self.book(
            turn,
            block,
            receipt.tx,
            Role::Receivable,
            Role::Earnings,
            token,
            price,
            Code::Price,
        )
    }

    /// Books a pending entry with its undo.
    #[expect(clippy::too_many_arguments, reason = "an entry has that many parts")]
    pub(crate) fn book(
        &mut self,
        turn: &Turn,
        block: &BlockRef,
        tx: Hash,
        debit: Role,
        credit: Role,
        token: Address,
        amount: Amount,
        code: Code,
    ) -> Result<(), Halt> {
        let booked = self
            .ledger
            .book(Entry {
                seq: turn.seq,
                block: block.number,
                tx,
                debit: Account { role: debit, token },
                credit: Account {
                    role: credit,
                    token,
                },
                amount,
                code,
                state: EntryState::Pending,
            })
            .map_err(|_| Halt::new(turn.seq, 33, "an account's sum does not fit 256 bits"))?;
        if let Some(no) = booked {
            self.journal(block.number, Undo::Booked(no));
        }
        Ok(())
    }

    /// An event of a wallet: what it means for the node's books.
    fn wallet_fact(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        fact: &WalletFact,
        payments: &mut Payments,
    ) -> Result<(), Halt> {
        let Some(wallet) = self.chain_config().and_then(|chain| chain.payment_wallet) else {
            return Ok(());
        };
        match &fact.change {
            WalletChange::Transferred {
                spender,
                token,
                to,
                amount,
            } => {
                let ours = self.account.by_tx.contains_key(&fact.tx);
                let first = payments.first(fact.tx, fact.wallet, *spender, *to);
                let (debit, credit, code) = if ours && *to == wallet {
                    (Role::NodeWallet, Role::Receivable, Code::Payout)
                } else if ours && first {
                    // `docs/spec/contracts.md` 3: the protocol is paid before anybody else.
                    (Role::ProtocolFees, Role::Receivable, Code::ProtocolFee)
                } else if *to == wallet {
                    (Role::NodeWallet, Role::Suspense, Code::Deposit)
                } else if ours && payments.is_protocol(fact.tx, *to) {
                    (Role::ProtocolFees, Role::Receivable, Code::ProtocolFee)
                } else if ours {
                    (Role::VerifierFees, Role::Receivable, Code::VerifierFee)
                } else {
                    return self.spent(turn, block, fact, wallet, *token, *amount);
                };
                self.book(turn, block, fact.tx, debit, credit, *token, *amount, code)?;
                self.spent(turn, block, fact, wallet, *token, *amount)
            }
            WalletChange::Withdrawn { token, amount } if fact.wallet == wallet => self.book(
                turn,
                block,
                fact.tx,
                Role::Owner,
                Role::NodeWallet,
                *token,
                *amount,
                Code::Withdrawal,
            ),
            WalletChange::BalanceRead { token, balance } if fact.wallet == wallet => {
                self.reconcile(turn, block, Role::NodeWallet, *token, *balance)
            }
            WalletChange::Withdrawn { .. }
            | WalletChange::BalanceRead { .. }
            | WalletChange::Escrowed { .. }
            | WalletChange::Approved { .. } => Ok(()),
        }
    }

    /// The node's wallet paid as a consumer's.
    fn spent(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        fact: &WalletFact,
        wallet: Address,
        token: Address,
        amount: Amount,
    ) -> Result<(), Halt> {
        if fact.wallet != wallet {
            return Ok(());
        }
        self.book(
            turn,
            block,
            fact.tx,
            Role::Owner,
            Role::NodeWallet,
            token,
            amount,
            Code::Spent,
        )
    }

    /// Books the difference between what the chain shows and what the entries explain.
    pub(crate) fn reconcile(
        &mut self,
        turn: &Turn,
        block: &BlockRef,
        role: Role,
        token: Address,
        shown: Amount,
    ) -> Result<(), Halt> {
        let known = self
            .ledger
            .totals(role, token)
            .balance()
            .ok_or_else(|| Halt::new(turn.seq, 33, "an account's sum does not fit 256 bits"))?;
        let (debit, credit, amount) = match known {
            Balance::Debit(known) => match shown.checked_sub(known) {
                Some(more) => (role, Role::Suspense, more),
                None => (
                    Role::Suspense,
                    role,
                    known.checked_sub(shown).unwrap_or_default(),
                ),
            },
            Balance::Credit(short) => (
                role,
                Role::Suspense,
                shown.checked_add(short).ok_or_else(|| {
                    Halt::new(turn.seq, 33, "an account's sum does not fit 256 bits")
                })?,
            ),
        };
        self.book(
            turn,
            block,
            Hash::ZERO,
            debit,
            credit,
            token,
            amount,
            Code::Reconciled,
        )
    }

    /// Serves what the wall clock has made due, a bounded part at a time.
    pub(crate) fn serve_clock(&mut self, turn: &mut Turn, now: WallTime) -> Result<(), Halt> {
        for _ in 0..crate::limits::DEADLINES_PER_EVENT_MAX {
            let Some(timer) = self.schedule.pop_timer(now) else {
                break;
            };
            match timer {
                Timer::Retry(id) => self.retry_due(turn, id),
                Timer::Bump(nonce) => self.bump_due(turn, nonce)?,
                Timer::JobExpiry(no) => {
                    if let Some(job) = self.jobs.all.get_mut(&no) {
                        job.expires = None;
                    }
                    self.fail_job(turn, no, crate::job::Cause::Expired)?;
                }
                Timer::Replan(no) => self.replan_due(turn, no)?,
                Timer::BreakerCloses => {}
            }
        }
        let limits = self.limits();
        self.jobs.evict(
            now,
            limits.result_age_max_ms,
            limits.results_max,
            crate::limits::DEADLINES_PER_EVENT_MAX,
        );
        Ok(())
    }
}

/// The transfers of a block's transactions so far: which of them is the first of its payment.
#[derive(Default)]
struct Payments {
    first: BTreeMap<(Hash, Address, Address), Address>,
}

impl Payments {
    /// Whether this is the first transfer of this payer in this transaction; remembers to whom
    /// it went.
    fn first(&mut self, tx: Hash, wallet: Address, spender: Address, to: Address) -> bool {
        let mut is_first = false;
        self.first.entry((tx, wallet, spender)).or_insert_with(|| {
            is_first = true;
            to
        });
        is_first
    }

    /// Whether the protocol was paid at this address in this transaction.
    fn is_protocol(&self, tx: Hash, to: Address) -> bool {
        self.first
            .range((tx, Address::ZERO, Address::ZERO)..)
            .take_while(|((of, _, _), _)| *of == tx)
            .any(|(_, first)| *first == to)
    }
}
