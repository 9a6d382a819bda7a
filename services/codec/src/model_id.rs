//! Model ids: `{storage}/{owner}/{name}[/{version}]:{file}[,{file}...]`
//! (`docs/spec/services.md` section 0).

use std::{fmt, str::FromStr};

use alloy_primitives::Bytes;
use alloy_sol_types::{
    SolType,
    sol_data::{Bytes as SolBytes, String as SolString, Uint},
};

use crate::abi::decode_params;

/// The longest id that is accepted, in bytes: file systems end a path at about this length.
pub const MODEL_ID_LEN_MAX: usize = 4096;

/// The directory of a repository without a version.
const DEFAULT_VERSION: &str = "default";

type AbiRepo = (Uint<8>, SolString, SolString, SolString);
type AbiModel = (SolBytes, SolString);

/// Why an id was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelIdError {
    /// The text has another form.
    #[error("E-MID-001: invalid model id {0:?}: use storage/owner/name[/version]:file[,file...]")]
    BadForm(String),
    /// The storage is none of the known ones.
    #[error("E-MID-002: unknown storage {0}: use local (0), arweave (1) or huggingface (2)")]
    UnknownStorage(String),
    /// A part could leave the cache directory or is empty.
    #[error("E-MID-003: {part:?} cannot be the {role} of a model id")]
    BadPart {
        /// Owner, name, version or file.
        role: &'static str,
        /// What was given.
        part: String,
    },
    /// The id is too long.
    #[error("E-MID-004: a model id of {0} bytes exceeds {MODEL_ID_LEN_MAX}")]
    TooLong(usize),
    /// Bytes that are not ABI data of an id.
    #[error("E-MID-005: not an encoded model id: {0}")]
    BadAbi(String),
}

/// Where a repository comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Storage {
    /// A directory that the operator filled.
    Local = 0,
    /// Arweave.
    Arweave = 1,
    /// The Hugging Face hub.
    HuggingFace = 2,
}

impl Storage {
    /// The name in ids and in the cache's paths.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Arweave => "arweave",
            Self::HuggingFace => "huggingface",
        }
    }

    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Local, Self::Arweave, Self::HuggingFace];
}

impl FromStr for Storage {
    type Err = ModelIdError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|storage| storage.name() == name)
            .ok_or_else(|| ModelIdError::UnknownStorage(format!("{name:?}")))
    }
}

/// A repository of models.
///
/// No part can name a path outside of the repository's place in a cache: see [`RepoId::path`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoId {
    storage: Storage,
    owner: String,
    name: String,
    version: Option<String>,
}

impl RepoId {
    /// A repository by its parts; an empty version is none.
    ///
    /// # Errors
    /// [`ModelIdError::BadPart`] for a part that is empty, `.` or `..`, or holds a separator.
    pub fn new(
        storage: Storage,
        owner: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Self, ModelIdError> {
        let version = match version {
            None | Some("") => None,
            Some(version) => Some(checked("version", version)?),
        };
        Ok(Self {
            storage,
            owner: checked("owner", owner)?,
            name: checked("name", name)?,
            version,
        })
    }

    /// Where it comes from.
    #[must_use]
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// Its place in a cache directory: `{storage}/{owner}/{name}/{version|default}`, relative and
    /// without `..`.
    #[must_use]
    pub fn path(&self) -> String {
        let version = self.version.as_deref().unwrap_or(DEFAULT_VERSION);
        format!(
            "{}/{}/{}/{version}",
            self.storage.name(),
            self.owner,
            self.name
        )
    }

    fn to_abi(&self) -> Vec<u8> {
        let version = self.version.as_deref().unwrap_or("");
        AbiRepo::abi_encode_params(&(self.storage as u8, &self.owner, &self.name, version))
    }

    fn from_abi(bytes: &[u8]) -> Result<Self, ModelIdError> {
        let (number, owner, name, version) =
            decode_params::<AbiRepo>(bytes).map_err(ModelIdError::BadAbi)?;
        let storage = Storage::ALL
            .get(usize::from(number))
            .ok_or_else(|| ModelIdError::UnknownStorage(number.to_string()))?;
        Self::new(*storage, &owner, &name, Some(&version))
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.storage.name(), self.owner, self.name)?;
        match &self.version {
            Some(version) => write!(f, "/{version}"),
            None => Ok(()),
        }
    }
}

impl FromStr for RepoId {
    type Err = ModelIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [storage, owner, name] => Self::new(storage.parse()?, owner, name, None),
            [storage, owner, name, version] => Self::new(
                storage.parse()?,
                owner,
                name,
                Some(checked("version", version)?.as_str()),
            ),
            _ => Err(ModelIdError::BadForm(text.to_owned())),
        }
    }
}

/// A model: files of a repository, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId {
    repo: RepoId,
    files: Vec<String>,
}

impl ModelId {
    /// A model by its parts. A file may lie in a subdirectory of the repository.
    ///
    /// # Errors
    /// [`ModelIdError::BadPart`] for no file, or one that could leave the repository;
    /// [`ModelIdError::TooLong`].
    pub fn new(repo: RepoId, files: Vec<String>) -> Result<Self, ModelIdError> {
        if files.is_empty() {
            return Err(ModelIdError::BadPart {
                role: "file",
                part: String::new(),
            });
        }
        for file in &files {
            file.split('/')
                .try_for_each(|part| checked("file", part).map(drop))?;
        }
        let id = Self { repo, files };
        match id.to_string().len() {
            len if len > MODEL_ID_LEN_MAX => Err(ModelIdError::TooLong(len)),
            _ => Ok(id),
        }
    }

    /// The repository.
    #[must_use]
    pub fn repo(&self) -> &RepoId {
        &self.repo
    }

    /// The files; services load the first that they can read.
    #[must_use]
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// `abi.encode(bytes repo, string files)` with
    /// `repo = abi.encode(uint8 storage, string owner, string name, string version)`.
    #[must_use]
    pub fn to_abi(&self) -> Vec<u8> {
        AbiModel::abi_encode_params(&(Bytes::from(self.repo.to_abi()), self.files.join(",")))
    }

    /// Reads the ABI form; empty bytes are no model.
    ///
    /// # Errors
    /// [`ModelIdError::BadAbi`], and those of [`ModelId::new`].
    pub fn from_abi(bytes: &[u8]) -> Result<Option<Self>, ModelIdError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let (repo, files) = decode_params::<AbiModel>(bytes).map_err(ModelIdError::BadAbi)?;
        Self::new(RepoId::from_abi(&repo)?, split_files(&files)).map(Some)
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repo, self.files.join(","))
    }
}

impl FromStr for ModelId {
    type Err = ModelIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MODEL_ID_LEN_MAX {
            return Err(ModelIdError::TooLong(text.len()));
        }
        let (repo, files) = text
            .split_once(':')
            .ok_or_else(|| ModelIdError::BadForm(text.to_owned()))?;
        Self::new(repo.parse()?, split_files(files))
    }
}

fn split_files(files: &str) -> Vec<String> {
    files.split(',').map(str::to_owned).collect()
}

/// A part that is one plain path component, on Unix and on Windows, and keeps the id's own
/// separators out.
fn checked(role: &'static str, part: &str) -> Result<String, ModelIdError> {
    let plain = !part.is_empty()
        && part != "."
        && part != ".."
        && !part
            .chars()
            .any(|c| matches!(c, '/' | '\\' | ':' | ',') || c.is_control());
    if plain {
        Ok(part.to_owned())
    } else {
        Err(ModelIdError::BadPart {
            role,
            part: part.to_owned(),
        })
    }
}
