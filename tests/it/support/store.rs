//! A store with faults: stands before the real one, and answers some requests as stores do on a bad day.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::bucket::BUCKET;

/// What becomes of a request.
pub enum Act {
    /// the real answer
    Pass,
    /// no answer: the connection is closed
    Reset,
    /// an answer of our own
    Say(Vec<u8>),
    /// the real answer, head and body, changed
    Edit(Box<dyn FnOnce(Vec<u8>) -> Vec<u8> + Send>),
    /// the head and so many bytes of the body, and then nothing
    Stall(usize),
    /// the body comes in pieces of so many bytes, with a pause after each
    Drip(usize, Duration),
}

impl Act {
    pub fn edit(change: impl FnOnce(Vec<u8>) -> Vec<u8> + Send + 'static) -> Self {
        Self::Edit(Box::new(change))
    }

    /// An error as S3 says it.
    pub fn error(status: u16, code: &str) -> Self {
        Self::refusal(status, code, "")
    }

    /// The same with more about it.
    pub fn refusal(status: u16, code: &str, more: &str) -> Self {
        let body = format!("<Error><Code>{code}</Code><Message>said by a test</Message>{more}</Error>");
        Self::answer(status, &body)
    }

    /// An answer with a body.
    pub fn answer(status: u16, body: &str) -> Self {
        Self::Say(answer(status, body))
    }

    /// A page of a listing: keys, etags, sizes and times as XML, and the token of the next page.
    pub fn page(contents: &str, next: Option<&str>) -> Self {
        let more = next.map(|token| format!("<NextContinuationToken>{token}</NextContinuationToken>"));
        let body = format!(
            "<ListBucketResult><Name>{BUCKET}</Name><IsTruncated>{}</IsTruncated>{}{contents}</ListBucketResult>",
            more.is_some(),
            more.unwrap_or_default()
        );
        Self::Say(answer(200, &body))
    }
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Where the body of an answer begins.
pub fn body_at(answer: &[u8]) -> usize {
    answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4
}

/// The head of an answer with another value for a field.
pub fn with_field(answer: &[u8], field: &str, value: &str) -> Vec<u8> {
    let at = body_at(answer);
    let head = String::from_utf8_lossy(&answer[..at]).into_owned();
    let line = |line: &str| match line.split_once(':') {
        Some((name, _)) if name.eq_ignore_ascii_case(field) => format!("{name}: {value}"),
        _ => line.to_owned(),
    };
    let head: Vec<String> = head.split("\r\n").map(line).collect();
    [head.join("\r\n").as_bytes(), &answer[at..]].concat()
}

/// Whether a request lists.
pub fn lists(request: &str) -> bool {
    request.contains("list-type=2")
}

/// A store that has these files of `dbo` and no server behind it; the port to connect to.
pub async fn alone(files: Vec<(&'static str, Vec<u8>)>) -> String {
    let one = |(file, bytes): &(&str, Vec<u8>)| {
        format!(
            "<Contents><Key>dbo/{file}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>&quot;{}&quot;</ETag>\
             <Size>{}</Size></Contents>",
            bytes.len(),
            bytes.len()
        )
    };
    let listing: String = files.iter().map(one).collect();
    before("0", move |request, _| match files.iter().find(|(file, _)| request.contains(file)) {
        Some((_, bytes)) => Act::Say(object(bytes)),
        None => Act::page(&listing, None),
    })
    .await
}

fn object(bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\netag: \"{0}\"\r\nlast-modified: Mon, 01 Jan 2024 00:00:00 GMT\r\ncontent-length: {0}\r\n\
         connection: close\r\n\r\n",
        bytes.len()
    );
    [head.as_bytes(), bytes].concat()
}

/// Decides by the first line of a request, with the line of its range if it has one, and the how many-th it is of all.
pub type Plan = Arc<dyn Fn(&str, usize) -> Act + Send + Sync>;

/// Stands before the server on 127.0.0.1; the port to connect to instead.
pub async fn before(server_port: &str, plan: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let (server, plan): (String, Plan) = (format!("127.0.0.1:{server_port}"), Arc::new(plan));
    let count = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, server.clone(), plan.clone(), count.clone()));
        }
    });
    port.to_string()
}

/// One request for each connection.
async fn serve(mut client: TcpStream, server: String, plan: Plan, count: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let range = lines.find(|line| line.to_ascii_lowercase().starts_with("range:")).unwrap_or_default();
    let act = plan(&format!("{first} {range}"), count.fetch_add(1, Ordering::SeqCst));
    let whole = match act {
        Act::Reset => return Ok(()),
        Act::Say(answer) => return client.write_all(&answer).await,
        Act::Pass | Act::Edit(_) | Act::Stall(_) | Act::Drip(..) => asked(&server, &head).await?,
    };
    match act {
        Act::Edit(change) => client.write_all(&change(whole)).await,
        Act::Stall(bytes) => {
            client.write_all(&whole[..body_at(&whole) + bytes]).await?;
            std::future::pending().await
        }
        Act::Drip(bytes, pause) => {
            let at = body_at(&whole);
            client.write_all(&whole[..at]).await?;
            for piece in whole[at..].chunks(bytes) {
                client.write_all(piece).await?;
                client.flush().await?;
                tokio::time::sleep(pause).await;
            }
            Ok(())
        }
        _ => client.write_all(&whole).await,
    }
}

/// The real answer, whole. The connection is for this request only, which is no part of what is signed.
async fn asked(server: &str, head: &str) -> std::io::Result<Vec<u8>> {
    let lines = head.trim_end().split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let request = lines.collect::<Vec<_>>().join("\r\n") + "\r\nConnection: close\r\n\r\n";
    let mut upstream = TcpStream::connect(server).await?;
    upstream.write_all(request.as_bytes()).await?;
    let mut whole = Vec::new();
    upstream.read_to_end(&mut whole).await?;
    Ok(with_field(&whole, "connection", "close"))
}
