//! The contracts' functions and events, as `docs/spec/contracts.md` gives them, and those of the scripted
//! contracts of `contracts/test/mocks`.
#![allow(missing_docs, reason = "the specification describes them")]
#![allow(
    clippy::too_many_arguments,
    reason = "the arguments are the contracts'"
)]

use alloy_sol_types::sol;

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
