//! The words of the state: where things stand, in the terms of the field. Auditors and operators
//! read the same ones.

use std::fmt;

use infernet_state::{
    breaker::Breaker,
    chore::Chore,
    delivery::{Delivery, Inclusion, State},
    inspect::Waiting,
    job::{Job, Stage, Work},
    ledger::{Account, Code, Entry, EntryState, Role},
    machine::Machine,
    proof::ProofState,
    subscription::{Due, Standing},
    transaction::{Phase, Slot, Use},
    types::{Address, BlockTime, EntryNo, JobNo, WallTime},
};
use serde::Serialize;

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// Seconds since 1970 as a date and time of day, UTC.
#[must_use]
pub fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / DAY_S, seconds % DAY_S);
    // Days from 0000-03-01, so that a leap day is the last one of its year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..=9 => (year + era * 400, month + 3),
        _ => (year + era * 400 + 1, month - 9),
    };
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The node's time.
pub(crate) fn wall(at: WallTime) -> String {
    utc(at.0 / 1_000)
}

/// A block's time.
pub(crate) fn block_time(at: BlockTime) -> String {
    format!("{at} ({})", utc(at.0))
}

/// An amount with its unit.
pub(crate) struct Money<'a>(pub(crate) &'a dyn fmt::Display, pub(crate) &'a Address);

impl fmt::Display for Money<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1.is_zero() {
            write!(f, "{} wei", self.0)
        } else {
            write!(f, "{} of token {}", self.0, self.1)
        }
    }
}

/// Why no new work is taken in, where the breaker is open.
pub(crate) fn pause(breaker: Breaker) -> Option<String> {
    let until = breaker.open_until?;
    let losses = match breaker.losses {
        // Successes since it opened end the row.
        0 => "losses in a row".to_owned(),
        1 => "a loss".to_owned(),
        count => format!("{count} losses in a row"),
    };
    Some(format!("paused until {} after {losses}", wall(until)))
}

/// Where a job stands.
pub(crate) fn stage(job: &Job) -> String {
    match job.stage {
        Stage::Waiting => "waits for its subscription to become active".into(),
        Stage::ReadingPayer => "asks what the consumer's wallet can pay".into(),
        Stage::ReadingInputs => "asks the consumer for the inputs".into(),
        Stage::Running { position } => {
            let position = usize::from(position);
            let name = job.containers.get(position).map_or("?", String::as_str);
            format!(
                "runs {name} (container {} of {})",
                position + 1,
                job.containers.len()
            )
        }
        Stage::Delivering => "answered, the answer is on its way to the chain".into(),
        Stage::Included => "its delivery is in a block that may still go".into(),
        Stage::Succeeded => "succeeded".into(),
        Stage::Failed(cause) => format!("failed: {cause}"),
    }
}

/// What a job is called.
pub(crate) fn job_name(no: JobNo, job: &Job) -> String {
    match &job.work {
        Work::Client { job, .. } => format!("job {job}"),
        Work::Reported { job, .. } => format!("reported job {job}"),
        Work::Delegated { key, .. } => {
            format!(
                "job {no} for the delegated subscription of {} with nonce {}",
                key.0, key.1
            )
        }
        Work::Interval { identity, interval } => {
            format!(
                "job {no} for subscription {}, interval {interval}",
                identity.id
            )
        }
    }
}

/// Where a delivery stands.
pub(crate) fn delivery_state(delivery: &Delivery) -> String {
    match delivery.state {
        State::Planned => "planned".into(),
        State::Simulating => "simulated against the head".into(),
        State::Ready => "simulated, waits for the next batch".into(),
        State::Sent(nonce) => format!("has nonce {nonce}"),
        State::Included(nonce) => format!("in a block with nonce {nonce}, not final"),
        State::Final => match delivery.settled {
            Some(by) => format!("final: {}", inclusion(by)),
            None => "final".into(),
        },
        State::Parked => {
            "parked: the interval was met without it, in a block that may still go".into()
        }
        State::Abandoned(loss) => format!("abandoned: {loss}"),
        State::Withdrawn(loss) => format!("withdrawn: {loss}"),
    }
}

/// A transaction in a block.
pub(crate) fn inclusion(by: Inclusion) -> String {
    format!(
        "transaction {} with nonce {}, in block {}",
        by.tx, by.nonce, by.block
    )
}

/// Where a subscription stands.
pub(crate) fn standing(standing: Standing) -> String {
    match standing {
        Standing::Admitted => "served".into(),
        Standing::Refused(reason) => format!("not served: {reason}"),
        Standing::Cancelled => "cancelled".into(),
        Standing::Completed => "nothing more is due of it".into(),
    }
}

/// When a subscription is looked at next, if at all.
pub(crate) fn due(due: Due) -> Option<String> {
    match due {
        Due::Never | Due::Retired(_) => None,
        Due::Height(height) => Some(format!("at block {height}")),
        Due::Time(time) => Some(format!("at block time {}", block_time(BlockTime(time)))),
    }
}

/// Where a nonce stands.
pub(crate) fn phase(slot: &Slot) -> String {
    match slot.phase {
        Phase::Signing(id) => format!("is signed (effect {id})"),
        Phase::Sending(id) => format!("is handed to the RPC (effect {id})"),
        Phase::Pooled => "in the pool".into(),
        Phase::Looking(id) => format!("is looked for (effect {id})"),
        Phase::Rechecking(id) => {
            format!("its block is gone, is simulated again (effect {id})")
        }
        Phase::Included {
            height, succeeded, ..
        } => format!(
            "in block {height}, {}, not final",
            if succeeded { "succeeded" } else { "reverted" }
        ),
    }
}

/// What a nonce is for.
pub(crate) fn used_for(wanted: &Use) -> String {
    match wanted {
        Use::Deliver(deliveries) => match deliveries.as_slice() {
            [one] => format!("delivery {one}"),
            several => {
                let names: Vec<String> = several.iter().map(ToString::to_string).collect();
                format!("deliveries {} in one batch", names.join(", "))
            }
        },
        Use::Stake { token, amount } => {
            format!("allowing stakes of {}", Money(amount, token))
        }
        Use::Finalize { id, interval } => {
            format!("finalising the proof of subscription {id}, interval {interval}")
        }
        Use::Fill => "nothing: an empty transfer uses it up".into(),
    }
}

/// What a chore is.
pub(crate) fn chore(chore: Chore) -> String {
    match chore {
        Chore::Stake(token) if token.is_zero() => "the stake allowance of the native coin".into(),
        Chore::Stake(token) => format!("the stake allowance of token {token}"),
        Chore::Finalize(id, interval) => {
            format!("the finalisation of the proof of subscription {id}, interval {interval}")
        }
    }
}

/// Who waits for an effect.
pub(crate) fn waiting(waiting: Waiting, machine: &Machine) -> String {
    match waiting {
        Waiting::Job(no) => machine
            .job_by_no(no)
            .map_or_else(|| format!("job {no}"), |job| job_name(no, job)),
        Waiting::Delivery(no) => format!("delivery {no}"),
        Waiting::Transaction(nonce) => format!("the transaction of nonce {nonce}"),
        Waiting::Chore(of) => chore(of),
    }
}

/// Where a proof stands.
pub(crate) fn proof_state(state: ProofState) -> &'static str {
    match state {
        ProofState::Open => "not judged",
        ProofState::Paid => "found valid, paid",
        ProofState::Slashed => "found invalid, the stake is lost",
        ProofState::Expired => "not judged within the week, paid",
    }
}

/// What an account is for.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::NodeAccount => "node's account",
        Role::NodeWallet => "node's wallet",
        Role::Receivable => "receivable",
        Role::Escrow => "escrow",
        Role::Stake => "stake",
        Role::Earnings => "earnings",
        Role::ProtocolFees => "protocol fees",
        Role::VerifierFees => "verifier fees",
        Role::Slashes => "slashes",
        Role::Gas => "gas",
        Role::DataFees => "data fees",
        Role::Suspense => "suspense",
        Role::Owner => "owner",
    }
}

/// An account of the ledger.
pub(crate) fn account(account: &Account) -> String {
    if account.token.is_zero() {
        role(account.role).to_owned()
    } else {
        format!("{} in token {}", role(account.role), account.token)
    }
}

/// What an entry books.
pub(crate) fn code(code: Code) -> &'static str {
    match code {
        Code::Price => "price of a delivery",
        Code::ProtocolFee => "protocol's share",
        Code::VerifierFee => "verifier's share",
        Code::Payout => "paid to the node",
        Code::EscrowLocked => "consumer's escrow locked",
        Code::EscrowPaid => "consumer's escrow paid out",
        Code::EscrowReleased => "consumer's escrow given back",
        Code::StakeLocked => "stake locked",
        Code::StakeReleased => "stake given back",
        Code::StakeSlashed => "stake lost",
        Code::Gas => "gas",
        Code::DataFee => "data fee",
        Code::Reconciled => "balance read from the chain",
        Code::Deposit => "deposit",
        Code::Withdrawal => "withdrawal",
        Code::Spent => "spent by the owner",
        Code::WrittenOff => "written off: a token that nobody accepts",
    }
}

/// An entry of the ledger as JSON, the amount in the token's smallest unit.
#[derive(Serialize)]
pub(crate) struct EntryView {
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

impl EntryView {
    pub(crate) fn new(no: EntryNo, entry: &Entry) -> Self {
        Self {
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
        }
    }
}

/// Where an entry stands.
pub(crate) fn entry_state(state: EntryState) -> &'static str {
    match state {
        EntryState::Pending => "pending",
        EntryState::Posted => "posted",
        EntryState::Voided => "voided: its block is gone",
    }
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn seconds_become_the_right_day() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_709_251_200, "2024-03-01 00:00:00 UTC"),
            (1_800_000_000, "2027-01-15 08:00:00 UTC"),
            (4_102_444_799, "2099-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(seconds), expected);
        }
    }
}
