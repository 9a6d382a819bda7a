//! A block as the machine hears of it: what the watcher of the node would tell, from the same decoding.
//!
//! What a log says is decoded by [`infernet_contracts::facts`], which the watcher uses, too. What is written
//! again here is only which logs a watcher sees: those of the Coordinator and of the node's own wallet, and
//! those of all wallets in its own transactions and in those that judge its proofs.

use std::collections::BTreeSet;

use infernet_contracts::{
    convert::{from_address, from_b256, from_subscription, from_u256, to_address},
    facts::{Said, delegation_in, said, token_moved, wallet_change},
};
use infernet_state::{
    event::{ChainFact, Receipt, WalletChange, WalletFact},
    types::{self, Amount, Hash, Nonce, SubscriptionId},
};
use revm::primitives::{Address, Log};

use super::{GAS_OF_REVERT, GAS_PRICE, Node, Tx};
use crate::abi::{Coordinator, Ownable, WalletFactory};

/// What a block says.
pub(super) struct Facts {
    pub(super) facts: Vec<ChainFact>,
    /// The tokens whose balance was read.
    pub(super) balances: BTreeSet<types::Address>,
}

impl Node {
    /// The facts of the open block, which is over.
    pub(super) fn facts(&mut self) -> Facts {
        let mut facts = Vec::new();
        for tx in std::mem::take(&mut self.open) {
            self.facts_of(&tx, &mut facts);
        }
        let wallet = from_address(self.wallet);
        let mut balances = BTreeSet::new();
        for fact in &facts {
            if let ChainFact::Wallet(fact) = fact {
                balances.extend(token_moved(wallet, fact));
            }
        }
        self.tokens.extend(&balances);
        // Now and then all are read: deposits leave no event.
        if self.dice.of(4) == 0 {
            balances.extend(&self.tokens);
        }
        for token in &balances {
            let balance = self.held(self.wallet, to_address(*token));
            facts.push(ChainFact::Wallet(WalletFact {
                wallet,
                owner: self.owner_of(self.wallet),
                tx: Hash::ZERO,
                change: WalletChange::BalanceRead {
                    token: *token,
                    balance: from_u256(balance),
                },
            }));
        }
        Facts { facts, balances }
    }

    fn facts_of(&mut self, tx: &Tx, facts: &mut Vec<ChainFact>) {
        let hash = from_b256(tx.hash);
        let mut own = false;
        if let Some(nonce) = tx.nonce.map(Nonce) {
            let awaiting = self.machine.awaiting_inclusion();
            own = awaiting
                .iter()
                .any(|(open, versions)| *open == nonce && versions.contains(&hash));
            facts.push(if own {
                ChainFact::TransactionIncluded(Receipt {
                    nonce,
                    tx: hash,
                    succeeded: tx.gas.is_some(),
                    gas_used: tx.gas.unwrap_or(GAS_OF_REVERT),
                    effective_gas_price: GAS_PRICE,
                    l1_fee: Amount::ZERO,
                })
            } else {
                self.happened.count("a nonce was used by somebody else");
                ChainFact::ForeignNonceUsed { nonce }
            });
        }
        let coordinator = self.twin.model.deployment().coordinator;
        let account = from_address(self.account);
        let logs: Vec<Log> = tx
            .logs
            .iter()
            .map(|(address, data)| Log {
                address: *address,
                data: data.clone(),
            })
            .collect();
        let judges = logs
            .iter()
            .filter(|log| log.address == coordinator)
            .any(|log| {
                matches!(
                    said(log),
                    Ok(Said::Fact(ChainFact::ProofVerified { node, .. })) if node == account
                )
            });
        let mut first = true;
        for log in &logs {
            if log.address == coordinator {
                match said(log).expect("the Coordinator's logs decode") {
                    Said::Created(id) => {
                        facts.push(self.creation(tx, id, first));
                        first = false;
                    }
                    Said::Fact(fact) => facts.push(fact),
                    Said::Nothing => {}
                }
            } else if (log.address == self.wallet || own || judges)
                && let Some(change) = wallet_change(log)
                && self.is_valid(log.address)
            {
                facts.push(ChainFact::Wallet(WalletFact {
                    wallet: from_address(log.address),
                    owner: self.owner_of(log.address),
                    tx: hash,
                    change,
                }));
            }
        }
    }

    fn creation(&mut self, tx: &Tx, id: u32, first: bool) -> ChainFact {
        let coordinator = self.twin.model.deployment().coordinator;
        let call = Coordinator::getSubscriptionCall { subscriptionId: id };
        let record = self.twin.world.read(coordinator, &call);
        let subscription = from_subscription(&record.expect("it was just created"));
        let delegation = delegation_in(&tx.input)
            .filter(|(owner, _)| first && tx.to == coordinator && *owner == subscription.owner)
            .map(|(_, nonce)| nonce);
        ChainFact::SubscriptionCreated {
            id: SubscriptionId(id),
            subscription,
            delegation,
        }
    }

    pub(super) fn is_valid(&mut self, wallet: Address) -> bool {
        let factory = self.twin.model.deployment().wallet_factory;
        let call = WalletFactory::isValidWalletCall { wallet };
        self.twin.world.read(factory, &call).unwrap_or_default()
    }

    fn owner_of(&mut self, wallet: Address) -> types::Address {
        let owner = self.twin.world.read(wallet, &Ownable::ownerCall {});
        from_address(owner.unwrap_or_default())
    }
}
