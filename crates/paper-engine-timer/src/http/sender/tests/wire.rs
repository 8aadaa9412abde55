//! What a receiver gets: the original's request byte for byte where its users rely on it, signatures, and TLS.

use std::io::Write;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use standardwebhooks::Webhook;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::http::resolve::fake::Answers;

/// Sends one request and returns what the server got.
async fn received(change: impl Fn(Request) -> Request, path: &str) -> String {
    let server = Server::start(|_| status(200)).await;
    assert_eq!(send(&sender(), change(request(&server.url(path)))).await, DONE);
    server.requests().remove(0).replace(&server.address.to_string(), "HOST")
}

#[tokio::test]
async fn a_task_without_a_body_is_the_originals_request() {
    let head = received(|request| request, "/").await;
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), format!("POST //{ID} HTTP/1.1"));
    lines.sort_unstable();
    let agent = format!("user-agent: paper-engine-timer/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        lines,
        ["accept: */*", "content-length: 0", "content-type: application/octet-stream", "host: HOST", agent.as_str()]
    );
}

#[tokio::test]
async fn paths_are_the_originals_concatenation() {
    for (path, sent) in [
        ("", "/ID"),
        ("/", "//ID"),
        ("/p", "/p/ID"),
        ("/p?x=1", "/p?x=1/ID"),
        ("?x=1", "/?x=1/ID"),
        ("/a b/é", "/a%20b/%C3%A9/ID"),
        ("/%7euser/%2f", "/~user/%2F/ID"),
        ("/a/../b", "/b/ID"),
        ("/p#f", "/p"),
        ("//{id}|", "//%7Bid%7D%7C/ID"),
    ] {
        let head = received(|request| request, path).await;
        let expected = format!("POST {} HTTP/1.1", sent.replace("ID", ID));
        assert_eq!(head.lines().next(), Some(expected.as_str()), "{path}");
    }
    let clean = received(|request| Request { join: Join::Clean, ..request }, "/p/?x=1").await;
    assert!(clean.starts_with(&format!("POST /p/{ID}?x=1 HTTP/1.1")), "{clean}");
}

#[tokio::test]
async fn body_and_headers_of_the_task_are_sent_as_they_are() {
    let headers = [("Content-Type", "application/json"), ("X-Trace", "a"), ("x-trace", "b")];
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let body = Bytes::from_static(b"{\"a\": [1,\r\n\r\n2]}");
    let got = received(|request| Request { headers: headers.clone(), body: Some(body.clone()), ..request }, "/x").await;
    let (head, sent) = got.split_once("\r\n\r\n").expect("a head");
    assert_eq!(sent.as_bytes(), body);
    for line in ["content-type: application/json", "content-length: 16", "x-trace: a", "x-trace: b"] {
        assert_eq!(head.lines().filter(|sent| *sent == line).count(), 1, "{line} in {head}");
    }
    assert!(!head.contains("octet-stream") && !head.contains("webhook-"));
}

#[tokio::test]
async fn an_endpoint_with_secrets_gets_a_signature_that_the_published_library_accepts() {
    const SECRETS: [&str; 2] =
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDqwertyuiopA="];
    let server = Server::start(|_| status(200)).await;
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    write!(file, "[[endpoint]]\nprefix = \"{}\"\nsecrets = {SECRETS:?}\n", server.url("/signed")).expect("written");
    let groups = EndpointGroups::load(file.path()).expect("groups");
    let sender = HttpSender::new(SenderParts { endpoints: Endpoints::new(groups, Concurrency::default()), ..parts() });
    for body in [None, Some(Bytes::from_static(b"{\"a\":1}"))] {
        let request = Request { body, ..request(&server.url("/signed/x")) };
        assert_eq!(send(&sender, request).await, DONE);
    }
    assert_eq!(send(&sender, request(&server.url("/other"))).await, DONE);
    let got = server.requests();
    for one in &got[..2] {
        let (head, body) = one.split_once("\r\n\r\n").expect("a head");
        let headers = head.lines().filter_map(|line| line.split_once(": "));
        let headers: HeaderMap = headers
            .map(|(name, value)| (name.parse::<http::HeaderName>().expect("a name"), value.parse().expect("a value")))
            .collect();
        assert_eq!(headers["webhook-id"], ID);
        for secret in SECRETS {
            Webhook::new(secret).expect("a secret").verify(body.as_bytes(), &headers).expect("a signature");
        }
    }
    assert!(!got[2].contains("webhook-"));
}

/// An authority, and an acceptor whose certificate from it is for `hosts`.
fn tls_for(hosts: &[&str]) -> (String, TlsAcceptor) {
    let [ca_key, key] = [(); 2].map(|()| KeyPair::generate().expect("a key"));
    let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).expect("signed").pem();
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let leaf =
        CertificateParams::new(hosts).expect("parameters").signed_by(&key, &Issuer::new(ca, ca_key)).expect("signed");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = builder.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).expect("a certificate");
    (ca_pem, TlsAcceptor::from(Arc::new(config)))
}

fn trusting(ca: &str, answer: &[&str]) -> HttpSender {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(ca.as_bytes()).expect("written");
    let tls = client_config(Some(file.path())).expect("TLS");
    HttpSender::new(SenderParts { tls, resolver: Answers::new(&[Some(answer)]), ..parts() })
}

#[tokio::test]
async fn https_needs_a_certificate_that_is_trusted_and_for_the_host_of_the_url() {
    let (ca, acceptor) = tls_for(&["hooks.example", "127.0.0.1"]);
    let server = Server::start_tls(acceptor, |_| status(200)).await;
    let port = server.address.port();
    let url = |host: &str| format!("https://{host}:{port}/");
    for host in ["hooks.example", "HOOKS.example.", "127.0.0.1"] {
        assert_eq!(send(&trusting(&ca, &["127.0.0.1"]), request(&url(host))).await, DONE, "{host}");
    }
    let other_name = send(&trusting(&ca, &["127.0.0.1"]), request(&url("other.example"))).await;
    assert_eq!(retried(other_name), ReasonKind::Tls);
    assert_eq!(retried(send(&sender(), request(&url("127.0.0.1"))).await), ReasonKind::Tls);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn https_to_a_server_without_tls_is_retried_and_silence_is_a_time_out() {
    let server = Server::start(|_| status(200)).await;
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = plain.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut client, _) = plain.accept().await.expect("a client");
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client, b"HTTP/1.1 400 no TLS\r\n\r\n").await;
        std::future::pending::<()>().await;
    });
    assert_eq!(retried(send(&sender(), request(&format!("https://{address}/"))).await), ReasonKind::Tls);
    let limits = AttemptLimits { connect: Duration::from_millis(100), ..AttemptLimits::default() };
    let sender = HttpSender::new(SenderParts { limits, ..parts() });
    let silent = send(&sender, request(&server.url("/").replace("http", "https"))).await;
    assert_eq!(retried(silent), ReasonKind::Timeout);
}
