// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @notice One delivery on its way through the coordinator. The byte strings are left where they are in the calldata.
struct Delivery {
    uint256 subscriptionId;
    uint256 interval;
    address node;
    address nodeWallet;
    uint256 count;
    uint256 inputAt;
    uint256 inputLength;
    uint256 outputAt;
    uint256 outputLength;
    uint256 proofAt;
    uint256 proofLength;
}

/// @title ConsumerCall
/// @notice The two calls that carry a delivery's bytes on: into the consumer and into the inbox.
/// @dev Written out because the general encoder runs out of stack with three byte strings and copies them twice.
library ConsumerCall {
    /// @dev Calls `rawReceiveCompute` of the consumer. Eager: with the bytes; lazy: with the place in the inbox instead.
    /// A revert is handed on; a consumer without code reverts with empty data.
    function receiveCompute(Delivery memory d, address consumer, bool lazy, bytes32 containerId, uint256 index) internal {
        assembly ("memory-safe") {
            function append(at, from, size) -> next {
                mstore(at, size)
                next := add(at, 0x20)
                calldatacopy(next, from, size)
                // Zeros up to the next word.
                mstore(add(next, size), 0)
                next := and(add(add(next, size), 0x1f), not(0x1f))
            }
            let call_ := mload(0x40)
            // The tail starts word-aligned, so that rounding up addresses rounds up lengths.
            let args := and(add(call_, 0x3f), not(0x1f))
            mstore(sub(args, 0x20), 0x7a411a8d)
            mstore(args, mload(d))
            mstore(add(args, 0x20), mload(add(d, 0x20)))
            mstore(add(args, 0x40), mload(add(d, 0x80)))
            mstore(add(args, 0x60), mload(add(d, 0x40)))
            mstore(add(args, 0x80), 0x120)
            mstore(add(args, 0xe0), containerId)
            mstore(add(args, 0x100), index)
            let end := add(args, 0x120)
            switch lazy
            case 0 {
                end := append(end, mload(add(d, 0xa0)), mload(add(d, 0xc0)))
                mstore(add(args, 0xa0), sub(end, args))
                end := append(end, mload(add(d, 0xe0)), mload(add(d, 0x100)))
                mstore(add(args, 0xc0), sub(end, args))
                end := append(end, mload(add(d, 0x120)), mload(add(d, 0x140)))
            }
            default {
                mstore(add(args, 0xa0), 0x140)
                mstore(add(args, 0xc0), 0x160)
                calldatacopy(end, calldatasize(), 0x60)
                end := add(end, 0x60)
            }
            let start := sub(args, 4)
            if iszero(call(gas(), consumer, 0, start, sub(end, start), 0, 0)) {
                returndatacopy(call_, 0, returndatasize())
                revert(call_, returndatasize())
            }
            if iszero(extcodesize(consumer)) { revert(0, 0) }
        }
    }

    /// @dev Calls `writeViaCoordinator` of the inbox and returns the item's index.
    function writeToInbox(Delivery memory d, address inbox, bytes32 containerId) internal returns (uint256 index) {
        assembly ("memory-safe") {
            function append(at, from, size) -> next {
                mstore(at, size)
                next := add(at, 0x20)
                calldatacopy(next, from, size)
                mstore(add(next, size), 0)
                next := and(add(add(next, size), 0x1f), not(0x1f))
            }
            let call_ := mload(0x40)
            let args := and(add(call_, 0x3f), not(0x1f))
            mstore(sub(args, 0x20), 0x76a87949)
            mstore(args, containerId)
            mstore(add(args, 0x20), mload(add(d, 0x40)))
            mstore(add(args, 0x40), mload(d))
            mstore(add(args, 0x60), mload(add(d, 0x20)))
            mstore(add(args, 0x80), 0xe0)
            let end := append(add(args, 0xe0), mload(add(d, 0xa0)), mload(add(d, 0xc0)))
            mstore(add(args, 0xa0), sub(end, args))
            end := append(end, mload(add(d, 0xe0)), mload(add(d, 0x100)))
            mstore(add(args, 0xc0), sub(end, args))
            end := append(end, mload(add(d, 0x120)), mload(add(d, 0x140)))
            let start := sub(args, 4)
            if iszero(call(gas(), inbox, 0, start, sub(end, start), 0, 0x20)) {
                returndatacopy(call_, 0, returndatasize())
                revert(call_, returndatasize())
            }
            index := mload(0)
        }
    }
}
