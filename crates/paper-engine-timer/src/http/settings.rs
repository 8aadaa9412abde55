//! Makes a sender from what the configuration says. All faults are reported together.

use std::path::PathBuf;
use std::sync::Arc;

use pe_runtime::clock::Clock;

use super::address_policy::AddressPolicy;
use super::coalesced::Coalesced;
use super::endpoints::{Concurrency, EndpointGroups, Endpoints};
use super::resolve::SystemResolver;
use super::sender::{AttemptLimits, HttpSender, SenderParts};
use super::tls::{check_ca_file, client_config};

/// The settings of everything that is sent.
#[derive(Clone, Debug, Default)]
pub struct SenderSettings {
    /// `ALLOW_PRIVATE`: networks that are allowed beyond the public internet.
    pub allow_private: String,
    /// `ENDPOINTS`: a file of endpoint groups.
    pub endpoints: Option<PathBuf>,
    /// `CA_FILE`: certificates that are trusted beside the machine's.
    pub ca_file: Option<PathBuf>,
    pub concurrency: Concurrency,
}

impl SenderSettings {
    /// Returns the guard's policy, for the judgement before the first claim.
    pub fn policy(&self) -> Result<Arc<AddressPolicy>, String> {
        self.allow_private.parse().map(Arc::new).map_err(|fault: super::BadNetworks| fault.to_string())
    }

    /// Returns every fault of the settings as a sentence. Reads the files that they name, but not the machine's certificates.
    pub fn faults(&self) -> Vec<String> {
        let groups = self.endpoints.as_deref().map(EndpointGroups::load).and_then(Result::err);
        let authorities = self.ca_file.as_deref().map(check_ca_file).and_then(Result::err);
        let (groups, authorities) =
            (groups.map(|fault| fault.to_string()), authorities.map(|fault| format!("{fault}.")));
        [self.policy().err(), groups, authorities].into_iter().flatten().collect()
    }

    /// Builds the sender, or returns every fault as a sentence.
    pub fn sender(&self, clock: Clock) -> Result<HttpSender, Vec<String>> {
        let policy = self.policy();
        let groups = self.endpoints.as_deref().map_or(Ok(EndpointGroups::default()), EndpointGroups::load);
        let groups = groups.map_err(|fault| fault.to_string());
        let tls = client_config(self.ca_file.as_deref()).map_err(|fault| format!("{fault}."));
        match (policy, groups, tls) {
            (Ok(policy), Ok(groups), Ok(tls)) => {
                let endpoints = Endpoints::new(groups, self.concurrency);
                let (resolver, limits) = (Arc::new(Coalesced::new(SystemResolver)), AttemptLimits::default());
                Ok(HttpSender::new(SenderParts { policy, resolver, tls, endpoints, limits, clock }))
            }
            (policy, groups, tls) => Err([policy.err(), groups.err(), tls.err()].into_iter().flatten().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_of_the_settings_are_told_at_once() {
        let settings = SenderSettings {
            allow_private: "everything".into(),
            endpoints: Some("/nowhere/endpoints.toml".into()),
            ca_file: Some("/nowhere/ca.pem".into()),
            ..SenderSettings::default()
        };
        assert_eq!(settings.sender(Clock::system()).err(), Some(settings.faults()));
        let faults = settings.faults().join("\n");
        for part in ["ALLOW_PRIVATE: \"everything\"", "ENDPOINTS /nowhere/endpoints.toml", "CA_FILE /nowhere/ca.pem"] {
            assert!(faults.contains(part), "{part} in {faults}");
        }
        assert!(SenderSettings::default().faults().is_empty());
    }
}
