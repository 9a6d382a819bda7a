//! Transactions of the node's account: nonces, versions, inclusion.
//!
//! ```text
//!             Signed             Broadcast            timer: higher fee
//!  Signing ──────────► Sending ────────────► Pooled ─────────────────────► Signing
//!     ▲                 │  ▲                  │  ▲
//!     │ underpriced     │  │ absent           │  │ pending, taken
//!     └─────────────────┤  └───── Looking ◄───┘  │
//!                       │            ▲ └─────────┘
//!                       └────────────┘ unknown, nonce too low
//!  any of them ── the chain includes one of its versions ──► Included ── final ──► (closed)
//!  Included ── the block is gone ──► Rechecking ── still good ──► Sending
//!                                        └──────── no longer ────► Signing (an empty transfer)
//! ```
//! Nonces are contiguous: each is opened once, and closed by inclusion alone. A transaction that
//! is no longer wanted is replaced under its nonce by an empty transfer, because later ones wait
//! for it; only the newest nonce, never handed out, is taken back. A fee bump reuses the nonce, so
//! of all versions at most one is included.

use alloc::{collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    delivery::{Chance, Loss, Move, State},
    effect::{Action, Effect},
    event::{Failure, Outcome, Receipt, Rejection, Success, TransactionState},
    limits::{READ_ATTEMPTS_MAX, SEND_ATTEMPTS_MAX, VERSIONS_MAX},
    machine::{Halt, Machine},
    outbox::{Owner, Turn},
    schedule::Timer,
    types::{BlockRef, DeliveryNo, EffectId, Hash, Nonce, PayloadAt, WallTime},
};

/// Gas of an empty transfer.
const TRANSFER_GAS: u64 = 21_000;

/// A replacement offers at least this much more, as a divisor of the old fee: a quarter, above
/// the tenth that pools ask for.
const BUMP_DIVISOR: u128 = 4;

/// What a nonce is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Use {
    /// A delivery.
    Deliver(DeliveryNo),
    /// Nothing: the nonce is used up by an empty transfer.
    Fill,
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
    /// A quarter more per gas, and at least one wei.
    fn bumped(self) -> Self {
        let more = |fee: u128| {
            fee.saturating_add(fee.checked_div(BUMP_DIVISOR).unwrap_or_default())
                .saturating_add(1)
        };
        Self {
            gas_limit: self.gas_limit,
            max_fee_per_gas: more(self.max_fee_per_gas),
            max_priority_fee_per_gas: more(self.max_priority_fee_per_gas),
        }
    }
}

/// One signed transaction of a nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
    /// The RPC has it; a timer runs.
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
    /// Its entry among the timers.
    pub(crate) timer: Option<WallTime>,
}

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

/// The node's account.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    /// The next nonce to open; `None` before the account was observed.
    pub(crate) next: Option<Nonce>,
    /// The first nonce that is not used up in a final block.
    pub(crate) settled: Nonce,
    /// Open nonces.
    pub(crate) slots: BTreeMap<Nonce, Slot>,
    /// The versions of the open nonces, by hash.
    pub(crate) by_tx: BTreeMap<Hash, Nonce>,
    /// Why nothing is sent.
    pub(crate) quarantine: Option<Quarantine>,
    /// Whether the account was observed in this run of the node.
    pub(crate) observed: bool,
    /// Nonces used by others with the same key, ever noticed.
    pub(crate) foreign: u64,
}

impl Account {
    /// Whether transactions may be sent.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.observed && self.next.is_some() && self.quarantine.is_none()
    }

    /// Whether no transaction is under way.
    pub(crate) fn idle(&self) -> bool {
        self.slots.is_empty()
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

/// The nonce after this one.
fn after(nonce: Nonce) -> Nonce {
    Nonce(nonce.0.saturating_add(1))
}

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
        let slot = Slot {
            wanted,
            versions: Vec::new(),
            phase: Phase::Pooled,
            quote,
            sent: false,
            taken: false,
            timer: None,
        };
        if self.account.slots.insert(nonce, slot).is_some() {
            return Err(Halt::new(turn.seq, 11, "a nonce would be opened twice"));
        }
        Ok(())
    }

    /// Asks for a signature of what a nonce is for now.
    fn sign(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        self.stop_slot(turn, nonce)?;
        let (Some(slot), Some(chain)) = (self.account.slots.get(&nonce), self.chain_config())
        else {
            return Ok(());
        };
        let quote = slot.quote;
        let action = match slot.wanted {
            Use::Deliver(no) => self.delivery_action(no),
            Use::Fill => Some(Action::FillNonce),
        };
        let Some(action) = action else {
            return Ok(());
        };
        let effect = Effect::Sign {
            chain_id: chain.chain_id,
            nonce,
            action,
            gas_limit: quote.gas_limit,
            max_fee_per_gas: quote.max_fee_per_gas,
            max_priority_fee_per_gas: quote.max_priority_fee_per_gas,
        };
        let id = self.issue(turn, Owner::Slot(nonce), effect)?;
        self.set_phase(nonce, Phase::Signing(id));
        Ok(())
    }

    /// Hands the newest version to the RPC, if what it does is still wanted and would be taken.
    fn broadcast(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        self.stop_slot(turn, nonce)?;
        let Some(slot) = self.account.slots.get(&nonce) else {
            return Ok(());
        };
        let Some(version) = slot.versions.last().copied() else {
            return self.sign(turn, nonce);
        };
        if version.does != slot.wanted {
            return self.sign(turn, nonce);
        }
        if let Use::Deliver(no) = slot.wanted {
            match self.slot_chance(no) {
                Chance::Open => {}
                Chance::Early => {
                    self.rest(nonce);
                    return Ok(());
                }
                Chance::Met => return self.withdraw(turn, no, Loss::Met),
                Chance::Lost(loss) => return self.withdraw(turn, no, loss),
            }
        }
        let effect = Effect::Broadcast {
            tx: version.tx,
            nonce,
            raw: version.raw,
        };
        let id = self.issue(turn, Owner::Slot(nonce), effect)?;
        if let Some(slot) = self.account.slots.get_mut(&nonce) {
            slot.sent = true;
            slot.phase = Phase::Sending(id);
        }
        Ok(())
    }

    fn slot_chance(&self, no: DeliveryNo) -> Chance {
        self.deliveries
            .get(no)
            .map_or(Chance::Lost(Loss::Gone), |delivery| {
                self.chance(delivery.identity, delivery.interval)
            })
    }

    /// Asks what became of a nonce.
    fn look(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        self.stop_slot(turn, nonce)?;
        let Some(tx) = self
            .account
            .slots
            .get(&nonce)
            .and_then(|slot| slot.versions.last())
            .map(|version| version.tx)
        else {
            return self.sign(turn, nonce);
        };
        let effect = Effect::LookUpTransaction { nonce, tx };
        let id = self.issue(turn, Owner::Slot(nonce), effect)?;
        self.set_phase(nonce, Phase::Looking(id));
        Ok(())
    }

    /// Waits for inclusion; the timer bumps the fee or looks again.
    fn rest(&mut self, nonce: Nonce) {
        let wait = self.limits().fee_bump_after_ms.max(1);
        let at = WallTime(self.now.0.saturating_add(wait));
        if let Some(slot) = self.account.slots.get_mut(&nonce) {
            slot.phase = Phase::Pooled;
            if let Some(old) = slot.timer.replace(at) {
                self.schedule.timers.remove(&(old, Timer::Bump(nonce)));
            }
            self.schedule.timers.insert((at, Timer::Bump(nonce)));
        }
    }

    /// Ends what a nonce waits for: its effect and its timer.
    fn stop_slot(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        if let Some(at) = slot.timer.take() {
            self.schedule.timers.remove(&(at, Timer::Bump(nonce)));
        }
        let effect = match slot.phase {
            Phase::Signing(id)
            | Phase::Sending(id)
            | Phase::Looking(id)
            | Phase::Rechecking(id) => id,
            Phase::Pooled | Phase::Included { .. } => return Ok(()),
        };
        slot.phase = Phase::Pooled;
        self.drop_effect(turn, effect)
    }

    fn set_phase(&mut self, nonce: Nonce, phase: Phase) {
        if let Some(slot) = self.account.slots.get_mut(&nonce) {
            slot.phase = phase;
        }
    }

    /// A nonce's timer passed: a higher fee, or a look where that is not possible or not the
    /// matter.
    pub(crate) fn bump_due(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        slot.timer = None;
        if !matches!(slot.phase, Phase::Pooled) {
            return Ok(());
        }
        if !self.account.may_send() {
            self.rest(nonce);
            return Ok(());
        }
        self.bump(turn, nonce)
    }

    fn bump(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let cap = self.chain_config().map(|chain| chain.max_fee_per_gas_cap);
        let (Some(slot), Some(cap)) = (self.account.slots.get_mut(&nonce), cap) else {
            return Ok(());
        };
        let quote = slot.quote.bumped();
        if slot.taken || quote.max_fee_per_gas > cap || slot.versions.len() >= VERSIONS_MAX {
            slot.taken = false;
            return self.look(turn, nonce);
        }
        if let Use::Deliver(no) = slot.wanted {
            // No second, dearer version of what would no longer be taken.
            match self.slot_chance(no) {
                Chance::Open => {}
                Chance::Early => {
                    self.rest(nonce);
                    return Ok(());
                }
                Chance::Met => return self.withdraw(turn, no, Loss::Met),
                Chance::Lost(loss) => return self.withdraw(turn, no, loss),
            }
        }
        if let Some(slot) = self.account.slots.get_mut(&nonce) {
            slot.quote = quote;
        }
        self.sign(turn, nonce)
    }

    /// A delivery with a nonce is given up.
    pub(crate) fn withdraw(
        &mut self,
        turn: &mut Turn,
        no: DeliveryNo,
        loss: Loss,
    ) -> Result<(), Halt> {
        let Some(State::Sent(nonce)) = self.deliveries.get(no).map(|delivery| delivery.state)
        else {
            return Ok(());
        };
        if self.release(turn, nonce)? {
            self.move_delivery(no, Move::Abandon(loss));
        } else {
            self.move_delivery(no, Move::Withdraw(loss));
            self.fill(turn, nonce)?;
        }
        self.end_delivery(turn, no, loss)
    }

    /// Takes back the newest nonce when nothing of it can have left the node.
    fn release(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<bool, Halt> {
        let newest = self.account.next == Some(after(nonce));
        let unsent = self
            .account
            .slots
            .get(&nonce)
            .is_some_and(|slot| !slot.sent && !matches!(slot.phase, Phase::Included { .. }));
        if !(newest && unsent) {
            return Ok(false);
        }
        self.stop_slot(turn, nonce)?;
        self.close_slot(nonce);
        self.account.next = Some(nonce);
        Ok(true)
    }

    /// Replaces what a nonce was for by an empty transfer.
    pub(crate) fn fill(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        if matches!(slot.phase, Phase::Included { .. }) || slot.wanted == Use::Fill {
            return Ok(());
        }
        slot.wanted = Use::Fill;
        // A replacement must offer more, also where the cap is reached: one bump beyond it.
        if slot.sent {
            slot.quote = slot.quote.bumped();
        }
        slot.quote.gas_limit = TRANSFER_GAS;
        self.sign(turn, nonce)
    }

    fn close_slot(&mut self, nonce: Nonce) {
        if let Some(slot) = self.account.slots.remove(&nonce) {
            for version in &slot.versions {
                self.account.by_tx.remove(&version.tx);
            }
            if let Some(at) = slot.timer {
                self.schedule.timers.remove(&(at, Timer::Bump(nonce)));
            }
        }
    }

    /// What came of an effect of a nonce.
    pub(crate) fn slot_effect_ended(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        let Some(phase) = self.account.slots.get(&nonce).map(|slot| slot.phase) else {
            self.outbox.pending.remove(&id);
            return Ok(());
        };
        match phase {
            Phase::Signing(at) if at == id => self.sign_ended(turn, nonce, id, outcome),
            Phase::Sending(at) if at == id => self.broadcast_ended(turn, nonce, id, outcome),
            Phase::Looking(at) if at == id => self.look_ended(turn, nonce, id, outcome),
            Phase::Rechecking(at) if at == id => self.recheck_ended(turn, nonce, id, outcome),
            Phase::Signing(_)
            | Phase::Sending(_)
            | Phase::Looking(_)
            | Phase::Rechecking(_)
            | Phase::Pooled
            | Phase::Included { .. } => {
                self.outbox.pending.remove(&id);
                Ok(())
            }
        }
    }

    fn sign_ended(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        if let Outcome::Succeeded(Success::Signed { tx, raw }) = outcome {
            self.outbox.pending.remove(&id);
            let Some(slot) = self.account.slots.get_mut(&nonce) else {
                return Ok(());
            };
            slot.phase = Phase::Pooled;
            slot.versions.push(Version {
                tx: *tx,
                raw: PayloadAt {
                    seq: turn.seq,
                    payload: *raw,
                },
                does: slot.wanted,
                quote: slot.quote,
            });
            self.account.by_tx.insert(*tx, nonce);
            return self.broadcast(turn, nonce);
        }
        if self.retry(id, SEND_ATTEMPTS_MAX) {
            return Ok(());
        }
        self.set_phase(nonce, Phase::Pooled);
        self.give_up_slot(turn, nonce, Loss::Unavailable)
    }

    /// A nonce cannot be signed or sent for: its delivery is given up; an empty transfer cannot
    /// be, and is tried again after a rest.
    fn give_up_slot(&mut self, turn: &mut Turn, nonce: Nonce, loss: Loss) -> Result<(), Halt> {
        match self.account.slots.get(&nonce).map(|slot| slot.wanted) {
            Some(Use::Deliver(no)) => self.withdraw(turn, no, loss),
            Some(Use::Fill) | None => {
                self.rest(nonce);
                Ok(())
            }
        }
    }

    fn broadcast_ended(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        match outcome {
            Outcome::Succeeded(Success::Broadcast) => {
                self.outbox.pending.remove(&id);
                self.rest(nonce);
                Ok(())
            }
            Outcome::Failed(Failure::Rejected(Rejection::Underpriced)) => {
                self.outbox.pending.remove(&id);
                self.set_phase(nonce, Phase::Pooled);
                self.bump(turn, nonce)
            }
            Outcome::Unknown { .. }
            | Outcome::Failed(Failure::Rejected(Rejection::NonceTooLow)) => {
                self.outbox.pending.remove(&id);
                self.set_phase(nonce, Phase::Pooled);
                self.look(turn, nonce)
            }
            Outcome::Failed(
                Failure::Rejected(
                    Rejection::NonceTooHigh
                    | Rejection::InsufficientFunds
                    | Rejection::Other { .. },
                )
                | Failure::Unavailable { .. }
                | Failure::Missing { .. }
                | Failure::Container { .. }
                | Failure::Reverted { .. }
                | Failure::NotRerun,
            )
            | Outcome::Succeeded(
                Success::InputsRead { .. }
                | Success::PayerRead { .. }
                | Success::ResponsesRead { .. }
                | Success::ContainerAnswered { .. }
                | Success::ContainerAnsweredOnchain { .. }
                | Success::Simulated { .. }
                | Success::Signed { .. }
                | Success::LookedUp(_),
            ) => {
                if self.retry(id, SEND_ATTEMPTS_MAX) {
                    return Ok(());
                }
                self.set_phase(nonce, Phase::Pooled);
                self.give_up_slot(turn, nonce, Loss::Unavailable)
            }
        }
    }

    fn look_ended(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        let Outcome::Succeeded(Success::LookedUp(found)) = outcome else {
            if !self.retry(id, READ_ATTEMPTS_MAX) {
                self.rest(nonce);
            }
            return Ok(());
        };
        self.outbox.pending.remove(&id);
        self.set_phase(nonce, Phase::Pooled);
        match found {
            TransactionState::Absent => self.broadcast(turn, nonce),
            // Included, or taken by another (perhaps one of our own older versions): the chain's
            // facts tell which; the timer looks again.
            TransactionState::Included | TransactionState::NonceTaken => {
                if let Some(slot) = self.account.slots.get_mut(&nonce) {
                    slot.taken = true;
                }
                self.rest(nonce);
                Ok(())
            }
            TransactionState::Pending => {
                self.rest(nonce);
                Ok(())
            }
        }
    }

    fn recheck_ended(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        id: EffectId,
        outcome: &Outcome,
    ) -> Result<(), Halt> {
        match outcome {
            Outcome::Succeeded(Success::Simulated { .. }) => {
                self.outbox.pending.remove(&id);
                self.set_phase(nonce, Phase::Pooled);
                self.broadcast(turn, nonce)
            }
            Outcome::Failed(Failure::Reverted { selector, .. }) => {
                self.outbox.pending.remove(&id);
                self.set_phase(nonce, Phase::Pooled);
                self.give_up_slot(turn, nonce, Loss::Reverts(*selector))
            }
            Outcome::Failed(
                Failure::Unavailable { .. }
                | Failure::Missing { .. }
                | Failure::Container { .. }
                | Failure::Rejected(_)
                | Failure::NotRerun,
            )
            | Outcome::Unknown { .. }
            | Outcome::Succeeded(
                Success::InputsRead { .. }
                | Success::PayerRead { .. }
                | Success::ResponsesRead { .. }
                | Success::ContainerAnswered { .. }
                | Success::ContainerAnsweredOnchain { .. }
                | Success::Signed { .. }
                | Success::Broadcast
                | Success::LookedUp(_),
            ) => {
                if self.retry(id, READ_ATTEMPTS_MAX) {
                    return Ok(());
                }
                self.set_phase(nonce, Phase::Pooled);
                self.give_up_slot(turn, nonce, Loss::Unavailable)
            }
        }
    }

    /// `TransactionIncluded`: a version of an open nonce is in a block. `false` when the
    /// transaction is not one of ours.
    pub(crate) fn transaction_included(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        receipt: &Receipt,
    ) -> Result<bool, Halt> {
        let Some(does) = self.account.slots.get(&receipt.nonce).and_then(|slot| {
            slot.versions
                .iter()
                .find(|version| version.tx == receipt.tx)
                .map(|version| version.does)
        }) else {
            return Ok(false);
        };
        self.stop_slot(turn, receipt.nonce)?;
        self.set_phase(
            receipt.nonce,
            Phase::Included {
                height: block.number,
                tx: receipt.tx,
                succeeded: receipt.succeeded,
            },
        );
        match does {
            Use::Deliver(no) => {
                self.delivery_included(turn, no, receipt.nonce, receipt.succeeded)?;
            }
            Use::Fill => {}
        }
        Ok(true)
    }

    /// The block of an included nonce is gone; what follows is decided by
    /// [`Machine::resume_slot`] when the whole reorg is undone.
    pub(crate) fn transaction_undone(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        let Phase::Included { tx, succeeded, .. } = slot.phase else {
            return Ok(());
        };
        slot.phase = Phase::Pooled;
        let does = slot
            .versions
            .iter()
            .find(|version| version.tx == tx)
            .map(|version| version.does);
        if let Some(Use::Deliver(no)) = does {
            let waits_here = self.delivery_undone(turn, no, nonce, succeeded)?;
            if let Some(slot) = self.account.slots.get_mut(&nonce) {
                slot.wanted = if waits_here {
                    Use::Deliver(no)
                } else {
                    Use::Fill
                };
            }
        }
        Ok(())
    }

    /// After a reorg: a nonce whose inclusion is gone is sent again if what it does still holds,
    /// and used up otherwise.
    pub(crate) fn resume_slot(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let Some(slot) = self.account.slots.get(&nonce) else {
            return Ok(());
        };
        if !matches!(slot.phase, Phase::Pooled) {
            return Ok(());
        }
        let newest = slot.versions.last().map(|version| version.does);
        match slot.wanted {
            Use::Deliver(no) => {
                match self.slot_chance(no) {
                    Chance::Open => {}
                    Chance::Early => {
                        self.rest(nonce);
                        return Ok(());
                    }
                    Chance::Met => return self.withdraw(turn, no, Loss::Met),
                    Chance::Lost(loss) => return self.withdraw(turn, no, loss),
                }
                let (Some(action), Some(chain)) = (self.delivery_action(no), self.chain_config())
                else {
                    return self.withdraw(turn, no, Loss::Unconfigured);
                };
                let effect = Effect::Simulate {
                    from: chain.node,
                    action,
                    at: self.expected_inclusion(),
                };
                let id = self.issue(turn, Owner::Slot(nonce), effect)?;
                self.set_phase(nonce, Phase::Rechecking(id));
                Ok(())
            }
            Use::Fill if newest == Some(Use::Fill) => self.broadcast(turn, nonce),
            Use::Fill => {
                if let Some(slot) = self.account.slots.get_mut(&nonce) {
                    slot.quote = slot.quote.bumped();
                    slot.quote.gas_limit = TRANSFER_GAS;
                }
                self.sign(turn, nonce)
            }
        }
    }

    /// The block of an included nonce is final: the nonce is closed.
    pub(crate) fn transaction_final(&mut self, nonce: Nonce) {
        let Some(slot) = self.account.slots.get(&nonce) else {
            return;
        };
        let Phase::Included { tx, succeeded, .. } = slot.phase else {
            return;
        };
        let does = slot
            .versions
            .iter()
            .find(|version| version.tx == tx)
            .map(|version| version.does);
        if let (Some(Use::Deliver(no)), true) = (does, succeeded) {
            self.delivery_final(no);
        }
        self.close_slot(nonce);
        self.account.settled = self.account.settled.max(after(nonce));
    }

    /// A nonce was used by a transaction that is not ours: what it was for gets another, and the
    /// count goes on behind it.
    pub(crate) fn foreign_nonce(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        self.account.foreign = self.account.foreign.saturating_add(1);
        let wanted = self.account.slots.get(&nonce).map(|slot| slot.wanted);
        self.stop_slot(turn, nonce)?;
        self.close_slot(nonce);
        self.account.next = self.account.next.map(|next| next.max(after(nonce)));
        if let Some(Use::Deliver(no)) = wanted {
            self.replan_later(no);
        }
        Ok(())
    }

    /// A block that held a foreign transaction is gone: its nonce is free again. Where later
    /// nonces wait for it, it is used up; else it is the next.
    pub(crate) fn foreign_undone(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        if self.account.slots.contains_key(&nonce) {
            return Ok(());
        }
        if self.account.next == Some(after(nonce)) {
            self.account.next = Some(nonce);
            return Ok(());
        }
        let Some(quote) = self
            .account
            .slots
            .range(nonce..)
            .next()
            .map(|(_, slot)| slot.quote)
        else {
            return Ok(());
        };
        let quote = Quote {
            gas_limit: TRANSFER_GAS,
            ..quote.bumped()
        };
        self.insert_slot(turn, nonce, Use::Fill, quote)?;
        turn.resume.insert(nonce);
        Ok(())
    }

    /// `AccountObserved`: what the chain says of the account, before anything is sent.
    pub(crate) fn account_observed(
        &mut self,
        turn: &mut Turn,
        observed: Nonce,
    ) -> Result<(), Halt> {
        self.account.observed = true;
        match self.account.next {
            None => {
                self.account.next = Some(observed);
                self.account.settled = observed;
            }
            Some(known) if observed > known => {
                self.account.quarantine = Some(Quarantine::ChainAhead { known, observed });
            }
            Some(_) if observed < self.account.settled => {
                self.account.quarantine = Some(Quarantine::ChainBehind {
                    known: self.account.settled,
                    observed,
                });
            }
            Some(_) => {}
        }
        if self.account.may_send() {
            self.release_held(turn);
            self.unblock(turn)?;
        }
        Ok(())
    }

    /// `QuarantineLifted`: an operator confirmed. What the log had in the pool is looked up, and
    /// new nonces begin behind the chain's.
    pub(crate) fn quarantine_lifted(&mut self, turn: &mut Turn) -> Result<(), Halt> {
        match self.account.quarantine.take() {
            Some(Quarantine::ChainAhead { observed, .. }) => {
                self.account.next = self.account.next.map(|next| next.max(observed));
            }
            Some(Quarantine::ChainBehind { observed, .. }) => {
                if self.account.slots.is_empty() {
                    self.account.next = Some(observed);
                }
                self.account.settled = observed;
            }
            None => return Ok(()),
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
        if self.account.may_send() {
            self.release_held(turn);
            self.unblock(turn)?;
        }
        Ok(())
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
