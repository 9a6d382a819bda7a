// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Coordinator, Subscription} from "../src/Coordinator.sol";
import {Wallet} from "../src/payments/Wallet.sol";
import {World} from "./lib/World.sol";
import {Log, vm} from "./lib/Vm.sol";
import {MockVerifier} from "./mocks/MockVerifier.sol";

/// @notice Subscriptions whose payments are locked ahead.
contract FundedTest is World {
    function setUp() public {
        deployWorld();
    }

    /// @dev Three intervals of two answers at 1 ether each, and a wallet that holds just that.
    function funded() private returns (uint32 id) {
        fundConsumer(6 ether);
        Subscription memory sub;
        (sub.period, sub.frequency, sub.redundancy) = (100, 3, 2);
        (sub.paymentAmount, sub.wallet) = (1 ether, payable(address(wallet)));
        id = consumer.create("container", sub);
        consumer.fund(id);
    }

    function testTheOwnerCannotTakeItBack() public {
        uint32 id = funded();
        eq(coordinator.reservedPayments(id), 6, "payments");
        eq(wallet.lockedBalance(address(0)), 6 ether, "locked");
        vm.startPrank(WALLET_OWNER);
        vm.expectRevert(Wallet.InsufficientFunds.selector);
        wallet.withdraw(address(0), 1);
        wallet.approve(address(consumer), address(0), 0);
        vm.stopPrank();
        vm.warp(block.timestamp + 100);
        deliver(id, 1, NODE);
        deliver(id, 1, OTHER_NODE);
        eq(address(nodeWallet).balance, 2 * 0.8978 ether, "paid");
        eq(coordinator.reservedPayments(id), 4, "left");
        eq(wallet.lockedBalance(address(0)), 4 ether, "still locked");
        eq(wallet.allowance(address(consumer), address(0)), 0, "no allowance was needed");
    }

    function reported(Log memory log, bytes32 what, uint32 id, uint256 payments) private view {
        eq(log.topics[0], what, "what");
        eq(log.topics[1], bytes32(uint256(id)), "subscription");
        eq(log.topics[2], bytes32(uint256(uint160(address(wallet)))), "wallet");
        eqBytes(log.data, abi.encode(payments, payments * 1 ether), "payments and amount");
    }

    function testEvents() public {
        vm.recordLogs();
        uint32 id = funded();
        Log[] memory logs = vm.getRecordedLogs();
        reported(logs[logs.length - 1], Coordinator.SubscriptionFunded.selector, id, 6);
        vm.warp(block.timestamp + 200);
        coordinator.releaseReserve(id);
        logs = vm.getRecordedLogs();
        reported(logs[logs.length - 1], Coordinator.ReserveReleased.selector, id, 2);
        consumer.cancel(id);
        logs = vm.getRecordedLogs();
        reported(logs[logs.length - 1], Coordinator.ReserveReleased.selector, id, 4);
        coordinator.releaseReserve(id);
        eq(vm.getRecordedLogs().length, 0, "nothing to release, nothing to say");
    }

    function testReleaseOfWhatNoIntervalCanUse() public {
        uint32 id = funded();
        coordinator.releaseReserve(id);
        eq(coordinator.reservedPayments(id), 6, "all is due");
        vm.warp(block.timestamp + 200);
        deliver(id, 2, NODE);
        coordinator.releaseReserve(id);
        eq(coordinator.reservedPayments(id), 3, "one of this interval, two of the last");
        eq(wallet.unlockedBalance(address(0)), 2 ether, "of the first interval");
        eq(wallet.allowance(address(consumer), address(0)), 2 ether, "the allowance is back");
        vm.warp(block.timestamp + 200);
        coordinator.releaseReserve(id);
        eq(wallet.lockedBalance(address(0)), 0, "over");
        vm.prank(WALLET_OWNER);
        wallet.withdraw(address(0), 5 ether);
    }

    function testCancellingRefunds() public {
        uint32 id = funded();
        vm.warp(block.timestamp + 100);
        deliver(id, 1, NODE);
        consumer.cancel(id);
        eq(wallet.lockedBalance(address(0)), 0, "unlocked");
        eq(coordinator.reservedPayments(id), 0, "nothing reserved");
        consumer.cancel(id);
        coordinator.releaseReserve(id);
        eq(wallet.allowance(address(consumer), address(0)), 5 ether, "once");
    }

    /// @dev Without a period there is one interval, however many are asked for.
    function testOneIntervalWithoutPeriod() public {
        fundConsumer(8 ether);
        Subscription memory sub;
        (sub.frequency, sub.redundancy) = (4, 2);
        (sub.paymentAmount, sub.wallet) = (1 ether, payable(address(wallet)));
        uint32 id = consumer.create("container", sub);
        consumer.fund(id);
        eq(coordinator.reservedPayments(id), 2, "payments");
        eq(wallet.lockedBalance(address(0)), 2 ether, "locked");
        deliver(id, NODE);
        coordinator.releaseReserve(id);
        eq(coordinator.reservedPayments(id), 1, "one is due");
        deliver(id, OTHER_NODE);
        eq(wallet.lockedBalance(address(0)), 0, "nothing is left behind");

        // Delegated ones can start later.
        (sub.owner, sub.activeAt, sub.redundancy) = (address(consumer), uint32(block.timestamp) + 10, 3);
        id = createDelegated(0, sub);
        consumer.fund(id);
        eq(coordinator.reservedPayments(id), 3, "before it is active");
        (sub.frequency, sub.activeAt) = (0, uint32(block.timestamp) + 11);
        id = createDelegated(1, sub);
        vm.expectRevert(Coordinator.NothingToFund.selector);
        consumer.fund(id);
    }

    /// @dev A consumer that cancels while it is being answered pays for that answer and gets the rest back.
    function testCancellingWhileReceiving() public {
        uint32 id = funded();
        consumer.onReceiveCall(address(coordinator), abi.encodeCall(Coordinator.cancelSubscription, (id)));
        vm.warp(block.timestamp + 100);
        deliver(id, 1, NODE);
        eq(address(wallet).balance, 5 ether, "one paid");
        eq(wallet.lockedBalance(address(0)), 0, "the rest is free");
    }

    function testWithVerifier() public {
        MockVerifier verifier = new MockVerifier(registry, MockVerifier.Mode.Later);
        verifier.support(address(0), 0.1 ether);
        fundConsumer(2 ether);
        fundNode(1 ether);
        uint32 id = callback(2, 1 ether, address(verifier));
        consumer.fund(id);
        deliver(id, NODE);
        eq(wallet.lockedBalance(address(0)), 1 ether + 0.7978 ether, "reserve and escrow");
        consumer.cancel(id);
        eq(wallet.lockedBalance(address(0)), 0.7978 ether, "the escrow stays");
        verifier.finalize(id, 1, NODE, true);
        eq(address(nodeWallet).balance, 1.7978 ether, "paid");
    }

    function testRefusals() public {
        fundConsumer(1 ether);
        uint32 id = callback(1, 1 ether, address(0));
        vm.expectRevert(Coordinator.NotSubscriptionOwner.selector);
        coordinator.fundSubscription(id);
        vm.expectRevert(Coordinator.NotSubscriptionOwner.selector);
        consumer.fund(99);
        uint32 free = callback(1, 0, address(0));
        vm.expectRevert(Coordinator.NothingToFund.selector);
        consumer.fund(free);
        uint32 dear = callback(2, 1 ether, address(0));
        vm.expectRevert(Wallet.InsufficientFunds.selector);
        consumer.fund(dear);
        uint32 absurd = callback(2, type(uint256).max, address(0));
        vm.expectRevert(arithmeticPanic());
        consumer.fund(absurd);
        consumer.fund(id);
        vm.expectRevert(Coordinator.NothingToFund.selector);
        consumer.fund(id);
        consumer.cancel(id);
        wallet = new Wallet(registry, WALLET_OWNER);
        uint32 stray = callback(1, 1 ether, address(0));
        vm.expectRevert(Coordinator.InvalidWallet.selector);
        consumer.fund(stray);
        coordinator.releaseReserve(99);
    }

    /// @dev What is locked is at any time exactly what can still fall due, or was not yet released.
    function testFuzzReserve(uint16 redundancy, uint32 frequency, uint8 steps, uint256 seed) public {
        redundancy = uint16(bound(redundancy, 1, 4));
        frequency = uint32(bound(frequency, 1, 6));
        uint256 total = uint256(redundancy) * frequency;
        fundConsumer(total * 1e9);
        Subscription memory sub;
        (sub.period, sub.frequency, sub.redundancy) = (10, frequency, redundancy);
        (sub.paymentAmount, sub.wallet) = (1e9, payable(address(wallet)));
        uint32 id = consumer.create("container", sub);
        consumer.fund(id);
        uint256 paid;
        for (uint256 i = 0; i < steps % 40; i++) {
            seed = uint256(keccak256(abi.encode(seed)));
            if (seed % 3 == 0) vm.warp(block.timestamp + seed % 13);
            if (seed % 5 == 0) coordinator.releaseReserve(id);
            uint32 interval = coordinator.getSubscriptionInterval(coordinator.getSubscription(id).activeAt, 10);
            vm.prank(address(uint160(1000 + i)));
            try coordinator.deliverCompute(id, interval, "", "", "", address(nodeWallet)) {
                paid++;
            } catch {}
            eq(wallet.lockedBalance(address(0)), coordinator.reservedPayments(id) * 1e9, "reserve");
            eq(address(wallet).balance, (total - paid) * 1e9, "balance");
        }
        vm.warp(block.timestamp + 1000);
        coordinator.releaseReserve(id);
        eq(wallet.lockedBalance(address(0)), 0, "all released in the end");
        eq(wallet.allowance(address(consumer), address(0)), (total - paid) * 1e9, "and returned");
    }
}
