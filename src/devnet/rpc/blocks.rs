//! Blocks, transactions and receipts as clients see them.

use std::sync::Arc;

use alloy::consensus::transaction::Recovered;
use alloy::consensus::{BlockBody, Transaction as _};
use alloy::eips::eip2718::Encodable2718;
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{B256, Bytes, U64, U256};
use alloy::rlp::Encodable;
use alloy::rpc::types::{self as rpc, BlockTransactions, TransactionReceipt};
use serde_json::{Value, json};

use super::calls;
use super::error::RpcError;
use super::params::Params;
use super::{Answer, Service};
use crate::devnet::block::{Block, Mined, Tx};
use crate::devnet::chain::Chain;

/// Number of the block that `id` names, if it is in the chain; `None` for the pending block too.
pub(super) fn number(chain: &Chain, id: BlockId) -> Option<u64> {
    let head = chain.head().number();
    match id {
        BlockId::Hash(hash) => chain
            .block_by_hash(&hash.block_hash)
            .map(|block| block.number()),
        BlockId::Number(tag) => match tag {
            BlockNumberOrTag::Latest | BlockNumberOrTag::Safe | BlockNumberOrTag::Finalized => {
                Some(head)
            }
            BlockNumberOrTag::Earliest => Some(0),
            BlockNumberOrTag::Number(number) => (number <= head).then_some(number),
            BlockNumberOrTag::Pending => None,
        },
    }
}

/// The block that `id` names; the pending one is made on the spot.
fn find(service: &Service, chain: &Chain, id: BlockId) -> Option<Arc<Block>> {
    if id.is_pending() {
        return Some(calls::pending(service, chain).block.clone());
    }
    chain.block(number(chain, id)?).cloned()
}

/// A block id in the first parameter: a hash of 32 bytes, or a number or tag.
fn named(params: &Params) -> Result<BlockId, RpcError> {
    match params.opt::<B256>(0) {
        Ok(Some(hash)) => Ok(hash.into()),
        _ => params.get(0),
    }
}

fn to_rpc_transaction(mined: &Tx, place: Option<(&Block, usize)>) -> rpc::Transaction {
    let inner = Recovered::new_unchecked(mined.envelope.clone(), mined.sender);
    match place {
        None => rpc::Transaction {
            effective_gas_price: Some(inner.max_fee_per_gas()),
            inner,
            block_hash: None,
            block_number: None,
            transaction_index: None,
            block_timestamp: None,
        },
        Some((block, index)) => rpc::Transaction {
            effective_gas_price: Some(inner.effective_gas_price(Some(block.base_fee()))),
            inner,
            block_hash: Some(block.header.hash()),
            block_number: Some(block.number()),
            transaction_index: Some(index as u64),
            block_timestamp: Some(block.header.timestamp),
        },
    }
}

/// Length of the block in its RLP encoding, in bytes.
fn size(block: &Block) -> usize {
    alloy::consensus::Block {
        header: block.header.inner().clone(),
        body: BlockBody {
            transactions: block
                .transactions
                .iter()
                .map(|mined| mined.tx.envelope.clone())
                .collect::<Vec<_>>(),
            ommers: Vec::<alloy::consensus::Header>::new(),
            withdrawals: Some(Vec::new().into()),
        },
    }
    .length()
}

fn to_rpc_block(block: &Block, full: bool) -> rpc::Block {
    let transactions = if full {
        BlockTransactions::Full(
            block
                .transactions
                .iter()
                .enumerate()
                .map(|(index, mined)| to_rpc_transaction(&mined.tx, Some((block, index))))
                .collect(),
        )
    } else {
        BlockTransactions::Hashes(
            block
                .transactions
                .iter()
                .map(|mined| mined.tx.hash())
                .collect(),
        )
    };
    rpc::Block {
        header: rpc::Header {
            hash: block.header.hash(),
            inner: block.header.inner().clone(),
            total_difficulty: Some(U256::ZERO),
            size: Some(U256::from(size(block))),
        },
        uncles: Vec::new(),
        transactions,
        withdrawals: Some(Vec::new().into()),
    }
}

pub(super) fn block(service: &Service, chain: &Chain, params: &Params) -> Answer {
    let id = named(params)?;
    let full = params.opt(1)?.unwrap_or(false);
    let Some(block) = find(service, chain, id) else {
        return Ok(Value::Null);
    };
    let mut answer = json!(to_rpc_block(&block, full));
    if id.is_pending() {
        // Nobody has mined it, so it has no hash yet.
        answer["hash"] = Value::Null;
        answer["nonce"] = Value::Null;
    }
    Ok(answer)
}

pub(super) fn transaction_count(service: &Service, chain: &Chain, params: &Params) -> Answer {
    let block = find(service, chain, named(params)?);
    Ok(json!(
        block.map(|block| U64::from(block.transactions.len()))
    ))
}

fn to_rpc_receipt(block: &Block, index: usize, mined: &Mined) -> TransactionReceipt {
    TransactionReceipt {
        inner: mined
            .receipt
            .clone()
            .map_logs(to_rpc_log(block, index, mined)),
        transaction_hash: mined.tx.hash(),
        transaction_index: Some(index as u64),
        block_hash: Some(block.header.hash()),
        block_number: Some(block.number()),
        gas_used: mined.gas_used,
        effective_gas_price: mined.effective_gas_price,
        blob_gas_used: None,
        blob_gas_price: None,
        from: mined.tx.sender,
        to: mined.tx.envelope.to(),
        contract_address: mined.contract_address,
    }
}

/// Turns the log entries of a transaction, taken in order, into those of the RPC.
pub(super) fn to_rpc_log<'a>(
    block: &'a Block,
    index: usize,
    mined: &'a Mined,
) -> impl FnMut(alloy::primitives::Log) -> rpc::Log + 'a {
    let mut log_index = mined.first_log;
    move |inner| {
        let log = rpc::Log {
            inner,
            block_hash: Some(block.header.hash()),
            block_number: Some(block.number()),
            block_timestamp: Some(block.header.timestamp),
            transaction_hash: Some(mined.tx.hash()),
            transaction_index: Some(index as u64),
            log_index: Some(log_index),
            removed: false,
        };
        log_index += 1;
        log
    }
}

pub(super) fn receipts(chain: &Chain, params: &Params) -> Answer {
    let block = number(chain, named(params)?).and_then(|number| chain.block(number));
    Ok(json!(block.map(|block| {
        block
            .transactions
            .iter()
            .enumerate()
            .map(|(index, mined)| to_rpc_receipt(block, index, mined))
            .collect::<Vec<_>>()
    })))
}

pub(super) fn transaction(chain: &Chain, params: &Params) -> Answer {
    let hash: B256 = params.get(0)?;
    let mined = chain.mined(&hash).map(|(block, index)| {
        to_rpc_transaction(&block.transactions[index].tx, Some((block, index)))
    });
    Ok(json!(mined.or_else(|| {
        chain.pool.get(&hash).map(|tx| to_rpc_transaction(tx, None))
    })))
}

pub(super) fn raw_transaction(chain: &Chain, params: &Params) -> Answer {
    let hash: B256 = params.get(0)?;
    let tx = match chain.mined(&hash) {
        Some((block, index)) => Some(&block.transactions[index].tx),
        None => chain.pool.get(&hash),
    };
    Ok(json!(tx.map(|tx| Bytes::from(tx.envelope.encoded_2718()))))
}

pub(super) fn receipt_of(chain: &Chain, params: &Params) -> Answer {
    let hash: B256 = params.get(0)?;
    Ok(json!(chain.mined(&hash).map(|(block, index)| {
        to_rpc_receipt(block, index, &block.transactions[index])
    })))
}

pub(super) fn transaction_at(chain: &Chain, params: &Params) -> Answer {
    let block = number(chain, named(params)?).and_then(|number| chain.block(number));
    let index = params.index(1)?;
    Ok(json!(block.and_then(|block| {
        let mined = block.transactions.get(index)?;
        Some(to_rpc_transaction(&mined.tx, Some((block, index))))
    })))
}
