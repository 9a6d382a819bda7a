// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Registry} from "../Registry.sol";
import {Ownable} from "../utility/Ownable.sol";
import {TokenTransfer} from "../utility/TokenTransfer.sol";

/// @title Wallet
/// @notice Holds funds that pay for computations (consumers) or stand as stakes (nodes). The owner approves spenders; only the
/// coordinator moves funds, in a spender's name and within his allowance, or locks them in escrow.
/// @dev Locked funds can be neither withdrawn nor paid out; only unlocking makes them free again. Token zero is the chain's own
/// coin. (Not a `Coordinated`: that one imports the coordinator, which imports this.) The word of the owner also holds how much of the own coin is locked and how many other tokens have a locked balance.
contract Wallet is Ownable {
    /// @dev Where the locked amount of the own coin stands in the owner's word (80 bits).
    uint256 private constant LOCKED_ETHER_SHIFT = 160;

    /// @dev The largest value of that field: it says that the amount is too large for it and stands in the mapping instead.
    uint256 private constant LOCKED_ETHER_MAX = type(uint80).max;

    /// @dev One token in the count of tokens with a locked balance (the word's upper 16 bits).
    uint256 private constant LOCKED_TOKEN_UNIT = 1 << 240;

    /// @dev The coordinator of the deployment.
    address private immutable COORDINATOR;

    /// @notice An amount in a mapping.
    /// @dev As a struct, so that its place is computed once for reading and writing.
    struct Amount {
        uint256 value;
    }

    /// @dev What a spender may use, by spender and token.
    mapping(address => mapping(address => Amount)) private _allowances;

    /// @dev Locked amounts of tokens; of the own coin only if it exceeds its field.
    mapping(address => uint256) private _locked;

    /// @notice The owner withdrew.
    event Withdrawl(address token, uint256 amount);

    /// @notice The owner set an allowance.
    event Approval(address indexed spender, address token, uint256 amount);

    /// @notice The coordinator paid in a spender's name.
    event Transfer(address indexed spender, address token, address indexed to, uint256 amount);

    /// @notice The coordinator locked or unlocked in a spender's name.
    event Escrow(address indexed spender, address token, uint256 amount, bool locked);

    /// @notice The unlocked balance is too short, or less is locked than is to be unlocked.
    error InsufficientFunds();

    /// @notice The spender's allowance is too short.
    error InsufficientAllowance();

    /// @notice The ownership cannot be given up while funds are locked.
    error FundsLocked();

    /// @notice The caller is not the coordinator.
    error NotCoordinator();

    /// @dev Refuses every caller but the coordinator.
    modifier onlyCoordinator() {
        if (msg.sender != COORDINATOR) revert NotCoordinator();
        _;
    }

    /// @param registry registry of the deployment
    /// @param initialOwner first owner
    constructor(Registry registry, address initialOwner) {
        COORDINATOR = registry.COORDINATOR();
        _setOwner(initialOwner);
    }

    /// @notice Takes the chain's own coin.
    receive() external payable virtual {}

    /// @notice Sends unlocked funds to the owner; only the owner.
    function withdraw(address token, uint256 amount) external onlyOwner {
        if (amount > unlockedBalance(token)) revert InsufficientFunds();
        TokenTransfer.send(token, msg.sender, amount);
        emit Withdrawl(token, amount);
    }

    /// @notice Sets (does not add to) what `spender` may use of `token`; only the owner.
    function approve(address spender, address token, uint256 amount) external onlyOwner {
        _allowances[spender][token].value = amount;
        emit Approval(spender, token, amount);
    }

    /// @notice Pays `amount` to `to` in the name of `spender`; only the coordinator.
    function cTransfer(address spender, address token, address to, uint256 amount) external onlyCoordinator {
        _spend(spender, token, amount);
        _pay(spender, token, to, amount);
    }

    /// @notice Two payments in the name of `spender`, in order; only the coordinator. The same as two calls of `cTransfer`, but
    /// both amounts leave the allowance before either is sent.
    /// @dev The name gives the lowest selector of all functions here, so the dispatcher, which compares one after the other, finds
    /// it first.
    function cTransferTwo(address spender, address token, address to, uint256 amount, address secondTo, uint256 secondAmount)
        external
        onlyCoordinator
    {
        _spend(spender, token, amount + secondAmount);
        _pay(spender, token, to, amount);
        _pay(spender, token, secondTo, secondAmount);
    }

    /// @notice Locks `amount` in the name of `spender`; only the coordinator.
    function cLock(address spender, address token, uint256 amount) external onlyCoordinator {
        uint256 locked = lockedBalance(token);
        if (amount > _unlocked(TokenTransfer.balance(token), locked)) revert InsufficientFunds();
        _spend(spender, token, amount);
        _setLocked(token, locked, locked + amount);
        emit Escrow(spender, token, amount, true);
    }

    /// @notice Unlocks `amount` in the name of `spender` and gives the allowance back; only the coordinator.
    /// @dev The allowance saturates: an owner who set a huge one meanwhile cannot block the unlocking.
    function cUnlock(address spender, address token, uint256 amount) external onlyCoordinator {
        _unlock(spender, token, amount);
        unchecked {
            Amount storage allowed = _allowances[spender][token];
            uint256 restored = allowed.value + amount;
            allowed.value = restored < amount ? type(uint256).max : restored;
        }
    }

    /// @notice Unlocks `amount` in the name of `spender` and pays it to `to`; only the coordinator. The same as `cUnlock` and
    /// `cTransfer`: what the one gives back to the allowance the other takes from it, so the allowance is left alone.
    function cRelease(address spender, address token, address to, uint256 amount) external onlyCoordinator {
        _unlock(spender, token, amount);
        _pay(spender, token, to, amount);
    }

    /// @notice Gives the ownership up for good; refused while anything is locked.
    function renounceOwnership() public payable override onlyOwner {
        if (_ownerWord >> LOCKED_ETHER_SHIFT != 0) revert FundsLocked();
        _setOwner(address(0));
    }

    /// @notice How much of `token` `spender` may use.
    function allowance(address spender, address token) external view returns (uint256) {
        return _allowances[spender][token].value;
    }

    /// @notice How much of `token` is locked.
    function lockedBalance(address token) public view returns (uint256) {
        if (token == address(0)) {
            uint256 locked = (_ownerWord >> LOCKED_ETHER_SHIFT) & LOCKED_ETHER_MAX;
            if (locked != LOCKED_ETHER_MAX) return locked;
        }
        return _locked[token];
    }

    /// @notice How much of `token` can be withdrawn, paid out or locked.
    function unlockedBalance(address token) public view returns (uint256) {
        return _unlocked(TokenTransfer.balance(token), lockedBalance(token));
    }

    /// @dev What of `held` is not locked; 0 if a token shrank below what is locked.
    function _unlocked(uint256 held, uint256 locked) private pure returns (uint256) {
        unchecked {
            return held > locked ? held - locked : 0;
        }
    }

    /// @dev Unlocks and says so.
    function _unlock(address spender, address token, uint256 amount) private {
        uint256 locked = lockedBalance(token);
        if (amount > locked) revert InsufficientFunds();
        unchecked {
            _setLocked(token, locked, locked - amount);
        }
        emit Escrow(spender, token, amount, false);
    }

    /// @dev Takes `amount` from the allowance of `spender`.
    function _spend(address spender, address token, uint256 amount) private {
        Amount storage allowed = _allowances[spender][token];
        uint256 value = allowed.value;
        if (value < amount) revert InsufficientAllowance();
        unchecked {
            allowed.value = value - amount;
        }
    }

    /// @dev Sends and says so. What is locked is not sent; a balance that is too short altogether fails as the transfer itself does.
    function _pay(address spender, address token, address to, uint256 amount) private {
        uint256 locked = lockedBalance(token);
        if (locked != 0) {
            uint256 held = TokenTransfer.balance(token);
            if (amount <= held && amount > _unlocked(held, locked)) revert InsufficientFunds();
        }
        TokenTransfer.send(token, to, amount);
        emit Transfer(spender, token, to, amount);
    }

    /// @dev Changes the locked amount of `token` from `before` to `current`.
    function _setLocked(address token, uint256 before, uint256 current) private {
        uint256 word = _ownerWord;
        if (token == address(0)) {
            uint256 field = current < LOCKED_ETHER_MAX ? current : LOCKED_ETHER_MAX;
            if (field == LOCKED_ETHER_MAX) _locked[token] = current;
            _ownerWord = (word & ~(LOCKED_ETHER_MAX << LOCKED_ETHER_SHIFT)) | (field << LOCKED_ETHER_SHIFT);
        } else {
            _locked[token] = current;
            if (before == 0 && current != 0) _ownerWord = word + LOCKED_TOKEN_UNIT;
            if (before != 0 && current == 0) _ownerWord = word - LOCKED_TOKEN_UNIT;
        }
    }
}
