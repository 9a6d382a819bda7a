// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {CallbackConsumer} from "../consumer/Callback.sol";
import {console} from "../utility/Console.sol";
import {Answer} from "./Answer.sol";

/// @title PromptConsumer
/// @notice Sends a text to a language model and keeps the text that comes back.
abstract contract PromptConsumer is CallbackConsumer {
    /// @notice The last answer.
    string public lastAnswer;

    /// @notice A prompt was answered.
    event Answered(uint32 indexed id, address indexed node, string answer);

    /// @param registry registry of the deployment
    constructor(address registry) CallbackConsumer(registry) {}

    /// @dev Asks one node, for free.
    function _prompt(string memory container, string memory text) internal returns (uint32 id) {
        return _requestCompute(container, abi.encode(text), 1, address(0), 0, address(0), address(0));
    }

    /// @dev Prints, keeps and announces the answer.
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
        Answer.banner("answer of a language model", subscriptionId, interval, redundancy, node);
        _keep(subscriptionId, node, abi.decode(Answer.raw(output), (string)));
    }

    /// @dev Keeps one answer.
    function _keep(uint32 id, address node, string memory answer) private {
        console.log("output", answer);
        lastAnswer = answer;
        emit Answered(id, node, answer);
    }
}

/// @title PromptsGPT
/// @notice Asks the container `gpt4`.
contract PromptsGPT is PromptConsumer {
    /// @param registry registry of the deployment
    constructor(address registry) PromptConsumer(registry) {}

    /// @notice Asks a question.
    function promptGPT(string calldata prompt) external returns (uint32 id) {
        return _prompt("gpt4", prompt);
    }
}

/// @title Prompter
/// @notice Asks the container `tgi-llm`.
contract Prompter is PromptConsumer {
    /// @param registry registry of the deployment
    constructor(address registry) PromptConsumer(registry) {}

    /// @notice Asks a question.
    function promptLLM(string calldata prompt) external returns (uint32 id) {
        return _prompt("tgi-llm", prompt);
    }
}
