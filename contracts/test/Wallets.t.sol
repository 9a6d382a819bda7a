// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Wallet} from "../src/payments/Wallet.sol";
import {WalletCode} from "../src/payments/WalletCode.sol";
import {WalletFactory} from "../src/payments/WalletFactory.sol";
import {Coordinated} from "../src/utility/Coordinated.sol";
import {Ownable} from "../src/utility/Ownable.sol";
import {World} from "./lib/World.sol";
import {Log, vm} from "./lib/Vm.sol";

/// @notice Wallets: how they are made and recognised, and what their owners can do.
contract WalletsTest is World {
    function setUp() public {
        deployWorld();
    }

    function testAddressesFollowTheFactorysNonce() public {
        // Two wallets exist; the third has nonce 3.
        address expected = vm.computeCreateAddress(address(factory), 3);
        vm.recordLogs();
        vm.prank(address(0xCA11));
        address made = factory.createWallet(OTHER_NODE);
        eq(made, expected, "plain CREATE");
        Log[] memory logs = vm.getRecordedLogs();
        eq(logs.length, 2, "logs");
        eq(logs[0].emitter, made, "the wallet names its owner");
        eq(logs[0].topics[0], Ownable.OwnershipTransferred.selector, "ownership");
        eq(logs[0].topics[1], 0, "from nobody");
        eq(logs[0].topics[2], bytes32(uint256(uint160(OTHER_NODE))), "to the owner");
        eq(logs[1].emitter, address(factory), "the factory names the wallet");
        eq(logs[1].topics[1], bytes32(uint256(0xCA11)), "caller");
        eq(logs[1].topics[2], bytes32(uint256(uint160(OTHER_NODE))), "owner");
        eqBytes(logs[1].data, abi.encode(made), "wallet");
        eq(Wallet(payable(made)).owner(), OTHER_NODE, "owner");
        check(factory.isValidWallet(made), "valid");
    }

    /// @dev The derivation agrees with the chain's for every length of nonce.
    function testFuzzDerivation(address creator, uint32 nonce) public pure {
        if (nonce == 0) nonce = 1;
        uint32[5] memory nonces = [nonce, nonce >> 8, nonce >> 16, nonce >> 24, nonce >> 25];
        for (uint256 i = 0; i < nonces.length; i++) {
            if (nonces[i] == 0) continue;
            eq(WalletCode.created(creator, nonces[i]), vm.computeCreateAddress(creator, nonces[i]), "address");
        }
    }

    function testManyWalletsAreValid() public {
        for (uint256 i = 0; i < 300; i++) {
            check(factory.isValidWallet(factory.createWallet(address(uint160(i)))), "valid");
        }
    }

    /// @dev A wallet's code at an address that the factory did not create is worth nothing, whatever number it claims.
    function testCopiesAreNotValid() public {
        bytes memory code = address(wallet).code;
        eq(code.length, 55, "length");
        for (uint256 i = 0; i < 5; i++) {
            vm.etch(address(0xFA4E), code);
            check(!factory.isValidWallet(address(0xFA4E)), "a copy");
            code[54] = bytes1(uint8(i));
        }
        check(!factory.isValidWallet(address(0)), "zero");
        check(!factory.isValidWallet(address(factory)), "the factory itself");
        check(!factory.isValidWallet(address(new Wallet(registry, NODE))), "deployed directly");
        check(!factory.isValidWallet(vm.computeCreateAddress(address(factory), 3)), "not yet made");
    }

    function testTheFactoryIsNoWalletAndWalletsAreNoFactories() public {
        vm.deal(address(this), 1 ether);
        (bool ok,) = address(factory).call{value: 1}("");
        check(!ok, "takes no coin");
        eq(factory.owner(), address(0), "has no owner");
        vm.expectRevert(WalletFactory.WalletNotCreated.selector);
        WalletFactory(payable(address(wallet))).createWallet(NODE);
        check(WalletFactory(payable(address(wallet))).isValidWallet(address(wallet)), "answers as the factory does");
    }

    /// @dev A wallet whose factory's nonce ran ahead could not be recognised, so none is made.
    function testFactoryRefusesAfterAForeignNonce() public {
        vm.setNonceUnsafe(address(factory), 10);
        vm.expectRevert(WalletFactory.WalletNotCreated.selector);
        factory.createWallet(NODE);
    }

    function testPlainTransfersNeedNoMoreGasThanAStipend() public {
        vm.deal(address(this), 1 ether);
        payable(address(wallet)).transfer(1 ether);
        eq(address(wallet).balance, 1 ether, "received");
    }

    function testWithdrawAndApprove() public {
        vm.deal(address(wallet), 3 ether);
        vm.expectRevert(Ownable.Unauthorized.selector);
        wallet.withdraw(address(0), 1);
        vm.expectRevert(Ownable.Unauthorized.selector);
        wallet.approve(NODE, address(0), 1);
        vm.recordLogs();
        vm.startPrank(WALLET_OWNER);
        wallet.withdraw(address(0), 1 ether);
        wallet.approve(NODE, address(7), 5);
        wallet.approve(NODE, address(7), 3);
        vm.expectRevert(Wallet.InsufficientFunds.selector);
        wallet.withdraw(address(0), 2 ether + 1);
        vm.stopPrank();
        eq(WALLET_OWNER.balance, 1 ether, "withdrawn");
        eq(wallet.allowance(NODE, address(7)), 3, "set, not added");
        Log[] memory logs = vm.getRecordedLogs();
        eq(logs[0].topics[0], Wallet.Withdrawl.selector, "withdrawal");
        eq(logs[0].topics.length, 1, "nothing indexed");
        eqBytes(logs[0].data, abi.encode(address(0), 1 ether), "token and amount");
        eq(logs[1].topics[0], Wallet.Approval.selector, "approval");
        eq(logs[1].topics[1], bytes32(uint256(uint160(NODE))), "spender");
        eqBytes(logs[1].data, abi.encode(address(7), 5), "token and allowance");
    }

    function testOwnership() public {
        vm.prank(OTHER_NODE);
        wallet.requestOwnershipHandover();
        eq(wallet.ownershipHandoverExpiresAt(OTHER_NODE), block.timestamp + 48 hours, "48 hours");
        vm.expectRevert(Ownable.Unauthorized.selector);
        wallet.completeOwnershipHandover(OTHER_NODE);
        vm.startPrank(WALLET_OWNER);
        vm.expectRevert(Ownable.NewOwnerIsZeroAddress.selector);
        wallet.transferOwnership(address(0));
        vm.warp(block.timestamp + 48 hours + 1);
        vm.expectRevert(Ownable.NoHandoverRequest.selector);
        wallet.completeOwnershipHandover(OTHER_NODE);
        vm.warp(block.timestamp - 1);
        wallet.completeOwnershipHandover(OTHER_NODE);
        vm.stopPrank();
        eq(wallet.owner(), OTHER_NODE, "handed over");
        eq(wallet.ownershipHandoverExpiresAt(OTHER_NODE), 0, "used up");
        vm.prank(NODE);
        wallet.requestOwnershipHandover();
        vm.prank(NODE);
        wallet.cancelOwnershipHandover();
        vm.expectRevert(Ownable.NoHandoverRequest.selector);
        vm.prank(OTHER_NODE);
        wallet.completeOwnershipHandover(NODE);
    }

    /// @dev Locks of several tokens at once are counted, so that the owner cannot leave before the last is released.
    function testLocksOfSeveralTokens() public {
        address[2] memory tokens = [address(new Holding()), address(new Holding())];
        vm.startPrank(WALLET_OWNER);
        for (uint256 i = 0; i < 2; i++) {
            wallet.approve(NODE, tokens[i], 10);
        }
        vm.stopPrank();
        vm.startPrank(address(coordinator));
        wallet.cLock(NODE, tokens[0], 1);
        wallet.cLock(NODE, tokens[0], 2);
        wallet.cLock(NODE, tokens[1], 4);
        wallet.cUnlock(NODE, tokens[0], 3);
        vm.expectRevert(Wallet.InsufficientFunds.selector);
        wallet.cUnlock(NODE, tokens[0], 1);
        vm.stopPrank();
        eq(wallet.lockedBalance(tokens[0]), 0, "first");
        eq(wallet.lockedBalance(tokens[1]), 4, "second");
        vm.prank(WALLET_OWNER);
        vm.expectRevert(Wallet.FundsLocked.selector);
        wallet.renounceOwnership();
        vm.prank(address(coordinator));
        wallet.cUnlock(NODE, tokens[1], 4);
        vm.prank(WALLET_OWNER);
        wallet.renounceOwnership();
    }
}

/// @notice A token of which everybody holds a hundred.
contract Holding {
    function balanceOf(address) external pure returns (uint256) {
        return 100;
    }
}
