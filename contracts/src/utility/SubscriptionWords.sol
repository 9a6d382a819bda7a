// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Subscription} from "../Coordinator.sol";

/// @notice A subscription as it is stored. Words that would be zero are neither written nor read: bits of the first say which.
struct StoredSubscription {
    uint256 head;
    bytes32 containerId;
    uint256 wallet;
    uint256 token;
    uint256 rest;
}

/// @title SubscriptionWords
/// @notice Packs a subscription into five words, of which a plain free one uses two.
/// @dev Addresses are cut out with a mask: the older code generator clears the upper bits of a narrower type only where it is used, which
/// is never if that is in assembly.
/// From the low end (bits):
/// head: owner 160, activeAt 32, period 26, frequency 20, redundancy 12, lazy 1, then one flag each: paid, and whether wallet,
/// token and rest are not zero, and funded;
/// wallet: wallet 160, amount 96; token: token 160, amount (next 96 bits);
/// rest: verifier 160, amount (upper 64 bits), and what of period (6), frequency (12) and redundancy (4) the head has no room for.
library SubscriptionWords {
    uint256 private constant ADDRESS = type(uint160).max;
    uint256 private constant ACTIVE_AT = 160;
    uint256 private constant PERIOD = 192;
    uint256 private constant PERIOD_BITS = 26;
    uint256 private constant FREQUENCY = 218;
    uint256 private constant FREQUENCY_BITS = 20;
    uint256 private constant REDUNDANCY = 238;
    uint256 private constant REDUNDANCY_BITS = 12;
    uint256 private constant LAZY = 1 << 250;
    uint256 private constant PAID = 1 << 251;
    uint256 private constant HAS_WALLET = 1 << 252;
    uint256 private constant HAS_TOKEN = 1 << 253;
    uint256 private constant HAS_REST = 1 << 254;
    uint256 private constant FUNDED = 1 << 255;

    uint256 private constant REST_AMOUNT = 160;
    uint256 private constant REST_PERIOD = 224;
    uint256 private constant REST_FREQUENCY = 230;
    uint256 private constant REST_REDUNDANCY = 242;

    /// @dev Stores `sub` in fresh words.
    function save(StoredSubscription storage stored, Subscription memory sub) internal {
        uint256 head = uint160(sub.owner) | (uint256(sub.activeAt) << ACTIVE_AT);
        uint256 wallet = uint160(address(sub.wallet));
        uint256 token = uint160(sub.paymentToken);
        uint256 rest = uint160(address(sub.verifier));
        unchecked {
            uint256 value = sub.period;
            head |= (value & ((1 << PERIOD_BITS) - 1)) << PERIOD;
            rest |= (value >> PERIOD_BITS) << REST_PERIOD;
            value = sub.frequency;
            head |= (value & ((1 << FREQUENCY_BITS) - 1)) << FREQUENCY;
            rest |= (value >> FREQUENCY_BITS) << REST_FREQUENCY;
            value = sub.redundancy;
            head |= (value & ((1 << REDUNDANCY_BITS) - 1)) << REDUNDANCY;
            rest |= (value >> REDUNDANCY_BITS) << REST_REDUNDANCY;
            value = sub.paymentAmount;
            if (value != 0) {
                head |= PAID;
                wallet |= value << 160;
                token |= (value >> 96) << 160;
                rest |= (value >> 192) << REST_AMOUNT;
            }
        }
        if (sub.lazy) head |= LAZY;
        if (wallet != 0) {
            head |= HAS_WALLET;
            stored.wallet = wallet;
        }
        if (token != 0) {
            head |= HAS_TOKEN;
            stored.token = token;
        }
        if (rest != 0) {
            head |= HAS_REST;
            stored.rest = rest;
        }
        stored.head = head;
        stored.containerId = sub.containerId;
    }

    /// @dev Reads the whole subscription.
    function load(StoredSubscription storage stored) internal view returns (Subscription memory sub) {
        uint256 head = stored.head;
        uint256 rest = restOf(stored, head);
        sub.owner = owner(head);
        sub.activeAt = activeAt(head);
        sub.period = period(head, rest);
        sub.frequency = frequency(head, rest);
        sub.redundancy = redundancy(head, rest);
        sub.containerId = stored.containerId;
        sub.lazy = isLazy(head);
        sub.verifier = payable(address(uint160(rest)));
        (sub.wallet, sub.paymentToken, sub.paymentAmount) = payment(stored, head, rest);
    }

    /// @dev The rest word, without reading one that is zero.
    function restOf(StoredSubscription storage stored, uint256 head) internal view returns (uint256) {
        return head & HAS_REST == 0 ? 0 : stored.rest;
    }

    /// @dev Wallet, token and amount, without reading words that are zero.
    function payment(StoredSubscription storage stored, uint256 head, uint256 rest)
        internal
        view
        returns (address payable wallet, address token, uint256 amount)
    {
        uint256 word = head & HAS_WALLET == 0 ? 0 : stored.wallet;
        wallet = payable(address(uint160(word & ADDRESS)));
        amount = word >> 160;
        word = head & HAS_TOKEN == 0 ? 0 : stored.token;
        token = address(uint160(word & ADDRESS));
        amount |= (word >> 160) << 96;
        amount |= ((rest >> REST_AMOUNT) & type(uint64).max) << 192;
    }

    /// @dev The head with another activeAt.
    function withActiveAt(uint256 head, uint32 time) internal pure returns (uint256) {
        return (head & ~(uint256(type(uint32).max) << ACTIVE_AT)) | (uint256(time) << ACTIVE_AT);
    }

    /// @dev The head with the mark that payments are locked ahead.
    function asFunded(uint256 head) internal pure returns (uint256) {
        return head | FUNDED;
    }

    /// @dev The owner.
    function owner(uint256 head) internal pure returns (address) {
        return address(uint160(head & ADDRESS));
    }

    /// @dev From when it is active.
    function activeAt(uint256 head) internal pure returns (uint32) {
        return uint32(head >> ACTIVE_AT);
    }

    /// @dev The period; its upper bits are in the rest word.
    function period(uint256 head, uint256 rest) internal pure returns (uint32) {
        return uint32(((head >> PERIOD) & ((1 << PERIOD_BITS) - 1)) | (((rest >> REST_PERIOD) & 0x3f) << PERIOD_BITS));
    }

    /// @dev The frequency; its upper bits are in the rest word.
    function frequency(uint256 head, uint256 rest) internal pure returns (uint32) {
        return
            uint32(((head >> FREQUENCY) & ((1 << FREQUENCY_BITS) - 1)) | (((rest >> REST_FREQUENCY) & 0xfff) << FREQUENCY_BITS));
    }

    /// @dev The redundancy; its upper bits are in the rest word.
    function redundancy(uint256 head, uint256 rest) internal pure returns (uint16) {
        return
            uint16(
                ((head >> REDUNDANCY) & ((1 << REDUNDANCY_BITS) - 1)) | (((rest >> REST_REDUNDANCY) & 0xf) << REDUNDANCY_BITS)
            );
    }

    /// @dev Whether results go to the inbox.
    function isLazy(uint256 head) internal pure returns (bool) {
        return head & LAZY != 0;
    }

    /// @dev Whether the payment is not zero.
    function isPaid(uint256 head) internal pure returns (bool) {
        return head & PAID != 0;
    }

    /// @dev Whether payments are locked ahead.
    function isFunded(uint256 head) internal pure returns (bool) {
        return head & FUNDED != 0;
    }
}
