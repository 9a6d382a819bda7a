// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {vm} from "../test/lib/Vm.sol";
import {Registry} from "../src/Registry.sol";
import {WalletCode} from "../src/payments/WalletCode.sol";
import {console} from "../src/utility/Console.sol";
import {Artifacts} from "./Artifacts.sol";

/// @title Deployer
/// @notice Creates everything in its constructor. The contracts name each other, so none of them can be created by CREATE2 itself;
/// this one can, and what it creates has the addresses that follow from its own.
contract Deployer {
    /// @notice The registry of the deployment.
    Registry public immutable REGISTRY;

    /// @notice The creation with this number (from 0) failed, or landed elsewhere.
    error NotCreated(uint256 number);

    /// @param codes creation codes of Registry, EIP712Coordinator, Inbox, Reader, Fee and WalletFactory
    /// @param feeRecipient owner of the fee contract
    /// @param fee initial protocol fee in ten-thousandths
    constructor(bytes[6] memory codes, address feeRecipient, uint16 fee) {
        address[6] memory at;
        for (uint256 i = 0; i < 6; i++) {
            at[i] = WalletCode.created(address(this), i + 1);
        }
        bytes memory addresses = abi.encode(at[1], at[2], at[3], at[4], at[5]);
        for (uint256 i = 0; i < 6; i++) {
            bytes memory arguments = i == 0 ? addresses : i == 4 ? abi.encode(feeRecipient, fee) : abi.encode(at[0]);
            bytes memory code = abi.encodePacked(codes[i], arguments);
            address created;
            assembly ("memory-safe") {
                created := create(0, add(code, 0x20), mload(code))
            }
            if (created != at[i]) revert NotCreated(i);
        }
        REGISTRY = Registry(at[0]);
    }
}

/// @title DeployDeterministic
/// @notice Deploys everything through the deterministic deployment proxy, so that it has the same addresses on every chain (for the same
/// fee recipient, fee and build): `FEE_RECIPIENT` (default: the account of `PRIVATE_KEY`), `FEE` (default 500), `SALT` (default 0).
/// Does nothing but print the addresses if it is there already.
contract DeployDeterministic {
    /// @notice The well-known proxy: calldata is a salt and creation code.
    address public constant PROXY = 0x4e59b44847b379578588920cA78FbF26c0B4956C;

    /// @notice The proxy is not there; without it the addresses would differ.
    error NoProxyOnThisChain();

    /// @notice The proxy refused.
    error NotDeployed();

    /// @notice Runs the script.
    function run() external {
        uint256 key = vm.envUint("PRIVATE_KEY");
        address recipient = vm.envOr("FEE_RECIPIENT", vm.addr(key));
        uint256 fee = vm.envOr("FEE", uint256(500));
        bytes32 salt = bytes32(vm.envOr("SALT", uint256(0)));
        require(fee <= 5_000, "FEE is in ten-thousandths, at most 5000");
        if (PROXY.code.length == 0) revert NoProxyOnThisChain();

        vm.startBroadcast(key);
        address deployer = deploy(salt, recipient, uint16(fee));
        vm.stopBroadcast();
        Registry registry = Deployer(deployer).REGISTRY();
        console.log("registry", address(registry));
        console.log("coordinator", registry.COORDINATOR());
        console.log("inbox", registry.INBOX());
        console.log("reader", registry.READER());
        console.log("fee", registry.FEE());
        console.log("wallet factory", registry.WALLET_FACTORY());
    }

    /// @notice Deploys unless it is there, and returns where the deployer is.
    function deploy(bytes32 salt, address recipient, uint16 fee) public returns (address deployer) {
        bytes[6] memory codes;
        string[6] memory names = ["Registry", "EIP712Coordinator", "Inbox", "Reader", "Fee", "WalletFactory"];
        for (uint256 i = 0; i < 6; i++) {
            codes[i] = Artifacts.creationCode(names[i]);
        }
        bytes memory code = abi.encodePacked(type(Deployer).creationCode, abi.encode(codes, recipient, fee));
        deployer = address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", PROXY, salt, keccak256(code))))));
        if (deployer.code.length != 0) return deployer;
        (bool ok,) = PROXY.call(abi.encodePacked(salt, code));
        if (!ok || deployer.code.length == 0) revert NotDeployed();
    }
}
