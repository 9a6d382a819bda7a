// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @title IVerifier
/// @notice A contract that judges a node's proof before the node is paid.
/// @dev Accept `requestProofVerification` from the coordinator only, and answer through
/// `Coordinator.finalizeProofVerification`: in the same call (atomic) or within one week (asynchronous). Afterwards anyone can
/// finalise, and the node is paid. A consumer must trust the verifier it names: it decides whom the escrows go to.
interface IVerifier {
    /// @notice Where the verifier's fee is paid to; any address.
    function getWallet() external view returns (address);

    /// @notice Whether the verifier takes its fee in `token` (zero: the chain's own coin).
    function isSupportedToken(address token) external view returns (bool);

    /// @notice The verifier's fee per proof, in the smallest unit of `token`.
    function fee(address token) external view returns (uint256);

    /// @notice Asks for a verdict on one delivery.
    /// @param subscriptionId subscription that was delivered to
    /// @param interval interval that was delivered
    /// @param node account that delivered
    /// @param proof what the node handed over as proof
    function requestProofVerification(uint32 subscriptionId, uint32 interval, address node, bytes calldata proof) external;

    /// @notice Takes fees paid in the chain's own coin.
    receive() external payable;
}
