// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Registry} from "../../src/Registry.sol";
import {Coordinated} from "../../src/utility/Coordinated.sol";
import {Ownable} from "../../src/utility/Ownable.sol";

/// @title OpenWallet
/// @notice A wallet with the holes that are known of older deployments, to show that the attacks in these tests are real: payments
/// ignore what is locked, unlocking can be made to overflow, and a token without code counts as paid.
contract OpenWallet is Ownable, Coordinated {
    mapping(address => mapping(address => uint256)) public allowance;
    mapping(address => uint256) private _locked;

    constructor(Registry registry) Coordinated(registry) {}

    receive() external payable {}

    function approve(address spender, address token, uint256 amount) external onlyOwner {
        allowance[spender][token] = amount;
    }

    function cTransfer(address spender, address token, address to, uint256 amount) external onlyCoordinator {
        _pay(spender, token, to, amount);
    }

    function cTransferTwice(address spender, address token, address to, uint256 amount, address secondTo, uint256 secondAmount)
        external
        onlyCoordinator
    {
        _pay(spender, token, to, amount);
        _pay(spender, token, secondTo, secondAmount);
    }

    function cLock(address spender, address token, uint256 amount) external onlyCoordinator {
        allowance[spender][token] -= amount;
        _locked[token] += amount;
    }

    function cUnlock(address spender, address token, uint256 amount) external onlyCoordinator {
        _locked[token] -= amount;
        allowance[spender][token] += amount;
    }

    function cRelease(address spender, address token, address to, uint256 amount) external onlyCoordinator {
        _locked[token] -= amount;
        allowance[spender][token] += amount;
        _pay(spender, token, to, amount);
    }

    function _pay(address spender, address token, address to, uint256 amount) private {
        allowance[spender][token] -= amount;
        bool ok;
        if (token == address(0)) (ok,) = to.call{value: amount}("");
        else (ok,) = token.call(abi.encodeWithSignature("transfer(address,uint256)", to, amount));
        require(ok, "not sent");
    }
}
