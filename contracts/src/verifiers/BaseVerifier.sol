// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Registry} from "../Registry.sol";
import {IVerifier} from "../payments/IVerifier.sol";
import {Coordinated} from "../utility/Coordinated.sol";
import {Ownable} from "../utility/Ownable.sol";

/// @title BaseVerifier
/// @notice What the example verifiers have in common: an owner, who sets the fees and receives them, and requests from the
/// coordinator only.
abstract contract BaseVerifier is IVerifier, Ownable, Coordinated {
    /// @dev Fee per token plus one; 0: not supported.
    mapping(address => uint256) private _feePlusOne;

    /// @notice A token's fee was set, or the token is no longer taken.
    event VerifierFeeUpdated(address indexed token, bool supported, uint256 fee);

    /// @param registry registry of the deployment
    /// @param initialOwner who sets and receives the fees
    constructor(Registry registry, address initialOwner) Coordinated(registry) {
        _setOwner(initialOwner);
    }

    /// @inheritdoc IVerifier
    receive() external payable override {}

    /// @notice Sets the fee per proof in `token`, or stops taking it; only the owner.
    function setFee(address token, bool supported, uint256 amount) external onlyOwner {
        _feePlusOne[token] = supported ? amount + 1 : 0;
        emit VerifierFeeUpdated(token, supported, amount);
    }

    /// @inheritdoc IVerifier
    function requestProofVerification(uint32 subscriptionId, uint32 interval, address node, bytes calldata proof)
        external
        override
        onlyCoordinator
    {
        _request(subscriptionId, interval, node, proof);
    }

    /// @inheritdoc IVerifier
    function getWallet() external view override returns (address) {
        return owner();
    }

    /// @inheritdoc IVerifier
    function isSupportedToken(address token) external view override returns (bool) {
        return _feePlusOne[token] != 0;
    }

    /// @inheritdoc IVerifier
    function fee(address token) external view override returns (uint256) {
        uint256 plusOne = _feePlusOne[token];
        return plusOne == 0 ? 0 : plusOne - 1;
    }

    /// @dev Judges, at once or later; parameters as `requestProofVerification`.
    function _request(uint32 subscriptionId, uint32 interval, address node, bytes calldata proof) internal virtual;
}
