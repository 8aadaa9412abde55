//! Lets attempts at one host share one lookup. The system's lookups block a thread until the name servers have given up, longer than
//! an attempt lasts: without this, many tasks for one dead name would use up the threads that other names need.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::resolve::{Boxed, Resolve};

/// The addresses of a name, or why there are none. `None` until the answer is there.
type Answer = Option<Result<Vec<IpAddr>, (io::ErrorKind, String)>>;
type Pending = Arc<Mutex<HashMap<String, watch::Receiver<Answer>>>>;

/// A resolver that asks for a name only once at a time. Nothing is kept after the answer.
pub struct Coalesced<R> {
    resolver: Arc<R>,
    pending: Pending,
}

impl<R: Resolve> Coalesced<R> {
    /// Shares the lookups of `resolver`.
    pub fn new(resolver: R) -> Self {
        Self { resolver: Arc::new(resolver), pending: Pending::default() }
    }

    /// Returns where the answer for the host will be; asks for it if nobody has.
    fn ask(&self, host: String) -> watch::Receiver<Answer> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = pending.get(&host) {
            return asked.clone();
        }
        let (sender, receiver) = watch::channel(None);
        pending.insert(host.clone(), receiver.clone());
        let (resolver, asked) = (Arc::clone(&self.resolver), Arc::clone(&self.pending));
        tokio::spawn(async move {
            let answer = resolver.resolve(host.clone()).await;
            asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&host);
            sender.send_replace(Some(answer.map_err(|error| (error.kind(), error.to_string()))));
        });
        receiver
    }
}

impl<R: Resolve> Resolve for Coalesced<R> {
    fn resolve(&self, host: String) -> Boxed<io::Result<Vec<IpAddr>>> {
        let mut asked = self.ask(host);
        Box::pin(async move {
            let answer = asked.wait_for(Option::is_some).await.map_err(io::Error::other)?.clone();
            let answer = answer.unwrap_or_else(|| Err((io::ErrorKind::Other, "no answer".to_owned())));
            answer.map_err(|(kind, text)| io::Error::new(kind, text))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    /// Answers when it is let, and counts the questions.
    #[derive(Clone)]
    struct Slow {
        asked: Arc<AtomicUsize>,
        allowed: Arc<Semaphore>,
    }

    impl Resolve for Slow {
        fn resolve(&self, host: String) -> Boxed<io::Result<Vec<IpAddr>>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let allowed = Arc::clone(&self.allowed);
            Box::pin(async move {
                allowed.acquire().await.expect("open").forget();
                if host == "dead" { Err(io::Error::other("no such host")) } else { Ok(vec![[10, 0, 0, 1].into()]) }
            })
        }
    }

    #[tokio::test]
    async fn attempts_at_one_host_share_one_lookup_and_other_hosts_have_their_own() {
        let slow = Slow { asked: Arc::default(), allowed: Arc::new(Semaphore::new(0)) };
        let resolver = Coalesced::new(slow.clone());
        let given_up = resolver.resolve("h".to_owned());
        let waiting: Vec<_> = (0..9).map(|_| tokio::spawn(resolver.resolve("h".to_owned()))).collect();
        let dead = tokio::spawn(resolver.resolve("dead".to_owned()));
        drop(given_up);
        tokio::task::yield_now().await;
        assert_eq!(slow.asked.load(Ordering::SeqCst), 2);
        slow.allowed.add_permits(2);
        for one in waiting {
            assert_eq!(one.await.expect("joined").expect("an answer"), [IpAddr::from([10, 0, 0, 1])]);
        }
        assert_eq!(dead.await.expect("joined").expect_err("no answer").to_string(), "no such host");
        // the answer is not kept
        slow.allowed.add_permits(1);
        assert!(resolver.resolve("h".to_owned()).await.is_ok());
        assert_eq!(slow.asked.load(Ordering::SeqCst), 3);
    }
}
