//! The compiled contracts, as `contracts/artifacts` holds them.

use std::{collections::BTreeMap, sync::OnceLock};

use revm::primitives::{Bytes, hex};

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

/// Declares the artifacts that are built in.
macro_rules! artifacts {
    ($($name:literal),* $(,)?) => {
        const SOURCES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../artifacts/", $name, ".json"))),)*
        ];
    };
}

artifacts!(
    "EIP712Coordinator",
    "Fee",
    "Inbox",
    "Reader",
    "ReferenceCoordinator",
    "ReferenceFee",
    "ReferenceWallet",
    "ReferenceWalletFactory",
    "Registry",
    "ScriptedConsumer",
    "ScriptedToken",
    "ScriptedVerifier",
    "Wallet",
    "WalletFactory",
    "cancun/EIP712Coordinator",
);

/// The creation code of a contract in an artifact's JSON (the field `bytecode`, as Foundry, Hardhat and this
/// project write it), or `None` if the text is no artifact.
#[must_use]
pub fn creation_code(artifact: &str) -> Option<Bytes> {
    let json: serde_json::Value = serde_json::from_str(artifact).ok()?;
    let code = &json["bytecode"];
    let code = code.as_str().or_else(|| code["object"].as_str())?;
    hex::decode(code).ok().map(Bytes::from)
}

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
