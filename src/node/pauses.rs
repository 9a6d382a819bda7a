//! What the process says of the breaker: a warning when it opens, a line when it closes.

use infernet_state::{breaker::Breaker, types::WallTime};

use crate::{driver::Handle, words};

/// What there is to say.
#[derive(PartialEq, Eq, Debug)]
enum Said {
    /// It opened, until then.
    Opened,
    /// It closed.
    Closed,
}

/// What is new of the breaker since it was open until `before`. An opening that was missed while
/// another one was seen is the same news.
fn news(before: Option<WallTime>, now: Breaker) -> Option<Said> {
    match (before, now.open_until) {
        (before, Some(until)) if before != Some(until) => Some(Said::Opened),
        (Some(_), None) => Some(Said::Closed),
        (_, Some(_)) | (None, None) => None,
    }
}

/// Watches until the loop has ended. A start with an open breaker is told too.
pub(super) async fn tell(handle: Handle) {
    let mut head = handle.head();
    let mut before = None;
    loop {
        let now = handle.view(infernet_state::Machine::breaker);
        match (news(before, now), words::pause(now)) {
            (Some(Said::Opened), Some(why)) => {
                tracing::warn!("no new work is taken in: {why}; what was begun goes on");
            }
            (Some(Said::Closed), _) => {
                tracing::warn!("the pause after losses is over, new work is taken in");
            }
            (Some(Said::Opened) | None, _) => {}
        }
        before = now.open_until;
        if head.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_opening_and_each_closing_is_told_once() {
        let at = |until| Breaker {
            losses: 3,
            open_until: until,
        };
        let (first, second) = (Some(WallTime(1)), Some(WallTime(2)));
        for (before, now, told) in [
            (None, None, None),
            (None, first, Some(Said::Opened)),
            (first, first, None),
            (first, second, Some(Said::Opened)),
            (second, None, Some(Said::Closed)),
        ] {
            assert_eq!(news(before, at(now)), told, "{before:?} {now:?}");
        }
    }
}
