//! Model repositories: where they lie, what is built in, and the check of their hashes.

mod builtin;
mod manifest;
mod store;

pub use manifest::{MANIFEST_FILE, Manifest};
pub use store::{CachedRepo, ModelStore, StoreError};
