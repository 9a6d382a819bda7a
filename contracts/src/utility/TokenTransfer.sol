// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @title TokenTransfer
/// @notice Sends the chain's own coin (token zero) or an ERC-20, and reads balances.
library TokenTransfer {
    /// @dev Gas that the receiver of a coin transfer may use: enough for a hook, too little to grieve the sender.
    uint256 private constant RECEIVE_GAS = 100_000;

    /// @notice The token refused, returned false, or is no contract.
    error TransferFailed();

    /// @notice The balance of the chain's own coin is too short.
    error ETHTransferFailed();

    /// @dev Sends `amount` of `token` to `to`. A receiver cannot refuse the chain's own coin: it is then forced on him. A token
    /// counts as sent if it returns true or nothing; an address without code is no token.
    function send(address token, address to, uint256 amount) internal {
        if (token == address(0)) {
            sendEther(to, amount);
        } else {
            sendToken(token, to, amount);
        }
    }

    /// @dev Sends the chain's own coin.
    function sendEther(address to, uint256 amount) internal {
        if (address(this).balance < amount) revert ETHTransferFailed();
        bool sent;
        assembly ("memory-safe") {
            sent := call(RECEIVE_GAS, to, amount, 0, 0, 0, 0)
            if iszero(sent) {
                // A creation that destroys itself in favour of the receiver: PUSH20 to SELFDESTRUCT.
                mstore(0x00, to)
                mstore8(0x0b, 0x73)
                mstore8(0x20, 0xff)
                sent := create(amount, 0x0b, 0x16)
            }
        }
        if (!sent) revert ETHTransferFailed();
    }

    /// @dev Sends an ERC-20.
    function sendToken(address token, address to, uint256 amount) internal {
        bool sent;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(0x00, 0xa9059cbb) // transfer(address,uint256)
            mstore(0x20, to)
            mstore(0x40, amount)
            sent := call(gas(), token, 0, 0x1c, 0x44, 0x00, 0x20)
            switch returndatasize()
            case 0 { sent := and(sent, gt(extcodesize(token), 0)) }
            default { sent := and(sent, and(gt(returndatasize(), 0x1f), eq(mload(0x00), 1))) }
            mstore(0x40, free)
        }
        if (!sent) revert TransferFailed();
    }

    /// @dev What this contract holds of `token`; 0 for a token that does not answer.
    function balance(address token) internal view returns (uint256 held) {
        if (token == address(0)) return address(this).balance;
        assembly ("memory-safe") {
            mstore(0x00, 0x70a08231) // balanceOf(address)
            mstore(0x20, address())
            let answered := staticcall(gas(), token, 0x1c, 0x24, 0x00, 0x20)
            if and(answered, gt(returndatasize(), 0x1f)) { held := mload(0x00) }
        }
    }
}
