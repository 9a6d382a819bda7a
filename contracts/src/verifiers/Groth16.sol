// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @title Groth16
/// @notice Checks Groth16 proofs over the curve bn254 with the chain's precompiles (EIP-196, EIP-197).
/// @dev Points are affine coordinates, 32 bytes each, big-endian; of the second group the imaginary part comes first. A key is
/// alpha (G1), beta, gamma, delta (G2), then one more G1 point than there are public inputs.
library Groth16 {
    /// @dev Order of the base field.
    uint256 private constant Q = 21888242871839275222246405745257275088696311157297823662689037894645226208583;

    /// @dev Order of the groups.
    uint256 private constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;

    uint256 private constant ADD = 6;
    uint256 private constant MUL = 7;
    uint256 private constant PAIRING = 8;

    /// @dev Gas for each precompile, with room above its price (150, 6,000, 181,000). On a malformed point a precompile burns what it
    /// is given; without a limit a bad proof would use up the transaction instead of being judged.
    uint256 private constant ADD_GAS = 2_000;
    uint256 private constant MUL_GAS = 12_000;
    uint256 private constant PAIRING_GAS = 300_000;

    /// @dev Gas that everything else needs, generously.
    uint256 private constant OTHER_GAS = 50_000;

    /// @dev Lengths in bytes.
    uint256 internal constant PROOF_LENGTH = 256;
    uint256 internal constant KEY_FIXED_LENGTH = 448;
    uint256 internal constant POINT_LENGTH = 64;

    /// @notice There is too little gas to judge; a verdict could be wrong.
    error TooLittleGas();

    /// @notice Whether `proof` (A, B, C) proves the statement that `key` stands for about `inputs`.
    /// @dev e(-A, B) e(alpha, beta) e(sum, gamma) e(C, delta) == 1, with sum = key[0] + inputs[0] key[1] + ...
    /// False as well for points off the curve, coordinates that are too large, and inputs that are not below the group order.
    function verify(bytes memory key, uint256[] memory inputs, bytes memory proof) internal view returns (bool valid) {
        if (proof.length != PROOF_LENGTH) return false;
        if (key.length != KEY_FIXED_LENGTH + (inputs.length + 1) * POINT_LENGTH) return false;
        // One 64th is kept back at each call.
        uint256 needed = inputs.length * (MUL_GAS + ADD_GAS + OTHER_GAS / 10) + PAIRING_GAS + OTHER_GAS;
        if (gasleft() < needed + needed / 32) revert TooLittleGas();
        (bool ok, uint256 x, uint256 y) = _sum(key, inputs);
        uint256 ay = _word(proof, 0x20);
        if (!ok || ay >= Q) return false;

        uint256[24] memory pairs;
        pairs[0] = _word(proof, 0);
        pairs[1] = (Q - ay) % Q;
        _copy(pairs, 2, proof, 0x40, 4); // B
        _copy(pairs, 6, key, 0, 6); // alpha, beta
        (pairs[12], pairs[13]) = (x, y);
        _copy(pairs, 14, key, 0xc0, 4); // gamma
        _copy(pairs, 18, proof, 0xc0, 2); // C
        _copy(pairs, 20, key, 0x140, 4); // delta
        assembly ("memory-safe") {
            ok := staticcall(PAIRING_GAS, PAIRING, pairs, 0x300, 0, 0x20)
            valid := and(ok, eq(mload(0), 1))
        }
    }

    /// @dev The combination of the key's last points with the inputs.
    function _sum(bytes memory key, uint256[] memory inputs) private view returns (bool ok, uint256 x, uint256 y) {
        uint256[4] memory points;
        (points[0], points[1]) = (_word(key, KEY_FIXED_LENGTH), _word(key, KEY_FIXED_LENGTH + 0x20));
        ok = true;
        for (uint256 i = 0; i < inputs.length && ok; i++) {
            if (inputs[i] >= R) return (false, 0, 0);
            uint256 at = KEY_FIXED_LENGTH + (i + 1) * POINT_LENGTH;
            uint256[3] memory term = [_word(key, at), _word(key, at + 0x20), inputs[i]];
            assembly ("memory-safe") {
                ok := staticcall(MUL_GAS, MUL, term, 0x60, add(points, 0x40), 0x40)
                ok := and(ok, staticcall(ADD_GAS, ADD, points, 0x80, points, 0x40))
            }
        }
        return (ok, points[0], points[1]);
    }

    /// @dev The word at byte `at`.
    function _word(bytes memory data, uint256 at) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(add(add(data, 0x20), at))
        }
    }

    /// @dev Copies `count` words of `data`, from byte `at` on, to `pairs[index]` and on.
    function _copy(uint256[24] memory pairs, uint256 index, bytes memory data, uint256 at, uint256 count) private pure {
        for (uint256 i = 0; i < count; i++) {
            pairs[index + i] = _word(data, at + 32 * i);
        }
    }
}
