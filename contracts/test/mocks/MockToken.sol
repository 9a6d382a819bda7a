// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @title MockToken
/// @notice A plain ERC-20 that anyone can mint.
contract MockToken {
    /// @notice Balances.
    mapping(address => uint256) public balanceOf;

    /// @notice Allowances.
    mapping(address => mapping(address => uint256)) public allowance;

    /// @notice All there is.
    uint256 public totalSupply;

    /// @notice Digits behind the point.
    uint8 public immutable decimals;

    /// @notice Tokens moved; from zero: made.
    event Transfer(address indexed from, address indexed to, uint256 value);
    /// @notice Somebody may spend.
    event Approval(address indexed owner, address indexed spender, uint256 value);

    /// @param decimals_ digits behind the point
    constructor(uint8 decimals_) {
        decimals = decimals_;
    }

    /// @notice Makes tokens.
    function mint(address to, uint256 value) external {
        balanceOf[to] += value;
        totalSupply += value;
        emit Transfer(address(0), to, value);
    }

    /// @notice Lets somebody spend.
    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    /// @notice Sends the caller's tokens.
    function transfer(address to, uint256 value) external returns (bool) {
        _move(msg.sender, to, value);
        return true;
    }

    /// @notice Sends somebody else's tokens.
    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        allowance[from][msg.sender] -= value;
        _move(from, to, value);
        return true;
    }

    function _move(address from, address to, uint256 value) private {
        balanceOf[from] -= value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}
