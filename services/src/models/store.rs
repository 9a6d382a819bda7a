//! Finds the bytes of a model file: in the cache directory, else in the binary.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use infernet_codec::model_id::{ModelId, RepoId, Storage};

use super::{
    builtin::{self, BuiltinRepo},
    manifest::{MANIFEST_FILE, Manifest, ManifestFault},
};

/// The largest model file that is read, in bytes: protobuf messages end at 2 GiB.
const MODEL_FILE_LEN_MAX: u64 = 2 << 30;

/// The largest manifest that is read, in bytes: thousands of files fit.
const MANIFEST_LEN_MAX: u64 = 4 << 20;

/// How many cached repositories are listed at most: the list is one JSON document.
const LISTED_REPOS_MAX: usize = 1000;

/// Why a model file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The repository is nowhere.
    #[error(
        "E-MOD-001: repository {repo} is not in the cache{}: put it at {{cache}}/{}, this service downloads nothing",
        cache.as_ref().map(|dir| format!(" {}", dir.display())).unwrap_or_default(), repo.path()
    )]
    RepoMissing {
        /// The repository.
        repo: Box<RepoId>,
        /// The cache directory, if there is one.
        cache: Option<PathBuf>,
    },
    /// The repository has no such file.
    #[error("E-MOD-002: repository {repo} has no file {file:?}")]
    FileMissing {
        /// The repository.
        repo: Box<RepoId>,
        /// The file.
        file: String,
    },
    /// The manifest cannot be used.
    #[error("E-MOD-003: {MANIFEST_FILE} of repository {repo} is malformed: {reason}")]
    BadManifest {
        /// The repository.
        repo: Box<RepoId>,
        /// What is wrong.
        reason: String,
    },
    /// The manifest does not know the file.
    #[error("E-MOD-004: {MANIFEST_FILE} of repository {repo} does not list {file:?}")]
    NotListed {
        /// The repository.
        repo: Box<RepoId>,
        /// The file.
        file: String,
    },
    /// The file is not the one that the manifest describes.
    #[error(
        "E-MOD-005: {file:?} of repository {repo} has SHA-256 {found}, its manifest says {expected}: fetch the repository again"
    )]
    HashMismatch {
        /// The repository.
        repo: Box<RepoId>,
        /// The file.
        file: String,
        /// According to the manifest, hex.
        expected: String,
        /// Of the file, hex.
        found: String,
    },
    /// A file is too large to be read.
    #[error("E-MOD-006: {} has {len} bytes, more than the {max} that are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length, in bytes.
        len: u64,
        /// The bound, in bytes.
        max: u64,
    },
    /// The cache cannot be read.
    #[error("E-MOD-007: cannot read {}: {source}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl StoreError {
    /// Whether the model is simply not there, as opposed to being there and unusable.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self {
            Self::RepoMissing { .. } | Self::FileMissing { .. } => true,
            Self::BadManifest { .. }
            | Self::NotListed { .. }
            | Self::HashMismatch { .. }
            | Self::TooLarge { .. }
            | Self::Io { .. } => false,
        }
    }
}

/// A repository that a service can load from.
#[derive(Debug, Clone)]
pub struct CachedRepo {
    /// `{storage}/{owner}/{name}[/{version}]`.
    pub id: String,
    /// Its manifest.
    pub manifest: Manifest,
}

/// The cache directory, with the built-in repositories behind it.
#[derive(Debug, Clone)]
pub struct ModelStore {
    cache: Option<PathBuf>,
}

/// Where a repository was found.
enum Found {
    Directory(PathBuf),
    Builtin(&'static BuiltinRepo),
}

impl ModelStore {
    /// A store over `cache`, laid out as `{storage}/{owner}/{name}/{version|default}/`. It need
    /// not exist; without one only what is built in can be loaded.
    #[must_use]
    pub fn new(cache: Option<PathBuf>) -> Self {
        Self { cache }
    }

    /// Reads `file` of the model's repository, checked against the repository's manifest. A
    /// repository without a manifest is read unchecked.
    ///
    /// A directory in the cache that is not empty shadows a built-in repository of the same id.
    /// Blocks on the file system.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn read(&self, model: &ModelId, file: &str) -> Result<Vec<u8>, StoreError> {
        let repo = model.repo();
        let found = self.find(repo)?;
        let missing = || StoreError::FileMissing {
            repo: Box::new(repo.clone()),
            file: file.to_owned(),
        };
        let bytes = found.read(file, MODEL_FILE_LEN_MAX)?.ok_or_else(missing)?;
        let fault = |fault| fault_error(repo, file, fault);
        match found.read(MANIFEST_FILE, MANIFEST_LEN_MAX)? {
            Some(manifest) => {
                Manifest::parse(&manifest)
                    .and_then(|m| m.check(file, &bytes))
                    .map_err(fault)?;
            }
            None => tracing::warn!(%repo, "no {MANIFEST_FILE}: the model's hash is not checked"),
        }
        Ok(bytes)
    }

    /// The repositories that have a readable manifest, by id. Blocks on the file system; what
    /// cannot be read is left out.
    #[must_use]
    pub fn repos(&self) -> Vec<CachedRepo> {
        let mut repos: Vec<CachedRepo> = Storage::ALL
            .iter()
            .filter_map(|storage| Some(self.cache.as_ref()?.join(storage.name())))
            .flat_map(subdirectories)
            .flat_map(|owner| subdirectories(owner.1).map(move |name| (owner.0.clone(), name)))
            .flat_map(|(owner, name)| {
                subdirectories(name.1).map(move |version| (owner.clone(), name.0.clone(), version))
            })
            .take(LISTED_REPOS_MAX)
            .filter_map(|(owner, name, (version, path))| {
                let storage = path
                    .ancestors()
                    .nth(3)?
                    .file_name()?
                    .to_str()?
                    .parse()
                    .ok()?;
                let version = (version != "default").then_some(version);
                let id = RepoId::new(storage, &owner, &name, version.as_deref()).ok()?;
                let bytes = read_bounded(&path.join(MANIFEST_FILE), MANIFEST_LEN_MAX).ok()??;
                Some(CachedRepo {
                    id: id.to_string(),
                    manifest: Manifest::parse(&bytes).ok()?,
                })
            })
            .collect();
        for builtin in builtin::REPOS {
            let manifest = builtin.file(MANIFEST_FILE).map(Manifest::parse);
            if let Some(Ok(manifest)) = manifest
                && repos.iter().all(|repo| repo.id != builtin.id)
            {
                repos.push(CachedRepo {
                    id: builtin.id.to_owned(),
                    manifest,
                });
            }
        }
        repos.sort_by(|a, b| a.id.cmp(&b.id));
        repos
    }

    fn find(&self, repo: &RepoId) -> Result<Found, StoreError> {
        let path = repo.path();
        if let Some(directory) = self.cache.as_ref().map(|cache| cache.join(&path))
            && is_filled(&directory)?
        {
            return Ok(Found::Directory(directory));
        }
        BuiltinRepo::at(&path)
            .map(Found::Builtin)
            .ok_or_else(|| StoreError::RepoMissing {
                repo: Box::new(repo.clone()),
                cache: self.cache.clone(),
            })
    }
}

impl Found {
    fn read(&self, file: &str, len_max: u64) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Directory(directory) => read_bounded(&directory.join(file), len_max),
            Self::Builtin(repo) => Ok(repo.file(file).map(<[u8]>::to_vec)),
        }
    }
}

fn fault_error(repo: &RepoId, file: &str, fault: ManifestFault) -> StoreError {
    let (repo, file) = (Box::new(repo.clone()), file.to_owned());
    match fault {
        ManifestFault::Malformed(reason) => StoreError::BadManifest { repo, reason },
        ManifestFault::NotListed => StoreError::NotListed { repo, file },
        ManifestFault::HashMismatch { expected, found } => StoreError::HashMismatch {
            repo,
            file,
            expected,
            found,
        },
    }
}

/// Whether there is a directory with anything in it.
fn is_filled(path: &Path) -> Result<bool, StoreError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if is_absence(&error) => Ok(false),
        Err(source) => Err(StoreError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// A whole file; `None` if there is none.
fn read_bounded(path: &Path, len_max: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let io = |source| StoreError::Io {
        path: path.to_owned(),
        source,
    };
    let len = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if is_absence(&error) => return Ok(None),
        Err(source) => return Err(io(source)),
    };
    if len > len_max {
        return Err(StoreError::TooLarge {
            path: path.to_owned(),
            len,
            max: len_max,
        });
    }
    fs::read(path).map(Some).map_err(io)
}

/// Names that no file can have (a file used as a directory, a name that is too long) come from
/// requests as well, and are absence too.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    )
}

/// Names and paths of the directories in `parent`; none if it cannot be read.
fn subdirectories(parent: PathBuf) -> impl Iterator<Item = (String, PathBuf)> {
    fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
}
