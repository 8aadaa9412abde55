//! A path of a test's own in the tests' bucket, in the real S3 server.

use std::collections::HashMap;
use std::sync::Mutex;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};
use aws_sdk_s3::primitives::ByteStream;

use super::{gz, setting};

/// One bucket for all tests: a bucket each would fill a small server.
pub const BUCKET: &str = "tests";

pub struct Bucket {
    client: Client,
    pub path: String,
    /// the bytes of every version that was ever put, by key and etag
    pub versions: Mutex<HashMap<(String, String), Vec<u8>>>,
    /// each put, by key and etag
    puts: Mutex<Vec<(String, String)>>,
}

/// What the bucket shows of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub key: String,
    pub etag: String,
    /// seconds since 1970
    pub modified: i64,
}

impl Bucket {
    /// The files below `path`; nothing is there yet.
    pub async fn at(path: &str) -> Self {
        let credentials = Credentials::new(setting("PEO_S3_ID"), setting("PEO_S3_KEY"), None, None, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://127.0.0.1:{}", setting("PEO_S3_PORT")))
            .force_path_style(true)
            .credentials_provider(credentials);
        let client = Client::from_conf(config.build());
        // it is there already, unless this is the first test
        let _ = client.create_bucket().bucket(BUCKET).send().await;
        Self { client, path: path.to_owned(), versions: Mutex::default(), puts: Mutex::default() }
    }

    /// The key of a file of the schema `dbo`.
    pub fn key(&self, file: &str) -> String {
        format!("{}/dbo/{file}", self.path)
    }

    /// Puts text, gzipped.
    pub async fn put(&self, file: &str, text: &str) {
        self.put_bytes(file, gz(text)).await;
    }

    /// Puts text, gzipped, as a file of any schema.
    pub async fn put_in(&self, schema: &str, file: &str, text: &str) {
        let request = self.client.put_object().bucket(BUCKET).key(format!("{}/{schema}/{file}", self.path));
        request.body(ByteStream::from(gz(text))).send().await.expect("put");
    }

    pub async fn put_bytes(&self, file: &str, bytes: Vec<u8>) {
        let request = self.client.put_object().bucket(BUCKET).key(self.key(file));
        let answer = request.body(ByteStream::from(bytes.clone())).send().await.expect("put");
        let etag = answer.e_tag().expect("an etag").trim_matches('"').to_owned();
        self.note_version(self.key(file), etag, bytes);
    }

    fn note_version(&self, key: String, etag: String, bytes: Vec<u8>) {
        self.puts.lock().expect("puts").push((key.clone(), etag.clone()));
        self.versions.lock().expect("versions").insert((key, etag), bytes);
    }

    /// Returns how often this version was put.
    pub fn put_times(&self, key: &str, etag: &str) -> usize {
        let puts = self.puts.lock().expect("puts");
        puts.iter().filter(|(put, version)| put == key && version == etag).count()
    }

    /// The same with `Content-Encoding: gzip`.
    pub async fn put_encoded(&self, file: &str, bytes: Vec<u8>) {
        let request = self.client.put_object().bucket(BUCKET).key(self.key(file)).content_encoding("gzip");
        request.body(ByteStream::from(bytes)).send().await.expect("put");
    }

    /// The `Content-Encoding` that it shows.
    pub async fn encoding_of(&self, file: &str) -> Option<String> {
        let answer = self.client.head_object().bucket(BUCKET).key(self.key(file)).send().await;
        answer.expect("it is there").content_encoding
    }

    /// What it shows below the path.
    pub async fn shown(&self) -> Vec<Shown> {
        let request = self.client.list_objects_v2().bucket(BUCKET).prefix(format!("{}/", self.path));
        let mut pages = request.into_paginator().send();
        let mut shown = Vec::new();
        while let Some(page) = pages.next().await {
            shown.extend(page.expect("a page").contents.unwrap_or_default().into_iter().map(|object| Shown {
                key: object.key.expect("a key"),
                etag: object.e_tag.expect("an etag").trim_matches('"').to_owned(),
                modified: object.last_modified.expect("a time").secs(),
            }));
        }
        shown
    }

    /// The files of the schema `dbo` below a folder, in key order.
    pub async fn files(&self, folder: &str) -> Vec<String> {
        let start = self.key("");
        let mut files: Vec<String> =
            self.shown().await.iter().filter_map(|shown| Some(shown.key.strip_prefix(&start)?.to_owned())).collect();
        files.retain(|file| file.starts_with(folder));
        files.sort();
        files
    }

    /// Writes an object again with the bytes that it has; with `new_etag` in the multipart form, which gives it another etag.
    pub async fn rewrite(&self, file: &str, new_etag: bool) {
        let answer = self.client.get_object().bucket(BUCKET).key(self.key(file)).send().await.expect("get");
        let bytes = answer.body.collect().await.expect("a body").to_vec();
        if new_etag {
            self.put_in_parts(file, bytes).await;
        } else {
            self.put_bytes(file, bytes).await;
        }
    }

    /// Puts bytes as a multipart upload of one part: the etag is not that of a plain upload.
    pub async fn put_in_parts(&self, file: &str, bytes: Vec<u8>) {
        use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
        let key = self.key(file);
        let begun = self.client.create_multipart_upload().bucket(BUCKET).key(&key).send().await.expect("an upload");
        let id = begun.upload_id().expect("an upload id");
        let part = self.client.upload_part().bucket(BUCKET).key(&key).upload_id(id).part_number(1);
        let part = part.body(ByteStream::from(bytes.clone())).send().await.expect("a part");
        let part = CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).build();
        let parts = CompletedMultipartUpload::builder().parts(part).build();
        let request = self.client.complete_multipart_upload().bucket(BUCKET).key(&key).upload_id(id);
        let answer = request.multipart_upload(parts).send().await.expect("completed");
        let etag = answer.e_tag().expect("an etag").trim_matches('"').to_owned();
        self.note_version(key, etag, bytes);
    }

    /// Puts a new version whose time is a later one: times have whole seconds.
    pub async fn put_later(&self, file: &str, text: &str) {
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        self.put(file, text).await;
    }

    pub async fn delete(&self, file: &str) {
        let request = self.client.delete_object().bucket(BUCKET).key(self.key(file));
        request.send().await.expect("delete");
    }

    /// SOURCE, straight to the server or through something that stands before it.
    pub fn source_at(&self, port: &str) -> String {
        format!(
            "bucket_endpoint=http://127.0.0.1:{port} bucket_id={} bucket_key={} bucket_name={BUCKET} bucket_path={}",
            setting("PEO_S3_ID"),
            setting("PEO_S3_KEY"),
            self.path
        )
    }

    pub fn source(&self) -> String {
        self.source_at(&setting("PEO_S3_PORT"))
    }
}

fn http_client() -> SharedHttpClient {
    use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}
