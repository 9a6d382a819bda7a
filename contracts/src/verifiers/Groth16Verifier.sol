// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Registry} from "../Registry.sol";
import {Keys} from "../utility/Keys.sol";
import {BaseVerifier} from "./BaseVerifier.sol";
import {Groth16} from "./Groth16.sol";

/// @title Groth16Verifier
/// @notice An atomic verifier of succinct proofs: that a model, fixed by the verifying key, was run on certain inputs with a certain
/// result, without showing how.
/// @dev A proof is A, B, C (256 bytes) and the public inputs (32 bytes each). The last public input ties the proof to one
/// delivery, so that nobody can use another node's proof: it must be
/// keccak256(abi.encode(uint32 subscriptionId, uint32 interval, address node)) >> 8.
/// The statement of a valid proof is kept before the consumer is called, and `isProven` tells the consumer whether what it received
/// is what was proven.
contract Groth16Verifier is BaseVerifier {
    /// @dev What fits into a contract's code behind a STOP.
    uint256 private constant MAX_KEY_LENGTH = 24_575;

    /// @dev Contract whose code is a STOP and the verifying key.
    address private immutable KEY;

    /// @notice How many public inputs a proof has, the last one included.
    uint256 public immutable INPUTS;

    /// @notice keccak256 of the public inputs without the last, of deliveries proven; by the coordinator's key of the node.
    mapping(bytes32 => bytes32) public statements;

    /// @notice The key's length is not that of a key, or it could not be stored.
    error InvalidKey();

    /// @param registry registry of the deployment
    /// @param initialOwner who sets and receives the fees
    /// @param key verifying key, as `Groth16` describes
    constructor(Registry registry, address initialOwner, bytes memory key) BaseVerifier(registry, initialOwner) {
        if (key.length > MAX_KEY_LENGTH) revert InvalidKey();
        uint256 points = (key.length - Groth16.KEY_FIXED_LENGTH) / Groth16.POINT_LENGTH;
        if (key.length != Groth16.KEY_FIXED_LENGTH + points * Groth16.POINT_LENGTH || points < 2) revert InvalidKey();
        INPUTS = points - 1;
        // PUSH2 length DUP1 10 0 CODECOPY 0 RETURN
        bytes memory creation = abi.encodePacked(hex"61", uint16(key.length + 1), hex"80600a3d393df3", hex"00", key);
        address stored;
        assembly ("memory-safe") {
            stored := create(0, add(creation, 0x20), mload(creation))
        }
        if (stored == address(0)) revert InvalidKey();
        KEY = stored;
    }

    /// @notice Whether the proof of a delivery was valid and about exactly these public inputs (without the last).
    function isProven(uint32 subscriptionId, uint32 interval, address node, uint256[] calldata inputs)
        external
        view
        returns (bool)
    {
        return statements[Keys.ofNode(subscriptionId, interval, node)] == keccak256(abi.encodePacked(inputs));
    }

    /// @notice The public input that ties a proof to a delivery.
    function bindingOf(uint32 subscriptionId, uint32 interval, address node) public pure returns (uint256) {
        return uint256(Keys.ofNode(subscriptionId, interval, node)) >> 8;
    }

    /// @notice Whether `proof` is valid for a delivery.
    function verify(uint32 subscriptionId, uint32 interval, address node, bytes calldata proof) public view returns (bool) {
        if (proof.length != Groth16.PROOF_LENGTH + INPUTS * 32) return false;
        uint256[] memory inputs = new uint256[](INPUTS);
        for (uint256 i = 0; i < inputs.length; i++) {
            uint256 at = Groth16.PROOF_LENGTH + 32 * i;
            inputs[i] = uint256(bytes32(proof[at:at + 32]));
        }
        if (inputs[inputs.length - 1] != bindingOf(subscriptionId, interval, node)) return false;
        return Groth16.verify(_key(), inputs, proof[:Groth16.PROOF_LENGTH]);
    }

    /// @dev Judges at once.
    function _request(uint32 subscriptionId, uint32 interval, address node, bytes calldata proof) internal override {
        bool valid = verify(subscriptionId, interval, node, proof);
        if (valid) {
            bytes32 statement = keccak256(proof[Groth16.PROOF_LENGTH:proof.length - 32]);
            statements[Keys.ofNode(subscriptionId, interval, node)] = statement;
        }
        COORDINATOR.finalizeProofVerification(subscriptionId, interval, node, valid);
    }

    /// @dev The verifying key.
    function _key() private view returns (bytes memory key) {
        address stored = KEY;
        key = new bytes(stored.code.length - 1);
        assembly ("memory-safe") {
            extcodecopy(stored, add(key, 0x20), 1, mload(key))
        }
    }
}
