//! What differs between two states, in words.

use std::{cmp::Ordering, iter::Peekable};

use infernet_state::{Machine, types::JobNo};

use super::portrait::{self, Facet};

/// What differs between an earlier and a later state, a line each; nothing when they are equal.
#[must_use]
pub fn difference(a: &Machine, b: &Machine) -> Vec<String> {
    let mut out = Vec::new();
    merge(
        &mut out,
        ["appeared", "is gone"],
        portrait::singles(a).into_iter().enumerate(),
        portrait::singles(b).into_iter().enumerate(),
        |_, facet, _| facet.clone(),
    );
    merge(
        &mut out,
        ["appeared", "is gone"],
        portrait::subscriptions(a),
        portrait::subscriptions(b),
        |id, tracked, _| portrait::subscription(*id, tracked),
    );
    merge(
        &mut out,
        ["was accepted", "is no longer kept"],
        a.delegations().iter(),
        b.delegations().iter(),
        |key, known, _| portrait::delegation(**key, known),
    );
    merge(
        &mut out,
        ["began", "is no longer kept"],
        a.jobs().range_from(JobNo(0)),
        b.jobs().range_from(JobNo(0)),
        |no, job, _| portrait::job(*no, job),
    );
    merge(
        &mut out,
        ["was planned", "is no longer kept"],
        a.deliveries().iter(),
        b.deliveries().iter(),
        |no, delivery, _| portrait::delivery(*no, delivery),
    );
    merge(
        &mut out,
        ["was opened", "is closed"],
        a.account().slots(),
        b.account().slots(),
        |nonce, slot, _| portrait::transaction(*nonce, slot),
    );
    merge(
        &mut out,
        ["was issued", "has ended"],
        a.pending_effects(),
        b.pending_effects(),
        |id, pending, side| {
            let machine = match side {
                Side::Earlier => a,
                Side::Later => b,
            };
            portrait::effect(*id, pending, machine)
        },
    );
    merge(
        &mut out,
        ["was opened", "is settled"],
        a.proofs()
            .iter()
            .map(|(id, interval, proof)| ((id, interval), proof)),
        b.proofs()
            .iter()
            .map(|(id, interval, proof)| ((id, interval), proof)),
        |key, proof, _| portrait::proof(*key, proof),
    );
    merge(
        &mut out,
        ["were allowed", "are no longer known"],
        a.chores().allowances(),
        b.chores().allowances(),
        |token, amount, _| portrait::allowance(*token, *amount),
    );
    merge(
        &mut out,
        ["is to be done", "is done or given up"],
        a.chores().under_way(),
        b.chores().under_way(),
        |chore, failures, _| portrait::chore(*chore, *failures),
    );
    merge(
        &mut out,
        ["has its first entry", "is gone"],
        a.ledger().accounts(),
        b.ledger().accounts(),
        |account, totals, _| portrait::ledger_account(**account, totals),
    );
    merge(
        &mut out,
        ["was booked", "is no longer kept"],
        a.ledger().entries(),
        b.ledger().entries(),
        |no, entry, _| portrait::entry(*no, entry),
    );
    if out.is_empty() && a.digest() != b.digest() {
        out.push(
            "  only the machine's own bookkeeping differs (schedule, undo records)".to_owned(),
        );
    }
    out
}

/// Which of the two states.
#[derive(Clone, Copy)]
enum Side {
    Earlier,
    Later,
}

/// Goes through two ascending sequences side by side, and says what differs. Words are made only
/// of what does.
fn merge<K: Ord, V: PartialEq>(
    out: &mut Vec<String>,
    [came, went]: [&str; 2],
    a: impl Iterator<Item = (K, V)>,
    b: impl Iterator<Item = (K, V)>,
    facet: impl Fn(&K, &V, Side) -> Facet,
) {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    while let Some(order) = order(&mut a, &mut b) {
        match order {
            Ordering::Less => {
                if let Some((key, value)) = a.next() {
                    out.push(format!(
                        "  {} {went}",
                        facet(&key, &value, Side::Earlier).name
                    ));
                }
            }
            Ordering::Greater => {
                if let Some((key, value)) = b.next() {
                    let new = facet(&key, &value, Side::Later);
                    out.push(format!("  {} {came}", new.name));
                    out.extend(new.lines().skip(1));
                }
            }
            Ordering::Equal => {
                if let (Some((key, before)), Some((_, after))) = (a.next(), b.next())
                    && before != after
                {
                    let before = facet(&key, &before, Side::Earlier);
                    changed(out, &before, &facet(&key, &after, Side::Later));
                }
            }
        }
    }
}

/// Which of two sequences comes next; `None` at the end of both.
fn order<K: Ord, V>(
    a: &mut Peekable<impl Iterator<Item = (K, V)>>,
    b: &mut Peekable<impl Iterator<Item = (K, V)>>,
) -> Option<Ordering> {
    match (a.peek(), b.peek()) {
        (None, None) => None,
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (Some((a, _)), Some((b, _))) => Some(a.cmp(b)),
    }
}

/// What of one thing changed; nothing when the change is not in its words.
fn changed(out: &mut Vec<String>, before: &Facet, after: &Facet) {
    let mut lines = Vec::new();
    for (field, new) in &after.fields {
        match before.fields.iter().find(|(old, _)| old == field) {
            Some((_, old)) if old == new => {}
            Some((_, old)) => lines.push(format!("    {field:<20} {old} → {new}")),
            None => lines.push(format!("    {field:<20} now {new}")),
        }
    }
    for (field, old) in &before.fields {
        if !after.fields.iter().any(|(new, _)| new == field) {
            lines.push(format!("    {field:<20} no longer {old}"));
        }
    }
    if !lines.is_empty() {
        out.push(format!("  {}", after.name));
        out.append(&mut lines);
    }
}
