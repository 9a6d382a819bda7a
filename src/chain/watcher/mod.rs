//! Follows the chain and turns what concerns the node into events.
//!
//! One step at a time: look at the head; if it is not a child of the last followed block, read
//! what is between, or find where a reorg began; collect the facts; record them. Everything of
//! a step is read before anything of it is recorded, and the watcher's own place moves only
//! with what is recorded: an outage, or a crash, at any point repeats the step.
//!
//! ```text
//!            head is new                 head is far
//!   Follow ─────────────► collect by   Follow ──────► collect a range,
//!     │                   block hash                  again until near
//!     │ another block stands at the tip's height
//!     ▼
//!   find the ancestor: the window, then the machine's recorded blocks ──► ChainReorged
//!     │ none
//!     ▼
//!   Unrelated: said, and tried again; nothing is recorded
//! ```
//!
//! Of the past the machine hears behind the head that ends it (`absence`).
//!
//! The watcher never ends but by a stop: errors make it wait, longer each time.

mod absence;
mod account;
mod collect;
mod config;
mod driver;
mod error;
mod origins;
mod parts;
mod records;
mod sink;
mod wallets;
mod window;

use std::time::Duration;

use futures_util::FutureExt as _;
use infernet_state::{
    Event,
    event::ChainFact,
    types::{BlockRef, Nonce, SubscriptionId},
};
use tokio::sync::watch;

pub use config::{Finality, WatcherConfig, WatcherStatus};
pub use error::WatchError;
pub use sink::{MachineView, Sink};

use super::{
    backoff::Backoff,
    connect::ChainConnection,
    convert,
    rpc::{At, Header, all},
};
use account::NONCES_PER_STEP_MAX;
use collect::{Collected, Collector, Watched};
use parts::in_parts;
use wallets::Wallets;
use window::Window;

/// Blocks nearer to the head than this are read one by one, by hash; those deeper in ranges.
const NEAR_BLOCKS: u64 = 32;

/// The longest wait after failures: an RPC that is back is noticed within it.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(30);

/// How far the past is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Past {
    /// Nothing of it was read in this run.
    Unknown,
    /// Between the machine's cursor and `next` nothing lives.
    Reading {
        cursor: SubscriptionId,
        next: SubscriptionId,
    },
    /// From the machine's cursor on nothing lives, and it was told.
    Read { cursor: SubscriptionId },
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// There is more to do at once.
    More,
    /// Nothing until the next look.
    Idle,
}

/// Follows the chain. See the module's documentation.
pub struct Watcher<S> {
    connection: ChainConnection,
    config: WatcherConfig,
    sink: S,
    window: Window,
    wallets: Wallets,
    /// Nonces below are settled; `None` before the first block.
    settled: Option<u64>,
    /// The free nonce behind which others wait, as it was last told.
    gap: Option<Nonce>,
    /// The newest recorded block.
    recorded: Option<BlockRef>,
    /// The present size of a range.
    range: u64,
    past: Past,
    finality_tag: bool,
    status: watch::Sender<WatcherStatus>,
}

impl<S: Sink> Watcher<S> {
    /// A watcher that records into `sink`, beginning where the machine's chain view ends.
    #[must_use]
    pub fn new(connection: ChainConnection, config: WatcherConfig, sink: S) -> Self {
        Self {
            connection,
            config,
            sink,
            window: Window::default(),
            wallets: Wallets::default(),
            settled: None,
            gap: None,
            recorded: None,
            range: config.range_blocks_max.max(1),
            past: Past::Unknown,
            finality_tag: true,
            status: watch::Sender::default(),
        }
    }

    /// How the watcher fares, as it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<WatcherStatus> {
        self.status.subscribe()
    }

    /// Watches until `stop` resolves or the node takes no more events.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut backoff = Backoff::new(self.config.poll, RETRY_WAIT_MAX.max(self.config.poll));
        loop {
            let outcome = tokio::select! {
                biased;
                () = &mut stop => return,
                outcome = self.step() => outcome,
            };
            let wait = match outcome {
                Ok(step) => {
                    backoff.reset();
                    self.report(0, None, None);
                    match step {
                        Step::More => continue,
                        Step::Idle => self.config.poll,
                    }
                }
                Err(WatchError::Stopped(_)) => return,
                Err(error) => {
                    let wait = backoff.next();
                    let failures = backoff.failures();
                    tracing::warn!(host = self.connection.rpc.host(), %error, failures, ?wait, "the chain was not read");
                    self.report(failures, Some(error.to_string()), error.in_public(failures));
                    wait
                }
            };
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn report(&self, failures: u32, error: Option<String>, trouble: Option<String>) {
        let followed = self.window.tip();
        self.status.send_if_modified(|status| {
            let changed = status.failures != failures
                || status.error != error
                || status.trouble != trouble
                || status.followed != followed;
            status.failures = failures;
            status.error = error;
            status.trouble = trouble;
            status.followed = followed;
            changed
        });
    }

    async fn step(&mut self) -> Result<Step, WatchError> {
        let head = self.connection.rpc.head().await?;
        let block = head.reference();
        self.status.send_if_modified(|status| {
            let changed = status.head != Some(block);
            status.head = Some(block);
            changed
        });
        let Some(tip) = self.window.tip() else {
            return self.start(block).await;
        };
        if !self.still_holds(tip, &head).await? {
            self.reorganise(block).await?;
            return Ok(Step::More);
        }
        if block.number <= tip.number {
            // What was read of the past since the last block becomes final without a new one.
            self.finalize(&head).await?;
            return self.rest(tip).await;
        }
        let far = block.number - tip.number > NEAR_BLOCKS;
        let read = if far {
            self.read_far(tip, block.number - NEAR_BLOCKS).await?
        } else {
            self.read_near(tip, &head).await?
        };
        self.tell_absence(tip, block).await?;
        self.record(read).await?;
        self.finalize(&head).await?;
        if far {
            return Ok(Step::More);
        }
        // Also on a chain whose blocks come faster than looks, the past gets its turn.
        self.rest(block).await
    }

    /// Begins: behind the recorded blocks, or with the head when there are none.
    async fn start(&mut self, head: BlockRef) -> Result<Step, WatchError> {
        if self.sink.recorded_head().is_some() {
            self.reorganise(head).await?;
            return Ok(Step::More);
        }
        let settled = self.account_nonce(head).await?;
        let (connection, watched) = (self.connection.clone(), self.watched());
        let facts = self.wallets.balances(&connection, watched, head).await?;
        if !self.is_canonical(head).await? {
            return Err(WatchError::Moved {
                number: head.number,
            });
        }
        self.commit(head, facts).await?;
        self.window.push(head);
        self.settled = Some(settled);
        Ok(Step::More)
    }

    /// Whether `tip` is still in the chain whose newest block is `head`.
    async fn still_holds(&self, tip: BlockRef, head: &Header) -> Result<bool, WatchError> {
        let newest = head.reference();
        if newest.number == tip.number + 1 {
            return Ok(head.parent() == tip.hash);
        }
        if newest.number == tip.number {
            return Ok(newest.hash == tip.hash);
        }
        if newest.number < tip.number {
            // Behind a load balancer heads go back and forth; only another block is a reorg.
            let followed = self.window.newest_first();
            let known = followed.into_iter().find(|b| b.number == newest.number);
            return Ok(known.is_none_or(|known| known.hash == newest.hash));
        }
        self.is_canonical(tip).await
    }

    async fn is_canonical(&self, block: BlockRef) -> Result<bool, WatchError> {
        let header = self.connection.rpc.header(block.number).await?;
        let header = header.ok_or(WatchError::Behind {
            what: format!("block {} is missing", block.number),
        })?;
        Ok(header.reference().hash == block.hash)
    }

    /// The newest block, of those followed or recorded, that is in the chain of `head`.
    async fn common_ancestor(&self, head: BlockRef) -> Result<BlockRef, WatchError> {
        let mut known: Vec<BlockRef> = self.window.newest_first().collect();
        known.extend(self.sink.known_blocks());
        known.sort_by_key(|block| std::cmp::Reverse(block.number));
        known.dedup();
        let (newest, oldest) = match (known.first(), known.last()) {
            (Some(newest), Some(oldest)) => (*newest, *oldest),
            _ => return Ok(head),
        };
        let mut replaced = false;
        for block in known {
            if block.number > head.number {
                continue;
            }
            if !self.is_canonical(block).await? {
                replaced = true;
            } else if replaced || block == newest {
                return Ok(block);
            } else {
                // All that can be compared fits: this RPC has not come as far as the record.
                break;
            }
        }
        if replaced {
            return Err(WatchError::Unrelated { block: oldest });
        }
        Err(WatchError::Behind {
            what: format!(
                "its head is block {}, recorded is block {}",
                head.number, newest.number
            ),
        })
    }

    /// Goes back to the common ancestor, which is the tip itself where nothing changed.
    async fn reorganise(&mut self, head: BlockRef) -> Result<(), WatchError> {
        let ancestor = self.common_ancestor(head).await?;
        let newest = self.sink.recorded_head();
        // A reorg that takes nothing recorded away concerns nobody but the window.
        if newest.is_some_and(|newest| newest.number > ancestor.number) {
            let reorged = Event::ChainReorged { ancestor };
            self.sink.record(vec![reorged]).await?;
        }
        self.resume(ancestor).await
    }

    /// Goes on behind `block`.
    async fn resume(&mut self, block: BlockRef) -> Result<(), WatchError> {
        let waiting = self.sink.awaiting_inclusion();
        let first_waiting = waiting.keys().next().map(|nonce| nonce.0);
        let in_chain = self.account_nonce(block).await?;
        self.settled = Some(first_waiting.map_or(in_chain, |first| first.min(in_chain)));
        self.wallets.clear();
        self.window.rewind(block);
        self.recorded = self.sink.recorded_head();
        Ok(())
    }

    /// The account's transactions up to `block`, or up to now where that state is gone.
    async fn account_nonce(&self, block: BlockRef) -> Result<u64, WatchError> {
        let account = convert::to_address(self.config.node);
        let rpc = &self.connection.rpc;
        match rpc.nonce(account, At::Number(block.number)).await {
            Err(failure) if failure.is_state_missing() => {
                Ok(rpc.nonce(account, At::Latest).await?)
            }
            answer => Ok(answer?),
        }
    }

    /// Reads a range that ends at `limit` or before.
    async fn read_far(&mut self, tip: BlockRef, limit: u64) -> Result<Read, WatchError> {
        let from = tip.number + 1;
        loop {
            let to = limit.min(tip.number.saturating_add(self.range));
            let end = self.connection.rpc.header(to).await?;
            let end = end.ok_or(WatchError::Behind {
                what: format!("block {to} is missing"),
            })?;
            let end = end.reference();
            let awaiting = self.sink.awaiting_inclusion();
            let (connection, watched) = (self.connection.clone(), self.watched());
            let balances = self.is_gap(end);
            let mut collector = Collector::new(&connection, watched, &mut self.wallets, end, &[]);
            collector.read_balances(balances);
            match collector.read_range(from, to).await {
                Err(failure) if self.range > 1 && failure.wants_smaller_range() => {
                    self.range = (self.range / 2).max(1);
                    tracing::debug!(%failure, blocks = self.range, "asking for fewer blocks");
                }
                logs => {
                    let settled = self.settled.unwrap_or_default();
                    let most = if to > from {
                        NONCES_PER_STEP_MAX
                    } else {
                        u64::MAX
                    };
                    match collector
                        .finish(from, logs?, settled, &awaiting, most)
                        .await
                    {
                        Err(WatchError::ManyNonces { .. }) => self.range = (to - from).div_ceil(2),
                        collected => {
                            let doubled = self.range.saturating_mul(2);
                            self.range = doubled.min(self.config.range_blocks_max);
                            return Ok(Read {
                                collected: collected?,
                                headers: vec![end],
                            });
                        }
                    }
                }
            }
        }
    }

    /// Reads the blocks between `tip` and `head`, each by its hash.
    async fn read_near(&mut self, tip: BlockRef, head: &Header) -> Result<Read, WatchError> {
        let newest = head.reference();
        let mut reads = Vec::new();
        for number in tip.number + 1..newest.number {
            reads.push(self.connection.rpc.header(number).boxed());
        }
        let mut between = all(reads).await?;
        between.push(Some(head.clone()));
        let mut headers: Vec<BlockRef> = Vec::with_capacity(between.len());
        for (number, header) in (tip.number + 1..).zip(between) {
            let header = header.ok_or(WatchError::Behind {
                what: format!("block {number} is missing"),
            })?;
            let parent = headers.last().unwrap_or(&tip).hash;
            if header.parent() != parent {
                return Err(WatchError::Moved { number });
            }
            headers.push(header.reference());
        }
        // After the headers: a transaction that one of these blocks includes was signed, and
        // is awaited, before the block was there.
        let awaiting = self.sink.awaiting_inclusion();
        let (connection, watched) = (self.connection.clone(), self.watched());
        let balances = self.is_gap(newest);
        let mut collector =
            Collector::new(&connection, watched, &mut self.wallets, newest, &headers);
        collector.read_balances(balances);
        let logs = collector.read_blocks(&headers).await?;
        let settled = self.settled.unwrap_or_default();
        let collected = collector
            .finish(tip.number + 1, logs, settled, &awaiting, u64::MAX)
            .await?;
        Ok(Read { collected, headers })
    }

    fn watched(&self) -> Watched {
        Watched {
            node: self.config.node,
            payment_wallet: self.config.payment_wallet,
        }
    }

    /// Records what was read, block by block, and moves on.
    async fn record(&mut self, read: Read) -> Result<(), WatchError> {
        let Read { collected, headers } = read;
        let end = headers.last().copied();
        let mut with_facts = collected.blocks.into_iter().peekable();
        for header in headers {
            while let Some((block, facts)) = with_facts.next_if(|(b, _)| b.number < header.number) {
                self.commit(block, facts).await?;
            }
            match with_facts.next_if(|(block, _)| block.number == header.number) {
                Some((block, facts)) => self.commit(block, facts).await?,
                None if self.is_due(header) => self.commit(header, Vec::new()).await?,
                None => {}
            }
            self.window.push(header);
        }
        self.settled = Some(collected.settled);
        if let (Some(nonce), Some(end)) = (collected.gap, end)
            && self.gap != Some(nonce)
        {
            self.observe_gap(end, nonce).await?;
        }
        self.gap = collected.gap;
        Ok(())
    }

    /// Nonces wait behind one that is free, and nobody told: the account is observed once more.
    async fn observe_gap(&self, head: BlockRef, nonce: Nonce) -> Result<(), WatchError> {
        let account = convert::to_address(self.config.node);
        let balance = self
            .connection
            .rpc
            .balance(account, At::Number(head.number));
        let observed = Event::AccountObserved {
            head,
            nonce,
            balance: convert::from_u256(balance.await?),
        };
        self.sink.record(vec![observed]).await?;
        Ok(())
    }

    async fn commit(&mut self, block: BlockRef, facts: Vec<ChainFact>) -> Result<(), WatchError> {
        let events = in_parts(block, facts, self.watched().node);
        self.sink.record(events).await?;
        self.recorded = Some(block);
        Ok(())
    }

    /// Whether the machine wants to hear of a block without facts.
    fn is_due(&self, block: BlockRef) -> bool {
        let Some(recorded) = self.recorded else {
            return true;
        };
        if block.number <= recorded.number {
            return false;
        }
        let deadline = self.sink.next_block_deadline();
        deadline.time.is_some_and(|time| block.time >= time)
            || deadline.number.is_some_and(|number| block.number >= number)
            || self.is_gap(block)
    }

    /// Whether the last recorded block is so far below that this one is recorded anyway.
    fn is_gap(&self, block: BlockRef) -> bool {
        self.recorded.is_none_or(|recorded| {
            block.number.saturating_sub(recorded.number) >= self.config.gap_blocks_max
        })
    }

    /// What there is to do at the head: a deadline that was set after its block was read, and
    /// the past.
    async fn rest(&mut self, tip: BlockRef) -> Result<Step, WatchError> {
        self.tell_shorter(tip).await?;
        if self.is_due(tip) {
            self.commit(tip, Vec::new()).await?;
        }
        let Some(cursor) = self.sink.sync_cursor() else {
            return Ok(Step::Idle);
        };
        // Ids that are dead move only the watcher's own place: they are worth no event.
        let from = match self.past {
            Past::Reading { cursor: of, next } if of == cursor => next,
            Past::Read { cursor: of } if of == cursor => return Ok(Step::Idle),
            Past::Unknown | Past::Reading { .. } | Past::Read { .. } => cursor,
        };
        let (node, reads_origins) = (self.config.node, self.config.reads_origins);
        let chunk = self.connection.past(from, tip, node, reads_origins).await?;
        if !self.is_canonical(tip).await? {
            return Err(WatchError::Moved { number: tip.number });
        }
        if chunk.living.is_empty() && !chunk.at_end {
            self.past = Past::Reading {
                cursor,
                next: chunk.next,
            };
            return Ok(Step::More);
        }
        if chunk.living.is_empty() {
            self.past = Past::Read { cursor };
        }
        let synced = Event::SubscriptionsSynced {
            block: tip,
            subscriptions: chunk.living,
            next: chunk.next,
        };
        self.sink.record(vec![synced]).await?;
        Ok(Step::More)
    }

    /// Records finality when a recorded block became final.
    async fn finalize(&mut self, head: &Header) -> Result<(), WatchError> {
        let Some(tip) = self.window.tip() else {
            return Ok(());
        };
        let Some(oldest) = self.sink.unfinalized_from() else {
            return Ok(());
        };
        let Some(newest_final) = self.newest_final(head).await? else {
            return Ok(());
        };
        let followed = self.window.newest_first();
        let known = followed
            .into_iter()
            .find(|b| b.number == newest_final.number);
        if known.is_some_and(|known| known != newest_final) {
            return Err(WatchError::Moved {
                number: newest_final.number,
            });
        }
        // What is final but not yet read here is told when it is read.
        let block = if newest_final.number > tip.number {
            tip
        } else {
            newest_final
        };
        if block.number >= oldest {
            let finalized = Event::ChainFinalized { block };
            self.sink.record(vec![finalized]).await?;
        }
        Ok(())
    }

    async fn newest_final(&mut self, head: &Header) -> Result<Option<BlockRef>, WatchError> {
        let rpc = &self.connection.rpc;
        match self.config.finality {
            Finality::Depth(0) => Ok(Some(head.reference())),
            Finality::Depth(depth) => match head.reference().number.checked_sub(depth) {
                Some(number) => Ok(rpc.header(number).await?.map(|header| header.reference())),
                None => Ok(None),
            },
            Finality::Tag if !self.finality_tag => Ok(None),
            Finality::Tag => match rpc.finalized().await {
                Ok(header) => Ok(header.map(|header| header.reference())),
                Err(failure) if failure.is_unsupported() => {
                    tracing::warn!(%failure, "this RPC names no final block: configure a depth, or nothing becomes final");
                    self.finality_tag = false;
                    Ok(None)
                }
                Err(failure) => Err(failure.into()),
            },
        }
    }
}

/// What a step has read and not yet recorded.
struct Read {
    collected: Collected,
    /// The headers of the range that are known, ascending; the last is its end.
    headers: Vec<BlockRef>,
}
