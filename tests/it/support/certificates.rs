//! Certificates for the tests of TLS, made when they are needed: an authority, and what it, another one or nobody has
//! signed, for this host or another, valid now or not any more.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Who signs. Its own certificate is the trusted root.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// What a server shows, and the key to it.
pub struct Identity {
    pub pem: String,
    pub key: String,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = params(&[]);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server's, for these names and addresses.
    pub fn identity(&self, hosts: &[&str]) -> Identity {
        self.sign(params(hosts))
    }

    /// The same, valid until yesterday.
    pub fn expired(&self, hosts: &[&str]) -> Identity {
        let mut params = params(hosts);
        params.not_before = (SystemTime::now() - 9 * DAY).into();
        params.not_after = (SystemTime::now() - DAY).into();
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let pem = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Identity { pem, key: key.serialize_pem() }
    }
}

/// A server's that nobody but itself has signed.
pub fn self_signed(hosts: &[&str]) -> Identity {
    let key = KeyPair::generate().expect("a key");
    let pem = params(hosts).self_signed(&key).expect("signed").pem();
    Identity { pem, key: key.serialize_pem() }
}

/// Valid from yesterday to tomorrow.
fn params(hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("names");
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + DAY).into();
    params
}
