//! The node's loop as the watcher's sink.

use std::collections::BTreeMap;

use infernet_state::{
    Event, Machine,
    machine::BlockDeadline,
    types::{BlockRef, Hash, Nonce, SubscriptionId},
};

use super::{MachineView, Sink};
use crate::driver::{Handle, Stopped};

impl MachineView for Handle {
    fn recorded_head(&self) -> Option<BlockRef> {
        self.view(|machine| machine.chain().head)
    }

    fn known_blocks(&self) -> Vec<BlockRef> {
        self.view(|machine| {
            let chain = machine.chain();
            let newest = chain.head.iter().chain(&chain.finalized);
            newest.chain(chain.recent()).copied().collect()
        })
    }

    fn unfinalized_from(&self) -> Option<u64> {
        self.view(|machine| machine.chain().unfinalized_from())
    }

    fn awaiting_inclusion(&self) -> BTreeMap<Nonce, Vec<Hash>> {
        self.view(|machine| machine.awaiting_inclusion().into_iter().collect())
    }

    fn next_block_deadline(&self) -> BlockDeadline {
        self.view(Machine::next_block_deadline)
    }

    fn catching_up(&self) -> Option<u64> {
        self.view(|machine| machine.chain().catching_up)
    }

    fn sync_cursor(&self) -> Option<SubscriptionId> {
        self.view(Machine::sync_cursor)
    }
}

impl Sink for Handle {
    async fn record(&self, events: Vec<Event>) -> Result<(), Stopped> {
        self.observe_all(events).await
    }
}
