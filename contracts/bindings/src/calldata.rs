//! From an [`Action`] to a contract and its calldata.

use alloy_primitives::{Address, Bytes};
use alloy_sol_types::SolCall;
use infernet_state::{
    effect::{Action, Delivery},
    types::{self, PayloadAt},
};

use crate::{BatchDelivery, Coordinator, Wallet, convert};

/// A call of a contract, or the empty transfer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Calldata {
    /// The contract; the sender itself for the empty transfer.
    pub to: Address,
    /// Selector and arguments; empty for the empty transfer.
    pub data: Bytes,
}

/// Builds the call of `action` as `sender` makes it, with the bytes that `fetch` gives.
///
/// # Errors
/// Those of `fetch`.
pub fn build<E>(
    action: &Action,
    sender: Address,
    coordinator: types::Address,
    fetch: impl Fn(PayloadAt) -> Result<Vec<u8>, E>,
) -> Result<Calldata, E> {
    let fetch = |at: PayloadAt| fetch(at).map(Bytes::from);
    let coordinator = convert::to_address(coordinator);
    Ok(match action {
        Action::Deliver(delivery) => call(
            coordinator,
            &Coordinator::deliverComputeCall {
                subscriptionId: delivery.subscription.0,
                deliveryInterval: delivery.interval.0,
                input: fetch(delivery.input)?,
                output: fetch(delivery.output)?,
                proof: fetch(delivery.proof)?,
                nodeWallet: convert::to_address(delivery.node_wallet),
            },
        ),
        Action::DeliverDelegated {
            subscription,
            nonce,
            expiry,
            v,
            r,
            s,
            delivery,
        } => call(
            coordinator,
            &Coordinator::deliverComputeDelegateeCall {
                nonce: *nonce,
                expiry: *expiry,
                sub: convert::to_subscription(subscription),
                v: *v,
                r: convert::to_b256(*r),
                s: convert::to_b256(*s),
                deliveryInterval: delivery.interval.0,
                input: fetch(delivery.input)?,
                output: fetch(delivery.output)?,
                proof: fetch(delivery.proof)?,
                nodeWallet: convert::to_address(delivery.node_wallet),
            },
        ),
        Action::DeliverBatch(deliveries) => {
            let item = |delivery: &Delivery| -> Result<BatchDelivery, E> {
                Ok(BatchDelivery {
                    subscriptionId: delivery.subscription.0,
                    interval: delivery.interval.0,
                    input: fetch(delivery.input)?,
                    output: fetch(delivery.output)?,
                    proof: fetch(delivery.proof)?,
                    nodeWallet: convert::to_address(delivery.node_wallet),
                })
            };
            let deliveries = deliveries.iter().map(item).collect::<Result<_, _>>()?;
            let batch = Coordinator::deliverComputeBatchCall { deliveries };
            call(coordinator, &batch)
        }
        Action::ApproveStake {
            wallet,
            spender,
            token,
            amount,
        } => call(
            convert::to_address(*wallet),
            &Wallet::approveCall {
                spender: convert::to_address(*spender),
                token: convert::to_address(*token),
                amount: convert::to_u256(*amount),
            },
        ),
        Action::FinalizeProof {
            subscription,
            interval,
            node,
        } => call(
            coordinator,
            &Coordinator::finalizeProofVerificationCall {
                subscriptionId: subscription.0,
                interval: interval.0,
                node: convert::to_address(*node),
                // Without effect once the week has passed: the node is paid either way.
                valid: true,
            },
        ),
        Action::FillNonce => Calldata {
            to: sender,
            data: Bytes::new(),
        },
    })
}

fn call(to: Address, call: &impl SolCall) -> Calldata {
    Calldata {
        to,
        data: call.abi_encode().into(),
    }
}

/// The first of `count` deliveries of a batch that would fail: the call itself succeeds all the
/// same, and answers with a bit per delivery.
#[must_use]
pub fn failing_item(answer: &[u8], count: usize) -> Option<usize> {
    let done = Coordinator::deliverComputeBatchCall::abi_decode_returns(answer);
    let done = done.unwrap_or_default();
    (0..count).find(|item| !done.bit(*item))
}
