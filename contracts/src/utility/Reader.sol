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

    /// @notice Which subscriptions with id `startId` up to, but without, `endId` can still be answered: neither cancelled nor over
    /// (those that are not active yet included).
    function readActive(uint32 startId, uint32 endId) external view returns (uint32[] memory ids) {
        ids = new uint32[](endId - startId);
        uint256 found;
        for (uint256 i = 0; i < ids.length; i++) {
            uint32 id = uint32(startId + i);
            (Subscription memory sub, uint32 interval) = _state(id);
            if (sub.owner == address(0) || sub.activeAt == type(uint32).max) continue;
            if (uint32(block.timestamp) >= sub.activeAt && interval > sub.frequency) continue;
            ids[found++] = id;
        }
        assembly ("memory-safe") {
            mstore(ids, found)
        }
    }

    /// @notice Whether `node` has answered each (id, interval); panics (0x32) if `intervals` is shorter than `ids`.
    function readNodeResponded(uint32[] calldata ids, uint32[] calldata intervals, address node)
        external
        view
        returns (bool[] memory responded)
    {
        responded = new bool[](ids.length);
        for (uint256 i = 0; i < ids.length; i++) {
            responded[i] = COORDINATOR.nodeResponded(Keys.ofNode(ids[i], intervals[i], node));
        }
    }

    /// @notice The current interval of each subscription, by the block's time; 0 before it is active, or when it is cancelled or
    /// unknown.
    function readIntervals(uint32[] calldata ids) external view returns (uint32[] memory intervals) {
        intervals = new uint32[](ids.length);
        for (uint256 i = 0; i < ids.length; i++) {
            (, intervals[i]) = _state(ids[i]);
        }
    }

    /// @notice For each subscription: the current interval (as `readIntervals`) and the selector of the error with which a delivery of
    /// `node` would be refused now, before payment and consumer; zero if it would not.
    function readDeliverable(uint32[] calldata ids, address node)
        external
        view
        returns (uint32[] memory intervals, bytes4[] memory errors)
    {
        intervals = new uint32[](ids.length);
        errors = new bytes4[](ids.length);
        for (uint256 i = 0; i < ids.length; i++) {
            Subscription memory sub;
            (sub, intervals[i]) = _state(ids[i]);
            errors[i] = _refusal(sub, ids[i], intervals[i], node);
        }
    }

    /// @dev A subscription and its current interval; 0 if it has none.
    function _state(uint32 id) private view returns (Subscription memory sub, uint32 interval) {
        sub = COORDINATOR.getSubscription(id);
        if (sub.owner != address(0) && uint32(block.timestamp) >= sub.activeAt && sub.activeAt != type(uint32).max) {
            interval = COORDINATOR.getSubscriptionInterval(sub.activeAt, sub.period);
        }
    }

    /// @dev The coordinator's checks, in its order.
    function _refusal(Subscription memory sub, uint32 id, uint32 interval, address node) private view returns (bytes4) {
        if (sub.owner == address(0)) return Coordinator.SubscriptionNotFound.selector;
        if (interval == 0) return Coordinator.SubscriptionNotActive.selector;
        if (interval > sub.frequency) return Coordinator.SubscriptionCompleted.selector;
        if (COORDINATOR.redundancyCount(Keys.ofInterval(id, interval)) == sub.redundancy) {
            return Coordinator.IntervalCompleted.selector;
        }
        if (COORDINATOR.nodeResponded(Keys.ofNode(id, interval, node))) return Coordinator.NodeRespondedAlready.selector;
        return 0;
    }
}
