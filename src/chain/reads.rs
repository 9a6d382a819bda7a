//! Carries out the effects that only read the chain.

use std::task;

use alloy::{
    primitives::{self, U256},
    rpc::types::TransactionRequest,
    sol_types::SolCall as _,
};
use infernet_contracts::calldata;
use infernet_state::{
    Effect, Issued,
    effect::Action,
    event::{Failure, Outcome, Rejection, Success},
    types::{Address, BlockTime, Interval, SubscriptionId},
};

use super::{
    abi::{Consumer, Coordinator, Erc20, Wallet, WalletFactory},
    connect::ChainConnection,
    convert,
    rpc::At,
    rpc_error::RpcFailure,
};
use crate::{
    driver::{BoxFuture, payload},
    executor::{BoxError, Ended, Payloads},
};

/// Blocks over which the priority fee is looked at where the RPC proposes none.
const FEE_HISTORY_BLOCKS: u64 = 10;

/// The percentile of their fees: enough to be taken, below what the hasty pay.
const FEE_HISTORY_PERCENTILE: u8 = 40;

/// Offered where the RPC says nothing about fees: 1 gwei, what wallets offer by default.
const PRIORITY_FEE_DEFAULT: u128 = 1_000_000_000;

/// The longest input that is taken from a consumer: the JSON of a container call doubles it.
const INPUT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Who is to pay, as the contracts name it.
struct Payer {
    /// 0 where the chain does not know it yet.
    subscription: u32,
    wallet: primitives::Address,
    spender: primitives::Address,
    token: primitives::Address,
}

/// The service of `ReadInputs`, `ReadPayer`, `ReadResponses` and `Simulate`.
#[derive(Clone)]
pub struct ChainReads<P> {
    connection: ChainConnection,
    payloads: P,
}

impl<P: Payloads> ChainReads<P> {
    /// Reads through `connection`; `payloads` has the bytes that simulated deliveries carry.
    #[must_use]
    pub fn new(connection: ChainConnection, payloads: P) -> Self {
        Self {
            connection,
            payloads,
        }
    }

    async fn carry_out(self, effect: Effect) -> Result<Ended, BoxError> {
        let ended = match effect {
            Effect::ReadInputs {
                consumer,
                subscription,
                interval,
                timestamp,
                caller,
            } => {
                let call = Consumer::getContainerInputsCall {
                    subscriptionId: subscription.0,
                    interval: interval.0,
                    timestamp: timestamp.as_contract_time(),
                    caller: convert::to_address(caller),
                };
                return Ok(self.read_inputs(consumer, caller, &call).await);
            }
            Effect::ReadPayer {
                subscription,
                wallet,
                spender,
                token,
            } => {
                let payer = Payer {
                    subscription: subscription.0,
                    wallet: convert::to_address(wallet),
                    spender: convert::to_address(spender),
                    token: convert::to_address(token),
                };
                self.read_payer(payer).await
            }
            Effect::ReadResponses {
                subscription,
                interval,
                node,
            } => self.read_responses(subscription, interval, node).await,
            Effect::Simulate { from, action, at } => {
                return Ok(Ended::plain(self.simulate(from, &action, at).await));
            }
            Effect::RunContainer(_)
            | Effect::StopContainer { .. }
            | Effect::Sign { .. }
            | Effect::Broadcast { .. }
            | Effect::LookUpTransaction { .. } => {
                return Err("E-CHAIN-020: the chain's reads do not carry out this effect".into());
            }
        };
        Ok(Ended::plain(match ended {
            Ok(success) => Outcome::Succeeded(success),
            Err(failure) => Outcome::Failed(failure.unavailable()),
        }))
    }

    /// A consumer without the function, or one that reverts, has empty inputs, as the original
    /// node has it (`docs/spec/contracts.md` 14).
    async fn read_inputs(
        &self,
        consumer: Address,
        caller: Address,
        call: &Consumer::getContainerInputsCall,
    ) -> Ended {
        let request = TransactionRequest::default()
            .from(convert::to_address(caller))
            .to(convert::to_address(consumer))
            .input(call.abi_encode().into());
        let input = match self.connection.rpc.call_raw(&request, At::Latest).await {
            Ok(answer) => Consumer::getContainerInputsCall::abi_decode_returns(&answer)
                .map(|input| input.to_vec())
                .unwrap_or_default(),
            Err(failure) if failure.as_revert().is_some() => Vec::new(),
            Err(failure) => return Ended::plain(Outcome::Failed(failure.unavailable())),
        };
        if input.len() > INPUT_BYTES_MAX {
            return Ended::plain(Outcome::Failed(Failure::Unavailable {
                reason: format!(
                    "E-CHAIN-021: the inputs of consumer {consumer} take {} bytes, the limit is {INPUT_BYTES_MAX}",
                    input.len()
                ),
            }));
        }
        let input = payload(input);
        Ended {
            outcome: Outcome::Succeeded(Success::InputsRead {
                input: input.reference,
            }),
            payloads: vec![input],
        }
    }

    /// What a delivery could be paid from now. A funded subscription is paid from what is locked
    /// for it, whatever its owner's allowance; what is locked for others is not paid out.
    async fn read_payer(&self, payer: Payer) -> Result<Success, RpcFailure> {
        let rpc = &self.connection.rpc;
        // All of one block: funding moves an amount from one of these numbers to another.
        let at = At::Number(rpc.head().await?.reference().number);
        let factory = convert::to_address(self.connection.contracts.wallet_factory);
        let Payer { wallet, token, .. } = payer;
        let is_valid = WalletFactory::isValidWalletCall { wallet };
        if !rpc.view(factory, &is_valid, at).await? {
            return Ok(Success::PayerRead {
                valid: false,
                balance: convert::from_u256(U256::ZERO),
                allowance: convert::from_u256(U256::ZERO),
            });
        }
        let mut balance = self.connection.balance_of(wallet, token, at).await?;
        let allowance = Wallet::allowanceCall {
            spender: payer.spender,
            token,
        };
        let mut allowance = rpc.view(wallet, &allowance, at).await?;
        if self.connection.reserves {
            let locked = rpc
                .view(wallet, &Wallet::lockedBalanceCall { token }, at)
                .await?;
            let reserve = self.reserve(&payer, at).await?;
            balance = balance.saturating_add(reserve).saturating_sub(locked);
            allowance = allowance.saturating_add(reserve);
        }
        Ok(Success::PayerRead {
            valid: true,
            balance: convert::from_u256(balance),
            allowance: convert::from_u256(allowance),
        })
    }

    /// What is locked for the very subscription that is to be paid.
    async fn reserve(&self, payer: &Payer, at: At) -> Result<U256, RpcFailure> {
        if payer.subscription == 0 {
            return Ok(U256::ZERO);
        }
        let rpc = &self.connection.rpc;
        let coordinator = convert::to_address(self.connection.contracts.coordinator);
        let payments = Coordinator::reservedPaymentsCall {
            subscriptionId: payer.subscription,
        };
        let payments = rpc.view(coordinator, &payments, at).await?;
        if payments.is_zero() {
            return Ok(U256::ZERO);
        }
        let record = Coordinator::getSubscriptionCall {
            subscriptionId: payer.subscription,
        };
        let record = rpc.view(coordinator, &record, at).await?;
        // After a reorg the id may be another's.
        let is_it = (record.wallet, record.owner, record.paymentToken)
            == (payer.wallet, payer.spender, payer.token);
        Ok(if is_it {
            record.paymentAmount.saturating_mul(payments)
        } else {
            U256::ZERO
        })
    }

    async fn read_responses(
        &self,
        subscription: SubscriptionId,
        interval: Interval,
        node: Address,
    ) -> Result<Success, RpcFailure> {
        let (responses, responded) = self
            .connection
            .responses(subscription.0, interval.0, node, At::Latest)
            .await?;
        Ok(Success::ResponsesRead {
            responses,
            responded,
        })
    }

    async fn simulate(&self, from: Address, action: &Action, at: BlockTime) -> Outcome {
        let from = convert::to_address(from);
        // Off the runtime's threads: a delivery's bytes come from the disk.
        let (this, work) = (self.clone(), action.clone());
        let built = tokio::task::spawn_blocking(move || {
            let coordinator = this.connection.contracts.coordinator;
            calldata::build(&work, from, coordinator, |at| this.payloads.fetch(at))
        });
        let call = match built.await {
            Ok(Ok(call)) => call,
            Ok(Err(error)) => {
                return Outcome::Failed(Failure::Missing {
                    reason: error.to_string(),
                });
            }
            Err(error) => {
                return Outcome::Failed(Failure::Unavailable {
                    reason: error.to_string(),
                });
            }
        };
        let request = TransactionRequest::default()
            .from(from)
            .to(call.to)
            .input(call.data.into());
        let batch = match action {
            Action::DeliverBatch(deliveries) => deliveries.len(),
            Action::Deliver(_)
            | Action::DeliverDelegated { .. }
            | Action::ApproveStake { .. }
            | Action::FinalizeProof { .. }
            | Action::FillNonce => 0,
        };
        match self.run(&request, at).await {
            Ok((answer, success)) => match calldata::failing_item(&answer, batch) {
                None => Outcome::Succeeded(success),
                Some(item) => Outcome::Failed(Failure::Reverted {
                    selector: [0; 4],
                    reason: format!("delivery {item} of the batch would fail"),
                }),
            },
            Err(failure) => Outcome::Failed(as_simulation_failure(&failure)),
        }
    }

    async fn run(
        &self,
        request: &TransactionRequest,
        at: BlockTime,
    ) -> Result<(primitives::Bytes, Success), RpcFailure> {
        let rpc = &self.connection.rpc;
        let head = rpc.head().await?;
        // A prediction that the head has overtaken is replaced by the head.
        let time = self
            .connection
            .overrides_time
            .then(|| at.max(head.reference().time));
        let answer = rpc.call_at_time(request, time).await?;
        let gas = match rpc.estimate_gas(request, time).await {
            // Some RPCs override the block of a call and not of an estimate.
            Err(failure) if time.is_some() && failure.is_unsupported() => {
                rpc.estimate_gas(request, None).await?
            }
            answer => answer?,
        };
        let base_fee = match head.base_fee() {
            Some(base_fee) => base_fee,
            None => rpc.gas_price().await?,
        };
        let quote = Success::Simulated {
            gas,
            base_fee,
            priority_fee: self.priority_fee().await?,
        };
        Ok((answer, quote))
    }

    async fn priority_fee(&self) -> Result<u128, RpcFailure> {
        let rpc = &self.connection.rpc;
        match rpc.max_priority_fee().await {
            Err(failure) if failure.is_unsupported() => {}
            answer => return answer,
        }
        match rpc
            .recent_priority_fees(FEE_HISTORY_BLOCKS, FEE_HISTORY_PERCENTILE)
            .await
        {
            Ok(mut fees) => {
                fees.sort_unstable();
                Ok(fees
                    .get(fees.len() / 2)
                    .copied()
                    .unwrap_or(PRIORITY_FEE_DEFAULT))
            }
            Err(failure) if failure.is_unsupported() => Ok(PRIORITY_FEE_DEFAULT),
            Err(failure) => Err(failure),
        }
    }
}

fn as_simulation_failure(failure: &RpcFailure) -> Failure {
    if let Some(revert) = failure.as_revert() {
        return Failure::Reverted {
            selector: revert.selector,
            reason: revert.reason,
        };
    }
    match failure.as_broadcast() {
        super::rpc_error::BroadcastVerdict::Rejected(Rejection::InsufficientFunds) => {
            Failure::Rejected(Rejection::InsufficientFunds)
        }
        _ => failure.unavailable(),
    }
}

impl ChainConnection {
    /// The balance of an account in a token, or in the native coin for the zero address. A token
    /// that does not answer holds nothing, as the Wallet has it (`docs/spec/contracts.md` 8).
    pub(super) async fn balance_of(
        &self,
        account: primitives::Address,
        token: primitives::Address,
        at: At,
    ) -> Result<U256, RpcFailure> {
        if token.is_zero() {
            return self.rpc.balance(account, at).await;
        }
        match self
            .rpc
            .view(token, &Erc20::balanceOfCall { account }, at)
            .await
        {
            Err(RpcFailure::Undecodable { .. }) => Ok(U256::ZERO),
            Err(failure) if failure.as_revert().is_some() => Ok(U256::ZERO),
            answer => answer,
        }
    }

    /// `redundancyCount` and `nodeResponded` of an interval.
    pub(super) async fn responses(
        &self,
        subscription: u32,
        interval: u32,
        node: Address,
        at: At,
    ) -> Result<(u16, bool), RpcFailure> {
        let coordinator = convert::to_address(self.contracts.coordinator);
        let count = Coordinator::redundancyCountCall {
            key: convert::interval_key(subscription, interval),
        };
        let responded = Coordinator::nodeRespondedCall {
            key: convert::node_key(subscription, interval, node),
        };
        Ok((
            self.rpc.view(coordinator, &count, at).await?,
            self.rpc.view(coordinator, &responded, at).await?,
        ))
    }
}

impl<P: Payloads> tower::Service<Issued> for ChainReads<P> {
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
