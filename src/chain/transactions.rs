//! Carries out the effects that sign, send and look for transactions.

use std::{task, time::Duration};

use alloy::{
    consensus::TxEip1559,
    primitives::{B256, TxKind, U256, keccak256},
};
use infernet_contracts::calldata;
use infernet_state::{
    Effect, Issued,
    effect::Action,
    event::{Failure, Outcome, Rejection, Success, TransactionState},
    types::{Hash, Nonce, PayloadAt},
};

use super::{
    connect::ChainConnection,
    convert,
    rpc::At,
    rpc_error::{BroadcastVerdict, RpcFailure},
    signer::NodeKey,
};
use crate::{
    driver::{BoxFuture, payload},
    executor::{BoxError, Ended, PayloadError, Payloads},
};

/// Looks before a used nonce is said to be another transaction's: behind a load balancer the
/// node that counts the nonce can be ahead of the one that has the receipt.
const RECEIPT_LOOKS: u32 = 4;

/// Wait between those looks.
const RECEIPT_LOOK_WAIT: Duration = Duration::from_millis(250);

/// The service of `Sign`, `Broadcast` and `LookUpTransaction`.
#[derive(Clone)]
pub struct Transactions<P> {
    connection: ChainConnection,
    key: NodeKey,
    payloads: P,
}

impl<P: Payloads> Transactions<P> {
    /// Signs with `key` and sends through `connection`; `payloads` has the bytes.
    #[must_use]
    pub fn new(connection: ChainConnection, key: NodeKey, payloads: P) -> Self {
        Self {
            connection,
            key,
            payloads,
        }
    }

    async fn carry_out(self, effect: Effect) -> Result<Ended, BoxError> {
        match effect {
            Effect::Sign {
                chain_id,
                nonce,
                action,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
            } => {
                let fields = TxEip1559 {
                    chain_id,
                    nonce: nonce.0,
                    gas_limit,
                    max_fee_per_gas,
                    max_priority_fee_per_gas,
                    value: U256::ZERO,
                    ..TxEip1559::default()
                };
                self.sign(fields, action).await
            }
            Effect::Broadcast { tx, raw, .. } => Ok(Ended::plain(self.broadcast(tx, raw).await)),
            Effect::LookUpTransaction { nonce, tx } => {
                Ok(Ended::plain(match self.look_up(nonce, tx).await {
                    Ok(state) => Outcome::Succeeded(Success::LookedUp(state)),
                    Err(failure) => Outcome::Failed(failure.unavailable()),
                }))
            }
            Effect::ReadInputs { .. }
            | Effect::ReadPayer { .. }
            | Effect::ReadResponses { .. }
            | Effect::Simulate { .. }
            | Effect::RunContainer(_)
            | Effect::StopContainer { .. } => {
                Err("E-CHAIN-022: the chain's transactions do not carry out this effect".into())
            }
        }
    }

    /// Signs off the runtime's threads: a delivery's bytes come from the disk.
    async fn sign(self, fields: TxEip1559, action: Action) -> Result<Ended, BoxError> {
        if fields.chain_id != self.connection.chain_id {
            return Ok(Ended::plain(Outcome::Failed(Failure::Rejected(
                Rejection::Other {
                    reason: format!(
                        "E-CHAIN-023: a transaction for chain {} is not signed on chain {}",
                        fields.chain_id, self.connection.chain_id
                    ),
                },
            ))));
        }
        tokio::task::spawn_blocking(move || self.sign_now(fields, &action)).await?
    }

    fn sign_now(&self, mut fields: TxEip1559, action: &Action) -> Result<Ended, BoxError> {
        let sender = convert::to_address(self.key.address());
        let coordinator = self.connection.contracts.coordinator;
        let fetch = |at| self.payloads.fetch(at);
        let call = match calldata::build(action, sender, coordinator, fetch) {
            Ok(call) => call,
            Err(error) => return Ok(missing(&error)),
        };
        fields.to = TxKind::Call(call.to);
        fields.input = call.data;
        let signed = self.key.sign(fields)?;
        let raw = payload(signed.raw);
        Ok(Ended {
            outcome: Outcome::Succeeded(Success::Signed {
                tx: signed.hash,
                raw: raw.reference,
            }),
            payloads: vec![raw],
        })
    }

    async fn broadcast(&self, tx: Hash, raw: PayloadAt) -> Outcome {
        let payloads = self.payloads.clone();
        let fetched = tokio::task::spawn_blocking(move || payloads.fetch(raw)).await;
        let raw = match fetched {
            Ok(Ok(raw)) => raw,
            Ok(Err(error)) => return missing(&error).outcome,
            Err(error) => {
                return Outcome::Unknown {
                    reason: error.to_string(),
                };
            }
        };
        let hash = convert::to_b256(tx);
        if keccak256(&raw) != hash {
            return Outcome::Failed(Failure::Missing {
                reason: format!("E-CHAIN-024: the signed bytes in the log are not those of {tx}"),
            });
        }
        match self.connection.rpc.send_raw(&raw).await {
            Ok(_) => Outcome::Succeeded(Success::Broadcast),
            Err(failure) => self.judge_refusal(hash, &failure).await,
        }
    }

    async fn judge_refusal(&self, hash: B256, failure: &RpcFailure) -> Outcome {
        match failure.as_broadcast() {
            BroadcastVerdict::Known => Outcome::Succeeded(Success::Broadcast),
            BroadcastVerdict::Unknown => Outcome::Unknown {
                reason: failure.to_string(),
            },
            // Sent again after it was included, a transaction's own nonce is too low.
            BroadcastVerdict::Rejected(Rejection::NonceTooLow) => {
                match self.connection.rpc.receipt(hash).await {
                    Ok(Some(_)) => Outcome::Succeeded(Success::Broadcast),
                    Ok(None) => Outcome::Failed(Failure::Rejected(Rejection::NonceTooLow)),
                    Err(failure) => Outcome::Unknown {
                        reason: failure.to_string(),
                    },
                }
            }
            BroadcastVerdict::Rejected(rejection) => Outcome::Failed(Failure::Rejected(rejection)),
        }
    }

    async fn look_up(&self, nonce: Nonce, tx: Hash) -> Result<TransactionState, RpcFailure> {
        let rpc = &self.connection.rpc;
        let hash = convert::to_b256(tx);
        let account = convert::to_address(self.key.address());
        for _ in 0..RECEIPT_LOOKS {
            // The nonce first: a transaction included between the two reads then shows up in
            // the second.
            let used = rpc.nonce(account, At::Latest).await? > nonce.0;
            match rpc.transaction(hash).await? {
                Some(found) if found.block_number.is_some() => {
                    return Ok(TransactionState::Included);
                }
                Some(_) if !used => return Ok(TransactionState::Pending),
                None if !used => return Ok(TransactionState::Absent),
                Some(_) | None => tokio::time::sleep(RECEIPT_LOOK_WAIT).await,
            }
        }
        Ok(TransactionState::NonceTaken)
    }
}

fn missing(error: &PayloadError) -> Ended {
    Ended::plain(Outcome::Failed(Failure::Missing {
        reason: error.to_string(),
    }))
}

impl<P: Payloads> tower::Service<Issued> for Transactions<P> {
    type Response = Ended;
    type Error = BoxError;
    type Future = BoxFuture<Result<Ended, BoxError>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Self::Error>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, issued: Issued) -> Self::Future {
        Box::pin(self.clone().carry_out(issued.effect))
    }
}
