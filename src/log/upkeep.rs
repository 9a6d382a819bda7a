//! What keeps a log small while it is appended to.
//!
//! The work that takes long (writing snapshots, closing a part of the log, erasing) is a
//! [`Keeper`]'s, beside the one writer; what the writer itself does about it, in [`Upkeep`],
//! takes no longer than a few commits.

use infernet_state::types::Seq;

use super::{EventLog, LogError, Retention, Snapshot, Space};

/// A log whose size is bounded.
pub trait Upkeep: EventLog {
    /// Works beside the writer.
    type Keeper: Keeper;

    /// The keeper.
    fn keeper(&self) -> Self::Keeper;

    /// Goes on behind a part that the keeper closed; events that were appended meanwhile come
    /// along. `false` when the part does not fit any more (a payload of it was erased): nothing
    /// has changed then, and it can be closed anew.
    ///
    /// # Durability
    /// One step: after a crash the log is rolled or it is not.
    ///
    /// # Errors
    /// [`LogError`]; as after [`EventLog::append`] the log must not be used any further.
    fn adopt(&mut self, closed: <Self::Keeper as Keeper>::Closed) -> Result<bool, LogError>;

    /// Drops the oldest parts while the budget is exceeded and the configuration does not keep
    /// them, and says how much space there is. Parts from `needed_from` on stay: the machine may
    /// ask for their payloads. It is asked for that where a part would go otherwise, since it has
    /// to look at all that it keeps.
    ///
    /// # Errors
    /// [`LogError`]; as after [`EventLog::append`].
    fn retain(
        &mut self,
        retention: &Retention,
        needed_from: &dyn Fn() -> Seq,
    ) -> Result<Space, LogError>;
}

/// Works on a log beside its writer, one thing at a time.
pub trait Keeper: Clone + Send + 'static {
    /// A closed part of the log, and the beginning of the next one.
    type Closed: Send + 'static;

    /// The newest snapshot of an event before `before` that fits the log; `None` when the machine
    /// must start from nothing.
    ///
    /// # Errors
    /// [`LogError::Damaged`] when the snapshot that the log begins with is damaged: that one is a
    /// record. A damaged cache is passed over.
    fn newest_snapshot(&self, before: Seq) -> Result<Option<Snapshot>, LogError>;

    /// Keeps a snapshot as a cache, and drops all but the newest few.
    ///
    /// # Durability
    /// Whole or not there.
    ///
    /// # Errors
    /// [`LogError::Storage`], [`LogError::TooLarge`]; [`LogError::Missing`] when it is of an
    /// event that is not in the log. The log itself is untouched.
    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), LogError>;

    /// Closes the log at a snapshot's event, which must end a commit: writes the events so far
    /// where they are kept, and begins what is to follow. `None` when there is nothing to close.
    ///
    /// # Durability
    /// Until [`Upkeep::adopt`] the log is as it was, also after a crash.
    ///
    /// # Errors
    /// [`LogError`]; the log itself is untouched.
    fn close(&self, snapshot: &Snapshot) -> Result<Option<Self::Closed>, LogError>;

    /// Erases the payloads of the closed parts that end before `seq`; each part once.
    ///
    /// # Errors
    /// [`LogError`]; what is not done yet is done next time. [`LogError::Damaged`] when a closed
    /// part is damaged: all others are done.
    fn erase_before(&self, seq: Seq) -> Result<(), LogError>;
}
