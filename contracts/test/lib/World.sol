// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Artifacts} from "../../script/Artifacts.sol";
import {Deployment, LibDeploy} from "../../script/Deploy.s.sol";
import {Subscription} from "../../src/Coordinator.sol";
import {EIP712Coordinator} from "../../src/EIP712Coordinator.sol";
import {Inbox} from "../../src/Inbox.sol";
import {Registry} from "../../src/Registry.sol";
import {Fee} from "../../src/payments/Fee.sol";
import {Wallet} from "../../src/payments/Wallet.sol";
import {WalletFactory} from "../../src/payments/WalletFactory.sol";
import {Keys} from "../../src/utility/Keys.sol";
import {Reader} from "../../src/utility/Reader.sol";
import {Recorder} from "./Recorder.sol";
import {Test} from "./Test.sol";
import {vm} from "./Vm.sol";

/// @notice The arguments of `deliverComputeDelegatee`.
struct DelegatedDelivery {
    uint32 nonce;
    uint32 expiry;
    Subscription sub;
    uint8 v;
    bytes32 r;
    bytes32 s;
    uint32 interval;
    bytes input;
    bytes output;
    bytes proof;
    address nodeWallet;
}

/// @title World
/// @notice A deployment, as it ships: from the committed artifacts.
abstract contract World is Test {
    uint16 internal constant FEE_RATE = 511;
    address internal constant FEE_RECIPIENT = address(0xFEE);
    address internal constant NODE = address(0xA0DE);
    address internal constant OTHER_NODE = address(0xB0DE);
    address internal constant WALLET_OWNER = address(0xC0DE);
    uint256 internal constant SIGNER_KEY = 0x51E9;

    Registry internal registry;
    EIP712Coordinator internal coordinator;
    Inbox internal inbox;
    Reader internal reader;
    Fee internal fee;
    WalletFactory internal factory;
    Recorder internal consumer;
    Wallet internal wallet;
    Wallet internal nodeWallet;

    /// @dev Deploys everything, one consumer, and a wallet each for the consumer's owner and the node.
    function deployWorld() internal {
        vm.warp(1_700_000_000);
        Deployment memory d = LibDeploy.deploy(address(this), vm.getNonce(address(this)), FEE_RECIPIENT, FEE_RATE);
        populate(d);
    }

    /// @dev The same with the plain contracts of `reference/` in place of ours: they behave as older deployments do, weaknesses
    /// included.
    function deployReferenceWorld() internal {
        vm.warp(1_700_000_000);
        uint256 nonce = vm.getNonce(address(this));
        address[5] memory at;
        for (uint256 i = 0; i < 5; i++) {
            at[i] = vm.computeCreateAddress(address(this), nonce + 1 + i);
        }
        Deployment memory d;
        d.registry = Registry(Artifacts.create("Registry", abi.encode(at)));
        bytes memory argument = abi.encode(d.registry);
        d.coordinator = EIP712Coordinator(Artifacts.create("ReferenceCoordinator", argument));
        d.inbox = Inbox(Artifacts.create("Inbox", argument));
        d.reader = Reader(Artifacts.create("Reader", argument));
        d.fee = Fee(Artifacts.create("ReferenceFee", abi.encode(FEE_RECIPIENT, FEE_RATE)));
        d.walletFactory = WalletFactory(payable(Artifacts.create("ReferenceWalletFactory", argument)));
        populate(d);
    }

    function populate(Deployment memory d) private {
        (registry, coordinator, inbox, reader) = (d.registry, d.coordinator, d.inbox, d.reader);
        (fee, factory) = (d.fee, d.walletFactory);
        consumer = new Recorder(registry, vm.addr(SIGNER_KEY));
        wallet = newWallet(WALLET_OWNER);
        nodeWallet = newWallet(NODE);
    }

    function newWallet(address owner) internal returns (Wallet) {
        return Wallet(payable(factory.createWallet(owner)));
    }

    /// @dev Puts `amount` of the own coin into the consumer's wallet and lets the consumer spend it.
    function fundConsumer(uint256 amount) internal {
        vm.deal(address(wallet), amount);
        vm.prank(WALLET_OWNER);
        wallet.approve(address(consumer), address(0), amount);
    }

    /// @dev Puts `amount` of the own coin into the node's wallet and lets the node use it as stake.
    function fundNode(uint256 amount) internal {
        vm.deal(address(nodeWallet), amount);
        vm.prank(NODE);
        nodeWallet.approve(NODE, address(0), amount);
    }

    /// @dev A callback of the consumer.
    function callback(uint16 redundancy, uint256 amount, address verifier) internal returns (uint32) {
        return consumer.request("container", "inputs", redundancy, address(0), amount, address(wallet), verifier);
    }

    /// @dev A delivery of `node` to interval 1 with its usual bytes.
    function deliver(uint32 id, address node) internal {
        deliver(id, 1, node);
    }

    function deliver(uint32 id, uint32 interval, address node) internal {
        vm.prank(node);
        coordinator.deliverCompute(id, interval, "input", "output", "proof", address(nodeWallet));
    }

    /// @dev A subscription struct of the consumer: free, one interval, one node.
    function plainSubscription() internal view returns (Subscription memory sub) {
        sub.owner = address(consumer);
        sub.activeAt = uint32(block.timestamp);
        sub.frequency = 1;
        sub.redundancy = 1;
        sub.containerId = keccak256(abi.encode("container"));
    }

    /// @dev The EIP-712 digest of a delegated subscription, computed apart from the contract.
    function digestOf(uint32 nonce, uint32 expiry, Subscription memory sub) internal view returns (bytes32) {
        string memory subType = "Subscription(address owner,uint32 activeAt,uint32 period,uint32 frequency,uint16 redundancy,"
            "bytes32 containerId,bool lazy,address verifier,uint256 paymentAmount,address paymentToken,address wallet)";
        bytes32 typeHash =
            keccak256(abi.encodePacked("DelegateSubscription(uint32 nonce,uint32 expiry,Subscription sub)", subType));
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("InfernetCoordinator"),
                keccak256("1"),
                block.chainid,
                address(coordinator)
            )
        );
        bytes32 subHash = keccak256(abi.encodePacked(keccak256(bytes(subType)), abi.encode(sub)));
        return keccak256(abi.encodePacked("\x19\x01", domain, keccak256(abi.encode(typeHash, nonce, expiry, subHash))));
    }

    /// @dev Creates a delegated subscription with the consumer's signer.
    function createDelegated(uint32 nonce, Subscription memory sub) internal returns (uint32) {
        uint32 expiry = uint32(block.timestamp) + 1;
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, digestOf(nonce, expiry, sub));
        return coordinator.createSubscriptionDelegatee(nonce, expiry, sub, v, r, s);
    }

    /// @dev Delivers as `node`. A struct of the same members is encoded as the arguments are, behind one offset word.
    function deliverDelegated(address node, DelegatedDelivery memory d) internal {
        bytes memory encoded = abi.encode(d);
        bytes memory data = new bytes(encoded.length - 28);
        bytes4 selector = EIP712Coordinator.deliverComputeDelegatee.selector;
        for (uint256 i = 0; i < data.length; i++) {
            data[i] = i < 4 ? selector[i] : encoded[i + 28];
        }
        vm.prank(node);
        (bool ok, bytes memory result) = address(coordinator).call(data);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(result, 0x20), mload(result))
            }
        }
    }

    function intervalKey(uint32 id, uint32 interval) internal pure returns (bytes32) {
        return Keys.ofInterval(id, interval);
    }

    function nodeKey(uint32 id, uint32 interval, address node) internal pure returns (bytes32) {
        return Keys.ofNode(id, interval, node);
    }
}
