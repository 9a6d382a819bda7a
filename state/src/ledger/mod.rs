//! The ledger: double entry, integers, one account per (role, token), every entry naming its
//! event.
//!
//! ```text
//!            book (a fact of an unfinalized block)
//!   (none) ─────────────► Pending ──── its block is final ────► Posted
//!                            │
//!                            └──────── its block is gone ─────► Voided   (kept, never deleted)
//! ```
//! The node's books of one paid delivery of price `A` with protocol fee `P` and proceeds `T`:
//! `Receivable ← Earnings A`, `ProtocolFees ← Receivable P`, `NodeWallet ← Receivable T`
//! (debit ← credit). A receivable that does not return to zero is a delivery that the chain's
//! own events do not explain.
//!
//! # Amounts of strangers
//! Anybody can make a token and name any amount in it: transfers to the node's wallet, prices,
//! escrows and balances up to 2^256 − 1, as often as they pay for the gas. None of it may stop the
//! node, and none of it may cost the native coin or an honest token their exactness. So nothing
//! is judged here, and no token is left out: accounts are sums of 320 bits ([`Sum`]), which cannot
//! overflow, each token has accounts of its own, and what is booked is what the chain's events
//! say. What a token is worth is a matter of admission (`accepted_payments`), not of the books.
//! A reading of a balance may differ from the books by more than one entry can hold, if the token
//! lies; it is then booked as far as one entry goes.
//! Nor do such tokens take memory for ever: see `forget`.

mod forget;
mod statement;
mod sum;

use alloc::{
    collections::{BTreeMap, VecDeque, btree_map},
    vec::Vec,
};
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    limits::LEDGER_ENTRIES_KEPT,
    numbered::Numbered,
    types::{Address, Amount, EntryNo, Hash, Seq},
};

pub(crate) use forget::Moves;
pub use statement::Statement;
pub use sum::Sum;

/// What an account is for, seen from the node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Asset: the native coin of the account that signs, from which gas is paid.
    NodeAccount,
    /// Asset: the wallet that is paid, without what is locked in it.
    NodeWallet,
    /// Asset: earned by an included delivery and not yet explained by transfers.
    Receivable,
    /// Asset: locked in a consumer's wallet for the node until a proof is judged.
    Escrow,
    /// Asset: locked in the node's wallet until a proof is judged.
    Stake,
    /// Income: prices of deliveries.
    Earnings,
    /// Expense: the protocol's share.
    ProtocolFees,
    /// Expense: the verifiers' share.
    VerifierFees,
    /// Expense: stakes lost to consumers.
    Slashes,
    /// Expense: gas.
    Gas,
    /// Expense: what a rollup charges beside gas for its data.
    DataFees,
    /// Deposits, and differences from what the chain says, until somebody explains them.
    Suspense,
    /// Withdrawn by, or spent for, the owner of the node.
    Owner,
}

impl Role {
    /// All of them, in their order.
    pub const ALL: [Self; 13] = [
        Self::NodeAccount,
        Self::NodeWallet,
        Self::Receivable,
        Self::Escrow,
        Self::Stake,
        Self::Earnings,
        Self::ProtocolFees,
        Self::VerifierFees,
        Self::Slashes,
        Self::Gas,
        Self::DataFees,
        Self::Suspense,
        Self::Owner,
    ];
}

/// An account of the ledger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Account {
    /// What it is for.
    pub role: Role,
    /// In which token; zero is the native coin.
    pub token: Address,
}

/// What an entry books.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Code {
    /// The price of a delivery that was included.
    Price,
    /// The protocol's share of it.
    ProtocolFee,
    /// The verifier's share of it.
    VerifierFee,
    /// Paid into the node's wallet.
    Payout,
    /// The consumer's escrow for a proof.
    EscrowLocked,
    /// That escrow, paid out.
    EscrowPaid,
    /// That escrow, given back to the consumer: the proof was not valid.
    EscrowReleased,
    /// The node's stake for a proof.
    StakeLocked,
    /// That stake, given back.
    StakeReleased,
    /// That stake, lost.
    StakeSlashed,
    /// Gas of a transaction.
    Gas,
    /// Its data fee on a rollup.
    DataFee,
    /// A balance that the chain shows and the entries do not explain.
    Reconciled,
    /// Received without a delivery of this node.
    Deposit,
    /// Withdrawn by the owner.
    Withdrawal,
    /// Paid out of the node's wallet as a consumer's.
    Spent,
    /// A balance in a token that nobody accepts, and that is kept no longer.
    WrittenOff,
}

/// Where an entry stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EntryState {
    /// In a block that may still go.
    Pending,
    /// Final.
    Posted,
    /// Its block is gone.
    Voided,
}

/// What happens to an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settlement {
    /// Its block is final.
    Post,
    /// Its block is gone.
    Void,
}

impl EntryState {
    /// The next state, or `None` where there was a settlement before.
    #[must_use]
    pub fn step(self, step: Settlement) -> Option<Self> {
        match (self, step) {
            (Self::Pending, Settlement::Post) => Some(Self::Posted),
            (Self::Pending, Settlement::Void) => Some(Self::Voided),
            (Self::Posted | Self::Voided, Settlement::Post | Settlement::Void) => None,
        }
    }
}

/// One entry: `amount` from `credit` to `debit`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The event that brought it.
    pub seq: Seq,
    /// Height of its block.
    pub block: u64,
    /// Its transaction; zero for a balance that was read.
    pub tx: Hash,
    /// The account that is debited.
    pub debit: Account,
    /// The account that is credited.
    pub credit: Account,
    /// How much, in the token's smallest unit.
    pub amount: Amount,
    /// What it books.
    pub code: Code,
    /// Where it stands.
    pub state: EntryState,
}

/// Totals of an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Debits that may still go.
    pub debits_pending: Sum,
    /// Credits that may still go.
    pub credits_pending: Sum,
    /// Final debits.
    pub debits_posted: Sum,
    /// Final credits.
    pub credits_posted: Sum,
}

/// A balance with its side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balance {
    /// More debits than credits, or as many.
    Debit(Sum),
    /// More credits than debits.
    Credit(Sum),
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debit(amount) => write!(f, "{amount} debit"),
            Self::Credit(amount) => write!(f, "{amount} credit"),
        }
    }
}

impl Totals {
    /// Those of two accounts together.
    pub(crate) fn with(&self, other: &Self) -> Self {
        Self {
            debits_pending: self.debits_pending.wrapping_add(other.debits_pending),
            credits_pending: self.credits_pending.wrapping_add(other.credits_pending),
            debits_posted: self.debits_posted.wrapping_add(other.debits_posted),
            credits_posted: self.credits_posted.wrapping_add(other.credits_posted),
        }
    }

    /// Debits less credits, pending ones included.
    #[must_use]
    pub fn balance(&self) -> Balance {
        // Every entry is in one of the two, and all entries together fit a sum.
        Self::side(
            self.debits_pending.wrapping_add(self.debits_posted),
            self.credits_pending.wrapping_add(self.credits_posted),
        )
    }

    /// Final debits less final credits.
    #[must_use]
    pub fn posted(&self) -> Balance {
        Self::side(self.debits_posted, self.credits_posted)
    }

    fn side(debits: Sum, credits: Sum) -> Balance {
        match debits.checked_sub(credits) {
            Some(amount) => Balance::Debit(amount),
            None => Balance::Credit(credits.checked_sub(debits).unwrap_or_default()),
        }
    }
}

/// An entry would be settled twice, or debit the account that it credits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unbalanced;

/// All accounts, and the entries that are pending or recent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    pub(crate) last: EntryNo,
    pub(crate) entries: Numbered<EntryNo, Entry>,
    pub(crate) accounts: BTreeMap<Account, Totals>,
    /// Settled entries that are still kept, oldest first.
    pub(crate) settled: VecDeque<EntryNo>,
    /// The tokens that have accounts, in the order of their last entries.
    pub(crate) moves: Moves,
}

impl Ledger {
    /// The accounts that ever had an entry and were not written off, in order of role and token.
    pub fn accounts(&self) -> impl Iterator<Item = (&Account, &Totals)> {
        self.accounts.iter()
    }

    /// The totals of one account.
    #[must_use]
    pub fn totals(&self, role: Role, token: Address) -> Totals {
        self.accounts
            .get(&Account { role, token })
            .copied()
            .unwrap_or_default()
    }

    /// The entries that are pending or among the newest settled ones, ascending by number. Older
    /// ones are in the log: a replay up to their range shows them.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (EntryNo, &Entry)> {
        self.entries.iter()
    }

    /// The entries of the events from `from` to `to`, both included, as far as they are kept;
    /// for any range there is [`Statement`].
    #[must_use]
    pub fn statement(&self, from: Seq, to: Seq) -> Vec<(EntryNo, &Entry)> {
        self.entries()
            .filter(|(_, entry)| entry.seq >= from && entry.seq <= to)
            .collect()
    }

    /// The number of the newest entry.
    #[must_use]
    pub fn last(&self) -> EntryNo {
        self.last
    }

    /// Whether, in every token, debits equal credits: pending ones, and posted ones.
    #[must_use]
    pub fn balances(&self) -> bool {
        let mut sums: BTreeMap<Address, Totals> = BTreeMap::new();
        for (account, totals) in &self.accounts {
            let sum = sums.entry(account.token).or_default();
            for (total, part) in [
                (&mut sum.debits_pending, totals.debits_pending),
                (&mut sum.credits_pending, totals.credits_pending),
                (&mut sum.debits_posted, totals.debits_posted),
                (&mut sum.credits_posted, totals.credits_posted),
            ] {
                // Both sides wrap alike, so the comparison stays exact.
                *total = total.wrapping_add(part);
            }
        }
        sums.values().all(|sum| {
            sum.debits_pending == sum.credits_pending && sum.debits_posted == sum.credits_posted
        })
    }

    /// Books a pending entry; nothing for an amount of zero.
    pub(crate) fn book(&mut self, entry: Entry) -> Result<Option<EntryNo>, Unbalanced> {
        if entry.amount.is_zero() {
            return Ok(None);
        }
        self.change(&entry, |debit, credit, amount| {
            debit.debits_pending = debit.debits_pending.checked_add(amount)?;
            credit.credits_pending = credit.credits_pending.checked_add(amount)?;
            Some(())
        })?;
        self.last = EntryNo(self.last.0.saturating_add(1));
        self.moves.note(entry.debit.token, self.last);
        self.entries.insert(self.last, entry);
        Ok(Some(self.last))
    }

    /// Makes a pending entry final.
    pub(crate) fn post(&mut self, no: EntryNo) -> Result<(), Unbalanced> {
        self.settle(no, Settlement::Post, |debit, credit, amount| {
            debit.debits_pending = debit.debits_pending.checked_sub(amount)?;
            credit.credits_pending = credit.credits_pending.checked_sub(amount)?;
            debit.debits_posted = debit.debits_posted.checked_add(amount)?;
            credit.credits_posted = credit.credits_posted.checked_add(amount)?;
            Some(())
        })
    }

    /// Voids a pending entry: its block is gone.
    pub(crate) fn void(&mut self, no: EntryNo) -> Result<(), Unbalanced> {
        self.settle(no, Settlement::Void, |debit, credit, amount| {
            debit.debits_pending = debit.debits_pending.checked_sub(amount)?;
            credit.credits_pending = credit.credits_pending.checked_sub(amount)?;
            Some(())
        })
    }

    fn settle(
        &mut self,
        no: EntryNo,
        step: Settlement,
        change: impl FnOnce(&mut Totals, &mut Totals, Sum) -> Option<()>,
    ) -> Result<(), Unbalanced> {
        let entry = self.entries.get_mut(no).ok_or(Unbalanced)?;
        entry.state = entry.state.step(step).ok_or(Unbalanced)?;
        let entry = entry.clone();
        self.change(&entry, change)?;
        self.settled.push_back(no);
        if self.settled.len() > LEDGER_ENTRIES_KEPT
            && let Some(oldest) = self.settled.pop_front()
        {
            self.entries.remove(oldest);
        }
        Ok(())
    }

    /// Changes both accounts of an entry, or neither.
    fn change(
        &mut self,
        entry: &Entry,
        change: impl FnOnce(&mut Totals, &mut Totals, Sum) -> Option<()>,
    ) -> Result<(), Unbalanced> {
        if entry.debit == entry.credit {
            return Err(Unbalanced);
        }
        let mut credit = self
            .accounts
            .get(&entry.credit)
            .copied()
            .unwrap_or_default();
        match self.accounts.entry(entry.debit) {
            btree_map::Entry::Occupied(mut known) => {
                let mut debit = *known.get();
                change(&mut debit, &mut credit, entry.amount.into()).ok_or(Unbalanced)?;
                known.insert(debit);
            }
            btree_map::Entry::Vacant(new) => {
                let mut debit = Totals::default();
                change(&mut debit, &mut credit, entry.amount.into()).ok_or(Unbalanced)?;
                new.insert(debit);
            }
        }
        self.accounts.insert(entry.credit, credit);
        Ok(())
    }
}
