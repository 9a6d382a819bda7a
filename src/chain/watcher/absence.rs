//! What the node missed while it was away, or its RPC was: the machine is told of the head before
//! any block of that time.

use infernet_state::{Event, types::BlockRef};

use super::{Sink, WatchError, Watcher};

/// Blocks that span more time than this are the past: what was due in them may have been answered
/// by others, or be over.
const ABSENCE_SECONDS: u64 = 60;

impl<S: Sink> Watcher<S> {
    /// Before what is between is recorded: tells of the head where the node was away, once until
    /// it is reached, since a chain that grows faster than it can be read would be waited for
    /// without end.
    pub(super) async fn tell_absence(
        &self,
        tip: BlockRef,
        head: BlockRef,
    ) -> Result<(), WatchError> {
        let missed = head.time.0.saturating_sub(tip.time.0);
        let is_past = head.number - tip.number > 1 && missed > ABSENCE_SECONDS;
        match self.sink.catching_up() {
            None if is_past => {
                tracing::info!(
                    from = tip.number,
                    to = head.number,
                    seconds = missed,
                    "catching up: what was due meanwhile is not begun"
                );
                self.tell_head(head).await
            }
            None => Ok(()),
            Some(_) => self.tell_shorter(head).await,
        }
    }

    /// A head that was seen and is not there (a reorg, an RPC that lags or told an untruth) is not
    /// waited for: `newest` is all that there is.
    pub(super) async fn tell_shorter(&self, newest: BlockRef) -> Result<(), WatchError> {
        let Some(seen) = self.sink.catching_up().filter(|to| *to > newest.number) else {
            return Ok(());
        };
        tracing::warn!(
            seen,
            newest = newest.number,
            "the chain is shorter than it was seen before: what is due is begun at its newest block"
        );
        self.tell_head(newest).await
    }

    async fn tell_head(&self, head: BlockRef) -> Result<(), WatchError> {
        let seen = Event::HeadObserved { head };
        Ok(self.sink.record(vec![seen]).await?)
    }
}
