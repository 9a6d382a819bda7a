//! `GET /api/ledger`: the books, as far as they are kept in memory. For any range of events there
//! is `infernet replay --statement`.

use std::sync::Arc;

use axum::{Json, extract::State};
use infernet_state::{
    Machine,
    ledger::{Account, Role, Totals},
    types::Seq,
};
use serde::{Deserialize, Serialize};

use super::Asked;
use crate::{api::node::Node, words::EntryView};

/// Entries in one answer, and more only where one event has them.
const ENTRIES_MAX: usize = 10_000;

#[derive(Deserialize)]
pub(super) struct Range {
    /// The first event whose entries are shown.
    #[serde(default)]
    from: u64,
    /// The last one.
    to: Option<u64>,
    limit: Option<usize>,
}

/// The books.
#[derive(Serialize)]
struct LedgerView {
    /// The event behind which this is the state of the books.
    seq: u64,
    /// Whether debits equal credits in every token.
    balanced: bool,
    accounts: Vec<AccountView>,
    entries: Vec<EntryView>,
    /// `from` of the rest of the range; the entries of one event come together.
    next: Option<u64>,
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

impl AccountView {
    fn new((account, totals): (&Account, &Totals)) -> Self {
        Self {
            role: account.role,
            token: account.token.to_string(),
            debits_pending: totals.debits_pending.to_string(),
            credits_pending: totals.credits_pending.to_string(),
            debits_posted: totals.debits_posted.to_string(),
            credits_posted: totals.credits_posted.to_string(),
            balance: totals.balance().to_string(),
        }
    }
}

pub(super) async fn get(
    State(node): State<Arc<Node>>,
    Asked(range): Asked<Range>,
) -> Json<impl Serialize> {
    Json(node.handle.view(|machine| shown(machine, &range)))
}

fn shown(machine: &Machine, range: &Range) -> LedgerView {
    let limit = range.limit.unwrap_or(ENTRIES_MAX).clamp(1, ENTRIES_MAX);
    let to = Seq(range.to.unwrap_or(u64::MAX));
    let ledger = machine.ledger();
    let mut entries = Vec::new();
    let (mut last, mut next) = (Seq(0), None);
    for (no, entry) in ledger.entries_from(Seq(range.from)) {
        if entry.seq > to {
            break;
        }
        if entries.len() >= limit && entry.seq > last {
            next = Some(entry.seq.0);
            break;
        }
        last = entry.seq;
        entries.push(EntryView::new(no, entry));
    }
    LedgerView {
        seq: machine.seq().0,
        balanced: ledger.balances(),
        accounts: ledger.accounts().map(AccountView::new).collect(),
        entries,
        next,
    }
}
