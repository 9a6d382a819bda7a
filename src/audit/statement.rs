//! A statement of the books for a range of events: what moved, and each account before and behind.

use std::{collections::BTreeMap, ops::ControlFlow};

use infernet_state::{
    Machine,
    ledger::{Account, Balance, Statement},
    types::Seq,
};
use serde_json::{Value, json};

use super::{
    AuditError,
    past::{Moment, Past},
    portrait::entry,
};
use crate::{
    log::{Head, LogError},
    words::{self, EntryView},
};

/// The books of a range of events, both ends included.
#[derive(Clone, Debug)]
pub struct Books {
    from: Seq,
    to: Seq,
    /// How the entries were settled by then.
    as_of: Head,
    entries: Statement,
    /// Each account before the range and behind it, pending entries included.
    accounts: BTreeMap<Account, [Balance; 2]>,
}

/// Replays the past, and states the books of the events from `from` to `to`, as they are settled
/// by the event `as_of` or by the last one.
///
/// # Errors
/// As [`Past::replay`]; [`LogError::Gone`] when the log begins behind `from`, and
/// [`LogError::Missing`] when it ends before `to`.
pub fn statement(past: &Past, from: Seq, to: Seq, as_of: Option<Seq>) -> Result<Books, AuditError> {
    let mut entries = Statement::new(from, to);
    let mut accounts = BTreeMap::new();
    let mut gone = None;
    let replay = past.replay(as_of, |moment| {
        let machine = match moment {
            Moment::Begun(replay) => {
                gone = (replay.base.seq >= from).then(|| Seq(replay.base.seq.0 + 1));
                &replay.machine
            }
            Moment::Passed(step) => {
                entries.follow(step.stored.seq, step.machine.ledger());
                step.machine
            }
        };
        if machine.seq().0.saturating_add(1) == from.0 {
            balances(machine, &mut accounts, 0);
        }
        if machine.seq() == to {
            balances(machine, &mut accounts, 1);
        }
        if gone.is_some() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    if let Some(first) = gone {
        return Err(LogError::Gone { seq: from, first }.into());
    }
    if to > replay.head.seq {
        return Err(LogError::Missing {
            seq: to,
            last: replay.head.seq,
        }
        .into());
    }
    Ok(Books {
        from,
        to,
        as_of: replay.head,
        entries,
        accounts,
    })
}

/// Notes each account's balance, before the range (0) or behind it (1).
fn balances(machine: &Machine, accounts: &mut BTreeMap<Account, [Balance; 2]>, when: usize) {
    for (account, totals) in machine.ledger().accounts() {
        let nothing = [const { Balance::Debit(infernet_state::ledger::Sum::ZERO) }; 2];
        let both = accounts.entry(*account).or_insert(nothing);
        if let Some(balance) = both.get_mut(when) {
            *balance = totals.balance();
        }
    }
}

impl Books {
    /// In words, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut out = vec![format!(
            "the books of the events {} to {}, as settled by event {}",
            self.from, self.to, self.as_of.seq
        )];
        let before = out.len();
        for (no, of) in self.entries.entries() {
            out.extend(entry(no, of).lines());
        }
        if out.len() == before {
            out.push("  no entries".to_owned());
        }
        out.push("accounts, before and behind (pending entries included)".to_owned());
        for (account, [opening, closing]) in &self.accounts {
            out.push(format!(
                "    {:<20} {opening} → {closing}",
                words::account(account)
            ));
        }
        out.push(format!("head hash    {}", self.as_of.hash));
        out
    }

    /// The same as JSON; amounts are decimal strings in the token's smallest unit.
    #[must_use]
    pub fn json(&self) -> Value {
        let accounts: Vec<Value> = self
            .accounts
            .iter()
            .map(|(account, [opening, closing])| {
                json!({
                    "role": account.role,
                    "token": account.token.to_string(),
                    "opening": opening.to_string(),
                    "closing": closing.to_string(),
                })
            })
            .collect();
        let entries: Vec<EntryView> = self
            .entries
            .entries()
            .map(|(no, entry)| EntryView::new(no, entry))
            .collect();
        json!({
            "from": self.from.0,
            "to": self.to.0,
            "as_of": { "seq": self.as_of.seq.0, "hash": self.as_of.hash.to_string() },
            "accounts": accounts,
            "entries": entries,
        })
    }
}
