//! Proofs: what is at stake from a delivery with a verifier until its verdict.
//!
//! ```text
//!   delivery included, verifier set
//!            │  stake and escrow are locked (`docs/spec/contracts.md` 3, 4b)
//!            ▼
//!          Open ──── ProofVerified, active and valid ─────► Paid
//!            │ ───── ProofVerified, active and not valid ─► Slashed
//!            │ ───── ProofVerified, a week has passed ────► Expired (the node is paid)
//!            └─ its block is gone: (nothing)      a verdict's block is gone: Open again
//! ```
//! When the week has passed and nobody has finalised, the node does so itself: a chore, until it
//! succeeds. An open proof therefore stands in the schedule, or has its chore.

use alloc::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    chain::Undo,
    chore::Chore,
    ledger::{Code, Role},
    limits::TAKE_UPS_PER_EVENT_MAX,
    machine::{Halt, Machine},
    outbox::Turn,
    tally::Tally,
    trace::Transition,
    transaction::Use,
    types::{Address, Amount, BlockRef, DeliveryNo, Hash, Interval, SubscriptionId},
};

/// How long a verifier has, in seconds of block time (`finalizeProofVerification`).
pub const PROOF_WEEK_S: u64 = 604_800;

/// Where a proof stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ProofState {
    /// Not judged.
    Open,
    /// Found valid: the node is paid, its stake free.
    Paid,
    /// Found invalid: the stake is lost.
    Slashed,
    /// Not judged within the week: the node is paid, its stake free.
    Expired,
}

/// A verdict of the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Within the week.
    pub active: bool,
    /// As the verifier said.
    pub valid: bool,
}

/// What happens to a proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It was judged.
    Judge(Verdict),
    /// The block of its verdict is gone.
    Undo,
}

impl ProofState {
    /// The next state, or `None` where the step does not apply: one verdict, and only that is
    /// undone.
    #[must_use]
    pub fn step(self, step: Step) -> Option<Self> {
        match (self, step) {
            (
                Self::Open,
                Step::Judge(Verdict {
                    active: true,
                    valid: true,
                }),
            ) => Some(Self::Paid),
            (
                Self::Open,
                Step::Judge(Verdict {
                    active: true,
                    valid: false,
                }),
            ) => Some(Self::Slashed),
            (Self::Open, Step::Judge(Verdict { active: false, .. })) => Some(Self::Expired),
            (Self::Paid | Self::Slashed | Self::Expired, Step::Undo) => Some(Self::Open),
            (Self::Paid | Self::Slashed | Self::Expired, Step::Judge(_))
            | (Self::Open, Step::Undo) => None,
        }
    }
}

/// A delivery's proof.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// Whose proof it is.
    pub delivery: DeliveryNo,
    /// The consumer.
    pub owner: Address,
    /// The consumer's wallet.
    pub wallet: Address,
    /// The token.
    pub token: Address,
    /// What the node locked: the full price.
    pub stake: Amount,
    /// What the consumer locked for the node, as far as its event was seen.
    pub escrow: Amount,
    /// Block time from which on anybody may finalise.
    pub expires: u64,
    /// Where it stands.
    pub state: ProofState,
}

/// Proofs that are open, or whose verdict is not final.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Proofs {
    pub(crate) all: BTreeMap<(SubscriptionId, Interval), Proof>,
    /// The stakes of the open ones, by token.
    #[serde(skip)]
    pub(crate) staked: Tally<Address>,
    /// How many of the open ones are owed the same escrow by the same payer.
    #[serde(skip)]
    pub(crate) owed: Tally<Owed>,
}

/// An escrow, and who owes it: wallet, owner, token, amount.
pub(crate) type Owed = (Address, Address, Address, Amount);

impl Proof {
    /// What is owed to the node for it.
    pub(crate) fn owed(&self) -> Owed {
        (self.wallet, self.owner, self.token, self.escrow)
    }
}

impl Proofs {
    /// Them, ascending by subscription and interval.
    pub fn iter(&self) -> impl Iterator<Item = (SubscriptionId, Interval, &Proof)> {
        self.all
            .iter()
            .map(|((id, interval), proof)| (*id, *interval, proof))
    }

    pub(crate) fn is_open(&self, id: SubscriptionId, interval: Interval) -> bool {
        self.all
            .get(&(id, interval))
            .is_some_and(|proof| proof.state == ProofState::Open)
    }

    /// What the node has at stake in a token; saturating.
    #[must_use]
    pub fn at_stake(&self, token: Address) -> Amount {
        self.staked.of(&token).amount().unwrap_or(Amount::MAX)
    }

    fn insert(&mut self, id: SubscriptionId, interval: Interval, proof: Proof) {
        if proof.state == ProofState::Open {
            self.staked.add(proof.token, proof.stake);
            self.owed.add(proof.owed(), 1);
        }
        self.all.insert((id, interval), proof);
    }

    fn remove(&mut self, id: SubscriptionId, interval: Interval) -> Option<Proof> {
        let proof = self.all.remove(&(id, interval))?;
        if proof.state == ProofState::Open {
            self.staked.take(proof.token, proof.stake);
            self.owed.take(proof.owed(), 1);
        }
        Some(proof)
    }
}

impl Machine {
    /// A delivery with a verifier was included: the only one of its interval that the chain takes.
    pub(crate) fn open_proof(
        &mut self,
        block: &BlockRef,
        id: SubscriptionId,
        interval: Interval,
        proof: Proof,
    ) {
        if self.proofs.all.contains_key(&(id, interval)) {
            return;
        }
        self.schedule.proofs.insert((proof.expires, id, interval));
        self.proofs.insert(id, interval, proof);
        self.journal(block.number, Undo::ProofOpened(id, interval));
    }

    /// A finalisation succeeded: its verdict is to come.
    pub(crate) fn expect_verdict(&mut self, id: SubscriptionId, interval: Interval) {
        if let Some(proof) = self.proofs.all.get(&(id, interval))
            && proof.state == ProofState::Open
        {
            self.schedule.proofs.insert((proof.expires, id, interval));
        }
    }

    /// That block is gone.
    pub(crate) fn proof_undone(&mut self, id: SubscriptionId, interval: Interval) {
        if let Some(proof) = self.proofs.remove(id, interval) {
            self.schedule.proofs.remove(&(proof.expires, id, interval));
        }
    }

    /// A consumer's escrow for a delivery was locked.
    pub(crate) fn escrow_seen(&mut self, no: DeliveryNo, amount: Amount) {
        let Some(delivery) = self.deliveries.get(no) else {
            return;
        };
        let (id, interval) = (self.chain_id_of(delivery), delivery.interval);
        let known = self.proofs.all.get(&(id, interval));
        if known.is_some_and(|proof| proof.delivery == no)
            && let Some(mut proof) = self.proofs.remove(id, interval)
        {
            proof.escrow = amount;
            self.proofs.insert(id, interval, proof);
        }
    }

    /// `ProofVerified` of a proof of this node.
    pub(crate) fn proof_verified(
        &mut self,
        turn: &mut Turn,
        block: &BlockRef,
        id: SubscriptionId,
        interval: Interval,
        verdict: Verdict,
    ) -> Result<(), Halt> {
        if !self.step_proof(id, interval, Step::Judge(verdict)) {
            return Ok(());
        }
        let Some(proof) = self.proofs.all.get(&(id, interval)) else {
            return Ok(());
        };
        let next = proof.state;
        let (token, escrow, expires) = (proof.token, proof.escrow, proof.expires);
        self.schedule.proofs.remove(&(expires, id, interval));
        self.journal(block.number, Undo::ProofJudged(id, interval));
        if next == ProofState::Slashed {
            // The price was booked as earned when it was delivered; it is not.
            self.book(
                turn,
                block,
                Hash::ZERO,
                (Role::Earnings, Role::Escrow, Code::EscrowReleased),
                token,
                escrow,
            )?;
            self.count_loss();
        }
        self.drop_finalization(turn, id, interval)
    }

    /// Moves a proof on; `false` where the step does not apply.
    fn step_proof(&mut self, id: SubscriptionId, interval: Interval, step: Step) -> bool {
        let known = self.proofs.all.get(&(id, interval));
        let Some((from, to)) = known
            .map(|proof| proof.state)
            .and_then(|from| Some((from, from.step(step)?)))
        else {
            return false;
        };
        if let Some(mut proof) = self.proofs.remove(id, interval) {
            proof.state = to;
            self.proofs.insert(id, interval, proof);
        }
        self.trace.note(Transition::Proof {
            id,
            interval,
            from,
            step,
            to,
        });
        true
    }

    /// The block of a verdict is gone.
    pub(crate) fn verdict_undone(&mut self, id: SubscriptionId, interval: Interval) {
        if self.step_proof(id, interval, Step::Undo)
            && let Some(proof) = self.proofs.all.get(&(id, interval))
        {
            self.schedule.proofs.insert((proof.expires, id, interval));
        }
    }

    /// A verdict is final.
    pub(crate) fn verdict_final(&mut self, id: SubscriptionId, interval: Interval) {
        if !self.proofs.is_open(id, interval) {
            self.proofs.remove(id, interval);
        }
    }

    /// Proofs whose week has passed: the node finalises them itself, a bounded part at a time.
    pub(crate) fn serve_proofs(&mut self, turn: &mut Turn, now: u64) -> Result<(), Halt> {
        for _ in 0..TAKE_UPS_PER_EVENT_MAX {
            let next = self.schedule.proofs.first().copied();
            let Some((expires, id, interval)) = next.filter(|(expires, ..)| *expires <= now) else {
                break;
            };
            self.schedule.proofs.remove(&(expires, id, interval));
            if self.proofs.is_open(id, interval) {
                let chore = Chore::Finalize(id, interval);
                self.begin_chore(turn, chore, Use::Finalize { id, interval })?;
            }
        }
        Ok(())
    }
}
