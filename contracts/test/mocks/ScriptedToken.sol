// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @title ScriptedToken
/// @notice A token for tests, with the habits of the honest and the odd ones.
contract ScriptedToken {
    /// @notice What a transfer does.
    enum Habit {
        ReturnTrue,
        ReturnNothing,
        ReturnFalse,
        Revert,
        RevertAll
    }

    Habit private _habit;
    mapping(address => uint256) private _balances;

    /// @notice Tokens moved; from zero: made, to zero: destroyed.
    event Transfer(address indexed from, address indexed to, uint256 amount);

    /// @notice The sender holds less.
    error BalanceTooShort();

    /// @notice The token's habit is to refuse.
    error Refused();

    /// @param habit first habit
    constructor(Habit habit) {
        _habit = habit;
    }

    /// @notice What an account holds.
    function balanceOf(address account) external view returns (uint256) {
        if (_habit == Habit.RevertAll) revert Refused();
        return _balances[account];
    }

    /// @notice Sets what an account holds, as mints, burns and rebasing tokens do.
    function setBalance(address account, uint256 amount) external {
        _balances[account] = amount;
    }

    /// @notice Sends `amount` to `to`, by habit.
    function transfer(address to, uint256 amount) external returns (bool) {
        if (_habit == Habit.Revert || _habit == Habit.RevertAll) revert Refused();
        if (_habit == Habit.ReturnFalse) return false;
        if (_balances[msg.sender] < amount) revert BalanceTooShort();
        unchecked {
            _balances[msg.sender] -= amount;
            _balances[to] += amount;
        }
        emit Transfer(msg.sender, to, amount);
        if (_habit == Habit.ReturnNothing) {
            assembly ("memory-safe") {
                return(0, 0)
            }
        }
        return true;
    }
}
