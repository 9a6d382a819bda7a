//! Model and contracts side by side: every call goes to both, and they must agree.
//!
//! After each call the result, the events, the revert reason and everything that the model says has
//! changed are compared; [`Twin::compare_all`] compares all there is. Beside that, each call is made under
//! the [`Reference`] rules from the same state: where it ends differently, the model must have passed
//! one of the named deviations ([`Branch::is_deviation`]).

mod cast;
mod compare;

use std::fmt;

pub use cast::{Cast, account_of, sign};
use infernet_state::{
    subscription::{Rejected, judge},
    types::Interval,
};
use revm::primitives::Address;

use crate::{
    evm::{Build, Execution, World},
    model::{
        Branch, Call, ConsumerScript, ContractError, Control, Coverage, Model, Outcome, Reference,
        Revert, Rules,
    },
};

/// One step of a sequence.
#[expect(
    clippy::large_enum_variant,
    reason = "most steps are calls, and a sequence is short"
)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The next block has this time, in seconds.
    Time(u64),
    /// Somebody calls a contract.
    Call {
        /// Who.
        from: Address,
        /// What.
        call: Call,
    },
    /// Something around the contracts changes.
    Control(Control),
}

/// Where model and contracts disagree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// What was compared.
    pub what: String,
    /// What the model says.
    pub model: String,
    /// What the contracts say.
    pub contracts: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} differs", self.what)?;
        writeln!(f, "  the model:     {}", self.model)?;
        write!(f, "  the contracts: {}", self.contracts)
    }
}

impl std::error::Error for Mismatch {}

/// A model and the contracts it is held against.
#[derive(Clone, Debug)]
pub struct Twin {
    /// The model.
    pub model: Model,
    /// The contracts.
    pub world: World,
    /// Who plays.
    pub cast: Cast,
    is_reference: bool,
    last: Option<Execution>,
    coverage: Coverage,
    accepted: u64,
    refused: u64,
}

impl Twin {
    /// A deployment with its cast, the model under these rules.
    #[must_use]
    pub fn new(build: Build, rules: &'static dyn Rules) -> Self {
        let (model, world, cast) = cast::stage(build);
        Self {
            model: model.under(rules),
            world,
            cast,
            is_reference: build == Build::Reference,
            last: None,
            coverage: Coverage::default(),
            accepted: 0,
            refused: 0,
        }
    }

    /// The branches that were taken so far.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// How many calls were accepted, and how many refused.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.accepted, self.refused)
    }

    /// How the newest call ended in the EVM.
    #[must_use]
    pub fn last_execution(&self) -> Option<&Execution> {
        self.last.as_ref()
    }

    /// Takes a step on both sides.
    ///
    /// # Errors
    /// [`Mismatch`] where they disagree.
    pub fn step(&mut self, step: &Step) -> Result<(), Mismatch> {
        match step {
            Step::Time(time) => {
                self.model.set_time(*time);
                self.world.set_time(*time);
                Ok(())
            }
            Step::Control(control) => {
                self.control(control);
                Ok(())
            }
            Step::Call { from, call } => self.call(*from, call),
        }
    }

    fn control(&mut self, control: &Control) {
        self.model.control(control);
        match control.message(self.model.deployment()) {
            Some(message) => {
                let _ = self.world.execute(self.cast.director, &message).unwrap();
            }
            None => {
                if let Control::Balance {
                    account, amount, ..
                } = control
                {
                    self.world.set_coins(*account, *amount);
                }
            }
        }
    }

    fn call(&mut self, from: Address, call: &Call) -> Result<(), Mismatch> {
        let before = self.model.clone();
        let expected = self.model.call(from, call);
        let found = self.world.execute(from, &call.message(before.deployment()));
        self.last = Some(found.clone());
        self.coverage.count(self.model.trace());
        check_machine(&before, from, call, &found)?;
        match &expected {
            Ok(outcome) => {
                self.accepted += 1;
                check_outcome(call, outcome, &found)?;
                self.compare_since(&before)?;
            }
            Err(revert) => {
                self.refused += 1;
                self.coverage.count(&[revert.at]);
                check_revert(call, revert, &found)?;
            }
        }
        self.check_reference(before, from, call, &expected)
    }

    /// The reference, from the same state, ends in the same way or the difference has a name.
    fn check_reference(
        &self,
        before: Model,
        from: Address,
        call: &Call,
        own: &Result<Outcome, Revert>,
    ) -> Result<(), Mismatch> {
        if self.is_reference {
            return Ok(());
        }
        let mut reference = before.under(&Reference);
        let theirs = reference.call(from, call);
        let same = match (own, &theirs) {
            (Ok(own), Ok(theirs)) => own == theirs && self.model.same_state(&reference),
            (Err(own), Err(theirs)) => own.reason == theirs.reason,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        if same
            || self
                .model
                .trace()
                .iter()
                .any(|branch| branch.is_deviation())
        {
            return Ok(());
        }
        Err(Mismatch {
            what: format!("without a named deviation, the reference's end of {call:?}"),
            model: format!("{theirs:?} (reference)"),
            contracts: format!("{own:?} (ours)"),
        })
    }
}

/// The node's machine foresees the contracts' first six checks of a delivery
/// ([`infernet_state::subscription::judge`]).
fn check_machine(
    before: &Model,
    node: Address,
    call: &Call,
    found: &Execution,
) -> Result<(), Mismatch> {
    let Call::DeliverCompute { id, interval, .. } = *call else {
        return Ok(());
    };
    let sub = before.subscription(id).cloned().unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "the contract truncates")]
    let now = before.time() as u32;
    let verdict = judge(
        &(&sub).into(),
        now,
        Interval(interval),
        before.counts().get(&(id, interval)).copied().unwrap_or(0),
        before.responded().contains(&(id, interval, node)),
    );
    let refused = |error: &ContractError| match found {
        Execution::Reverted(data) => data.as_ref() == error.selector(),
        Execution::Done { .. } | Execution::Failed(_) => false,
    };
    let errors = [
        ContractError::SubscriptionNotFound,
        ContractError::SubscriptionNotActive,
        ContractError::IntervalMismatch,
        ContractError::SubscriptionCompleted,
        ContractError::IntervalCompleted,
        ContractError::NodeRespondedAlready,
    ];
    let agree = match verdict {
        // A consumer may hand on such an error, from a call of its own.
        Ok(()) => !errors.iter().any(refused) || hands_on(before, sub.owner),
        Err(rejected) => refused(&match rejected {
            Rejected::NotFound => ContractError::SubscriptionNotFound,
            Rejected::NotActive => ContractError::SubscriptionNotActive,
            Rejected::IntervalMismatch => ContractError::IntervalMismatch,
            Rejected::SubscriptionCompleted => ContractError::SubscriptionCompleted,
            Rejected::IntervalCompleted => ContractError::IntervalCompleted,
            Rejected::NodeRespondedAlready => ContractError::NodeRespondedAlready,
        }),
    };
    if agree {
        return Ok(());
    }
    Err(Mismatch {
        what: format!("the verdict of the node's machine on {call:?}"),
        model: format!("{verdict:?} (machine)"),
        contracts: found.to_string(),
    })
}

/// Whether a consumer hands on the reverts of a call of its own.
fn hands_on(model: &Model, consumer: Address) -> bool {
    model
        .consumers()
        .get(&consumer)
        .is_some_and(|consumer| matches!(consumer.script, ConsumerScript::Call(_)))
}

fn check_outcome(call: &Call, outcome: &Outcome, found: &Execution) -> Result<(), Mismatch> {
    let Execution::Done { returned, logs, .. } = found else {
        return Err(Mismatch {
            what: format!("the end of {call:?}"),
            model: format!("{outcome:?}"),
            contracts: found.to_string(),
        });
    };
    if outcome.returned.data() != *returned {
        return Err(Mismatch {
            what: format!("what is returned by {call:?}"),
            model: format!("{:?} = {}", outcome.returned, outcome.returned.data()),
            contracts: returned.to_string(),
        });
    }
    let expected: Vec<_> = outcome
        .logs
        .iter()
        .map(|log| (log.address, log.event.data()))
        .collect();
    if expected != *logs {
        return Err(Mismatch {
            what: format!("the events of {call:?}"),
            model: format!("{:#?}", outcome.logs),
            contracts: format!("{logs:#?}"),
        });
    }
    Ok(())
}

fn check_revert(call: &Call, revert: &Revert, found: &Execution) -> Result<(), Mismatch> {
    if matches!(found, Execution::Reverted(data) if *data == revert.reason.data()) {
        return Ok(());
    }
    Err(Mismatch {
        what: format!("the end of {call:?}"),
        model: format!("{revert:?}, which is {}", revert.reason.data()),
        contracts: found.to_string(),
    })
}

/// The branches that no sequence can reach under the rules of this project's contracts.
#[must_use]
pub fn unreachable_here() -> &'static [Branch] {
    &[
        // The fee is clamped, so it neither overflows nor exceeds the payment.
        Branch::PayFeeDoubledOverflows,
        Branch::PayFeeTooHigh,
        // An allowance given back saturates, unlocked funds do not go below zero.
        Branch::UnlockAllowanceOverflows,
        Branch::UnlockedUnderflows,
        // Locks and unlocks come in pairs (N6), as long as fewer than 2^32 subscriptions are made.
        Branch::UnlockFundsShort,
        // The verifier is checked first.
        Branch::FinalizeUnauthorized,
        // A token without code is refused, as is a high s.
        Branch::TokenAbsentPaid,
        Branch::SignatureHighAccepted,
        Branch::AdditionAbsent,
    ]
}

/// The branches that no sequence can reach under the reference's rules, beside the deviations from them.
#[must_use]
pub fn unreachable_in_reference() -> &'static [Branch] {
    &[
        Branch::UnlockFundsShort,
        // What the deviations lead to.
        Branch::FinalizeUnauthorizedFirst,
        Branch::TransferLocked,
        Branch::UnlockAllowanceSaturated,
        Branch::TokenAbsentRefused,
        Branch::SignatureHighRefused,
        Branch::RenounceLocked,
        // What there is no function for.
        Branch::Funded,
        Branch::FundNothing,
        Branch::FundNotOwner,
        Branch::FundWalletInvalid,
        Branch::FundOverflows,
        Branch::PaidFromReserve,
        Branch::ReserveReleased,
        Branch::ReserveKept,
        Branch::BatchDelivered,
        Branch::BatchItemFailed,
        Branch::BatchTooLong,
    ]
}
