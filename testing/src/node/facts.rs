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
    types::{self, Amount, BlockRef, Hash, Nonce, SubscriptionId},
};
use revm::primitives::{Address, Log};

use super::{GAS_OF_REVERT, GAS_PRICE, Node, Tx};
use crate::abi::{Coordinator, Ownable, WalletFactory};

/// What a transaction says, as it was when its block was closed.
pub(super) struct Heard {
    hash: Hash,
    nonce: Option<Nonce>,
    gas: Option<u64>,
    /// What its logs say, and whether a watcher hears it only of transactions of the node.
    facts: Vec<(bool, ChainFact)>,
}

impl Node {
    /// The facts of a block, which the watcher reads now: whose transactions they are is the log's to say.
    pub(super) fn facts_at(&mut self, place: usize) -> (BlockRef, Vec<ChainFact>) {
        let awaiting = self.machine.awaiting_inclusion();
        let closed = &self.chain[place];
        let mut facts = Vec::new();
        for heard in &closed.heard {
            let mut own = false;
            if let Some(nonce) = heard.nonce {
                own = awaiting
                    .iter()
                    .any(|(open, versions)| *open == nonce && versions.contains(&heard.hash));
                facts.push(if own {
                    ChainFact::TransactionIncluded(Receipt {
                        nonce,
                        tx: heard.hash,
                        succeeded: heard.gas.is_some(),
                        gas_used: heard.gas.unwrap_or(GAS_OF_REVERT),
                        effective_gas_price: GAS_PRICE,
                        l1_fee: Amount::ZERO,
                    })
                } else {
                    self.happened.count("a nonce was used by somebody else");
                    ChainFact::ForeignNonceUsed { nonce }
                });
            }
            let said = heard.facts.iter().filter(|(only_own, _)| own || !only_own);
            facts.extend(said.map(|(_, fact)| fact.clone()));
        }
        (closed.block, facts)
    }

    /// The tokens of which a block moved something in the node's wallet, and now and then all: deposits leave no
    /// event.
    pub(super) fn moved(&mut self, heard: &[Heard]) -> BTreeSet<types::Address> {
        let wallet = from_address(self.wallet);
        let mut moved = BTreeSet::new();
        for (_, fact) in heard.iter().flat_map(|heard| &heard.facts) {
            if let ChainFact::Wallet(fact) = fact {
                moved.extend(token_moved(wallet, fact));
            }
        }
        self.tokens.extend(&moved);
        if self.dice.of(4) == 0 || self.lull {
            moved.extend(&self.tokens);
        }
        moved
    }

    /// What the node's wallet holds of a token.
    pub(super) fn balance_of(&mut self, token: types::Address) -> ChainFact {
        let balance = self.held(self.wallet, to_address(token));
        ChainFact::Wallet(WalletFact {
            wallet: from_address(self.wallet),
            owner: self.owner_of(self.wallet),
            tx: Hash::ZERO,
            change: WalletChange::BalanceRead {
                token,
                balance: from_u256(balance),
            },
        })
    }

    /// What a transaction of the block that is over says.
    pub(super) fn heard(&mut self, tx: &Tx) -> Heard {
        let hash = from_b256(tx.hash);
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
        let mut facts = Vec::new();
        let mut first = true;
        for log in &logs {
            if log.address == coordinator {
                match said(log).expect("the Coordinator's logs decode") {
                    Said::Created(id) => {
                        facts.push((false, self.creation(tx, id, first)));
                        first = false;
                    }
                    Said::Fact(fact) => facts.push((false, fact)),
                    Said::Nothing => {}
                }
            } else if let Some(change) = wallet_change(log)
                && self.is_valid(log.address)
            {
                let only_own = log.address != self.wallet && !judges;
                facts.push((
                    only_own,
                    ChainFact::Wallet(WalletFact {
                        wallet: from_address(log.address),
                        owner: self.owner_of(log.address),
                        tx: hash,
                        change,
                    }),
                ));
            }
        }
        Heard {
            hash,
            nonce: tx.nonce.map(Nonce),
            gas: tx.gas,
            facts,
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
