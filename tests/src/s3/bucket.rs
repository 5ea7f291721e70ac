//! A bucket for one test, and the test's operations on it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{REGION, moto, send, variables};

/// The characters that are not percent-encoded, besides letters and digits.
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A bucket in this process's moto server. It is lost when the process exits.
#[derive(Clone, Debug)]
pub struct Bucket {
    server: SocketAddr,
    name: String,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The key.
    pub key: String,
    /// The size, in bytes.
    pub size: u64,
    /// The ETag, in quotes.
    pub etag: String,
}

impl Bucket {
    /// Creates an empty bucket with a unique name. The first call starts moto.
    pub async fn create() -> Self {
        Self::named(&format!("test-{:016x}", fastrand::u64(..))).await
    }

    /// Creates an empty bucket with this name, which only one test of a process may use.
    pub async fn named(name: &str) -> Self {
        let bucket = Self { server: moto::address().await, name: name.to_owned() };
        let body = format!(
            "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        );
        let made = bucket.send(Method::PUT, &format!("/{}", bucket.name), body).await;
        assert_eq!(made.status(), StatusCode::OK, "{made:?}");
        bucket
    }

    /// Returns the bucket's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address of the bucket's server.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Returns the variables that point programs with the AWS SDK at the bucket's server.
    pub fn variables(&self) -> [(&'static str, OsString); 4] {
        variables(self.server)
    }

    /// Returns `s3://<bucket>/<key>`.
    pub fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    /// Returns the path of an object in a request.
    pub fn path(&self, key: &str) -> String {
        format!("/{}/{}", self.name, utf8_percent_encode(key, KEY))
    }

    /// Creates or replaces an object, and returns its ETag, in quotes.
    pub async fn put(&self, key: &str, content: impl Into<Bytes>) -> String {
        let response = self.send(Method::PUT, &self.path(key), content).await;
        assert_eq!(response.status(), StatusCode::OK, "{key}: {response:?}");
        etag(&response)
    }

    /// Creates or replaces an object with the content of a file, and returns its ETag, in quotes.
    pub async fn put_file(&self, key: &str, file: &Path) -> String {
        let content = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.put(key, content).await
    }

    /// Uploads every file of a folder, in the order of their names. A key is `prefix` and the file's name.
    pub async fn put_folder(&self, prefix: &str, folder: &Path) {
        let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<_> =
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
        files.sort();
        for file in files {
            self.put_file(&format!("{prefix}{}", file.file_name().unwrap().to_str().unwrap()), &file).await;
        }
    }

    /// Returns the content of an object, if it exists.
    pub async fn get(&self, key: &str) -> Option<Bytes> {
        found(self.send(Method::GET, &self.path(key), Bytes::new()).await).map(Response::into_body)
    }

    /// Returns the ETag of an object, in quotes, if it exists.
    pub async fn etag(&self, key: &str) -> Option<String> {
        found(self.send(Method::HEAD, &self.path(key), Bytes::new()).await).as_ref().map(etag)
    }

    /// Deletes an object, whether or not it exists.
    pub async fn delete(&self, key: &str) {
        let response = self.send(Method::DELETE, &self.path(key), Bytes::new()).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT, "{key}: {response:?}");
    }

    /// Returns the objects whose keys start with `prefix`, in the order of their keys. Panics if there are more than
    /// 1000.
    pub async fn list(&self, prefix: &str) -> Vec<Object> {
        let prefix = utf8_percent_encode(prefix, NON_ALPHANUMERIC);
        let path = format!("/{}?list-type=2&prefix={prefix}", self.name);
        let response = self.send(Method::GET, &path, Bytes::new()).await;
        assert_eq!(response.status(), StatusCode::OK, "{response:?}");
        let listing = str::from_utf8(response.body()).unwrap();
        assert!(!listing.contains("<IsTruncated>true"), "more objects than fit into one listing");
        let entries = listing.split("<Contents>").skip(1);
        entries
            .map(|entry| Object {
                key: element(entry, "Key"),
                size: element(entry, "Size").parse().unwrap(),
                etag: element(entry, "ETag"),
            })
            .collect()
    }

    async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Response<Bytes> {
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        send(self.server, request).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

fn found(response: Response<Bytes>) -> Option<Response<Bytes>> {
    match response.status() {
        StatusCode::NOT_FOUND => None,
        StatusCode::OK => Some(response),
        _ => panic!("{response:?}"),
    }
}

fn etag(response: &Response<Bytes>) -> String {
    response.headers()["etag"].to_str().unwrap().to_owned()
}

/// Returns the text of the first element of this name.
fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}"));
    let text = rest.split_once('<').map_or(rest, |(text, _)| text);
    let text = text.replace("&quot;", "\"").replace("&apos;", "'").replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&amp;", "&")
}
