// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Subscription} from "../Coordinator.sol";
import {Registry} from "../Registry.sol";
import {Keys} from "../utility/Keys.sol";
import {BaseVerifier} from "./BaseVerifier.sol";

/// @title HashVerifier
/// @notice An atomic verifier: the consumer commits to a hash, and a proof is valid if it is the preimage.
/// @dev The verdict falls within the delivery. A proof that is seen in the mempool can be copied by another node; where that
/// matters, commit to keccak256(abi.encode(node, secret)) and have the proof be that encoding: it then names its node.
contract HashVerifier is BaseVerifier {
    /// @notice Commitments, by keccak256(abi.encode(uint32 subscriptionId, uint32 interval)).
    mapping(bytes32 => bytes32) public commitments;

    /// @notice A consumer committed to the hash of the valid proof.
    event Committed(uint32 indexed subscriptionId, uint32 indexed interval, bytes32 commitment);

    /// @notice Only the subscription's owner commits.
    error NotSubscriptionOwner();

    /// @notice There is nothing to judge by.
    error NotCommitted();

    /// @notice A commitment cannot be changed.
    error CommittedAlready();

    /// @param registry registry of the deployment
    /// @param initialOwner who sets and receives the fees
    constructor(Registry registry, address initialOwner) BaseVerifier(registry, initialOwner) {}

    /// @notice Commits to keccak256 of the valid proof of an interval; only the subscription's owner, once.
    function commit(uint32 subscriptionId, uint32 interval, bytes32 commitment) external {
        Subscription memory sub = COORDINATOR.getSubscription(subscriptionId);
        if (sub.owner != msg.sender) revert NotSubscriptionOwner();
        bytes32 key = Keys.ofInterval(subscriptionId, interval);
        if (commitments[key] != 0) revert CommittedAlready();
        commitments[key] = commitment;
        emit Committed(subscriptionId, interval, commitment);
    }

    /// @dev Judges at once; without a commitment the delivery reverts.
    function _request(uint32 subscriptionId, uint32 interval, address node, bytes calldata proof) internal override {
        bytes32 commitment = commitments[Keys.ofInterval(subscriptionId, interval)];
        if (commitment == 0) revert NotCommitted();
        COORDINATOR.finalizeProofVerification(subscriptionId, interval, node, keccak256(proof) == commitment);
    }
}
