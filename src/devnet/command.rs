//! What clients may ask of the chain, and the entries that come of it.
//!
//! A command is checked, turned into entries and applied, all or nothing; the writer then makes
//! the entries durable before anybody learns of them.

use std::sync::Arc;

use alloy::consensus::Transaction as _;
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, U256};

use super::block::{Block, Tx, encoded_len};
use super::chain::{Applied, Chain, Refusal};
use super::entry::{Entry, Orphans, ReorgBlock, SentTransaction};
use super::evm;
use super::limits::{
    BASE_FEE_MAX, CODE_BYTES_MAX, MINE_BLOCKS_MAX, NONCE_MAX, REORG_DEPTH_MAX, TX_BYTES_MAX,
};

/// A change that a client asks for.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// Take a signed transaction.
    Submit(Arc<Tx>),
    /// Mine blocks, the first at a given time, each `spacing` seconds after the one before.
    Mine {
        blocks: u64,
        timestamp: Option<u64>,
        spacing: Option<u64>,
    },
    /// A block is due: interval mining.
    Tick,
    /// Mine what is ready, if anything is.
    Flush,
    /// Set a balance in wei.
    SetBalance(Address, U256),
    /// Set a nonce.
    SetNonce(Address, u64),
    /// Set code.
    SetCode(Address, Bytes),
    /// Set a storage word.
    SetStorage(Address, U256, B256),
    /// Move the clock ahead by some seconds.
    IncreaseTime(i64),
    /// Set the clock to a time, in seconds since 1970.
    SetTime(u64),
    /// Fix the next block's timestamp.
    SetNextTimestamp(u64),
    /// Fix the next block's base fee in wei per gas.
    SetNextBaseFee(u64),
    /// Set the receiver of priority fees.
    SetCoinbase(Address),
    /// Take a snapshot.
    Snapshot,
    /// Go back to a snapshot.
    Revert(u64),
    /// Let an address send without a signature, or no longer.
    Impersonate(Address, bool),
    /// Remove a waiting transaction.
    Drop(B256),
    /// Replace the newest blocks.
    Reorg {
        depth: u64,
        length: u64,
        orphans: Orphans,
        transactions: Vec<(Tx, u64)>,
    },
}

/// The answer to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// Done.
    Done,
    /// Nothing to do: no such snapshot, no such transaction.
    Absent,
    /// Hash of the transaction.
    Hash(B256),
    /// Id of a snapshot, or the clock's offset in seconds.
    Number(i64),
}

/// What a command led to, beside its reply.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What must be durable before the reply goes out.
    pub(super) entries: Vec<Entry>,
    /// Blocks mined.
    pub(super) blocks: Vec<Arc<Block>>,
}

/// A command being carried out on a copy of the chain.
struct Work {
    chain: Chain,
    outcome: Outcome,
    now: u64,
}

impl Chain {
    /// Carries out a command at the wall time `now` (seconds since 1970). The chain is unchanged
    /// if it is refused. `automine` mines what a transaction makes ready.
    pub(super) fn execute(
        &mut self,
        command: Command,
        now: u64,
        automine: bool,
    ) -> Result<(Reply, Outcome), Refusal> {
        let mut work = Work {
            chain: self.clone(),
            outcome: Outcome::default(),
            now,
        };
        let reply = work.run(command, automine)?;
        *self = work.chain;
        Ok((reply, work.outcome))
    }

    /// Checks a transaction before it enters the pool.
    fn check(&self, tx: &Tx) -> Result<(), Refusal> {
        let envelope = &tx.envelope;
        let size = encoded_len(envelope);
        if size > TX_BYTES_MAX {
            return Err(Refusal::Oversized {
                have: size,
                limit: TX_BYTES_MAX,
            });
        }
        if envelope.is_eip4844() {
            return Err(Refusal::TxType("this chain has no blobs"));
        }
        if envelope.is_eip7702() && self.spec.hardfork == evm::Hardfork::Cancun {
            return Err(Refusal::TxType("set-code transactions need Prague"));
        }
        if let Some(have) = envelope.chain_id().filter(|id| *id != self.spec.chain_id) {
            return Err(Refusal::ChainId {
                have,
                want: self.spec.chain_id,
            });
        }
        let fee = envelope.max_fee_per_gas();
        if envelope
            .max_priority_fee_per_gas()
            .is_some_and(|tip| tip > fee)
        {
            return Err(Refusal::TipAboveFee);
        }
        if envelope.gas_limit() > self.spec.gas_limit {
            let limit = self.spec.gas_limit;
            return Err(Refusal::GasLimit {
                have: envelope.gas_limit(),
                limit,
            });
        }
        if envelope.is_create()
            && envelope.input().len() > revm::primitives::eip3860::MAX_INITCODE_SIZE
        {
            return Err(Refusal::InitCodeSize);
        }
        evm::check_intrinsic_gas(tx, self.spec.hardfork)?;
        let nonce = self.state.nonce(&tx.sender);
        if tx.nonce() == u64::MAX {
            return Err(Refusal::Invalid(
                "the nonce is the highest there is (EIP-2681)".into(),
            ));
        }
        if tx.nonce() < nonce {
            return Err(Refusal::NonceTooLow {
                state: nonce,
                tx: tx.nonce(),
            });
        }
        let (have, want) = (self.state.balance(&tx.sender), tx.cost_max());
        if have < want {
            return Err(Refusal::InsufficientFunds {
                address: tx.sender,
                have,
                want,
            });
        }
        self.pool.check(tx, nonce)
    }
}

impl Work {
    fn step(&mut self, entry: Entry) -> Result<Applied, Refusal> {
        let applied = self.chain.apply(&entry).map_err(Refusal::Parameter)?;
        self.outcome.blocks.extend(applied.blocks.iter().cloned());
        self.outcome.entries.push(entry);
        Ok(applied)
    }

    fn done(&mut self, entry: Entry) -> Result<Reply, Refusal> {
        self.step(entry).map(|_| Reply::Done)
    }

    fn mine(&mut self, at: Option<u64>) -> Result<Applied, Refusal> {
        if let Some(timestamp) = at {
            self.check_timestamp(timestamp)?;
            self.chain.next_timestamp = Some(timestamp);
        }
        let (timestamp, time_offset) = self.chain.next_time(self.now);
        let parent_hash = self.chain.head().header.hash().into();
        self.step(Entry::Block {
            timestamp,
            time_offset,
            parent_hash,
        })
    }

    /// Mines as long as that takes transactions out of the pool.
    fn flush(&mut self) -> Result<Applied, Refusal> {
        let mut all = Applied::default();
        while self.chain.has_ready() {
            let before = self.chain.pool.len();
            let applied = self.mine(None)?;
            all.blocks.extend(applied.blocks);
            all.dropped.extend(applied.dropped);
            if self.chain.pool.len() == before {
                break;
            }
        }
        Ok(all)
    }

    fn check_timestamp(&self, timestamp: u64) -> Result<(), Refusal> {
        let head = self.chain.head().header.timestamp;
        // Beyond this, sums with offsets would leave 64 bits.
        if timestamp > u64::from(u32::MAX) * 256 {
            return Err(Refusal::Parameter(format!(
                "timestamp {timestamp} is too far away"
            )));
        }
        if timestamp >= head {
            return Ok(());
        }
        Err(Refusal::Parameter(format!(
            "timestamp {timestamp} is before the last block's, {head}"
        )))
    }

    fn submit(&mut self, tx: Arc<Tx>, automine: bool) -> Result<Reply, Refusal> {
        self.chain.check(&tx)?;
        let hash = tx.hash();
        let base_fee = self.chain.next_base_fee();
        let (sender, fee) = (tx.sender, tx.envelope.max_fee_per_gas());
        if automine && fee < u128::from(base_fee) {
            // No block would ever come that lowers the base fee.
            return Err(Refusal::FeeBelowBase {
                address: sender,
                fee,
                base_fee,
            });
        }
        self.step(Entry::Transaction(sent(&tx)))?;
        if automine {
            let mut applied = self.flush()?;
            let own = applied
                .dropped
                .iter()
                .position(|(dropped, _)| *dropped == hash);
            if let Some(position) = own {
                return Err(applied.dropped.swap_remove(position).1);
            }
        }
        Ok(Reply::Hash(hash))
    }

    fn mine_many(
        &mut self,
        blocks: u64,
        timestamp: Option<u64>,
        spacing: Option<u64>,
    ) -> Result<Reply, Refusal> {
        if blocks > MINE_BLOCKS_MAX {
            return Err(Refusal::Parameter(format!(
                "at most {MINE_BLOCKS_MAX} blocks at once, not {blocks}"
            )));
        }
        for number in 0..blocks {
            let at = match spacing {
                Some(seconds) if number > 0 => {
                    Some(self.chain.head().header.timestamp.saturating_add(seconds))
                }
                _ if number == 0 => timestamp,
                _ => None,
            };
            self.mine(at)?;
        }
        Ok(Reply::Done)
    }

    fn move_clock(&mut self, seconds: i64) -> Result<Reply, Refusal> {
        if seconds.unsigned_abs() > u64::from(u32::MAX) {
            return Err(Refusal::Parameter(format!(
                "cannot move the clock by {seconds} s"
            )));
        }
        self.step(Entry::SetTimeOffset { seconds })?;
        Ok(Reply::Number(seconds))
    }

    fn reorg(
        &mut self,
        depth: u64,
        length: u64,
        orphans: Orphans,
        transactions: Vec<(Tx, u64)>,
    ) -> Result<Reply, Refusal> {
        let head = self.chain.head().number();
        if depth == 0 || depth > REORG_DEPTH_MAX || depth > head {
            return Err(Refusal::Parameter(format!(
                "a reorg replaces 1 to {} blocks, not {depth}",
                REORG_DEPTH_MAX.min(head)
            )));
        }
        if length == 0 || length > 2 * REORG_DEPTH_MAX {
            return Err(Refusal::Parameter(format!(
                "a reorg mines 1 to {} blocks, not {length}",
                2 * REORG_DEPTH_MAX
            )));
        }
        if let Some((_, offset)) = transactions.iter().find(|(_, offset)| *offset >= length) {
            return Err(Refusal::Parameter(format!(
                "there is no new block {offset} of {length}"
            )));
        }
        let ancestor = head - depth;
        let mut timestamp = self
            .chain
            .block(ancestor)
            .map_or(0, |block| block.header.timestamp);
        let mut blocks = Vec::new();
        for offset in 0..length {
            // A new block takes the time of the one it replaces.
            timestamp = match self.chain.block(ancestor + 1 + offset) {
                Some(old) => old.header.timestamp,
                None => timestamp.saturating_add(1),
            };
            let transactions = transactions
                .iter()
                .filter(|(_, at)| *at == offset)
                .map(|(tx, _)| sent(tx))
                .collect();
            blocks.push(ReorgBlock {
                timestamp,
                transactions,
            });
        }
        let head_hash = self.chain.head().header.hash().into();
        self.done(Entry::Reorg {
            depth,
            orphans,
            blocks,
            head_hash,
        })
    }

    fn run(&mut self, command: Command, automine: bool) -> Result<Reply, Refusal> {
        match command {
            Command::Submit(tx) => self.submit(tx, automine),
            Command::Mine {
                blocks,
                timestamp,
                spacing,
            } => self.mine_many(blocks, timestamp, spacing),
            Command::Tick => self.mine(None).map(|_| Reply::Done),
            Command::Flush => self.flush().map(|_| Reply::Done),
            Command::SetBalance(address, balance) => self.done(Entry::SetBalance {
                address: address.into(),
                balance: balance.to_be_bytes(),
            }),
            Command::SetNonce(_, nonce) if nonce > NONCE_MAX => Err(Refusal::Parameter(format!(
                "nonce {nonce} is above {NONCE_MAX}"
            ))),
            Command::SetNonce(address, nonce) => self.done(Entry::SetNonce {
                address: address.into(),
                nonce,
            }),
            Command::SetCode(_, code) if code.len() > CODE_BYTES_MAX => {
                Err(Refusal::Parameter(format!(
                    "code has {} bytes, at most {CODE_BYTES_MAX} are allowed",
                    code.len()
                )))
            }
            Command::SetCode(address, code) => self.done(Entry::SetCode {
                address: address.into(),
                code: code.into(),
            }),
            Command::SetStorage(address, slot, value) => self.done(Entry::SetStorage {
                address: address.into(),
                slot: slot.to_be_bytes(),
                value: value.into(),
            }),
            Command::IncreaseTime(seconds) => {
                self.move_clock(self.chain.time_offset.saturating_add(seconds))
            }
            Command::SetTime(time) => {
                self.check_timestamp(time)?;
                self.move_clock(time as i64 - self.now as i64)
            }
            Command::SetNextTimestamp(timestamp) => {
                self.check_timestamp(timestamp)?;
                self.done(Entry::SetNextTimestamp { timestamp })
            }
            Command::SetNextBaseFee(fee) if fee > BASE_FEE_MAX => Err(Refusal::Parameter(format!(
                "base fee {fee} is above {BASE_FEE_MAX}"
            ))),
            Command::SetNextBaseFee(base_fee) => self.done(Entry::SetNextBaseFee { base_fee }),
            Command::SetCoinbase(address) => self.done(Entry::SetCoinbase {
                address: address.into(),
            }),
            Command::Snapshot => {
                let id = self.chain.next_snapshot;
                self.step(Entry::Snapshot { id })?;
                Ok(Reply::Number(id as i64))
            }
            Command::Revert(id) if !self.chain.has_snapshot(id) => Ok(Reply::Absent),
            Command::Revert(id) => self.done(Entry::Revert { id }),
            Command::Impersonate(address, enabled) => self.done(Entry::Impersonate {
                address: address.into(),
                enabled,
            }),
            Command::Drop(hash) if self.chain.pool.get(&hash).is_none() => Ok(Reply::Absent),
            Command::Drop(hash) => self.done(Entry::Drop { hash: hash.into() }),
            Command::Reorg {
                depth,
                length,
                orphans,
                transactions,
            } => self.reorg(depth, length, orphans, transactions),
        }
    }
}

fn sent(tx: &Tx) -> SentTransaction {
    SentTransaction {
        sender: tx.sender.into(),
        raw: tx.envelope.encoded_2718(),
    }
}
