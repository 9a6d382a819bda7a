//! Calls: work, money, and what stands beside.

use revm::primitives::{Address, U256};

use super::{Scene, step};
use crate::{
    model::{BatchItem, COIN, Call, Delegated, OwnershipChange, container_id},
    strategies::{
        actions::{Money, Side, Target, Temptation, Transition, When, Who, Work},
        values::Pick,
    },
    twin::Step,
};

impl Scene<'_> {
    pub(super) fn work(&self, work: &Work) -> Option<Step> {
        match work {
            Work::Create(wish) => {
                let (from, call) = self.create(wish);
                step(from, call)
            }
            Work::Cancel(target, who) => {
                let id = self.target(*target)?;
                let owner = self
                    .model
                    .subscription(id)
                    .map(|sub| sub.owner)
                    .unwrap_or_default();
                step(self.who(*who, owner), Call::CancelSubscription { id })
            }
            Work::Deliver {
                target,
                when,
                node,
                wallet,
                answer,
            } => {
                let id = self.target(*target)?;
                let node = node.of(&self.cast.nodes)?;
                let call = Call::DeliverCompute {
                    id,
                    interval: self.when(*when, self.model.current_interval(id)),
                    answer: answer.clone(),
                    node_wallet: self.purse(*wallet, node),
                };
                step(node, call)
            }
            Work::DeliverBatch {
                targets,
                node,
                wallet,
                answer,
            } => {
                let node = node.of(&self.cast.nodes)?;
                let item = |(target, when): &(Target, When)| {
                    let id = self.target(*target)?;
                    Some(BatchItem {
                        id,
                        interval: self.when(*when, self.model.current_interval(id)),
                        answer: answer.clone(),
                        node_wallet: self.purse(*wallet, node),
                    })
                };
                step(
                    node,
                    Call::DeliverBatch(targets.iter().filter_map(item).collect()),
                )
            }
            Work::Fund(target, who) => {
                let id = self.target(*target)?;
                let owner = self
                    .model
                    .subscription(id)
                    .map(|sub| sub.owner)
                    .unwrap_or_default();
                step(self.who(*who, owner), Call::FundSubscription { id })
            }
            Work::Release(target) => step(
                self.cast.stranger,
                Call::ReleaseReserve {
                    id: self.target(*target)?,
                },
            ),
            Work::Finalize { request, by, valid } => {
                let (id, interval, node) = self.request(*request)?;
                let sub = self.model.subscription(id);
                let verifier = sub.map(|sub| sub.verifier).unwrap_or_default();
                let call = Call::FinalizeProof {
                    id,
                    interval,
                    node,
                    valid: *valid,
                };
                step(self.who(*by, verifier), call)
            }
            Work::CreateDelegated(signed) => step(
                self.cast.stranger,
                Call::CreateDelegated(self.signed(signed)),
            ),
            Work::DeliverDelegated {
                signed,
                when,
                node,
                wallet,
                answer,
            } => {
                let node = node.of(&self.cast.nodes)?;
                let delegated = self.signed(signed);
                let call = Call::DeliverDelegated {
                    interval: self.when(*when, self.delegated_interval(&delegated)),
                    delegated,
                    answer: answer.clone(),
                    node_wallet: self.purse(*wallet, node),
                };
                step(node, call)
            }
        }
    }

    /// The interval that a delivery to a delegated subscription would find.
    pub(super) fn delegated_interval(&self, delegated: &Delegated) -> u32 {
        let sub = &delegated.subscription;
        match self
            .model
            .delegated_ids()
            .get(&(sub.owner, delegated.nonce))
        {
            Some(id) => self.model.current_interval(*id),
            None => self
                .model
                .rules()
                .interval(self.now(), sub.active_at, sub.period),
        }
    }

    /// An open proof request, or something that is none.
    pub(super) fn request(&self, pick: Option<Pick>) -> Option<(u32, u32, Address)> {
        let open: Vec<_> = self.model.proof_requests().keys().copied().collect();
        let answered: Vec<_> = self.model.responded().iter().copied().collect();
        let Some(pick) = pick else {
            let [node, ..] = self.cast.nodes;
            return Pick::default().of(&answered).or(Some((1, 1, node)));
        };
        pick.of(&open)
    }

    pub(super) fn money(&self, money: &Money) -> Option<Step> {
        match money {
            Money::CreateWallet(pick) => {
                let owner = pick.of(&self.everybody())?;
                step(self.cast.stranger, Call::CreateWallet { owner })
            }
            Money::Approve {
                wallet,
                by,
                spender,
                token,
                amount,
            } => {
                let place = usize::from(wallet.0).checked_rem(self.cast.wallets.len())?;
                let wallet = *self.cast.wallets.get(place)?;
                let usual = *self.cast.spenders().get(place)?;
                let spender = spender.and_then(|pick| pick.of(&self.everybody()));
                let call = Call::Approve {
                    wallet,
                    spender: spender.unwrap_or(usual),
                    token: self.token(*token),
                    amount: *amount,
                };
                step(self.who(*by, self.wallet_owner(wallet)), call)
            }
            Money::AtLock(pick, temptation) => {
                let (wallet, token) = self.locked_balance(*pick)?;
                let owner = self.wallet_owner(wallet);
                let place = self.cast.wallets.iter().position(|own| *own == wallet)?;
                let spender = *self.cast.spenders().get(place)?;
                let call = match *temptation {
                    Temptation::Withdraw(amount) => Call::Withdraw {
                        wallet,
                        token,
                        amount,
                    },
                    Temptation::ApproveAll => Call::Approve {
                        wallet,
                        spender,
                        token,
                        amount: U256::MAX,
                    },
                    Temptation::Renounce => Call::Ownership {
                        of: wallet,
                        change: OwnershipChange::Renounce,
                    },
                };
                step(self.who(Who::Entitled, owner), call)
            }
            Money::Withdraw {
                wallet,
                by,
                token,
                amount,
            } => {
                let wallet = self.wallet(*wallet)?;
                let call = Call::Withdraw {
                    wallet,
                    token: self.token(*token),
                    amount: *amount,
                };
                step(self.who(*by, self.wallet_owner(wallet)), call)
            }
            Money::Restricted(wallet, function, by) => {
                let wallet = self.wallet(*wallet)?;
                let from = self.who(*by, self.wallet_owner(wallet));
                step(
                    from,
                    Call::Restricted {
                        function: *function,
                        wallet,
                    },
                )
            }
            Money::Ownership(of, by, transition) => self.ownership(*of, *by, *transition),
            Money::UpdateFee(by, fee) => {
                let owner = self.model.fee().ownable.owner;
                step(self.who(*by, owner), Call::UpdateFee { fee: *fee })
            }
            Money::TransferToken(from, token, to, amount) => {
                let call = Call::TransferToken {
                    token: self
                        .cast
                        .tokens
                        .get(*token)
                        .copied()
                        .filter(|token| *token != COIN)?,
                    to: self.wallet(*to)?,
                    amount: *amount,
                };
                step(from.of(&self.cast.people())?, call)
            }
            Money::SendCoin(from, to, amount) => {
                let mut receivers = self.cast.wallets.to_vec();
                receivers.extend(self.cast.consumers);
                receivers.extend([self.cast.stranger, self.model.deployment().coordinator]);
                let from = from.of(&self.cast.people())?;
                let amount = U256::from(*amount).min(self.model.balance(COIN, from));
                step(
                    from,
                    Call::SendCoin {
                        to: to.of(&receivers)?,
                        amount,
                    },
                )
            }
        }
    }

    fn ownership(&self, of: Option<Pick>, by: Who, transition: Transition) -> Option<Step> {
        let (of, ownable) = match of {
            None => (self.model.deployment().fee, &self.model.fee().ownable),
            Some(pick) => {
                let wallet = self.wallet(pick)?;
                (wallet, &self.model.wallets().get(&wallet)?.ownable)
            }
        };
        let people = self.cast.people();
        let change = match transition {
            Transition::Transfer(None) => OwnershipChange::Transfer { to: Address::ZERO },
            Transition::Transfer(Some(pick)) => OwnershipChange::Transfer {
                to: pick.of(&people)?,
            },
            Transition::Renounce => OwnershipChange::Renounce,
            Transition::Request => OwnershipChange::Request,
            Transition::Cancel => OwnershipChange::Cancel,
            Transition::Complete(pick) => OwnershipChange::Complete {
                to: pick.of(&people)?,
            },
            Transition::CompleteAsked(pick) => {
                let asked: Vec<Address> = ownable.handovers.keys().copied().collect();
                OwnershipChange::Complete {
                    to: pick.of(&asked).or_else(|| pick.of(&people))?,
                }
            }
        };
        let from = match change {
            OwnershipChange::Request | OwnershipChange::Cancel => self.cast.stranger,
            OwnershipChange::Transfer { .. }
            | OwnershipChange::Renounce
            | OwnershipChange::Complete { .. } => ownable.owner,
        };
        step(self.who(by, from), Call::Ownership { of, change })
    }

    pub(super) fn side(&self, side: &Side) -> Option<Step> {
        match side {
            Side::WriteInbox(node, containers, answer) => {
                let container_id = container_id(containers);
                let answer = answer.clone();
                step(
                    node.of(&self.cast.nodes)?,
                    Call::WriteInbox {
                        container_id,
                        answer,
                    },
                )
            }
            Side::WriteInboxViaCoordinator(pick) => {
                let node = pick.of(&self.cast.nodes)?;
                let container_id = container_id("hello-world");
                step(node, Call::WriteInboxViaCoordinator { container_id, node })
            }
            Side::ReadInbox(pick, beyond) => {
                let lists: Vec<_> = self.model.inbox().iter().collect();
                let ((container_id, node), items) = pick.of(&lists)?;
                let last = items.len().saturating_sub(1) as u64;
                let index = last.saturating_add(*beyond);
                let call = Call::ReadInbox {
                    container_id: *container_id,
                    node: *node,
                    index,
                };
                step(self.cast.stranger, call)
            }
            Side::ReadInterval(active_in, period) => {
                let active_at = self.now().wrapping_add_signed(*active_in);
                step(
                    self.cast.stranger,
                    Call::ReadInterval {
                        active_at,
                        period: *period,
                    },
                )
            }
        }
    }
}
