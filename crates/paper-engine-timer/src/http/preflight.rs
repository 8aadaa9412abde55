//! Judges the next due tasks before the first claim on a new database: a program that would refuse all of them as private is
//! configured wrong, and must say so before it touches anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;

use super::address_policy::{AddressPolicy, ForbiddenAddress};
use super::resolve::{GuardedResolver, LookupError, Resolve};
use super::target_url::TargetUrl;

/// So many due tasks are judged.
pub const TASKS_JUDGED: usize = 100;

/// The setting that the first tasks need.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "all of the next {tasks} due tasks call private addresses (for example {example}), which are refused unless they are allowed. \
     Nothing was changed. If these are your own services, set ALLOW_PRIVATE={}", networks(.allow)
)]
pub struct AllPrivate {
    pub tasks: usize,
    /// One URL, without its query.
    pub example: String,
    /// The networks of all of them.
    pub allow: BTreeSet<IpNet>,
}

fn networks(allow: &BTreeSet<IpNet>) -> String {
    allow.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Returns an error if there are URLs and the guard would refuse every one of them as private, and nothing is allowed yet.
pub async fn judge_first_tasks(
    urls: &[String],
    policy: &Arc<AddressPolicy>,
    resolver: Arc<dyn Resolve>,
) -> Result<(), AllPrivate> {
    if urls.is_empty() || !policy.is_public_only() {
        return Ok(());
    }
    let guard = GuardedResolver::new(resolver, Arc::clone(policy));
    let mut allow = BTreeSet::new();
    let mut example = None;
    for url in urls {
        let Ok(url) = TargetUrl::parse(url) else { return Ok(()) };
        match private_network(&url, &guard).await {
            Some(network) => allow.insert(network),
            None => return Ok(()),
        };
        example.get_or_insert_with(|| url.to_string());
    }
    Err(AllPrivate { tasks: urls.len(), example: example.unwrap_or_default(), allow })
}

/// Returns the network that would have to be allowed for the URL; `None` for a URL that is public, unknown, or refused for more
/// than being private.
async fn private_network(url: &TargetUrl, guard: &GuardedResolver) -> Option<IpNet> {
    let judged = match url.address() {
        Some(address) => guard.judge(address).map_err(LookupError::from),
        None => guard.lookup(url.host()).await.map(drop),
    };
    match judged {
        Err(LookupError::Forbidden(forbidden)) => ForbiddenAddress::suggestion(&forbidden),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::resolve::fake::Answers;
    use super::*;

    async fn judge(urls: &[&str], allowed: &str, answer: Option<&[&str]>) -> Result<(), AllPrivate> {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        judge_first_tasks(&urls, &Arc::new(allowed.parse().expect("networks")), Answers::new(&[answer])).await
    }

    #[tokio::test]
    async fn all_private_tasks_stop_the_start_with_the_line_to_set() {
        let urls =
            ["http://127.0.0.1:5000/a?token=hunter2", "http://localhost/", "http://[fd00::1]/", "http://receiver/x"];
        let fault = judge(&urls, "", Some(&["172.18.0.5"])).await.expect_err("all private").to_string();
        assert!(fault.contains("the next 4 due tasks"), "{fault}");
        assert!(fault.contains("for example http://127.0.0.1:5000/a)"), "{fault}");
        assert!(fault.ends_with("set ALLOW_PRIVATE=127.0.0.0/8,172.16.0.0/12,fc00::/7"), "{fault}");
    }

    #[tokio::test]
    async fn one_task_of_another_kind_lets_it_start() {
        let public: Option<&[&str]> = Some(&["93.184.215.14"]);
        for other in
            ["http://93.184.215.14/", "http://public/", "nonsense", "ftp://h/", "http://169.254.169.254/", "queue:a/b"]
        {
            assert_eq!(judge(&["http://10.0.0.1/", other], "", public).await, Ok(()), "{other}");
        }
        assert_eq!(judge(&["http://10.0.0.1/", "http://gone/"], "", None).await, Ok(()));
        assert_eq!(judge(&[], "", None).await, Ok(()));
    }

    #[tokio::test]
    async fn once_something_is_allowed_every_refusal_is_meant() {
        assert_eq!(judge(&["http://10.0.0.1/"], "192.168.0.0/16", None).await, Ok(()));
    }
}
