// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Subscription} from "../src/Coordinator.sol";
import {EIP712Coordinator} from "../src/EIP712Coordinator.sol";
import {World} from "./lib/World.sol";
import {vm} from "./lib/Vm.sol";
import {MockVerifier} from "./mocks/MockVerifier.sol";

/// @notice The coordinator as the tests' own build makes it, with the older code generator: that one leaves the upper bits of words
/// alone that the shipped build clears.
contract LegacyTest is World {
    MockVerifier private _verifier;

    function setUp() public {
        deployWorld();
        vm.etch(address(coordinator), address(new EIP712Coordinator(registry)).code);
        _verifier = new MockVerifier(registry, MockVerifier.Mode.Later);
        _verifier.support(address(0), 0);
    }

    /// @dev A subscription with something in all of the words it is stored in, answered by both nodes.
    function answered(uint256 amount) private returns (uint32 id) {
        fundConsumer(4 * amount);
        fundNode(2 * amount);
        vm.prank(NODE);
        nodeWallet.approve(OTHER_NODE, address(0), amount);
        Subscription memory sub;
        (sub.period, sub.frequency, sub.redundancy) = (100, 2, 2);
        (sub.paymentAmount, sub.wallet) = (amount, payable(address(wallet)));
        sub.verifier = payable(address(_verifier));
        id = consumer.create("container", sub);
        consumer.fund(id);
        vm.warp(block.timestamp + 100);
        deliver(id, 1, NODE);
        deliver(id, 1, OTHER_NODE);
    }

    function settles(uint256 amount) private {
        uint32 id = answered(amount);
        uint256 atStake = wallet.lockedBalance(address(0));
        _verifier.finalize(id, 1, NODE, true);
        _verifier.finalize(id, 1, OTHER_NODE, false);
        check(wallet.lockedBalance(address(0)) < atStake, "settled");
        eq(nodeWallet.lockedBalance(address(0)), 0, "stakes are free");
        eq(wallet.lockedBalance(address(0)), 2 * amount, "what is locked ahead stays");
        vm.warp(block.timestamp + 200);
        coordinator.releaseReserve(id);
        eq(wallet.lockedBalance(address(0)), 0, "released");
    }

    function testSettlesAndReleases() public {
        settles(1 ether);
        settles(1 << 96);
        settles((1 << 200) + 1);
    }

    function cancels(uint256 amount) private {
        uint32 id = answered(amount);
        consumer.cancel(id);
        eq(coordinator.reservedPayments(id), 0, "nothing is reserved");
        _verifier.finalize(id, 1, NODE, true);
        vm.warp(block.timestamp + 1 weeks);
        coordinator.finalizeProofVerification(id, 1, OTHER_NODE, false);
        eq(wallet.lockedBalance(address(0)), 0, "nothing is locked");
        eq(nodeWallet.lockedBalance(address(0)), 0, "nor at stake");
    }

    function testCancelsWhatIsFunded() public {
        cancels(1 ether);
        cancels(1 << 96);
        cancels((1 << 200) + 1);
    }
}
