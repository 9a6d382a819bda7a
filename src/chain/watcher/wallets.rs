//! Events of wallets: only those count that the factory made.

use std::collections::BTreeSet;

use alloy::{primitives, rpc::types::Log};
use infernet_contracts::facts::wallet_change;
use infernet_state::{
    event::{ChainFact, WalletChange, WalletFact},
    types::{Address, BlockRef, Hash},
};

use super::{collect::Watched, error::WatchError};
use crate::chain::{
    abi::{Ownable, WalletFactory},
    connect::ChainConnection,
    convert,
    rpc::At,
    rpc_error::RpcFailure,
};

/// Wallets remembered as the factory's. Beyond it all are asked for again: a bound on memory,
/// far above the consumers that a node serves between two starts.
const VALID_WALLETS_MAX: usize = 65_536;

/// Tokens of the payment wallet that are remembered: anybody can send any token to it.
const TOKENS_MAX: usize = 64;

/// Steps in a row that fail for want of a token's balance; then the chain is read on without it.
const UNREAD_STEPS_MAX: u8 = 3;

/// What the watcher knows of wallets.
#[derive(Clone, Debug, Default)]
pub(super) struct Wallets {
    /// Made by the factory. A reorg can undo a wallet: cleared then.
    valid: BTreeSet<primitives::Address>,
    /// Tokens beside the native coin in which the payment wallet moved.
    tokens: BTreeSet<Address>,
    /// Steps in a row that failed for want of a token's balance.
    unread: u8,
}

impl Wallets {
    /// Forgets everything; after a reorg.
    pub(super) fn clear(&mut self) {
        self.valid.clear();
    }

    /// The fact that a log stands for; `None` when no wallet of the factory emitted it.
    pub(super) async fn fact(
        &mut self,
        connection: &ChainConnection,
        log: &Log,
        at: At,
    ) -> Result<Option<WalletFact>, WatchError> {
        let Some(change) = wallet_change(&log.inner) else {
            return Ok(None);
        };
        if !self.is_valid(connection, log.address()).await? {
            return Ok(None);
        }
        Ok(Some(WalletFact {
            wallet: convert::from_address(log.address()),
            owner: owner(connection, log.address(), at).await?,
            tx: log.transaction_hash.map_or(Hash::ZERO, convert::from_b256),
            change,
        }))
    }

    /// The payment wallet's balances at `block`, in the native coin and the tokens it moved in.
    pub(super) async fn balances(
        &mut self,
        connection: &ChainConnection,
        watched: Watched,
        block: BlockRef,
    ) -> Result<Vec<ChainFact>, WatchError> {
        let mut facts = Vec::new();
        let Some(wallet) = watched.payment_wallet else {
            return Ok(facts);
        };
        let tokens: Vec<Address> = self.tokens.iter().copied().collect();
        for token in [Address::ZERO].into_iter().chain(tokens) {
            let at = At::Number(block.number);
            let balance = self.balance(connection, wallet, token, at).await?;
            facts.extend(balance.map(ChainFact::Wallet));
        }
        Ok(facts)
    }

    /// The balance of a wallet as a fact; `None` where the RPC no longer has that state, or where
    /// a token does not let it be read: what a stranger's contract does holds up nothing.
    pub(super) async fn balance(
        &mut self,
        connection: &ChainConnection,
        wallet: Address,
        token: Address,
        at: At,
    ) -> Result<Option<WalletFact>, WatchError> {
        let read = read_balance(connection, wallet, token, at).await;
        if token.is_zero() {
            return read;
        }
        match read {
            Err(WatchError::Rpc(failure)) if self.goes_on_without(&failure) => {
                tracing::warn!(%token, %failure, "a token's balance is not read");
                self.tokens.remove(&token);
                Ok(None)
            }
            Err(error) => Err(error),
            Ok(balance) => {
                self.unread = 0;
                if self.tokens.len() < TOKENS_MAX {
                    self.tokens.insert(token);
                }
                Ok(balance)
            }
        }
    }

    /// Whether a token's balance is left unread: asking again does not help, or did not.
    fn goes_on_without(&mut self, failure: &RpcFailure) -> bool {
        if failure.is_transient() && self.unread < UNREAD_STEPS_MAX {
            self.unread += 1;
            return false;
        }
        self.unread = 0;
        true
    }

    async fn is_valid(
        &mut self,
        connection: &ChainConnection,
        wallet: primitives::Address,
    ) -> Result<bool, WatchError> {
        if self.valid.contains(&wallet) {
            return Ok(true);
        }
        let factory = convert::to_address(connection.contracts.wallet_factory);
        let call = WalletFactory::isValidWalletCall { wallet };
        // Validity is never taken back, so that the newest state answers for every block above
        // the wallet's creation.
        let valid = connection.rpc.view(factory, &call, At::Latest).await?;
        if valid {
            if self.valid.len() >= VALID_WALLETS_MAX {
                self.valid.clear();
            }
            self.valid.insert(wallet);
        }
        Ok(valid)
    }
}

/// The balance of a wallet as a fact; `None` where the RPC no longer has that state.
async fn read_balance(
    connection: &ChainConnection,
    wallet: Address,
    token: Address,
    at: At,
) -> Result<Option<WalletFact>, WatchError> {
    let address = convert::to_address(wallet);
    let balance = connection
        .balance_of(address, convert::to_address(token), at)
        .await;
    let balance = match balance {
        Err(failure) if failure.is_state_missing() => return Ok(None),
        answer => answer?,
    };
    Ok(Some(WalletFact {
        wallet,
        owner: owner(connection, address, at).await?,
        tx: Hash::ZERO,
        change: WalletChange::BalanceRead {
            token,
            balance: convert::from_u256(balance),
        },
    }))
}

/// The owner at that block, or today's where the RPC no longer has that state.
async fn owner(
    connection: &ChainConnection,
    wallet: primitives::Address,
    at: At,
) -> Result<Address, WatchError> {
    let call = Ownable::ownerCall {};
    let owner = match connection.rpc.view(wallet, &call, at).await {
        Err(failure) if failure.is_state_missing() => {
            connection.rpc.view(wallet, &call, At::Latest).await?
        }
        answer => answer?,
    };
    Ok(convert::from_address(owner))
}
