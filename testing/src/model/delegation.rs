//! Delegated subscriptions: section 4 (EIP-712).

use alloy_sol_types::{SolStruct, eip712_domain};
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use revm::primitives::{Address, B256, U256};

use super::{
    Branch, ContractError, Delegated, Deployment, Model, Revert, Subscription, empty, refuse,
};
use crate::abi;

/// What the signer of a delegated subscription signs.
#[must_use]
pub fn signing_hash(at: &Deployment, nonce: u32, expiry: u32, subscription: &Subscription) -> B256 {
    let domain = eip712_domain! {
        name: "InfernetCoordinator",
        version: "1",
        chain_id: at.chain_id,
        verifying_contract: at.coordinator,
    };
    abi::DelegateSubscription {
        nonce,
        expiry,
        sub: subscription.into(),
    }
    .eip712_signing_hash(&domain)
}

/// Who signed `hash`, as the `ecrecover` precompile finds it: both forms of a signature are good.
#[must_use]
pub fn recover(hash: B256, v: u8, r: U256, s: U256) -> Option<Address> {
    let parity = match v {
        27 => false,
        28 => true,
        _ => return None,
    };
    let signature = Signature::from_scalars(r.to_be_bytes::<32>(), s.to_be_bytes::<32>()).ok()?;
    let low = signature.normalize_s();
    let id = RecoveryId::new(parity ^ low.is_some(), false);
    let key = VerifyingKey::recover_from_prehash(hash.as_slice(), &low.unwrap_or(signature), id);
    key.ok().map(|key| Address::from_public_key(&key))
}

impl Model {
    /// `createSubscriptionDelegatee`: the id of the subscription, new or known.
    pub(super) fn create_delegated(&mut self, delegated: &Delegated) -> Result<u32, Revert> {
        let Delegated {
            nonce,
            expiry,
            ref subscription,
            v,
            r,
            s,
        } = *delegated;
        let owner = subscription.owner;
        let known = self.delegated_ids.get(&(owner, nonce)).copied();
        if let Some(id) = known.filter(|id| *id != 0) {
            self.mark(Branch::DelegatedKnown);
            if self.rules.signature_expired(self.now(), expiry) {
                self.mark(Branch::DelegatedKnownAnyhow);
            }
            return Ok(id);
        }
        let now = self.now();
        if self.rules.signature_expired(now, expiry) {
            let at = match now == expiry {
                true => Branch::SignatureExpiredNow,
                false => Branch::SignatureExpired,
            };
            return Err(refuse(ContractError::SignatureExpired, at));
        }
        let invalid = |at| refuse(ContractError::InvalidSignature, at);
        if !self.decide(Branch::DeviatesHighS, |rules| rules.accepts_s(s)) {
            return Err(invalid(Branch::SignatureHighRefused));
        }
        let hash = signing_hash(&self.at, nonce, expiry, subscription);
        let signer = recover(hash, v, r, s).ok_or_else(|| invalid(Branch::SignatureInvalid))?;
        let Some(expected) = self.consumers.get(&owner).map(|consumer| consumer.signer) else {
            return Err(empty(Branch::DelegatorAbsent));
        };
        if signer != expected {
            return Err(refuse(
                ContractError::SignerMismatch,
                Branch::SignerMismatch,
            ));
        }
        let id = self.store_subscription(subscription.clone());
        self.delegated_ids.insert((owner, nonce), id);
        if nonce > self.max_nonces.get(&owner).copied().unwrap_or(0) {
            self.max_nonces.insert(owner, nonce);
        }
        self.mark(Branch::DelegatedCreated);
        if !super::rules::Rules::accepts_s(&super::Infernet, s) {
            self.mark(Branch::SignatureHighAccepted);
        }
        Ok(id)
    }
}
