// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {CallbackConsumer} from "../../src/consumer/Callback.sol";
import {Delegator} from "../../src/pattern/Delegator.sol";
import {Subscription} from "../../src/Coordinator.sol";

/// @title PlainConsumer
/// @notice Creates whatever it is asked to, for anybody, and ignores what it receives.
contract PlainConsumer is CallbackConsumer, Delegator {
    /// @param registry registry of the deployment
    /// @param signer key that may sign delegated subscriptions
    constructor(address registry, address signer) CallbackConsumer(registry) Delegator(signer) {}

    /// @notice Changes the signing key.
    function updateSigner(address signer) external {
        _updateSigner(signer);
    }

    /// @notice A callback request.
    function requestCompute(
        string calldata containerId,
        bytes calldata inputs,
        uint16 redundancy,
        address paymentToken,
        uint256 paymentAmount,
        address wallet,
        address verifier
    ) external returns (uint32) {
        return _requestCompute(containerId, inputs, redundancy, paymentToken, paymentAmount, wallet, verifier);
    }

    /// @notice A subscription; owner, activeAt and containerId of `sub` are ignored.
    function create(string calldata containerId, Subscription calldata sub) external returns (uint32) {
        return COORDINATOR.createSubscription(
            containerId,
            sub.frequency,
            sub.period,
            sub.redundancy,
            sub.lazy,
            sub.paymentToken,
            sub.paymentAmount,
            sub.wallet,
            sub.verifier
        );
    }

    /// @notice Cancels one of this contract's subscriptions.
    function cancel(uint32 id) external {
        COORDINATOR.cancelSubscription(id);
    }
}
