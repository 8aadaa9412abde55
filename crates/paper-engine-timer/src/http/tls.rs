//! Sets TLS up for webhooks: rustls with ring, TLS 1.2 and later, the machine's certificates and those of `CA_FILE`. There is no
//! way to leave the check out.

use std::path::{Path, PathBuf};

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("CA_FILE {path} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("CA_FILE {0} holds no certificate")]
    Empty(PathBuf),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Returns the configuration of all connections. A machine without certificates is reported: requests to `https` URLs fail there.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let (added, _) = roots.add_parsable_certificates(read(path)?);
        if added == 0 {
            return Err(TlsError::Empty(path.to_owned()));
        }
    }
    if roots.is_empty() {
        tracing::warn!(
            "This machine has no certificates, so no https URL can be reached; install ca-certificates or set CA_FILE."
        );
    }
    let builder = ClientConfig::builder_with_provider(ring::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Returns an error if no certificate of the file can be used.
pub fn check_ca_file(path: &Path) -> Result<(), TlsError> {
    match RootCertStore::empty().add_parsable_certificates(read(path)?) {
        (0, _) => Err(TlsError::Empty(path.to_owned())),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    certificates.map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_that_cannot_be_used_is_named() {
        let error = |path: &Path| client_config(Some(path)).expect_err("no certificates").to_string();
        let empty = tempfile::NamedTempFile::new().expect("a file");
        assert!(error(empty.path()).contains("holds no certificate"));
        assert!(error(Path::new("/nowhere/ca.pem")).contains("CA_FILE /nowhere/ca.pem cannot be read"));
        assert!(client_config(None).is_ok());
    }
}
