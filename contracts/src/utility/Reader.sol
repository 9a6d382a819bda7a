// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Coordinator, Subscription} from "../Coordinator.sol";
import {Registry} from "../Registry.sol";
import {Keys} from "./Keys.sol";

/// @title Reader
/// @notice Many subscriptions or counts in one call.
contract Reader {
    /// @dev The coordinator of the deployment.
    Coordinator private immutable COORDINATOR;

    /// @param registry registry of the deployment
    constructor(Registry registry) {
        COORDINATOR = Coordinator(registry.COORDINATOR());
    }

    /// @notice The subscriptions with id `startId` up to, but without, `endId`; unknown ones are all zero.
    function readSubscriptionBatch(uint32 startId, uint32 endId) external view returns (Subscription[] memory batch) {
        batch = new Subscription[](endId - startId);
        for (uint256 i = 0; i < batch.length; i++) {
            batch[i] = COORDINATOR.getSubscription(uint32(startId + i));
        }
    }

    /// @notice How many nodes have answered each (id, interval); panics (0x32) if `intervals` is shorter than `ids`.
    function readRedundancyCountBatch(uint32[] calldata ids, uint32[] calldata intervals)
        external
        view
        returns (uint16[] memory counts)
    {
        counts = new uint16[](ids.length);
        for (uint256 i = 0; i < ids.length; i++) {
            counts[i] = COORDINATOR.redundancyCount(Keys.ofInterval(ids[i], intervals[i]));
        }
    }
}
