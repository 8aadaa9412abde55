//! Keeps the leases of this pod and when they expire, by a clock that goes on while the machine or the process is suspended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::task::Lease;

/// An instant of `CLOCK_BOOTTIME`: monotonic, and running while the machine sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// Reads the clock.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Self(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0)))
    }
}

impl std::ops::Add<Duration> for BootInstant {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0 + by)
    }
}

/// The leases that this pod holds. Clones share them.
#[derive(Clone, Default)]
pub struct Held(Arc<Mutex<HashMap<Uuid, Hold>>>);

#[derive(Clone, Copy)]
struct Hold {
    token: i64,
    expires: BootInstant,
}

impl Held {
    fn map(&self) -> MutexGuard<'_, HashMap<Uuid, Hold>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a lease. `expires` is measured from before the claim was sent.
    pub fn add(&self, lease: Lease, expires: BootInstant) {
        self.map().insert(lease.id, Hold { token: lease.token, expires });
    }

    /// Removes a lease, unless a newer one for the same task has taken its place.
    pub fn remove(&self, lease: Lease) {
        let mut map = self.map();
        if map.get(&lease.id).is_some_and(|hold| hold.token == lease.token) {
            map.remove(&lease.id);
        }
    }

    /// Moves the expiry of a lease, measured from before the extension was sent.
    pub fn extend(&self, lease: Lease, expires: BootInstant) {
        if let Some(hold) = self.map().get_mut(&lease.id).filter(|hold| hold.token == lease.token) {
            hold.expires = hold.expires.max(expires);
        }
    }

    /// Returns `true` if the lease is held and lasts until `until`.
    pub fn outlives(&self, lease: Lease, until: BootInstant) -> bool {
        self.map().get(&lease.id).is_some_and(|hold| hold.token == lease.token && hold.expires > until)
    }

    /// Returns the leases that expire before `before`.
    pub fn expiring(&self, before: BootInstant) -> Vec<Lease> {
        let map = self.map();
        let expiring = map.iter().filter(|(_, hold)| hold.expires < before);
        expiring.map(|(id, hold)| Lease { id: *id, token: hold.token }).collect()
    }

    /// Returns how many leases there are.
    pub fn len(&self) -> usize {
        self.map().len()
    }

    /// Returns `true` if there is no lease.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_is_good_only_with_its_token_and_until_it_expires() {
        let (held, now) = (Held::default(), BootInstant::now());
        let lease = Lease { id: Uuid::from_u128(1), token: 7 };
        let other = Lease { token: 8, ..lease };
        held.add(lease, now + 30 * S);
        assert!(held.outlives(lease, now + 15 * S));
        assert!(!held.outlives(lease, now + 31 * S));
        assert!(!held.outlives(other, now));
        held.remove(other);
        held.extend(other, now + 90 * S);
        assert!(!held.outlives(lease, now + 31 * S));
        held.extend(lease, now + 60 * S);
        assert!(held.outlives(lease, now + 31 * S));
        assert_eq!(held.expiring(now + 61 * S), [lease]);
        assert!(held.expiring(now + 59 * S).is_empty());
        held.remove(lease);
        assert!(held.is_empty());
    }
}
