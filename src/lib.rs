//! The Infernet node: everything around the deterministic machine of `infernet-state`.

pub mod devnet;
pub mod log;
