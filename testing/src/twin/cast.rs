//! Who plays: accounts, consumers, nodes, verifiers, tokens and wallets, set up once.

use std::sync::OnceLock;

use alloy_sol_types::SolValue;
use k256::ecdsa::SigningKey;
use revm::primitives::{Address, B256, Bytes, U256};

use crate::{
    evm::{Build, DEPLOYER, Snapshot, World, built_in},
    model::{
        COIN, Call, Consumer, Control, Delegated, Deployment, Habit, Infernet, Model, Token,
        Verifier, VerifierScript, address, signing_hash,
    },
};

/// A plenty of every token, far below what an addition could overflow.
pub(super) const PLENTY: U256 = U256::from_limbs([0, 0, 0, 1 << 50]);

/// A plenty of coins.
pub(super) const PLENTY_OF_COINS: U256 = U256::from_limbs([0, 1 << 40, 0, 0]);

/// Who plays, by role.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cast {
    /// Sets up what stands around the contracts.
    pub director: Address,
    /// Owns the fee contract at first.
    pub treasurer: Address,
    /// Accounts with keys that own the wallets of the first consumers.
    pub payers: [Address; 2],
    /// Nodes.
    pub nodes: [Address; 3],
    /// An account with no part in anything.
    pub stranger: Address,
    /// Scripted consumers. The third owns its wallet itself.
    pub consumers: [Address; 3],
    /// Scripted verifiers: one waits at first, one judges at once.
    pub verifiers: [Address; 2],
    /// The coin, tokens of each habit (honest ones first), and an address without code.
    pub tokens: [Address; 7],
    /// Wallets of the factory: of each consumer, then of each node.
    pub wallets: [Address; 6],
    /// A wallet that the factory did not make.
    pub stray_wallet: Address,
    /// Keys that sign delegated subscriptions, of the consumers in their order.
    pub keys: [B256; 3],
    /// The accounts of the keys.
    pub signers: [Address; 3],
}

impl Cast {
    fn new(at: &Deployment) -> Self {
        let director = address(0xd1);
        let contract = |nonce| director.create(nonce);
        let wallet = |nonce| at.wallet_factory.create(nonce);
        let keys = [1, 2, 3].map(B256::repeat_byte);
        Self {
            director,
            treasurer: DEPLOYER,
            payers: [address(0xa0), address(0xa1)],
            nodes: [address(0xb0), address(0xb1), address(0xb2)],
            stranger: address(0xc0ffee),
            consumers: [contract(0), contract(1), contract(2)],
            verifiers: [contract(3), contract(4)],
            tokens: [
                COIN,
                contract(5),
                contract(6),
                contract(7),
                contract(8),
                contract(9),
                address(0x70_4e),
            ],
            wallets: [
                wallet(1),
                wallet(2),
                wallet(3),
                wallet(4),
                wallet(5),
                wallet(6),
            ],
            stray_wallet: contract(10),
            keys,
            signers: keys.map(account_of),
        }
    }

    /// Who spends from a wallet at first: its consumer, or its node.
    #[must_use]
    pub fn spenders(&self) -> [Address; 6] {
        let [a, b, c] = self.consumers;
        let [x, y, z] = self.nodes;
        [a, b, c, x, y, z]
    }

    /// Who owns the wallets at first.
    #[must_use]
    pub fn owners(&self) -> [Address; 6] {
        let [_, _, own] = self.consumers;
        let [x, y, z] = self.nodes;
        let [a, b] = self.payers;
        [a, b, own, x, y, z]
    }

    /// Accounts that hold coins and tokens of their own.
    #[must_use]
    pub fn people(&self) -> Vec<Address> {
        let mut people = vec![self.treasurer, self.stranger];
        people.extend(self.payers);
        people.extend(self.nodes);
        people
    }
}

/// Signs a delegated subscription with a key.
///
/// # Panics
/// When the key is zero or beyond the curve's order.
#[must_use]
pub fn sign(
    at: &Deployment,
    key: B256,
    nonce: u32,
    expiry: u32,
    subscription: crate::model::Subscription,
) -> Delegated {
    let hash = signing_hash(at, nonce, expiry, &subscription);
    let key = SigningKey::from_slice(key.as_slice()).expect("a key of the curve");
    let (signature, id) = key
        .sign_prehash_recoverable(hash.as_slice())
        .expect("any hash can be signed");
    let (r, s) = signature.split_bytes();
    Delegated {
        nonce,
        expiry,
        subscription,
        v: 27 + u8::from(id.is_y_odd()),
        r: U256::from_be_slice(&r),
        s: U256::from_be_slice(&s),
    }
}

/// The account of a key.
///
/// # Panics
/// When the key is zero or beyond the curve's order.
#[must_use]
pub fn account_of(key: B256) -> Address {
    let key = SigningKey::from_slice(key.as_slice()).expect("a key of the curve");
    Address::from_private_key(&key)
}

/// A deployment with its cast on both sides; set up once for each build.
pub(super) fn stage(build: Build) -> (Model, World, Cast) {
    static STAGES: [OnceLock<(Model, Snapshot, Cast)>; 3] =
        [OnceLock::new(), OnceLock::new(), OnceLock::new()];
    let slot = build.slot(&STAGES);
    let (model, snapshot, cast) = slot.get_or_init(|| {
        let (world, at) = World::deployed(build);
        let cast = Cast::new(&at);
        let mut model = Model::new(&Infernet, at, world.time());
        model.set_fee(DEPLOYER, 500);
        let mut stage = Stage { model, world, cast };
        stage.contracts(build);
        stage.balances();
        stage.wallets();
        (stage.model, stage.world.snapshot(), stage.cast)
    });
    (model.clone(), snapshot.world(), cast.clone())
}

struct Stage {
    model: Model,
    world: World,
    cast: Cast,
}

impl Stage {
    fn create(&mut self, code: &Bytes, arguments: &[u8], expected: Address) {
        let created = self.world.create(self.cast.director, code, arguments);
        assert_eq!(created, expected, "the cast is created in order");
    }

    fn contracts(&mut self, build: Build) {
        let cast = self.cast.clone();
        let registry = self.model.deployment().registry;
        for (consumer, signer) in cast.consumers.into_iter().zip(cast.signers) {
            self.create(
                &built_in("ScriptedConsumer"),
                &(registry, signer).abi_encode_params(),
                consumer,
            );
            self.model.add_consumer(
                consumer,
                Consumer {
                    signer,
                    ..Consumer::default()
                },
            );
        }
        for verifier in cast.verifiers {
            self.create(
                &built_in("ScriptedVerifier"),
                &registry.abi_encode(),
                verifier,
            );
            self.model.add_verifier(verifier, Verifier::default());
        }
        let habits = [
            Habit::ReturnTrue,
            Habit::ReturnNothing,
            Habit::ReturnFalse,
            Habit::Revert,
            Habit::RevertAll,
        ];
        for (token, habit) in cast.tokens.into_iter().skip(1).zip(habits) {
            self.create(
                &built_in("ScriptedToken"),
                &U256::from(habit.number()).abi_encode(),
                token,
            );
            self.model.add_token(
                token,
                Token {
                    habit,
                    ..Token::default()
                },
            );
        }
        let arguments = (registry, cast.stranger).abi_encode_params();
        self.create(&build.code("Wallet"), &arguments, cast.stray_wallet);
        self.model
            .add_stray_wallet(cast.stray_wallet, cast.stranger);
    }

    fn control(&mut self, control: &Control) {
        self.model.control(control);
        if let Some(message) = control.message(self.model.deployment()) {
            let _ = self.world.execute(self.cast.director, &message).unwrap();
        } else if let Control::Balance {
            account, amount, ..
        } = control
        {
            self.world.set_coins(*account, *amount);
        }
    }

    fn call(&mut self, from: Address, call: &Call) {
        let message = call.message(self.model.deployment());
        self.model
            .call(from, call)
            .expect("the stage is set with calls that succeed");
        let _ = self.world.execute(from, &message).unwrap();
    }

    fn balances(&mut self) {
        let cast = self.cast.clone();
        let holders = cast
            .people()
            .into_iter()
            .chain(cast.wallets)
            .chain([cast.stray_wallet]);
        for account in holders {
            for token in cast.tokens.into_iter().take(6) {
                let amount = if token == COIN {
                    PLENTY_OF_COINS
                } else {
                    PLENTY
                };
                self.control(&Control::Balance {
                    token,
                    account,
                    amount,
                });
            }
        }
        let scripts = [VerifierScript::Wait, VerifierScript::Valid];
        for (verifier, script) in cast.verifiers.into_iter().zip(scripts) {
            self.control(&Control::Verify {
                verifier,
                script,
                wallet: cast.stranger,
            });
            for (token, fee) in cast.tokens.into_iter().take(3).zip([0_u64, 3, 100]) {
                let fee = Some(U256::from(fee));
                self.control(&Control::VerifierFee {
                    verifier,
                    token,
                    fee,
                });
            }
        }
    }

    fn wallets(&mut self) {
        let cast = self.cast.clone();
        for owner in cast.owners() {
            self.call(cast.director, &Call::CreateWallet { owner });
        }
        for ((wallet, owner), spender) in cast
            .wallets
            .into_iter()
            .zip(cast.owners())
            .zip(cast.spenders())
        {
            for token in cast.tokens {
                self.call(
                    owner,
                    &Call::Approve {
                        wallet,
                        spender,
                        token,
                        amount: PLENTY,
                    },
                );
            }
        }
    }
}
