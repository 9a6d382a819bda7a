//! What the edges of the node want of each other, as traits.
//!
//! `api`, `chain` and `container` do not know each other. Where one must ask another something
//! that is neither an event nor an effect, the question is a trait here.

use std::collections::BTreeMap;

use infernet_state::{
    event::DelegatedRequest,
    types::{Address, BlockTime, SubscriptionId},
};
use serde_json::value::RawValue;

use crate::driver::BoxFuture;

/// The containers that run: asked by the REST interface, answered by whoever runs them.
pub trait ContainerDirectory: Send + Sync + 'static {
    /// The ids of the containers that run now, in the order of the configuration.
    fn running(&self) -> Vec<String>;

    /// Each running container's answer to `GET /service-resources` (`docs/spec/container.md` 7),
    /// with `?model_id=` where a model is asked for. A container that does not answer in time,
    /// or not with JSON, is left out.
    fn resources(&self, model_id: Option<String>) -> BoxFuture<BTreeMap<String, Box<RawValue>>>;
}

/// What the chain says of a delegated subscription that its signature fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delegation {
    /// The id that the chain already gave to `(owner, nonce)`; 0 for none.
    pub known_id: SubscriptionId,
    /// The time of the newest block when that was read.
    pub seen: BlockTime,
}

/// Why a delegated subscription is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DelegationError {
    /// The signature was made by somebody else than the signer that the owner names on chain.
    #[error("the subscription was signed by {recovered:?}, its owner delegates to {delegated}")]
    SignerMismatch {
        /// Who signed; `None` where the signature fits no key at all.
        recovered: Option<Address>,
        /// Whom the owner's contract names.
        delegated: Address,
    },
    /// The chain cannot be read now; nothing may be said about the signature.
    #[error("the chain cannot be read: {reason}")]
    Unavailable {
        /// In words, without addresses of RPC servers.
        reason: String,
    },
}

/// Checks a delegated subscription against the chain before it is accepted: recovers its signer
/// (EIP-712) and compares it with the owner's on-chain signer (`docs/spec/contracts.md` 4).
pub trait DelegationChecker: Send + Sync + 'static {
    /// Reads the chain; [`DelegatedRequest::known_id`] and [`DelegatedRequest::seen`] of the request are not
    /// looked at.
    ///
    /// # Errors
    /// [`DelegationError`].
    fn check(&self, request: &DelegatedRequest) -> BoxFuture<Result<Delegation, DelegationError>>;
}
