// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {console} from "../utility/Console.sol";

/// @title Answer
/// @notice What the example consumers share: the two-part form of a container's output, and a banner for the chain's log.
library Answer {
    /// @dev Containers answer `abi.encode(bytes raw, bytes processed)`; the raw part is what the model gave.
    function raw(bytes memory output) internal pure returns (bytes memory part) {
        (part,) = abi.decode(output, (bytes, bytes));
    }

    /// @dev Prints who answered what.
    function banner(string memory title, uint32 subscriptionId, uint32 interval, uint16 redundancy, address node)
        internal
        view
    {
        console.log("=========================================");
        console.log(title);
        console.log("subscription", subscriptionId);
        console.log("interval", interval);
        console.log("redundancy", redundancy);
        console.log("node", node);
    }
}
