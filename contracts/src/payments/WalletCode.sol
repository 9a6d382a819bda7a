// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @title WalletCode
/// @notice How a wallet made by the factory is recognised: by its address, not by a list.
/// @dev A factory makes wallets by CREATE, so the address of its n-th creation is the hash of (factory, n), and nobody else can
/// put code there. A wallet's code ends with its own n (four bytes); whoever wants to know whether an account is a wallet
/// reads n from there and compares the addresses. The read also warms the account, which a payment touches next anyway.
library WalletCode {
    /// @dev Where n stands in a wallet's code: right behind the forwarding code.
    uint256 internal constant NONCE_OFFSET = 51;

    /// @dev The number under which `factory` created `account`; 0 if it did not.
    function nonceOf(address factory, address account) internal view returns (uint256 nonce) {
        assembly ("memory-safe") {
            mstore(0x00, 0)
            extcodecopy(account, 0x1c, NONCE_OFFSET, 0x04)
            nonce := mload(0x00)
        }
        if (nonce != 0 && created(factory, nonce) != account) nonce = 0;
    }

    /// @dev Address of the `nonce`-th creation of `factory` (1 to 2^32-1): keccak256(rlp([factory, nonce])).
    function created(address factory, uint256 nonce) internal pure returns (address account) {
        assembly ("memory-safe") {
            let head := or(shl(240, 0x94), shl(80, factory))
            switch gt(nonce, 0x7f)
            case 0 {
                mstore(0x00, or(or(shl(248, 0xd6), head), shl(72, nonce)))
                account := keccak256(0x00, 23)
            }
            default {
                let size := add(add(1, gt(nonce, 0xff)), add(gt(nonce, 0xffff), gt(nonce, 0xffffff)))
                head := or(head, or(shl(248, add(0xd6, size)), shl(72, add(0x80, size))))
                mstore(0x00, or(head, shl(sub(72, shl(3, size)), nonce)))
                account := keccak256(0x00, add(23, size))
            }
            account := and(account, 0xffffffffffffffffffffffffffffffffffffffff)
        }
    }
}
