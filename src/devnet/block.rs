//! Transactions, receipts and blocks as the chain keeps them, and the sealing of a block.

use std::sync::Arc;

use alloy::consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy::consensus::{
    EMPTY_OMMER_ROOT_HASH, Eip658Value, Header, Receipt, ReceiptEnvelope, Sealable, Sealed,
    Transaction as _, TxEnvelope, TxType, constants::EMPTY_WITHDRAWALS,
};
use alloy::eips::eip2718::Encodable2718;
use alloy::eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy::primitives::{Address, B256, Bloom, Bytes, Log, U256};

use super::evm::Hardfork;

/// A transaction and its sender, recovered once.
#[derive(Debug, Clone)]
pub(super) struct Tx {
    /// The signed transaction.
    pub(super) envelope: TxEnvelope,
    /// Who signed it.
    pub(super) sender: Address,
}

impl Tx {
    /// Hash of the signed transaction.
    pub(super) fn hash(&self) -> B256 {
        *self.envelope.tx_hash()
    }

    /// Nonce of the sender.
    pub(super) fn nonce(&self) -> u64 {
        self.envelope.nonce()
    }

    /// Most that the transaction can take from its sender, in wei.
    pub(super) fn cost_max(&self) -> U256 {
        U256::from(self.envelope.gas_limit())
            .saturating_mul(U256::from(self.envelope.max_fee_per_gas()))
            .saturating_add(self.envelope.value())
    }
}

/// A transaction in a block, with what came of it.
#[derive(Debug, Clone)]
pub(super) struct Mined {
    /// The transaction.
    pub(super) tx: Arc<Tx>,
    /// The receipt as it is hashed into the header.
    pub(super) receipt: ReceiptEnvelope,
    /// Gas paid for by this transaction alone.
    pub(super) gas_used: u64,
    /// Wei per gas, base fee included.
    pub(super) effective_gas_price: u128,
    /// The contract created, if it is a creation (also if that failed).
    pub(super) contract_address: Option<Address>,
    /// Number of log entries in the block before this transaction's.
    pub(super) first_log: u64,
    /// What contracts wrote with `console.log`.
    pub(super) console: Vec<String>,
    /// Revert data, or the name of the halt, if it failed.
    pub(super) failure: Option<Failure>,
}

/// How a transaction failed.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// By `REVERT`, with this data.
    Revert(Bytes),
    /// By running out of gas, an invalid opcode and the like.
    Halt(String),
}

/// A sealed block.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The header and its hash.
    pub(super) header: Sealed<Header>,
    /// The transactions in order.
    pub(super) transactions: Vec<Mined>,
}

impl Block {
    /// Block number.
    pub(super) fn number(&self) -> u64 {
        self.header.number
    }

    /// Base fee in wei per gas.
    pub(super) fn base_fee(&self) -> u64 {
        self.header.base_fee_per_gas.unwrap_or_default()
    }
}

/// The receipt of a transaction in its type's envelope.
pub(super) fn receipt(
    tx_type: TxType,
    success: bool,
    cumulative_gas_used: u64,
    logs: Vec<Log>,
) -> ReceiptEnvelope {
    let receipt = Receipt {
        status: Eip658Value::Eip658(success),
        cumulative_gas_used,
        logs,
    }
    .with_bloom();
    match tx_type {
        TxType::Legacy => ReceiptEnvelope::Legacy(receipt),
        TxType::Eip2930 => ReceiptEnvelope::Eip2930(receipt),
        TxType::Eip1559 => ReceiptEnvelope::Eip1559(receipt),
        TxType::Eip4844 => ReceiptEnvelope::Eip4844(receipt),
        TxType::Eip7702 => ReceiptEnvelope::Eip7702(receipt),
    }
}

/// What a block's header is made of, before its transactions have run.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// Hash of the block before.
    pub(super) parent_hash: B256,
    /// Block number.
    pub(super) number: u64,
    /// Seconds since 1970.
    pub(super) timestamp: u64,
    /// Base fee in wei per gas.
    pub(super) base_fee: u64,
    /// Gas limit.
    pub(super) gas_limit: u64,
    /// Who gets the priority fees.
    pub(super) beneficiary: Address,
    /// `PREVRANDAO`.
    pub(super) mix_hash: B256,
    /// Free text of at most 32 bytes.
    pub(super) extra_data: Bytes,
    /// Rules, which decide about the header's later fields.
    pub(super) hardfork: Hardfork,
}

impl Draft {
    /// The header with everything that does not depend on the transactions.
    pub(super) fn header(&self) -> Header {
        Header {
            parent_hash: self.parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: self.beneficiary,
            number: self.number,
            gas_limit: self.gas_limit,
            timestamp: self.timestamp,
            extra_data: self.extra_data.clone(),
            mix_hash: self.mix_hash,
            base_fee_per_gas: Some(self.base_fee),
            withdrawals_root: Some(EMPTY_WITHDRAWALS),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::ZERO),
            requests_hash: match self.hardfork {
                Hardfork::Cancun => None,
                Hardfork::Prague => Some(EMPTY_REQUESTS_HASH),
            },
            ..Header::default()
        }
    }

    /// Closes the block: roots, bloom, gas and hash.
    pub(super) fn seal(&self, transactions: Vec<Mined>, state_root: B256) -> Block {
        let envelopes: Vec<&TxEnvelope> = transactions
            .iter()
            .map(|mined| &mined.tx.envelope)
            .collect();
        let receipts: Vec<&ReceiptEnvelope> =
            transactions.iter().map(|mined| &mined.receipt).collect();
        let mut header = self.header();
        header.state_root = state_root;
        header.transactions_root = calculate_transaction_root(&envelopes);
        header.receipts_root = calculate_receipt_root(&receipts);
        header.logs_bloom = receipts
            .iter()
            .fold(Bloom::ZERO, |bloom, receipt| bloom | *receipt.logs_bloom());
        header.gas_used = transactions
            .last()
            .map_or(0, |mined| mined.receipt.cumulative_gas_used());
        Block {
            header: header.seal_slow(),
            transactions,
        }
    }
}

/// Length of the signed transaction as it travels, in bytes.
pub(super) fn encoded_len(envelope: &TxEnvelope) -> usize {
    envelope.encode_2718_len()
}
