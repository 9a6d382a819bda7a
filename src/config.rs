//! The configuration file of `infernet run`, and what of it decides.
//!
//! Precedence: flags, then environment, then the file, then defaults. What the machine decides
//! by becomes [`infernet_state::Config`] and thereby a recorded fact; addresses of listeners,
//! URLs and secrets do not.

mod container;
mod limits;
mod parse;
mod record;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use infernet_state::config::{ChainConfig, Config, Limits};
use serde::Deserialize;

pub use container::{AllowedIps, ContainerFileConfig};
pub use limits::LimitsConfig;
pub use parse::address;
use parse::{addresses, amount, by_token, rate};

use crate::{
    api::{ClientKey, RateLimit},
    copies::{CHECKPOINT_EVENTS, Wanted},
    driver::Policy,
    log::Retention,
};

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
    /// Token (zero address: native coin) to the most of it that may be at stake at once, in its
    /// smallest unit.
    #[serde(default)]
    pub stake_caps: BTreeMap<String, String>,
    /// Token to what its smallest unit is worth in wei, for the profit guard; empty: no guard.
    #[serde(default)]
    pub rates: BTreeMap<String, String>,
    /// How large the log becomes, and what of it is kept.
    #[serde(default)]
    pub log: LogConfig,
    /// How long results can be asked for.
    #[serde(default)]
    pub results: ResultsConfig,
    /// Attempts, times and margins.
    #[serde(default)]
    pub limits: LimitsConfig,
}

/// `[results]`: what is kept of clients' jobs that have ended.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResultsConfig {
    /// Minutes that they can be asked for.
    pub keep_minutes: u32,
    /// At most so many of them.
    pub keep_max: u32,
}

impl Default for ResultsConfig {
    fn default() -> Self {
        let usual = Limits::default();
        Self {
            keep_minutes: u32::try_from(usual.result_age_max_ms / MINUTE_MS).unwrap_or(u32::MAX),
            keep_max: usual.results_max,
        }
    }
}

const MINUTE_MS: u64 = 60_000;

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// The most MiB that the data directory may take; absent: as many as there are.
    pub budget_mib: Option<u64>,
    /// The newest events that are kept whatever the budget says; absent: all of them.
    pub keep_events: Option<u64>,
    /// MiB from which the current part of the log is closed.
    pub roll_mib: Option<u64>,
    /// Events from which it is closed as well.
    pub roll_events: Option<u64>,
    /// Events between two snapshots.
    pub snapshot_events: Option<u64>,
    /// Whether payloads that nothing asks for any more are erased with the part they stand in.
    pub erase_payloads: bool,
    /// A directory, on another disk, that the log is copied to as it grows.
    pub mirror: Option<PathBuf>,
    /// Events between two signed checkpoints, beside the one at a stop; 0 makes none at all.
    pub checkpoint_events: Option<u64>,
}

/// The least budget, in MiB: four parts that are large enough to be worth closing.
const BUDGET_MIB_MIN: u64 = 256;

/// The least size of a part of the log, in MiB: several of the store's segments.
const ROLL_MIB_MIN: u64 = 16;

/// The fewest events between two snapshots, and of a part of the log.
const UPKEEP_EVENTS_MIN: u64 = 16;

const MIB: u64 = 1024 * 1024;

impl LogConfig {
    /// Mirror and checkpoints.
    #[must_use]
    pub fn copies(&self) -> Wanted {
        Wanted {
            mirror: self.mirror.clone(),
            checkpoint_events: self.checkpoint_events.unwrap_or(CHECKPOINT_EVENTS),
        }
    }

    /// How the log is kept small.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], naming the field.
    pub fn policy(&self) -> Result<Policy, ConfigError> {
        let at_least = |field: &str, value: Option<u64>, least: u64| match value {
            Some(value) if value < least || value > u64::MAX / MIB => Err(ConfigError::Invalid {
                field: format!("log.{field}"),
                reason: format!("{value} is not between {least} and {}", u64::MAX / MIB),
            }),
            Some(_) | None => Ok(value),
        };
        let budget = at_least("budget_mib", self.budget_mib, BUDGET_MIB_MIN)?;
        let roll = at_least("roll_mib", self.roll_mib, ROLL_MIB_MIN)?;
        let roll_events = at_least("roll_events", self.roll_events, UPKEEP_EVENTS_MIN)?;
        let snapshot_events = at_least("snapshot_events", self.snapshot_events, UPKEEP_EVENTS_MIN)?;
        let usual = Policy::default();
        Ok(Policy {
            snapshot_events: snapshot_events.unwrap_or(usual.snapshot_events),
            retention: Retention {
                budget_bytes: budget.map(|mib| mib * MIB),
                keep_events: self.keep_events,
                roll_bytes: roll.map_or(usual.retention.roll_bytes, |mib| mib * MIB),
                roll_events,
                erase_payloads: self.erase_payloads,
            },
        })
    }
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// For clients.
    pub listen: SocketAddr,
    /// For the operator.
    pub admin_listen: SocketAddr,
    /// Requests that one client address may make in a minute; 0 for any number.
    pub requests_per_minute: u32,
}

impl ServerConfig {
    /// The limit of requests, if there is one.
    #[must_use]
    pub fn rate_limit(&self) -> Option<RateLimit> {
        (self.requests_per_minute > 0).then(|| RateLimit {
            requests: self.requests_per_minute,
            ..RateLimit::default()
        })
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            listen: local(4000),
            admin_listen: local(4001),
            requests_per_minute: RateLimit::default().requests,
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
    #[serde(default = "default_trail")]
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

/// Deeper than the reorgs that a chain of validators sees while it is well: one block often, two
/// rarely. It costs three blocks of latency (`docs/configuration.md`).
fn default_trail() -> u64 {
    3
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

    /// What of the file decides, but for [`Self::allowed_ips`]; `chain` is what the chain itself
    /// said of its contracts.
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
        let config = Config {
            chain,
            containers,
            chains: self.chains.clone(),
            permutation_length_max: PERMUTATION_LENGTH_MAX,
            verifiers,
            stake_caps: by_token("stake_caps", &self.stake_caps, amount)?,
            rates: by_token("rates", &self.rates, rate)?,
            limits: Limits {
                result_age_max_ms: u64::from(self.results.keep_minutes) * MINUTE_MS,
                results_max: self.results.keep_max,
                ..self.limits.deciding()?
            },
        };
        // Under any key the hashes are as long.
        let whole = self
            .allowed_ips()?
            .hashed(config.clone(), &ClientKey::new([0; 32]));
        record::fits(&whole)?;
        Ok(config)
    }

    /// Which clients may ask for which container.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], naming the field.
    pub fn allowed_ips(&self) -> Result<AllowedIps, ConfigError> {
        AllowedIps::of(&self.containers)
    }
}

/// Longest permutation of container ids recognised on chain; longer ones are declared in
/// `chains`. Three ids out of 20 are 6,840 hashes, four would be 116,280.
pub const PERMUTATION_LENGTH_MAX: u8 = 3;

#[cfg(test)]
mod tests {
    use infernet_state::types::{Address, Amount};

    use super::*;

    pub(super) fn parse(text: &str) -> Result<Config, ConfigError> {
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
    fn the_log_is_bounded_as_configured() {
        let policy = |text: &str| {
            let file: FileConfig = toml::from_str(text).expect("TOML");
            file.log.policy()
        };
        assert_eq!(policy("").expect("the usual one"), Policy::default());
        let tight = policy(
            "[log]\nbudget_mib = 1024\nkeep_events = 5000\nroll_mib = 64\nroll_events = 9000\n\
             snapshot_events = 100\nerase_payloads = true",
        );
        let expected = Policy {
            snapshot_events: 100,
            retention: Retention {
                budget_bytes: Some(1024 * MIB),
                keep_events: Some(5000),
                roll_bytes: 64 * MIB,
                roll_events: Some(9000),
                erase_payloads: true,
            },
        };
        assert_eq!(tight.expect("valid"), expected);
        for (text, named) in [
            ("[log]\nbudget_mib = 255", "log.budget_mib"),
            ("[log]\nroll_mib = 1", "log.roll_mib"),
            ("[log]\nroll_events = 0", "log.roll_events"),
            ("[log]\nsnapshot_events = 0", "log.snapshot_events"),
            ("[log]\nbudget_mib = 9223372036854775807", "log.budget_mib"),
        ] {
            let error = policy(text).expect_err(text).to_string();
            assert!(error.contains(named), "{error} names {named}");
        }
    }

    #[test]
    fn requests_are_limited_as_configured() {
        let limit = |text: &str| {
            let file: FileConfig = toml::from_str(text).expect("TOML");
            file.server.rate_limit().map(|limit| limit.requests)
        };
        assert_eq!(limit(""), Some(60));
        assert_eq!(limit("[server]\nrequests_per_minute = 9"), Some(9));
        assert_eq!(limit("[server]\nrequests_per_minute = 0"), None);
    }

    #[test]
    fn results_are_kept_as_configured() {
        assert_eq!(parse("").expect("valid").limits, Limits::default());
        let config = parse("[results]\nkeep_minutes = 5\nkeep_max = 70").expect("valid");
        let expected = Limits {
            result_age_max_ms: 300_000,
            results_max: 70,
            ..Limits::default()
        };
        assert_eq!(config.limits, expected);
    }

    #[test]
    fn stakes_and_profit_are_guarded_as_configured() {
        assert_eq!(parse("").expect("valid").rates, []);
        let config = parse(
            r#"
            stake_caps = { "0x0000000000000000000000000000000000000000" = "500" }
            rates = { "0x0000000000000000000000000000000000000000" = "1" }
            "#,
        )
        .expect("valid");
        assert_eq!(config.stake_caps, [(Address::ZERO, Amount::from(500))]);
        assert_eq!(
            config.rates,
            [(Address::ZERO, Amount::from(10_u128.pow(18)))]
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
            ("stake_caps = { \"0x12\" = \"1\" }", "stake_caps"),
            ("rates = { \"0x12\" = \"1\" }", "rates"),
            ("colour = 1", "colour"),
        ];
        for (text, named) in cases {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(named), "{error} names {named}");
        }
    }
}
