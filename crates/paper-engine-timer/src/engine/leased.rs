//! Drives an attempt only while its lease is held: what was prepared before a freeze is not sent after it.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::attempt::Outcome;
use crate::task::Lease;

use super::held::{BootInstant, Held};

/// An attempt that ends when its lease does, then without an outcome: whoever holds the task next decides. A pod that stood still may find its connection ready and its deadline passed at the
/// same moment; without this check it would send first and look at the deadline afterwards.
pub(super) struct Leased {
    held: Held,
    lease: Lease,
    attempt: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl Leased {
    /// Takes an attempt and the lease under which it is made.
    pub(super) fn new(held: Held, lease: Lease, attempt: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self { held, lease, attempt: Box::pin(attempt) }
    }
}

impl Future for Leased {
    type Output = Option<Outcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Outcome>> {
        if !self.held.outlives(self.lease, BootInstant::now()) {
            return Poll::Ready(None);
        }
        self.attempt.as_mut().poll(context).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_attempt_whose_lease_has_ended_is_not_driven_any_more() {
        let (held, lease) = (Held::default(), Lease { id: Uuid::from_u128(1), token: 1 });
        let sends = || async { Outcome::Done { status: 200 } };
        let poll = |mut attempt: Leased| match Pin::new(&mut attempt)
            .poll(&mut Context::from_waker(std::task::Waker::noop()))
        {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => panic!("neither of them waits"),
        };
        held.add(lease, BootInstant::now() + Duration::from_secs(60));
        assert_eq!(poll(Leased::new(held.clone(), lease, sends())), Some(Outcome::Done { status: 200 }));
        held.add(lease, BootInstant::now());
        assert_eq!(poll(Leased::new(held, lease, sends())), None);
    }
}
