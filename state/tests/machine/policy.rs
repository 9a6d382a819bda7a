//! The rules that decide what the node takes on, at their edges: admission and its reasons, what
//! may be at stake, the profit guard, retention, the breaker, idempotency.

use crate::common::*;
use infernet_state::{
    Event,
    job::{Cause, Stage},
    types::Amount,
};

/// A delegated subscription that is withdrawn before it is active leaves nothing behind: neither
/// an entry that would begin it all the same, nor one that a client could pile up.
#[test]
fn a_withdrawn_delegated_subscription_never_begins() {
    let mut world = World::new(config());
    let mut terms = subscription(&["alpha"]);
    terms.payment_amount = Amount::from(1_000);
    terms.active_at = world.head().block.time.as_contract_time() + 20;
    world.mine(1);
    let at = world.now();
    world.apply(Event::DelegatedAccepted(delegated(7, terms, at)));
    assert!(world.machine.next_block_deadline().time.is_some());
    let job = infernet_state::delegation::delegated_job_id((CONSUMER, 7));
    world.apply(Event::JobCancelled { job, at });
    assert_eq!(world.machine.next_block_deadline().time, None);
    world.mine(30);
    assert!(world.issued.is_empty(), "nobody waits for its payer");
    let stage = world.machine.job(job).expect("it is kept").stage;
    assert_eq!(stage, Stage::Failed(Cause::Cancelled));
}
