//! Carries effects out, concurrently, each kind through its own `tower` service.
//!
//! A service gets an [`Issued`] effect and answers with what came of it; the executor turns the
//! answer into `EffectEnded` and hands it to the loop. What must survive a restart (attempts,
//! backoff between them) is the machine's; what need not (time-outs, limits, quick retries of
//! reads) are layers here.

mod route;

use std::{future::Future, pin::Pin};

use infernet_state::{
    Event,
    effect::Issued,
    event::Outcome,
    types::{Hash, PayloadAt},
};
use tower::{ServiceExt as _, util::BoxCloneSyncService};

pub use route::{
    CHAIN_READ_TIMEOUT, CHAIN_READS_MAX, CONTAINER_CALLS_MAX, Services, StopCalls,
    TRANSACTION_TIMEOUT, TRANSACTIONS_MAX,
};

use crate::{
    crash,
    driver::{Dispatch, Handle, World},
    log::{LogReader, Payload},
};

/// What came of an effect, with the bytes it names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// What came of it.
    pub outcome: Outcome,
    /// The payloads that `outcome` refers to.
    pub payloads: Vec<Payload>,
}

impl Ended {
    /// An outcome without bytes.
    #[must_use]
    pub fn plain(outcome: Outcome) -> Self {
        Self {
            outcome,
            payloads: Vec::new(),
        }
    }
}

/// A boxed error of a layer or service.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A service for one kind of effects.
pub type EffectService = BoxCloneSyncService<Issued, Ended, BoxError>;

/// Fetches the bytes that effects refer to.
pub trait Payloads: Clone + Send + Sync + 'static {
    /// The bytes.
    ///
    /// # Errors
    /// [`PayloadError`] when they were erased or cannot be read.
    fn fetch(&self, at: PayloadAt) -> Result<Vec<u8>, PayloadError>;
}

impl<R: LogReader> Payloads for R {
    fn fetch(&self, at: PayloadAt) -> Result<Vec<u8>, PayloadError> {
        match self.payload(at) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(PayloadError::Erased {
                hash: at.payload.hash,
            }),
            Err(error) => Err(PayloadError::Unreadable {
                hash: at.payload.hash,
                reason: error.to_string(),
            }),
        }
    }
}

/// Why bytes are not to be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PayloadError {
    /// Erased by retention or by hand.
    #[error("E-EXEC-001: the payload {hash} was erased")]
    Erased {
        /// Its hash.
        hash: Hash,
    },
    /// The log cannot give it.
    #[error("E-EXEC-002: the payload {hash} cannot be read: {reason}")]
    Unreadable {
        /// Its hash.
        hash: Hash,
        /// Why.
        reason: String,
    },
}

/// Spawns a task per effect; bounds are in the services' layers, and the number of outstanding
/// effects is bounded by the machine's limits.
pub struct Executor<W: World> {
    services: Services,
    handle: Handle,
    world: W,
}

impl<W: World> Executor<W> {
    /// An executor that reports through `handle`.
    #[must_use]
    pub fn new(services: Services, handle: Handle, world: W) -> Self {
        Self {
            services,
            handle,
            world,
        }
    }
}

impl<W: World> Dispatch for Executor<W> {
    fn dispatch(&mut self, issued: Issued) {
        let services = self.services.clone();
        let handle = self.handle.clone();
        let world = self.world.clone();
        let task: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(async move { carry_out(issued, services, handle, world).await });
        self.world.spawn(task);
    }
}

async fn carry_out(issued: Issued, services: Services, handle: Handle, world: impl World) {
    crash::point("executor.before-effect");
    let Some(service) = services.route(&issued.effect) else {
        services.stop(&issued.effect);
        return;
    };
    let (effect, attempt) = (issued.id, issued.attempt);
    let ended = match service.oneshot(issued.clone()).await {
        Ok(ended) => ended,
        Err(error) => route::lost(&issued.effect, &*error),
    };
    crash::point("executor.after-effect");
    let event = Event::EffectEnded {
        effect,
        attempt,
        at: world.now(),
        outcome: ended.outcome,
    };
    // When the loop has ended the outcome is lost like in a crash, and the effect is issued
    // again at the next start.
    let _ = handle.observe(event, ended.payloads).await;
}
