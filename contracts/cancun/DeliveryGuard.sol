// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// @title DeliveryGuard
/// @notice Keeps deliveries from being entered again while one is under way; for chains with transient storage (EIP-1153).
abstract contract DeliveryGuard {
    /// @dev Transient slot of the guard; zero while nothing is under way.
    uint256 private constant GUARD_SLOT = 0x929eee149b4bd21268;

    /// @notice A delivery was entered while another is under way.
    error Reentrancy();

    /// @dev Begins a delivery.
    function _enterDelivery() internal {
        bool busy;
        assembly ("memory-safe") {
            busy := tload(GUARD_SLOT)
        }
        if (busy) revert Reentrancy();
        assembly ("memory-safe") {
            tstore(GUARD_SLOT, 1)
        }
    }

    /// @dev Ends a delivery, so that the same transaction may make another.
    function _leaveDelivery() internal {
        assembly ("memory-safe") {
            tstore(GUARD_SLOT, 0)
        }
    }
}
