//! Filters that are polled: `eth_newFilter` and its kin.
//!
//! They live in the process only; a client whose filter is gone installs it again, as with any
//! node.

use std::collections::BTreeMap;

use alloy::primitives::{B256, U64};
use alloy::rpc::types::Filter;
use serde_json::json;

use super::error::RpcError;
use super::params::Params;
use super::{Answer, Service, logs};
use crate::devnet::chain::Chain;
use crate::devnet::limits::FILTERS_MAX;

#[derive(Debug, Clone)]
enum Kind {
    Logs(Box<Filter>),
    Blocks,
    Transactions,
}

#[derive(Debug, Clone)]
struct Installed {
    kind: Kind,
    /// First block not reported yet.
    next: u64,
    /// For transaction filters: what waited when it was polled last.
    seen: Vec<B256>,
    /// When it was used last, in polls.
    used: u64,
}

/// The installed filters.
#[derive(Debug, Default)]
pub(super) struct Filters {
    installed: BTreeMap<u64, Installed>,
    next_id: u64,
    polls: u64,
}

fn waiting(chain: &Chain) -> Vec<B256> {
    chain.pool.iter().map(|tx| tx.hash()).collect()
}

pub(super) fn install(service: &Service, chain: &Chain, method: &str, params: &Params) -> Answer {
    let kind = match method {
        "eth_newFilter" => {
            let filter: Filter = params.get(0)?;
            logs::check(&filter)?;
            Kind::Logs(Box::new(filter))
        }
        "eth_newBlockFilter" => Kind::Blocks,
        _ => Kind::Transactions,
    };
    let seen = if matches!(kind, Kind::Transactions) {
        waiting(chain)
    } else {
        Vec::new()
    };
    let mut filters = service.filters();
    if filters.installed.len() >= FILTERS_MAX {
        let oldest = filters
            .installed
            .iter()
            .min_by_key(|(_, filter)| filter.used);
        if let Some(id) = oldest.map(|(id, _)| *id) {
            filters.installed.remove(&id);
        }
    }
    filters.next_id += 1;
    let (id, used) = (filters.next_id, filters.polls);
    filters.installed.insert(
        id,
        Installed {
            kind,
            next: chain.head().number() + 1,
            seen,
            used,
        },
    );
    Ok(json!(U64::from(id)))
}

pub(super) fn uninstall(service: &Service, params: &Params) -> Answer {
    let id: U64 = params.get(0)?;
    Ok(json!(
        service.filters().installed.remove(&id.to()).is_some()
    ))
}

pub(super) fn poll(service: &Service, chain: &Chain, method: &str, params: &Params) -> Answer {
    let id: U64 = params.get(0)?;
    let head = chain.head().number();
    // Taken out and put back, so that a scan does not hold up other clients.
    let mut filter = {
        let mut filters = service.filters();
        filters.polls += 1;
        let polls = filters.polls;
        let filter = filters
            .installed
            .get_mut(&id.to())
            .ok_or_else(|| RpcError::server("filter not found"))?;
        filter.used = polls;
        filter.clone()
    };
    if method == "eth_getFilterLogs" {
        return match &filter.kind {
            Kind::Logs(kind) => Ok(json!(logs::scan(chain, kind, logs::range(chain, kind)?)?)),
            Kind::Blocks | Kind::Transactions => Err(RpcError::server("not a log filter")),
        };
    }
    // After a reorg to a shorter chain the news starts again at its head.
    let from = filter.next.min(head + 1);
    filter.next = head + 1;
    let answer = match &filter.kind {
        Kind::Blocks => {
            let hashes: Vec<B256> = (from..=head)
                .filter_map(|n| chain.block(n))
                .map(|b| b.header.hash())
                .collect();
            json!(hashes)
        }
        Kind::Logs(kind) => {
            let last = match kind.get_to_block() {
                Some(to) => to.min(head),
                None => head,
            };
            let first = from.max(kind.get_from_block().unwrap_or_default());
            let found = if first > last {
                Vec::new()
            } else {
                logs::scan(chain, kind, (first, last))?
            };
            json!(found)
        }
        Kind::Transactions => {
            let waiting = waiting(chain);
            let news: Vec<B256> = waiting
                .iter()
                .filter(|hash| !filter.seen.contains(hash))
                .copied()
                .collect();
            filter.seen = waiting;
            json!(news)
        }
    };
    service
        .filters()
        .installed
        .entry(id.to())
        .and_modify(|held| {
            held.next = filter.next;
            held.seen = filter.seen;
        });
    Ok(answer)
}
