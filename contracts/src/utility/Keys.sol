// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @title Keys
/// @notice The hash keys of the coordinator's mappings: keccak256 of the ABI-encoded (padded) values.
library Keys {
    /// @dev keccak256(abi.encode(uint32 subscriptionId, uint32 interval)).
    function ofInterval(uint256 subscriptionId, uint256 interval) internal pure returns (bytes32 key) {
        assembly ("memory-safe") {
            mstore(0x00, subscriptionId)
            mstore(0x20, interval)
            key := keccak256(0x00, 0x40)
        }
    }

    /// @dev keccak256(abi.encode(uint32 subscriptionId, uint32 interval, address node)).
    function ofNode(uint256 subscriptionId, uint256 interval, address node) internal pure returns (bytes32 key) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(0x00, subscriptionId)
            mstore(0x20, interval)
            mstore(0x40, node)
            key := keccak256(0x00, 0x60)
            mstore(0x40, free)
        }
    }

    /// @dev keccak256(abi.encode(address owner, uint32 nonce)).
    function ofDelegate(address owner, uint256 nonce) internal pure returns (bytes32 key) {
        assembly ("memory-safe") {
            mstore(0x00, owner)
            mstore(0x20, nonce)
            key := keccak256(0x00, 0x40)
        }
    }
}
