//! What became of the nonces of the node's account.

use std::collections::BTreeMap;

use alloy::primitives::Address;
use infernet_state::types::{Hash, Nonce};

use super::error::WatchError;
use crate::chain::{
    convert,
    rpc::{At, Rpc, TransactionReceipt},
};

/// Nonces that are settled in one step of several blocks: a step with more takes fewer blocks,
/// since what a block says of a transaction must stand beside its receipt. Bounds the requests of
/// a step after a long absence.
pub(super) const NONCES_PER_STEP_MAX: u64 = 256;

/// How a nonce was used.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum NonceUse {
    /// By a transaction of the node.
    Own {
        /// The nonce.
        nonce: Nonce,
        /// The receipt.
        receipt: Box<TransactionReceipt>,
    },
    /// By something that the node does not know.
    Foreign {
        /// The nonce.
        nonce: Nonce,
        /// Height of the block, or of the newest one read where the RPC no longer tells.
        block: u64,
        /// The transaction's place in the block.
        index: u64,
    },
}

/// The uses found in a range of blocks.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct NonceUses {
    /// The uses, ascending by nonce.
    pub(super) uses: Vec<NonceUse>,
    /// All nonces below are settled.
    pub(super) settled: u64,
    /// The account's transactions up to the end of the range.
    pub(super) count: u64,
}

/// Reads what became of the nonces from `settled` on, up to and with block `to`; more than `most`
/// are [`WatchError::ManyNonces`].
pub(super) async fn nonce_uses(
    rpc: &Rpc,
    account: Address,
    settled: u64,
    (from, to): (u64, u64),
    awaiting: &BTreeMap<Nonce, Vec<Hash>>,
    most: u64,
) -> Result<NonceUses, WatchError> {
    let count = match rpc.nonce(account, At::Number(to)).await {
        Err(failure) if failure.is_state_missing() => rpc.nonce(account, At::Latest).await?,
        answer => answer?,
    };
    let used = count.saturating_sub(settled);
    if used > most {
        return Err(WatchError::ManyNonces { used });
    }
    let mut found = NonceUses {
        uses: Vec::new(),
        settled,
        count,
    };
    for nonce in settled..count {
        let versions = awaiting.get(&Nonce(nonce)).map_or(&[][..], Vec::as_slice);
        match one_use(rpc, account, nonce, (from, to), versions).await? {
            Some(nonce_use) => found.uses.push(nonce_use),
            // Used above `to` already: it belongs to a later step.
            None => break,
        }
        found.settled = nonce + 1;
    }
    Ok(found)
}

async fn one_use(
    rpc: &Rpc,
    account: Address,
    nonce: u64,
    (from, to): (u64, u64),
    versions: &[Hash],
) -> Result<Option<NonceUse>, WatchError> {
    for hash in versions.iter().rev() {
        if let Some(receipt) = rpc.receipt(convert::to_b256(*hash)).await? {
            let within = receipt.block_number.to::<u64>() <= to;
            return Ok(within.then(|| NonceUse::Own {
                nonce: Nonce(nonce),
                receipt: Box::new(receipt),
            }));
        }
    }
    // No receipt proves nothing: the node behind a load balancer that was asked may be behind.
    // The block in which the account's count passed this nonce does.
    let Some(number) = block_of_use(rpc, account, nonce, from, to).await? else {
        return Ok(Some(NonceUse::Foreign {
            nonce: Nonce(nonce),
            block: to,
            index: 0,
        }));
    };
    let block = rpc.full_block(number).await?.ok_or(WatchError::Behind {
        what: format!("block {number} is missing"),
    })?;
    let place = block
        .transactions
        .iter()
        .position(|tx| tx.from == account && tx.nonce.to::<u64>() == nonce);
    let is_own = place.is_some_and(|place| {
        versions.contains(&convert::from_b256(block.transactions[place].hash))
    });
    if is_own {
        return Err(WatchError::Behind {
            what: format!("the receipt of nonce {nonce} is missing"),
        });
    }
    // Without a transaction of the account it was an authorization (EIP-7702) of its key.
    Ok(Some(NonceUse::Foreign {
        nonce: Nonce(nonce),
        block: number,
        index: place.unwrap_or_default() as u64,
    }))
}

/// The first block of the range after which the account's count is above `nonce`; `None` where
/// the RPC no longer has the state to tell.
async fn block_of_use(
    rpc: &Rpc,
    account: Address,
    nonce: u64,
    from: u64,
    to: u64,
) -> Result<Option<u64>, WatchError> {
    let (mut low, mut high) = (from.min(to), to);
    while low < high {
        let middle = low + (high - low) / 2;
        match rpc.nonce(account, At::Number(middle)).await {
            Ok(count) if count > nonce => high = middle,
            Ok(_) => low = middle + 1,
            Err(failure) if failure.is_state_missing() => return Ok(None),
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(Some(low))
}
