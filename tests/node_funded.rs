//! What a consumer has locked, on a real chain with a real node: a funded subscription is served
//! although its owner's allowance is used up, and nothing is computed for one whose money is
//! locked for others.

mod node_common;

use std::collections::BTreeMap;

use alloy::{
    primitives::{Address, TxKind, U256},
    sol_types::{SolCall, SolValue as _},
};
use infernet_contracts::{Coordinator, PlainConsumer, Wallet, artifacts, creation_code};
use infernet_node::{
    dev::{self, Role, Sender},
    log::{EventLog as _, LogReader as _},
};
use infernet_state::{
    Effect, Machine,
    admission::Reason,
    effect::Purpose,
    job::{Cause, Stage},
    ledger::{Balance, Role as Account},
    types::{Interval, SubscriptionId},
};
use node_common::{Outside, event, open_log};
use serde_json::{Value, json};

/// The chain, as its consumers use it.
struct Consumers {
    url: String,
    coordinator: Address,
    /// Owns the wallet that pays all of them.
    owner: Sender,
}

impl Consumers {
    async fn rpc(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let sent = reqwest::Client::new().post(&self.url).json(&body).send();
        let answer: Value = sent.await.expect("sent").json().await.expect("JSON");
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The example consumer itself calls: it has no key, and no contract sends transactions, so
    /// its code is away meanwhile.
    async fn as_example(&self, to: Address, call: impl SolCall) {
        let data = alloy::hex::encode_prefixed(call.abi_encode());
        let call = json!({"from": dev::CONSUMER, "to": to, "data": data, "gas": "0x100000"});
        let code = self
            .rpc("eth_getCode", json!([dev::CONSUMER, "latest"]))
            .await;
        self.rpc("anvil_setCode", json!([dev::CONSUMER, "0x"]))
            .await;
        self.rpc("eth_sendTransaction", json!([call])).await;
        self.rpc("anvil_setCode", json!([dev::CONSUMER, code]))
            .await;
    }

    async fn allow(&self, spender: Address, amount: U256) {
        let call = Wallet::approveCall {
            spender,
            token: Address::ZERO,
            amount,
        };
        self.call(dev::CONSUMER_WALLET, call).await;
    }

    async fn call(&self, to: Address, call: impl SolCall) {
        let sent = self
            .owner
            .send("a call", TxKind::Call(to), call.abi_encode(), U256::ZERO);
        sent.await.expect("it is included");
    }

    /// A consumer of its own, allowed to spend all there is.
    async fn another(&self) -> Address {
        let mut code = creation_code(artifacts::PLAIN_CONSUMER)
            .expect("an artifact")
            .to_vec();
        code.extend((dev::REGISTRY, Address::ZERO).abi_encode_params());
        let created = self
            .owner
            .send("a contract", TxKind::Create, code, U256::ZERO);
        let consumer = created.await.expect("it is included").contract_address;
        let consumer = consumer.expect("a contract");
        self.allow(consumer, U256::MAX).await;
        consumer
    }

    async fn balance(&self) -> U256 {
        use alloy::providers::Provider as _;

        let balance = self.owner.provider().get_balance(dev::CONSUMER_WALLET);
        balance.await.expect("the chain answers")
    }
}

/// Locks a price for the first subscription, and all that is left of the wallet for a second one,
/// which nobody serves; a third one is paid from the same wallet.
async fn prepare(outside: &Outside) {
    let chain = outside.chain.as_ref().expect("a chain");
    let url = chain.devnet.url();
    let owner = Sender::connect(&url, Role::Consumer.signer()).await;
    let consumers = Consumers {
        coordinator: "0x2E983A1Ba5e8b38AAAeC4B440B9dDcFBf72E15d1"
            .parse()
            .expect("an address"),
        owner: owner.expect("connected"),
        url,
    };
    let ether = format!("{:#x}", 10_u128.pow(18));
    let example = dev::CONSUMER;
    consumers
        .rpc("anvil_setBalance", json!([example, ether]))
        .await;
    consumers
        .rpc("anvil_impersonateAccount", json!([example]))
        .await;
    let coordinator = consumers.coordinator;
    let fund = |id| Coordinator::fundSubscriptionCall { subscriptionId: id };
    consumers.as_example(coordinator, fund(1)).await;
    let create = Coordinator::createSubscriptionCall {
        containerId: "nobody serves this".to_owned(),
        frequency: 1,
        period: 0,
        redundancy: 1,
        lazy: false,
        paymentToken: Address::ZERO,
        paymentAmount: consumers.balance().await - dev::PRICE,
        wallet: dev::CONSUMER_WALLET,
        verifier: Address::ZERO,
    };
    consumers.as_example(coordinator, create).await;
    consumers.as_example(coordinator, fund(2)).await;
    consumers.allow(example, U256::ZERO).await;
    let another = consumers.another().await;
    let request = PlainConsumer::requestComputeCall {
        containerId: dev::CONTAINER.to_owned(),
        inputs: vec![1, 2, 3].into(),
        redundancy: 1,
        paymentToken: Address::ZERO,
        paymentAmount: dev::PRICE,
        wallet: dev::CONSUMER_WALLET,
        verifier: Address::ZERO,
    };
    consumers.call(another, request).await;
}

/// What a log leads to, and how often a container was called for each subscription.
fn replay(outside: &Outside) -> (Machine, BTreeMap<u32, usize>) {
    let log = open_log(&outside.data_dir());
    let reader = log.reader();
    let mut machine = Machine::new();
    let mut calls = BTreeMap::new();
    for seq in 1..=reader.head().seq.0 {
        let issued = machine.apply(&event(&reader, seq)).expect("no halt");
        for issued in issued {
            if let Effect::RunContainer(call) = issued.effect
                && let Purpose::Interval { subscription, .. } = call.purpose
            {
                *calls.entry(subscription.0).or_default() += 1;
            }
        }
    }
    (machine, calls)
}

#[test]
fn what_is_locked_for_a_subscription_pays_it_and_no_other() {
    let outside = Outside::new(true);
    outside.configure("");
    outside.ask("", 0, 1);
    outside.runtime.block_on(prepare(&outside));
    let mut node = outside.start(outside.command(&[]));
    let api = node.api().expect("it comes up");
    outside.settle(&api);
    outside.judge_chain();
    node.stop();

    let (machine, calls) = replay(&outside);
    let stage = |id| {
        let found = machine.jobs().by_interval(SubscriptionId(id), Interval(1));
        found.map(|(_, job)| job.stage)
    };
    assert_eq!(stage(2), None);
    let locked = Stage::Failed(Cause::Refused(Reason::BalanceTooLow));
    assert_eq!(stage(3), Some(locked));
    assert_eq!(calls, BTreeMap::from([(1, 1)]), "calls by subscription");
    let price = u128::try_from(dev::PRICE).expect("a small price");
    let native = infernet_state::types::Address::ZERO;
    let books = |account| machine.ledger().totals(account, native).balance();
    assert_eq!(books(Account::Earnings), Balance::Credit(price.into()));
    assert_eq!(books(Account::Receivable), Balance::Debit(0.into()));
}
