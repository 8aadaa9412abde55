//! The S3 client of the bucket that SOURCE names.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::settings::Settings;

/// A bucket and the client that reaches it.
#[derive(Clone)]
pub struct Bucket {
    pub(super) client: Client,
    pub(super) name: String,
    /// for messages: where the bucket is
    pub(super) endpoint: String,
}

impl Bucket {
    pub async fn connect(settings: &Settings) -> Self {
        let config = match &settings.endpoint {
            Some(endpoint) => base(settings).endpoint_url(endpoint).force_path_style(true),
            None => base(settings),
        };
        let config = match (&settings.id, &settings.key) {
            (Some(id), Some(key)) => {
                config.credentials_provider(Credentials::new(id, key.expose(), None, None, "SOURCE"))
            }
            _ => from_chain(config, settings).await,
        };
        let endpoint = settings.endpoint.clone().unwrap_or_else(|| "AWS".to_owned());
        Self { client: Client::from_conf(config.build()), name: settings.bucket.clone(), endpoint }
    }
}

/// What holds for any bucket. The SDK's own guard against stalled bodies is off: it would take our waiting for
/// Postgres for a stall.
fn base(settings: &Settings) -> aws_sdk_s3::config::Builder {
    let timeouts =
        TimeoutConfig::builder().connect_timeout(Duration::from_secs(10)).read_timeout(Duration::from_secs(60));
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(timeouts.build())
        .retry_config(RetryConfig::standard().with_max_attempts(4))
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    let fallback = settings.endpoint.as_ref().map(|_| "us-east-1".to_owned());
    match settings.region.clone().or(fallback) {
        Some(region) => config.region(Region::new(region)),
        None => config,
    }
}

/// Credentials (and the region, if SOURCE has none) from the AWS default chain.
async fn from_chain(config: aws_sdk_s3::config::Builder, settings: &Settings) -> aws_sdk_s3::config::Builder {
    let shared = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client()).load().await;
    let config = match shared.credentials_provider() {
        Some(provider) => config.credentials_provider(provider),
        None => config,
    };
    match shared.region().filter(|_| settings.region.is_none() && settings.endpoint.is_none()) {
        Some(region) => config.region(region.clone()),
        None => config,
    }
}

fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}
