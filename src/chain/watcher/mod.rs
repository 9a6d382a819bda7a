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
//! The watcher never ends but by a stop: errors make it wait, longer each time.

mod account;
mod collect;
mod driver;
mod error;
mod records;
mod sink;
mod wallets;
mod window;

use std::time::Duration;

use infernet_state::{
    Event,
    codec::EVENT_BYTES_MAX,
    event::ChainFact,
    types::{Address, BlockRef, SubscriptionId},
};
use tokio::sync::watch;

pub use error::WatchError;
pub use sink::{MachineView, Sink};

use super::{backoff::Backoff, connect::ChainConnection, convert, rpc::At, rpc::Header};
use collect::{Collected, Collector, Watched};
use wallets::Wallets;
use window::Window;

/// Blocks nearer to the head than this are read one by one, by hash; those deeper in ranges.
const NEAR_BLOCKS: u64 = 32;

/// The longest wait after failures: an RPC that is back is noticed within it.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(30);

/// The facts of one event take at most this many bytes, so that with its head it stays below
/// the largest event. A block with more is recorded as several events in one atomic step.
const FACTS_BYTES_MAX: usize = EVENT_BYTES_MAX - 1024;

/// The most that one fact takes: a creation's two words, six addresses and small numbers, or a
/// wallet's event, encoded.
const FACT_BYTES_MAX: usize = 256;

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
}

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
                    self.report(0, None);
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
                    self.report(failures, Some(error.to_string()));
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

    fn report(&self, failures: u32, error: Option<String>) {
        let followed = self.window.tip();
        self.status.send_if_modified(|status| {
            let changed =
                status.failures != failures || status.error != error || status.followed != followed;
            status.failures = failures;
            status.error = error;
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
        let mut oldest = head;
        for block in known {
            oldest = block;
            if block.number > head.number {
                continue;
            }
            if self.is_canonical(block).await? {
                return Ok(block);
            }
        }
        if oldest.number > head.number {
            return Err(WatchError::Behind {
                what: format!(
                    "its head is block {}, recorded is block {}",
                    head.number, oldest.number
                ),
            });
        }
        Err(WatchError::Unrelated { block: oldest })
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
                    let collected = collector.finish(from, logs?, settled, &awaiting).await?;
                    self.range = (self.range.saturating_mul(2)).min(self.config.range_blocks_max);
                    return Ok(Read {
                        collected,
                        headers: vec![end],
                    });
                }
            }
        }
    }

    /// Reads the blocks between `tip` and `head`, each by its hash.
    async fn read_near(&mut self, tip: BlockRef, head: &Header) -> Result<Read, WatchError> {
        let newest = head.reference();
        let mut headers = Vec::new();
        let mut parent = tip;
        for number in tip.number + 1..newest.number {
            let header = self.connection.rpc.header(number).await?;
            let header = header.ok_or(WatchError::Behind {
                what: format!("block {number} is missing"),
            })?;
            if header.parent() != parent.hash {
                return Err(WatchError::Moved { number });
            }
            parent = header.reference();
            headers.push(parent);
        }
        if head.parent() != parent.hash {
            return Err(WatchError::Moved {
                number: newest.number,
            });
        }
        headers.push(newest);
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
            .finish(tip.number + 1, logs, settled, &awaiting)
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
        Ok(())
    }

    async fn commit(&mut self, block: BlockRef, facts: Vec<ChainFact>) -> Result<(), WatchError> {
        self.sink.record(in_parts(block, facts)).await?;
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
        let chunk = self.connection.past(from, tip, self.config.node).await?;
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

/// The events of a block: one, or where its facts do not fit one, staged parts before it.
fn in_parts(block: BlockRef, facts: Vec<ChainFact>) -> Vec<Event> {
    const FACTS_MAX: usize = FACTS_BYTES_MAX / FACT_BYTES_MAX;
    let mut rest = facts;
    let mut events = Vec::new();
    for part in 0..u16::MAX {
        if rest.len() <= FACTS_MAX {
            break;
        }
        let later = rest.split_off(FACTS_MAX);
        let facts = std::mem::replace(&mut rest, later);
        events.push(Event::ChainFactsStaged { block, part, facts });
    }
    events.push(Event::ChainCommitted { block, facts: rest });
    events
}

#[cfg(test)]
mod tests {
    use infernet_state::{
        codec,
        event::{Subscription, WalletChange, WalletFact},
        types::{Amount, BlockTime, Hash},
    };

    use super::*;

    #[test]
    fn a_crowded_block_fits_its_events() {
        let creation = ChainFact::SubscriptionCreated {
            id: SubscriptionId(u32::MAX),
            subscription: Subscription {
                owner: Address([255; 20]),
                active_at: u32::MAX,
                period: u32::MAX,
                frequency: u32::MAX,
                redundancy: u16::MAX,
                container_id: Hash([255; 32]),
                lazy: true,
                verifier: Address([255; 20]),
                payment_amount: Amount::MAX,
                payment_token: Address([255; 20]),
                wallet: Address([255; 20]),
            },
            delegation: Some(u32::MAX),
        };
        let transfer = ChainFact::Wallet(WalletFact {
            wallet: Address([255; 20]),
            owner: Address([255; 20]),
            tx: Hash([255; 32]),
            change: WalletChange::Transferred {
                spender: Address([255; 20]),
                token: Address([255; 20]),
                to: Address([255; 20]),
                amount: Amount::MAX,
            },
        });
        let block = BlockRef {
            number: u64::MAX,
            hash: Hash([255; 32]),
            time: BlockTime(u64::MAX),
        };
        for fact in [creation, transfer] {
            let facts = vec![fact; 1_000];
            let events = in_parts(block, facts.clone());
            let mut together = Vec::new();
            for (place, event) in events.iter().enumerate() {
                codec::encode(event).expect("it fits");
                match event {
                    Event::ChainFactsStaged { part, facts, .. } => {
                        assert_eq!(usize::from(*part), place);
                        together.extend(facts.clone());
                    }
                    Event::ChainCommitted { facts, .. } => {
                        assert_eq!(place + 1, events.len());
                        together.extend(facts.clone());
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(events.len() > 1);
            assert_eq!(together, facts);
        }
        assert_eq!(in_parts(block, Vec::new()).len(), 1);
    }
}
