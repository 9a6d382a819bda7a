//! The compiled contracts, as `contracts/artifacts` holds them.

use std::{collections::BTreeMap, sync::OnceLock};

use infernet_contracts::artifacts;
use revm::primitives::Bytes;

pub use infernet_contracts::creation_code;

/// For which EVM the Coordinator was compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Build {
    /// Runs everywhere.
    #[default]
    Paris,
    /// Guards deliveries with transient storage.
    Cancun,
    /// Not this project's contracts, but the specification of the original ones written down in the plainest way, with
    /// all their weaknesses: only to compare with.
    Reference,
}

/// The artifacts that are built in.
const SOURCES: &[(&str, &str)] = &[
    ("EIP712Coordinator", artifacts::EIP712_COORDINATOR),
    ("Fee", artifacts::FEE),
    ("Inbox", artifacts::INBOX),
    ("Reader", artifacts::READER),
    ("ReferenceCoordinator", artifacts::REFERENCE_COORDINATOR),
    ("ReferenceFee", artifacts::REFERENCE_FEE),
    ("ReferenceWallet", artifacts::REFERENCE_WALLET),
    (
        "ReferenceWalletFactory",
        artifacts::REFERENCE_WALLET_FACTORY,
    ),
    ("Registry", artifacts::REGISTRY),
    ("ScriptedConsumer", artifacts::SCRIPTED_CONSUMER),
    ("ScriptedToken", artifacts::SCRIPTED_TOKEN),
    ("ScriptedVerifier", artifacts::SCRIPTED_VERIFIER),
    ("Wallet", artifacts::WALLET),
    ("WalletFactory", artifacts::WALLET_FACTORY),
    (
        "cancun/EIP712Coordinator",
        artifacts::CANCUN_EIP712_COORDINATOR,
    ),
];

/// The creation code of a contract of this project, by the name of its artifact.
///
/// # Panics
/// When there is no artifact of that name, which is a mistake of the test.
#[must_use]
pub fn built_in(name: &str) -> Bytes {
    static CODES: OnceLock<BTreeMap<&str, Bytes>> = OnceLock::new();
    let codes = CODES.get_or_init(|| {
        SOURCES
            .iter()
            .filter_map(|(name, text)| creation_code(text).map(|code| (*name, code)))
            .collect()
    });
    codes
        .get(name)
        .cloned()
        .unwrap_or_else(|| panic!("no artifact is called {name}"))
}

impl Build {
    /// The creation code of one of the contracts, by the name that it has in this project.
    ///
    /// # Panics
    /// When there is no contract of that name, which is a mistake of the test.
    #[must_use]
    pub fn code(self, contract: &str) -> Bytes {
        built_in(match (self, contract) {
            (Self::Cancun, "EIP712Coordinator") => "cancun/EIP712Coordinator",
            (Self::Reference, "EIP712Coordinator") => "ReferenceCoordinator",
            (Self::Reference, "Fee") => "ReferenceFee",
            (Self::Reference, "Wallet") => "ReferenceWallet",
            (Self::Reference, "WalletFactory") => "ReferenceWalletFactory",
            (Self::Paris | Self::Cancun | Self::Reference, same) => same,
        })
    }

    /// A place for something that is made once for each build.
    pub(crate) fn slot<T>(self, slots: &[T; 3]) -> &T {
        let [paris, cancun, reference] = slots;
        match self {
            Self::Paris => paris,
            Self::Cancun => cancun,
            Self::Reference => reference,
        }
    }
}
