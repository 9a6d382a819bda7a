//! `infernet run`

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{KEY_VARIABLE, RunArgs, out::show};
use crate::{
    api::ApiConfig,
    config::{self, ChainFileConfig, ConfigError, ContainerFileConfig, FileConfig},
    container::{Backend, Container, Containers, Process, ProcessConfig, Remote},
    node::{ChainParts, Node, NodeError, Parts},
};

/// The configuration, with the data directory that the command line says. It is read once: it may
/// be a pipe.
pub(super) fn settings(args: &RunArgs) -> Result<FileConfig, NodeError> {
    let mut file = FileConfig::read(&args.config)?;
    if let Some(data_dir) = &args.data_dir {
        file.data_dir = Some(data_dir.clone());
    }
    Ok(file)
}

pub(super) fn run(args: RunArgs, file: FileConfig) -> Result<(), NodeError> {
    let data_dir = file.data_dir.clone().ok_or_else(|| ConfigError::Invalid {
        field: "data_dir".to_owned(),
        reason: "say where the log lives: here, with --data-dir, or in INFERNET_DATA_DIR"
            .to_owned(),
    })?;
    let chain = file.chain.as_ref().map(chain_parts).transpose()?;
    let account = chain.as_ref().map(account);
    let api = ApiConfig {
        listen: args.listen.unwrap_or(file.server.listen),
        admin_listen: file.server.admin_listen,
        rate_limit: file.server.rate_limit(),
        development: None,
    };
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(async {
        let mut interrupted = std::pin::pin!(super::dev::interrupted());
        let start = async {
            Node::start(Parts {
                data_dir,
                api,
                config: file.deciding(None)?,
                allowed_ips: file.allowed_ips()?,
                containers: start_containers(&file.containers).await?,
                chain,
                lift_quarantine: args.lift_quarantine,
                upkeep: file.log.policy()?,
                copies: file.log.copies(),
            })
            .await
        };
        let node = tokio::select! {
            node = start => node?,
            () = &mut interrupted => return Ok(()),
        };
        show!(
            "node      http://{} (operator: http://{})",
            node.api_addr(),
            node.admin_addr()
        );
        if let Some(account) = account {
            show!("account   {account}");
        }
        show!("ready");
        node.run(interrupted).await
    });
    // Blocking work that is under way must not hold the exit up: what counts is on disk.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Who signs, and who is paid.
fn account(chain: &ChainParts) -> String {
    let address = alloy::primitives::Address::from(chain.key.address().0);
    match chain.payment_wallet {
        Some(wallet) => {
            let wallet = alloy::primitives::Address::from(wallet.0);
            format!("{address} (paid into wallet {wallet})")
        }
        None => format!("{address} (no payment wallet: free work only)"),
    }
}

fn chain_parts(file: &ChainFileConfig) -> Result<ChainParts, NodeError> {
    if file.private_key_file.is_none() && std::env::var_os(KEY_VARIABLE).is_none() {
        return Err(ConfigError::Invalid {
            field: "chain.private_key_file".to_owned(),
            reason: format!("name the file of the node's key, or set {KEY_VARIABLE}"),
        }
        .into());
    }
    let key = super::key(file.private_key_file.as_deref())?;
    let payment_wallet = file
        .payment_wallet
        .as_deref()
        .map(|wallet| config::address("chain.payment_wallet", wallet))
        .transpose()?;
    Ok(ChainParts {
        rpc_url: file.rpc_url.clone(),
        registry: config::address("chain.registry", &file.registry)?,
        key,
        payment_wallet,
        trail_head_blocks: file.trail_head_blocks,
        poll: Duration::from_millis(file.poll_interval_ms),
        gas_limit_max: file.gas_limit_max,
        max_fee_per_gas_cap: file.max_fee_per_gas_cap,
    })
}

async fn start_containers(files: &[ContainerFileConfig]) -> Result<Containers, NodeError> {
    let mut list = Vec::with_capacity(files.len());
    for (position, file) in files.iter().enumerate() {
        let backend: Arc<dyn Backend> = match (&file.url, file.command.split_first()) {
            (Some(url), _) => {
                let bearer = file.bearer_file.as_ref().map(read_secret).transpose()?;
                Arc::new(Remote::new(&file.id, url, bearer.as_deref())?)
            }
            (None, Some((program, arguments))) => {
                let config = ProcessConfig::new(&file.id, program, arguments.to_vec());
                Arc::new(Process::start(config).await?)
            }
            (None, None) => {
                return Err(ConfigError::Invalid {
                    field: format!("containers[{position}]"),
                    reason: "give either `url` or `command`".to_owned(),
                }
                .into());
            }
        };
        list.push(Container {
            id: file.id.clone(),
            backend,
            legacy_http_status: false,
        });
    }
    Ok(Containers::new(list)?)
}

fn read_secret(path: &PathBuf) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|error| ConfigError::Unreadable {
            path: path.clone(),
            reason: error.to_string(),
        })
}
