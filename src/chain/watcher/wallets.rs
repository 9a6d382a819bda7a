//! Events of wallets: only those count that the factory made.

use std::collections::BTreeSet;

use alloy::{primitives, rpc::types::Log, sol_types::SolEventInterface as _};
use infernet_state::{
    event::{ChainFact, WalletChange, WalletFact},
    types::{Address, BlockRef, Hash},
};

use super::{collect::Watched, error::WatchError};
use crate::chain::{
    abi::{Ownable, Wallet, WalletFactory},
    connect::ChainConnection,
    convert,
    rpc::At,
};

/// Wallets remembered as the factory's. Beyond it all are asked for again: a bound on memory,
/// far above the consumers that a node serves between two starts.
const VALID_WALLETS_MAX: usize = 65_536;

/// Tokens of the payment wallet that are remembered: anybody can send any token to it.
const TOKENS_MAX: usize = 64;

/// What the watcher knows of wallets.
#[derive(Clone, Debug, Default)]
pub(super) struct Wallets {
    /// Made by the factory. A reorg can undo a wallet: cleared then.
    valid: BTreeSet<primitives::Address>,
    /// Tokens beside the native coin in which the payment wallet moved.
    tokens: BTreeSet<Address>,
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
        let Some(change) = change(log) else {
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
        &self,
        connection: &ChainConnection,
        watched: Watched,
        block: BlockRef,
    ) -> Result<Vec<ChainFact>, WatchError> {
        let mut facts = Vec::new();
        let Some(wallet) = watched.payment_wallet else {
            return Ok(facts);
        };
        for token in [Address::ZERO].iter().chain(&self.tokens) {
            let at = At::Number(block.number);
            let balance = read_balance(connection, wallet, *token, at).await?;
            facts.extend(balance.map(ChainFact::Wallet));
        }
        Ok(facts)
    }

    /// The balance of a wallet as a fact; `None` where the RPC no longer has that state.
    pub(super) async fn balance(
        &mut self,
        connection: &ChainConnection,
        wallet: Address,
        token: Address,
        at: At,
    ) -> Result<Option<WalletFact>, WatchError> {
        if !token.is_zero() && self.tokens.len() < TOKENS_MAX {
            self.tokens.insert(token);
        }
        read_balance(connection, wallet, token, at).await
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

/// Whether a log could be a wallet's event.
pub(super) fn is_wallet_event(log: &Log) -> bool {
    change(log).is_some()
}

/// The token in which a fact moved what `wallet` holds, if it did.
pub(super) fn token_moved(wallet: Address, fact: &WalletFact) -> Option<Address> {
    let own = fact.wallet == wallet;
    match fact.change {
        WalletChange::Transferred { token, to, .. } if own || to == wallet => Some(token),
        WalletChange::Withdrawn { token, .. } if own => Some(token),
        WalletChange::Transferred { .. }
        | WalletChange::Withdrawn { .. }
        | WalletChange::Escrowed { .. }
        | WalletChange::Approved { .. }
        | WalletChange::BalanceRead { .. } => None,
    }
}

/// ERC-20's `Approval` has the wallet's topic and another shape: it does not decode.
fn change(log: &Log) -> Option<WalletChange> {
    let event = Wallet::WalletEvents::decode_log(&log.inner).ok()?.data;
    Some(match event {
        Wallet::WalletEvents::Transfer(event) => WalletChange::Transferred {
            spender: convert::from_address(event.spender),
            token: convert::from_address(event.token),
            to: convert::from_address(event.to),
            amount: convert::from_u256(event.amount),
        },
        Wallet::WalletEvents::Escrow(event) => WalletChange::Escrowed {
            spender: convert::from_address(event.spender),
            token: convert::from_address(event.token),
            amount: convert::from_u256(event.amount),
            locked: event.locked,
        },
        Wallet::WalletEvents::Approval(event) => WalletChange::Approved {
            spender: convert::from_address(event.spender),
            token: convert::from_address(event.token),
            amount: convert::from_u256(event.amount),
        },
        Wallet::WalletEvents::Withdrawl(event) => WalletChange::Withdrawn {
            token: convert::from_address(event.token),
            amount: convert::from_u256(event.amount),
        },
    })
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

#[cfg(test)]
mod tests {
    use alloy::{
        primitives::{Address as Addr, Log as RawLog, U256},
        sol_types::SolEvent as _,
    };

    use super::*;

    alloy::sol! {
        interface Token {
            event Approval(address indexed owner, address indexed spender, uint256 value);
        }
    }

    fn log(raw: RawLog) -> Log {
        Log {
            inner: raw,
            ..Log::default()
        }
    }

    #[test]
    fn an_approval_of_a_token_is_not_taken_for_a_wallets() {
        let of_wallet = Wallet::Approval {
            spender: Addr::repeat_byte(1),
            token: Addr::repeat_byte(2),
            amount: U256::from(3),
        };
        let of_token = Token::Approval {
            owner: Addr::repeat_byte(1),
            spender: Addr::repeat_byte(2),
            value: U256::from(3),
        };
        assert_eq!(
            Wallet::Approval::SIGNATURE_HASH,
            Token::Approval::SIGNATURE_HASH
        );
        let raw = |data| RawLog {
            address: Addr::repeat_byte(9),
            data,
        };
        assert!(is_wallet_event(&log(raw(of_wallet.encode_log_data()))));
        assert!(!is_wallet_event(&log(raw(of_token.encode_log_data()))));
    }
}
