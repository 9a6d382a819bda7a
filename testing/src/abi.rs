//! The contracts' interfaces, written down from `docs/spec/contracts.md`, and the way from the model's
//! types to bytes and back.

use alloy_sol_types::{SolCall, SolEvent, SolValue, sol};
use revm::primitives::{Address, Bytes, LogData, U256};

use crate::model::{
    Answer, BatchItem, Call, ConsumerScript, Control, Delegated, Deployment, Emitted, Habit,
    InboxItem, OwnershipChange, Restricted, Returned, Subscription as ModelSubscription,
    VerifierScript,
};

sol! {
    #![sol(extra_derives(Debug, PartialEq, Eq))]

    struct Subscription {
        address owner;
        uint32 activeAt;
        uint32 period;
        uint32 frequency;
        uint16 redundancy;
        bytes32 containerId;
        bool lazy;
        address verifier;
        uint256 paymentAmount;
        address paymentToken;
        address wallet;
    }

    struct DelegateSubscription {
        uint32 nonce;
        uint32 expiry;
        Subscription sub;
    }

    struct Item {
        uint32 timestamp;
        uint32 subscriptionId;
        uint32 interval;
        bytes input;
        bytes output;
        bytes proof;
    }

    struct BatchDelivery {
        uint32 subscriptionId;
        uint32 interval;
        bytes input;
        bytes output;
        bytes proof;
        address nodeWallet;
    }

    interface Registry {
        function COORDINATOR() external view returns (address);
        function INBOX() external view returns (address);
        function READER() external view returns (address);
        function FEE() external view returns (address);
        function WALLET_FACTORY() external view returns (address);
    }

    interface Coordinator {
        event SubscriptionCreated(uint32 indexed id);
        event SubscriptionCancelled(uint32 indexed id);
        event SubscriptionFulfilled(uint32 indexed id, address indexed node);
        event ProofVerified(uint32 indexed id, uint32 indexed interval, address indexed node, bool active, address verifier, bool valid);

        event Delivered(uint32 indexed id, uint32 indexed interval, address indexed node, uint16 redundancy);
        event DeliveryFailed(uint32 indexed id, uint32 indexed interval, address indexed node, bytes4 reason);
        event SubscriptionFunded(uint32 indexed id, address indexed wallet, uint256 payments, uint256 amount);
        event ReserveReleased(uint32 indexed id, address indexed wallet, uint256 payments, uint256 amount);

        function fundSubscription(uint32 subscriptionId) external;
        function releaseReserve(uint32 subscriptionId) external;
        function reservedPayments(uint32 subscriptionId) external view returns (uint256);
        function deliverComputeBatch(BatchDelivery[] deliveries) external returns (uint256);
        function id() external view returns (uint32);
        function nodeResponded(bytes32 key) external view returns (bool);
        function redundancyCount(bytes32 key) external view returns (uint16);
        function proofRequests(bytes32 key) external view returns (uint32 expiry, address nodeWallet, uint256 consumerEscrowed);
        function getSubscription(uint32 subscriptionId) external view returns (Subscription memory);
        function createSubscription(string containerId, uint32 frequency, uint32 period, uint16 redundancy, bool lazy, address paymentToken, uint256 paymentAmount, address wallet, address verifier) external returns (uint32);
        function cancelSubscription(uint32 subscriptionId) external;
        function getSubscriptionInterval(uint32 activeAt, uint32 period) external view returns (uint32);
        function deliverCompute(uint32 subscriptionId, uint32 deliveryInterval, bytes input, bytes output, bytes proof, address nodeWallet) external;
        function finalizeProofVerification(uint32 subscriptionId, uint32 interval, address node, bool valid) external;
        function maxSubscriberNonce(address subscriber) external view returns (uint32);
        function delegateCreatedIds(bytes32 key) external view returns (uint32);
        function createSubscriptionDelegatee(uint32 nonce, uint32 expiry, Subscription sub, uint8 v, bytes32 r, bytes32 s) external returns (uint32);
        function deliverComputeDelegatee(uint32 nonce, uint32 expiry, Subscription sub, uint8 v, bytes32 r, bytes32 s, uint32 deliveryInterval, bytes input, bytes output, bytes proof, address nodeWallet) external;
    }

    interface Inbox {
        event NewInboxItem(bytes32 indexed containerId, address indexed node, uint256 index);

        function read(bytes32 containerId, address node, uint256 index) external view returns (Item memory);
        function items(bytes32 containerId, address node, uint256 index) external view returns (uint32, uint32, uint32, bytes memory, bytes memory, bytes memory);
        function write(bytes32 containerId, bytes input, bytes output, bytes proof) external returns (uint256);
        function writeViaCoordinator(bytes32 containerId, address node, uint32 subscriptionId, uint32 interval, bytes input, bytes output, bytes proof) external returns (uint256);
    }

    interface Ownable {
        event OwnershipTransferred(address indexed oldOwner, address indexed newOwner);
        event OwnershipHandoverRequested(address indexed pendingOwner);
        event OwnershipHandoverCanceled(address indexed pendingOwner);

        function owner() external view returns (address);
        function transferOwnership(address newOwner) external payable;
        function renounceOwnership() external payable;
        function requestOwnershipHandover() external payable;
        function cancelOwnershipHandover() external payable;
        function completeOwnershipHandover(address pendingOwner) external payable;
        function ownershipHandoverExpiresAt(address pendingOwner) external view returns (uint256);
    }

    interface Fee {
        event FeeUpdated(uint16 oldFee, uint16 newFee);

        function FEE() external view returns (uint16);
        function FEE_RECIPIENT() external view returns (address);
        function updateFee(uint16 newFee) external;
    }

    interface Wallet {
        event Withdrawl(address token, uint256 amount);
        event Approval(address indexed spender, address token, uint256 amount);
        event Transfer(address indexed spender, address token, address indexed to, uint256 amount);
        event Escrow(address indexed spender, address token, uint256 amount, bool locked);

        function allowance(address spender, address token) external view returns (uint256);
        function lockedBalance(address token) external view returns (uint256);
        function withdraw(address token, uint256 amount) external;
        function approve(address spender, address token, uint256 amount) external;
        function cTransfer(address spender, address token, address to, uint256 amount) external;
        function cLock(address spender, address token, uint256 amount) external;
        function cUnlock(address spender, address token, uint256 amount) external;
    }

    interface WalletFactory {
        event WalletCreated(address indexed caller, address indexed owner, address wallet);

        function createWallet(address initialOwner) external returns (address);
        function isValidWallet(address wallet) external view returns (bool);
    }

    interface Consumer {
        function rawReceiveCompute(uint32 subscriptionId, uint32 interval, uint16 redundancy, address node, bytes input, bytes output, bytes proof, bytes32 containerId, uint256 index) external;
        function getContainerInputs(uint32 subscriptionId, uint32 interval, uint32 timestamp, address caller) external view returns (bytes memory);
        function getSigner() external view returns (address);
    }

    interface ScriptedConsumer {
        event Received(uint32 subscriptionId, uint32 interval, uint16 redundancy, address node, bytes input, bytes output, bytes proof, bytes32 containerId, uint256 index);
        event Tried(bool succeeded, bytes returned);

        function setSigner(address signer) external;
        function setScript(uint8 script, address target, bytes data) external;
    }

    interface ScriptedVerifier {
        event ProofAsked(uint32 subscriptionId, uint32 interval, address node, bytes proof);

        function setScript(uint8 script, address wallet) external;
        function setToken(address token, bool supported, uint256 amount) external;
    }

    interface Token {
        event Transfer(address indexed from, address indexed to, uint256 amount);

        function balanceOf(address account) external view returns (uint256);
        function transfer(address to, uint256 amount) external returns (bool);
        function setBalance(address account, uint256 amount) external;
    }
}

/// Hash keys of the Coordinator's mappings (section 0).
pub mod keys {
    use alloy_sol_types::SolValue;
    use revm::primitives::{Address, B256, keccak256};

    /// Of `redundancyCount`.
    #[must_use]
    pub fn interval(id: u32, interval: u32) -> B256 {
        keccak256((id, interval).abi_encode())
    }

    /// Of `nodeResponded` and `proofRequests`.
    #[must_use]
    pub fn node(id: u32, interval: u32, node: Address) -> B256 {
        keccak256((id, interval, node).abi_encode())
    }

    /// Of `delegateCreatedIds`.
    #[must_use]
    pub fn delegate(owner: Address, nonce: u32) -> B256 {
        keccak256((owner, nonce).abi_encode())
    }
}

impl From<&ModelSubscription> for Subscription {
    fn from(sub: &ModelSubscription) -> Self {
        Self {
            owner: sub.owner,
            activeAt: sub.active_at,
            period: sub.period,
            frequency: sub.frequency,
            redundancy: sub.redundancy,
            containerId: sub.container_id,
            lazy: sub.lazy,
            verifier: sub.verifier,
            paymentAmount: sub.payment_amount,
            paymentToken: sub.payment_token,
            wallet: sub.wallet,
        }
    }
}

impl From<&BatchItem> for BatchDelivery {
    fn from(item: &BatchItem) -> Self {
        let Answer {
            input,
            output,
            proof,
        } = item.answer.clone();
        Self {
            subscriptionId: item.id,
            interval: item.interval,
            input,
            output,
            proof,
            nodeWallet: item.node_wallet,
        }
    }
}

impl From<&InboxItem> for Item {
    fn from(item: &InboxItem) -> Self {
        let Answer {
            input,
            output,
            proof,
        } = item.answer.clone();
        Self {
            timestamp: item.timestamp,
            subscriptionId: item.subscription_id,
            interval: item.interval,
            input,
            output,
            proof,
        }
    }
}

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
            Self::CreateWallet { .. }
            | Self::Approve { .. }
            | Self::Withdraw { .. }
            | Self::Restricted { .. }
            | Self::Ownership { .. }
            | Self::UpdateFee { .. } => self.payment_message(at),
            Self::WriteInbox { .. }
            | Self::WriteInboxViaCoordinator { .. }
            | Self::ReadInbox { .. } => self.inbox_message(at),
            Self::TransferToken { token, to, amount } => Message::new(
                *token,
                &Token::transferCall {
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

    fn payment_message(&self, at: &Deployment) -> Message {
        match self {
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
            Self::Ownership { of, change } => match *change {
                OwnershipChange::Transfer { to } => {
                    Message::new(*of, &Ownable::transferOwnershipCall { newOwner: to })
                }
                OwnershipChange::Renounce => Message::new(*of, &Ownable::renounceOwnershipCall {}),
                OwnershipChange::Request => {
                    Message::new(*of, &Ownable::requestOwnershipHandoverCall {})
                }
                OwnershipChange::Cancel => {
                    Message::new(*of, &Ownable::cancelOwnershipHandoverCall {})
                }
                OwnershipChange::Complete { to } => Message::new(
                    *of,
                    &Ownable::completeOwnershipHandoverCall { pendingOwner: to },
                ),
            },
            Self::UpdateFee { fee } => Message::new(at.fee, &Fee::updateFeeCall { newFee: *fee }),
            _ => unreachable!("the caller chose the calls of the payment contracts"),
        }
    }

    fn inbox_message(&self, at: &Deployment) -> Message {
        match self {
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
            _ => unreachable!("the caller chose the calls of the Inbox"),
        }
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
                    &Token::setBalanceCall {
                        account: *account,
                        amount: *amount,
                    },
                )
            }
        })
    }
}

impl Habit {
    /// The number of the habit in the scripted token's constructor.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::ReturnTrue => 0,
            Self::ReturnNothing => 1,
            Self::ReturnFalse => 2,
            Self::Revert => 3,
            Self::RevertAll => 4,
        }
    }
}

impl Returned {
    /// The bytes that the call returns.
    #[must_use]
    pub fn data(&self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::Number(number) => number.abi_encode().into(),
            Self::Address(address) => address.abi_encode().into(),
            Self::True => true.abi_encode().into(),
            Self::False => false.abi_encode().into(),
            Self::Item(item) => Item::from(item).abi_encode().into(),
        }
    }
}

impl Emitted {
    /// Topics and data of the event.
    #[must_use]
    pub fn data(&self) -> LogData {
        match self.clone() {
            Self::SubscriptionCreated { id } => {
                Coordinator::SubscriptionCreated { id }.encode_log_data()
            }
            Self::SubscriptionCancelled { id } => {
                Coordinator::SubscriptionCancelled { id }.encode_log_data()
            }
            Self::SubscriptionFulfilled { id, node } => {
                Coordinator::SubscriptionFulfilled { id, node }.encode_log_data()
            }
            Self::ProofVerified {
                id,
                interval,
                node,
                active,
                verifier,
                valid,
            } => Coordinator::ProofVerified {
                id,
                interval,
                node,
                active,
                verifier,
                valid,
            }
            .encode_log_data(),
            Self::Delivered {
                id,
                interval,
                node,
                redundancy,
            } => Coordinator::Delivered {
                id,
                interval,
                node,
                redundancy,
            }
            .encode_log_data(),
            Self::DeliveryFailed {
                id,
                interval,
                node,
                reason,
            } => Coordinator::DeliveryFailed {
                id,
                interval,
                node,
                reason: reason.into(),
            }
            .encode_log_data(),
            Self::SubscriptionFunded {
                id,
                wallet,
                payments,
                amount,
            } => Coordinator::SubscriptionFunded {
                id,
                wallet,
                payments,
                amount,
            }
            .encode_log_data(),
            Self::ReserveReleased {
                id,
                wallet,
                payments,
                amount,
            } => Coordinator::ReserveReleased {
                id,
                wallet,
                payments,
                amount,
            }
            .encode_log_data(),
            Self::NewInboxItem {
                container_id,
                node,
                index,
            } => Inbox::NewInboxItem {
                containerId: container_id,
                node,
                index: U256::from(index),
            }
            .encode_log_data(),
            Self::Withdrawl { token, amount } => {
                Wallet::Withdrawl { token, amount }.encode_log_data()
            }
            Self::Approval {
                spender,
                token,
                amount,
            } => Wallet::Approval {
                spender,
                token,
                amount,
            }
            .encode_log_data(),
            Self::Transfer {
                spender,
                token,
                to,
                amount,
            } => Wallet::Transfer {
                spender,
                token,
                to,
                amount,
            }
            .encode_log_data(),
            Self::Escrow {
                spender,
                token,
                amount,
                locked,
            } => Wallet::Escrow {
                spender,
                token,
                amount,
                locked,
            }
            .encode_log_data(),
            Self::WalletCreated {
                caller,
                owner,
                wallet,
            } => WalletFactory::WalletCreated {
                caller,
                owner,
                wallet,
            }
            .encode_log_data(),
            Self::OwnershipTransferred { old, new } => Ownable::OwnershipTransferred {
                oldOwner: old,
                newOwner: new,
            }
            .encode_log_data(),
            Self::OwnershipHandoverRequested { pending } => Ownable::OwnershipHandoverRequested {
                pendingOwner: pending,
            }
            .encode_log_data(),
            Self::OwnershipHandoverCanceled { pending } => Ownable::OwnershipHandoverCanceled {
                pendingOwner: pending,
            }
            .encode_log_data(),
            Self::FeeUpdated { old, new } => Fee::FeeUpdated {
                oldFee: old,
                newFee: new,
            }
            .encode_log_data(),
            Self::TokenTransfer { from, to, amount } => {
                Token::Transfer { from, to, amount }.encode_log_data()
            }
            Self::ProofAsked {
                id,
                interval,
                node,
                proof,
            } => ScriptedVerifier::ProofAsked {
                subscriptionId: id,
                interval,
                node,
                proof,
            }
            .encode_log_data(),
            Self::Received {
                id,
                interval,
                redundancy,
                node,
                answer,
                container_id,
                index,
            } => ScriptedConsumer::Received {
                subscriptionId: id,
                interval,
                redundancy,
                node,
                input: answer.input,
                output: answer.output,
                proof: answer.proof,
                containerId: container_id,
                index: U256::from(index),
            }
            .encode_log_data(),
            Self::Tried {
                succeeded,
                returned,
            } => ScriptedConsumer::Tried {
                succeeded,
                returned,
            }
            .encode_log_data(),
        }
    }
}
