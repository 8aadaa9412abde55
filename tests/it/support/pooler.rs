//! A pooler as PgBouncer is one in transaction mode: many connections, one session of the server, lent for a transaction.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

/// Its one session, and what the server said when it began.
struct Session {
    server: Mutex<TcpStream>,
    greeting: Vec<u8>,
}

/// Stands before a server on 127.0.0.1 that asks for no password; the port to connect to instead.
pub async fn before(server_port: &str, user: &str, database: &str) -> u16 {
    let mut server = TcpStream::connect(format!("127.0.0.1:{server_port}")).await.expect("the server");
    let parameters = format!("user\0{user}\0database\0{database}\0\0");
    server.write_u32(8 + parameters.len() as u32).await.expect("sent");
    server.write_u32(0x0003_0000).await.expect("sent");
    server.write_all(parameters.as_bytes()).await.expect("sent");
    let mut greeting = Vec::new();
    while relay(&mut server, &mut greeting).await.expect("a greeting") != b'Z' {}
    let session = Arc::new(Session { server: Mutex::new(server), greeting });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(lend(client, session.clone()));
        }
    });
    port
}

/// Passes one message on. Its kind.
async fn relay(from: &mut TcpStream, to: &mut Vec<u8>) -> std::io::Result<u8> {
    let (kind, length) = (from.read_u8().await?, from.read_u32().await?);
    let mut body = vec![0; length as usize - 4];
    from.read_exact(&mut body).await?;
    to.push(kind);
    to.extend(length.to_be_bytes());
    to.extend(body);
    Ok(kind)
}

async fn lend(mut client: TcpStream, session: Arc<Session>) -> std::io::Result<()> {
    loop {
        let length = client.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        client.read_exact(&mut body).await?;
        // a wish for TLS comes first
        if length > 8 {
            break;
        }
        client.write_all(b"N").await?;
    }
    client.write_all(&session.greeting).await?;
    loop {
        let mut asked = Vec::new();
        let mut kind = relay(&mut client, &mut asked).await?;
        let mut server = session.server.lock().await;
        loop {
            while !b"QSX".contains(&kind) {
                kind = relay(&mut client, &mut asked).await?;
            }
            if kind == b'X' {
                return Ok(());
            }
            server.write_all(&asked).await?;
            let mut said = Vec::new();
            while relay(&mut server, &mut said).await? != b'Z' {}
            client.write_all(&said).await?;
            if said.ends_with(b"I") {
                break;
            }
            asked.clear();
            kind = relay(&mut client, &mut asked).await?;
        }
    }
}
