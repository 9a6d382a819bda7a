// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Coordinator} from "../Coordinator.sol";
import {Inbox} from "../Inbox.sol";
import {Registry} from "../Registry.sol";

/// @title BaseConsumer
/// @notice What every consumer has in common: it takes results from the coordinator, and from nobody else.
abstract contract BaseConsumer {
    /// @dev The coordinator of the deployment.
    Coordinator internal immutable COORDINATOR;

    /// @dev The inbox of the deployment, for lazy results.
    Inbox internal immutable INBOX;

    /// @notice The caller is not the coordinator.
    error NotCoordinator();

    /// @param registry registry of the deployment
    constructor(address registry) {
        COORDINATOR = Coordinator(Registry(registry).COORDINATOR());
        INBOX = Inbox(Registry(registry).INBOX());
    }

    /// @notice Hands one result to this consumer; only the coordinator.
    /// @param subscriptionId subscription that is answered
    /// @param interval interval that is answered, from 1
    /// @param redundancy how many nodes have answered this interval, this one included
    /// @param node account that answered
    /// @param input what the node computed on, as it says (empty when lazy)
    /// @param output the result (empty when lazy)
    /// @param proof the proof (empty when lazy)
    /// @param containerId lazy: hash of the container, a key into the inbox; eager: zero
    /// @param index lazy: index in the inbox; eager: zero
    function rawReceiveCompute(
        uint32 subscriptionId,
        uint32 interval,
        uint16 redundancy,
        address node,
        bytes calldata input,
        bytes calldata output,
        bytes calldata proof,
        bytes32 containerId,
        uint256 index
    ) external {
        if (msg.sender != address(COORDINATOR)) revert NotCoordinator();
        _receiveCompute(subscriptionId, interval, redundancy, node, input, output, proof, containerId, index);
    }

    /// @notice What the containers shall compute on; nodes ask here before each run. Empty by default.
    /// @param subscriptionId subscription that is to be answered
    /// @param interval interval that is to be answered
    /// @param timestamp time at which the node asks
    /// @param caller the node that asks
    function getContainerInputs(uint32 subscriptionId, uint32 interval, uint32 timestamp, address caller)
        external
        view
        virtual
        returns (bytes memory)
    {}

    /// @dev What the consumer does with a result; parameters as `rawReceiveCompute`. Does nothing by default.
    function _receiveCompute(
        uint32 subscriptionId,
        uint32 interval,
        uint16 redundancy,
        address node,
        bytes calldata input,
        bytes calldata output,
        bytes calldata proof,
        bytes32 containerId,
        uint256 index
    ) internal virtual {}
}
