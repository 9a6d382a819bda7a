// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Subscription} from "../src/Coordinator.sol";
import {Inbox, InboxItem} from "../src/Inbox.sol";
import {Coordinated} from "../src/utility/Coordinated.sol";
import {InboxStore} from "../src/utility/InboxStore.sol";
import {World} from "./lib/World.sol";
import {Log, vm} from "./lib/Vm.sol";

/// @notice What is stored comes back byte for byte, however long it is.
contract InboxTest is World {
    bytes32 private constant CONTAINER = keccak256("container");

    function setUp() public {
        deployWorld();
    }

    /// @dev Bytes of the given length that differ from place to place.
    function filled(uint256 length, uint256 seed) private pure returns (bytes memory data) {
        data = new bytes(length);
        for (uint256 i = 0; i < length; i += 32) {
            bytes32 word = keccak256(abi.encode(seed, i));
            if (length - i >= 32) {
                assembly ("memory-safe") {
                    mstore(add(add(data, 0x20), i), word)
                }
            } else {
                for (uint256 k = i; k < length; k++) {
                    data[k] = word[k - i];
                }
            }
        }
    }

    function roundTrip(uint256 inputLength, uint256 outputLength, uint256 proofLength) private {
        bytes memory input = filled(inputLength, 1);
        bytes memory output = filled(outputLength, 2);
        bytes memory proof = filled(proofLength, 3);
        vm.prank(NODE);
        uint256 index = inbox.write(CONTAINER, input, output, proof);
        InboxItem memory item = inbox.read(CONTAINER, NODE, index);
        eqBytes(item.input, input, "input");
        eqBytes(item.output, output, "output");
        eqBytes(item.proof, proof, "proof");
        eq(item.timestamp, uint32(block.timestamp), "time");
        eq(uint256(item.subscriptionId) + item.interval, 0, "direct");
        (uint32 timestamp, uint32 id, uint32 interval, bytes memory a, bytes memory b, bytes memory c) =
            inbox.items(CONTAINER, NODE, index);
        eqBytes(abi.encode(InboxItem(timestamp, id, interval, a, b, c)), abi.encode(item), "getter");
    }

    function testFuzzLengths(uint16 input, uint16 output, uint16 proof) public {
        roundTrip(input % 200, output % 200, proof % 200);
    }

    /// @dev At the borders between storage words, one contract, and several.
    function testBorders() public {
        roundTrip(0, 0, 0);
        roundTrip(1, 0, 0);
        roundTrip(0, 32, 0);
        roundTrip(31, 32, 1);
        roundTrip(0, 0, 64);
        roundTrip(0, 0, 65);
        roundTrip(64, 1, 0);
        roundTrip(24_567, 0, 0);
        roundTrip(0, 24_567, 1);
        roundTrip(10_000, 30_000, 20_000);
        roundTrip(0, 24_575 * 2, 0);
        eq(inbox.length(CONTAINER, NODE), 11, "items");
    }

    function testAppendOnlyPerContainerAndNode() public {
        vm.recordLogs();
        vm.prank(NODE);
        eq(inbox.write(CONTAINER, "", "first", ""), 0, "first");
        vm.prank(OTHER_NODE);
        eq(inbox.write(CONTAINER, "", "other", ""), 0, "another node's first");
        vm.prank(address(coordinator));
        eq(inbox.writeViaCoordinator(CONTAINER, NODE, 7, 8, "", "second", ""), 1, "one sequence");
        Log[] memory logs = vm.getRecordedLogs();
        eq(logs[2].topics[0], Inbox.NewInboxItem.selector, "event");
        eq(logs[2].topics[1], CONTAINER, "container");
        eq(logs[2].topics[2], bytes32(uint256(uint160(NODE))), "node");
        eqBytes(logs[2].data, abi.encode(1), "index");
        InboxItem[] memory batch = inbox.readBatch(CONTAINER, NODE, 0, 99);
        eq(batch.length, 2, "all there are");
        eqBytes(batch[0].output, "first", "first");
        eqBytes(batch[1].output, "second", "second");
        eq(batch[1].subscriptionId, 7, "subscription");
        eq(batch[1].interval, 8, "interval");
        eq(inbox.readBatch(CONTAINER, NODE, 5, 2).length, 0, "none");
    }

    function testOutOfRange() public {
        vm.expectRevert(boundsPanic());
        inbox.read(CONTAINER, NODE, 0);
        vm.expectRevert(bytes(""));
        inbox.items(CONTAINER, NODE, 0);
    }

    /// @dev Bytes that cannot be stored for want of gas leave no item behind.
    function testTooLittleGasToStore() public {
        bytes memory long = filled(20_000, 1);
        vm.prank(NODE);
        vm.expectRevert(InboxStore.BytesNotStored.selector);
        inbox.write{gas: 3_000_000}(CONTAINER, "", long, "");
        eq(inbox.length(CONTAINER, NODE), 0, "no item");
    }

    function testOnlyTheCoordinatorWritesForOthers() public {
        vm.expectRevert(Coordinated.NotCoordinator.selector);
        inbox.writeViaCoordinator(CONTAINER, NODE, 1, 1, "", "", "");
    }
}

/// @notice The batched views.
contract ReaderTest is World {
    function setUp() public {
        deployWorld();
    }

    function ids(uint32 first, uint32 second, uint32 third) private pure returns (uint32[] memory list) {
        list = new uint32[](3);
        (list[0], list[1], list[2]) = (first, second, third);
    }

    function testSubscriptionsAndCounts() public {
        callback(1, 5, address(0));
        uint32 id = callback(2, 0, address(0));
        deliver(id, NODE);
        Subscription[] memory subs = reader.readSubscriptionBatch(1, 4);
        eq(subs.length, 3, "end exclusive");
        eqBytes(abi.encode(subs[0]), abi.encode(coordinator.getSubscription(1)), "first");
        eq(subs[2].owner, address(0), "unknown");
        eq(reader.readSubscriptionBatch(2, 2).length, 0, "empty");
        vm.expectRevert(arithmeticPanic());
        reader.readSubscriptionBatch(2, 1);

        uint16[] memory counts = reader.readRedundancyCountBatch(ids(1, 2, 9), ids(1, 1, 1));
        eq(counts[0], 0, "none");
        eq(counts[1], 1, "one");
        eq(counts[2], 0, "unknown");
        uint32[] memory two = new uint32[](2);
        eq(reader.readRedundancyCountBatch(two, ids(1, 1, 1)).length, 2, "the rest is ignored");
        vm.expectRevert(boundsPanic());
        reader.readRedundancyCountBatch(ids(1, 2, 3), two);

        bool[] memory responded = reader.readNodeResponded(ids(1, 2, 2), ids(1, 1, 2), NODE);
        check(!responded[0] && responded[1] && !responded[2], "responded");
    }

    /// @dev The reader's verdict is the coordinator's: whatever it predicts happens.
    function testFuzzDeliverable(uint32 activeIn, uint32 period, uint32 frequency, uint16 redundancy, uint32 wait, uint8 before)
        public
    {
        Subscription memory sub = plainSubscription();
        sub.activeAt = uint32(block.timestamp + activeIn % 50);
        (sub.period, sub.frequency, sub.redundancy) = (period % 20, frequency % 5, redundancy % 3);
        uint32 id = createDelegated(1, sub);
        vm.warp(block.timestamp + wait % 100);
        if (before % 4 == 3) consumer.cancel(id);
        for (uint256 i = 0; i < before % 3; i++) {
            uint32 current = coordinator.getSubscriptionInterval(sub.activeAt, sub.period);
            vm.prank(address(uint160(1 + i)));
            try coordinator.deliverCompute(id, current, "", "", "", address(0)) {} catch {}
        }
        (uint32[] memory intervals, bytes4[] memory errors) = reader.readDeliverable(ids(id, 99, id), address(1));
        eq(bytes32(errors[1]), bytes32(bytes4(0x1a00354f)), "unknown: SubscriptionNotFound");
        vm.prank(address(1));
        try coordinator.deliverCompute(id, intervals[0], "", "", "", address(0)) {
            eq(bytes32(errors[0]), 0, "accepted");
        } catch (bytes memory reason) {
            eq(bytes32(errors[0]), bytes32(bytes4(reason)), "refused with");
        }
    }

    function testActiveAndIntervals() public {
        Subscription memory sub = plainSubscription();
        (sub.period, sub.frequency) = (10, 2);
        uint32 running = createDelegated(1, sub);
        sub.activeAt += 1000;
        uint32 later = createDelegated(2, sub);
        uint32 cancelled = createDelegated(3, sub);
        consumer.cancel(cancelled);
        uint32[] memory active = reader.readActive(0, 10);
        eq(active.length, 2, "two");
        eq(active[0], running, "running");
        eq(active[1], later, "not yet");
        vm.warp(block.timestamp + 15);
        uint32[] memory intervals = reader.readIntervals(ids(running, later, cancelled));
        eq(intervals[0], 2, "second");
        eq(intervals[1] + intervals[2], 0, "none");
        vm.warp(block.timestamp + 5);
        eq(reader.readActive(0, 10).length, 1, "over");
    }
}
