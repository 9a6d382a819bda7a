//! Between the machine's own types and alloy's: the only place where they meet.

use alloy_primitives as primitives;
use alloy_sol_types::SolValue as _;
use infernet_state::{
    event,
    types::{Address, Amount, Hash},
};

use crate::Subscription;

/// Alloy's address.
#[must_use]
pub fn to_address(address: Address) -> primitives::Address {
    primitives::Address::new(address.0)
}

/// Our address.
#[must_use]
pub fn from_address(address: primitives::Address) -> Address {
    Address(address.into_array())
}

/// Alloy's 32 bytes.
#[must_use]
pub fn to_b256(hash: Hash) -> primitives::B256 {
    primitives::B256::new(hash.0)
}

/// Our 32 bytes.
#[must_use]
pub fn from_b256(hash: primitives::B256) -> Hash {
    Hash(hash.0)
}

/// Alloy's 256-bit number.
#[must_use]
pub fn to_u256(amount: Amount) -> primitives::U256 {
    primitives::U256::from_be_bytes(amount.to_be_bytes())
}

/// Our amount.
#[must_use]
pub fn from_u256(amount: primitives::U256) -> Amount {
    Amount::from_be_bytes(amount.to_be_bytes())
}

/// The ABI's subscription.
#[must_use]
pub fn to_subscription(subscription: &event::Subscription) -> Subscription {
    Subscription {
        owner: to_address(subscription.owner),
        activeAt: subscription.active_at,
        period: subscription.period,
        frequency: subscription.frequency,
        redundancy: subscription.redundancy,
        containerId: to_b256(subscription.container_id),
        lazy: subscription.lazy,
        verifier: to_address(subscription.verifier),
        paymentAmount: to_u256(subscription.payment_amount),
        paymentToken: to_address(subscription.payment_token),
        wallet: to_address(subscription.wallet),
    }
}

/// Our subscription.
#[must_use]
pub fn from_subscription(subscription: &Subscription) -> event::Subscription {
    event::Subscription {
        owner: from_address(subscription.owner),
        active_at: subscription.activeAt,
        period: subscription.period,
        frequency: subscription.frequency,
        redundancy: subscription.redundancy,
        container_id: from_b256(subscription.containerId),
        lazy: subscription.lazy,
        verifier: from_address(subscription.verifier),
        payment_amount: from_u256(subscription.paymentAmount),
        payment_token: from_address(subscription.paymentToken),
        wallet: from_address(subscription.wallet),
    }
}

/// `keccak256(abi.encode(uint32 subscription, uint32 interval))`: the Coordinator's key of an
/// interval (`docs/spec/contracts.md` 0).
#[must_use]
pub fn interval_key(subscription: u32, interval: u32) -> primitives::B256 {
    primitives::keccak256((subscription, interval).abi_encode())
}

/// `keccak256(abi.encode(uint32 subscription, uint32 interval, address node))`.
#[must_use]
pub fn node_key(subscription: u32, interval: u32, node: Address) -> primitives::B256 {
    primitives::keccak256((subscription, interval, to_address(node)).abi_encode())
}

/// `keccak256(abi.encode(address owner, uint32 nonce))`.
#[must_use]
pub fn delegate_key(owner: Address, nonce: u32) -> primitives::B256 {
    primitives::keccak256((to_address(owner), nonce).abi_encode())
}

#[cfg(test)]
mod tests {
    use alloy_primitives::b256;

    use super::*;

    /// The values of `docs/spec/contracts.md` 0.
    #[test]
    fn keys_are_those_of_the_contracts() {
        let mut node = Address::ZERO;
        node.0[19] = 0xaa;
        assert_eq!(
            interval_key(1, 1),
            b256!("cc69885fda6bcc1a4ace058b4a62bf5e179ea78fd58a1ccd71c22cc9b688792f")
        );
        assert_eq!(
            node_key(1, 1, node),
            b256!("66d4d2b85a6ceff015d0dc94274e6dc495de15018d61f2902cf6e8580b7a725e")
        );
        assert_eq!(
            delegate_key(node, 0),
            b256!("d6f751104ddfead9549c96fabdbd4d2fc6876c8cd9a49ea4a821de938f71a011")
        );
    }

    #[test]
    fn a_subscription_survives_the_way_there_and_back() {
        let subscription = event::Subscription {
            owner: Address([1; 20]),
            active_at: 2,
            period: 3,
            frequency: 4,
            redundancy: 5,
            container_id: Hash([6; 32]),
            lazy: true,
            verifier: Address([7; 20]),
            payment_amount: Amount::MAX,
            payment_token: Address([8; 20]),
            wallet: Address([9; 20]),
        };
        assert_eq!(
            from_subscription(&to_subscription(&subscription)),
            subscription
        );
    }
}
