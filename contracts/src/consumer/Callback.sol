// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {BaseConsumer} from "./Base.sol";

/// @title CallbackConsumer
/// @notice A consumer that asks once and is answered at once.
abstract contract CallbackConsumer is BaseConsumer {
    /// @dev Inputs by subscription.
    mapping(uint32 => bytes) internal subscriptionInputs;

    /// @param registry registry of the deployment
    constructor(address registry) BaseConsumer(registry) {}

    /// @notice The inputs that the request was made with.
    /// @param subscriptionId subscription of the request
    function getContainerInputs(uint32 subscriptionId, uint32, uint32, address)
        external
        view
        virtual
        override
        returns (bytes memory)
    {
        return subscriptionInputs[subscriptionId];
    }

    /// @dev Asks for one computation.
    /// @param containerId name of the container, or names of a chain of containers joined by commas
    /// @param inputs what to compute on
    /// @param redundancy how many nodes shall answer
    /// @param paymentToken token of the payment; zero: the chain's own coin
    /// @param paymentAmount payment per answer; 0: free
    /// @param wallet wallet that pays; this contract must be an approved spender of it
    /// @param verifier verifier of the proofs; zero: none
    /// @return id of the subscription that stands for the request
    function _requestCompute(
        string memory containerId,
        bytes memory inputs,
        uint16 redundancy,
        address paymentToken,
        uint256 paymentAmount,
        address wallet,
        address verifier
    ) internal returns (uint32) {
        uint32 id = COORDINATOR.createSubscription(
            containerId, 1, 0, redundancy, false, paymentToken, paymentAmount, wallet, verifier
        );
        subscriptionInputs[id] = inputs;
        return id;
    }
}
