// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {CallbackConsumer} from "../consumer/Callback.sol";
import {Groth16Verifier} from "../verifiers/Groth16Verifier.sol";

/// @title ProvenIris
/// @notice Takes a classification only with a proof: what is delivered must be what the verifier saw proven, on the inputs asked about.
contract ProvenIris is CallbackConsumer {
    Groth16Verifier private immutable VERIFIER;

    mapping(uint32 => uint256) private _classPlusOne;

    /// @notice An iris was classified, provably.
    event Proven(uint32 indexed id, address indexed node, uint256 class);

    /// @notice What was delivered is not what was proven.
    error NotProven();

    /// @param registry registry of the deployment
    /// @param verifier verifier with the key of the iris circuit
    constructor(address registry, Groth16Verifier verifier) CallbackConsumer(registry) {
        VERIFIER = verifier;
    }

    /// @notice Asks about one flower (four measurements times a million); the wallet must have approved this contract.
    function classify(
        string calldata container,
        uint256[4] calldata measurements,
        address token,
        uint256 amount,
        address wallet
    ) external returns (uint32 id) {
        return _requestCompute(container, abi.encode(measurements), 1, token, amount, wallet, address(VERIFIER));
    }

    /// @notice The answer to a request, if there is one.
    function classOf(uint32 id) external view returns (bool known, uint256 class) {
        uint256 plusOne = _classPlusOne[id];
        if (plusOne != 0) return (true, plusOne - 1);
    }

    /// @dev Takes `abi.encode(uint256 class)`.
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
        _take(subscriptionId, interval, node, abi.decode(output, (uint256)));
    }

    /// @dev Compares with what was proven, and keeps.
    function _take(uint32 id, uint32 interval, address node, uint256 class) private {
        uint256[4] memory measurements = abi.decode(subscriptionInputs[id], (uint256[4]));
        uint256[] memory statement = new uint256[](5);
        for (uint256 i = 0; i < 4; i++) {
            statement[i] = measurements[i];
        }
        statement[4] = class;
        if (!VERIFIER.isProven(id, interval, node, statement)) revert NotProven();
        _classPlusOne[id] = class + 1;
        emit Proven(id, node, class);
    }
}
