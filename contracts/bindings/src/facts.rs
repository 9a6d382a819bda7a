//! From what the contracts say to what the machine is told: a log is a fact, or it says nothing.
//!
//! Nothing is read here. What a log leaves out (a subscription's record, a wallet's owner) is read
//! by whoever has a chain: the node's watcher, and the tests that hold the machine against the
//! contracts' bytecode.

use alloy_primitives::Log;
use alloy_sol_types::{SolCall as _, SolEventInterface as _};
use infernet_state::{
    event::{ChainFact, WalletChange, WalletFact},
    types::{Address, Interval, SubscriptionId},
};

use crate::{
    Coordinator::{self, CoordinatorEvents},
    Wallet::WalletEvents,
    convert,
};

/// What a log of the Coordinator says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// `SubscriptionCreated`: a fact as soon as the record was read.
    Created(u32),
    /// A whole fact.
    Fact(ChainFact),
    /// What follows from other logs, too.
    Nothing,
}

/// What a log of the Coordinator says.
///
/// # Errors
/// When it does not decode.
pub fn said(log: &Log) -> Result<Said, alloy_sol_types::Error> {
    Ok(match CoordinatorEvents::decode_log(log)?.data {
        CoordinatorEvents::SubscriptionCreated(event) => Said::Created(event.id),
        CoordinatorEvents::SubscriptionCancelled(event) => {
            Said::Fact(ChainFact::SubscriptionCancelled {
                id: SubscriptionId(event.id),
            })
        }
        CoordinatorEvents::SubscriptionFulfilled(event) => {
            Said::Fact(ChainFact::SubscriptionFulfilled {
                id: SubscriptionId(event.id),
                node: convert::from_address(event.node),
            })
        }
        CoordinatorEvents::ProofVerified(event) => Said::Fact(ChainFact::ProofVerified {
            id: SubscriptionId(event.id),
            interval: Interval(event.interval),
            node: convert::from_address(event.node),
            active: event.active,
            valid: event.valid,
        }),
        CoordinatorEvents::Delivered(_)
        | CoordinatorEvents::DeliveryFailed(_)
        | CoordinatorEvents::SubscriptionFunded(_)
        | CoordinatorEvents::ReserveReleased(_) => Said::Nothing,
    })
}

/// What happened to the wallet that emitted a log; `None` where it is no wallet's event. ERC-20's
/// `Approval` has the wallet's topic and another shape: it does not decode.
#[must_use]
pub fn wallet_change(log: &Log) -> Option<WalletChange> {
    Some(match WalletEvents::decode_log(log).ok()?.data {
        WalletEvents::Transfer(event) => WalletChange::Transferred {
            spender: convert::from_address(event.spender),
            token: convert::from_address(event.token),
            to: convert::from_address(event.to),
            amount: convert::from_u256(event.amount),
        },
        WalletEvents::Escrow(event) => WalletChange::Escrowed {
            spender: convert::from_address(event.spender),
            token: convert::from_address(event.token),
            amount: convert::from_u256(event.amount),
            locked: event.locked,
        },
        WalletEvents::Approval(event) => WalletChange::Approved {
            spender: convert::from_address(event.spender),
            token: convert::from_address(event.token),
            amount: convert::from_u256(event.amount),
        },
        WalletEvents::Withdrawl(event) => WalletChange::Withdrawn {
            token: convert::from_address(event.token),
            amount: convert::from_u256(event.amount),
        },
    })
}

/// The token in which a fact moved what `wallet` holds, if it did.
#[must_use]
pub fn token_moved(wallet: Address, fact: &WalletFact) -> Option<Address> {
    let own = fact.wallet == wallet;
    match fact.change {
        WalletChange::Transferred { token, to, .. } if own || to == wallet => Some(token),
        WalletChange::Withdrawn { token, .. } if own => Some(token),
        WalletChange::Transferred { .. }
        | WalletChange::Withdrawn { .. }
        | WalletChange::Escrowed { .. }
        | WalletChange::Approved { .. }
        | WalletChange::BalanceRead { .. } => None,
    }
}

/// The owner and the subscriber's nonce that a direct call of the Coordinator with this `input` creates a
/// subscription for, by delegation.
#[must_use]
pub fn delegation_in(input: &[u8]) -> Option<(Address, u32)> {
    let (signed, nonce) = Coordinator::deliverComputeDelegateeCall::abi_decode(input)
        .map(|call| (call.sub, call.nonce))
        .or_else(|_| {
            Coordinator::createSubscriptionDelegateeCall::abi_decode(input)
                .map(|call| (call.sub, call.nonce))
        })
        .ok()?;
    Some((convert::from_address(signed.owner), nonce))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address as Addr, LogData, U256};
    use alloy_sol_types::SolEvent as _;

    use super::*;
    use crate::Wallet;

    alloy_sol_types::sol! {
        interface Token {
            event Approval(address indexed owner, address indexed spender, uint256 value);
        }
    }

    fn log(data: LogData) -> Log {
        Log {
            address: Addr::repeat_byte(9),
            data,
        }
    }

    #[test]
    fn an_approval_of_a_token_is_not_taken_for_a_wallets() {
        let of_wallet = Wallet::Approval {
            spender: Addr::repeat_byte(1),
            token: Addr::repeat_byte(2),
            amount: U256::from(3),
        };
        let of_token = Token::Approval {
            owner: Addr::repeat_byte(1),
            spender: Addr::repeat_byte(2),
            value: U256::from(3),
        };
        assert_eq!(
            Wallet::Approval::SIGNATURE_HASH,
            Token::Approval::SIGNATURE_HASH
        );
        assert!(wallet_change(&log(of_wallet.encode_log_data())).is_some());
        assert!(wallet_change(&log(of_token.encode_log_data())).is_none());
    }
}
