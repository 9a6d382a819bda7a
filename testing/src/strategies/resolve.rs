//! From what somebody means to do to the step that does it, in the state of the moment.

use revm::primitives::{Address, U256};

use super::{
    actions::{
        Action, Behaviour, Flaw, Holding, Inner, Jump, Purse, Signed, Target, Temptation,
        Transition, When, Who, Wish,
    },
    values::Pick,
};
use crate::{
    model::{
        BatchItem, COIN, Call, ConsumerScript, Control, Delegated, Model, OwnershipChange,
        Subscription, address, container_id,
    },
    twin::{Cast, Step, sign},
};

/// The order of secp256k1.
const ORDER: U256 = revm::primitives::uint!(
    0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256
);

/// The state and the cast that an action is resolved with.
struct Scene<'a> {
    model: &'a Model,
    cast: &'a Cast,
}

impl Action {
    /// The step that this action is now; `None` where there is nothing to do it with.
    #[must_use]
    pub fn resolve(&self, model: &Model, cast: &Cast) -> Option<Step> {
        let scene = Scene { model, cast };
        match self {
            Self::Wait(jump) => Some(Step::Time(scene.after(*jump))),
            Self::Create(_)
            | Self::Cancel(..)
            | Self::Deliver { .. }
            | Self::DeliverBatch { .. }
            | Self::Fund(..)
            | Self::Release(_)
            | Self::Finalize { .. }
            | Self::CreateDelegated(_)
            | Self::DeliverDelegated { .. } => scene.main(self),
            Self::CreateWallet(_)
            | Self::Approve { .. }
            | Self::AtLock(..)
            | Self::Withdraw { .. }
            | Self::Restricted(..)
            | Self::Ownership(..)
            | Self::UpdateFee(..)
            | Self::TransferToken(..)
            | Self::SendCoin(..) => scene.money(self),
            Self::WriteInbox(..)
            | Self::WriteInboxViaCoordinator(_)
            | Self::ReadInbox(..)
            | Self::ReadInterval(..) => scene.inbox(self),
            Self::Behave(..)
            | Self::Resign(..)
            | Self::Verify(..)
            | Self::VerifierFee(..)
            | Self::Balance(..) => scene.control(self).map(Step::Control),
        }
    }
}

fn step(from: Address, call: Call) -> Option<Step> {
    Some(Step::Call { from, call })
}

impl Scene<'_> {
    fn now(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the contract truncates")]
        let now = self.model.time() as u32;
        now
    }

    fn token(&self, place: usize) -> Address {
        self.cast.tokens.get(place).copied().unwrap_or(COIN)
    }

    fn everybody(&self) -> Vec<Address> {
        let mut everybody = self.cast.people();
        everybody.extend(self.cast.consumers);
        everybody.extend(self.cast.verifiers);
        everybody
    }

    fn who(&self, who: Who, entitled: Address) -> Address {
        match who {
            // Nobody has the key of the zero address.
            Who::Entitled if entitled.is_zero() => self.cast.stranger,
            Who::Entitled => entitled,
            Who::Any(pick) => pick.of(&self.everybody()).unwrap_or(entitled),
        }
    }

    /// The wallet that belongs to a consumer or node.
    fn own_wallet(&self, of: Address) -> Address {
        let place = self
            .cast
            .spenders()
            .iter()
            .position(|spender| *spender == of);
        place
            .and_then(|place| self.cast.wallets.get(place).copied())
            .unwrap_or(of)
    }

    fn purse(&self, purse: Purse, of: Address) -> Address {
        match purse {
            Purse::Own => self.own_wallet(of),
            Purse::Any(pick) => {
                let mut all = self.cast.wallets.to_vec();
                all.extend([self.cast.stray_wallet, self.cast.stranger, Address::ZERO]);
                all.extend([
                    self.cast.consumers[0],
                    self.model.deployment().wallet_factory,
                ]);
                pick.of(&all).unwrap_or(of)
            }
        }
    }

    /// Any wallet that there is.
    fn wallet(&self, pick: Pick) -> Option<Address> {
        pick.of(&self.model.wallets().keys().copied().collect::<Vec<_>>())
    }

    fn wallet_owner(&self, wallet: Address) -> Address {
        self.model
            .wallets()
            .get(&wallet)
            .map(|wallet| wallet.ownable.owner)
            .unwrap_or_default()
    }

    fn is_due(&self, id: u32, sub: &Subscription) -> bool {
        let interval = self.model.current_interval(id);
        let count = self
            .model
            .counts()
            .get(&(id, interval))
            .copied()
            .unwrap_or(0);
        self.now() >= sub.active_at && interval <= sub.frequency && count < sub.redundancy
    }

    fn target(&self, target: Target) -> Option<u32> {
        let all = || {
            self.model
                .subscriptions()
                .keys()
                .copied()
                .collect::<Vec<_>>()
        };
        match target {
            Target::Due(pick) => {
                let due: Vec<u32> = self
                    .model
                    .subscriptions()
                    .iter()
                    .filter(|(id, sub)| self.is_due(**id, sub))
                    .map(|(id, _)| *id)
                    .collect();
                pick.of(&due).or_else(|| pick.of(&all()))
            }
            Target::Any(pick) => pick.of(&all()),
            Target::Id(id) => Some(id),
        }
    }

    fn when(&self, when: When, current: u32) -> u32 {
        match when {
            When::Current(offset) => current.wrapping_add_signed(offset),
            When::Exactly(interval) => interval,
        }
    }

    /// The time after a jump: never before the present.
    fn after(&self, jump: Jump) -> u64 {
        let now = self.model.time();
        let wrapped = u64::from(self.now());
        // From a uint32 time to the next block time that is cut to it.
        let next = |time: u32, offset: i64| {
            let ahead = u64::from(time).wrapping_sub(wrapped) & u64::from(u32::MAX);
            // What lies further ahead than this is rather behind.
            let near = if ahead < 1 << 31 { ahead } else { 0 };
            now.saturating_add(near)
                .saturating_add_signed(offset)
                .max(now)
        };
        match jump {
            Jump::Seconds(seconds) => now.saturating_add(seconds),
            Jump::Boundary(pick, offset) => {
                let subs: Vec<_> = self.model.subscriptions().values().cloned().collect();
                let Some(sub) = pick.of(&subs) else {
                    return now.saturating_add(1);
                };
                if sub.active_at > self.now() {
                    return next(sub.active_at, offset);
                }
                let passed = self.now().wrapping_sub(sub.active_at);
                let Some(second) = passed.checked_rem(sub.period) else {
                    return now.saturating_add(1);
                };
                next(
                    self.now().wrapping_add(sub.period.wrapping_sub(second)),
                    offset,
                )
            }
            Jump::ProofExpiry(pick, offset) => {
                let requests: Vec<u32> = self
                    .model
                    .proof_requests()
                    .values()
                    .map(|request| request.expiry)
                    .collect();
                match pick.of(&requests) {
                    Some(expiry) => next(expiry, offset),
                    None => now.saturating_add(1),
                }
            }
        }
    }

    fn verifier(&self, pick: Pick) -> Address {
        let [waits, judges] = self.cast.verifiers;
        let stranger = self.cast.stranger;
        let all = [
            waits, judges, waits, judges, waits, judges, waits, judges, stranger,
        ];
        let with_contract = [all.as_slice(), &[self.cast.consumers[0]]].concat();
        pick.of(&with_contract).unwrap_or_default()
    }

    fn asker(&self, pick: Pick) -> Address {
        let [a, b, c] = self.cast.consumers;
        pick.of(&[
            a,
            b,
            c,
            a,
            b,
            c,
            a,
            b,
            c,
            a,
            b,
            c,
            self.cast.stranger,
            self.cast.verifiers[0],
        ])
        .unwrap_or(a)
    }

    fn create(&self, wish: &Wish) -> (Address, Call) {
        let consumer = self.asker(wish.consumer);
        let call = Call::CreateSubscription {
            containers: wish.containers.clone(),
            frequency: wish.frequency,
            period: wish.period,
            redundancy: wish.redundancy,
            lazy: wish.lazy,
            payment_token: self.token(wish.token),
            payment_amount: wish.amount,
            wallet: self.purse(wish.wallet, consumer),
            verifier: wish
                .verifier
                .map(|pick| self.verifier(pick))
                .unwrap_or_default(),
        };
        (consumer, call)
    }

    fn signed(&self, signed: &Signed) -> Delegated {
        let wish = &signed.wish;
        let owner = self.asker(wish.consumer);
        let subscription = Subscription {
            owner,
            active_at: self.now().wrapping_add_signed(signed.active_in),
            period: wish.period,
            frequency: wish.frequency,
            redundancy: wish.redundancy,
            container_id: container_id(&wish.containers),
            lazy: wish.lazy,
            verifier: wish
                .verifier
                .map(|pick| self.verifier(pick))
                .unwrap_or_default(),
            payment_amount: wish.amount,
            payment_token: self.token(wish.token),
            wallet: self.purse(wish.wallet, owner),
        };
        let signer = self
            .model
            .consumers()
            .get(&owner)
            .map(|consumer| consumer.signer);
        let [first, ..] = self.cast.keys;
        let own = self
            .cast
            .signers
            .iter()
            .position(|account| Some(*account) == signer)
            .and_then(|place| self.cast.keys.get(place).copied());
        let key = match signed.flaw {
            Flaw::Key(pick) => pick.of(&self.cast.keys),
            Flaw::None | Flaw::HighS | Flaw::RecoveryByte(_) | Flaw::Tampered | Flaw::Zero => own,
        };
        let expiry = self.now().wrapping_add_signed(signed.expires_in);
        let at = self.model.deployment();
        let mut delegated = sign(at, key.unwrap_or(first), signed.nonce, expiry, subscription);
        match signed.flaw {
            Flaw::None | Flaw::Key(_) => {}
            Flaw::HighS => {
                delegated.s = ORDER.wrapping_sub(delegated.s);
                delegated.v = if delegated.v == 27 { 28 } else { 27 };
            }
            Flaw::RecoveryByte(v) => delegated.v = v,
            Flaw::Tampered => delegated.subscription.redundancy ^= 1,
            Flaw::Zero => delegated.r = U256::ZERO,
        }
        delegated
    }

    fn main(&self, action: &Action) -> Option<Step> {
        match action {
            Action::Create(wish) => {
                let (from, call) = self.create(wish);
                step(from, call)
            }
            Action::Cancel(target, who) => {
                let id = self.target(*target)?;
                let owner = self
                    .model
                    .subscription(id)
                    .map(|sub| sub.owner)
                    .unwrap_or_default();
                step(self.who(*who, owner), Call::CancelSubscription { id })
            }
            Action::Deliver {
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
            Action::DeliverBatch {
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
            Action::Fund(target, who) => {
                let id = self.target(*target)?;
                let owner = self
                    .model
                    .subscription(id)
                    .map(|sub| sub.owner)
                    .unwrap_or_default();
                step(self.who(*who, owner), Call::FundSubscription { id })
            }
            Action::Release(target) => step(
                self.cast.stranger,
                Call::ReleaseReserve {
                    id: self.target(*target)?,
                },
            ),
            Action::Finalize { request, by, valid } => {
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
            Action::CreateDelegated(signed) => step(
                self.cast.stranger,
                Call::CreateDelegated(self.signed(signed)),
            ),
            Action::DeliverDelegated {
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
            _ => None,
        }
    }

    /// The interval that a delivery to a delegated subscription would find.
    fn delegated_interval(&self, delegated: &Delegated) -> u32 {
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
    fn request(&self, pick: Option<Pick>) -> Option<(u32, u32, Address)> {
        let open: Vec<_> = self.model.proof_requests().keys().copied().collect();
        let answered: Vec<_> = self.model.responded().iter().copied().collect();
        let Some(pick) = pick else {
            let [node, ..] = self.cast.nodes;
            return Pick::default().of(&answered).or(Some((1, 1, node)));
        };
        pick.of(&open)
    }

    fn money(&self, action: &Action) -> Option<Step> {
        match action {
            Action::CreateWallet(pick) => {
                let owner = pick.of(&self.everybody())?;
                step(self.cast.stranger, Call::CreateWallet { owner })
            }
            Action::Approve {
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
            Action::AtLock(pick, temptation) => {
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
            Action::Withdraw {
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
            Action::Restricted(wallet, function, by) => {
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
            Action::Ownership(of, by, transition) => self.ownership(*of, *by, *transition),
            Action::UpdateFee(by, fee) => {
                let owner = self.model.fee().ownable.owner;
                step(self.who(*by, owner), Call::UpdateFee { fee: *fee })
            }
            Action::TransferToken(from, token, to, amount) => {
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
            Action::SendCoin(from, to, amount) => {
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
            _ => None,
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

    fn inbox(&self, action: &Action) -> Option<Step> {
        match action {
            Action::WriteInbox(node, containers, answer) => {
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
            Action::WriteInboxViaCoordinator(pick) => {
                let node = pick.of(&self.cast.nodes)?;
                let container_id = container_id("hello-world");
                step(node, Call::WriteInboxViaCoordinator { container_id, node })
            }
            Action::ReadInbox(pick, beyond) => {
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
            Action::ReadInterval(active_in, period) => {
                let active_at = self.now().wrapping_add_signed(*active_in);
                step(
                    self.cast.stranger,
                    Call::ReadInterval {
                        active_at,
                        period: *period,
                    },
                )
            }
            _ => None,
        }
    }

    fn control(&self, action: &Action) -> Option<Control> {
        Some(match action {
            Action::Behave(pick, behaviour) => {
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
            Action::Resign(consumer, key) => Control::Signer {
                consumer: consumer.of(&self.cast.consumers)?,
                signer: key.of(&self.cast.signers)?,
            },
            Action::Verify(verifier, script, wallet) => {
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
            Action::VerifierFee(verifier, token, fee) => Control::VerifierFee {
                verifier: verifier.of(&self.cast.verifiers)?,
                token: self.token(*token),
                fee: *fee,
            },
            Action::Balance(wallet, token, holding) => {
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
            _ => return None,
        })
    }

    /// A wallet of the cast, and a token of which it locks something.
    fn locked_balance(&self, pick: Pick) -> Option<(Address, Address)> {
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
