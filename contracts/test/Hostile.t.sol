// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {BatchDelivery, Coordinator} from "../src/Coordinator.sol";
import {Wallet} from "../src/payments/Wallet.sol";
import {DeliveryGuard} from "../src/utility/DeliveryGuard.sol";
import {TokenTransfer} from "../src/utility/TokenTransfer.sol";
import {MockVerifier} from "./mocks/MockVerifier.sol";
import {MoodyToken} from "./lib/HostileTokens.sol";
import {Recorder} from "./lib/Recorder.sol";
import {World} from "./lib/World.sol";
import {vm} from "./lib/Vm.sol";

/// @notice Counterparts that misbehave while a delivery is under way. (Tokens that lie or keep a part: `Payments.t.sol`.)
contract HostileTest is World {
    function setUp() public {
        deployWorld();
    }

    // Payees

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

    /// @dev A receiver that refuses the chain's own coin, or burns what gas it gets, is paid all the same.
    function testPayeesThatRefuse() public {
        vm.prank(FEE_RECIPIENT);
        fee.updateFee(500);
        bytes[2] memory codes = [bytes(hex"60006000fd"), hex"5b600056"]; // revert; loop for ever
        for (uint256 i = 0; i < codes.length; i++) {
            vm.etch(FEE_RECIPIENT, codes[i]);
            fundConsumer(1 ether);
            uint32 id = callback(1, 1 ether, address(0));
            vm.prank(NODE);
            coordinator.deliverCompute{gas: 700_000}(id, 1, "", "", "", address(nodeWallet));
            eq(FEE_RECIPIENT.balance, (i + 1) * 0.1 ether, "forced");
        }
    }

    // Verifiers

    function hostileVerifier() private returns (HostileVerifier verifier, uint32 id) {
        fundConsumer(1 ether);
        fundNode(1 ether);
        verifier = new HostileVerifier(coordinator);
        id = callback(1, 1 ether, address(verifier));
    }

    /// @dev It is called inside a delivery: it can neither deliver nor settle twice, nor settle what is another's.
    function testVerifierThatReenters() public {
        MockVerifier honest = new MockVerifier(registry, MockVerifier.Mode.Later);
        honest.support(address(0), 0);
        fundConsumer(1 ether);
        fundNode(1 ether);
        uint32 others = callback(1, 1 ether, address(honest));
        deliver(others, NODE);

        (HostileVerifier verifier, uint32 id) = hostileVerifier();
        vm.deal(address(wallet), 2 ether);
        vm.deal(address(nodeWallet), 2 ether);
        bytes memory settle = abi.encodeCall(Coordinator.finalizeProofVerification, (id, 1, NODE, true));
        verifier.plan(abi.encodeCall(Coordinator.deliverCompute, (id, 1, "", "", "", address(nodeWallet))));
        verifier.plan(abi.encodeCall(Coordinator.finalizeProofVerification, (others, 1, NODE, false)));
        verifier.plan(settle);
        verifier.plan(settle);
        deliver(id, NODE);
        eqBytes(verifier.results(0), abi.encodePacked(DeliveryGuard.Reentrancy.selector), "no delivery inside one");
        eqBytes(verifier.results(1), abi.encodePacked(Coordinator.UnauthorizedVerifier.selector), "not its request");
        eqBytes(verifier.results(2), "", "its own verdict counts");
        eqBytes(verifier.results(3), abi.encodePacked(Coordinator.ProofRequestNotFound.selector), "once");
        eq(wallet.lockedBalance(address(0)), 0.8978 ether, "the other's escrow is untouched");
        eq(nodeWallet.lockedBalance(address(0)), 1 ether, "and so is its stake");
    }

    /// @dev A verifier that names another fee each time it is asked is asked once, and gets what it said then.
    function testVerifierThatChangesItsFee() public {
        (HostileVerifier verifier, uint32 id) = hostileVerifier();
        vm.prank(FEE_RECIPIENT);
        fee.updateFee(0);
        verifier.setFee(0.25 ether);
        deliver(id, NODE);
        eq(address(verifier).balance, 0.25 ether, "as said");
        verifier.setFee(0.5 ether);
        (,, uint256 escrowed) = coordinator.proofRequests(nodeKey(id, 1, NODE));
        eq(escrowed, 0.75 ether, "the rest is the node's");
        vm.warp(block.timestamp + 1 weeks);
        coordinator.finalizeProofVerification(id, 1, NODE, false);
        eq(address(nodeWallet).balance, 1.75 ether, "paid");
    }

    /// @dev A verifier's fee goes where it says, also if nobody wants it there.
    function testVerifierWithARefusingWallet() public {
        (HostileVerifier verifier, uint32 id) = hostileVerifier();
        address refuser = address(0xBAD);
        vm.etch(refuser, hex"60006000fd");
        verifier.setWallet(refuser);
        verifier.setFee(0.1 ether);
        deliver(id, NODE);
        eq(refuser.balance, 0.1 ether - 0.00511 ether, "forced, less the protocol's part");
    }

    // Consumers

    function testConsumerThatReturnsAFlood() public {
        Flood flood = new Flood(coordinator, 300_000);
        uint32 bad = flood.ask();
        uint32 good = callback(1, 0, address(0));
        BatchDelivery[] memory batch = new BatchDelivery[](2);
        batch[0] = BatchDelivery(bad, 1, "", "", "", address(0));
        batch[1] = BatchDelivery(good, 1, "", "", "", address(0));
        vm.prank(NODE);
        eq(coordinator.deliverComputeBatch{gas: 2_000_000}(batch), 2, "a flood of revert data takes its own share of gas only");
        check(coordinator.nodeResponded(nodeKey(good, 1, NODE)), "the other went through");
    }

    /// @dev A free delivery, and a hostile one behind it, which gets all the gas that is left.
    function behindAGoodOne(uint32 bad, uint256 gasLimit) private {
        BatchDelivery[] memory batch = new BatchDelivery[](2);
        batch[0] = BatchDelivery(callback(1, 0, address(0)), 1, "", "", "", address(0));
        batch[1] = BatchDelivery(bad, 1, "", "", "", address(0));
        vm.prank(NODE);
        eq(coordinator.deliverComputeBatch{gas: gasLimit}(batch), 1, "the good one went through");
        check(coordinator.nodeResponded(nodeKey(batch[0].subscriptionId, 1, NODE)), "and stays");
        check(!coordinator.nodeResponded(nodeKey(bad, 1, NODE)), "the hostile one did not");
    }

    /// @dev Over all limits: from little more than the good one needs to plenty.
    function behindAGoodOne(uint32 bad) private {
        deliver(callback(1, 0, address(0)), NODE); // a consumer's first answer takes much more than later ones
        for (uint256 gasLimit = 180_000; gasLimit <= 560_000; gasLimit += 2_500) {
            behindAGoodOne(bad, gasLimit);
        }
    }

    function testConsumerThatEatsGasBehindAGoodOne() public {
        Recorder eater = new Recorder(registry, address(1));
        eater.onReceiveEatGas();
        uint32 bad = eater.request("container", "", 1, address(0), 0, address(0), address(0));
        behindAGoodOne(bad);
    }

    function testConsumerThatReturnsAFloodBehindAGoodOne() public {
        uint256[3] memory sizes = [uint256(40_000), 120_000, 200_000];
        for (uint256 i = 0; i < sizes.length; i++) {
            behindAGoodOne(new Flood(coordinator, sizes[i]).ask());
        }
    }

    /// @dev A consumer that eats gas fails its own delivery, and nothing is left behind.
    function testConsumerThatEatsGas() public {
        fundConsumer(1 ether);
        uint32 id = callback(1, 1 ether, address(0));
        consumer.onReceiveEatGas();
        vm.prank(NODE);
        (bool ok,) = address(coordinator).call{gas: 1_000_000}(
            abi.encodeCall(Coordinator.deliverCompute, (id, 1, "", "", "", address(nodeWallet)))
        );
        check(!ok, "failed");
        eq(address(wallet).balance, 1 ether, "nothing paid");
        check(!coordinator.nodeResponded(nodeKey(id, 1, NODE)), "nor booked");
    }

    /// @dev A consumer that is paid for (by its own wallet) while it receives cannot take the payment back.
    function testConsumerThatWithdrawsWhileReceiving() public {
        fundConsumer(1 ether);
        vm.prank(WALLET_OWNER);
        wallet.transferOwnership(address(consumer));
        uint32 id = callback(1, 1 ether, address(0));
        consumer.onReceiveCall(address(wallet), abi.encodeCall(Wallet.withdraw, (address(0), 1)));
        deliver(id, NODE);
        eqBytes(consumer.innerRevert(), abi.encodePacked(Wallet.InsufficientFunds.selector), "it is gone");
        eq(address(nodeWallet).balance, 0.8978 ether, "to the node");
    }

    // Tokens that change their mind

    /// @dev An escrow in a token that stops working is settled as soon as it works again; a balance that shrank by itself is made good
    /// first.
    function testTokenThatStopsAndShrinks() public {
        MoodyToken token = new MoodyToken();
        MockVerifier verifier = new MockVerifier(registry, MockVerifier.Mode.Later);
        verifier.support(address(token), 0);
        vm.prank(FEE_RECIPIENT);
        fee.updateFee(0);
        (address payer, address stake) = (address(wallet), address(nodeWallet));
        token.setBalance(payer, 100);
        token.setBalance(stake, 100);
        vm.prank(WALLET_OWNER);
        wallet.approve(address(consumer), address(token), 100);
        vm.prank(NODE);
        nodeWallet.approve(NODE, address(token), 100);
        uint32 id = consumer.request("container", "", 1, address(token), 100, payer, address(verifier));
        deliver(id, NODE);

        token.setBalance(payer, 99);
        eq(wallet.lockedBalance(address(token)), 100, "still owed");
        eq(wallet.unlockedBalance(address(token)), 0, "nothing is free");
        vm.expectRevert(TokenTransfer.TransferFailed.selector);
        verifier.finalize(id, 1, NODE, true);
        token.setBalance(payer, 100);
        MoodyToken.Mood[3] memory moods = [MoodyToken.Mood.RefuseTransfers, MoodyToken.Mood.RefuseAll, MoodyToken.Mood.BurnGas];
        for (uint256 i = 0; i < moods.length; i++) {
            token.setMood(moods[i]);
            vm.expectRevert(TokenTransfer.TransferFailed.selector);
            verifier.finalize{gas: 2_000_000}(id, 1, NODE, true);
        }
        token.setMood(MoodyToken.Mood.Work);
        verifier.finalize(id, 1, NODE, true);
        eq(token.balanceOf(stake), 200, "paid");
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

/// @notice A verifier that makes the calls it was told to when it is asked for a verdict, and keeps what they reverted with.
contract HostileVerifier {
    Coordinator private immutable COORDINATOR;
    bytes[] private _calls;
    bytes[] public results;
    uint256 private _fee;
    address private _wallet = address(this);

    constructor(Coordinator coordinator) {
        COORDINATOR = coordinator;
    }

    receive() external payable {}

    function plan(bytes calldata data) external {
        _calls.push(data);
    }

    function setFee(uint256 amount) external {
        _fee = amount;
    }

    function setWallet(address wallet) external {
        _wallet = wallet;
    }

    function isSupportedToken(address) external pure returns (bool) {
        return true;
    }

    function fee(address) external view returns (uint256) {
        return _fee;
    }

    function getWallet() external view returns (address) {
        return _wallet;
    }

    function requestProofVerification(uint32, uint32, address, bytes calldata) external {
        for (uint256 i = 0; i < _calls.length; i++) {
            (bool ok, bytes memory result) = address(COORDINATOR).call(_calls[i]);
            results.push(ok ? bytes("") : result);
        }
    }
}

/// @notice A consumer that reverts with much data.
contract Flood {
    Coordinator private immutable COORDINATOR;
    uint256 private immutable SIZE;

    constructor(Coordinator coordinator, uint256 size) {
        (COORDINATOR, SIZE) = (coordinator, size);
    }

    function ask() external returns (uint32) {
        return COORDINATOR.createSubscription("container", 1, 0, 1, false, address(0), 0, address(0), address(0));
    }

    fallback() external {
        uint256 size = SIZE;
        assembly {
            revert(0, size)
        }
    }
}
