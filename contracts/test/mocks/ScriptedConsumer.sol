// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Registry} from "../../src/Registry.sol";
import {CallbackConsumer} from "../../src/consumer/Callback.sol";
import {Delegator} from "../../src/pattern/Delegator.sol";

/// @title ScriptedConsumer
/// @notice A consumer for tests: says what it received, then does what it was told to do. It takes no plain coin.
contract ScriptedConsumer is CallbackConsumer, Delegator {
    /// @notice What follows a received answer.
    enum Script {
        Accept,
        Revert,
        Call,
        Try
    }

    Script private _script;
    address private _target;
    bytes private _data;

    /// @notice An answer came.
    event Received(
        uint32 subscriptionId,
        uint32 interval,
        uint16 redundancy,
        address node,
        bytes input,
        bytes output,
        bytes proof,
        bytes32 containerId,
        uint256 index
    );

    /// @notice The script's call was made, and ended so.
    event Tried(bool succeeded, bytes returned);

    /// @param registry registry of the deployment
    /// @param signer first signer of delegated subscriptions
    constructor(address registry, address signer) CallbackConsumer(registry) Delegator(signer) {}

    /// @notice Changes the signer.
    function setSigner(address signer) external {
        _updateSigner(signer);
    }

    /// @notice Sets what follows a received answer: nothing; a revert with `data`; a call of `target` with `data` whose revert is
    /// handed on; or the same call whose end is told in an event.
    function setScript(Script script, address target, bytes calldata data) external {
        _script = script;
        _target = target;
        _data = data;
    }

    /// @dev Names no parameter: they are told as they stand in the calldata.
    function _receiveCompute(uint32, uint32, uint16, address, bytes calldata, bytes calldata, bytes calldata, bytes32, uint256)
        internal
        override
    {
        _say(msg.data[4:]);
        if (_script == Script.Accept) return;
        bytes memory data = _data;
        if (_script == Script.Revert) _revertWith(data);
        (bool succeeded, bytes memory returned) = _target.call(data);
        if (_script == Script.Call && !succeeded) _revertWith(returned);
        emit Tried(succeeded, returned);
    }

    /// @dev The event has the same fields as the call, so its data is the call's arguments.
    function _say(bytes calldata arguments) private {
        bytes memory data = arguments;
        bytes32 topic = Received.selector;
        assembly ("memory-safe") {
            log1(add(data, 0x20), mload(data), topic)
        }
    }

    function _revertWith(bytes memory data) private pure {
        assembly ("memory-safe") {
            revert(add(data, 0x20), mload(data))
        }
    }
}
