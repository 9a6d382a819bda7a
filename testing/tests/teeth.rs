//! The comparison has teeth: every deliberately wrong model is caught.

use infernet_testing::{
    model::{Infernet, PROOF_SECONDS, Reason, Reference, Rules},
    play::Series,
};
use revm::primitives::U256;

/// Sequences that a wrong model may survive at most.
const PATIENCE: u32 = 500;

/// Calls in a sequence.
const CALLS: usize = 50;

/// Declares wrong models: each is our contracts' but for one decision.
macro_rules! wrong {
    ($($name:ident: fn $decision:ident(&self $(, $argument:ident: $type:ty)*) -> $result:ty $body:block)*) => {
        $(
            #[derive(Debug)]
            struct $name;

            impl Rules for $name {
                fn base(&self) -> &'static dyn Rules {
                    &Infernet
                }

                fn $decision(&self $(, $argument: $type)*) -> $result $body
            }
        )*

        /// All of them.
        const WRONG: &[&dyn Rules] = &[$(&$name,)*];
    };
}

wrong! {
    ActivationASecondLate: fn first_active_at(&self, now: u32, period: u32) -> Option<u32> {
        now.checked_add(period)?.checked_add(1)
    }
    ActiveASecondLate: fn is_active(&self, now: u32, active_at: u32) -> bool {
        now > active_at
    }
    IntervalsFromZero: fn interval(&self, now: u32, active_at: u32, period: u32) -> u32 {
        now.wrapping_sub(active_at).checked_div(period).unwrap_or(1)
    }
    IntervalThatStops: fn interval(&self, now: u32, active_at: u32, period: u32) -> u32 {
        now.saturating_sub(active_at).checked_div(period).map_or(1, |passed| passed.wrapping_add(1))
    }
    LastIntervalMissing: fn is_over(&self, interval: u32, frequency: u32) -> bool {
        interval >= frequency
    }
    OneAnswerMore: fn is_full(&self, count: u16, redundancy: u16) -> bool {
        count > redundancy
    }
    FeeRoundedUp: fn fee_of(&self, amount: U256, fee: u16) -> Option<U256> {
        let product = amount.checked_mul(U256::from(fee))?;
        Some(product.div_ceil(U256::from(10_000)))
    }
    ProofTimeShort: fn proof_expiry(&self, now: u32) -> Option<u32> {
        now.checked_add(PROOF_SECONDS - 1)
    }
    VerdictInTimeAtExpiry: fn verdict_in_time(&self, now: u32, expiry: u32) -> bool {
        now <= expiry
    }
    SlashOfEscrowOnly: fn slashed(&self, _price: U256, escrowed: U256) -> U256 {
        escrowed
    }
    SignatureGoodAtExpiry: fn signature_expired(&self, now: u32, expiry: u32) -> bool {
        now > expiry
    }
    LockedToTheLastWei: fn touches_locked(&self, amount: U256, held: U256, locked: U256) -> bool {
        amount <= held && !amount.is_zero() && amount >= held.saturating_sub(locked)
    }
    AllowanceNotRestored: fn allowance_restored(&self, allowed: U256, _amount: U256) -> Option<U256> {
        Some(allowed)
    }

    // The deviations are real: each decision, taken as the reference takes it, is wrong for our contracts.
    FeeNotClamped: fn fee_applied(&self, fee: u16) -> u16 {
        Reference.fee_applied(fee)
    }
    VerifierFeePanics: fn verifier_fee_refusal(&self) -> Reason {
        Reference.verifier_fee_refusal()
    }
    HighSAccepted: fn accepts_s(&self, s: U256) -> bool {
        Reference.accepts_s(s)
    }
    LocksIgnored: fn touches_locked(&self, amount: U256, held: U256, locked: U256) -> bool {
        Reference.touches_locked(amount, held, locked)
    }
    UnlockedPanics: fn unlocked(&self, held: U256, locked: U256) -> Option<U256> {
        Reference.unlocked(held, locked)
    }
    ReleasedFromTheTop: fn allowance_released(&self, allowed: U256, amount: U256) -> Option<U256> {
        Some(allowed.saturating_add(amount).saturating_sub(amount))
    }
    AllowancePanics: fn allowance_restored(&self, allowed: U256, amount: U256) -> Option<U256> {
        Reference.allowance_restored(allowed, amount)
    }
    TokenWithoutCodePays: fn token_without_code_pays(&self) -> bool {
        Reference.token_without_code_pays()
    }
    FeeChangesInSilence: fn announces_fee(&self) -> bool {
        Reference.announces_fee()
    }
    OwnerMayLeave: fn keeps_owner(&self, locked: bool) -> bool {
        Reference.keeps_owner(locked)
    }
}

#[test]
fn every_wrong_model_is_caught() {
    let mut survivors = Vec::new();
    std::thread::scope(|scope| {
        let halves = WRONG.chunks(WRONG.len().div_ceil(2));
        let threads: Vec<_> = halves.map(|half| scope.spawn(|| hunt(half))).collect();
        for thread in threads {
            survivors.extend(thread.join().expect("hunting does not panic"));
        }
    });
    assert_eq!(
        survivors,
        Vec::<String>::new(),
        "these wrong models agree with the contracts"
    );
}

/// Plays each wrong model until it is caught; returns the names of those that were not.
fn hunt(models: &[&'static dyn Rules]) -> Vec<String> {
    let mut survivors = Vec::new();
    for model in models {
        let series = Series {
            rules: *model,
            build: None,
            seed: 7,
            cases: PATIENCE,
            calls: CALLS,
        };
        match series.first_failure() {
            Some((sequences, failure)) => {
                let what = failure.mismatch.to_string();
                let what = what.lines().next().unwrap_or_default();
                println!("{model:?}: caught in sequence {sequences}: {what:.100}");
            }
            None => survivors.push(format!("{model:?}")),
        }
    }
    survivors
}
