//! Committed files that a test compares with: written anew only when `INFERNET_BLESS=1` says so.

use std::{fs, path::PathBuf};

/// Where the golden files are.
pub(crate) fn place(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// Whether golden files are to be written.
pub(crate) fn blessing() -> bool {
    std::env::var("INFERNET_BLESS").is_ok_and(|value| value == "1")
}

/// Holds what is against what is committed.
pub(crate) fn hold(name: &str, bytes: &[u8]) {
    let path = place(name);
    if blessing() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder is made");
        // Whole at once: other tests may be reading it.
        let new = path.with_extension("new");
        fs::write(&new, bytes).expect("a golden file is written");
        fs::rename(&new, &path).expect("a golden file is in its place");
    }
    let committed = fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; INFERNET_BLESS=1 writes it", path.display()));
    if committed != bytes {
        panic!(
            "{} differs; where the change is meant, INFERNET_BLESS=1 writes it anew.\n--- committed\n{}\n--- now\n{}",
            path.display(),
            String::from_utf8_lossy(&committed),
            String::from_utf8_lossy(bytes),
        );
    }
}

/// Bytes as hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of hexadecimal.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect()
}
