//! Objects in S3: looked at, read range by range, and written.
//!
//! What is read belongs to one version of an object: every GET has its ETag in `If-Match`, and an object that was
//! replaced is an error rather than a mixture. A range that breaks off is asked for again from where it broke off, by
//! itself, so that a connection that was reset costs what was not received yet.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::config::{ResponseChecksumValidation, StalledStreamProtectionConfig};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls;
use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

/// Where neither the environment nor a profile names one; the SDK would sign nothing without.
const DEFAULT_REGION: Region = Region::from_static("us-east-1");

/// How objects are read, and how much is put up with. What is said of each is for S3 and a function in its region.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// How many bytes are asked for at a time: 8 MiB. With fewer, more of the time is spent on asking; more are more
    /// memory, and more to wait for where a read begins.
    pub range: u64,
    /// How many ranges are under way while one is being read: 3. Enough that the next is there when it is needed, and
    /// with two files at once some 100 MB of memory in the worst case.
    pub ranges_ahead: usize,
    /// How long nothing may be heard of a range before it is asked for again: 15 s. With less, a server that is only slow
    /// is asked for more.
    pub silence: Duration,
    /// How long a range may take in all, however often it is asked for: 300 s. Less than 30 KB/s is not worth waiting for.
    pub longest_range: Duration,
    /// How often in a row a range is asked for in vain: 8.
    pub attempts: u32,
    /// How long is waited before the second attempt: 50 ms. Twice as long before each that follows, so that all of them
    /// take some 10 s.
    pub first_pause: Duration,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            range: 8 << 20,
            ranges_ahead: 3,
            silence: Duration::from_secs(15),
            longest_range: Duration::from_secs(300),
            attempts: 8,
            first_pause: Duration::from_millis(50),
        }
    }
}

/// How much is asked for first beyond the end that was told; then twice as much each time.
const BEYOND_END: u64 = 64 << 10;

/// Why an object cannot be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum S3Error {
    /// There is no such object, or no such bucket.
    #[error("{0} does not exist")]
    Gone(Url),
    /// It is another version by now.
    #[error("{0} was replaced while it was read: the new one has to be loaded")]
    Replaced(Url),
    /// It has more bytes than are read of such an object.
    #[error("{url} has {size} bytes, and at most {limit} were expected")]
    TooLarge {
        /// What was wanted.
        url: Url,
        /// Its size in bytes.
        size: u64,
        /// How many it may have.
        limit: u64,
    },
    /// S3 cannot be reached, refuses, or is too slow. Later it may be otherwise.
    #[error("{url}: {cause}")]
    Failed {
        /// What was wanted.
        url: Url,
        /// What S3 said, or what kept it from saying anything.
        cause: String,
    },
}

/// Where something is in S3: `s3://bucket/key`, or `s3://bucket/prefix/` for all whose keys begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The bucket's name.
    pub bucket: String,
    /// The key, or what keys begin with; without a slash at its beginning.
    pub key: String,
}

/// What is no place in S3.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no place in S3: expected s3://bucket/prefix/")]
pub struct UrlError(String);

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix("s3://").ok_or_else(|| UrlError(text.to_owned()))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bucket.is_empty() || !bucket.chars().all(allowed) || key.starts_with('/') {
            return Err(UrlError(text.to_owned()));
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

impl Url {
    /// What is called `name` below this prefix.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let slash = if self.key.is_empty() || self.key.ends_with('/') { "" } else { "/" };
        Self { bucket: self.bucket.clone(), key: format!("{}{slash}{name}", self.key) }
    }
}

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Where it is.
    pub url: Url,
    /// Its size in bytes.
    pub size: u64,
    /// Its ETag, with its quotes.
    pub etag: String,
}

/// A connection to S3.
#[derive(Clone, Debug)]
pub struct S3 {
    client: Client,
    reading: Reading,
}

impl S3 {
    /// Configured as the AWS SDK is everywhere: `AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`
    /// and its like, or what a role gives.
    pub async fn from_environment() -> Self {
        Self::load(aws_config::defaults(BehaviorVersion::v2026_01_12()), is_endpoint_set()).await
    }

    /// A server that speaks S3's protocol at this URL, whatever the environment says. It takes these credentials.
    pub async fn of_server(url: &str, key_id: &str, secret: &str) -> Self {
        let credentials = Credentials::new(key_id, secret, None, None, "given");
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).region(DEFAULT_REGION);
        Self::load(loader.endpoint_url(url).credentials_provider(credentials), true).await
    }

    async fn load(loader: ConfigLoader, is_own_server: bool) -> Self {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let reading = Reading::default();
        let shared = loader
            .http_client(http)
            .timeout_config(timeouts(reading))
            // It takes a database that is slow to take rows for a server that is slow to send them.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .load()
            .await;
        let region = shared.region().cloned().unwrap_or(DEFAULT_REGION);
        let config = aws_sdk_s3::config::Builder::from(&shared)
            .region(region)
            // A server of one's own has no name for each bucket.
            .force_path_style(is_own_server)
            // There is none for a range.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        Self { client: Client::from_conf(config.build()), reading }
    }

    /// The same, read otherwise.
    #[must_use]
    pub fn with(&self, reading: Reading) -> Self {
        let config = self.client.config().to_builder().timeout_config(timeouts(reading));
        Self { client: Client::from_conf(config.build()), reading }
    }

    /// What is at a place now.
    ///
    /// # Errors
    /// [`S3Error::Gone`] if nothing is, or that S3 could not be asked.
    pub async fn look_at(&self, url: &Url) -> Result<Object, S3Error> {
        let head = self.client.head_object().bucket(&url.bucket).key(&url.key).send().await;
        let head = head.map_err(|error| of_sdk(url, &error))?;
        Ok(Object {
            url: url.clone(),
            size: head.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            etag: head.e_tag().unwrap_or_default().to_owned(),
        })
    }

    /// Bytes `from` to before `to` of this version of an object.
    ///
    /// # Errors
    /// That it is gone or replaced; any other after as many attempts as [`Reading`] has, or as long.
    pub async fn range(&self, object: &Object, from: u64, to: u64) -> Result<Bytes, S3Error> {
        let Reading { attempts: allowed, first_pause, longest_range, .. } = self.reading;
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
                // Not all that were refused at once come back at once.
                tokio::time::sleep((first_pause * (1 << failures)).mul_f64(0.5 + fastrand::f64() / 2.0))
                    .await;
            }
            Ok(())
        };
        match tokio::time::timeout(longest_range, attempts).await {
            Ok(done) => done?,
            Err(_) => {
                let cause = format!("took more than {} s for {} bytes", longest_range.as_secs(), to - from);
                return Err(S3Error::Failed { url: object.url.clone(), cause });
            }
        }
        Ok(received.freeze())
    }

    /// Asks for what was not received yet, and keeps what comes.
    async fn attempt(
        &self,
        object: &Object,
        from: u64,
        to: u64,
        received: &mut BytesMut,
    ) -> Result<(), S3Error> {
        let silence = self.reading.silence;
        let failed = |cause: String| S3Error::Failed { url: object.url.clone(), cause };
        let range = format!("bytes={}-{}", from + received.len() as u64, to - 1);
        let request = self.client.get_object().bucket(&object.url.bucket).key(&object.url.key);
        let request = request.range(range).if_match(&object.etag).customize().config_override(
            // This is the loop that tries again; another within it would only make more of the same.
            aws_sdk_s3::config::Config::builder()
                .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled()),
        );
        let mut body = request.send().await.map_err(|error| of_sdk(&object.url, &error))?.body;
        loop {
            match tokio::time::timeout(silence, body.try_next()).await {
                Ok(Ok(Some(bytes))) if from + (received.len() + bytes.len()) as u64 > to => {
                    return Err(failed("more bytes came than were asked for".to_owned()));
                }
                Ok(Ok(Some(bytes))) => received.extend_from_slice(&bytes),
                Ok(Ok(None)) if from + (received.len() as u64) < to => {
                    return Err(failed("fewer bytes came than were asked for".to_owned()));
                }
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(failed(shared::database::error_chain(&error))),
                Err(_) => return Err(failed(format!("nothing came for {} s", silence.as_secs()))),
            }
        }
    }

    /// A small object; none if there is none.
    ///
    /// # Errors
    /// One of more than `limit` bytes, or that S3 could not be asked.
    pub async fn small(&self, url: &Url, limit: u64) -> Result<Option<Bytes>, S3Error> {
        let object = match self.look_at(url).await {
            Err(S3Error::Gone(_)) => return Ok(None),
            other => other?,
        };
        if object.size > limit {
            return Err(S3Error::TooLarge { url: url.clone(), size: object.size, limit });
        }
        self.range(&object, 0, object.size).await.map(Some)
    }

    /// Writes a file to a place.
    ///
    /// # Errors
    /// That the file cannot be read, or S3 does not take it.
    pub async fn put_file(&self, url: &Url, path: &Path, content_type: &str) -> Result<(), S3Error> {
        let failed = |cause| S3Error::Failed { url: url.clone(), cause };
        let body = ByteStream::from_path(path)
            .await
            .map_err(|error| failed(shared::database::error_chain(&error)))?;
        let put = self.client.put_object().bucket(&url.bucket).key(&url.key);
        let sent = put.content_type(content_type).body(body).send().await;
        sent.map(drop).map_err(|error| of_sdk(url, &error))
    }

    /// Reads a version of an object from `offset` on. Nothing from `end` on is asked for before all else is read. Within
    /// a runtime, from a thread that may wait. If nothing has come by `until`, reading times out.
    pub fn read_from(&self, object: &Object, offset: u64, end: u64, until: Option<Instant>) -> ObjectReader {
        ObjectReader {
            s3: self.clone(),
            object: object.clone(),
            runtime: Handle::current(),
            until,
            asked_to: offset,
            end: end.min(object.size),
            beyond: BEYOND_END,
            under_way: VecDeque::new(),
            pending: Bytes::new(),
        }
    }
}

fn timeouts(reading: Reading) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(Duration::from_secs(5)).read_timeout(reading.silence).build()
}

fn is_endpoint_set() -> bool {
    ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|url| !url.is_empty()))
}

/// What went wrong with a request, as far as it matters here.
fn of_sdk<E: ProvideErrorMetadata + std::error::Error + 'static>(url: &Url, error: &SdkError<E>) -> S3Error {
    match error.raw_response().map(|response| response.status().as_u16()) {
        Some(404) => S3Error::Gone(url.clone()),
        // Which of the two depends on whether it was written while this was asked for.
        Some(409 | 412) => S3Error::Replaced(url.clone()),
        status => {
            let said = error.as_service_error().and_then(|refusal| {
                let code = refusal.code()?;
                Some(
                    refusal.message().map_or_else(|| code.to_owned(), |message| format!("{code}: {message}")),
                )
            });
            let cause = said.unwrap_or_else(|| shared::database::error_chain(error));
            let status = status.map(|status| format!("S3 answers {status}, ")).unwrap_or_default();
            S3Error::Failed { url: url.clone(), cause: format!("{status}{cause}") }
        }
    }
}

/// Reads an object in order, with some ranges ahead under way. Its errors hold an [`S3Error`], but for the one that says
/// that time is up.
pub struct ObjectReader {
    s3: S3,
    object: Object,
    runtime: Handle,
    until: Option<Instant>,
    asked_to: u64,
    end: u64,
    beyond: u64,
    under_way: VecDeque<JoinHandle<Result<Bytes, S3Error>>>,
    pending: Bytes,
}

impl ObjectReader {
    fn ask_ahead(&mut self) {
        let Reading { range, ranges_ahead, .. } = self.s3.reading;
        while self.under_way.len() < ranges_ahead && self.asked_to < self.end {
            let (from, to) = (self.asked_to, (self.asked_to + range).min(self.end));
            let (s3, object) = (self.s3.clone(), self.object.clone());
            self.under_way.push_back(self.runtime.spawn(async move { s3.range(&object, from, to).await }));
            self.asked_to = to;
        }
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.pending.is_empty() {
            if self.under_way.is_empty() && self.asked_to == self.end {
                // Whoever asked for less than there is wants little more: the end of a line.
                self.end = self.end.saturating_add(self.beyond).min(self.object.size);
                self.beyond = self.beyond.saturating_mul(2);
            }
            self.ask_ahead();
            let Some(next) = self.under_way.pop_front() else { return Ok(0) };
            // Asked for again only when the one before it is used up: what is held is these and one.
            let received = match self.until {
                Some(until) => self.runtime.block_on(async { timeout_at(until.into(), next).await })?,
                None => self.runtime.block_on(next),
            };
            let received = received.map_err(io::Error::other)?;
            self.pending = received.map_err(io::Error::other)?;
        }
        let length = self.pending.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.pending.split_to(length));
        Ok(length)
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        self.under_way.iter().for_each(JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_and_a_key_or_prefix() {
        let url: Url = "s3://atelier-datasets/incoming/spring sale/".parse().unwrap();
        assert_eq!((url.bucket.as_str(), url.key.as_str()), ("atelier-datasets", "incoming/spring sale/"));
        assert_eq!(url.to_string(), "s3://atelier-datasets/incoming/spring sale/");
        assert_eq!("s3://bucket".parse::<Url>().unwrap().key, "");
        for wrong in
            ["", "s3://", "s3:///key", "https://bucket/key", "s3://a b/key", "s3://bucket//key", "data"]
        {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_below_a_prefix_is_parted_from_it_by_one_slash() {
        for prefix in ["s3://bucket/incoming/spring", "s3://bucket/incoming/spring/"] {
            let url: Url = prefix.parse().unwrap();
            assert_eq!(url.join("photos.csv").to_string(), "s3://bucket/incoming/spring/photos.csv");
        }
        assert_eq!("s3://bucket".parse::<Url>().unwrap().join("a").to_string(), "s3://bucket/a");
    }
}
