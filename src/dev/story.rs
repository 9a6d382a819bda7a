//! What happens, told line by line from the log as it grows.

use std::time::Instant;

use alloy::primitives::utils::format_ether;
use infernet_state::{
    Event, codec,
    event::{ChainFact, Failure, Outcome, Success, WalletChange},
    types::{Address, Seq},
};
use tokio::sync::watch;

use super::{NODE_WALLET, Role};
use crate::{
    chain::convert,
    log::{LogReader, Stored},
};

/// Events read at a time; more are read in the next round.
const CHUNK: usize = 256;

/// Tells the events behind `from` until the loop ends.
pub async fn tell<R: LogReader>(
    log: R,
    mut head: watch::Receiver<Seq>,
    from: Seq,
    begun: Instant,
    mut print: impl FnMut(String),
) {
    let mut next = Seq(from.0 + 1);
    loop {
        let chunk = match log.read(next, CHUNK) {
            Ok(chunk) => chunk,
            Err(error) => return print(format!("the log cannot be read: {error}")),
        };
        for stored in &chunk {
            next = Seq(stored.seq.0 + 1);
            for line in lines(stored) {
                print(moment(begun, &line));
            }
        }
        if chunk.len() < CHUNK && head.changed().await.is_err() {
            return;
        }
    }
}

/// A line of the story: when, and what.
#[must_use]
pub fn moment(begun: Instant, what: &str) -> String {
    format!("{:>8.3} s  {what}", begun.elapsed().as_secs_f64())
}

fn lines(stored: &Stored) -> Vec<String> {
    match codec::decode(stored.event.kind, stored.event.version, &stored.event.body) {
        Ok(Event::ChainCommitted { block, facts }) => facts
            .iter()
            .filter_map(fact)
            .map(|line| format!("block {:<5} {line}", block.number))
            .collect(),
        Ok(Event::EffectEnded {
            outcome, attempt, ..
        }) => {
            let again = if attempt > 1 {
                format!(" (attempt {attempt})")
            } else {
                String::new()
            };
            outcome_line(&outcome)
                .map(|line| format!("node        {line}{again}"))
                .into_iter()
                .collect()
        }
        Ok(Event::JobAccepted(request)) => vec![format!(
            "node        job {} accepted for {}",
            request.job,
            request.containers.join(",")
        )],
        Ok(Event::NodeStarted { version, .. }) => {
            vec![format!(
                "node        version {version} started at event {}",
                stored.seq
            )]
        }
        Ok(_) => Vec::new(),
        Err(error) => vec![error.to_string()],
    }
}

fn fact(fact: &ChainFact) -> Option<String> {
    match fact {
        ChainFact::SubscriptionCreated {
            id, subscription, ..
        } => Some(format!(
            "subscription {id} created, {} offered for the answer",
            coins(subscription.payment_amount.to_be_bytes())
        )),
        ChainFact::TransactionIncluded(receipt) => Some(format!(
            "transaction {} {}, {} gas at {} wei: {} wei",
            receipt.tx,
            if receipt.succeeded {
                "included"
            } else {
                "reverted"
            },
            receipt.gas_used,
            receipt.effective_gas_price,
            u128::from(receipt.gas_used).saturating_mul(receipt.effective_gas_price)
        )),
        ChainFact::SubscriptionFulfilled { id, .. } => Some(format!("subscription {id} fulfilled")),
        ChainFact::Wallet(wallet) => match &wallet.change {
            WalletChange::Transferred { to, amount, .. } => Some(format!(
                "{} paid to {}",
                coins(amount.to_be_bytes()),
                who(*to)
            )),
            WalletChange::Escrowed { .. }
            | WalletChange::Approved { .. }
            | WalletChange::Withdrawn { .. }
            | WalletChange::BalanceRead { .. } => None,
        },
        ChainFact::SubscriptionCancelled { .. }
        | ChainFact::ProofVerified { .. }
        | ChainFact::ForeignNonceUsed { .. } => None,
    }
}

fn outcome_line(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Succeeded(success) => success_line(success),
        Outcome::Failed(failure) => Some(match failure {
            Failure::Container { retry, .. } if *retry => "container failed; again later".into(),
            Failure::Container { .. } => "container failed".into(),
            Failure::Reverted { reason, .. } => format!("simulation reverted: {reason}"),
            Failure::Rejected(rejection) => format!("transaction refused: {rejection:?}"),
            Failure::Unavailable { reason } => format!("not available: {reason}"),
            Failure::NotRerun => "not run again after a crash".into(),
            Failure::Missing { reason } => format!("missing: {reason}"),
        }),
        Outcome::Unknown { reason } => Some(format!("unclear, looking: {reason}")),
    }
}

fn success_line(success: &Success) -> Option<String> {
    match success {
        Success::InputsRead { input } => Some(format!("inputs read: {} bytes", input.len)),
        Success::PayerRead { balance, .. } => Some(format!(
            "the consumer's wallet can pay: it holds {}",
            coins(balance.to_be_bytes())
        )),
        Success::ResponsesRead { .. } => None,
        Success::ContainerAnswered { output }
        | Success::ContainerAnsweredOnchain { output, .. } => {
            Some(format!("the container answered: {} bytes", output.len))
        }
        Success::Simulated { gas, .. } => Some(format!("delivery simulated: {gas} gas")),
        Success::Signed { tx, .. } => Some(format!("transaction {tx} signed, on disk")),
        Success::Broadcast => Some("transaction sent".into()),
        Success::LookedUp(state) => Some(format!("transaction looked up: {state:?}")),
    }
}

fn coins(wei: [u8; 32]) -> String {
    ether(alloy::primitives::U256::from_be_bytes(wei))
}

/// Wei in whole coins, without the zeros at the end.
pub(super) fn ether(wei: alloy::primitives::U256) -> String {
    let coins = format_ether(wei);
    format!("{} ETH", coins.trim_end_matches('0').trim_end_matches('.'))
}

fn who(address: Address) -> String {
    let address = convert::to_address(address);
    if address == NODE_WALLET {
        "the node's wallet".into()
    } else if address == Role::FeeRecipient.signer().address() {
        "the protocol".into()
    } else {
        address.to_string()
    }
}
