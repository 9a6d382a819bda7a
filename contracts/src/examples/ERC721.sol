// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @notice What a contract answers that takes tokens sent with `safeTransferFrom`.
interface ERC721Receiver {
    function onERC721Received(address operator, address from, uint256 tokenId, bytes calldata data) external returns (bytes4);
}

/// @title ERC721
/// @notice Non-fungible tokens (EIP-721 with metadata), for the examples.
abstract contract ERC721 {
    /// @notice Name of the collection.
    string public name;

    /// @notice Symbol of the collection.
    string public symbol;

    /// @notice How many tokens an account holds.
    mapping(address => uint256) public balanceOf;

    /// @notice Who may send one token.
    mapping(uint256 => address) public getApproved;

    /// @notice Who may send all tokens of an account.
    mapping(address => mapping(address => bool)) public isApprovedForAll;

    mapping(uint256 => address) private _owners;

    event Transfer(address indexed from, address indexed to, uint256 indexed tokenId);
    event Approval(address indexed owner, address indexed approved, uint256 indexed tokenId);
    event ApprovalForAll(address indexed owner, address indexed operator, bool approved);

    /// @notice There is no such token.
    error NoSuchToken();

    /// @notice The caller may not do this.
    error NotAuthorized();

    /// @notice The receiver cannot have the token.
    error InvalidReceiver();

    /// @param name_ name of the collection
    /// @param symbol_ its symbol
    constructor(string memory name_, string memory symbol_) {
        name = name_;
        symbol = symbol_;
    }

    /// @notice Where the picture or description of a token is.
    function tokenURI(uint256 tokenId) external view virtual returns (string memory);

    /// @notice Who owns a token.
    function ownerOf(uint256 tokenId) public view returns (address owner) {
        owner = _owners[tokenId];
        if (owner == address(0)) revert NoSuchToken();
    }

    /// @notice Lets `account` send one token.
    function approve(address account, uint256 tokenId) external {
        address owner = ownerOf(tokenId);
        if (msg.sender != owner && !isApprovedForAll[owner][msg.sender]) revert NotAuthorized();
        getApproved[tokenId] = account;
        emit Approval(owner, account, tokenId);
    }

    /// @notice Lets `operator` send all tokens of the caller, or no longer.
    function setApprovalForAll(address operator, bool approved) external {
        isApprovedForAll[msg.sender][operator] = approved;
        emit ApprovalForAll(msg.sender, operator, approved);
    }

    /// @notice Sends a token.
    function transferFrom(address from, address to, uint256 tokenId) public {
        if (ownerOf(tokenId) != from) revert NotAuthorized();
        if (to == address(0)) revert InvalidReceiver();
        bool allowed = msg.sender == from || isApprovedForAll[from][msg.sender] || msg.sender == getApproved[tokenId];
        if (!allowed) revert NotAuthorized();
        delete getApproved[tokenId];
        balanceOf[from]--;
        balanceOf[to]++;
        _owners[tokenId] = to;
        emit Transfer(from, to, tokenId);
    }

    /// @notice Sends a token; a contract must answer that it takes it.
    function safeTransferFrom(address from, address to, uint256 tokenId) external {
        safeTransferFrom(from, to, tokenId, "");
    }

    /// @notice Sends a token with data; a contract must answer that it takes it.
    function safeTransferFrom(address from, address to, uint256 tokenId, bytes memory data) public {
        transferFrom(from, to, tokenId);
        if (to.code.length == 0) return;
        bytes4 answer = ERC721Receiver(to).onERC721Received(msg.sender, from, tokenId, data);
        if (answer != ERC721Receiver.onERC721Received.selector) revert InvalidReceiver();
    }

    /// @notice EIP-165: itself, EIP-721, and its metadata.
    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == 0x01ffc9a7 || id == 0x80ac58cd || id == 0x5b5e139f;
    }

    /// @dev Makes a token.
    function _mint(address to, uint256 tokenId) internal {
        if (to == address(0)) revert InvalidReceiver();
        balanceOf[to]++;
        _owners[tokenId] = to;
        emit Transfer(address(0), to, tokenId);
    }
}
