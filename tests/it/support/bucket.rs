//! A bucket of a test's own, in the real S3 server.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};
use aws_sdk_s3::primitives::ByteStream;

use super::{gz, setting};

pub struct Bucket {
    client: Client,
    pub name: String,
}

impl Bucket {
    pub async fn create(name: &str) -> Self {
        let credentials = Credentials::new(setting("PEO_S3_ID"), setting("PEO_S3_KEY"), None, None, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://127.0.0.1:{}", setting("PEO_S3_PORT")))
            .force_path_style(true)
            .credentials_provider(credentials);
        let bucket = Self { client: Client::from_conf(config.build()), name: name.to_owned() };
        bucket.client.create_bucket().bucket(name).send().await.expect("a new bucket");
        bucket
    }

    /// Puts text, gzipped, at `data/dbo/<file>`.
    pub async fn put(&self, file: &str, text: &str) {
        self.put_bytes(file, gz(text)).await;
    }

    pub async fn put_bytes(&self, file: &str, bytes: Vec<u8>) {
        let request = self.client.put_object().bucket(&self.name).key(format!("data/dbo/{file}"));
        request.body(ByteStream::from(bytes)).send().await.expect("put");
    }

    /// Puts a new version whose time is a later one: times have whole seconds.
    pub async fn put_later(&self, file: &str, text: &str) {
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        self.put(file, text).await;
    }

    pub async fn delete(&self, file: &str) {
        let request = self.client.delete_object().bucket(&self.name).key(format!("data/dbo/{file}"));
        request.send().await.expect("delete");
    }

    /// SOURCE, straight to the server or through something that stands before it.
    pub fn source_at(&self, port: &str) -> String {
        format!(
            "bucket_endpoint=http://127.0.0.1:{port} bucket_id={} bucket_key={} bucket_name={} bucket_path=data",
            setting("PEO_S3_ID"),
            setting("PEO_S3_KEY"),
            self.name
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
