//! `[[containers]]`: what runs, and who may use it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use infernet_state::{Config, config::ContainerConfig};
use serde::Deserialize;

use super::{
    ConfigError,
    parse::{addresses, amount, by_token, clients},
};
use crate::api::ClientKey;

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
    /// Addresses and networks of clients that may ask for it; empty: all.
    #[serde(default)]
    pub allowed_ips: Vec<String>,
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

impl ContainerFileConfig {
    /// What of it decides, but for [`AllowedIps`].
    pub(super) fn deciding(&self, position: usize) -> Result<ContainerConfig, ConfigError> {
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
        let accepted_payments =
            by_token(&field("accepted_payments"), &self.accepted_payments, amount)?;
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
            // Hashes under a key that the configuration does not have.
            allowed_clients: Vec::new(),
            accepted_payments,
            rerun: self.rerun,
        })
    }
}

/// Who may ask for each container, in the order of the configuration; nobody listed: all.
///
/// The log knows a client by the keyed hash of its address only. The key lies in the data
/// directory, so that these become what decides when the node starts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AllowedIps(Vec<BTreeSet<IpAddr>>);

impl AllowedIps {
    /// Reads the lists of a configuration.
    pub(super) fn of(containers: &[ContainerFileConfig]) -> Result<Self, ConfigError> {
        let list = |(position, container): (usize, &ContainerFileConfig)| {
            let field = format!("containers[{position}].allowed_ips");
            container
                .allowed_ips
                .iter()
                .try_fold(BTreeSet::new(), |mut all, text| {
                    all.extend(clients(&field, text)?);
                    Ok(all)
                })
        };
        let lists: Result<_, _> = containers.iter().enumerate().map(list).collect();
        lists.map(Self)
    }

    /// The configuration with these clients, as the log knows them.
    #[must_use]
    pub fn hashed(&self, mut config: Config, key: &ClientKey) -> Config {
        for (container, allowed) in config.containers.iter_mut().zip(&self.0) {
            container.allowed_clients = allowed.iter().map(|address| key.id(*address)).collect();
        }
        config
    }
}
