//! The decisions of the contracts, each a pure function.
//!
//! [`Reference`] decides as sections 2 to 9 of `docs/spec/contracts.md` stand. [`Infernet`]
//! overrides what the contracts of this project do better (section 13). A deliberately wrong set of
//! rules is how the tests show that they have teeth.

use std::fmt::Debug;

use revm::primitives::{U256, uint};

use super::{ContractError, Reason};

/// How long a verifier has to answer, in seconds.
pub const PROOF_SECONDS: u32 = 604_800;

/// How long a request for an ownership is valid, in seconds.
pub const HANDOVER_SECONDS: u64 = 172_800;

/// Fees are in ten-thousandths.
const FEE_SCALE: U256 = U256::from_limbs([10_000, 0, 0, 0]);

/// Half of the order of secp256k1: one of a signature's two forms has an s up to it.
const HALF_ORDER: U256 =
    uint!(0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0_U256);

/// What the contracts decide.
///
/// A set of rules is another one, its [base](Rules::base), with some decisions changed: a decision that is not
/// written down is the base's. Times are uint32 of block time, amounts are in the token's smallest unit,
/// `None` is Solidity's arithmetic panic (0x11).
pub trait Rules: Debug + Sync {
    /// The rules that decide what these do not. The [`Reference`] decides everything itself.
    fn base(&self) -> &'static dyn Rules;

    /// The first second of a new subscription's first interval (2.1).
    fn first_active_at(&self, now: u32, period: u32) -> Option<u32> {
        self.base().first_active_at(now, period)
    }

    /// Whether a subscription is active (2.4/2).
    fn is_active(&self, now: u32, active_at: u32) -> bool {
        self.base().is_active(now, active_at)
    }

    /// The interval that runs (2.3): from 1, wrapping.
    fn interval(&self, now: u32, active_at: u32, period: u32) -> u32 {
        self.base().interval(now, active_at, period)
    }

    /// Whether an interval lies beyond the last (2.4/4).
    fn is_over(&self, interval: u32, frequency: u32) -> bool {
        self.base().is_over(interval, frequency)
    }

    /// Whether an interval has all its answers (2.4/5): a test for equality.
    fn is_full(&self, count: u16, redundancy: u16) -> bool {
        self.base().is_full(count, redundancy)
    }

    /// The fee that is applied, in ten-thousandths (3/2).
    fn fee_applied(&self, fee: u16) -> u16 {
        self.base().fee_applied(fee)
    }

    /// The share of an amount that a fee takes (3): rounded down.
    fn fee_of(&self, amount: U256, fee: u16) -> Option<U256> {
        self.base().fee_of(amount, fee)
    }

    /// Why a verifier fee beyond the remainder is refused (3/4b).
    fn verifier_fee_refusal(&self) -> Reason {
        self.base().verifier_fee_refusal()
    }

    /// From when on a proof request is expired (3/4b).
    fn proof_expiry(&self, now: u32) -> Option<u32> {
        self.base().proof_expiry(now)
    }

    /// Whether a verdict comes in time (2.5/4).
    fn verdict_in_time(&self, now: u32, expiry: u32) -> bool {
        self.base().verdict_in_time(now, expiry)
    }

    /// Whether a verdict in time by the wrong account is refused before anything is unlocked.
    fn refuses_before_unlocks(&self, authorized: bool) -> bool {
        self.base().refuses_before_unlocks(authorized)
    }

    /// What a slashed node loses: the price and the consumer's escrow are given (2.5/4).
    fn slashed(&self, price: U256, escrowed: U256) -> U256 {
        self.base().slashed(price, escrowed)
    }

    /// Whether a signature's time is over (4/2).
    fn signature_expired(&self, now: u32, expiry: u32) -> bool {
        self.base().signature_expired(now, expiry)
    }

    /// Whether the form of a signature is accepted (4/3).
    fn accepts_s(&self, s: U256) -> bool {
        self.base().accepts_s(s)
    }

    /// Whether an allowance is too short for the next payment, to be followed at once by another.
    fn short_for_both(&self, allowed: U256, first: U256, second: U256) -> bool {
        self.base().short_for_both(allowed, first, second)
    }

    /// Whether a payment is refused because it would touch locked funds (8, `cTransfer`).
    fn touches_locked(&self, amount: U256, held: U256, locked: U256) -> bool {
        self.base().touches_locked(amount, held, locked)
    }

    /// What of a balance is not locked (8).
    fn unlocked(&self, held: U256, locked: U256) -> Option<U256> {
        self.base().unlocked(held, locked)
    }

    /// The allowance after an unlock gave `amount` back (8, `cUnlock`).
    fn allowance_restored(&self, allowed: U256, amount: U256) -> Option<U256> {
        self.base().allowance_restored(allowed, amount)
    }

    /// The allowance after `amount` was unlocked and at once paid (2.5/4).
    fn allowance_released(&self, allowed: U256, amount: U256) -> Option<U256> {
        self.base().allowance_released(allowed, amount)
    }

    /// Whether an address without code counts as a token that paid (8).
    fn token_without_code_pays(&self) -> bool {
        self.base().token_without_code_pays()
    }

    /// Whether subscriptions can be funded, and deliveries made in batches (13).
    fn has_additions(&self) -> bool {
        self.base().has_additions()
    }

    /// Whether a new fee is announced by an event (7).
    fn announces_fee(&self) -> bool {
        self.base().announces_fee()
    }

    /// Whether a wallet that has something locked keeps its owner (8.1).
    fn keeps_owner(&self, locked: bool) -> bool {
        self.base().keeps_owner(locked)
    }
}

/// The reference: sections 2 to 9 as they stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reference;

impl Rules for Reference {
    fn base(&self) -> &'static dyn Rules {
        &Self
    }

    fn first_active_at(&self, now: u32, period: u32) -> Option<u32> {
        now.checked_add(period)
    }

    fn is_active(&self, now: u32, active_at: u32) -> bool {
        now >= active_at
    }

    fn interval(&self, now: u32, active_at: u32, period: u32) -> u32 {
        now.wrapping_sub(active_at)
            .checked_div(period)
            .map_or(1, |passed| passed.wrapping_add(1))
    }

    fn is_over(&self, interval: u32, frequency: u32) -> bool {
        interval > frequency
    }

    fn is_full(&self, count: u16, redundancy: u16) -> bool {
        count == redundancy
    }

    fn fee_applied(&self, fee: u16) -> u16 {
        fee
    }

    fn fee_of(&self, amount: U256, fee: u16) -> Option<U256> {
        amount
            .checked_mul(U256::from(fee))
            .map(|product| product / FEE_SCALE)
    }

    fn verifier_fee_refusal(&self) -> Reason {
        Reason::Panic(0x11)
    }

    fn proof_expiry(&self, now: u32) -> Option<u32> {
        now.checked_add(PROOF_SECONDS)
    }

    fn verdict_in_time(&self, now: u32, expiry: u32) -> bool {
        now < expiry
    }

    fn refuses_before_unlocks(&self, _authorized: bool) -> bool {
        false
    }

    fn slashed(&self, price: U256, _escrowed: U256) -> U256 {
        price
    }

    fn signature_expired(&self, now: u32, expiry: u32) -> bool {
        now >= expiry
    }

    fn accepts_s(&self, _s: U256) -> bool {
        true
    }

    fn short_for_both(&self, allowed: U256, first: U256, _second: U256) -> bool {
        allowed < first
    }

    fn touches_locked(&self, _amount: U256, _held: U256, _locked: U256) -> bool {
        false
    }

    fn unlocked(&self, held: U256, locked: U256) -> Option<U256> {
        held.checked_sub(locked)
    }

    fn allowance_restored(&self, allowed: U256, amount: U256) -> Option<U256> {
        allowed.checked_add(amount)
    }

    fn allowance_released(&self, allowed: U256, amount: U256) -> Option<U256> {
        allowed.checked_add(amount)?.checked_sub(amount)
    }

    fn token_without_code_pays(&self) -> bool {
        true
    }

    fn has_additions(&self) -> bool {
        false
    }

    fn announces_fee(&self) -> bool {
        false
    }

    fn keeps_owner(&self, _locked: bool) -> bool {
        false
    }
}

/// The contracts of this project: the reference with the deviations of `docs/contracts.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Infernet;

impl Rules for Infernet {
    fn base(&self) -> &'static dyn Rules {
        &Reference
    }

    fn fee_applied(&self, fee: u16) -> u16 {
        fee.min(5_000)
    }

    fn verifier_fee_refusal(&self) -> Reason {
        Reason::Error(ContractError::InsufficientFunds)
    }

    fn refuses_before_unlocks(&self, authorized: bool) -> bool {
        !authorized
    }

    fn accepts_s(&self, s: U256) -> bool {
        s <= HALF_ORDER
    }

    fn short_for_both(&self, allowed: U256, first: U256, second: U256) -> bool {
        allowed < first.saturating_add(second)
    }

    fn touches_locked(&self, amount: U256, held: U256, locked: U256) -> bool {
        amount <= held && amount > held.saturating_sub(locked)
    }

    fn unlocked(&self, held: U256, locked: U256) -> Option<U256> {
        Some(held.saturating_sub(locked))
    }

    fn allowance_restored(&self, allowed: U256, amount: U256) -> Option<U256> {
        Some(allowed.saturating_add(amount))
    }

    fn allowance_released(&self, allowed: U256, _amount: U256) -> Option<U256> {
        Some(allowed)
    }

    fn token_without_code_pays(&self) -> bool {
        false
    }

    fn has_additions(&self) -> bool {
        true
    }

    fn announces_fee(&self) -> bool {
        true
    }

    fn keeps_owner(&self, locked: bool) -> bool {
        locked
    }
}
