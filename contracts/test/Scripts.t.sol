// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Deployment, LibDeploy} from "../script/Deploy.s.sol";
import {DeployDeterministic, Deployer} from "../script/Deterministic.s.sol";
import {CallTutorial, DeployTutorial} from "../script/Tutorials.s.sol";
import {Registry} from "../src/Registry.sol";
import {DiffusionNFT} from "../src/examples/DiffusionNFT.sol";
import {ERC721} from "../src/examples/ERC721.sol";
import {IrisClassifier} from "../src/examples/IrisClassifier.sol";
import {PromptConsumer} from "../src/examples/PromptConsumer.sol";
import {SaysGM} from "../src/examples/SaysGM.sol";
import {World} from "./lib/World.sol";
import {vm} from "./lib/Vm.sol";

/// @notice The deployment scripts and, tutorial by tutorial, what a user sees in the end.
contract ScriptsTest is World {
    /// @dev The deployer of the development chain.
    address private constant ACCOUNT_2 = 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC;

    DeployTutorial private deploying = new DeployTutorial();
    CallTutorial private calling = new CallTutorial();

    function setUp() public {
        deployWorld();
    }

    /// @dev The addresses that configurations expect follow from the order of deployment.
    function testDevnetAddresses() public {
        address[6] memory expected = [
            0x663F3ad617193148711d28f5334eE4Ed07016602,
            0x2E983A1Ba5e8b38AAAeC4B440B9dDcFBf72E15d1,
            0x8438Ad1C834623CfF278AB6829a248E37C2D7E3f,
            0xBC9129Dc0487fc2E169941C75aABC539f208fb01,
            0x6e989C01a3e3A94C973A62280a72EC335598490e,
            0xF6168876932289D073567f347121A267095f3DD6
        ];
        vm.startPrank(ACCOUNT_2);
        Deployment memory d = LibDeploy.deploy(ACCOUNT_2, vm.getNonce(ACCOUNT_2), ACCOUNT_2, 500);
        address firstWallet = d.walletFactory.createWallet(NODE);
        vm.setNonceUnsafe(ACCOUNT_2, 7); // a call made with prank does not count
        address firstConsumer = address(new SaysGM(address(d.registry)));
        vm.stopPrank();
        eq(address(d.registry), expected[0], "registry");
        eq(address(d.coordinator), expected[1], "coordinator");
        eq(address(d.inbox), expected[2], "inbox");
        eq(address(d.reader), expected[3], "reader");
        eq(address(d.fee), expected[4], "fee");
        eq(address(d.walletFactory), expected[5], "wallet factory");
        eq(firstWallet, 0x60985ee8192B322c3CAbA97A9A9f7298bdc4335C, "first wallet");
        eq(firstConsumer, 0x13D69Cf7d6CE4218F646B759Dcf334D82c023d8e, "first consumer");
        eq(d.registry.WALLET_FACTORY(), expected[5], "the registry knew");
    }

    function testDeterministicDeployment() public {
        DeployDeterministic script = new DeployDeterministic();
        // The proxy's code: CREATE2 of what follows the salt.
        vm.etch(
            script.PROXY(),
            hex"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
        );
        address deployer = script.deploy(0, FEE_RECIPIENT, 500);
        Registry deployed = Deployer(deployer).REGISTRY();
        eq(address(deployed), vm.computeCreateAddress(deployer, 1), "registry");
        eq(deployed.COORDINATOR(), vm.computeCreateAddress(deployer, 2), "coordinator");
        eq(deployed.WALLET_FACTORY(), vm.computeCreateAddress(deployer, 6), "factory");
        check(deployed.COORDINATOR().code.length > 0 && deployed.WALLET_FACTORY().code.length > 0, "there");
        eq(script.deploy(0, FEE_RECIPIENT, 500), deployer, "again: the same");
        check(script.deploy(bytes32(uint256(1)), FEE_RECIPIENT, 500) != deployer, "another salt: another");
    }

    // Tutorials: a container's answer is abi.encode(bytes raw, bytes processed).

    function start(string memory project) private returns (address deployed, uint32 id) {
        deployed = deploying.deploy(project, address(registry));
        id = calling.call(project, deployed, NODE);
    }

    function answer(uint32 id, bytes memory raw) private {
        vm.prank(NODE);
        coordinator.deliverCompute(id, 1, "", abi.encode(raw, bytes("")), "", address(nodeWallet));
    }

    function testHelloWorld() public {
        (address gm, uint32 id) = start("hello-world");
        eqBytes(SaysGM(gm).getContainerInputs(id, 1, 0, NODE), "Good morning!", "input");
        answer(id, abi.encode("hello, world!, your input was: Good morning!"));
        eqBytes(bytes(SaysGM(gm).lastGreeting()), "hello, world!, your input was: Good morning!", "greeting");
    }

    function testPayment() public {
        SaysGM gm = SaysGM(deploying.deploy("payment", address(registry)));
        vm.deal(address(wallet), 1 ether);
        vm.prank(WALLET_OWNER);
        wallet.approve(address(gm), address(0), 1 ether);
        answer(gm.sayGM(1 ether, address(wallet)), abi.encode("paid"));
        eq(address(wallet).balance, 0, "user");
        eq(address(nodeWallet).balance, 1 ether - 0.1022 ether, "node");
        eq(FEE_RECIPIENT.balance, 0.1022 ether, "protocol");
    }

    function testIris() public {
        string[2] memory projects = ["onnx-iris", "torch-iris"];
        for (uint256 i = 0; i < 2; i++) {
            (address classifier, uint32 id) = start(projects[i]);
            bytes32 containerId = coordinator.getSubscription(id).containerId;
            eq(containerId, keccak256(abi.encode(projects[i])), "container");
            uint256[4] memory flower = [uint256(1_038_004), 558_610, 1_103_782, 1_712_096];
            eqBytes(IrisClassifier(classifier).getContainerInputs(id, 1, 0, NODE), abi.encode(flower), "input");
            uint256[] memory probabilities = new uint256[](3);
            (probabilities[0], probabilities[1], probabilities[2]) = (1015, 14391, 984593);
            answer(id, abi.encode(probabilities));
            eq(IrisClassifier(classifier).lastProbabilities(2), 984593, "virginica");
        }
    }

    function testPrompts() public {
        string[2] memory projects = ["gpt4", "tgi-llm"];
        for (uint256 i = 0; i < 2; i++) {
            (address prompter, uint32 id) = start(projects[i]);
            eqBytes(PromptConsumer(prompter).getContainerInputs(id, 1, 0, NODE), abi.encode("What is 2 * 3?"), "input");
            answer(id, abi.encode("2 * 3 equals 6."));
            eqBytes(bytes(PromptConsumer(prompter).lastAnswer()), "2 * 3 equals 6.", "answer");
        }
    }

    function testPromptToNft() public {
        (address deployed, uint32 id) = start("prompt-to-nft");
        DiffusionNFT nft = DiffusionNFT(deployed);
        eq(nft.nftCollection().length, 0, "empty, and no revert");
        vm.expectRevert(ERC721.NoSuchToken.selector);
        nft.tokenURI(0);
        answer(id, abi.encode("tx-id"));
        eq(nft.ownerOf(0), NODE, "owner as asked for");
        eqBytes(bytes(nft.tokenURI(0)), "https://arweave.net/tx-id", "picture");
        eqBytes(bytes(nft.nftCollection()[0].prompt), "What is 2 * 3?", "prompt");
        vm.expectRevert(ERC721.NotAuthorized.selector);
        nft.transferFrom(NODE, OTHER_NODE, 0);
        vm.prank(NODE);
        nft.safeTransferFrom(NODE, OTHER_NODE, 0);
        eq(nft.ownerOf(0), OTHER_NODE, "sent");
        eq(nft.balanceOf(NODE), 0, "gone");
        vm.prank(OTHER_NODE);
        vm.expectRevert(bytes("")); // no such function
        nft.safeTransferFrom(OTHER_NODE, address(coordinator), 0);
        vm.expectRevert(ERC721.InvalidReceiver.selector);
        nft.mint("x", address(0));
    }
}
