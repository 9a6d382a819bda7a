//! What the watcher needs of the rest of the node: a place for its events, and a look at what
//! the machine waits for.

use std::{collections::BTreeMap, future::Future};

use infernet_state::{
    Event,
    machine::BlockDeadline,
    types::{BlockRef, Hash, Nonce, SubscriptionId},
};

use crate::driver::Stopped;

/// What the watcher reads of the machine.
pub trait MachineView {
    /// The newest block that the machine heard of.
    fn recorded_head(&self) -> Option<BlockRef>;

    /// Blocks among which the ancestor of a reorg is looked for: recorded ones, and the newest
    /// final one. Any order.
    fn known_blocks(&self) -> Vec<BlockRef>;

    /// The lowest height of which something is recorded that is not yet final.
    fn unfinalized_from(&self) -> Option<u64>;

    /// The nonces that wait for inclusion, with the hashes of every version sent.
    fn awaiting_inclusion(&self) -> BTreeMap<Nonce, Vec<Hash>>;

    /// When the machine wants to hear of a block without facts.
    fn next_block_deadline(&self) -> BlockDeadline;

    /// The height of the head up to which nothing is taken up; `None` where the machine knows of none
    /// above what is recorded.
    fn catching_up(&self) -> Option<u64>;

    /// The next subscription id to read in the sync of the past; `None` when done.
    fn sync_cursor(&self) -> Option<SubscriptionId>;
}

/// Takes the watcher's events.
pub trait Sink: MachineView + Send + Sync + 'static {
    /// Records events as one atomic step.
    ///
    /// # Durability
    /// When it resolves, all are durable and applied, in order, and the view shows what they
    /// brought; after a crash all are there, or none.
    ///
    /// # Errors
    /// [`Stopped`] when the node stops; the events may or may not be recorded.
    fn record(&self, events: Vec<Event>) -> impl Future<Output = Result<(), Stopped>> + Send;
}
