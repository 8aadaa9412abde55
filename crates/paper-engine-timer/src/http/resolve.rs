//! Looks up the hosts of webhooks and lets the guard judge every answer before anything is connected to.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec::IntoIter;

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use super::address_policy::{AddressPolicy, ForbiddenAddress};
use super::special::localhost;

/// A future of a trait object.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Turns a host name into addresses. Tests hand in answers; everything else uses [`SystemResolver`].
pub trait Resolve: Send + Sync + 'static {
    /// Looks up a name that is no address. An empty answer is a failure.
    fn resolve(&self, host: String) -> Boxed<io::Result<Vec<IpAddr>>>;
}

/// Asks the system as every other program does: hosts file, search domains and the name servers of `resolv.conf`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: String) -> Boxed<io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Why no address of a host may be, or can be, connected to.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error(transparent)]
    Forbidden(#[from] ForbiddenAddress),
    #[error("the name cannot be resolved: {0}")]
    Failed(#[source] io::Error),
    #[error("the name has no address")]
    Empty,
}

/// A resolver whose answers have been judged. The connector connects to these addresses and asks nobody again.
#[derive(Clone)]
pub struct GuardedResolver {
    resolver: Arc<dyn Resolve>,
    policy: Arc<AddressPolicy>,
}

impl GuardedResolver {
    /// Judges the answers of `resolver` by `policy`.
    pub fn new(resolver: Arc<dyn Resolve>, policy: Arc<AddressPolicy>) -> Self {
        Self { resolver, policy }
    }

    /// Judges an address that the URL names itself.
    pub fn judge(&self, address: IpAddr) -> Result<(), ForbiddenAddress> {
        self.policy.judge(address)
    }

    /// Returns the addresses of `host`, all of them allowed.
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        if is_localhost(host) {
            return self.lookup_localhost();
        }
        let found = self.resolver.resolve(host.to_owned()).await.map_err(LookupError::Failed)?;
        if found.is_empty() {
            return Err(LookupError::Empty);
        }
        Ok(self.policy.judge_all(found)?)
    }

    /// `localhost` is this machine whatever a name server says (RFC 6761). One allowed family is enough.
    fn lookup_localhost(&self) -> Result<Vec<IpAddr>, LookupError> {
        let [v4, v6] = localhost();
        let allowed: Vec<IpAddr> = [v4, v6].into_iter().filter(|address| self.judge(*address).is_ok()).collect();
        if allowed.is_empty() {
            self.judge(v4)?;
        }
        Ok(allowed)
    }
}

fn is_localhost(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

impl Service<Name> for GuardedResolver {
    type Response = IntoIter<SocketAddr>;
    type Error = LookupError;
    type Future = Boxed<Result<Self::Response, LookupError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LookupError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move {
            let found = resolver.lookup(name.as_str()).await?;
            // the connector puts in the port
            let addresses: Vec<SocketAddr> = found.into_iter().map(|address| (address, 0).into()).collect();
            Ok(addresses.into_iter())
        })
    }
}

#[cfg(test)]
pub(super) mod fake {
    //! A resolver whose answers are written down.

    use super::*;
    use std::sync::Mutex;

    /// Gives the answers one after the other; the last one for ever. `None` is a failure.
    pub struct Answers(Mutex<Vec<Option<Vec<IpAddr>>>>);

    impl Answers {
        pub fn new(answers: &[Option<&[&str]>]) -> Arc<Self> {
            let parse = |addresses: &&[&str]| addresses.iter().map(|text| text.parse().expect(text)).collect();
            let mut answers: Vec<_> = answers.iter().map(|answer| answer.as_ref().map(parse)).collect();
            answers.reverse();
            Arc::new(Self(Mutex::new(answers)))
        }
    }

    impl Resolve for Answers {
        fn resolve(&self, _host: String) -> Boxed<io::Result<Vec<IpAddr>>> {
            let mut left = self.0.lock().expect("answers");
            let answer = if left.len() > 1 { left.pop().flatten() } else { left[0].clone() };
            Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such host")) })
        }
    }

    /// Never answers.
    pub struct Silence;

    impl Resolve for Silence {
        fn resolve(&self, _host: String) -> Boxed<io::Result<Vec<IpAddr>>> {
            Box::pin(std::future::pending())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::Answers;
    use super::*;

    async fn lookup(policy: &str, host: &str, answer: Option<&[&str]>) -> Result<Vec<IpAddr>, LookupError> {
        let policy = Arc::new(policy.parse().expect("networks"));
        GuardedResolver::new(Answers::new(&[answer]), policy).lookup(host).await
    }

    fn is_forbidden(found: &Result<Vec<IpAddr>, LookupError>) -> bool {
        matches!(found, Err(LookupError::Forbidden(_)))
    }

    #[tokio::test]
    async fn every_answer_is_judged_and_one_private_address_condemns_all() {
        let public: &[&str] = &["93.184.215.14", "2606:4700::1111"];
        assert_eq!(lookup("", "h", Some(public)).await.expect("public").len(), 2);
        for private in
            ["10.0.0.1", "127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fd00::1", "64:ff9b::1.1.1.1"]
        {
            assert!(is_forbidden(&lookup("", "h", Some(&[private])).await), "{private}");
            assert!(is_forbidden(&lookup("", "h", Some(&["93.184.215.14", private])).await), "mixed with {private}");
        }
    }

    #[tokio::test]
    async fn a_failed_or_empty_lookup_is_never_a_pass() {
        assert!(matches!(lookup("", "h", None).await, Err(LookupError::Failed(_))));
        assert!(matches!(lookup("", "h", Some(&[])).await, Err(LookupError::Empty)));
    }

    #[tokio::test]
    async fn localhost_is_this_machine_whatever_the_name_server_says() {
        let public: Option<&[&str]> = Some(&["93.184.215.14"]);
        for host in ["localhost", "LOCALHOST", "localhost.", "a.localhost", "a.b.LocalHost."] {
            assert!(is_forbidden(&lookup("", host, public).await), "{host}");
            let found = lookup("127.0.0.0/8", host, public).await.expect("allowed");
            assert_eq!(found, [IpAddr::from([127, 0, 0, 1])], "{host}");
        }
        assert_eq!(lookup("127.0.0.1,::1", "localhost", public).await.expect("both").len(), 2);
        assert!(lookup("", "notlocalhost", public).await.is_ok());
    }
}
