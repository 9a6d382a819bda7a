//! Where a running `infernet dev` is found by a second terminal.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{CONSUMER, DevError, REGISTRY};

/// The file in the data directory.
const FILE: &str = "dev.json";

/// The addresses of a running development world. Holds nothing secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The node's REST interface.
    pub api: String,
    /// The operator's interface.
    pub admin: String,
    /// What is around the node.
    #[serde(flatten)]
    pub world: Announcement,
}

/// What surrounds the node of a development world, as its `GET /dev` says it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Announcement {
    /// The embedded chain's JSON-RPC.
    pub rpc: String,
    /// The example consumer.
    pub consumer: String,
    /// The Registry.
    pub registry: String,
}

impl Announcement {
    /// The announcement of a chain behind `rpc`.
    #[must_use]
    pub fn new(rpc: &str) -> Self {
        Self {
            rpc: rpc.to_owned(),
            consumer: CONSUMER.to_string(),
            registry: REGISTRY.to_string(),
        }
    }

    /// Asks a running `infernet dev` for it.
    ///
    /// # Errors
    /// [`DevError::Api`] when nothing there is one.
    pub async fn ask(api: &str) -> Result<Self, DevError> {
        let base = api.trim_end_matches('/');
        super::sender::client()?
            .get(format!("{base}/dev"))
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(DevError::no_node)?
            .json()
            .await
            .map_err(DevError::no_node)
    }
}

impl Place {
    /// Writes it into a data directory. It is a convenience of this run, not a record: it need
    /// not be durable.
    ///
    /// # Errors
    /// [`DevError::Place`].
    pub fn write(&self, data_dir: &Path) -> Result<(), DevError> {
        let path = data_dir.join(FILE);
        let text = serde_json::to_string_pretty(self).map_err(|error| DevError::Place {
            reason: error.to_string(),
        })?;
        std::fs::write(&path, text).map_err(|error| DevError::Place {
            reason: format!("{}: {error}", path.display()),
        })
    }

    /// Reads it from the data directory of a running `infernet dev`.
    ///
    /// # Errors
    /// [`DevError::Place`] when there is none.
    pub fn read(data_dir: &Path) -> Result<Self, DevError> {
        let path = data_dir.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| DevError::Place {
            reason: format!(
                "{}: {error}; is `infernet dev` running there?",
                path.display()
            ),
        })?;
        serde_json::from_str(&text).map_err(|error| DevError::Place {
            reason: format!("{}: {error}", path.display()),
        })
    }
}
