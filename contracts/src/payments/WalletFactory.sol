// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Registry} from "../Registry.sol";
import {Wallet} from "./Wallet.sol";
import {WalletCode} from "./WalletCode.sol";

/// @title WalletFactory
/// @notice Makes wallets; only wallets made here are taken by the coordinator.
/// @dev A wallet is 55 bytes of code that forward every call to the code of this contract (which therefore is a Wallet itself, but
/// one without owner that takes no funds), let plain transfers of coin pass, and end with the wallet's number. Its creation
/// code writes the first owner, so there is no initialiser that somebody could call. Wallets are made by plain CREATE: the
/// n-th wallet has the address of the factory's nonce n.
contract WalletFactory is Wallet {
    /// @dev This contract, also when a wallet runs its code.
    address private immutable SELF;

    /// @dev Length of a wallet's creation code: 70 bytes that run, 55 that stay.
    uint256 private constant CREATION_LENGTH = 125;

    /// @dev How many wallets were made: one less than this account's nonce.
    uint256 private _wallets;

    /// @notice A wallet was made.
    event WalletCreated(address indexed caller, address indexed owner, address wallet);

    /// @notice The creation failed, or a wallet was asked for a factory's work.
    error WalletNotCreated();

    /// @param registry registry of the deployment
    constructor(Registry registry) Wallet(registry, address(0)) {
        SELF = address(this);
    }

    /// @notice The factory itself takes no coin; a wallet does.
    receive() external payable override {
        if (address(this) == SELF) revert WalletNotCreated();
    }

    /// @notice Makes a wallet for `initialOwner`; open to anyone.
    /// @return wallet its address
    function createWallet(address initialOwner) external returns (address wallet) {
        if (address(this) != SELF) revert WalletNotCreated();
        uint256 nonce = ++_wallets;
        address implementation = SELF;
        bytes32 ownershipTransferred = OwnershipTransferred.selector;
        assembly ("memory-safe") {
            let code := mload(0x40)
            // sstore(0, owner); log3(OwnershipTransferred, 0, owner); return the 55 bytes behind
            mstore(code, or(shl(248, 0x73), shl(88, shr(96, shl(96, initialOwner))))) // PUSH20 owner
            mstore(add(code, 21), shl(208, 0x803d553d7f00)) // DUP1 0 SSTORE 0 PUSH32
            mstore(add(code, 26), ownershipTransferred)
            mstore(add(code, 58), shl(160, 0x3d3da3603780604600000000)) // 0 0 LOG3 55 DUP1 70
            mstore(add(code, 66), shl(224, 0x3d393df3)) // 0 CODECOPY 0 RETURN
            // if calldatasize == 0 stop; else delegatecall(implementation, calldata) and hand the result on
            mstore(add(code, 70), shl(128, 0x36600557005b363d3d373d3d3d363d73)) // the first 16 bytes
            mstore(add(code, 86), shl(96, implementation))
            mstore(add(code, 106), shl(136, 0x5af43d82803e903d91603157fd5bf3))
            mstore(add(code, 121), shl(224, nonce))
            wallet := create(0, code, CREATION_LENGTH)
        }
        // The address proves later that the wallet is one of ours, so it must be the one that follows from the number.
        if (wallet != WalletCode.created(implementation, nonce) || nonce > type(uint32).max) revert WalletNotCreated();
        emit WalletCreated(msg.sender, initialOwner, wallet);
    }

    /// @notice Whether `wallet` was made here.
    function isValidWallet(address wallet) external view returns (bool) {
        return WalletCode.nonceOf(SELF, wallet) != 0;
    }
}
