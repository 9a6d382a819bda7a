// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {BaseConsumer} from "./Base.sol";

/// @title SubscriptionConsumer
/// @notice A consumer that is answered again and again. Override `getContainerInputs` to say what to compute on.
abstract contract SubscriptionConsumer is BaseConsumer {
    /// @param registry registry of the deployment
    constructor(address registry) BaseConsumer(registry) {}

    /// @dev Creates a subscription; it is active one period from now.
    /// @param containerId name of the container, or names of a chain of containers joined by commas
    /// @param frequency how many intervals are to be answered
    /// @param period length of an interval, in seconds
    /// @param redundancy how many nodes shall answer each interval
    /// @param lazy whether results are stored in the inbox instead of being handed over
    /// @param paymentToken token of the payment; zero: the chain's own coin
    /// @param paymentAmount payment per answer; 0: free
    /// @param wallet wallet that pays; this contract must be an approved spender of it
    /// @param verifier verifier of the proofs; zero: none
    /// @return id of the subscription
    function _createComputeSubscription(
        string memory containerId,
        uint32 frequency,
        uint32 period,
        uint16 redundancy,
        bool lazy,
        address paymentToken,
        uint256 paymentAmount,
        address wallet,
        address verifier
    ) internal returns (uint32) {
        return COORDINATOR.createSubscription(
            containerId, frequency, period, redundancy, lazy, paymentToken, paymentAmount, wallet, verifier
        );
    }

    /// @dev Cancels one of this contract's subscriptions.
    function _cancelComputeSubscription(uint32 subscriptionId) internal {
        COORDINATOR.cancelSubscription(subscriptionId);
    }
}
