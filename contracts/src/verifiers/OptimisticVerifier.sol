// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Registry} from "../Registry.sol";
import {TokenTransfer} from "../utility/TokenTransfer.sol";
import {Keys} from "../utility/Keys.sol";
import {BaseVerifier} from "./BaseVerifier.sol";

/// @title OptimisticVerifier
/// @notice A delivery counts as valid unless somebody challenges it, with a bond, within five days. The owner then rules before
/// the coordinator's week is over: the loser pays (the node its stake, the challenger his bond).
/// @dev Times count from the delivery. If the owner does not rule in time, the challenger has his bond back and the coordinator
/// pays the node. Who relies on this verifier relies on its owner as the judge.
contract OptimisticVerifier is BaseVerifier {
    /// @notice A delivery that waits.
    /// @param requestedAt time of the delivery; 0: none
    /// @param challenger who challenged; zero: nobody
    /// @param proofHash keccak256 of the proof
    struct Claim {
        uint64 requestedAt;
        address challenger;
        bytes32 proofHash;
    }

    /// @notice How long a delivery can be challenged.
    uint256 public constant CHALLENGE_TIME = 5 days;

    /// @notice How long a challenge can be ruled on: the coordinator's own limit.
    uint256 public constant RULING_TIME = 1 weeks;

    /// @notice What a challenger puts down, in the chain's own coin.
    uint256 public immutable BOND;

    /// @notice Waiting deliveries, by keccak256(abi.encode(uint32 subscriptionId, uint32 interval, address node)).
    mapping(bytes32 => Claim) public claims;

    /// @notice What an account can withdraw.
    mapping(address => uint256) public withdrawable;

    /// @notice A delivery waits for challenges.
    event Claimed(uint32 indexed subscriptionId, uint32 indexed interval, address indexed node, bytes32 proofHash);

    /// @notice A delivery was challenged.
    event Challenged(uint32 indexed subscriptionId, uint32 indexed interval, address indexed node, address challenger);

    /// @notice A delivery was judged, or accepted without a challenge.
    event Ruled(uint32 indexed subscriptionId, uint32 indexed interval, address indexed node, bool valid);

    /// @notice No such delivery waits.
    error NoClaim();

    /// @notice The delivery was challenged already.
    error ChallengedAlready();

    /// @notice The delivery was not challenged.
    error NotChallenged();

    /// @notice It is too early, or too late, for this.
    error WrongTime();

    /// @notice The bond is not what it must be.
    error WrongBond();

    /// @param registry registry of the deployment
    /// @param initialOwner who rules, and sets and receives the fees
    /// @param bond what a challenger puts down
    constructor(Registry registry, address initialOwner, uint256 bond) BaseVerifier(registry, initialOwner) {
        BOND = bond;
    }

    /// @notice Challenges a delivery; the bond comes with the call.
    function challenge(uint32 subscriptionId, uint32 interval, address node) external payable {
        Claim storage claim = _claim(subscriptionId, interval, node);
        if (claim.challenger != address(0)) revert ChallengedAlready();
        if (block.timestamp >= claim.requestedAt + CHALLENGE_TIME) revert WrongTime();
        if (msg.value != BOND) revert WrongBond();
        claim.challenger = msg.sender;
        emit Challenged(subscriptionId, interval, node, msg.sender);
    }

    /// @notice Settles a delivery that nobody challenged in time; open to anyone.
    function accept(uint32 subscriptionId, uint32 interval, address node) external {
        Claim storage claim = _claim(subscriptionId, interval, node);
        if (claim.challenger != address(0)) revert ChallengedAlready();
        if (block.timestamp < claim.requestedAt + CHALLENGE_TIME) revert WrongTime();
        _finish(subscriptionId, interval, node, true);
    }

    /// @notice Rules on a challenged delivery; only the owner.
    function rule(uint32 subscriptionId, uint32 interval, address node, bool valid) external onlyOwner {
        Claim storage claim = _claim(subscriptionId, interval, node);
        address challenger = claim.challenger;
        if (challenger == address(0)) revert NotChallenged();
        if (block.timestamp >= claim.requestedAt + RULING_TIME) revert WrongTime();
        withdrawable[valid ? node : challenger] += BOND;
        _finish(subscriptionId, interval, node, valid);
    }

    /// @notice Gives the bond back to a challenger whose challenge was not ruled on in time; open to anyone.
    function reclaim(uint32 subscriptionId, uint32 interval, address node) external {
        Claim storage claim = _claim(subscriptionId, interval, node);
        address challenger = claim.challenger;
        if (challenger == address(0)) revert NotChallenged();
        if (block.timestamp < claim.requestedAt + RULING_TIME) revert WrongTime();
        delete claims[Keys.ofNode(subscriptionId, interval, node)];
        withdrawable[challenger] += BOND;
    }

    /// @notice Sends the caller what he can withdraw.
    function withdraw() external {
        uint256 amount = withdrawable[msg.sender];
        withdrawable[msg.sender] = 0;
        TokenTransfer.sendEther(msg.sender, amount);
    }

    /// @dev Notes the delivery; the verdict comes later.
    function _request(uint32 subscriptionId, uint32 interval, address node, bytes calldata proof) internal override {
        bytes32 proofHash = keccak256(proof);
        claims[Keys.ofNode(subscriptionId, interval, node)] = Claim(uint64(block.timestamp), address(0), proofHash);
        emit Claimed(subscriptionId, interval, node, proofHash);
    }

    /// @dev Settles at the coordinator.
    function _finish(uint32 subscriptionId, uint32 interval, address node, bool valid) private {
        delete claims[Keys.ofNode(subscriptionId, interval, node)];
        emit Ruled(subscriptionId, interval, node, valid);
        COORDINATOR.finalizeProofVerification(subscriptionId, interval, node, valid);
    }

    /// @dev A delivery that waits.
    function _claim(uint32 subscriptionId, uint32 interval, address node) private view returns (Claim storage claim) {
        claim = claims[Keys.ofNode(subscriptionId, interval, node)];
        if (claim.requestedAt == 0) revert NoClaim();
    }
}
