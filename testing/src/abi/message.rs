//! Calls as messages to contracts.

use alloy_sol_types::SolCall;
use revm::primitives::{Address, Bytes, U256};

use super::{
    BatchDelivery, Coordinator, Fee, Inbox, Ownable, ScriptedConsumer, ScriptedToken,
    ScriptedVerifier, Wallet, WalletFactory,
};
use crate::model::{
    Answer, Call, ConsumerScript, Control, Delegated, Deployment, OwnershipChange, Restricted,
    VerifierScript,
};

/// A message to a contract.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The receiver.
    pub to: Address,
    /// Wei.
    pub value: U256,
    /// Selector and arguments.
    pub data: Bytes,
}

impl Message {
    fn new(to: Address, call: &impl SolCall) -> Self {
        Self {
            to,
            value: U256::ZERO,
            data: call.abi_encode().into(),
        }
    }
}

impl Call {
    /// The call as a message to the contracts of a deployment.
    #[must_use]
    pub fn message(&self, at: &Deployment) -> Message {
        let coordinator = at.coordinator;
        match self {
            Self::CreateSubscription {
                containers,
                frequency,
                period,
                redundancy,
                lazy,
                payment_token,
                payment_amount,
                wallet,
                verifier,
            } => Message::new(
                coordinator,
                &Coordinator::createSubscriptionCall {
                    containerId: containers.clone(),
                    frequency: *frequency,
                    period: *period,
                    redundancy: *redundancy,
                    lazy: *lazy,
                    paymentToken: *payment_token,
                    paymentAmount: *payment_amount,
                    wallet: *wallet,
                    verifier: *verifier,
                },
            ),
            Self::CancelSubscription { id } => Message::new(
                coordinator,
                &Coordinator::cancelSubscriptionCall {
                    subscriptionId: *id,
                },
            ),
            Self::DeliverCompute {
                id,
                interval,
                answer,
                node_wallet,
            } => {
                let Answer {
                    input,
                    output,
                    proof,
                } = answer.clone();
                Message::new(
                    coordinator,
                    &Coordinator::deliverComputeCall {
                        subscriptionId: *id,
                        deliveryInterval: *interval,
                        input,
                        output,
                        proof,
                        nodeWallet: *node_wallet,
                    },
                )
            }
            Self::FinalizeProof {
                id,
                interval,
                node,
                valid,
            } => Message::new(
                coordinator,
                &Coordinator::finalizeProofVerificationCall {
                    subscriptionId: *id,
                    interval: *interval,
                    node: *node,
                    valid: *valid,
                },
            ),
            Self::DeliverBatch(items) => {
                let deliveries = items.iter().map(BatchDelivery::from).collect();
                Message::new(
                    coordinator,
                    &Coordinator::deliverComputeBatchCall { deliveries },
                )
            }
            Self::FundSubscription { id } => Message::new(
                coordinator,
                &Coordinator::fundSubscriptionCall {
                    subscriptionId: *id,
                },
            ),
            Self::ReleaseReserve { id } => Message::new(
                coordinator,
                &Coordinator::releaseReserveCall {
                    subscriptionId: *id,
                },
            ),
            Self::CreateDelegated(delegated) => {
                let Delegated {
                    nonce,
                    expiry,
                    ref subscription,
                    v,
                    r,
                    s,
                } = *delegated;
                Message::new(
                    coordinator,
                    &Coordinator::createSubscriptionDelegateeCall {
                        nonce,
                        expiry,
                        sub: subscription.into(),
                        v,
                        r: r.into(),
                        s: s.into(),
                    },
                )
            }
            Self::DeliverDelegated {
                delegated,
                interval,
                answer,
                node_wallet,
            } => {
                let Delegated {
                    nonce,
                    expiry,
                    ref subscription,
                    v,
                    r,
                    s,
                } = *delegated;
                let Answer {
                    input,
                    output,
                    proof,
                } = answer.clone();
                Message::new(
                    coordinator,
                    &Coordinator::deliverComputeDelegateeCall {
                        nonce,
                        expiry,
                        sub: subscription.into(),
                        v,
                        r: r.into(),
                        s: s.into(),
                        deliveryInterval: *interval,
                        input,
                        output,
                        proof,
                        nodeWallet: *node_wallet,
                    },
                )
            }
            Self::ReadInterval { active_at, period } => Message::new(
                coordinator,
                &Coordinator::getSubscriptionIntervalCall {
                    activeAt: *active_at,
                    period: *period,
                },
            ),
            Self::CreateWallet { owner } => Message::new(
                at.wallet_factory,
                &WalletFactory::createWalletCall {
                    initialOwner: *owner,
                },
            ),
            Self::Approve {
                wallet,
                spender,
                token,
                amount,
            } => Message::new(
                *wallet,
                &Wallet::approveCall {
                    spender: *spender,
                    token: *token,
                    amount: *amount,
                },
            ),
            Self::Withdraw {
                wallet,
                token,
                amount,
            } => Message::new(
                *wallet,
                &Wallet::withdrawCall {
                    token: *token,
                    amount: *amount,
                },
            ),
            Self::Restricted { function, wallet } => restricted_message(*function, *wallet),
            Self::Ownership { of, change } => ownership_message(*of, *change),
            Self::UpdateFee { fee } => Message::new(at.fee, &Fee::updateFeeCall { newFee: *fee }),
            Self::WriteInbox {
                container_id,
                answer,
            } => {
                let Answer {
                    input,
                    output,
                    proof,
                } = answer.clone();
                let call = Inbox::writeCall {
                    containerId: *container_id,
                    input,
                    output,
                    proof,
                };
                Message::new(at.inbox, &call)
            }
            Self::WriteInboxViaCoordinator { container_id, node } => Message::new(
                at.inbox,
                &Inbox::writeViaCoordinatorCall {
                    containerId: *container_id,
                    node: *node,
                    subscriptionId: 1,
                    interval: 1,
                    input: Bytes::new(),
                    output: Bytes::new(),
                    proof: Bytes::new(),
                },
            ),
            Self::ReadInbox {
                container_id,
                node,
                index,
            } => Message::new(
                at.inbox,
                &Inbox::readCall {
                    containerId: *container_id,
                    node: *node,
                    index: U256::from(*index),
                },
            ),
            Self::TransferToken { token, to, amount } => Message::new(
                *token,
                &ScriptedToken::transferCall {
                    to: *to,
                    amount: *amount,
                },
            ),
            Self::SendCoin { to, amount } => Message {
                to: *to,
                value: *amount,
                data: Bytes::new(),
            },
        }
    }
}

fn ownership_message(of: Address, change: OwnershipChange) -> Message {
    match change {
        OwnershipChange::Transfer { to } => {
            Message::new(of, &Ownable::transferOwnershipCall { newOwner: to })
        }
        OwnershipChange::Renounce => Message::new(of, &Ownable::renounceOwnershipCall {}),
        OwnershipChange::Request => Message::new(of, &Ownable::requestOwnershipHandoverCall {}),
        OwnershipChange::Cancel => Message::new(of, &Ownable::cancelOwnershipHandoverCall {}),
        OwnershipChange::Complete { to } => Message::new(
            of,
            &Ownable::completeOwnershipHandoverCall { pendingOwner: to },
        ),
    }
}

fn restricted_message(function: Restricted, wallet: Address) -> Message {
    let (spender, token, to, amount) = (wallet, Address::ZERO, wallet, U256::ZERO);
    match function {
        Restricted::Transfer => Message::new(
            wallet,
            &Wallet::cTransferCall {
                spender,
                token,
                to,
                amount,
            },
        ),
        Restricted::Lock => Message::new(
            wallet,
            &Wallet::cLockCall {
                spender,
                token,
                amount,
            },
        ),
        Restricted::Unlock => Message::new(
            wallet,
            &Wallet::cUnlockCall {
                spender,
                token,
                amount,
            },
        ),
    }
}

impl Control {
    /// The control as a message to a scripted contract; `None` for a balance of coins, which the world sets itself.
    #[must_use]
    pub fn message(&self, at: &Deployment) -> Option<Message> {
        Some(match self {
            Self::Script { consumer, script } => {
                let (number, target, data) = match script {
                    ConsumerScript::Accept => (0, Address::ZERO, Bytes::new()),
                    ConsumerScript::Revert(data) => (1, Address::ZERO, data.clone()),
                    ConsumerScript::Call(call) => {
                        let message = call.message(at);
                        (2, message.to, message.data)
                    }
                    ConsumerScript::Try(call) => {
                        let message = call.message(at);
                        (3, message.to, message.data)
                    }
                };
                Message::new(
                    *consumer,
                    &ScriptedConsumer::setScriptCall {
                        script: number,
                        target,
                        data,
                    },
                )
            }
            Self::Signer { consumer, signer } => Message::new(
                *consumer,
                &ScriptedConsumer::setSignerCall { signer: *signer },
            ),
            Self::Verify {
                verifier,
                script,
                wallet,
            } => {
                let script = match script {
                    VerifierScript::Wait => 0,
                    VerifierScript::Valid => 1,
                    VerifierScript::Invalid => 2,
                    VerifierScript::Revert => 3,
                };
                let call = ScriptedVerifier::setScriptCall {
                    script,
                    wallet: *wallet,
                };
                Message::new(*verifier, &call)
            }
            Self::VerifierFee {
                verifier,
                token,
                fee,
            } => Message::new(
                *verifier,
                &ScriptedVerifier::setTokenCall {
                    token: *token,
                    supported: fee.is_some(),
                    amount: fee.unwrap_or_default(),
                },
            ),
            Self::Balance {
                token,
                account,
                amount,
            } => {
                if token.is_zero() {
                    return None;
                }
                Message::new(
                    *token,
                    &ScriptedToken::setBalanceCall {
                        account: *account,
                        amount: *amount,
                    },
                )
            }
        })
    }
}
