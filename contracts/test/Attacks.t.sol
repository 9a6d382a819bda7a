// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Coordinator} from "../src/Coordinator.sol";
import {Wallet} from "../src/payments/Wallet.sol";
import {Ownable} from "../src/utility/Ownable.sol";
import {TokenTransfer} from "../src/utility/TokenTransfer.sol";
import {OpenWallet} from "./lib/OpenWallet.sol";
import {Recorder} from "./lib/Recorder.sol";
import {World} from "./lib/World.sol";
import {vm} from "./lib/Vm.sol";
import {MockVerifier} from "./mocks/MockVerifier.sol";

/// @notice Attacks that work on older deployments: each is run against a wallet with the hole, where it must succeed, and against
/// ours, where it must fail while honest use goes on.
contract AttacksTest is World {
    MockVerifier private verifier;
    Recorder private accomplice;
    Wallet private secondWallet;

    function setUp() public {
        deployWorld();
        verifier = new MockVerifier(registry, MockVerifier.Mode.Later);
        verifier.support(address(0), 0);
        vm.prank(FEE_RECIPIENT);
        fee.updateFee(0);
        accomplice = new Recorder(registry, address(1));
        secondWallet = newWallet(OTHER_NODE);
    }

    /// @dev All wallets run the code at the factory's address: put the old code there.
    function openAllWallets() private {
        vm.etch(address(factory), address(new OpenWallet(registry)).code);
    }

    function pending() private returns (uint32 id) {
        fundConsumer(1 ether);
        fundNode(1 ether);
        id = callback(1, 1 ether, address(verifier));
        deliver(id, NODE);
    }

    /// @dev The owner of `from` pays all that is in it to `secondWallet`, through a subscription and a node of his own.
    function drain(Wallet from) private returns (bool drained) {
        vm.prank(from.owner());
        from.approve(address(accomplice), address(0), 1 ether);
        uint32 id = accomplice.request("x", "", 1, address(0), 1 ether, address(from), address(0));
        vm.prank(OTHER_NODE);
        try coordinator.deliverCompute(id, 1, "", "", "", address(secondWallet)) {
            drained = true;
        } catch (bytes memory reason) {
            eqBytes(reason, abi.encodePacked(Wallet.InsufficientFunds.selector), "refused because it is locked");
        }
        eq(from.allowance(address(accomplice), address(0)), drained ? 0 : 1 ether, "allowance");
    }

    // A node spends its stake before it is slashed.

    function testHoleNodeSpendsItsStake() public {
        openAllWallets();
        uint32 id = pending();
        check(drain(nodeWallet), "the stake is gone");
        vm.expectRevert(bytes("")); // an old wallet's own error
        this.slash(id);
    }

    /// @notice So that `expectRevert` does not depend on the reason.
    function slash(uint32 id) external {
        try verifier.finalize(id, 1, NODE, false) {}
        catch {
            revert();
        }
    }

    function testFixNodeSpendsItsStake() public {
        uint32 id = pending();
        check(!drain(nodeWallet), "locked");
        vm.deal(address(nodeWallet), 2 ether);
        check(drain(nodeWallet), "what is not locked can be spent");
        verifier.finalize(id, 1, NODE, false);
        eq(address(wallet).balance, 2 ether, "slashed in favour of the consumer");
    }

    // A consumer empties its escrow.

    function testHoleConsumerSpendsItsEscrow() public {
        openAllWallets();
        uint32 id = pending();
        check(drain(wallet), "the escrow is gone");
        vm.warp(block.timestamp + 1 weeks);
        vm.expectRevert(bytes(""));
        this.slash(id); // the node cannot be paid, and its stake stays locked
    }

    function testFixConsumerSpendsItsEscrow() public {
        uint32 id = pending();
        check(!drain(wallet), "locked");
        vm.expectRevert(Wallet.InsufficientFunds.selector);
        vm.prank(WALLET_OWNER);
        wallet.withdraw(address(0), 1);
        verifier.finalize(id, 1, NODE, true);
        eq(address(nodeWallet).balance, 2 ether, "paid");
    }

    // An allowance that overflows when it is given back.

    function overflow() private returns (uint32 id) {
        id = pending();
        vm.prank(NODE);
        nodeWallet.approve(NODE, address(0), type(uint256).max);
        vm.prank(WALLET_OWNER);
        wallet.approve(address(consumer), address(0), type(uint256).max);
    }

    function testHoleAllowanceBlocksTheVerdict() public {
        openAllWallets();
        uint32 id = overflow();
        vm.expectRevert(arithmeticPanic());
        verifier.finalize(id, 1, NODE, false);
    }

    function testFixAllowanceSaturates() public {
        uint32 id = overflow();
        verifier.finalize(id, 1, NODE, false);
        eq(address(wallet).balance, 2 ether, "slashed");
        eq(nodeWallet.allowance(NODE, address(0)), type(uint256).max - 1 ether, "less the slash");
        eq(wallet.allowance(address(consumer), address(0)), type(uint256).max, "not more than there is");
    }

    // An allowance that is withdrawn.

    function testAllowanceSetToZeroDoesNotBlockTheVerdict() public {
        uint32 id = pending();
        vm.prank(NODE);
        nodeWallet.approve(NODE, address(0), 0);
        vm.prank(WALLET_OWNER);
        wallet.approve(address(consumer), address(0), 0);
        verifier.finalize(id, 1, NODE, true);
        eq(address(nodeWallet).balance, 2 ether, "paid");
    }

    // A token that does not exist.

    function imaginary() private returns (uint32 id) {
        address token = address(0x70CE);
        vm.prank(WALLET_OWNER);
        wallet.approve(address(consumer), token, 1 ether);
        id = consumer.request("container", "", 1, token, 1 ether, address(wallet), address(0));
    }

    function testHoleTokenWithoutCode() public {
        openAllWallets();
        deliver(imaginary(), NODE);
        eq(consumer.received(), 1, "the consumer has its answer for nothing");
    }

    function testFixTokenWithoutCode() public {
        uint32 id = imaginary();
        vm.expectRevert(TokenTransfer.TransferFailed.selector);
        deliver(id, NODE);
        eq(consumer.received(), 0, "no payment, no answer");
    }

    // An owner who leaves while funds are locked.

    function testRenouncingIsRefusedWhileLocked() public {
        uint32 id = pending();
        vm.expectRevert(Wallet.FundsLocked.selector);
        vm.prank(NODE);
        nodeWallet.renounceOwnership();
        verifier.finalize(id, 1, NODE, true);
        vm.expectRevert(Ownable.Unauthorized.selector);
        nodeWallet.renounceOwnership();
        vm.prank(NODE);
        nodeWallet.renounceOwnership();
        eq(nodeWallet.owner(), address(0), "renounced");
    }

    // Somebody else's locked funds.

    /// @dev Nobody but the coordinator moves funds, and no wallet can be talked into running foreign code.
    function testOnlyTheCoordinatorMovesFunds() public {
        pending();
        bytes4[5] memory selectors = [
            Wallet.cTransfer.selector,
            Wallet.cTransferTwice.selector,
            Wallet.cLock.selector,
            Wallet.cUnlock.selector,
            Wallet.cRelease.selector
        ];
        for (uint256 i = 0; i < selectors.length; i++) {
            bytes memory zeros = new bytes(6 * 32);
            (bool ok, bytes memory reason) = address(wallet).call(abi.encodePacked(selectors[i], zeros));
            check(!ok, "refused");
            eqBytes(reason, abi.encodePacked(bytes4(0x9ec853e6)), "NotCoordinator");
        }
    }

    /// @dev A receiver of a payment that takes the control it gets to strike again gains nothing by it.
    function testPayeeThatCallsBack() public {
        Striker striker = new Striker();
        vm.prank(FEE_RECIPIENT);
        fee.transferOwnership(address(striker));
        vm.prank(address(striker));
        fee.updateFee(500);
        fundConsumer(2 ether);
        uint32 id = callback(1, 1 ether, address(0));
        uint32 other = callback(1, 1 ether, address(0));
        striker.aim(
            address(coordinator), abi.encodeCall(Coordinator.deliverCompute, (other, 1, "", "", "", address(nodeWallet)))
        );
        deliver(id, NODE);
        check(striker.struck(), "struck");
        eq(address(striker).balance, 0.1 ether, "paid");
        eq(address(wallet).balance, 1 ether, "one payment left the wallet");
    }

    /// @dev A receiver that refuses the chain's own coin gets it all the same.
    function testPayeeThatRefuses() public {
        vm.etch(FEE_RECIPIENT, hex"fe");
        vm.prank(FEE_RECIPIENT);
        fee.updateFee(500);
        fundConsumer(1 ether);
        deliver(callback(1, 1 ether, address(0)), NODE);
        eq(FEE_RECIPIENT.balance, 0.1 ether, "forced");
    }
}

/// @notice Calls something whenever it is paid.
contract Striker {
    address private _target;
    bytes private _data;
    bool public struck;

    receive() external payable {
        struck = true;
        (bool ok,) = _target.call(_data);
        ok;
    }

    function aim(address target, bytes calldata data) external {
        (_target, _data) = (target, data);
    }
}
