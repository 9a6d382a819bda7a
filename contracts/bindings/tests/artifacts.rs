//! What the macro made of the bindings is what the compiler made of the contracts.

use std::collections::BTreeSet;

use alloy_json_abi::JsonAbi;
use alloy_sol_types::SolInterface;
use infernet_contracts::{
    Consumer, Coordinator, Errors, Fee, Inbox, IrisConsumer, MockVerifier, Ownable, PlainConsumer,
    Reader, Registry, ScriptedConsumer, ScriptedToken, ScriptedVerifier, Verifier, Wallet,
    WalletFactory, artifacts,
};

/// The ABIs of some artifacts, as one.
struct Abi(Vec<JsonAbi>);

impl Abi {
    fn of(artifacts: &[&str]) -> Self {
        let parse = |text: &&str| {
            let mut artifact: serde_json::Value = serde_json::from_str(text).expect("JSON");
            serde_json::from_value(artifact["abi"].take()).expect("an ABI")
        };
        Self(artifacts.iter().map(parse).collect())
    }

    fn functions(&self) -> BTreeSet<[u8; 4]> {
        let all = self.0.iter().flat_map(JsonAbi::functions);
        all.map(|function| function.selector().0).collect()
    }

    fn errors(&self) -> BTreeSet<[u8; 4]> {
        let all = self.0.iter().flat_map(JsonAbi::errors);
        all.map(|error| error.selector().0).collect()
    }

    fn events(&self) -> BTreeSet<[u8; 32]> {
        let all = self.0.iter().flat_map(JsonAbi::events);
        all.map(|event| event.selector().0).collect()
    }
}

fn selectors<I: SolInterface>() -> BTreeSet<[u8; 4]> {
    I::selectors().collect()
}

/// Every function of `I` is one of `of`, and every one of `of` that `without` lacks is in `I`.
fn functions<I: SolInterface>(of: &[&str], without: &[&str]) {
    let inherited = Abi::of(without).functions();
    let own: BTreeSet<_> = &Abi::of(of).functions() - &inherited;
    assert_eq!(selectors::<I>(), own, "functions of {}", I::NAME);
}

/// The same for events, whose first topics are `known`.
fn events(known: &[[u8; 32]], of: &[&str], without: &[&str]) {
    let known: BTreeSet<_> = known.iter().copied().collect();
    let inherited = Abi::of(without).events();
    let own: BTreeSet<_> = &Abi::of(of).events() - &inherited;
    assert_eq!(known, own);
}

#[test]
fn functions_are_the_contracts() {
    let consumer = [
        artifacts::BASE_CONSUMER,
        artifacts::DELEGATOR,
        artifacts::ALLOWLIST,
    ];
    functions::<Registry::RegistryCalls>(&[artifacts::REGISTRY], &[]);
    functions::<Coordinator::CoordinatorCalls>(&[artifacts::EIP712_COORDINATOR], &[]);
    functions::<Inbox::InboxCalls>(&[artifacts::INBOX], &[]);
    functions::<Reader::ReaderCalls>(&[artifacts::READER], &[]);
    functions::<Ownable::OwnableCalls>(&[artifacts::OWNABLE], &[]);
    functions::<Fee::FeeCalls>(&[artifacts::FEE], &[artifacts::OWNABLE]);
    functions::<Wallet::WalletCalls>(&[artifacts::WALLET], &[artifacts::OWNABLE]);
    functions::<WalletFactory::WalletFactoryCalls>(
        &[artifacts::WALLET_FACTORY],
        &[artifacts::WALLET],
    );
    functions::<Verifier::VerifierCalls>(&[artifacts::I_VERIFIER], &[]);
    functions::<Consumer::ConsumerCalls>(&consumer, &[]);
    functions::<IrisConsumer::IrisConsumerCalls>(&[artifacts::IRIS_CONSUMER], &consumer);
    functions::<PlainConsumer::PlainConsumerCalls>(&[artifacts::PLAIN_CONSUMER], &consumer);
    functions::<MockVerifier::MockVerifierCalls>(
        &[artifacts::MOCK_VERIFIER],
        &[artifacts::I_VERIFIER],
    );
    functions::<ScriptedConsumer::ScriptedConsumerCalls>(
        &[artifacts::SCRIPTED_CONSUMER],
        &consumer,
    );
    functions::<ScriptedVerifier::ScriptedVerifierCalls>(
        &[artifacts::SCRIPTED_VERIFIER],
        &[artifacts::I_VERIFIER],
    );
    functions::<ScriptedToken::ScriptedTokenCalls>(&[artifacts::SCRIPTED_TOKEN], &[]);
}

#[test]
fn events_are_the_contracts() {
    events(
        Coordinator::CoordinatorEvents::SELECTORS,
        &[artifacts::EIP712_COORDINATOR],
        &[],
    );
    events(Inbox::InboxEvents::SELECTORS, &[artifacts::INBOX], &[]);
    events(
        Ownable::OwnableEvents::SELECTORS,
        &[artifacts::OWNABLE],
        &[],
    );
    events(
        Fee::FeeEvents::SELECTORS,
        &[artifacts::FEE],
        &[artifacts::OWNABLE],
    );
    events(
        Wallet::WalletEvents::SELECTORS,
        &[artifacts::WALLET],
        &[artifacts::OWNABLE],
    );
    events(
        WalletFactory::WalletFactoryEvents::SELECTORS,
        &[artifacts::WALLET_FACTORY],
        &[artifacts::WALLET],
    );
    events(
        Consumer::ConsumerEvents::SELECTORS,
        &[artifacts::DELEGATOR, artifacts::ALLOWLIST],
        &[],
    );
    events(
        ScriptedConsumer::ScriptedConsumerEvents::SELECTORS,
        &[artifacts::SCRIPTED_CONSUMER],
        &[artifacts::DELEGATOR],
    );
    events(
        ScriptedVerifier::ScriptedVerifierEvents::SELECTORS,
        &[artifacts::SCRIPTED_VERIFIER],
        &[],
    );
    events(
        ScriptedToken::ScriptedTokenEvents::SELECTORS,
        &[artifacts::SCRIPTED_TOKEN],
        &[],
    );
}

#[test]
fn errors_are_those_of_all_contracts_that_a_node_meets() {
    let all = Abi::of(&[
        artifacts::EIP712_COORDINATOR,
        artifacts::INBOX,
        artifacts::FEE,
        artifacts::WALLET_FACTORY,
        artifacts::BASE_CONSUMER,
        artifacts::ALLOWLIST,
    ]);
    assert_eq!(selectors::<Errors::ErrorsErrors>(), all.errors());
}

#[test]
fn every_deployed_contract_has_code() {
    for (artifact, least) in [
        (artifacts::REGISTRY, 500),
        (artifacts::EIP712_COORDINATOR, 10_000),
        (artifacts::CANCUN_EIP712_COORDINATOR, 10_000),
    ] {
        let code = infernet_contracts::creation_code(artifact).expect("code");
        assert!(code.len() > least, "{} bytes", code.len());
    }
    assert_eq!(infernet_contracts::creation_code("{}"), None);
    assert_eq!(infernet_contracts::creation_code("no JSON"), None);
}
