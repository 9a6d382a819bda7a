//! Sequences of calls.
//!
//! An [`Action`] says what somebody means to do ("deliver to a subscription that is due"); which ids,
//! intervals and wallets that are is found when it is played, from the model's state
//! ([`Action::resolve`]). So sequences stay meaningful, also while proptest shrinks them.

mod draw;

pub use draw::{action, sequence};
use revm::primitives::{Bytes, U256};

use super::{values::Pick, worlds::Start};
use crate::model::{Answer, Restricted, VerifierScript};

/// Which subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// One that wants an answer now, or any.
    Due(Pick),
    /// Any that exists.
    Any(Pick),
    /// One of this id, which may not exist.
    Id(u32),
}

/// Which interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// The one that runs, moved by so many.
    Current(i32),
    /// This one.
    Exactly(u32),
}

/// Which wallet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purse {
    /// That of the consumer or node in question.
    Own,
    /// Any of the cast, the stray one and addresses that are none included.
    Any(Pick),
}

/// Who calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// The one who may.
    Entitled,
    /// Anybody of the cast.
    Any(Pick),
}

/// Where time goes; never back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Jump {
    /// So many seconds on.
    Seconds(u64),
    /// To an interval boundary of a subscription (its activation, if that is still to come), and so many seconds
    /// further, which may be fewer.
    Boundary(Pick, i64),
    /// To where an open proof request expires, and so many seconds further.
    ProofExpiry(Pick, i64),
}

/// The fields of a new subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// Which consumer asks; the last choice is an account without code.
    pub consumer: Pick,
    /// Comma-joined container ids.
    pub containers: String,
    /// Number of intervals.
    pub frequency: u32,
    /// Seconds of an interval.
    pub period: u32,
    /// Answers per interval.
    pub redundancy: u16,
    /// To the Inbox.
    pub lazy: bool,
    /// Which token of the cast.
    pub token: usize,
    /// Price.
    pub amount: U256,
    /// Who pays.
    pub wallet: Purse,
    /// Which verifier; `None` for none. Beyond the cast's: an account, a consumer.
    pub verifier: Option<Pick>,
}

/// What is wrong with a signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// Nothing.
    None,
    /// The twin of the signature, with the larger s.
    HighS,
    /// A recovery byte that does not exist.
    RecoveryByte(u8),
    /// The subscription was changed after signing.
    Tampered,
    /// Signed with this key of the cast.
    Key(Pick),
    /// r is zero.
    Zero,
}

/// A signed subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signed {
    /// What is wanted; the consumer may be no delegator.
    pub wish: Wish,
    /// Activation, in seconds from now.
    pub active_in: i32,
    /// The nonce.
    pub nonce: u32,
    /// End of validity, in seconds from now.
    pub expires_in: i32,
    /// What is wrong.
    pub flaw: Flaw,
}

/// A call that a consumer makes inside a delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inner {
    /// Another delivery.
    Deliver(Target),
    /// A verdict on an open proof request.
    Finalize(Pick, bool),
    /// Another request.
    Create(Wish),
    /// Cancel a subscription.
    Cancel(Pick),
    /// Change an allowance in a wallet.
    Approve(Purse, usize, U256),
    /// Take funds out of a wallet.
    Withdraw(Purse, usize, U256),
    /// Create a delegated subscription and deliver to it.
    DeliverDelegated(Signed),
    /// Write to the Inbox.
    WriteInbox(Answer),
    /// Lock payments ahead.
    Fund(Target),
    /// Unlock payments that were locked ahead.
    Release(Target),
    /// Several deliveries.
    DeliverBatch(Target),
}

/// What a consumer does from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// Takes every answer.
    Accept,
    /// Reverts with this.
    Revert(Bytes),
    /// Makes a call; hands its revert on.
    Call(Inner),
    /// Makes a call; takes its revert.
    Try(Inner),
}

/// What the owner of a wallet might do while it locks something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Temptation {
    /// Take so much out.
    Withdraw(U256),
    /// Make the spender's allowance too large to give anything back to.
    ApproveAll,
    /// Go away.
    Renounce,
}

/// What a wallet holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holding {
    /// What it locks, and so many more, which may be fewer.
    Locked(i64),
    /// This.
    Exactly(U256),
}

/// A change of an ownership.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transition {
    /// At once; to nobody if `None`.
    Transfer(Option<Pick>),
    /// Given up.
    Renounce,
    /// Asked for.
    Request,
    /// No longer asked for.
    Cancel,
    /// The handover to somebody is completed.
    Complete(Pick),
    /// The handover to somebody who asked is completed.
    CompleteAsked(Pick),
}

/// What somebody means to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Time passes.
    Wait(Jump),
    /// Subscriptions, answers and verdicts.
    Work(Work),
    /// Wallets, tokens and the fee.
    Money(Money),
    /// Calls beside all that.
    Side(Side),
    /// Something around the contracts changes.
    Setting(Setting),
}

/// What subscriptions live from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// Somebody asks for compute.
    Create(Wish),
    /// Somebody cancels.
    Cancel(Target, Who),
    /// A node answers.
    Deliver {
        /// What.
        target: Target,
        /// Which interval.
        when: When,
        /// Which node.
        node: Pick,
        /// Who is paid.
        wallet: Purse,
        /// The answer.
        answer: Answer,
    },
    /// A node answers several at once.
    DeliverBatch {
        /// What, each with which interval.
        targets: Vec<(Target, When)>,
        /// Which node.
        node: Pick,
        /// Who is paid.
        wallet: Purse,
        /// The answer.
        answer: Answer,
    },
    /// Somebody locks the payments of a subscription ahead.
    Fund(Target, Who),
    /// Somebody unlocks what no interval of a subscription can use.
    Release(Target),
    /// A verdict on a proof.
    Finalize {
        /// On an open request; on anything, if `None`.
        request: Option<Pick>,
        /// By whom.
        by: Who,
        /// The verdict.
        valid: bool,
    },
    /// A signed subscription is handed in.
    CreateDelegated(Signed),
    /// A signed subscription is handed in with an answer.
    DeliverDelegated {
        /// The subscription.
        signed: Signed,
        /// Which interval.
        when: When,
        /// Which node.
        node: Pick,
        /// Who is paid.
        wallet: Purse,
        /// The answer.
        answer: Answer,
    },
}

/// What is done with wallets, tokens and the fee.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Money {
    /// A wallet is made.
    CreateWallet(Pick),
    /// An allowance is set.
    Approve {
        /// In which wallet of the cast.
        wallet: Pick,
        /// By whom.
        by: Who,
        /// For whom; its usual spender if `None`.
        spender: Option<Pick>,
        /// Token.
        token: usize,
        /// How much.
        amount: U256,
    },
    /// The owner of a wallet that locks something is tempted.
    AtLock(Pick, Temptation),
    /// Funds are taken out.
    Withdraw {
        /// Of which wallet of the cast.
        wallet: Pick,
        /// By whom.
        by: Who,
        /// Token.
        token: usize,
        /// How much.
        amount: U256,
    },
    /// Somebody tries what only the Coordinator may.
    Restricted(Pick, Restricted, Who),
    /// An ownership changes: of the fee contract if `None`.
    Ownership(Option<Pick>, Who, Transition),
    /// The fee changes.
    UpdateFee(Who, u16),
    /// Somebody sends tokens to a wallet.
    TransferToken(Pick, usize, Pick, U256),
    /// Somebody sends coins: to a wallet, an account, a consumer.
    SendCoin(Pick, Pick, u64),
}

/// What touches no subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Side {
    /// A node writes to the Inbox.
    WriteInbox(Pick, String, Answer),
    /// Somebody tries to write in another's name.
    WriteInboxViaCoordinator(Pick),
    /// An item is read: one that exists, moved by so many.
    ReadInbox(Pick, u64),
    /// An interval is computed, for an activation so many seconds from now.
    ReadInterval(i32, u32),
}

/// A change of what stands around the contracts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Setting {
    /// A consumer changes what it does.
    Behave(Pick, Behaviour),
    /// A consumer changes its signer: to the account of a key.
    Resign(Pick, Pick),
    /// A verifier changes what it does.
    Verify(Pick, VerifierScript, Pick),
    /// A verifier changes its fee in a token.
    VerifierFee(Pick, usize, Option<U256>),
    /// What a wallet holds changes.
    Balance(Pick, usize, Holding),
}

/// A sequence: where it begins, and what is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sequence {
    /// Where it begins.
    pub start: Start,
    /// It ends after so many calls.
    pub calls: usize,
    /// What is done, in order.
    pub actions: Vec<Action>,
}
