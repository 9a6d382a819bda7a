// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Coordinator} from "../Coordinator.sol";
import {Registry} from "../Registry.sol";

/// @title Coordinated
/// @notice Base of contracts that take some calls from the coordinator only.
abstract contract Coordinated {
    /// @dev The coordinator of the deployment.
    Coordinator internal immutable COORDINATOR;

    /// @notice The caller is not the coordinator.
    error NotCoordinator();

    /// @dev Refuses every caller but the coordinator.
    modifier onlyCoordinator() {
        if (msg.sender != address(COORDINATOR)) revert NotCoordinator();
        _;
    }

    /// @param registry registry of the deployment
    constructor(Registry registry) {
        COORDINATOR = Coordinator(registry.COORDINATOR());
    }
}
