//! The REST interface (`docs/spec/rest.md`), on axum.
//!
//! Two listeners: one for clients, one for the operator, both on loopback unless told otherwise.
//! A handler turns a request into an event and waits until it is durable, or looks at the
//! machine; it holds nothing of its own that a restart would lose.

mod admin;
mod body;
mod cancel;
mod client;
mod info;
mod limit;
mod listener;
mod node;
mod problem;
mod request;
mod results;
mod status;
mod stream;
mod submit;
mod view;

use std::{
    any::Any,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tower_http::{catch_panic::CatchPanicLayer, timeout::RequestBodyTimeoutLayer};

pub use client::ClientKey;
pub use limit::RateLimit;
pub use submit::{IDEMPOTENCY_KEY, JOB_HEADER};

use crate::{
    driver::{Handle, World},
    log::LogReader,
    ports::{ContainerDirectory, DelegationChecker},
    streams::Streams,
};
use limit::Limiter;
use listener::{Bounded, Peer};
use node::Node;
use problem::Problem;

/// The longest body of a request, in bytes (as in Infernet Node 1.4.0).
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A client that sends nothing of its body for so long is not waited for.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Clients that read a stream at once. Each may hold what its container has sent so far.
const STREAMS_MAX: usize = 256;

/// How long answers under way may take once the server shall end.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// For clients; port 0 takes a free one.
    pub listen: SocketAddr,
    /// For the operator; port 0 takes a free one.
    pub admin_listen: SocketAddr,
    /// Requests that one client address may make; `None` for any number.
    pub rate_limit: Option<RateLimit>,
    /// What `GET /dev` says of a development world; `None` for a node of its own.
    pub development: Option<serde_json::Value>,
}

impl Default for ApiConfig {
    /// Loopback, ports 4000 and 4001, the rate limit of Infernet Node 1.4.0.
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            listen: local(4000),
            admin_listen: local(4001),
            rate_limit: Some(RateLimit::default()),
            development: None,
        }
    }
}

/// What the server speaks for.
pub struct ApiParts<R, W> {
    /// The loop.
    pub handle: Handle,
    /// The log's reading side: payloads and hashes.
    pub log: R,
    /// Clock, randomness, tasks.
    pub world: W,
    /// The containers that run.
    pub containers: Arc<dyn ContainerDirectory>,
    /// Checks delegated subscriptions; `None` where no chain is enabled.
    pub delegation: Option<Arc<dyn DelegationChecker>>,
    /// Where streams are shown.
    pub streams: Streams,
    /// Turns clients' addresses into what may be recorded.
    pub client_key: ClientKey,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The address is taken.
    #[error(
        "E-API-001: {address} is in use by another program; stop it, or choose another address (for the {purpose})"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
        /// What it is for.
        purpose: &'static str,
    },
    /// The system does not let us listen there.
    #[error("E-API-002: cannot listen on {address} (for the {purpose}): {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What it is for.
        purpose: &'static str,
        /// What the system said.
        reason: String,
    },
}

/// A server whose ports are taken and that does not answer yet.
pub struct ApiServer {
    public: TcpListener,
    admin: TcpListener,
    public_address: SocketAddr,
    admin_address: SocketAddr,
    node: Arc<Node>,
    stop: watch::Sender<bool>,
}

impl ApiServer {
    /// Takes the ports.
    ///
    /// # Errors
    /// [`ApiError`], naming the address.
    pub async fn bind<R: LogReader, W: World>(
        config: ApiConfig,
        parts: ApiParts<R, W>,
    ) -> Result<Self, ApiError> {
        let (public, public_address) = listen(config.listen, "clients").await?;
        let (admin, admin_address) = listen(config.admin_listen, "operator").await?;
        let (stop, stopping) = watch::channel(false);
        let node = Node {
            handle: parts.handle,
            log: Arc::new(parts.log),
            world: Arc::new(parts.world),
            containers: parts.containers,
            delegation: parts.delegation,
            streams: parts.streams,
            client_key: parts.client_key,
            limiter: config.rate_limit.map(Limiter::new),
            development: config.development,
            streaming: Arc::new(Semaphore::new(STREAMS_MAX)),
            stopping,
        };
        Ok(Self {
            public,
            admin,
            public_address,
            admin_address,
            node: Arc::new(node),
            stop,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.public_address
    }

    /// Where the operator connects.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_address
    }

    /// Serves until `shutdown` resolves; then takes no more connections, ends polls and streams,
    /// and gives answers under way a few seconds.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let public = serve_one(self.public, public_routes(&self.node), &self.stop);
        let admin = serve_one(self.admin, admin_routes(&self.node), &self.stop);
        let mut serving = std::pin::pin!(async { tokio::join!(public, admin) });
        tokio::select! {
            _ = &mut serving => {}
            () = shutdown => {
                self.stop.send_replace(true);
                // Whoever has not finished by then is cut off with the process.
                let _ = tokio::time::timeout(STOP_GRACE, serving).await;
            }
        }
    }
}

async fn listen(
    address: SocketAddr,
    purpose: &'static str,
) -> Result<(TcpListener, SocketAddr), ApiError> {
    let refused = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AddrInUse => ApiError::InUse { address, purpose },
        _ => ApiError::Listen {
            address,
            purpose,
            reason: error.to_string(),
        },
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    Ok((listener, bound))
}

async fn serve_one(listener: TcpListener, routes: Router, stop: &watch::Sender<bool>) {
    let mut stopping = stop.subscribe();
    let service = routes.into_make_service_with_connect_info::<Peer>();
    let served = axum::serve(Bounded::new(listener), service).with_graceful_shutdown(async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    });
    if let Err(error) = served.await {
        tracing::error!(%error, "the interface broke off");
    }
}

fn public_routes(node: &Arc<Node>) -> Router {
    let routes = Router::new()
        .route("/dev", get(info::get_development))
        .route("/health", get(info::get_health))
        .route("/info", get(info::get_info))
        .route("/resources", get(info::get_resources))
        .route(
            "/api/jobs",
            get(results::get_jobs)
                .post(submit::post_job)
                .delete(cancel::delete_job),
        )
        .route("/api/jobs/batch", post(submit::post_batch))
        .route("/api/jobs/stream", post(stream::post_stream))
        .route("/api/status", put(status::put_status));
    finish(routes, node).layer(middleware::from_fn_with_state(Arc::clone(node), limited))
}

fn admin_routes(node: &Arc<Node>) -> Router {
    finish(admin::routes(), node)
}

/// What every answer has in common.
fn finish(routes: Router<Arc<Node>>, node: &Arc<Node>) -> Router {
    routes
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "Not found") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(Arc::clone(node))
}

/// A bug of ours: the client hears of it, the node goes on.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words");
    tracing::error!(said, "a request handler panicked");
    Problem::internal().into_response()
}

/// Counts a client's requests, and says so in every answer.
async fn limited(
    State(node): State<Arc<Node>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let Some(limiter) = &node.limiter else {
        return next.run(request).await;
    };
    let allowance = limiter.take(peer.ip(), Instant::now());
    let mut response = if allowance.allowed {
        next.run(request).await
    } else {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests")
            .retry_after(allowance.reset_s)
            .into_response()
    };
    allowance.write(response.headers_mut());
    response
}
