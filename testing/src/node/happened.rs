//! What happened while machines played, so that a run which missed something says so.

use std::{collections::BTreeMap, fmt};

use super::Weather;

/// What a series of some length must have seen in calm weather, beside all that is expected anyway.
const EXPECTED_IN_CALM: &[&str] = &["the block came late"];

/// What a series of some length must have seen in storms, beside all that is expected anyway.
const EXPECTED_IN_STORMS: &[&str] = &[
    "a container could not be asked",
    "a container failed",
    "a container failed for good",
    "a container's answer could not be packed",
    "a container's answer was lost",
    "a crash",
    "a deep reorg was told",
    "a nonce was used up",
    "a pool forgot a transaction",
    "a quarantine was lifted",
    "a reorg was told",
    "a simulation lagged",
    "a snapshot was restored",
    "a transaction was looked up",
    "a transaction was lost",
    "a transaction was refused",
    "an answer came late",
    "an old outcome was told again",
    "an older version was included",
    "another pool was asked",
    "nothing was signed",
    "the answer to a transaction was lost",
    "the chain was not read",
    "the same bytes were sent twice",
    "what was owed was delivered",
];

/// Everything that a series of some length must have seen.
const EXPECTED: &[&str] = &[
    "a batch was included",
    "a delegated subscription was handed in",
    "a delegated subscription was refused",
    "a head that nobody asked for",
    "a job's payer was refused",
    "a nonce was used by somebody else",
    "a proof expired",
    "a proof was found invalid",
    "a proof was found valid",
    "a proof was opened",
    "a simulation reverted",
    "a stake was approved",
    "a subscription of the node was cancelled",
    "a transaction of the machine reverted",
    "an interval closed first",
    "an interval was met by others",
    "delivered alone",
    "delivered with its delegation",
    "others came first",
    "paid at once",
    "the node finalised a proof itself",
    "the wallet was withdrawn from",
];

/// How often what happened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Happened(BTreeMap<&'static str, u64>);

impl Happened {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// How often it happened.
    #[must_use]
    pub fn often(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// Adds what happened elsewhere.
    pub fn merge(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// What can happen in a weather and did not.
    #[must_use]
    pub fn missed(&self, weather: Weather) -> Vec<&'static str> {
        let more = match weather {
            Weather::Calm => EXPECTED_IN_CALM,
            Weather::Storms => EXPECTED_IN_STORMS,
        };
        let expected = EXPECTED.iter().chain(more).copied();
        expected.filter(|what| self.often(what) == 0).collect()
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.0 {
            writeln!(f, "{count:>9}  {what}")?;
        }
        Ok(())
    }
}
