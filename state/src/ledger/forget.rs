//! Tokens that nobody accepts, when they are many: written off, and forgotten.
//!
//! Anybody can make a token and pay it into the node's wallet, for the gas alone. So that this
//! costs no memory for ever, only so many tokens are kept ([`LEDGER_TOKENS_KEPT`]) beside those
//! that are of use. Beyond, the one that has not moved for longest is written off, once all of it
//! is final: entries like any others bring each of its accounts to zero, against Suspense. An
//! account at zero need not be kept. What the entries of the log add up to, in whatever range, is
//! thus what the accounts say, and a token that moves again begins at zero.

use alloc::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Account, Balance, Code, Entry, EntryState, Ledger, Role, Settlement, Unbalanced};
use crate::{
    ledger::Sum,
    limits::{LEDGER_TOKENS_KEPT, WRITE_OFFS_AT_ONCE_MAX},
    machine::{Halt, Machine},
    outbox::Turn,
    types::{Address, Amount, BlockRef, EntryNo, Hash},
};

/// All roles.
const ROLES: [Role; 13] = [
    Role::NodeAccount,
    Role::NodeWallet,
    Role::Receivable,
    Role::Escrow,
    Role::Stake,
    Role::Earnings,
    Role::ProtocolFees,
    Role::VerifierFees,
    Role::Slashes,
    Role::Gas,
    Role::DataFees,
    Role::Suspense,
    Role::Owner,
];

/// The tokens that have accounts, without the native coin, in the order of their last entries.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Moves {
    last: BTreeMap<Address, EntryNo>,
    order: BTreeSet<(EntryNo, Address)>,
}

impl Moves {
    /// A token moved, or is passed over: it is the last in line.
    pub(super) fn note(&mut self, token: Address, no: EntryNo) {
        if token.is_zero() {
            return;
        }
        if let Some(before) = self.last.insert(token, no) {
            self.order.remove(&(before, token));
        }
        self.order.insert((no, token));
    }

    fn forget(&mut self, token: Address) {
        if let Some(no) = self.last.remove(&token) {
            self.order.remove(&(no, token));
        }
    }

    /// Whether it is in line, in its place.
    pub(crate) fn knows(&self, token: Address) -> bool {
        let no = self.last.get(&token);
        no.is_some_and(|no| self.order.contains(&(*no, token)))
    }
}

impl Ledger {
    fn of_token(&self, token: Address) -> impl Iterator<Item = (Role, super::Totals)> {
        ROLES
            .into_iter()
            .map(move |role| (role, self.totals(role, token)))
    }

    /// Whether all of a token is final.
    fn is_at_rest(&self, token: Address) -> bool {
        self.of_token(token).all(|(_, totals)| {
            totals.debits_pending == Sum::ZERO && totals.credits_pending == Sum::ZERO
        })
    }

    /// The next entry that writes a token off; `None` when all its accounts are at zero.
    fn next_write_off(&self, token: Address) -> Option<(Role, Role, Amount)> {
        self.of_token(token)
            .filter(|(role, _)| *role != Role::Suspense)
            .find_map(|(role, totals)| {
                let (debit, credit, amount) = match totals.posted() {
                    Balance::Debit(amount) => (Role::Suspense, role, amount),
                    Balance::Credit(amount) => (role, Role::Suspense, amount),
                };
                let amount = amount.amount().unwrap_or(Amount::MAX);
                (!amount.is_zero()).then_some((debit, credit, amount))
            })
    }

    fn forget_token(&mut self, token: Address) {
        for role in ROLES {
            self.accounts.remove(&Account { role, token });
        }
        self.moves.forget(token);
    }
}

impl Machine {
    /// So many entries were made final: each makes room for itself, up to twice.
    pub(crate) fn forget_tokens(
        &mut self,
        turn: &Turn,
        block: &BlockRef,
        posted: usize,
    ) -> Result<(), Halt> {
        for _ in 0..posted.saturating_mul(2) {
            let oldest = self.ledger.moves.order.first().copied();
            let beyond = self.ledger.moves.order.len() > LEDGER_TOKENS_KEPT;
            let Some((no, token)) = oldest.filter(|_| beyond) else {
                return Ok(());
            };
            if self.is_of_use(token) || !self.ledger.is_at_rest(token) {
                let last = self.ledger.last;
                self.ledger.moves.note(token, last);
            } else {
                self.write_off(turn, block, token)
                    .map_err(|_| Halt::new(turn.seq, 31, "a token cannot be written off"))?;
                if self.ledger.moves.knows(token) {
                    self.ledger.moves.note(token, no); // The rest comes next.
                }
            }
        }
        Ok(())
    }

    /// Whether a token is accepted, rated, capped, or a stake.
    fn is_of_use(&self, token: Address) -> bool {
        let is_named = |list: &[(Address, Amount)]| list.iter().any(|(of, _)| *of == token);
        self.proofs.staked.of(&token) != Sum::ZERO
            || self.chores.allowances.contains_key(&token)
            || self.config.as_ref().is_some_and(|config| {
                let mut containers = config.containers.iter();
                containers.any(|container| is_named(&container.accepted_payments))
                    || is_named(&config.rates)
                    || is_named(&config.stake_caps)
            })
    }

    /// Brings the accounts of a token to zero, as far as so many entries do, and forgets it then.
    fn write_off(
        &mut self,
        turn: &Turn,
        block: &BlockRef,
        token: Address,
    ) -> Result<(), Unbalanced> {
        for _ in 0..WRITE_OFFS_AT_ONCE_MAX {
            let Some((debit, credit, amount)) = self.ledger.next_write_off(token) else {
                self.ledger.forget_token(token);
                return Ok(());
            };
            let booked = self.ledger.book(Entry {
                seq: turn.seq,
                block: block.number,
                tx: Hash::ZERO,
                debit: Account { role: debit, token },
                credit: Account {
                    role: credit,
                    token,
                },
                amount,
                code: Code::WrittenOff,
                state: EntryState::Pending,
            })?;
            if let Some(no) = booked {
                self.ledger.post(no)?;
                self.note_settlement(no, Settlement::Post);
            }
        }
        if self.ledger.next_write_off(token).is_none() {
            self.ledger.forget_token(token);
        }
        Ok(())
    }
}
