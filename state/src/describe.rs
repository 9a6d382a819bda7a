//! Events and effects in human words: what `replay` prints, a line each.

use core::fmt::{self, Display, Formatter};

use crate::{
    effect::{Action, ContainerCall, ContainerInput, Effect, Issued, Location, Purpose},
    event::{
        ChainFact, Event, Failure, JobKind, Outcome, Receipt, Rejection, ReportedStatus, Success,
        TransactionState, WalletChange, WalletFact,
    },
    types::{Address, BlockRef, PayloadRef, WallTime},
};

/// A block in a line: height, the start of its hash, its time.
struct Block<'a>(&'a BlockRef);

impl Display for Block<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "block {} ({}, {} UTC)",
            self.0.number,
            self.0.hash,
            Seconds(self.0.time.0)
        )
    }
}

/// A payload in a line.
struct Bytes<'a>(&'a PayloadRef);

impl Display for Bytes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, sha256 {}", self.0.len, self.0.hash)
    }
}

/// What an amount is of: a token, or wei of the native coin.
struct Token<'a>(&'a Address);

impl Display for Token<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            f.write_str("wei")
        } else {
            write!(f, "of token {}", self.0)
        }
    }
}

/// Words with ", " between.
fn list<T: Display>(f: &mut Formatter<'_>, items: impl Iterator<Item = T>) -> fmt::Result {
    for (place, item) in items.enumerate() {
        if place > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeStarted { at, version } => {
                write!(f, "node started, version {version}, at {}", Wall(at))
            }
            Self::ConfigChanged(config) => {
                write!(f, "configuration recorded: ")?;
                match &config.chain {
                    Some(chain) => write!(
                        f,
                        "chain {}, coordinator {}, account {}; ",
                        chain.chain_id, chain.coordinator, chain.node
                    )?,
                    None => f.write_str("no chain; ")?,
                }
                f.write_str("containers ")?;
                list(f, config.containers.iter().map(|container| &container.id))
            }
            Self::Upgraded { to } => write!(f, "logic {to} takes effect"),
            Self::WallTimePassed { now } => write!(f, "the clock passed a deadline: {}", Wall(now)),
            Self::AccountObserved {
                head,
                nonce,
                balance,
            } => write!(
                f,
                "account read at {}: {nonce} transactions, {balance} wei",
                Block(head)
            ),
            Self::QuarantineLifted => f.write_str("an operator lifted the quarantine"),
            Self::ChainCommitted { block, facts } => {
                write!(f, "{} joined the chain", Block(block))?;
                if facts.is_empty() {
                    return Ok(());
                }
                f.write_str(": ")?;
                list(f, facts.iter())
            }
            Self::HeadObserved { head } => {
                write!(f, "{} was seen as the chain's head", Block(head))
            }
            Self::ChainReorged { ancestor } => {
                write!(f, "the chain was reorganised above {}", Block(ancestor))
            }
            Self::ChainFinalized { block } => write!(f, "{} is final", Block(block)),
            Self::SubscriptionsSynced {
                block,
                subscriptions,
                next,
            } => write!(
                f,
                "{} subscriptions of the past read at {}, next id {next}",
                subscriptions.len(),
                Block(block)
            ),
            Self::JobAccepted(request) => {
                let kind = match request.kind {
                    JobKind::Offchain => "job",
                    JobKind::Stream => "streamed job",
                };
                write!(f, "{kind} {} accepted for ", request.job)?;
                list(f, request.containers.iter())?;
                write!(f, " ({})", Bytes(&request.input))
            }
            Self::DelegatedAccepted(request) => write!(
                f,
                "delegated subscription of {} with nonce {} accepted",
                request.subscription.owner, request.nonce
            ),
            Self::JobReported { job, status, .. } => {
                let status = match status {
                    ReportedStatus::Running => "running",
                    ReportedStatus::Success => "done",
                    ReportedStatus::Failed => "failed",
                };
                write!(f, "job {job} was reported as {status}")
            }
            Self::JobCancelled { job, .. } => write!(f, "job {job} was cancelled"),
            Self::EffectEnded {
                effect,
                attempt,
                outcome,
                ..
            } => write!(f, "effect {effect} (attempt {attempt}) {outcome}"),
        }
    }
}

/// Milliseconds since 1970, as date and time.
struct Wall<'a>(&'a WallTime);

impl Display for Wall<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (seconds, rest) = split(self.0.0, 1_000);
        write!(f, "{}.{rest:03} UTC", Seconds(seconds))
    }
}

/// Seconds since 1970, as date and time of the Gregorian calendar.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (days, second) = split(self.0, 86_400);
        let (minute, second) = split(second, 60);
        let (hour, minute) = split(minute, 60);
        // Counted from 1 March of the year 0, so that a leap day is the last of its year; months
        // are 153 days in each five. The days of a year are found within an era of 400 years.
        let (era, day) = split(days.saturating_add(719_468), 146_097);
        let leaps = |years: u64| {
            let (fours, hundreds) = (split(years, 4).0, split(years, 100).0);
            fours.saturating_sub(hundreds)
        };
        let first_of = |year: u64| year.saturating_mul(365).saturating_add(leaps(year));
        let guess = split(day, 365).0.min(399);
        let year = if first_of(guess) > day {
            guess.saturating_sub(1)
        } else {
            guess
        };
        let day = day.saturating_sub(first_of(year));
        let month = split(day.saturating_mul(5).saturating_add(2), 153).0;
        let first_of_month = split(month.saturating_mul(153).saturating_add(2), 5).0;
        let day = day.saturating_sub(first_of_month).saturating_add(1);
        let year = era.saturating_mul(400).saturating_add(year);
        let (year, month) = if month < 10 {
            (year, month.saturating_add(3))
        } else {
            (year.saturating_add(1), month.saturating_sub(9))
        };
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"
        )
    }
}

/// Quotient and remainder by a divisor that is not zero.
fn split(number: u64, by: u64) -> (u64, u64) {
    (
        number.checked_div(by).unwrap_or_default(),
        number.checked_rem(by).unwrap_or_default(),
    )
}

impl Display for ChainFact {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::SubscriptionCreated {
                id, subscription, ..
            } => {
                write!(f, "subscription {id} created by {}", subscription.owner)?;
                if subscription.payment_amount.is_zero() {
                    f.write_str(" (free)")
                } else {
                    write!(
                        f,
                        " (pays {} {})",
                        subscription.payment_amount,
                        Token(&subscription.payment_token)
                    )
                }
            }
            Self::SubscriptionCancelled { id } => write!(f, "subscription {id} cancelled"),
            Self::SubscriptionFulfilled { id, node } => {
                write!(f, "subscription {id} answered by {node}")
            }
            Self::ProofVerified {
                id,
                interval,
                node,
                active,
                valid,
            } => {
                let verdict = match (active, valid) {
                    (true, true) => "found valid",
                    (true, false) => "found invalid",
                    (false, _) => "expired unjudged",
                };
                write!(
                    f,
                    "proof of {node} for subscription {id}, interval {interval}, {verdict}"
                )
            }
            Self::TransactionIncluded(receipt) => write!(f, "{receipt}"),
            Self::ForeignNonceUsed { nonce } => {
                write!(
                    f,
                    "nonce {nonce} was used by a transaction that is not ours"
                )
            }
            Self::Wallet(fact) => write!(f, "{fact}"),
        }
    }
}

impl Display for Receipt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let end = if self.succeeded {
            "succeeded"
        } else {
            "reverted"
        };
        write!(
            f,
            "transaction {} (nonce {}) {end}, {} gas at {} wei",
            self.tx, self.nonce, self.gas_used, self.effective_gas_price
        )
    }
}

impl Display for WalletFact {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "wallet {} ", self.wallet)?;
        match &self.change {
            WalletChange::Transferred {
                token, to, amount, ..
            } => write!(f, "paid {amount} {} to {to}", Token(token)),
            WalletChange::Escrowed {
                token,
                amount,
                locked,
                ..
            } => {
                let verb = if *locked { "locked" } else { "unlocked" };
                write!(f, "{verb} {amount} {}", Token(token))
            }
            WalletChange::Approved {
                spender,
                token,
                amount,
            } => write!(f, "allows {spender} {amount} {}", Token(token)),
            WalletChange::Withdrawn { token, amount } => {
                write!(f, "paid {amount} {} out to its owner", Token(token))
            }
            WalletChange::BalanceRead { token, balance } => {
                write!(f, "holds {balance} {}", Token(token))
            }
        }
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded(success) => write!(f, "succeeded: {success}"),
            Self::Failed(failure) => write!(f, "failed: {failure}"),
            Self::Unknown { reason } => write!(f, "ended unknown: {reason}"),
        }
    }
}

impl Display for Success {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputsRead { input } => write!(f, "inputs read ({})", Bytes(input)),
            Self::PayerRead {
                valid,
                balance,
                allowance,
            } => {
                let valid = if *valid { "valid" } else { "not valid" };
                write!(
                    f,
                    "the wallet is {valid}, holds {balance}, allows {allowance}"
                )
            }
            Self::ResponsesRead {
                responses,
                responded,
            } => {
                let ours = if *responded { ", one of them ours" } else { "" };
                write!(f, "{responses} responses so far{ours}")
            }
            Self::ContainerAnswered { output } => {
                write!(f, "the container answered ({})", Bytes(output))
            }
            Self::ContainerAnsweredOnchain { deliver_output, .. } => write!(
                f,
                "the container answered; to deliver: {}",
                Bytes(deliver_output)
            ),
            Self::Simulated {
                gas,
                base_fee,
                priority_fee,
            } => write!(
                f,
                "the call would succeed with {gas} gas; base fee {base_fee}, priority {priority_fee} wei"
            ),
            Self::Signed { tx, .. } => write!(f, "signed as {tx}"),
            Self::Broadcast => f.write_str("the RPC took it"),
            Self::LookedUp(state) => f.write_str(match state {
                TransactionState::Absent => "nobody knows the transaction",
                TransactionState::Pending => "the transaction is in the pool",
                TransactionState::Included => "the transaction is in the chain",
                TransactionState::NonceTaken => "another transaction used the nonce",
            }),
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container { error, retry } => {
                let again = if *retry { "; worth a retry" } else { "" };
                write!(f, "the container failed ({}){again}", Bytes(error))
            }
            Self::Reverted { reason, .. } => write!(f, "the call would revert: {reason}"),
            Self::Rejected(rejection) => match rejection {
                Rejection::NonceTooLow => f.write_str("the nonce is used up"),
                Rejection::NonceTooHigh => f.write_str("earlier nonces are missing"),
                Rejection::Underpriced => f.write_str("a replacement must offer more"),
                Rejection::InsufficientFunds => f.write_str("the account cannot pay"),
                Rejection::Other { reason } => write!(f, "the RPC refused: {reason}"),
            },
            Self::Unavailable { reason } => write!(f, "unavailable: {reason}"),
            Self::NotRerun => f.write_str("not run twice, by configuration"),
            Self::Missing { reason } => write!(f, "something is missing: {reason}"),
        }
    }
}

impl Display for Issued {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} (attempt {}): {}", self.id, self.attempt, self.effect)
    }
}

impl Display for Effect {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadInputs {
                consumer,
                subscription,
                interval,
                ..
            } => write!(
                f,
                "read the inputs of subscription {subscription}, interval {interval}, from {consumer}"
            ),
            Self::ReadPayer { wallet, token, .. } if token.is_zero() => {
                write!(f, "read what wallet {wallet} can pay in ether")
            }
            Self::ReadPayer { wallet, token, .. } => {
                write!(f, "read what wallet {wallet} can pay in token {token}")
            }
            Self::ReadResponses {
                subscription,
                interval,
                ..
            } => write!(
                f,
                "read the responses to subscription {subscription}, interval {interval}"
            ),
            Self::RunContainer(call) => write!(f, "{call}"),
            Self::StopContainer { call } => write!(f, "stop the call {call}"),
            Self::Simulate { action, at, .. } => {
                write!(f, "simulate at time {at}: {action}")
            }
            Self::Sign {
                nonce,
                action,
                gas_limit,
                max_fee_per_gas,
                ..
            } => write!(
                f,
                "sign nonce {nonce}, gas {gas_limit} at no more than {max_fee_per_gas} wei: {action}"
            ),
            Self::Broadcast { tx, nonce, .. } => write!(f, "send {tx} (nonce {nonce})"),
            Self::LookUpTransaction { nonce, tx } => {
                write!(f, "look what became of {tx} (nonce {nonce})")
            }
        }
    }
}

impl Display for ContainerCall {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "run {} for ", self.container)?;
        match &self.purpose {
            Purpose::Job(job) => write!(f, "job {job}")?,
            Purpose::Interval {
                subscription,
                interval,
            } => write!(f, "subscription {subscription}, interval {interval}")?,
        }
        let input = match &self.input {
            ContainerInput::Onchain(at) | ContainerInput::Json(at) => at,
        };
        let destination = match self.destination {
            Location::Onchain => "on chain",
            Location::Offchain => "off chain",
            Location::Stream => "as a stream",
        };
        write!(f, ", answer {destination} ({})", Bytes(&input.payload))
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deliver(delivery) => write!(
                f,
                "deliver to subscription {}, interval {}",
                delivery.subscription, delivery.interval
            ),
            Self::DeliverDelegated {
                subscription,
                nonce,
                delivery,
                ..
            } => write!(
                f,
                "create the subscription of {} with nonce {nonce} and deliver to its interval {}",
                subscription.owner, delivery.interval
            ),
            Self::DeliverBatch(deliveries) => {
                write!(f, "deliver {} answers at once: ", deliveries.len())?;
                list(f, deliveries.iter().map(|delivery| delivery.subscription))
            }
            Self::ApproveStake { token, amount, .. } => {
                write!(f, "allow stakes of {amount} {}", Token(token))
            }
            Self::FinalizeProof {
                subscription,
                interval,
                node,
            } => write!(
                f,
                "finalise the expired proof of {node} for subscription {subscription}, interval {interval}"
            ),
            Self::FillNonce => f.write_str("use the nonce up with an empty transfer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn moments_are_dates_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_795_853_477, "2026-11-28 08:11:17"),
            (4_107_542_399, "2100-02-28 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(Seconds(seconds).to_string(), date);
        }
        assert!(Seconds(u64::MAX).to_string().starts_with("584554051223-"));
        let wall = WallTime(1_795_853_477_520);
        assert_eq!(Wall(&wall).to_string(), "2026-11-28 08:11:17.520 UTC");
    }
}
