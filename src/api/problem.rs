//! What a refused request is answered with.

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use infernet_state::{limits::JOB_CONTAINERS_MAX, machine::Refusal};
use serde::Serialize;
use serde_json::{Value, json};

/// What a client is told to wait before it asks a busy node again, in seconds.
const BUSY_RETRY_S: u64 = 1;

/// What a client is told to wait while intake is paused, in seconds: pauses last minutes.
const PAUSED_RETRY_S: u64 = 30;

/// A refused request: `{"error", "params"?}` with a status (`docs/spec/rest.md`).
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Problem {
    #[serde(skip)]
    status: StatusCode,
    error: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Value>,
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, error: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            error: error.into(),
            params: None,
            retry_after_s: None,
        }
    }

    pub(super) fn with_params(mut self, params: Value) -> Self {
        self.params = Some(params);
        self
    }

    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// A request that is not what it should be; `path` is the place in its JSON.
    pub(super) fn malformed(path: &str, reason: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            format!("Invalid request: {path}: {reason}"),
        )
        .with_params(json!({ "path": path }))
    }

    /// The loop takes no more, or has ended.
    pub(super) fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The node is busy, try again in a moment",
        )
        .retry_after(BUSY_RETRY_S)
    }

    /// There is no room for new work.
    pub(super) fn no_room() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The node has no room for new work, its operator is told why",
        )
        .retry_after(PAUSED_RETRY_S)
    }

    /// Something of our own broke.
    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The node failed to answer this request; its log says why",
        )
    }

    pub(super) fn too_large(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
    }

    /// What the machine says against a request. `address` is whom the containers' lists of
    /// allowed addresses go by, `subscription` the delegated subscription as it was sent.
    pub(super) fn refused(refusal: Refusal, address: &str, subscription: Option<Value>) -> Self {
        let policy = |error: &'static str, params: Value| {
            Self::new(StatusCode::METHOD_NOT_ALLOWED, error).with_params(params)
        };
        match refusal {
            Refusal::NoContainers => policy("No containers specified", json!({})),
            Refusal::TooManyContainers { count } => Self::malformed(
                "$.containers",
                &format!("{count} containers, a job has at most {JOB_CONTAINERS_MAX}"),
            ),
            Refusal::ContainerNotSupported { container } => {
                policy("Container not supported", json!({ "container": container }))
            }
            Refusal::FirstContainerNotExternal { container } => policy(
                "First container must be external",
                json!({ "first_container": container }),
            ),
            Refusal::NoProof { container } => policy(
                "Container does not generate proof",
                json!({ "container": container }),
            ),
            Refusal::NotAllowed { container } => policy(
                "Container not allowed for address",
                json!({ "container": container, "address": address }),
            ),
            Refusal::ChainNotEnabled => policy(
                "Chain not enabled",
                subscription.unwrap_or_else(|| json!({})),
            ),
            Refusal::SignatureExpired => policy(
                "Signature expired",
                subscription.unwrap_or_else(|| json!({})),
            ),
            Refusal::TooFarAhead => policy(
                "Subscription too far ahead",
                subscription.unwrap_or_else(|| json!({})),
            ),
            Refusal::Conflict => Self::new(
                StatusCode::CONFLICT,
                "The same request was made before with another body",
            ),
            Refusal::OwnJob => Self::new(
                StatusCode::CONFLICT,
                "The node ran this job itself; its status cannot be set from outside",
            ),
            Refusal::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many jobs are open, try again in a moment",
            )
            .retry_after(BUSY_RETRY_S),
            Refusal::Paused => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The node takes no work for a while",
            )
            .retry_after(PAUSED_RETRY_S),
            Refusal::UnknownJob => Self::new(StatusCode::NOT_FOUND, "No such job"),
            Refusal::Done => Self::new(StatusCode::CONFLICT, "The job is done already"),
            Refusal::InBlock => Self::new(
                StatusCode::CONFLICT,
                "The job's answer is in a block of the chain already",
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(&self)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
