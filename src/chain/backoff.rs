//! Waits between tries: doubling, bounded, with jitter so that many nodes do not ask in step.

use std::time::Duration;

/// The waits of one series of tries.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits from about `first` up to `most`.
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            failures: 0,
        }
    }

    /// Starts over after a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// The next wait: between half of the doubled wait and the whole of it.
    pub(super) fn next(&mut self) -> Duration {
        let doublings = self.failures.min(20);
        self.failures = self.failures.saturating_add(1);
        let whole = self.first.saturating_mul(1_u32 << doublings).min(self.most);
        whole.mul_f64(rand::Rng::random_range(&mut rand::rng(), 0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        assert!(waits[0] <= Duration::from_millis(100));
        assert!(
            waits[5..].iter().all(|wait| {
                (Duration::from_millis(500)..=Duration::from_secs(1)).contains(wait)
            })
        );
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
