//! Gas prices and their history.

use alloy::consensus::Transaction as _;
use alloy::primitives::U256;
use alloy::rpc::types::FeeHistory;
use serde_json::{Value, json};

use super::Answer;
use super::blocks::number;
use super::error::RpcError;
use super::params::Params;
use crate::devnet::block::Block;
use crate::devnet::chain::Chain;
use crate::devnet::limits::{FEE_HISTORY_BLOCKS_MAX, FEE_HISTORY_PERCENTILES_MAX};

/// The priority fee that is suggested: 1 gwei, in wei per gas.
pub(super) const SUGGESTED_TIP: u128 = 1_000_000_000;

/// What a legacy transaction should offer, in wei per gas.
pub(super) fn gas_price(chain: &Chain) -> Value {
    json!(U256::from(
        u128::from(chain.next_base_fee()) + SUGGESTED_TIP
    ))
}

/// The priority fees of a block's transactions at these percentiles of gas used.
fn rewards(block: &Block, percentiles: &[f64]) -> Vec<u128> {
    let mut tips: Vec<(u128, u64)> = block
        .transactions
        .iter()
        .map(|mined| {
            let tip = mined
                .tx
                .envelope
                .effective_tip_per_gas(block.base_fee())
                .unwrap_or_default();
            (tip, mined.gas_used)
        })
        .collect();
    tips.sort_unstable();
    percentiles
        .iter()
        .map(|percentile| {
            let threshold = block.header.gas_used as f64 * percentile / 100.0;
            let mut gas = 0;
            tips.iter()
                .find(|(_, used)| {
                    gas += used;
                    gas as f64 >= threshold
                })
                .or(tips.last())
                .map_or(0, |(tip, _)| *tip)
        })
        .collect()
}

pub(super) fn history(chain: &Chain, params: &Params) -> Answer {
    let count = params
        .u64(0)?
        .unwrap_or_default()
        .min(FEE_HISTORY_BLOCKS_MAX);
    let head = chain.head().number();
    let id = params.block(1)?;
    let newest = if id.is_pending() {
        Some(head)
    } else {
        number(chain, id)
    };
    let newest = newest.ok_or_else(|| RpcError::server("request beyond head block"))?;
    let percentiles: Vec<f64> = params.opt(2)?.unwrap_or_default();
    if percentiles.len() > FEE_HISTORY_PERCENTILES_MAX {
        return Err(RpcError::limit(format!(
            "at most {FEE_HISTORY_PERCENTILES_MAX} percentiles are allowed"
        )));
    }
    if percentiles
        .iter()
        .any(|value| !(0.0..=100.0).contains(value))
        || !percentiles.is_sorted()
    {
        return Err(RpcError::params("percentiles must rise from 0 to 100"));
    }
    if count == 0 {
        return Ok(json!(FeeHistory {
            oldest_block: newest,
            ..FeeHistory::default()
        }));
    }
    let oldest = (newest + 1).saturating_sub(count);
    let blocks: Vec<&Block> = (oldest..=newest)
        .filter_map(|number| chain.block(number))
        .map(AsRef::as_ref)
        .collect();
    let mut base_fees: Vec<u128> = blocks.iter().map(|block| block.base_fee().into()).collect();
    base_fees.push(match chain.block(newest + 1) {
        Some(next) => next.base_fee().into(),
        None => chain.next_base_fee().into(),
    });
    Ok(json!(FeeHistory {
        base_fee_per_blob_gas: vec![1; base_fees.len()],
        base_fee_per_gas: base_fees,
        gas_used_ratio: blocks
            .iter()
            .map(|block| block.header.gas_used as f64 / block.header.gas_limit as f64)
            .collect(),
        blob_gas_used_ratio: vec![0.0; blocks.len()],
        oldest_block: oldest,
        reward: (!percentiles.is_empty()).then(|| blocks
            .iter()
            .map(|block| rewards(block, &percentiles))
            .collect()),
    }))
}
