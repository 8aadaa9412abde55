//! A path of a test's own in the tests' bucket, in the real S3 server.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};
use aws_sdk_s3::primitives::ByteStream;

use super::{gz, setting};

/// One bucket for all tests: a bucket each would fill a small server.
pub const BUCKET: &str = "tests";

pub struct Bucket {
    client: Client,
    pub path: String,
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
        Self { client, path: path.to_owned() }
    }

    /// The key of a file of the schema `dbo`.
    pub fn key(&self, file: &str) -> String {
        format!("{}/dbo/{file}", self.path)
    }

    /// Puts text, gzipped.
    pub async fn put(&self, file: &str, text: &str) {
        self.put_bytes(file, gz(text)).await;
    }

    pub async fn put_bytes(&self, file: &str, bytes: Vec<u8>) {
        let request = self.client.put_object().bucket(BUCKET).key(self.key(file));
        request.body(ByteStream::from(bytes)).send().await.expect("put");
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
