// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {CallbackConsumer} from "../consumer/Callback.sol";
import {console} from "../utility/Console.sol";

/// @title IrisConsumer
/// @notice Has a flower's measurements classified by a node and keeps the answer.
/// @dev The node's output is `abi.encode(bytes rawOutput, bytes processedOutput)`; the raw output is a vector of three probabilities,
/// `abi.encode(uint8 arithmetic, uint8 scale, uint8 dtype, uint16[] shape, int32[] values)`, float32 bits in the values.
contract IrisConsumer is CallbackConsumer {
    /// @dev Number of the type float32 in a vector.
    uint8 private constant FLOAT32 = 1;

    /// @notice One answer.
    struct Answer {
        bool known;
        uint8 class;
        address node;
        uint32 interval;
        int32[] values;
    }

    mapping(uint32 => Answer) private _answers;

    /// @notice A flower was classified.
    event Classified(uint32 indexed id, uint8 class, address node);

    /// @notice The output is no vector of float32 values.
    error UnexpectedOutput();

    /// @param registry registry of the deployment
    constructor(address registry) CallbackConsumer(registry) {}

    /// @notice Asks one node for a classification.
    /// @param containerId name of the container
    /// @param inputs what the container computes on: abi.encode(bytes modelId, bytes vector)
    /// @param paymentToken token of the payment; zero: the chain's own coin
    /// @param paymentAmount payment; 0: free
    /// @param wallet wallet that pays; this contract must be an approved spender of it
    /// @return id of the request
    function requestClassification(
        string calldata containerId,
        bytes calldata inputs,
        address paymentToken,
        uint256 paymentAmount,
        address wallet
    ) external returns (uint32 id) {
        return _requestCompute(containerId, inputs, 1, paymentToken, paymentAmount, wallet, address(0));
    }

    /// @notice The answer to a request.
    /// @return known whether there is one
    /// @return class index of the largest probability
    /// @return node account that answered
    /// @return interval interval that was answered
    /// @return values the probabilities as float32 bits
    function answers(uint32 id)
        external
        view
        returns (bool known, uint8 class, address node, uint32 interval, int32[] memory values)
    {
        Answer storage answer = _answers[id];
        return (answer.known, answer.class, answer.node, answer.interval, answer.values);
    }

    /// @dev Takes the answer.
    function _receiveCompute(
        uint32 subscriptionId,
        uint32 interval,
        uint16,
        address node,
        bytes calldata,
        bytes calldata output,
        bytes calldata,
        bytes32,
        uint256
    ) internal override {
        _keep(subscriptionId, interval, node, _decode(output));
    }

    /// @dev Stores, announces and prints one answer.
    function _keep(uint32 id, uint32 interval, address node, int32[] memory values) private {
        uint8 class = _largest(values);
        _answers[id] = Answer(true, class, node, interval, values);
        emit Classified(id, class, node);
        console.log("iris: class", class);
    }

    /// @dev The values of the vector in a node's output.
    function _decode(bytes calldata output) private pure returns (int32[] memory values) {
        (bytes memory raw,) = abi.decode(output, (bytes, bytes));
        uint8 dtype;
        (,, dtype,, values) = abi.decode(raw, (uint8, uint8, uint8, uint16[], int32[]));
        if (dtype != FLOAT32 || values.length == 0 || values.length > type(uint8).max) revert UnexpectedOutput();
    }

    /// @dev Index of the largest value. Floats that are not negative have the order of their bits; negative ones come below.
    function _largest(int32[] memory values) private pure returns (uint8 index) {
        for (uint256 i = 1; i < values.length; i++) {
            if (values[i] > values[index]) index = uint8(i);
        }
    }
}
