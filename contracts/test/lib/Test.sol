// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Vm, Log, vm} from "./Vm.sol";

/// @title Test
/// @notice What the tests assert with. A failed assertion reverts with both values, so a test ends at the first one.
abstract contract Test {
    /// @notice Tells forge that this is a test contract.
    bool public IS_TEST = true;

    error NotTrue(string what);
    error NotEqual(string what, uint256 found, uint256 expected);
    error NotEqualBytes(string what, bytes found, bytes expected);

    function check(bool condition, string memory what) internal pure {
        if (!condition) revert NotTrue(what);
    }

    function eq(uint256 found, uint256 expected, string memory what) internal pure {
        if (found != expected) revert NotEqual(what, found, expected);
    }

    function eq(address found, address expected, string memory what) internal pure {
        if (found != expected) revert NotEqual(what, uint160(found), uint160(expected));
    }

    function eq(bytes32 found, bytes32 expected, string memory what) internal pure {
        if (found != expected) revert NotEqual(what, uint256(found), uint256(expected));
    }

    function eqBytes(bytes memory found, bytes memory expected, string memory what) internal pure {
        if (keccak256(found) != keccak256(expected)) revert NotEqualBytes(what, found, expected);
    }

    /// @dev `value` brought into [low, high].
    function bound(uint256 value, uint256 low, uint256 high) internal pure returns (uint256) {
        if (value >= low && value <= high) return value;
        uint256 size = high - low + 1;
        return size == 0 ? value : low + value % size;
    }

    /// @dev Solidity's arithmetic panic.
    function arithmeticPanic() internal pure returns (bytes memory) {
        return abi.encodeWithSignature("Panic(uint256)", 0x11);
    }

    /// @dev Solidity's array bounds panic.
    function boundsPanic() internal pure returns (bytes memory) {
        return abi.encodeWithSignature("Panic(uint256)", 0x32);
    }
}
