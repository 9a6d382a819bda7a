//! From the chain's own events to the ledger's entries.
//!
//! Only events of factory-valid wallets reach the machine (anybody can emit a `Transfer`); what
//! they mean follows from their transaction, spender and order ([`crate::payments`]). The price of
//! a delivery is booked with its receipt, and what it then moves explains it:
//!
//! | event | debit | credit |
//! |---|---|---|
//! | receipt | Gas, DataFees | NodeAccount |
//! | receipt of a paid delivery | Receivable | Earnings |
//! | its first transfer, and others to the same | ProtocolFees | Receivable |
//! | its transfer to the node's wallet | NodeWallet | Receivable |
//! | its other transfer, with a verifier | VerifierFees | Receivable |
//! | its escrow locked | Escrow | Receivable |
//! | node's stake locked, unlocked | Stake, NodeWallet | NodeWallet, Stake |
//! | a verdict's transfer of an escrow to the node's wallet | NodeWallet | Escrow |
//! | verdict "not valid" | Earnings | Escrow |
//! | node's stake transferred away | Slashes | NodeWallet |
//! | other transfer to, from the node's wallet | NodeWallet, Owner | Suspense, NodeWallet |
//! | withdrawal | Owner | NodeWallet |
//! | a token that nobody accepts, beyond so many | Suspense, or as much as it owes | its accounts |
//! | balance read (of the wallet: with what is locked in it) | the difference, against Suspense | |
//!
//! The node's wallet is the one that the configuration names. Of a wallet that it named before,
//! stakes, payouts and escrows are booked alike as long as anything of it is open
//! (`payee`); what its owner does with it is none of the node's.

use crate::{
    chain::Undo,
    event::{Receipt, WalletChange, WalletFact},
    ledger::{Account, Balance, Code, Entry, EntryState, Role, Sum},
    machine::{Halt, Machine},
    outbox::Turn,
    payments::{Payer, Release, Share},
    proof::{PROOF_WEEK_S, Proof, ProofState},
    transaction::{Answers, Phase, Use},
    types::{Address, Amount, BlockRef, Hash, Nonce},
};

/// The two sides of an entry and what it books.
type Sides = (Role, Role, Code);

/// Who pays with what a wallet says.
fn payer_of(fact: &WalletFact, spender: Address, token: Address) -> Payer {
    Payer {
        tx: fact.tx,
        wallet: fact.wallet,
        spender,
        token,
    }
}

impl Machine {
    /// A receipt of the node's account.
    pub(crate) fn receipt(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        receipt: &Receipt,
        answers: &mut Answers,
    ) -> Result<(), Halt> {
        if self.transaction_included(turn, block, receipt, answers)? {
            self.journal(block.number, Undo::Included(receipt.nonce));
        } else if self.foreign_is_news(receipt.nonce) {
            self.foreign_used(turn, block, receipt.nonce)?;
        } else {
            return Ok(()); // A receipt heard of twice.
        }
        let gas = Amount::of_gas(receipt.gas_used, receipt.effective_gas_price);
        let native = Address::ZERO;
        let (tx, paid_by) = (receipt.tx, Role::NodeAccount);
        self.book(
            turn,
            block,
            tx,
            (Role::Gas, paid_by, Code::Gas),
            native,
            gas,
        )?;
        self.book(
            turn,
            block,
            tx,
            (Role::DataFees, paid_by, Code::DataFee),
            native,
            receipt.l1_fee,
        )?;
        self.book_prices(turn, block, receipt)
    }

    /// Whether a nonce that none of our transactions used is not known to be used up.
    fn foreign_is_news(&self, nonce: Nonce) -> bool {
        nonce >= self.account.settled
            && self
                .account
                .slots
                .get(&nonce)
                .is_none_or(|slot| !matches!(slot.phase, Phase::Included { .. }))
    }

    /// A nonce of the account was used by somebody else.
    pub(crate) fn foreign_used(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        nonce: Nonce,
    ) -> Result<(), Halt> {
        if !self.foreign_is_news(nonce) {
            return Ok(());
        }
        self.foreign_nonce(turn, nonce)?;
        self.journal(block.number, Undo::Foreign(nonce));
        Ok(())
    }

    /// Each delivery that a transaction brought earned its price; one with a verifier has its
    /// proof open from here on.
    fn book_prices(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        receipt: &Receipt,
    ) -> Result<(), Halt> {
        let does = self
            .account
            .slots
            .get(&receipt.nonce)
            .and_then(|slot| slot.version(receipt.tx))
            .map(|version| version.does.clone());
        for no in does.iter().flat_map(Use::deliveries).copied() {
            let Some(delivery) = self.deliveries.get(no) else {
                continue;
            };
            if delivery.state != crate::delivery::State::Included(receipt.nonce) {
                continue;
            }
            let (id, interval) = (self.chain_id_of(delivery), delivery.interval);
            // Another record may have taken a signed one's nonce: that is what pays then.
            let record = self.subscriptions.get(id).map(|of| &of.subscription);
            let Some(terms) = record.or_else(|| self.terms_of(delivery)).cloned() else {
                continue;
            };
            if terms.payment_amount.is_zero() {
                continue;
            }
            self.book(
                turn,
                block,
                receipt.tx,
                (Role::Receivable, Role::Earnings, Code::Price),
                terms.payment_token,
                terms.payment_amount,
            )?;
            let payer = Payer {
                tx: receipt.tx,
                wallet: terms.wallet,
                spender: terms.owner,
                token: terms.payment_token,
            };
            let (price, verified) = (terms.payment_amount, !terms.verifier.is_zero());
            self.chain.payments.expect(no, payer, price, verified);
            if !verified {
                continue;
            }
            let proof = Proof {
                delivery: no,
                owner: terms.owner,
                wallet: terms.wallet,
                token: terms.payment_token,
                stake: terms.payment_amount,
                escrow: Amount::ZERO,
                expires: block.time.0.saturating_add(PROOF_WEEK_S),
                state: ProofState::Open,
            };
            self.open_proof(block, id, interval, proof);
        }
        Ok(())
    }

    /// Books a pending entry with its undo.
    pub(crate) fn book(
        &mut self,
        turn: &Turn,
        block: &BlockRef,
        tx: Hash,
        (debit, credit, code): Sides,
        token: Address,
        amount: Amount,
    ) -> Result<(), Halt> {
        let booked = self
            .ledger
            .book(Entry {
                seq: turn.seq,
                block: block.number,
                tx,
                debit: Account { role: debit, token },
                credit: Account {
                    role: credit,
                    token,
                },
                amount,
                code,
                state: EntryState::Pending,
            })
            .map_err(|_| Halt::new(turn.seq, 33, "an entry would debit the account it credits"))?;
        if let Some(no) = booked {
            self.journal(block.number, Undo::Booked(no));
        }
        Ok(())
    }

    /// An event of a wallet: what it means for the node's books.
    pub(crate) fn wallet_fact(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        fact: &WalletFact,
    ) -> Result<(), Halt> {
        let Some(chain) = self.chain_config() else {
            return Ok(());
        };
        if chain.payment_wallet.is_none() && self.chain.former.is_empty() {
            return Ok(());
        }
        let node = chain.node;
        let own = chain.payment_wallet == Some(fact.wallet);
        let released = self.chain.payments.released.take();
        match &fact.change {
            WalletChange::Transferred {
                spender,
                token,
                to,
                amount,
            } => {
                let payer = payer_of(fact, *spender, *token);
                let verdict = released.is_some_and(|last| last.pays(payer, *to, *amount));
                let into = self.transfer_in(payer, *to, *amount, verdict);
                if let Some(sides) = into {
                    self.book(turn, block, fact.tx, sides, *token, *amount)?;
                }
                let out = if self.is_stake(fact.wallet, *spender) {
                    Some((Role::Slashes, Role::NodeWallet, Code::StakeSlashed))
                } else {
                    own.then_some((Role::Owner, Role::NodeWallet, Code::Spent))
                };
                if let Some(sides) = out {
                    self.book(turn, block, fact.tx, sides, *token, *amount)?;
                }
                if own && *spender == node {
                    self.use_allowance(turn, block, *token, *amount)?;
                }
                Ok(())
            }
            WalletChange::Escrowed {
                spender,
                token,
                amount,
                locked: true,
            } => {
                if self.is_stake(fact.wallet, *spender) {
                    let sides = (Role::Stake, Role::NodeWallet, Code::StakeLocked);
                    self.book(turn, block, fact.tx, sides, *token, *amount)?;
                    // What is locked elsewhere was allowed there.
                    return if own {
                        self.use_allowance(turn, block, *token, *amount)
                    } else {
                        Ok(())
                    };
                }
                let payer = payer_of(fact, *spender, *token);
                if let Some(delivery) = self.chain.payments.locked(payer, *amount) {
                    let sides = (Role::Escrow, Role::Receivable, Code::EscrowLocked);
                    self.book(turn, block, fact.tx, sides, *token, *amount)?;
                    self.escrow_seen(delivery, *amount);
                }
                Ok(())
            }
            WalletChange::Escrowed {
                spender,
                token,
                amount,
                locked: false,
            } => {
                let payer = payer_of(fact, *spender, *token);
                self.chain.payments.released = Some(Release::after(released, payer, *amount));
                if !self.is_stake(fact.wallet, *spender) {
                    return Ok(());
                }
                let sides = (Role::NodeWallet, Role::Stake, Code::StakeReleased);
                self.book(turn, block, fact.tx, sides, *token, *amount)?;
                if !own {
                    return Ok(());
                }
                // Where the sum does not fit, the reference reverts, and our wallets saturate.
                let more = self.chores.allowance(*token).checked_add(*amount);
                self.set_allowance(turn, block, *token, more.unwrap_or(Amount::MAX))
            }
            WalletChange::Approved {
                spender,
                token,
                amount,
            } if own && *spender == node => self.set_allowance(turn, block, *token, *amount),
            WalletChange::Withdrawn { token, amount } if own => {
                let sides = (Role::Owner, Role::NodeWallet, Code::Withdrawal);
                self.book(turn, block, fact.tx, sides, *token, *amount)
            }
            WalletChange::BalanceRead { token, balance } if own => {
                self.reconcile(turn, block, Role::NodeWallet, *token, *balance)
            }
            WalletChange::Withdrawn { .. }
            | WalletChange::BalanceRead { .. }
            | WalletChange::Approved { .. } => Ok(()),
        }
    }

    /// What a transfer out of a payer's wallet means; `None` when it is none of the node's.
    /// `verdict` says whether a verdict pays an escrow with it.
    fn transfer_in(
        &mut self,
        payer: Payer,
        to: Address,
        amount: Amount,
        verdict: bool,
    ) -> Option<Sides> {
        let owed = (payer.wallet, payer.spender, payer.token, amount);
        let to_us = self.is_payee(to);
        if verdict && to_us && self.proofs.owed.of(&owed) != Sum::ZERO {
            return Some((Role::NodeWallet, Role::Escrow, Code::EscrowPaid));
        }
        // The node's own stake is booked as what leaves the wallet.
        let stake = self.is_stake(payer.wallet, payer.spender);
        let share = if verdict || stake {
            None
        } else {
            self.chain.payments.transferred(payer, to, amount)
        };
        match share {
            Some(_) if to_us => Some((Role::NodeWallet, Role::Receivable, Code::Payout)),
            Some(Share::Protocol) => {
                Some((Role::ProtocolFees, Role::Receivable, Code::ProtocolFee))
            }
            Some(Share::Other) => Some((Role::VerifierFees, Role::Receivable, Code::VerifierFee)),
            None => {
                let wallet = self.chain_config().and_then(|chain| chain.payment_wallet);
                (Some(to) == wallet && payer.wallet != to).then_some((
                    Role::NodeWallet,
                    Role::Suspense,
                    Code::Deposit,
                ))
            }
        }
    }

    /// A lock or transfer of the node's own stake uses its allowance up.
    fn use_allowance(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        token: Address,
        amount: Amount,
    ) -> Result<(), Halt> {
        let left = self
            .chores
            .allowance(token)
            .checked_sub(amount)
            .unwrap_or_default();
        self.set_allowance(turn, block, token, left)
    }

    /// Books the difference between what the chain shows and what the entries explain.
    pub(crate) fn reconcile(
        &mut self,
        turn: &Turn,
        block: &BlockRef,
        role: Role,
        token: Address,
        shown: Amount,
    ) -> Result<(), Halt> {
        let shown = Sum::from(shown);
        let (more, less) = ((role, Role::Suspense), (Role::Suspense, role));
        let mut known = self.ledger.totals(role, token);
        if role == Role::NodeWallet {
            // What is locked stays in the wallet: its balance is both.
            known = known.with(&self.ledger.totals(Role::Stake, token));
        }
        let ((debit, credit), gap) = match known.balance() {
            Balance::Debit(known) => match shown.checked_sub(known) {
                Some(gap) => (more, gap),
                None => (less, known.checked_sub(shown).unwrap_or_default()),
            },
            Balance::Credit(short) => (more, shown.wrapping_add(short)),
        };
        // More than an entry holds is a token that lies; what is left differs again next time.
        let amount = gap.amount().unwrap_or(Amount::MAX);
        let sides = (debit, credit, Code::Reconciled);
        self.book(turn, block, Hash::ZERO, sides, token, amount)
    }
}
