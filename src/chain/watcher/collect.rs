//! Reads what a range of blocks holds for the node and puts it in the order of its logs.

use std::collections::{BTreeMap, BTreeSet};

use alloy::{
    primitives::B256,
    rpc::types::{Filter, Log},
    sol_types::SolEvent as _,
};
use futures_util::FutureExt as _;
use infernet_contracts::facts::{Said, said, token_moved, wallet_change};
use infernet_state::{
    event::{ChainFact, Receipt},
    types::{Address, BlockRef, Hash, Nonce, SubscriptionId},
};

use super::{
    account::{NonceUse, NonceUses, nonce_uses},
    error::WatchError,
    wallets::Wallets,
};
use crate::chain::{
    abi::{Coordinator, Wallet},
    connect::ChainConnection,
    convert,
    rpc::{At, TransactionReceipt, all},
    rpc_error::RpcFailure,
};

/// Whom the watcher watches for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Watched {
    /// The node's account.
    pub(super) node: Address,
    /// The wallet that is paid.
    pub(super) payment_wallet: Option<Address>,
}

/// What a range of blocks holds.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Collected {
    /// The blocks with facts, ascending, each fact in the order of its log.
    pub(super) blocks: Vec<(BlockRef, Vec<ChainFact>)>,
    /// All nonces of the account below are settled.
    pub(super) settled: u64,
    /// The account's transactions, where they are fewer than what is awaited is behind: none of
    /// it is included before somebody uses the nonces between.
    pub(super) gap: Option<Nonce>,
}

/// A fact's place: transaction, then the receipt before its logs.
type Place = (u64, u64);

/// Collects the facts of one range.
pub(super) struct Collector<'a> {
    connection: &'a ChainConnection,
    watched: Watched,
    wallets: &'a mut Wallets,
    /// The last block of the range.
    to: BlockRef,
    /// Whether the payment wallet's balances are read at the end, moved or not.
    balances: bool,
    /// The blocks of the range whose headers are known already.
    blocks: BTreeMap<u64, BlockRef>,
    facts: BTreeMap<u64, Vec<(Place, ChainFact)>>,
    /// Logs of wallets, by block and place, so that each counts once however it was found.
    wallet_logs: BTreeMap<(u64, Place), Log>,
}

impl<'a> Collector<'a> {
    /// A collector for the range that ends with `to`, of which `headers` are known.
    pub(super) fn new(
        connection: &'a ChainConnection,
        watched: Watched,
        wallets: &'a mut Wallets,
        to: BlockRef,
        headers: &[BlockRef],
    ) -> Self {
        let known = headers.iter().chain([&to]);
        Self {
            connection,
            watched,
            wallets,
            to,
            balances: false,
            blocks: known.map(|block| (block.number, *block)).collect(),
            facts: BTreeMap::new(),
            wallet_logs: BTreeMap::new(),
        }
    }

    /// Whether to read the payment wallet's balances at the end of the range, moved or not:
    /// deposits leave no event.
    pub(super) fn read_balances(&mut self, whether: bool) {
        self.balances = whether;
    }

    /// Reads the logs of blocks whose headers are known, each by its hash: an RPC that does not
    /// have the block says so, instead of answering that it holds nothing.
    pub(super) async fn read_blocks(&self, headers: &[BlockRef]) -> Result<Vec<Log>, WatchError> {
        let mut reads = Vec::with_capacity(headers.len());
        for block in headers {
            reads.push(self.read_block(*block).boxed());
        }
        Ok(all(reads).await?.concat())
    }

    async fn read_block(&self, block: BlockRef) -> Result<Vec<Log>, RpcFailure> {
        let rpc = &self.connection.rpc;
        let by_hash = self.filter().at_block_hash(convert::to_b256(block.hash));
        match rpc.logs(&by_hash).await {
            Err(failure) if failure.is_unsupported() => {
                rpc.logs(&self.filter().select(block.number)).await
            }
            answer => answer,
        }
    }

    /// Reads the logs of a range of heights.
    pub(super) async fn read_range(&self, from: u64, to: u64) -> Result<Vec<Log>, RpcFailure> {
        let filter = self.filter().from_block(from).to_block(to);
        self.connection.rpc.logs(&filter).await
    }

    fn filter(&self) -> Filter {
        let mut addresses = vec![convert::to_address(self.connection.contracts.coordinator)];
        addresses.extend(self.watched.payment_wallet.map(convert::to_address));
        Filter::new().address(addresses).event_signature(vec![
            Coordinator::SubscriptionCreated::SIGNATURE_HASH,
            Coordinator::SubscriptionCancelled::SIGNATURE_HASH,
            Coordinator::SubscriptionFulfilled::SIGNATURE_HASH,
            Coordinator::ProofVerified::SIGNATURE_HASH,
            Wallet::Transfer::SIGNATURE_HASH,
            Wallet::Escrow::SIGNATURE_HASH,
            Wallet::Approval::SIGNATURE_HASH,
            Wallet::Withdrawl::SIGNATURE_HASH,
        ])
    }

    /// Turns logs and the account's nonces, at most `nonces_max` of them, into facts.
    pub(super) async fn finish(
        mut self,
        from: u64,
        logs: Vec<Log>,
        settled: u64,
        awaiting: &BTreeMap<Nonce, Vec<Hash>>,
        nonces_max: u64,
    ) -> Result<Collected, WatchError> {
        let account = convert::to_address(self.watched.node);
        let range = (from, self.to.number);
        let rpc = &self.connection.rpc;
        let found = nonce_uses(rpc, account, settled, range, awaiting, nonces_max).await?;
        let own = self.take_nonce_uses(&found, from).await?;
        let coordinator = convert::to_address(self.connection.contracts.coordinator);
        self.read_headers(&logs).await?;
        let mut created = Vec::new();
        let mut proofs = BTreeSet::new();
        for log in logs {
            let (number, place) = self.place_of(&log).await?;
            if log.address() != coordinator {
                self.wallet_logs.insert((number, place), log);
                continue;
            }
            match said(&log.inner) {
                Ok(Said::Created(id)) => created.push((number, place, id, log.transaction_hash)),
                Ok(Said::Fact(fact)) => {
                    if matches!(fact, ChainFact::ProofVerified { node, .. } if node == self.watched.node)
                    {
                        proofs.extend(log.transaction_hash);
                    }
                    self.add(number, place, fact);
                }
                Ok(Said::Nothing) => {}
                Err(error) => {
                    tracing::warn!(block = number, %error, "a log of the Coordinator does not decode");
                }
            }
        }
        self.add_creations(created).await?;
        // Who finalises a proof moves our money in a transaction that is not ours.
        for tx in proofs.difference(&own) {
            let receipt = self.connection.rpc.receipt(*tx).await?;
            let receipt = receipt.ok_or(WatchError::Behind {
                what: format!("the receipt of transaction {tx} is missing"),
            })?;
            self.take_wallet_logs(&receipt);
        }
        self.add_wallet_facts().await?;
        self.add_balances().await?;
        if self.balances {
            let (watched, to) = (self.watched, self.to);
            let facts = self.wallets.balances(self.connection, watched, to).await?;
            for fact in facts {
                self.add(to.number, (u64::MAX, u64::MAX), fact);
            }
        }
        self.require_unmoved().await?;
        let first = awaiting.keys().next();
        let count = Nonce(found.count);
        let is_behind = |first: &&Nonce| **first > count && count.0 >= settled;
        let gap = first.filter(is_behind).map(|_| count);
        Ok(self.into_collected(found.settled, gap))
    }

    fn add(&mut self, number: u64, place: Place, fact: ChainFact) {
        self.facts.entry(number).or_default().push((place, fact));
    }

    /// Where a log stands; checks that its block is the one that is followed.
    async fn place_of(&mut self, log: &Log) -> Result<(u64, Place), WatchError> {
        let (Some(number), Some(hash), Some(tx), Some(index)) = (
            log.block_number,
            log.block_hash,
            log.transaction_index,
            log.log_index,
        ) else {
            return Err(WatchError::Rpc(RpcFailure::Malformed {
                method: "eth_getLogs",
                reason: "a log without its place".to_owned(),
            }));
        };
        let block = self.block(number).await?;
        if log.removed || block.hash != convert::from_b256(hash) {
            return Err(WatchError::Moved { number });
        }
        Ok((number, (tx, index.saturating_add(1))))
    }

    /// Reads the headers of blocks with logs, those that are not known yet.
    async fn read_headers(&mut self, logs: &[Log]) -> Result<(), WatchError> {
        let numbers: BTreeSet<u64> = logs.iter().filter_map(|log| log.block_number).collect();
        let mut reads = Vec::new();
        for number in numbers {
            if !self.blocks.contains_key(&number) {
                reads.push(self.connection.rpc.header(number).boxed());
            }
        }
        let headers = all(reads).await?;
        let known = headers
            .into_iter()
            .flatten()
            .map(|header| header.reference());
        self.blocks.extend(known.map(|block| (block.number, block)));
        Ok(())
    }

    async fn block(&mut self, number: u64) -> Result<BlockRef, WatchError> {
        if let Some(block) = self.blocks.get(&number) {
            return Ok(*block);
        }
        let header = self.connection.rpc.header(number).await?;
        let header = header.ok_or(WatchError::Behind {
            what: format!("block {number} is missing"),
        })?;
        let block = header.reference();
        self.blocks.insert(number, block);
        Ok(block)
    }

    /// Adds receipts and foreign nonces; returns the transactions of the node among them.
    async fn take_nonce_uses(
        &mut self,
        found: &NonceUses,
        from: u64,
    ) -> Result<BTreeSet<B256>, WatchError> {
        let mut own = BTreeSet::new();
        for nonce_use in &found.uses {
            match nonce_use {
                NonceUse::Own { nonce, receipt } => {
                    own.insert(receipt.transaction_hash);
                    let number = receipt.block_number.to::<u64>();
                    let fact = ChainFact::TransactionIncluded(convert_receipt(*nonce, receipt));
                    // An inclusion that was missed when its block was read is told late rather
                    // than never.
                    let place = (receipt.transaction_index.to(), 0);
                    self.add(number.clamp(from, self.to.number), place, fact);
                    if number >= from {
                        let block = self.block(number).await?;
                        if block.hash != convert::from_b256(receipt.block_hash) {
                            return Err(WatchError::Moved { number });
                        }
                        self.take_wallet_logs(receipt);
                    }
                }
                NonceUse::Foreign {
                    nonce,
                    block,
                    index,
                } => {
                    let fact = ChainFact::ForeignNonceUsed { nonce: *nonce };
                    self.block(*block).await?;
                    self.add(*block, (*index, 0), fact);
                }
            }
        }
        Ok(own)
    }

    fn take_wallet_logs(&mut self, receipt: &TransactionReceipt) {
        let number = receipt.block_number.to();
        let tx = receipt.transaction_index.to();
        for log in &receipt.logs {
            if let Some(index) = log
                .log_index
                .filter(|_| wallet_change(&log.inner).is_some())
            {
                let place = (tx, index.saturating_add(1));
                self.wallet_logs.insert((number, place), log.clone());
            }
        }
    }

    async fn add_creations(
        &mut self,
        created: Vec<(u64, Place, u32, Option<B256>)>,
    ) -> Result<(), WatchError> {
        let mut by_block: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (number, _, id, _) in &created {
            by_block.entry(*number).or_default().push(*id);
        }
        let connection = self.connection;
        let mut reads = Vec::with_capacity(by_block.len());
        for (number, ids) in by_block {
            let read = async move { Ok((number, connection.subscriptions(&ids, number).await?)) };
            reads.push(read.boxed());
        }
        let mut records = BTreeMap::new();
        for (number, read) in all::<_, RpcFailure>(reads).await? {
            records.extend(read.into_iter().map(|(id, record)| ((number, id), record)));
        }
        // Only the first creation of a transaction can be the delegated one: a delivery's
        // callback, which may create others, comes after it.
        let mut seen = BTreeSet::new();
        let mut reads = Vec::new();
        for (number, _, id, tx) in &created {
            let first = tx.filter(|tx| seen.insert(*tx));
            if let (Some(tx), Some(record)) = (first, records.get(&(*number, *id))) {
                let (key, owner) = ((*number, *id), record.owner);
                let read = async move { Ok((key, connection.delegation(tx, owner).await?)) };
                reads.push(read.boxed());
            }
        }
        let delegations: BTreeMap<(u64, u32), Option<u32>> =
            all::<_, RpcFailure>(reads).await?.into_iter().collect();
        for (number, place, id, _) in created {
            let record = records.get(&(number, id));
            let Some(subscription) = record.filter(|record| !record.owner.is_zero()) else {
                return Err(WatchError::Behind {
                    what: format!("subscription {id} of block {number} is missing"),
                });
            };
            let fact = ChainFact::SubscriptionCreated {
                id: SubscriptionId(id),
                subscription: convert::from_subscription(subscription),
                delegation: delegations.get(&(number, id)).copied().flatten(),
            };
            self.add(number, place, fact);
        }
        Ok(())
    }

    async fn add_wallet_facts(&mut self) -> Result<(), WatchError> {
        for ((number, place), log) in std::mem::take(&mut self.wallet_logs) {
            let fact = self
                .wallets
                .fact(self.connection, &log, At::Number(number))
                .await?;
            if let Some(fact) = fact {
                self.block(number).await?;
                self.add(number, place, ChainFact::Wallet(fact));
            }
        }
        Ok(())
    }

    /// The payment wallet's balance after each block that moved it, in the tokens concerned.
    async fn add_balances(&mut self) -> Result<(), WatchError> {
        let Some(wallet) = self.watched.payment_wallet else {
            return Ok(());
        };
        let mut moved: BTreeMap<u64, BTreeSet<Address>> = BTreeMap::new();
        for (number, facts) in &self.facts {
            for (_, fact) in facts {
                if let ChainFact::Wallet(fact) = fact {
                    let token = token_moved(wallet, fact);
                    moved.entry(*number).or_default().extend(token);
                }
            }
        }
        for (number, tokens) in moved {
            for token in tokens {
                let read = self
                    .wallets
                    .balance(self.connection, wallet, token, At::Number(number))
                    .await?;
                if let Some(fact) = read {
                    self.add(number, (u64::MAX, u64::MAX), ChainFact::Wallet(fact));
                }
            }
        }
        Ok(())
    }

    /// Reads by height are of the followed chain if its last block still stands afterwards.
    async fn require_unmoved(&self) -> Result<(), WatchError> {
        let number = self.to.number;
        let header = self.connection.rpc.header(number).await?;
        match header.map(|header| header.reference()) {
            Some(block) if block == self.to => Ok(()),
            Some(_) => Err(WatchError::Moved { number }),
            None => Err(WatchError::Behind {
                what: format!("block {number} is missing"),
            }),
        }
    }

    fn into_collected(self, settled: u64, gap: Option<Nonce>) -> Collected {
        let (blocks, to) = (self.blocks, self.to);
        let in_order = |(number, mut facts): (u64, Vec<(Place, ChainFact)>)| {
            // Stable: facts of one place stay as they were added.
            facts.sort_by_key(|(place, _)| *place);
            let block = blocks.get(&number).copied().unwrap_or(to);
            (block, facts.into_iter().map(|(_, fact)| fact).collect())
        };
        Collected {
            blocks: self.facts.into_iter().map(in_order).collect(),
            settled,
            gap,
        }
    }
}

fn convert_receipt(nonce: Nonce, receipt: &TransactionReceipt) -> Receipt {
    let price = receipt.effective_gas_price.or(receipt.gas_price);
    Receipt {
        nonce,
        tx: convert::from_b256(receipt.transaction_hash),
        succeeded: receipt.status.to::<u64>() == 1,
        gas_used: receipt.gas_used.to(),
        effective_gas_price: price.unwrap_or_default().saturating_to(),
        l1_fee: convert::from_u256(receipt.l1_fee.unwrap_or_default()),
    }
}
