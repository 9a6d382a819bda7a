//! The node's account: which nonce is next, and whether anything may be sent.
//!
//! ```text
//!              AccountObserved, nothing unexplained
//!  Unobserved ──────────────────────────────────────► Sending
//!    ▲     │                                           │   ▲
//!    │     │  chain ahead of, or behind, the log       ▼   │ QuarantineLifted
//!    │     └───────────────────────────────────────► Quarantined
//!    │ QuarantineLifted                               │   ▲
//!  Suspended ◄──────────── NodeStarted ───────────────┘   │
//!    └──────────────────── AccountObserved ───────────────┘
//! ```
//! Every run of the node begins unobserved (from anywhere; a quarantine stays, suspended until the
//! account was observed): nothing is sent before the log was compared with the chain. A nonce that somebody else used with the same key is noticed and healed.

use alloc::{collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    limits::TAKE_UPS_PER_EVENT_MAX,
    machine::{Halt, Machine},
    outbox::Turn,
    signed::Signed,
    trace::Transition,
    transaction::{ByTx, Phase, Slot, Use, Version, after},
    types::{BlockRef, Nonce},
};

/// Why the node does not send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Quarantine {
    /// The chain has transactions of the account that the log does not know: a restored backup,
    /// or a second copy with the same key.
    ChainAhead {
        /// The next nonce by the log.
        known: Nonce,
        /// The account's transactions in the chain.
        observed: Nonce,
    },
    /// The chain has fewer transactions than the log knows to be final: another chain.
    ChainBehind {
        /// The first nonce that is not final by the log.
        known: Nonce,
        /// The account's transactions in the chain.
        observed: Nonce,
    },
}

/// Where the account stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Not compared with the chain in this run of the node.
    Unobserved,
    /// The same, and an earlier run left a quarantine.
    Suspended(Quarantine),
    /// Transactions are sent.
    Sending,
    /// Nothing is sent until an operator confirms.
    Quarantined(Quarantine),
}

/// What happens to the account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A run of the node begins.
    Start,
    /// The chain says what the log explains.
    Agree,
    /// It says something else.
    Differ(Quarantine),
    /// An operator confirmed.
    Lift,
}

impl Standing {
    /// The next standing, or `None` where the step does not apply.
    #[must_use]
    pub fn step(self, step: Step) -> Option<Self> {
        match (self, step) {
            (Self::Unobserved | Self::Sending, Step::Start) | (Self::Suspended(_), Step::Lift) => {
                Some(Self::Unobserved)
            }
            (Self::Suspended(why) | Self::Quarantined(why), Step::Start) => {
                Some(Self::Suspended(why))
            }
            (Self::Unobserved | Self::Sending, Step::Agree)
            | (Self::Quarantined(_), Step::Lift) => Some(Self::Sending),
            (Self::Suspended(why) | Self::Quarantined(why), Step::Agree)
            | (
                Self::Unobserved | Self::Suspended(_) | Self::Sending | Self::Quarantined(_),
                Step::Differ(why),
            ) => Some(Self::Quarantined(why)),
            (Self::Unobserved | Self::Sending, Step::Lift) => None,
        }
    }
}

/// The node's account.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    /// The next nonce to open; `None` before the account was observed.
    pub(crate) next: Option<Nonce>,
    /// The first nonce that is not used up in a final block.
    pub(crate) settled: Nonce,
    /// Open nonces.
    pub(crate) slots: BTreeMap<Nonce, Slot>,
    /// The versions of the open nonces.
    pub(crate) by_tx: ByTx,
    /// What had left the node for nonces that others used, until that is final: pools may still
    /// hold it.
    pub(crate) overtaken: BTreeMap<Nonce, Vec<Version>>,
    /// Why nothing is sent.
    pub(crate) quarantine: Option<Quarantine>,
    /// Whether the account was observed in this run of the node.
    pub(crate) observed: bool,
    /// Nonces used by others with the same key, ever noticed.
    pub(crate) foreign: u64,
    /// Below it, a nonce without a slot is explained by more than the log: others used it in a
    /// final block, or it was skipped by what others used later, or an operator confirmed it.
    pub(crate) explained: Nonce,
    /// How many of the open nonces are in hand.
    #[serde(skip)]
    pub(crate) in_hand: u32,
    /// The deliveries that a block may still hold.
    #[serde(skip)]
    pub(crate) signed: Signed,
}

impl Account {
    /// Whether transactions may be sent.
    #[must_use]
    pub fn may_send(&self) -> bool {
        // No account has the last nonce (EIP-2681); behind it there would be none to open.
        let is_open = self.next.is_some_and(|next| next < Nonce(u64::MAX));
        self.observed && is_open && self.quarantine.is_none()
    }

    /// Everything signed that a block may still hold.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &Version> {
        let open = self.slots.values().map(|slot| &slot.versions);
        open.chain(self.overtaken.values()).flatten()
    }

    /// What was signed to set an allowance is from now on as good as an empty transfer, and what is
    /// paid for is simulated before it is signed again.
    pub(crate) fn forget_wallet(&mut self) {
        for slot in self.slots.values_mut() {
            if !slot.wanted.deliveries().is_empty() {
                slot.doubt();
            }
        }
        let slots = self.slots.values_mut().flat_map(|slot| {
            let versions = slot.versions.iter_mut().map(|version| &mut version.does);
            versions.chain([&mut slot.wanted])
        });
        let overtaken = self.overtaken.values_mut().flatten();
        for does in slots.chain(overtaken.map(|version| &mut version.does)) {
            if matches!(does, Use::Stake { .. }) {
                *does = Use::Fill;
            }
        }
    }

    /// Whether no transaction is under way.
    pub(crate) fn idle(&self) -> bool {
        self.slots.is_empty()
    }

    /// Where it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (self.observed, self.quarantine) {
            (false, None) => Standing::Unobserved,
            (false, Some(why)) => Standing::Suspended(why),
            (true, None) => Standing::Sending,
            (true, Some(why)) => Standing::Quarantined(why),
        }
    }

    /// A reorg took blocks away: of what was observed to be used, no more holds than the facts say.
    pub(crate) fn doubt_observed(&mut self) {
        if let (Some(Quarantine::ChainAhead { observed, .. }), Some(next)) =
            (&mut self.quarantine, self.next)
        {
            *observed = next.min(*observed);
        }
    }

    /// Nonces below this one need no slot.
    pub(crate) fn explain_below(&mut self, nonce: Nonce) {
        self.explained = self.explained.max(nonce);
    }

    /// Why nothing is sent, if so.
    #[must_use]
    pub fn quarantine(&self) -> Option<Quarantine> {
        self.quarantine
    }

    /// The next nonce to open.
    #[must_use]
    pub fn next_nonce(&self) -> Option<Nonce> {
        self.next
    }

    /// How many nonces were found used by somebody else with the same key.
    #[must_use]
    pub fn foreign_nonces(&self) -> u64 {
        self.foreign
    }

    /// Open nonces, ascending.
    pub fn slots(&self) -> impl DoubleEndedIterator<Item = (Nonce, &Slot)> {
        self.slots.iter().map(|(nonce, slot)| (*nonce, slot))
    }
}

impl Machine {
    /// `AccountObserved`: what the chain says of the account, before anything is sent.
    pub(crate) fn account_observed(
        &mut self,
        turn: &mut Turn,
        head: &BlockRef,
        observed: Nonce,
    ) -> Result<(), Halt> {
        let step = match self.account.next {
            None => {
                self.account.next = Some(observed);
                self.account.settled = observed;
                Step::Agree
            }
            Some(known) if observed > known => {
                Step::Differ(Quarantine::ChainAhead { known, observed })
            }
            Some(_) if observed < self.account.settled => Step::Differ(Quarantine::ChainBehind {
                known: self.account.settled,
                observed,
            }),
            Some(_) => Step::Agree,
        };
        // A reorg took away what was known by its count alone. What an older head than the recorded
        // one lacks is no news: it may come again, and where it does not, a reorg tells.
        let known_head = self.chain.head.map_or(0, |known| known.number);
        let frees = step == Step::Agree
            && head.number >= known_head
            && self.account.quarantine.is_none()
            && self.account.next.is_some_and(|known| observed < known);
        self.step_account(step);
        if frees {
            self.free_from(turn, observed)?;
        }
        self.send_if_allowed(turn)
    }

    /// All nonces from this one on are free in the chain. Those that nothing of ours has, since
    /// others had used them when it went on behind them, are used up as far as later ones wait for
    /// them; the first beyond is the next. A lagging RPC does no harm: a nonce that is not free
    /// after all is found used by others once more.
    fn free_from(&mut self, turn: &mut Turn, free: Nonce) -> Result<(), Halt> {
        let overtaken = self.account.overtaken.split_off(&free);
        for (nonce, versions) in overtaken {
            self.reopen_slot(turn, nonce, versions)?;
        }
        let last = self.account.slots.range(free..).next_back();
        let next = last.map_or(free, |(last, _)| after(*last));
        let gaps: Vec<Nonce> = (free.0..next.0)
            .map(Nonce)
            .filter(|nonce| !self.account.slots.contains_key(nonce))
            .take(TAKE_UPS_PER_EVENT_MAX)
            .collect();
        for nonce in gaps {
            self.open_gap(turn, nonce)?;
        }
        self.account.next = Some(next);
        for nonce in core::mem::take(&mut turn.resume) {
            self.resume_slot(turn, nonce)?;
        }
        Ok(())
    }

    /// Moves the account on; `false` where the step does not apply.
    pub(crate) fn step_account(&mut self, step: Step) -> bool {
        let from = self.account.standing();
        let Some(to) = from.step(step) else {
            return false;
        };
        (self.account.observed, self.account.quarantine) = match to {
            Standing::Unobserved => (false, None),
            Standing::Suspended(why) => (false, Some(why)),
            Standing::Sending => (true, None),
            Standing::Quarantined(why) => (true, Some(why)),
        };
        self.trace.note(Transition::Account { from, step, to });
        true
    }

    /// `QuarantineLifted`: an operator confirmed. What the log had in the pool is looked up, and
    /// new nonces begin behind the chain's.
    pub(crate) fn quarantine_lifted(&mut self, turn: &mut Turn) -> Result<(), Halt> {
        let lifted = self.account.quarantine;
        if !self.step_account(Step::Lift) {
            return Ok(());
        }
        match lifted {
            Some(Quarantine::ChainAhead { observed, .. }) => {
                self.account.next = self.account.next.map(|next| next.max(observed));
                self.account.explain_below(observed);
            }
            Some(Quarantine::ChainBehind { observed, .. }) => {
                self.account.settled = observed;
                self.free_from(turn, observed)?;
            }
            None => {}
        }
        let waiting: Vec<Nonce> = self
            .account
            .slots
            .iter()
            .filter(|(_, slot)| matches!(slot.phase, Phase::Pooled))
            .map(|(nonce, _)| *nonce)
            .collect();
        for nonce in waiting {
            self.look(turn, nonce)?;
        }
        self.send_if_allowed(turn)
    }

    fn send_if_allowed(&mut self, turn: &mut Turn) -> Result<(), Halt> {
        if self.account.may_send() {
            self.release_held(turn);
            self.unblock(turn)?;
        }
        Ok(())
    }

    /// A nonce was used by a transaction that is not ours: what it was for gets another, and the
    /// count goes on behind it.
    pub(crate) fn foreign_nonce(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        self.account.foreign = self.account.foreign.saturating_add(1);
        let slot = self.account.slots.get(&nonce);
        let wanted = slot.map(|slot| slot.wanted.clone());
        if let Some(versions) = slot
            .filter(|slot| slot.sent)
            .map(|slot| slot.versions.clone())
        {
            for version in &versions {
                self.note_signed(&version.does);
            }
            let before = self.account.overtaken.insert(nonce, versions);
            self.note_dropped(before.iter().flatten());
        }
        self.stop_slot(turn, nonce)?;
        self.close_slot(nonce);
        if let Some(next) = self.account.next {
            if nonce > next {
                self.account.explain_below(nonce);
            }
            self.account.next = Some(next.max(after(nonce)));
        }
        if let Some(wanted) = wanted {
            for no in wanted.deliveries() {
                self.replan_later(*no);
            }
            if let Some(chore) = wanted.chore() {
                self.chore_failed_at(turn, chore, nonce)?;
            }
        }
        Ok(())
    }

    /// A block that held a foreign transaction is gone: its nonce is free again. Where later
    /// nonces wait for it, or something of ours may still be in a pool, it is used up; else it is
    /// the next.
    pub(crate) fn foreign_undone(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        if self.account.slots.contains_key(&nonce) {
            return Ok(());
        }
        if let Some(versions) = self.account.overtaken.remove(&nonce) {
            return self.reopen_slot(turn, nonce, versions);
        }
        if self.account.next == Some(after(nonce)) {
            self.account.next = Some(nonce);
            return Ok(());
        }
        self.open_gap(turn, nonce)
    }
}
