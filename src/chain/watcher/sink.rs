//! What the watcher needs of the rest of the node: a place for its events, and a look at what
//! the machine waits for.

use std::{collections::BTreeMap, future::Future};

use infernet_state::{
    Event,
    machine::BlockDeadline,
    types::{BlockRef, Hash, Nonce, SubscriptionId},
};

use crate::driver::Stopped;

/// The blocks that the machine has in its chain view.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecordedBlocks {
    /// The newest final block.
    pub finalized: Option<BlockRef>,
    /// Recorded blocks above it, ascending; sparse, for blocks without facts are not recorded.
    pub unfinalized: Vec<BlockRef>,
}

impl RecordedBlocks {
    /// The newest recorded block.
    #[must_use]
    pub fn head(&self) -> Option<BlockRef> {
        self.unfinalized.last().copied().or(self.finalized)
    }
}

/// What the watcher reads of the machine.
pub trait ChainView {
    /// The blocks of the chain view.
    fn recorded_blocks(&self) -> RecordedBlocks;

    /// The nonces that wait for inclusion, with the hashes of every version sent.
    fn awaiting_inclusion(&self) -> BTreeMap<Nonce, Vec<Hash>>;

    /// When the machine wants to hear of a block without facts.
    fn next_block_deadline(&self) -> BlockDeadline;

    /// The next subscription id to read in the sync of the past; `None` when done.
    fn sync_cursor(&self) -> Option<SubscriptionId>;
}

/// Takes the watcher's events.
pub trait Sink: ChainView + Send + Sync + 'static {
    /// Records an event.
    ///
    /// # Durability
    /// When it resolves, the event is durable and applied: the view shows what it brought.
    ///
    /// # Errors
    /// [`Stopped`] when the node stops; the event may or may not be recorded.
    fn record(&self, event: Event) -> impl Future<Output = Result<(), Stopped>> + Send;
}
