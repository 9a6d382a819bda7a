//! `[limits]`: attempts, times and margins that an operator may set, each within a range.

use std::ops::RangeInclusive;

use infernet_state::{config::Limits, limits::OPEN_JOBS_CAP};
use serde::Deserialize;

use super::ConfigError;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;

/// Pools refuse a replacement that offers less than a tenth more; twice as much each time is at the
/// cap within a few.
const FEE_BUMP_PERCENT: RangeInclusive<u64> = 10..=100;

/// The file's section; what is absent is as usual.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Calls of one container for one job, the first included.
    pub container_attempts: Option<u64>,
    /// Transactions of one delivery that reverted in a block, the first included.
    pub delivery_attempts: Option<u64>,
    /// Minutes after which a client's job that is not final fails.
    pub job_expiry_minutes: Option<u64>,
    /// Jobs that are open at once, of clients, and again of intervals.
    pub jobs_open: Option<u64>,
    /// Delegated subscriptions of one client that wait to become active.
    pub delegated_waiting: Option<u64>,
    /// Seconds before an interval ends in which nothing is sent any more.
    pub closing_margin_s: Option<u64>,
    /// Seconds from sending a transaction to its block, as expected.
    pub inclusion_delay_s: Option<u64>,
    /// Seconds after which an unincluded transaction gets a higher fee.
    pub fee_bump_after_s: Option<u64>,
    /// By how much, in percent: at least what pools ask of a replacement.
    pub fee_bump_percent: Option<u64>,
    /// Losses in a row that pause intake; 0: none does.
    pub breaker_losses: Option<u64>,
    /// Seconds of such a pause.
    pub breaker_pause_s: Option<u64>,
}

/// A value of the file, or the usual one in the machine's unit.
fn within<T: TryFrom<u64>>(
    name: &str,
    value: Option<u64>,
    range: RangeInclusive<u64>,
    unit: u64,
    usual: T,
) -> Result<T, ConfigError> {
    let Some(value) = value else {
        return Ok(usual);
    };
    let fits = range.contains(&value).then(|| value.saturating_mul(unit));
    fits.and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| ConfigError::Invalid {
            field: format!("limits.{name}"),
            reason: format!(
                "{value} is not between {} and {}",
                range.start(),
                range.end()
            ),
        })
}

impl LimitsConfig {
    /// The machine's limits.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], naming the field and its range.
    pub(super) fn deciding(&self) -> Result<Limits, ConfigError> {
        let usual = Limits::default();
        Ok(Limits {
            container_attempts_max: within(
                "container_attempts",
                self.container_attempts,
                1..=100,
                1,
                usual.container_attempts_max,
            )?,
            delivery_attempts_max: within(
                "delivery_attempts",
                self.delivery_attempts,
                1..=100,
                1,
                usual.delivery_attempts_max,
            )?,
            job_expiry_ms: within(
                "job_expiry_minutes",
                self.job_expiry_minutes,
                1..=10_080,
                MINUTE_MS,
                usual.job_expiry_ms,
            )?,
            jobs_open_max: within(
                "jobs_open",
                self.jobs_open,
                1..=u64::from(OPEN_JOBS_CAP),
                1,
                usual.jobs_open_max,
            )?,
            delegated_waiting_max: within(
                "delegated_waiting",
                self.delegated_waiting,
                0..=10_000,
                1,
                usual.delegated_waiting_max,
            )?,
            closing_margin_s: within(
                "closing_margin_s",
                self.closing_margin_s,
                0..=3_600,
                1,
                usual.closing_margin_s,
            )?,
            inclusion_delay_s: within(
                "inclusion_delay_s",
                self.inclusion_delay_s,
                0..=3_600,
                1,
                usual.inclusion_delay_s,
            )?,
            fee_bump_after_ms: within(
                "fee_bump_after_s",
                self.fee_bump_after_s,
                1..=3_600,
                SECOND_MS,
                usual.fee_bump_after_ms,
            )?,
            fee_bump_percent: within(
                "fee_bump_percent",
                self.fee_bump_percent,
                FEE_BUMP_PERCENT,
                1,
                usual.fee_bump_percent,
            )?,
            breaker_losses: within(
                "breaker_losses",
                self.breaker_losses,
                0..=1_000,
                1,
                usual.breaker_losses,
            )?,
            breaker_pause_ms: within(
                "breaker_pause_s",
                self.breaker_pause_s,
                1..=604_800,
                SECOND_MS,
                usual.breaker_pause_ms,
            )?,
            ..usual
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::parse, *};

    #[test]
    fn limits_are_as_configured() {
        assert_eq!(parse("[limits]").expect("valid").limits, Limits::default());
        let text = "[limits]\ncontainer_attempts = 5\ndelivery_attempts = 1\n\
                    job_expiry_minutes = 60\njobs_open = 50\ndelegated_waiting = 0\n\
                    closing_margin_s = 4\ninclusion_delay_s = 12\nfee_bump_after_s = 45\n\
                    fee_bump_percent = 10\nbreaker_losses = 0\nbreaker_pause_s = 600";
        let expected = Limits {
            container_attempts_max: 5,
            delivery_attempts_max: 1,
            job_expiry_ms: 3_600_000,
            jobs_open_max: 50,
            delegated_waiting_max: 0,
            closing_margin_s: 4,
            inclusion_delay_s: 12,
            fee_bump_after_ms: 45_000,
            fee_bump_percent: 10,
            breaker_losses: 0,
            breaker_pause_ms: 600_000,
            ..Limits::default()
        };
        assert_eq!(parse(text).expect("valid").limits, expected);
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_the_range() {
        for (field, value, range) in [
            ("container_attempts", 0, "between 1 and 100"),
            ("delivery_attempts", 101, "between 1 and 100"),
            ("job_expiry_minutes", 0, "between 1 and 10080"),
            ("jobs_open", 10_001, "between 1 and 10000"),
            ("delegated_waiting", 10_001, "between 0 and 10000"),
            ("closing_margin_s", 3_601, "between 0 and 3600"),
            ("inclusion_delay_s", 3_601, "between 0 and 3600"),
            ("fee_bump_after_s", 0, "between 1 and 3600"),
            ("fee_bump_percent", 9, "between 10 and 100"),
            ("fee_bump_percent", 101, "between 10 and 100"),
            ("breaker_losses", 1_001, "between 0 and 1000"),
            ("breaker_pause_s", 0, "between 1 and 604800"),
        ] {
            let error = parse(&format!("[limits]\n{field} = {value}"))
                .expect_err(field)
                .to_string();
            let named = format!("limits.{field}: {value} is not {range}");
            assert!(error.contains(&named), "{error} has {named}");
        }
    }
}
