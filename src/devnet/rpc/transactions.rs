//! Sending transactions, and signing for the unlocked accounts.

use std::sync::Arc;

use alloy::consensus::transaction::SignerRecoverable;
use alloy::consensus::{SignableTransaction, TxEnvelope, TypedTransaction};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, Bytes, Signature, TxKind, U64, U256};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::SignerSync;
use serde_json::{Value, json};

use super::error::RpcError;
use super::fees::SUGGESTED_TIP;
use super::params::Params;
use super::{Answer, Service, calls};
use crate::devnet::block::Tx;
use crate::devnet::chain::Chain;
use crate::devnet::command::{Command, Reply};

/// Decodes a signed transaction and recovers who signed it.
pub(super) fn decode(raw: &[u8]) -> Result<Tx, RpcError> {
    let envelope = TxEnvelope::decode_2718_exact(raw).map_err(|error| {
        RpcError::params(format!("failed to decode signed transaction: {error}"))
    })?;
    let sender = envelope
        .recover_signer()
        .map_err(|error| RpcError::server(format!("invalid sender: {error}")))?;
    Ok(Tx { envelope, sender })
}

async fn submit(service: &Service, tx: Tx) -> Answer {
    match service.handle.run(Command::Submit(Arc::new(tx))).await? {
        Reply::Hash(hash) => Ok(json!(hash)),
        other => Err(RpcError::internal(format!("unexpected reply {other:?}"))),
    }
}

pub(super) async fn send_raw(service: &Arc<Service>, params: &Params) -> Answer {
    let raw: Bytes = params.get(0)?;
    // Recovering a signature takes a quarter of a millisecond.
    let tx = service.read(move |_, _| decode(&raw)).await?;
    submit(service, tx).await
}

pub(super) async fn send(service: &Arc<Service>, params: &Params) -> Answer {
    let request: TransactionRequest = params.get(0)?;
    let _turn = service.sending.lock().await;
    let tx = service
        .read(move |service, chain| complete(service, &chain, request))
        .await?;
    submit(service, tx).await
}

/// Fills what a request leaves open, and signs it for its sender.
pub(super) fn complete(
    service: &Service,
    chain: &Chain,
    mut request: TransactionRequest,
) -> Result<Tx, RpcError> {
    let from = match request.from {
        Some(from) => from,
        None => *service
            .accounts
            .first()
            .ok_or_else(|| RpcError::params("from is missing"))?,
    };
    request.from = Some(from);
    request.to = Some(request.to.unwrap_or(TxKind::Create));
    if request.chain_id.is_some_and(|id| id != chain.spec.chain_id) {
        return Err(RpcError::server(format!(
            "this is chain {}",
            chain.spec.chain_id
        )));
    }
    request.chain_id = Some(chain.spec.chain_id);
    if request.nonce.is_none() {
        request.nonce = Some(chain.pool.pending_nonce(from, &chain.state));
    }
    if request.gas.is_none() {
        request.gas = Some(calls::estimate_request(service, chain, &request)?);
    }
    if request.gas_price.is_none() {
        let tip = *request
            .max_priority_fee_per_gas
            .get_or_insert(SUGGESTED_TIP);
        request.max_fee_per_gas.get_or_insert(
            u128::from(chain.next_base_fee())
                .saturating_mul(2)
                .saturating_add(tip),
        );
    }
    let typed = request
        .build_typed_tx()
        .map_err(|_| RpcError::params("the request does not make a transaction"))?;
    let signature = signature(service, chain, from, &typed)?;
    Ok(Tx {
        envelope: TxEnvelope::new_unhashed(typed, signature),
        sender: from,
    })
}

fn signature(
    service: &Service,
    chain: &Chain,
    from: Address,
    typed: &TypedTransaction,
) -> Result<Signature, RpcError> {
    if let Some(signer) = service.signers.get(&from) {
        return signer
            .sign_hash_sync(&typed.signature_hash())
            .map_err(|error| RpcError::internal(error.to_string()));
    }
    if chain.impersonated.contains(&from) {
        // No key exists here. The sender stands in the signature, so that the same request of two
        // senders has two hashes; nothing recovers it.
        return Ok(Signature::new(
            U256::from_be_slice(from.as_slice()),
            U256::from(1),
            false,
        ));
    }
    Err(RpcError::server(format!(
        "unknown account {from}: it is neither unlocked nor impersonated"
    )))
}

/// `eth_sign(address, data)` and `personal_sign(data, address)`: EIP-191.
pub(super) fn sign(service: &Service, method: &str, params: &Params) -> Answer {
    let (address, data) = if method == "eth_sign" { (0, 1) } else { (1, 0) };
    let address: Address = params.get(address)?;
    let data: Bytes = params.get(data)?;
    let signer = service
        .signers
        .get(&address)
        .ok_or_else(|| RpcError::server(format!("unknown account {address}")))?;
    let signature = signer
        .sign_message_sync(&data)
        .map_err(|error| RpcError::internal(error.to_string()))?;
    Ok(json!(Bytes::from(signature.as_bytes())))
}

/// How many transactions could be mined next, and how many wait for others.
pub(super) fn pool_status(chain: &Chain) -> Value {
    let pending = chain
        .pool
        .iter()
        .filter(|tx| tx.nonce() < chain.pool.pending_nonce(tx.sender, &chain.state))
        .count();
    json!({ "pending": U64::from(pending), "queued": U64::from(chain.pool.len() - pending) })
}
