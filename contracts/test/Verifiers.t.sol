// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Coordinator} from "../src/Coordinator.sol";
import {IVerifier} from "../src/payments/IVerifier.sol";
import {Coordinated} from "../src/utility/Coordinated.sol";
import {Ownable} from "../src/utility/Ownable.sol";
import {ProvenIris} from "../src/examples/ProvenIris.sol";
import {Groth16} from "../src/verifiers/Groth16.sol";
import {Groth16Verifier} from "../src/verifiers/Groth16Verifier.sol";
import {HashVerifier} from "../src/verifiers/HashVerifier.sol";
import {OptimisticVerifier} from "../src/verifiers/OptimisticVerifier.sol";
import {World} from "./lib/World.sol";
import {vm} from "./lib/Vm.sol";

/// @notice The example verifiers, with real payments.
contract VerifiersTest is World {
    address private constant JUDGE = address(0x3D6E);
    address private constant CHALLENGER = address(0xC4A1);

    function setUp() public {
        deployWorld();
        vm.prank(FEE_RECIPIENT);
        fee.updateFee(0);
        fundConsumer(1 ether);
        fundNode(1 ether);
    }

    function support(address verifier) private {
        vm.prank(JUDGE);
        HashVerifier(payable(verifier)).setFee(address(0), true, 0.1 ether);
    }

    /// @dev What each side ends up with: 1 ether each before, a price of 1 ether and a fee of 0.1 ether.
    function settled(bool paid) private view {
        eq(address(nodeWallet).balance, paid ? 1.9 ether : 0, "node");
        eq(address(wallet).balance, paid ? 0 : 1.9 ether, "consumer");
        eq(JUDGE.balance, 0.1 ether, "verifier's owner");
    }

    function testOwnerAndCallers() public {
        HashVerifier verifier = new HashVerifier(registry, JUDGE);
        check(!verifier.isSupportedToken(address(0)), "nothing yet");
        vm.expectRevert(Ownable.Unauthorized.selector);
        verifier.setFee(address(0), true, 1);
        support(address(verifier));
        check(verifier.isSupportedToken(address(0)), "supported");
        eq(verifier.fee(address(0)), 0.1 ether, "fee");
        eq(verifier.getWallet(), JUDGE, "wallet");
        vm.expectRevert(Coordinated.NotCoordinator.selector);
        verifier.requestProofVerification(1, 1, NODE, "");
    }

    // A hash

    function testFuzzHash(bytes memory proof, bool honest) public {
        HashVerifier verifier = new HashVerifier(registry, JUDGE);
        support(address(verifier));
        uint32 id = callback(1, 1 ether, address(verifier));
        vm.expectRevert(HashVerifier.NotCommitted.selector);
        deliver(id, NODE);
        vm.expectRevert(HashVerifier.NotSubscriptionOwner.selector);
        verifier.commit(id, 1, keccak256(proof));
        bytes memory commit = abi.encodeCall(HashVerifier.commit, (id, 1, keccak256(proof)));
        consumer.execute(address(verifier), commit);
        vm.expectRevert(HashVerifier.CommittedAlready.selector);
        consumer.execute(address(verifier), commit);
        if (!honest) proof = abi.encodePacked(proof, hex"00");
        vm.prank(NODE);
        coordinator.deliverCompute(id, 1, "", "output", proof, address(nodeWallet));
        settled(honest);
    }

    // A challenge

    function optimistic() private returns (OptimisticVerifier verifier, uint32 id) {
        verifier = new OptimisticVerifier(registry, JUDGE, 0.5 ether);
        support(address(verifier));
        id = callback(1, 1 ether, address(verifier));
        deliver(id, NODE);
        vm.deal(CHALLENGER, 0.5 ether);
    }

    function testUnchallengedIsAccepted() public {
        (OptimisticVerifier verifier, uint32 id) = optimistic();
        vm.expectRevert(OptimisticVerifier.NoClaim.selector);
        verifier.accept(id, 1, OTHER_NODE);
        vm.warp(block.timestamp + 5 days - 1);
        vm.expectRevert(OptimisticVerifier.WrongTime.selector);
        verifier.accept(id, 1, NODE);
        vm.warp(block.timestamp + 1);
        vm.expectRevert(OptimisticVerifier.WrongTime.selector);
        vm.prank(CHALLENGER);
        verifier.challenge{value: 0.5 ether}(id, 1, NODE);
        verifier.accept(id, 1, NODE);
        settled(true);
    }

    function testChallengeAndRuling() public {
        for (uint256 i = 0; i < 2; i++) {
            uint256 snapshot = vm.snapshotState();
            bool valid = i == 0;
            (OptimisticVerifier verifier, uint32 id) = optimistic();
            vm.expectRevert(OptimisticVerifier.WrongBond.selector);
            verifier.challenge(id, 1, NODE);
            vm.prank(CHALLENGER);
            verifier.challenge{value: 0.5 ether}(id, 1, NODE);
            vm.expectRevert(OptimisticVerifier.ChallengedAlready.selector);
            verifier.challenge(id, 1, NODE);
            vm.warp(block.timestamp + 5 days);
            vm.expectRevert(OptimisticVerifier.ChallengedAlready.selector);
            verifier.accept(id, 1, NODE);
            vm.expectRevert(Ownable.Unauthorized.selector);
            verifier.rule(id, 1, NODE, valid);
            vm.prank(JUDGE);
            verifier.rule(id, 1, NODE, valid);
            settled(valid);
            eq(verifier.withdrawable(valid ? NODE : CHALLENGER), 0.5 ether, "bond");
            vm.prank(valid ? NODE : CHALLENGER);
            verifier.withdraw();
            eq((valid ? NODE : CHALLENGER).balance, 0.5 ether, "withdrawn");
            vm.prank(JUDGE);
            vm.expectRevert(OptimisticVerifier.NoClaim.selector);
            verifier.rule(id, 1, NODE, valid);
            vm.revertToState(snapshot);
        }
    }

    function testOnlyChallengesAreRuledOn() public {
        (OptimisticVerifier verifier, uint32 id) = optimistic();
        vm.prank(JUDGE);
        vm.expectRevert(OptimisticVerifier.NotChallenged.selector);
        verifier.rule(id, 1, NODE, false);
        vm.warp(block.timestamp + 1 weeks);
        vm.expectRevert(OptimisticVerifier.NotChallenged.selector);
        verifier.reclaim(id, 1, NODE);
        vm.prank(OTHER_NODE);
        verifier.withdraw();
        eq(OTHER_NODE.balance, 0, "nothing of nothing");
    }

    function testSilentJudgeCostsNobodyABond() public {
        (OptimisticVerifier verifier, uint32 id) = optimistic();
        vm.prank(CHALLENGER);
        verifier.challenge{value: 0.5 ether}(id, 1, NODE);
        vm.warp(block.timestamp + 1 weeks - 1);
        vm.expectRevert(OptimisticVerifier.WrongTime.selector);
        verifier.reclaim(id, 1, NODE);
        vm.warp(block.timestamp + 1);
        vm.prank(JUDGE);
        vm.expectRevert(OptimisticVerifier.WrongTime.selector);
        verifier.rule(id, 1, NODE, false);
        verifier.reclaim(id, 1, NODE);
        eq(verifier.withdrawable(CHALLENGER), 0.5 ether, "bond");
        coordinator.finalizeProofVerification(id, 1, NODE, false);
        settled(true);
    }

    // A succinct proof

    /// @dev The iris classifier's key, one proof of it (subscription 1, interval 1, this node; a virginica), and its public inputs.
    function proven() private view returns (bytes memory key, bytes memory proof) {
        string memory vectors = vm.readFile(string.concat(vm.projectRoot(), "/test/vectors/iris-groth16.json"));
        key = vm.parseJsonBytes(vectors, ".key");
        proof = vm.parseJsonBytes(vectors, ".proof");
        for (uint256 i = 0; i < 6; i++) {
            proof = abi.encodePacked(proof, vm.parseJsonBytes(vectors, string.concat(".inputs[", vm.toString(i), "]")));
        }
    }

    function groth16() private returns (Groth16Verifier verifier, bytes memory proof) {
        bytes memory key;
        (key, proof) = proven();
        verifier = new Groth16Verifier(registry, JUDGE, key);
        support(address(verifier));
        eq(verifier.INPUTS(), 6, "inputs");
    }

    function testProvenClassification() public {
        (Groth16Verifier verifier, bytes memory proof) = groth16();
        ProvenIris iris = new ProvenIris(address(registry), verifier);
        vm.prank(WALLET_OWNER);
        wallet.approve(address(iris), address(0), 1 ether);
        uint256[4] memory flower = [uint256(6_700_000), 3_300_000, 5_700_000, 2_500_000];
        uint32 id = iris.classify("iris", flower, address(0), 1 ether, address(wallet));
        eq(id, 1, "the proof is of subscription 1");

        vm.prank(NODE);
        vm.expectRevert(ProvenIris.NotProven.selector);
        coordinator.deliverCompute(id, 1, "", abi.encode(1), proof, address(nodeWallet));
        vm.prank(NODE);
        coordinator.deliverCompute(id, 1, "", abi.encode(2), proof, address(nodeWallet));
        (bool known, uint256 class) = iris.classOf(id);
        check(known && class == 2, "virginica");
        settled(true);
    }

    /// @dev The same proof with any one byte changed proves nothing, nor does it for anybody else.
    function testMutatedProofsFail() public {
        (Groth16Verifier verifier, bytes memory proof) = groth16();
        check(verifier.verify(1, 1, NODE, proof), "valid");
        check(!verifier.verify(2, 1, NODE, proof), "another subscription");
        check(!verifier.verify(1, 2, NODE, proof), "another interval");
        check(!verifier.verify(1, 1, OTHER_NODE, proof), "another node");
        check(!verifier.verify(1, 1, NODE, ""), "empty");
        check(!verifier.verify(1, 1, NODE, abi.encodePacked(proof, hex"00")), "longer");
        for (uint256 i = 0; i < proof.length; i += 13) {
            proof[i] ^= 0x01;
            check(!verifier.verify(1, 1, NODE, proof), "mutated");
            proof[i] ^= 0x01;
        }
        check(verifier.verify(1, 1, NODE, proof), "valid again");
    }

    /// @dev An input plus the group order is the same number in the circuit; taking it would let one proof state two things.
    function testInputsAreCanonical() public {
        (Groth16Verifier verifier, bytes memory proof) = groth16();
        uint256 order = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
        assembly ("memory-safe") {
            let at := add(add(proof, 0x20), 256)
            mstore(at, add(mload(at), order))
        }
        check(!verifier.verify(1, 1, NODE, proof), "too large");
    }

    function testInvalidProofSlashes() public {
        (Groth16Verifier verifier, bytes memory proof) = groth16();
        proof[0] ^= 0x01; // off the curve: the precompile burns the gas that it is given
        uint32 id = callback(1, 1 ether, address(verifier));
        vm.prank(NODE);
        coordinator.deliverCompute{gas: 1_500_000}(id, 1, "", "", proof, address(nodeWallet));
        settled(false);
        eq(verifier.statements(nodeKey(id, 1, NODE)), 0, "nothing proven");
    }

    /// @dev A valid proof never fails for want of gas: with too little the delivery reverts, instead of slashing the node.
    function testFuzzLittleGasIsNoVerdict(uint256 gasLimit) public {
        (Groth16Verifier verifier, bytes memory proof) = groth16();
        gasLimit = bound(gasLimit, 30_000, 800_000);
        try verifier.verify{gas: gasLimit}(1, 1, NODE, proof) returns (bool valid) {
            check(valid, "valid");
        } catch {}
    }

    function testTooLittleGasIsNamed() public {
        (Groth16Verifier verifier, bytes memory proof) = groth16();
        vm.expectRevert(Groth16.TooLittleGas.selector);
        verifier.verify{gas: 200_000}(1, 1, NODE, proof);
    }

    function testKeysAreCheckedForLength() public {
        (bytes memory key,) = proven();
        bytes memory longer = abi.encodePacked(key, hex"00");
        vm.expectRevert(Groth16Verifier.InvalidKey.selector);
        new Groth16Verifier(registry, JUDGE, longer);
        // One point more than fits into a contract's code, and as many as make the length wrap in 16 bits.
        vm.expectRevert(Groth16Verifier.InvalidKey.selector);
        new Groth16Verifier(registry, JUDGE, new bytes(448 + 64 * 377));
        vm.expectRevert(Groth16Verifier.InvalidKey.selector);
        new Groth16Verifier(registry, JUDGE, new bytes(448 + 64 * (2 + 1024)));
        vm.expectRevert(arithmeticPanic());
        new Groth16Verifier(registry, JUDGE, "");
    }
}
