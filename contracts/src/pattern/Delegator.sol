// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @title Delegator
/// @notice A consumer that lets one key sign subscriptions on its behalf.
abstract contract Delegator {
    /// @dev The key that may sign.
    address private _signer;

    /// @notice The signing key changed.
    event SignerUpdated(address indexed oldSigner, address indexed newSigner);

    /// @param signer the key that may sign subscriptions
    constructor(address signer) {
        _updateSigner(signer);
    }

    /// @notice The key that may sign subscriptions for this contract.
    function getSigner() external view returns (address) {
        return _signer;
    }

    /// @dev Changes the key. Subscriptions that exist already stay.
    function _updateSigner(address newSigner) internal {
        emit SignerUpdated(_signer, newSigner);
        _signer = newSigner;
    }
}
