//! Transactions of the node's account: nonces, versions, inclusion.
//!
//! ```text
//!             Signed             Broadcast            timer: higher fee
//!  Signing ──────────► Sending ────────────► Pooled ─────────────────────► Signing
//!     ▲                 │  │ ▲                │ │ ▲
//!     │ underpriced     │  │ └── timer: again ┘ │ │ pending, taken, absent
//!     └─────────────────┤  │                    ▼ │
//!              refused  │  └────────────────► Looking
//!              Pooled ◄─┘  unknown, nonce too low
//!  any of them ── the chain includes one of its versions ──► Included ── final ──► (closed)
//!  Included ── the block is gone ──► Rechecking ── still good ──► Sending
//!                                        └──────── no longer ────► Signing (an empty transfer)
//! ```
//! Nonces are contiguous: each is opened once, and closed by inclusion alone. A transaction that
//! is no longer wanted is replaced under its nonce by an empty transfer, because later ones wait
//! for it; only the newest nonce, never handed out, is taken back. A fee bump reuses the nonce, so
//! of all versions at most one is included. What the RPC does not take, or nobody knows whether it
//! did, is handed over again with backoff, and given up when that happened too often in a row: by
//! an empty transfer as well, since some pool may hold it all the same. So is what would revert
//! after a reorg: the RPC may still follow the old fork. A batch is not given up as a
//! whole: its deliveries go on one by one. Whatever a nonce waits for is done under a lower one.

mod batch;
mod inclusion;
mod outcome;
mod send;
mod withdraw;

use alloc::{
    collections::{BTreeMap, btree_map::Entry},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use crate::{
    chore::Chore,
    effect::{Action, Delivery as Call},
    limits::GAS_MARGIN_DIVISOR,
    machine::{Halt, Machine},
    outbox::Turn,
    schedule::Timer,
    trace::Transition,
    types::{
        Address, Amount, DeliveryNo, EffectId, Hash, Interval, Nonce, PayloadAt, SubscriptionId,
        WallTime,
    },
};

pub use batch::Batch;
pub(crate) use inclusion::Answers;

/// Gas of an empty transfer.
const TRANSFER_GAS: u64 = 21_000;

/// What a nonce is used for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Use {
    /// One delivery, or several in a batch.
    Deliver(Batch),
    /// The stake allowance of a token is set.
    Stake {
        /// The token.
        token: Address,
        /// The allowance.
        amount: Amount,
    },
    /// An expired proof is finalised.
    Finalize {
        /// The subscription.
        id: SubscriptionId,
        /// The interval.
        interval: Interval,
    },
    /// Nothing: the nonce is used up by an empty transfer.
    Fill,
}

impl Use {
    /// The deliveries in it.
    #[must_use]
    pub fn deliveries(&self) -> &[DeliveryNo] {
        match self {
            Self::Deliver(batch) => batch.as_slice(),
            Self::Stake { .. } | Self::Finalize { .. } | Self::Fill => &[],
        }
    }

    /// The chore that it does.
    pub(crate) fn chore(&self) -> Option<Chore> {
        match self {
            Self::Stake { token, .. } => Some(Chore::Stake(*token)),
            Self::Finalize { id, interval } => Some(Chore::Finalize(*id, *interval)),
            Self::Deliver(_) | Self::Fill => None,
        }
    }
}

/// Gas and fees of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Quote {
    /// Gas limit.
    pub gas_limit: u64,
    /// EIP-1559 `maxFeePerGas`, wei.
    pub max_fee_per_gas: u128,
    /// EIP-1559 `maxPriorityFeePerGas`, wei.
    pub max_priority_fee_per_gas: u128,
}

impl Quote {
    /// So much more per gas, and at least one wei: also where the percentage is no whole number of
    /// wei, it is offered in full.
    pub(crate) fn bumped(self, percent: u16) -> Self {
        let percent = u128::from(percent);
        let more = |fee: u128| {
            let hundreds = fee.checked_div(100).unwrap_or_default();
            let rest = fee.checked_rem(100).unwrap_or_default();
            let of_rest = rest.saturating_mul(percent).checked_div(100);
            fee.saturating_add(hundreds.saturating_mul(percent))
                .saturating_add(of_rest.unwrap_or_default())
                .saturating_add(1)
        };
        Self {
            gas_limit: self.gas_limit,
            max_fee_per_gas: more(self.max_fee_per_gas),
            max_priority_fee_per_gas: more(self.max_priority_fee_per_gas),
        }
    }

    /// The gas that was estimated, without its margin.
    pub(crate) fn gas_expected(self) -> u64 {
        const PARTS: u64 = GAS_MARGIN_DIVISOR.saturating_add(1);
        let margin = self.gas_limit.checked_div(PARTS).unwrap_or_default();
        self.gas_limit.saturating_sub(margin)
    }

    /// The price per gas that it was made for: it offers twice the base fee, and the tip.
    pub(crate) fn price_expected(self) -> u128 {
        self.max_fee_per_gas
            .saturating_add(self.max_priority_fee_per_gas)
            .checked_div(2)
            .unwrap_or_default()
    }

    /// The same fees for an empty transfer.
    fn of_transfer(self) -> Self {
        Self {
            gas_limit: TRANSFER_GAS,
            ..self
        }
    }
}

/// One signed transaction of a nonce.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Version {
    /// Its hash.
    pub tx: Hash,
    /// Its signed bytes.
    pub raw: PayloadAt,
    /// What it does.
    pub does: Use,
    /// What it offers.
    pub quote: Quote,
}

/// Where a nonce stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// A version is being signed.
    Signing(EffectId),
    /// The newest version is being handed to the RPC.
    Sending(EffectId),
    /// The RPC has it, or is to be given it again; a timer runs.
    Pooled,
    /// Asking what became of it.
    Looking(EffectId),
    /// After a reorg: simulated again before it is sent again.
    Rechecking(EffectId),
    /// In a block that may still go.
    Included {
        /// Its height.
        height: u64,
        /// Which version.
        tx: Hash,
        /// Whether it succeeded.
        succeeded: bool,
    },
}

/// What happens to a nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A signature was asked for.
    Sign(EffectId),
    /// The newest version is handed to the RPC.
    Send(EffectId),
    /// A look was asked for.
    Look(EffectId),
    /// It is simulated again.
    Recheck(EffectId),
    /// Its effect ended, or is no longer wanted; or its timer begins anew.
    Rest,
    /// A version of it is in a block.
    Include {
        /// Its height.
        height: u64,
        /// Which version.
        tx: Hash,
        /// Whether it succeeded.
        succeeded: bool,
    },
    /// That block is gone.
    Undo,
}

impl Phase {
    /// The next phase, or `None` where the step does not apply.
    #[must_use]
    pub fn step(self, step: Step) -> Option<Self> {
        match (self, step) {
            (Self::Pooled, Step::Sign(id)) => Some(Self::Signing(id)),
            (Self::Pooled, Step::Send(id)) => Some(Self::Sending(id)),
            (Self::Pooled, Step::Look(id)) => Some(Self::Looking(id)),
            (Self::Pooled, Step::Recheck(id)) => Some(Self::Rechecking(id)),
            (
                Self::Pooled
                | Self::Signing(_)
                | Self::Sending(_)
                | Self::Looking(_)
                | Self::Rechecking(_),
                Step::Rest,
            )
            | (Self::Included { .. }, Step::Undo) => Some(Self::Pooled),
            // What it waited for was dropped before: what a block holds is so.
            (
                Self::Pooled,
                Step::Include {
                    height,
                    tx,
                    succeeded,
                },
            ) => Some(Self::Included {
                height,
                tx,
                succeeded,
            }),
            (
                Self::Signing(_) | Self::Sending(_) | Self::Looking(_) | Self::Rechecking(_),
                Step::Sign(_)
                | Step::Send(_)
                | Step::Look(_)
                | Step::Recheck(_)
                | Step::Include { .. }
                | Step::Undo,
            )
            | (Self::Pooled, Step::Undo)
            | (
                Self::Included { .. },
                Step::Sign(_)
                | Step::Send(_)
                | Step::Look(_)
                | Step::Recheck(_)
                | Step::Rest
                | Step::Include { .. },
            ) => None,
        }
    }

    /// Whether it is with the signer, or on its way to the RPC.
    pub(crate) fn in_hand(self) -> bool {
        matches!(self, Self::Signing(_) | Self::Sending(_))
    }

    /// The effect that it waits for.
    #[must_use]
    pub fn effect(self) -> Option<EffectId> {
        match self {
            Self::Signing(id) | Self::Sending(id) | Self::Looking(id) | Self::Rechecking(id) => {
                Some(id)
            }
            Self::Pooled | Self::Included { .. } => None,
        }
    }
}

/// A nonce that was opened and is not closed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Slot {
    /// What it is for now.
    pub wanted: Use,
    /// What was signed for it, oldest first.
    pub versions: Vec<Version>,
    /// Where it stands.
    pub phase: Phase,
    /// What the next version offers.
    pub(crate) quote: Quote,
    /// Whether a version may have left the node.
    pub(crate) sent: bool,
    /// Whether a look found the nonce used by something else than the newest version.
    pub(crate) taken: bool,
    /// Its inclusion is gone, or payments go to another wallet, and it was not simulated since.
    pub(crate) recheck: bool,
    /// Such simulations in a row that reverted.
    pub(crate) reverts: u16,
    /// How often in a row it was handed over, and not known to be taken or refused.
    pub(crate) tries: u16,
    /// How often it was refused for a reason of the pool's own, since it was last taken.
    pub(crate) refusals: u16,
    /// Its entry among the timers.
    pub(crate) timer: Option<WallTime>,
}

impl Slot {
    fn new(wanted: Use, quote: Quote) -> Self {
        Self {
            wanted,
            versions: Vec::new(),
            phase: Phase::Pooled,
            quote,
            sent: false,
            taken: false,
            recheck: false,
            reverts: 0,
            tries: 0,
            refusals: 0,
            timer: None,
        }
    }

    /// What it does may no longer hold: it is simulated before it is sent again.
    pub(crate) fn doubt(&mut self) {
        (self.recheck, self.reverts) = (true, 0);
    }

    /// What one delivery is expected to take of a quote's gas: an even share, of the most that it
    /// was ever for. Where some leave, the limit stays.
    fn share_of(&self, quote: Quote) -> u64 {
        let uses = self.versions.iter().map(|version| &version.does);
        let counts = uses
            .chain([&self.wanted])
            .map(|does| does.deliveries().len());
        let most = u64::try_from(counts.max().unwrap_or_default()).unwrap_or(u64::MAX);
        quote.gas_expected().checked_div(most).unwrap_or_default()
    }

    /// The version of a hash.
    pub(crate) fn version(&self, tx: Hash) -> Option<&Version> {
        self.versions.iter().find(|version| version.tx == tx)
    }
}

/// The nonce after this one.
pub(crate) fn after(nonce: Nonce) -> Nonce {
    Nonce(nonce.0.saturating_add(1))
}

/// The versions of open nonces, by hash.
pub(crate) type ByTx = BTreeMap<Hash, Nonce>;

impl Machine {
    /// Opens the next nonce and asks for a signature.
    pub(crate) fn open_slot(
        &mut self,
        turn: &mut Turn,
        wanted: Use,
        quote: Quote,
    ) -> Result<Nonce, Halt> {
        let nonce = self
            .account
            .next
            .ok_or_else(|| Halt::new(turn.seq, 10, "a nonce is wanted before one is known"))?;
        self.insert_slot(turn, nonce, wanted, quote)?;
        self.account.next = Some(after(nonce));
        self.sign(turn, nonce)?;
        Ok(nonce)
    }

    fn insert_slot(
        &mut self,
        turn: &Turn,
        nonce: Nonce,
        wanted: Use,
        quote: Quote,
    ) -> Result<(), Halt> {
        let slot = Slot::new(wanted, quote);
        if self.account.slots.insert(nonce, slot).is_some() {
            return Err(Halt::new(turn.seq, 11, "a nonce would be opened twice"));
        }
        Ok(())
    }

    /// A nonce that others wait for and nobody uses: it is used up once the reorg is undone.
    pub(crate) fn open_gap(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let Some(quote) = self
            .account
            .slots
            .range(nonce..)
            .next()
            .map(|(_, slot)| slot.quote)
        else {
            return Ok(());
        };
        let quote = self.bumped(quote).of_transfer();
        self.insert_slot(turn, nonce, Use::Fill, quote)?;
        turn.resume.insert(nonce);
        Ok(())
    }

    /// What a replacement offers.
    fn bumped(&self, quote: Quote) -> Quote {
        quote.bumped(self.limits().fee_bump_percent)
    }

    /// A nonce for which others came first, in a block that is gone: what had left the node for it
    /// may be included after all. It is used up once the reorg is undone, and what it was for goes
    /// on elsewhere, unless an old version wins.
    pub(crate) fn reopen_slot(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        versions: Vec<Version>,
    ) -> Result<(), Halt> {
        let Some(quote) = versions.last().map(|version| version.quote) else {
            return self.open_gap(turn, nonce);
        };
        self.insert_slot(turn, nonce, Use::Fill, quote)?;
        let mut known = Vec::new();
        if let Some(slot) = self.account.slots.get_mut(&nonce) {
            for version in versions {
                match self.account.by_tx.entry(version.tx) {
                    Entry::Vacant(free) => {
                        free.insert(nonce);
                        slot.versions.push(version);
                    }
                    Entry::Occupied(_) => known.push(version),
                }
            }
            slot.sent = true;
        }
        self.note_dropped(&known);
        turn.resume.insert(nonce);
        Ok(())
    }

    /// What a use of a nonce does, as the signer needs it.
    fn action_of(&self, wanted: &Use) -> Option<Action> {
        match wanted {
            Use::Deliver(batch) => match batch.as_slice() {
                [one] => self.delivery_action(*one),
                several => {
                    let calls: Option<Vec<Call>> =
                        several.iter().map(|no| self.delivery_call(*no)).collect();
                    calls.map(Action::DeliverBatch)
                }
            },
            Use::Stake { .. } | Use::Finalize { .. } => self.chore_action(wanted),
            Use::Fill => Some(Action::FillNonce),
        }
    }

    /// Moves a nonce on, where the step applies.
    pub(crate) fn step_slot(&mut self, nonce: Nonce, step: Step) {
        if let Some(slot) = self.account.slots.get_mut(&nonce)
            && let Some(to) = slot.phase.step(step)
        {
            let from = core::mem::replace(&mut slot.phase, to);
            match (from.in_hand(), to.in_hand()) {
                (false, true) => self.account.in_hand = self.account.in_hand.saturating_add(1),
                (true, false) => self.account.in_hand = self.account.in_hand.saturating_sub(1),
                (true, true) | (false, false) => {}
            }
            self.trace.note(Transition::Transaction {
                nonce,
                from,
                step,
                to,
            });
        }
    }

    pub(crate) fn close_slot(&mut self, nonce: Nonce) {
        if let Some(slot) = self.account.slots.remove(&nonce) {
            if slot.phase.in_hand() {
                self.account.in_hand = self.account.in_hand.saturating_sub(1);
            }
            for version in &slot.versions {
                self.account.by_tx.remove(&version.tx);
            }
            if let Some(at) = slot.timer {
                self.schedule.timers.remove(&(at, Timer::Bump(nonce)));
            }
            self.note_dropped(&slot.versions);
        }
    }

    /// The nonces that wait for inclusion, with every version.
    pub(crate) fn nonces_awaiting(&self) -> Vec<(Nonce, Vec<Hash>)> {
        self.account
            .slots
            .iter()
            .filter(|(_, slot)| !matches!(slot.phase, Phase::Included { .. }))
            .map(|(nonce, slot)| {
                (
                    *nonce,
                    slot.versions.iter().map(|version| version.tx).collect(),
                )
            })
            .collect()
    }
}
