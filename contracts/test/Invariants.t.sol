// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Subscription} from "../src/Coordinator.sol";
import {Wallet} from "../src/payments/Wallet.sol";
import {MockVerifier} from "./mocks/MockVerifier.sol";
import {Handler} from "./lib/Handler.sol";
import {World} from "./lib/World.sol";
import {vm} from "./lib/Vm.sol";

/// @notice What holds whatever users, nodes and verifiers do.
contract InvariantsTest is World {
    uint256 private constant TOTAL = 300 ether;

    Handler private handler;

    function setUp() public {
        deployWorld();
        handler = new Handler(registry, FEE_RECIPIENT);
    }

    /// @notice Tells forge whom to call.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @notice Tells forge in whose name to call: of an account that is nothing else here. The handler does not look at its caller,
    /// and forge, left to itself, also takes wallets, whose coin it then loses between two calls.
    function targetSenders() public pure returns (address[] memory senders) {
        senders = new address[](1);
        senders[0] = address(0x5E4D);
    }

    function tokens() private view returns (address[2] memory) {
        return [address(0), address(handler.TOKEN())];
    }

    function held(address token, address account) private view returns (uint256) {
        return token == address(0) ? account.balance : handler.TOKEN().balanceOf(account);
    }

    function invariant_Accounts() public view {
        moneyIsConserved();
        locksAreAccountedForAndCovered();
        oneDeliveryPerNodeAndInterval();
    }

    /// @notice At the end of each run.
    function afterInvariant() public {
        everyEscrowCanBeSettled();
    }

    /// @dev The handler's moves reach what the invariants speak about; otherwise they would hold of nothing.
    function testMovesReachEverything() public {
        bytes4[9] memory moves = [
            Handler.create.selector,
            Handler.openEscrow.selector,
            Handler.deliver.selector,
            Handler.deliverBatch.selector,
            Handler.fund.selector,
            Handler.finalize.selector,
            Handler.wait.selector,
            Handler.approve.selector,
            Handler.release.selector
        ];
        uint256 funded;
        for (uint256 i = 0; i < 900; i++) {
            bytes memory words;
            for (uint256 k = 0; k < 6; k++) {
                words = abi.encodePacked(words, uint256(keccak256(abi.encode(i, k))) % 256);
            }
            (bool ok,) = address(handler).call(abi.encodePacked(moves[i % 9], words));
            if (ok && moves[i % 9] == Handler.fund.selector) funded++;
        }
        check(handler.madeCount() > 100, "deliveries");
        check(handler.finalized() > 20, "verdicts");
        check(funded > 5, "reserves");
        uint256 open;
        for (uint256 i = 0; i < handler.madeCount(); i++) {
            (uint32 id, uint32 interval, address node) = handler.made(i);
            if (handler.isOpen(Handler.Made(id, interval, node))) open++;
        }
        check(open > 5, "open escrows");
        invariant_Accounts();
        everyEscrowCanBeSettled();
    }

    /// @dev Nothing appears and nothing is lost.
    function moneyIsConserved() private view {
        for (uint256 k = 0; k < 2; k++) {
            address token = tokens()[k];
            uint256 sum = held(token, FEE_RECIPIENT);
            for (uint256 i = 0; i < 3; i++) {
                sum += held(token, address(handler.wallets(i))) + held(token, handler.user(i));
            }
            sum += held(token, address(handler.verifiers(0))) + held(token, address(handler.verifiers(1)));
            eq(sum, TOTAL, "total");
        }
    }

    /// @dev What a wallet has locked is exactly what its open stakes, escrows and reserves sum to, and it is there.
    function locksAreAccountedForAndCovered() private view {
        for (uint256 k = 0; k < 2; k++) {
            for (uint256 i = 0; i < 3; i++) {
                Wallet vault = handler.wallets(i);
                uint256 locked = vault.lockedBalance(tokens()[k]);
                check(locked <= held(tokens()[k], address(vault)), "covered");
                eq(locked, openStakes(vault, tokens()[k]) + reserves(vault, tokens()[k]), "accounted for");
            }
        }
    }

    function openStakes(Wallet vault, address token) private view returns (uint256 sum) {
        for (uint256 i = 0; i < handler.madeCount(); i++) {
            (uint32 id, uint32 interval, address node) = handler.made(i);
            (uint32 expiry, Wallet stakeWallet, uint256 escrowed) = coordinator.proofRequests(nodeKey(id, interval, node));
            Subscription memory sub = coordinator.getSubscription(id);
            if (expiry == 0 || sub.paymentToken != token) continue;
            if (stakeWallet == vault) sum += sub.paymentAmount;
            if (sub.wallet == address(vault)) sum += escrowed;
        }
    }

    function reserves(Wallet vault, address token) private view returns (uint256 sum) {
        for (uint32 id = 1; id < coordinator.id(); id++) {
            Subscription memory sub = coordinator.getSubscription(id);
            if (sub.wallet != address(vault) || sub.paymentToken != token) continue;
            sum += coordinator.reservedPayments(id) * sub.paymentAmount;
        }
    }

    /// @dev A node answers an interval at most once, and no interval is answered more often than asked for.
    function oneDeliveryPerNodeAndInterval() private view {
        for (uint256 i = 0; i < handler.madeCount(); i++) {
            (uint32 id, uint32 interval, address node) = handler.made(i);
            eq(handler.timesMade(nodeKey(id, interval, node)), 1, "once");
            uint256 count = coordinator.redundancyCount(intervalKey(id, interval));
            eq(count, handler.answers(intervalKey(id, interval)), "counted");
            Subscription memory sub = coordinator.getSubscription(id);
            check(count <= sub.redundancy && interval <= sub.frequency, "as asked for");
        }
    }

    /// @dev Whatever was done meanwhile, every open escrow can be settled either way, and afterwards only reserves are locked.
    function everyEscrowCanBeSettled() private {
        for (uint256 verdict = 0; verdict < 3; verdict++) {
            uint256 snapshot = vm.snapshotState();
            if (verdict == 2) vm.warp(block.timestamp + 1 weeks);
            for (uint256 i = 0; i < handler.madeCount(); i++) {
                (uint32 id, uint32 interval, address node) = handler.made(i);
                (uint32 expiry,,) = coordinator.proofRequests(nodeKey(id, interval, node));
                if (expiry == 0) continue;
                MockVerifier verifier = MockVerifier(coordinator.getSubscription(id).verifier);
                if (verdict == 2) coordinator.finalizeProofVerification(id, interval, node, false);
                else verifier.finalize(id, interval, node, verdict == 1);
            }
            locksAreAccountedForAndCovered();
            vm.revertToState(snapshot);
        }
    }
}
