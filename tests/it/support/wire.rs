//! What somebody between us and a server would read: a proxy that keeps all that the client sends.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

pub struct ColumnEncoding {
    pub port: u16,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl ColumnEncoding {
    /// Stands before a server on 127.0.0.1.
    pub async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let wire = Self { port: listener.local_addr().expect("bound").port(), sent: Arc::default() };
        let sent = wire.sent.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                let (from_client, mut to_client) = client.into_split();
                let (mut from_server, to_server) = upstream.into_split();
                tokio::spawn(pass(from_client, to_server, sent.clone()));
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            }
        });
        wire
    }

    /// Whether these words were sent as they are since this was last asked.
    pub fn read(&self, words: &str) -> bool {
        let sent = std::mem::take(&mut *self.sent.lock().expect("sent"));
        assert!(!sent.is_empty(), "nothing was sent at all");
        sent.windows(words.len()).any(|window| window == words.as_bytes())
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, sent: Arc<Mutex<Vec<u8>>>) {
    let mut piece = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        sent.lock().expect("sent").extend(&piece[..count]);
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}
