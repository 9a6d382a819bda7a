//! The contracts as the node sees them: functions, events and errors of `docs/spec/contracts.md`.
//!
//! Written by hand from the specification; a test holds selectors and topics against the
//! compiled artifacts.

use alloy::{
    primitives::Selector,
    sol,
    sol_types::{SolError as _, SolInterface as _},
};

sol! {
    /// A subscription as the Coordinator stores it.
    #[derive(Debug, PartialEq, Eq)]
    struct Subscription {
        address owner;
        uint32 activeAt;
        uint32 period;
        uint32 frequency;
        uint16 redundancy;
        bytes32 containerId;
        bool lazy;
        address verifier;
        uint256 paymentAmount;
        address paymentToken;
        address wallet;
    }

    /// One item of a batch delivery: the arguments of `deliverCompute`.
    #[derive(Debug, PartialEq, Eq)]
    struct BatchItem {
        uint32 subscriptionId;
        uint32 deliveryInterval;
        bytes input;
        bytes output;
        bytes proof;
        address nodeWallet;
    }

    /// Names the other contracts.
    interface Registry {
        function COORDINATOR() external view returns (address);
        function INBOX() external view returns (address);
        function READER() external view returns (address);
        function FEE() external view returns (address);
        function WALLET_FACTORY() external view returns (address);
    }

    /// Coordinator and EIP712Coordinator.
    #[derive(Debug, PartialEq, Eq)]
    interface Coordinator {
        function id() external view returns (uint32);
        function nodeResponded(bytes32 key) external view returns (bool);
        function redundancyCount(bytes32 key) external view returns (uint16);
        function getSubscription(uint32 subscriptionId) external view returns (Subscription memory);
        function delegateCreatedIds(bytes32 key) external view returns (uint32);
        function VERSION() external view returns (uint256);
        function createSubscription(
            string containerId, uint32 frequency, uint32 period, uint16 redundancy, bool lazy,
            address paymentToken, uint256 paymentAmount, address wallet, address verifier
        ) external returns (uint32);
        function cancelSubscription(uint32 subscriptionId) external;
        function createSubscriptionDelegatee(
            uint32 nonce, uint32 expiry, Subscription sub, uint8 v, bytes32 r, bytes32 s
        ) external returns (uint32);
        function deliverCompute(
            uint32 subscriptionId, uint32 deliveryInterval, bytes input, bytes output,
            bytes proof, address nodeWallet
        ) external;
        function deliverComputeDelegatee(
            uint32 nonce, uint32 expiry, Subscription sub, uint8 v, bytes32 r, bytes32 s,
            uint32 deliveryInterval, bytes input, bytes output, bytes proof, address nodeWallet
        ) external;
        function deliverComputeBatch(BatchItem[] items) external returns (uint256);
        function finalizeProofVerification(
            uint32 subscriptionId, uint32 interval, address node, bool valid
        ) external;

        event SubscriptionCreated(uint32 indexed id);
        event SubscriptionCancelled(uint32 indexed id);
        event SubscriptionFulfilled(uint32 indexed id, address indexed node);
        event ProofVerified(
            uint32 indexed id, uint32 indexed interval, address indexed node, bool active,
            address verifier, bool valid
        );
    }

    /// Reads many subscriptions at once.
    interface Reader {
        function readSubscriptionBatch(uint32 startId, uint32 endId)
            external view returns (Subscription[] memory);
        function readRedundancyCountBatch(uint32[] ids, uint32[] intervals)
            external view returns (uint16[] memory);
    }

    /// The protocol fee.
    interface Fee {
        function FEE() external view returns (uint16);
        function FEE_RECIPIENT() external view returns (address);
    }

    /// A wallet of consumer or node.
    #[derive(Debug, PartialEq, Eq)]
    interface Wallet {
        function owner() external view returns (address);
        function allowance(address spender, address token) external view returns (uint256);
        function approve(address spender, address token, uint256 amount) external;
        function withdraw(address token, uint256 amount) external;

        event Withdrawl(address token, uint256 amount);
        event Approval(address indexed spender, address token, uint256 amount);
        event Transfer(address indexed spender, address token, address indexed to, uint256 amount);
        event Escrow(address indexed spender, address token, uint256 amount, bool locked);
    }

    /// Makes wallets and knows the ones it made.
    interface WalletFactory {
        function createWallet(address initialOwner) external returns (address);
        function isValidWallet(address wallet) external view returns (bool);
        event WalletCreated(address indexed caller, address indexed owner, address wallet);
    }

    /// What the node asks of a consumer.
    interface Consumer {
        function getContainerInputs(
            uint32 subscriptionId, uint32 interval, uint32 timestamp, address caller
        ) external view returns (bytes memory);
        function getSigner() external view returns (address);
    }

    /// What the node asks of a token.
    interface Erc20 {
        function balanceOf(address account) external view returns (uint256);
    }

    /// Every error that a transaction of the node can end in.
    #[derive(Debug, PartialEq, Eq)]
    interface Errors {
        error InvalidWallet();
        error IntervalMismatch();
        error IntervalCompleted();
        error UnauthorizedVerifier();
        error NodeRespondedAlready();
        error SubscriptionNotFound();
        error ProofRequestNotFound();
        error NotSubscriptionOwner();
        error SubscriptionCompleted();
        error SubscriptionNotActive();
        error UnsupportedVerifierToken();
        error Reentrancy();
        error SignerMismatch();
        error SignatureExpired();
        error InvalidSignature();
        error NotCoordinator();
        error NodeNotAllowed();
        error InsufficientFunds();
        error InsufficientAllowance();
        error TransferFailed();
        error ETHTransferFailed();
        error Unauthorized();
        error NewOwnerIsZeroAddress();
        error NoHandoverRequest();
        error InsufficientBalance();
        error BatchTooLong();
        error NothingToFund();
        error OnlySelf();
        error FundsLocked();
    }
}

/// The longest reason that is taken over from a revert, in characters: it stands in an event.
const REASON_CHARACTERS_MAX: usize = 200;

/// A revert in words: its selector (zero where it carried none) and the error's name.
#[must_use]
pub fn describe_revert(data: &[u8]) -> ([u8; 4], String) {
    let Some(selector) = data.first_chunk::<4>() else {
        return ([0; 4], "reverted without a reason".to_owned());
    };
    let reason = match Errors::ErrorsErrors::abi_decode(data) {
        Ok(_) => Errors::ErrorsErrors::name_by_selector(*selector)
            .unwrap_or_default()
            .to_owned(),
        Err(_) => describe_generic(data)
            .unwrap_or_else(|| format!("unknown error {}", Selector::from(*selector))),
    };
    (*selector, reason)
}

/// `Error(string)` and `Panic(uint256)`, which the compiler itself emits.
fn describe_generic(data: &[u8]) -> Option<String> {
    if let Ok(revert) = alloy::sol_types::Revert::abi_decode(data) {
        return Some(format!("Error: {}", printable(&revert.reason)));
    }
    let panic = alloy::sol_types::Panic::abi_decode(data).ok()?;
    let code: u64 = panic.code.try_into().unwrap_or(u64::MAX);
    Some(match panic.kind() {
        Some(kind) => format!("Panic {code:#x}: {}", kind.as_str()),
        None => format!("Panic {code:#x}"),
    })
}

/// Foreign text, safe to print and to keep: bounded, and without control characters.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(REASON_CHARACTERS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use alloy::{
        json_abi::JsonAbi,
        sol_types::{SolEvent, SolInterface, TopicList},
    };

    use super::*;

    /// The ABI of a committed artifact.
    fn artifact(json: &str) -> JsonAbi {
        let mut artifact: serde_json::Value = serde_json::from_str(json).expect("JSON");
        serde_json::from_value(artifact["abi"].take()).expect("an ABI")
    }

    macro_rules! abi {
        ($name:literal) => {
            artifact(include_str!(concat!(
                "../../contracts/artifacts/",
                $name,
                ".json"
            )))
        };
    }

    fn functions<I: SolInterface>(abi: &JsonAbi) {
        let known: BTreeSet<[u8; 4]> = abi.functions().map(|f| f.selector().0).collect();
        for selector in I::selectors() {
            assert!(
                known.contains(&selector),
                "{}: the contract has no function {}",
                I::NAME,
                Selector::from(selector)
            );
        }
    }

    fn event<E: SolEvent>(abi: &JsonAbi) {
        let event = abi
            .events()
            .find(|event| event.selector() == E::SIGNATURE_HASH);
        let event = event.unwrap_or_else(|| panic!("no event {}", E::SIGNATURE));
        let indexed = event.inputs.iter().filter(|input| input.indexed).count();
        // The first topic is the event's own.
        assert_eq!(
            <E::TopicList as TopicList>::COUNT,
            indexed + 1,
            "{}",
            E::SIGNATURE
        );
    }

    #[test]
    fn every_selector_and_topic_is_the_contracts() {
        let coordinator = abi!("EIP712Coordinator");
        functions::<Registry::RegistryCalls>(&abi!("Registry"));
        functions::<Coordinator::CoordinatorCalls>(&coordinator);
        functions::<Reader::ReaderCalls>(&abi!("Reader"));
        functions::<Fee::FeeCalls>(&abi!("Fee"));
        functions::<Wallet::WalletCalls>(&abi!("Wallet"));
        functions::<WalletFactory::WalletFactoryCalls>(&abi!("WalletFactory"));
        event::<Coordinator::SubscriptionCreated>(&coordinator);
        event::<Coordinator::SubscriptionCancelled>(&coordinator);
        event::<Coordinator::SubscriptionFulfilled>(&coordinator);
        event::<Coordinator::ProofVerified>(&coordinator);
        event::<Wallet::Withdrawl>(&abi!("Wallet"));
        event::<Wallet::Approval>(&abi!("Wallet"));
        event::<Wallet::Transfer>(&abi!("Wallet"));
        event::<Wallet::Escrow>(&abi!("Wallet"));
        event::<WalletFactory::WalletCreated>(&abi!("WalletFactory"));
    }

    #[test]
    fn every_error_of_the_contracts_has_a_name() {
        for abi in [abi!("EIP712Coordinator"), abi!("Wallet"), abi!("Fee")] {
            for error in abi.errors() {
                let (selector, name) = describe_revert(error.selector().as_slice());
                assert_eq!(selector, error.selector().0);
                assert_eq!(name, error.name);
            }
        }
        assert_eq!(
            describe_revert(&[1, 2, 3, 4, 5]).1,
            "unknown error 0x01020304"
        );
        assert_eq!(describe_revert(&[1]).0, [0; 4]);
    }
}
