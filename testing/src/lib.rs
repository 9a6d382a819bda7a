//! Property tests for Infernet.
#![forbid(unsafe_code)]

pub mod abi;
pub mod evm;
pub mod model;
