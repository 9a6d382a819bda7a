//! The configuration file of `infernet run`, and what of it decides.
//!
//! Precedence: flags, then environment, then the file, then defaults. What the machine decides
//! by becomes [`infernet_state::Config`] and thereby a recorded fact; addresses of listeners,
//! URLs and secrets do not.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use infernet_state::{
    config::{ChainConfig, Config, ContainerConfig, Limits},
    types::{Address, Amount},
};
use serde::Deserialize;

/// Where a node listens for clients, unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:4000";

/// Where a node listens for its operator, unless told otherwise.
pub const DEFAULT_ADMIN_LISTEN: &str = "127.0.0.1:4001";

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "E-CONFIG-001: cannot read the configuration {path}: {reason}; name another with \
         --config, or write it as docs/configuration.md says"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It is no configuration.
    #[error("E-CONFIG-002: {path} is not a configuration: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A value that cannot be meant.
    #[error("E-CONFIG-003: {field}: {reason}")]
    Invalid {
        /// The dotted name of the field.
        field: String,
        /// Why, and what to write instead.
        reason: String,
    },
}

/// The file, as written by an operator.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Where the log and the payloads live.
    pub data_dir: Option<PathBuf>,
    /// Listeners.
    #[serde(default)]
    pub server: ServerConfig,
    /// The chain; without it the node only answers clients.
    pub chain: Option<ChainFileConfig>,
    /// The containers, in order.
    #[serde(default)]
    pub containers: Vec<ContainerFileConfig>,
    /// Container chains offered on chain: lists of container ids.
    #[serde(default)]
    pub chains: Vec<Vec<String>>,
    /// Accepted verifiers; absent: all of them.
    pub verifiers: Option<Vec<String>>,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// For clients.
    pub listen: SocketAddr,
    /// For the operator.
    pub admin_listen: SocketAddr,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            listen: local(4000),
            admin_listen: local(4001),
        }
    }
}

/// `[chain]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainFileConfig {
    /// JSON-RPC over HTTP. May hold a secret: it is never shown.
    pub rpc_url: String,
    /// The Registry.
    pub registry: String,
    /// A file with the node's private key in hexadecimal; `INFERNET_PRIVATE_KEY` comes before.
    pub private_key_file: Option<PathBuf>,
    /// The wallet that is paid.
    pub payment_wallet: Option<String>,
    /// Blocks above a creation before it is acted on.
    #[serde(default)]
    pub trail_head_blocks: u64,
    /// Milliseconds between looks at the head.
    #[serde(default = "default_poll_ms")]
    pub poll_interval_ms: u64,
    /// The most gas one delivery may take.
    #[serde(default = "default_gas_limit")]
    pub gas_limit_max: u64,
    /// The most wei per gas a transaction may pay.
    #[serde(default = "default_fee_cap")]
    pub max_fee_per_gas_cap: u128,
}

fn default_poll_ms() -> u64 {
    1_000
}

fn default_gas_limit() -> u64 {
    5_000_000
}

fn default_fee_cap() -> u128 {
    500_000_000_000
}

/// One of `[[containers]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerFileConfig {
    /// Its id.
    pub id: String,
    /// Shown to clients.
    #[serde(default)]
    pub description: String,
    /// Shown to clients.
    #[serde(default)]
    pub image: String,
    /// Base URL of a container that runs already.
    pub url: Option<String>,
    /// A file with the bearer token for `url`.
    pub bearer_file: Option<PathBuf>,
    /// A local program to start, with its arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// May stand first in a job or subscription.
    #[serde(default)]
    pub external: bool,
    /// Answers with a proof when asked for one.
    #[serde(default)]
    pub generates_proofs: bool,
    /// Owners of subscriptions that may use it; empty: all.
    #[serde(default)]
    pub allowed_addresses: Vec<String>,
    /// Owners of delegated subscriptions that may use it; empty: all.
    #[serde(default)]
    pub allowed_delegate_addresses: Vec<String>,
    /// Least price by token (decimal, in the smallest unit); empty: any.
    #[serde(default)]
    pub accepted_payments: BTreeMap<String, String>,
    /// Whether a call that a crash interrupted is made again.
    #[serde(default = "yes")]
    pub rerun: bool,
}

fn yes() -> bool {
    true
}

impl FileConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`], naming line and field.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        toml::from_str(&text).map_err(|error| ConfigError::Malformed {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    /// What of the file decides; `chain` is what the chain itself said of its contracts.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], naming the field.
    pub fn deciding(&self, chain: Option<ChainConfig>) -> Result<Config, ConfigError> {
        let mut seen = BTreeSet::new();
        let mut containers = Vec::with_capacity(self.containers.len());
        for (position, container) in self.containers.iter().enumerate() {
            if !seen.insert(container.id.as_str()) {
                return Err(ConfigError::Invalid {
                    field: format!("containers[{position}].id"),
                    reason: format!("`{}` is there already; ids are unique", container.id),
                });
            }
            containers.push(container.deciding(position)?);
        }
        for (position, chain) in self.chains.iter().enumerate() {
            if let Some(id) = chain.iter().find(|id| !seen.contains(id.as_str())) {
                return Err(ConfigError::Invalid {
                    field: format!("chains[{position}]"),
                    reason: format!("no container `{id}` is configured"),
                });
            }
        }
        let verifiers = match &self.verifiers {
            Some(list) => Some(addresses("verifiers", list)?),
            None => None,
        };
        Ok(Config {
            chain,
            containers,
            chains: self.chains.clone(),
            permutation_length_max: PERMUTATION_LENGTH_MAX,
            verifiers,
            stake_caps: Vec::new(),
            rates: Vec::new(),
            limits: Limits::default(),
        })
    }
}

/// Longest permutation of container ids recognised on chain; longer ones are declared in
/// `chains`. Three ids out of 20 are 6,840 hashes, four would be 116,280.
pub const PERMUTATION_LENGTH_MAX: u8 = 3;

impl ContainerFileConfig {
    fn deciding(&self, position: usize) -> Result<ContainerConfig, ConfigError> {
        let field = |name: &str| format!("containers[{position}].{name}");
        if self.id.is_empty() || self.id.contains(',') {
            return Err(ConfigError::Invalid {
                field: field("id"),
                reason: format!("`{}` is empty or holds a comma, which joins ids", self.id),
            });
        }
        if self.url.is_some() != self.command.is_empty() {
            return Err(ConfigError::Invalid {
                field: format!("containers[{position}]"),
                reason: "give either `url` or `command`".to_owned(),
            });
        }
        let mut accepted_payments = Vec::with_capacity(self.accepted_payments.len());
        for (token, least) in &self.accepted_payments {
            let name = field("accepted_payments");
            accepted_payments.push((address(&name, token)?, amount(&name, least)?));
        }
        Ok(ContainerConfig {
            id: self.id.clone(),
            description: self.description.clone(),
            image: self.image.clone(),
            external: self.external,
            generates_proofs: self.generates_proofs,
            allowed_addresses: addresses(&field("allowed_addresses"), &self.allowed_addresses)?,
            allowed_delegate_addresses: addresses(
                &field("allowed_delegate_addresses"),
                &self.allowed_delegate_addresses,
            )?,
            allowed_clients: Vec::new(),
            accepted_payments,
            rerun: self.rerun,
        })
    }
}

/// Parses an address of a configuration.
///
/// # Errors
/// [`ConfigError::Invalid`], naming the field.
pub fn address(field: &str, text: &str) -> Result<Address, ConfigError> {
    alloy::primitives::Address::from_str(text)
        .map(|address| Address(address.into_array()))
        .map_err(|error| ConfigError::Invalid {
            field: field.to_owned(),
            reason: format!("`{text}` is no address (0x and 40 hexadecimal digits): {error}"),
        })
}

fn addresses(field: &str, list: &[String]) -> Result<Vec<Address>, ConfigError> {
    list.iter().map(|text| address(field, text)).collect()
}

fn amount(field: &str, text: &str) -> Result<Amount, ConfigError> {
    alloy::primitives::U256::from_str_radix(text, 10)
        .map(Amount)
        .map_err(|error| ConfigError::Invalid {
            field: field.to_owned(),
            reason: format!("`{text}` is no amount in decimal digits: {error}"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let file: FileConfig = toml::from_str(text).map_err(|e| ConfigError::Malformed {
            path: "test".into(),
            reason: e.to_string(),
        })?;
        file.deciding(None)
    }

    #[test]
    fn a_full_container_becomes_a_deciding_one() {
        let config = parse(
            r#"
            [[containers]]
            id = "onnx-iris"
            command = ["infernet-service", "onnx"]
            external = true
            accepted_payments = { "0x0000000000000000000000000000000000000000" = "1000" }
            "#,
        )
        .expect("a valid configuration");
        let container = &config.containers[0];
        assert!(container.external && container.rerun && !container.generates_proofs);
        assert_eq!(
            container.accepted_payments,
            vec![(Address::ZERO, Amount::from(1000))]
        );
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let cases = [
            (
                "[[containers]]\nid = \"a,b\"\nurl = \"http://x\"",
                "containers[0].id",
            ),
            ("[[containers]]\nid = \"a\"", "containers[0]"),
            (
                "[[containers]]\nid = \"a\"\nurl = \"http://x\"\n[[containers]]\nid = \"a\"\nurl = \"http://y\"",
                "containers[1].id",
            ),
            ("chains = [[\"a\"]]", "chains[0]"),
            ("verifiers = [\"0x12\"]", "verifiers"),
            ("colour = 1", "colour"),
        ];
        for (text, named) in cases {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(named), "{error} names {named}");
        }
    }
}
