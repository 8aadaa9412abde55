//! TLS before a Postgres that has none, as Postgres does it: a client asks for TLS, is told yes or no, and shakes hands. The
//! Postgres that the tests bring along is built without TLS, so the front stands before it on every machine.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::certificates::Identity;

/// The packet that asks for TLS.
const WISH: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Stands before a server on 127.0.0.1; its port. Without an identity there is no TLS; one that demands it takes nobody
/// without.
pub async fn before(server: u16, identity: Option<&Identity>, demands: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let acceptor = identity.map(acceptor);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(greet(client, server, acceptor.clone(), demands));
        }
    });
    port
}

/// TLS from the first byte, as HTTPS has it.
pub async fn direct(server: u16, identity: &Identity) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let acceptor = acceptor(identity);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { pass(acceptor.accept(client).await?, server, &[]).await });
        }
    });
    port
}

fn acceptor(identity: &Identity) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(identity.pem.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
    let builder = ServerConfig::builder_with_provider(ring::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).expect("a pair")))
}

async fn greet(
    mut client: TcpStream,
    server: u16,
    acceptor: Option<TlsAcceptor>,
    demands: bool,
) -> std::io::Result<()> {
    let mut first = [0; 8];
    client.read_exact(&mut first).await?;
    match (first == WISH, acceptor) {
        (true, Some(acceptor)) => {
            client.write_all(b"S").await?;
            pass(acceptor.accept(client).await?, server, &[]).await
        }
        (true, None) => {
            client.write_all(b"N").await?;
            pass(client, server, &[]).await
        }
        (false, _) if demands => client.write_all(&no()).await,
        (false, _) => pass(client, server, &first).await,
    }
}

async fn pass(mut client: impl AsyncRead + AsyncWrite + Unpin, server: u16, first: &[u8]) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).await?;
    upstream.write_all(first).await?;
    copy_bidirectional(&mut client, &mut upstream).await.map(drop)
}

/// What `hostssl` lines alone in `pg_hba.conf` say to who comes in the clear.
fn no() -> Vec<u8> {
    let fields = b"SFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry for this host, no encryption\0\0";
    let length = 4 + fields.len() as u32;
    [b"E", length.to_be_bytes().as_slice(), fields].concat()
}
