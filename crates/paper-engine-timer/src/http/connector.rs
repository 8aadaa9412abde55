//! Makes the connections of webhooks. It judges each address when it connects, knows of no proxies, and gives every connection
//! its time of birth, so that old ones are not used for ever.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower_service::Service;

use super::resolve::{Boxed, GuardedResolver};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// When a connection was made. It stands among the extensions of each answer that came over it.
#[derive(Clone, Copy, Debug)]
pub struct Born(pub Instant);

/// Neither connection nor handshake came about in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no connection within {} s", .0.as_secs_f64())]
pub struct ConnectTimedOut(pub Duration);

/// Connects by plain TCP to an address that the guard allows.
#[derive(Clone)]
pub struct GuardedConnector {
    tcp: HttpConnector<GuardedResolver>,
    resolver: GuardedResolver,
}

impl GuardedConnector {
    fn new(resolver: GuardedResolver) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(resolver.clone());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Self { tcp, resolver }
    }
}

impl Service<Uri> for GuardedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Boxed<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // the inner connector asks its resolver, which judges, for everything but addresses
        if let Some(address) = literal(&uri)
            && let Err(forbidden) = self.resolver.judge(address)
        {
            return Box::pin(std::future::ready(Err(forbidden.into())));
        }
        let connecting = self.tcp.call(uri);
        let resolver = self.resolver.clone();
        Box::pin(async move {
            let stream = connecting.await?;
            // nothing reaches this with a forbidden address today; a change of the inner connector would be seen here
            resolver.judge(stream.inner().peer_addr()?.ip())?;
            Ok(stream)
        })
    }
}

fn literal(uri: &Uri) -> Option<IpAddr> {
    uri.host()?.trim_matches(['[', ']']).parse().ok()
}

/// Connects with TLS where the URL asks for it, all within one time limit.
#[derive(Clone)]
pub struct WebhookConnector {
    https: HttpsConnector<GuardedConnector>,
    limit: Duration,
}

impl WebhookConnector {
    /// Connects to what `resolver` allows; name, address, TCP and TLS together take at most `limit`.
    pub fn new(resolver: GuardedResolver, tls: ClientConfig, limit: Duration) -> Self {
        let https =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().with_server_name_resolver(server_name);
        let https = https.enable_http1().wrap_connector(GuardedConnector::new(resolver));
        Self { https, limit }
    }
}

/// Returns the name that the certificate must have: the host without a trailing dot.
fn server_name(uri: &Uri) -> Result<rustls::pki_types::ServerName<'static>, BoxError> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let name = host.strip_suffix('.').unwrap_or(host).to_owned();
    Ok(rustls::pki_types::ServerName::try_from(name)?)
}

impl Service<Uri> for WebhookConnector {
    type Response = WebhookStream;
    type Error = BoxError;
    type Future = Boxed<Result<WebhookStream, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, limit) = (self.https.call(uri), self.limit);
        Box::pin(async move {
            let stream = tokio::time::timeout(limit, connecting).await.map_err(|_| ConnectTimedOut(limit))??;
            Ok(WebhookStream { stream, born: Born(Instant::now()) })
        })
    }
}

/// A connection that knows when it was made.
pub struct WebhookStream {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    born: Born,
}

impl Connection for WebhookStream {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.born)
    }
}

impl Read for WebhookStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for WebhookStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
