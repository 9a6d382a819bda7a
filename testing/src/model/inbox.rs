//! The Inbox: section 5.

use revm::primitives::{Address, B256};

use super::{
    Answer, Branch, Emitted, InboxItem, Model, Reason, Returned, Revert, coordinator::Delivery,
};

/// Subscription and interval of an item that a node wrote itself.
#[must_use]
pub fn direct_write_origin() -> (u32, u32) {
    (0, 0)
}

impl Model {
    /// `write`: by anybody, in the caller's name.
    pub(super) fn write_directly(
        &mut self,
        from: Address,
        container_id: B256,
        answer: &Answer,
    ) -> Returned {
        self.mark(Branch::InboxWritten);
        Returned::number(self.append(container_id, from, direct_write_origin(), answer))
    }

    /// `writeViaCoordinator`, called by the Coordinator.
    pub(super) fn write_lazily(&mut self, container_id: B256, delivery: &Delivery<'_>) -> u64 {
        let origin = (delivery.id, delivery.interval);
        self.append(container_id, delivery.node, origin, delivery.answer)
    }

    fn append(
        &mut self,
        container_id: B256,
        node: Address,
        (subscription_id, interval): (u32, u32),
        answer: &Answer,
    ) -> u64 {
        let timestamp = self.now();
        let items = self.inbox.entry((container_id, node)).or_default();
        let index = items.len() as u64;
        items.push(InboxItem {
            timestamp,
            subscription_id,
            interval,
            answer: answer.clone(),
        });
        self.emit(
            self.at.inbox,
            Emitted::NewInboxItem {
                container_id,
                node,
                index,
            },
        );
        index
    }

    /// `read`.
    pub(super) fn read_inbox(
        &mut self,
        container_id: B256,
        node: Address,
        index: u64,
    ) -> Result<Returned, Revert> {
        let item = self
            .inbox
            .get(&(container_id, node))
            .and_then(|items| items.get(usize::try_from(index).ok()?))
            .cloned();
        match item {
            Some(item) => {
                self.mark(Branch::InboxRead);
                Ok(Returned::Item(item))
            }
            None => Err(Revert {
                reason: Reason::Panic(0x32),
                at: Branch::InboxOutOfRange,
            }),
        }
    }
}
