//! What the contracts say of themselves, against what the model says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use revm::primitives::{Address, U256};

use super::{Mismatch, Twin};
use crate::{
    abi::{
        Coordinator, Fee, Inbox, InboxItem, Ownable, ScriptedToken, Subscription, Wallet,
        WalletFactory, keys,
    },
    model::{Habit, Model, Ownable as Ownership},
};

/// The keys under which two maps differ.
fn changed<K: Ord + Clone, V: PartialEq>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> Vec<K> {
    let gone = old.keys().filter(|key| !new.contains_key(key));
    let other = new
        .iter()
        .filter(|(key, value)| old.get(key) != Some(value))
        .map(|(key, _)| key);
    gone.chain(other).cloned().collect()
}

fn equal<T: PartialEq + Debug>(
    what: impl FnOnce() -> String,
    model: T,
    contracts: Option<T>,
) -> Result<(), Mismatch> {
    if contracts.as_ref() == Some(&model) {
        return Ok(());
    }
    Err(Mismatch {
        what: what(),
        model: format!("{model:?}"),
        contracts: contracts.map_or("a revert".into(), |found| format!("{found:?}")),
    })
}

impl Twin {
    /// Compares everything there is, and some things that must not be there.
    ///
    /// # Errors
    /// The first [`Mismatch`] found.
    pub fn compare_all(&mut self) -> Result<(), Mismatch> {
        let nothing = Model::new(self.model.rules(), *self.model.deployment(), 0);
        self.compare_since(&nothing)?;
        for (account, coins) in self.world.all_coins() {
            let expected = self
                .model
                .coins()
                .get(&account)
                .copied()
                .unwrap_or_default();
            equal(|| format!("the coins of {account}"), expected, Some(coins))?;
        }
        let coordinator = self.model.deployment().coordinator;
        for id in [0, self.model.next_id()] {
            if self.model.subscription(id).is_none() {
                let call = Coordinator::getSubscriptionCall { subscriptionId: id };
                let found = self.world.read(coordinator, &call);
                equal(
                    || format!("subscription {id}"),
                    Subscription::from(&Default::default()),
                    found,
                )?;
            }
        }
        Ok(())
    }

    /// Compares what has changed in the model since `before`.
    pub(super) fn compare_since(&mut self, before: &Model) -> Result<(), Mismatch> {
        self.compare_subscriptions(before)?;
        self.compare_answers(before)?;
        self.compare_delegations(before)?;
        self.compare_wallets(before)?;
        self.compare_inbox(before)?;
        self.compare_balances(before)
    }

    fn compare_subscriptions(&mut self, before: &Model) -> Result<(), Mismatch> {
        let coordinator = self.model.deployment().coordinator;
        if before.next_id() != self.model.next_id() {
            let found = self.world.read(coordinator, &Coordinator::idCall {});
            equal(|| "the next id".into(), self.model.next_id(), found)?;
        }
        for id in changed(before.subscriptions(), self.model.subscriptions()) {
            let call = Coordinator::getSubscriptionCall { subscriptionId: id };
            let found = self.world.read(coordinator, &call);
            let sub = self.model.subscription(id).cloned().unwrap_or_default();
            equal(
                || format!("subscription {id}"),
                Subscription::from(&sub),
                found,
            )?;
        }
        Ok(())
    }

    fn compare_answers(&mut self, before: &Model) -> Result<(), Mismatch> {
        let coordinator = self.model.deployment().coordinator;
        for (id, interval) in changed(before.counts(), self.model.counts()) {
            let call = Coordinator::redundancyCountCall {
                key: keys::interval(id, interval),
            };
            let found = self.world.read(coordinator, &call);
            let expected = self
                .model
                .counts()
                .get(&(id, interval))
                .copied()
                .unwrap_or(0);
            equal(
                || format!("the answers to ({id}, {interval})"),
                expected,
                found,
            )?;
        }
        let responded: BTreeSet<_> = self
            .model
            .responded()
            .symmetric_difference(before.responded())
            .copied()
            .collect();
        for (id, interval, node) in responded {
            let call = Coordinator::nodeRespondedCall {
                key: keys::node(id, interval, node),
            };
            let found = self.world.read(coordinator, &call);
            let expected = self.model.responded().contains(&(id, interval, node));
            equal(
                || format!("the answer to ({id}, {interval}) of {node}"),
                expected,
                found,
            )?;
        }
        for (id, interval, node) in changed(before.proof_requests(), self.model.proof_requests()) {
            let call = Coordinator::proofRequestsCall {
                key: keys::node(id, interval, node),
            };
            let found = self
                .world
                .read(coordinator, &call)
                .map(|request| (request.expiry, request.nodeWallet, request.consumerEscrowed));
            let expected = self
                .model
                .proof_requests()
                .get(&(id, interval, node))
                .map_or((0, Address::ZERO, U256::ZERO), |request| {
                    (
                        request.expiry,
                        request.node_wallet,
                        request.consumer_escrowed,
                    )
                });
            equal(
                || format!("the proof request ({id}, {interval}) of {node}"),
                expected,
                found,
            )?;
        }
        Ok(())
    }

    fn compare_delegations(&mut self, before: &Model) -> Result<(), Mismatch> {
        let coordinator = self.model.deployment().coordinator;
        for (owner, nonce) in changed(before.delegated_ids(), self.model.delegated_ids()) {
            let call = Coordinator::delegateCreatedIdsCall {
                key: keys::delegate(owner, nonce),
            };
            let found = self.world.read(coordinator, &call);
            let expected = self
                .model
                .delegated_ids()
                .get(&(owner, nonce))
                .copied()
                .unwrap_or(0);
            equal(|| format!("the id of ({owner}, {nonce})"), expected, found)?;
        }
        for owner in changed(before.max_nonces(), self.model.max_nonces()) {
            let call = Coordinator::maxSubscriberNonceCall { owner };
            let found = self.world.read(coordinator, &call);
            let expected = self.model.max_nonces().get(&owner).copied().unwrap_or(0);
            equal(|| format!("the highest nonce of {owner}"), expected, found)?;
        }
        Ok(())
    }

    fn compare_wallets(&mut self, before: &Model) -> Result<(), Mismatch> {
        let at = *self.model.deployment();
        if before.fee() != self.model.fee() {
            let fee = self.model.fee().clone();
            let found = self.world.read(at.fee, &Fee::FEECall {});
            equal(|| "the fee".into(), fee.fee, found)?;
            let found = self.world.read(at.fee, &Fee::FEE_RECIPIENTCall {});
            equal(|| "the fee's recipient".into(), fee.ownable.owner, found)?;
            self.compare_ownership(at.fee, &fee.ownable)?;
        }
        for address in changed(before.wallets(), self.model.wallets()) {
            let wallet = self
                .model
                .wallets()
                .get(&address)
                .cloned()
                .unwrap_or_default();
            let old = before.wallets().get(&address).cloned().unwrap_or_default();
            self.compare_ownership(address, &wallet.ownable)?;
            let call = WalletFactory::isValidWalletCall { wallet: address };
            let found = self.world.read(at.wallet_factory, &call);
            equal(
                || format!("the validity of wallet {address}"),
                wallet.valid,
                found,
            )?;
            for (spender, token) in changed(&old.allowances, &wallet.allowances) {
                let found = self
                    .world
                    .read(address, &Wallet::allowanceCall { spender, token });
                let expected = wallet.allowance(spender, token);
                equal(
                    || format!("the allowance of {spender} in wallet {address} for {token}"),
                    expected,
                    found,
                )?;
            }
            for token in changed(&old.locked, &wallet.locked) {
                let found = self
                    .world
                    .read(address, &Wallet::lockedBalanceCall { token });
                equal(
                    || format!("what wallet {address} locks of {token}"),
                    wallet.locked(token),
                    found,
                )?;
            }
        }
        Ok(())
    }

    fn compare_ownership(&mut self, of: Address, ownership: &Ownership) -> Result<(), Mismatch> {
        let found = self.world.read(of, &Ownable::ownerCall {});
        equal(|| format!("the owner of {of}"), ownership.owner, found)?;
        for (pending, until) in &ownership.handovers {
            let call = Ownable::ownershipHandoverExpiresAtCall {
                pendingOwner: *pending,
            };
            let found = self.world.read(of, &call);
            equal(
                || format!("the request of {pending} for {of}"),
                U256::from(*until),
                found,
            )?;
        }
        Ok(())
    }

    fn compare_inbox(&mut self, before: &Model) -> Result<(), Mismatch> {
        let inbox = self.model.deployment().inbox;
        for (container_id, node) in changed(before.inbox(), self.model.inbox()) {
            let known = before
                .inbox()
                .get(&(container_id, node))
                .map_or(0, Vec::len);
            let items = self
                .model
                .inbox()
                .get(&(container_id, node))
                .cloned()
                .unwrap_or_default();
            for (index, item) in items.iter().enumerate().skip(known) {
                let number = U256::from(index);
                let call = Inbox::readCall {
                    containerId: container_id,
                    node,
                    index: number,
                };
                let found = self.world.read(inbox, &call);
                equal(
                    || format!("item {index} of {node}"),
                    InboxItem::from(item),
                    found,
                )?;
            }
            let end = U256::from(items.len());
            let call = Inbox::itemsCall {
                containerId: container_id,
                node,
                index: end,
            };
            if let Some(more) = self.world.read(inbox, &call) {
                return Err(Mismatch {
                    what: format!("the number of items of {node}"),
                    model: items.len().to_string(),
                    contracts: format!(
                        "one more: {:?}",
                        (more.timestamp, more.subscriptionId, more.interval)
                    ),
                });
            }
        }
        Ok(())
    }

    fn compare_balances(&mut self, before: &Model) -> Result<(), Mismatch> {
        for account in changed(before.coins(), self.model.coins()) {
            let expected = self
                .model
                .coins()
                .get(&account)
                .copied()
                .unwrap_or_default();
            let found = self.world.coins(account);
            equal(|| format!("the coins of {account}"), expected, Some(found))?;
        }
        for address in changed(before.tokens(), self.model.tokens()) {
            let token = self
                .model
                .tokens()
                .get(&address)
                .cloned()
                .unwrap_or_default();
            if token.habit == Habit::RevertAll {
                continue;
            }
            let old = before.tokens().get(&address).cloned().unwrap_or_default();
            for account in changed(&old.balances, &token.balances) {
                let found = self
                    .world
                    .read(address, &ScriptedToken::balanceOfCall { account });
                let expected = token.balances.get(&account).copied().unwrap_or_default();
                equal(
                    || format!("what {account} holds of {address}"),
                    expected,
                    found,
                )?;
            }
        }
        Ok(())
    }
}
