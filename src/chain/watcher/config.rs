//! How the watcher watches, and how it fares.

use std::time::Duration;

use infernet_state::types::{Address, BlockRef};

/// Where finality is taken from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finality {
    /// The RPC's `finalized` block.
    Tag,
    /// The block this many below the head; 0 on a chain without reorgs.
    Depth(u64),
}

/// How the watcher watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatcherConfig {
    /// The node's account.
    pub node: Address,
    /// The wallet that is paid.
    pub payment_wallet: Option<Address>,
    /// Whether to ask of the past who came by delegation: where that decides what is served.
    pub reads_origins: bool,
    /// Between looks at the head.
    pub poll: Duration,
    /// Where finality is taken from.
    pub finality: Finality,
    /// A block is recorded, facts or not, when the last recorded one is this far below.
    pub gap_blocks_max: u64,
    /// Blocks asked for at once while catching up; fewer where the RPC refuses.
    pub range_blocks_max: u64,
}

impl WatcherConfig {
    /// The defaults for an account: a look a second, the `finalized` tag.
    #[must_use]
    pub fn new(node: Address) -> Self {
        Self {
            node,
            payment_wallet: None,
            reads_origins: false,
            poll: Duration::from_secs(1),
            finality: Finality::Tag,
            gap_blocks_max: 1_000,
            range_blocks_max: 5_000,
        }
    }
}

/// How the watcher fares.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WatcherStatus {
    /// The RPC's newest block.
    pub head: Option<BlockRef>,
    /// The newest block whose facts are recorded.
    pub followed: Option<BlockRef>,
    /// Failures since the last success.
    pub failures: u32,
    /// The last of them, in words; `None` when all is well.
    pub error: Option<String>,
    /// The same for everybody, where it has lasted or no wait mends it.
    pub trouble: Option<String>,
}
