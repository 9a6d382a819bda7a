//! The contracts as the node sees them, and what their reverts mean.

use alloy::{primitives::Selector, sol, sol_types::SolError as _};
pub use infernet_contracts::{
    BatchDelivery, Consumer, Coordinator, DelegateSubscription, Errors, Fee, Ownable, Reader,
    Registry, Subscription, Wallet, WalletFactory,
};

sol! {
    /// What the node asks of a token.
    interface Erc20 {
        function balanceOf(address account) external view returns (uint256);
    }

    /// Errors that only contracts of others have.
    interface ForeignErrors {
        error InsufficientBalance();
    }
}

/// The longest reason that is taken over from a revert, in characters: it stands in an event.
const REASON_CHARACTERS_MAX: usize = 200;

/// A revert in words: its selector (zero where it carried none) and the error's name.
#[must_use]
pub fn describe_revert(data: &[u8]) -> ([u8; 4], String) {
    let Some(selector) = data.first_chunk::<4>() else {
        return ([0; 4], "reverted without a reason".to_owned());
    };
    let named = Errors::ErrorsErrors::name_by_selector(*selector)
        .or_else(|| ForeignErrors::ForeignErrorsErrors::name_by_selector(*selector));
    let reason = named
        .map(str::to_owned)
        .or_else(|| describe_generic(data))
        .unwrap_or_else(|| format!("unknown error {}", Selector::from(*selector)));
    (*selector, reason)
}

/// `Error(string)` and `Panic(uint256)`, which the compiler itself emits.
fn describe_generic(data: &[u8]) -> Option<String> {
    if let Ok(revert) = alloy::sol_types::Revert::abi_decode(data) {
        return Some(format!("Error: {}", printable(&revert.reason)));
    }
    let panic = alloy::sol_types::Panic::abi_decode(data).ok()?;
    let code: u64 = panic.code.try_into().unwrap_or(u64::MAX);
    Some(match panic.kind() {
        Some(kind) => format!("Panic {code:#x}: {}", kind.as_str()),
        None => format!("Panic {code:#x}"),
    })
}

/// Foreign text, safe to print and to keep: bounded, and without control characters.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(REASON_CHARACTERS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use alloy::json_abi::JsonAbi;
    use infernet_contracts::artifacts;

    use super::*;

    #[test]
    fn every_error_of_the_contracts_has_a_name() {
        for artifact in [
            artifacts::EIP712_COORDINATOR,
            artifacts::WALLET,
            artifacts::FEE,
        ] {
            let mut artifact: serde_json::Value = serde_json::from_str(artifact).expect("JSON");
            let abi: JsonAbi = serde_json::from_value(artifact["abi"].take()).expect("an ABI");
            for error in abi.errors() {
                let (selector, name) = describe_revert(error.selector().as_slice());
                assert_eq!(selector, error.selector().0);
                assert_eq!(name, error.name);
            }
        }
        assert_eq!(
            describe_revert(&[0xf4, 0xd6, 0x78, 0xb8]).1,
            "InsufficientBalance"
        );
        assert_eq!(
            describe_revert(&[1, 2, 3, 4, 5]).1,
            "unknown error 0x01020304"
        );
        assert_eq!(describe_revert(&[1]).0, [0; 4]);
    }
}
