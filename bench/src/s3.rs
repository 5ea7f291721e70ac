//! A stand-in for S3 that is fast enough to benchmark a loader. It serves a folder's files as the objects of a bucket.
//!
//! It supports the requests of the loader: GET with `Range` and `If-Match`, HEAD, ListObjectsV2 by prefix, and PUT,
//! which stores objects in memory. It checks no signatures, and all bucket names mean the same bucket. An `ETag`
//! consists of a file's size and modification time. Each request opens its file and reads it in large chunks, on the
//! thread that sends them: a newly generated dataset is in the page cache.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use local::program;
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;

use crate::bench_env::{BenchEnv, cpu_seconds};
use crate::server::{Server, ask};

/// The size of a read, small enough to stay in a processor's cache until it is sent.
const CHUNK_BYTES: u64 = 256 * 1024;

/// The stand-in as a process. It serves the generated files as a dataset.
pub(crate) struct StandIn {
    server: Server,
    pid: u32,
}

impl StandIn {
    pub(crate) async fn start(env: &BenchEnv) -> Result<Self> {
        let root = env.directory("bucket")?;
        let link = env.directory("bucket/incoming")?.join("bench");
        std::os::unix::fs::symlink(env.files(), link).context("cannot link the dataset into the bucket")?;
        let mut command = Command::new(program("atelier-bench")?);
        command.args(["s3", "--dir"]).arg(&root);
        let server = Server::start(command).await?;
        let pid = String::from_utf8(ask(server.listen, "/readyz", "identity").await?)?;
        Ok(Self { server, pid: pid.parse().context("the stand-in for S3 did not return its process id")? })
    }

    /// Returns the S3 URL of the dataset.
    pub(crate) fn url(&self) -> &'static str {
        "s3://bench/incoming/bench/"
    }

    /// Returns the variables that make the loader use it as S3.
    pub(crate) fn variables(&self) -> [(&'static str, OsString); 4] {
        conformance::s3::variables(self.server.listen)
    }

    /// Returns its processor time in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(self.pid).context("/proc does not show the processor time of the stand-in for S3")
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.server.stop().await
    }
}

type S3Response = Response<BoxBody<Bytes, io::Error>>;

struct Bucket {
    directory: PathBuf,
    /// Objects from PUT requests, by key. They take precedence over files.
    objects: Mutex<BTreeMap<String, Bytes>>,
}

/// Serves until the process ends.
pub(crate) async fn serve(listen: SocketAddr, directory: PathBuf) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    serve_on(listener, directory).await
}

async fn serve_on(listener: TcpListener, directory: PathBuf) -> Result<()> {
    let bucket = Arc::new(Bucket { directory, objects: Mutex::default() });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let bucket = Arc::clone(&bucket);
        let service = service_fn(move |request| {
            let bucket = Arc::clone(&bucket);
            async move {
                Ok::<_, Infallible>(
                    bucket.respond(request).await.unwrap_or_else(|error| internal_error(&error)),
                )
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn internal_error(error: &anyhow::Error) -> S3Response {
    eprintln!("atelier-bench s3: {error:#}");
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

impl Bucket {
    async fn respond(&self, request: Request<Incoming>) -> Result<S3Response> {
        let path = request.uri().path();
        if path == "/readyz" {
            return Ok(Response::new(full(std::process::id().to_string())));
        }
        let key = path.trim_start_matches('/').split_once('/').map_or("", |(_bucket, key)| key);
        let key = percent_decode_str(key).decode_utf8()?.into_owned();
        match (request.method(), key.is_empty()) {
            (&Method::GET, true) => self.list(request.uri().query().unwrap_or_default()),
            (&Method::GET | &Method::HEAD, false) => self.get(&request, &key),
            (&Method::PUT, false) => self.put(request, key).await,
            _ => error_response(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    fn list(&self, query: &str) -> Result<S3Response> {
        let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
        let prefix = prefix.replace('+', " ");
        let prefix = percent_decode_str(&prefix).decode_utf8()?;
        let mut objects = BTreeMap::new();
        collect(&self.directory, "", &prefix, &mut objects)?;
        for (key, content) in self.stored().iter().filter(|(key, _)| key.starts_with(&*prefix)) {
            objects.insert(key.clone(), (content.len() as u64, put_etag(content)));
        }
        let mut listing = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bench</Name>\
             <Prefix>{}</Prefix><KeyCount>{}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>",
            escaped(&prefix),
            objects.len()
        );
        for (key, (size, etag)) in objects {
            listing += &format!(
                "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>{}</ETag>\
                 <Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                escaped(&key),
                escaped(&etag)
            );
        }
        listing += "</ListBucketResult>";
        Ok(Response::builder().header(CONTENT_TYPE, "application/xml").body(full(listing))?)
    }

    fn get(&self, request: &Request<Incoming>, key: &str) -> Result<S3Response> {
        let put = self.stored().get(key).cloned();
        let file = if put.is_some() { None } else { open(&self.directory, key)? };
        let (size, etag) = match (&put, &file) {
            (Some(content), _) => (content.len() as u64, put_etag(content)),
            (None, Some((_, found))) => (found.len(), file_etag(found)),
            (None, None) => return error_response(StatusCode::NOT_FOUND, "NoSuchKey"),
        };
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        if header(IF_MATCH)
            .is_some_and(|wanted| wanted != "*" && wanted != etag && wanted != etag.trim_matches('"'))
        {
            return error_response(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        let response = Response::builder().header(ETAG, etag).header("accept-ranges", "bytes");
        let mut response = response.header(CONTENT_TYPE, "binary/octet-stream");
        let (first, end) = match header(RANGE) {
            None => (0, size),
            Some(range) => {
                let Some((first, end)) = parse_range(range, size) else {
                    return error_response(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
                };
                let range = format!("bytes {first}-{}/{size}", end - 1);
                response = response.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, range);
                (first, end)
            }
        };
        let body = match (put, file) {
            _ if request.method() == Method::HEAD => empty(),
            (Some(content), _) => full(content.slice(usize::try_from(first)?..usize::try_from(end)?)),
            (None, Some((mut file, _))) => {
                file.seek(SeekFrom::Start(first))?;
                Part { file, left: end - first }.boxed()
            }
            (None, None) => empty(),
        };
        Ok(response.header(CONTENT_LENGTH, end - first).body(body)?)
    }

    async fn put(&self, request: Request<Incoming>, key: String) -> Result<S3Response> {
        let content = request.into_body().collect().await?.to_bytes();
        let etag = put_etag(&content);
        self.stored().insert(key, content);
        Ok(Response::builder().header(ETAG, etag).body(empty())?)
    }

    fn stored(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the file of a key, if it exists.
fn open(directory: &Path, key: &str) -> Result<Option<(File, Metadata)>> {
    let within = Path::new(key).components().all(|component| matches!(component, Component::Normal(_)));
    if !within || key.ends_with('/') {
        return Ok(None);
    }
    match File::open(directory.join(key)) {
        Ok(file) => {
            let found = file.metadata()?;
            Ok(found.is_file().then_some((file, found)))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("cannot open {key}")),
    }
}

/// Collects the files whose keys begin with the prefix, with their sizes and tags.
fn collect(
    directory: &Path,
    path: &str,
    prefix: &str,
    objects: &mut BTreeMap<String, (u64, String)>,
) -> Result<()> {
    for entry in directory.join(path).read_dir()? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let key = format!("{path}{name}");
        let found = std::fs::metadata(directory.join(&key))?;
        let below = format!("{key}/");
        if found.is_dir() && (below.starts_with(prefix) || prefix.starts_with(&below)) {
            collect(directory, &below, prefix, objects)?;
        } else if found.is_file() && key.starts_with(prefix) {
            objects.insert(key, (found.len(), file_etag(&found)));
        }
    }
    Ok(())
}

fn file_etag(found: &Metadata) -> String {
    format!("\"{:x}-{:x}-{:x}\"", found.len(), found.mtime(), found.mtime_nsec())
}

/// Returns a tag of the size only, because no client reads these objects with `If-Match`.
fn put_etag(content: &Bytes) -> String {
    format!("\"{:x}\"", content.len())
}

/// Returns the first byte of a range and the byte after its last one, limited to `size`; none if it is empty or
/// invalid.
fn parse_range(range: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, end) = match (first, last) {
        ("", last) => (size.saturating_sub(last.parse().ok()?), size),
        (first, "") => (first.parse().ok()?, size),
        (first, last) => (first.parse().ok()?, last.parse::<u64>().ok()?.saturating_add(1).min(size)),
    };
    (first < end).then_some((first, end))
}

fn error_response(status: StatusCode, code: &str) -> Result<S3Response> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{status}</Message></Error>"
    );
    Ok(Response::builder().status(status).header(CONTENT_TYPE, "application/xml").body(full(body))?)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn full(content: impl Into<Bytes>) -> BoxBody<Bytes, io::Error> {
    Full::new(content.into()).map_err(|never| match never {}).boxed()
}

fn empty() -> BoxBody<Bytes, io::Error> {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A part of a file, read as it is sent.
struct Part {
    file: File,
    left: u64,
}

impl Body for Part {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = self.left.min(CHUNK_BYTES);
        let mut piece = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        let read = (&self.file).take(length).read_to_end(&mut piece);
        self.left -= length;
        Poll::Ready(Some(match read {
            Ok(read) if read as u64 == length => Ok(Frame::data(piece.into())),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(error),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conformance::s3::send;

    const KEY: &str = "/bench/incoming/bench/a%20b.csv";

    /// A folder with a file of more than one piece, served.
    async fn served() -> (tempfile::TempDir, SocketAddr, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let folder = directory.path().join("set");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a b.csv"), &content).unwrap();
        std::fs::write(directory.path().join("secret"), "no").unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("incoming")).unwrap();
        std::os::unix::fs::symlink(&folder, root.join("incoming/bench")).unwrap();
        std::fs::write(root.join("incoming/bench.txt"), "").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_on(listener, root));
        (directory, address, content)
    }

    async fn request(
        server: SocketAddr,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(server, request.body(Bytes::new()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_range_request_returns_that_part_of_the_requested_version() {
        let (directory, server, content) = served().await;
        let all = request(server, Method::GET, KEY, &[]).await;
        assert_eq!((all.status(), all.body()), (StatusCode::OK, &Bytes::from(content.clone())));
        let etag = all.headers()[ETAG].to_str().unwrap().to_owned();
        for (range, first, end) in [
            ("bytes=0-0", 0, 1),
            ("bytes=300000-700000", 300_000, 700_001),
            ("bytes=799999-900000", 799_999, 800_000),
        ] {
            let part = request(server, Method::GET, KEY, &[("range", range), ("if-match", &etag)]).await;
            assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
            assert_eq!(part.headers()[CONTENT_RANGE], format!("bytes {first}-{}/800000", end - 1).as_str());
            assert_eq!(part.body(), &content[first..end]);
        }
        let beyond = request(server, Method::GET, KEY, &[("range", "bytes=800000-")]).await;
        assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        std::fs::write(directory.path().join("set/a b.csv"), "another").unwrap();
        let replaced =
            request(server, Method::GET, KEY, &[("range", "bytes=0-0"), ("if-match", &etag)]).await;
        assert_eq!(replaced.status(), StatusCode::PRECONDITION_FAILED);
        assert!(str::from_utf8(replaced.body()).unwrap().contains("<Code>PreconditionFailed</Code>"));
    }

    #[tokio::test]
    async fn head_returns_the_headers_of_get() {
        let (_directory, server, _) = served().await;
        let head = request(server, Method::HEAD, KEY, &[]).await;
        assert_eq!(
            (head.status(), head.headers()[CONTENT_LENGTH].to_str().unwrap()),
            (StatusCode::OK, "800000")
        );
        assert_eq!(head.headers()[ETAG], request(server, Method::GET, KEY, &[]).await.headers()[ETAG]);
    }

    #[tokio::test]
    async fn a_missing_object_returns_the_404_of_s3() {
        let (_directory, server, _) = served().await;
        for path in [
            "/bench/none",
            "/bench/incoming",
            "/bench/incoming/",
            "/bench/..%2Fsecret",
            "/bench/incoming/bench.txt/x",
        ] {
            let none = request(server, Method::GET, path, &[]).await;
            assert_eq!(none.status(), StatusCode::NOT_FOUND, "{path}");
            assert!(str::from_utf8(none.body()).unwrap().contains("<Code>NoSuchKey</Code>"));
        }
    }

    #[tokio::test]
    async fn a_listing_contains_files_and_stored_objects_with_the_prefix() {
        let (_directory, server, _) = served().await;
        let put = Request::put("/bench/incoming/bench/%3Cz%3E").body(Bytes::from("put")).unwrap();
        assert_eq!(send(server, put).await.unwrap().status(), StatusCode::OK);
        assert_eq!(request(server, Method::GET, "/bench/incoming/bench/%3Cz%3E", &[]).await.body(), "put");
        let keys = async |prefix: &str| {
            let listing =
                request(server, Method::GET, &format!("/bench?list-type=2&prefix={prefix}"), &[]).await;
            let listing = String::from_utf8(listing.body().to_vec()).unwrap();
            let entries = listing.split("<Key>").skip(1);
            entries.map(|entry| entry.split_once('<').unwrap().0.to_owned()).collect::<Vec<_>>()
        };
        let dataset = ["incoming/bench/&lt;z&gt;", "incoming/bench/a b.csv"];
        assert_eq!(keys("incoming%2Fbench%2F").await, dataset);
        assert_eq!(keys("incoming/bench/a").await, dataset[1..]);
        assert_eq!(keys("incoming/bench").await, ["incoming/bench.txt", dataset[0], dataset[1]]);
        assert!(keys("outgoing/").await.is_empty());
    }

    #[test]
    fn ranges_are_parsed_as_in_http() {
        for (range, expected) in [
            ("bytes=0-9", Some((0, 10))),
            ("bytes=90-", Some((90, 100))),
            ("bytes=-5", Some((95, 100))),
            ("bytes=-500", Some((0, 100))),
            ("bytes=50-18446744073709551615", Some((50, 100))),
            ("bytes=100-", None),
            ("bytes=9-8", None),
            ("bytes=a-b", None),
            ("lines=0-9", None),
        ] {
            assert_eq!(parse_range(range, 100), expected, "{range}");
        }
        assert_eq!(parse_range("bytes=0-0", 0), None);
    }
}
