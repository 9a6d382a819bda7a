//! From an [`Action`] to a contract and its calldata.

use alloy::{
    primitives::{Address, Bytes},
    sol_types::SolCall,
};
use infernet_state::{
    effect::{Action, Delivery},
    types::PayloadAt,
};

use super::{
    abi::{BatchDelivery, Coordinator, Wallet},
    connect::Contracts,
    convert,
};
use crate::executor::{PayloadError, Payloads};

/// A call of a contract, or the empty transfer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Calldata {
    /// The contract; the sender itself for the empty transfer.
    pub(super) to: Address,
    /// Selector and arguments; empty for the empty transfer.
    pub(super) data: Bytes,
}

/// Builds the call of `action` as `sender` makes it, with the bytes from `payloads`.
pub(super) fn build(
    action: &Action,
    sender: Address,
    contracts: &Contracts,
    payloads: &impl Payloads,
) -> Result<Calldata, PayloadError> {
    let fetch = |at: PayloadAt| payloads.fetch(at).map(Bytes::from);
    let coordinator = convert::to_address(contracts.coordinator);
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
            let item = |delivery: &Delivery| -> Result<BatchDelivery, PayloadError> {
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
