// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {CallbackConsumer} from "../../src/consumer/Callback.sol";
import {Coordinator, Subscription} from "../../src/Coordinator.sol";
import {Registry} from "../../src/Registry.sol";
import {Delegator} from "../../src/pattern/Delegator.sol";

/// @title Recorder
/// @notice A consumer that keeps a digest of what it received, and that can be told to misbehave while it receives.
contract Recorder is CallbackConsumer, Delegator {
    /// @notice keccak256(abi.encode(...)) of all nine arguments of the last delivery.
    bytes32 public last;

    /// @notice How many deliveries came.
    uint256 public received;

    /// @notice What the calls made while receiving reverted with, if they did.
    bytes public innerRevert;

    address private _target;
    bytes private _data;
    bool private _eatGas;
    bytes private _revertData;

    constructor(Registry registry, address signer) CallbackConsumer(address(registry)) Delegator(signer) {}

    /// @notice While receiving, call `target` with `data` and keep what it reverts with.
    function onReceiveCall(address target, bytes calldata data) external {
        (_target, _data) = (target, data);
    }

    /// @notice While receiving, use up all gas.
    function onReceiveEatGas() external {
        _eatGas = true;
    }

    /// @notice While receiving, revert with `data`.
    function onReceiveRevert(bytes calldata data) external {
        _revertData = data;
    }

    /// @notice Calls anything in this contract's name.
    function execute(address target, bytes calldata data) external returns (bytes memory result) {
        bool ok;
        (ok, result) = target.call(data);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(result, 0x20), mload(result))
            }
        }
    }

    function updateSigner(address signer) external {
        _updateSigner(signer);
    }

    function request(
        string calldata container,
        bytes calldata inputs,
        uint16 redundancy,
        address token,
        uint256 amount,
        address wallet,
        address verifier
    ) external returns (uint32) {
        return _requestCompute(container, inputs, redundancy, token, amount, wallet, verifier);
    }

    /// @notice Creates `sub` (owner, activeAt and containerId are ignored).
    function create(string calldata container, Subscription memory sub) external returns (uint32) {
        return COORDINATOR.createSubscription(
            container,
            sub.frequency,
            sub.period,
            sub.redundancy,
            sub.lazy,
            sub.paymentToken,
            sub.paymentAmount,
            sub.wallet,
            sub.verifier
        );
    }

    function cancel(uint32 id) external {
        COORDINATOR.cancelSubscription(id);
    }

    function fund(uint32 id) external {
        COORDINATOR.fundSubscription(id);
    }

    function _receiveCompute(
        uint32 id,
        uint32 interval,
        uint16 redundancy,
        address node,
        bytes calldata input,
        bytes calldata output,
        bytes calldata proof,
        bytes32 containerId,
        uint256 index
    ) internal override {
        bytes memory strings = abi.encode(input, output, proof);
        last = digest(id, interval, redundancy, node, strings, containerId, index);
        received++;
        _misbehave();
    }

    /// @notice The digest that `last` shows; `strings`: abi.encode of input, output and proof.
    function digest(
        uint32 id,
        uint32 interval,
        uint16 redundancy,
        address node,
        bytes memory strings,
        bytes32 containerId,
        uint256 index
    ) public pure returns (bytes32) {
        return keccak256(abi.encode(id, interval, redundancy, node, strings, containerId, index));
    }

    function _misbehave() private {
        if (_target != address(0)) {
            (bool ok, bytes memory result) = _target.call(_data);
            if (!ok) innerRevert = result;
        }
        if (_eatGas) {
            uint256 i;
            while (true) i++;
        }
        if (_revertData.length != 0) {
            bytes memory data = _revertData;
            assembly ("memory-safe") {
                revert(add(data, 0x20), mload(data))
            }
        }
    }
}
