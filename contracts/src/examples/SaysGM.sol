// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {CallbackConsumer} from "../consumer/Callback.sol";
import {console} from "../utility/Console.sol";
import {Answer} from "./Answer.sol";

/// @title SaysGM
/// @notice Greets the hello-world container and prints what comes back; free, or paid from a wallet that approved this contract.
contract SaysGM is CallbackConsumer {
    /// @dev The container of the tutorial.
    string private constant CONTAINER = "hello-world";

    /// @notice The last answer, as text.
    string public lastGreeting;

    /// @notice Somebody greeted back.
    event Greeted(uint32 indexed id, address indexed node, string greeting);

    /// @param registry registry of the deployment
    constructor(address registry) CallbackConsumer(registry) {}

    /// @notice Greets for free.
    function sayGM() external returns (uint32 id) {
        return _requestCompute(CONTAINER, bytes("Good morning!"), 1, address(0), 0, address(0), address(0));
    }

    /// @notice Greets and pays.
    /// @param amount payment in the chain's own coin
    /// @param wallet wallet that pays
    function sayGM(uint256 amount, address wallet) external returns (uint32 id) {
        return _requestCompute(CONTAINER, bytes("Good morning!"), 1, address(0), amount, wallet, address(0));
    }

    /// @dev Prints, keeps and announces the greeting.
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
        Answer.banner("hello, world", subscriptionId, interval, redundancy, node);
        _keep(subscriptionId, node, abi.decode(Answer.raw(output), (string)));
    }

    /// @dev Keeps one greeting.
    function _keep(uint32 id, address node, string memory greeting) private {
        console.log("output", greeting);
        lastGreeting = greeting;
        emit Greeted(id, node, greeting);
    }
}
