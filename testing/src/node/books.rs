//! The node's books, worked out from the model: what they must say, without the machine's own rules.
//!
//! A price is earned when a delivery succeeds; the protocol's and the verifier's shares follow from the fee
//! contract's rate; a stake is lost with a verdict; what the wallet pays out is what its events say.

use std::collections::{BTreeMap, BTreeSet};

use infernet_contracts::{
    convert::{from_address, from_u256},
    facts::{Said, said, wallet_change},
};
use infernet_state::{
    event::{ChainFact, WalletChange},
    ledger::{Balance, Sum},
    proof::ProofState,
    types::{Address as Token, Amount},
};
use revm::primitives::{Address, Log, LogData, U256};

use super::{GAS_OF_REVERT, GAS_PRICE, Node, differ};
use crate::{
    model::{Call, Model, ProofRequest},
    twin::Mismatch,
};

/// A proof request, with its subscription and interval.
type Opened = ((u32, u32), ProofRequest);

/// A sum that may be negative.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Net {
    plus: Sum,
    minus: Sum,
}

fn sum(a: Sum, b: Sum) -> Sum {
    a.checked_add(b).expect("few amounts fit a sum")
}

impl Net {
    pub(super) fn add(&mut self, amount: U256) {
        self.plus = sum(self.plus, from_u256(amount).into());
    }

    pub(super) fn take(&mut self, amount: U256) {
        self.minus = sum(self.minus, from_u256(amount).into());
    }

    /// Both together.
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            plus: sum(self.plus, other.plus),
            minus: sum(self.minus, other.minus),
        }
    }

    /// The other side's.
    pub(super) fn turned(self) -> Self {
        Self {
            plus: self.minus,
            minus: self.plus,
        }
    }
}

impl PartialEq for Net {
    fn eq(&self, other: &Self) -> bool {
        sum(self.plus, other.minus) == sum(self.minus, other.plus)
    }
}

impl From<Balance> for Net {
    fn from(balance: Balance) -> Self {
        let (plus, minus) = match balance {
            Balance::Debit(amount) => (amount, Sum::ZERO),
            Balance::Credit(amount) => (Sum::ZERO, amount),
        };
        Self { plus, minus }
    }
}

impl From<U256> for Net {
    fn from(amount: U256) -> Self {
        let mut net = Self::default();
        net.add(amount);
        net
    }
}

impl std::fmt::Display for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.plus.checked_sub(self.minus) {
            Some(positive) => write!(f, "{positive}"),
            None => write!(
                f,
                "-{}",
                self.minus.checked_sub(self.plus).unwrap_or_default()
            ),
        }
    }
}

/// What the books must say, by token.
#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    pub(super) earnings: BTreeMap<Token, Net>,
    pub(super) protocol: BTreeMap<Token, Net>,
    pub(super) verifiers: BTreeMap<Token, Net>,
    pub(super) slashes: BTreeMap<Token, Net>,
    pub(super) owner: BTreeMap<Token, Net>,
    pub(super) gas: Net,
    /// Tokens in which a verifier was paid to the protocol's own recipient: the two are one then.
    pub(super) blurred: BTreeSet<Token>,
}

impl Node {
    /// What a transaction means for the books.
    pub(super) fn note_books(
        &mut self,
        before: &Model,
        call: &Call,
        own: bool,
        gas: Option<u64>,
        logs: &[(Address, LogData)],
    ) -> Result<(), Mismatch> {
        if own {
            let gas = gas.unwrap_or(GAS_OF_REVERT);
            self.so_far
                .books
                .gas
                .add(U256::from(gas) * U256::from(GAS_PRICE));
        }
        let coordinator = before.deployment().coordinator;
        let account = from_address(self.account);
        let mut opened = BTreeMap::new();
        for (address, data) in logs {
            let log = Log {
                address: *address,
                data: data.clone(),
            };
            if *address == self.wallet {
                self.note_wallet(&log);
            }
            if *address != coordinator {
                continue;
            }
            // In the order of the contract: a verdict at once comes before the answer counts as given.
            match said(&log) {
                Ok(Said::Fact(ChainFact::SubscriptionFulfilled { id, node }))
                    if own && node == account =>
                {
                    opened.extend(self.note_delivery(before, call, id.0)?);
                }
                Ok(_) | Err(_) => {}
            }
        }
        if let (true, Some(_), Call::DeliverBatch(items)) = (own, gas, call) {
            let failed = |item: &&crate::model::BatchItem| {
                !self.so_far.delivered.contains(&(item.id, item.interval))
            };
            if items.iter().any(|item| failed(&item)) {
                self.happened.count("a delivery's item of a batch failed");
            }
        }
        for (address, data) in logs.iter().filter(|(address, _)| *address == coordinator) {
            let log = Log {
                address: *address,
                data: data.clone(),
            };
            if let Ok(Said::Fact(ChainFact::ProofVerified {
                id,
                interval,
                node,
                active,
                valid,
            })) = said(&log)
                && node == account
            {
                let key = (id.0, interval.0, self.account);
                let request = before.proof_requests().get(&key).copied();
                let request = request
                    .or_else(|| opened.get(&(id.0, interval.0)).copied())
                    .or_else(|| judged_at_once(call, id.0));
                if let Some(request) = request {
                    self.note_verdict(id.0, interval.0, request, active, valid);
                }
            }
        }
        Ok(())
    }

    fn note_wallet(&mut self, log: &Log) {
        let account = from_address(self.account);
        let (token, amount) = match wallet_change(log) {
            Some(WalletChange::Withdrawn { token, amount }) => {
                self.happened.count("the wallet was withdrawn from");
                (token, amount)
            }
            Some(WalletChange::Transferred {
                spender,
                token,
                amount,
                ..
            }) if spender != account => {
                self.happened
                    .count("a wallet of the node paid for a consumer");
                (token, amount)
            }
            Some(_) | None => return,
        };
        self.so_far
            .books
            .owner
            .entry(token)
            .or_default()
            .add(amount_of(amount));
    }

    /// A delivery of the machine succeeded. Gives back its proof request, where it has one.
    fn note_delivery(
        &mut self,
        before: &Model,
        call: &Call,
        id: u32,
    ) -> Result<Option<Opened>, Mismatch> {
        let interval = match call {
            Call::DeliverCompute { interval, .. } | Call::DeliverDelegated { interval, .. } => {
                Some(*interval)
            }
            Call::DeliverBatch(items) => {
                let item = items.iter().find(|item| item.id == id);
                item.map(|item| item.interval)
            }
            _ => None,
        };
        let sub = self.twin.model.subscription(id).cloned();
        let (Some(interval), Some(sub)) = (interval, sub) else {
            return Ok(None);
        };
        if !self.so_far.delivered.insert((id, interval)) {
            let what = format!("the deliveries to ({id}, {interval})");
            return Err(differ(what, "two in one chain", "at most one"));
        }
        let price = sub.payment_amount;
        if price.is_zero() {
            self.happened.count("delivered for nothing");
            return Ok(None);
        }
        let token = from_address(sub.payment_token);
        self.so_far
            .books
            .earnings
            .entry(token)
            .or_default()
            .add(price);
        let rules = before.rules();
        let fee = rules.fee_applied(before.fee().fee);
        let recipient = before.fee().ownable.owner;
        let share = |amount, fee| {
            rules
                .fee_of(amount, fee)
                .expect("it was computed in the EVM")
        };
        let protocol = share(price, fee * 2);
        let mut fees = vec![(recipient, protocol, false)];
        let mut request = None;
        if sub.verifier.is_zero() {
            self.happened.count("paid at once");
        } else {
            self.happened.count("a proof was opened");
            let verifier = before
                .verifiers()
                .get(&sub.verifier)
                .cloned()
                .unwrap_or_default();
            let asked = verifier
                .fees
                .get(&sub.payment_token)
                .copied()
                .unwrap_or_default();
            let of_it = share(asked, fee);
            fees.push((recipient, of_it, false));
            fees.push((verifier.wallet, asked - of_it, true));
            if verifier.wallet == recipient {
                self.so_far.books.blurred.insert(token);
            }
            let consumer_escrowed = price - protocol - asked;
            let node_wallet = self.wallet;
            request = Some((
                (id, interval),
                ProofRequest {
                    expiry: 0,
                    node_wallet,
                    consumer_escrowed,
                },
            ));
        }
        for (to, amount, to_verifier) in fees {
            // What comes to the node's own wallet is no fee.
            if to == self.wallet {
                self.so_far.books.blurred.insert(token);
            } else if to_verifier {
                self.so_far
                    .books
                    .verifiers
                    .entry(token)
                    .or_default()
                    .add(amount);
            } else {
                self.so_far
                    .books
                    .protocol
                    .entry(token)
                    .or_default()
                    .add(amount);
            }
        }
        Ok(request)
    }

    fn note_verdict(
        &mut self,
        id: u32,
        interval: u32,
        request: ProofRequest,
        active: bool,
        valid: bool,
    ) {
        let Some(sub) = self.twin.model.subscription(id).cloned() else {
            return;
        };
        let token = from_address(sub.payment_token);
        let own = self.so_far.delivered.contains(&(id, interval));
        let (state, what) = match (active, valid) {
            (true, true) => (ProofState::Paid, "a proof was found valid"),
            (true, false) => (ProofState::Slashed, "a proof was found invalid"),
            (false, _) => (ProofState::Expired, "a proof expired"),
        };
        if own {
            self.so_far.verdicts.insert((id, interval), state);
            self.happened.count(what);
        }
        if state != ProofState::Slashed {
            return;
        }
        if own {
            let escrowed = request.consumer_escrowed;
            self.so_far
                .books
                .earnings
                .entry(token)
                .or_default()
                .take(escrowed);
        }
        if request.node_wallet == self.wallet {
            let rules = self.twin.model.rules();
            let lost = rules.slashed(sub.payment_amount, request.consumer_escrowed);
            self.so_far
                .books
                .slashes
                .entry(token)
                .or_default()
                .add(lost);
        }
    }
}

fn amount_of(amount: Amount) -> U256 {
    U256::from_be_bytes(amount.to_be_bytes())
}

/// The request of a delivery that somebody else made with the account, and that was judged within it.
fn judged_at_once(call: &Call, id: u32) -> Option<ProofRequest> {
    let node_wallet = match call {
        Call::DeliverCompute { node_wallet, .. } | Call::DeliverDelegated { node_wallet, .. } => {
            *node_wallet
        }
        Call::DeliverBatch(items) => items.iter().find(|item| item.id == id)?.node_wallet,
        _ => return None,
    };
    Some(ProofRequest {
        expiry: 0,
        node_wallet,
        consumer_escrowed: U256::ZERO,
    })
}
