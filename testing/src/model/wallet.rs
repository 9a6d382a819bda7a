//! Fee, Wallet and WalletFactory: sections 7 to 9.

use std::collections::BTreeMap;

use revm::primitives::{Address, U256};

use super::{
    Branch, COIN, ContractError, Emitted, HANDOVER_SECONDS, Model, OwnershipChange, Returned,
    Revert, overflow, refuse,
};

/// Who owns a contract (8.1).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ownable {
    /// The owner; zero when given up.
    pub owner: Address,
    /// Until which second (inclusive) an account's request can be completed.
    pub handovers: BTreeMap<Address, u64>,
}

/// The fee contract (7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fee {
    /// Whose it is: the recipient of the fees.
    pub ownable: Ownable,
    /// In ten-thousandths.
    pub fee: u16,
}

impl Fee {
    pub(super) fn new(owner: Address, fee: u16) -> Self {
        Self {
            ownable: Ownable {
                owner,
                handovers: BTreeMap::new(),
            },
            fee,
        }
    }
}

/// A wallet (8). Its coins and tokens stand with the others'.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wallet {
    /// Whose it is.
    pub ownable: Ownable,
    /// Whether the factory made it.
    pub valid: bool,
    /// `allowance(spender, token)`, where it was ever set.
    pub allowances: BTreeMap<(Address, Address), U256>,
    /// What is locked, by token.
    pub locked: BTreeMap<Address, U256>,
}

impl Wallet {
    /// `allowance(spender, token)`.
    #[must_use]
    pub fn allowance(&self, spender: Address, token: Address) -> U256 {
        self.allowances
            .get(&(spender, token))
            .copied()
            .unwrap_or_default()
    }

    /// What is locked of a token.
    #[must_use]
    pub fn locked(&self, token: Address) -> U256 {
        self.locked.get(&token).copied().unwrap_or_default()
    }
}

impl Model {
    /// 9 `createWallet`.
    pub(super) fn create_wallet(&mut self, from: Address, owner: Address) -> Returned {
        self.wallets_made = self.wallets_made.saturating_add(1);
        let factory = self.at.wallet_factory;
        let wallet = factory.create(self.wallets_made);
        let ownable = Ownable {
            owner,
            handovers: BTreeMap::new(),
        };
        self.wallets.insert(
            wallet,
            Wallet {
                ownable,
                valid: true,
                ..Wallet::default()
            },
        );
        self.emit(
            wallet,
            Emitted::OwnershipTransferred {
                old: Address::ZERO,
                new: owner,
            },
        );
        self.emit(
            factory,
            Emitted::WalletCreated {
                caller: from,
                owner,
                wallet,
            },
        );
        self.mark(Branch::WalletCreated);
        Returned::Address(wallet)
    }

    /// 9 `isValidWallet`.
    #[must_use]
    pub fn is_valid_wallet(&self, wallet: Address) -> bool {
        self.wallets.get(&wallet).is_some_and(|wallet| wallet.valid)
    }

    /// 8 `approve`.
    pub(super) fn approve(
        &mut self,
        from: Address,
        wallet: Address,
        spender: Address,
        token: Address,
        amount: U256,
    ) -> Result<Returned, Revert> {
        let account = self.owned(wallet, from)?;
        account.allowances.insert((spender, token), amount);
        self.emit(
            wallet,
            Emitted::Approval {
                spender,
                token,
                amount,
            },
        );
        self.mark(Branch::Approved);
        Ok(Returned::Nothing)
    }

    /// 8 `withdraw`.
    pub(super) fn withdraw(
        &mut self,
        from: Address,
        wallet: Address,
        token: Address,
        amount: U256,
    ) -> Result<Returned, Revert> {
        self.owned(wallet, from)?;
        if amount > self.unlocked(wallet, token)? {
            return Err(refuse(
                ContractError::InsufficientFunds,
                Branch::WithdrawFundsShort,
            ));
        }
        self.send(token, wallet, from, amount)?;
        self.emit(wallet, Emitted::Withdrawl { token, amount });
        self.mark(Branch::Withdrawn);
        Ok(Returned::Nothing)
    }

    /// 8 `cTransfer`, called by the Coordinator.
    pub(super) fn transfer(
        &mut self,
        wallet: Address,
        spender: Address,
        token: Address,
        to: Address,
        amount: U256,
    ) -> Result<(), Revert> {
        self.spend(
            wallet,
            spender,
            token,
            amount,
            Branch::TransferAllowanceShort,
        )?;
        self.pay_out(wallet, spender, token, to, amount)
    }

    /// Two payments in a row.
    pub(super) fn transfer_twice(
        &mut self,
        wallet: Address,
        spender: Address,
        token: Address,
        payments: [(Address, U256); 2],
    ) -> Result<(), Revert> {
        let [(_, first), (_, second)] = payments;
        let allowed = self.wallet(wallet).allowance(spender, token);
        if self.decide(Branch::DeviatesBothAtOnce, |rules| {
            rules.short_for_both(allowed, first, second)
        }) {
            let at = Branch::TransferAllowanceShort;
            return Err(refuse(ContractError::InsufficientAllowance, at));
        }
        for (to, amount) in payments {
            self.transfer(wallet, spender, token, to, amount)?;
        }
        Ok(())
    }

    /// 8 `cLock`.
    pub(super) fn lock(
        &mut self,
        wallet: Address,
        spender: Address,
        token: Address,
        amount: U256,
    ) -> Result<(), Revert> {
        if amount > self.unlocked(wallet, token)? {
            return Err(refuse(
                ContractError::InsufficientFunds,
                Branch::LockFundsShort,
            ));
        }
        self.spend(wallet, spender, token, amount, Branch::LockAllowanceShort)?;
        let account = self.wallets.entry(wallet).or_default();
        let locked = account.locked(token).saturating_add(amount);
        account.locked.insert(token, locked);
        self.emit(
            wallet,
            Emitted::Escrow {
                spender,
                token,
                amount,
                locked: true,
            },
        );
        self.mark(Branch::WalletLocked);
        Ok(())
    }

    /// 8 `cUnlock`.
    pub(super) fn unlock(
        &mut self,
        wallet: Address,
        spender: Address,
        token: Address,
        amount: U256,
    ) -> Result<(), Revert> {
        let account = self.wallet(wallet);
        let allowed = account.allowance(spender, token);
        let Some(locked) = account.locked(token).checked_sub(amount) else {
            return Err(refuse(
                ContractError::InsufficientFunds,
                Branch::UnlockFundsShort,
            ));
        };
        let restored = self
            .decide(Branch::DeviatesUnlockSaturates, |rules| {
                rules.allowance_restored(allowed, amount)
            })
            .ok_or_else(|| overflow(Branch::UnlockAllowanceOverflows))?;
        if allowed.checked_add(amount) != Some(restored) {
            self.mark(Branch::UnlockAllowanceSaturated);
        }
        let account = self.wallets.entry(wallet).or_default();
        account.locked.insert(token, locked);
        account.allowances.insert((spender, token), restored);
        self.emit(
            wallet,
            Emitted::Escrow {
                spender,
                token,
                amount,
                locked: false,
            },
        );
        self.mark(Branch::WalletUnlocked);
        Ok(())
    }

    /// Takes an amount from an allowance, also from one of 2^256-1.
    fn spend(
        &mut self,
        wallet: Address,
        spender: Address,
        token: Address,
        amount: U256,
        at: Branch,
    ) -> Result<(), Revert> {
        let allowed = self.wallet(wallet).allowance(spender, token);
        let Some(left) = allowed.checked_sub(amount) else {
            return Err(refuse(ContractError::InsufficientAllowance, at));
        };
        if left != allowed {
            let account = self.wallets.entry(wallet).or_default();
            account.allowances.insert((spender, token), left);
        }
        Ok(())
    }

    /// `allowance(spender, token)` of a wallet.
    pub(super) fn allowance(&self, wallet: Address, spender: Address, token: Address) -> U256 {
        self.wallet(wallet).allowance(spender, token)
    }

    /// Sets an allowance that was given back and taken again.
    pub(super) fn set_allowance(
        &mut self,
        wallet: Address,
        spender: Address,
        token: Address,
        amount: U256,
    ) {
        let account = self.wallets.entry(wallet).or_default();
        account.allowances.insert((spender, token), amount);
    }

    /// Sends, and says so.
    fn pay_out(
        &mut self,
        wallet: Address,
        spender: Address,
        token: Address,
        to: Address,
        amount: U256,
    ) -> Result<(), Revert> {
        let held = self.balance(token, wallet);
        let locked = self.wallet(wallet).locked(token);
        if self.decide(Branch::DeviatesTransferLocked, |rules| {
            rules.touches_locked(amount, held, locked)
        }) {
            return Err(refuse(
                ContractError::InsufficientFunds,
                Branch::TransferLocked,
            ));
        }
        self.send(token, wallet, to, amount)?;
        self.emit(
            wallet,
            Emitted::Transfer {
                spender,
                token,
                to,
                amount,
            },
        );
        self.mark(Branch::WalletTransferred);
        if amount.is_zero() {
            self.mark(Branch::WalletTransferredZero);
        }
        Ok(())
    }

    /// What of a wallet's balance is not locked.
    fn unlocked(&mut self, wallet: Address, token: Address) -> Result<U256, Revert> {
        let held = self.balance(token, wallet);
        let locked = self.wallet(wallet).locked(token);
        self.decide(Branch::DeviatesUnlocked, |rules| {
            rules.unlocked(held, locked)
        })
        .ok_or_else(|| overflow(Branch::UnlockedUnderflows))
    }

    /// Sends coin or a token out of a wallet.
    fn send(
        &mut self,
        token: Address,
        from: Address,
        to: Address,
        amount: U256,
    ) -> Result<(), Revert> {
        if token == COIN {
            // A receiver that refuses the coin gets it all the same.
            return self
                .move_coin(from, to, amount)
                .ok_or_else(|| refuse(ContractError::ETHTransferFailed, Branch::CoinShort));
        }
        if self.has_code(token) {
            return match self.token_moves(token, from, to, amount) {
                Some(true) => Ok(()),
                Some(false) | None => {
                    Err(refuse(ContractError::TransferFailed, Branch::TokenFailed))
                }
            };
        }
        if self.decide(Branch::DeviatesTokenAbsent, |rules| {
            rules.token_without_code_pays()
        }) {
            self.mark(Branch::TokenAbsentPaid);
            return Ok(());
        }
        Err(refuse(
            ContractError::TransferFailed,
            Branch::TokenAbsentRefused,
        ))
    }

    /// A wallet as it is; an unknown one is as empty as a new one.
    fn wallet(&self, wallet: Address) -> Wallet {
        self.wallets.get(&wallet).cloned().unwrap_or_default()
    }

    /// A wallet for its owner.
    fn owned(&mut self, wallet: Address, from: Address) -> Result<&mut Wallet, Revert> {
        self.wallets
            .get_mut(&wallet)
            .filter(|wallet| wallet.ownable.owner == from)
            .ok_or_else(|| refuse(ContractError::Unauthorized, Branch::NotOwner))
    }

    /// 7 `updateFee`.
    pub(super) fn update_fee(&mut self, from: Address, fee: u16) -> Result<Returned, Revert> {
        if self.fee.ownable.owner != from {
            return Err(refuse(ContractError::Unauthorized, Branch::NotOwner));
        }
        let old = self.fee.fee;
        self.fee.fee = fee;
        if self.decide(Branch::DeviatesFeeAnnounced, |rules| rules.announces_fee()) {
            self.emit(self.at.fee, Emitted::FeeUpdated { old, new: fee });
        }
        self.mark(Branch::FeeUpdated);
        Ok(Returned::Nothing)
    }

    /// 8.1, of the fee contract or a wallet.
    pub(super) fn change_ownership(
        &mut self,
        from: Address,
        of: Address,
        change: OwnershipChange,
    ) -> Result<Returned, Revert> {
        let (time, any_locked) = (self.time, self.any_locked(of));
        let not_owner = || refuse(ContractError::Unauthorized, Branch::NotOwner);
        let owner = self.ownable(of).map(|ownable| ownable.owner);
        let is_owner = owner == Some(from);
        match change {
            OwnershipChange::Request | OwnershipChange::Cancel => {
                let asks = change == OwnershipChange::Request;
                let until = if asks {
                    time.saturating_add(HANDOVER_SECONDS)
                } else {
                    0
                };
                if let Some(ownable) = self.ownable(of) {
                    ownable.handovers.insert(from, until);
                }
                self.mark(Branch::HandoverAsked);
                self.emit(
                    of,
                    match asks {
                        true => Emitted::OwnershipHandoverRequested { pending: from },
                        false => Emitted::OwnershipHandoverCanceled { pending: from },
                    },
                );
            }
            OwnershipChange::Transfer { .. }
            | OwnershipChange::Renounce
            | OwnershipChange::Complete { .. }
                if !is_owner =>
            {
                return Err(not_owner());
            }
            OwnershipChange::Transfer { to } => {
                if to.is_zero() {
                    return Err(refuse(
                        ContractError::NewOwnerIsZeroAddress,
                        Branch::NewOwnerZero,
                    ));
                }
                self.set_owner(of, to, Branch::OwnershipTransferred);
            }
            OwnershipChange::Renounce => {
                if self.decide(Branch::DeviatesRenounce, |rules| {
                    rules.keeps_owner(any_locked)
                }) {
                    return Err(refuse(ContractError::FundsLocked, Branch::RenounceLocked));
                }
                self.set_owner(of, Address::ZERO, Branch::OwnershipRenounced);
            }
            OwnershipChange::Complete { to } => {
                let until = self
                    .ownable(of)
                    .and_then(|ownable| ownable.handovers.remove(&to));
                if time > until.unwrap_or(0) {
                    return Err(refuse(
                        ContractError::NoHandoverRequest,
                        Branch::HandoverAbsent,
                    ));
                }
                self.set_owner(of, to, Branch::HandoverCompleted);
            }
        }
        Ok(Returned::Nothing)
    }

    fn set_owner(&mut self, of: Address, new: Address, mark: Branch) {
        let mut old = Address::ZERO;
        if let Some(ownable) = self.ownable(of) {
            old = std::mem::replace(&mut ownable.owner, new);
        }
        self.emit(of, Emitted::OwnershipTransferred { old, new });
        self.mark(mark);
    }

    fn ownable(&mut self, of: Address) -> Option<&mut Ownable> {
        if of == self.at.fee {
            return Some(&mut self.fee.ownable);
        }
        self.wallets.get_mut(&of).map(|wallet| &mut wallet.ownable)
    }

    fn any_locked(&self, of: Address) -> bool {
        self.wallets
            .get(&of)
            .is_some_and(|wallet| wallet.locked.values().any(|locked| !locked.is_zero()))
    }

    /// Puts a wallet there that the factory did not make.
    pub fn add_stray_wallet(&mut self, wallet: Address, owner: Address) {
        let ownable = Ownable {
            owner,
            handovers: BTreeMap::new(),
        };
        self.wallets.insert(
            wallet,
            Wallet {
                ownable,
                ..Wallet::default()
            },
        );
    }
}
