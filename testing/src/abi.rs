//! The contracts' interfaces, and the way from the model's types to bytes.

mod emitted;
mod message;

pub use infernet_contracts::{
    BatchDelivery, Consumer, Coordinator, DelegateSubscription, Fee, Inbox, InboxItem, Ownable,
    Reader, Registry, ScriptedConsumer, ScriptedToken, ScriptedVerifier, Subscription, Verifier,
    Wallet, WalletFactory,
};
pub use message::Message;

use crate::model::{
    Answer, BatchItem, InboxItem as ModelInboxItem, Subscription as ModelSubscription,
};

/// Hash keys of the Coordinator's mappings (section 0).
pub mod keys {
    use alloy_sol_types::SolValue;
    use revm::primitives::{Address, B256, keccak256};

    /// Of `redundancyCount`.
    #[must_use]
    pub fn interval(id: u32, interval: u32) -> B256 {
        keccak256((id, interval).abi_encode())
    }

    /// Of `nodeResponded` and `proofRequests`.
    #[must_use]
    pub fn node(id: u32, interval: u32, node: Address) -> B256 {
        keccak256((id, interval, node).abi_encode())
    }

    /// Of `delegateCreatedIds`.
    #[must_use]
    pub fn delegate(owner: Address, nonce: u32) -> B256 {
        keccak256((owner, nonce).abi_encode())
    }
}

impl From<&ModelSubscription> for Subscription {
    fn from(sub: &ModelSubscription) -> Self {
        Self {
            owner: sub.owner,
            activeAt: sub.active_at,
            period: sub.period,
            frequency: sub.frequency,
            redundancy: sub.redundancy,
            containerId: sub.container_id,
            lazy: sub.lazy,
            verifier: sub.verifier,
            paymentAmount: sub.payment_amount,
            paymentToken: sub.payment_token,
            wallet: sub.wallet,
        }
    }
}

impl From<&BatchItem> for BatchDelivery {
    fn from(item: &BatchItem) -> Self {
        let Answer {
            input,
            output,
            proof,
        } = item.answer.clone();
        Self {
            subscriptionId: item.id,
            interval: item.interval,
            input,
            output,
            proof,
            nodeWallet: item.node_wallet,
        }
    }
}

impl From<&ModelInboxItem> for InboxItem {
    fn from(item: &ModelInboxItem) -> Self {
        let Answer {
            input,
            output,
            proof,
        } = item.answer.clone();
        Self {
            timestamp: item.timestamp,
            subscriptionId: item.subscription_id,
            interval: item.interval,
            input,
            output,
            proof,
        }
    }
}
