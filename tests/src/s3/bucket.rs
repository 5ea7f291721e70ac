//! A bucket of one test's own, and what a test does to it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{REGION, moto, send, variables};

/// What a key keeps as it is in a path.
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A bucket in this process's moto. It goes with the process.
#[derive(Clone, Debug)]
pub struct Bucket {
    server: SocketAddr,
    name: String,
}

/// An object as a listing has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its size, in bytes.
    pub size: u64,
    /// Its ETag, in quotes.
    pub etag: String,
}

impl Bucket {
    /// Makes an empty one, and starts moto if this is the first.
    pub async fn create() -> Self {
        Self::named(&format!("test-{:016x}", fastrand::u64(..))).await
    }

    /// The same, with a name that is given: one test of a process can have it.
    pub async fn named(name: &str) -> Self {
        let bucket = Self { server: moto::address().await, name: name.to_owned() };
        let body = format!(
            "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        );
        let made = bucket.ask(Method::PUT, &format!("/{}", bucket.name), body).await;
        assert_eq!(made.status(), StatusCode::OK, "{made:?}");
        bucket
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server that it is in.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// With these a program of the AWS SDK finds it.
    pub fn variables(&self) -> [(&'static str, OsString); 4] {
        variables(self.server)
    }

    /// `s3://<bucket>/<key>`.
    pub fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    /// The path of an object in a request.
    pub fn path(&self, key: &str) -> String {
        format!("/{}/{}", self.name, utf8_percent_encode(key, KEY))
    }

    /// Makes or replaces an object, and answers with its ETag, which is in quotes.
    pub async fn put(&self, key: &str, content: impl Into<Bytes>) -> String {
        let answer = self.ask(Method::PUT, &self.path(key), content).await;
        assert_eq!(answer.status(), StatusCode::OK, "{key}: {answer:?}");
        etag(&answer)
    }

    /// The same with a file's content.
    pub async fn put_file(&self, key: &str, file: &Path) -> String {
        let content = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.put(key, content).await
    }

    /// Puts every file of a folder, in the order of their names; keys are `prefix` and the file's name.
    pub async fn put_folder(&self, prefix: &str, folder: &Path) {
        let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<_> =
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
        files.sort();
        for file in files {
            self.put_file(&format!("{prefix}{}", file.file_name().unwrap().to_str().unwrap()), &file).await;
        }
    }

    /// The content of an object, if there is one.
    pub async fn get(&self, key: &str) -> Option<Bytes> {
        found(self.ask(Method::GET, &self.path(key), Bytes::new()).await).map(Response::into_body)
    }

    /// The ETag of an object, if there is one; in quotes.
    pub async fn etag(&self, key: &str) -> Option<String> {
        found(self.ask(Method::HEAD, &self.path(key), Bytes::new()).await).as_ref().map(etag)
    }

    /// Removes an object, whether there is one or not.
    pub async fn delete(&self, key: &str) {
        let answer = self.ask(Method::DELETE, &self.path(key), Bytes::new()).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{key}: {answer:?}");
    }

    /// The objects whose keys begin with this, a thousand at most, in the order of their keys.
    pub async fn list(&self, prefix: &str) -> Vec<Object> {
        let prefix = utf8_percent_encode(prefix, NON_ALPHANUMERIC);
        let path = format!("/{}?list-type=2&prefix={prefix}", self.name);
        let answer = self.ask(Method::GET, &path, Bytes::new()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{answer:?}");
        let listing = str::from_utf8(answer.body()).unwrap();
        assert!(!listing.contains("<IsTruncated>true"), "there are more than fit into one listing");
        let entries = listing.split("<Contents>").skip(1);
        entries
            .map(|entry| Object {
                key: element(entry, "Key"),
                size: element(entry, "Size").parse().unwrap(),
                etag: element(entry, "ETag"),
            })
            .collect()
    }

    async fn ask(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Response<Bytes> {
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        send(self.server, request).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

fn found(answer: Response<Bytes>) -> Option<Response<Bytes>> {
    match answer.status() {
        StatusCode::NOT_FOUND => None,
        StatusCode::OK => Some(answer),
        _ => panic!("{answer:?}"),
    }
}

fn etag(answer: &Response<Bytes>) -> String {
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

/// The text of the first element of this name.
fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}"));
    let text = rest.split_once('<').map_or(rest, |(text, _)| text);
    let text = text.replace("&quot;", "\"").replace("&apos;", "'").replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&amp;", "&")
}
