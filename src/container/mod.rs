//! Calling containers (`docs/spec/container.md`).
//!
//! A *backend* runs a container and says where it listens: [`Remote`] for one that somebody else
//! runs, [`Process`] for a child process of ours. [`Containers`] is the list of them, and
//! [`ContainerService`] carries out `RunContainer` effects against it.

mod answer;
mod backend;
mod lines;
mod packing;
mod process;
mod python;
mod service;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::join_all};
use reqwest::Client;
use serde_json::value::RawValue;

pub use backend::{Backend, Bearer, Endpoint, Remote};
pub use process::{Process, ProcessConfig};
pub use service::{ATTEMPT_HEADER, CALL_HEADER, ContainerService, JOB_HEADER};

use crate::{driver::BoxFuture, ports::ContainerDirectory};

/// A call that takes longer has failed (`docs/spec/container.md` 1).
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(180);

/// A streaming call that takes longer, to its last byte, has failed
/// (`docs/spec/container.md` 1).
pub const STREAM_TIMEOUT: Duration = Duration::from_secs(60);

/// Connecting to a container that listens takes milliseconds; one that does not is down.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer of a container, in bytes: the same as the largest request of a client, so
/// that an answer can be the next container's input.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is shown of an answer that is not JSON.
pub const ERROR_TEXT_BYTES_MAX: usize = 4 * 1024;

/// A container that does not say within this time what it can do is left out.
pub const RESOURCES_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest `/service-resources` document: a list of every model that a service has cached.
pub const RESOURCES_BYTES_MAX: usize = 1024 * 1024;

/// Why a container cannot be run or called at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// The URL is none.
    #[error(
        "E-CONT-001: the URL of container `{id}` is not usable: {reason}; give http(s)://host[:port][/path]"
    )]
    Url {
        /// The container.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bearer token cannot be sent.
    #[error(
        "E-CONT-002: the bearer token of container `{id}` holds characters that a header cannot carry"
    )]
    Bearer {
        /// The container.
        id: String,
    },
    /// Two containers have one id.
    #[error("E-CONT-003: the container id `{id}` is configured twice; give each its own")]
    Duplicate {
        /// The id.
        id: String,
    },
    /// The program cannot be started.
    #[error(
        "E-CONT-004: container `{id}`: cannot start `{program}`: {reason}; check that it is installed beside the node"
    )]
    Spawn {
        /// The container.
        id: String,
        /// The program.
        program: String,
        /// What the system said.
        reason: String,
    },
    /// The program ended before it was ready.
    #[error("E-CONT-005: container `{id}`: `{program}` ended before it was ready ({status}){said}")]
    Ended {
        /// The container.
        id: String,
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// What it last said, or nothing.
        said: String,
    },
    /// The program did not become ready in time.
    #[error("E-CONT-006: container `{id}`: `{program}` was not ready within {within:?}{said}")]
    NotReady {
        /// The container.
        id: String,
        /// The program.
        program: String,
        /// How long it was waited for.
        within: Duration,
        /// What it last said, or nothing.
        said: String,
    },
    /// The HTTP client cannot be made.
    #[error(
        "E-CONT-007: no HTTP client: {reason}; a container is reached over https, which needs the system's CA certificates"
    )]
    Client {
        /// Why.
        reason: String,
    },
}

/// One container: its id, who runs it, and how its answers are read.
pub struct Container {
    /// The id of the configuration.
    pub id: String,
    /// Who runs it.
    pub backend: Arc<dyn Backend>,
    /// Judge its answers as Infernet Node 1.4.0 does: whatever parses as JSON is a success, the
    /// HTTP status is not looked at.
    pub legacy_http_status: bool,
}

/// The containers of a node. Cheap to clone; all clones are the same list.
#[derive(Clone)]
pub struct Containers {
    inner: Arc<Inner>,
}

struct Inner {
    /// In the order of the configuration.
    list: Vec<Container>,
    client: Client,
}

impl Containers {
    /// The list, in the order of the configuration.
    ///
    /// # Errors
    /// [`ContainerError::Duplicate`], [`ContainerError::Client`].
    pub fn new(list: Vec<Container>) -> Result<Self, ContainerError> {
        for (place, container) in list.iter().enumerate() {
            if list
                .iter()
                .take(place)
                .any(|other| other.id == container.id)
            {
                return Err(ContainerError::Duplicate {
                    id: container.id.clone(),
                });
            }
        }
        let tls = list.iter().any(|container| {
            container
                .backend
                .endpoint()
                .is_some_and(|endpoint| endpoint.is_tls())
        });
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirected POST changes its method or repeats its body elsewhere: neither is asked for.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // A container may close an idle connection in the very moment it is used again, and a
            // call that must not run twice would be lost: each call has its own.
            .pool_max_idle_per_host(0);
        if !tls {
            // Nothing is verified, so nothing needs the system's certificates: a minimal image
            // has none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| ContainerError::Client {
            reason: error.to_string(),
        })?;
        Ok(Self {
            inner: Arc::new(Inner { list, client }),
        })
    }

    fn get(&self, id: &str) -> Option<&Container> {
        self.inner.list.iter().find(|container| container.id == id)
    }

    fn client(&self) -> &Client {
        &self.inner.client
    }

    /// Stops what we run ourselves; returns when all of it is gone.
    pub async fn stop(&self) {
        join_all(
            self.inner
                .list
                .iter()
                .map(|container| container.backend.stop()),
        )
        .await;
    }
}

impl ContainerDirectory for Containers {
    fn running(&self) -> Vec<String> {
        self.inner
            .list
            .iter()
            .filter(|container| container.backend.endpoint().is_some())
            .map(|container| container.id.clone())
            .collect()
    }

    fn resources(&self, model_id: Option<String>) -> BoxFuture<BTreeMap<String, Box<RawValue>>> {
        let containers = self.clone();
        Box::pin(async move {
            let asked = containers.inner.list.iter().filter_map(|container| {
                let endpoint = container.backend.endpoint()?;
                let answer = resources_of(containers.client(), endpoint, model_id.as_deref());
                Some(async move { Some((container.id.clone(), answer.await?)) })
            });
            join_all(asked).await.into_iter().flatten().collect()
        })
    }
}

/// One container's `/service-resources`; `None` when it has none to show in time.
async fn resources_of(
    client: &Client,
    endpoint: Endpoint,
    model_id: Option<&str>,
) -> Option<Box<RawValue>> {
    let request = endpoint.request(
        client,
        reqwest::Method::GET,
        "service-resources",
        model_id.map(|model_id| ("model_id", model_id)),
    );
    let read = async {
        let response = request.send().await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let body = read_bounded(response, RESOURCES_BYTES_MAX).await.ok()?;
        // Parsed once in full: what cannot be shown inside our own answer is left out.
        serde_json::from_slice::<serde_json::Value>(&body).ok()?;
        serde_json::from_slice(&body).ok()
    };
    tokio::time::timeout(RESOURCES_TIMEOUT, read).await.ok()?
}

/// Why a body was not read to its end.
enum ReadError {
    Longer,
    Broken(reqwest::Error),
}

/// The whole body, if it is not longer than `limit`.
async fn read_bounded(response: reqwest::Response, limit: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(ReadError::Broken)?;
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(ReadError::Longer);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
