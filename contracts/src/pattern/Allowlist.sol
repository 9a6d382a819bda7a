// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

/// @title Allowlist
/// @notice Lets a consumer take results from chosen nodes only. Put `onlyAllowedNode(node)` on `_receiveCompute`: a delivery by
/// anyone else then reverts as a whole.
abstract contract Allowlist {
    /// @dev Which nodes may deliver.
    mapping(address => bool) private _allowed;

    /// @notice A node was put on the list or taken off.
    event AllowlistUpdated(address indexed node, bool allowed);

    /// @notice The node is not on the consumer's list.
    error NodeNotAllowed();

    /// @dev Refuses results of a node that is not on the list.
    modifier onlyAllowedNode(address node) {
        if (!_allowed[node]) revert NodeNotAllowed();
        _;
    }

    /// @param initialAllowed nodes to start with
    constructor(address[] memory initialAllowed) {
        for (uint256 i = 0; i < initialAllowed.length; i++) {
            _setAllowed(initialAllowed[i], true);
        }
    }

    /// @notice Whether `node` may deliver.
    function isAllowedNode(address node) external view returns (bool) {
        return _allowed[node];
    }

    /// @dev Sets each of `nodes` to its entry in `status`; panics (0x32) if `status` is shorter, ignores what is longer.
    function _updateAllowlist(address[] memory nodes, bool[] memory status) internal {
        for (uint256 i = 0; i < nodes.length; i++) {
            _setAllowed(nodes[i], status[i]);
        }
    }

    /// @dev Sets one node and says so.
    function _setAllowed(address node, bool allowed) private {
        _allowed[node] = allowed;
        emit AllowlistUpdated(node, allowed);
    }
}
