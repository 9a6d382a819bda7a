// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Coordinator, Subscription} from "../src/Coordinator.sol";
import {Wallet} from "../src/payments/Wallet.sol";
import {DeliveryGuard} from "../src/utility/DeliveryGuard.sol";
import {TokenTransfer} from "../src/utility/TokenTransfer.sol";
import {CallingToken, FalseToken, OddToken, SilentToken, TaxedToken} from "./lib/HostileTokens.sol";
import {World} from "./lib/World.sol";
import {Log, vm} from "./lib/Vm.sol";
import {MockToken} from "./mocks/MockToken.sol";
import {MockVerifier} from "./mocks/MockVerifier.sol";

/// @notice Who pays what to whom, and what happens when somebody does not play by the rules.
contract PaymentsTest is World {
    uint32 private constant WEEK = 604_800;

    MockVerifier private verifier;
    MockToken private token;

    function setUp() public {
        deployWorld();
        verifier = new MockVerifier(registry, MockVerifier.Mode.Later);
        token = new MockToken(6);
        verifier.support(address(0), 0.111 ether);
        verifier.support(address(token), 5e6);
    }

    /// @dev Puts `amount` of a token into both wallets and lets consumer and node use it.
    function fundToken(address erc20, uint256 amount) private {
        MockToken(erc20).mint(address(wallet), amount);
        MockToken(erc20).mint(address(nodeWallet), amount);
        vm.prank(WALLET_OWNER);
        wallet.approve(address(consumer), erc20, amount);
        vm.prank(NODE);
        nodeWallet.approve(NODE, erc20, amount);
    }

    function paidIn(address erc20, uint256 amount, address by) private returns (uint32) {
        return consumer.request("container", "inputs", 1, erc20, amount, address(wallet), by);
    }

    // Amounts

    function testTokensWithoutVerifier() public {
        fundToken(address(token), 40e6);
        deliver(paidIn(address(token), 40e6, address(0)), NODE);
        eq(token.balanceOf(FEE_RECIPIENT), 4_088_000, "protocol");
        eq(token.balanceOf(address(nodeWallet)), 40e6 + 35_912_000, "node");
        eq(token.balanceOf(address(wallet)), 0, "consumer");
        eq(wallet.allowance(address(consumer), address(token)), 0, "allowance");
    }

    function testTokensWithVerifierValid() public {
        fundToken(address(token), 40e6);
        uint32 id = paidIn(address(token), 40e6, address(verifier));
        deliver(id, NODE);
        eq(token.balanceOf(address(nodeWallet)), 40e6, "not yet paid");
        eq(nodeWallet.lockedBalance(address(token)), 40e6, "stake");
        eq(wallet.lockedBalance(address(token)), 30_912_000, "escrow");
        eq(wallet.unlockedBalance(address(token)), 0, "nothing else");
        (uint32 expiry, Wallet stakeWallet, uint256 escrowed) = coordinator.proofRequests(nodeKey(id, 1, NODE));
        eq(expiry, block.timestamp + WEEK, "expiry");
        eq(address(stakeWallet), address(nodeWallet), "stake's wallet");
        eq(escrowed, 30_912_000, "escrowed");

        verifier.finalize(id, 1, NODE, true);
        eq(token.balanceOf(FEE_RECIPIENT), 4_343_500, "protocol");
        eq(token.balanceOf(address(verifier)), 4_744_500, "verifier");
        eq(token.balanceOf(address(nodeWallet)), 40e6 + 30_912_000, "node");
        eq(nodeWallet.lockedBalance(address(token)), 0, "stake free");
        eq(nodeWallet.allowance(NODE, address(token)), 40e6, "node's allowance is back");
        eq(wallet.allowance(address(consumer), address(token)), 0, "consumer's is spent");
        (expiry, stakeWallet, escrowed) = coordinator.proofRequests(nodeKey(id, 1, NODE));
        eq(expiry + uint160(address(stakeWallet)) + escrowed, 0, "settled");
    }

    function testEtherInvalidSlashes() public {
        fundConsumer(1 ether);
        fundNode(1 ether);
        verifier.setMode(MockVerifier.Mode.Invalid);
        deliver(callback(1, 1 ether, address(verifier)), NODE);
        eq(address(wallet).balance, 1.7868 ether, "consumer");
        eq(FEE_RECIPIENT.balance, 0.1078721 ether, "protocol");
        eq(address(verifier).balance, 0.1053279 ether, "verifier");
        eq(address(nodeWallet).balance, 0, "node");
        eq(consumer.received(), 1, "delivered all the same");
    }

    function testOneWalletOnBothSides() public {
        vm.deal(address(wallet), 2 ether);
        vm.prank(WALLET_OWNER);
        wallet.transferOwnership(NODE);
        vm.prank(NODE);
        wallet.approve(address(consumer), address(0), 1 ether);
        vm.prank(NODE);
        wallet.approve(NODE, address(0), 1 ether);
        verifier.setMode(MockVerifier.Mode.Valid);
        nodeWallet = wallet;
        deliver(callback(1, 1 ether, address(verifier)), NODE);
        eq(address(wallet).balance, 2 ether - 0.1022 ether - 0.111 ether, "only fees left");
        eq(wallet.lockedBalance(address(0)), 0, "nothing locked");
    }

    /// @dev Every wei that leaves the consumer's wallet arrives at somebody, whatever the amounts.
    function testFuzzAmounts(uint256 amount, uint16 rate, uint256 price, bool valid) public {
        amount = bound(amount, 1, type(uint256).max / 20_000);
        vm.prank(FEE_RECIPIENT);
        fee.updateFee(rate);
        uint256 f = rate > 5_000 ? 5_000 : rate;
        uint256 protocol = amount * 2 * f / 10_000;
        price = bound(price, 0, amount - protocol);
        verifier.support(address(0), price);
        fundConsumer(amount);
        fundNode(amount);
        verifier.setMode(valid ? MockVerifier.Mode.Valid : MockVerifier.Mode.Invalid);
        deliver(callback(1, amount, address(verifier)), NODE);
        uint256 cut = price * f / 10_000;
        eq(FEE_RECIPIENT.balance, protocol + cut, "protocol");
        eq(address(verifier).balance, price - cut, "verifier");
        uint256 earned = amount - protocol - price;
        eq(address(nodeWallet).balance, valid ? amount + earned : 0, "node");
        eq(address(wallet).balance, valid ? 0 : amount + earned, "consumer");
        eq(wallet.lockedBalance(address(0)) + nodeWallet.lockedBalance(address(0)), 0, "nothing stays locked");
    }

    /// @dev Amounts that exceed the packed fields (2^96, 2^192) and their sums.
    function testHugeAmounts() public {
        vm.prank(FEE_RECIPIENT);
        fee.updateFee(0);
        verifier.support(address(token), 0);
        uint8[5] memory shifts = [80, 96, 191, 192, 240];
        for (uint256 i = 0; i < shifts.length; i++) {
            uint256 amount = uint256(1) << shifts[i];
            fundToken(address(token), amount);
            uint32 id = paidIn(address(token), amount, address(verifier));
            deliver(id, NODE);
            (,, uint256 escrowed) = coordinator.proofRequests(nodeKey(id, 1, NODE));
            eq(escrowed, amount, "escrowed");
            uint256 before = token.balanceOf(address(nodeWallet));
            verifier.finalize(id, 1, NODE, true);
            eq(token.balanceOf(address(nodeWallet)) - before, amount, "paid");
        }
    }

    /// @dev The locked amount of the own coin has 80 bits beside the owner; larger ones go elsewhere and come back.
    function testFuzzLockedEther(uint256 first, uint256 second) public {
        first = bound(first, 1, 1 << 100);
        second = bound(second, 1, 1 << 82);
        vm.deal(address(wallet), first + second);
        vm.prank(WALLET_OWNER);
        wallet.approve(NODE, address(0), type(uint256).max);
        vm.startPrank(address(coordinator));
        wallet.cLock(NODE, address(0), first);
        eq(wallet.lockedBalance(address(0)), first, "one");
        wallet.cLock(NODE, address(0), second);
        eq(wallet.lockedBalance(address(0)), first + second, "both");
        eq(wallet.owner(), WALLET_OWNER, "the owner beside it stays");
        wallet.cUnlock(NODE, address(0), first);
        eq(wallet.lockedBalance(address(0)), second, "the second");
        wallet.cUnlock(NODE, address(0), second);
        vm.stopPrank();
        eq(wallet.lockedBalance(address(0)), 0, "none");
        vm.prank(WALLET_OWNER);
        wallet.renounceOwnership();
    }

    function testEventsOfAPayment() public {
        fundConsumer(1 ether);
        uint32 id = callback(1, 1 ether, address(0));
        vm.recordLogs();
        deliver(id, NODE);
        Log[] memory logs = vm.getRecordedLogs();
        eq(logs.length, 3, "two payments and the delivery");
        address[2] memory payees = [FEE_RECIPIENT, address(nodeWallet)];
        uint256[2] memory amounts = [uint256(0.1022 ether), 0.8978 ether];
        for (uint256 i = 0; i < 2; i++) {
            eq(logs[i].emitter, address(wallet), "by the wallet");
            eq(logs[i].topics[0], Wallet.Transfer.selector, "transfer");
            eq(logs[i].topics[1], bytes32(uint256(uint160(address(consumer)))), "spender");
            eq(logs[i].topics[2], bytes32(uint256(uint160(payees[i]))), "payee");
            eqBytes(logs[i].data, abi.encode(address(0), amounts[i]), "token and amount");
        }
        eq(logs[2].topics[0], Coordinator.SubscriptionFulfilled.selector, "last");
    }

    function testEventsOfAnEscrow() public {
        fundConsumer(1 ether);
        fundNode(1 ether);
        verifier.setMode(MockVerifier.Mode.Valid);
        uint32 id = callback(1, 1 ether, address(verifier));
        vm.recordLogs();
        deliver(id, NODE);
        Log[] memory logs = vm.getRecordedLogs();
        eq(logs.length, 10, "logs");
        for (uint256 i = 0; i < 3; i++) {
            eq(logs[i].topics[0], Wallet.Transfer.selector, "protocol, protocol's cut, verifier");
        }
        eq(logs[3].emitter, address(nodeWallet), "the node's stake first");
        eqBytes(logs[3].data, abi.encode(address(0), 1 ether, true), "stake");
        eqBytes(logs[4].data, abi.encode(address(0), 0.7868 ether, true), "escrow");
        eqBytes(logs[5].data, abi.encode(address(0), 1 ether, false), "stake free");
        eqBytes(logs[6].data, abi.encode(address(0), 0.7868 ether, false), "escrow free");
        eq(logs[7].topics[0], Wallet.Transfer.selector, "node");
        eq(logs[8].topics[0], Coordinator.ProofVerified.selector, "verified");
        eqBytes(logs[8].data, abi.encode(true, address(verifier), true), "verdict");
        eq(logs[9].topics[0], Coordinator.SubscriptionFulfilled.selector, "last");
    }

    // Refusals

    function testWalletsMustBeTheFactorys() public {
        Wallet stray = new Wallet(registry, NODE);
        check(!factory.isValidWallet(address(stray)), "not the factory's");
        uint32 id = callback(1, 1 ether, address(0));
        vm.expectRevert(Coordinator.InvalidWallet.selector);
        vm.prank(NODE);
        coordinator.deliverCompute(id, 1, "", "", "", address(stray));
        wallet = stray;
        id = callback(1, 1 ether, address(0));
        vm.expectRevert(Coordinator.InvalidWallet.selector);
        deliver(id, NODE);
    }

    function testShortAllowanceAndBalance() public {
        fundConsumer(1 ether);
        uint32 id = callback(1, 1 ether + 1, address(0));
        vm.expectRevert(Wallet.InsufficientAllowance.selector);
        deliver(id, NODE);
        vm.prank(WALLET_OWNER);
        wallet.approve(address(consumer), address(0), 2 ether);
        vm.expectRevert(TokenTransfer.ETHTransferFailed.selector);
        deliver(id, NODE);
        fundToken(address(token), 5);
        id = paidIn(address(token), 5, address(0));
        vm.prank(WALLET_OWNER);
        wallet.withdraw(address(token), 1);
        vm.expectRevert(TokenTransfer.TransferFailed.selector);
        deliver(id, NODE);
    }

    function testStakeIsCheckedFundsFirst() public {
        fundConsumer(1 ether);
        uint32 id = callback(1, 1 ether, address(verifier));
        vm.expectRevert(Wallet.InsufficientFunds.selector);
        deliver(id, NODE);
        vm.deal(address(nodeWallet), 1 ether);
        vm.expectRevert(Wallet.InsufficientAllowance.selector);
        deliver(id, NODE);
    }

    function testVerifierThatRefuses() public {
        fundConsumer(1 ether);
        fundNode(1 ether);
        verifier.setMode(MockVerifier.Mode.Refuse);
        uint32 id = callback(1, 1 ether, address(verifier));
        vm.expectRevert(MockVerifier.Refused.selector);
        deliver(id, NODE);
        eq(address(wallet).balance, 1 ether, "nothing paid");
        MockVerifier other = new MockVerifier(registry, MockVerifier.Mode.Valid);
        id = callback(1, 1 ether, address(other));
        vm.expectRevert(Coordinator.UnsupportedVerifierToken.selector);
        deliver(id, NODE);
        other.support(address(0), 0.8978 ether + 1);
        vm.expectRevert(Wallet.InsufficientFunds.selector);
        deliver(id, NODE);
    }

    // Settling

    function pending() private returns (uint32 id) {
        fundConsumer(1 ether);
        fundNode(1 ether);
        id = callback(1, 1 ether, address(verifier));
        deliver(id, NODE);
    }

    function testOnlyTheVerifierWithinTheWeek() public {
        uint32 id = pending();
        vm.expectRevert(Coordinator.ProofRequestNotFound.selector);
        coordinator.finalizeProofVerification(id, 1, OTHER_NODE, true);
        vm.warp(block.timestamp + WEEK - 1);
        vm.expectRevert(Coordinator.UnauthorizedVerifier.selector);
        coordinator.finalizeProofVerification(id, 1, NODE, true);
        verifier.finalize(id, 1, NODE, false);
        eq(address(nodeWallet).balance, 0, "slashed in the last second");
        vm.expectRevert(Coordinator.ProofRequestNotFound.selector);
        verifier.finalize(id, 1, NODE, false);
    }

    function testAnyoneAfterTheWeekAndTheNodeIsPaid() public {
        uint32 id = pending();
        consumer.cancel(id);
        vm.warp(block.timestamp + WEEK);
        vm.recordLogs();
        vm.prank(address(0xCAFE));
        coordinator.finalizeProofVerification(id, 1, NODE, false);
        Log[] memory logs = vm.getRecordedLogs();
        eqBytes(logs[3].data, abi.encode(false, address(0xCAFE), false), "not active, verdict as passed");
        eq(address(nodeWallet).balance, 1.7868 ether, "paid whatever the verdict");
    }

    // Tokens

    function testSilentTokenPays() public {
        SilentToken silent = new SilentToken();
        fundToken(address(silent), 10_000);
        deliver(paidIn(address(silent), 10_000, address(0)), NODE);
        eq(silent.balanceOf(FEE_RECIPIENT), 1_022, "protocol");
        eq(silent.balanceOf(address(nodeWallet)), 18_978, "node");
    }

    function testLyingTokensFail() public {
        address[2] memory tokens = [address(new FalseToken()), address(new OddToken())];
        for (uint256 i = 0; i < tokens.length; i++) {
            fundToken(tokens[i], 10_000);
            uint32 id = paidIn(tokens[i], 10_000, address(0));
            vm.expectRevert(TokenTransfer.TransferFailed.selector);
            deliver(id, NODE);
        }
    }

    /// @dev A token that keeps a part leaves the wallet with what it says it paid, and what is locked stays covered.
    function testTaxedToken() public {
        TaxedToken taxed = new TaxedToken();
        verifier.support(address(taxed), 0);
        fundToken(address(taxed), 10_000);
        uint32 id = paidIn(address(taxed), 10_000, address(verifier));
        deliver(id, NODE);
        eq(taxed.balanceOf(address(wallet)), 8_978, "escrow");
        eq(wallet.lockedBalance(address(taxed)), 8_978, "is covered");
        verifier.finalize(id, 1, NODE, true);
        eq(taxed.balanceOf(address(nodeWallet)), 10_000 + 8_978 - 897, "the node bears the tax");
    }

    function testCallingTokenCannotReenter() public {
        CallingToken calling = new CallingToken();
        verifier.support(address(calling), 0);
        fundToken(address(calling), 30_000);
        uint32 id = paidIn(address(calling), 10_000, address(0));
        bytes memory again = abi.encodeCall(Coordinator.deliverCompute, (id, 1, "", "", "", address(nodeWallet)));
        calling.onTransfer(address(coordinator), again);
        deliver(id, NODE);
        check(calling.called(), "called");
        eqBytes(calling.innerRevert(), abi.encodePacked(DeliveryGuard.Reentrancy.selector), "refused");

        // Settling the same escrow twice from inside the token.
        id = paidIn(address(calling), 10_000, address(verifier));
        deliver(id, NODE);
        bytes memory settle = abi.encodeCall(MockVerifier.finalize, (id, 1, NODE, true));
        calling.onTransfer(address(verifier), settle);
        uint256 before = calling.balanceOf(address(nodeWallet));
        verifier.finalize(id, 1, NODE, true);
        check(calling.called(), "called again");
        bytes memory notFound = abi.encodePacked(Coordinator.ProofRequestNotFound.selector);
        eqBytes(calling.innerRevert(), notFound, "it is settled already");
        eq(calling.balanceOf(address(nodeWallet)) - before, 8_978, "paid once");
    }
}
