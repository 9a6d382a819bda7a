//! The HTTP side that all services share (`docs/spec/container.md` sections 1, 4 and 7).
//!
//! Every answer is JSON. Errors have the shape `{"code": "400", "name": "Bad Request",
//! "description": "..."}`, `code` being a string, and the true HTTP status. Bad input is a 4xx,
//! never a 500.

use std::{
    future::{Future, IntoFuture},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

use crate::{
    input::{InfernetInput, InputError},
    shutdown,
};

/// The largest request body by default, in bytes: an image of 224x224x3 floats is 10 MB as
/// on-chain hex.
pub const BODY_LEN_MAX: usize = 16 << 20;

/// How many requests are worked on at once; the next is refused with 503. With [`BODY_LEN_MAX`]
/// this bounds the bodies in memory.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 32;

/// How many bodies are turned from or into JSON at once; others wait. As a JSON tree a body takes
/// up to a hundred times its size, so that few may be trees at a time.
const CONVERSIONS_MAX: usize = 2;

/// How long one answer may take, reading the body included: a node waits 180 s for a container
/// (`docs/spec/container.md` section 1).
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(180);

/// An inference service behind the container contract.
pub trait Service: Send + Sync + 'static {
    /// A request as the service works on it.
    type Request: Send + 'static;
    /// An answer as the service makes it.
    type Answer: Send + 'static;

    /// The name in `/service-resources`, for example `onnx-inference-service`.
    fn id(&self) -> &'static str;

    /// Reads a request of `POST /service_output`. Runs on a blocking thread.
    ///
    /// # Errors
    /// What is wrong with it, a 4xx.
    fn read(&self, input: InfernetInput) -> Result<Self::Request, HttpError>;

    /// Answers a request.
    ///
    /// # Errors
    /// Why it cannot be answered.
    fn answer(
        &self,
        request: Self::Request,
    ) -> impl Future<Output = Result<Self::Answer, HttpError>> + Send;

    /// The answer's JSON form. Runs on a blocking thread.
    ///
    /// # Errors
    /// Why there is none.
    fn write(&self, answer: Self::Answer) -> Result<Value, HttpError>;

    /// The capability document of `GET /service-resources`. Blocks on the file system.
    fn resources(&self) -> Value;

    /// Whether the service can run this model: `{"supported": bool}` with an `error` when the id
    /// cannot be read.
    fn supports(&self, model_id: &str) -> Value;
}

/// An error as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpError {
    /// The HTTP status; also `code` and `name` of the body.
    pub status: StatusCode,
    /// What happened and what to do.
    pub description: String,
}

impl HttpError {
    /// An error of this status.
    pub fn new(status: StatusCode, description: impl ToString) -> Self {
        Self {
            status,
            description: description.to_string(),
        }
    }

    /// Bad input.
    pub fn bad_request(description: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, description)
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    name: &'a str,
    description: &'a str,
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            code: self.status.as_str(),
            name: self.status.canonical_reason().unwrap_or("Error"),
            description: &self.description,
        };
        (self.status, Json(body)).into_response()
    }
}

impl From<InputError> for HttpError {
    fn from(error: InputError) -> Self {
        Self::bad_request(error)
    }
}

/// What can be set about serving.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The largest request body, in bytes.
    pub body_len_max: usize,
    /// End when standard input does: the process dies with its parent.
    pub exit_with_stdin: bool,
}

/// Why serving ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had.
    #[error(
        "E-SRV-001: cannot listen on {address}: {source}{}",
        if source.kind() == io::ErrorKind::AddrInUse { "; stop the other process, or choose another port (0 takes a free one)" } else { "" }
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// Nobody reads the line that says where the service listens.
    #[error("E-SRV-002: cannot write the ready line to standard output: {0}")]
    ReadyLine(io::Error),
}

/// Binds the address.
///
/// # Errors
/// [`ServeError::Listen`].
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })
}

/// Serves until a signal, or the end of standard input if so asked; then lets answers under way
/// finish, for a bounded time.
///
/// `ready` is called once with the bound address, when connections are accepted.
///
/// # Errors
/// [`ServeError`].
pub async fn serve<S: Service>(
    service: Arc<S>,
    listener: TcpListener,
    options: &ServeOptions,
    ready: impl FnOnce(SocketAddr) -> io::Result<()>,
) -> Result<(), ServeError> {
    let address = options.listen;
    let bound = listener
        .local_addr()
        .map_err(|source| ServeError::Listen { address, source })?;
    ready(bound).map_err(ServeError::ReadyLine)?;

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, router(service, options.body_len_max))
        .with_graceful_shutdown(async {
            let _ = stopped.await;
        })
        .into_future();
    let mut server = tokio::spawn(server);
    let reason = tokio::select! {
        reason = shutdown::requested(options.exit_with_stdin) => reason,
        // axum retries failed accepts, so the server has no end of its own.
        _ = &mut server => return Ok(()),
    };
    tracing::info!(?reason, "stopping");
    drop(stop);
    if timeout(reason.grace(), &mut server).await.is_err() {
        tracing::warn!(grace = ?reason.grace(), "answers under way were cut off");
        server.abort();
    }
    Ok(())
}

struct Shared<S> {
    service: Arc<S>,
    in_flight: Semaphore,
    conversions: Arc<Semaphore>,
}

/// The routes of a service.
pub fn router<S: Service>(service: Arc<S>, body_len_max: usize) -> Router {
    let shared = Shared {
        service,
        in_flight: Semaphore::new(REQUESTS_IN_FLIGHT_MAX),
        conversions: Arc::new(Semaphore::new(CONVERSIONS_MAX)),
    };
    Router::new()
        .route("/", get(root::<S>))
        .route("/health", get(health))
        .route("/service-resources", get(service_resources::<S>))
        .route("/service_output", post(service_output::<S>))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(body_len_max))
        .with_state(Arc::new(shared))
}

async fn root<S: Service>(State(shared): State<Arc<Shared<S>>>) -> Json<Value> {
    Json(json!({ "message": format!("{} is running", shared.service.id()) }))
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "healthy" }))
}

#[derive(Deserialize)]
struct ResourcesQuery {
    model_id: Option<String>,
}

async fn service_resources<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    query: Result<Query<ResourcesQuery>, QueryRejection>,
) -> Result<Json<Value>, HttpError> {
    let Query(query) = query
        .map_err(|error| HttpError::bad_request(format!("E-SRV-011: {}", error.body_text())))?;
    let _slot = slot(&shared.in_flight)?;
    let service = shared.service.clone();
    let document = move || match query.model_id {
        Some(model_id) => service.supports(&model_id),
        None => service.resources(),
    };
    blocking(document).await.map(Json)
}

async fn service_output<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    request: Request,
) -> Result<Response, HttpError> {
    let _slot = slot(&shared.in_flight)?;
    match timeout(ANSWER_TIMEOUT, answer(&shared, request)).await {
        Ok(Ok(json)) => Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(HttpError::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("E-SRV-003: no answer within {} s", ANSWER_TIMEOUT.as_secs()),
        )),
    }
}

/// From the body of a request to the body of its answer.
async fn answer<S: Service>(shared: &Shared<S>, request: Request) -> Result<Vec<u8>, HttpError> {
    let body = read_body(request).await?;
    let service = shared.service.clone();
    let read = move || {
        let json = serde_json::from_slice(&body)
            .map_err(|error| HttpError::bad_request(format!("E-SRV-005: not JSON: {error}")))?;
        service.read(InfernetInput::from_json(json)?)
    };
    let request = convert(&shared.conversions, read).await?;
    let answer = shared.service.answer(request).await?;
    let service = shared.service.clone();
    let write = move || {
        let json = service.write(answer)?;
        serde_json::to_vec(&json).map_err(|error| {
            let description = format!("E-SRV-012: the answer cannot be written: {error}");
            HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, description)
        })
    };
    convert(&shared.conversions, write).await
}

async fn read_body(request: Request) -> Result<Bytes, HttpError> {
    if !is_json(request.headers()) {
        return Err(HttpError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "E-SRV-004: send the content type application/json",
        ));
    }
    Bytes::from_request(request, &()).await.map_err(|error| {
        HttpError::new(error.status(), format!("E-SRV-010: {}", error.body_text()))
    })
}

/// Runs `work`, which holds a JSON tree, on a blocking thread once few enough others do. A client
/// that has gone frees nothing before the work has ended.
async fn convert<T: Send + 'static>(
    conversions: &Arc<Semaphore>,
    work: impl FnOnce() -> Result<T, HttpError> + Send + 'static,
) -> Result<T, HttpError> {
    // Never closed, so the permit is always had.
    let permit = conversions.clone().acquire_owned().await.ok();
    blocking(move || {
        let _permit = permit;
        work()
    })
    .await?
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|kind| kind.trim().to_ascii_lowercase())
        .is_some_and(|kind| {
            kind == "application/json"
                || (kind.starts_with("application/") && kind.ends_with("+json"))
        })
}

fn slot(in_flight: &Semaphore) -> Result<tokio::sync::SemaphorePermit<'_>, HttpError> {
    in_flight.try_acquire().map_err(|_| {
        HttpError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("E-SRV-006: {REQUESTS_IN_FLIGHT_MAX} requests are under way: try again later"),
        )
    })
}

/// Runs `work` on a blocking thread. A panic in it becomes a 500 and touches nothing else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HttpError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a computation failed");
        HttpError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "E-SRV-007: the computation failed",
        )
    })
}

async fn not_found(uri: Uri) -> HttpError {
    HttpError::new(
        StatusCode::NOT_FOUND,
        format!("E-SRV-008: there is no {}", uri.path()),
    )
}

async fn method_not_allowed(method: Method, uri: Uri) -> HttpError {
    let description = format!("E-SRV-009: {} does not take {method}", uri.path());
    HttpError::new(StatusCode::METHOD_NOT_ALLOWED, description)
}
