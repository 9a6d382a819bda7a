//! The mempool: signed transactions that wait for a block.
//!
//! One transaction per (sender, nonce); replacement by fee; a nonce gap keeps what is behind it
//! waiting. It is a persistent map like the state, so a copy of the chain costs nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use alloy::consensus::Transaction as _;
use alloy::primitives::{Address, B256};
use imbl::{HashMap, OrdMap};

use super::block::Tx;
use super::chain::Refusal;
use super::limits::{POOL_NONCE_GAP_MAX, POOL_TX_MAX, REPLACEMENT_BUMP_PERCENT};
use super::state::State;

#[derive(Debug, Clone)]
struct Waiting {
    tx: Arc<Tx>,
    arrival: u64,
}

/// The transactions that wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    by_nonce: OrdMap<(Address, u64), Waiting>,
    by_hash: HashMap<B256, (Address, u64)>,
    arrivals: u64,
}

impl Pool {
    /// The waiting transaction with this hash.
    pub(super) fn get(&self, hash: &B256) -> Option<&Arc<Tx>> {
        let key = self.by_hash.get(hash)?;
        self.by_nonce.get(key).map(|waiting| &waiting.tx)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.by_nonce.len()
    }

    /// All waiting transactions, by sender and nonce.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Tx>> {
        self.by_nonce.values().map(|waiting| &waiting.tx)
    }

    /// Whether the pool would take this transaction, the account's nonce being `nonce`.
    pub(super) fn check(&self, tx: &Tx, nonce: u64) -> Result<(), Refusal> {
        if self.by_hash.contains_key(&tx.hash()) {
            return Err(Refusal::AlreadyKnown);
        }
        if tx.nonce() > nonce.saturating_add(POOL_NONCE_GAP_MAX) {
            return Err(Refusal::NonceTooHigh {
                state: nonce,
                tx: tx.nonce(),
            });
        }
        match self.by_nonce.get(&(tx.sender, tx.nonce())) {
            Some(old) if !outbids(tx, &old.tx) => Err(Refusal::Underpriced),
            Some(_) => Ok(()),
            None if self.len() >= POOL_TX_MAX => Err(Refusal::PoolFull),
            None => Ok(()),
        }
    }

    /// Adds a transaction, in place of the one with the same sender and nonce.
    pub(super) fn add(&mut self, tx: Arc<Tx>) {
        let key = (tx.sender, tx.nonce());
        self.by_hash.insert(tx.hash(), key);
        let waiting = Waiting {
            tx,
            arrival: self.arrivals,
        };
        self.arrivals += 1;
        if let Some(old) = self.by_nonce.insert(key, waiting) {
            self.by_hash.remove(&old.tx.hash());
        }
    }

    /// Removes a transaction.
    pub(super) fn remove(&mut self, hash: &B256) -> Option<Arc<Tx>> {
        let key = self.by_hash.remove(hash)?;
        self.by_nonce.remove(&key).map(|waiting| waiting.tx)
    }

    /// Removes what can never be mined any more: nonces below their account's.
    pub(super) fn remove_stale(&mut self, state: &State) {
        let stale: Vec<B256> = self
            .by_nonce
            .iter()
            .filter(|((sender, nonce), _)| *nonce < state.nonce(sender))
            .map(|(_, waiting)| waiting.tx.hash())
            .collect();
        for hash in stale {
            self.remove(&hash);
        }
    }

    /// The nonce after the transactions of `sender` that wait without a gap.
    pub(super) fn pending_nonce(&self, sender: Address, state: &State) -> u64 {
        let first = state.nonce(&sender);
        self.by_nonce
            .range((sender, first)..=(sender, u64::MAX))
            .zip(first..)
            .take_while(|(((_, nonce), _), expected)| nonce == expected)
            .last()
            .map_or(first, |(((_, nonce), _), _)| nonce + 1)
    }

    /// What can be mined on top of `state` at this base fee, best first.
    pub(super) fn candidates(&self, state: &State, base_fee: u64) -> Candidates {
        let mut queues: BTreeMap<Address, VecDeque<Waiting>> = BTreeMap::new();
        let mut next: Option<(Address, u64)> = None;
        for ((sender, nonce), waiting) in &self.by_nonce {
            let expected = match next {
                Some((last, expected)) if last == *sender => expected,
                _ => state.nonce(sender),
            };
            if *nonce == expected {
                queues
                    .entry(*sender)
                    .or_default()
                    .push_back(waiting.clone());
                next = Some((*sender, expected + 1));
            } else {
                next = Some((*sender, expected));
            }
        }
        let mut candidates = Candidates {
            heads: BinaryHeap::new(),
            queues,
            base_fee,
        };
        let senders: Vec<Address> = candidates.queues.keys().copied().collect();
        for sender in senders {
            candidates.advance(sender);
        }
        candidates
    }
}

/// Both fees must rise, or a replacement could be cheaper for the miner.
fn outbids(new: &Tx, old: &Tx) -> bool {
    let bumped = |fee: u128| {
        fee.saturating_mul(100 + REPLACEMENT_BUMP_PERCENT)
            .div_ceil(100)
    };
    let tip = |tx: &Tx| {
        tx.envelope
            .max_priority_fee_per_gas()
            .unwrap_or_else(|| tx.envelope.max_fee_per_gas())
    };
    new.envelope.max_fee_per_gas() >= bumped(old.envelope.max_fee_per_gas())
        && tip(new) >= bumped(tip(old))
}

/// Transactions in the order in which a block takes them: by tip, then by arrival, and each
/// sender's by nonce.
#[derive(Debug)]
pub(super) struct Candidates {
    heads: BinaryHeap<(u128, Reverse<u64>, Address)>,
    queues: BTreeMap<Address, VecDeque<Waiting>>,
    base_fee: u64,
}

impl Candidates {
    fn advance(&mut self, sender: Address) {
        if let Some(waiting) = self.queues.get(&sender).and_then(VecDeque::front)
            && let Some(tip) = waiting.tx.envelope.effective_tip_per_gas(self.base_fee)
        {
            self.heads.push((tip, Reverse(waiting.arrival), sender));
        }
    }

    /// The best transaction left.
    pub(super) fn next(&mut self) -> Option<Arc<Tx>> {
        let (_, _, sender) = self.heads.pop()?;
        self.queues
            .get_mut(&sender)?
            .pop_front()
            .map(|waiting| waiting.tx)
    }

    /// Says that the transaction just taken was executed: its successor may follow. If that is not
    /// said, the sender's later transactions wait for another block.
    pub(super) fn executed(&mut self, sender: Address) {
        self.advance(sender);
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }
}
