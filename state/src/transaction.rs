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

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use crate::{
    chore::Chore,
    delivery::{Chance, Loss, Move, State, is_met},
    effect::{Action, Delivery as Call, Effect},
    event::{Failure, Outcome, Receipt, Rejection, Success, TransactionState},
    limits::{READ_ATTEMPTS_MAX, SEND_ATTEMPTS_MAX, VERSIONS_MAX},
    machine::{Halt, Machine},
    outbox::{Owner, Turn},
    schedule::Timer,
    types::{
        Address, Amount, BlockRef, DeliveryNo, EffectId, Hash, Interval, Nonce, PayloadAt,
        SubscriptionId, WallTime,
    },
};

/// Gas of an empty transfer.
const TRANSFER_GAS: u64 = 21_000;

/// A replacement offers at least this much more, as a divisor of the old fee: a quarter, above
/// the tenth that pools ask for.
const BUMP_DIVISOR: u128 = 4;

/// What a nonce is used for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Use {
    /// One delivery, or several in a batch.
    Deliver(Vec<DeliveryNo>),
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
            Self::Deliver(list) => list,
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
    /// A quarter more per gas, and at least one wei.
    pub(crate) fn bumped(self) -> Self {
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

impl Phase {
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
    /// Its inclusion is gone, and it was not simulated since.
    pub(crate) recheck: bool,
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
            timer: None,
        }
    }

    /// The version of a hash.
    pub(crate) fn version(&self, tx: Hash) -> Option<&Version> {
        self.versions.iter().find(|version| version.tx == tx)
    }

    /// Whether it is with the signer, or on its way to the RPC.
    pub(crate) fn in_hand(&self) -> bool {
        matches!(self.phase, Phase::Signing(_) | Phase::Sending(_))
    }
}

/// What a look at a nonce's deliveries found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pruned {
    /// All of them would be taken, or it holds none.
    Same,
    /// Their interval has not begun again.
    Early,
    /// Some are out; what is left is on its way.
    Changed,
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
        self.insert_slot(turn, nonce, Use::Fill, quote.bumped().of_transfer())?;
        turn.resume.insert(nonce);
        Ok(())
    }

    /// What a use of a nonce does, as the signer needs it.
    fn action_of(&self, wanted: &Use) -> Option<Action> {
        match wanted {
            Use::Deliver(list) => match list.as_slice() {
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

    /// Asks for a signature of what a nonce is for now.
    fn sign(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        self.stop_slot(turn, nonce)?;
        let (Some(slot), Some(chain)) = (self.account.slots.get(&nonce), self.chain_config())
        else {
            return Ok(());
        };
        let quote = slot.quote;
        let chain_id = chain.chain_id;
        let Some(action) = self.action_of(&slot.wanted) else {
            self.rest(nonce);
            return Ok(());
        };
        let effect = Effect::Sign {
            chain_id,
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
        let Some(version) = slot.versions.last() else {
            return self.sign(turn, nonce);
        };
        if version.does != slot.wanted {
            return self.sign(turn, nonce);
        }
        let (tx, raw) = (version.tx, version.raw);
        match self.prune(turn, nonce)? {
            Pruned::Same => {}
            Pruned::Early => {
                self.rest(nonce);
                return Ok(());
            }
            Pruned::Changed => return Ok(()),
        }
        let effect = Effect::Broadcast { tx, nonce, raw };
        let id = self.issue(turn, Owner::Slot(nonce), effect)?;
        if let Some(slot) = self.account.slots.get_mut(&nonce) {
            slot.sent = true;
            slot.phase = Phase::Sending(id);
        }
        // Not before the account was observed in this run of the node.
        self.hold_unless_allowed(turn, id);
        Ok(())
    }

    /// Looks once more whether the deliveries of a nonce would be taken, and takes out those
    /// that would not.
    fn prune(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<Pruned, Halt> {
        let list = match self.account.slots.get(&nonce).map(|slot| &slot.wanted) {
            Some(Use::Deliver(list)) => list.clone(),
            Some(Use::Stake { .. } | Use::Finalize { .. } | Use::Fill) | None => {
                return Ok(Pruned::Same);
            }
        };
        let mut lost = Vec::new();
        let mut early = false;
        for no in list {
            match self.chance_of(no) {
                Chance::Open => {}
                Chance::Early => early = true,
                Chance::Met => lost.push((no, Loss::Met)),
                Chance::Lost(loss) => lost.push((no, loss)),
            }
        }
        if !lost.is_empty() {
            self.withdraw_from(turn, nonce, lost)?;
            Ok(Pruned::Changed)
        } else if early {
            Ok(Pruned::Early)
        } else {
            Ok(Pruned::Same)
        }
    }

    /// Asks what became of a nonce.
    pub(crate) fn look(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
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
    pub(crate) fn stop_slot(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        if let Some(at) = slot.timer.take() {
            self.schedule.timers.remove(&(at, Timer::Bump(nonce)));
        }
        let Some(effect) = slot.phase.effect() else {
            return Ok(());
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
        let recheck = slot.recheck;
        if !self.account.may_send() {
            self.rest(nonce);
            return Ok(());
        }
        if recheck {
            return self.resume_slot(turn, nonce);
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
        // No second, dearer version of what would no longer be taken.
        match self.prune(turn, nonce)? {
            Pruned::Same => {}
            Pruned::Early => {
                self.rest(nonce);
                return Ok(());
            }
            Pruned::Changed => return Ok(()),
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
        match self.deliveries.get(no).map(|delivery| delivery.state) {
            Some(State::Sent(nonce)) => self.withdraw_from(turn, nonce, vec![(no, loss)]),
            Some(
                State::Planned
                | State::Simulating
                | State::Ready
                | State::Included(_)
                | State::Final
                | State::Parked
                | State::Abandoned(_)
                | State::Withdrawn(_),
            )
            | None => Ok(()),
        }
    }

    /// Deliveries of one nonce are given up: the rest of a batch goes on without them; where
    /// nothing is left, the nonce is taken back or used up.
    fn withdraw_from(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        lost: Vec<(DeliveryNo, Loss)>,
    ) -> Result<(), Halt> {
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        if matches!(slot.phase, Phase::Included { .. }) {
            return Ok(());
        }
        let sent = slot.sent;
        let mut empty = false;
        if let Use::Deliver(list) = &mut slot.wanted {
            list.retain(|no| lost.iter().all(|(gone, _)| gone != no));
            empty = list.is_empty();
        }
        if empty {
            if !self.release(turn, nonce)? {
                self.fill(turn, nonce)?;
            }
        } else {
            if sent {
                slot.quote = slot.quote.bumped();
            }
            self.sign(turn, nonce)?;
        }
        for (no, loss) in lost {
            let step = if sent {
                Move::Withdraw(loss)
            } else {
                Move::Abandon(loss)
            };
            if self.move_delivery(no, step) {
                self.end_delivery(turn, no, loss)?;
            }
        }
        Ok(())
    }

    /// A delivery is done elsewhere: its nonce goes on without it.
    pub(crate) fn leave_slot(
        &mut self,
        turn: &mut Turn,
        nonce: Nonce,
        no: DeliveryNo,
    ) -> Result<(), Halt> {
        self.withdraw_from(turn, nonce, vec![(no, Loss::Met)])
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
        slot.quote = slot.quote.of_transfer();
        self.sign(turn, nonce)
    }

    pub(crate) fn close_slot(&mut self, nonce: Nonce) {
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
            // The same fields give the same bytes: a version that is there already, or (where
            // nonsense is fed) another nonce's, is not noted twice.
            let known = self.account.by_tx.get(tx).copied();
            let Some(slot) = self.account.slots.get_mut(&nonce) else {
                return Ok(());
            };
            slot.phase = Phase::Pooled;
            if known.is_some_and(|of| of != nonce) {
                return self.give_up_slot(turn, nonce, Loss::Unavailable);
            }
            slot.versions.retain(|version| version.tx != *tx);
            slot.versions.push(Version {
                tx: *tx,
                raw: PayloadAt {
                    seq: turn.seq,
                    payload: *raw,
                },
                does: slot.wanted.clone(),
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

    /// A nonce cannot be signed or sent for: its deliveries are given up; anything else cannot
    /// be, and is tried again after a rest.
    fn give_up_slot(&mut self, turn: &mut Turn, nonce: Nonce, loss: Loss) -> Result<(), Halt> {
        let list = self
            .account
            .slots
            .get(&nonce)
            .map(|slot| slot.wanted.deliveries().to_vec())
            .unwrap_or_default();
        if list.is_empty() {
            self.rest(nonce);
            return Ok(());
        }
        let lost = list.into_iter().map(|no| (no, loss)).collect();
        self.withdraw_from(turn, nonce, lost)
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
                if let Some(slot) = self.account.slots.get_mut(&nonce) {
                    slot.phase = Phase::Pooled;
                    slot.recheck = false;
                }
                self.broadcast(turn, nonce)
            }
            Outcome::Failed(Failure::Reverted { selector, .. }) => {
                self.outbox.pending.remove(&id);
                self.set_phase(nonce, Phase::Pooled);
                let wanted = self.account.slots.get(&nonce).map(|slot| &slot.wanted);
                if wanted.is_some_and(|wanted| !self.stakes_stand(wanted)) {
                    self.rest(nonce);
                    return Ok(());
                }
                let loss = if is_met(*selector) {
                    Loss::Met
                } else {
                    Loss::Reverts(*selector)
                };
                self.give_up_slot(turn, nonce, loss)
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

    /// `TransactionIncluded`: a version of an open nonce is in a block. `fulfilled` are the
    /// subscriptions that the node answered in this block: a batch succeeds item by item.
    /// `false` when the transaction is not one of ours, or was heard of before.
    pub(crate) fn transaction_included(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        receipt: &Receipt,
        fulfilled: &BTreeSet<SubscriptionId>,
    ) -> Result<bool, Halt> {
        let Some(does) = self
            .account
            .slots
            .get(&receipt.nonce)
            .filter(|slot| !matches!(slot.phase, Phase::Included { .. }))
            .and_then(|slot| slot.version(receipt.tx))
            .map(|version| version.does.clone())
        else {
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
        let wanted = self
            .account
            .slots
            .get(&receipt.nonce)
            .map(|slot| slot.wanted.clone());
        let batch = does.deliveries().len() > 1;
        for no in does.deliveries() {
            let delivered = receipt.succeeded
                && (!batch
                    || self
                        .deliveries
                        .get(*no)
                        .is_some_and(|delivery| fulfilled.contains(&delivery.identity.id)));
            self.delivery_included(turn, *no, receipt.nonce, delivered)?;
        }
        // A version that lacked a delivery came first: the delivery goes on elsewhere.
        for no in wanted.iter().flat_map(Use::deliveries) {
            if !does.deliveries().contains(no) {
                self.replan_later(*no);
            }
        }
        if let Some(chore) = wanted.as_ref().and_then(Use::chore) {
            let done = does.chore() == Some(chore) && receipt.succeeded;
            self.chore_included(turn, block, &does, chore, done)?;
        }
        Ok(true)
    }

    /// The block of an included nonce is gone; what follows is decided by
    /// [`Machine::resume_slot`] when the whole reorg is undone.
    pub(crate) fn transaction_undone(&mut self, turn: &mut Turn, nonce: Nonce) -> Result<(), Halt> {
        let Some(slot) = self.account.slots.get_mut(&nonce) else {
            return Ok(());
        };
        let Phase::Included { tx, .. } = slot.phase else {
            return Ok(());
        };
        slot.phase = Phase::Pooled;
        let Some(does) = slot.version(tx).map(|version| version.does.clone()) else {
            return Ok(());
        };
        let wanted = match &does {
            Use::Deliver(list) => {
                let mut waiting = Vec::new();
                for no in list {
                    if self.delivery_undone(turn, *no, nonce)? {
                        waiting.push(*no);
                    }
                }
                if waiting.is_empty() {
                    Use::Fill
                } else {
                    Use::Deliver(waiting)
                }
            }
            Use::Stake { .. } | Use::Finalize { .. } => {
                if self.chore_undone(turn, &does, nonce)? {
                    does
                } else {
                    Use::Fill
                }
            }
            Use::Fill => Use::Fill,
        };
        if let Some(slot) = self.account.slots.get_mut(&nonce) {
            slot.wanted = wanted;
            slot.recheck = true;
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
        if slot.versions.last().map(|version| &version.does) != Some(&slot.wanted) {
            if let Some(slot) = self.account.slots.get_mut(&nonce) {
                slot.quote = slot.quote.bumped();
                if slot.wanted == Use::Fill {
                    slot.quote = slot.quote.of_transfer();
                }
            }
            return match self.prune(turn, nonce)? {
                Pruned::Same | Pruned::Early => self.sign(turn, nonce),
                Pruned::Changed => Ok(()),
            };
        }
        if slot.wanted.deliveries().is_empty() {
            return self.broadcast(turn, nonce);
        }
        match self.prune(turn, nonce)? {
            Pruned::Same => {}
            Pruned::Early => {
                self.rest(nonce);
                return Ok(());
            }
            Pruned::Changed => return Ok(()),
        }
        let wanted = self.account.slots.get(&nonce).map(|slot| &slot.wanted);
        if wanted.is_some_and(|wanted| !self.stakes_stand(wanted)) {
            // Its allowance went with the same reorg and comes again before it: look later.
            self.rest(nonce);
            return Ok(());
        }
        let action = wanted.and_then(|wanted| self.action_of(wanted));
        let (Some(action), Some(chain)) = (action, self.chain_config()) else {
            return self.give_up_slot(turn, nonce, Loss::Unconfigured);
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

    /// The block of an included nonce is final: the nonce is closed.
    pub(crate) fn transaction_final(&mut self, nonce: Nonce) {
        let Some(slot) = self.account.slots.get(&nonce) else {
            return;
        };
        let Phase::Included { tx, .. } = slot.phase else {
            return;
        };
        let list = slot
            .version(tx)
            .map(|version| version.does.deliveries().to_vec())
            .unwrap_or_default();
        for no in list {
            self.delivery_final(no, nonce);
        }
        self.close_slot(nonce);
        self.account.settled = self.account.settled.max(after(nonce));
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

/// The nonce after this one.
pub(crate) fn after(nonce: Nonce) -> Nonce {
    Nonce(nonce.0.saturating_add(1))
}

/// The versions of open nonces, by hash.
pub(crate) type ByTx = BTreeMap<Hash, Nonce>;
