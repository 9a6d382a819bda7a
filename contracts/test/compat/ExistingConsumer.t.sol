// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.4;

// A consumer as it is written against the SDK elsewhere, importing everything by its public path and using every internal name.
import {Coordinator, Subscription} from "infernet/Coordinator.sol";
import {EIP712Coordinator} from "infernet/EIP712Coordinator.sol";
import {Inbox, InboxItem} from "infernet/Inbox.sol";
import {Registry} from "infernet/Registry.sol";
import {BaseConsumer} from "infernet/consumer/Base.sol";
import {CallbackConsumer} from "infernet/consumer/Callback.sol";
import {SubscriptionConsumer} from "infernet/consumer/Subscription.sol";
import {Allowlist} from "infernet/pattern/Allowlist.sol";
import {Delegator} from "infernet/pattern/Delegator.sol";
import {Fee} from "infernet/payments/Fee.sol";
import {IVerifier} from "infernet/payments/IVerifier.sol";
import {Wallet} from "infernet/payments/Wallet.sol";
import {WalletFactory} from "infernet/payments/WalletFactory.sol";
import {Coordinated} from "infernet/utility/Coordinated.sol";
import {Reader} from "infernet/utility/Reader.sol";
import {World} from "../lib/World.sol";
import {Log, vm} from "../lib/Vm.sol";

contract PriceFeed is SubscriptionConsumer, Allowlist, Delegator {
    mapping(uint32 => mapping(uint32 => int256)) public prices;

    constructor(address registry, address[] memory nodes, address signer)
        SubscriptionConsumer(registry)
        Allowlist(nodes)
        Delegator(signer)
    {}

    function start(uint32 frequency, uint32 period, bool lazy) external returns (uint32) {
        return _createComputeSubscription("price", frequency, period, 2, lazy, address(0), 0, address(0), address(0));
    }

    function stop(uint32 id) external {
        _cancelComputeSubscription(id);
    }

    function setNodes(address[] memory nodes, bool[] memory status) external {
        _updateAllowlist(nodes, status);
    }

    function setSigner(address signer) external {
        _updateSigner(signer);
    }

    function getContainerInputs(uint32 subscriptionId, uint32 interval, uint32 timestamp, address caller)
        external
        view
        override
        returns (bytes memory)
    {
        return abi.encode(subscriptionId, interval, timestamp, caller, address(this));
    }

    function _receiveCompute(
        uint32 subscriptionId,
        uint32 interval,
        uint16,
        address node,
        bytes calldata,
        bytes calldata output,
        bytes calldata,
        bytes32 containerId,
        uint256 index
    ) internal override onlyAllowedNode(node) {
        bytes memory result = containerId == 0 ? output : _stored(containerId, node, index);
        _keep(subscriptionId, interval, result);
    }

    function _stored(bytes32 containerId, address node, uint256 index) private view returns (bytes memory) {
        InboxItem memory item = INBOX.read(containerId, node, index);
        return item.output;
    }

    function _keep(uint32 id, uint32 interval, bytes memory result) private {
        prices[id][interval] = abi.decode(result, (int256));
    }
}

contract Oracle is CallbackConsumer {
    bytes public answer;

    constructor(address registry) CallbackConsumer(registry) {}

    function ask(bytes memory question) external returns (uint32) {
        uint32 id = _requestCompute("oracle", question, 1, address(0), 0, address(0), address(0));
        require(COORDINATOR.getSubscription(id).owner == address(this));
        require(keccak256(subscriptionInputs[id]) == keccak256(question));
        return id;
    }

    function _receiveCompute(
        uint32,
        uint32,
        uint16,
        address,
        bytes calldata,
        bytes calldata output,
        bytes calldata,
        bytes32,
        uint256
    ) internal override {
        answer = output;
    }
}

/// @notice Consumers written elsewhere compile against these contracts and work with them.
contract ExistingConsumerTest is World {
    PriceFeed private feed;

    function setUp() public {
        deployWorld();
        address[] memory nodes = new address[](1);
        nodes[0] = NODE;
        feed = new PriceFeed(address(registry), nodes, address(1));
    }

    function testAllowlistedFeed() public {
        uint32 eager = feed.start(3, 60, false);
        uint32 lazy = feed.start(3, 60, true);
        vm.warp(block.timestamp + 60);
        vm.prank(NODE);
        coordinator.deliverCompute(eager, 1, "", abi.encode(-5), "", address(0));
        vm.prank(NODE);
        coordinator.deliverCompute(lazy, 1, "", abi.encode(7), "", address(0));
        eq(uint256(feed.prices(eager, 1)), uint256(int256(-5)), "eager");
        eq(uint256(feed.prices(lazy, 1)), 7, "lazy");

        vm.expectRevert(Allowlist.NodeNotAllowed.selector);
        vm.prank(OTHER_NODE);
        coordinator.deliverCompute(eager, 1, "", abi.encode(9), "", address(0));
        address[] memory nodes = new address[](2);
        bool[] memory status = new bool[](2);
        (nodes[0], nodes[1], status[1]) = (NODE, OTHER_NODE, true);
        vm.recordLogs();
        feed.setNodes(nodes, status);
        feed.setSigner(address(1));
        Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < 2; i++) {
            eq(logs[i].topics[0], Allowlist.AllowlistUpdated.selector, "list");
            eq(logs[i].topics[1], bytes32(uint256(uint160(nodes[i]))), "node");
            eqBytes(logs[i].data, abi.encode(status[i]), "status");
        }
        eq(logs[2].topics[0], Delegator.SignerUpdated.selector, "signer");
        eq(logs[2].topics[2], bytes32(uint256(1)), "new signer");
        check(feed.isAllowedNode(OTHER_NODE) && !feed.isAllowedNode(NODE), "changed");
        vm.prank(OTHER_NODE);
        coordinator.deliverCompute(eager, 1, "", abi.encode(9), "", address(0));
        vm.expectRevert(boundsPanic());
        feed.setNodes(nodes, new bool[](1));

        feed.stop(eager);
        vm.expectRevert(Coordinator.SubscriptionNotActive.selector);
        vm.prank(NODE);
        coordinator.deliverCompute(eager, 1, "", "", "", address(0));
        eqBytes(feed.getContainerInputs(1, 2, 3, NODE), abi.encode(1, 2, 3, NODE, address(feed)), "inputs");
        feed.setSigner(address(2));
        eq(feed.getSigner(), address(2), "signer");
    }

    function testOracle() public {
        Oracle oracle = new Oracle(address(registry));
        uint32 id = oracle.ask("why?");
        deliver(id, NODE);
        eqBytes(oracle.answer(), "output", "answer");
        // What people's tests name.
        bytes4[6] memory names = [
            Coordinator.IntervalMismatch.selector,
            EIP712Coordinator.SignerMismatch.selector,
            Wallet.InsufficientFunds.selector,
            Wallet.InsufficientAllowance.selector,
            Coordinated.NotCoordinator.selector,
            BaseConsumer.NotCoordinator.selector
        ];
        eq(bytes32(names[4]), bytes32(names[5]), "one error of two names");
        check(address(new Fee(NODE, 1)) != address(new WalletFactory(registry)), "constructors as elsewhere");
        check(address(new Reader(registry)) != address(new Inbox(registry)), "constructors as elsewhere");
    }
}
