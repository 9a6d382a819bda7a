//! The simulated chain: what a block leaves behind, and what transactions do to it. It follows the
//! contract's rules (`docs/spec/contracts.md` 2 to 4), not the machine's.

use std::collections::BTreeMap;

use infernet_state::{
    effect::{Action, Delivery},
    event::{ChainFact, Receipt, Subscription, WalletChange, WalletFact},
    subscription::{Rejected, judge},
    types::{Address, Amount, BlockRef, Hash, Interval, Nonce, SubscriptionId},
};

use super::setup::*;

/// A subscription on the simulated chain.
#[derive(Clone)]
pub(crate) struct OnChain {
    pub(crate) record: Subscription,
    /// The block that created it: answers made for another creation must not reach it.
    pub(crate) created: Hash,
    pub(crate) counts: BTreeMap<u32, u16>,
    pub(crate) ours: BTreeMap<u32, bool>,
}

/// A transaction of the node.
#[derive(Clone)]
pub(crate) struct Tx {
    pub(crate) nonce: u64,
    pub(crate) hash: Hash,
    pub(crate) action: Action,
    pub(crate) max_fee: u128,
}

/// What one block leaves behind.
#[derive(Clone)]
pub(crate) struct BlockState {
    pub(crate) block: BlockRef,
    pub(crate) facts: Vec<ChainFact>,
    pub(crate) subscriptions: BTreeMap<u32, OnChain>,
    pub(crate) nonce: u64,
    /// What the node's account may lock in the node's wallet, by token.
    pub(crate) allowances: BTreeMap<Address, Amount>,
    /// Open proof requests, by id and interval.
    pub(crate) proofs: BTreeMap<(u32, u32), OpenProof>,
    /// Ids of delegated subscriptions: nonce → id (all of one owner).
    pub(crate) delegated: BTreeMap<u32, u32>,
    /// What strangers do within each delivery of the node.
    pub(crate) meddling: Option<Meddling>,
}

/// What strangers do within a delivery: a token, a verifier or a consumer that it calls has the
/// word, and calls what it likes.
#[derive(Clone, Debug)]
pub(crate) struct Meddling {
    /// After so many of the delivery's own events; what is more comes last.
    pub(crate) after: usize,
    /// What they do, in the delivery's transaction.
    pub(crate) acts: Vec<Next>,
}

/// A proof request that nobody has judged.
#[derive(Clone, Copy)]
pub(crate) struct OpenProof {
    pub(crate) expiry: u64,
    pub(crate) token: Address,
    pub(crate) stake: Amount,
    pub(crate) escrow: Amount,
}

/// What somebody else does in the next block.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    Create(Subscription),
    /// By delegation, under a nonce, which the watcher may not learn.
    Delegated(Subscription, u32, bool),
    Cancel(u32),
    Fulfil(u32, Address),
    Judge(usize, bool),
    Foreign,
    /// Whatever a wallet of the factory was made to say.
    Wallet(WalletFact),
}

pub(crate) fn apply_next(state: &mut BlockState, next: Next, now: u32) {
    match next {
        Next::Create(mut record) => {
            record.active_at = now + record.period;
            create(state, record, None);
        }
        Next::Delegated(record, nonce, known) => {
            let id = create(state, record, known.then_some(nonce));
            state.delegated.insert(nonce, id);
        }
        Next::Cancel(id) => {
            if let Some(subscription) = state.subscriptions.get_mut(&id) {
                subscription.record.active_at = u32::MAX;
                state.facts.push(ChainFact::SubscriptionCancelled {
                    id: SubscriptionId(id),
                });
            }
        }
        Next::Fulfil(id, node) => {
            if let Some(subscription) = state.subscriptions.get_mut(&id) {
                let interval = infernet_state::subscription::interval_at(
                    subscription.record.active_at,
                    subscription.record.period,
                    now,
                );
                let count = subscription.counts.get(&interval.0).copied().unwrap_or(0);
                if judge(&subscription.record, now, interval, count, false).is_ok() {
                    *subscription.counts.entry(interval.0).or_default() += 1;
                    state.facts.push(ChainFact::SubscriptionFulfilled {
                        id: SubscriptionId(id),
                        node,
                    });
                }
            }
        }
        Next::Judge(place, valid) => {
            let count = state.proofs.len();
            let chosen = state.proofs.keys().nth(place % count.max(1)).copied();
            if let Some((id, interval)) = chosen {
                judge_proof(state, (id, interval), valid, hash("judge", now.into()));
            }
        }
        Next::Wallet(fact) => state.facts.push(ChainFact::Wallet(fact)),
        Next::Foreign => {
            state.facts.push(ChainFact::ForeignNonceUsed {
                nonce: Nonce(state.nonce),
            });
            state.nonce += 1;
        }
    }
}

/// A transaction of the node's account in a block.
pub(crate) fn execute(state: &mut BlockState, tx: &Tx) {
    state.nonce += 1;
    let before = state.clone();
    let succeeded = run(state, &tx.action, tx.hash).is_ok();
    if !succeeded {
        *state = before;
    }
    state.facts.push(ChainFact::TransactionIncluded(Receipt {
        nonce: Nonce(tx.nonce),
        tx: tx.hash,
        succeeded,
        gas_used: GAS_USED,
        effective_gas_price: GAS_PRICE,
        l1_fee: Amount::ZERO,
    }));
}

pub(crate) fn run(state: &mut BlockState, action: &Action, tx: Hash) -> Result<(), &'static str> {
    match action {
        Action::Deliver(delivery) => deliver(state, delivery.subscription.0, delivery, tx),
        Action::DeliverBatch(deliveries) => {
            for delivery in deliveries {
                let before = state.clone();
                if deliver(state, delivery.subscription.0, delivery, tx).is_err() {
                    *state = before;
                }
            }
            Ok(())
        }
        Action::DeliverDelegated {
            subscription,
            nonce,
            expiry,
            delivery,
            ..
        } => {
            let id = match state.delegated.get(nonce) {
                Some(id) => *id,
                None if state.block.time.as_contract_time() >= *expiry => {
                    return Err("SignatureExpired");
                }
                None => {
                    let id = create(state, subscription.as_ref().clone(), Some(*nonce));
                    state.delegated.insert(*nonce, id);
                    id
                }
            };
            deliver(state, id, delivery, tx)
        }
        Action::ApproveStake { amount, token, .. } => {
            state.allowances.insert(*token, *amount);
            wallet(
                state,
                NODE_WALLET,
                NODE,
                tx,
                WalletChange::Approved {
                    spender: NODE,
                    token: *token,
                    amount: *amount,
                },
            );
            Ok(())
        }
        Action::FinalizeProof {
            subscription,
            interval,
            ..
        } => {
            let key = (subscription.0, interval.0);
            let proof = state.proofs.get(&key).ok_or("ProofRequestNotFound")?;
            if state.block.time.0 < proof.expiry {
                return Err("UnauthorizedVerifier");
            }
            judge_proof(state, key, true, tx);
            Ok(())
        }
        Action::FillNonce => Ok(()),
    }
}

/// The selectors that the machine knows; anything else for the others.
pub(crate) fn selector_of(reason: &str) -> [u8; 4] {
    match reason {
        "IntervalCompleted" => [0x2f, 0x4c, 0xa8, 0x5b],
        "NodeRespondedAlready" => [0x88, 0xa2, 0x1e, 0x4f],
        "InsufficientAllowance" => [0x13, 0xbe, 0x25, 0x2b],
        _ => [9; 4],
    }
}

fn name_of(rejected: Rejected) -> &'static str {
    match rejected {
        Rejected::NotFound => "SubscriptionNotFound",
        Rejected::NotActive => "SubscriptionNotActive",
        Rejected::IntervalMismatch => "IntervalMismatch",
        Rejected::SubscriptionCompleted => "SubscriptionCompleted",
        Rejected::IntervalCompleted => "IntervalCompleted",
        Rejected::NodeRespondedAlready => "NodeRespondedAlready",
    }
}

fn wallet(state: &mut BlockState, wallet: Address, owner: Address, tx: Hash, change: WalletChange) {
    state.facts.push(ChainFact::Wallet(WalletFact {
        wallet,
        owner,
        tx,
        change,
    }));
}

fn create(state: &mut BlockState, record: Subscription, delegation: Option<u32>) -> u32 {
    let id = state.subscriptions.len() as u32 + 1;
    state.subscriptions.insert(
        id,
        OnChain {
            record: record.clone(),
            created: state.block.hash,
            counts: BTreeMap::new(),
            ours: BTreeMap::new(),
        },
    );
    state.facts.push(ChainFact::SubscriptionCreated {
        id: SubscriptionId(id),
        subscription: record,
        delegation,
    });
    id
}

/// `deliverCompute`, as `docs/spec/contracts.md` 2.4 and 3 say it.
fn deliver(
    state: &mut BlockState,
    id: u32,
    delivery: &Delivery,
    tx: Hash,
) -> Result<(), &'static str> {
    let now = state.block.time.as_contract_time();
    let time = state.block.time.0;
    let interval = delivery.interval.0;
    let begin = state.facts.len();
    let subscription = state
        .subscriptions
        .get_mut(&id)
        .ok_or("SubscriptionNotFound")?;
    let count = subscription.counts.get(&interval).copied().unwrap_or(0);
    let responded = subscription.ours.contains_key(&interval);
    judge(
        &subscription.record,
        now,
        delivery.interval,
        count,
        responded,
    )
    .map_err(name_of)?;
    subscription.counts.insert(interval, count + 1);
    subscription.ours.insert(interval, true);
    let terms = subscription.record.clone();
    let price = terms.payment_amount;
    if !price.is_zero() {
        let part = |amount: Amount, of: u64| Amount(amount.0 / ruint_u256(of));
        let fee = part(price, 20);
        let mut rest = price.checked_sub(fee).expect("a part");
        let pay = |state: &mut BlockState, to, amount| {
            wallet(
                state,
                terms.wallet,
                terms.owner,
                tx,
                WalletChange::Transferred {
                    spender: terms.owner,
                    token: terms.payment_token,
                    to,
                    amount,
                },
            );
        };
        pay(state, FEE_RECIPIENT, fee);
        if terms.verifier.is_zero() {
            pay(state, delivery.node_wallet, rest);
        } else {
            let verifier_fee = part(price, 10);
            let share = part(verifier_fee, 40);
            rest = rest.checked_sub(verifier_fee).expect("a part");
            pay(state, FEE_RECIPIENT, share);
            pay(
                state,
                terms.verifier,
                verifier_fee.checked_sub(share).expect("a part"),
            );
            let allowance = state.allowances.entry(terms.payment_token).or_default();
            *allowance = allowance
                .checked_sub(price)
                .ok_or("InsufficientAllowance")?;
            for (of, owner, amount) in [
                (NODE_WALLET, NODE, price),
                (terms.wallet, terms.owner, rest),
            ] {
                wallet(
                    state,
                    of,
                    owner,
                    tx,
                    WalletChange::Escrowed {
                        spender: owner,
                        token: terms.payment_token,
                        amount,
                        locked: true,
                    },
                );
            }
            state.proofs.insert(
                (id, interval),
                OpenProof {
                    expiry: time + 604_800,
                    token: terms.payment_token,
                    stake: price,
                    escrow: rest,
                },
            );
        }
    }
    if let Some(meddling) = state.meddling.clone() {
        meddle(state, begin, meddling, tx);
    }
    state.facts.push(ChainFact::SubscriptionFulfilled {
        id: SubscriptionId(id),
        node: NODE,
    });
    Ok(())
}

/// Puts what strangers do between the events of a delivery, which begin at `begin`.
fn meddle(state: &mut BlockState, begin: usize, meddling: Meddling, tx: Hash) {
    let count = state.facts.len() - begin;
    let later = state.facts.split_off(begin + meddling.after.min(count));
    for act in meddling.acts {
        match act {
            Next::Wallet(fact) => {
                let fact = WalletFact { tx, ..fact };
                state.facts.push(ChainFact::Wallet(fact));
            }
            Next::Judge(place, valid) => {
                if let Some(key) = state.proofs.keys().nth(place).copied() {
                    judge_proof(state, key, valid, tx);
                }
            }
            Next::Create(_)
            | Next::Delegated(..)
            | Next::Cancel(_)
            | Next::Fulfil(..)
            | Next::Foreign => unreachable!("no act of a callback here"),
        }
    }
    state.facts.extend(later);
}

/// `finalizeProofVerification`, section 2.5.
fn judge_proof(state: &mut BlockState, key: (u32, u32), valid: bool, tx: Hash) {
    let Some(OpenProof {
        expiry,
        token,
        stake,
        escrow,
    }) = state.proofs.remove(&key)
    else {
        return;
    };
    let active = state.block.time.0 < expiry;
    let allowance = state.allowances.entry(token).or_default();
    // Where it does not fit the reference reverts; the machine need not know.
    *allowance = allowance.checked_add(stake).unwrap_or(Amount::MAX);
    for (of, owner, amount) in [
        (NODE_WALLET, NODE, stake),
        (CONSUMER_WALLET, CONSUMER, escrow),
    ] {
        wallet(
            state,
            of,
            owner,
            tx,
            WalletChange::Escrowed {
                spender: owner,
                token,
                amount,
                locked: false,
            },
        );
    }
    if active && !valid {
        let allowance = state.allowances.entry(token).or_default();
        *allowance = allowance.checked_sub(stake).expect("unlocked");
        wallet(
            state,
            NODE_WALLET,
            NODE,
            tx,
            WalletChange::Transferred {
                spender: NODE,
                token,
                to: CONSUMER_WALLET,
                amount: stake,
            },
        );
    } else {
        wallet(
            state,
            CONSUMER_WALLET,
            CONSUMER,
            tx,
            WalletChange::Transferred {
                spender: CONSUMER,
                token,
                to: NODE_WALLET,
                amount: escrow,
            },
        );
    }
    state.facts.push(ChainFact::ProofVerified {
        id: SubscriptionId(key.0),
        interval: Interval(key.1),
        node: NODE,
        active,
        valid,
    });
}

fn ruint_u256(value: u64) -> ruint::aliases::U256 {
    ruint::aliases::U256::from(value)
}
