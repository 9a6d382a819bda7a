//! Repositories inside the binary, so that an installed service answers without any set-up.

/// A repository inside the binary.
#[derive(Debug)]
pub(super) struct BuiltinRepo {
    /// Where it would lie in a cache directory.
    pub(super) path: &'static str,
    /// Its id.
    pub(super) id: &'static str,
    /// File names and contents, the manifest among them.
    pub(super) files: &'static [(&'static str, &'static [u8])],
}

macro_rules! file {
    ($dir:literal, $name:literal) => {
        (
            $name,
            include_bytes!(concat!("../../models/", $dir, "/", $name)) as &[u8],
        )
    };
}

/// All of them.
pub(super) const REPOS: &[BuiltinRepo] = &[BuiltinRepo {
    path: "local/infernet/iris/default",
    id: "local/infernet/iris",
    files: &[
        file!("local/infernet/iris/default", "iris.onnx"),
        file!("local/infernet/iris/default", "ritual_manifest.json"),
    ],
}];

impl BuiltinRepo {
    pub(super) fn at(path: &str) -> Option<&'static Self> {
        REPOS.iter().find(|repo| repo.path == path)
    }

    pub(super) fn file(&self, name: &str) -> Option<&'static [u8]> {
        self.files
            .iter()
            .find(|(file, _)| *file == name)
            .map(|(_, bytes)| *bytes)
    }
}
