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

/// The creation code of the Coordinator for an EVM.
pub(super) fn coordinator(build: Build) -> Bytes {
    built_in(match build {
        Build::Paris => "EIP712Coordinator",
        Build::Cancun => "cancun/EIP712Coordinator",
    })
}
