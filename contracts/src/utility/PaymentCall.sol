// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @title PaymentCall
/// @notice The coordinator's calls of the fee contract and of wallets.
/// @dev Written out because the compiler would ask each time whether there is code at all: the fee contract is the registry's, and a
/// wallet is called only after `WalletCode` has recognised it, and has no way to lose its code. A revert is handed on.
library PaymentCall {
    /// @dev `Fee.feeAndRecipient`.
    function feeAndRecipient(address feeContract) internal view returns (uint256 fee, address recipient) {
        assembly ("memory-safe") {
            mstore(0x00, 0x48c10211)
            // The arguments of an expression are evaluated from the last to the first.
            if iszero(and(gt(returndatasize(), 0x3f), staticcall(gas(), feeContract, 0x1c, 0x04, 0x00, 0x40))) {
                revert(0, 0)
            }
            fee := mload(0x00)
            recipient := mload(0x20)
        }
    }

    /// @dev `Wallet.cTransfer`.
    function transfer(address wallet, address spender, address token, address to, uint256 amount) internal {
        _four(0x0d67cfd9, wallet, spender, token, to, amount);
    }

    /// @dev `Wallet.cTransferTwo`.
    function transferTwo(
        address wallet,
        address spender,
        address token,
        address to,
        uint256 amount,
        address secondTo,
        uint256 secondAmount
    ) internal {
        assembly ("memory-safe") {
            let args := mload(0x40)
            mstore(args, 0x0445ae18)
            mstore(add(args, 0x20), spender)
            mstore(add(args, 0x40), token)
            mstore(add(args, 0x60), to)
            mstore(add(args, 0x80), amount)
            mstore(add(args, 0xa0), secondTo)
            mstore(add(args, 0xc0), secondAmount)
        }
        _call(wallet, 0xc4);
    }

    /// @dev `Wallet.cLock`.
    function lock(address wallet, address spender, address token, uint256 amount) internal {
        _three(0xd0729347, wallet, spender, token, amount);
    }

    /// @dev `Wallet.cUnlock`.
    function unlock(address wallet, address spender, address token, uint256 amount) internal {
        _three(0xc7048369, wallet, spender, token, amount);
    }

    /// @dev `Wallet.cRelease`.
    function release(address wallet, address spender, address token, address to, uint256 amount) internal {
        _four(0x255ed74c, wallet, spender, token, to, amount);
    }

    /// @dev A function of spender, token, receiver and amount.
    function _four(uint256 selector, address wallet, address spender, address token, address to, uint256 amount) private {
        assembly ("memory-safe") {
            let args := mload(0x40)
            mstore(args, selector)
            mstore(add(args, 0x20), spender)
            mstore(add(args, 0x40), token)
            mstore(add(args, 0x60), to)
            mstore(add(args, 0x80), amount)
        }
        _call(wallet, 0x84);
    }

    /// @dev A function of spender, token and amount.
    function _three(uint256 selector, address wallet, address spender, address token, uint256 amount) private {
        assembly ("memory-safe") {
            let args := mload(0x40)
            mstore(args, selector)
            mstore(add(args, 0x20), spender)
            mstore(add(args, 0x40), token)
            mstore(add(args, 0x60), amount)
        }
        _call(wallet, 0x64);
    }

    /// @dev Calls with `size` bytes: a selector, right-aligned in the word at the free memory, and what follows it.
    function _call(address wallet, uint256 size) private {
        assembly ("memory-safe") {
            let args := mload(0x40)
            if iszero(call(gas(), wallet, 0, add(args, 0x1c), size, 0, 0)) {
                returndatacopy(args, 0, returndatasize())
                revert(args, returndatasize())
            }
        }
    }
}
