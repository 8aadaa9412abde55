//! Encryption of the connection and verification of the server, with libpq's meaning of `sslmode`. The cryptography
//! is ring, chosen here and not by a process-wide default.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::settings::{Settings, TlsMode};

/// Reason for which TLS cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("sslrootcert {path} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("sslrootcert {0} holds no certificate")]
    Empty(PathBuf),
    #[error("this machine has no certificates to verify the server with; name a file with sslrootcert=")]
    NoneHere,
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Returns the connector for `sslmode` and `sslrootcert` of `settings`.
pub fn connector(settings: &Settings) -> Result<MakeRustlsConnect, Error> {
    let provider = ring::default_provider();
    let verifier = Verifier::new(settings, provider.signature_verification_algorithms)?;
    let builder = ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = builder.with_no_client_auth();
    // A direct handshake has to say what it is for; others need not.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

/// libpq's three ways to verify a server's certificate.
#[derive(Debug)]
struct Verifier {
    /// Trusted roots; `None` means that any server is trusted.
    roots: Option<Roots>,
    name_must_match: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct Roots {
    anchors: RootCertStore,
    /// The certificates of `sslrootcert`, as they are.
    named: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(settings: &Settings, algorithms: WebPkiSupportedAlgorithms) -> Result<Self, Error> {
        let roots = match settings.tls() {
            TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => None,
            TlsMode::VerifyCa | TlsMode::VerifyFull => Some(Roots::load(settings)?),
        };
        let name_must_match = settings.tls() == TlsMode::VerifyFull;
        Ok(Self { roots, name_must_match, algorithms })
    }
}

impl Roots {
    fn load(settings: &Settings) -> Result<Self, Error> {
        let named = match settings.root_cert() {
            Some(path) => read(path.to_owned())?,
            None => Vec::new(),
        };
        let mut anchors = RootCertStore::empty();
        match settings.root_cert() {
            Some(_) => anchors.add_parsable_certificates(named.iter().cloned()),
            None => anchors.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        };
        match (anchors.is_empty(), settings.root_cert()) {
            (true, Some(path)) => Err(Error::Empty(path.to_owned())),
            (true, None) => Err(Error::NoneHere),
            (false, _) => Ok(Self { anchors, named }),
        }
    }

    /// Checks that `leaf` comes from one of the roots, or is one. A self-signed certificate that is itself given as
    /// `sslrootcert` is common. Its chain is refused because the certificate claims to be an authority; its dates
    /// were checked before that.
    fn vouch_for(
        &self,
        leaf: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<(), rustls::Error> {
        use rustls::Error::InvalidCertificate;
        match verify_server_cert_signed_by_trust_anchor(parsed, &self.anchors, between, now, algorithms.all) {
            Err(InvalidCertificate(CertificateError::Other(_))) if self.named.contains(leaf) => Ok(()),
            verdict => verdict,
        }
    }
}

fn read(path: PathBuf) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect);
    certificates.map_err(|source| Error::Unreadable { path, source })
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let parsed = ParsedCertificate::try_from(leaf)?;
            roots.vouch_for(leaf, &parsed, between, now, self.algorithms)?;
            if self.name_must_match {
                verify_server_name(&parsed, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    /// Checks the signature even if the certificate is not verified, because SCRAM's channel binding relies on the
    /// server having its key.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use std::io::Write;
    use std::time::Duration;
    use tempfile::NamedTempFile;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Certificates that are valid around this moment, and what one file holds.
    struct Made {
        /// An authority.
        ca: String,
        /// A server's, from that authority, for db.example.
        leaf: String,
        /// A server's for db.example that signed itself and claims to be an authority, as `openssl req -x509` makes it.
        selfish: String,
    }

    const WITHIN: Duration = Duration::from_secs(2_000_000_000);
    const AFTER: Duration = Duration::from_secs(2_100_000_000);

    fn made() -> Made {
        let [ca_key, leaf_key, self_key] = [(); 3].map(|()| KeyPair::generate().expect("a key"));
        let (authority, leaf) = (params(&[], true), params(&["db.example", "localhost"], false));
        let ca = authority.self_signed(&ca_key).expect("signed").pem();
        let leaf = leaf.signed_by(&leaf_key, &Issuer::new(authority, ca_key)).expect("signed").pem();
        let selfish = params(&["db.example"], true).self_signed(&self_key).expect("signed").pem();
        Made { ca, leaf, selfish }
    }

    fn params(hosts: &[&str], authority: bool) -> CertificateParams {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        let at = |seconds: Duration| (std::time::UNIX_EPOCH + seconds).into();
        (params.not_before, params.not_after) = (at(WITHIN - DAY), at(WITHIN + DAY));
        if authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params
    }

    const DAY: Duration = Duration::from_secs(86_400);

    fn file(pem: &str) -> NamedTempFile {
        let mut file = NamedTempFile::new().expect("file");
        file.write_all(pem.as_bytes()).expect("written");
        file
    }

    fn settings(mode: &str, root: Option<&NamedTempFile>) -> Settings {
        let root = root.map(|root| format!("sslrootcert={}", root.path().display()));
        let text = format!("host=db.example sslmode={mode} {}", root.unwrap_or_default());
        text.parse().expect("settings")
    }

    /// Returns `true` if `sslmode=mode sslrootcert=root` accepts `leaf` from a server called `name`.
    fn takes(mode: &str, root: Option<&str>, leaf: &str, name: &'static str, now: Duration) -> bool {
        let root = root.map(file);
        let settings = settings(mode, root.as_ref());
        let verifier = Verifier::new(&settings, ring::default_provider().signature_verification_algorithms);
        let leaf = CertificateDer::from_pem_slice(leaf.as_bytes()).expect("leaf");
        let name = ServerName::try_from(name).expect("name");
        let now = UnixTime::since_unix_epoch(now);
        verifier.expect("verifier").verify_server_cert(&leaf, &[], &name, &[], now).is_ok()
    }

    #[test]
    fn require_takes_anyone_verify_ca_the_authority_verify_full_the_name_too() {
        let Made { ca, leaf, selfish } = made();
        assert!(takes("prefer", None, &selfish, "other.example", AFTER));
        assert!(takes("require", None, &selfish, "other.example", AFTER));
        assert!(takes("verify-ca", Some(&ca), &leaf, "other.example", WITHIN));
        assert!(takes("verify-full", Some(&ca), &leaf, "db.example", WITHIN));
        assert!(!takes("verify-full", Some(&ca), &leaf, "other.example", WITHIN));
    }

    #[test]
    fn another_authority_or_another_time_is_refused() {
        let Made { ca, leaf, selfish } = made();
        for mode in ["require", "verify-ca", "verify-full"] {
            assert!(!takes(mode, Some(&selfish), &leaf, "db.example", WITHIN), "{mode}");
            assert!(!takes(mode, Some(&ca), &selfish, "db.example", WITHIN), "{mode}");
            assert!(!takes(mode, Some(&ca), &leaf, "db.example", AFTER), "{mode}");
        }
    }

    #[test]
    fn a_self_signed_certificate_vouches_for_itself_while_it_is_valid() {
        let Made { ca, selfish, .. } = made();
        assert!(takes("verify-ca", Some(&selfish), &selfish, "other.example", WITHIN));
        assert!(takes("verify-full", Some(&selfish), &selfish, "db.example", WITHIN));
        assert!(takes("verify-full", Some(&format!("{ca}{selfish}")), &selfish, "db.example", WITHIN));
        assert!(!takes("verify-full", Some(&selfish), &selfish, "other.example", WITHIN));
        assert!(!takes("verify-full", Some(&selfish), &selfish, "db.example", AFTER));
    }

    #[test]
    fn a_root_that_cannot_be_used_is_named() {
        let error = |root: &NamedTempFile| connector(&settings("verify-full", Some(root))).err().expect("error");
        let empty = file("nothing here");
        assert!(matches!(error(&empty), Error::Empty(_)));
        let cut = file(&made().ca[..200]);
        assert!(matches!(error(&cut), Error::Unreadable { .. }));
        let gone = NamedTempFile::new().expect("file");
        std::fs::remove_file(gone.path()).expect("removed");
        let said = error(&gone).to_string();
        assert!(said.contains(&gone.path().display().to_string()), "{said}");
    }

    /// Runs a server without TLS, and returns the number of bytes that it received after it refused TLS.
    async fn plain_server(listener: TcpListener) -> usize {
        let (mut client, _) = listener.accept().await.expect("client");
        client.read_exact(&mut [0; 8]).await.expect("the wish for TLS");
        client.write_all(b"N").await.expect("answer");
        let mut after = Vec::new();
        client.read_to_end(&mut after).await.expect("the rest");
        after.len()
    }

    #[tokio::test]
    async fn a_server_without_tls_gets_nothing_from_require_and_above() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
            let port = listener.local_addr().expect("address").port();
            let server = tokio::spawn(plain_server(listener));
            let file = file(&made().ca);
            let root = match mode {
                "require" => String::new(),
                _ => format!("sslrootcert={}", file.path().display()),
            };
            let text = format!("host=127.0.0.1 port={port} user=u password=p sslmode={mode} {root}");
            let settings: Settings = text.parse().expect("settings");
            let connector = connector(&settings).expect("connector");
            assert!(settings.config().connect(connector).await.is_err(), "{mode}");
            assert_eq!(server.await.expect("server"), 0, "{mode}");
        }
    }
}
