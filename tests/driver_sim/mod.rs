//! A simulated world round the production loop: one seed, one history.

pub(crate) mod chain;
pub(crate) mod node;
pub(crate) mod outside;
pub(crate) mod run;
pub(crate) mod steps;
pub(crate) mod world;
