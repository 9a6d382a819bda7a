//! Catching up: what the node missed it reads, and does not work on.
//!
//! ```text
//!                 AccountObserved, HeadObserved:
//!                 the chain's head is above the recorded one
//!   Unobserved ─────────────────────────────────────────────► CatchingUp
//!    ▲     │                                                   ▲     │ the recorded head reaches it,
//!    │     │ it is not                 HeadObserved: as before │     │ or HeadObserved: it is no
//!    │     ▼                                                   │     ▼ longer above
//!    └── Present (what is due is taken up) ────────────────────┴─ Present
//!      NodeStarted
//! ```
//! A block of the past says what was due then; what others answered since, or what closed since,
//! stands in blocks that are still to come. So nothing is taken up below the head that the chain is
//! known to have: what is due stays due, and is judged by the head at which the node is present
//! again. All else goes on: facts, depths, ends, proofs, finality.
//!
//! A head that was seen and does not come (a reorg, an RPC that told an untruth) is waited for until
//! it is observed anew, which whoever follows the chain does when there is nothing left to read.

use crate::{
    machine::{Halt, Machine},
    outbox::Turn,
    types::BlockRef,
};

impl Machine {
    /// The chain's head as seen from outside: where it is above the recorded one, the node catches
    /// up. Before the first block there is nothing to catch up with.
    pub(crate) fn head_observed(&mut self, turn: &mut Turn, head: &BlockRef) -> Result<(), Halt> {
        let is_ahead = |known: &BlockRef| head.number > known.number;
        self.chain.catching_up = self.chain.head.filter(is_ahead).map(|_| head.number);
        self.serve_head(turn)
    }

    /// The recorded head moved up: it may be the one that was waited for.
    pub(crate) fn head_reached(&mut self, head: &BlockRef) {
        self.chain.catching_up = self.chain.catching_up.filter(|to| *to > head.number);
    }

    /// Whether what is due is taken up. In a run that has not compared itself with the chain nobody
    /// knows how old the recorded head is.
    pub(crate) fn takes_up(&self) -> bool {
        let is_present = self.account.observed && self.chain.catching_up.is_none();
        is_present || self.chain_config().is_none()
    }
}
