//! Accounts, code and storage: a persistent map, so that a copy of the whole state costs nothing.
//!
//! Every block keeps its own copy, and so does every snapshot; an `eth_call` works on a copy that
//! it throws away. What the copies share is stored once.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256, Bytes, KECCAK256_EMPTY, Keccak256, U256, keccak256};
use imbl::{HashMap, Vector};
use revm::database_interface::DatabaseRef;
use revm::state::{AccountInfo, Bytecode, EvmState};
use std::convert::Infallible;
use std::sync::Arc;

use super::block::Block;

/// One account.
#[derive(Debug, Clone)]
pub(super) struct Account {
    /// Balance in wei.
    pub(super) balance: U256,
    /// Transactions sent, or contracts created.
    pub(super) nonce: u64,
    /// Hash of `code`.
    pub(super) code_hash: B256,
    /// Contract code; empty for an externally owned account.
    pub(super) code: Bytecode,
    /// Storage slots that are not zero.
    pub(super) storage: HashMap<U256, U256>,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            balance: U256::ZERO,
            nonce: 0,
            code_hash: KECCAK256_EMPTY,
            code: Bytecode::default(),
            storage: HashMap::new(),
        }
    }
}

impl Account {
    fn info(&self) -> AccountInfo {
        AccountInfo {
            balance: self.balance,
            nonce: self.nonce,
            code_hash: self.code_hash,
            code: Some(self.code.clone()),
            account_id: None,
        }
    }

    fn set_slot(&mut self, slot: U256, value: U256) {
        if value.is_zero() {
            self.storage.remove(&slot);
        } else {
            self.storage.insert(slot, value);
        }
    }
}

/// The world state after some block, and what has changed since that block.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    accounts: HashMap<Address, Account>,
    /// Accounts and slots written since the last block, for [`State::seal`].
    dirty: BTreeMap<Address, BTreeSet<U256>>,
}

impl State {
    /// The account at `address`, if anything is known of it.
    pub(super) fn account(&self, address: &Address) -> Option<&Account> {
        self.accounts.get(address)
    }

    /// Balance in wei.
    pub(super) fn balance(&self, address: &Address) -> U256 {
        self.account(address)
            .map_or(U256::ZERO, |account| account.balance)
    }

    /// Nonce of the next transaction.
    pub(super) fn nonce(&self, address: &Address) -> u64 {
        self.account(address).map_or(0, |account| account.nonce)
    }

    /// Contract code as deployed.
    pub(super) fn code(&self, address: &Address) -> Bytes {
        self.account(address)
            .map_or_else(Bytes::new, |account| account.code.original_bytes())
    }

    /// One storage word.
    pub(super) fn slot(&self, address: &Address, slot: &U256) -> U256 {
        self.account(address)
            .and_then(|account| account.storage.get(slot).copied())
            .unwrap_or(U256::ZERO)
    }

    fn touch(&mut self, address: Address) -> &mut Account {
        self.dirty.entry(address).or_default();
        self.accounts.entry(address).or_default()
    }

    /// Sets a balance in wei.
    pub(super) fn set_balance(&mut self, address: Address, balance: U256) {
        self.touch(address).balance = balance;
    }

    /// Sets a nonce.
    pub(super) fn set_nonce(&mut self, address: Address, nonce: u64) {
        self.touch(address).nonce = nonce;
    }

    /// Replaces the code of an account.
    pub(super) fn set_code(&mut self, address: Address, code: Bytes) {
        let account = self.touch(address);
        account.code_hash = if code.is_empty() {
            KECCAK256_EMPTY
        } else {
            keccak256(&code)
        };
        // A delegation of EIP-7702 has a meaning of its own; anything else is plain code.
        account.code =
            Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code));
    }

    /// Sets one storage word.
    pub(super) fn set_slot(&mut self, address: Address, slot: U256, value: U256) {
        self.touch(address).set_slot(slot, value);
        self.dirty.entry(address).or_default().insert(slot);
    }

    /// Removes all storage of an account (state overrides only).
    pub(super) fn clear_storage(&mut self, address: Address) {
        let account = self.touch(address);
        let slots: Vec<U256> = account.storage.keys().copied().collect();
        account.storage = HashMap::new();
        self.dirty.entry(address).or_default().extend(slots);
    }

    /// Takes over what a transaction changed.
    pub(super) fn commit(&mut self, changes: EvmState) {
        for (address, change) in changes {
            if !change.is_touched() {
                continue;
            }
            if change.is_selfdestructed() || change.is_empty() {
                // EIP-6780: only what was created in this transaction can vanish, and EIP-161:
                // an empty account that was touched is removed.
                let known = self.accounts.remove(&address);
                if known.is_some() {
                    self.dirty.entry(address).or_default();
                }
                continue;
            }
            let slots = self.dirty.entry(address).or_default();
            let account = self.accounts.entry(address).or_default();
            if change.is_created() {
                account.storage = HashMap::new();
            }
            account.balance = change.info.balance;
            account.nonce = change.info.nonce;
            if account.code_hash != change.info.code_hash
                && let Some(code) = change.info.code
            {
                account.code = code;
                account.code_hash = change.info.code_hash;
            }
            for (slot, value) in change.storage {
                if value.is_changed() || change.status.contains(revm::state::AccountStatus::Created)
                {
                    account.set_slot(slot, value.present_value);
                    slots.insert(slot);
                }
            }
        }
    }

    /// Closes a block: commits to everything written since the last one, chained to the commitment
    /// before, and forgets what was written.
    ///
    /// This stands in the header where a public chain has its Merkle root. It costs what changed,
    /// not what exists, and two chains with the same value have the same state; it proves nothing
    /// to a light client, so there is no `eth_getProof`.
    pub(super) fn seal(&mut self, parent: B256) -> B256 {
        let mut hasher = Keccak256::new();
        hasher.update(parent);
        for (address, slots) in std::mem::take(&mut self.dirty) {
            hasher.update(address);
            match self.accounts.get(&address) {
                None => hasher.update([0u8]),
                Some(account) => {
                    hasher.update([1u8]);
                    hasher.update(account.balance.to_be_bytes::<32>());
                    hasher.update(account.nonce.to_be_bytes());
                    hasher.update(account.code_hash);
                    hasher.update((slots.len() as u64).to_be_bytes());
                    for slot in slots {
                        let value = account.storage.get(&slot).copied().unwrap_or_default();
                        hasher.update(slot.to_be_bytes::<32>());
                        hasher.update(value.to_be_bytes::<32>());
                    }
                }
            }
        }
        hasher.finalize()
    }
}

/// What the EVM reads: a state, and the blocks for `BLOCKHASH`.
#[derive(Debug, Clone, Copy)]
pub(super) struct StateView<'a> {
    /// Accounts and storage.
    pub(super) state: &'a State,
    /// The chain, by block number.
    pub(super) blocks: &'a Vector<Arc<Block>>,
}

impl DatabaseRef for StateView<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.state.account(&address).map(Account::info))
    }

    fn code_by_hash_ref(&self, _code_hash: B256) -> Result<Bytecode, Infallible> {
        // `basic_ref` always hands the code over, so the EVM never asks by hash.
        Ok(Bytecode::default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.state.slot(&address, &slot))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(usize::try_from(number)
            .ok()
            .and_then(|number| self.blocks.get(number))
            .map_or(B256::ZERO, |block| block.header.hash()))
    }
}
