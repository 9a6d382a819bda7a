//! From what somebody means to do to the step that does it, in the state of the moment.

mod settings;
mod steps;

use revm::primitives::{Address, U256};

use super::{
    actions::{Action, Flaw, Jump, Purse, Signed, Target, When, Who, Wish},
    values::Pick,
};
use crate::{
    model::{COIN, Call, Delegated, Model, Subscription, container_id},
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
            Self::Work(work) => scene.work(work),
            Self::Money(money) => scene.money(money),
            Self::Side(side) => scene.side(side),
            Self::Setting(setting) => scene.setting(setting).map(Step::Control),
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
}
