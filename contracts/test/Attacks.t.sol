// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Coordinator, Subscription} from "../src/Coordinator.sol";
import {EIP712Coordinator} from "../src/EIP712Coordinator.sol";
import {Wallet} from "../src/payments/Wallet.sol";
import {Ownable} from "../src/utility/Ownable.sol";
import {TokenTransfer} from "../src/utility/TokenTransfer.sol";
import {MockVerifier} from "./mocks/MockVerifier.sol";
import {Recorder} from "./lib/Recorder.sol";
import {World} from "./lib/World.sol";
import {Log, vm} from "./lib/Vm.sol";

/// @notice Attacks that work on older deployments. Each is run against the plain contracts of `reference/`, which have the holes
/// and where it must succeed (`testHole…`), and against ours, where it must fail while honest use goes on (`testFix…`).
contract AttacksTest is World {
    uint256 private constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    MockVerifier private verifier;
    Recorder private accomplice;
    Wallet private secondWallet;

    function withHoles() private {
        deployReferenceWorld();
        prepare();
    }

    function withoutHoles() private {
        deployWorld();
        prepare();
    }

    function prepare() private {
        verifier = new MockVerifier(registry, MockVerifier.Mode.Later);
        verifier.support(address(0), 0);
        vm.prank(FEE_RECIPIENT);
        fee.updateFee(0);
        accomplice = new Recorder(registry, address(1));
        secondWallet = newWallet(OTHER_NODE);
    }

    /// @dev A delivery for 1 ether that waits for the verifier: escrow on one side, stake on the other.
    function pending() private returns (uint32 id) {
        fundConsumer(1 ether);
        fundNode(1 ether);
        id = callback(1, 1 ether, address(verifier));
        deliver(id, NODE);
    }

    function reason(bytes4 selector) private pure returns (bytes memory) {
        return abi.encodePacked(selector);
    }

    // Locked funds are spent (N1)

    /// @dev The owner of `from` pays all that is in it to `secondWallet`, through a subscription and a node of his own.
    function drain(Wallet from) private returns (bool drained) {
        vm.prank(from.owner());
        from.approve(address(accomplice), address(0), 1 ether);
        uint32 id = accomplice.request("x", "", 1, address(0), 1 ether, address(from), address(0));
        vm.prank(OTHER_NODE);
        try coordinator.deliverCompute(id, 1, "", "", "", address(secondWallet)) {
            drained = true;
        } catch (bytes memory refusal) {
            eqBytes(refusal, reason(Wallet.InsufficientFunds.selector), "refused because it is locked");
        }
        eq(from.allowance(address(accomplice), address(0)), drained ? 0 : 1 ether, "allowance");
    }

    function testHoleNodeSpendsItsStake() public {
        withHoles();
        uint32 id = pending();
        check(drain(nodeWallet), "the stake is gone");
        vm.expectRevert(TokenTransfer.ETHTransferFailed.selector);
        verifier.finalize(id, 1, NODE, false); // it cannot be slashed
        vm.warp(block.timestamp + 1 weeks);
        coordinator.finalizeProofVerification(id, 1, NODE, false);
        eq(address(nodeWallet).balance, 1 ether, "and after the week it is paid");
    }

    function testFixNodeSpendsItsStake() public {
        withoutHoles();
        uint32 id = pending();
        check(!drain(nodeWallet), "locked");
        vm.deal(address(nodeWallet), 2 ether);
        check(drain(nodeWallet), "what is not locked can be spent");
        verifier.finalize(id, 1, NODE, false);
        eq(address(wallet).balance, 2 ether, "slashed in favour of the consumer");
    }

    function testHoleConsumerSpendsItsEscrow() public {
        withHoles();
        uint32 id = pending();
        check(drain(wallet), "the escrow is gone");
        vm.warp(block.timestamp + 1 weeks);
        vm.expectRevert(TokenTransfer.ETHTransferFailed.selector);
        coordinator.finalizeProofVerification(id, 1, NODE, true); // the node is not paid, and its stake stays locked
        vm.prank(NODE);
        vm.expectRevert(Wallet.InsufficientFunds.selector);
        nodeWallet.withdraw(address(0), 1 ether);
    }

    function testFixConsumerSpendsItsEscrow() public {
        withoutHoles();
        uint32 id = pending();
        check(!drain(wallet), "locked");
        vm.expectRevert(Wallet.InsufficientFunds.selector);
        vm.prank(WALLET_OWNER);
        wallet.withdraw(address(0), 1);
        verifier.finalize(id, 1, NODE, true);
        eq(address(nodeWallet).balance, 2 ether, "paid");
    }

    // An allowance that overflows when it is given back (N2)

    function overflow() private returns (uint32 id) {
        id = pending();
        vm.prank(NODE);
        nodeWallet.approve(NODE, address(0), type(uint256).max);
        vm.prank(WALLET_OWNER);
        wallet.approve(address(consumer), address(0), type(uint256).max);
    }

    function testHoleAllowanceBlocksTheVerdict() public {
        withHoles();
        uint32 id = overflow();
        vm.expectRevert(arithmeticPanic());
        verifier.finalize(id, 1, NODE, false);
    }

    function testFixAllowanceSaturates() public {
        withoutHoles();
        uint32 id = overflow();
        verifier.finalize(id, 1, NODE, false);
        eq(address(wallet).balance, 2 ether, "slashed");
        eq(nodeWallet.allowance(NODE, address(0)), type(uint256).max - 1 ether, "less the slash");
        eq(wallet.allowance(address(consumer), address(0)), type(uint256).max, "not more than there is");
    }

    /// @dev Nor does taking the allowance away.
    function testAllowanceSetToZeroDoesNotBlockTheVerdict() public {
        withoutHoles();
        uint32 id = pending();
        vm.prank(NODE);
        nodeWallet.approve(NODE, address(0), 0);
        vm.prank(WALLET_OWNER);
        wallet.approve(address(consumer), address(0), 0);
        verifier.finalize(id, 1, NODE, true);
        eq(address(nodeWallet).balance, 2 ether, "paid");
    }

    // A token that does not exist (N3)

    function imaginary() private returns (uint32 id) {
        address token = address(0x70CE);
        vm.prank(WALLET_OWNER);
        wallet.approve(address(consumer), token, 1 ether);
        id = consumer.request("container", "", 1, token, 1 ether, address(wallet), address(0));
    }

    function testHoleTokenWithoutCode() public {
        withHoles();
        deliver(imaginary(), NODE);
        eq(consumer.received(), 1, "the consumer has its answer for nothing");
    }

    function testFixTokenWithoutCode() public {
        withoutHoles();
        uint32 id = imaginary();
        vm.expectRevert(TokenTransfer.TransferFailed.selector);
        deliver(id, NODE);
        eq(consumer.received(), 0, "no payment, no answer");
    }

    // A fee that takes more than there is (N4)

    /// @dev The fee's owner stops all paid deliveries: 50.01 % on both sides, or a product that overflows.
    function testHoleFeeStopsAllDeliveries() public {
        withHoles();
        fundConsumer(1 ether);
        uint32 id = callback(1, 1 ether, address(0));
        uint16[2] memory rates = [5_001, 32_768];
        for (uint256 i = 0; i < rates.length; i++) {
            vm.prank(FEE_RECIPIENT);
            fee.updateFee(rates[i]);
            vm.expectRevert(arithmeticPanic());
            deliver(id, NODE);
        }
    }

    function testFixFeeTakesAllAndNoMore() public {
        withoutHoles();
        fundConsumer(2 ether);
        uint16[2] memory rates = [5_001, 32_768];
        for (uint256 i = 0; i < rates.length; i++) {
            vm.prank(FEE_RECIPIENT);
            fee.updateFee(rates[i]);
            deliver(callback(1, 1 ether, address(0)), NODE);
            eq(FEE_RECIPIENT.balance, (i + 1) * 1 ether, "all of it");
        }
    }

    /// @dev A verifier asks for more than is left.
    function greedyVerifier() private returns (uint32 id) {
        fundConsumer(1 ether);
        fundNode(1 ether);
        verifier.support(address(0), 1 ether + 1);
        id = callback(1, 1 ether, address(verifier));
    }

    function testHoleGreedyVerifierPanics() public {
        withHoles();
        uint32 id = greedyVerifier();
        vm.expectRevert(arithmeticPanic());
        deliver(id, NODE);
    }

    function testFixGreedyVerifierIsRefusedByName() public {
        withoutHoles();
        uint32 id = greedyVerifier();
        vm.expectRevert(Wallet.InsufficientFunds.selector);
        deliver(id, NODE);
    }

    // The other form of a signature (N5)

    /// @dev Each signature has a twin with the other s, which anyone can compute.
    function twin(Subscription memory sub) private view returns (uint8 v, bytes32 r, bytes32 s) {
        (v, r, s) = vm.sign(SIGNER_KEY, digestOf(0, type(uint32).max, sub));
        s = bytes32(ORDER - uint256(s));
        v = v == 27 ? 28 : 27;
    }

    function testHoleTwinOfASignatureIsTaken() public {
        withHoles();
        Subscription memory sub = plainSubscription();
        (uint8 v, bytes32 r, bytes32 s) = twin(sub);
        eq(coordinator.createSubscriptionDelegatee(0, type(uint32).max, sub, v, r, s), 1, "taken");
    }

    function testFixTwinOfASignatureIsRefused() public {
        withoutHoles();
        Subscription memory sub = plainSubscription();
        (uint8 v, bytes32 r, bytes32 s) = twin(sub);
        vm.expectRevert(EIP712Coordinator.InvalidSignature.selector);
        coordinator.createSubscriptionDelegatee(0, type(uint32).max, sub, v, r, s);
        eq(createDelegated(0, sub), 1, "the signer's own form");
    }

    // What is locked cannot be seen, and locks are not told apart (N6)

    function testFixLocksCanBeAudited() public {
        withoutHoles();
        uint32 id = pending();
        eq(nodeWallet.lockedBalance(address(0)), 1 ether, "the stake");
        eq(wallet.lockedBalance(address(0)), 1 ether, "the escrow");
        (, Wallet stakeWallet, uint256 escrowed) = coordinator.proofRequests(nodeKey(id, 1, NODE));
        eq(address(stakeWallet), address(nodeWallet), "whose stake");
        eq(escrowed, wallet.lockedBalance(address(0)), "which escrow");
        verifier.finalize(id, 1, NODE, true);
        eq(nodeWallet.lockedBalance(address(0)) + wallet.lockedBalance(address(0)), 0, "nothing");
    }

    // A verdict that comes too late (N7): kept, because watchers rely on the event; `active` says that it had no effect

    function lateVerdict() private returns (bytes memory data) {
        uint32 id = pending();
        vm.warp(block.timestamp + 1 weeks);
        vm.recordLogs();
        verifier.finalize(id, 1, NODE, false);
        Log[] memory logs = vm.getRecordedLogs();
        eq(address(nodeWallet).balance, 2 ether, "the node is paid all the same");
        return logs[logs.length - 1].data;
    }

    function testLateVerdictIsReportedAsOnOlderDeployments() public {
        withHoles();
        bytes memory data = lateVerdict();
        eqBytes(data, abi.encode(false, address(verifier), false), "not active, not valid");
        withoutHoles();
        eqBytes(lateVerdict(), abi.encode(false, address(verifier), false), "the same");
    }

    // A verifier that refuses in the middle of a payment (N8): it blocks its own subscriptions, and nothing else

    function refusingVerifier() private {
        fundConsumer(2 ether);
        fundNode(1 ether);
        bytes4[3] memory refused = [verifier.isSupportedToken.selector, verifier.fee.selector, verifier.getWallet.selector];
        for (uint256 i = 0; i < refused.length; i++) {
            RefusingVerifier other = new RefusingVerifier(refused[i]);
            uint32 id = callback(1, 1 ether, address(other));
            vm.expectRevert(RefusingVerifier.NotToday.selector);
            deliver(id, NODE);
        }
        eq(address(wallet).balance, 2 ether, "nothing was paid");
        eq(wallet.allowance(address(consumer), address(0)), 2 ether, "nor spent");
        deliver(callback(1, 1 ether, address(verifier)), NODE);
        deliver(callback(1, 1 ether, address(0)), NODE);
    }

    function testRefusingVerifierBlocksOnlyItself() public {
        withHoles();
        refusingVerifier();
        withoutHoles();
        refusingVerifier();
    }

    // A stranger who settles (B8): who he is comes before what he would find in the wallets

    function stranger() private returns (uint32 id) {
        id = pending();
        vm.etch(address(nodeWallet), hex"fe");
    }

    function testHoleStrangerMovesLocksFirst() public {
        withHoles();
        uint32 id = stranger();
        vm.expectRevert(bytes("")); // the wallet's failure, met on the way
        coordinator.finalizeProofVerification{gas: 500_000}(id, 1, NODE, true);
    }

    function testFixStrangerIsRefusedFirst() public {
        withoutHoles();
        uint32 id = stranger();
        vm.expectRevert(Coordinator.UnauthorizedVerifier.selector);
        coordinator.finalizeProofVerification{gas: 500_000}(id, 1, NODE, true);
    }

    // An owner who leaves while funds are locked (B12)

    function testHoleRenouncingFreezesTheEscrow() public {
        withHoles();
        uint32 id = pending();
        vm.prank(WALLET_OWNER);
        wallet.renounceOwnership();
        verifier.finalize(id, 1, NODE, false);
        eq(address(wallet).balance, 2 ether, "escrow and slash are nobody's");
        eq(wallet.owner(), address(0), "for good");
    }

    function testFixRenouncingIsRefusedWhileLocked() public {
        withoutHoles();
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

    /// @dev Fee and wallets are handed over in two steps, so that a mistyped owner gets nothing.
    function testHandoverInTwoSteps() public {
        withoutHoles();
        Ownable[2] memory owned = [Ownable(address(fee)), Ownable(address(wallet))];
        for (uint256 i = 0; i < owned.length; i++) {
            address old = owned[i].owner();
            vm.prank(old);
            vm.expectRevert(Ownable.NoHandoverRequest.selector);
            owned[i].completeOwnershipHandover(OTHER_NODE);
            vm.prank(OTHER_NODE);
            owned[i].requestOwnershipHandover();
            eq(owned[i].owner(), old, "not yet");
            vm.prank(old);
            owned[i].completeOwnershipHandover(OTHER_NODE);
            eq(owned[i].owner(), OTHER_NODE, "now");
        }
    }

    // Work for nothing (B1): the wallet is emptied just before the answer

    function testHoleConsumerWithdrawsBeforeTheAnswer() public {
        withHoles();
        fundConsumer(1 ether);
        uint32 id = callback(1, 1 ether, address(0));
        vm.prank(WALLET_OWNER);
        wallet.withdraw(address(0), 1 ether);
        vm.expectRevert(TokenTransfer.ETHTransferFailed.selector);
        deliver(id, NODE);
    }

    function testFixFundedConsumerCannotWithdraw() public {
        withoutHoles();
        fundConsumer(1 ether);
        uint32 id = callback(1, 1 ether, address(0));
        consumer.fund(id);
        vm.prank(WALLET_OWNER);
        vm.expectRevert(Wallet.InsufficientFunds.selector);
        wallet.withdraw(address(0), 1 ether);
        deliver(id, NODE);
        eq(address(nodeWallet).balance, 1 ether, "paid");
    }

    // Somebody else's locked funds

    /// @dev Nobody but the coordinator moves funds, and no wallet can be talked into running foreign code.
    function testOnlyTheCoordinatorMovesFunds() public {
        withoutHoles();
        pending();
        bytes4[5] memory selectors = [
            Wallet.cTransfer.selector,
            Wallet.cTransferTwo.selector,
            Wallet.cLock.selector,
            Wallet.cUnlock.selector,
            Wallet.cRelease.selector
        ];
        for (uint256 i = 0; i < selectors.length; i++) {
            bytes memory zeros = new bytes(6 * 32);
            (bool ok, bytes memory refusal) = address(wallet).call(abi.encodePacked(selectors[i], zeros));
            check(!ok, "refused");
            eqBytes(refusal, reason(0x9ec853e6), "NotCoordinator");
        }
    }

    /// @dev Naming somebody else's wallet, as payer or as stake, gets nobody at what is in it.
    function testForeignWalletsAreNoUse() public {
        withoutHoles();
        pending();
        vm.deal(address(nodeWallet), 5 ether);
        vm.deal(address(wallet), 5 ether);
        uint32 id = accomplice.request("x", "", 1, address(0), 1 ether, address(wallet), address(0));
        vm.expectRevert(Wallet.InsufficientAllowance.selector);
        deliver(id, OTHER_NODE);
        vm.deal(address(secondWallet), 1 ether);
        vm.prank(OTHER_NODE);
        secondWallet.approve(address(accomplice), address(0), 1 ether);
        id = accomplice.request("x", "", 1, address(0), 1 ether, address(secondWallet), address(verifier));
        vm.expectRevert(Wallet.InsufficientAllowance.selector);
        deliver(id, OTHER_NODE); // with NODE's wallet as stake
    }
}

/// @notice A verifier that takes every token for nothing, but refuses one of the coordinator's calls.
contract RefusingVerifier {
    bytes4 private immutable REFUSED;

    error NotToday();

    constructor(bytes4 refused) {
        REFUSED = refused;
    }

    fallback(bytes calldata) external returns (bytes memory) {
        if (msg.sig == REFUSED) revert NotToday();
        return abi.encode(msg.sig == 0x240028e8 ? 1 : 0); // isSupportedToken: true; fee and wallet: zero
    }
}
