//! Requests that HTTP libraries refuse by themselves: every transport gives the same status, and a problem with what is
//! promised of every response.

use std::borrow::Cow;

use bytes::Bytes;
use http::Request;

use crate::{Answer, Transport, ask};

/// The target of a request, byte for byte, where [`http::Uri`] would not take it.
#[derive(Debug, Clone)]
pub struct RawTarget(pub Bytes);

impl RawTarget {
    /// Path and query of a request, as they are to be sent.
    pub fn of(request: &Request<Bytes>) -> (Cow<'_, str>, Cow<'_, str>) {
        let Some(Self(target)) = request.extensions().get() else {
            return (request.uri().path().into(), request.uri().query().unwrap_or_default().into());
        };
        let mut parts = target.splitn(2, |byte| *byte == b'?');
        let mut part = || String::from_utf8_lossy(parts.next().unwrap_or_default());
        (part(), part())
    }
}

async fn get_raw(service: &impl Transport, target: &[u8]) -> Answer {
    let mut request = Request::new(Bytes::new());
    request.extensions_mut().insert(RawTarget(Bytes::copy_from_slice(target)));
    ask(service, request).await
}

/// Encoded by other clients, and ignored like every unknown parameter.
pub async fn a_query_with_characters_that_no_uri_has_is_read(service: &impl Transport) {
    for query in [
        &b"count=1&q=\"a\""[..],
        b"q=<&count=1",
        b"q=>&count=1",
        b"count=1&q=`{|}\\^",
        b"count=1&caf\xe9",
        b"caf\xc3\xa9=\"\"&count=1",
        b"\"&count=1&\"",
    ] {
        let target = [b"/products?", query].concat();
        let answer = get_raw(service, &target).await;
        let what = String::from_utf8_lossy(&target).into_owned();
        assert_eq!((answer.status.as_u16(), answer.header("x-total-count")), (200, "7"), "{what}");
        assert!(answer.text().starts_with(r#"[{"id":1,"#), "{what}: {}", answer.text());
    }
    assert_eq!(get_raw(service, b"/products?count=\"1\"").await.status, 400);
    assert_eq!(get_raw(service, b"/products?page=<1>").await.status, 400);
}

/// What stands where an id should is no id, and another path is another path.
pub async fn a_path_with_characters_that_no_uri_has_is_none_of_ours(service: &impl Transport) {
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

/// Beside those that are added, changed or removed on the way, and whatever else hyper would refuse.
pub async fn more_than_100_headers_are_431(service: &impl Transport) {
    for (headers, expected) in [(97, 200), (100, 200), (101, 431), (150, 431)] {
        let mut request = (0..headers).fold(Request::new(Bytes::new()), |mut request, n| {
            let name = http::HeaderName::try_from(format!("x-{n}")).unwrap();
            request.headers_mut().insert(name, http::HeaderValue::from_static("1"));
            request
        });
        request.extensions_mut().insert(RawTarget(Bytes::from_static(b"/products?count=1&q=\"a\"")));
        assert_eq!(ask(service, request).await.status, expected, "{headers} headers and a quote");
        for path in ["/products/1", "/products?count=1"] {
            let request =
                (0..headers).fold(Request::get(path), |request, n| request.header(format!("x-{n}"), "1"));
            let answer = ask(service, request.body(Bytes::new()).unwrap()).await;
            assert_eq!(answer.status, expected, "{headers} {path}");
        }
    }
}
