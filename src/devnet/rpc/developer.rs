//! The developers' helpers: time, mining, cheats, snapshots, reorgs.
//!
//! Names as in the development chains that tools know (`evm_`, `anvil_`, `hardhat_`), and
//! `infernet_` where there is none.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U64};
use alloy::rpc::types::TransactionRequest;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::RpcError;
use super::params::Params;
use super::{Answer, Service, transactions};
use crate::devnet::block::{Failure, Tx};
use crate::devnet::chain::Chain;
use crate::devnet::command::{Command, Reply};
use crate::devnet::limits::INTERVAL_MAX;
use crate::devnet::{Mining, Orphans};

fn required<T>(value: Option<T>, index: usize) -> Result<T, RpcError> {
    value.ok_or_else(|| RpcError::params(format!("missing value for required argument {index}")))
}

async fn done(service: &Service, command: Command) -> Answer {
    service
        .handle
        .run(command)
        .await
        .map(|_| Value::Null)
        .map_err(Into::into)
}

pub(super) async fn call(service: &Arc<Service>, method: &str, params: &Params) -> Answer {
    let name = method
        .strip_prefix("anvil_")
        .or_else(|| method.strip_prefix("hardhat_"))
        .or_else(|| method.strip_prefix("infernet_"))
        .or_else(|| method.strip_prefix("evm_"))
        .ok_or_else(|| RpcError::method(method))?;
    match name {
        // `evm_mine` takes a time, `anvil_mine` a count.
        "mine" if method == "evm_mine" => evm_mine(service, params).await,
        "mine" => {
            let blocks = params.u64(0)?.unwrap_or(1);
            let command = Command::Mine {
                blocks,
                timestamp: None,
                spacing: params.u64(1)?,
            };
            done(service, command).await
        }
        "setNextBlockTimestamp" => {
            let timestamp = required(params.u64(0)?, 0)?;
            done(service, Command::SetNextTimestamp(timestamp)).await
        }
        "increaseTime" => {
            let seconds = required(params.u64(0)?, 0)?;
            let seconds = i64::try_from(seconds)
                .map_err(|_| RpcError::params("cannot move the clock that far"))?;
            clock(service, Command::IncreaseTime(seconds)).await
        }
        "setTime" => clock(service, Command::SetTime(required(params.u64(0)?, 0)?)).await,
        "setNextBlockBaseFeePerGas" => {
            let base_fee = required(params.u64(0)?, 0)?;
            done(service, Command::SetNextBaseFee(base_fee)).await
        }
        "setCoinbase" => done(service, Command::SetCoinbase(params.get(0)?)).await,
        "setAutomine" => {
            let mining = if params.get(0)? {
                Mining::Auto
            } else {
                Mining::Manual
            };
            service.handle.set_mining(mining).await?;
            Ok(json!(true))
        }
        "setIntervalMining" => set_interval(service, method, params).await,
        "snapshot" => match service.handle.run(Command::Snapshot).await? {
            Reply::Number(id) => Ok(json!(U64::from(id.unsigned_abs()))),
            other => Err(RpcError::internal(format!("unexpected reply {other:?}"))),
        },
        "revert" => {
            let id = required(params.u64(0)?, 0)?;
            Ok(json!(
                service.handle.run(Command::Revert(id)).await? == Reply::Done
            ))
        }
        "setBalance" => {
            let balance = required(params.number(1)?, 1)?;
            done(service, Command::SetBalance(params.get(0)?, balance)).await
        }
        "setNonce" => {
            let nonce = required(params.u64(1)?, 1)?;
            done(service, Command::SetNonce(params.get(0)?, nonce)).await
        }
        "setCode" => {
            let code: Bytes = params.get(1)?;
            done(service, Command::SetCode(params.get(0)?, code)).await
        }
        "setStorageAt" => {
            let command = Command::SetStorage(params.get(0)?, params.slot(1)?, params.word(2)?);
            done(service, command).await.map(|_| json!(true))
        }
        "impersonateAccount" | "stopImpersonatingAccount" => {
            let address: Address = params.get(0)?;
            let enabled = name == "impersonateAccount";
            done(service, Command::Impersonate(address, enabled)).await
        }
        "dropTransaction" => {
            let hash: B256 = params.get(0)?;
            let dropped = service.handle.run(Command::Drop(hash)).await? == Reply::Done;
            Ok(json!(dropped.then_some(hash)))
        }
        "reorg" => reorg(service, params).await,
        "nodeInfo" => Ok(node_info(&service.handle.chain())),
        "transactionOutcome" if method.starts_with("infernet_") => {
            outcome(&service.handle.chain(), params)
        }
        _ => Err(RpcError::method(method)),
    }
}

async fn clock(service: &Service, command: Command) -> Answer {
    match service.handle.run(command).await? {
        Reply::Number(seconds) => Ok(json!(seconds)),
        other => Err(RpcError::internal(format!("unexpected reply {other:?}"))),
    }
}

async fn evm_mine(service: &Service, params: &Params) -> Answer {
    #[derive(Deserialize)]
    struct Options {
        timestamp: Option<Value>,
        blocks: Option<Value>,
    }
    let (timestamp, blocks) = match params.raw(0) {
        Some(Value::Object(_)) => {
            let Options { timestamp, blocks } = params.get(0)?;
            let options = Params::new(Some(json!([timestamp, blocks])))?;
            (options.u64(0)?, options.u64(1)?)
        }
        _ => (params.u64(0)?, None),
    };
    let blocks = blocks.unwrap_or(1);
    done(
        service,
        Command::Mine {
            blocks,
            timestamp,
            spacing: None,
        },
    )
    .await?;
    Ok(json!("0x0"))
}

/// Seconds, as anvil and alloy count (Hardhat means milliseconds by the same name); milliseconds
/// with `infernet_`. 0 switches mining off.
async fn set_interval(service: &Service, method: &str, params: &Params) -> Answer {
    let value = required(params.u64(0)?, 0)?;
    let period = if method.starts_with("infernet_") {
        Duration::from_millis(value)
    } else {
        Duration::from_secs(value)
    };
    if period > INTERVAL_MAX {
        return Err(RpcError::params(format!("cannot mine every {period:?}")));
    }
    let mining = if period.is_zero() {
        Mining::Manual
    } else {
        Mining::Interval(period)
    };
    service.handle.set_mining(mining).await?;
    Ok(Value::Null)
}

/// `anvil_reorg(depth, [[transaction, block], …])`, or `infernet_reorg({depth, length, orphans,
/// transactions})`.
async fn reorg(service: &Arc<Service>, params: &Params) -> Answer {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        depth: Value,
        length: Option<Value>,
        orphans: Option<String>,
        transactions: Option<Vec<(Value, u64)>>,
    }
    let options = match params.raw(0) {
        Some(Value::Object(_)) => params.get(0)?,
        _ => Options {
            depth: params.get(0)?,
            length: None,
            orphans: None,
            transactions: params.opt(1)?,
        },
    };
    let numbers = Params::new(Some(json!([options.depth, options.length])))?;
    let depth = required(numbers.u64(0)?, 0)?;
    let length = numbers.u64(1)?.unwrap_or(depth);
    let orphans = match options.orphans.as_deref() {
        None | Some("dropped") => Orphans::Dropped,
        Some("pooled") => Orphans::Pooled,
        Some("remined") => Orphans::Remined,
        Some(other) => {
            return Err(RpcError::params(format!(
                "orphans are dropped, pooled or remined, not {other}"
            )));
        }
    };
    let wanted = options.transactions.unwrap_or_default();
    let transactions = service
        .read(move |service, chain| {
            wanted
                .into_iter()
                .map(|(tx, block)| Ok((reorg_transaction(service, &chain, tx)?, block)))
                .collect::<Result<Vec<_>, RpcError>>()
        })
        .await?;
    done(
        service,
        Command::Reorg {
            depth,
            length,
            orphans,
            transactions,
        },
    )
    .await
}

/// A raw transaction, or a request with its nonce and gas.
fn reorg_transaction(service: &Service, chain: &Chain, tx: Value) -> Result<Tx, RpcError> {
    let one = Params::new(Some(json!([tx])))?;
    if tx.is_string() {
        return transactions::decode(&one.get::<Bytes>(0)?);
    }
    let request: TransactionRequest = one.get(0)?;
    if request.nonce.is_none() || request.gas.is_none() {
        return Err(RpcError::params(
            "a transaction of a reorg needs its nonce and gas",
        ));
    }
    transactions::complete(service, chain, request)
}

fn node_info(chain: &Chain) -> Value {
    let head = chain.head();
    json!({
        "currentBlockNumber": U64::from(head.number()),
        "currentBlockTimestamp": head.header.timestamp,
        "currentBlockHash": head.header.hash(),
        "hardFork": format!("{:?}", chain.spec.hardfork),
        "environment": {
            "baseFee": U64::from(chain.next_base_fee()),
            "chainId": chain.spec.chain_id,
            "gasLimit": U64::from(chain.spec.gas_limit),
        },
    })
}

/// What a transaction wrote to the console, and why it failed if it did.
fn outcome(chain: &Chain, params: &Params) -> Answer {
    let hash: B256 = params.get(0)?;
    Ok(json!(chain.mined(&hash).map(|(block, index)| {
        let mined = &block.transactions[index];
        let (revert, halt) = match &mined.failure {
            None => (None, None),
            Some(Failure::Revert(data)) => (Some(data), None),
            Some(Failure::Halt(reason)) => (None, Some(reason)),
        };
        json!({ "console": mined.console, "revertData": revert, "halt": halt })
    })))
}
