// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @title Ownable
/// @notice One owner, who hands over either at once or in two steps: the new owner requests, the old one completes.
/// @dev The owner takes the low 160 bits of one storage word. The 96 bits above are free for the inheriting contract, which
/// must keep the low bits when it writes.
abstract contract Ownable {
    /// @dev Owner (low 160 bits) and 96 bits of the inheriting contract.
    uint256 internal _ownerWord;

    /// @dev Until when (seconds, inclusive) an account's request for the ownership can be completed.
    mapping(address => uint256) private _handoverExpiresAt;

    /// @dev How long a handover request is valid.
    uint256 private constant HANDOVER_VALIDITY = 48 hours;

    /// @notice The ownership went from one account to another (from zero: at construction; to zero: renounced).
    event OwnershipTransferred(address indexed oldOwner, address indexed newOwner);

    /// @notice An account asked for the ownership.
    event OwnershipHandoverRequested(address indexed pendingOwner);

    /// @notice An account withdrew its request for the ownership.
    event OwnershipHandoverCanceled(address indexed pendingOwner);

    /// @notice The caller is not the owner.
    error Unauthorized();

    /// @notice The ownership cannot be given to the zero address; renounce it instead.
    error NewOwnerIsZeroAddress();

    /// @notice The account has no valid handover request.
    error NoHandoverRequest();

    /// @dev Refuses every caller but the owner.
    modifier onlyOwner() {
        if (msg.sender != owner()) revert Unauthorized();
        _;
    }

    /// @notice The owner; zero when renounced.
    function owner() public view returns (address) {
        return address(uint160(_ownerWord));
    }

    /// @notice Gives the ownership away at once.
    function transferOwnership(address newOwner) external payable onlyOwner {
        if (newOwner == address(0)) revert NewOwnerIsZeroAddress();
        _setOwner(newOwner);
    }

    /// @notice Gives the ownership up for good.
    function renounceOwnership() public payable virtual onlyOwner {
        _setOwner(address(0));
    }

    /// @notice Asks for the ownership; the owner can complete the request within 48 hours.
    function requestOwnershipHandover() external payable {
        _handoverExpiresAt[msg.sender] = block.timestamp + HANDOVER_VALIDITY;
        emit OwnershipHandoverRequested(msg.sender);
    }

    /// @notice Withdraws the caller's own request.
    function cancelOwnershipHandover() external payable {
        _handoverExpiresAt[msg.sender] = 0;
        emit OwnershipHandoverCanceled(msg.sender);
    }

    /// @notice Completes the request of `pendingOwner`.
    function completeOwnershipHandover(address pendingOwner) external payable onlyOwner {
        if (block.timestamp > _handoverExpiresAt[pendingOwner]) revert NoHandoverRequest();
        _handoverExpiresAt[pendingOwner] = 0;
        _setOwner(pendingOwner);
    }

    /// @notice Until when (seconds) the request of `pendingOwner` can be completed; 0 without a request.
    function ownershipHandoverExpiresAt(address pendingOwner) external view returns (uint256) {
        return _handoverExpiresAt[pendingOwner];
    }

    /// @dev Sets the owner, keeps the inheriting contract's bits, and says so.
    function _setOwner(address newOwner) internal {
        uint256 word = _ownerWord;
        _ownerWord = (word & ~uint256(type(uint160).max)) | uint160(newOwner);
        emit OwnershipTransferred(address(uint160(word)), newOwner);
    }
}
