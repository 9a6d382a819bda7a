// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Subscription} from "../src/Coordinator.sol";
import {Inbox} from "../src/Inbox.sol";
import {Registry} from "../src/Registry.sol";
import {BaseConsumer} from "../src/consumer/Base.sol";
import {Delegator} from "../src/pattern/Delegator.sol";
import {IVerifier} from "../src/payments/IVerifier.sol";
import {ReferenceFee, ReferenceWallet, ReferenceWalletFactory} from "./ReferencePayments.sol";

/// @title ReferenceCoordinator
/// @notice A coordinator written down from sections 2 to 4 of docs/spec/contracts.md in the plainest way: no packing, no assembly, all
/// arithmetic checked by the compiler unless the text says otherwise. Only for comparison: it has the weaknesses that section 12 lists.
contract ReferenceCoordinator {
    struct ProofRequest {
        uint32 expiry;
        ReferenceWallet nodeWallet;
        uint256 consumerEscrowed;
    }

    /// @dev What a delivery brings; in memory, so that functions stay short of stack.
    struct Answer {
        uint32 subscriptionId;
        uint32 interval;
        uint16 count;
        address nodeWallet;
        bytes input;
        bytes output;
        bytes proof;
    }

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    string private constant SUBSCRIPTION_TYPE =
        "Subscription(address owner,uint32 activeAt,uint32 period,uint32 frequency,uint16 redundancy,bytes32 containerId,bool lazy,address verifier,uint256 paymentAmount,address paymentToken,address wallet)";
    string private constant DELEGATE_TYPE = "DelegateSubscription(uint32 nonce,uint32 expiry,Subscription sub)";

    uint32 public id = 1;
    bool private _delivering;
    mapping(uint32 => Subscription) private _subscriptions;
    mapping(bytes32 => bool) public nodeResponded;
    mapping(bytes32 => uint16) public redundancyCount;
    mapping(bytes32 => ProofRequest) public proofRequests;
    mapping(address => uint32) public maxSubscriberNonce;
    mapping(bytes32 => uint32) public delegateCreatedIds;

    ReferenceFee private immutable FEE;
    Inbox private immutable INBOX;
    ReferenceWalletFactory private immutable FACTORY;

    event SubscriptionCreated(uint32 indexed id);
    event SubscriptionCancelled(uint32 indexed id);
    event SubscriptionFulfilled(uint32 indexed id, address indexed node);
    event ProofVerified(
        uint32 indexed id, uint32 indexed interval, address indexed node, bool active, address verifier, bool valid
    );

    error InvalidWallet();
    error IntervalMismatch();
    error IntervalCompleted();
    error UnauthorizedVerifier();
    error NodeRespondedAlready();
    error SubscriptionNotFound();
    error ProofRequestNotFound();
    error NotSubscriptionOwner();
    error SubscriptionCompleted();
    error SubscriptionNotActive();
    error UnsupportedVerifierToken();
    error Reentrancy();
    error SignerMismatch();
    error SignatureExpired();
    error InvalidSignature();

    constructor(Registry registry) {
        FEE = ReferenceFee(registry.FEE());
        INBOX = Inbox(registry.INBOX());
        FACTORY = ReferenceWalletFactory(registry.WALLET_FACTORY());
    }

    modifier nonReentrant() {
        if (_delivering) revert Reentrancy();
        _delivering = true;
        _;
        _delivering = false;
    }

    function getSubscription(uint32 subscriptionId) external view returns (Subscription memory) {
        return _subscriptions[subscriptionId];
    }

    function createSubscription(
        string calldata containerId,
        uint32 frequency,
        uint32 period,
        uint16 redundancy,
        bool lazy,
        address paymentToken,
        uint256 paymentAmount,
        address wallet,
        address verifier
    ) external returns (uint32) {
        Subscription memory sub;
        sub.owner = msg.sender;
        sub.activeAt = _now() + period;
        sub.period = period;
        sub.frequency = frequency;
        sub.redundancy = redundancy;
        sub.containerId = keccak256(abi.encode(containerId));
        sub.lazy = lazy;
        sub.verifier = payable(verifier);
        sub.paymentAmount = paymentAmount;
        sub.paymentToken = paymentToken;
        sub.wallet = payable(wallet);
        return _store(sub);
    }

    function cancelSubscription(uint32 subscriptionId) external {
        if (_subscriptions[subscriptionId].owner != msg.sender) revert NotSubscriptionOwner();
        _subscriptions[subscriptionId].activeAt = type(uint32).max;
        emit SubscriptionCancelled(subscriptionId);
    }

    function getSubscriptionInterval(uint32 activeAt, uint32 period) public view returns (uint32) {
        if (period == 0) return 1;
        unchecked {
            return (_now() - activeAt) / period + 1;
        }
    }

    function deliverCompute(
        uint32 subscriptionId,
        uint32 deliveryInterval,
        bytes calldata input,
        bytes calldata output,
        bytes calldata proof,
        address nodeWallet
    ) external {
        _deliver(Answer(subscriptionId, deliveryInterval, 0, nodeWallet, input, output, proof));
    }

    function finalizeProofVerification(uint32 subscriptionId, uint32 interval, address node, bool valid) external {
        bytes32 key = keccak256(abi.encode(subscriptionId, interval, node));
        ProofRequest memory request = proofRequests[key];
        delete proofRequests[key];
        if (request.expiry == 0) revert ProofRequestNotFound();

        Subscription memory sub = _subscriptions[subscriptionId];
        ReferenceWallet wallet = ReferenceWallet(sub.wallet);
        request.nodeWallet.cUnlock(node, sub.paymentToken, sub.paymentAmount);
        wallet.cUnlock(sub.owner, sub.paymentToken, request.consumerEscrowed);

        bool active = _now() < request.expiry;
        if (active && msg.sender != sub.verifier) revert UnauthorizedVerifier();
        if (active && !valid) {
            request.nodeWallet.cTransfer(node, sub.paymentToken, sub.wallet, sub.paymentAmount);
        } else {
            wallet.cTransfer(sub.owner, sub.paymentToken, address(request.nodeWallet), request.consumerEscrowed);
        }
        emit ProofVerified(subscriptionId, interval, node, active, msg.sender, valid);
    }

    function createSubscriptionDelegatee(uint32 nonce, uint32 expiry, Subscription calldata sub, uint8 v, bytes32 r, bytes32 s)
        public
        returns (uint32 subscriptionId)
    {
        bytes32 key = keccak256(abi.encode(sub.owner, nonce));
        subscriptionId = delegateCreatedIds[key];
        if (subscriptionId != 0) return subscriptionId;
        if (_now() >= expiry) revert SignatureExpired();
        address signer = ecrecover(_digest(nonce, expiry, sub), v, r, s);
        if (signer == address(0)) revert InvalidSignature();
        if (signer != Delegator(sub.owner).getSigner()) revert SignerMismatch();
        subscriptionId = _store(sub);
        delegateCreatedIds[key] = subscriptionId;
        if (nonce > maxSubscriberNonce[sub.owner]) maxSubscriberNonce[sub.owner] = nonce;
    }

    function deliverComputeDelegatee(
        uint32 nonce,
        uint32 expiry,
        Subscription calldata sub,
        uint8 v,
        bytes32 r,
        bytes32 s,
        uint32 deliveryInterval,
        bytes calldata input,
        bytes calldata output,
        bytes calldata proof,
        address nodeWallet
    ) external {
        uint32 subscriptionId = createSubscriptionDelegatee(nonce, expiry, sub, v, r, s);
        _deliver(Answer(subscriptionId, deliveryInterval, 0, nodeWallet, input, output, proof));
    }

    function _now() private view returns (uint32) {
        return uint32(block.timestamp);
    }

    function _store(Subscription memory sub) private returns (uint32 subscriptionId) {
        unchecked {
            subscriptionId = id++;
        }
        _subscriptions[subscriptionId] = sub;
        emit SubscriptionCreated(subscriptionId);
    }

    function _deliver(Answer memory answer) private nonReentrant {
        Subscription memory sub = _subscriptions[answer.subscriptionId];
        if (sub.owner == address(0)) revert SubscriptionNotFound();
        if (_now() < sub.activeAt) revert SubscriptionNotActive();
        if (getSubscriptionInterval(sub.activeAt, sub.period) != answer.interval) revert IntervalMismatch();
        if (answer.interval > sub.frequency) revert SubscriptionCompleted();

        bytes32 intervalKey = keccak256(abi.encode(answer.subscriptionId, answer.interval));
        if (redundancyCount[intervalKey] == sub.redundancy) revert IntervalCompleted();
        unchecked {
            answer.count = ++redundancyCount[intervalKey];
        }
        bytes32 nodeKey = keccak256(abi.encode(answer.subscriptionId, answer.interval, msg.sender));
        if (nodeResponded[nodeKey]) revert NodeRespondedAlready();
        nodeResponded[nodeKey] = true;

        if (sub.paymentAmount > 0) _pay(sub, answer, nodeKey);
        _handOver(sub, answer);
        emit SubscriptionFulfilled(answer.subscriptionId, msg.sender);
    }

    function _pay(Subscription memory sub, Answer memory answer, bytes32 nodeKey) private {
        if (!FACTORY.isValidWallet(answer.nodeWallet)) revert InvalidWallet();
        if (!FACTORY.isValidWallet(sub.wallet)) revert InvalidWallet();
        ReferenceWallet wallet = ReferenceWallet(sub.wallet);

        uint16 fee = FEE.FEE();
        uint256 protocolFee = _fee(sub.paymentAmount, fee * 2);
        uint256 rest = sub.paymentAmount - protocolFee;
        wallet.cTransfer(sub.owner, sub.paymentToken, FEE.FEE_RECIPIENT(), protocolFee);
        if (sub.verifier == address(0)) {
            wallet.cTransfer(sub.owner, sub.paymentToken, answer.nodeWallet, rest);
            return;
        }

        IVerifier verifier = IVerifier(sub.verifier);
        if (!verifier.isSupportedToken(sub.paymentToken)) revert UnsupportedVerifierToken();
        uint256 verifierFee = verifier.fee(sub.paymentToken);
        rest -= verifierFee;
        protocolFee = _fee(verifierFee, fee);
        wallet.cTransfer(sub.owner, sub.paymentToken, FEE.FEE_RECIPIENT(), protocolFee);
        wallet.cTransfer(sub.owner, sub.paymentToken, verifier.getWallet(), verifierFee - protocolFee);
        ReferenceWallet(payable(answer.nodeWallet)).cLock(msg.sender, sub.paymentToken, sub.paymentAmount);
        wallet.cLock(sub.owner, sub.paymentToken, rest);
        proofRequests[nodeKey] = ProofRequest(_now() + 1 weeks, ReferenceWallet(payable(answer.nodeWallet)), rest);
        verifier.requestProofVerification(answer.subscriptionId, answer.interval, msg.sender, answer.proof);
    }

    function _fee(uint256 amount, uint16 fee) private pure returns (uint256) {
        return amount * fee / 10_000;
    }

    function _handOver(Subscription memory sub, Answer memory answer) private {
        bytes32 containerId;
        uint256 index;
        if (sub.lazy) {
            containerId = sub.containerId;
            index = INBOX.writeViaCoordinator(
                containerId, msg.sender, answer.subscriptionId, answer.interval, answer.input, answer.output, answer.proof
            );
            (answer.input, answer.output, answer.proof) = ("", "", "");
        }
        BaseConsumer(sub.owner)
            .rawReceiveCompute(
                answer.subscriptionId,
                answer.interval,
                answer.count,
                msg.sender,
                answer.input,
                answer.output,
                answer.proof,
                containerId,
                index
            );
    }

    function _digest(uint32 nonce, uint32 expiry, Subscription calldata sub) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(DOMAIN_TYPEHASH, keccak256("InfernetCoordinator"), keccak256("1"), block.chainid, address(this))
        );
        bytes32 inner = keccak256(abi.encode(keccak256(bytes(SUBSCRIPTION_TYPE)), sub));
        bytes32 typehash = keccak256(abi.encodePacked(DELEGATE_TYPE, SUBSCRIPTION_TYPE));
        return keccak256(abi.encodePacked("\x19\x01", domain, keccak256(abi.encode(typehash, nonce, expiry, inner))));
    }
}
