//! The watcher on a chain that reorganises, behind an RPC that fails.

mod chain_support;

use std::time::Duration;

use chain_support::{Fault, Recorder, World, eventually};
use infernet_node::{
    chain::watcher::{Finality, MachineView as _, Sink as _, Watcher},
    dev,
};
use infernet_state::{
    Event,
    effect::Action,
    event::{ChainFact, WalletChange},
    machine::BlockDeadline,
    types::{BlockRef, BlockTime, Hash, Nonce, SubscriptionId},
};
use serde_json::json;

const GWEI: u128 = 1_000_000_000;

fn inclusions(world: &World) -> Vec<(u64, Nonce)> {
    let facts = world.recorder.facts();
    facts
        .into_iter()
        .filter_map(|(block, fact)| match fact {
            ChainFact::TransactionIncluded(receipt) => Some((block.number, receipt.nonce)),
            _ => None,
        })
        .collect()
}

fn foreign(world: &World) -> Vec<Nonce> {
    let facts = world.recorder.facts();
    facts
        .into_iter()
        .filter_map(|(_, fact)| match fact {
            ChainFact::ForeignNonceUsed { nonce } => Some(nonce),
            _ => None,
        })
        .collect()
}

fn reorgs(world: &World) -> Vec<u64> {
    let events = world.recorder.events();
    events
        .into_iter()
        .filter_map(|event| match event {
            Event::ChainReorged { ancestor } => Some(ancestor.number),
            _ => None,
        })
        .collect()
}

/// The heads that were told.
fn heads(events: &[Event]) -> Vec<u64> {
    let heads = events.iter().filter_map(|event| match event {
        Event::HeadObserved { head } => Some(head.number),
        _ => None,
    });
    heads.collect()
}

/// Waits until the watcher has followed to the chain's present head.
async fn follow(world: &World, watching: &chain_support::Watching) {
    let head = world.anvil.head().await;
    eventually("the head", || {
        let status = watching.status.borrow();
        let followed = status.followed.is_some_and(|tip| tip.number >= head);
        (followed && status.error.is_none()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_is_told_from_its_ancestor_and_read_again() {
    let world = World::start().await;
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    let kept = world.ask().await;
    follow(&world, &watching).await;
    let ancestor = world.anvil.head().await;
    let (tx, raw) = world.sign(0, world.deliver(kept), 10 * GWEI).await;
    world.recorder.await_inclusion(Nonce(0), tx);
    world.include(0, tx, raw).await;
    world.ask().await;
    follow(&world, &watching).await;
    assert_eq!(world.recorder.created(), [kept, kept + 1]);
    assert_eq!(inclusions(&world), [(ancestor + 1, Nonce(0))]);

    // Both blocks are replaced by empty ones, and a third follows.
    world.anvil.request("anvil_reorg", json!([2, []])).await;
    world.anvil.mine(1).await;
    follow(&world, &watching).await;
    assert_eq!(reorgs(&world), [ancestor]);
    assert_eq!(world.recorder.created(), [kept], "what is gone is gone");
    assert_eq!(inclusions(&world), []);

    // The same id is now another subscription; the same transaction is included elsewhere.
    let again = world.ask().await;
    assert_eq!(again, kept + 1);
    world.include(0, tx, raw).await;
    follow(&world, &watching).await;
    assert_eq!(world.recorder.created(), [kept, again]);
    assert_eq!(inclusions(&world), [(ancestor + 5, Nonce(0))]);
    assert_eq!(foreign(&world), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_during_the_nodes_absence_is_found_at_start() {
    let world = World::start().await;
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    let first = world.ask().await;
    follow(&world, &watching).await;
    let gone = world.ask().await;
    follow(&world, &watching).await;
    drop(watching);
    world.anvil.request("anvil_reorg", json!([1, []])).await;
    world.anvil.mine(3).await;
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    assert_eq!(reorgs(&world).len(), 1);
    assert_eq!(world.recorder.created(), [first], "what is gone is gone");
    assert_eq!(world.ask().await, gone, "the id is given again");
    follow(&world, &watching).await;
    assert_eq!(world.recorder.created(), [first, gone]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_loses_nothing_and_a_long_absence_is_caught_up() {
    let world = World::start().await;
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    let mut expected = vec![world.ask().await];
    follow(&world, &watching).await;

    world.gate.set(Fault::Outage);
    expected.push(world.ask().await);
    let status = watching.status.clone();
    eventually("the failure is shown", || {
        status.borrow().error.is_some().then_some(())
    })
    .await;
    world.anvil.mine(5).await;
    expected.push(world.ask().await);
    world.gate.set(Fault::None);
    follow(&world, &watching).await;
    assert_eq!(world.recorder.created(), expected);

    // Away for 400 blocks; the RPC then takes no more than 10 at once and has no old state.
    drop(watching);
    let (tx, raw) = world.sign(0, world.deliver(expected[0]), 10 * GWEI).await;
    world.recorder.await_inclusion(Nonce(0), tx);
    for _ in 0..4 {
        world.anvil.mine(99).await;
        expected.push(world.ask().await);
    }
    world.include(0, tx, raw).await;
    let included_at = world.anvil.head().await;
    world.anvil.mine(100).await;
    world.gate.set(Fault::RangeOver(10));
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    assert_eq!(world.recorder.created(), expected);
    assert_eq!(inclusions(&world), [(included_at, Nonce(0))]);
    assert!(reorgs(&world).is_empty());

    drop(watching);
    for _ in 0..3 {
        world.anvil.mine(50).await;
        expected.push(world.ask().await);
    }
    world.gate.set(Fault::NoHistory);
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    assert_eq!(world.recorder.created(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonces_are_told_apart_ours_and_others() {
    let world = World::start().await;
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    // Somebody uses the key: nonce 0 is not ours, nonce 1 is, nonce 2 in the same block is not.
    let (_, raw) = world.sign(0, Action::FillNonce, 10 * GWEI).await;
    let foreign_raw = world.bytes.get(raw);
    let send = async |bytes: &[u8]| {
        let raw = alloy::hex::encode_prefixed(bytes);
        world
            .anvil
            .request("eth_sendRawTransaction", json!([raw]))
            .await
    };
    send(&foreign_raw).await;
    // The chain answers before it has mined.
    eventually("the other's nonce", || {
        (foreign(&world) == [Nonce(0)]).then_some(())
    })
    .await;

    world.anvil.request("evm_setAutomine", json!([false])).await;
    let (ours, ours_raw) = world.sign(1, Action::FillNonce, 10 * GWEI).await;
    let (bumped, bumped_raw) = world.sign(1, Action::FillNonce, 20 * GWEI).await;
    let (_, third_raw) = world.sign(2, Action::FillNonce, 10 * GWEI).await;
    world.recorder.await_inclusion(Nonce(1), ours);
    world.recorder.await_inclusion(Nonce(1), bumped);
    world.broadcast(1, ours, ours_raw).await;
    send(&world.bytes.get(third_raw)).await;
    // The receipt comes late, as from a node behind the one that counts nonces.
    world.gate.set(Fault::NoReceipts(6));
    world.anvil.mine(1).await;
    follow(&world, &watching).await;
    let block = world.anvil.head().await;
    assert_eq!(inclusions(&world), [(block, Nonce(1))]);
    assert_eq!(foreign(&world), [Nonce(0), Nonce(2)]);
    let late = world.broadcast(1, bumped, bumped_raw).await;
    assert!(format!("{late:?}").contains("NonceTooLow"), "{late:?}");
}

/// The head is told before what stands below it, once, and is itself recorded although it is empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_past_the_machine_hears_behind_the_head_that_ends_it() {
    let world = World::start().await;
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    for blocks in [2, 100] {
        let told = world.recorder.events().len();
        world.gate.set(Fault::Outage);
        let id = world.ask().await;
        let anvil = &world.anvil;
        anvil.request("evm_increaseTime", json!([3_600])).await;
        anvil.mine(blocks).await;
        let end = world.anvil.head().await;
        world.gate.set(Fault::None);
        eventually("the head is recorded", || {
            let head = world.recorder.recorded_head();
            head.filter(|head| head.number == end)
        })
        .await;
        let events = world.recorder.events().split_off(told);
        assert_eq!(heads(&events), [end], "{events:?}");
        assert!(matches!(&events[0], Event::HeadObserved { .. }));
        let is_empty = |event: &Event| matches!(event, Event::ChainCommitted { block, facts } if block.number == end && facts.is_empty());
        assert!(events.last().is_some_and(is_empty), "{events:?}");
        assert_eq!(world.recorder.created().last(), Some(&id));
    }
    // A few seconds are no absence.
    let told = world.recorder.events().len();
    world.gate.set(Fault::Outage);
    let id = world.ask().await;
    world.anvil.mine(2).await;
    world.gate.set(Fault::None);
    follow(&world, &watching).await;
    assert_eq!(world.recorder.created().last(), Some(&id));
    assert!(heads(&world.recorder.events()[told..]).is_empty());
}

/// Nobody waits for it without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_not_there_is_told_to_be_lower() {
    let world = World::start().await;
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    for untruth in [1, u64::MAX - 1_000] {
        let head = world.anvil.head().await;
        let told = world.recorder.events().len();
        world.recorder.set_catching_up(head + untruth);
        eventually("it is said", || {
            world.recorder.catching_up().is_none().then_some(())
        })
        .await;
        assert_eq!(heads(&world.recorder.events()[told..]), [head]);
    }
    // Also where the chain is read in ranges.
    drop(watching);
    world.recorder.set_catching_up(u64::MAX);
    world.anvil.mine(100).await;
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    let end = world.anvil.head().await;
    eventually("the head is recorded", || {
        let head = world.recorder.recorded_head();
        head.filter(|head| head.number == end)
    })
    .await;
    assert_eq!(world.recorder.catching_up(), None);
}

/// Each is told in its own block, beside what that block says of it, however many there were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_long_absence_each_nonce_stands_in_its_block() {
    let world = World::start().await;
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    drop(watching);
    world.anvil.request("evm_setAutomine", json!([false])).await;
    let account = alloy::primitives::Address::from(world.key.address().0);
    let mut expected = Vec::new();
    for block in 0..3_u64 {
        let head = world.anvil.head().await;
        for place in 0..100 {
            let tx = json!({"from": account, "to": account, "gas": "0x5208"});
            world
                .anvil
                .request("eth_sendTransaction", json!([tx]))
                .await;
            expected.push((head + 1, Nonce(block * 100 + place)));
        }
        world.anvil.mine(3).await;
    }
    world.anvil.mine(60).await;
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    let told: Vec<(u64, Nonce)> = world
        .recorder
        .facts()
        .into_iter()
        .filter_map(|(block, fact)| match fact {
            ChainFact::ForeignNonceUsed { nonce } => Some((block.number, nonce)),
            _ => None,
        })
        .collect();
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_blocks_are_recorded_when_due_and_finality_when_it_matters() {
    let world = World::start().await;
    let mut config = world.config();
    config.finality = Finality::Depth(3);
    config.gap_blocks_max = 20;
    let watching = world.watch(config);
    follow(&world, &watching).await;
    // The wallet's first balance becomes final.
    world.anvil.mine(5).await;
    follow(&world, &watching).await;
    let start = world.recorder.events().len();
    world.anvil.mine(5).await;
    follow(&world, &watching).await;
    assert_eq!(world.recorder.events().len(), start, "nothing was due");

    let due = world.anvil.head().await + 2;
    world.recorder.set_deadline(BlockDeadline {
        number: Some(due),
        time: None,
    });
    world.anvil.mine(4).await;
    follow(&world, &watching).await;
    let heads = || -> Vec<u64> {
        let events = world.recorder.events();
        let committed = events.into_iter().filter_map(|event| match event {
            Event::ChainCommitted { block, .. } => Some(block.number),
            _ => None,
        });
        committed.collect()
    };
    assert_eq!(heads().last(), Some(&due));

    // A deadline that the head has reached already is served without a new block.
    let head = world.anvil.head().await;
    world.recorder.set_deadline(BlockDeadline {
        number: Some(head - 1),
        time: None,
    });
    eventually("the head itself", || {
        (heads().last() == Some(&head)).then_some(())
    })
    .await;

    for _ in 0..25 {
        world.anvil.mine(1).await;
    }
    follow(&world, &watching).await;
    let next = heads().into_iter().find(|number| *number > head);
    assert_eq!(next, Some(head + 20), "the largest gap");

    world.ask().await;
    let created_at = world.anvil.head().await;
    let finalized = || -> Vec<u64> {
        let events = world.recorder.events();
        let finals = events.into_iter().filter_map(|event| match event {
            Event::ChainFinalized { block } => Some(block.number),
            _ => None,
        });
        finals.collect()
    };
    world.anvil.mine(2).await;
    follow(&world, &watching).await;
    assert!(finalized().last().is_none_or(|last| *last < created_at));
    world.anvil.mine(1).await;
    follow(&world, &watching).await;
    assert_eq!(finalized().last(), Some(&created_at));
    let events = world.recorder.events().len();
    world.anvil.mine(5).await;
    follow(&world, &watching).await;
    assert_eq!(world.recorder.events().len(), events, "nothing to settle");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_read_once_without_its_dead() {
    let world = World::start().await;
    let (answered, open) = (world.ask().await, world.ask().await);
    let (tx, raw) = world.sign(0, world.deliver(answered), 10 * GWEI).await;
    world.include(0, tx, raw).await;
    world.recorder.set_cursor(SubscriptionId(1));
    let watching = world.watch(world.config());
    let synced = || -> Vec<(Vec<u32>, u32)> {
        let events = world.recorder.events();
        let chunks = events.into_iter().filter_map(|event| match event {
            Event::SubscriptionsSynced {
                subscriptions,
                next,
                ..
            } => Some((
                subscriptions.iter().map(|entry| entry.id.0).collect(),
                next.0,
            )),
            _ => None,
        });
        chunks.collect()
    };
    eventually("the end of the past", || {
        synced().last().filter(|(ids, _)| ids.is_empty()).cloned()
    })
    .await;
    let next = open + 1;
    assert_eq!(synced(), [(vec![open], next), (vec![], next)]);
    assert_eq!(inclusions(&world), [], "it was before the watch began");
    world.ask().await;
    follow(&world, &watching).await;
    assert_eq!(world.recorder.created(), [next]);
    assert_eq!(synced().len(), 2);
}

/// A head that nobody asked about costs a look at it and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_chain_costs_one_request_a_look() {
    let world = World::start().await;
    let mut config = world.config();
    config.poll = Duration::from_millis(50);
    let watching = world.watch(config);
    follow(&world, &watching).await;
    world.gate.asked();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let asked = world.gate.asked();
    assert!(!asked.is_empty() && asked.len() <= 11, "{asked:?}");
    assert!(asked.iter().all(|method| method == "eth_getBlockByNumber"));
}

/// The record of another chain, or of one that was reset, is never mixed with this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_chain_is_refused_and_a_late_one_waited_for() {
    let world = World::start().await;
    let head = world.anvil.head().await;
    let elsewhere = |number| Event::ChainCommitted {
        block: BlockRef {
            number,
            hash: Hash([7; 32]),
            time: BlockTime(1),
        },
        facts: Vec::new(),
    };
    let expectations = [(head - 1, "E-CHAIN-012"), (head + 5, "E-CHAIN-011")];
    for (number, code) in expectations {
        let recorder = Recorder::default();
        let recorded = recorder.record(vec![elsewhere(number)]).await;
        assert_eq!(recorded, Ok(()));
        let watcher = Watcher::new(world.connection.clone(), world.config(), recorder.clone());
        let status = watcher.status();
        let task = tokio::spawn(watcher.run(std::future::pending()));
        eventually(code, || {
            let error = status.borrow().error.clone()?;
            error.starts_with(code).then_some(())
        })
        .await;
        task.abort();
        assert_eq!(
            recorder.events(),
            [elsewhere(number)],
            "nothing is recorded"
        );
    }

    // An RPC that has not come as far as the record is no reorg, neither at start nor later.
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    world.ask().await;
    follow(&world, &watching).await;
    let snapshot = world.anvil.request("evm_snapshot", json!([])).await;
    world.ask().await;
    follow(&world, &watching).await;
    let recorded = world.recorder.events();
    world.anvil.request("evm_revert", json!([snapshot])).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(watching.status.borrow().error.is_none());
    drop(watching);
    let watching = world.watch(world.config());
    eventually("the wait", || watching.status.borrow().error.clone()).await;
    assert_eq!(world.recorder.events(), recorded);
}

/// Sends from one of anvil's accounts, and waits until it is in a block.
async fn send(world: &World, transaction: &serde_json::Value) {
    let sent = world
        .anvil
        .request("eth_sendTransaction", transaction.clone());
    let hash = json!([sent.await]);
    for _ in 0..500 {
        let receipt = world
            .anvil
            .request("eth_getTransactionReceipt", hash.clone());
        if !receipt.await.is_null() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{hash} was not included");
}

/// Whatever a token's contract does when it is asked for a balance: the chain is read on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_no_balance_can_be_read_of_holds_up_nothing() {
    let world = World::start().await;
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    let token = "0x00000000000000000000000000000000000070ce";
    // Whatever it is asked, it returns one.
    let code = json!([token, "0x600160005260206000f3"]);
    world.anvil.request("anvil_setCode", code).await;
    let withdraw = format!("0xf3fef3a3{:0>64}{:064}", &token[2..], 0);
    let moves = json!([{
        "from": world.key.address().to_string(), "to": dev::NODE_WALLET.to_string(), "data": withdraw,
    }]);
    let moved = |world: &World| {
        let facts = world.recorder.facts().into_iter();
        let wallets = facts.filter_map(|(_, fact)| match fact {
            ChainFact::Wallet(fact) => Some(fact.change),
            _ => None,
        });
        let (mut withdrawn, mut read) = (0, 0);
        for change in wallets {
            match change {
                WalletChange::Withdrawn { .. } => withdrawn += 1,
                WalletChange::BalanceRead { token, .. } if !token.is_zero() => read += 1,
                _ => {}
            }
        }
        (withdrawn, read)
    };
    send(&world, &moves).await;
    follow(&world, &watching).await;
    assert_eq!(moved(&world), (1, 1));
    // No sense in asking again; and one that says so each time.
    for (words, before) in [
        ("what a token says", 1),
        ("execution aborted (timeout = 5s)", 2),
    ] {
        world.gate.set(Fault::Balance(words));
        send(&world, &moves).await;
        follow(&world, &watching).await;
        assert_eq!(moved(&world), (before + 1, 1), "{words}");
    }
    world.gate.set(Fault::None);
    send(&world, &moves).await;
    follow(&world, &watching).await;
    assert_eq!(moved(&world), (4, 2));
}

/// What others had used, and nobody followed, is free again: whoever waits behind it learns of it
/// once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_behind_a_free_nonce_is_told_once() {
    let world = World::start().await;
    let watching = world.watch(world.config());
    follow(&world, &watching).await;
    let observed = |world: &World| {
        let events = world.recorder.events().into_iter();
        let nonces = events.filter_map(|event| match event {
            Event::AccountObserved { nonce, .. } => Some(nonce),
            _ => None,
        });
        nonces.collect::<Vec<_>>()
    };
    let (tx, _) = world.sign(2, Action::FillNonce, 10 * GWEI).await;
    world.recorder.await_inclusion(Nonce(2), tx);
    for _ in 0..3 {
        world.ask().await;
        follow(&world, &watching).await;
    }
    assert_eq!(observed(&world), [Nonce(0)]);
    // One of them is used, and there it rests again.
    let (first, raw) = world.sign(0, Action::FillNonce, 10 * GWEI).await;
    world.recorder.await_inclusion(Nonce(0), first);
    world.include(0, first, raw).await;
    follow(&world, &watching).await;
    world.ask().await;
    follow(&world, &watching).await;
    assert_eq!(observed(&world), [Nonce(0), Nonce(1)]);
}
