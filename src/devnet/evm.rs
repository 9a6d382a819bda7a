//! The EVM: environments, one transaction, one call.

use std::convert::Infallible;

use alloy::consensus::{Header, Transaction as _, TxEnvelope};
use revm::context::either::Either;
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction, ResultAndState};
use revm::context::{BlockEnv, CfgEnv, Context, TxEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::database_interface::WrapDatabaseRef;
use revm::handler::validation::validate_initial_tx_gas;
use revm::primitives::hardfork::SpecId;
use revm::{ExecuteEvm, InspectEvm, MainBuilder, MainContext};

use super::block::Tx;
use super::console::Collector;
use super::state::StateView;

/// The rules that the chain runs under, from its first block to its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hardfork {
    /// Ethereum since March 2024.
    Cancun,
    /// Ethereum since May 2025: set-code transactions (EIP-7702), dearer calldata (EIP-7623). The
    /// system contracts of EIP-2935 and later are not deployed.
    #[default]
    Prague,
}

impl Hardfork {
    /// The EVM's name for it.
    pub(super) fn spec(self) -> SpecId {
        match self {
            Self::Cancun => SpecId::CANCUN,
            Self::Prague => SpecId::PRAGUE,
        }
    }
}

/// Result of one execution: what happened, and the accounts it changed.
pub(super) type Execution = Result<ResultAndState, EVMError<Infallible>>;

/// Rules for a transaction that is to be mined: nothing is relaxed, limits are those of mainnet.
pub(super) fn mining_rules(chain_id: u64, hardfork: Hardfork) -> CfgEnv {
    CfgEnv::new_with_spec(hardfork.spec()).with_chain_id(chain_id)
}

/// Rules for a call that is not mined: any sender, any nonce, fees only if it names some.
pub(super) fn call_rules(chain_id: u64, hardfork: Hardfork) -> CfgEnv {
    let mut rules = mining_rules(chain_id, hardfork);
    rules.disable_nonce_check = true;
    rules.disable_eip3607 = true;
    rules.disable_block_gas_limit = true;
    rules.disable_base_fee = true;
    rules
}

/// What contracts see of the block with this header.
pub(super) fn block_env(header: &Header, hardfork: Hardfork) -> BlockEnv {
    BlockEnv {
        number: revm::primitives::U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: revm::primitives::U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        difficulty: header.difficulty,
        prevrandao: Some(header.mix_hash),
        blob_excess_gas_and_price: Some(BlobExcessGasAndPrice::new_with_spec(0, hardfork.spec())),
        slot_num: 0,
    }
}

/// A signed transaction as the EVM takes it.
pub(super) fn tx_env(tx: &Tx) -> TxEnv {
    let inner = &tx.envelope;
    TxEnv {
        tx_type: inner.tx_type() as u8,
        caller: tx.sender,
        gas_limit: inner.gas_limit(),
        gas_price: inner.max_fee_per_gas(),
        kind: inner.kind(),
        value: inner.value(),
        data: inner.input().clone(),
        nonce: inner.nonce(),
        chain_id: inner.chain_id(),
        access_list: inner.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: inner.max_priority_fee_per_gas(),
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: match inner {
            TxEnvelope::Eip7702(signed) => signed
                .tx()
                .authorization_list
                .iter()
                .cloned()
                .map(Either::Left)
                .collect(),
            TxEnvelope::Legacy(_)
            | TxEnvelope::Eip2930(_)
            | TxEnvelope::Eip1559(_)
            | TxEnvelope::Eip4844(_) => Vec::new(),
        },
    }
}

/// Checks that the gas limit pays for the transaction itself.
pub(super) fn check_intrinsic_gas(tx: &Tx, hardfork: Hardfork) -> Result<(), InvalidTransaction> {
    validate_initial_tx_gas(tx_env(tx), hardfork.spec(), false, false, u64::MAX, None).map(drop)
}

/// Runs a transaction that is being mined, and collects what it writes to the console.
pub(super) fn run_mined(
    view: StateView<'_>,
    rules: &CfgEnv,
    block: &BlockEnv,
    tx: TxEnv,
    console: &mut Collector,
) -> Execution {
    Context::mainnet()
        .with_db(WrapDatabaseRef(view))
        .with_cfg(rules.clone())
        .with_block(block.clone())
        .build_mainnet_with_inspector(console)
        .inspect_tx(tx)
}

/// Runs a call that leaves no trace.
pub(super) fn run_call(
    view: StateView<'_>,
    rules: &CfgEnv,
    block: &BlockEnv,
    tx: TxEnv,
) -> Result<ExecutionResult, EVMError<Infallible>> {
    Context::mainnet()
        .with_db(WrapDatabaseRef(view))
        .with_cfg(rules.clone())
        .with_block(block.clone())
        .build_mainnet()
        .transact(tx)
        .map(|outcome| outcome.result)
}
