//! A server that answers as a test tells it to, byte by byte, and remembers what it was sent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is done with one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Bytes, then the next request of the connection.
    Answer(String),
    /// Bytes, then the end of the connection.
    AnswerAndClose(String),
    /// Bytes, then the same bytes for ever.
    Endless(String, String),
    /// Bytes, then one byte now and then, for ever.
    Trickle(String),
    /// A connection that is reset.
    Reset,
    /// Nothing, with the connection open.
    Silence,
    /// An answer after a while.
    Slow(Duration, String),
}

/// An answer with a status and an empty body.
pub fn status(code: u16) -> Reply {
    Reply::Answer(format!("HTTP/1.1 {code} Some Reason\r\ncontent-length: 0\r\n\r\n"))
}

type Script = Arc<dyn Fn(usize) -> Reply + Send + Sync>;

/// A running server; it ends with its handle.
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    closed: tokio::sync::Notify,
}

impl Server {
    /// Answers the n-th request, from 0, with `script(n)`.
    pub async fn start(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", script, None).await
    }

    /// The same with TLS.
    pub async fn start_tls(
        tls: tokio_rustls::TlsAcceptor,
        script: impl Fn(usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_at("127.0.0.1:0", script, Some(tls)).await
    }

    /// The same at an address.
    pub async fn start_at(
        address: &str,
        script: impl Fn(usize) -> Reply + Send + Sync + 'static,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let (address, seen, script) =
            (listener.local_addr().expect("an address"), Arc::new(Seen::default()), Arc::new(script));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&seen), script, tls));
        Self { address, seen, accepting }
    }

    /// The URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Head and body of each request so far.
    pub fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().expect("requests").clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub fn most_at_once(&self) -> usize {
        self.seen.most_at_once.load(Ordering::SeqCst)
    }

    /// Waits until the client has closed a connection that was being written to.
    pub async fn connection_closed(&self) {
        self.seen.closed.notified().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, script: Script, tls: Option<tokio_rustls::TlsAcceptor>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a client");
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let (seen, script, tls) = (Arc::clone(&seen), Arc::clone(&script), tls.clone());
        tokio::spawn(async move {
            match tls {
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, &seen, script).await,
                    Err(_) => None,
                },
                None => serve(stream, &seen, script).await,
            }
        });
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Lingering>(
    mut stream: S,
    seen: &Seen,
    script: Script,
) -> Option<()> {
    loop {
        let request = read_request(&mut stream).await?;
        let number = {
            let mut requests = seen.requests.lock().expect("requests");
            requests.push(request);
            requests.len() - 1
        };
        let now = seen.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_at_once.fetch_max(now, Ordering::SeqCst);
        let goes_on = reply(&mut stream, script(number), seen).await;
        seen.at_once.fetch_sub(1, Ordering::SeqCst);
        goes_on?;
    }
}

/// Carries the reply out. `None` ends the connection.
async fn reply<S: AsyncRead + AsyncWrite + Unpin + Lingering>(stream: &mut S, reply: Reply, seen: &Seen) -> Option<()> {
    match reply {
        Reply::Answer(bytes) => stream.write_all(bytes.as_bytes()).await.ok(),
        Reply::Slow(wait, bytes) => {
            tokio::time::sleep(wait).await;
            stream.write_all(bytes.as_bytes()).await.ok()
        }
        Reply::AnswerAndClose(bytes) => {
            let _ = stream.write_all(bytes.as_bytes()).await;
            let _ = stream.shutdown().await;
            None
        }
        Reply::Endless(head, more) => {
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(more.as_bytes()).await.is_ok() {}
            seen.closed.notify_one();
            None
        }
        Reply::Trickle(head) => {
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            seen.closed.notify_one();
            None
        }
        Reply::Reset => {
            stream.reset_on_close();
            None
        }
        Reply::Silence => {
            // until the client goes
            let _ = stream.read(&mut [0]).await;
            seen.closed.notify_one();
            None
        }
    }
}

/// Reads a head, and a body of `content-length`. `None` at the end of the connection.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut read = Vec::new();
    let head = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        (stream.read_buf(&mut read).await.ok()? > 0).then_some(())?;
    };
    let text = String::from_utf8_lossy(&read[..head]).into_owned();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    while read.len() < head + length {
        (stream.read_buf(&mut read).await.ok()? > 0).then_some(())?;
    }
    Some(String::from_utf8_lossy(&read).into_owned())
}

/// Makes the end of a connection a reset.
trait Lingering {
    fn reset_on_close(&self);
}

impl Lingering for TcpStream {
    fn reset_on_close(&self) {
        self.set_zero_linger().expect("linger");
    }
}

impl Lingering for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}
