// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Registry} from "../../src/Registry.sol";
import {Coordinated} from "../../src/utility/Coordinated.sol";
import {Ownable} from "../../src/utility/Ownable.sol";
import {TokenTransfer} from "../../src/utility/TokenTransfer.sol";

/// @title ReferenceFee
/// @notice The protocol fee as section 7 of docs/spec/contracts.md describes it: without a bound, without an event.
contract ReferenceFee is Ownable {
    /// @notice The fee in ten-thousandths.
    uint16 public FEE;

    constructor(address feeRecipient, uint16 fee) {
        FEE = fee;
        _setOwner(feeRecipient);
    }

    /// @notice Who receives the fees.
    function FEE_RECIPIENT() external view returns (address) {
        return owner();
    }

    /// @notice Sets the fee.
    function updateFee(uint16 newFee) external onlyOwner {
        FEE = newFee;
    }
}

/// @title ReferenceWallet
/// @notice A wallet as section 8 of docs/spec/contracts.md describes it, with its weaknesses (N1 to N3).
contract ReferenceWallet is Ownable, Coordinated {
    mapping(address => mapping(address => uint256)) public allowance;

    /// @notice What is locked, by token. (The reference keeps it to itself.)
    mapping(address => uint256) public lockedBalance;

    event Withdrawl(address token, uint256 amount);
    event Approval(address indexed spender, address token, uint256 amount);
    event Transfer(address indexed spender, address token, address indexed to, uint256 amount);
    event Escrow(address indexed spender, address token, uint256 amount, bool locked);

    error InsufficientFunds();
    error InsufficientAllowance();
    error TransferFailed();

    constructor(Registry registry, address initialOwner) Coordinated(registry) {
        _setOwner(initialOwner);
    }

    receive() external payable {}

    function withdraw(address token, uint256 amount) external onlyOwner {
        if (amount > _unlocked(token)) revert InsufficientFunds();
        _send(token, msg.sender, amount);
        emit Withdrawl(token, amount);
    }

    function approve(address spender, address token, uint256 amount) external onlyOwner {
        allowance[spender][token] = amount;
        emit Approval(spender, token, amount);
    }

    function cTransfer(address spender, address token, address to, uint256 amount) external onlyCoordinator {
        if (allowance[spender][token] < amount) revert InsufficientAllowance();
        allowance[spender][token] -= amount;
        _send(token, to, amount);
        emit Transfer(spender, token, to, amount);
    }

    function cLock(address spender, address token, uint256 amount) external onlyCoordinator {
        if (amount > _unlocked(token)) revert InsufficientFunds();
        if (allowance[spender][token] < amount) revert InsufficientAllowance();
        allowance[spender][token] -= amount;
        lockedBalance[token] += amount;
        emit Escrow(spender, token, amount, true);
    }

    function cUnlock(address spender, address token, uint256 amount) external onlyCoordinator {
        if (amount > lockedBalance[token]) revert InsufficientFunds();
        lockedBalance[token] -= amount;
        allowance[spender][token] += amount;
        emit Escrow(spender, token, amount, false);
    }

    function _unlocked(address token) private view returns (uint256) {
        return TokenTransfer.balance(token) - lockedBalance[token];
    }

    function _send(address token, address to, uint256 amount) private {
        if (token == address(0)) return TokenTransfer.sendEther(to, amount);
        (bool done, bytes memory returned) = token.call(abi.encodeWithSignature("transfer(address,uint256)", to, amount));
        if (!done || (returned.length != 0 && !abi.decode(returned, (bool)))) revert TransferFailed();
    }
}

/// @title ReferenceWalletFactory
/// @notice A factory as section 9 of docs/spec/contracts.md describes it.
contract ReferenceWalletFactory {
    Registry private immutable REGISTRY;

    mapping(address => bool) public isValidWallet;

    event WalletCreated(address indexed caller, address indexed owner, address wallet);

    constructor(Registry registry) {
        REGISTRY = registry;
    }

    function createWallet(address initialOwner) external returns (address wallet) {
        wallet = address(new ReferenceWallet(REGISTRY, initialOwner));
        isValidWallet[wallet] = true;
        emit WalletCreated(msg.sender, initialOwner, wallet);
    }
}
