//! The node's key: read once, never printed, wiped from memory when dropped.

use std::{io::Read as _, path::Path};

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559},
    eips::Encodable2718 as _,
    signers::{SignerSync as _, local::PrivateKeySigner},
};
use infernet_state::types::{Address, Hash};
use zeroize::Zeroizing;

use super::convert;

/// The most that is read of a key file: 66 characters are a key, the rest leaves room for white
/// space; anything longer is another file named by mistake.
const KEY_FILE_BYTES_MAX: u64 = 1024;

/// The key of the node's account.
#[derive(Clone)]
pub struct NodeKey {
    // k256 wipes the scalar when it is dropped.
    signer: PrivateKeySigner,
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeKey")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

/// Why there is no key. No variant shows what was read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no key.
    #[error(
        "E-KEY-001: the key from {source_name} is not 32 bytes of hexadecimal, or not a valid secp256k1 key"
    )]
    Malformed {
        /// Where it came from.
        source_name: String,
    },
    /// The file cannot be read.
    #[error("E-KEY-002: the key file {path} cannot be read: {reason}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The environment variable is not set.
    #[error("E-KEY-003: the environment variable {name} is not set")]
    Environment {
        /// The variable.
        name: String,
    },
    /// The library refused to sign.
    #[error("E-KEY-004: this cannot be signed: {reason}")]
    Signing {
        /// In words.
        reason: String,
    },
}

/// A transaction, signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedTransaction {
    /// Keccak-256 of `raw`.
    pub hash: Hash,
    /// EIP-2718 bytes, as `eth_sendRawTransaction` takes them.
    pub raw: Vec<u8>,
}

impl NodeKey {
    /// A key from hexadecimal, with or without `0x`, surrounded by white space at most.
    ///
    /// # Errors
    /// [`KeyError::Malformed`].
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        Self::parse(text, "the configuration")
    }

    /// A key from a file that holds its hexadecimal.
    ///
    /// # Errors
    /// [`KeyError::File`], [`KeyError::Malformed`].
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |error: std::io::Error| KeyError::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        warn_if_shared(path, &file);
        let mut text = Zeroizing::new(String::with_capacity(128));
        file.take(KEY_FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        Self::parse(&text, &format!("the file {}", path.display()))
    }

    /// A key from an environment variable that holds its hexadecimal.
    ///
    /// # Errors
    /// [`KeyError::Environment`], [`KeyError::Malformed`].
    pub fn from_env(name: &str) -> Result<Self, KeyError> {
        let text = std::env::var(name).map_err(|_| KeyError::Environment {
            name: name.to_owned(),
        })?;
        Self::parse(
            &Zeroizing::new(text),
            &format!("the environment variable {name}"),
        )
    }

    fn parse(text: &str, source_name: &str) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed {
            source_name: source_name.to_owned(),
        };
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        let mut bytes = Zeroizing::new([0_u8; 32]);
        alloy::hex::decode_to_slice(digits, bytes.as_mut_slice()).map_err(|_| malformed())?;
        let signer = PrivateKeySigner::from_slice(bytes.as_slice()).map_err(|_| malformed())?;
        Ok(Self { signer })
    }

    /// The account.
    #[must_use]
    pub fn address(&self) -> Address {
        convert::from_address(self.signer.address())
    }

    /// Signs a text as an Ethereum personal message (EIP-191): `r`, `s`, `v`.
    ///
    /// # Errors
    /// [`KeyError::Signing`].
    pub fn sign_text(&self, text: &str) -> Result<[u8; 65], KeyError> {
        self.signer
            .sign_message_sync(text.as_bytes())
            .map(|signature| signature.as_bytes())
            .map_err(|error| KeyError::Signing {
                reason: error.to_string(),
            })
    }

    /// Signs a transaction. The same fields give the same bytes (RFC 6979).
    ///
    /// # Errors
    /// [`KeyError::Signing`].
    pub fn sign(&self, transaction: TxEip1559) -> Result<SignedTransaction, KeyError> {
        let signature = self
            .signer
            .sign_hash_sync(&transaction.signature_hash())
            .map_err(|error| KeyError::Signing {
                reason: error.to_string(),
            })?;
        let signed = transaction.into_signed(signature);
        Ok(SignedTransaction {
            hash: convert::from_b256(*signed.hash()),
            raw: signed.encoded_2718(),
        })
    }
}

/// Says that others can read a key file. No more than that: container secrets often are mounted
/// so, where nobody else is.
#[cfg(unix)]
fn warn_if_shared(path: &Path, file: &std::fs::File) {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = file
        .metadata()
        .map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "other accounts of this machine can read the key file; chmod 600 keeps it yours");
    }
}

#[cfg(not(unix))]
fn warn_if_shared(_: &Path, _: &std::fs::File) {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first account of the well-known development mnemonic.
    const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[test]
    fn a_key_is_read_from_text_and_never_shown() {
        let key = NodeKey::from_hex(&format!(" {KEY}\n")).expect("a key");
        assert_eq!(
            key.address().to_string(),
            "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
        );
        assert!(!format!("{key:?}").contains("ac0974"));
    }

    #[test]
    fn no_error_shows_what_was_read() {
        for text in [
            "",
            "0x12",
            &KEY[..65],
            "not hexadecimal at all, but a secret",
        ] {
            let error = NodeKey::from_hex(text).expect_err("no key").to_string();
            assert!(error.starts_with("E-KEY-001"), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        let zero = "00".repeat(32);
        assert!(NodeKey::from_hex(&zero).is_err());
    }
}
