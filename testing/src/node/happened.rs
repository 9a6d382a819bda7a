//! What happened while machines played, so that a run which missed something says so.

use std::{collections::BTreeMap, fmt};

/// Everything that a series of some length must have seen.
const EXPECTED: &[&str] = &[
    "a batch was included",
    "a delegated subscription was handed in",
    "a delegated subscription was refused",
    "a head that nobody asked for",
    "a job's payer was refused",
    "a nonce was used by somebody else",
    "a nonce was used up",
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
    "the block came late",
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

    /// What can happen and did not.
    #[must_use]
    pub fn missed(&self) -> Vec<&'static str> {
        let expected = EXPECTED.iter().copied();
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
