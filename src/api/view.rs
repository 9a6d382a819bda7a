//! What the interface shows of the machine.

use infernet_state::{
    Machine,
    ledger::{Account, Code, Entry, EntryState, Role, Totals},
    machine::JobStatus,
    types::{EntryNo, JobId, PayloadAt, Seq},
};
use serde::Serialize;

/// Work that is not final.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Pending {
    offchain: u32,
    onchain: u32,
}

/// A job as it is shown.
pub(super) struct JobView {
    pub(super) status: JobStatus,
    /// The answers before the last one, with their containers, in order.
    pub(super) intermediate: Vec<(String, PayloadAt)>,
}

/// A job, if the machine knows it.
pub(super) fn job(machine: &Machine, id: JobId) -> Option<JobView> {
    let status = machine.job_status(id)?;
    let job = machine.job(id)?;
    let before_last = match status {
        JobStatus::Success { .. } => job.results.len().saturating_sub(1),
        JobStatus::Running | JobStatus::Failed { .. } => job.results.len(),
    };
    let intermediate = job
        .containers
        .iter()
        .cloned()
        .zip(job.results.iter().copied())
        .take(before_last)
        .collect();
    Some(JobView {
        status,
        intermediate,
    })
}

/// How much work is not final.
pub(super) fn pending(machine: &Machine) -> Pending {
    let counts = machine.pending();
    Pending {
        offchain: counts.offchain,
        onchain: counts.onchain,
    }
}

/// The books, as far as they are kept in memory.
#[derive(Serialize)]
pub(super) struct LedgerView {
    /// The event behind which this is the state of the books.
    seq: u64,
    /// Whether debits equal credits in every token.
    balanced: bool,
    accounts: Vec<AccountView>,
    entries: Vec<EntryView>,
}

/// One account; amounts in the token's smallest unit, in decimal.
#[derive(Serialize)]
struct AccountView {
    role: Role,
    token: String,
    debits_pending: String,
    credits_pending: String,
    debits_posted: String,
    credits_posted: String,
    /// Debits less credits, pending ones included, with its side.
    balance: String,
}

#[derive(Serialize)]
struct EntryView {
    no: u64,
    /// The event that brought it.
    seq: u64,
    block: u64,
    tx: String,
    debit: Role,
    credit: Role,
    token: String,
    amount: String,
    code: Code,
    state: EntryState,
}

/// The books, with at most `limit` entries from the event `from` on.
pub(super) fn ledger(machine: &Machine, from: Seq, limit: usize) -> LedgerView {
    let ledger = machine.ledger();
    let account = |(account, totals): (&Account, &Totals)| AccountView {
        role: account.role,
        token: account.token.to_string(),
        debits_pending: totals.debits_pending.to_string(),
        credits_pending: totals.credits_pending.to_string(),
        debits_posted: totals.debits_posted.to_string(),
        credits_posted: totals.credits_posted.to_string(),
        balance: totals.balance().to_string(),
    };
    let entry = |(no, entry): (EntryNo, &Entry)| EntryView {
        no: no.0,
        seq: entry.seq.0,
        block: entry.block,
        tx: entry.tx.to_string(),
        debit: entry.debit.role,
        credit: entry.credit.role,
        token: entry.debit.token.to_string(),
        amount: entry.amount.to_string(),
        code: entry.code,
        state: entry.state,
    };
    LedgerView {
        seq: machine.seq().0,
        balanced: ledger.balances(),
        accounts: ledger.accounts().map(account).collect(),
        entries: ledger
            .entries()
            .filter(|(_, entry)| entry.seq >= from)
            .take(limit)
            .map(entry)
            .collect(),
    }
}
