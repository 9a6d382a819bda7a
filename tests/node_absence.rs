//! The real node comes back after an absence in which another node worked: it calls no container for
//! what that one answered, and serves what is open now, once.

mod node_common;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use alloy::{
    hex,
    primitives::{Address, B256, Bytes, TxKind, U256, address},
    providers::Provider as _,
    rpc::types::Filter,
    sol_types::{SolCall, SolEvent as _, SolValue as _},
};
use infernet_contracts::{Consumer, Coordinator};
use infernet_node::{
    dev::{self, Role, Sender},
    log::{EventLog as _, LogReader as _},
};
use infernet_state::{Effect, Machine, effect::Purpose, types::Interval};
use node_common::{Outside, PATIENCE, event, open_log};
use serde_json::{Value, json};

/// Callbacks that another node answers.
const CALLBACKS: u64 = 5;

/// Intervals that it answers; the next one is open.
const INTERVALS: u32 = 3;

/// Seconds of an interval.
const PERIOD: u32 = 600;

/// Owns the subscription: without a key, and whatever it is asked, it gives the same inputs.
const OWNER: Address = address!("00000000000000000000000000000000c0ffee00");

const COORDINATOR: Address = address!("2E983A1Ba5e8b38AAAeC4B440B9dDcFBf72E15d1");

/// The chain, and another node on it.
struct Others {
    url: String,
    node: Sender,
}

impl Others {
    async fn rpc(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let sent = reqwest::Client::new().post(&self.url).json(&body).send();
        let answer: Value = sent.await.expect("sent").json().await.expect("JSON");
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// A subscription without a price, whose inputs are those of the first callback.
    async fn subscribe(&self) {
        let ether = format!("{:#x}", 10_u128.pow(18));
        self.rpc("anvil_setBalance", json!([OWNER, ether])).await;
        self.rpc("anvil_impersonateAccount", json!([OWNER])).await;
        let create = Coordinator::createSubscriptionCall {
            containerId: dev::CONTAINER.to_owned(),
            frequency: 1_000,
            period: PERIOD,
            redundancy: 1,
            lazy: false,
            paymentToken: Address::ZERO,
            paymentAmount: U256::ZERO,
            wallet: Address::ZERO,
            verifier: Address::ZERO,
        };
        let data = hex::encode_prefixed(create.abi_encode());
        let call = json!({"from": OWNER, "to": COORDINATOR, "data": data, "gas": "0x100000"});
        self.rpc("eth_sendTransaction", json!([call])).await;
        let inputs = Consumer::getContainerInputsCall {
            subscriptionId: 1,
            interval: 1,
            timestamp: 0,
            caller: Address::ZERO,
        };
        let data = hex::encode_prefixed(inputs.abi_encode());
        let call = json!({"to": dev::CONSUMER, "data": data});
        let inputs = self.rpc("eth_call", json!([call, "latest"])).await;
        let inputs = hex::decode(inputs.as_str().expect("bytes")).expect("bytes");
        let [high, low] = u16::try_from(inputs.len()).expect("short").to_be_bytes();
        // CODECOPY what is behind these 15 bytes, and RETURN it.
        let mut code = vec![0x61, high, low, 0x60, 15, 0x60, 0, 0x39];
        code.extend([0x61, high, low, 0x60, 0, 0xf3, 0]);
        code.extend(inputs);
        let code = hex::encode_prefixed(code);
        self.rpc("anvil_setCode", json!([OWNER, code])).await;
    }

    async fn answer(&self, id: u32, interval: u32) {
        // A vector of three float32 values, as the example consumer takes it.
        let values = vec![1_i32, 2, 3];
        let vector = (0_u16, 0_u16, 1_u16, vec![3_u16], values).abi_encode_params();
        let call = Coordinator::deliverComputeCall {
            subscriptionId: id,
            deliveryInterval: interval,
            input: Bytes::new(),
            output: (Bytes::from(vector), Bytes::new())
                .abi_encode_params()
                .into(),
            proof: Bytes::new(),
            nodeWallet: dev::CONSUMER_WALLET,
        };
        let to = TxKind::Call(COORDINATOR);
        let sent = self
            .node
            .send("an answer", to, call.abi_encode(), U256::ZERO);
        sent.await.expect("it is included");
    }

    async fn pass(&self, seconds: u32) {
        self.rpc("evm_increaseTime", json!([seconds])).await;
        self.rpc("evm_mine", json!([])).await;
    }

    /// How often somebody answered a subscription.
    async fn answers(&self, id: u32) -> usize {
        let filter = Filter::new()
            .event_signature(Coordinator::SubscriptionFulfilled::SIGNATURE_HASH)
            .topic1(B256::from(U256::from(id)))
            .from_block(0);
        let logs = self.node.provider().get_logs(&filter).await;
        logs.expect("the chain answers").len()
    }
}

/// What goes on in the absence: the subscription is made, then callbacks and intervals are answered.
async fn work_without_it(outside: &Outside) -> Others {
    let url = outside.chain.as_ref().expect("a chain").devnet.url();
    let node = Sender::connect(&url, Role::FeeRecipient.signer()).await;
    let others = Others {
        node: node.expect("connected"),
        url,
    };
    others.subscribe().await;
    for _ in 0..CALLBACKS {
        let flower = "5.1,3.5,1.4,0.2".parse().expect("a flower");
        let asked = dev::ask_onchain(&others.url, flower).await.expect("asked");
        others.answer(asked.id, 1).await;
    }
    for interval in 1..=INTERVALS {
        others.pass(PERIOD).await;
        others.answer(2, interval).await;
    }
    others.pass(PERIOD).await;
    others
}

#[test]
fn a_node_that_comes_back_does_not_work_on_what_others_answered() {
    let outside = Outside::new(true);
    outside.configure("");
    let mut node = outside.start(outside.command(&[]));
    let api = node.api().expect("it comes up");
    outside.ask(&api, 0, 1);
    outside.settle(&api);
    node.stop();
    let others = outside.runtime.block_on(work_without_it(&outside));

    let mut node = outside.start(outside.command(&[]));
    let api = node.api().expect("it comes back");
    let begun = Instant::now();
    let answered = usize::try_from(INTERVALS).expect("small") + 1;
    while outside.runtime.block_on(others.answers(2)) < answered {
        assert!(begun.elapsed() < PATIENCE, "the running interval is open");
        std::thread::sleep(Duration::from_millis(50));
    }
    outside.wait_until_idle(&api);
    node.stop();

    let log = open_log(&outside.data_dir());
    let reader = log.reader();
    let mut machine = Machine::new();
    let mut calls: BTreeMap<(u32, Interval), usize> = BTreeMap::new();
    let mut was_away = false;
    for seq in 1..=reader.head().seq.0 {
        let issued = machine.apply(&event(&reader, seq)).expect("no halt");
        was_away |= machine.chain().catching_up.is_some();
        for issued in issued {
            if let Effect::RunContainer(call) = issued.effect
                && let Purpose::Interval {
                    subscription,
                    interval,
                    ..
                } = call.purpose
            {
                *calls.entry((subscription.0, interval)).or_default() += 1;
            }
        }
    }
    assert!(was_away);
    let served = [((1, Interval(1)), 1), ((2, Interval(INTERVALS + 1)), 1)];
    assert_eq!(calls, BTreeMap::from(served), "calls of the container");
    assert_eq!(machine.chain().catching_up, None);
}
