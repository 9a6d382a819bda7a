//! What stands around the contracts, and what consumers do by themselves.

use revm::primitives::{Address, U256};

use super::Scene;
use crate::{
    model::{BatchItem, COIN, Call, ConsumerScript, Control, address, container_id},
    strategies::{
        actions::{Behaviour, Holding, Inner, Purse, Setting, Target},
        values::Pick,
    },
};

impl Scene<'_> {
    pub(super) fn setting(&self, setting: &Setting) -> Option<Control> {
        Some(match setting {
            Setting::Behave(pick, behaviour) => {
                let consumer = pick.of(&self.cast.consumers)?;
                let script = match behaviour {
                    Behaviour::Accept => ConsumerScript::Accept,
                    Behaviour::Revert(data) => ConsumerScript::Revert(data.clone()),
                    Behaviour::Call(inner) => {
                        ConsumerScript::Call(Box::new(self.inner(consumer, inner)?))
                    }
                    Behaviour::Try(inner) => {
                        ConsumerScript::Try(Box::new(self.inner(consumer, inner)?))
                    }
                };
                Control::Script { consumer, script }
            }
            Setting::Resign(consumer, key) => Control::Signer {
                consumer: consumer.of(&self.cast.consumers)?,
                signer: key.of(&self.cast.signers)?,
            },
            Setting::Verify(verifier, script, wallet) => {
                let [own, other, ..] = self.cast.wallets;
                let receivers = [
                    self.cast.stranger,
                    own,
                    other,
                    self.cast.consumers[0],
                    address(9),
                ];
                Control::Verify {
                    verifier: verifier.of(&self.cast.verifiers)?,
                    script: *script,
                    wallet: wallet.of(&receivers)?,
                }
            }
            Setting::VerifierFee(verifier, token, fee) => Control::VerifierFee {
                verifier: verifier.of(&self.cast.verifiers)?,
                token: self.token(*token),
                fee: *fee,
            },
            Setting::Balance(wallet, token, holding) => {
                let (account, token) = match holding {
                    Holding::Locked(_) => self.locked_balance(*wallet),
                    Holding::Exactly(_) => None,
                }
                .or_else(|| Some((wallet.of(&self.cast.wallets)?, self.token(*token))))?;
                let locked = self.model.wallets().get(&account)?.locked(token);
                let amount = match *holding {
                    Holding::Locked(more) if more < 0 => {
                        locked.saturating_sub(U256::from(more.unsigned_abs()))
                    }
                    Holding::Locked(more) => locked.saturating_add(U256::from(more.unsigned_abs())),
                    // Coins beyond this could not exist.
                    Holding::Exactly(amount) if token == COIN => amount.min(U256::ONE << 120),
                    Holding::Exactly(amount) => amount,
                };
                Control::Balance {
                    token,
                    account,
                    amount,
                }
            }
        })
    }

    /// A wallet of the cast, and a token of which it locks something.
    pub(super) fn locked_balance(&self, pick: Pick) -> Option<(Address, Address)> {
        let mut locks = Vec::new();
        for wallet in self.cast.wallets {
            let locked = &self.model.wallets().get(&wallet)?.locked;
            let tokens = locked.iter().filter(|(_, amount)| !amount.is_zero());
            locks.extend(tokens.map(|(token, _)| (wallet, *token)));
        }
        pick.of(&locks)
    }

    fn inner(&self, consumer: Address, inner: &Inner) -> Option<Call> {
        Some(match inner {
            Inner::Deliver(target) => {
                let id = self.target(*target)?;
                Call::DeliverCompute {
                    id,
                    interval: self.model.current_interval(id),
                    answer: Default::default(),
                    node_wallet: self.own_wallet(consumer),
                }
            }
            Inner::Fund(target) => Call::FundSubscription {
                id: self.target(*target)?,
            },
            Inner::Release(target) => Call::ReleaseReserve {
                id: self.target(*target)?,
            },
            Inner::DeliverBatch(target) => {
                let id = self.target(*target)?;
                Call::DeliverBatch(vec![BatchItem {
                    id,
                    interval: self.model.current_interval(id),
                    answer: Default::default(),
                    node_wallet: self.own_wallet(consumer),
                }])
            }
            Inner::Finalize(pick, valid) => {
                let (id, interval, node) = self.request(Some(*pick))?;
                Call::FinalizeProof {
                    id,
                    interval,
                    node,
                    valid: *valid,
                }
            }
            Inner::Create(wish) => self.create(wish).1,
            Inner::Cancel(pick) => Call::CancelSubscription {
                id: self.target(Target::Any(*pick))?,
            },
            Inner::Approve(purse, token, amount) => Call::Approve {
                wallet: self.contract_purse(*purse, consumer)?,
                spender: consumer,
                token: self.token(*token),
                amount: *amount,
            },
            Inner::Withdraw(purse, token, amount) => Call::Withdraw {
                wallet: self.contract_purse(*purse, consumer)?,
                token: self.token(*token),
                amount: *amount,
            },
            Inner::DeliverDelegated(signed) => {
                let delegated = self.signed(signed);
                Call::DeliverDelegated {
                    interval: self.delegated_interval(&delegated),
                    delegated,
                    answer: Default::default(),
                    node_wallet: self.own_wallet(consumer),
                }
            }
            Inner::WriteInbox(answer) => Call::WriteInbox {
                container_id: container_id("hello-world"),
                answer: answer.clone(),
            },
        })
    }

    /// A purse that is a wallet.
    fn contract_purse(&self, purse: Purse, of: Address) -> Option<Address> {
        Some(self.purse(purse, of)).filter(|wallet| self.model.wallets().contains_key(wallet))
    }
}
