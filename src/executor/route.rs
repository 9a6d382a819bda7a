//! Which service carries out which effect, and what an error of a layer means for it.

use std::time::Duration;

use infernet_state::{
    effect::Effect,
    event::{Failure, Outcome},
    types::EffectId,
};
use tower::{Service, ServiceBuilder, util::BoxCloneSyncService};

use super::{BoxError, EffectService, Ended};
use crate::driver::payload;

/// Reads of the chain that run at once: public RPCs cut off clients that ask for more.
pub const CHAIN_READS_MAX: usize = 16;

/// Transactions that are signed or sent at once.
pub const TRANSACTIONS_MAX: usize = 8;

/// Container calls that run at once.
pub const CONTAINER_CALLS_MAX: usize = 64;

/// A read of the chain that takes longer is given up; the machine asks again.
pub const CHAIN_READ_TIMEOUT: Duration = Duration::from_secs(20);

/// A broadcast that takes longer is `Unknown`, and looked up.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(20);

/// Stops a container call that is under way.
pub trait StopCalls: Send + Sync + 'static {
    /// Stops the call of this effect, if it runs.
    fn stop(&self, call: EffectId);
}

/// The services of a node, one per kind.
#[derive(Clone)]
pub struct Services {
    chain_reads: Option<EffectService>,
    transactions: Option<EffectService>,
    containers: EffectService,
    stops: std::sync::Arc<dyn StopCalls>,
}

impl Services {
    /// Services of a node that only answers clients. `containers` has its own time-outs (they
    /// differ by container and by streaming).
    pub fn new<C, S>(containers: C, stops: S) -> Self
    where
        C: Service<infernet_state::Issued, Response = Ended, Error = BoxError>
            + Clone
            + Send
            + Sync
            + 'static,
        C::Future: Send + 'static,
        S: StopCalls,
    {
        let containers = ServiceBuilder::new()
            .concurrency_limit(CONTAINER_CALLS_MAX)
            .service(containers);
        Self {
            chain_reads: None,
            transactions: None,
            containers: BoxCloneSyncService::new(containers),
            stops: std::sync::Arc::new(stops),
        }
    }

    /// Adds the chain.
    #[must_use]
    pub fn with_chain<R, T>(mut self, reads: R, transactions: T) -> Self
    where
        R: Service<infernet_state::Issued, Response = Ended, Error = BoxError>
            + Clone
            + Send
            + Sync
            + 'static,
        R::Future: Send + 'static,
        T: Service<infernet_state::Issued, Response = Ended, Error = BoxError>
            + Clone
            + Send
            + Sync
            + 'static,
        T::Future: Send + 'static,
    {
        self.chain_reads = Some(BoxCloneSyncService::new(
            ServiceBuilder::new()
                .concurrency_limit(CHAIN_READS_MAX)
                .timeout(CHAIN_READ_TIMEOUT)
                .service(reads),
        ));
        self.transactions = Some(BoxCloneSyncService::new(
            ServiceBuilder::new()
                .concurrency_limit(TRANSACTIONS_MAX)
                .timeout(TRANSACTION_TIMEOUT)
                .service(transactions),
        ));
        self
    }

    /// The service for an effect; `None` for what has no outcome.
    pub(super) fn route(&self, effect: &Effect) -> Option<EffectService> {
        match effect {
            Effect::ReadInputs { .. }
            | Effect::ReadPayer { .. }
            | Effect::ReadResponses { .. }
            | Effect::Simulate { .. } => Some(self.chain_reads.clone().unwrap_or_else(no_chain)),
            Effect::Sign { .. } | Effect::Broadcast { .. } | Effect::LookUpTransaction { .. } => {
                Some(self.transactions.clone().unwrap_or_else(no_chain))
            }
            Effect::RunContainer(_) => Some(self.containers.clone()),
            Effect::StopContainer { .. } => None,
        }
    }

    /// Carries out what has no outcome.
    pub(super) fn stop(&self, effect: &Effect) {
        if let Effect::StopContainer { call } = effect {
            self.stops.stop(*call);
        }
    }
}

/// A chain that is not configured any more answers nothing.
fn no_chain() -> EffectService {
    BoxCloneSyncService::new(tower::service_fn(|_| async {
        Ok(Ended::plain(Outcome::Failed(Failure::Unavailable {
            reason: "no chain is configured".to_owned(),
        })))
    }))
}

/// What it means that a layer gave an effect up: a read was not made; a container was perhaps
/// called, and its attempt is spent; of a broadcast nobody knows.
pub(super) fn lost(effect: &Effect, error: &(dyn std::error::Error + Send + Sync)) -> Ended {
    let reason = error.to_string();
    match effect {
        Effect::ReadInputs { .. }
        | Effect::ReadPayer { .. }
        | Effect::ReadResponses { .. }
        | Effect::Simulate { .. }
        | Effect::Sign { .. }
        | Effect::LookUpTransaction { .. }
        | Effect::StopContainer { .. } => {
            Ended::plain(Outcome::Failed(Failure::Unavailable { reason }))
        }
        Effect::Broadcast { .. } => Ended::plain(Outcome::Unknown { reason }),
        Effect::RunContainer(_) => {
            let error = payload(
                serde_json::json!({ "error": reason })
                    .to_string()
                    .into_bytes(),
            );
            let outcome = Outcome::Failed(Failure::Container {
                error: error.reference,
                retry: true,
            });
            Ended {
                outcome,
                payloads: vec![error],
            }
        }
    }
}
