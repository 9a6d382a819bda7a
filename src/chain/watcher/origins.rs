//! Which subscriptions of the past came by delegation.
//!
//! The contract tells the id of an owner's nonce, and not the nonce of an id; and of an owner the
//! highest nonce that was used. So an owner's nonces are looked through up to that, if they are few:
//! whose are not may have hidden any of them, and all that is the owner's stays unclear. Nobody
//! brings that about for another: only an owner's own signer uses its nonces.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt as _;
use infernet_state::{
    event::{Origin, SyncedSubscription},
    types::{Address, SubscriptionId},
};

use crate::chain::{
    abi::Coordinator,
    connect::ChainConnection,
    convert,
    rpc::{At, all},
    rpc_error::RpcFailure,
};

/// The highest nonce of an owner up to which all are looked through: owners who count theirs have
/// come as far with so many subscriptions, and a chunk of a hundred owners costs no more than a few
/// thousand reads.
const NONCE_MAX: u32 = 31;

impl ChainConnection {
    /// Says of each subscription how it came to be, as of `at`.
    pub(super) async fn read_origins(
        &self,
        living: &mut [SyncedSubscription],
        at: At,
    ) -> Result<(), RpcFailure> {
        let owners: BTreeSet<Address> = living.iter().map(|of| of.subscription.owner).collect();
        let reads = owners
            .into_iter()
            .map(|owner| async move { Ok((owner, self.nonces(owner, at).await?)) }.boxed());
        let nonces: BTreeMap<_, _> = all::<_, RpcFailure>(reads.collect())
            .await?
            .into_iter()
            .collect();
        for synced in living {
            synced.origin = match nonces.get(&synced.subscription.owner) {
                Some(Some(ids)) => ids.get(&synced.id).copied().into(),
                Some(None) | None => Origin::Unclear,
            };
        }
        Ok(())
    }

    /// The nonces of an owner's delegated subscriptions by id; `None` where there may be too many
    /// to look through.
    async fn nonces(
        &self,
        owner: Address,
        at: At,
    ) -> Result<Option<BTreeMap<SubscriptionId, u32>>, RpcFailure> {
        let coordinator = convert::to_address(self.contracts.coordinator);
        let highest = Coordinator::maxSubscriberNonceCall {
            owner: convert::to_address(owner),
        };
        // It is 0 also for an owner who used that one and no other.
        let highest = self.rpc.view(coordinator, &highest, at).await?;
        if highest > NONCE_MAX {
            return Ok(None);
        }
        let reads = (0..=highest).map(|nonce| {
            async move {
                let call = Coordinator::delegateCreatedIdsCall {
                    key: convert::delegate_key(owner, nonce),
                };
                let id = self.rpc.view(coordinator, &call, at).await?;
                Ok((SubscriptionId(id), nonce))
            }
            .boxed()
        });
        let ids = all::<_, RpcFailure>(reads.collect()).await?;
        Ok(Some(ids.into_iter().filter(|(id, _)| id.0 != 0).collect()))
    }
}
