//! The proof flow at a running node, on the real contracts: stake, verdicts, and a week without one.
//! Each time the node's books say what the chain holds.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{
    primitives::{Address, Bytes, TxKind, U256},
    providers::Provider as _,
    rpc::types::TransactionRequest,
    sol,
    sol_types::{SolCall, SolEvent as _, SolValue as _},
};
use axum::{Json, Router, routing::post};
use infernet_contracts::{Coordinator, Wallet, artifacts, convert, creation_code};
use infernet_node::{
    api::ApiConfig,
    chain::signer::NodeKey,
    config::AllowedIps,
    container::{Container, Containers, Remote},
    copies::Wanted,
    dev::{self, Role, Sender},
    devnet::{Devnet, DevnetConfig},
    driver::Policy,
    node::{ChainParts, Node, Parts},
};
use infernet_state::{
    Config,
    config::{ContainerConfig, Limits},
    types::JobNo,
};
use serde_json::{Value, json};

sol! {
    interface Plain {
        function requestCompute(
            string calldata containerId,
            bytes calldata inputs,
            uint16 redundancy,
            address paymentToken,
            uint256 paymentAmount,
            address wallet,
            address verifier
        ) external returns (uint32);
    }

    interface Optimistic {
        function setFee(address token, bool supported, uint256 amount) external;
        function challenge(uint32 subscriptionId, uint32 interval, address node) external payable;
        function rule(uint32 subscriptionId, uint32 interval, address node, bool valid) external;
    }
}

const PATIENCE: Duration = Duration::from_secs(120);

const CONTAINER: &str = "prover";

const PRICE: i128 = 10_000_000_000_000_000;

/// What the verifier asks for, of the price.
const VERIFIER_FEE: i128 = PRICE / 10;

/// The protocol takes 5 % of the price on both sides.
const PROTOCOL_OF_PRICE: i128 = PRICE / 10;

/// And 5 % of the verifier's fee.
const PROTOCOL_OF_FEE: i128 = VERIFIER_FEE / 20;

/// What is locked in the consumer's wallet for the node.
const ESCROW: i128 = PRICE - PROTOCOL_OF_PRICE - VERIFIER_FEE;

/// What a challenge costs, in wei.
const BOND: u64 = 1;

/// The node's wallet at first: enough for stakes.
const FUNDS: i128 = 5 * PRICE;

const COIN: Address = Address::ZERO;

/// The node's books in the native coin: debits less credits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Books {
    account: i128,
    wallet: i128,
    receivable: i128,
    escrow: i128,
    stake: i128,
    earnings: i128,
    protocol: i128,
    verifiers: i128,
    slashes: i128,
}

/// The same as the chain has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Held {
    account: i128,
    wallet: i128,
    stake: i128,
    escrow: i128,
}

struct Scene {
    devnet: Devnet,
    node: Node,
    verifier: Address,
    consumer: Address,
    payer: Sender,
    judge: Sender,
    _home: tempfile::TempDir,
}

fn wei(amount: i128) -> U256 {
    U256::from(u128::try_from(amount).expect("positive"))
}

async fn prove() -> Json<Value> {
    Json(json!({
        "raw_input": "01", "processed_input": null,
        "raw_output": "02", "processed_output": null, "proof": "03",
    }))
}

async fn send(sender: &Sender, to: Address, call: Vec<u8>, value: U256) {
    let to = TxKind::Call(to);
    let receipt = sender.send("a step of the test", to, call, value).await;
    receipt.expect("the chain takes it");
}

/// A consumer that takes every answer, and asks for whatever it is told to.
async fn consumer(owner: &Sender) -> Address {
    let arguments = (dev::REGISTRY, owner.address()).abi_encode_params();
    let code = creation_code(artifacts::PLAIN_CONSUMER).expect("an artifact");
    let code = [&code[..], &arguments].concat();
    let created = owner
        .send("the consumer", TxKind::Create, code, U256::ZERO)
        .await;
    created
        .expect("created")
        .contract_address
        .expect("a contract")
}

impl Scene {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let prover = format!("http://{}", listener.local_addr().expect("bound"));
        let router = Router::new().route("/service_output", post(prove));
        tokio::spawn(async move { axum::serve(listener, router).await });

        let devnet = Devnet::start(DevnetConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            ..DevnetConfig::default()
        })
        .await
        .expect("a chain");
        let rpc = devnet.url();
        dev::deploy(&rpc).await.expect("contracts");
        let judge = Sender::connect(&rpc, Role::Deployer.signer())
            .await
            .expect("connects");
        let payer = Sender::connect(&rpc, Role::Consumer.signer())
            .await
            .expect("connects");
        let arguments = (dev::REGISTRY, judge.address(), U256::from(BOND)).abi_encode_params();
        let code = creation_code(artifacts::OPTIMISTIC_VERIFIER).expect("an artifact");
        let receipt = judge
            .send(
                "the verifier",
                TxKind::Create,
                [&code[..], &arguments].concat(),
                U256::ZERO,
            )
            .await
            .expect("created");
        let verifier = receipt.contract_address.expect("a contract");
        let fee = Optimistic::setFeeCall {
            token: COIN,
            supported: true,
            amount: wei(VERIFIER_FEE),
        };
        send(&judge, verifier, fee.abi_encode(), U256::ZERO).await;
        send(&judge, dev::NODE_WALLET, Vec::new(), wei(FUNDS)).await;
        let consumer = consumer(&judge).await;
        let allowance = Wallet::approveCall {
            spender: consumer,
            token: COIN,
            amount: wei(100 * PRICE),
        };
        send(
            &payer,
            dev::CONSUMER_WALLET,
            allowance.abi_encode(),
            U256::ZERO,
        )
        .await;

        let home = tempfile::tempdir().expect("a directory");
        let node = Node::start(Parts {
            data_dir: home.path().join("node"),
            api: ApiConfig {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                rate_limit: None,
                development: None,
            },
            config: Config {
                containers: vec![ContainerConfig {
                    id: CONTAINER.into(),
                    external: true,
                    generates_proofs: true,
                    rerun: true,
                    ..ContainerConfig::default()
                }],
                limits: Limits::default(),
                ..Config::default()
            },
            containers: Containers::new(vec![Container {
                id: CONTAINER.into(),
                backend: Arc::new(Remote::new(CONTAINER, &prover, None).expect("a URL")),
                legacy_http_status: false,
            }])
            .expect("one container"),
            chain: Some(ChainParts {
                rpc_url: rpc,
                registry: convert::from_address(dev::REGISTRY),
                key: NodeKey::from_hex(Role::Node.key()).expect("a key"),
                payment_wallet: Some(convert::from_address(dev::NODE_WALLET)),
                trail_head_blocks: 0,
                poll: Duration::from_millis(20),
                gas_limit_max: 5_000_000,
                max_fee_per_gas_cap: 500_000_000_000,
            }),
            lift_quarantine: false,
            allowed_ips: AllowedIps::default(),
            copies: Wanted::default(),
            upkeep: Policy::default(),
        })
        .await
        .expect("a node");
        Self {
            devnet,
            node,
            verifier,
            consumer,
            payer,
            judge,
            _home: home,
        }
    }

    /// The consumer asks for an answer with a proof.
    async fn ask(&self) -> u32 {
        let call = Plain::requestComputeCall {
            containerId: CONTAINER.into(),
            inputs: Bytes::from_static(b"a question"),
            redundancy: 1,
            paymentToken: COIN,
            paymentAmount: wei(PRICE),
            wallet: dev::CONSUMER_WALLET,
            verifier: self.verifier,
        };
        let to = TxKind::Call(self.consumer);
        let asked = self
            .payer
            .send("the request", to, call.abi_encode(), U256::ZERO)
            .await;
        let receipt = asked.expect("the chain takes it");
        let mut logs = receipt.logs().iter();
        let created =
            logs.find_map(|log| Coordinator::SubscriptionCreated::decode_log(&log.inner).ok());
        created.expect("its event").id
    }

    /// Somebody doubts an answer, and the verifier rules.
    async fn rule(&self, id: u32, valid: bool) {
        let node = Role::Node.signer().address();
        let challenge = Optimistic::challengeCall {
            subscriptionId: id,
            interval: 1,
            node,
        };
        send(
            &self.payer,
            self.verifier,
            challenge.abi_encode(),
            U256::from(BOND),
        )
        .await;
        let rule = Optimistic::ruleCall {
            subscriptionId: id,
            interval: 1,
            node,
            valid,
        };
        send(&self.judge, self.verifier, rule.abi_encode(), U256::ZERO).await;
    }

    /// The chain's clock moves on, and a block shows it.
    async fn travel(&self, seconds: u64) {
        let provider = self.judge.provider();
        let moved: Value = provider
            .raw_request("evm_increaseTime".into(), [seconds])
            .await
            .expect("time passes");
        assert!(!moved.is_null());
        let _: Value = provider
            .raw_request("evm_mine".into(), ())
            .await
            .expect("a block");
    }

    async fn books(&self) -> Books {
        let url = format!("http://{}/api/ledger", self.node.admin_addr());
        let ledger: Value = reqwest::get(url)
            .await
            .expect("answers")
            .json()
            .await
            .expect("JSON");
        assert_eq!(ledger["balanced"], true, "{ledger}");
        let mut books = Books::default();
        for account in ledger["accounts"].as_array().expect("a list") {
            let balance = account["balance"].as_str().expect("a balance");
            let (amount, side) = balance.split_once(' ').expect("an amount and its side");
            let amount: i128 = amount.parse().expect("a number");
            let amount = if side == "credit" { -amount } else { amount };
            match account["role"].as_str().expect("a role") {
                "NodeAccount" => books.account = amount,
                "NodeWallet" => books.wallet = amount,
                "Receivable" => books.receivable = amount,
                "Escrow" => books.escrow = amount,
                "Stake" => books.stake = amount,
                "Earnings" => books.earnings = amount,
                "ProtocolFees" => books.protocol = amount,
                "VerifierFees" => books.verifiers = amount,
                "Slashes" => books.slashes = amount,
                "Gas" | "DataFees" | "Suspense" | "Owner" => {}
                other => panic!("an account of the role {other}"),
            }
        }
        books
    }

    async fn held(&self) -> Held {
        let provider = self.judge.provider();
        let coins = async |of: Address| {
            let balance = provider.get_balance(of).await.expect("a balance");
            i128::try_from(balance).expect("a few coins")
        };
        let locked = async |wallet: Address| {
            let call = Wallet::lockedBalanceCall { token: COIN };
            i128::try_from(read(&self.judge, wallet, &call).await).expect("a few coins")
        };
        Held {
            account: coins(Role::Node.signer().address()).await,
            wallet: coins(dev::NODE_WALLET).await,
            stake: locked(dev::NODE_WALLET).await,
            escrow: locked(dev::CONSUMER_WALLET).await,
        }
    }

    /// Waits until the books are those of the chain, and what is expected of both.
    async fn agree(&self, what: &str, expected: Books) {
        let begun = Instant::now();
        loop {
            let (books, held) = (self.books().await, self.held().await);
            let as_held = Held {
                account: books.account,
                wallet: books.wallet + books.stake,
                stake: books.stake,
                escrow: books.escrow,
            };
            let as_expected = Books {
                account: books.account,
                ..expected
            };
            if as_held == held && books == as_expected {
                return;
            }
            if begun.elapsed() > PATIENCE {
                let work = self.node.handle().view(|machine| {
                    let jobs: Vec<_> = machine.jobs().range_from(JobNo(0)).collect();
                    format!("{jobs:#?}\n{:#?}", machine.deliveries())
                });
                panic!("{what}: {books:#?}\nthe chain: {held:#?}\nexpected: {expected:#?}\n{work}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn read<C: SolCall>(of: &Sender, to: Address, call: &C) -> C::Return {
    let request = TransactionRequest::default()
        .to(to)
        .input(call.abi_encode().into());
    let answer = of.provider().call(request).await.expect("readable");
    C::abi_decode_returns(&answer).expect("decodes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_follow_a_proof_to_its_end() {
    let scene = Scene::start().await;
    let mut books = Books {
        wallet: FUNDS,
        ..Books::default()
    };
    scene.agree("at first", books).await;

    // The stake is approved and locked, the answer delivered, the fees paid.
    let deliver = |books: Books| Books {
        wallet: books.wallet - PRICE,
        stake: books.stake + PRICE,
        escrow: books.escrow + ESCROW,
        earnings: books.earnings - PRICE,
        protocol: books.protocol + PROTOCOL_OF_PRICE + PROTOCOL_OF_FEE,
        verifiers: books.verifiers + VERIFIER_FEE - PROTOCOL_OF_FEE,
        ..books
    };
    let paid = |books: Books| Books {
        wallet: books.wallet + PRICE + ESCROW,
        stake: books.stake - PRICE,
        escrow: books.escrow - ESCROW,
        ..books
    };
    let id = scene.ask().await;
    books = deliver(books);
    scene.agree("a proof is open", books).await;
    scene.rule(id, true).await;
    books = paid(books);
    scene.agree("it was valid", books).await;

    let id = scene.ask().await;
    books = deliver(books);
    scene.agree("another is open", books).await;
    scene.rule(id, false).await;
    books = Books {
        stake: books.stake - PRICE,
        escrow: books.escrow - ESCROW,
        earnings: books.earnings + ESCROW,
        slashes: books.slashes + PRICE,
        ..books
    };
    scene.agree("it was not valid", books).await;

    // Nobody rules: the node finalises it itself when the week has passed.
    scene.ask().await;
    books = deliver(books);
    scene.agree("a third is open", books).await;
    scene.travel(infernet_state::proof::PROOF_WEEK_S).await;
    books = paid(books);
    scene.agree("nobody judged it", books).await;

    let Scene { node, devnet, .. } = scene;
    node.run(std::future::ready(())).await.expect("ends well");
    devnet.shutdown().await;
}
