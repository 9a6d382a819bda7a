// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {vm} from "../test/lib/Vm.sol";

/// @title Artifacts
/// @notice The committed artifacts: scripts deploy, and tests run, the same code that ships, not what forge compiled on the way.
library Artifacts {
    /// @notice The creation of a contract failed.
    error NotCreated(string name);

    /// @dev Creation code of a contract. With `INFERNET_BUILD=cancun` the build for chains with transient storage, where there is one.
    function creationCode(string memory name) internal view returns (bytes memory) {
        string memory dir = string.concat(vm.projectRoot(), "/artifacts/");
        if (keccak256(bytes(vm.envOr("INFERNET_BUILD", string("")))) == keccak256("cancun")) {
            string memory special = string.concat(dir, "cancun/", name, ".json");
            if (vm.isFile(special)) return vm.parseJsonBytes(vm.readFile(special), ".bytecode");
        }
        return vm.parseJsonBytes(vm.readFile(string.concat(dir, name, ".json")), ".bytecode");
    }

    /// @dev Creates a contract.
    function create(string memory name, bytes memory arguments) internal returns (address created) {
        bytes memory code = abi.encodePacked(creationCode(name), arguments);
        assembly ("memory-safe") {
            created := create(0, add(code, 0x20), mload(code))
        }
        if (created == address(0)) revert NotCreated(name);
    }
}
