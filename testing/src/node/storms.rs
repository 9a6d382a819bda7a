//! What goes wrong around a node: another chain, lost answers, containers that fail.

use std::collections::BTreeSet;

use infernet_state::{
    Effect, Issued,
    config::Limits,
    event::{Failure, Outcome, Rejection, Success, TransactionState},
    types::Hash,
};
use revm::primitives::{Address, B256};

use super::{Closed, Node, Signed, differ, origins::input_of};
use crate::twin::{Mismatch, Step};

/// The most blocks that a reorg takes away.
const DEPTH_MAX: u64 = 8;

/// What goes wrong around a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weather {
    /// Nothing: blocks stay, the process lives, whoever is asked answers, late at worst.
    Calm,
    /// Reorgs, restarts, failures and lost answers, with lulls in between.
    Storms,
}

/// What becomes of signed bytes that are sent to the RPC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// The pool has them, and says so.
    Taken,
    /// The pool has them; the answer is lost.
    TakenUnheard,
    /// They got lost on the way, and nobody knows.
    Lost,
    /// The pool said it has them, and forgot them.
    Forgotten,
    /// The RPC refuses them.
    Refused,
}

/// Of an outcome of a container's call that is a failure, whether no further attempt could help.
fn failed_for_good(outcome: &Outcome) -> Option<bool> {
    match outcome {
        Outcome::Succeeded(_) => None,
        Outcome::Failed(Failure::Container { retry, .. }) => Some(!retry),
        Outcome::Failed(_) | Outcome::Unknown { .. } => Some(false),
    }
}

impl Node {
    /// Whether the chain may go another way.
    pub(super) fn may_turn(&self) -> bool {
        self.weather == Weather::Storms
    }

    /// Whether something goes wrong now: one time in so many.
    pub(super) fn strikes(&mut self, sides: u64) -> bool {
        self.may_turn() && !self.lull && self.dice.of(sides) == 0
    }

    /// Between two steps: the chain goes another way, the process dies or comes up, or all is calm for a while.
    pub(super) fn storm(&mut self) -> Result<(), Mismatch> {
        if !self.may_turn() {
            return Ok(());
        }
        match self.dice.of(28) {
            0 | 1 => self.reorganise()?,
            2 => self.crash()?,
            3 => {
                if self.down {
                    self.come_up()?;
                }
                self.pause()?;
            }
            4 => self.hear_again()?,
            _ => {}
        }
        if self.down && self.dice.of(3) == 0 {
            self.come_up()?;
        }
        Ok(())
    }

    /// What came of an effect is told at once, or later.
    pub(super) fn hand_over(&mut self, issued: Issued, outcome: Outcome) -> Result<(), Mismatch> {
        // What is said of the responses or of the node's own allowance holds for the block it was read at.
        let holds = matches!(
            issued.effect,
            Effect::ReadResponses { .. } | Effect::ReadPayer { .. }
        );
        if !holds && self.strikes(8) {
            self.happened.count("an answer came late");
            self.late.push((issued, outcome));
            return Ok(());
        }
        self.tell(&issued, outcome)
    }

    /// Answers that were under way arrive, in any order.
    pub(super) fn take_late(&mut self) -> Result<(), Mismatch> {
        for (issued, outcome) in std::mem::take(&mut self.late) {
            if self.strikes(2) {
                self.late.push((issued, outcome));
            } else {
                self.tell(&issued, outcome)?;
            }
        }
        Ok(())
    }

    /// Something else than what should come of an effect.
    pub(super) fn mishap(&mut self, issued: &Issued) -> Option<Outcome> {
        let reason = || String::from("a storm");
        match &issued.effect {
            Effect::RunContainer(_) => self.container_mishap(),
            // What these say is told of the head: read ahead of the watcher, it would count twice.
            Effect::ReadResponses { .. } | Effect::ReadPayer { .. } if self.is_behind() => {
                Some(Outcome::Failed(Failure::Unavailable { reason: reason() }))
            }
            Effect::Simulate { .. } if self.strikes(24) => {
                self.happened.count("a simulation lagged");
                let selector = [0; 4];
                let reason = reason();
                Some(Outcome::Failed(Failure::Reverted { selector, reason }))
            }
            Effect::Sign { .. } if self.strikes(32) => {
                self.happened.count("nothing was signed");
                Some(Outcome::Unknown { reason: reason() })
            }
            Effect::ReadInputs { .. }
            | Effect::ReadPayer { .. }
            | Effect::ReadResponses { .. }
            | Effect::Simulate { .. }
            | Effect::LookUpTransaction { .. }
                if self.strikes(16) =>
            {
                self.happened.count("the chain was not read");
                Some(Outcome::Failed(Failure::Unavailable { reason: reason() }))
            }
            Effect::LookUpTransaction { nonce, .. }
                if nonce.0 >= self.so_far.nonce && self.strikes(8) =>
            {
                self.happened.count("another pool was asked");
                let found = TransactionState::Absent;
                Some(Outcome::Succeeded(Success::LookedUp(found)))
            }
            Effect::ReadInputs { .. }
            | Effect::ReadPayer { .. }
            | Effect::ReadResponses { .. }
            | Effect::StopContainer { .. }
            | Effect::Simulate { .. }
            | Effect::Sign { .. }
            | Effect::Broadcast { .. }
            | Effect::LookUpTransaction { .. } => None,
        }
    }

    fn container_mishap(&mut self) -> Option<Outcome> {
        if !self.strikes(4) {
            return None;
        }
        let error = self.payload(b"\"a storm\"");
        let (what, outcome) = match self.dice.of(8) {
            0 => (
                "a container could not be asked",
                Outcome::Failed(Failure::Unavailable {
                    reason: "a storm".into(),
                }),
            ),
            1 => (
                "a container's answer was lost",
                Outcome::Unknown {
                    reason: "a storm".into(),
                },
            ),
            2 => (
                "a container's answer could not be packed",
                Outcome::Failed(Failure::Container {
                    error,
                    retry: false,
                }),
            ),
            _ => (
                "a container failed",
                Outcome::Failed(Failure::Container { error, retry: true }),
            ),
        };
        self.happened.count(what);
        Some(outcome)
    }

    /// The machine hears that a container failed.
    pub(super) fn count_failure(&mut self, issued: &Issued, outcome: &Outcome) {
        let (Effect::RunContainer(call), Some(last)) = (&issued.effect, failed_for_good(outcome))
        else {
            return;
        };
        let attempts_max = Limits::default().container_attempts_max;
        let failures = self.failures.entry(issued.id).or_default();
        *failures += 1;
        if last || *failures >= attempts_max {
            let origin = self.origins.get(&input_of(call).hash);
            self.unanswered.extend(origin);
            self.happened.count("a container failed for good");
        }
    }

    /// Nobody is called more often than allowed.
    pub(super) fn check_attempts(&self, issued: &Issued) -> Result<(), Mismatch> {
        let failures = self.failures.get(&issued.id).copied().unwrap_or_default();
        let most = Limits::default().container_attempts_max;
        if failures < most {
            return Ok(());
        }
        let what = format!("the calls of {:?}", issued.effect);
        Err(differ(
            what,
            format!("one more after {failures} failures"),
            format!("at most {most}"),
        ))
    }

    fn fate(&mut self) -> Fate {
        if !self.strikes(3) {
            return Fate::Taken;
        }
        match self.dice.of(4) {
            0 => Fate::TakenUnheard,
            1 => Fate::Lost,
            2 => Fate::Forgotten,
            _ => Fate::Refused,
        }
    }

    /// Signed bytes come to a pool, or do not.
    pub(super) fn send(&mut self, nonce: u64, signed: Signed) -> Outcome {
        let fate = self.fate();
        if fate != Fate::Lost {
            let versions = self.sent.entry(nonce).or_default();
            if versions.iter().any(|known| known.tx == signed.tx) {
                self.happened.count("the same bytes were sent twice");
            }
            versions.retain(|known| known.tx != signed.tx);
            versions.push(signed.clone());
        }
        if matches!(fate, Fate::Taken | Fate::TakenUnheard) {
            self.pool.insert(nonce, signed);
        }
        let reason = String::from("a storm");
        match fate {
            Fate::Taken => Outcome::Succeeded(Success::Broadcast),
            Fate::Forgotten => {
                self.happened.count("a pool forgot a transaction");
                Outcome::Succeeded(Success::Broadcast)
            }
            Fate::TakenUnheard => {
                self.happened.count("the answer to a transaction was lost");
                Outcome::Unknown { reason }
            }
            Fate::Lost => {
                self.happened.count("a transaction was lost");
                if self.dice.of(2) == 0 {
                    Outcome::Unknown { reason }
                } else {
                    Outcome::Failed(Failure::Unavailable { reason })
                }
            }
            Fate::Refused => {
                self.happened.count("a transaction was refused");
                Outcome::Failed(Failure::Rejected(match self.dice.of(4) {
                    0 => Rejection::NonceTooHigh,
                    1 => Rejection::InsufficientFunds,
                    2 => Rejection::Underpriced,
                    _ => Rejection::Other { reason },
                }))
            }
        }
    }

    /// Of what was sent for a nonce, a block may hold any.
    pub(super) fn any_version(&mut self, newest: Signed) -> Signed {
        let versions = self.sent.get(&self.so_far.nonce).map_or(0, Vec::len);
        if versions < 2 || !self.strikes(4) {
            return newest;
        }
        let place = self.dice.place(versions);
        let versions = self.sent.get(&self.so_far.nonce);
        let Some(older) = versions.and_then(|of| of.get(place)).cloned() else {
            return newest;
        };
        if older.tx != newest.tx {
            self.happened.count("an older version was included");
        }
        older
    }

    /// An outcome that was told already is told once more.
    fn hear_again(&mut self) -> Result<(), Mismatch> {
        let place = self.dice.place(self.log.len());
        let event = self.log.get(place).map(|(_, event)| event.clone());
        if let Some(event @ infernet_state::Event::EffectEnded { .. }) = event
            && !self.down
        {
            self.happened.count("an old outcome was told again");
            self.apply(&event)?;
        }
        Ok(())
    }

    /// The chain goes back to a block that is not final, and on in another way: some of what was there comes again,
    /// in another order or at another time, some never does.
    fn reorganise(&mut self) -> Result<(), Mismatch> {
        if !self.open.is_empty() {
            self.seal();
        }
        let newest = self.chain.len() as u64;
        let most = newest
            .saturating_sub(self.final_height.max(1))
            .min(DEPTH_MAX);
        if most == 0 {
            return Ok(());
        }
        let deep = 1 + self.dice.of(most);
        let stays = usize::try_from(newest - deep).unwrap_or_default();
        let Some(past) = self
            .chain
            .get(stays.wrapping_sub(1))
            .and_then(|it| it.after.clone())
        else {
            return Ok(());
        };
        let gone = self.chain.split_off(stays);
        let wallets = self.twin.model.wallets().keys().copied().collect();
        self.twin.model = past.model.clone();
        self.twin.world = past.world.world();
        self.so_far = past.so_far.clone();
        self.forks += 1;
        self.seen.others += 1;
        self.others.clear();
        self.happened.count("a reorg");
        self.refill_pool();
        self.replay(gone, &wallets)?;
        if self.down || self.strikes(3) {
            return Ok(()); // The watcher sees it later.
        }
        self.look()
    }

    /// What was included is in some pool again, or in none.
    fn refill_pool(&mut self) {
        self.pool.clear();
        let sent: Vec<u64> = self
            .sent
            .range(self.so_far.nonce..)
            .map(|of| *of.0)
            .collect();
        for nonce in sent {
            let (fate, place) = (self.dice.of(5), self.dice.of(64));
            let versions = &self.sent[&nonce];
            let held = match fate {
                0 => None,
                1 => versions.get(usize::try_from(place).unwrap_or_default() % versions.len()),
                _ => versions.last(),
            };
            if let Some(held) = held.cloned() {
                self.pool.insert(nonce, held);
            }
        }
    }

    /// `wallets` are those of the chain that is gone: where one does not come again, nothing can be asked of it.
    fn replay(&mut self, gone: Vec<Closed>, wallets: &BTreeSet<Address>) -> Result<(), Mismatch> {
        let mut postponed: Vec<(Step, Option<B256>)> = Vec::new();
        for (number, closed) in gone.into_iter().enumerate() {
            let now = self.twin.model.time();
            let time = match self.dice.of(4) {
                0 => now + self.dice.of(4),
                1 => closed.block.time.0 + self.dice.of(3),
                _ => closed.block.time.0,
            };
            self.set_time(time.max(now))?;
            for (step, hash) in closed.others {
                match self.dice.of(6) {
                    _ if self.is_void(&step, wallets) => {}
                    0 => self.happened.count("a transaction did not come again"),
                    1 => postponed.push((step, hash)),
                    _ => self.again(&step, hash)?,
                }
                if self.dice.of(3) == 0 {
                    self.include_pool()?;
                }
            }
            if self.dice.of(2) == 0 {
                self.include_pool()?;
            }
            self.seal();
            if !self.down && self.dice.of(4) == 0 {
                self.look()?;
            }
            if number > 0 && self.dice.of(4) == 0 {
                break;
            }
        }
        for (step, hash) in postponed {
            if self.is_void(&step, wallets) {
                continue;
            }
            self.again(&step, hash)?;
        }
        Ok(())
    }

    /// Whether a call is one of a wallet that there is no more.
    fn is_void(&self, step: &Step, wallets: &BTreeSet<Address>) -> bool {
        let Step::Call { call, .. } = step else {
            return false;
        };
        let to = call.message(self.twin.model.deployment()).to;
        wallets.contains(&to) && !self.twin.model.wallets().contains_key(&to)
    }

    /// What others did comes again.
    fn again(&mut self, step: &Step, hash: Option<B256>) -> Result<(), Mismatch> {
        match step {
            Step::Call { from, call } => self.run(*from, call, None, hash).map(|_| ()),
            Step::Control(_) => self.set(step.clone()),
            Step::Time(_) => Ok(()),
        }
    }

    /// What is known of a transaction that a nonce was used for.
    pub(super) fn looked_up(&self, nonce: u64, tx: Hash) -> TransactionState {
        if self.so_far.included.get(&nonce) == Some(&tx) {
            TransactionState::Included
        } else if nonce < self.so_far.nonce {
            TransactionState::NonceTaken
        } else if self.pool.get(&nonce).is_some_and(|held| held.tx == tx) {
            TransactionState::Pending
        } else {
            TransactionState::Absent
        }
    }
}
