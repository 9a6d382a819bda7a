//! How often one client may ask: a token bucket per address, in a table of bounded size.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Addresses that are kept track of. Beyond it the fullest buckets are forgotten first: those
/// who asked least are let go, those who asked most stay limited.
const ADDRESSES_MAX: usize = 4096;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Requests that one address may make in a period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Requests; at least 1.
    pub requests: u32,
    /// The period; at least a millisecond.
    pub period: Duration,
}

impl Default for RateLimit {
    /// That of Infernet Node 1.4.0.
    fn default() -> Self {
        Self {
            requests: 60,
            period: Duration::from_secs(60),
        }
    }
}

/// The buckets.
pub(super) struct Limiter {
    limit: RateLimit,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// Requests that may be made at once, with fractions.
    tokens: f64,
    at: Instant,
}

/// What the limiter says of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Allowance {
    pub(super) allowed: bool,
    limit: u32,
    remaining: u32,
    /// Seconds until the next request is allowed, or, where one is, until all are again.
    pub(super) reset_s: u64,
}

impl Limiter {
    pub(super) fn new(limit: RateLimit) -> Self {
        let limit = RateLimit {
            requests: limit.requests.max(1),
            period: limit.period.max(Duration::from_millis(1)),
        };
        Self {
            limit,
            buckets: Mutex::default(),
        }
    }

    /// Takes a token of an address's bucket, if there is one.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Allowance {
        let full = f64::from(self.limit.requests);
        let per_second = full / self.limit.period.as_secs_f64();
        let mut buckets = self.buckets.lock().unwrap_or_else(|held| held.into_inner());
        let key = network(address);
        if buckets.len() >= ADDRESSES_MAX && !buckets.contains_key(&key) {
            make_room(&mut buckets);
        }
        let bucket = buckets.entry(key).or_insert(Bucket {
            tokens: full,
            at: now,
        });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = passed.mul_add(per_second, bucket.tokens).min(full);
        bucket.at = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        let missing = if allowed {
            full - bucket.tokens
        } else {
            1.0 - bucket.tokens
        };
        Allowance {
            allowed,
            limit: self.limit.requests,
            remaining: bucket.tokens as u32,
            reset_s: (missing / per_second).ceil() as u64,
        }
    }
}

impl Allowance {
    /// The headers that the original sends with every answer.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(self.reset_s));
    }
}

/// Half of the table goes, the fullest buckets first.
fn make_room(buckets: &mut HashMap<IpAddr, Bucket>) {
    let mut tokens: Vec<f64> = buckets.values().map(|bucket| bucket.tokens).collect();
    tokens.sort_by(f64::total_cmp);
    let median = tokens.get(tokens.len() / 2).copied().unwrap_or_default();
    let mut excess = buckets.len() / 2;
    buckets.retain(|_, bucket| {
        let goes = excess > 0 && bucket.tokens >= median;
        excess -= usize::from(goes);
        !goes
    });
}

/// The address itself, or the /64 of an IPv6 address: one host has as many as it wants there.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT_3_IN_6: RateLimit = RateLimit {
        requests: 3,
        period: Duration::from_secs(6),
    };

    fn address(last: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + last).into())
    }

    #[test]
    fn a_burst_is_cut_and_refills_with_time() {
        let limiter = Limiter::new(LIMIT_3_IN_6);
        let start = Instant::now();
        let take = |after_s| limiter.take(address(1), start + Duration::from_secs(after_s));
        assert_eq!(
            [take(0), take(0), take(0)].map(|answer| answer.remaining),
            [2, 1, 0]
        );
        let refused = take(0);
        assert!(!refused.allowed);
        assert_eq!(refused.reset_s, 2);
        assert!(
            limiter.take(address(2), start).allowed,
            "others are not limited by it"
        );
        assert!(take(2).allowed);
        assert!(!take(2).allowed);
        assert_eq!(take(100).remaining, 2, "a bucket does not overflow");
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_and_frees_nobody() {
        let limiter = Limiter::new(LIMIT_3_IN_6);
        let start = Instant::now();
        for _ in 0..3 {
            assert!(limiter.take(address(0), start).allowed);
        }
        for other in 1..20_000 {
            limiter.take(address(other), start);
        }
        assert!(limiter.buckets.lock().unwrap().len() <= ADDRESSES_MAX);
        assert!(!limiter.take(address(0), start).allowed);
        let same_host = |last: u16| {
            let address = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
            limiter.take(IpAddr::V6(address), start).remaining
        };
        assert_eq!([same_host(1), same_host(2)], [2, 1]);
    }
}
