// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {vm} from "../test/lib/Vm.sol";
import {DiffusionNFT} from "../src/examples/DiffusionNFT.sol";
import {IrisClassifier} from "../src/examples/IrisClassifier.sol";
import {IrisConsumer} from "../src/examples/IrisConsumer.sol";
import {Prompter, PromptsGPT} from "../src/examples/PromptConsumer.sol";
import {SaysGM} from "../src/examples/SaysGM.sol";
import {console} from "../src/utility/Console.sol";

/// @title DeployTutorial
/// @notice Deploys the consumer of one tutorial, from the account of `PRIVATE_KEY`, for the deployment `REGISTRY`:
/// `forge script script/Tutorials.s.sol:DeployTutorial --rpc-url … --broadcast`, `PROJECT` being one of hello-world, payment,
/// onnx-iris, torch-iris, gpt4, tgi-llm, prompt-to-nft, infernet-dev.
contract DeployTutorial {
    /// @dev Registry of a development chain.
    address private constant DEVNET_REGISTRY = 0x663F3ad617193148711d28f5334eE4Ed07016602;

    /// @notice There is no such tutorial.
    error UnknownProject(string project);

    /// @notice Runs the script.
    function run() external {
        string memory project = vm.envOr("PROJECT", string("hello-world"));
        address registry = vm.envOr("REGISTRY", DEVNET_REGISTRY);
        vm.startBroadcast(vm.envUint("PRIVATE_KEY"));
        address consumer = deploy(project, registry);
        vm.stopBroadcast();
        console.log(project, consumer);
    }

    /// @notice Deploys one consumer.
    function deploy(string memory project, address registry) public returns (address) {
        bytes32 name = keccak256(bytes(project));
        if (name == keccak256("hello-world") || name == keccak256("payment")) return address(new SaysGM(registry));
        if (name == keccak256("onnx-iris")) return address(new IrisClassifier(registry, "onnx-iris"));
        if (name == keccak256("torch-iris")) return address(new IrisClassifier(registry, "torch-iris"));
        if (name == keccak256("gpt4")) return address(new PromptsGPT(registry));
        if (name == keccak256("tgi-llm")) return address(new Prompter(registry));
        if (name == keccak256("prompt-to-nft")) return address(new DiffusionNFT(registry));
        if (name == keccak256("infernet-dev")) return address(new IrisConsumer(registry));
        revert UnknownProject(project);
    }
}

/// @title CallTutorial
/// @notice Sends the request of one tutorial, from the account of `PRIVATE_KEY`, to the consumer `CONSUMER` (by default where the
/// first consumer of a fresh development chain is). `PROJECT` as above; `PROMPT` for gpt4, tgi-llm and prompt-to-nft; `TO` for
/// prompt-to-nft; `AMOUNT` and `WALLET` for payment.
contract CallTutorial {
    /// @dev The first consumer that the deployer of a development chain deploys.
    address private constant DEVNET_CONSUMER = 0x13D69Cf7d6CE4218F646B759Dcf334D82c023d8e;

    /// @notice There is no such tutorial.
    error UnknownProject(string project);

    /// @notice Runs the script.
    function run() external {
        string memory project = vm.envOr("PROJECT", string("hello-world"));
        uint256 key = vm.envUint("PRIVATE_KEY");
        address consumer = vm.envOr("CONSUMER", DEVNET_CONSUMER);
        vm.startBroadcast(key);
        uint32 id = call(project, consumer, vm.addr(key));
        vm.stopBroadcast();
        console.log("subscription", id);
    }

    /// @notice Sends one request.
    function call(string memory project, address consumer, address caller) public returns (uint32) {
        bytes32 name = keccak256(bytes(project));
        if (name == keccak256("hello-world")) return SaysGM(consumer).sayGM();
        if (name == keccak256("payment")) {
            return SaysGM(consumer).sayGM(vm.envUint("AMOUNT"), vm.envOr("WALLET", address(0)));
        }
        if (name == keccak256("onnx-iris") || name == keccak256("torch-iris")) {
            return IrisClassifier(consumer).classifyIris();
        }
        string memory prompt = vm.envOr("PROMPT", string("What is 2 * 3?"));
        if (name == keccak256("gpt4")) return PromptsGPT(consumer).promptGPT(prompt);
        if (name == keccak256("tgi-llm")) return Prompter(consumer).promptLLM(prompt);
        if (name == keccak256("prompt-to-nft")) return DiffusionNFT(consumer).mint(prompt, vm.envOr("TO", caller));
        revert UnknownProject(project);
    }
}
