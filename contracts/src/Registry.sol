// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @title Registry
/// @notice Says where the contracts of one deployment are. Consumers read it once, in their constructors.
/// @dev The registry is deployed first, with the addresses that the others will get; nothing is checked.
contract Registry {
    /// @notice The coordinator: subscriptions and deliveries.
    address public immutable COORDINATOR;

    /// @notice The inbox: stored results of lazy subscriptions.
    address public immutable INBOX;

    /// @notice The reader: batched views over the coordinator.
    address public immutable READER;

    /// @notice The protocol fee and its recipient.
    address public immutable FEE;

    /// @notice The factory of payment wallets.
    address public immutable WALLET_FACTORY;

    /// @param coordinator address of the coordinator
    /// @param inbox address of the inbox
    /// @param reader address of the reader
    /// @param fee address of the fee registry
    /// @param walletFactory address of the wallet factory
    constructor(address coordinator, address inbox, address reader, address fee, address walletFactory) {
        COORDINATOR = coordinator;
        INBOX = inbox;
        READER = reader;
        FEE = fee;
        WALLET_FACTORY = walletFactory;
    }
}
