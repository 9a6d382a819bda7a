//! Contracts, accounts and a node's chain edge on an anvil of its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy::sol_types::SolValue as _;
use infernet_node::{
    chain::{
        connect::{ChainConnection, Target},
        convert,
        reads::ChainReads,
        signer::NodeKey,
        transactions::Transactions,
        watcher::{Finality, Watcher, WatcherConfig, WatcherStatus},
    },
    dev,
    driver::payload,
    executor::{Ended, PayloadError, Payloads},
};
use infernet_state::{
    Effect, Issued,
    effect::{Action, Delivery},
    event::{Outcome, Success},
    types::{EffectId, Hash, Interval, Nonce, PayloadAt, Seq, SubscriptionId},
};
use tower::ServiceExt as _;

use super::{Anvil, Gate, Recorder};

/// The development mnemonic's second account: the node.
const NODE_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

/// Bytes by their hash, as a log would have them.
#[derive(Clone, Default)]
pub struct Bytes(Arc<Mutex<BTreeMap<Hash, Vec<u8>>>>);

impl Bytes {
    pub fn put(&self, bytes: Vec<u8>) -> PayloadAt {
        let payload = payload(bytes);
        let mut kept = self.0.lock().expect("unpoisoned");
        kept.insert(payload.reference.hash, payload.bytes);
        PayloadAt {
            seq: Seq(1),
            payload: payload.reference,
        }
    }

    pub fn get(&self, at: PayloadAt) -> Vec<u8> {
        self.fetch(at).expect("it was put")
    }
}

impl Payloads for Bytes {
    fn fetch(&self, at: PayloadAt) -> Result<Vec<u8>, PayloadError> {
        let hash = at.payload.hash;
        let kept = self.0.lock().expect("unpoisoned");
        kept.get(&hash)
            .cloned()
            .ok_or(PayloadError::Erased { hash })
    }
}

/// An anvil with the contracts, a gate before it, and the chain edge of a node behind the gate.
pub struct World {
    pub anvil: Anvil,
    pub gate: Gate,
    pub connection: ChainConnection,
    pub recorder: Recorder,
    pub bytes: Bytes,
    pub key: NodeKey,
}

impl World {
    pub async fn start() -> Self {
        let anvil = Anvil::start().await;
        dev::deploy(anvil.url()).await.expect("the contracts stand");
        let gate = Gate::before(anvil.url()).await;
        let target = Target {
            url: gate.url().to_owned(),
            registry: convert::from_address(dev::REGISTRY),
            chain_id: Some(31337),
            wait: false,
        };
        let connection = ChainConnection::connect(&target).await.expect("connected");
        Self {
            anvil,
            gate,
            connection,
            recorder: Recorder::default(),
            bytes: Bytes::default(),
            key: NodeKey::from_hex(NODE_KEY).expect("a key"),
        }
    }

    pub fn config(&self) -> WatcherConfig {
        WatcherConfig {
            payment_wallet: Some(convert::from_address(dev::NODE_WALLET)),
            poll: Duration::from_millis(20),
            finality: Finality::Depth(1_000),
            ..WatcherConfig::new(self.key.address())
        }
    }

    /// Starts a watcher; it stops when the returned value is dropped.
    pub fn watch(&self, config: WatcherConfig) -> Watching {
        let watcher = Watcher::new(self.connection.clone(), config, self.recorder.clone());
        let status = watcher.status();
        let task = tokio::spawn(watcher.run(std::future::pending()));
        Watching { task, status }
    }

    /// The example consumer asks.
    pub async fn ask(&self) -> u32 {
        let flower = "5.1,3.5,1.4,0.2".parse().expect("a flower");
        let asked = dev::ask_onchain(self.anvil.url(), flower).await;
        asked.expect("asked").id
    }

    pub async fn read(&self, effect: Effect) -> Ended {
        let service = ChainReads::new(self.connection.clone(), self.bytes.clone());
        service.oneshot(issued(effect)).await.expect("it ends")
    }

    pub async fn transact(&self, effect: Effect) -> Ended {
        let service = Transactions::new(
            self.connection.clone(),
            self.key.clone(),
            self.bytes.clone(),
        );
        service.oneshot(issued(effect)).await.expect("it ends")
    }

    pub fn deliver(&self, id: u32) -> Action {
        Action::Deliver(Delivery {
            subscription: SubscriptionId(id),
            interval: Interval(1),
            input: self.bytes.put(Vec::new()),
            output: self.bytes.put(answer()),
            proof: self.bytes.put(Vec::new()),
            node_wallet: convert::from_address(dev::NODE_WALLET),
        })
    }

    /// Signs, with fees that are always enough here.
    pub async fn sign(&self, nonce: u64, action: Action, fee: u128) -> (Hash, PayloadAt) {
        let ended = self
            .transact(Effect::Sign {
                chain_id: 31337,
                nonce: Nonce(nonce),
                action,
                gas_limit: 1_000_000,
                max_fee_per_gas: fee,
                max_priority_fee_per_gas: 1_000_000_000,
            })
            .await;
        let Outcome::Succeeded(Success::Signed { tx, raw }) = ended.outcome else {
            panic!("not signed: {ended:?}");
        };
        let at = self.bytes.put(ended.payloads[0].bytes.clone());
        assert_eq!(at.payload, raw);
        (tx, at)
    }

    /// Sends a transaction and waits until the chain has it: anvil mines after it answers.
    pub async fn include(&self, nonce: u64, tx: Hash, raw: PayloadAt) {
        self.broadcast(nonce, tx, raw).await;
        for _ in 0..500 {
            let params = serde_json::json!([tx.to_string()]);
            let receipt = self
                .anvil
                .request("eth_getTransactionReceipt", params)
                .await;
            if !receipt.is_null() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{tx} was not included");
    }

    pub async fn broadcast(&self, nonce: u64, tx: Hash, raw: PayloadAt) -> Outcome {
        let nonce = Nonce(nonce);
        self.transact(Effect::Broadcast { tx, nonce, raw })
            .await
            .outcome
    }
}

pub struct Watching {
    task: tokio::task::JoinHandle<()>,
    pub status: tokio::sync::watch::Receiver<WatcherStatus>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn issued(effect: Effect) -> Issued {
    Issued {
        id: EffectId {
            seq: Seq(1),
            ordinal: 0,
        },
        attempt: 1,
        effect,
    }
}

/// An output that the example consumer takes: a vector of three probabilities.
pub fn answer() -> Vec<u8> {
    let bits = |value: f32| i32::from_be_bytes(value.to_bits().to_be_bytes());
    let values = vec![bits(0.9), bits(0.06), bits(0.04)];
    let vector = (0_u16, 0_u16, 1_u16, vec![3_u16], values).abi_encode_params();
    (
        alloy::primitives::Bytes::from(vector),
        alloy::primitives::Bytes::new(),
    )
        .abi_encode_params()
}

/// Waits for something that must come.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1_500 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came: {what}");
}
