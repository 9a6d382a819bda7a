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
/// @notice The calls that carry a delivery's bytes on: into the consumer, into the inbox, and within a batch.
/// @dev Written out because the general encoder runs out of stack with three byte strings. Arguments start word-aligned, so that
/// rounding up addresses rounds up lengths. What is read from `Delivery` by offset follows the order of its fields.
library ConsumerCall {
    /// @dev What a batch keeps back from each of its deliveries, so that it can report a failure and end: about 5,000 are needed.
    uint256 private constant BATCH_RESERVE = 12_000;

    /// @dev Calls `rawReceiveCompute` of the consumer. Eager: with the bytes; lazy: with the place in the inbox instead.
    /// A revert is handed on; a consumer without code reverts with empty data.
    function receiveCompute(Delivery memory d, address consumer, bool lazy, bytes32 containerId, uint256 index) internal {
        uint256 args = _start(0x7a411a8d);
        uint256 end;
        assembly ("memory-safe") {
            mstore(args, mload(d))
            mstore(add(args, 0x20), mload(add(d, 0x20)))
            mstore(add(args, 0x40), mload(add(d, 0x80)))
            mstore(add(args, 0x60), mload(add(d, 0x40)))
            mstore(add(args, 0xe0), containerId)
            mstore(add(args, 0x100), index)
            if lazy {
                // Three empty strings.
                mstore(add(args, 0x80), 0x120)
                mstore(add(args, 0xa0), 0x140)
                mstore(add(args, 0xc0), 0x160)
                end := add(args, 0x180)
                calldatacopy(add(args, 0x120), calldatasize(), 0x60)
            }
        }
        if (!lazy) end = _putBytes(d, args, 0x80, 0x120);
        bool sent;
        assembly ("memory-safe") {
            sent := call(gas(), consumer, 0, sub(args, 4), sub(end, sub(args, 4)), 0, 0)
        }
        if (!sent) _handOn();
        if (consumer.code.length == 0) revert();
    }

    /// @dev Calls `writeViaCoordinator` of the inbox and returns the item's index.
    function writeToInbox(Delivery memory d, address inbox, bytes32 containerId) internal returns (uint256 index) {
        uint256 args = _start(0x76a87949);
        assembly ("memory-safe") {
            mstore(args, containerId)
            mstore(add(args, 0x20), mload(add(d, 0x40)))
            mstore(add(args, 0x40), mload(d))
            mstore(add(args, 0x60), mload(add(d, 0x20)))
        }
        uint256 end = _putBytes(d, args, 0x80, 0xe0);
        bool sent;
        assembly ("memory-safe") {
            sent := call(gas(), inbox, 0, sub(args, 4), sub(end, sub(args, 4)), 0, 0x20)
            index := mload(0)
        }
        if (!sent) _handOn();
    }

    /// @dev Calls `deliverComputeFor` of this contract with one of `parts` equal parts of the gas. Returns whether it went through; if
    /// not, the first four bytes of what it reverted with.
    function deliverFor(Delivery memory d, bytes4 selector, uint256 parts) internal returns (bool delivered, bytes4 reason) {
        uint256 args = _start(uint32(selector));
        assembly ("memory-safe") {
            mstore(args, mload(d))
            mstore(add(args, 0x20), mload(add(d, 0x20)))
            mstore(add(args, 0xa0), mload(add(d, 0x60)))
            mstore(add(args, 0xc0), mload(add(d, 0x40)))
        }
        uint256 end = _putBytes(d, args, 0x40, 0xe0);
        assembly ("memory-safe") {
            mstore(0, 0)
            let free := gas()
            free := mul(gt(free, BATCH_RESERVE), sub(free, BATCH_RESERVE))
            delivered := call(div(free, parts), address(), 0, sub(args, 4), sub(end, sub(args, 4)), 0, 4)
            reason := mload(0)
        }
    }

    /// @dev Puts the selector in front of the place where arguments start.
    function _start(uint256 selector) private pure returns (uint256 args) {
        assembly ("memory-safe") {
            args := and(add(mload(0x40), 0x3f), not(0x1f))
            mstore(sub(args, 0x20), selector)
        }
    }

    /// @dev Encodes the three byte strings: their offsets from `head` on, themselves from `tail` on (both counted from `args`).
    function _putBytes(Delivery memory d, uint256 args, uint256 head, uint256 tail) private pure returns (uint256 end) {
        assembly ("memory-safe") {
            head := add(args, head)
            end := add(args, tail)
            let place := add(d, 0xa0)
            for { let last := add(place, 0x80) } iszero(gt(place, last)) { place := add(place, 0x40) } {
                let size := mload(add(place, 0x20))
                mstore(head, sub(end, args))
                head := add(head, 0x20)
                mstore(end, size)
                end := add(end, 0x20)
                calldatacopy(end, mload(place), size)
                end := add(end, size)
                // Zeros up to the next word.
                mstore(end, 0)
                end := and(add(end, 0x1f), not(0x1f))
            }
        }
    }

    /// @dev Reverts with what the last call reverted with.
    function _handOn() private pure {
        assembly ("memory-safe") {
            let free := mload(0x40)
            returndatacopy(free, 0, returndatasize())
            revert(free, returndatasize())
        }
    }
}
