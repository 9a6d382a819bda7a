//! Event sequences for the node's machine.
//!
//! Two kinds, to be mixed at will:
//!
//! * [`event`] gives any [`Event`] with any contents: what no driver would ever send. `apply` must take
//!   it without a panic and without breaking an invariant.
//! * [`happening`] gives what may happen next ("the chain grows by a block with these facts", "an outstanding
//!   effect ends"); a [`Scene`] turns it into the event that says so, from what the machine has asked for so
//!   far. So sequences reach deep into the machine: effects end, transactions are included, blocks with their
//!   subscriptions are reorganised away and ids come back for others.
//!
//! ```
//! use infernet_state::Machine;
//! use infernet_testing::strategies::events::{Scene, happenings};
//! use proptest::{strategy::{Strategy, ValueTree}, test_runner::TestRunner};
//!
//! let mut runner = TestRunner::deterministic();
//! let sequence = happenings(30).new_tree(&mut runner).expect("there are sequences").current();
//! let (mut scene, mut machine) = (Scene::new(), Machine::new());
//! for happening in &sequence {
//!     if let Some(event) = scene.event(happening, &machine) {
//!         if machine.apply(&event).is_err() {
//!             break; // The machine halts where money would not add up; it stays halted.
//!         }
//!     }
//! }
//! ```

mod happenings;
mod nonsense;
mod scene;

pub use happenings::{
    Ending, FactWish, Happening, Record, happening, happenings, wild_happening, wild_happenings,
};
pub use nonsense::{chain_fact, event, outcome};
pub use scene::{Scene, config};

#[cfg(doc)]
use infernet_state::Event;
