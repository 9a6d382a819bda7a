// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Registry} from "./Registry.sol";
import {Coordinated} from "./utility/Coordinated.sol";
import {InboxStore} from "./utility/InboxStore.sol";

/// @notice One stored result. Subscription and interval 0: written directly, not through the coordinator.
struct InboxItem {
    uint32 timestamp;
    uint32 subscriptionId;
    uint32 interval;
    bytes input;
    bytes output;
    bytes proof;
}

/// @title Inbox
/// @notice Results of lazy subscriptions, and whatever a node cares to publish: append-only per container and node.
/// @dev Anyone can write under any container in his own name: readers must check node, subscription and interval.
contract Inbox is Coordinated {
    /// @dev Items per container and node, as `InboxStore` writes them.
    mapping(bytes32 => mapping(address => uint256[])) private _items;

    /// @notice An item was stored.
    event NewInboxItem(bytes32 indexed containerId, address indexed node, uint256 index);

    /// @param registry registry of the deployment
    constructor(Registry registry) Coordinated(registry) {}

    /// @notice Stores an item in the caller's name.
    /// @param containerId hash of the container
    /// @return index of the item among the caller's items of this container
    function write(bytes32 containerId, bytes calldata input, bytes calldata output, bytes calldata proof)
        external
        returns (uint256 index)
    {
        return _write(containerId, msg.sender, 0, input, output, proof);
    }

    /// @notice Stores a delivery; only the coordinator.
    /// @return index of the item among the node's items of this container
    function writeViaCoordinator(
        bytes32 containerId,
        address node,
        uint32 subscriptionId,
        uint32 interval,
        bytes calldata input,
        bytes calldata output,
        bytes calldata proof
    ) external onlyCoordinator returns (uint256 index) {
        uint256 origin = (uint256(subscriptionId) << 32) | (uint256(interval) << 64);
        return _write(containerId, node, origin, input, output, proof);
    }

    /// @notice One item; panics (0x32) if there is none of that index.
    function read(bytes32 containerId, address node, uint256 index) public view returns (InboxItem memory item) {
        uint256 header = _items[containerId][node][index];
        item.timestamp = uint32(header);
        item.subscriptionId = uint32(header >> 32);
        item.interval = uint32(header >> 64);
        (item.input, item.output, item.proof) = InboxStore.load(_slot(containerId, node, index), header);
    }

    /// @notice One item, field by field; reverts if there is none of that index.
    function items(bytes32 containerId, address node, uint256 index)
        external
        view
        returns (
            uint32 timestamp,
            uint32 subscriptionId,
            uint32 interval,
            bytes memory input,
            bytes memory output,
            bytes memory proof
        )
    {
        if (index >= _items[containerId][node].length) revert();
        InboxItem memory item = read(containerId, node, index);
        return (item.timestamp, item.subscriptionId, item.interval, item.input, item.output, item.proof);
    }

    /// @notice How many items `node` stored for `containerId`.
    function length(bytes32 containerId, address node) external view returns (uint256) {
        return _items[containerId][node].length;
    }

    /// @notice The items with index `start` up to, but without, `end`; fewer if there are fewer.
    function readBatch(bytes32 containerId, address node, uint256 start, uint256 end)
        external
        view
        returns (InboxItem[] memory batch)
    {
        uint256 count = _items[containerId][node].length;
        if (end > count) end = count;
        if (start > end) start = end;
        batch = new InboxItem[](end - start);
        for (uint256 i = 0; i < batch.length; i++) {
            batch[i] = read(containerId, node, start + i);
        }
    }

    /// @dev Appends an item. `origin`: subscription and interval at their places in the header.
    function _write(
        bytes32 containerId,
        address node,
        uint256 origin,
        bytes calldata input,
        bytes calldata output,
        bytes calldata proof
    ) private returns (uint256 index) {
        uint256[] storage list = _items[containerId][node];
        index = list.length;
        uint256 header = InboxStore.save(_slot(containerId, node, index), input, output, proof);
        list.push(header | origin | uint32(block.timestamp));
        emit NewInboxItem(containerId, node, index);
    }

    /// @dev Where the bytes of an item start, if they are kept in storage words.
    function _slot(bytes32 containerId, address node, uint256 index) private pure returns (uint256) {
        return uint256(keccak256(abi.encode("infernet.inbox", containerId, node, index)));
    }
}
