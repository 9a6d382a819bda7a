// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @title DeliveryGuard
/// @notice Keeps deliveries from being entered again while one is under way.
abstract contract DeliveryGuard {
    /// @dev Storage slot of the guard.
    uint256 private constant GUARD_SLOT = 0x929eee149b4bd21268;

    /// @dev What the slot holds while nothing is under way; not zero, so that no delivery pays for a fresh word.
    uint256 private constant IDLE = 1;

    /// @notice A delivery was entered while another is under way.
    error Reentrancy();

    constructor() {
        assembly ("memory-safe") {
            sstore(GUARD_SLOT, IDLE)
        }
    }

    /// @dev Begins a delivery.
    function _enterDelivery() internal {
        bool busy;
        assembly ("memory-safe") {
            busy := eq(sload(GUARD_SLOT), address())
        }
        if (busy) revert Reentrancy();
        assembly ("memory-safe") {
            sstore(GUARD_SLOT, address())
        }
    }

    /// @dev Ends a delivery.
    function _leaveDelivery() internal {
        assembly ("memory-safe") {
            sstore(GUARD_SLOT, IDLE)
        }
    }
}
