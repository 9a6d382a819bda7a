//! The state in words: one thing after the other, each with what is known of it.

use infernet_state::{
    Machine,
    chore::Chore,
    delegation::{Delegation, DelegationKey},
    delivery::{Delivery, State},
    inspect::PendingEffect,
    job::{Job, Work},
    ledger::{Account, Balance, Entry, Sum, Totals},
    outbox::Flight,
    proof::Proof,
    subscription::Tracked,
    transaction::Slot,
    types::{
        Address, Amount, BlockTime, DeliveryNo, EffectId, EntryNo, Hash, Interval, JobNo, Nonce,
        SubscriptionId,
    },
};

use super::singles::singles;
use crate::words::{self, Money};

/// Lines on things of one kind that a portrait shows, about; a state may hold a million.
const SHOWN_LINES_MAX: usize = 1_000;

/// Subscriptions looked at together.
const PAGE: usize = 1024;

/// One thing of the state, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Facet {
    /// What it is called.
    pub(super) name: String,
    /// What is known of it: what, and the words.
    pub(super) fields: Vec<(String, String)>,
}

impl Facet {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            fields: Vec::new(),
        }
    }

    pub(super) fn with(mut self, field: impl Into<String>, value: impl ToString) -> Self {
        self.fields.push((field.into(), value.to_string()));
        self
    }

    pub(super) fn with_some(self, field: impl Into<String>, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(field, value),
            None => self,
        }
    }

    /// The name, then a line for each field.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        let fields = self
            .fields
            .iter()
            .map(|(field, value)| format!("    {field:<20} {value}"));
        std::iter::once(format!("  {}", self.name)).chain(fields)
    }
}

/// The state in words, a line each.
#[must_use]
pub fn portrait(machine: &Machine) -> Vec<String> {
    let mut out = vec![format!("state behind event {}", machine.seq())];
    for facet in singles(machine) {
        out.extend(facet.lines());
    }
    let mut section = |title: &str, facets: &mut dyn Iterator<Item = Facet>| {
        let mut shown = Vec::new();
        let mut more = 0_u64;
        for facet in facets {
            if shown.len() < SHOWN_LINES_MAX {
                shown.extend(facet.lines());
            } else {
                more += 1;
            }
        }
        if !shown.is_empty() {
            out.push(title.to_owned());
            out.append(&mut shown);
        }
        if more > 0 {
            out.push(format!("  … and {more} more"));
        }
    };
    section(
        "subscriptions",
        &mut subscriptions(machine).map(|(id, tracked)| subscription(id, tracked)),
    );
    section(
        "delegated subscriptions",
        &mut machine
            .delegations()
            .iter()
            .map(|(key, known)| delegation(*key, known)),
    );
    section(
        "jobs",
        &mut machine
            .jobs()
            .range_from(JobNo(0))
            .map(|(no, known)| job(no, known)),
    );
    section(
        "deliveries",
        &mut machine
            .deliveries()
            .iter()
            .map(|(no, known)| delivery(no, known)),
    );
    section(
        "open nonces",
        &mut machine
            .account()
            .slots()
            .map(|(nonce, slot)| transaction(nonce, slot)),
    );
    section(
        "effects under way",
        &mut machine
            .pending_effects()
            .map(|(id, pending)| effect(id, &pending, machine)),
    );
    section(
        "proofs",
        &mut machine
            .proofs()
            .iter()
            .map(|(id, interval, known)| proof((id, interval), known)),
    );
    section(
        "stake allowances",
        &mut machine
            .chores()
            .allowances()
            .map(|(token, amount)| allowance(token, amount)),
    );
    section(
        "chores",
        &mut machine
            .chores()
            .under_way()
            .map(|(of, failures)| chore(of, failures)),
    );
    section(
        "ledger",
        &mut machine
            .ledger()
            .accounts()
            .map(|(account, totals)| ledger_account(*account, totals)),
    );
    out
}

/// All subscriptions, ascending by id.
pub(super) fn subscriptions(machine: &Machine) -> impl Iterator<Item = (SubscriptionId, &Tracked)> {
    let mut next = Some(SubscriptionId(0));
    std::iter::from_fn(move || {
        let page = machine.subscriptions().range(next?, PAGE);
        next = page
            .last()
            .and_then(|(id, _)| id.0.checked_add(1))
            .map(SubscriptionId);
        (!page.is_empty()).then_some(page)
    })
    .flatten()
}

pub(super) fn subscription(id: SubscriptionId, tracked: &Tracked) -> Facet {
    let record = &tracked.subscription;
    let rhythm = match (record.period, record.frequency) {
        (0, _) => "once".to_owned(),
        (period, times) => format!("every {period} s, {times} times"),
    };
    let verifier = (!record.verifier.is_zero()).then_some(record.verifier);
    let price = if record.payment_amount.is_zero() {
        "free".to_owned()
    } else {
        let price = Money(&record.payment_amount, &record.payment_token);
        format!("{price} from wallet {}", record.wallet)
    };
    let responses = &tracked.responses;
    let heard = match (responses.count, responses.responded) {
        (0, _) => "none".to_owned(),
        (count, ours) => format!(
            "{count} in interval {}{}",
            responses.interval,
            if ours { ", one of them ours" } else { "" }
        ),
    };
    Facet::new(format!("subscription {id}"))
        .with("standing", words::standing(tracked.standing))
        .with("owner", record.owner)
        .with(
            "wants",
            format!("{rhythm}; answers wanted each time: {}", record.redundancy),
        )
        .with(
            "active from",
            words::block_time(BlockTime(record.active_at.into())),
        )
        .with("containers (hash)", record.container_id)
        .with("pays", price)
        .with_some("verifier", verifier)
        .with(
            "goes to",
            if record.lazy {
                "the Inbox"
            } else {
                "the consumer"
            },
        )
        .with(
            if tracked.synced {
                "read in block"
            } else {
                "created in block"
            },
            format!("{} ({})", tracked.height, tracked.block),
        )
        .with_some("delegated with nonce", tracked.origin.nonce())
        .with("taken up to interval", tracked.taken)
        .with("responses heard of", heard)
        .with_some("looked at next", words::due(tracked.due))
}

pub(super) fn delegation(key: DelegationKey, known: &Delegation) -> Facet {
    Facet::new(format!(
        "delegated subscription of {} with nonce {}",
        key.0, key.1
    ))
    .with(
        "id on chain",
        known
            .id
            .map_or_else(|| "none yet".into(), |id| id.to_string()),
    )
    .with("job", known.job)
    .with(
        "begun again",
        if known.is_settled() {
            "never"
        } else {
            "where its job fails and another may do better"
        },
    )
    .with(
        "signature ends",
        words::block_time(BlockTime(known.request.expiry.into())),
    )
}

pub(super) fn job(no: JobNo, job: &Job) -> Facet {
    let kind = match &job.work {
        Work::Client { client, .. }
        | Work::Reported { client, .. }
        | Work::Delegated { client, .. } => Some(format!("client {client:?}")),
        Work::Interval { .. } => None,
    };
    Facet::new(words::job_name(no, job))
        .with("stage", words::stage(job))
        .with_some("asked by", kind)
        .with("number", no)
        .with("containers", job.containers.join(", "))
        .with("since", words::wall(job.since))
        .with_some("ended", job.ended.map(words::wall))
        .with("answers recorded", job.results.len())
        .with_some(
            "error",
            job.error
                .map(|at| format!("sha256 {}, with event {}", at.payload.hash, at.seq)),
        )
        .with_some("delivery", job.delivery)
}

pub(super) fn delivery(no: DeliveryNo, delivery: &Delivery) -> Facet {
    let of = match delivery.delegation {
        Some((owner, nonce)) => format!("the delegated subscription of {owner} with nonce {nonce}"),
        None => format!("subscription {}", delivery.identity.id),
    };
    Facet::new(format!(
        "delivery {no} to {of}, interval {}",
        delivery.interval
    ))
    .with("state", words::delivery_state(delivery))
    .with("answer of job", delivery.job)
    .with(
        "output",
        format!(
            "{} bytes, sha256 {}",
            delivery.arguments.output.payload.len, delivery.arguments.output.payload.hash
        ),
    )
    .with("reverted on chain", reverts(delivery))
}

/// How often a delivery reverted in a block, and which transaction did last, as far as it is final.
fn reverts(delivery: &Delivery) -> String {
    let times = match delivery.reverts {
        0 => return "never".into(),
        1 => "once".to_owned(),
        times => format!("{times} times"),
    };
    match delivery.settled {
        Some(last) if delivery.state != State::Final => {
            format!("{times}, last {}", words::inclusion(last))
        }
        Some(_) | None => times,
    }
}

pub(super) fn transaction(nonce: Nonce, slot: &Slot) -> Facet {
    let versions: Vec<String> = slot
        .versions
        .iter()
        .map(|version| version.tx.to_string())
        .collect();
    Facet::new(format!("nonce {nonce}"))
        .with("is for", words::used_for(&slot.wanted))
        .with("phase", words::phase(slot))
        .with(
            "signed",
            if versions.is_empty() {
                "not yet".into()
            } else {
                versions.join(", ")
            },
        )
}

pub(super) fn effect(id: EffectId, pending: &PendingEffect<'_>, machine: &Machine) -> Facet {
    let state = match pending.flight {
        Flight::BackingOff(at) => format!("backs off until {}", words::wall(at)),
        Flight::Held => "held until the account was read in this run".into(),
        Flight::InFlight => "under way".into(),
    };
    Facet::new(format!("effect {id}: {}", pending.effect))
        .with("waits for it", words::waiting(pending.waiting, machine))
        .with("attempt", pending.attempt)
        .with("state", state)
}

pub(super) fn proof((id, interval): (SubscriptionId, Interval), proof: &Proof) -> Facet {
    Facet::new(format!("proof for subscription {id}, interval {interval}"))
        .with("state", words::proof_state(proof.state))
        .with("delivery", proof.delivery)
        .with("at stake", Money(&proof.stake, &proof.token))
        .with("consumer's escrow", Money(&proof.escrow, &proof.token))
        .with(
            "anybody may finalise",
            words::block_time(BlockTime(proof.expires)),
        )
}

pub(super) fn allowance(token: Address, amount: Amount) -> Facet {
    Facet::new(format!(
        "stakes of {}",
        if token.is_zero() {
            "the native coin".into()
        } else {
            format!("token {token}")
        }
    ))
    .with("may lock", Money(&amount, &token))
}

pub(super) fn chore(of: Chore, failures: u16) -> Facet {
    Facet::new(words::chore(of)).with("failed", format!("{failures} times"))
}

pub(super) fn ledger_account(account: Account, totals: &Totals) -> Facet {
    let unit = |amount: &Sum| Money(amount, &account.token).to_string();
    let balance = match totals.balance() {
        Balance::Debit(amount) => format!("{} debit", unit(&amount)),
        Balance::Credit(amount) => format!("{} credit", unit(&amount)),
    };
    Facet::new(words::account(&account))
        .with("balance", balance)
        .with(
            "posted",
            format!(
                "{} debit, {} credit",
                unit(&totals.debits_posted),
                unit(&totals.credits_posted)
            ),
        )
        .with(
            "pending",
            format!(
                "{} debit, {} credit",
                unit(&totals.debits_pending),
                unit(&totals.credits_pending)
            ),
        )
}

pub(super) fn entry(no: EntryNo, entry: &Entry) -> Facet {
    let from_to = format!(
        "{} ← {}",
        words::account(&entry.debit),
        words::account(&entry.credit)
    );
    Facet::new(format!("entry {no}: {}", words::code(entry.code)))
        .with("amount", Money(&entry.amount, &entry.debit.token))
        .with("debit ← credit", from_to)
        .with("state", words::entry_state(entry.state))
        .with("by event", format!("{}, block {}", entry.seq, entry.block))
        .with_some("transaction", (entry.tx != Hash::ZERO).then_some(entry.tx))
}
