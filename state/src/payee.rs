//! Whose books these are: the wallet that is paid, and those before it of which something is open.
//!
//! A configuration that names another wallet moves nothing: stakes stay locked where they are, and
//! what was signed pays where it says. A wallet that was replaced is therefore remembered until
//! every nonce that was opened for it is used up in a final block, and every proof of a delivery
//! of that time has its verdict in one.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    config::ChainConfig,
    limits::FORMER_WALLETS_KEPT,
    machine::Machine,
    types::{Address, DeliveryNo, Nonce},
};

/// A wallet that was paid before the configuration named another, or another account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Former {
    wallet: Address,
    /// The account that locked stakes in it.
    node: Address,
    /// Below this nonce something may have been signed for it.
    below: Nonce,
    /// Up to this delivery something may be at stake in it.
    to: DeliveryNo,
}

/// A wallet that is paid, and the account that locks stakes in it.
pub(crate) fn payee(chain: Option<&ChainConfig>) -> Option<(Address, Address)> {
    let chain = chain?;
    chain.payment_wallet.map(|wallet| (wallet, chain.node))
}

impl Machine {
    /// The configuration names another wallet or account than `before`.
    pub(crate) fn payee_replaced(&mut self, before: Option<(Address, Address)>) {
        let present = payee(self.chain_config());
        let former = &mut self.chain.former;
        former.retain(|former| Some((former.wallet, former.node)) != present);
        if let Some((wallet, node)) = before {
            former.push(Former {
                wallet,
                node,
                below: self.account.next.unwrap_or_default(),
                to: self.deliveries.last(),
            });
        }
        self.forget_payees();
        let former = &mut self.chain.former;
        let beyond = former.len().saturating_sub(FORMER_WALLETS_KEPT);
        former.drain(..beyond);
    }

    /// Former wallets of which nothing is open any more are forgotten.
    pub(crate) fn forget_payees(&mut self) {
        let former = core::mem::take(&mut self.chain.former);
        self.chain.former = former
            .into_iter()
            .filter(|former| self.is_open_of(former))
            .collect();
    }

    fn is_open_of(&self, former: &Former) -> bool {
        let mut nonces = self
            .account
            .slots
            .keys()
            .chain(self.account.overtaken.keys());
        nonces.any(|nonce| *nonce < former.below)
            || self
                .proofs
                .all
                .values()
                .any(|proof| proof.delivery <= former.to)
    }

    /// Whether what is paid to a wallet is paid to the node: now, or before.
    pub(crate) fn is_payee(&self, wallet: Address) -> bool {
        self.chain_config()
            .is_some_and(|chain| chain.payment_wallet == Some(wallet))
            || self.chain.former.iter().any(|of| of.wallet == wallet)
    }

    /// Whether what this spender locks in a wallet is a stake of the node.
    pub(crate) fn is_stake(&self, wallet: Address, spender: Address) -> bool {
        let former = self.chain.former.iter();
        payee(self.chain_config())
            .into_iter()
            .chain(former.map(|of| (of.wallet, of.node)))
            .any(|of| of == (wallet, spender))
    }

    /// The wallets that were paid before the present one and of which something is open, in the
    /// order in which they were replaced.
    #[must_use]
    pub fn former_wallets(&self) -> Vec<Address> {
        self.chain.former.iter().map(|of| of.wallet).collect()
    }
}
