//! Running sums: what would else be added up over all that is open, whenever one thing moves.
//!
//! They are derived from what they add up, and so are not persisted: a snapshot is added up when
//! it is read, and the audit adds up everything.

use alloc::collections::BTreeMap;

use crate::ledger::Sum;

/// Sums by key; without zeroes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tally<K>(BTreeMap<K, Sum>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Tally<K> {
    /// The sum of a key.
    pub(crate) fn of(&self, key: &K) -> Sum {
        self.0.get(key).copied().unwrap_or_default()
    }

    /// Adds to the sum of a key.
    pub(crate) fn add(&mut self, key: K, amount: impl Into<Sum>) {
        let sum = self.of(&key).wrapping_add(amount.into());
        self.set(key, sum);
    }

    /// Takes from the sum of a key what was added before.
    pub(crate) fn take(&mut self, key: K, amount: impl Into<Sum>) {
        let sum = self.of(&key).checked_sub(amount.into()).unwrap_or_default();
        self.set(key, sum);
    }

    fn set(&mut self, key: K, sum: Sum) {
        if sum == Sum::ZERO {
            self.0.remove(&key);
        } else {
            self.0.insert(key, sum);
        }
    }
}
