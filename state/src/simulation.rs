//! What a simulation says, to whoever asked for one: a delivery, a chore, a nonce after a reorg.

use crate::event::{Failure, Outcome, Success};

/// What came of a simulation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Simulation {
    /// The call would succeed.
    Good {
        /// Estimated gas.
        gas: u64,
        /// Base fee of the head, wei per gas.
        base_fee: u128,
        /// Priority fee to offer, wei per gas.
        priority_fee: u128,
    },
    /// It would revert, with this selector.
    Reverts([u8; 4]),
    /// What it needs is erased or missing.
    Missing,
    /// Nobody can tell, or what was told fits no simulation: it is asked again.
    Unclear,
}

impl From<&Outcome> for Simulation {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Succeeded(Success::Simulated {
                gas,
                base_fee,
                priority_fee,
            }) => Self::Good {
                gas: *gas,
                base_fee: *base_fee,
                priority_fee: *priority_fee,
            },
            Outcome::Failed(Failure::Reverted { selector, .. }) => Self::Reverts(*selector),
            Outcome::Failed(Failure::Missing { .. }) => Self::Missing,
            Outcome::Failed(
                Failure::Unavailable { .. }
                | Failure::Container { .. }
                | Failure::Rejected(_)
                | Failure::NotRerun,
            )
            | Outcome::Unknown { .. }
            | Outcome::Succeeded(
                Success::InputsRead { .. }
                | Success::PayerRead { .. }
                | Success::ResponsesRead { .. }
                | Success::ContainerAnswered { .. }
                | Success::ContainerAnsweredOnchain { .. }
                | Success::Signed { .. }
                | Success::Broadcast
                | Success::LookedUp(_),
            ) => Self::Unclear,
        }
    }
}
