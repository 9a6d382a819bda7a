// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {BatchDelivery, Coordinator, Subscription} from "../../src/Coordinator.sol";
import {EIP712Coordinator} from "../../src/EIP712Coordinator.sol";
import {Registry} from "../../src/Registry.sol";
import {Fee} from "../../src/payments/Fee.sol";
import {Wallet} from "../../src/payments/Wallet.sol";
import {WalletFactory} from "../../src/payments/WalletFactory.sol";
import {Keys} from "../../src/utility/Keys.sol";
import {MockToken} from "../mocks/MockToken.sol";
import {MockVerifier} from "../mocks/MockVerifier.sol";
import {Recorder} from "./Recorder.sol";
import {vm} from "./Vm.sol";

/// @title Handler
/// @notice Random users: three of them, each with a wallet, a consumer and a node, who create, fund, answer, cancel, withdraw, approve
/// absurd amounts and pay each other, while two verifiers judge as they like.
contract Handler {
    uint256 internal constant USERS = 3;
    uint256 internal constant SUPPLY = 100 ether;

    /// @notice A delivery that was made.
    struct Made {
        uint32 id;
        uint32 interval;
        address node;
    }

    EIP712Coordinator internal immutable COORDINATOR;
    Fee internal immutable FEES;
    address public immutable FEE_RECIPIENT;
    MockToken public immutable TOKEN;

    Wallet[] public wallets;
    Recorder[] public consumers;
    MockVerifier[] public verifiers;
    Made[] public made;

    /// @notice How often a delivery by (id, interval, node) went through.
    mapping(bytes32 => uint256) public timesMade;

    /// @notice How many deliveries to (id, interval) went through.
    mapping(bytes32 => uint256) public answers;

    /// @notice How many verdicts fell, by `finalize`.
    uint256 public finalized;

    constructor(Registry registry, address feeRecipient) {
        COORDINATOR = EIP712Coordinator(registry.COORDINATOR());
        FEES = Fee(registry.FEE());
        FEE_RECIPIENT = feeRecipient;
        TOKEN = new MockToken(18);
        for (uint256 i = 0; i < USERS; i++) {
            Wallet wallet = Wallet(payable(WalletFactory(payable(registry.WALLET_FACTORY())).createWallet(user(i))));
            wallets.push(wallet);
            consumers.push(new Recorder(registry, address(1)));
            vm.deal(address(wallet), SUPPLY);
            TOKEN.mint(address(wallet), SUPPLY);
        }
        for (uint256 i = 0; i < USERS; i++) {
            vm.startPrank(user(i));
            for (uint256 k = 0; k < 2; k++) {
                address token = k == 0 ? address(0) : address(TOKEN);
                wallets[i].approve(user(i), token, SUPPLY);
                for (uint256 n = 0; n < USERS; n++) {
                    wallets[i].approve(address(consumers[n]), token, SUPPLY);
                }
            }
            vm.stopPrank();
        }
        verifiers.push(new MockVerifier(registry, MockVerifier.Mode.Later));
        verifiers.push(new MockVerifier(registry, MockVerifier.Mode.Valid));
        for (uint256 i = 0; i < 2; i++) {
            verifiers[i].support(address(0), 0.01 ether);
            verifiers[i].support(address(TOKEN), 0.02 ether);
        }
    }

    /// @notice Owner of wallet `i` and account of node `i`.
    function user(uint256 i) public pure returns (address) {
        return address(uint160(0x05E40000 + i % USERS));
    }

    function walletCount() external view returns (uint256) {
        return wallets.length;
    }

    function madeCount() external view returns (uint256) {
        return made.length;
    }

    function tokenOf(uint256 seed) private view returns (address) {
        return seed % 2 == 0 ? address(0) : address(TOKEN);
    }

    function create(uint256 seed, uint8 by, uint8 payer, uint64 amount, uint8 verifier, uint8 shape) external {
        Subscription memory sub;
        sub.period = shape % 3 == 0 ? 0 : 50 + shape % 40;
        sub.frequency = 1 + shape % 4;
        sub.redundancy = uint16(1 + shape % 3);
        sub.lazy = shape % 5 == 0;
        sub.paymentToken = tokenOf(seed);
        sub.paymentAmount = shape % 7 == 0 ? 0 : amount % 2 ether;
        sub.wallet = payable(address(wallets[payer % USERS]));
        if (verifier % 4 < 2) sub.verifier = payable(address(verifiers[verifier % 4]));
        consumers[by % USERS].create("container", sub);
    }

    /// @notice A callback with an asynchronous verifier, answered by one node: an escrow that waits.
    function openEscrow(uint8 by, uint8 payer, uint8 node, uint64 amount, uint256 seed) external {
        uint32 id = consumers[by
                % USERS].request(
            "container",
            "",
            2,
            tokenOf(seed),
            1 ether + amount % 1 ether,
            address(wallets[payer % USERS]),
            address(verifiers[0])
        );
        deliverTo(id, node);
    }

    function fund(uint32 id) external {
        id = pick(id);
        Recorder(COORDINATOR.getSubscription(id).owner).fund(id);
    }

    function release(uint32 id) external {
        COORDINATOR.releaseReserve(pick(id));
    }

    function cancel(uint32 id, uint8 chance) external {
        if (chance % 4 != 0) return;
        id = pick(id);
        Recorder(COORDINATOR.getSubscription(id).owner).cancel(id);
    }

    function deliver(uint32 id, uint8 by) external {
        deliverTo(pick(id), by);
    }

    /// @dev Waits until the subscription is active, if that is soon.
    function deliverTo(uint32 id, uint8 by) private {
        Subscription memory sub = COORDINATOR.getSubscription(id);
        if (sub.activeAt > block.timestamp && sub.activeAt < block.timestamp + 100) vm.warp(sub.activeAt);
        uint32 interval = COORDINATOR.getSubscriptionInterval(sub.activeAt, sub.period);
        vm.prank(user(by));
        COORDINATOR.deliverCompute(id, interval, "input", "output", "proof", address(wallets[by % USERS]));
        note(id, interval, user(by));
    }

    function deliverBatch(uint32 first, uint32 second, uint8 by) external {
        BatchDelivery[] memory batch = new BatchDelivery[](3);
        uint32[3] memory ids = [pick(first), pick(second), pick(first)];
        for (uint256 i = 0; i < 3; i++) {
            Subscription memory sub = COORDINATOR.getSubscription(ids[i]);
            uint32 interval = COORDINATOR.getSubscriptionInterval(sub.activeAt, sub.period);
            batch[i] = BatchDelivery(ids[i], interval, "", "output", "", address(wallets[by % USERS]));
        }
        vm.prank(user(by));
        uint256 delivered = COORDINATOR.deliverComputeBatch(batch);
        for (uint256 i = 0; i < 3; i++) {
            if ((delivered >> i) & 1 == 1) note(ids[i], batch[i].interval, user(by));
        }
    }

    function finalize(uint256 which, uint8 verdict) external {
        uint256 i = which % made.length;
        for (uint256 tried = 0; tried < made.length && !isOpen(made[i]); tried++) {
            i = (i + 1) % made.length;
        }
        Made memory m = made[i];
        MockVerifier(COORDINATOR.getSubscription(m.id).verifier).finalize(m.id, m.interval, m.node, verdict % 2 == 0);
        finalized++;
    }

    /// @notice Whether a delivery waits for a verdict.
    function isOpen(Made memory m) public view returns (bool) {
        (uint32 expiry,,) = COORDINATOR.proofRequests(Keys.ofNode(m.id, m.interval, m.node));
        return expiry != 0;
    }

    function atomicVerdict(uint8 mode) external {
        verifiers[1].setMode(MockVerifier.Mode(1 + mode % 3));
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + time % 120);
    }

    function waitLong(uint8 chance) external {
        if (chance % 8 == 0) vm.warp(block.timestamp + 1 weeks);
    }

    function withdraw(uint8 by, uint256 amount, uint256 seed) external {
        vm.prank(user(by));
        wallets[by % USERS].withdraw(tokenOf(seed), amount % (SUPPLY / 4));
    }

    function approve(uint8 by, uint8 consumer, uint256 amount, uint256 seed) external {
        address spender = consumer % 2 == 0 ? user(by) : address(consumers[consumer % USERS]);
        uint256[4] memory amounts = [type(uint256).max, type(uint256).max - (amount % 4 ether), SUPPLY, 3 ether];
        vm.prank(user(by));
        wallets[by % USERS].approve(spender, tokenOf(seed), amounts[(seed >> 8) % 4]);
    }

    function updateFee(uint16 rate) external {
        vm.prank(FEE_RECIPIENT);
        FEES.updateFee(rate % 16 == 0 ? 6_000 : rate % 1_000);
    }

    function renounce(uint8 by, uint8 chance) external {
        if (chance % 16 != 0) return;
        vm.prank(user(by));
        wallets[by % USERS].renounceOwnership();
    }

    function pick(uint32 id) private view returns (uint32) {
        uint32 next = COORDINATOR.id();
        return next == 1 ? 1 : 1 + id % (next - 1);
    }

    function note(uint32 id, uint32 interval, address node) private {
        bytes32 key = Keys.ofNode(id, interval, node);
        timesMade[key]++;
        answers[Keys.ofInterval(id, interval)]++;
        made.push(Made(id, interval, node));
    }
}
