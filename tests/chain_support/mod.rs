//! A real chain (anvil), a gate before it that misbehaves on demand, and a sink that remembers.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test binary uses its own part of this"
)]

mod anvil;
mod gate;
mod recorder;
mod world;

pub use anvil::Anvil;
pub use gate::{Fault, Gate};
pub use recorder::Recorder;
pub use world::{Bytes, Watching, World, answer, eventually};
