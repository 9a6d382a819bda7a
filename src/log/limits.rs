//! Every bound of the log, with its reason.

use infernet_state::codec::EVENT_BYTES_MAX;

/// sled's segment, in bytes. A page of more than a quarter of it leaves sled's log for a file
/// under `blobs/` that sled never syncs; the size is chosen so that this cannot happen, see
/// [`LEAF_RECORDS_MAX`].
pub const SEGMENT_BYTES: usize = 8 * 1024 * 1024;

/// How much room is written ahead at the end of sled's file, in bytes: more spares fewer syncs
/// than it costs in bytes written twice (measured with commits of 0.7, 20 and 80 KB).
pub const ROOM_BYTES: u64 = 256 * 1024;

/// The most records that one leaf page of sled 0.34 holds: it splits a page of more than 16 when
/// it next descends through it, so 17; one more is kept as a margin.
pub const LEAF_RECORDS_MAX: usize = 18;

/// What sled keeps for itself of the quarter of a segment that a page may fill: headers, keys
/// and lengths of the records.
pub const PAGE_OVERHEAD_BYTES: usize = 4 * 1024;

/// The largest block, in bytes: it takes the largest event, its inline payloads, and the heads
/// of all its payloads; a leaf full of such blocks stays within a quarter of a segment.
pub const BLOCK_BYTES_MAX: usize = 96 * 1024;

/// Where a block is closed and the next one begun, in bytes: the groups of a busy node fit one or a
/// few, and a single event is still read with little beside it. Measured with groups of 64 and 256
/// events of 400 bytes: 16 KiB costs up to a tenth more time, 64 KiB the same.
pub const BLOCK_BYTES_TARGET: usize = 32 * 1024;

/// The longest payload that stands inline, in bytes: below it a read of its own costs more than
/// the bytes do.
pub const INLINE_BYTES_MAX: usize = 2 * 1024;

/// The most inline payload bytes of one record; payloads beyond it go to the pack, however small.
pub const INLINE_BYTES_PER_RECORD_MAX: usize = 16 * 1024;

/// The most payloads of one record: a job has an input, an output and a proof, a sync one input
/// per subscription of its chunk.
pub const PAYLOADS_PER_RECORD_MAX: usize = 256;

/// The longest payload, in bytes: a container's answer is bounded well below it by the runner.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most records of one batch: bounds the memory of a commit.
pub const BATCH_RECORDS_MAX: usize = 64 * 1024;

/// Where a pack file is closed and the next one begun, in bytes: small enough that retention can
/// drop packs one by one.
pub const PACK_BYTES_TARGET: u64 = 256 * 1024 * 1024;

/// sled's page cache, in bytes (its default is 1 GiB). Replay reads every page once, so that a
/// larger cache would not help.
pub const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// The free space below which the log refuses to open, in bytes: a few segments of sled, so that
/// recovery itself, which writes, does not fail half-way.
pub const FREE_FLOOR_BYTES: u64 = 64 * 1024 * 1024;

/// The free space below which intake must stop, in bytes: several times the floor, so that what
/// was accepted can be finished, and the node started again.
pub const FREE_INTAKE_BYTES: u64 = 4 * FREE_FLOOR_BYTES;

/// The size of a database from which it is worth rolling, in bytes: about a million events. With
/// a budget, a quarter of it, so that there is something to drop.
pub const ROLL_BYTES: u64 = 512 * 1024 * 1024;

/// The largest snapshot, in bytes: a bound on what a damaged file can make us allocate.
pub const SNAPSHOT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Cached snapshots that are kept: the newest, and the one before in case it is damaged.
pub const SNAPSHOTS_KEPT: usize = 2;

/// The longest line of an export, in bytes: the largest payload in base64, and what stands
/// around it. A snapshot stands on one line too; one that is larger is not exported.
pub const EXPORT_LINE_BYTES_MAX: u64 = 96 * 1024 * 1024;

/// The largest snapshot that an export takes, in bytes: in base64, with what stands around it,
/// it fits a line.
pub const EXPORT_SNAPSHOT_BYTES_MAX: usize = 71 * 1024 * 1024;

/// The longest line of the file of checkpoints, in bytes: an identity and seven short fields.
pub const CHECKPOINT_LINE_BYTES_MAX: u64 = 16 * 1024;

/// Events that an import commits at once, and about how many bytes: the sync is shared, the
/// memory bounded.
pub const IMPORT_EVENTS: usize = 4096;

/// See [`IMPORT_EVENTS`].
pub const IMPORT_BYTES: usize = 16 * 1024 * 1024;

/// About how many bytes a mirror copies between two syncs while it catches up.
pub const MIRROR_BYTES: usize = 8 * 1024 * 1024;

/// About how many bytes are copied between two syncs while the events that were appended during a
/// roll follow into the new database.
pub const FOLLOW_BYTES: usize = 1024 * 1024;

/// How often a closed part catches up with the log before the loop takes it over: each time there
/// is less to copy, unless the disk is slower than the log grows.
pub const FOLLOW_ROUNDS: usize = 8;

/// The longest identity of a data directory, in bytes: it is quoted in errors.
pub const IDENTITY_BYTES_MAX: usize = 1024;

/// The largest metadata file read, in bytes: a bound on what a damaged directory can make us
/// allocate.
pub const METADATA_BYTES_MAX: u64 = 64 * 1024;

/// The blocks at the end of the log that are checked when it is opened; the replay that follows
/// checks the others.
pub const TAIL_BLOCKS_CHECKED: u64 = 64;

const _: () = assert!(
    LEAF_RECORDS_MAX * BLOCK_BYTES_MAX + PAGE_OVERHEAD_BYTES < SEGMENT_BYTES / 4,
    "a leaf of the largest blocks must not become a blob"
);
const _: () = assert!(
    super::block::HEAD_BYTES
        + super::frame::HEAD_BYTES
        + EVENT_BYTES_MAX
        + INLINE_BYTES_PER_RECORD_MAX
        + PAYLOADS_PER_RECORD_MAX * super::block::ENTRY_BYTES_MAX
        <= BLOCK_BYTES_MAX,
    "every record must fit a block"
);
