//! Who signed a delegated subscription, and whether its owner's contract names that signer
//! (`docs/spec/contracts.md` 4).

use alloy::{
    primitives::{Address, B256, Signature, U256},
    sol_types::{Eip712Domain, SolStruct as _},
};
use infernet_state::{event::DelegatedRequest, types::SubscriptionId};

use super::{
    abi::{Consumer, Coordinator, DelegateSubscription},
    connect::ChainConnection,
    convert,
    rpc::At,
    rpc_error::RpcFailure,
};
use crate::{
    driver::BoxFuture,
    ports::{Delegation, DelegationChecker, DelegationError},
};

/// `EIP712_NAME()` of every Coordinator.
const DOMAIN_NAME: &str = "InfernetCoordinator";

/// `EIP712_VERSION()` of every Coordinator.
const DOMAIN_VERSION: &str = "1";

/// Checks delegated subscriptions against a chain.
#[derive(Clone, Debug)]
pub struct DelegatedSigners {
    connection: ChainConnection,
}

impl DelegatedSigners {
    /// A checker that reads through `connection`.
    #[must_use]
    pub fn new(connection: ChainConnection) -> Self {
        Self { connection }
    }

    async fn check(self, request: DelegatedRequest) -> Result<Delegation, DelegationError> {
        let unavailable = |failure: RpcFailure| DelegationError::Unavailable {
            reason: failure.to_string(),
        };
        // Read first: what is read behind it is of this block, or of a later one.
        let head = self.connection.rpc.head().await.map_err(unavailable)?;
        // The contract looks at nothing else once the pair has an id.
        let known = self.known_id(&request).await.map_err(unavailable)?;
        let delegated = self.delegated_signer(&request).await.map_err(unavailable)?;
        let coordinator = convert::to_address(self.connection.contracts.coordinator);
        let digest = signing_hash(&request, self.connection.chain_id, coordinator);
        let recovered = recover(&request, digest);
        if recovered != Some(delegated) || delegated.is_zero() {
            return Err(DelegationError::SignerMismatch {
                recovered: recovered.map(convert::from_address),
                delegated: convert::from_address(delegated),
            });
        }
        Ok(Delegation {
            known_id: SubscriptionId(known),
            seen: head.reference().time,
        })
    }

    async fn known_id(&self, request: &DelegatedRequest) -> Result<u32, RpcFailure> {
        let coordinator = convert::to_address(self.connection.contracts.coordinator);
        let call = Coordinator::delegateCreatedIdsCall {
            key: convert::delegate_key(request.subscription.owner, request.nonce),
        };
        self.connection
            .rpc
            .view(coordinator, &call, At::Latest)
            .await
    }

    /// An owner without the function, or one that reverts, names nobody.
    async fn delegated_signer(&self, request: &DelegatedRequest) -> Result<Address, RpcFailure> {
        let owner = convert::to_address(request.subscription.owner);
        let call = Consumer::getSignerCall {};
        match self.connection.rpc.view(owner, &call, At::Latest).await {
            Err(RpcFailure::Undecodable { .. }) => Ok(Address::ZERO),
            Err(failure) if failure.as_revert().is_some() => Ok(Address::ZERO),
            answer => answer,
        }
    }
}

impl DelegationChecker for DelegatedSigners {
    fn check(&self, request: &DelegatedRequest) -> BoxFuture<Result<Delegation, DelegationError>> {
        Box::pin(self.clone().check(request.clone()))
    }
}

/// The EIP-712 digest that the subscriber signed.
fn signing_hash(request: &DelegatedRequest, chain_id: u64, coordinator: Address) -> B256 {
    let domain = Eip712Domain {
        name: Some(DOMAIN_NAME.into()),
        version: Some(DOMAIN_VERSION.into()),
        chain_id: Some(U256::from(chain_id)),
        verifying_contract: Some(coordinator),
        salt: None,
    };
    DelegateSubscription {
        nonce: request.nonce,
        expiry: request.expiry,
        sub: convert::to_subscription(&request.subscription),
    }
    .eip712_signing_hash(&domain)
}

/// The signer, as the contract recovers it: 27 or 28 and nothing else as `v`.
fn recover(request: &DelegatedRequest, digest: B256) -> Option<Address> {
    let parity = match request.v {
        27 => false,
        28 => true,
        _ => return None,
    };
    let (r, s) = (
        U256::from_be_bytes(request.r.0),
        U256::from_be_bytes(request.s.0),
    );
    Signature::new(r, s, parity)
        .recover_address_from_prehash(&digest)
        .ok()
}

#[cfg(test)]
mod tests {
    use alloy::{
        primitives::b256,
        signers::{SignerSync as _, local::PrivateKeySigner},
    };
    use infernet_state::{
        config::ClientId,
        event,
        types::{self, Amount, Hash, PayloadRef, WallTime},
    };

    use super::*;

    fn request() -> DelegatedRequest {
        DelegatedRequest {
            client: ClientId([0; 16]),
            at: WallTime(0),
            subscription: event::Subscription {
                owner: types::Address([1; 20]),
                active_at: 2,
                period: 3,
                frequency: 4,
                redundancy: 5,
                container_id: Hash([6; 32]),
                lazy: false,
                verifier: types::Address::ZERO,
                payment_amount: Amount::from(7),
                payment_token: types::Address::ZERO,
                wallet: types::Address([8; 20]),
            },
            nonce: 9,
            expiry: 10,
            v: 27,
            r: Hash::ZERO,
            s: Hash::ZERO,
            input: PayloadRef {
                hash: Hash::ZERO,
                len: 0,
            },
            known_id: SubscriptionId(0),
            seen: types::BlockTime(0),
        }
    }

    /// The type hashes of `docs/spec/contracts.md` 4.
    #[test]
    fn what_is_signed_has_the_contracts_types() {
        let signed = DelegateSubscription {
            nonce: 0,
            expiry: 0,
            sub: convert::to_subscription(&request().subscription),
        };
        assert_eq!(
            signed.sub.eip712_type_hash(),
            b256!("3da81ed66ee47395e568c52867826ec137777eef9c1bdfb6bf972dd4385bc5a9")
        );
        assert_eq!(
            signed.eip712_type_hash(),
            b256!("ba9ff1aef2b048b42767aade2b901745a3acf14f698a9ec13952098cfd03d0b6")
        );
    }

    #[test]
    fn a_signer_is_recovered_from_the_very_request_and_no_other() {
        let signer = PrivateKeySigner::random();
        let coordinator = Address::repeat_byte(3);
        let mut request = request();
        let digest = signing_hash(&request, 31337, coordinator);
        let signature = signer.sign_hash_sync(&digest).expect("signed");
        request.v = 27 + u8::from(signature.v());
        request.r = Hash(signature.r().to_be_bytes());
        request.s = Hash(signature.s().to_be_bytes());
        assert_eq!(recover(&request, digest), Some(signer.address()));
        let elsewhere = signing_hash(&request, 1, coordinator);
        assert_ne!(recover(&request, elsewhere), Some(signer.address()));
        request.subscription.payment_amount = Amount::from(8);
        let other = signing_hash(&request, 31337, coordinator);
        assert_ne!(recover(&request, other), Some(signer.address()));
        request.v = 0;
        assert_eq!(recover(&request, digest), None);
    }
}
