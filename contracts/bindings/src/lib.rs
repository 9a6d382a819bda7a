//! The contracts of Infernet for Rust: their functions, events, errors and code.
//!
//! Everything but [`DelegateSubscription`], which is in no ABI, is written from the compiled
//! contracts: `cargo xtask contracts build` writes it, `cargo xtask contracts check` fails when it
//! does not agree with the sources. Errors stand in one list, [`Errors`], whichever contract they
//! come from.
//!
//! What stands between the contracts and the node's machine and reads nothing stands here, too:
//! [`facts`] from logs, [`calldata`] of actions, [`convert`] of values. The node and the tests of
//! its machine share it.

#[expect(
    missing_docs,
    reason = "fields and arguments are described where the contracts declare them"
)]
#[expect(
    clippy::too_many_arguments,
    reason = "the arguments are the contracts'"
)]
mod generated;

pub mod calldata;
pub mod convert;
pub mod facts;

use alloy_primitives::{Bytes, hex};
use alloy_sol_types::sol;

pub use generated::*;

sol! {
    /// What the signer of a delegated subscription signs (EIP-712).
    #[derive(Debug, PartialEq, Eq)]
    struct DelegateSubscription {
        /// Any number, used once per owner.
        uint32 nonce;
        /// Until when (exclusive) the signature can be used.
        uint32 expiry;
        /// The subscription, stored as it is.
        Subscription sub;
    }
}

/// The creation code in an artifact's JSON (the field `bytecode`, as Foundry, Hardhat and this
/// project write it), or `None` if the text is no artifact.
#[must_use]
pub fn creation_code(artifact: &str) -> Option<Bytes> {
    let json: serde_json::Value = serde_json::from_str(artifact).ok()?;
    let code = json.get("bytecode")?;
    let code = code
        .as_str()
        .or_else(|| code.get("object").and_then(serde_json::Value::as_str))?;
    hex::decode(code).ok().map(Bytes::from)
}
