// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {vm} from "../test/lib/Vm.sol";
import {EIP712Coordinator} from "../src/EIP712Coordinator.sol";
import {Inbox} from "../src/Inbox.sol";
import {Registry} from "../src/Registry.sol";
import {Fee} from "../src/payments/Fee.sol";
import {WalletFactory} from "../src/payments/WalletFactory.sol";
import {Reader} from "../src/utility/Reader.sol";
import {console} from "../src/utility/Console.sol";
import {Artifacts} from "./Artifacts.sol";

/// @notice One deployment of all contracts.
struct Deployment {
    Registry registry;
    EIP712Coordinator coordinator;
    Inbox inbox;
    Reader reader;
    Fee fee;
    WalletFactory walletFactory;
}

/// @title LibDeploy
/// @notice Deploys everything from one account at six consecutive nonces: Registry (with the addresses to come), EIP712Coordinator,
/// Inbox, Reader, Fee, WalletFactory.
library LibDeploy {
    /// @param deployer account that creates (its current nonce must be `nonce`)
    /// @param nonce the deployer's nonce
    /// @param feeRecipient owner of the fee contract
    /// @param fee initial protocol fee in ten-thousandths
    function deploy(address deployer, uint256 nonce, address feeRecipient, uint16 fee) internal returns (Deployment memory d) {
        bytes memory addresses = abi.encode(
            vm.computeCreateAddress(deployer, nonce + 1),
            vm.computeCreateAddress(deployer, nonce + 2),
            vm.computeCreateAddress(deployer, nonce + 3),
            vm.computeCreateAddress(deployer, nonce + 4),
            vm.computeCreateAddress(deployer, nonce + 5)
        );
        d.registry = Registry(Artifacts.create("Registry", addresses));
        bytes memory argument = abi.encode(d.registry);
        d.coordinator = EIP712Coordinator(Artifacts.create("EIP712Coordinator", argument));
        d.inbox = Inbox(Artifacts.create("Inbox", argument));
        d.reader = Reader(Artifacts.create("Reader", argument));
        d.fee = Fee(Artifacts.create("Fee", abi.encode(feeRecipient, fee)));
        d.walletFactory = WalletFactory(payable(Artifacts.create("WalletFactory", argument)));
    }
}

/// @title Deploy
/// @notice Deploys everything from the account of `PRIVATE_KEY`; that account owns the fee contract and receives the fees (5 %).
/// On a fresh development chain, with the third of the well-known keys, the addresses are those that configurations expect:
/// registry 0x663F3ad617193148711d28f5334eE4Ed07016602, coordinator 0x2E983A1Ba5e8b38AAAeC4B440B9dDcFBf72E15d1,
/// inbox 0x8438Ad1C834623CfF278AB6829a248E37C2D7E3f, reader 0xBC9129Dc0487fc2E169941C75aABC539f208fb01,
/// fee 0x6e989C01a3e3A94C973A62280a72EC335598490e, wallet factory 0xF6168876932289D073567f347121A267095f3DD6.
/// With `WALLET_OWNER` set, one wallet of that owner is made (0x60985ee8192B322c3CAbA97A9A9f7298bdc4335C there).
contract Deploy {
    /// @dev 5 %.
    uint16 private constant INITIAL_FEE = 500;

    /// @notice Runs the script.
    function run() external {
        uint256 key = vm.envUint("PRIVATE_KEY");
        address walletOwner = vm.envOr("WALLET_OWNER", address(0));
        address deployer = vm.addr(key);
        vm.startBroadcast(key);
        Deployment memory d = LibDeploy.deploy(deployer, vm.getNonce(deployer), deployer, INITIAL_FEE);
        address wallet = walletOwner == address(0) ? address(0) : d.walletFactory.createWallet(walletOwner);
        vm.stopBroadcast();

        console.log("registry", address(d.registry));
        console.log("coordinator", address(d.coordinator));
        console.log("inbox", address(d.inbox));
        console.log("reader", address(d.reader));
        console.log("fee", address(d.fee));
        console.log("wallet factory", address(d.walletFactory));
        if (wallet != address(0)) console.log("wallet", wallet);
    }
}
