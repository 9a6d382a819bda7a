//! Where a sequence begins.

use proptest::prelude::*;
use revm::primitives::U256;

use crate::{
    evm::Build,
    model::{Call, Rules},
    twin::{Mismatch, Step, Twin},
};

/// Where a sequence begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// Which build of the contracts.
    pub build: Build,
    /// The first block's time in seconds.
    pub time: u64,
    /// The protocol fee in ten-thousandths.
    pub fee: u16,
    /// The id of the first subscription.
    pub next_id: u32,
}

impl Start {
    /// A twin that starts here.
    ///
    /// # Errors
    /// [`Mismatch`] if it does not get that far.
    pub fn twin(&self, rules: &'static dyn Rules) -> Result<Twin, Mismatch> {
        let mut twin = Twin::new(self.build, rules);
        twin.step(&Step::Time(self.time))?;
        if self.fee != twin.model.fee().fee {
            let from = twin.cast.treasurer;
            twin.step(&Step::Call {
                from,
                call: Call::UpdateFee { fee: self.fee },
            })?;
        }
        if self.next_id != twin.model.next_id() {
            twin.model.set_next_id(self.next_id);
            let coordinator = twin.model.deployment().coordinator;
            // The first variable that the Coordinator declares.
            twin.world
                .set_storage(coordinator, U256::ZERO, U256::from(self.next_id));
        }
        Ok(twin)
    }
}

/// Fees: ordinary ones, none, and beyond what the reference can compute with.
pub fn fee() -> impl Strategy<Value = u16> + Clone {
    prop_oneof![
        8 => Just(500_u16),
        3 => Just(0_u16),
        3 => 1_u16..5_000,
        2 => 4_999_u16..5_002,
        1 => Just(10_000_u16),
        1 => 32_767_u16..32_769,
        1 => Just(u16::MAX),
    ]
}

/// Beginnings: mostly the present; sometimes shortly before uint32 time or ids wrap, or after.
pub fn start() -> impl Strategy<Value = Start> {
    let wrap = u64::from(u32::MAX);
    let time = prop_oneof![
        12 => 1_700_000_000_u64..1_700_000_100,
        1 => Just(1_000_u64),
        1 => wrap - 2_000..wrap,
        1 => wrap - 605_000..wrap - 604_000,
        1 => wrap..wrap + 1_000,
    ];
    let next_id = prop_oneof![30 => Just(1_u32), 1 => u32::MAX - 3..=u32::MAX];
    let build = prop_oneof![Just(Build::Paris), Just(Build::Cancun)];
    (build, time, fee(), next_id).prop_map(|(build, time, fee, next_id)| Start {
        build,
        time,
        fee,
        next_id,
    })
}
