//! Delegated, proven and batched deliveries against the real contracts, and the embedded chain.

mod chain_support;

use alloy::{
    primitives::{Address, U256, keccak256},
    signers::{Signer as _, SignerSync as _, local::PrivateKeySigner},
    sol_types::{Eip712Domain, SolCall, SolStruct as _, SolValue as _},
};
use chain_support::{Fault, Recorder, World, eventually};
use infernet_contracts::{
    Coordinator, DelegateSubscription, MockVerifier, PlainConsumer, Subscription, Wallet,
    artifacts, creation_code,
};
use infernet_node::{
    chain::{
        connect::{ChainConnection, Target},
        convert,
        delegation::DelegatedSigners,
        watcher::{Watcher, WatcherConfig},
    },
    dev::{self, Role, Sender},
    devnet::{Devnet, DevnetConfig},
    ports::{DelegationChecker as _, DelegationError},
};
use infernet_state::{
    Effect, Event,
    config::ClientId,
    effect::{Action, Delivery},
    event::{
        ChainFact, DelegatedRequest, Failure, Origin, Outcome, Success, WalletChange, WalletFact,
    },
    types::{self, BlockTime, Hash, Interval, Nonce, PayloadRef, SubscriptionId, WallTime},
};

const GWEI: u128 = 1_000_000_000;
const PRICE: u128 = 1_000_000_000_000_000;

/// The consumer's account with contracts of its own.
struct Consumer {
    sender: Sender,
    plain: Address,
}

impl Consumer {
    /// Deploys `PlainConsumer`, whose subscriptions `signer` may sign.
    async fn deploy(world: &World, signer: Address) -> Self {
        let sender = Sender::connect(world.anvil.url(), Role::Consumer.signer()).await;
        let sender = sender.expect("connected");
        let arguments = (dev::REGISTRY, signer).abi_encode_params();
        let plain = create(&sender, artifacts::PLAIN_CONSUMER, &arguments).await;
        Self { sender, plain }
    }

    async fn call(&self, to: Address, call: impl SolCall) {
        let sent = self
            .sender
            .send("a call", to.into(), call.abi_encode(), U256::ZERO);
        sent.await.expect("it is included");
    }

    /// Asks for one answer; the ids count from 1.
    async fn ask(&self, price: u128, verifier: Address) {
        let request = PlainConsumer::requestComputeCall {
            containerId: "any".to_owned(),
            inputs: vec![1, 2, 3].into(),
            redundancy: 1,
            paymentToken: Address::ZERO,
            paymentAmount: U256::from(price),
            wallet: dev::CONSUMER_WALLET,
            verifier,
        };
        self.call(self.plain, request).await;
    }
}

async fn create(sender: &Sender, artifact: &str, arguments: &[u8]) -> Address {
    let mut code = creation_code(artifact).expect("an artifact").to_vec();
    code.extend_from_slice(arguments);
    let create = alloy::primitives::TxKind::Create;
    let receipt = sender.send("a contract", create, code, U256::ZERO).await;
    let receipt = receipt.expect("it is included");
    receipt.contract_address.expect("a contract")
}

fn delivery(world: &World, id: u32) -> Delivery {
    Delivery {
        subscription: SubscriptionId(id),
        interval: Interval(1),
        input: world.bytes.put(Vec::new()),
        output: world.bytes.put(vec![7; 40]),
        proof: world.bytes.put(vec![9]),
        node_wallet: convert::from_address(dev::NODE_WALLET),
    }
}

/// The facts of the block that includes the transaction, waited for.
async fn facts_of(world: &World, tx: Hash) -> Vec<ChainFact> {
    eventually("the inclusion", || {
        let facts = world.recorder.facts();
        let (block, _) = facts.iter().find(
            |(_, fact)| matches!(fact, ChainFact::TransactionIncluded(receipt) if receipt.tx == tx),
        )?;
        let of_block = facts.iter().filter(|(at, _)| at == block);
        Some(of_block.map(|(_, fact)| fact.clone()).collect())
    })
    .await
}

async fn send(world: &World, nonce: u64, action: Action) -> Vec<ChainFact> {
    let (tx, raw) = world.sign(nonce, action, 10 * GWEI).await;
    world.recorder.await_inclusion(Nonce(nonce), tx);
    let sent = world.broadcast(nonce, tx, raw).await;
    assert_eq!(sent, Outcome::Succeeded(Success::Broadcast));
    let facts = facts_of(world, tx).await;
    let ChainFact::TransactionIncluded(receipt) = &facts[0] else {
        panic!("{facts:?}");
    };
    assert!(receipt.succeeded, "{facts:?}");
    facts
}

/// A free callback of a consumer.
fn to_be_signed(owner: Address, nonce: u32) -> DelegateSubscription {
    DelegateSubscription {
        nonce,
        expiry: u32::MAX,
        sub: Subscription {
            owner,
            activeAt: 0,
            period: 0,
            frequency: 1,
            redundancy: 1,
            containerId: keccak256("any".to_owned().abi_encode()),
            lazy: false,
            verifier: Address::ZERO,
            paymentAmount: U256::ZERO,
            paymentToken: Address::ZERO,
            wallet: Address::ZERO,
        },
    }
}

fn domain(world: &World) -> Eip712Domain {
    Eip712Domain {
        name: Some("InfernetCoordinator".into()),
        version: Some("1".into()),
        chain_id: Some(U256::from(31337)),
        verifying_contract: Some(convert::to_address(world.connection.contracts.coordinator)),
        salt: None,
    }
}

/// Anybody may bring what the signer has signed.
fn delegate(
    world: &World,
    signer: &PrivateKeySigner,
    owner: Address,
    nonce: u32,
) -> Coordinator::createSubscriptionDelegateeCall {
    let signed = to_be_signed(owner, nonce);
    let digest = signed.eip712_signing_hash(&domain(world));
    let signature = signer.sign_hash_sync(&digest).expect("signed");
    Coordinator::createSubscriptionDelegateeCall {
        nonce,
        expiry: signed.expiry,
        sub: signed.sub,
        v: 27 + u8::from(signature.v()),
        r: signature.r().into(),
        s: signature.s().into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delegated_subscription_is_checked_delivered_and_recognised() {
    let world = World::start().await;
    let signer = PrivateKeySigner::random();
    let consumer = Consumer::deploy(&world, signer.address()).await;
    let _watching = world.watch(world.config());
    let signed = to_be_signed(consumer.plain, 5);
    let subscription = signed.sub.clone();
    let digest = signed.eip712_signing_hash(&domain(&world));
    let request = |by: &PrivateKeySigner| {
        let signature = by.sign_hash_sync(&digest).expect("signed");
        DelegatedRequest {
            client: ClientId([0; 16]),
            at: WallTime(0),
            subscription: convert::from_subscription(&subscription),
            nonce: signed.nonce,
            expiry: signed.expiry,
            v: 27 + u8::from(signature.v()),
            r: Hash(signature.r().to_be_bytes()),
            s: Hash(signature.s().to_be_bytes()),
            input: PayloadRef {
                hash: Hash::ZERO,
                len: 0,
            },
            known_id: SubscriptionId(0),
            seen: types::BlockTime(0),
        }
    };
    let right = request(&signer);
    let checker = DelegatedSigners::new(world.connection.clone());
    let known = checker.check(&right).await.expect("it is the signer's");
    assert_eq!(known.known_id, SubscriptionId(0));
    let head = world.connection.rpc.head().await.expect("a head");
    assert_eq!(known.seen, head.reference().time);
    let stranger = PrivateKeySigner::random().with_chain_id(None);
    let mismatch = DelegationError::SignerMismatch {
        recovered: Some(convert::from_address(stranger.address())),
        delegated: convert::from_address(signer.address()),
    };
    assert_eq!(checker.check(&request(&stranger)).await, Err(mismatch));
    let mut nobodys = right.clone();
    nobodys.subscription.owner = types::Address([9; 20]);
    let refused = checker.check(&nobodys).await;
    assert!(
        matches!(&refused, Err(DelegationError::SignerMismatch { delegated, .. }) if delegated.is_zero()),
        "{refused:?}"
    );
    world.gate.set(Fault::Outage);
    let unread = checker.check(&right).await;
    assert!(
        matches!(unread, Err(DelegationError::Unavailable { .. })),
        "{unread:?}"
    );
    world.gate.set(Fault::None);

    let action = Action::DeliverDelegated {
        subscription: Box::new(right.subscription.clone()),
        nonce: right.nonce,
        expiry: right.expiry,
        v: right.v,
        r: right.r,
        s: right.s,
        delivery: delivery(&world, 0),
    };
    let facts = send(&world, 0, action).await;
    let created = facts.iter().find_map(|fact| match fact {
        ChainFact::SubscriptionCreated {
            id,
            subscription,
            delegation,
        } => Some((*id, subscription.clone(), *delegation)),
        _ => None,
    });
    let id = SubscriptionId(1);
    assert_eq!(created, Some((id, right.subscription.clone(), Some(5))));
    let node = world.key.address();
    assert!(facts.contains(&ChainFact::SubscriptionFulfilled { id, node }));
    let known = checker.check(&right).await.expect("still the signer's");
    assert_eq!(known.known_id, id);
}

/// One consumer's nonces can be looked through, another's cannot: all of its stay unclear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_tells_who_came_by_delegation() {
    let world = World::start().await;
    let signer = PrivateKeySigner::random();
    let counting = Consumer::deploy(&world, signer.address()).await;
    let leaping = Consumer::deploy(&world, signer.address()).await;
    let of_both = [(&counting, 0), (&counting, 31), (&leaping, 32)];
    for (consumer, nonce) in of_both {
        let call = delegate(&world, &signer, consumer.plain, nonce);
        let coordinator = convert::to_address(world.connection.contracts.coordinator);
        consumer.call(coordinator, call).await;
    }
    counting.ask(0, Address::ZERO).await;
    leaping.ask(0, Address::ZERO).await;
    for reads_origins in [true, false] {
        let recorder = Recorder::default();
        recorder.set_cursor(SubscriptionId(1));
        let config = WatcherConfig {
            reads_origins,
            ..world.config()
        };
        let watcher = Watcher::new(world.connection.clone(), config, recorder.clone());
        let task = tokio::spawn(watcher.run(std::future::pending()));
        let origins = eventually("the past", || {
            recorder.events().into_iter().find_map(|event| match event {
                Event::SubscriptionsSynced { subscriptions, .. } => {
                    let origins = subscriptions.into_iter().map(|of| (of.id.0, of.origin));
                    Some(origins.collect::<Vec<_>>())
                }
                _ => None,
            })
        })
        .await;
        task.abort();
        let expected = if reads_origins {
            [
                (1, Origin::Delegated(0)),
                (2, Origin::Delegated(31)),
                (3, Origin::Unclear),
                (4, Origin::Owner),
                (5, Origin::Unclear),
            ]
        } else {
            [1, 2, 3, 4, 5].map(|id| (id, Origin::Owner))
        };
        assert_eq!(origins, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_settled_by_others_shows_where_the_money_went() {
    let world = World::start().await;
    let consumer = Consumer::deploy(&world, Address::ZERO).await;
    let arguments = (dev::REGISTRY, 0_u16).abi_encode_params();
    let verifier = create(&consumer.sender, artifacts::MOCK_VERIFIER, &arguments).await;
    let fee = U256::from(PRICE / 10);
    let supported = MockVerifier::supportCall {
        token: Address::ZERO,
        price: fee,
    };
    consumer.call(verifier, supported).await;
    let allowance = Wallet::approveCall {
        spender: consumer.plain,
        token: Address::ZERO,
        amount: U256::from(PRICE),
    };
    consumer.call(dev::CONSUMER_WALLET, allowance).await;
    let stake = U256::from(2 * PRICE);
    let deposit = consumer
        .sender
        .send("a deposit", dev::NODE_WALLET.into(), Vec::new(), stake);
    deposit.await.expect("it is included");
    consumer.ask(PRICE, verifier).await;

    let _watching = world.watch(world.config());
    let (wallet, node) = (convert::from_address(dev::NODE_WALLET), world.key.address());
    let payer = convert::from_address(dev::CONSUMER_WALLET);
    let price = convert::from_u256(U256::from(PRICE));
    let token = types::Address::ZERO;
    let first = eventually("the first block", || world.recorder.facts().pop()).await;
    let ChainFact::Wallet(WalletFact { change, .. }) = first.1 else {
        panic!("{first:?}");
    };
    let balance = convert::from_u256(stake);
    assert_eq!(change, WalletChange::BalanceRead { token, balance });

    let approve = Action::ApproveStake {
        wallet,
        spender: node,
        token,
        amount: price,
    };
    let facts = send(&world, 0, approve).await;
    let approved = WalletChange::Approved {
        spender: node,
        token,
        amount: price,
    };
    assert!(matches!(&facts[1], ChainFact::Wallet(fact)
        if fact.wallet == wallet && fact.owner == node && fact.change == approved));

    let facts = send(&world, 1, Action::Deliver(delivery(&world, 1))).await;
    let change_of = |facts: &[ChainFact], of: types::Address| -> Vec<WalletChange> {
        let changes = facts.iter().filter_map(|fact| match fact {
            ChainFact::Wallet(fact) if fact.wallet == of => Some(fact.change.clone()),
            _ => None,
        });
        changes.collect()
    };
    let locked = |spender, amount, locked| WalletChange::Escrowed {
        spender,
        token,
        amount,
        locked,
    };
    assert_eq!(change_of(&facts, wallet), [locked(node, price, true)]);
    assert!(matches!(
        change_of(&facts, payer).last(),
        Some(WalletChange::Escrowed { locked: true, .. })
    ));

    // The verdict comes in a transaction of somebody else.
    let verdict = MockVerifier::finalizeCall {
        subscriptionId: 1,
        interval: 1,
        node: convert::to_address(node),
        valid: true,
    };
    consumer.call(verifier, verdict).await;
    let facts = eventually("the verdict", || {
        let facts = world.recorder.facts();
        let (block, _) = facts
            .iter()
            .find(|(_, fact)| matches!(fact, ChainFact::ProofVerified { .. }))?;
        let of_block = facts.iter().filter(|(at, _)| at == block);
        Some(of_block.map(|(_, fact)| fact.clone()).collect::<Vec<_>>())
    })
    .await;
    assert!(facts.contains(&ChainFact::ProofVerified {
        id: SubscriptionId(1),
        interval: Interval(1),
        node,
        active: true,
        valid: true,
    }));
    let ours = change_of(&facts, wallet);
    assert_eq!(ours[0], locked(node, price, false));
    let paid = change_of(&facts, payer)
        .into_iter()
        .find_map(|change| match change {
            WalletChange::Transferred { to, amount, .. } => Some((to, convert::to_u256(amount))),
            _ => None,
        });
    // Ten percent to the protocol, a tenth of the price to the verifier.
    let earned = U256::from(PRICE) - U256::from(PRICE / 10) - fee;
    assert_eq!(paid, Some((wallet, earned)));
    let balance = convert::from_u256(stake + earned);
    assert_eq!(ours[1], WalletChange::BalanceRead { token, balance });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_simulated_item_by_item() {
    let world = World::start().await;
    assert!(world.connection.batch_delivery);
    let consumer = Consumer::deploy(&world, Address::ZERO).await;
    consumer.ask(0, Address::ZERO).await;
    consumer.ask(0, Address::ZERO).await;
    let batch = |ids: [u32; 2]| Action::DeliverBatch(ids.map(|id| delivery(&world, id)).to_vec());
    let simulate = async |action| {
        let from = world.key.address();
        let at = BlockTime(0);
        world
            .read(Effect::Simulate { from, action, at })
            .await
            .outcome
    };
    let partial = simulate(batch([1, 3])).await;
    let Outcome::Failed(Failure::Reverted { reason, .. }) = partial else {
        panic!("{partial:?}");
    };
    assert!(reason.contains("delivery 1"), "{reason}");
    let whole = simulate(batch([1, 2])).await;
    assert!(
        matches!(whole, Outcome::Succeeded(Success::Simulated { .. })),
        "{whole:?}"
    );
    let _watching = world.watch(world.config());
    let facts = send(&world, 0, batch([1, 2])).await;
    let fulfilled: Vec<u32> = facts
        .iter()
        .filter_map(|fact| match fact {
            ChainFact::SubscriptionFulfilled { id, .. } => Some(id.0),
            _ => None,
        })
        .collect();
    assert_eq!(fulfilled, [1, 2]);
}

/// Balance and allowance, as far as a subscription can be paid from them.
async fn payable(world: &World, consumer: &Consumer, id: u32) -> (U256, U256) {
    let read = Effect::ReadPayer {
        subscription: SubscriptionId(id),
        wallet: convert::from_address(dev::CONSUMER_WALLET),
        spender: convert::from_address(consumer.plain),
        token: types::Address::ZERO,
    };
    let outcome = world.read(read).await.outcome;
    let Outcome::Succeeded(Success::PayerRead {
        valid: true,
        balance,
        allowance,
    }) = outcome
    else {
        panic!("{outcome:?}");
    };
    (convert::to_u256(balance), convert::to_u256(allowance))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_locked_pays_the_subscription_that_it_is_locked_for() {
    let mut world = World::start().await;
    let consumer = Consumer::deploy(&world, Address::ZERO).await;
    let price = U256::from(PRICE);
    let allow = Wallet::approveCall {
        spender: consumer.plain,
        token: Address::ZERO,
        amount: price,
    };
    consumer.call(dev::CONSUMER_WALLET, allow).await;
    consumer.ask(PRICE, Address::ZERO).await;
    consumer.ask(PRICE, Address::ZERO).await;
    let (all, allowed) = payable(&world, &consumer, 1).await;
    assert!(all > price);
    assert_eq!(allowed, price);

    let (anvil, plain) = (&world.anvil, consumer.plain);
    let ether = format!("{:#x}", 10_u128.pow(18));
    anvil
        .request("anvil_setBalance", serde_json::json!([plain, ether]))
        .await;
    anvil
        .request("anvil_impersonateAccount", serde_json::json!([plain]))
        .await;
    let fund = Coordinator::fundSubscriptionCall { subscriptionId: 1 };
    let coordinator = convert::to_address(world.connection.contracts.coordinator);
    let data = alloy::hex::encode_prefixed(fund.abi_encode());
    let call = serde_json::json!([{"from": plain, "to": coordinator, "data": data}]);
    anvil.request("eth_sendTransaction", call).await;
    for _ in 0..500 {
        if payable(&world, &consumer, 2).await.1.is_zero() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // The allowance is used up; what it was is locked, for the first alone.
    assert_eq!(payable(&world, &consumer, 1).await, (all, price));
    let left = (all - price, U256::ZERO);
    assert_eq!(payable(&world, &consumer, 2).await, left);
    assert_eq!(payable(&world, &consumer, 0).await, left);
    // It can indeed be delivered; the other one not.
    let simulate = async |id| {
        let action = Action::Deliver(delivery(&world, id));
        let (from, at) = (world.key.address(), BlockTime(0));
        let simulated = Effect::Simulate { from, action, at };
        world.read(simulated).await.outcome
    };
    let funded = simulate(1).await;
    assert!(
        matches!(funded, Outcome::Succeeded(Success::Simulated { .. })),
        "{funded:?}"
    );
    assert!(matches!(
        simulate(2).await,
        Outcome::Failed(Failure::Reverted { .. })
    ));
    // Deployments of others lock nothing ahead, and pay out what is locked.
    assert!(world.connection.reserves);
    world.connection.reserves = false;
    assert_eq!(payable(&world, &consumer, 1).await, (all, U256::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_chain_serves_all_of_it() {
    let devnet = Devnet::start(DevnetConfig::default())
        .await
        .expect("it starts");
    dev::deploy(&devnet.url())
        .await
        .expect("the contracts stand");
    let target = Target {
        url: devnet.url(),
        registry: convert::from_address(dev::REGISTRY),
        chain_id: None,
        wait: false,
    };
    let connection = ChainConnection::connect(&target).await.expect("connected");
    assert!(connection.overrides_time && connection.batch_delivery);
    let recorder = Recorder::default();
    recorder.set_cursor(SubscriptionId(1));
    let mut config = WatcherConfig::new(convert::from_address(Role::Node.signer().address()));
    config.poll = std::time::Duration::from_millis(20);
    let watcher = Watcher::new(connection, config, recorder.clone());
    let task = tokio::spawn(watcher.run(std::future::pending()));
    let synced = |event: &Event| matches!(event, Event::SubscriptionsSynced { subscriptions, .. } if subscriptions.is_empty());
    eventually("the end of the past", || {
        recorder.events().iter().any(synced).then_some(())
    })
    .await;
    let flower = "5.1,3.5,1.4,0.2".parse().expect("a flower");
    let asked = dev::ask_onchain(&devnet.url(), flower)
        .await
        .expect("asked");
    eventually("the creation", || {
        (recorder.created() == [asked.id]).then_some(())
    })
    .await;
    eventually("its finality", || {
        let events = recorder.events();
        let last = events.last()?;
        matches!(last, Event::ChainFinalized { block } if block.number == asked.block).then_some(())
    })
    .await;
    task.abort();
    devnet.shutdown().await;
}
