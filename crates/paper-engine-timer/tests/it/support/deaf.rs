//! A web server that takes no connection until it is told to: whoever knocks before keeps knocking.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// The server, and the connections that fill its queue.
pub struct Deaf {
    address: SocketAddr,
    listener: Option<TcpListener>,
    fillers: Vec<TcpStream>,
    heard: Arc<Mutex<Vec<String>>>,
    hearing: Option<JoinHandle<()>>,
}

impl Deaf {
    pub async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let (address, mut fillers) = (listener.local_addr().unwrap(), Vec::new());
        while let Ok(filler) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            fillers.push(filler.unwrap());
        }
        Self { address, listener: Some(listener), fillers, heard: Arc::default(), hearing: None }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Returns `true` if somebody tries to connect.
    fn is_knocked_at(&self) -> bool {
        let port = format!(":{:04X}", self.address.port());
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let syn_sent = |line: &str| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            columns.len() > 3 && columns[2].ends_with(&port) && columns[3] == "02"
        };
        sockets.lines().any(syn_sent)
    }

    /// Waits until somebody tries to connect.
    pub async fn await_knock(&self) {
        while !self.is_knocked_at() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until everybody who tried to connect is connected.
    pub async fn await_no_knock(&self) {
        while self.is_knocked_at() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Takes connections from now on, and answers each request with 204.
    pub fn hear(&mut self) {
        self.fillers.clear();
        let (listener, heard) = (self.listener.take().expect("still deaf"), self.heard.clone());
        self.hearing = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, heard.clone()));
            }
        }));
    }

    /// Returns the paths that were posted to.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        self.hearing.iter().for_each(JoinHandle::abort);
    }
}

/// Answers the requests of one connection; they have no body.
async fn talk(mut stream: TcpStream, heard: Arc<Mutex<Vec<String>>>) {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        while let Some((head, rest)) = text.split_once("\r\n\r\n") {
            heard.lock().unwrap().push(head.split(' ').nth(1).unwrap_or_default().to_owned());
            text = rest.to_owned();
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    }
}
