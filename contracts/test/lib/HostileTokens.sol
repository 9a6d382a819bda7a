// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @notice Tokens as they are met in the wild: each keeps balances like any other, but `transfer` does something of its own.
abstract contract Balances {
    mapping(address => uint256) public balanceOf;

    function mint(address to, uint256 value) external {
        balanceOf[to] += value;
    }

    function _move(address to, uint256 value) internal {
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
    }
}

/// @notice Returns nothing, as some old tokens do.
contract SilentToken is Balances {
    function transfer(address to, uint256 value) external {
        _move(to, value);
    }
}

/// @notice Returns false instead of moving anything.
contract FalseToken is Balances {
    function transfer(address, uint256) external pure returns (bool) {
        return false;
    }
}

/// @notice Returns something that is neither true nor false.
contract OddToken is Balances {
    function transfer(address to, uint256 value) external returns (uint256) {
        _move(to, value);
        return 2;
    }
}

/// @notice Keeps a tenth of every transfer.
contract TaxedToken is Balances {
    function transfer(address to, uint256 value) external returns (bool) {
        _move(to, value);
        balanceOf[to] -= value / 10;
        return true;
    }
}

/// @notice Calls something else first, once, and keeps what it reverted with.
contract CallingToken is Balances {
    address private _target;
    bytes private _data;
    bytes public innerRevert;
    bool public called;

    function onTransfer(address target, bytes calldata data) external {
        (_target, _data, called) = (target, data, false);
    }

    function transfer(address to, uint256 value) external returns (bool) {
        if (_target != address(0) && !called) {
            called = true;
            (bool ok, bytes memory result) = _target.call(_data);
            if (!ok) innerRevert = result;
        }
        _move(to, value);
        return true;
    }
}

/// @notice Works, or does not, as it was last told; balances are whatever somebody says they are.
contract MoodyToken {
    enum Mood {
        Work,
        RefuseTransfers,
        RefuseAll,
        BurnGas
    }

    Mood private _mood;
    mapping(address => uint256) private _balances;

    error NotToday();

    function setMood(Mood mood) external {
        _mood = mood;
    }

    function setBalance(address account, uint256 value) external {
        _balances[account] = value;
    }

    function balanceOf(address account) external view returns (uint256) {
        if (_mood == Mood.RefuseAll) revert NotToday();
        return _balances[account];
    }

    function transfer(address to, uint256 value) external returns (bool) {
        if (_mood == Mood.RefuseAll || _mood == Mood.RefuseTransfers) revert NotToday();
        while (_mood == Mood.BurnGas) {
            value ^= 1;
        }
        _balances[msg.sender] -= value;
        _balances[to] += value;
        return true;
    }
}
