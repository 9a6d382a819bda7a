// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Test} from "./lib/Test.sol";
import {vm} from "./lib/Vm.sol";
import {Deployment, LibDeploy} from "../script/Deploy.s.sol";
import {IrisConsumer} from "../src/examples/IrisConsumer.sol";
import {Wallet} from "../src/payments/Wallet.sol";

/// @notice The consumer of the development chain, from request to paid answer.
contract IrisTest is Test {
    Deployment internal d;
    IrisConsumer internal consumer;

    function setUp() public {
        d = LibDeploy.deploy(address(this), vm.getNonce(address(this)), address(0xFEE), 500);
        consumer = new IrisConsumer(address(d.registry));
    }

    function answer(uint8 dtype, uint256 count) private returns (bool ok, bytes memory reason) {
        uint32 id = consumer.requestClassification("onnx", "", address(0), 0, address(0));
        bytes memory raw = abi.encode(uint8(0), uint8(18), dtype, new uint16[](2), new int32[](count));
        bytes memory output = abi.encode(raw, bytes(""));
        return address(d.coordinator).call(abi.encodeCall(d.coordinator.deliverCompute, (id, 1, "", output, "", address(0))));
    }

    /// @dev What is no vector of floats is refused, so that another node can answer.
    function testUnexpectedOutputIsRefused() public {
        uint256[2][3] memory wrong = [[uint256(2), 3], [uint256(1), 0], [uint256(1), 256]];
        for (uint256 i = 0; i < wrong.length; i++) {
            (bool ok, bytes memory reason) = answer(uint8(wrong[i][0]), wrong[i][1]);
            check(!ok, "refused");
            eqBytes(reason, abi.encodePacked(IrisConsumer.UnexpectedOutput.selector), "by name");
        }
        (bool longest,) = answer(1, 255);
        check(longest, "255 values");
    }

    function testPaidClassification() public {
        address node = address(0xA0DE);
        Wallet consumerWallet = Wallet(payable(d.walletFactory.createWallet(address(this))));
        Wallet nodeWallet = Wallet(payable(d.walletFactory.createWallet(node)));
        vm.deal(address(consumerWallet), 2 ether);
        consumerWallet.approve(address(consumer), address(0), 1 ether);
        uint32 id = consumer.requestClassification("onnx", hex"1234", address(0), 1 ether, address(consumerWallet));
        eqBytes(consumer.getContainerInputs(id, 1, 0, node), hex"1234", "inputs");

        int32[] memory values = new int32[](3);
        (values[0], values[1], values[2]) = (0x3a851d0f, 0x3c6bc830, 0x3f7c0e5b);
        uint16[] memory shape = new uint16[](2);
        (shape[0], shape[1]) = (1, 3);
        bytes memory raw = abi.encode(uint8(0), uint8(18), uint8(1), shape, values);
        vm.prank(node);
        d.coordinator.deliverCompute(id, 1, "", abi.encode(raw, bytes("")), "", address(nodeWallet));

        (bool known, uint8 class, address by, uint32 interval, int32[] memory kept) = consumer.answers(id);
        check(known, "known");
        eq(class, 2, "class");
        eq(by, node, "node");
        eq(interval, 1, "interval");
        eq(kept.length, 3, "values");
        eq(address(consumerWallet).balance, 1 ether, "consumer's wallet");
        eq(address(nodeWallet).balance, 0.9 ether, "node's wallet");
        eq(address(0xFEE).balance, 0.1 ether, "fees");
    }
}
