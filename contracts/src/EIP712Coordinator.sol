// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Coordinator, Subscription} from "./Coordinator.sol";
import {Registry} from "./Registry.sol";
import {Delegator} from "./pattern/Delegator.sol";
import {Delivery} from "./utility/ConsumerCall.sol";
import {Keys} from "./utility/Keys.sol";

/// @title EIP712Coordinator
/// @notice A coordinator that also takes subscriptions which a consumer's signer created off chain, by signature (EIP-712).
contract EIP712Coordinator is Coordinator {
    /// @notice Name in the EIP-712 domain.
    string public constant EIP712_NAME = "InfernetCoordinator";

    /// @notice Version in the EIP-712 domain.
    string public constant EIP712_VERSION = "1";

    /// @dev keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    bytes32 private constant DOMAIN_TYPEHASH = 0x8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f;

    /// @dev keccak256 of the name.
    bytes32 private constant NAME_HASH = 0xe7f0b77df5c5e5c7a7bc3e252dd153438c3d764ef75b93d0f9e5658cfd0afde3;

    /// @dev keccak256 of the version.
    bytes32 private constant VERSION_HASH = 0xc89efdaa54c0f20c7adf612882df0950f5a951637e0307cdcb4c672f298b8bc6;

    /// @dev keccak256("Subscription(address owner,uint32 activeAt,uint32 period,uint32 frequency,uint16 redundancy,
    /// bytes32 containerId,bool lazy,address verifier,uint256 paymentAmount,address paymentToken,address wallet)")
    bytes32 private constant SUBSCRIPTION_TYPEHASH = 0x3da81ed66ee47395e568c52867826ec137777eef9c1bdfb6bf972dd4385bc5a9;

    /// @dev keccak256("DelegateSubscription(uint32 nonce,uint32 expiry,Subscription sub)" and the type above).
    bytes32 private constant DELEGATE_TYPEHASH = 0xba9ff1aef2b048b42767aade2b901745a3acf14f698a9ec13952098cfd03d0b6;

    /// @dev Half of the curve's order: a signature with a larger s has a twin with a smaller one.
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @dev Length of an encoded subscription: eleven words.
    uint256 private constant SUBSCRIPTION_LENGTH = 0x160;

    /// @dev Where the head words of the byte strings are in the calldata of `deliverComputeDelegatee`.
    uint256 private constant INPUT_HEAD = 0x224;
    uint256 private constant OUTPUT_HEAD = 0x244;
    uint256 private constant PROOF_HEAD = 0x264;

    uint256 private immutable CACHED_CHAIN_ID;
    bytes32 private immutable CACHED_SEPARATOR;

    /// @notice The highest nonce of an owner's delegated subscriptions; 0 also if there is none. For information only.
    mapping(address => uint32) public maxSubscriberNonce;

    /// @notice Id of a delegated subscription: by keccak256(abi.encode(address owner, uint32 nonce)); 0 if there is none.
    mapping(bytes32 => uint32) public delegateCreatedIds;

    /// @notice The signature is not that of the owner's signer.
    error SignerMismatch();

    /// @notice The signature's time is over.
    error SignatureExpired();

    /// @notice The signature is malformed: nobody's, or not in its canonical form.
    error InvalidSignature();

    /// @param registry registry of the deployment
    constructor(Registry registry) Coordinator(registry) {
        CACHED_CHAIN_ID = block.chainid;
        CACHED_SEPARATOR = _computeSeparator();
    }

    /// @notice The EIP-712 domain (EIP-5267).
    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        )
    {
        return (0x0f, EIP712_NAME, EIP712_VERSION, block.chainid, address(this), 0, new uint256[](0));
    }

    /// @notice Creates the subscription that the owner's signer signed, or returns its id if owner and nonce are known: then
    /// nothing else is looked at.
    /// @param nonce any number, used once per owner
    /// @param expiry until when (exclusive) the signature can be used
    /// @param sub the subscription, stored as it is
    /// @return id of the subscription
    function createSubscriptionDelegatee(uint32 nonce, uint32 expiry, Subscription calldata sub, uint8 v, bytes32 r, bytes32 s)
        public
        returns (uint32)
    {
        bytes32 key = Keys.ofDelegate(sub.owner, nonce);
        uint32 created = delegateCreatedIds[key];
        if (created != 0) return created;

        if (uint32(block.timestamp) >= expiry) revert SignatureExpired();
        Subscription memory copy = sub;
        address signer = _recover(_digest(nonce, expiry, copy), v, r, s);
        if (signer != Delegator(copy.owner).getSigner()) revert SignerMismatch();

        created = _createSubscription(copy);
        delegateCreatedIds[key] = created;
        if (nonce != 0 && nonce > maxSubscriberNonce[copy.owner]) maxSubscriberNonce[copy.owner] = nonce;
        return created;
    }

    /// @notice Creates the signed subscription unless it exists, and delivers to it; parameters as `createSubscriptionDelegatee`
    /// and `deliverCompute`.
    /// @dev The byte strings are declared in memory because as calldata (two stack slots each) the decoder runs out of stack; they
    /// are then taken from the calldata all the same.
    function deliverComputeDelegatee(
        uint32 nonce,
        uint32 expiry,
        Subscription calldata sub,
        uint8 v,
        bytes32 r,
        bytes32 s,
        uint32 deliveryInterval,
        bytes memory input,
        bytes memory output,
        bytes memory proof,
        address nodeWallet
    ) external {
        Delivery memory d;
        d.interval = deliveryInterval;
        d.node = msg.sender;
        d.nodeWallet = nodeWallet;
        d.inputLength = input.length;
        d.outputLength = output.length;
        d.proofLength = proof.length;
        assembly ("memory-safe") {
            // A byte string starts one word (its length) behind the offset in its head word, counted from the first argument.
            mstore(add(d, 0xa0), add(calldataload(INPUT_HEAD), 0x24))
            mstore(add(d, 0xe0), add(calldataload(OUTPUT_HEAD), 0x24))
            mstore(add(d, 0x120), add(calldataload(PROOF_HEAD), 0x24))
        }
        d.subscriptionId = createSubscriptionDelegatee(nonce, expiry, sub, v, r, s);
        _enterDelivery();
        _deliver(d);
        _leaveDelivery();
    }

    /// @dev What the signer signs.
    function _digest(uint32 nonce, uint32 expiry, Subscription memory message) private view returns (bytes32) {
        bytes32 structHash;
        assembly ("memory-safe") {
            // A struct of words only lies in memory as it is encoded; the type hash is put in front of it for a moment.
            let front := sub(message, 0x20)
            let saved := mload(front)
            mstore(front, SUBSCRIPTION_TYPEHASH)
            structHash := keccak256(front, add(SUBSCRIPTION_LENGTH, 0x20))
            mstore(front, saved)
        }
        structHash = keccak256(abi.encode(DELEGATE_TYPEHASH, nonce, expiry, structHash));
        bytes32 separator = block.chainid == CACHED_CHAIN_ID ? CACHED_SEPARATOR : _computeSeparator();
        return keccak256(abi.encodePacked("\x19\x01", separator, structHash));
    }

    /// @dev Who signed. Of the two forms of a signature only the one with the smaller s is taken.
    function _recover(bytes32 digest, uint8 v, bytes32 r, bytes32 s) private pure returns (address signer) {
        if (uint256(s) > HALF_ORDER) revert InvalidSignature();
        signer = ecrecover(digest, v, r, s);
        if (signer == address(0)) revert InvalidSignature();
    }

    /// @dev The domain separator of this chain.
    function _computeSeparator() private view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, address(this)));
    }
}
