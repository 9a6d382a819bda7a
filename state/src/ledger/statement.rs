//! A statement of the books for any range of events, however old: the ledger keeps the newest
//! entries, and a replay of the log shows the rest to whoever follows it.

use alloc::collections::{BTreeMap, BTreeSet};

use super::{Entry, EntryState, Ledger};
use crate::types::{EntryNo, Seq};

/// The entries of the events of a range, with how they were settled by the last event seen.
///
/// ```
/// use infernet_state::{Event, Machine, ledger::Statement, types::{Seq, WallTime}};
///
/// let log = [Event::WallTimePassed { now: WallTime(1) }];
/// let (mut machine, mut statement) = (Machine::new(), Statement::new(Seq(1), Seq(10)));
/// for event in &log {
///     machine.apply(event)?;
///     statement.follow(machine.seq(), machine.ledger());
/// }
/// assert_eq!(statement.entries().count(), 0);
/// # Ok::<(), infernet_state::machine::Halt>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    from: Seq,
    to: Seq,
    entries: BTreeMap<EntryNo, Entry>,
    pending: BTreeSet<EntryNo>,
}

impl Statement {
    /// A statement of the events from `from` to `to`, both included, before any was seen.
    #[must_use]
    pub fn new(from: Seq, to: Seq) -> Self {
        Self {
            from,
            to,
            entries: BTreeMap::new(),
            pending: BTreeSet::new(),
        }
    }

    /// Notes what the event `seq`, the latest, did to the books. To be called after each event of
    /// a replay, those before and behind the range included: an entry of the range may be settled
    /// behind it.
    pub fn follow(&mut self, seq: Seq, ledger: &Ledger) {
        if seq >= self.from && seq <= self.to {
            for (no, entry) in ledger.entries().rev() {
                if entry.seq != seq {
                    break;
                }
                self.entries.insert(no, entry.clone());
                self.pending.insert(no);
            }
        }
        let entries = &mut self.entries;
        self.pending.retain(|no| {
            // Settled entries are kept for a while: none is missed by who looks at each event.
            let state = ledger.entries.get(*no).map(|entry| entry.state);
            match (state, entries.get_mut(no)) {
                (Some(EntryState::Pending), _) | (_, None) => true,
                (Some(state), Some(entry)) => {
                    entry.state = state;
                    false
                }
                (None, Some(_)) => false,
            }
        });
    }

    /// The entries, ascending.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (EntryNo, &Entry)> {
        self.entries.iter().map(|(no, entry)| (*no, entry))
    }
}

impl Ledger {
    /// The kept entries of the event `from` and of later ones, ascending. Found by halves: entries
    /// are numbered in the order of their events.
    pub fn entries_from(&self, from: Seq) -> impl Iterator<Item = (EntryNo, &Entry)> {
        // All before `low` are earlier, and none before `high` need be looked at behind it.
        let (mut low, mut high) = (0_u64, self.last.0.saturating_add(1));
        while low < high {
            let middle = low.saturating_add(high.saturating_sub(low) >> 1);
            match self.entries.range_from(EntryNo(middle)).next() {
                Some((no, entry)) if entry.seq < from => low = no.0.saturating_add(1),
                Some(_) | None => high = middle,
            }
        }
        self.entries.range_from(EntryNo(low))
    }
}
