//! What stands around the contracts: coins, tokens, consumers and verifiers, as the scripted
//! contracts of `contracts/src/mocks` behave.

use std::collections::BTreeMap;

use revm::primitives::{Address, B256, Bytes, U256};

use super::{
    Answer, Branch, COIN, Call, Emitted, Model, Reason, Returned, Revert, coordinator::Delivery,
    empty, reason::fixed_selector,
};

/// What a transfer of a token does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Habit {
    /// Moves the tokens and returns true.
    #[default]
    ReturnTrue,
    /// Moves the tokens and returns nothing, as some old tokens do.
    ReturnNothing,
    /// Moves nothing and returns false.
    ReturnFalse,
    /// Reverts.
    Revert,
    /// Reverts, and so does the reading of a balance.
    RevertAll,
}

/// A token (`ScriptedToken`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Token {
    /// What its transfers do.
    pub habit: Habit,
    /// Balances, where they are not zero.
    pub balances: BTreeMap<Address, U256>,
}

/// What a consumer does with an answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ConsumerScript {
    /// Takes it.
    #[default]
    Accept,
    /// Reverts with this data.
    Revert(Bytes),
    /// Makes a call; hands its revert on.
    Call(Box<Call>),
    /// Makes a call; tells in an event how it ended.
    Try(Box<Call>),
}

/// A consumer (`ScriptedConsumer`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Consumer {
    /// Who signs its delegated subscriptions.
    pub signer: Address,
    /// What it does with an answer.
    pub script: ConsumerScript,
}

/// What a verifier does when it is asked for a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum VerifierScript {
    /// Nothing yet.
    #[default]
    Wait,
    /// Finds the proof valid at once.
    Valid,
    /// Finds the proof not valid at once.
    Invalid,
    /// Reverts.
    Revert,
}

/// A verifier (`ScriptedVerifier`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verifier {
    /// What it does when it is asked.
    pub script: VerifierScript,
    /// Where its fee goes.
    pub wallet: Address,
    /// The tokens it takes, each with its fee.
    pub fees: BTreeMap<Address, U256>,
}

/// A change of what stands around the contracts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Control {
    /// What a consumer does with answers from now on.
    Script {
        /// Which.
        consumer: Address,
        /// What.
        script: ConsumerScript,
    },
    /// Who signs for a consumer from now on.
    Signer {
        /// Which.
        consumer: Address,
        /// Who.
        signer: Address,
    },
    /// What a verifier does from now on.
    Verify {
        /// Which.
        verifier: Address,
        /// What.
        script: VerifierScript,
        /// Where its fee goes.
        wallet: Address,
    },
    /// Whether a verifier takes a token, and for how much.
    VerifierFee {
        /// Which.
        verifier: Address,
        /// Token.
        token: Address,
        /// The fee; `None` for a token that it does not take.
        fee: Option<U256>,
    },
    /// What an account holds, as mints, burns and gifts by self-destruction make it.
    Balance {
        /// Token.
        token: Address,
        /// Account.
        account: Address,
        /// How much.
        amount: U256,
    },
}

/// What a scripted verifier reverts with.
pub(super) fn verifier_refusal() -> Reason {
    own_error("Refused()")
}

fn own_error(signature: &str) -> Reason {
    Reason::Data(Bytes::copy_from_slice(&fixed_selector(signature)))
}

impl Model {
    /// Puts a scripted consumer there.
    pub fn add_consumer(&mut self, at: Address, consumer: Consumer) {
        self.consumers.insert(at, consumer);
    }

    /// Puts a scripted verifier there.
    pub fn add_verifier(&mut self, at: Address, verifier: Verifier) {
        self.verifiers.insert(at, verifier);
    }

    /// Puts a scripted token there.
    pub fn add_token(&mut self, at: Address, token: Token) {
        self.tokens.insert(at, token);
    }

    /// Changes what stands around the contracts.
    pub fn control(&mut self, control: &Control) {
        match control {
            Control::Script { consumer, script } => {
                self.consumers.entry(*consumer).or_default().script = script.clone();
            }
            Control::Signer { consumer, signer } => {
                self.consumers.entry(*consumer).or_default().signer = *signer;
            }
            Control::Verify {
                verifier,
                script,
                wallet,
            } => {
                let entry = self.verifiers.entry(*verifier).or_default();
                entry.script = *script;
                entry.wallet = *wallet;
            }
            Control::VerifierFee {
                verifier,
                token,
                fee,
            } => {
                let fees = &mut self.verifiers.entry(*verifier).or_default().fees;
                match fee {
                    Some(fee) => fees.insert(*token, *fee),
                    None => fees.remove(token),
                };
            }
            Control::Balance {
                token,
                account,
                amount,
            } => {
                if *token == COIN {
                    self.coins.insert(*account, *amount);
                } else if let Some(token) = self.tokens.get_mut(token) {
                    token.balances.insert(*account, *amount);
                }
            }
        }
    }

    /// What a wallet sees of its balance: 0 for a token that does not answer.
    #[must_use]
    pub fn balance(&self, token: Address, account: Address) -> U256 {
        if token == COIN {
            return self.coins.get(&account).copied().unwrap_or_default();
        }
        self.tokens
            .get(&token)
            .filter(|token| token.habit != Habit::RevertAll)
            .and_then(|token| token.balances.get(&account).copied())
            .unwrap_or_default()
    }

    /// Whether there is a contract.
    #[must_use]
    pub fn has_code(&self, address: Address) -> bool {
        let at = &self.at;
        self.tokens.contains_key(&address)
            || self.consumers.contains_key(&address)
            || self.verifiers.contains_key(&address)
            || self.wallets.contains_key(&address)
            || [
                at.registry,
                at.coordinator,
                at.inbox,
                at.reader,
                at.fee,
                at.wallet_factory,
            ]
            .contains(&address)
    }

    /// Moves coins; `None` if there are too few.
    pub(super) fn move_coin(&mut self, from: Address, to: Address, amount: U256) -> Option<()> {
        let left = self.balance(COIN, from).checked_sub(amount)?;
        self.coins.insert(from, left);
        let more = self.balance(COIN, to).saturating_add(amount);
        self.coins.insert(to, more);
        Some(())
    }

    /// What a token's transfer does: what it returned, or `None` when it reverted. Nothing returned is true.
    pub(super) fn token_moves(
        &mut self,
        token: Address,
        from: Address,
        to: Address,
        amount: U256,
    ) -> Option<bool> {
        let entry = self.tokens.get_mut(&token)?;
        match entry.habit {
            Habit::Revert | Habit::RevertAll => return None,
            Habit::ReturnFalse => return Some(false),
            Habit::ReturnTrue | Habit::ReturnNothing => {}
        }
        let held = entry.balances.get(&from).copied().unwrap_or_default();
        entry.balances.insert(from, held.checked_sub(amount)?);
        let held = entry.balances.get(&to).copied().unwrap_or_default();
        entry.balances.insert(to, held.wrapping_add(amount));
        self.emit(token, Emitted::TokenTransfer { from, to, amount });
        Some(true)
    }

    /// `transfer` of a token by an account.
    pub(super) fn transfer_token(
        &mut self,
        from: Address,
        token: Address,
        to: Address,
        amount: U256,
    ) -> Result<Returned, Revert> {
        let Some(habit) = self.tokens.get(&token).map(|token| token.habit) else {
            let known = self.has_code(token);
            return if known {
                Err(empty(Branch::DepositRefused))
            } else {
                Ok(Returned::Nothing)
            };
        };
        let refused = match habit {
            Habit::Revert | Habit::RevertAll => own_error("Refused()"),
            Habit::ReturnTrue | Habit::ReturnNothing | Habit::ReturnFalse => {
                own_error("BalanceTooShort()")
            }
        };
        let Some(moved) = self.token_moves(token, from, to, amount) else {
            return Err(Revert {
                reason: refused,
                at: Branch::DepositRefused,
            });
        };
        self.mark(Branch::Deposited);
        Ok(match (moved, habit) {
            (false, _) => Returned::False,
            (true, Habit::ReturnNothing) => Returned::Nothing,
            (true, _) => Returned::True,
        })
    }

    /// A plain transfer of coins by an account that has them.
    pub(super) fn send_coin(
        &mut self,
        from: Address,
        to: Address,
        amount: U256,
    ) -> Result<Returned, Revert> {
        let takes = !self.has_code(to)
            || self.wallets.contains_key(&to)
            || self.verifiers.contains_key(&to);
        if !takes || self.move_coin(from, to, amount).is_none() {
            return Err(empty(Branch::DepositRefused));
        }
        self.mark(Branch::Deposited);
        Ok(Returned::Nothing)
    }

    /// Hands a delivery to the consumer, which does what its script says.
    pub(super) fn receive(
        &mut self,
        owner: Address,
        delivery: &Delivery<'_>,
        answer: &Answer,
        container_id: B256,
        index: u64,
    ) -> Result<(), Revert> {
        let Some(script) = self
            .consumers
            .get(&owner)
            .map(|consumer| consumer.script.clone())
        else {
            return Err(empty(Branch::ConsumerAbsent));
        };
        self.emit(
            owner,
            Emitted::Received {
                id: delivery.id,
                interval: delivery.interval,
                redundancy: delivery.count,
                node: delivery.node,
                answer: answer.clone(),
                container_id,
                index,
            },
        );
        match script {
            ConsumerScript::Accept => Ok(()),
            ConsumerScript::Revert(data) => Err(Revert {
                reason: Reason::Data(data),
                at: Branch::ConsumerReverted,
            }),
            ConsumerScript::Call(call) => match self.dispatch(owner, &call) {
                Ok(returned) => {
                    self.tell(owner, true, returned.data());
                    Ok(())
                }
                Err(revert) => {
                    self.mark(revert.at);
                    Err(Revert {
                        reason: revert.reason,
                        at: Branch::ConsumerCallReverted,
                    })
                }
            },
            ConsumerScript::Try(call) => {
                let before = self.clone();
                match self.dispatch(owner, &call) {
                    Ok(returned) => self.tell(owner, true, returned.data()),
                    Err(revert) => {
                        self.roll_back(before);
                        self.mark(revert.at);
                        self.tell(owner, false, revert.reason.data());
                    }
                }
                Ok(())
            }
        }
    }

    fn tell(&mut self, consumer: Address, succeeded: bool, returned: Bytes) {
        self.mark(Branch::ConsumerCalled);
        self.emit(
            consumer,
            Emitted::Tried {
                succeeded,
                returned,
            },
        );
    }
}
