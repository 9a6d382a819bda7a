// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Coordinator, Subscription} from "../src/Coordinator.sol";
import {EIP712Coordinator} from "../src/EIP712Coordinator.sol";
import {World} from "./lib/World.sol";
import {Log, vm} from "./lib/Vm.sol";

/// @notice Creating and cancelling, by the owner and by signature.
contract SubscriptionsTest is World {
    function setUp() public {
        deployWorld();
    }

    function eqSub(Subscription memory found, Subscription memory expected) private pure {
        eqBytes(abi.encode(found), abi.encode(expected), "subscription");
    }

    function testIdsAndUnknown() public {
        eq(coordinator.id(), 1, "first id");
        Subscription memory empty;
        eqSub(coordinator.getSubscription(0), empty);
        eqSub(coordinator.getSubscription(1), empty);
        vm.recordLogs();
        eq(callback(1, 0, address(0)), 1, "first");
        Log[] memory logs = vm.getRecordedLogs();
        eq(logs.length, 1, "one log");
        eq(logs[0].topics[0], Coordinator.SubscriptionCreated.selector, "created");
        eq(logs[0].topics[1], bytes32(uint256(1)), "of id 1");
        eq(coordinator.id(), 2, "next id");
    }

    /// @dev Whatever the words are packed into, every field comes back as it was given.
    function testFuzzCreateKeepsEveryField(Subscription memory sub, string memory container) public {
        sub.period = uint32(bound(sub.period, 0, type(uint32).max - block.timestamp));
        uint32 id = consumer.create(container, sub);
        sub.owner = address(consumer);
        sub.activeAt = uint32(block.timestamp) + sub.period;
        sub.containerId = keccak256(abi.encode(container));
        eqSub(coordinator.getSubscription(id), sub);
    }

    function testFuzzDelegatedKeepsEveryField(Subscription memory sub, uint32 nonce) public {
        sub.owner = address(consumer);
        uint32 id = createDelegated(nonce, sub);
        eqSub(coordinator.getSubscription(id), sub);
        eq(coordinator.maxSubscriberNonce(address(consumer)), nonce, "nonce");
        eq(coordinator.delegateCreatedIds(keccak256(abi.encode(address(consumer), nonce))), id, "lookup");
    }

    function testPeriodOverflowTakesNoId() public {
        Subscription memory sub;
        sub.period = type(uint32).max - uint32(block.timestamp) + 1;
        vm.expectRevert(arithmeticPanic());
        consumer.create("container", sub);
        eq(coordinator.id(), 1, "no id taken");
    }

    function testCancel() public {
        uint32 id = callback(2, 1 ether, address(0));
        Subscription memory before = coordinator.getSubscription(id);
        vm.expectRevert(Coordinator.NotSubscriptionOwner.selector);
        coordinator.cancelSubscription(id);
        vm.expectRevert(Coordinator.NotSubscriptionOwner.selector);
        coordinator.cancelSubscription(99);

        vm.recordLogs();
        consumer.cancel(id);
        consumer.cancel(id);
        Log[] memory logs = vm.getRecordedLogs();
        eq(logs.length, 2, "one log each");
        eq(logs[1].topics[0], Coordinator.SubscriptionCancelled.selector, "cancelled");
        before.activeAt = type(uint32).max;
        eqSub(coordinator.getSubscription(id), before);
    }

    function testIntervals() public {
        uint32 now_ = uint32(block.timestamp);
        eq(coordinator.getSubscriptionInterval(now_, 0), 1, "no period");
        eq(coordinator.getSubscriptionInterval(type(uint32).max, 0), 1, "no period, any time");
        eq(coordinator.getSubscriptionInterval(now_, 10), 1, "at once");
        eq(coordinator.getSubscriptionInterval(now_ - 9, 10), 1, "last second");
        eq(coordinator.getSubscriptionInterval(now_ - 10, 10), 2, "next");
        eq(coordinator.getSubscriptionInterval(now_ + 1, 10), uint256(type(uint32).max) / 10 + 1, "the future wraps");
        vm.warp(uint256(type(uint32).max) + 5);
        eq(coordinator.getSubscriptionInterval(type(uint32).max - 5, 10), 1 + 1, "time wraps");
    }

    function testDelegatedIsIdempotentAndCheckedInOrder() public {
        Subscription memory sub = plainSubscription();
        uint32 now_ = uint32(block.timestamp);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, digestOf(7, now_ + 1, sub));

        vm.expectRevert(EIP712Coordinator.SignatureExpired.selector);
        coordinator.createSubscriptionDelegatee(7, now_, sub, 99, r, s);
        vm.expectRevert(EIP712Coordinator.InvalidSignature.selector);
        coordinator.createSubscriptionDelegatee(7, now_ + 1, sub, 29, r, s);
        vm.expectRevert(EIP712Coordinator.SignerMismatch.selector);
        coordinator.createSubscriptionDelegatee(8, now_ + 1, sub, v, r, s);

        uint32 id = coordinator.createSubscriptionDelegatee(7, now_ + 1, sub, v, r, s);
        eq(id, 1, "created");
        // Known owner and nonce: nothing else is looked at.
        consumer.updateSigner(address(1));
        consumer.cancel(id);
        sub.redundancy = 9;
        vm.warp(now_ + 100);
        vm.recordLogs();
        eq(coordinator.createSubscriptionDelegatee(7, 0, sub, 0, 0, 0), id, "the same id");
        eq(vm.getRecordedLogs().length, 0, "silently");
        eq(coordinator.id(), 2, "no id taken");
    }

    function testNoncesNeedNoOrder() public {
        Subscription memory sub = plainSubscription();
        eq(createDelegated(0, sub), 1, "zero");
        eq(coordinator.maxSubscriberNonce(address(consumer)), 0, "zero is no trace");
        eq(createDelegated(9, sub), 2, "nine");
        eq(createDelegated(3, sub), 3, "three");
        eq(coordinator.maxSubscriberNonce(address(consumer)), 9, "highest");
    }

    function testSignerOfOwnerWithoutCode() public {
        Subscription memory sub = plainSubscription();
        sub.owner = address(0xE0A);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, digestOf(0, uint32(block.timestamp) + 1, sub));
        vm.expectRevert(bytes(""));
        coordinator.createSubscriptionDelegatee(0, uint32(block.timestamp) + 1, sub, v, r, s);
    }

    function testSeparatorFollowsTheChain() public {
        Subscription memory sub = plainSubscription();
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, digestOf(0, type(uint32).max, sub));
        vm.chainId(999);
        vm.expectRevert(EIP712Coordinator.SignerMismatch.selector);
        coordinator.createSubscriptionDelegatee(0, type(uint32).max, sub, v, r, s);
        eq(createDelegated(0, sub), 1, "signed for the new chain");
    }
}
