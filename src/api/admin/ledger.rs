//! `GET /api/ledger`: the books, as far as they are kept in memory. For any range of events there
//! is `infernet replay --statement`.

use std::sync::Arc;

use axum::{Json, extract::State};
use infernet_state::{
    Machine,
    ledger::{Account, Entry, Role, Totals},
    types::{Address, Seq},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, value::StrDeserializer},
};

use super::Asked;
use crate::{api::node::Node, words::EntryView};

/// Entries in one answer, and more only where one event has them.
const ENTRIES_MAX: usize = 10_000;

/// Accounts in one answer: strangers make tokens, and each has accounts of its own. Books without
/// them are far smaller.
const ACCOUNTS_MAX: usize = 1_000;

#[derive(Deserialize)]
pub(super) struct Range {
    /// The first event whose entries are shown.
    #[serde(default)]
    from: u64,
    /// The last one.
    to: Option<u64>,
    limit: Option<usize>,
    /// Only what is in this token; zero is the native coin.
    token: Option<Address>,
    /// Only what concerns accounts for this.
    role: Option<Role>,
    /// The first account that is shown.
    accounts_from: Option<Place>,
}

impl Range {
    fn wants(&self, account: &Account) -> bool {
        self.role.is_none_or(|role| role == account.role)
            && self.token.is_none_or(|token| token == account.token)
    }

    fn wants_entry(&self, entry: &Entry) -> bool {
        self.wants(&entry.debit) || self.wants(&entry.credit)
    }
}

/// Where a page of accounts begins: role and token.
struct Place(Account);

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fn part<T: DeserializeOwned, E: serde::de::Error>(text: &str) -> Result<T, E> {
            T::deserialize(StrDeserializer::new(text))
        }

        let text = String::deserialize(deserializer)?;
        let (role, token) = text.split_once('-').unwrap_or((&text, ""));
        Ok(Self(Account {
            role: part(role)?,
            token: part(token)?,
        }))
    }
}

/// The name of an account's place.
fn place_of(account: &Account) -> String {
    format!("{:?}-{}", account.role, account.token)
}

/// The books.
#[derive(Serialize)]
struct LedgerView {
    /// The event behind which this is the state of the books.
    seq: u64,
    /// Whether debits equal credits in every token.
    balanced: bool,
    accounts: Vec<AccountView>,
    /// `accounts_from` of the rest of them; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts_next: Option<String>,
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
    let all = ledger.entries_from(Seq(range.from));
    for (looked_at, (no, entry)) in all.enumerate() {
        if entry.seq > to {
            break;
        }
        let is_full = entries.len() >= limit || looked_at >= ENTRIES_MAX;
        if is_full && entry.seq > last {
            next = Some(entry.seq.0);
            break;
        }
        last = entry.seq;
        if range.wants_entry(entry) {
            entries.push(EntryView::new(no, entry));
        }
    }
    let (accounts, accounts_next) = accounts(machine, range);
    LedgerView {
        seq: machine.seq().0,
        balanced: ledger.balances(),
        accounts,
        accounts_next,
        entries,
        next,
    }
}

/// The accounts that are asked for, as far as one answer goes, and where the rest begins.
fn accounts(machine: &Machine, range: &Range) -> (Vec<AccountView>, Option<String>) {
    let ledger = machine.ledger();
    let roles = Role::ALL
        .into_iter()
        .filter(|role| range.role.is_none_or(|wanted| wanted == *role));
    let mut all = roles.flat_map(|role| {
        let lowest = Account {
            role,
            token: range.token.unwrap_or(Address::ZERO),
        };
        let highest = Account {
            role,
            token: range.token.unwrap_or(Address([u8::MAX; 20])),
        };
        let begin = range.accounts_from.as_ref().map_or(lowest, |place| place.0);
        ledger.accounts_between(lowest.max(begin), highest)
    });
    let shown = all
        .by_ref()
        .take(ACCOUNTS_MAX)
        .map(AccountView::new)
        .collect();
    (shown, all.next().map(|(account, _)| place_of(account)))
}
