//! A little chain: consumers' requests, the node's transactions by nonce, reorgs, finality. It
//! follows the contract's rules and knows nothing of the node's state.

use std::collections::{BTreeMap, BTreeSet};

use infernet_state::{
    event::{
        ChainFact, Failure, Origin, Outcome, Receipt, Rejection, Subscription, Success,
        SyncedSubscription, TransactionState, WalletChange, WalletFact,
    },
    subscription::{interval_at, judge},
    types::{Address, Amount, BlockRef, BlockTime, Hash, Interval, Nonce, SubscriptionId},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::world::{EPOCH_MS, SimWorld};

pub(crate) const NODE: Address = Address([0xaa; 20]);
pub(crate) const NODE_WALLET: Address = Address([0xbb; 20]);
pub(crate) const FEE_RECIPIENT: Address = Address([0xfe; 20]);

/// Blocks above a final one.
const FINALITY: usize = 6;

/// Gas of every transaction of the node, and its price.
pub(crate) const GAS_USED: u64 = 100_000;
/// Blocks above a creation before the node acts on it, and the most that a reorg replaces.
pub(crate) const TRAIL_HEAD_BLOCKS: u64 = 2;
pub(crate) const GAS_PRICE: u128 = 7;

/// What the node signs.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct RawTx {
    pub(crate) nonce: u64,
    pub(crate) max_fee: u128,
    pub(crate) call: Call,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Call {
    Deliver {
        subscription: u32,
        interval: u32,
        output: Vec<u8>,
    },
    Nothing,
}

pub(crate) fn encode(tx: &RawTx) -> Vec<u8> {
    bincode::serde::encode_to_vec(tx, bincode::config::standard()).expect("encodes")
}

pub(crate) fn digest(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

/// What is computed for an input.
pub(crate) fn answer_to(input: &[u8]) -> Vec<u8> {
    [b"answer to ", input].concat()
}

/// A consumer's request, to be created when it is included.
#[derive(Clone)]
pub(crate) struct Request {
    /// Which of all requests: in its owner's address.
    pub(crate) tag: u8,
    pub(crate) containers: Vec<&'static str>,
    pub(crate) price: u128,
    pub(crate) period: u32,
    pub(crate) frequency: u32,
}

#[derive(Clone)]
struct OnChain {
    record: Subscription,
    answered: BTreeSet<u32>,
}

/// A block, and the chain's state behind it.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) reference: BlockRef,
    pub(crate) facts: Vec<ChainFact>,
    requests: Vec<Request>,
    transactions: Vec<Hash>,
    subscriptions: BTreeMap<u32, OnChain>,
    nonce: u64,
}

pub(crate) struct Chain {
    blocks: Vec<Block>,
    waiting: Vec<Request>,
    pool: BTreeMap<Hash, RawTx>,
    /// Every transaction that ever arrived.
    pub(crate) arrived: BTreeMap<Hash, RawTx>,
    made: u64,
}

impl Chain {
    pub(crate) fn new(requests: Vec<Request>) -> Self {
        Self {
            blocks: vec![Block {
                reference: BlockRef {
                    number: 0,
                    hash: digest(b"genesis"),
                    time: BlockTime(EPOCH_MS / 1_000),
                },
                facts: Vec::new(),
                requests: Vec::new(),
                transactions: Vec::new(),
                subscriptions: BTreeMap::new(),
                nonce: 0,
            }],
            waiting: requests,
            pool: BTreeMap::new(),
            arrived: BTreeMap::new(),
            made: 0,
        }
    }

    pub(crate) fn request(&mut self, request: Request) {
        self.waiting.push(request);
    }

    pub(crate) fn head(&self) -> &Block {
        self.blocks.last().expect("genesis stays")
    }

    pub(crate) fn nonce(&self) -> Nonce {
        Nonce(self.head().nonce)
    }

    pub(crate) fn block(&self, number: u64) -> Option<&Block> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    pub(crate) fn is_canonical(&self, block: &BlockRef) -> bool {
        self.block(block.number)
            .is_some_and(|known| known.reference.hash == block.hash)
    }

    pub(crate) fn newest_final(&self) -> BlockRef {
        let place = self.blocks.len().saturating_sub(1 + FINALITY);
        self.blocks[place].reference
    }

    /// The next block: some of what waits.
    pub(crate) fn mine(&mut self, world: &SimWorld) {
        let parent = self.head().clone();
        self.made += 1;
        let mut block = Block {
            reference: BlockRef {
                number: parent.reference.number + 1,
                hash: digest(&self.made.to_be_bytes()),
                time: BlockTime(world.now_ms() / 1_000).max(BlockTime(parent.reference.time.0 + 1)),
            },
            facts: Vec::new(),
            requests: Vec::new(),
            transactions: Vec::new(),
            ..parent
        };
        let mut later = Vec::new();
        for request in std::mem::take(&mut self.waiting) {
            if world.chance(60) {
                block.create(request);
            } else {
                later.push(request);
            }
        }
        self.waiting = later;
        while let Some(tx) = self.next_of(block.nonce).filter(|_| world.chance(70)) {
            block.execute(&tx);
        }
        self.pool.retain(|_, tx| tx.nonce >= block.nonce);
        self.blocks.push(block);
    }

    /// The dearest version of a nonce in the pool.
    fn next_of(&self, nonce: u64) -> Option<RawTx> {
        let versions = self.pool.values().filter(|tx| tx.nonce == nonce);
        versions.max_by_key(|tx| tx.max_fee).cloned()
    }

    /// The newest blocks go; what they held waits again, in another order.
    pub(crate) fn reorg(&mut self, world: &SimWorld) {
        // No deeper than the node waits before it acts on a creation: below that, an answer
        // that is on its way may meet another subscription under the same id.
        let depth = 1 + usize::try_from(world.below(TRAIL_HEAD_BLOCKS)).expect("small");
        let keep = self.blocks.len().saturating_sub(depth).max(1);
        for gone in self.blocks.split_off(keep).into_iter().rev() {
            self.waiting.extend(gone.requests.into_iter().rev());
            for hash in gone.transactions {
                // Now and then the pool has forgotten it.
                if !world.chance(20) {
                    self.pool.insert(hash, self.arrived[&hash].clone());
                }
            }
        }
    }

    pub(crate) fn broadcast(&mut self, raw: &[u8]) -> Outcome {
        let (tx, _): (RawTx, usize) =
            bincode::serde::decode_from_slice(raw, bincode::config::standard())
                .expect("signed by this node");
        let hash = digest(raw);
        self.arrived.insert(hash, tx.clone());
        if self.is_included(hash) || self.pool.contains_key(&hash) {
            return Outcome::Succeeded(Success::Broadcast);
        }
        let rejected = |rejection| Outcome::Failed(Failure::Rejected(rejection));
        if tx.nonce < self.head().nonce {
            return rejected(Rejection::NonceTooLow);
        }
        if self
            .pool
            .values()
            .any(|other| other.nonce == tx.nonce && other.max_fee >= tx.max_fee)
        {
            return rejected(Rejection::Underpriced);
        }
        self.pool.retain(|_, other| other.nonce != tx.nonce);
        self.pool.insert(hash, tx);
        Outcome::Succeeded(Success::Broadcast)
    }

    fn is_included(&self, tx: Hash) -> bool {
        self.blocks
            .iter()
            .any(|block| block.transactions.contains(&tx))
    }

    pub(crate) fn look_up(&self, nonce: Nonce, tx: Hash) -> TransactionState {
        if self.is_included(tx) {
            TransactionState::Included
        } else if nonce.0 < self.head().nonce {
            TransactionState::NonceTaken
        } else if self.pool.contains_key(&tx) {
            TransactionState::Pending
        } else {
            TransactionState::Absent
        }
    }

    /// Whether a delivery would be taken by a block of time `at`.
    pub(crate) fn simulate(&self, subscription: u32, interval: u32, at: BlockTime) -> bool {
        let time = at.max(self.head().reference.time);
        self.head().judge(subscription, interval, time)
    }

    pub(crate) fn responded(&self, id: SubscriptionId, interval: Interval) -> bool {
        let known = self.head().subscriptions.get(&id.0);
        known.is_some_and(|known| known.answered.contains(&interval.0))
    }

    /// `getContainerInputs` of a consumer.
    pub(crate) fn inputs(&self, id: SubscriptionId, interval: Interval) -> Vec<u8> {
        match self.head().subscriptions.get(&id.0) {
            Some(known) => input_of(&known.record, interval.0),
            None => Vec::new(),
        }
    }

    /// The living subscriptions from `from` on, as they stand in a block.
    pub(crate) fn living(&self, block: &BlockRef, from: SubscriptionId) -> Vec<SyncedSubscription> {
        let Some(at) = self.block(block.number) else {
            return Vec::new();
        };
        let now = at.reference.time.as_contract_time();
        let subscriptions = at.subscriptions.range(from.0..);
        subscriptions
            .map(|(id, known)| {
                let record = &known.record;
                let answered = known
                    .answered
                    .contains(&interval_at(record.active_at, record.period, now).0);
                SyncedSubscription {
                    id: SubscriptionId(*id),
                    subscription: record.clone(),
                    responses: answered.into(),
                    responded: answered,
                    origin: Origin::Owner,
                }
            })
            .collect()
    }

    /// Nothing waits, and every interval of every one of `wanted` requests was answered in a
    /// final block.
    pub(crate) fn is_served(&self, wanted: usize) -> bool {
        let settled = usize::try_from(self.newest_final().number).expect("few blocks");
        let at = &self.blocks[settled];
        self.waiting.is_empty()
            && self.pool.is_empty()
            && self.head().nonce == at.nonce
            && at.subscriptions.len() == wanted
            && at.subscriptions.values().all(|known| {
                known.answered.len() == usize::try_from(known.record.frequency).expect("few")
            })
    }

    /// Transactions of the canonical chain by what they deliver, with their success.
    pub(crate) fn deliveries(&self) -> BTreeMap<(u32, u32), Vec<bool>> {
        let mut found: BTreeMap<(u32, u32), Vec<bool>> = BTreeMap::new();
        for receipt in self.receipts() {
            if let Call::Deliver {
                subscription,
                interval,
                ..
            } = &self.arrived[&receipt.tx].call
            {
                found
                    .entry((*subscription, *interval))
                    .or_default()
                    .push(receipt.succeeded);
            }
        }
        found
    }

    /// The receipts of the node's transactions in the canonical chain.
    pub(crate) fn receipts(&self) -> impl Iterator<Item = &Receipt> {
        self.facts().filter_map(|fact| match fact {
            ChainFact::TransactionIncluded(receipt) => Some(receipt),
            _ => None,
        })
    }

    /// What the chain paid to `to`.
    pub(crate) fn paid_to(&self, to: Address) -> Amount {
        self.facts()
            .filter_map(|fact| match fact {
                ChainFact::Wallet(WalletFact {
                    change: WalletChange::Transferred { to: of, amount, .. },
                    ..
                }) if *of == to => Some(*amount),
                _ => None,
            })
            .fold(Amount::ZERO, |sum, part| {
                sum.checked_add(part).expect("little money")
            })
    }

    fn facts(&self) -> impl Iterator<Item = &ChainFact> {
        self.blocks.iter().flat_map(|block| &block.facts)
    }
}

fn input_of(record: &Subscription, interval: u32) -> Vec<u8> {
    format!("request {} interval {interval}", record.owner.0[0]).into_bytes()
}

impl Block {
    fn create(&mut self, request: Request) {
        let id = u32::try_from(self.subscriptions.len()).expect("few") + 1;
        let record = Subscription {
            owner: Address([request.tag; 20]),
            active_at: self.reference.time.as_contract_time() + request.period,
            period: request.period,
            frequency: request.frequency,
            redundancy: 1,
            container_id: infernet_state::admission::container_hash(&request.containers),
            lazy: false,
            verifier: Address::ZERO,
            payment_amount: request.price.into(),
            payment_token: Address::ZERO,
            wallet: Address([0x80 | request.tag; 20]),
        };
        self.facts.push(ChainFact::SubscriptionCreated {
            id: SubscriptionId(id),
            subscription: record.clone(),
            delegation: None,
        });
        self.subscriptions.insert(
            id,
            OnChain {
                record,
                answered: BTreeSet::new(),
            },
        );
        self.requests.push(request);
    }

    fn execute(&mut self, tx: &RawTx) {
        self.nonce += 1;
        let hash = digest(&encode(tx));
        let succeeded = match &tx.call {
            Call::Nothing => true,
            Call::Deliver {
                subscription,
                interval,
                output,
            } => self.deliver(hash, *subscription, *interval, output),
        };
        self.transactions.push(hash);
        self.facts.push(ChainFact::TransactionIncluded(Receipt {
            nonce: Nonce(tx.nonce),
            tx: hash,
            succeeded,
            gas_used: GAS_USED,
            effective_gas_price: GAS_PRICE,
            l1_fee: Amount::ZERO,
        }));
    }

    fn judge(&self, id: u32, interval: u32, at: BlockTime) -> bool {
        self.subscriptions.get(&id).is_some_and(|known| {
            let answered = known.answered.contains(&interval);
            let now = at.as_contract_time();
            judge(
                &known.record,
                now,
                Interval(interval),
                answered.into(),
                answered,
            )
            .is_ok()
        })
    }

    fn deliver(&mut self, tx: Hash, id: u32, interval: u32, output: &[u8]) -> bool {
        if !self.judge(id, interval, self.reference.time) {
            return false;
        }
        let Some(known) = self.subscriptions.get_mut(&id) else {
            return false;
        };
        assert_eq!(
            output,
            answer_to(&input_of(&known.record, interval)),
            "an answer reached a stranger"
        );
        known.answered.insert(interval);
        let record = known.record.clone();
        let pay = |to, amount: u128| {
            ChainFact::Wallet(WalletFact {
                wallet: record.wallet,
                owner: record.owner,
                tx,
                change: WalletChange::Transferred {
                    spender: record.owner,
                    token: Address::ZERO,
                    to,
                    amount: amount.into(),
                },
            })
        };
        let price = u128::try_from(record.payment_amount.0).expect("a small price");
        if price > 0 {
            let fee = price / 20;
            self.facts.push(pay(FEE_RECIPIENT, fee));
            self.facts.push(pay(NODE_WALLET, price - fee));
        }
        self.facts.push(ChainFact::SubscriptionFulfilled {
            id: SubscriptionId(id),
            node: NODE,
        });
        true
    }
}
