//! Requests that HTTP libraries reject by themselves. Every transport returns the same status, and a problem with the
//! guarantees for every response.

use std::borrow::Cow;

use bytes::Bytes;
use http::Request;

use crate::{CheckedResponse, Transport, send};

/// The target of a request as bytes that [`http::Uri`] would reject.
#[derive(Debug, Clone)]
pub struct RawTarget(pub Bytes);

impl RawTarget {
    /// Returns the path and the query of a request, as the transport must send them.
    pub fn of(request: &Request<Bytes>) -> (Cow<'_, str>, Cow<'_, str>) {
        let Some(Self(target)) = request.extensions().get() else {
            return (request.uri().path().into(), request.uri().query().unwrap_or_default().into());
        };
        let mut parts = target.splitn(2, |byte| *byte == b'?');
        let mut part = || String::from_utf8_lossy(parts.next().unwrap_or_default());
        (part(), part())
    }
}

async fn get_raw(service: &impl Transport, target: &[u8]) -> CheckedResponse {
    let mut request = Request::new(Bytes::new());
    request.extensions_mut().insert(RawTarget(Bytes::copy_from_slice(target)));
    send(service, request).await
}

/// Other clients encode such characters. Unknown parameters are ignored.
pub async fn a_query_with_characters_invalid_in_a_uri_is_accepted(service: &impl Transport) {
    for query in [
        &b"count=1&x=\"a\""[..],
        b"x=<&count=1",
        b"x=>&count=1",
        b"count=1&x=`{|}\\^",
        b"count=1&caf\xe9",
        b"caf\xc3\xa9=\"\"&count=1",
        b"\"&count=1&\"",
    ] {
        let target = [b"/products?", query].concat();
        let response = get_raw(service, &target).await;
        let what = String::from_utf8_lossy(&target).into_owned();
        assert_eq!((response.status.as_u16(), response.header("x-total-count")), (200, "7"), "{what}");
        assert!(response.text().starts_with(r#"[{"id":1,"#), "{what}: {}", response.text());
    }
    assert_eq!(get_raw(service, b"/products?count=\"1\"").await.status, 400);
    assert_eq!(get_raw(service, b"/products?page=<1>").await.status, 400);
}

/// Such characters are invalid in an id, and elsewhere they make an unknown path.
pub async fn a_path_with_characters_invalid_in_a_uri_is_400_or_404(service: &impl Transport) {
    for path in [
        &b"/products/1`"[..],
        b"/products/\"1\"",
        b"/products/<1>/styles",
        b"/products/\xe9",
        b"/products/1\xff/",
    ] {
        assert_eq!(get_raw(service, path).await.status, 400, "{}", String::from_utf8_lossy(path));
    }
    for path in [&b"/pro`ducts"[..], b"/products/1/<styles>", b"/caf\xe9", b"/products/1/styles\""] {
        assert_eq!(get_raw(service, path).await.status, 404, "{}", String::from_utf8_lossy(path));
    }
}

/// The limit excludes headers that proxies add, change or remove. A further character that hyper rejects does not
/// change the status.
pub async fn more_than_100_headers_are_431(service: &impl Transport) {
    for (headers, expected) in [(97, 200), (100, 200), (101, 431), (150, 431)] {
        let mut request = (0..headers).fold(Request::new(Bytes::new()), |mut request, n| {
            let name = http::HeaderName::try_from(format!("x-{n}")).unwrap();
            request.headers_mut().insert(name, http::HeaderValue::from_static("1"));
            request
        });
        request.extensions_mut().insert(RawTarget(Bytes::from_static(b"/products?count=1&x=\"a\"")));
        assert_eq!(send(service, request).await.status, expected, "{headers} headers and a quote");
        for path in ["/products/1", "/products?count=1"] {
            let request =
                (0..headers).fold(Request::get(path), |request, n| request.header(format!("x-{n}"), "1"));
            let response = send(service, request.body(Bytes::new()).unwrap()).await;
            assert_eq!(response.status, expected, "{headers} {path}");
        }
    }
}
