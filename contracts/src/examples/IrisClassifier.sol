// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {CallbackConsumer} from "../consumer/Callback.sol";
import {console} from "../utility/Console.sol";
import {Answer} from "./Answer.sol";

/// @title IrisClassifier
/// @notice Has an iris classified by the container `onnx-iris` or `torch-iris`; numbers are scaled by a million.
contract IrisClassifier is CallbackConsumer {
    /// @notice Name of the container.
    string public container;

    /// @notice The last probabilities of setosa, versicolor and virginica, times a million.
    uint256[] public lastProbabilities;

    /// @notice An iris was classified.
    event Classified(uint32 indexed id, address indexed node, uint256[] probabilities);

    /// @param registry registry of the deployment
    /// @param container_ name of the container
    constructor(address registry, string memory container_) CallbackConsumer(registry) {
        container = container_;
    }

    /// @notice Asks about one flower: its standardised measurements 1.038004, 0.558610, 1.103782 and 1.712096.
    function classifyIris() external returns (uint32 id) {
        uint256[4] memory measurements = [uint256(1_038_004), 558_610, 1_103_782, 1_712_096];
        return _requestCompute(container, abi.encode(measurements), 1, address(0), 0, address(0), address(0));
    }

    /// @dev Prints, keeps and announces the probabilities.
    function _receiveCompute(
        uint32 subscriptionId,
        uint32 interval,
        uint16 redundancy,
        address node,
        bytes calldata,
        bytes calldata output,
        bytes calldata,
        bytes32,
        uint256
    ) internal override {
        Answer.banner("predictions (times a million)", subscriptionId, interval, redundancy, node);
        _keep(subscriptionId, node, abi.decode(Answer.raw(output), (uint256[])));
    }

    /// @dev Keeps one classification.
    function _keep(uint32 id, address node, uint256[] memory probabilities) private {
        console.log("setosa", probabilities[0]);
        console.log("versicolor", probabilities[1]);
        console.log("virginica", probabilities[2]);
        lastProbabilities = probabilities;
        emit Classified(id, node, probabilities);
    }
}
