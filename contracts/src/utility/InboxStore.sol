// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @title InboxStore
/// @notice Keeps the three byte strings of an inbox item where they cost least.
/// @dev A header word holds timestamp, subscription and interval in its low 96 bits; the 160 bits above say where the bytes are:
/// below 2^24: three lengths of 8 bits each, and the bytes, one string behind the other, stand in storage words;
/// otherwise the address of a contract whose code is a STOP, two lengths (input, output; 4 bytes each) and the bytes. Code
/// holds at most `CHUNK` bytes; longer bytes go to several contracts and the first one starts with INVALID (0xfe) instead
/// and holds three lengths and the addresses.
library InboxStore {
    /// @dev Up to here (two words) storage is cheaper than code.
    uint256 private constant INLINE_MAX = 64;

    /// @dev Longest body that one contract holds: the code size limit of 24,576 bytes less the nine bytes in front.
    uint256 private constant CHUNK = 24_567;

    /// @dev Where the place of the bytes stands in the header.
    uint256 private constant PLACE_SHIFT = 96;

    /// @notice A contract for the bytes could not be created.
    error BytesNotStored();

    /// @dev Stores the three strings and returns their place, shifted to where it stands in the header.
    function save(uint256 slot, bytes calldata input, bytes calldata output, bytes calldata proof)
        internal
        returns (uint256 place)
    {
        uint256 total = input.length + output.length + proof.length;
        if (total <= INLINE_MAX) {
            place = input.length | (output.length << 8) | (proof.length << 16);
            bytes memory body = abi.encodePacked(input, output, proof, bytes32(0));
            for (uint256 i = 0; i < total; i += 32) {
                assembly ("memory-safe") {
                    sstore(add(slot, shr(5, i)), mload(add(add(body, 0x20), i)))
                }
            }
        } else if (total <= CHUNK) {
            place = _create(
                abi.encodePacked(bytes1(0), uint32(input.length), uint32(output.length), input, output, proof), 0, total + 9
            );
        } else {
            bytes memory body = abi.encodePacked(input, output, proof);
            bytes memory index = abi.encodePacked(hex"fe", uint32(input.length), uint32(output.length), uint32(proof.length));
            for (uint256 from = 0; from < total; from += CHUNK) {
                uint256 end = from + CHUNK < total ? from + CHUNK : total;
                index = abi.encodePacked(index, address(uint160(_createChunk(body, from, end - from))));
            }
            place = _create(index, 0, index.length);
        }
        place <<= PLACE_SHIFT;
    }

    /// @dev Reads the three strings back.
    function load(uint256 slot, uint256 header)
        internal
        view
        returns (bytes memory input, bytes memory output, bytes memory proof)
    {
        uint256 place = header >> PLACE_SHIFT;
        if (place >> 24 == 0) {
            input = new bytes(place & 0xff);
            output = new bytes((place >> 8) & 0xff);
            proof = new bytes(place >> 16);
            bytes memory body = new bytes(INLINE_MAX);
            for (uint256 i = 0; i < input.length + output.length + proof.length; i += 32) {
                assembly ("memory-safe") {
                    mstore(add(add(body, 0x20), i), sload(add(slot, shr(5, i))))
                }
            }
            return _split(body, 0, input, output, proof);
        }
        bytes memory code = address(uint160(place)).code;
        input = new bytes(_uint32(code, 1));
        output = new bytes(_uint32(code, 5));
        if (code[0] == 0) {
            proof = new bytes(code.length - 9 - input.length - output.length);
            return _split(code, 9, input, output, proof);
        }
        proof = new bytes(_uint32(code, 9));
        bytes memory whole;
        for (uint256 at = 13; at < code.length; at += 20) {
            address chunk;
            assembly ("memory-safe") {
                chunk := shr(96, mload(add(add(code, 0x20), at)))
            }
            bytes memory part = chunk.code;
            whole = abi.encodePacked(whole, _slice(part, 1, part.length - 1));
        }
        return _split(whole, 0, input, output, proof);
    }

    /// @dev Fills the three strings, whose lengths are set, from `body`, beginning at `at`.
    function _split(bytes memory body, uint256 at, bytes memory input, bytes memory output, bytes memory proof)
        private
        pure
        returns (bytes memory, bytes memory, bytes memory)
    {
        input = _slice(body, at, input.length);
        output = _slice(body, at + input.length, output.length);
        proof = _slice(body, at + input.length + output.length, proof.length);
        return (input, output, proof);
    }

    /// @dev A copy of `size` bytes of `body`, beginning at `at`.
    function _slice(bytes memory body, uint256 at, uint256 size) private pure returns (bytes memory part) {
        part = new bytes(size);
        for (uint256 i = 0; i < size; i += 32) {
            assembly ("memory-safe") {
                mstore(add(add(part, 0x20), i), mload(add(add(add(body, 0x20), at), i)))
            }
        }
        assembly ("memory-safe") {
            // What was copied beyond the end would break the zero padding that encoders rely on.
            let end := add(add(part, 0x20), size)
            if and(size, 0x1f) { mstore(end, 0) }
        }
    }

    /// @dev The four-byte number at `at`.
    function _uint32(bytes memory body, uint256 at) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := shr(224, mload(add(add(body, 0x20), at)))
        }
    }

    /// @dev Creates a contract that holds a STOP and `size` bytes of `body`, beginning at `at`.
    function _createChunk(bytes memory body, uint256 at, uint256 size) private returns (uint256) {
        bytes memory part = abi.encodePacked(bytes1(0), _slice(body, at, size));
        return _create(part, 0, part.length);
    }

    /// @dev Creates a contract whose code is `size` bytes of `body`, beginning at `at`.
    function _create(bytes memory body, uint256 at, uint256 size) private returns (uint256 created) {
        assembly ("memory-safe") {
            // The ten bytes in front of the body are borrowed for: PUSH2 size DUP1 10 0 CODECOPY 0 RETURN.
            let start := add(add(body, 0x20), at)
            let word := sub(start, 0x20)
            let saved := mload(word)
            mstore(word, or(or(shl(72, 0x61), shl(56, size)), 0x80600a3d393df3))
            created := create(0, sub(start, 10), add(size, 10))
            mstore(word, saved)
        }
        if (created == 0) revert BytesNotStored();
    }
}
