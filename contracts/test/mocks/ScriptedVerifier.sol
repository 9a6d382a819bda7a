// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Coordinator} from "../../src/Coordinator.sol";
import {Registry} from "../../src/Registry.sol";
import {IVerifier} from "../../src/payments/IVerifier.sol";
import {Coordinated} from "../../src/utility/Coordinated.sol";

/// @title ScriptedVerifier
/// @notice A verifier for tests, with fees and verdicts as it was told. It judges at once, or waits to be asked to.
contract ScriptedVerifier is IVerifier, Coordinated {
    /// @notice What follows a request.
    enum Script {
        Wait,
        Valid,
        Invalid,
        Revert
    }

    Script private _script;
    address private _wallet;

    /// @inheritdoc IVerifier
    mapping(address => bool) public override isSupportedToken;

    /// @inheritdoc IVerifier
    mapping(address => uint256) public override fee;

    /// @notice A verdict was asked for.
    event ProofAsked(uint32 subscriptionId, uint32 interval, address node, bytes proof);

    /// @notice The script says no.
    error Refused();

    /// @param registry registry of the deployment
    constructor(Registry registry) Coordinated(registry) {}

    receive() external payable override {}

    /// @inheritdoc IVerifier
    function getWallet() external view override returns (address) {
        return _wallet;
    }

    /// @notice Sets what follows a request, and where the fee goes.
    function setScript(Script script, address wallet) external {
        _script = script;
        _wallet = wallet;
    }

    /// @notice Sets whether a token is taken, and the fee in it.
    function setToken(address token, bool supported, uint256 amount) external {
        isSupportedToken[token] = supported;
        fee[token] = amount;
    }

    /// @inheritdoc IVerifier
    function requestProofVerification(uint32 subscriptionId, uint32 interval, address node, bytes calldata proof)
        external
        override
        onlyCoordinator
    {
        emit ProofAsked(subscriptionId, interval, node, proof);
        if (_script == Script.Wait) return;
        if (_script == Script.Revert) revert Refused();
        COORDINATOR.finalizeProofVerification(subscriptionId, interval, node, _script == Script.Valid);
    }
}
