//! The chain: blocks, state, pool and clock offset, and how an [`Entry`] changes them.
//!
//! It is a value made of persistent maps: a copy costs next to nothing, so every published version
//! can be read without a lock while the writer works on the next. `apply` is deterministic: the
//! same genesis and entries give the same block hashes.

use std::sync::Arc;

use alloy::consensus::{BlockHeader, Transaction as _, TxEnvelope};
use alloy::eips::eip1559::BaseFeeParams;
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use imbl::{HashMap, HashSet, OrdMap, Vector};
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction};

use super::block::{Block, Draft, Failure, Mined, Tx, receipt};
use super::console::Collector;
use super::entry::{Entry, Genesis, Orphans, ReorgBlock, Rules, SentTransaction};
use super::evm::{self, Hardfork};
use super::limits::{BLOCK_NUMBER_MAX, SNAPSHOTS_MAX, STATE_HISTORY_BLOCKS};
use super::pool::{Candidates, Pool};
use super::state::{State, StateView};

/// Why a transaction or command was refused. The wording is what client libraries look for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("already known")]
    AlreadyKnown,
    #[error("nonce too low: next nonce {state}, tx nonce {tx}")]
    NonceTooLow { state: u64, tx: u64 },
    #[error("nonce too high: next nonce {state}, tx nonce {tx}")]
    NonceTooHigh { state: u64, tx: u64 },
    #[error("replacement transaction underpriced")]
    Underpriced,
    #[error("txpool is full")]
    PoolFull,
    #[error(
        "insufficient funds for gas * price + value: address {address} have {have} want {want}"
    )]
    InsufficientFunds {
        address: Address,
        have: U256,
        want: U256,
    },
    #[error("intrinsic gas too low: have {have}, want {want}")]
    IntrinsicGas { have: u64, want: u64 },
    #[error("exceeds block gas limit: have {have}, limit {limit}")]
    GasLimit { have: u64, limit: u64 },
    #[error(
        "max fee per gas less than block base fee: address {address}, maxFeePerGas: {fee}, \
         baseFee: {base_fee}"
    )]
    FeeBelowBase {
        address: Address,
        fee: u128,
        base_fee: u64,
    },
    #[error("max priority fee per gas higher than max fee per gas")]
    TipAboveFee,
    #[error("invalid chain id for signer: have {have} want {want}")]
    ChainId { have: u64, want: u64 },
    #[error("max initcode size exceeded")]
    InitCodeSize,
    #[error("transaction type not supported: {0}")]
    TxType(&'static str),
    #[error("oversized data: transaction size {have}, limit {limit}")]
    Oversized { have: usize, limit: usize },
    #[error("invalid transaction: {0}")]
    Invalid(String),
    #[error("{0}")]
    Parameter(String),
    #[error("the chain cannot be written any more: {0}")]
    Storage(String),
    #[error("the chain is shutting down")]
    Stopped,
}

impl From<InvalidTransaction> for Refusal {
    fn from(invalid: InvalidTransaction) -> Self {
        match invalid {
            InvalidTransaction::CallGasCostMoreThanGasLimit {
                initial_gas,
                gas_limit,
            } => Self::IntrinsicGas {
                have: gas_limit,
                want: initial_gas,
            },
            InvalidTransaction::GasFloorMoreThanGasLimit {
                gas_floor,
                gas_limit,
            } => Self::IntrinsicGas {
                have: gas_limit,
                want: gas_floor,
            },
            InvalidTransaction::CreateInitCodeSizeLimit => Self::InitCodeSize,
            InvalidTransaction::RejectCallerWithCode => Self::Invalid("sender not an eoa".into()),
            other => Self::Invalid(other.to_string()),
        }
    }
}

/// What never changes on a chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec {
    pub(super) chain_id: u64,
    pub(super) hardfork: Hardfork,
    pub(super) gas_limit: u64,
}

/// What one entry did, for those who are told about it.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Blocks mined, in order.
    pub(super) blocks: Vec<Arc<Block>>,
    /// Transactions that a block could not take, and why.
    pub(super) dropped: Vec<(B256, Refusal)>,
}

/// The chain at one moment.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) spec: Spec,
    /// By number. Never empty: block 0 is the genesis.
    pub(super) blocks: Vector<Arc<Block>>,
    by_hash: HashMap<B256, u64>,
    tx_index: HashMap<B256, (u64, usize)>,
    /// The state now: after the head, with what cheat calls changed since.
    pub(super) state: State,
    /// The state right after each of the newest blocks.
    history: OrdMap<u64, State>,
    pub(super) pool: Pool,
    /// Seconds by which the chain's clock is ahead of the system's.
    pub(super) time_offset: i64,
    pub(super) next_timestamp: Option<u64>,
    next_base_fee: Option<u64>,
    pub(super) coinbase: Address,
    snapshots: OrdMap<u64, Arc<Chain>>,
    pub(super) next_snapshot: u64,
    pub(super) impersonated: HashSet<Address>,
    /// Reorgs so far. It is part of every header, so that a block of a new branch never has the
    /// hash of the one it replaces.
    reorgs: u64,
    /// Rises with every step.
    pub(super) version: u64,
}

impl Chain {
    /// The chain at block 0.
    pub(super) fn genesis(genesis: &Genesis) -> Self {
        let spec = Spec {
            chain_id: genesis.chain_id,
            hardfork: match genesis.hardfork {
                Rules::Cancun => Hardfork::Cancun,
                Rules::Prague => Hardfork::Prague,
            },
            gas_limit: genesis.gas_limit,
        };
        let mut state = State::default();
        for account in &genesis.accounts {
            let address = Address::from(account.address);
            state.set_balance(address, U256::from_be_bytes(account.balance));
            state.set_nonce(address, account.nonce);
            if !account.code.is_empty() {
                state.set_code(address, account.code.clone().into());
            }
        }
        let draft = Draft {
            parent_hash: B256::ZERO,
            number: 0,
            timestamp: genesis.timestamp,
            base_fee: genesis.base_fee,
            gas_limit: genesis.gas_limit,
            beneficiary: Address::ZERO,
            mix_hash: B256::ZERO,
            extra_data: Bytes::new(),
            hardfork: spec.hardfork,
        };
        let root = state.seal(keccak256(genesis.chain_id.to_be_bytes()));
        let block = Arc::new(draft.seal(Vec::new(), root));
        Self {
            spec,
            by_hash: HashMap::unit(block.header.hash(), 0),
            blocks: Vector::unit(block),
            tx_index: HashMap::new(),
            history: OrdMap::unit(0, state.clone()),
            state,
            pool: Pool::default(),
            time_offset: 0,
            next_timestamp: None,
            next_base_fee: None,
            coinbase: Address::ZERO,
            snapshots: OrdMap::new(),
            next_snapshot: 0,
            impersonated: HashSet::new(),
            reorgs: 0,
            version: 0,
        }
    }

    /// The newest block.
    pub(super) fn head(&self) -> &Arc<Block> {
        self.blocks.last().expect("block 0 always exists")
    }

    /// The block with this number.
    pub(super) fn block(&self, number: u64) -> Option<&Arc<Block>> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    /// The block with this hash, if it is in the chain.
    pub(super) fn block_by_hash(&self, hash: &B256) -> Option<&Arc<Block>> {
        self.block(*self.by_hash.get(hash)?)
    }

    /// The mined transaction with this hash, and where it is.
    pub(super) fn mined(&self, hash: &B256) -> Option<(&Arc<Block>, usize)> {
        let (number, index) = *self.tx_index.get(hash)?;
        Some((self.block(number)?, index))
    }

    /// The state right after a block; at the head, with later cheats.
    pub(super) fn state_at(&self, number: u64) -> Option<&State> {
        if number == self.head().number() {
            Some(&self.state)
        } else {
            self.history.get(&number)
        }
    }

    /// Timestamp of the next block if it is mined at `now`, and the clock offset from then on.
    pub(super) fn next_time(&self, now: u64) -> (u64, i64) {
        // Equal to the parent's is allowed: many blocks within a second must not make the chain's
        // clock run away from the wall's.
        let earliest = self.head().header.timestamp;
        match self.next_timestamp {
            Some(fixed) => {
                let fixed = fixed.max(earliest);
                (fixed, fixed as i64 - now as i64)
            }
            None => (
                now.saturating_add_signed(self.time_offset).max(earliest),
                self.time_offset,
            ),
        }
    }

    /// Base fee of the next block, in wei per gas (EIP-1559).
    pub(super) fn next_base_fee(&self) -> u64 {
        self.next_base_fee.unwrap_or_else(|| {
            self.head()
                .header
                .next_block_base_fee(BaseFeeParams::ethereum())
                .unwrap_or_default()
        })
    }

    /// The header of the next block, as far as it is known before its transactions.
    pub(super) fn next_draft(&self, timestamp: u64) -> Draft {
        let parent = self.head();
        let parent_hash = parent.header.hash();
        let mut seed = parent_hash.to_vec();
        seed.extend(timestamp.to_be_bytes());
        Draft {
            parent_hash,
            number: parent.number() + 1,
            timestamp,
            base_fee: self.next_base_fee(),
            gas_limit: self.spec.gas_limit,
            beneficiary: self.coinbase,
            mix_hash: keccak256(seed),
            extra_data: format!("infernet devnet {}", self.reorgs)
                .into_bytes()
                .into(),
            hardfork: self.spec.hardfork,
        }
    }

    /// Whether a block now would take anything from the pool.
    pub(super) fn has_ready(&self) -> bool {
        !self
            .pool
            .candidates(&self.state, self.next_base_fee())
            .is_empty()
    }

    /// Runs the candidates on top of the current state; gives the block, the state after it, and
    /// what it could not take. Changes nothing.
    pub(super) fn assemble(
        &self,
        timestamp: u64,
        mut candidates: Candidates,
    ) -> (Block, State, Vec<(B256, Refusal)>) {
        let draft = self.next_draft(timestamp);
        let rules = evm::mining_rules(self.spec.chain_id, self.spec.hardfork);
        let env = evm::block_env(&draft.header(), self.spec.hardfork);
        let mut state = self.state.clone();
        let mut mined: Vec<Mined> = Vec::new();
        let mut dropped = Vec::new();
        let (mut gas_used, mut logs_before) = (0u64, 0u64);
        while let Some(tx) = candidates.next() {
            if tx.envelope.gas_limit() > draft.gas_limit - gas_used {
                continue;
            }
            let mut console = Collector::default();
            let view = StateView {
                state: &state,
                blocks: &self.blocks,
            };
            let outcome = match evm::run_mined(view, &rules, &env, evm::tx_env(&tx), &mut console) {
                Ok(outcome) => outcome,
                Err(error) => {
                    dropped.push((tx.hash(), refusal(&tx, &state, error)));
                    continue;
                }
            };
            let result = outcome.result;
            state.commit(outcome.state);
            let gas = result.tx_gas_used();
            gas_used += gas;
            let failure = match &result {
                ExecutionResult::Success { .. } => None,
                ExecutionResult::Revert { output, .. } => Some(Failure::Revert(output.clone())),
                ExecutionResult::Halt { reason, .. } => Some(Failure::Halt(reason.to_string())),
            };
            let logs = if failure.is_none() {
                result.into_logs()
            } else {
                Vec::new()
            };
            let first_log = logs_before;
            logs_before += logs.len() as u64;
            candidates.executed(tx.sender);
            mined.push(Mined {
                receipt: receipt(tx.envelope.tx_type(), failure.is_none(), gas_used, logs),
                gas_used: gas,
                effective_gas_price: tx.envelope.effective_gas_price(Some(draft.base_fee)),
                contract_address: tx
                    .envelope
                    .is_create()
                    .then(|| tx.sender.create(tx.nonce())),
                first_log,
                console: console.messages,
                failure,
                tx,
            });
        }
        let root = state.seal(self.head().header.state_root());
        (draft.seal(mined, root), state, dropped)
    }

    /// Makes an assembled block the head.
    fn append(&mut self, block: Block, state: State, dropped: &[(B256, Refusal)]) -> Arc<Block> {
        let block = Arc::new(block);
        let number = block.number();
        for (index, mined) in block.transactions.iter().enumerate() {
            self.pool.remove(&mined.tx.hash());
            self.tx_index.insert(mined.tx.hash(), (number, index));
        }
        for (hash, _) in dropped {
            self.pool.remove(hash);
        }
        self.by_hash.insert(block.header.hash(), number);
        self.blocks.push_back(block.clone());
        self.history.insert(number, state.clone());
        self.history
            .remove(&number.wrapping_sub(STATE_HISTORY_BLOCKS + 1));
        self.state = state;
        self.pool.remove_stale(&self.state);
        self.next_timestamp = None;
        self.next_base_fee = None;
        block
    }

    fn mine(&mut self, timestamp: u64, applied: &mut Applied) -> Result<(), String> {
        let earliest = self.head().header.timestamp;
        if timestamp < earliest {
            return Err(format!("block timestamp {timestamp} is before {earliest}"));
        }
        if self.head().number() >= BLOCK_NUMBER_MAX {
            return Err(format!(
                "the chain ends at block {BLOCK_NUMBER_MAX}; start a new one"
            ));
        }
        let candidates = self.pool.candidates(&self.state, self.next_base_fee());
        let (block, state, dropped) = self.assemble(timestamp, candidates);
        applied.blocks.push(self.append(block, state, &dropped));
        applied.dropped.extend(dropped);
        Ok(())
    }

    /// Takes one step. On an error the chain is in no defined state: work on a copy.
    ///
    /// # Errors
    /// What does not fit: the entry was made for another chain than this one.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<Applied, String> {
        let mut applied = Applied::default();
        self.version += 1;
        match entry {
            Entry::Transaction(sent) => self.pool.add(Arc::new(decode_sent(sent)?)),
            Entry::Block {
                timestamp,
                time_offset,
                parent_hash,
            } => {
                expect_head(self, parent_hash)?;
                self.mine(*timestamp, &mut applied)?;
                self.time_offset = *time_offset;
            }
            Entry::SetBalance { address, balance } => {
                self.state
                    .set_balance(address.into(), U256::from_be_bytes(*balance));
            }
            Entry::SetNonce { address, nonce } => {
                self.state.set_nonce(address.into(), *nonce);
                self.pool.remove_stale(&self.state);
            }
            Entry::SetCode { address, code } => {
                self.state.set_code(address.into(), code.clone().into());
            }
            Entry::SetStorage {
                address,
                slot,
                value,
            } => self.state.set_slot(
                address.into(),
                U256::from_be_bytes(*slot),
                U256::from_be_bytes(*value),
            ),
            Entry::SetTimeOffset { seconds } => {
                self.time_offset = *seconds;
                self.next_timestamp = None;
            }
            Entry::SetNextTimestamp { timestamp } => self.next_timestamp = Some(*timestamp),
            Entry::SetNextBaseFee { base_fee } => self.next_base_fee = Some(*base_fee),
            Entry::SetCoinbase { address } => self.coinbase = address.into(),
            Entry::Snapshot { id } => self.snapshot(*id),
            Entry::Revert { id } => self.revert(*id)?,
            Entry::Impersonate { address, enabled } => {
                if *enabled {
                    self.impersonated.insert(address.into());
                } else {
                    self.impersonated.remove(&Address::from(address));
                }
            }
            Entry::Drop { hash } => {
                self.pool.remove(&B256::from(hash));
            }
            Entry::Reorg {
                depth,
                orphans,
                blocks,
                head_hash,
            } => {
                expect_head(self, head_hash)?;
                self.reorg(*depth, *orphans, blocks, &mut applied)?;
            }
        }
        Ok(applied)
    }

    fn snapshot(&mut self, id: u64) {
        let mut copy = self.clone();
        // Nested, the copies would keep each other alive without end.
        copy.snapshots = OrdMap::new();
        self.snapshots.insert(id, Arc::new(copy));
        self.next_snapshot = id + 1;
        if self.snapshots.len() > SNAPSHOTS_MAX
            && let Some(oldest) = self.snapshots.get_min().map(|(id, _)| *id)
        {
            self.snapshots.remove(&oldest);
        }
    }

    /// Whether there is a snapshot with this id.
    pub(super) fn has_snapshot(&self, id: u64) -> bool {
        self.snapshots.contains_key(&id)
    }

    fn revert(&mut self, id: u64) -> Result<(), String> {
        let (older, snapshot, _) = self.snapshots.split_lookup(&id);
        let snapshot = snapshot.ok_or_else(|| format!("there is no snapshot {id}"))?;
        let (next_snapshot, version) = (self.next_snapshot, self.version);
        *self = Self {
            snapshots: older,
            next_snapshot,
            version,
            ..(*snapshot).clone()
        };
        Ok(())
    }

    fn reorg(
        &mut self,
        depth: u64,
        orphans: Orphans,
        blocks: &[ReorgBlock],
        applied: &mut Applied,
    ) -> Result<(), String> {
        let ancestor = self
            .head()
            .number()
            .checked_sub(depth)
            .ok_or_else(|| format!("the chain is shorter than {depth} blocks"))?;
        let state = self
            .history
            .get(&ancestor)
            .ok_or_else(|| format!("the state of block {ancestor} is not kept any more"))?
            .clone();
        let mut orphaned = Vec::new();
        while self.head().number() > ancestor {
            let Some(block) = self.blocks.pop_back() else {
                break;
            };
            self.by_hash.remove(&block.header.hash());
            self.history.remove(&block.number());
            for mined in &block.transactions {
                self.tx_index.remove(&mined.tx.hash());
            }
            orphaned.push(block);
        }
        self.state = state;
        self.reorgs += 1;
        self.next_timestamp = None;
        if orphans != Orphans::Dropped {
            for block in orphaned.iter().rev() {
                for mined in &block.transactions {
                    self.pool.add(mined.tx.clone());
                }
            }
        }
        for new in blocks {
            // Unless the pool is to fill the new blocks, it is set aside while they are made.
            let aside = (orphans != Orphans::Remined).then(|| std::mem::take(&mut self.pool));
            for sent in &new.transactions {
                self.pool.add(Arc::new(decode_sent(sent)?));
            }
            self.mine(new.timestamp, applied)?;
            if let Some(pool) = aside {
                self.pool = pool;
                self.pool.remove_stale(&self.state);
            }
        }
        Ok(())
    }
}

fn expect_head(chain: &Chain, hash: &[u8; 32]) -> Result<(), String> {
    let head = chain.head();
    if head.header.hash() == B256::from(hash) {
        return Ok(());
    }
    Err(format!(
        "block {} has hash {}, recorded was {}",
        head.number(),
        head.header.hash(),
        B256::from(hash)
    ))
}

fn decode_sent(sent: &SentTransaction) -> Result<Tx, String> {
    let envelope = TxEnvelope::decode_2718_exact(&sent.raw).map_err(|error| error.to_string())?;
    Ok(Tx {
        envelope,
        sender: sent.sender.into(),
    })
}

fn refusal(tx: &Tx, state: &State, error: EVMError<std::convert::Infallible>) -> Refusal {
    match error {
        EVMError::Transaction(InvalidTransaction::LackOfFundForMaxFee { fee, balance }) => {
            Refusal::InsufficientFunds {
                address: tx.sender,
                have: *balance,
                want: *fee,
            }
        }
        EVMError::Transaction(InvalidTransaction::NonceTooLow { .. }) => Refusal::NonceTooLow {
            state: state.nonce(&tx.sender),
            tx: tx.nonce(),
        },
        EVMError::Transaction(invalid) => invalid.into(),
        other => Refusal::Invalid(other.to_string()),
    }
}
