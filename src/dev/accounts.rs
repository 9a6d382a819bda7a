//! The well-known accounts of development chains, from the public test mnemonic
//! "test test test test test test test test test test test junk".
//!
//! Their keys are public knowledge: never use them on a chain whose coins are worth anything.

use std::str::FromStr as _;

use alloy::signers::local::PrivateKeySigner;

/// Keys of the first four accounts.
const KEYS: [&str; 4] = [
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
];

/// A development account by its role in `infernet dev`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Receives the protocol fee (account 0).
    FeeRecipient,
    /// Signs the node's deliveries and owns its wallet (account 1).
    Node,
    /// Deploys the contracts, and later the tutorials' consumers (account 2).
    Deployer,
    /// Deploys and pays for the example consumer (account 3).
    Consumer,
}

impl Role {
    /// Its key, which everybody knows.
    #[must_use]
    pub fn key(self) -> &'static str {
        let [fee_recipient, node, deployer, consumer] = KEYS;
        match self {
            Self::FeeRecipient => fee_recipient,
            Self::Node => node,
            Self::Deployer => deployer,
            Self::Consumer => consumer,
        }
    }

    /// Its signer.
    ///
    /// # Panics
    /// Never: the keys are constants.
    #[must_use]
    pub fn signer(self) -> PrivateKeySigner {
        PrivateKeySigner::from_str(self.key()).expect("a constant, valid key")
    }
}
