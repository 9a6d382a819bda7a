//! What the journal records: everything that made the chain what it is.
//!
//! Own types only, so that no library's change of encoding can reach an old journal. Variants are
//! only ever added, at the end: their position is their number on disk.

use serde::{Deserialize, Serialize};

/// Format of the journal; raised when a version could not be read by older ones.
pub(super) const FORMAT: u32 = 1;

/// The first frame: what the chain starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Genesis {
    /// [`FORMAT`] of the writer.
    pub(super) format: u32,
    /// EIP-155 chain id.
    pub(super) chain_id: u64,
    /// Rules of the chain.
    pub(super) hardfork: Rules,
    /// Timestamp of block 0, in seconds since 1970.
    pub(super) timestamp: u64,
    /// Gas limit of every block.
    pub(super) gas_limit: u64,
    /// Base fee of block 0, in wei per gas.
    pub(super) base_fee: u64,
    /// Accounts of block 0.
    pub(super) accounts: Vec<GenesisEntry>,
}

/// Rules as recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Rules {
    /// Cancun.
    Cancun,
    /// Prague.
    Prague,
}

/// An account of block 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GenesisEntry {
    /// Address.
    pub(super) address: [u8; 20],
    /// Balance in wei, big-endian.
    pub(super) balance: [u8; 32],
    /// Nonce.
    pub(super) nonce: u64,
    /// Contract code.
    pub(super) code: Vec<u8>,
}

/// A transaction as it was sent, and its sender, so that a replay need not recover it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SentTransaction {
    /// Sender.
    pub(super) sender: [u8; 20],
    /// EIP-2718 encoding.
    pub(super) raw: Vec<u8>,
}

/// One step of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Entry {
    /// A transaction entered the pool.
    Transaction(SentTransaction),
    /// A block was mined from the pool.
    Block {
        /// Its timestamp, in seconds since 1970.
        timestamp: u64,
        /// Seconds by which the chain's clock is ahead from then on.
        time_offset: i64,
        /// Hash of the block before: what a replay is compared with.
        parent_hash: [u8; 32],
    },
    /// A balance was set.
    SetBalance {
        /// Account.
        address: [u8; 20],
        /// Wei, big-endian.
        balance: [u8; 32],
    },
    /// A nonce was set.
    SetNonce {
        /// Account.
        address: [u8; 20],
        /// Nonce.
        nonce: u64,
    },
    /// Code was set.
    SetCode {
        /// Account.
        address: [u8; 20],
        /// Runtime code.
        code: Vec<u8>,
    },
    /// A storage word was set.
    SetStorage {
        /// Account.
        address: [u8; 20],
        /// Slot, big-endian.
        slot: [u8; 32],
        /// Word.
        value: [u8; 32],
    },
    /// The chain's clock was moved.
    SetTimeOffset {
        /// Seconds ahead of the system clock.
        seconds: i64,
    },
    /// The next block's timestamp was fixed.
    SetNextTimestamp {
        /// Seconds since 1970.
        timestamp: u64,
    },
    /// The next block's base fee was fixed.
    SetNextBaseFee {
        /// Wei per gas.
        base_fee: u64,
    },
    /// The receiver of priority fees was set.
    SetCoinbase {
        /// Account.
        address: [u8; 20],
    },
    /// A snapshot was taken.
    Snapshot {
        /// Its id.
        id: u64,
    },
    /// The chain went back to a snapshot.
    Revert {
        /// The snapshot's id.
        id: u64,
    },
    /// An address may send without a signature, or no longer.
    Impersonate {
        /// Account.
        address: [u8; 20],
        /// From now on.
        enabled: bool,
    },
    /// A waiting transaction was removed from the pool.
    Drop {
        /// Its hash.
        hash: [u8; 32],
    },
    /// The newest blocks were replaced by others.
    Reorg {
        /// How many were removed.
        depth: u64,
        /// What became of their transactions.
        orphans: Orphans,
        /// The blocks mined instead.
        blocks: Vec<ReorgBlock>,
        /// Hash of the head before.
        head_hash: [u8; 32],
    },
}

/// What becomes of the transactions of removed blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Orphans {
    /// They are gone.
    Dropped,
    /// They wait in the pool; the new blocks do not take them.
    Pooled,
    /// They wait in the pool, from which the new blocks are filled.
    Remined,
}

/// A block of the new branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReorgBlock {
    /// Seconds since 1970.
    pub(super) timestamp: u64,
    /// Transactions that the block takes beside those of the pool.
    pub(super) transactions: Vec<SentTransaction>,
}
