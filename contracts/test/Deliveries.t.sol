// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {BatchDelivery, Coordinator, Subscription} from "../src/Coordinator.sol";
import {InboxItem} from "../src/Inbox.sol";
import {BaseConsumer} from "../src/consumer/Base.sol";
import {DeliveryGuard} from "../src/utility/DeliveryGuard.sol";
import {Recorder} from "./lib/Recorder.sol";
import {DelegatedDelivery, World} from "./lib/World.sol";
import {Log, vm} from "./lib/Vm.sol";

/// @notice What is delivered, by whom, how often, and in which order things are refused.
contract DeliveriesTest is World {
    function setUp() public {
        deployWorld();
    }

    function refused(bytes4 reason, uint32 id, uint32 interval, address node) private {
        vm.expectRevert(reason);
        vm.prank(node);
        coordinator.deliverCompute(id, interval, "input", "output", "proof", address(0xBAD));
    }

    function subscription(uint32 period, uint32 frequency, uint16 redundancy) private returns (uint32) {
        Subscription memory sub;
        sub.period = period;
        sub.frequency = frequency;
        sub.redundancy = redundancy;
        sub.paymentAmount = 1;
        return consumer.create("container", sub);
    }

    /// @dev Every call here is wrong in at least two ways; the earlier check must win.
    function testOrderOfChecks() public {
        refused(Coordinator.SubscriptionNotFound.selector, 0, 0, NODE);
        refused(Coordinator.SubscriptionNotFound.selector, 1, 5, NODE);

        uint32 id = subscription(100, 2, 0);
        refused(Coordinator.SubscriptionNotActive.selector, id, 7, NODE);
        vm.warp(block.timestamp + 99);
        refused(Coordinator.SubscriptionNotActive.selector, id, 1, NODE);
        vm.warp(block.timestamp + 1);
        refused(Coordinator.IntervalMismatch.selector, id, 2, NODE);
        refused(Coordinator.IntervalCompleted.selector, id, 1, NODE); // redundancy 0
        vm.warp(block.timestamp + 200);
        refused(Coordinator.IntervalMismatch.selector, id, 4, NODE);
        refused(Coordinator.SubscriptionCompleted.selector, id, 3, NODE);
        refused(Coordinator.SubscriptionCompleted.selector, subscription(0, 0, 0), 1, NODE);

        consumer.cancel(id);
        refused(Coordinator.SubscriptionNotActive.selector, id, 3, NODE);

        uint32 free = callback(1, 0, address(0));
        deliver(free, NODE);
        refused(Coordinator.IntervalCompleted.selector, free, 1, NODE); // before NodeRespondedAlready

        Subscription memory sub;
        (sub.frequency, sub.redundancy) = (1, 2);
        uint32 twice = consumer.create("container", sub);
        deliver(twice, NODE);
        refused(Coordinator.NodeRespondedAlready.selector, twice, 1, NODE);

        uint32 paid = callback(1, 1, address(0));
        refused(Coordinator.InvalidWallet.selector, paid, 1, NODE);
        eq(coordinator.redundancyCount(intervalKey(paid, 1)), 0, "a refusal leaves no trace");
    }

    function testFuzzEager(bytes memory input, bytes memory output, bytes memory proof, uint16 redundancy) public {
        redundancy = uint16(bound(redundancy, 2, type(uint16).max));
        uint32 id = callback(redundancy, 0, address(0));
        eqBytes(consumer.getContainerInputs(id, 1, 0, NODE), "inputs", "kept inputs");
        vm.recordLogs();
        vm.prank(NODE);
        coordinator.deliverCompute(id, 1, input, output, proof, address(0xBAD));
        Log[] memory logs = vm.getRecordedLogs();
        eq(logs.length, 1, "one log");
        eq(logs[0].topics[0], Coordinator.SubscriptionFulfilled.selector, "fulfilled");
        eq(logs[0].topics[1], bytes32(uint256(id)), "id");
        eq(logs[0].topics[2], bytes32(uint256(uint160(NODE))), "node");

        bytes memory strings = abi.encode(input, output, proof);
        eq(consumer.last(), consumer.digest(id, 1, 1, NODE, strings, 0, 0), "first node");
        check(coordinator.nodeResponded(nodeKey(id, 1, NODE)), "responded");
        check(!coordinator.nodeResponded(nodeKey(id, 1, OTHER_NODE)), "the other not");
        vm.prank(OTHER_NODE);
        coordinator.deliverCompute(id, 1, input, output, proof, address(0));
        eq(consumer.last(), consumer.digest(id, 1, 2, OTHER_NODE, strings, 0, 0), "second node");
        eq(coordinator.redundancyCount(intervalKey(id, 1)), 2, "count");
    }

    function testFuzzLazy(bytes memory input, bytes memory output, bytes memory proof) public {
        Subscription memory sub;
        (sub.frequency, sub.redundancy, sub.lazy) = (1, 1, true);
        uint32 id = consumer.create("container", sub);
        bytes32 containerId = keccak256(abi.encode("container"));
        vm.prank(NODE);
        inbox.write(containerId, "", "", "");
        vm.prank(NODE);
        coordinator.deliverCompute(id, 1, input, output, proof, address(0));
        bytes memory none = abi.encode(bytes(""), bytes(""), bytes(""));
        eq(consumer.last(), consumer.digest(id, 1, 1, NODE, none, containerId, 1), "place only");
        InboxItem memory stored = inbox.read(containerId, NODE, 1);
        eq(stored.timestamp, block.timestamp, "time");
        eq(stored.subscriptionId, id, "subscription");
        eq(stored.interval, 1, "interval");
        eqBytes(abi.encode(stored.input, stored.output, stored.proof), abi.encode(input, output, proof), "bytes");
    }

    function testFuzzDelegated(bytes memory input, bytes memory output, bytes memory proof) public {
        Subscription memory sub = plainSubscription();
        sub.redundancy = 2;
        DelegatedDelivery memory d;
        (d.nonce, d.expiry, d.sub, d.interval) = (4, type(uint32).max, sub, 1);
        (d.input, d.output, d.proof) = (input, output, proof);
        (d.v, d.r, d.s) = vm.sign(SIGNER_KEY, digestOf(4, type(uint32).max, sub));
        deliverDelegated(NODE, d);
        bytes memory strings = abi.encode(input, output, proof);
        eq(consumer.last(), consumer.digest(1, 1, 1, NODE, strings, 0, 0), "created and delivered");
        (d.expiry, d.v, d.r, d.s) = (0, 0, 0, 0);
        deliverDelegated(OTHER_NODE, d);
        eq(consumer.last(), consumer.digest(1, 1, 2, OTHER_NODE, strings, 0, 0), "delivered to the existing one");
        eq(coordinator.id(), 2, "one subscription");
    }

    /// @notice So that `expectRevert` meets a call.
    function deliverDelegatedExternally(DelegatedDelivery memory d) external {
        deliverDelegated(NODE, d);
    }

    function testRefusedDelegatedDeliveryCreatesNothing() public {
        Subscription memory sub = plainSubscription();
        sub.activeAt = uint32(block.timestamp) + 1;
        DelegatedDelivery memory d;
        (d.expiry, d.sub, d.interval) = (type(uint32).max, sub, 1);
        (d.v, d.r, d.s) = vm.sign(SIGNER_KEY, digestOf(0, type(uint32).max, sub));
        vm.expectRevert(Coordinator.SubscriptionNotActive.selector);
        this.deliverDelegatedExternally(d);
        eq(coordinator.id(), 1, "nothing created");
        // A signed start in the past begins above interval 1.
        sub.activeAt = uint32(block.timestamp) - 25;
        (sub.period, sub.frequency) = (10, 9);
        uint32 id = createDelegated(0, sub);
        deliver(id, 3, NODE);
        eq(coordinator.redundancyCount(intervalKey(id, 3)), 1, "interval 3");
    }

    function testRecurring() public {
        Subscription memory sub;
        (sub.period, sub.frequency, sub.redundancy) = (60, 2, 1);
        uint32 id = consumer.create("container", sub);
        vm.warp(block.timestamp + 60);
        deliver(id, 1, NODE);
        vm.warp(block.timestamp + 59);
        refused(Coordinator.IntervalCompleted.selector, id, 1, OTHER_NODE);
        vm.warp(block.timestamp + 1);
        deliver(id, 2, NODE);
        eq(consumer.received(), 2, "twice");
    }

    function testConsumerRevertsBubbleAndUndo() public {
        uint32 id = callback(1, 0, address(0));
        bytes memory reason = abi.encodeWithSignature("Error(string)", "not today");
        consumer.onReceiveRevert(reason);
        vm.expectRevert(reason);
        deliver(id, NODE);
        eq(coordinator.redundancyCount(intervalKey(id, 1)), 0, "undone");
        consumer.onReceiveRevert("");
        deliver(id, NODE);
    }

    function testOwnerWithoutCodeRevertsEmpty() public {
        vm.prank(address(0xE0A));
        uint32 id = coordinator.createSubscription("container", 1, 0, 1, false, address(0), 0, address(0), address(0));
        vm.expectRevert(bytes(""));
        deliver(id, NODE);
    }

    function testOnlyTheCoordinatorDelivers() public {
        vm.expectRevert(BaseConsumer.NotCoordinator.selector);
        consumer.rawReceiveCompute(1, 1, 1, NODE, "", "", "", 0, 0);
    }

    function testReentranceIsRefusedButCreatingAndCancellingAreNot() public {
        uint32 id = callback(2, 0, address(0));
        uint32 other = callback(1, 0, address(0));
        bytes memory again = abi.encodeCall(Coordinator.deliverCompute, (other, 1, "", "", "", address(0)));
        consumer.onReceiveCall(address(coordinator), again);
        deliver(id, NODE);
        eqBytes(consumer.innerRevert(), abi.encodePacked(DeliveryGuard.Reentrancy.selector), "re-entered");

        BatchDelivery[] memory batch = new BatchDelivery[](0);
        consumer.onReceiveCall(address(coordinator), abi.encodeCall(Coordinator.deliverComputeBatch, (batch)));
        deliver(id, OTHER_NODE);
        eqBytes(consumer.innerRevert(), abi.encodePacked(DeliveryGuard.Reentrancy.selector), "by a batch");

        consumer.onReceiveCall(address(coordinator), abi.encodeCall(Coordinator.cancelSubscription, (other)));
        deliver(callback(1, 0, address(0)), NODE);
        eq(coordinator.getSubscription(other).activeAt, type(uint32).max, "cancelled inside");
        bytes memory create = abi.encodeCall(
            Coordinator.createSubscription, ("container", 1, 0, 1, false, address(0), 0, address(0), address(0))
        );
        consumer.onReceiveCall(address(coordinator), create);
        uint32 next = coordinator.id();
        deliver(callback(1, 0, address(0)), NODE);
        eq(coordinator.id(), next + 2, "created inside");
    }

    // Batches

    function item(uint32 id, bytes memory output) private view returns (BatchDelivery memory) {
        return BatchDelivery(id, 1, "input", output, "proof", address(nodeWallet));
    }

    function testFuzzBatch(bytes memory first, bytes memory second) public {
        fundConsumer(1 ether);
        BatchDelivery[] memory batch = new BatchDelivery[](4);
        batch[0] = item(callback(1, 0, address(0)), first);
        batch[1] = item(99, first);
        batch[2] = item(batch[0].subscriptionId, second);
        batch[3] = item(callback(1, 1 ether, address(0)), second);
        vm.recordLogs();
        vm.prank(NODE);
        eq(coordinator.deliverComputeBatch(batch), 9, "first and last");

        bytes memory strings = abi.encode(bytes("input"), second, bytes("proof"));
        eq(consumer.last(), consumer.digest(2, 1, 1, NODE, strings, 0, 0), "last");
        eq(consumer.received(), 2, "two");
        eq(FEE_RECIPIENT.balance + address(nodeWallet).balance, 1 ether, "paid");
        bytes4[2] memory reasons = [Coordinator.SubscriptionNotFound.selector, Coordinator.IntervalCompleted.selector];
        Log[] memory logs = vm.getRecordedLogs();
        uint256 failures;
        uint256 delivered;
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].topics[0] == Coordinator.Delivered.selector) {
                eq(logs[i].topics[1], bytes32(uint256(++delivered)), "subscription");
                eq(logs[i].topics[3], bytes32(uint256(uint160(NODE))), "by");
                eqBytes(logs[i].data, abi.encode(1), "first answer");
            }
            if (logs[i].topics[0] != Coordinator.DeliveryFailed.selector) continue;
            eq(abi.decode(logs[i].data, (bytes4)), reasons[failures++], "reason");
            eq(logs[i].topics[3], bytes32(uint256(uint160(NODE))), "node");
        }
        eq(failures, 2, "failures");
        eq(delivered, 2, "deliveries");
    }

    function testBatchIsForTheCallerOnly() public {
        uint32 id = callback(1, 0, address(0));
        vm.expectRevert(Coordinator.OnlySelf.selector);
        coordinator.deliverComputeFor(id, 1, "", "", "", address(0), NODE);
        vm.expectRevert(Coordinator.BatchTooLong.selector);
        coordinator.deliverComputeBatch(new BatchDelivery[](257));
    }

    /// @dev A consumer that burns whatever gas it gets takes only its own share.
    function testGasEaterCannotStarveABatch() public {
        Recorder eater = new Recorder(registry, address(1));
        eater.onReceiveEatGas();
        BatchDelivery[] memory batch = new BatchDelivery[](3);
        batch[0] = item(eater.request("container", "", 1, address(0), 0, address(0), address(0)), "");
        batch[1] = item(callback(1, 0, address(0)), "");
        batch[2] = item(callback(1, 0, address(0)), "");
        vm.recordLogs();
        vm.prank(NODE);
        eq(coordinator.deliverComputeBatch{gas: 1_500_000}(batch), 6, "the others went through");
        eq(vm.getRecordedLogs()[0].topics[0], Coordinator.DeliveryFailed.selector, "the eater failed");
        eq(coordinator.redundancyCount(intervalKey(batch[0].subscriptionId, 1)), 0, "and left no trace");
        deliver(callback(1, 0, address(0)), NODE);
    }
}
