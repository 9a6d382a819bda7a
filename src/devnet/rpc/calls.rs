//! Reading accounts, `eth_call` and `eth_estimateGas`.

use std::sync::{Arc, Mutex, PoisonError};

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, TxKind, U64, U256};
use alloy::rpc::types::state::{AccountOverride, StateOverride};
use alloy::rpc::types::{BlockOverrides, TransactionRequest};
use revm::context::either::Either;
use revm::context::result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction};
use revm::context::{BlockEnv, TxEnv};
use serde_json::{Value, json};

use super::blocks::number;
use super::error::RpcError;
use super::params::Params;
use super::{Answer, Service};
use crate::devnet::block::Block;
use crate::devnet::chain::Chain;
use crate::devnet::evm;
use crate::devnet::limits::{CALL_GAS_MAX, CODE_BYTES_MAX, STATE_HISTORY_BLOCKS};
use crate::devnet::state::{State, StateView};
use crate::devnet::writer::now;

/// The share by which an estimate may exceed the least gas that suffices, as in public clients:
/// each halving of it costs another execution.
const ESTIMATE_TOLERANCE: f64 = 0.015;

/// Gas of a plain transfer.
const TRANSFER_GAS: u64 = 21_000;

/// The block that would be mined now, and the state after it.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) block: Arc<Block>,
    state: State,
}

/// The last pending block made; it holds until the chain takes a step or the clock the next second.
#[derive(Default)]
pub(super) struct PendingCache(Mutex<Option<(PendingKey, Arc<Pending>)>>);

/// Version of the chain and timestamp of the block.
type PendingKey = (u64, u64);

/// The pending block, made if need be.
pub(super) fn pending(service: &Service, chain: &Chain) -> Arc<Pending> {
    let (timestamp, _) = chain.next_time(now());
    let key = (chain.version, timestamp);
    let mut cache = service
        .pending
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some((held, pending)) = &*cache
        && *held == key
    {
        return pending.clone();
    }
    let candidates = chain.pool.candidates(&chain.state, chain.next_base_fee());
    let (block, state, _) = chain.assemble(timestamp, candidates);
    let pending = Arc::new(Pending {
        block: Arc::new(block),
        state,
    });
    *cache = Some((key, pending.clone()));
    pending
}

/// The state and the block environment that a call at `id` sees.
fn locate(service: &Service, chain: &Chain, id: BlockId) -> Result<(State, BlockEnv), RpcError> {
    if id.is_pending() {
        let pending = pending(service, chain);
        let env = evm::block_env(pending.block.header.inner(), chain.spec.hardfork);
        return Ok((pending.state.clone(), env));
    }
    let number = number(chain, id).ok_or_else(|| RpcError::server("header not found"))?;
    let state = chain.state_at(number).ok_or_else(|| {
        RpcError::server(format!(
            "missing trie node: the state of block {number} is not available; this chain keeps \
             that of the newest {STATE_HISTORY_BLOCKS} blocks"
        ))
    })?;
    let block = chain
        .block(number)
        .ok_or_else(|| RpcError::server("header not found"))?;
    Ok((
        state.clone(),
        evm::block_env(block.header.inner(), chain.spec.hardfork),
    ))
}

/// Balance, code, storage or nonce of an account.
pub(super) fn account(service: &Service, chain: &Chain, method: &str, params: &Params) -> Answer {
    let address: Address = params.get(0)?;
    if method == "eth_getStorageAt" {
        let (state, _) = locate(service, chain, params.block(2)?)?;
        return Ok(json!(B256::from(state.slot(&address, &params.slot(1)?))));
    }
    let id = params.block(1)?;
    if method == "eth_getTransactionCount" && id.is_pending() {
        // Also what waits for more gas or a lower base fee has taken its nonce.
        return Ok(json!(U64::from(
            chain.pool.pending_nonce(address, &chain.state)
        )));
    }
    let (state, _) = locate(service, chain, id)?;
    Ok(match method {
        "eth_getBalance" => json!(state.balance(&address)),
        "eth_getCode" => json!(state.code(&address)),
        _ => json!(U64::from(state.nonce(&address))),
    })
}

/// A call prepared for execution.
struct Prepared<'a> {
    chain: &'a Chain,
    state: State,
    env: BlockEnv,
    tx: TxEnv,
}

impl<'a> Prepared<'a> {
    /// From the parameters `(request, block, state overrides, block overrides)`.
    fn new(
        service: &Service,
        chain: &'a Chain,
        params: &Params,
        default_block: BlockId,
    ) -> Result<Self, RpcError> {
        let request: TransactionRequest = params.get(0)?;
        let id = params.opt(1)?.unwrap_or(default_block);
        let (mut state, mut env) = locate(service, chain, id)?;
        for (address, account) in params.opt::<StateOverride>(2)?.unwrap_or_default() {
            override_account(&mut state, address, account)?;
        }
        if let Some(block) = params.opt::<BlockOverrides>(3)? {
            override_block(&mut env, block)?;
        }
        if let Some(id) = request.chain_id.filter(|id| *id != chain.spec.chain_id) {
            let own = chain.spec.chain_id;
            return Err(RpcError::server(format!(
                "the request is for chain {id}; this is {own}"
            )));
        }
        let mut tx = to_tx_env(
            request,
            &state,
            &env,
            CALL_GAS_MAX.max(chain.spec.gas_limit),
        )?;
        tx.chain_id = Some(chain.spec.chain_id);
        Ok(Self {
            chain,
            state,
            env,
            tx,
        })
    }

    fn run(&self, gas_limit: u64) -> Result<ExecutionResult, RpcError> {
        let view = StateView {
            state: &self.state,
            blocks: &self.chain.blocks,
        };
        let rules = evm::call_rules(self.chain.spec.chain_id, self.chain.spec.hardfork);
        let tx = TxEnv {
            gas_limit,
            ..self.tx.clone()
        };
        evm::run_call(view, &rules, &self.env, tx).map_err(|error| match error {
            EVMError::Transaction(InvalidTransaction::LackOfFundForMaxFee { fee, balance }) => {
                RpcError::server(format!(
                    "insufficient funds for gas * price + value: address {} have {balance} want \
                     {fee}",
                    self.tx.caller
                ))
            }
            EVMError::Transaction(
                InvalidTransaction::CallGasCostMoreThanGasLimit {
                    initial_gas: want,
                    gas_limit,
                }
                | InvalidTransaction::GasFloorMoreThanGasLimit {
                    gas_floor: want,
                    gas_limit,
                },
            ) => RpcError::server(format!(
                "intrinsic gas too low: have {gas_limit}, want {want}"
            )),
            other => RpcError::server(other.to_string()),
        })
    }
}

fn override_account(
    state: &mut State,
    address: Address,
    account: AccountOverride,
) -> Result<(), RpcError> {
    let AccountOverride {
        balance,
        nonce,
        code,
        state: storage,
        state_diff,
        move_precompile_to,
    } = account;
    if move_precompile_to.is_some() {
        return Err(RpcError::params("movePrecompileToAddress is not supported"));
    }
    if storage.is_some() && state_diff.is_some() {
        return Err(RpcError::params(format!(
            "account {address} has both state and stateDiff"
        )));
    }
    if let Some(balance) = balance {
        state.set_balance(address, balance);
    }
    if let Some(nonce) = nonce {
        state.set_nonce(address, nonce);
    }
    if let Some(code) = code {
        if code.len() > CODE_BYTES_MAX {
            return Err(RpcError::params(format!(
                "code exceeds {CODE_BYTES_MAX} bytes"
            )));
        }
        state.set_code(address, code);
    }
    if storage.is_some() {
        state.clear_storage(address);
    }
    for (slot, value) in storage.or(state_diff).into_iter().flatten() {
        state.set_slot(address, slot.into(), value.into());
    }
    Ok(())
}

fn override_block(env: &mut BlockEnv, block: BlockOverrides) -> Result<(), RpcError> {
    let BlockOverrides {
        number,
        difficulty,
        time,
        gas_limit,
        coinbase,
        random,
        base_fee,
        blob_base_fee,
        beacon_root,
        block_hash,
    } = block;
    if blob_base_fee.is_some() || beacon_root.is_some() || block_hash.is_some() {
        return Err(RpcError::params(
            "blobBaseFee, beaconRoot and blockHash cannot be overridden here",
        ));
    }
    env.number = number.unwrap_or(env.number);
    env.difficulty = difficulty.unwrap_or(env.difficulty);
    env.timestamp = time.map_or(env.timestamp, U256::from);
    env.gas_limit = gas_limit.unwrap_or(env.gas_limit);
    env.beneficiary = coinbase.unwrap_or(env.beneficiary);
    env.prevrandao = random.or(env.prevrandao);
    if let Some(fee) = base_fee {
        env.basefee = u64::try_from(fee).map_err(|_| RpcError::params("baseFee is too large"))?;
    }
    Ok(())
}

fn to_tx_env(
    request: TransactionRequest,
    state: &State,
    env: &BlockEnv,
    gas_cap: u64,
) -> Result<TxEnv, RpcError> {
    let caller = request.from.unwrap_or_default();
    let tipped = request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some();
    if tipped && request.gas_price.is_some() {
        return Err(RpcError::params(
            "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified",
        ));
    }
    let tip = request.max_priority_fee_per_gas;
    let gas_price = match (request.gas_price, request.max_fee_per_gas) {
        (Some(price), _) | (None, Some(price)) => price,
        (None, None) => tip.map_or(0, |tip| tip.saturating_add(u128::from(env.basefee) * 2)),
    };
    let data = request.input.try_into_unique_input().map_err(|_| {
        RpcError::params("both \"data\" and \"input\" are set and not equal; use \"input\"")
    })?;
    let value = request.value.unwrap_or_default();
    let ceiling = env.gas_limit.min(gas_cap);
    let gas_limit = match request.gas {
        Some(gas) => gas.min(ceiling),
        // Who names a price and no limit gets as much gas as the balance pays for.
        None if gas_price > 0 => {
            let funds = state.balance(&caller).saturating_sub(value);
            u64::try_from(funds / U256::from(gas_price))
                .unwrap_or(ceiling)
                .min(ceiling)
        }
        None => ceiling,
    };
    let authorizations = request.authorization_list.unwrap_or_default();
    let access_list = request.access_list.unwrap_or_default();
    let tx_type = if !authorizations.is_empty() {
        4
    } else if tipped {
        2
    } else if !access_list.is_empty() {
        1
    } else {
        0
    };
    Ok(TxEnv {
        tx_type,
        caller,
        gas_limit,
        gas_price,
        kind: request.to.unwrap_or(TxKind::Create),
        value,
        data: data.unwrap_or_default(),
        nonce: request.nonce.unwrap_or_else(|| state.nonce(&caller)),
        chain_id: None,
        access_list,
        gas_priority_fee: (tx_type == 2 || tx_type == 4).then(|| tip.unwrap_or_default()),
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: authorizations.into_iter().map(Either::Left).collect(),
    })
}

/// The error of an execution that did not succeed.
fn failed(result: ExecutionResult) -> RpcError {
    match result {
        ExecutionResult::Revert { output, .. } => RpcError::revert(&output),
        ExecutionResult::Halt { reason, .. } => RpcError::server(halt(&reason)),
        ExecutionResult::Success { .. } => RpcError::internal("a success is no failure"),
    }
}

fn halt(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(_) => "out of gas".into(),
        other => other.to_string(),
    }
}

pub(super) fn call(service: &Service, chain: &Chain, params: &Params) -> Answer {
    let prepared = Prepared::new(service, chain, params, BlockId::latest())?;
    match prepared.run(prepared.tx.gas_limit)? {
        ExecutionResult::Success { output, .. } => Ok(json!(output.into_data())),
        other => Err(failed(other)),
    }
}

pub(super) fn estimate(service: &Service, chain: &Chain, params: &Params) -> Answer {
    let prepared = Prepared::new(service, chain, params, BlockId::pending())?;
    least_gas(&prepared).map(|gas| json!(U64::from(gas)))
}

/// The gas that an unlocked account's transaction needs, on the pending state.
pub(super) fn estimate_request(
    service: &Service,
    chain: &Chain,
    request: &TransactionRequest,
) -> Result<u64, RpcError> {
    let params = Params::new(Some(Value::Array(vec![json!(request)])))?;
    least_gas(&Prepared::new(service, chain, &params, BlockId::pending())?)
}

fn least_gas(prepared: &Prepared<'_>) -> Result<u64, RpcError> {
    let ceiling = prepared.tx.gas_limit;
    let plain = prepared.tx.data.is_empty()
        && matches!(prepared.tx.kind, TxKind::Call(to)
            if prepared.state.code(&to).is_empty() && prepared.tx.tx_type != 4);
    if plain
        && prepared.tx.access_list.is_empty()
        && ceiling >= TRANSFER_GAS
        && prepared
            .run(TRANSFER_GAS)
            .is_ok_and(|result| result.is_success())
    {
        return Ok(TRANSFER_GAS);
    }
    let first = prepared.run(ceiling)?;
    if !first.is_success() {
        return Err(match &first {
            ExecutionResult::Halt {
                reason: HaltReason::OutOfGas(_),
                ..
            } => RpcError::server(format!("gas required exceeds allowance ({ceiling})")),
            _ => failed(first),
        });
    }
    let spent = first.gas().total_gas_spent();
    let (mut low, mut high) = (first.tx_gas_used().saturating_sub(1), ceiling);
    // A call inside needs a 64th more than it uses (EIP-150): often this is already enough.
    let likely = spent.saturating_add(2_300).saturating_mul(64) / 63;
    let mut probe = likely.clamp(low + 1, high);
    while low + 1 < high && (high - low) as f64 / high as f64 > ESTIMATE_TOLERANCE {
        match prepared.run(probe) {
            Ok(result) if result.is_success() => high = probe,
            _ => low = probe,
        }
        // The answer is usually near the low end.
        probe = (low + (high - low) / 2)
            .min(low.saturating_mul(2))
            .max(low + 1);
    }
    Ok(high)
}
