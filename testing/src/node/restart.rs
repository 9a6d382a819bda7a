//! The process dies, and comes up from its log: the whole of it, or a snapshot and what came after.

use infernet_contracts::convert::from_u256;
use infernet_state::{
    Effect, Event, Machine, codec,
    types::{Nonce, WallTime},
};

use super::{Node, differ};
use crate::twin::Mismatch;

/// Snapshots that are kept.
const SNAPSHOTS_MAX: usize = 3;

impl Node {
    /// Now and then the state is kept.
    pub(super) fn keep_snapshot(&mut self) -> Result<(), Mismatch> {
        if !self.strikes(64) {
            return Ok(());
        }
        let bytes = self
            .machine
            .snapshot()
            .map_err(|error| differ("a snapshot", error.to_string(), "can be written"))?;
        if self.snapshots.len() == SNAPSHOTS_MAX {
            self.snapshots.remove(0);
        }
        self.snapshots.push((self.log.len(), bytes));
        Ok(())
    }

    /// The machine of the log, and, where there is a snapshot, of that and what came after, is the one that lived.
    pub(super) fn rebuilt(&mut self) -> Result<Machine, Mismatch> {
        let mut start = (0, Machine::new());
        if !self.snapshots.is_empty() && self.dice.of(2) == 0 {
            let place = self.dice.place(self.snapshots.len());
            let (from, bytes) = &self.snapshots[place];
            let restored = Machine::restore(bytes)
                .map_err(|error| differ("a snapshot", error.to_string(), "can be read"))?;
            start = (*from, restored);
            self.happened.count("a snapshot was restored");
        }
        let (from, mut machine) = start;
        for (_, event) in self.log.iter().skip(from) {
            let lost = |error: codec::CodecError| {
                differ(
                    format!("the record of {event:?}"),
                    error.to_string(),
                    "is read again",
                )
            };
            let record = codec::encode(event).map_err(lost)?;
            let read = codec::decode(record.kind, record.version, &record.body).map_err(lost)?;
            machine.apply(&read).map_err(|halt| {
                differ(
                    format!("the replay of {event:?}"),
                    halt.to_string(),
                    "as live",
                )
            })?;
        }
        let digests = |machine: &Machine| (machine.digest(), machine.effects_digest());
        let (replayed, live) = (digests(&machine), digests(&self.machine));
        if replayed != live {
            return Err(differ(
                format!("the state after a replay from event {from} on"),
                format!("{replayed:?}"),
                format!("{live:?} live"),
            ));
        }
        Ok(machine)
    }

    /// The process dies: of what was asked of it, some was done, and nobody heard.
    pub(super) fn crash(&mut self) -> Result<(), Mismatch> {
        if self.down {
            return Ok(());
        }
        let asked: Vec<_> = self.effects.drain(..).chain(self.slow.drain(..)).collect();
        for issued in asked {
            // That a container failed is known to nobody then.
            let counts = matches!(issued.effect, Effect::RunContainer(_));
            if !counts && self.dice.of(2) == 0 {
                self.carry_out(&issued)?;
            }
        }
        self.late.clear();
        self.machine = self.rebuilt()?;
        self.followed.clear();
        self.down = true;
        self.happened.count("a crash");
        Ok(())
    }

    /// The process comes up.
    pub(super) fn come_up(&mut self) -> Result<(), Mismatch> {
        self.down = false;
        let at = WallTime(self.wall_ms);
        let version = "test".into();
        self.apply(&Event::NodeStarted { at, version })?;
        // Where the RPC does not answer at once, the account is observed later.
        self.observed = !self.strikes(3);
        if self.observed {
            self.observe()?;
        }
        self.effects = self.machine.outstanding().into();
        for place in 0..self.effects.len() {
            let issued = self.effects[place].clone();
            self.check_origin(&issued)?;
        }
        self.look()
    }

    /// The account is observed at the head.
    fn observe(&mut self) -> Result<(), Mismatch> {
        // What is in an open block is not in the chain yet.
        let past = self.chain.last().and_then(|closed| closed.after.as_ref());
        let nonce = past.map_or(self.so_far.nonce, |past| past.so_far.nonce);
        self.observed = true;
        self.apply(&Event::AccountObserved {
            head: self.head(),
            nonce: Nonce(nonce),
            balance: from_u256(self.twin.world.coins(self.account)),
        })
    }

    /// What an operator or a slow RPC has still to do for a run of the node.
    pub(super) fn complete_start(&mut self) -> Result<(), Mismatch> {
        if !self.observed && !self.strikes(2) {
            self.observe()?;
        }
        if self.observed && self.machine.account().quarantine().is_some() && !self.strikes(2) {
            self.happened.count("a quarantine was lifted");
            self.apply(&Event::QuarantineLifted)?;
        }
        Ok(())
    }
}
