//! Reads subscriptions: those of a creation, and those of the past.

use std::collections::BTreeMap;

use alloy::primitives::{self, B256};
use futures_util::FutureExt as _;
use infernet_contracts::facts::delegation_in;
use infernet_state::{
    event::{Origin, SyncedSubscription},
    subscription::interval_at,
    types::{Address, BlockRef, SubscriptionId},
};

use super::error::WatchError;
use crate::chain::{
    abi::{Coordinator, Reader, Subscription},
    connect::ChainConnection,
    convert,
    rpc::{At, all},
    rpc_error::RpcFailure,
};

/// Subscriptions that one call of the Reader returns: 100 records are 35 KiB of return data,
/// and their seven words each stay within the gas that RPCs give to a call.
const RECORDS_PER_CALL: u32 = 100;

/// Living subscriptions after which a chunk is closed: with one more call's worth it stays
/// well below the largest event (about 180 bytes each, twice 100 of them).
const LIVING_PER_CHUNK: usize = 100;

/// Ids looked at for one chunk, so that a long dead past does not keep the watcher from the
/// head.
const IDS_PER_CHUNK: u32 = 5_000;

/// A part of the past.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PastChunk {
    /// The subscriptions that can still be answered, ascending by id.
    pub(super) living: Vec<SyncedSubscription>,
    /// The next id to look at.
    pub(super) next: SubscriptionId,
    /// Whether no id follows.
    pub(super) at_end: bool,
}

impl ChainConnection {
    /// The records of subscriptions, as of block `number`, or as of today where the RPC no
    /// longer has that state.
    pub(super) async fn subscriptions(
        &self,
        ids: &[u32],
        number: u64,
    ) -> Result<BTreeMap<u32, Subscription>, RpcFailure> {
        match self.subscriptions_at(ids, At::Number(number)).await {
            Err(failure) if failure.is_state_missing() => {
                self.subscriptions_at(ids, At::Latest).await
            }
            answer => answer,
        }
    }

    async fn subscriptions_at(
        &self,
        ids: &[u32],
        at: At,
    ) -> Result<BTreeMap<u32, Subscription>, RpcFailure> {
        if let [id] = ids {
            let coordinator = convert::to_address(self.contracts.coordinator);
            let call = Coordinator::getSubscriptionCall {
                subscriptionId: *id,
            };
            return Ok([(*id, self.rpc.view(coordinator, &call, at).await?)].into());
        }
        let mut records = BTreeMap::new();
        for (start, end) in runs(ids) {
            let read = self.read_batch(start, end, at).await?;
            records.extend((start..end).zip(read));
        }
        Ok(records)
    }

    async fn read_batch(
        &self,
        start: u32,
        end: u32,
        at: At,
    ) -> Result<Vec<Subscription>, RpcFailure> {
        let reader = convert::to_address(self.contracts.reader);
        let call = Reader::readSubscriptionBatchCall {
            startId: start,
            endId: end,
        };
        let records = self.rpc.view(reader, &call, at).await?;
        if records.len() != (end - start) as usize {
            return Err(RpcFailure::Malformed {
                method: "eth_call",
                reason: format!("the Reader gave {} of ids {start} to {end}", records.len()),
            });
        }
        Ok(records)
    }

    /// The subscriber's nonce, if transaction `tx` created a subscription of `owner` by
    /// delegation directly. Through another contract it stays unknown.
    pub(super) async fn delegation(
        &self,
        tx: B256,
        owner: primitives::Address,
    ) -> Result<Option<u32>, RpcFailure> {
        let Some(transaction) = self.rpc.transaction(tx).await? else {
            return Ok(None);
        };
        let coordinator = convert::to_address(self.contracts.coordinator);
        if transaction.to != Some(coordinator) {
            return Ok(None);
        }
        let created = delegation_in(&transaction.input);
        let owner = convert::from_address(owner);
        Ok(created.and_then(|(of, nonce)| (of == owner).then_some(nonce)))
    }

    /// Reads the next chunk of the past from id `from` on, as of block `tip`; with how each came to
    /// be where that is asked for.
    pub(super) async fn past(
        &self,
        from: SubscriptionId,
        tip: BlockRef,
        node: Address,
        reads_origins: bool,
    ) -> Result<PastChunk, WatchError> {
        let at = At::Number(tip.number);
        let coordinator = convert::to_address(self.contracts.coordinator);
        let end = self
            .rpc
            .view(coordinator, &Coordinator::idCall {}, at)
            .await?;
        let first = from.0.max(1);
        let mut next = first;
        let mut living = Vec::new();
        while next < end && living.len() < LIVING_PER_CHUNK && next - first < IDS_PER_CHUNK {
            let until = end.min(next.saturating_add(RECORDS_PER_CALL));
            let records = self.read_batch(next, until, at).await?;
            living.extend(self.living(next, records, tip, node).await?);
            next = until;
        }
        if reads_origins {
            self.read_origins(&mut living, at).await?;
        }
        Ok(PastChunk {
            living,
            next: SubscriptionId(next),
            at_end: next >= end,
        })
    }

    /// Those that can still be answered at `tip` or later, with the state of their interval.
    /// What is cancelled, over or met will never be heard of again and stays out of the log.
    async fn living(
        &self,
        start: u32,
        records: Vec<Subscription>,
        tip: BlockRef,
        node: Address,
    ) -> Result<Vec<SyncedSubscription>, RpcFailure> {
        let at = At::Number(tip.number);
        let now = tip.time.as_contract_time();
        let candidates: Vec<(u32, u32, Subscription)> = (start..)
            .zip(records)
            .filter(|(_, record)| !record.owner.is_zero() && record.activeAt != u32::MAX)
            .map(|(id, record)| (id, interval(&record, now), record))
            .filter(|(_, interval, record)| *interval <= record.frequency)
            .collect();
        let call = Reader::readRedundancyCountBatchCall {
            ids: candidates.iter().map(|(id, ..)| *id).collect(),
            intervals: candidates
                .iter()
                .map(|(_, interval, _)| *interval)
                .collect(),
        };
        let reader = convert::to_address(self.contracts.reader);
        let counts = self.rpc.view(reader, &call, at).await?;
        let mut reads = Vec::new();
        for ((id, interval, record), responses) in candidates.into_iter().zip(counts) {
            if interval == record.frequency && responses >= record.redundancy {
                continue;
            }
            let read = async move {
                Ok(SyncedSubscription {
                    id: SubscriptionId(id),
                    subscription: convert::from_subscription(&record),
                    responses,
                    responded: responses > 0 && self.responses(id, interval, node, at).await?.1,
                    origin: Origin::Owner,
                })
            };
            reads.push(read.boxed());
        }
        all(reads).await
    }
}

/// The interval that runs at contract time `now`; 0 before the first, where the contract's own
/// arithmetic wraps.
fn interval(record: &Subscription, now: u32) -> u32 {
    if record.activeAt > now {
        return 0;
    }
    interval_at(record.activeAt, record.period, now).0
}

/// Splits ascending ids into runs without a gap, each within one call of the Reader: start, and
/// end exclusive.
fn runs(ids: &[u32]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for id in ids {
        match runs.last_mut() {
            Some((start, end)) if end == id && *end - *start < RECORDS_PER_CALL => *end += 1,
            _ => runs.push((*id, id.saturating_add(1))),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_runs() {
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[3, 4, 5, 9]), [(3, 6), (9, 10)]);
        let many: Vec<u32> = (1..=250).collect();
        assert_eq!(runs(&many), [(1, 101), (101, 201), (201, 251)]);
    }
}
