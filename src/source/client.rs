//! The S3 client of the bucket that SOURCE names.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_credential_types::credential_fn::provide_credentials_fn;
use aws_credential_types::provider::{self, error::CredentialsError};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    Credentials, ProvideCredentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::error::Error;
use super::settings::Settings;
use crate::clock::Clock;

/// A bucket and the client that reaches it.
#[derive(Clone)]
pub struct Bucket {
    pub(super) client: Client,
    pub(super) name: String,
    /// Address of the bucket, for messages.
    pub(super) endpoint: String,
    /// `true` if the credentials come from outside and may change.
    pub(super) rotates: bool,
}

impl Bucket {
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        let http = if is_plain(settings) { plain_client() } else { tls_client()? };
        let config = match &settings.endpoint {
            Some(endpoint) => base(settings, http).endpoint_url(endpoint).force_path_style(true),
            None => base(settings, http),
        };
        let own = settings.id.as_ref().zip(settings.key.as_ref());
        let config = match own {
            Some((id, key)) => config.credentials_provider(Credentials::new(id, key.expose(), None, None, "SOURCE")),
            None => from_chain(config, settings).await,
        };
        let endpoint = settings.endpoint.clone().unwrap_or_else(|| "AWS".to_owned());
        let client = Client::from_conf(config.build());
        Ok(Self { client, name: settings.bucket.clone(), endpoint, rotates: own.is_none() })
    }
}

/// Returns the settings for any bucket. The SDK's protection against stalled bodies is off, because it would count
/// the time that we wait for Postgres.
fn base(settings: &Settings, http: SharedHttpClient) -> aws_sdk_s3::config::Builder {
    let timeouts =
        TimeoutConfig::builder().connect_timeout(Duration::from_secs(10)).read_timeout(Duration::from_secs(60));
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
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
    let http = http_client();
    let shared = chain(http.clone(), settings.region.clone().map(Region::new)).await;
    let region = shared.region().cloned();
    let provider = provide_credentials_fn(move || from_chain_now(http.clone(), region.clone()));
    let config = config.credentials_provider(provider);
    match shared.region().filter(|_| settings.region.is_none() && settings.endpoint.is_none()) {
        Some(region) => config.region(region.clone()),
        None => config,
    }
}

/// Time after which credentials without an expiry are requested again.
const ROTATION: Duration = Duration::from_secs(30);

/// Returns the default chain. A given region is not looked up, which could take a second.
async fn chain(http: SharedHttpClient, region: Option<Region>) -> aws_config::SdkConfig {
    let chain = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    match region {
        Some(region) => chain.region(region).load().await,
        None => chain.load().await,
    }
}

/// Returns credentials from a new chain, because a chain reads its files only once.
async fn from_chain_now(http: SharedHttpClient, region: Option<Region>) -> provider::Result {
    let Some(credentials) = chain(http, region).await.credentials_provider() else {
        return Err(CredentialsError::not_loaded("no credentials in the AWS default chain"));
    };
    let mut credentials = credentials.provide_credentials().await?;
    if credentials.expiry().is_none() {
        *credentials.expiry_mut() = Some((Clock::system().utc() + ROTATION).into());
    }
    Ok(credentials)
}

/// Returns `true` if the bucket is reached without TLS.
fn is_plain(settings: &Settings) -> bool {
    settings.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"))
}

/// Returns the HTTP client with TLS. The certificates are loaded here first, because the client cannot report that
/// there are none.
fn tls_client() -> Result<SharedHttpClient, Error> {
    let found = rustls_native_certs::load_native_certs();
    match found.errors.first() {
        _ if !found.certs.is_empty() => Ok(http_client()),
        Some(error) => Err(Error::Authorities(error.to_string())),
        None => Err(Error::Authorities("none are there".to_owned())),
    }
}

fn plain_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}

fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}
