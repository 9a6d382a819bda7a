// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Registry} from "./Registry.sol";
import {IVerifier} from "./payments/IVerifier.sol";
import {Wallet} from "./payments/Wallet.sol";
import {WalletCode} from "./payments/WalletCode.sol";
import {ConsumerCall, Delivery} from "./utility/ConsumerCall.sol";
import {DeliveryGuard} from "./utility/DeliveryGuard.sol";
import {Keys} from "./utility/Keys.sol";
import {PaymentCall} from "./utility/PaymentCall.sol";
import {StoredSubscription, SubscriptionWords} from "./utility/SubscriptionWords.sol";

/// @notice A request for compute, answered once (period 0) or in every interval.
/// @param owner consumer that receives the results
/// @param activeAt time (seconds) from which it can be answered; 2^32-1: cancelled
/// @param period length of an interval in seconds; 0: one interval without end
/// @param frequency how many intervals are answered
/// @param redundancy how many nodes answer each interval
/// @param containerId keccak256(abi.encode(name)) of the container, or of the names of a chain joined by commas
/// @param lazy whether results go to the inbox instead of the consumer
/// @param verifier verifier of the proofs; zero: none, the node is paid at once
/// @param paymentAmount payment per answer, in the smallest unit of the token; 0: free
/// @param paymentToken token of the payment; zero: the chain's own coin
/// @param wallet wallet that pays
struct Subscription {
    address owner;
    uint32 activeAt;
    uint32 period;
    uint32 frequency;
    uint16 redundancy;
    bytes32 containerId;
    bool lazy;
    address payable verifier;
    uint256 paymentAmount;
    address paymentToken;
    address payable wallet;
}

/// @notice One delivery of a batch; fields as the parameters of `deliverCompute`.
struct BatchDelivery {
    uint32 subscriptionId;
    uint32 interval;
    bytes input;
    bytes output;
    bytes proof;
    address nodeWallet;
}

/// @notice What a payment needs: whose wallet pays, in which token, how much, and the protocol's fee (ten-thousandths) and recipient.
struct Payment {
    address owner;
    address payable wallet;
    address token;
    uint256 amount;
    uint256 fee;
    address recipient;
}

/// @title Coordinator
/// @notice Keeps subscriptions, takes deliveries, pays nodes, and holds escrows until a verifier has judged.
/// @dev All times are block timestamps in seconds, cut to 32 bits (they wrap in 2106).
contract Coordinator is DeliveryGuard {
    using SubscriptionWords for StoredSubscription;

    /// @notice What this coordinator offers beyond deployments without this getter; grows with each addition.
    uint256 public constant VERSION = 2;

    /// @dev Fees are in ten-thousandths.
    uint256 private constant FEE_SCALE = 10_000;

    /// @dev The fee is charged on both sides, so half of the scale takes all; more counts as this.
    uint256 private constant FEE_MAX = 5_000;

    /// @dev How long a verifier has to answer.
    uint256 private constant PROOF_TIME = 1 weeks;

    /// @dev activeAt of a cancelled subscription.
    uint32 private constant CANCELLED = type(uint32).max;

    /// @dev Bits of a proof request: expiry 32, the node wallet's number 32, escrow 192.
    uint256 private constant REQUEST_NONCE = 32;
    uint256 private constant REQUEST_ESCROW = 64;

    /// @dev The largest value of the escrow field: it says that the escrow stands in `_largeEscrows`.
    uint256 private constant REQUEST_ESCROW_MAX = type(uint192).max;

    address private immutable FEE;
    address private immutable INBOX;
    address private immutable WALLET_FACTORY;

    /// @notice Id of the next subscription; ids start at 1.
    uint32 public id = 1;

    mapping(uint32 => StoredSubscription) private _subscriptions;

    /// @notice Whether a node has answered: by keccak256(abi.encode(uint32 subscriptionId, uint32 interval, address node)).
    mapping(bytes32 => bool) public nodeResponded;

    /// @notice How many nodes have answered an interval: by keccak256(abi.encode(uint32 subscriptionId, uint32 interval)).
    mapping(bytes32 => uint16) public redundancyCount;

    mapping(bytes32 => uint256) private _proofRequests;
    mapping(bytes32 => uint256) private _largeEscrows;

    /// @notice How many payments the wallet of a funded subscription holds locked for it.
    mapping(uint32 => uint256) public reservedPayments;

    /// @notice A subscription was created.
    event SubscriptionCreated(uint32 indexed id);

    /// @notice A subscription was cancelled.
    event SubscriptionCancelled(uint32 indexed id);

    /// @notice A node answered.
    event SubscriptionFulfilled(uint32 indexed id, address indexed node);

    /// @notice A proof was judged (`active`), or its time ran out and somebody released the escrows: then the node was paid,
    /// whatever `valid` says.
    event ProofVerified(
        uint32 indexed id, uint32 indexed interval, address indexed node, bool active, address verifier, bool valid
    );

    /// @notice A node answered, as part of a batch; `redundancy` counts the answers to the interval, this one included.
    event Delivered(uint32 indexed id, uint32 indexed interval, address indexed node, uint16 redundancy);

    /// @notice One delivery of a batch failed; `reason` is the selector of its error (zero: no data, or out of gas).
    event DeliveryFailed(uint32 indexed id, uint32 indexed interval, address indexed node, bytes4 reason);

    /// @notice The payments of a subscription were locked ahead.
    event SubscriptionFunded(uint32 indexed id, address indexed wallet, uint256 payments, uint256 amount);

    /// @notice Payments that were locked ahead, and that no interval can use any more, were unlocked.
    event ReserveReleased(uint32 indexed id, address indexed wallet, uint256 payments, uint256 amount);

    /// @notice A wallet was not made by the deployment's factory.
    error InvalidWallet();

    /// @notice The interval is not the current one.
    error IntervalMismatch();

    /// @notice As many nodes as asked for have answered the interval.
    error IntervalCompleted();

    /// @notice The caller is not the subscription's verifier.
    error UnauthorizedVerifier();

    /// @notice The node has answered the interval already.
    error NodeRespondedAlready();

    /// @notice There is no such subscription.
    error SubscriptionNotFound();

    /// @notice There is no such proof request, or it is settled.
    error ProofRequestNotFound();

    /// @notice The caller does not own the subscription.
    error NotSubscriptionOwner();

    /// @notice All intervals of the subscription are over.
    error SubscriptionCompleted();

    /// @notice The subscription is not active yet, or cancelled.
    error SubscriptionNotActive();

    /// @notice The verifier does not take its fee in the payment's token.
    error UnsupportedVerifierToken();

    /// @notice The call is for this contract itself only.
    error OnlySelf();

    /// @notice A batch holds more deliveries than the result has bits.
    error BatchTooLong();

    /// @notice The subscription is free, over or funded already.
    error NothingToFund();

    /// @param registry registry of the deployment
    constructor(Registry registry) {
        FEE = registry.FEE();
        INBOX = registry.INBOX();
        WALLET_FACTORY = registry.WALLET_FACTORY();
    }

    /// @notice A subscription; all zero if there is none of that id.
    function getSubscription(uint32 subscriptionId) external view returns (Subscription memory) {
        return _subscriptions[subscriptionId].load();
    }

    /// @notice An open proof request: by the key of `nodeResponded`; all zero if there is none.
    /// @return expiry until when (exclusive) the verifier can answer
    /// @return nodeWallet wallet that holds the node's stake
    /// @return consumerEscrowed what the consumer's wallet holds for the node
    function proofRequests(bytes32 key) external view returns (uint32 expiry, Wallet nodeWallet, uint256 consumerEscrowed) {
        uint256 word = _proofRequests[key];
        if (word != 0) return (uint32(word), _walletOf(word), _escrowOf(key, word));
    }

    /// @notice Creates a subscription of the caller. Nothing is validated; it is active one period from now.
    /// @param containerId name of the container, or names of a chain of containers joined by commas
    /// @param frequency how many intervals are answered
    /// @param period length of an interval in seconds; 0: one interval without end
    /// @param redundancy how many nodes answer each interval
    /// @param lazy whether results go to the inbox instead of the consumer
    /// @param paymentToken token of the payment; zero: the chain's own coin
    /// @param paymentAmount payment per answer; 0: free
    /// @param wallet wallet that pays; the caller must be an approved spender of it by the time of delivery
    /// @param verifier verifier of the proofs; zero: none
    /// @return id of the subscription
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
        sub.activeAt = uint32(block.timestamp) + period;
        sub.period = period;
        sub.frequency = frequency;
        sub.redundancy = redundancy;
        sub.containerId = keccak256(abi.encode(containerId));
        sub.lazy = lazy;
        sub.verifier = payable(verifier);
        sub.paymentAmount = paymentAmount;
        sub.paymentToken = paymentToken;
        sub.wallet = payable(wallet);
        return _createSubscription(sub);
    }

    /// @notice Cancels a subscription of the caller: it is never active again. What waits for a verifier is still settled.
    function cancelSubscription(uint32 subscriptionId) external {
        StoredSubscription storage stored = _subscriptions[subscriptionId];
        uint256 head = stored.head;
        if (SubscriptionWords.owner(head) != msg.sender) revert NotSubscriptionOwner();
        stored.head = SubscriptionWords.withActiveAt(head, CANCELLED);
        emit SubscriptionCancelled(subscriptionId);
        if (SubscriptionWords.isFunded(head)) releaseReserve(subscriptionId);
    }

    /// @notice Locks, in the wallet of one of the caller's subscriptions, all payments that can still fall due. From then on
    /// deliveries are paid from what is locked, which neither the wallet's owner nor other subscriptions can touch.
    function fundSubscription(uint32 subscriptionId) external {
        StoredSubscription storage stored = _subscriptions[subscriptionId];
        uint256 head = stored.head;
        if (SubscriptionWords.owner(head) != msg.sender) revert NotSubscriptionOwner();
        uint256 rest = stored.restOf(head);
        (address payable wallet, address token, uint256 amount) = stored.payment(head, rest);
        uint256 payments = _duePayments(subscriptionId, head, rest);
        if (amount == 0 || payments == 0 || SubscriptionWords.isFunded(head)) revert NothingToFund();
        if (WalletCode.nonceOf(WALLET_FACTORY, wallet) == 0) revert InvalidWallet();
        stored.head = SubscriptionWords.asFunded(head);
        reservedPayments[subscriptionId] = payments;
        PaymentCall.lock(wallet, msg.sender, token, amount * payments);
        emit SubscriptionFunded(subscriptionId, wallet, payments, amount * payments);
    }

    /// @notice Unlocks what was locked ahead for answers that can no longer be given, because their interval is over or the
    /// subscription was cancelled; open to anyone.
    function releaseReserve(uint32 subscriptionId) public {
        StoredSubscription storage stored = _subscriptions[subscriptionId];
        uint256 head = stored.head;
        uint256 rest = stored.restOf(head);
        uint256 due = _duePayments(subscriptionId, head, rest);
        uint256 reserved = reservedPayments[subscriptionId];
        if (reserved <= due) return;
        reservedPayments[subscriptionId] = due;
        (address payable wallet, address token, uint256 amount) = stored.payment(head, rest);
        unchecked {
            reserved -= due;
            amount *= reserved;
        }
        PaymentCall.unlock(wallet, SubscriptionWords.owner(head), token, amount);
        emit ReserveReleased(subscriptionId, wallet, reserved, amount);
    }

    /// @notice The current interval, from 1: the k-th covers [activeAt + (k-1) * period, activeAt + k * period).
    /// @dev Unchecked: an activeAt in the future wraps.
    function getSubscriptionInterval(uint32 activeAt, uint32 period) public view returns (uint32) {
        if (period == 0) return 1;
        unchecked {
            return (uint32(block.timestamp) - activeAt) / period + 1;
        }
    }

    /// @notice Delivers the caller's answer to an interval.
    /// @param subscriptionId subscription to answer
    /// @param deliveryInterval interval to answer; must be the current one
    /// @param input what was computed on
    /// @param output the result
    /// @param proof the proof, for a verifier or the consumer
    /// @param nodeWallet wallet that is paid and, with a verifier, holds the stake; ignored if the subscription is free
    function deliverCompute(
        uint32 subscriptionId,
        uint32 deliveryInterval,
        bytes calldata input,
        bytes calldata output,
        bytes calldata proof,
        address nodeWallet
    ) external {
        Delivery memory d;
        d.subscriptionId = subscriptionId;
        d.interval = deliveryInterval;
        d.node = msg.sender;
        d.nodeWallet = nodeWallet;
        _setBytes(d, input, output, proof);
        _enterDelivery();
        _deliver(d);
        _leaveDelivery();
    }

    /// @notice Delivers several answers of the caller in one transaction. One that fails is undone by itself.
    /// @dev What gas there is, but for what reporting a failure takes, is shared out evenly over the deliveries still to come, so that
    /// none can eat all of it or undo the others; what one leaves goes to the later ones. Put the heavy ones last.
    /// @param deliveries at most 256
    /// @return delivered bit i: whether delivery i went through
    function deliverComputeBatch(BatchDelivery[] calldata deliveries) external returns (uint256 delivered) {
        uint256 count = deliveries.length;
        if (count > 256) revert BatchTooLong();
        _enterDelivery();
        for (uint256 i = 0; i < count; i++) {
            BatchDelivery calldata item = deliveries[i];
            Delivery memory d;
            d.subscriptionId = item.subscriptionId;
            d.interval = item.interval;
            d.node = msg.sender;
            d.nodeWallet = item.nodeWallet;
            _setBytes(d, item.input, item.output, item.proof);
            (bool done, bytes4 reason) = ConsumerCall.deliverFor(d, this.deliverComputeFor.selector, count - i);
            if (done) delivered |= 1 << i;
            else emit DeliveryFailed(item.subscriptionId, item.interval, msg.sender, reason);
        }
        _leaveDelivery();
    }

    /// @notice One delivery of a batch, for `node`; only this contract itself calls it.
    function deliverComputeFor(
        uint32 subscriptionId,
        uint32 deliveryInterval,
        bytes calldata input,
        bytes calldata output,
        bytes calldata proof,
        address nodeWallet,
        address node
    ) external {
        if (msg.sender != address(this)) revert OnlySelf();
        Delivery memory d;
        d.subscriptionId = subscriptionId;
        d.interval = deliveryInterval;
        d.node = node;
        d.nodeWallet = nodeWallet;
        _setBytes(d, input, output, proof);
        _deliver(d);
        emit Delivered(subscriptionId, deliveryInterval, node, uint16(d.count));
    }

    /// @notice Settles a delivery that was made under a verifier. Within a week the verifier judges: valid pays the node, not
    /// valid slashes its stake to the consumer's wallet. Afterwards anyone can call, and the node is paid.
    /// @param subscriptionId subscription that was answered
    /// @param interval interval that was answered
    /// @param node account that answered
    /// @param valid the verdict; without effect once the week is over
    function finalizeProofVerification(uint32 subscriptionId, uint32 interval, address node, bool valid) external {
        bytes32 key = Keys.ofNode(subscriptionId, interval, node);
        uint256 word = _proofRequests[key];
        if (word == 0) revert ProofRequestNotFound();
        uint256 escrowed = _escrowOf(key, word);
        delete _proofRequests[key];
        if (escrowed >= REQUEST_ESCROW_MAX) delete _largeEscrows[key];

        StoredSubscription storage stored = _subscriptions[subscriptionId];
        uint256 head = stored.head;
        uint256 rest = stored.restOf(head);
        bool active = uint32(block.timestamp) < uint32(word);
        if (active && msg.sender != address(uint160(rest))) revert UnauthorizedVerifier();

        _settle(stored, head, rest, _walletOf(word), node, escrowed, valid || !active);
        emit ProofVerified(subscriptionId, interval, node, active, msg.sender, valid);
    }

    /// @dev How many payments can still fall due: in the current interval and in those to come.
    function _duePayments(uint32 subscriptionId, uint256 head, uint256 rest) private view returns (uint256) {
        uint32 activeAt = SubscriptionWords.activeAt(head);
        if (activeAt == CANCELLED) return 0;
        uint256 redundancy = SubscriptionWords.redundancy(head, rest);
        uint256 frequency = SubscriptionWords.frequency(head, rest);
        uint32 period = SubscriptionWords.period(head, rest);
        // Without a period there is one interval, however many are asked for.
        if (period == 0 && frequency > 1) frequency = 1;
        if (uint32(block.timestamp) < activeAt) return frequency * redundancy;
        uint256 interval = getSubscriptionInterval(activeAt, period);
        if (interval > frequency) return 0;
        return (frequency - interval + 1) * redundancy - redundancyCount[Keys.ofInterval(subscriptionId, interval)];
    }

    /// @dev Unlocks both sides, then pays the node or slashes it.
    function _settle(
        StoredSubscription storage stored,
        uint256 head,
        uint256 rest,
        Wallet nodeWallet,
        address node,
        uint256 escrowed,
        bool payNode
    ) private {
        (address payable wallet, address token, uint256 amount) = stored.payment(head, rest);
        address owner = SubscriptionWords.owner(head);
        PaymentCall.unlock(address(nodeWallet), node, token, amount);
        if (payNode) {
            PaymentCall.release(wallet, owner, token, address(nodeWallet), escrowed);
        } else {
            PaymentCall.unlock(wallet, owner, token, escrowed);
            PaymentCall.transfer(address(nodeWallet), node, token, wallet, amount);
        }
    }

    /// @dev Stores a subscription under the next id.
    function _createSubscription(Subscription memory sub) internal returns (uint32 subscriptionId) {
        unchecked {
            subscriptionId = id++;
        }
        _subscriptions[subscriptionId].save(sub);
        emit SubscriptionCreated(subscriptionId);
    }

    /// @dev Notes where in the calldata the byte strings are.
    function _setBytes(Delivery memory d, bytes calldata input, bytes calldata output, bytes calldata proof) internal pure {
        assembly ("memory-safe") {
            mstore(add(d, 0xa0), input.offset)
            mstore(add(d, 0xc0), input.length)
            mstore(add(d, 0xe0), output.offset)
            mstore(add(d, 0x100), output.length)
            mstore(add(d, 0x120), proof.offset)
            mstore(add(d, 0x140), proof.length)
        }
    }

    /// @dev One delivery: checks, books, pays, hands over. A revert of the consumer undoes all of it.
    function _deliver(Delivery memory d) internal {
        StoredSubscription storage stored = _subscriptions[uint32(d.subscriptionId)];
        uint256 head = stored.head;
        if (SubscriptionWords.owner(head) == address(0)) revert SubscriptionNotFound();
        uint256 rest = stored.restOf(head);
        _book(d, head, rest);

        if (SubscriptionWords.isPaid(head)) _pay(d, stored, head, rest);

        if (SubscriptionWords.isLazy(head)) {
            bytes32 containerId = stored.containerId;
            uint256 index = ConsumerCall.writeToInbox(d, INBOX, containerId);
            ConsumerCall.receiveCompute(d, SubscriptionWords.owner(head), true, containerId, index);
        } else {
            ConsumerCall.receiveCompute(d, SubscriptionWords.owner(head), false, 0, 0);
        }
        emit SubscriptionFulfilled(uint32(d.subscriptionId), d.node);
    }

    /// @dev Checks that the delivery is due and books it: one more answer to the interval, and the node's own.
    function _book(Delivery memory d, uint256 head, uint256 rest) private {
        uint32 activeAt = SubscriptionWords.activeAt(head);
        if (uint32(block.timestamp) < activeAt) revert SubscriptionNotActive();
        uint256 interval = getSubscriptionInterval(activeAt, SubscriptionWords.period(head, rest));
        if (interval != d.interval) revert IntervalMismatch();
        if (interval > SubscriptionWords.frequency(head, rest)) revert SubscriptionCompleted();

        uint256 redundancy = SubscriptionWords.redundancy(head, rest);
        bytes32 key = Keys.ofInterval(d.subscriptionId, interval);
        uint256 count;
        assembly ("memory-safe") {
            // redundancyCount[key], with its place computed once
            mstore(0x00, key)
            mstore(0x20, redundancyCount.slot)
            key := keccak256(0x00, 0x40)
            count := sload(key)
        }
        if (count == redundancy) revert IntervalCompleted();
        unchecked {
            count++;
        }
        assembly ("memory-safe") {
            sstore(key, count)
        }
        d.count = count;

        key = Keys.ofNode(d.subscriptionId, interval, d.node);
        bool responded;
        assembly ("memory-safe") {
            // nodeResponded[key]
            mstore(0x00, key)
            mstore(0x20, nodeResponded.slot)
            key := keccak256(0x00, 0x40)
            responded := sload(key)
        }
        if (responded) revert NodeRespondedAlready();
        assembly ("memory-safe") {
            sstore(key, 1)
        }
    }

    /// @dev Pays for a delivery from the subscription's wallet: the protocol, and the node; or, with a verifier, the protocol and
    /// the verifier, while the node's part and the node's stake are locked until the verdict.
    function _pay(Delivery memory d, StoredSubscription storage stored, uint256 head, uint256 rest) private {
        uint256 nodeNonce = WalletCode.nonceOf(WALLET_FACTORY, d.nodeWallet);
        if (nodeNonce == 0) revert InvalidWallet();
        Payment memory p;
        (p.wallet, p.token, p.amount) = stored.payment(head, rest);
        if (WalletCode.nonceOf(WALLET_FACTORY, p.wallet) == 0) revert InvalidWallet();
        p.owner = SubscriptionWords.owner(head);
        (p.fee, p.recipient) = PaymentCall.feeAndRecipient(FEE);
        if (p.fee > FEE_MAX) p.fee = FEE_MAX;
        if (SubscriptionWords.isFunded(head)) {
            reservedPayments[uint32(d.subscriptionId)]--;
            PaymentCall.unlock(p.wallet, p.owner, p.token, p.amount);
        }

        uint256 rate;
        unchecked {
            rate = 2 * p.fee;
        }
        uint256 protocolFee = p.amount * rate / FEE_SCALE;
        uint256 available;
        unchecked {
            available = p.amount - protocolFee;
        }
        address payable verifier = payable(address(uint160(rest)));
        if (verifier == address(0)) {
            PaymentCall.transferTwo(p.wallet, p.owner, p.token, p.recipient, protocolFee, d.nodeWallet, available);
            return;
        }
        PaymentCall.transfer(p.wallet, p.owner, p.token, p.recipient, protocolFee);
        available -= _payVerifier(p, IVerifier(verifier), available);
        PaymentCall.lock(d.nodeWallet, d.node, p.token, p.amount);
        PaymentCall.lock(p.wallet, p.owner, p.token, available);
        _requestProof(d, IVerifier(verifier), nodeNonce, available);
    }

    /// @dev Pays the verifier and the protocol's part of its fee; returns the sum, which `available` must cover.
    function _payVerifier(Payment memory p, IVerifier verifier, uint256 available) private returns (uint256 sum) {
        if (!verifier.isSupportedToken(p.token)) revert UnsupportedVerifierToken();
        sum = verifier.fee(p.token);
        if (sum > available) revert Wallet.InsufficientFunds();
        uint256 protocolFee = sum * p.fee / FEE_SCALE;
        PaymentCall.transferTwo(p.wallet, p.owner, p.token, p.recipient, protocolFee, verifier.getWallet(), sum - protocolFee);
    }

    /// @dev Notes the open verdict and asks the verifier for it; the verifier may settle at once.
    function _requestProof(Delivery memory d, IVerifier verifier, uint256 nodeNonce, uint256 escrowed) private {
        bytes32 key = Keys.ofNode(d.subscriptionId, d.interval, d.node);
        uint256 expiry = uint32(block.timestamp) + uint32(PROOF_TIME);
        uint256 field = escrowed;
        if (field >= REQUEST_ESCROW_MAX) {
            field = REQUEST_ESCROW_MAX;
            _largeEscrows[key] = escrowed;
        }
        _proofRequests[key] = expiry | (nodeNonce << REQUEST_NONCE) | (field << REQUEST_ESCROW);
        verifier.requestProofVerification(uint32(d.subscriptionId), uint32(d.interval), d.node, _proofOf(d));
    }

    /// @dev The proof, where it is in the calldata.
    function _proofOf(Delivery memory d) private pure returns (bytes calldata proof) {
        assembly ("memory-safe") {
            proof.offset := mload(add(d, 0x120))
            proof.length := mload(add(d, 0x140))
        }
    }

    /// @dev The node's wallet in a proof request.
    function _walletOf(uint256 word) private view returns (Wallet) {
        return Wallet(payable(WalletCode.created(WALLET_FACTORY, uint32(word >> REQUEST_NONCE))));
    }

    /// @dev The consumer's escrow in a proof request.
    function _escrowOf(bytes32 key, uint256 word) private view returns (uint256 escrowed) {
        escrowed = word >> REQUEST_ESCROW;
        if (escrowed == REQUEST_ESCROW_MAX) escrowed = _largeEscrows[key];
    }
}
