//! `eth_getLogs`.

use alloy::eips::BlockNumberOrTag;
use alloy::rpc::types::{Filter, FilterBlockOption, Log};
use serde_json::json;

use super::Answer;
use super::blocks::to_rpc_log;
use super::error::RpcError;
use super::params::Params;
use crate::devnet::chain::Chain;
use crate::devnet::limits::{FILTER_ITEMS_MAX, LOGS_RANGE_MAX, LOGS_RESULT_MAX};

/// Checks the size of a filter.
pub(super) fn check(filter: &Filter) -> Result<(), RpcError> {
    let largest = filter
        .topics
        .iter()
        .map(|topic| topic.len())
        .max()
        .unwrap_or_default();
    if largest.max(filter.address.len()) > FILTER_ITEMS_MAX {
        return Err(RpcError::limit(format!(
            "a log filter takes at most {FILTER_ITEMS_MAX} addresses or alternatives of a topic"
        )));
    }
    Ok(())
}

/// The blocks that a filter covers, head included: first and last number.
pub(super) fn range(chain: &Chain, filter: &Filter) -> Result<(u64, u64), RpcError> {
    let head = chain.head().number();
    let at = |tag: Option<BlockNumberOrTag>| match tag {
        None
        | Some(
            BlockNumberOrTag::Latest
            | BlockNumberOrTag::Pending
            | BlockNumberOrTag::Safe
            | BlockNumberOrTag::Finalized,
        ) => head,
        Some(BlockNumberOrTag::Earliest) => 0,
        Some(BlockNumberOrTag::Number(number)) => number,
    };
    match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let block = chain
                .block_by_hash(&hash)
                .ok_or_else(|| RpcError::server("unknown block"))?;
            Ok((block.number(), block.number()))
        }
        FilterBlockOption::Range {
            from_block,
            to_block,
        } => {
            let (from, to) = (at(from_block), at(to_block));
            let numbered = |tag| matches!(tag, Some(BlockNumberOrTag::Number(_)));
            if from > to && numbered(from_block) && numbered(to_block) {
                return Err(RpcError::params(format!(
                    "invalid block range: {from} to {to}"
                )));
            }
            let to = to.min(head);
            if to.saturating_sub(from) >= LOGS_RANGE_MAX {
                return Err(RpcError::limit(format!(
                    "a range of more than {LOGS_RANGE_MAX} blocks; ask in parts"
                )));
            }
            Ok((from, to))
        }
    }
}

/// The log entries in some blocks that a filter lets through.
pub(super) fn scan(
    chain: &Chain,
    filter: &Filter,
    (from, to): (u64, u64),
) -> Result<Vec<Log>, RpcError> {
    let mut found = Vec::new();
    for number in from..=to {
        let Some(block) = chain.block(number) else {
            break;
        };
        if !filter.matches_bloom(block.header.logs_bloom) {
            continue;
        }
        for (index, mined) in block.transactions.iter().enumerate() {
            let mut convert = to_rpc_log(block, index, mined);
            for log in mined.receipt.logs() {
                let log = convert(log.clone());
                if filter.matches_address(log.address()) && filter.matches_topics(log.topics()) {
                    found.push(log);
                }
            }
        }
        if found.len() > LOGS_RESULT_MAX {
            return Err(RpcError::limit(format!(
                "query returned more than {LOGS_RESULT_MAX} results; ask for fewer blocks than \
                 {from} to {to}"
            )));
        }
    }
    Ok(found)
}

pub(super) fn logs(chain: &Chain, params: &Params) -> Answer {
    let filter: Filter = params.get(0)?;
    check(&filter)?;
    Ok(json!(scan(chain, &filter, range(chain, &filter)?)?))
}
