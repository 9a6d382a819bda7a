//! Every way through the semantics has a name, so that a test can prove it went there.

use std::{collections::BTreeMap, fmt};

/// Declares the branches with the section of `docs/spec/contracts.md` that each comes from.
macro_rules! branches {
    ($($(#[$doc:meta])* $name:ident = $section:literal,)*) => {
        /// A way through the semantics: a check that failed, or something that was done.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Branch {
            $($(#[$doc])* $name,)*
        }

        impl Branch {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The section of `docs/spec/contracts.md` that it comes from.
            #[must_use]
            pub fn section(self) -> &'static str {
                match self {
                    $(Self::$name => $section,)*
                }
            }
        }
    };
}

branches! {
    /// A subscription was created by its consumer.
    Created = "2.1",
    /// now + period passes 2^32.
    CreatedTooLate = "2.1",
    /// The next id went from 2^32-1 to 0.
    IdWrapped = "2.1",
    /// A subscription was cancelled.
    Cancelled = "2.2",
    /// A cancelled subscription was cancelled again.
    CancelledAgain = "2.2",
    /// The caller does not own the subscription.
    CancelNotOwner = "2.2",
    /// An interval was computed for a period of 0.
    IntervalOfCallback = "2.3",
    /// An interval was computed for an activation in the future: it wraps.
    IntervalOfFuture = "2.3",
    /// An interval was computed.
    IntervalRead = "2.3",
    /// A delivery inside a delivery.
    DeliverReentered = "2.4/0",
    /// No subscription of that id.
    DeliverNotFound = "2.4/1",
    /// Not active yet.
    DeliverNotActive = "2.4/2",
    /// Cancelled.
    DeliverCancelled = "2.4/2",
    /// Delivered in the very second of the activation.
    DeliverAtActivation = "2.4/2",
    /// Not the current interval.
    DeliverIntervalMismatch = "2.4/3",
    /// Delivered in the first second of an interval beyond the first.
    DeliverAtIntervalStart = "2.4/3",
    /// Delivered in the last second of an interval.
    DeliverAtIntervalEnd = "2.4/3",
    /// Beyond the last interval.
    DeliverCompleted = "2.4/4",
    /// Delivered in the last interval.
    DeliverInLastInterval = "2.4/4",
    /// As many answers as wanted.
    DeliverIntervalCompleted = "2.4/5",
    /// The same node again.
    DeliverRespondedAlready = "2.4/6",
    /// Free of charge.
    DeliverFree = "2.4/7",
    /// Handed to the consumer.
    DeliverEager = "2.4/8",
    /// Written to the Inbox.
    DeliverLazy = "2.4/8",
    /// The consumer has no code.
    ConsumerAbsent = "2.4/8",
    /// The consumer reverted.
    ConsumerReverted = "2.4/8",
    /// The consumer's own call failed, and its revert was handed on.
    ConsumerCallReverted = "2.4/8",
    /// The consumer made a call inside the delivery.
    ConsumerCalled = "2.4/8",
    /// No such proof request.
    FinalizeNotFound = "2.5/2",
    /// In time, but not by the verifier; found before the unlocks.
    FinalizeUnauthorizedFirst = "2.5/4",
    /// In time, but not by the verifier; found after the unlocks.
    FinalizeUnauthorized = "2.5/4",
    /// Valid, in time.
    FinalizeValid = "2.5/4",
    /// Not valid, in time: the node is slashed.
    FinalizeInvalid = "2.5/4",
    /// Too late: the node is paid.
    FinalizeExpired = "2.5/4",
    /// Too late by no more than a second: now == expiry.
    FinalizeAtExpiry = "2.5/4",
    /// Too late, with the verdict "not valid": without effect.
    FinalizeExpiredInvalid = "2.5/4",
    /// A proof was judged after the subscription's cancellation.
    FinalizeCancelled = "2.5",
    /// A proof was judged within the delivery.
    FinalizeAtomic = "2.5",
    /// nodeWallet is not the factory's.
    PayNodeWalletInvalid = "3/1",
    /// The consumer's wallet is not the factory's.
    PayWalletInvalid = "3/1",
    /// Twice the fee passes 2^16.
    PayFeeDoubledOverflows = "3/2",
    /// The amount times the fee passes 2^256.
    PayFeeOverflows = "3/2",
    /// The fee is more than the amount.
    PayFeeTooHigh = "3/2",
    /// Paid at once.
    PaidAtOnce = "3/4a",
    /// The verifier has no code, or not the right functions.
    VerifierAbsent = "3/4b",
    /// The verifier does not take the token.
    VerifierTokenUnsupported = "3/4b",
    /// The verifier wants more than there is.
    VerifierFeeTooHigh = "3/4b",
    /// now + a week passes 2^32.
    ProofExpiryOverflows = "3/4b",
    /// The verifier reverted when it was asked.
    VerifierReverted = "3/4b",
    /// The verifier was asked, and will answer later.
    ProofRequested = "3/4b",
    /// nodeWallet and the consumer's wallet are the same.
    PaidToSelf = "3",
    /// The signature's time is over.
    SignatureExpired = "4/2",
    /// The signature's time is over since this second.
    SignatureExpiredNow = "4/2",
    /// Nobody's signature.
    SignatureInvalid = "4/3",
    /// The twin of a signature, with the larger s, refused.
    SignatureHighRefused = "4/3",
    /// The twin of a signature, with the larger s, accepted.
    SignatureHighAccepted = "4/3",
    /// The owner has no code, or no getSigner.
    DelegatorAbsent = "4/4",
    /// Somebody else's signature.
    SignerMismatch = "4/4",
    /// A delegated subscription was created.
    DelegatedCreated = "4/5",
    /// The subscription was known: its id was returned.
    DelegatedKnown = "4/1",
    /// The same, although the rest of the request would not do.
    DelegatedKnownAnyhow = "4/1",
    /// A node wrote to the Inbox itself.
    InboxWritten = "5",
    /// Not the coordinator.
    InboxNotCoordinator = "5",
    /// An item was read.
    InboxRead = "5",
    /// No item of that index.
    InboxOutOfRange = "5",
    /// The fee was set.
    FeeUpdated = "7",
    /// A wallet paid.
    WalletTransferred = "8",
    /// A wallet paid nothing.
    WalletTransferredZero = "8",
    /// A wallet locked.
    WalletLocked = "8",
    /// A wallet unlocked.
    WalletUnlocked = "8",
    /// cTransfer: the allowance is too short.
    TransferAllowanceShort = "8",
    /// cTransfer: the funds are locked.
    TransferLocked = "8",
    /// cLock: the unlocked funds are too short.
    LockFundsShort = "8",
    /// cLock: the allowance is too short.
    LockAllowanceShort = "8",
    /// cUnlock: less is locked.
    UnlockFundsShort = "8",
    /// cUnlock: the allowance passes 2^256.
    UnlockAllowanceOverflows = "8",
    /// cUnlock: the allowance stopped at 2^256-1.
    UnlockAllowanceSaturated = "8",
    /// The balance fell below what is locked.
    UnlockedUnderflows = "8",
    /// withdraw: the unlocked funds are too short.
    WithdrawFundsShort = "8",
    /// The owner withdrew.
    Withdrawn = "8",
    /// The owner set an allowance.
    Approved = "8",
    /// Not the coordinator.
    WalletNotCoordinator = "8",
    /// The balance of the coin is too short.
    CoinShort = "8",
    /// The token refused.
    TokenFailed = "8",
    /// The token is an address without code, and counts as paid.
    TokenAbsentPaid = "8",
    /// The token is an address without code, and is refused.
    TokenAbsentRefused = "8",
    /// The ownership was given away.
    OwnershipTransferred = "8.1",
    /// The ownership was given up.
    OwnershipRenounced = "8.1",
    /// The ownership cannot be given up while something is locked.
    RenounceLocked = "8.1",
    /// The ownership was asked for, or that was taken back.
    HandoverAsked = "8.1",
    /// A handover was completed.
    HandoverCompleted = "8.1",
    /// No valid request.
    HandoverAbsent = "8.1",
    /// Not the owner.
    NotOwner = "8.1",
    /// To the zero address.
    NewOwnerZero = "8.1",
    /// A wallet was made.
    WalletCreated = "9",
    /// A token or coin was sent to a contract or account.
    Deposited = "8",
    /// A token or coin was not taken.
    DepositRefused = "8",
    /// A subscription was funded: its payments were locked ahead.
    Funded = "13",
    /// Free, over or funded already.
    FundNothing = "13",
    /// Not the owner.
    FundNotOwner = "13",
    /// The wallet is not the factory's.
    FundWalletInvalid = "13",
    /// The sum of the payments passes 2^256.
    FundOverflows = "13",
    /// A delivery was paid from what was locked ahead.
    PaidFromReserve = "13",
    /// What no interval can use any more was unlocked.
    ReserveReleased = "13",
    /// There was nothing to unlock.
    ReserveKept = "13",
    /// A delivery of a batch went through.
    BatchDelivered = "13",
    /// A delivery of a batch failed by itself.
    BatchItemFailed = "13",
    /// There is no such function.
    AdditionAbsent = "13",
    /// A batch of more than 256.
    BatchTooLong = "13",
    /// Addition: a function that the reference does not have (B1, C2).
    DeviatesAddition = "13-B1",
    /// Deviation: the fee counts as at most 5,000 (B5).
    DeviatesFeeClamped = "13-B5",
    /// Deviation: a verifier fee beyond the remainder has another reason (B5).
    DeviatesVerifierFee = "13-B5",
    /// Deviation: a transfer would touch locked funds (B2).
    DeviatesTransferLocked = "13-B2",
    /// Deviation: locked funds that are gone count as zero unlocked instead of a panic (B2).
    DeviatesUnlocked = "13-B2",
    /// Deviation: an allowance given back saturates (B3).
    DeviatesUnlockSaturates = "13-B3",
    /// Deviation: a token without code is no token (B4).
    DeviatesTokenAbsent = "13-B4",
    /// Deviation: a high s is refused (B9).
    DeviatesHighS = "13-B9",
    /// Deviation: the verifier is checked before the unlocks (B8).
    DeviatesVerifierFirst = "13-B8",
    /// Deviation: two payments leave the allowance before either is sent (A6).
    DeviatesBothAtOnce = "13-A6",
    /// Deviation: a new fee is announced (B5).
    DeviatesFeeAnnounced = "13-B5",
    /// Deviation: a wallet with locked funds keeps its owner (B12).
    DeviatesRenounce = "13-B12",
}

impl Branch {
    /// Whether it marks a point where our contracts differ from the reference.
    #[must_use]
    pub fn is_deviation(self) -> bool {
        self.section().starts_with("13-")
    }
}

/// How often each branch was taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Coverage {
    taken: BTreeMap<Branch, u64>,
}

impl Coverage {
    /// Counts the branches of one call.
    pub fn count(&mut self, trace: &[Branch]) {
        for branch in trace {
            let count = self.taken.entry(*branch).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Adds what another run took.
    pub fn merge(&mut self, other: &Self) {
        for (branch, more) in &other.taken {
            let count = self.taken.entry(*branch).or_default();
            *count = count.saturating_add(*more);
        }
    }

    /// How often a branch was taken.
    #[must_use]
    pub fn of(&self, branch: Branch) -> u64 {
        self.taken.get(&branch).copied().unwrap_or(0)
    }

    /// The branches that were never taken.
    #[must_use]
    pub fn missed(&self) -> Vec<Branch> {
        Branch::ALL
            .iter()
            .copied()
            .filter(|branch| self.of(*branch) == 0)
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for branch in Branch::ALL {
            writeln!(
                f,
                "{:>9}  {:<7} {}",
                self.of(*branch),
                branch.section(),
                format_args!("{branch:?}")
            )?;
        }
        Ok(())
    }
}
