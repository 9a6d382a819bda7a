//! The machine's work: what it asks for is carried out, what it and others send comes into a block.

use infernet_state::{
    Effect, Event, Issued,
    event::Outcome,
    types::{Hash, PayloadRef, WallTime},
};
use revm::primitives::{Address, B256, U256, keccak256};

use super::{Node, Tx};
use crate::{
    evm::Execution,
    model::Call,
    twin::{Mismatch, Step},
};

impl Node {
    /// Makes a call on both sides: a transaction of the block that is open. `own` names one of the machine's, `again`
    /// one that stood in a block before.
    pub(super) fn run(
        &mut self,
        from: Address,
        call: &Call,
        own: Option<Hash>,
        again: Option<B256>,
    ) -> Result<bool, Mismatch> {
        let before = self.twin.model.clone();
        let step = Step::Call {
            from,
            call: call.clone(),
        };
        self.steps.push(step.clone());
        self.twin.step(&step)?;
        let (gas, logs) = match self.twin.last_execution() {
            Some(Execution::Done { gas, logs, .. }) => (Some(*gas), logs.clone()),
            Some(Execution::Reverted(_) | Execution::Failed(_)) | None => (None, Vec::new()),
        };
        let done = gas.is_some();
        self.transactions += 1;
        let mut hash = again.unwrap_or_else(|| keccak256(self.transactions.to_be_bytes()));
        let nonce = (from == self.account).then_some(self.so_far.nonce);
        if let Some(nonce) = nonce {
            self.so_far.nonce += 1;
            // Of the same nonce nothing else can be included.
            self.pool.remove(&nonce);
        }
        match own {
            Some(tx) => {
                hash = B256::new(tx.0);
                let included = nonce.map(|nonce| (nonce, tx));
                self.so_far.included.extend(included);
                self.seen.own += u64::from(done);
            }
            None => {
                self.seen.others += u64::from(done);
                self.others.push((step, Some(hash)));
            }
        }
        let message = call.message(before.deployment());
        self.note_books(&before, call, own.is_some(), gas, &logs)?;
        self.open.push(Tx {
            hash,
            to: message.to,
            input: message.data,
            nonce,
            gas,
            logs,
        });
        Ok(done)
    }

    /// The pool's transactions, in the order of their nonces, as far as there is no gap.
    pub(super) fn include_pool(&mut self) -> Result<(), Mismatch> {
        while let Some(signed) = self.pool.get(&self.so_far.nonce).cloned() {
            let signed = self.any_version(signed);
            self.include(&signed)?;
        }
        Ok(())
    }

    /// Carries out what the machine asks for, in any order, until it waits for the chain or a later time.
    /// Containers may take their time (`slow`).
    pub(super) fn settle(&mut self, slow: bool) -> Result<(), Mismatch> {
        if self.down {
            return Ok(());
        }
        self.take_late()?;
        loop {
            while !self.effects.is_empty() {
                if self.strikes(80) {
                    return self.crash();
                }
                let place = self.dice.place(self.effects.len());
                let Some(issued) = self.effects.swap_remove_back(place) else {
                    break;
                };
                let runs = matches!(issued.effect, Effect::RunContainer(_));
                if runs && slow && self.dice.of(4) > 0 {
                    self.slow.push(issued);
                    continue;
                }
                // What waits for a key goes into one batch, if it waits long enough.
                let signs = matches!(issued.effect, Effect::Sign { .. });
                if signs && !self.effects.is_empty() && self.dice.of(4) > 0 {
                    self.effects.push_back(issued);
                    continue;
                }
                if let Some(outcome) = self.carry_out(&issued)? {
                    self.hand_over(issued, outcome)?;
                }
            }
            match self.machine.next_deadline() {
                Some(at) if at.0 <= self.wall_ms => {
                    let now = WallTime(self.wall_ms);
                    self.apply(&Event::WallTimePassed { now })?;
                }
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// The machine is told what came of an effect.
    pub(super) fn tell(&mut self, issued: &Issued, outcome: Outcome) -> Result<(), Mismatch> {
        self.count_failure(issued, &outcome);
        self.apply(&Event::EffectEnded {
            effect: issued.id,
            attempt: issued.attempt,
            at: WallTime(self.wall_ms),
            outcome,
        })
    }

    pub(super) fn payload(&mut self, bytes: &[u8]) -> PayloadRef {
        let hash = Hash(keccak256(bytes).0);
        self.payloads.insert(hash, bytes.to_vec());
        PayloadRef {
            hash,
            len: u32::try_from(bytes.len()).expect("answers are short"),
        }
    }

    /// What an account holds of a token; nothing, where the token does not say.
    pub(super) fn held(&mut self, account: Address, token: Address) -> U256 {
        if token.is_zero() {
            return self.twin.world.coins(account);
        }
        let call = crate::abi::ScriptedToken::balanceOfCall { account };
        self.twin.world.read(token, &call).unwrap_or_default()
    }
}
