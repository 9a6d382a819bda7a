//! Strategies for [`proptest`].
//!
//! | module | gives |
//! |---|---|
//! | [`values`] | numbers near the places where contracts break: interval boundaries, powers of two, ends of types |
//! | [`subscriptions`] | subscriptions, standing alone |
//! | [`worlds`] | where a sequence begins: block time, fee, next id, build of the contracts |
//! | [`actions`] | sequences of calls that find their ids, intervals and wallets when they are played |
//! | [`events`] | event sequences for the node's machine, nonsense included |

pub mod actions;
pub mod events;
pub mod resolve;
pub mod subscriptions;
pub mod values;
pub mod worlds;
