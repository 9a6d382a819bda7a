// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Coordinator} from "../../src/Coordinator.sol";
import {IVerifier} from "../../src/payments/IVerifier.sol";
import {Registry} from "../../src/Registry.sol";

/// @title MockVerifier
/// @notice A verifier whose verdict is set from outside; it receives its own fees.
contract MockVerifier is IVerifier {
    /// @notice How it answers: Later waits for `finalize`, Valid and Invalid answer at once, Refuse reverts.
    enum Mode {
        Later,
        Valid,
        Invalid,
        Refuse
    }

    Coordinator private immutable COORDINATOR;
    Mode private _mode;
    mapping(address => bool) private _supported;
    mapping(address => uint256) private _fees;

    /// @notice A request to refuse, or a caller who is not the coordinator.
    error Refused();

    /// @param registry registry of the deployment
    /// @param mode how to answer
    constructor(Registry registry, Mode mode) {
        COORDINATOR = Coordinator(registry.COORDINATOR());
        _mode = mode;
    }

    receive() external payable {}

    /// @notice Changes the way it answers.
    function setMode(Mode mode) external {
        _mode = mode;
    }

    /// @notice Takes a token from now on, at a fee.
    function support(address token, uint256 price) external {
        _supported[token] = true;
        _fees[token] = price;
    }

    /// @notice Judges one delivery.
    function finalize(uint32 subscriptionId, uint32 interval, address node, bool valid) external {
        COORDINATOR.finalizeProofVerification(subscriptionId, interval, node, valid);
    }

    /// @inheritdoc IVerifier
    function getWallet() external view returns (address) {
        return address(this);
    }

    /// @inheritdoc IVerifier
    function isSupportedToken(address token) external view returns (bool) {
        return _supported[token];
    }

    /// @inheritdoc IVerifier
    function fee(address token) external view returns (uint256) {
        return _fees[token];
    }

    /// @inheritdoc IVerifier
    function requestProofVerification(uint32 subscriptionId, uint32 interval, address node, bytes calldata) external {
        if (msg.sender != address(COORDINATOR) || _mode == Mode.Refuse) revert Refused();
        if (_mode != Mode.Later) {
            COORDINATOR.finalizeProofVerification(subscriptionId, interval, node, _mode == Mode.Valid);
        }
    }
}
