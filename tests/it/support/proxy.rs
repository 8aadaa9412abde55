//! A TCP proxy that does to a connection what networks do: cut it, or swallow an answer.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// What happens to the bytes that come back from the server.
#[derive(Clone)]
pub enum Fault {
    /// after so many bytes of one connection the connection is cut; this many connections suffer it
    CutAfter { bytes: usize, times: Arc<AtomicU32> },
    /// before the first request that names this, something else happens
    Before { needle: String, first: Arc<Mutex<Option<oneshot::Sender<oneshot::Sender<()>>>>> },
    /// before an answer that holds this is passed on, the connection is cut, once
    CutBefore { needle: String, done: Arc<AtomicBool> },
    /// the answer to a COMMIT is swallowed and the connection cut: the first after a COPY, or the one after so many others
    SwallowCommit { before: Arc<AtomicU32>, copied: Arc<AtomicBool>, done: Arc<AtomicBool> },
}

impl Fault {
    pub fn cut_after(bytes: usize, times: u32) -> Self {
        Self::CutAfter { bytes, times: Arc::new(AtomicU32::new(times)) }
    }

    /// The other side waits for the request, does what it wants, and lets it pass.
    pub fn before(needle: &str) -> (Self, oneshot::Receiver<oneshot::Sender<()>>) {
        let (sender, receiver) = oneshot::channel();
        (Self::Before { needle: needle.to_owned(), first: Arc::new(Mutex::new(Some(sender))) }, receiver)
    }

    /// The first after a COPY.
    pub fn swallow_commit() -> Self {
        Self::SwallowCommit { before: Arc::default(), copied: Arc::default(), done: Arc::default() }
    }

    /// The one after so many others.
    pub fn swallow_commit_after(before: u32) -> Self {
        let (before, copied) = (Arc::new(AtomicU32::new(before)), Arc::new(AtomicBool::new(true)));
        Self::SwallowCommit { before, copied, done: Arc::default() }
    }

    pub fn cut_before(needle: &str) -> Self {
        Self::CutBefore { needle: needle.to_owned(), done: Arc::default() }
    }

    /// Whether the fault happened.
    pub fn happened(&self) -> bool {
        match self {
            Self::CutAfter { times, .. } => times.load(Ordering::SeqCst) == 0,
            Self::SwallowCommit { done, .. } | Self::CutBefore { done, .. } => done.load(Ordering::SeqCst),
            Self::Before { first, .. } => first.lock().expect("fault").is_none(),
        }
    }
}

/// Stands before a server on 127.0.0.1; the port to connect to instead.
pub async fn before(server_port: &str, fault: Fault) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let server: u16 = server_port.parse().expect("a port");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = upstream.into_split();
            tokio::spawn(pass(from_client, to_server, fault.clone()));
            tokio::spawn(pass_back(from_server, to_client, fault.clone()));
        }
    });
    port
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fault: Fault) {
    let mut piece = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        if let Fault::Before { needle, first } = &fault
            && String::from_utf8_lossy(&piece[..count]).contains(needle)
            && let Some(first) = { first.lock().expect("fault").take() }
        {
            let (done, wait) = oneshot::channel();
            let _ = first.send(done);
            let _ = wait.await;
        }
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}

async fn pass_back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fault: Fault) {
    let mut piece = vec![0; 16 << 10];
    let mut passed = 0;
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        if strikes(&fault, &piece[..count], passed + count) {
            return;
        }
        passed += count;
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}

fn strikes(fault: &Fault, piece: &[u8], passed: usize) -> bool {
    match fault {
        Fault::CutAfter { bytes, times } => {
            let left = |left: u32| left.checked_sub(1);
            passed > *bytes && times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok()
        }
        Fault::SwallowCommit { before, copied, done } => {
            // CommandComplete, with the tags COPY and COMMIT
            let holds = |tag: &[u8]| piece.windows(tag.len()).any(|window| window == tag);
            if holds(b"COPY ") {
                copied.store(true, Ordering::SeqCst);
            }
            let passes = |left: u32| left.checked_sub(1);
            copied.load(Ordering::SeqCst)
                && holds(b"C\0\0\0\x0bCOMMIT\0")
                && before.fetch_update(Ordering::SeqCst, Ordering::SeqCst, passes).is_err()
                && !done.swap(true, Ordering::SeqCst)
        }
        Fault::CutBefore { needle, done } => {
            String::from_utf8_lossy(piece).contains(needle) && !done.swap(true, Ordering::SeqCst)
        }
        Fault::Before { .. } => false,
    }
}
