//! `ritual_manifest.json` (`docs/spec/services.md` section 0).

use std::collections::BTreeMap;

use alloy_primitives::hex;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The manifest's name in a repository.
pub const MANIFEST_FILE: &str = "ritual_manifest.json";

/// What is read of a manifest; other keys are kept as they are in [`Manifest::json`].
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The whole document.
    pub json: Value,
    checked: Checked,
}

#[derive(Debug, Clone, Deserialize)]
struct Checked {
    files: Vec<String>,
    #[serde(default)]
    file_hashes: BTreeMap<String, String>,
}

/// Why a manifest, or a file under it, is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ManifestFault {
    /// It is not a manifest.
    Malformed(String),
    /// It does not list the file.
    NotListed,
    /// The file is not the one it describes.
    HashMismatch { expected: String, found: String },
}

impl Manifest {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ManifestFault> {
        let malformed = |error: serde_json::Error| ManifestFault::Malformed(error.to_string());
        let json: Value = serde_json::from_slice(bytes).map_err(malformed)?;
        let checked = Checked::deserialize(&json).map_err(malformed)?;
        Ok(Self { json, checked })
    }

    /// Whether `bytes` may be used as `file`: it is listed, and has the listed hash if there is
    /// one.
    pub(super) fn check(&self, file: &str, bytes: &[u8]) -> Result<(), ManifestFault> {
        if !self.checked.files.iter().any(|listed| listed == file) {
            return Err(ManifestFault::NotListed);
        }
        let Some(expected) = self.checked.file_hashes.get(file) else {
            return Ok(());
        };
        let found = hex::encode(Sha256::digest(bytes));
        if found.eq_ignore_ascii_case(expected) {
            Ok(())
        } else {
            Err(ManifestFault::HashMismatch {
                expected: expected.clone(),
                found,
            })
        }
    }
}
