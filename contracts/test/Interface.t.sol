// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Coordinator} from "../src/Coordinator.sol";
import {EIP712Coordinator} from "../src/EIP712Coordinator.sol";
import {Inbox} from "../src/Inbox.sol";
import {Registry} from "../src/Registry.sol";
import {BaseConsumer} from "../src/consumer/Base.sol";
import {CallbackConsumer} from "../src/consumer/Callback.sol";
import {Allowlist} from "../src/pattern/Allowlist.sol";
import {Delegator} from "../src/pattern/Delegator.sol";
import {Fee} from "../src/payments/Fee.sol";
import {IVerifier} from "../src/payments/IVerifier.sol";
import {Wallet} from "../src/payments/Wallet.sol";
import {WalletFactory} from "../src/payments/WalletFactory.sol";
import {Coordinated} from "../src/utility/Coordinated.sol";
import {Ownable} from "../src/utility/Ownable.sol";
import {Reader} from "../src/utility/Reader.sol";
import {TokenTransfer} from "../src/utility/TokenTransfer.sol";
import {World} from "./lib/World.sol";
import {Log, vm} from "./lib/Vm.sol";

/// @notice Pins every selector, topic and key that deployments of either side rely on to the published value.
contract InterfaceTest is World {
    function pin(bytes4 found, bytes4 expected, string memory what) private pure {
        eq(bytes32(found), bytes32(expected), what);
    }

    function testCoordinatorFunctions() public view {
        pin(Coordinator.createSubscription.selector, 0x84050893, "createSubscription");
        pin(Coordinator.cancelSubscription.selector, 0x31e451a9, "cancelSubscription");
        pin(Coordinator.getSubscriptionInterval.selector, 0x836a6cc9, "getSubscriptionInterval");
        pin(Coordinator.deliverCompute.selector, 0xc509543d, "deliverCompute");
        pin(Coordinator.finalizeProofVerification.selector, 0x196ab123, "finalizeProofVerification");
        pin(EIP712Coordinator(address(0)).id.selector, 0xaf640d0f, "id");
        pin(EIP712Coordinator(address(0)).nodeResponded.selector, 0x298f7bdc, "nodeResponded");
        pin(EIP712Coordinator(address(0)).redundancyCount.selector, 0xbc85694f, "redundancyCount");
        pin(Coordinator.proofRequests.selector, 0xc34cf5c7, "proofRequests");
        pin(Coordinator.getSubscription.selector, 0xa17b920b, "getSubscription");
        pin(EIP712Coordinator.createSubscriptionDelegatee.selector, 0x9c092514, "createSubscriptionDelegatee");
        pin(EIP712Coordinator.deliverComputeDelegatee.selector, 0x9fff314a, "deliverComputeDelegatee");
        pin(bytes4(keccak256("EIP712_NAME()")), 0x3b2fb7a8, "EIP712_NAME");
        pin(bytes4(keccak256("EIP712_VERSION()")), 0xeccec5a8, "EIP712_VERSION");
        pin(EIP712Coordinator.eip712Domain.selector, 0x84b0196e, "eip712Domain");
        pin(EIP712Coordinator(address(0)).maxSubscriberNonce.selector, 0x7fb61b27, "maxSubscriberNonce");
        pin(EIP712Coordinator(address(0)).delegateCreatedIds.selector, 0x60ed0f61, "delegateCreatedIds");
    }

    function testCoordinatorErrors() public pure {
        pin(Coordinator.InvalidWallet.selector, 0x23455ba1, "InvalidWallet");
        pin(Coordinator.IntervalMismatch.selector, 0x4db310c3, "IntervalMismatch");
        pin(Coordinator.IntervalCompleted.selector, 0x2f4ca85b, "IntervalCompleted");
        pin(Coordinator.UnauthorizedVerifier.selector, 0xb9857aa1, "UnauthorizedVerifier");
        pin(Coordinator.NodeRespondedAlready.selector, 0x88a21e4f, "NodeRespondedAlready");
        pin(Coordinator.SubscriptionNotFound.selector, 0x1a00354f, "SubscriptionNotFound");
        pin(Coordinator.ProofRequestNotFound.selector, 0x1d68b37c, "ProofRequestNotFound");
        pin(Coordinator.NotSubscriptionOwner.selector, 0xa7fba711, "NotSubscriptionOwner");
        pin(Coordinator.SubscriptionCompleted.selector, 0xae6704a7, "SubscriptionCompleted");
        pin(Coordinator.SubscriptionNotActive.selector, 0xefb74efe, "SubscriptionNotActive");
        pin(Coordinator.UnsupportedVerifierToken.selector, 0xe2372799, "UnsupportedVerifierToken");
        pin(bytes4(keccak256("Reentrancy()")), 0xab143c06, "Reentrancy");
        pin(EIP712Coordinator.SignerMismatch.selector, 0x10c74b03, "SignerMismatch");
        pin(EIP712Coordinator.SignatureExpired.selector, 0x0819bdcd, "SignatureExpired");
        pin(EIP712Coordinator.InvalidSignature.selector, 0x8baa579f, "InvalidSignature");
    }

    function testEvents() public pure {
        eq(
            Coordinator.SubscriptionCreated.selector,
            0x04344ed7a67fec80c444d56ee1cee242f3f75b91fecc8dbce8890069c82eb48e,
            "created"
        );
        eq(
            Coordinator.SubscriptionCancelled.selector,
            0xf4126e31c182db4c4109605c6d50470fc7e8ca90d62d44fd25cbe049fb9cac3e,
            "cancelled"
        );
        eq(
            Coordinator.SubscriptionFulfilled.selector,
            0xc68fb0ae5cea2793405d29014d881bcda18f67122e0bcd7d0a577e118b64e4c8,
            "fulfilled"
        );
        eq(Coordinator.ProofVerified.selector, 0xaf1556610075709bf885e17681512d329b1a40f799ee5196f79461e89b656454, "verified");
        eq(Inbox.NewInboxItem.selector, 0xac56b74ea9119b4c4e424d8ed4c3cec0c84d1f6b02200df5a8cd27eb756994d1, "inbox item");
        eq(Wallet.Withdrawl.selector, 0x65ac0d8bb8cbc0e989ebd02ddc5161d7c499f7c21792e43fcf170314fe6bcc3f, "withdrawal");
        eq(Wallet.Approval.selector, 0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925, "approval");
        eq(Wallet.Transfer.selector, 0xd1398bee19313d6bf672ccb116e51f4a1a947e91c757907f51fbb5b5e56c698f, "transfer");
        eq(Wallet.Escrow.selector, 0x813582499997f00ba0142c7813740a6e381df71a63d11d8c8f208f66b7795d26, "escrow");
        eq(WalletFactory.WalletCreated.selector, 0xca0b7dde26052d34217ef1a0cee48085a07ca32da0a918609937a307d496bbf5, "wallet");
        eq(Ownable.OwnershipTransferred.selector, 0x8be0079c531659141344cd1fd0a4f28419497f9722a3daafe3b4186f6b6457e0, "owner");
        eq(
            Ownable.OwnershipHandoverRequested.selector,
            0xdbf36a107da19e49527a7176a1babf963b4b0ff8cde35ee35d6cd8f1f9ac7e1d,
            "asked"
        );
        eq(
            Ownable.OwnershipHandoverCanceled.selector,
            0xfa7b8eab7da67f412cc9575ed43464468f9bfbae89d1675917346ca6d8fe3c92,
            "unasked"
        );
    }

    function testOtherFunctions() public view {
        pin(Registry(address(0)).COORDINATOR.selector, 0x3b2bcbf1, "COORDINATOR");
        pin(Registry(address(0)).INBOX.selector, 0xb7010697, "INBOX");
        pin(Registry(address(0)).READER.selector, 0x698eec44, "READER");
        pin(Registry(address(0)).FEE.selector, 0xc57981b5, "FEE");
        pin(Registry(address(0)).WALLET_FACTORY.selector, 0x0e2009f4, "WALLET_FACTORY");
        pin(Inbox.items.selector, 0x93eaef1f, "items");
        pin(Inbox.read.selector, 0x586a6094, "read");
        pin(Inbox.write.selector, 0x198896dd, "write");
        pin(Inbox.writeViaCoordinator.selector, 0x76a87949, "writeViaCoordinator");
        pin(Reader.readSubscriptionBatch.selector, 0x3ddc29f5, "readSubscriptionBatch");
        pin(Reader.readRedundancyCountBatch.selector, 0x757f1c84, "readRedundancyCountBatch");
        pin(Fee.FEE.selector, 0xc57981b5, "FEE");
        pin(Fee.FEE_RECIPIENT.selector, 0xebd09054, "FEE_RECIPIENT");
        pin(Fee.updateFee.selector, 0x2c6cda93, "updateFee");
        pin(Wallet(payable(0)).allowance.selector, 0xdd62ed3e, "allowance");
        pin(Wallet.withdraw.selector, 0xf3fef3a3, "withdraw");
        pin(Wallet.approve.selector, 0xe1f21c67, "approve");
        pin(Wallet.cTransfer.selector, 0x0d67cfd9, "cTransfer");
        pin(Wallet.cLock.selector, 0xd0729347, "cLock");
        pin(Wallet.cUnlock.selector, 0xc7048369, "cUnlock");
        pin(WalletFactory.createWallet.selector, 0xb054a9e8, "createWallet");
        pin(WalletFactory.isValidWallet.selector, 0x439a3012, "isValidWallet");
        pin(Ownable.owner.selector, 0x8da5cb5b, "owner");
        pin(Ownable.transferOwnership.selector, 0xf2fde38b, "transferOwnership");
        pin(Ownable.renounceOwnership.selector, 0x715018a6, "renounceOwnership");
        pin(Ownable.requestOwnershipHandover.selector, 0x25692962, "requestOwnershipHandover");
        pin(Ownable.cancelOwnershipHandover.selector, 0x54d1f13d, "cancelOwnershipHandover");
        pin(Ownable.completeOwnershipHandover.selector, 0xf04e283e, "completeOwnershipHandover");
        pin(Ownable.ownershipHandoverExpiresAt.selector, 0xfee81cf4, "ownershipHandoverExpiresAt");
        pin(BaseConsumer.rawReceiveCompute.selector, 0x7a411a8d, "rawReceiveCompute");
        pin(CallbackConsumer.getContainerInputs.selector, 0x962fad75, "getContainerInputs");
        pin(Allowlist.isAllowedNode.selector, 0xa136e529, "isAllowedNode");
        pin(Delegator.getSigner.selector, 0x7ac3c02f, "getSigner");
        pin(IVerifier.getWallet.selector, 0x13299604, "getWallet");
        pin(IVerifier.isSupportedToken.selector, 0x240028e8, "isSupportedToken");
        pin(IVerifier.fee.selector, 0x6fcca69b, "fee");
        pin(IVerifier.requestProofVerification.selector, 0x81e79a90, "requestProofVerification");
    }

    function testOtherErrors() public pure {
        pin(Coordinated.NotCoordinator.selector, 0x9ec853e6, "NotCoordinator");
        pin(BaseConsumer.NotCoordinator.selector, 0x9ec853e6, "NotCoordinator of consumers");
        pin(Wallet.InsufficientFunds.selector, 0x356680b7, "InsufficientFunds");
        pin(Wallet.InsufficientAllowance.selector, 0x13be252b, "InsufficientAllowance");
        pin(TokenTransfer.TransferFailed.selector, 0x90b8ec18, "TransferFailed");
        pin(TokenTransfer.ETHTransferFailed.selector, 0xb12d13eb, "ETHTransferFailed");
        pin(Allowlist.NodeNotAllowed.selector, 0x42764946, "NodeNotAllowed");
        pin(Ownable.Unauthorized.selector, 0x82b42900, "Unauthorized");
        pin(Ownable.NewOwnerIsZeroAddress.selector, 0x7448fbae, "NewOwnerIsZeroAddress");
        pin(Ownable.NoHandoverRequest.selector, 0x6f5e8818, "NoHandoverRequest");
    }

    function testKeys() public pure {
        eq(intervalKey(1, 1), 0xcc69885fda6bcc1a4ace058b4a62bf5e179ea78fd58a1ccd71c22cc9b688792f, "interval key");
        eq(nodeKey(1, 1, address(0xAA)), 0x66d4d2b85a6ceff015d0dc94274e6dc495de15018d61f2902cf6e8580b7a725e, "node key");
    }

    /// @dev What the constants in the coordinator stand for, read from a deployment.
    function testDomainAndContainerId() public {
        deployWorld();
        (bytes1 fields, string memory name, string memory version, uint256 chainId, address at, bytes32 salt,) =
            coordinator.eip712Domain();
        eq(bytes32(fields), bytes32(bytes1(0x0f)), "fields");
        eqBytes(bytes(name), "InfernetCoordinator", "name");
        eqBytes(bytes(version), "1", "version");
        eqBytes(bytes(coordinator.EIP712_NAME()), "InfernetCoordinator", "EIP712_NAME");
        eqBytes(bytes(coordinator.EIP712_VERSION()), "1", "EIP712_VERSION");
        eq(chainId, block.chainid, "chain");
        eq(at, address(coordinator), "contract");
        eq(salt, 0, "salt");
        bytes32 container = coordinator.getSubscription(callback(1, 0, address(0))).containerId;
        eq(container, 0x9a368385fc92ce7a7910485800075b12c58839080e1366938f122ce36ca00a3d, "container id");
        eq(coordinator.VERSION(), 2, "version of the features");
    }

    function testRegistryAndFee() public {
        deployWorld();
        eq(registry.COORDINATOR(), address(coordinator), "coordinator");
        eq(registry.INBOX(), address(inbox), "inbox");
        eq(registry.READER(), address(reader), "reader");
        eq(registry.FEE(), address(fee), "fee");
        eq(registry.WALLET_FACTORY(), address(factory), "factory");
        eq(fee.FEE(), FEE_RATE, "rate");
        eq(fee.FEE_RECIPIENT(), FEE_RECIPIENT, "recipient");

        vm.expectRevert(Ownable.Unauthorized.selector);
        fee.updateFee(1);
        vm.recordLogs();
        vm.prank(FEE_RECIPIENT);
        fee.updateFee(type(uint16).max);
        Log memory log = vm.getRecordedLogs()[0];
        eq(log.topics[0], Fee.FeeUpdated.selector, "updated");
        eqBytes(log.data, abi.encode(FEE_RATE, type(uint16).max), "from, to");
        eq(fee.FEE(), type(uint16).max, "any rate is kept");
        eq(fee.FEE_RECIPIENT(), FEE_RECIPIENT, "the recipient stays");
        vm.prank(FEE_RECIPIENT);
        fee.renounceOwnership();
        eq(fee.FEE_RECIPIENT(), address(0), "renounced");
        eq(fee.FEE(), type(uint16).max, "the rate stays");
    }
}
