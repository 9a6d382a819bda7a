//! Every bound of the development chain, with its reason.

use std::time::Duration;

/// Largest HTTP request body, in bytes. A transaction is at most [`TX_BYTES_MAX`], written as hex;
/// a batch of them still has to fit.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most calls in one JSON-RPC batch: what common clients (ethers, viem, alloy) send is below 1,000.
pub const BATCH_CALLS_MAX: usize = 1_000;

/// Largest signed transaction accepted, in bytes: the pool limit of public clients.
pub const TX_BYTES_MAX: usize = 128 * 1024;

/// Most transactions waiting in the pool. At the block gas limit this is some minutes of full
/// blocks; beyond it a sender is told to wait.
pub const POOL_TX_MAX: usize = 8_192;

/// How far ahead of its account's nonce a transaction may wait in the pool.
pub const POOL_NONCE_GAP_MAX: u64 = 1_024;

/// Percent by which both fees of a replacement must exceed those of the transaction it replaces:
/// the price bump of public clients.
pub const REPLACEMENT_BUMP_PERCENT: u128 = 10;

/// Blocks whose full state stays readable behind the head. Clients expect at least 128.
pub const STATE_HISTORY_BLOCKS: u64 = 256;

/// Highest block number. In memory an empty block costs about one kilobyte.
pub const BLOCK_NUMBER_MAX: u64 = 10_000_000;

/// Most blocks mined by one `anvil_mine`, so that one call cannot keep the writer for long.
pub const MINE_BLOCKS_MAX: u64 = 10_000;

/// Most live snapshots; the oldest is forgotten beyond that.
pub const SNAPSHOTS_MAX: usize = 256;

/// Deepest reorg that can be asked for: state must be at hand below it.
pub const REORG_DEPTH_MAX: u64 = 128;

/// Most log entries in one `eth_getLogs` answer.
pub const LOGS_RESULT_MAX: usize = 20_000;

/// Widest block range of one `eth_getLogs`.
pub const LOGS_RANGE_MAX: u64 = 1_000_000;

/// Most addresses, or alternatives of one topic, in a log filter.
pub const FILTER_ITEMS_MAX: usize = 1_000;

/// Most installed filters; the one unused for longest makes room.
pub const FILTERS_MAX: usize = 1_024;

/// Most blocks in one `eth_feeHistory`, as in public clients.
pub const FEE_HISTORY_BLOCKS_MAX: u64 = 1_024;

/// Most percentiles in one `eth_feeHistory`, as in public clients.
pub const FEE_HISTORY_PERCENTILES_MAX: usize = 100;

/// Most console messages kept of one transaction.
pub const CONSOLE_MESSAGES_PER_TX_MAX: usize = 256;

/// Longest console message, in bytes; longer ones are cut.
pub const CONSOLE_MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Console messages waiting for the receiver; the oldest is dropped beyond that.
pub const CONSOLE_QUEUE: usize = 4_096;

/// Commands waiting for the writer; beyond that callers wait.
pub const WRITER_QUEUE: usize = 256;

/// Most commands made durable by one sync.
pub const GROUP_COMMANDS_MAX: usize = 64;

/// Executions (calls, estimates, scans) that run at the same time.
pub const READS_AT_ONCE: usize = 8;

/// Longest wait of a read for its turn before the client is told that the chain is busy.
pub const READ_WAIT: Duration = Duration::from_secs(30);

/// How long a start waits for the port and the directory of a process that is just dying: the
/// system takes both back a moment after `kill -9`.
pub const TAKEOVER_WAIT: Duration = Duration::from_secs(1);

/// Largest payload of one journal frame, in bytes. A group of commands stays far below:
/// [`GROUP_COMMANDS_MAX`] transactions of [`TX_BYTES_MAX`], or [`MINE_BLOCKS_MAX`] blocks.
pub const JOURNAL_FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Contract code set by a cheat call, in bytes: the deploy limit of EIP-170.
pub const CODE_BYTES_MAX: usize = 24_576;

/// Most gas of one `eth_call` or estimate, unless a block holds more: the default cap of public
/// clients.
pub const CALL_GAS_MAX: u64 = 50_000_000;

/// Highest base fee that can be set, in wei per gas: one ether. Beyond it sums leave 64 bits.
pub const BASE_FEE_MAX: u64 = 1_000_000_000_000_000_000;

/// Highest nonce that can be set: EIP-2681 ends nonces at 2^64 − 2, and some have to be left.
pub const NONCE_MAX: u64 = u64::MAX / 2;

/// Longest interval between blocks that can be asked for.
pub const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3_600);
