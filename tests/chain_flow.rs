//! A paid callback on a real chain: seen, read, simulated, signed, sent, included, paid.

mod chain_support;

use std::time::Duration;

use alloy::primitives::U256;
use chain_support::{Fault, World, eventually};
use infernet_node::{
    chain::{
        connect::{ChainConnection, ConnectError, Target},
        convert,
    },
    dev,
};
use infernet_state::{
    Effect, Event,
    effect::Action,
    event::{ChainFact, Failure, Outcome, Rejection, Success, TransactionState, WalletChange},
    types::{Address, BlockTime, Interval, Nonce, SubscriptionId},
};

const GWEI: u128 = 1_000_000_000;

fn amount_of(fact: &ChainFact) -> Option<(Address, U256)> {
    match fact {
        ChainFact::Wallet(fact) => match &fact.change {
            WalletChange::Transferred { to, amount, .. } => Some((*to, convert::to_u256(*amount))),
            _ => None,
        },
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paid_callback_goes_all_the_way() {
    let world = World::start().await;
    let account = world.connection.observe_account(world.key.address()).await;
    assert!(
        matches!(
            account,
            Ok(Event::AccountObserved {
                nonce: Nonce(0),
                ..
            })
        ),
        "{account:?}"
    );
    let _watching = world.watch(world.config());
    eventually("the first block", || world.recorder.events().pop()).await;

    let id = world.ask().await;
    let (block, created) = eventually("the creation", || {
        let facts = world.recorder.facts();
        facts.into_iter().find_map(|(block, fact)| match fact {
            ChainFact::SubscriptionCreated {
                id, subscription, ..
            } => Some((block, (id, subscription))),
            _ => None,
        })
    })
    .await;
    let (seen, subscription) = created;
    assert_eq!(seen.0, id);
    assert_eq!(subscription.owner, convert::from_address(dev::CONSUMER));
    assert_eq!(convert::to_u256(subscription.payment_amount), dev::PRICE);

    let node = world.key.address();
    let inputs = world
        .read(Effect::ReadInputs {
            consumer: subscription.owner,
            subscription: seen,
            interval: Interval(1),
            timestamp: block.time,
            caller: node,
        })
        .await;
    assert!(!inputs.payloads[0].bytes.is_empty(), "{inputs:?}");
    let without_code = world
        .read(Effect::ReadInputs {
            consumer: Address([9; 20]),
            subscription: seen,
            interval: Interval(1),
            timestamp: block.time,
            caller: node,
        })
        .await;
    assert!(without_code.payloads[0].bytes.is_empty());

    let payer = world
        .read(Effect::ReadPayer {
            subscription: seen,
            wallet: subscription.wallet,
            spender: subscription.owner,
            token: Address::ZERO,
        })
        .await;
    let Outcome::Succeeded(Success::PayerRead {
        valid: true,
        balance,
        allowance,
    }) = payer.outcome
    else {
        panic!("{payer:?}");
    };
    assert_eq!(balance, allowance);
    let stranger = world
        .read(Effect::ReadPayer {
            subscription: seen,
            wallet: Address([9; 20]),
            spender: node,
            token: Address::ZERO,
        })
        .await;
    assert!(matches!(
        stranger.outcome,
        Outcome::Succeeded(Success::PayerRead { valid: false, .. })
    ));

    let simulate = |action: Action| Effect::Simulate {
        from: node,
        action,
        at: BlockTime(block.time.0 + 12),
    };
    let simulated = world.read(simulate(world.deliver(id))).await.outcome;
    let Outcome::Succeeded(Success::Simulated { gas, base_fee, .. }) = simulated else {
        panic!("{simulated:?}");
    };
    assert!(gas > 100_000 && base_fee > 0);
    let unknown = world.read(simulate(world.deliver(id + 1))).await.outcome;
    let Outcome::Failed(Failure::Reverted { selector, reason }) = unknown else {
        panic!("{unknown:?}");
    };
    assert_eq!(selector, [0x1a, 0x00, 0x35, 0x4f]);
    assert_eq!(reason, "SubscriptionNotFound");

    let (tx, raw) = world.sign(0, world.deliver(id), 10 * GWEI).await;
    let again = world.sign(0, world.deliver(id), 10 * GWEI).await;
    assert_eq!((tx, raw), again, "the same fields give the same bytes");
    let look = Effect::LookUpTransaction {
        nonce: Nonce(0),
        tx,
    };
    let looked = world.transact(look.clone()).await.outcome;
    assert_eq!(
        looked,
        Outcome::Succeeded(Success::LookedUp(TransactionState::Absent))
    );
    world.recorder.await_inclusion(Nonce(0), tx);
    assert_eq!(
        world.broadcast(0, tx, raw).await,
        Outcome::Succeeded(Success::Broadcast)
    );

    let facts = eventually("the inclusion", || {
        let facts = world.recorder.facts();
        let at = facts.iter().position(
            |(_, fact)| matches!(fact, ChainFact::TransactionIncluded(receipt) if receipt.tx == tx),
        )?;
        Some(facts[at..].to_vec())
    })
    .await;
    let block = facts[0].0;
    let facts: Vec<ChainFact> = facts
        .into_iter()
        .filter(|(at, _)| *at == block)
        .map(|(_, fact)| fact)
        .collect();
    let ChainFact::TransactionIncluded(receipt) = &facts[0] else {
        panic!("{facts:?}");
    };
    assert!(receipt.succeeded && receipt.gas_used > 0 && receipt.nonce == Nonce(0));
    // The protocol is charged on both sides, 5% each: it gets 10% of the price, the node 90%.
    let fee = dev::PRICE / U256::from(10);
    let paid: Vec<_> = facts.iter().filter_map(amount_of).collect();
    let wallet = convert::from_address(dev::NODE_WALLET);
    assert_eq!(
        paid,
        [
            (world.connection.fee_recipient, fee),
            (wallet, dev::PRICE - fee)
        ]
    );
    let fulfilled = ChainFact::SubscriptionFulfilled {
        id: SubscriptionId(id),
        node,
    };
    assert_eq!(facts[3], fulfilled);
    let ChainFact::Wallet(read) = &facts[4] else {
        panic!("{facts:?}");
    };
    assert_eq!((read.wallet, read.owner), (wallet, node));
    assert!(
        matches!(&read.change, WalletChange::BalanceRead { balance, .. }
            if convert::to_u256(*balance) == dev::PRICE - fee),
        "{read:?}"
    );
    assert_eq!(facts.len(), 5);

    // Everything again is harmless, and known for what it is.
    assert_eq!(
        world.broadcast(0, tx, raw).await,
        Outcome::Succeeded(Success::Broadcast)
    );
    assert_eq!(
        world.transact(look).await.outcome,
        Outcome::Succeeded(Success::LookedUp(TransactionState::Included))
    );
    let (other, other_raw) = world.sign(0, Action::FillNonce, 20 * GWEI).await;
    assert_eq!(
        world.broadcast(0, other, other_raw).await,
        Outcome::Failed(Failure::Rejected(Rejection::NonceTooLow))
    );
    let looked = world
        .transact(Effect::LookUpTransaction {
            nonce: Nonce(0),
            tx: other,
        })
        .await;
    assert_eq!(
        looked.outcome,
        Outcome::Succeeded(Success::LookedUp(TransactionState::NonceTaken))
    );
    let responses = world
        .read(Effect::ReadResponses {
            subscription: SubscriptionId(id),
            interval: Interval(1),
            node,
        })
        .await;
    assert_eq!(
        responses.outcome,
        Outcome::Succeeded(Success::ResponsesRead {
            responses: 1,
            responded: true
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_pool_says_of_a_transaction_is_understood() {
    let world = World::start().await;
    world
        .anvil
        .request("evm_setAutomine", serde_json::json!([false]))
        .await;
    let (first, first_raw) = world.sign(0, Action::FillNonce, 10 * GWEI).await;

    world.gate.set(Fault::AnswerLost);
    let lost = world.broadcast(0, first, first_raw).await;
    assert!(matches!(lost, Outcome::Unknown { .. }), "{lost:?}");
    world.gate.set(Fault::None);
    let looked = world
        .transact(Effect::LookUpTransaction {
            nonce: Nonce(0),
            tx: first,
        })
        .await;
    assert_eq!(
        looked.outcome,
        Outcome::Succeeded(Success::LookedUp(TransactionState::Pending))
    );
    assert_eq!(
        world.broadcast(0, first, first_raw).await,
        Outcome::Succeeded(Success::Broadcast),
        "the pool has it already"
    );
    let (same_fee, same_fee_raw) = world.sign(0, world.deliver(1), 10 * GWEI).await;
    assert_eq!(
        world.broadcast(0, same_fee, same_fee_raw).await,
        Outcome::Failed(Failure::Rejected(Rejection::Underpriced))
    );
    let (costly, costly_raw) = world
        .sign(1, Action::FillNonce, u128::MAX / 4_000_000)
        .await;
    assert_eq!(
        world.broadcast(1, costly, costly_raw).await,
        Outcome::Failed(Failure::Rejected(Rejection::InsufficientFunds))
    );
    world.gate.set(Fault::Outage);
    let lost = world.broadcast(0, first, first_raw).await;
    assert!(matches!(lost, Outcome::Unknown { .. }), "{lost:?}");
    let simulated = world
        .read(Effect::ReadResponses {
            subscription: SubscriptionId(1),
            interval: Interval(1),
            node: world.key.address(),
        })
        .await;
    assert!(matches!(
        simulated.outcome,
        Outcome::Failed(Failure::Unavailable { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_target_is_named() {
    let world = World::start().await;
    assert_eq!(
        convert::to_address(world.connection.contracts.wallet_factory),
        dev::WALLET_FACTORY
    );
    assert_eq!(world.connection.protocol_fee, dev::PROTOCOL_FEE);
    assert!(world.connection.overrides_time, "anvil overrides the time");
    let node = world.key.address();
    let owner = world
        .connection
        .check_payment_wallet(convert::from_address(dev::NODE_WALLET), node)
        .await;
    assert_eq!(owner, Ok(node));
    let stranger = world
        .connection
        .check_payment_wallet(convert::from_address(dev::CONSUMER), node)
        .await;
    assert!(matches!(stranger, Err(ConnectError::WalletNotValid { .. })));

    let right = Target {
        url: world.gate.url().to_owned(),
        registry: convert::from_address(dev::REGISTRY),
        chain_id: None,
        wait: false,
    };
    let wrong = [
        (
            Target {
                chain_id: Some(1),
                ..right.clone()
            },
            "E-CHAIN-004",
        ),
        (
            Target {
                registry: Address([1; 20]),
                ..right.clone()
            },
            "E-CHAIN-005",
        ),
        (
            Target {
                registry: convert::from_address(dev::CONSUMER),
                ..right.clone()
            },
            "E-CHAIN-006",
        ),
        (
            Target {
                url: "http://user:secret@127.0.0.1:9/key".to_owned(),
                ..right.clone()
            },
            "E-CHAIN-003",
        ),
        (
            Target {
                url: "localhost:8545".to_owned(),
                ..right.clone()
            },
            "E-CHAIN-001",
        ),
    ];
    for (target, code) in wrong {
        let error = ChainConnection::connect(&target).await.expect_err(code);
        let shown = format!("{error} {error:?} {target:?}");
        assert!(shown.contains(code), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    // Told to wait, it waits until the chain is there.
    world.gate.set(Fault::Outage);
    let waiting = Target {
        wait: true,
        ..right
    };
    let task = tokio::spawn(async move { ChainConnection::connect(&waiting).await });
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!task.is_finished());
    world.gate.set(Fault::None);
    let connected = tokio::time::timeout(Duration::from_secs(60), task).await;
    assert!(matches!(connected, Ok(Ok(Ok(_)))));
}

/// The first RPC of several that share a name may know of a block that the next one does not have
/// yet: no reason to refuse a start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_not_known_yet_is_asked_for_again() {
    let world = World::start().await;
    let target = Target {
        url: world.gate.url().to_owned(),
        registry: convert::from_address(dev::REGISTRY),
        chain_id: None,
        wait: true,
    };
    let node = world.key.address();
    let wallet = Some(convert::from_address(dev::NODE_WALLET));
    world.gate.set(Fault::NoBalance(3));
    let opening = ChainConnection::open(&target, node, wallet);
    let (connection, account) = tokio::time::timeout(Duration::from_secs(60), opening)
        .await
        .expect("in time")
        .expect("opened");
    assert_eq!(connection.contracts, world.connection.contracts);
    assert!(matches!(account, Event::AccountObserved { .. }));
    assert_eq!(
        world
            .gate
            .asked()
            .iter()
            .filter(|asked| *asked == "eth_getBalance")
            .count(),
        4
    );

    // What no waiting mends is said at once.
    let stranger = Some(convert::from_address(dev::CONSUMER));
    let refused = ChainConnection::open(&target, node, stranger).await;
    assert!(matches!(refused, Err(ConnectError::WalletNotValid { .. })));
}
