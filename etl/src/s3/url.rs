//! URLs of objects and prefixes.

use std::fmt;
use std::str::FromStr;

/// A URL of an object, `s3://bucket/key`, or of a prefix, `s3://bucket/prefix/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Url {
    /// The bucket's name.
    pub bucket: String,
    /// The key or the prefix, without a leading slash.
    pub key: String,
}

/// An invalid S3 URL.
#[derive(Debug, thiserror::Error)]
#[error("invalid S3 URL {0:?}: expected s3://bucket/prefix/")]
pub struct S3UrlError(String);

impl FromStr for S3Url {
    type Err = S3UrlError;

    fn from_str(text: &str) -> Result<Self, S3UrlError> {
        let rest = text.strip_prefix("s3://").ok_or_else(|| S3UrlError(text.to_owned()))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bucket.is_empty() || !bucket.chars().all(allowed) || key.starts_with('/') {
            return Err(S3UrlError(text.to_owned()));
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

impl fmt::Display for S3Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

impl S3Url {
    /// Returns the URL of `name` below this prefix.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let slash = if self.key.is_empty() || self.key.ends_with('/') { "" } else { "/" };
        Self { bucket: self.bucket.clone(), key: format!("{}{slash}{name}", self.key) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_bucket_and_a_key_or_prefix() {
        let url: S3Url = "s3://atelier-datasets/incoming/spring sale/".parse().unwrap();
        assert_eq!((url.bucket.as_str(), url.key.as_str()), ("atelier-datasets", "incoming/spring sale/"));
        assert_eq!(url.to_string(), "s3://atelier-datasets/incoming/spring sale/");
        assert_eq!("s3://bucket".parse::<S3Url>().unwrap().key, "");
        for wrong in
            ["", "s3://", "s3:///key", "https://bucket/key", "s3://a b/key", "s3://bucket//key", "data"]
        {
            assert!(wrong.parse::<S3Url>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_slash_separates_a_prefix_from_a_name() {
        for prefix in ["s3://bucket/incoming/spring", "s3://bucket/incoming/spring/"] {
            let url: S3Url = prefix.parse().unwrap();
            assert_eq!(url.join("photos.csv").to_string(), "s3://bucket/incoming/spring/photos.csv");
        }
        assert_eq!("s3://bucket".parse::<S3Url>().unwrap().join("a").to_string(), "s3://bucket/a");
    }
}
