//! Access to S3: object metadata, reads by range, uploads.
//!
//! A read returns one version of an object: every GET has the ETag in `If-Match`, so a replaced object is an error
//! instead of a mixture of versions. The loader retries an interrupted range itself and resumes it at the first missing
//! byte, so a connection reset costs no received bytes.

mod reader;
mod url;

use std::path::Path;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::config::{ResponseChecksumValidation, StalledStreamProtectionConfig};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls;
use bytes::{Bytes, BytesMut};

pub use reader::ObjectReader;
pub use url::{S3Url, S3UrlError};

/// The region if neither the environment nor a profile names one. The SDK cannot sign without a region.
const DEFAULT_REGION: Region = Region::from_static("us-east-1");

/// Read tuning and retry limits. The defaults fit a function in the region of its bucket.
#[derive(Clone, Copy, Debug)]
pub struct ReadPolicy {
    /// The bytes per request: 8 MiB. Too low: more requests, less throughput. Too high: more memory, and more latency
    /// at the start of a read.
    pub range: u64,
    /// The number of ranges in flight: 3. Too low: a read waits for the next range. Too high: more memory; with two
    /// files in parallel, 3 use max 100 MB.
    pub prefetch: usize,
    /// The timeout without a received byte, before a retry: 15 s. Too low: retries add load to a slow server.
    pub read_timeout: Duration,
    /// The timeout of a range with all its retries: 300 s. Below 30 KB/s, waiting does not pay off.
    pub range_timeout: Duration,
    /// The max number of attempts in a row that receive nothing: 8.
    pub attempts: u32,
    /// The backoff before the first retry: 50 ms. It doubles with each retry, so that all of them take about 10 s.
    pub backoff_min: Duration,
}

impl Default for ReadPolicy {
    fn default() -> Self {
        Self {
            range: 8 << 20,
            prefetch: 3,
            read_timeout: Duration::from_secs(15),
            range_timeout: Duration::from_secs(300),
            attempts: 8,
            backoff_min: Duration::from_millis(50),
        }
    }
}

/// An error of S3.
#[derive(Clone, Debug, thiserror::Error)]
pub enum S3Error {
    /// The object or the bucket does not exist.
    #[error("{0} does not exist; check bucket and prefix")]
    Gone(S3Url),
    /// The object is another version now.
    #[error("{0} was replaced during the load: load the new version")]
    Replaced(S3Url),
    /// The object exceeds its size limit.
    #[error("{url} has {size} bytes: expected at most {limit}")]
    TooLarge {
        /// The object.
        url: S3Url,
        /// Its size in bytes.
        size: u64,
        /// The max size in bytes.
        limit: u64,
    },
    /// S3 is unavailable, too slow, or rejects the request. A later attempt may succeed.
    #[error("{url}: {cause}; try again, or check the region, the credentials and their rights")]
    Failed {
        /// The object.
        url: S3Url,
        /// The response of S3, or the reason why there is none.
        cause: String,
    },
}

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its URL.
    pub url: S3Url,
    /// Its size in bytes.
    pub size: u64,
    /// Its ETag, with its quotes.
    pub etag: String,
    /// The time of its last change, in seconds since 1970.
    pub modified: i64,
}

/// An S3 client.
#[derive(Clone, Debug)]
pub struct S3 {
    client: Client,
    policy: ReadPolicy,
}

impl S3 {
    /// Returns a client with the AWS SDK's usual configuration: `AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL`,
    /// `AWS_ACCESS_KEY_ID` and so on, or a role.
    pub async fn from_environment() -> Self {
        Self::load(aws_config::defaults(BehaviorVersion::v2026_01_12()), is_endpoint_set()).await
    }

    /// Returns a client for an S3-compatible server, with these credentials. Ignores the environment's endpoint.
    pub async fn with_endpoint(url: &str, key_id: &str, secret: &str) -> Self {
        let credentials = Credentials::new(key_id, secret, None, None, "given");
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).region(DEFAULT_REGION);
        Self::load(loader.endpoint_url(url).credentials_provider(credentials), true).await
    }

    async fn load(loader: ConfigLoader, has_endpoint: bool) -> Self {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let policy = ReadPolicy::default();
        let shared = loader
            .http_client(http)
            .timeout_config(timeouts(policy))
            // It mistakes a slow database, which makes the loader read slowly, for a slow server.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .load()
            .await;
        let region = shared.region().cloned().unwrap_or(DEFAULT_REGION);
        let config = aws_sdk_s3::config::Builder::from(&shared)
            .region(region)
            // An S3-compatible server has no host name for each bucket.
            .force_path_style(has_endpoint)
            // S3 has no checksum for a range.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        Self { client: Client::from_conf(config.build()), policy }
    }

    /// Returns the client with another read policy.
    #[must_use]
    pub fn with(&self, policy: ReadPolicy) -> Self {
        let config = self.client.config().to_builder().timeout_config(timeouts(policy));
        Self { client: Client::from_conf(config.build()), policy }
    }

    /// Returns the current version of an object.
    ///
    /// # Errors
    /// [`S3Error::Gone`] if it does not exist, or a failed request.
    pub async fn head(&self, url: &S3Url) -> Result<Object, S3Error> {
        let head = self.client.head_object().bucket(&url.bucket).key(&url.key).send().await;
        let head = head.map_err(|error| from_sdk_error(url, &error))?;
        Ok(Object {
            url: url.clone(),
            size: head.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            etag: head.e_tag().unwrap_or_default().to_owned(),
            modified: head.last_modified().map_or(0, aws_sdk_s3::primitives::DateTime::secs),
        })
    }

    /// Returns the bytes from `from` to `to`, exclusive, of this version of an object.
    ///
    /// # Errors
    /// A deleted or replaced object; any other error only after the limits of [`ReadPolicy`].
    pub async fn range(&self, object: &Object, from: u64, to: u64) -> Result<Bytes, S3Error> {
        let ReadPolicy { attempts: allowed, backoff_min, range_timeout, .. } = self.policy;
        let mut received = BytesMut::with_capacity(usize::try_from(to - from).unwrap_or(0));
        let mut failures = 0;
        let attempts = async {
            while from + (received.len() as u64) < to {
                let before = received.len();
                let Err(error) = self.attempt(object, from, to, &mut received).await else { continue };
                if matches!(error, S3Error::Gone(_) | S3Error::Replaced(_)) {
                    return Err(error);
                }
                failures = if received.len() > before { 1 } else { failures + 1 };
                if failures >= allowed {
                    return Err(error);
                }
                // Jitter: requests that failed together do not retry together.
                tokio::time::sleep((backoff_min * (1 << failures)).mul_f64(0.5 + fastrand::f64() / 2.0))
                    .await;
            }
            Ok(())
        };
        match tokio::time::timeout(range_timeout, attempts).await {
            Ok(done) => done?,
            Err(_) => {
                let cause = format!("{} bytes took over {} s", to - from, range_timeout.as_secs());
                return Err(S3Error::Failed { url: object.url.clone(), cause });
            }
        }
        Ok(received.freeze())
    }

    /// Requests the missing bytes and appends them to `received`.
    async fn attempt(
        &self,
        object: &Object,
        from: u64,
        to: u64,
        received: &mut BytesMut,
    ) -> Result<(), S3Error> {
        let read_timeout = self.policy.read_timeout;
        let failed = |cause: String| S3Error::Failed { url: object.url.clone(), cause };
        let range = format!("bytes={}-{}", from + received.len() as u64, to - 1);
        let request = self.client.get_object().bucket(&object.url.bucket).key(&object.url.key);
        let request = request.range(range).if_match(&object.etag).customize().config_override(
            // `range` retries; retries of the SDK would multiply them.
            aws_sdk_s3::config::Config::builder()
                .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled()),
        );
        let mut body = request.send().await.map_err(|error| from_sdk_error(&object.url, &error))?.body;
        loop {
            match tokio::time::timeout(read_timeout, body.try_next()).await {
                Ok(Ok(Some(bytes))) if from + (received.len() + bytes.len()) as u64 > to => {
                    return Err(failed("received more bytes than requested".to_owned()));
                }
                Ok(Ok(Some(bytes))) => received.extend_from_slice(&bytes),
                Ok(Ok(None)) if from + (received.len() as u64) < to => {
                    return Err(failed("received fewer bytes than requested".to_owned()));
                }
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(failed(shared::database::error_chain(&error))),
                Err(_) => return Err(failed(format!("received nothing for {} s", read_timeout.as_secs()))),
            }
        }
    }

    /// Returns a small object and its content; none if it does not exist.
    ///
    /// # Errors
    /// An object over `limit` bytes, or a failed request.
    pub async fn get_small(&self, url: &S3Url, limit: u64) -> Result<Option<(Object, Bytes)>, S3Error> {
        let object = match self.head(url).await {
            Err(S3Error::Gone(_)) => return Ok(None),
            other => other?,
        };
        if object.size > limit {
            return Err(S3Error::TooLarge { url: url.clone(), size: object.size, limit });
        }
        let content = self.range(&object, 0, object.size).await?;
        Ok(Some((object, content)))
    }

    /// Uploads a file.
    ///
    /// # Errors
    /// An unreadable file, or a failed request.
    pub async fn put_file(&self, url: &S3Url, path: &Path, content_type: &str) -> Result<(), S3Error> {
        let failed = |cause| S3Error::Failed { url: url.clone(), cause };
        let body = ByteStream::from_path(path)
            .await
            .map_err(|error| failed(shared::database::error_chain(&error)))?;
        let put = self.client.put_object().bucket(&url.bucket).key(&url.key);
        let sent = put.content_type(content_type).body(body).send().await;
        sent.map(drop).map_err(|error| from_sdk_error(url, &error))
    }
}

fn timeouts(policy: ReadPolicy) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(Duration::from_secs(5)).read_timeout(policy.read_timeout).build()
}

fn is_endpoint_set() -> bool {
    ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|url| !url.is_empty()))
}

/// Converts an error of the SDK.
fn from_sdk_error<E: ProvideErrorMetadata + std::error::Error + 'static>(
    url: &S3Url,
    error: &SdkError<E>,
) -> S3Error {
    match error.raw_response().map(|response| response.status().as_u16()) {
        Some(404) => S3Error::Gone(url.clone()),
        // 409 if the object is replaced during the request, 412 if before.
        Some(409 | 412) => S3Error::Replaced(url.clone()),
        status => {
            let refusal = error.as_service_error().and_then(|refusal| {
                let code = refusal.code()?;
                Some(
                    refusal.message().map_or_else(|| code.to_owned(), |message| format!("{code}: {message}")),
                )
            });
            let cause = refusal.unwrap_or_else(|| shared::database::error_chain(error));
            let status = status.map(|status| format!("S3 returned {status}, ")).unwrap_or_default();
            S3Error::Failed { url: url.clone(), cause: format!("{status}{cause}") }
        }
    }
}
