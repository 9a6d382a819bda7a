//! The development chain as its clients see it.

mod client;
mod mining;
mod persistence;
mod probe;
mod tools;
