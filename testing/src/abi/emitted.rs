//! What calls return and emit, as bytes.

use alloy_sol_types::{SolEvent, SolValue};
use revm::primitives::{Bytes, LogData, U256};

use super::{
    Coordinator, Fee, Inbox, InboxItem, Ownable, ScriptedConsumer, ScriptedToken, ScriptedVerifier,
    Wallet, WalletFactory,
};
use crate::model::{Emitted, Habit, Returned};

impl Habit {
    /// The number of the habit in the scripted token's constructor.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::ReturnTrue => 0,
            Self::ReturnNothing => 1,
            Self::ReturnFalse => 2,
            Self::Revert => 3,
            Self::RevertAll => 4,
        }
    }
}

impl Returned {
    /// The bytes that the call returns.
    #[must_use]
    pub fn data(&self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::Number(number) => number.abi_encode().into(),
            Self::Address(address) => address.abi_encode().into(),
            Self::True => true.abi_encode().into(),
            Self::False => false.abi_encode().into(),
            Self::Item(item) => InboxItem::from(item).abi_encode().into(),
        }
    }
}

impl Emitted {
    /// Topics and data of the event.
    #[must_use]
    pub fn data(&self) -> LogData {
        match self.clone() {
            Self::SubscriptionCreated { id } => {
                Coordinator::SubscriptionCreated { id }.encode_log_data()
            }
            Self::SubscriptionCancelled { id } => {
                Coordinator::SubscriptionCancelled { id }.encode_log_data()
            }
            Self::SubscriptionFulfilled { id, node } => {
                Coordinator::SubscriptionFulfilled { id, node }.encode_log_data()
            }
            Self::ProofVerified {
                id,
                interval,
                node,
                active,
                verifier,
                valid,
            } => Coordinator::ProofVerified {
                id,
                interval,
                node,
                active,
                verifier,
                valid,
            }
            .encode_log_data(),
            Self::Delivered {
                id,
                interval,
                node,
                redundancy,
            } => Coordinator::Delivered {
                id,
                interval,
                node,
                redundancy,
            }
            .encode_log_data(),
            Self::DeliveryFailed {
                id,
                interval,
                node,
                reason,
            } => Coordinator::DeliveryFailed {
                id,
                interval,
                node,
                reason: reason.into(),
            }
            .encode_log_data(),
            Self::SubscriptionFunded {
                id,
                wallet,
                payments,
                amount,
            } => Coordinator::SubscriptionFunded {
                id,
                wallet,
                payments,
                amount,
            }
            .encode_log_data(),
            Self::ReserveReleased {
                id,
                wallet,
                payments,
                amount,
            } => Coordinator::ReserveReleased {
                id,
                wallet,
                payments,
                amount,
            }
            .encode_log_data(),
            Self::NewInboxItem {
                container_id,
                node,
                index,
            } => Inbox::NewInboxItem {
                containerId: container_id,
                node,
                index: U256::from(index),
            }
            .encode_log_data(),
            Self::Withdrawl { token, amount } => {
                Wallet::Withdrawl { token, amount }.encode_log_data()
            }
            Self::Approval {
                spender,
                token,
                amount,
            } => Wallet::Approval {
                spender,
                token,
                amount,
            }
            .encode_log_data(),
            Self::Transfer {
                spender,
                token,
                to,
                amount,
            } => Wallet::Transfer {
                spender,
                token,
                to,
                amount,
            }
            .encode_log_data(),
            Self::Escrow {
                spender,
                token,
                amount,
                locked,
            } => Wallet::Escrow {
                spender,
                token,
                amount,
                locked,
            }
            .encode_log_data(),
            Self::WalletCreated {
                caller,
                owner,
                wallet,
            } => WalletFactory::WalletCreated {
                caller,
                owner,
                wallet,
            }
            .encode_log_data(),
            Self::OwnershipTransferred { old, new } => Ownable::OwnershipTransferred {
                oldOwner: old,
                newOwner: new,
            }
            .encode_log_data(),
            Self::OwnershipHandoverRequested { pending } => Ownable::OwnershipHandoverRequested {
                pendingOwner: pending,
            }
            .encode_log_data(),
            Self::OwnershipHandoverCanceled { pending } => Ownable::OwnershipHandoverCanceled {
                pendingOwner: pending,
            }
            .encode_log_data(),
            Self::FeeUpdated { old, new } => Fee::FeeUpdated {
                oldFee: old,
                newFee: new,
            }
            .encode_log_data(),
            Self::TokenTransfer { from, to, amount } => {
                ScriptedToken::Transfer { from, to, amount }.encode_log_data()
            }
            Self::ProofAsked {
                id,
                interval,
                node,
                proof,
            } => ScriptedVerifier::ProofAsked {
                subscriptionId: id,
                interval,
                node,
                proof,
            }
            .encode_log_data(),
            Self::Received {
                id,
                interval,
                redundancy,
                node,
                answer,
                container_id,
                index,
            } => ScriptedConsumer::Received {
                subscriptionId: id,
                interval,
                redundancy,
                node,
                input: answer.input,
                output: answer.output,
                proof: answer.proof,
                containerId: container_id,
                index: U256::from(index),
            }
            .encode_log_data(),
            Self::Tried {
                succeeded,
                returned,
            } => ScriptedConsumer::Tried {
                succeeded,
                returned,
            }
            .encode_log_data(),
        }
    }
}
