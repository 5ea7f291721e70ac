//! Content codings: the one that a client accepts, and gzip in both directions.

use std::cell::RefCell;

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use libdeflater::{CompressionLvl, Compressor, Decompressor};

/// The max plain size of a document, far above any real one. It bounds the memory that a corrupt length can allocate.
const MAX_PLAIN_BYTES: usize = 64 << 20;

thread_local! {
    // Creating one costs more than using it. Level 1, because level 6 takes 40 % longer and saves 2 %.
    static COMPRESSOR: RefCell<Compressor> =
        RefCell::new(Compressor::new(CompressionLvl::new(1).unwrap_or_default()));
    static DECOMPRESSOR: RefCell<Decompressor> = RefCell::new(Decompressor::new());
}

/// Bytes that are not valid gzip.
#[derive(Debug, thiserror::Error)]
#[error("cannot decompress a stored document: invalid gzip")]
pub struct InvalidGzip;

/// Returns whether the response should be gzipped: the client accepts gzip and does not prefer plain.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, 0);
    for value in headers.get_all(ACCEPT_ENCODING) {
        let Ok(value) = value.to_str() else { continue };
        for item in value.split(',') {
            let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
            let Some(weight) = weight(parameters) else { continue };
            let coding = coding.trim();
            if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
                gzip = Some(weight);
            } else if coding.eq_ignore_ascii_case("identity") {
                identity = weight;
            } else if coding == "*" {
                any = Some(weight);
            }
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity
}

/// Returns the `q` of a coding in thousandths; `None` if it is not a number from 0 to 1 with at most three decimals.
fn weight(parameters: &str) -> Option<u16> {
    let parameters = parameters.trim();
    if parameters.is_empty() {
        return Some(1000);
    }
    let value = parameters.strip_prefix("q=").or_else(|| parameters.strip_prefix("Q="))?;
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    let digits = decimals.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !digits {
        return None;
    }
    let thousandths = format!("{whole}{decimals:0<3}").parse().ok()?;
    (thousandths <= 1000).then_some(thousandths)
}

/// Gzips a body. Returns `None` if that makes it no smaller.
pub(crate) fn gzip(plain: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        let mut gzipped = vec![0; compressor.gzip_compress_bound(plain.len())];
        let length = compressor.gzip_compress(plain, &mut gzipped).ok()?;
        gzipped.truncate(length);
        (length < plain.len()).then_some(gzipped)
    })
}

/// Returns the plain length of one gzip member, which its last four bytes contain.
pub(crate) fn plain_length(gzipped: &[u8]) -> Result<usize, InvalidGzip> {
    let length = gzipped.last_chunk().map(|bytes| u32::from_le_bytes(*bytes)).ok_or(InvalidGzip)?;
    usize::try_from(length).ok().filter(|length| *length <= MAX_PLAIN_BYTES).ok_or(InvalidGzip)
}

/// Decompresses one gzip member, and appends the result to `plain`.
pub(crate) fn gunzip_into(plain: &mut Vec<u8>, gzipped: &[u8]) -> Result<(), InvalidGzip> {
    let (start, length) = (plain.len(), plain_length(gzipped)?);
    plain.resize(start + length, 0);
    let written =
        DECOMPRESSOR.with_borrow_mut(|inflate| inflate.gzip_decompress(gzipped, &mut plain[start..]));
    if written.is_ok_and(|written| written == length) { Ok(()) } else { Err(InvalidGzip) }
}

/// Decompresses one gzip member.
pub(crate) fn gunzip(gzipped: &[u8]) -> Result<Vec<u8>, InvalidGzip> {
    let mut plain = Vec::new();
    gunzip_into(&mut plain, gzipped).map(|()| plain)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accepts(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_static(value));
        }
        accepts_gzip(&headers)
    }

    #[test]
    fn gzip_is_used_where_the_client_accepts_it() {
        for values in [
            &["gzip"][..],
            &["GZIP"],
            &["deflate, gzip;q=0.5, br"],
            &["gzip;q=0.001"],
            &["gzip ; q=1.000"],
            &["*"],
            &["br", "x-gzip"],
            &["identity;q=0.5, gzip;q=0.5"],
            &["br;q=0, *;q=0.1"],
        ] {
            assert!(accepts(values), "{values:?}");
        }
    }

    #[test]
    fn gzip_is_not_used_where_the_client_refuses_it_or_prefers_plain() {
        for values in [
            &[][..],
            &[""],
            &["br"],
            &["gzip;q=0"],
            &["gzip;q=0.000, *"],
            &["*;q=0"],
            &["identity, gzip;q=0.5"],
            &["gzip;q=2"],
            &["gzip;q=x"],
            &["gzip;level=1"],
            &["gzipped"],
        ] {
            assert!(!accepts(values), "{values:?}");
        }
    }

    #[test]
    fn gunzip_returns_the_body_that_was_gzipped() {
        let plain = b"forest green & black, ".repeat(100);
        let packed = gzip(&plain).unwrap();
        assert!(packed.len() < plain.len());
        assert_eq!(gunzip(&packed).unwrap(), plain);
        assert_eq!(gzip(b"x"), None);
    }

    #[test]
    fn invalid_gzip_is_an_error() {
        let mut gzipped = gzip(&[b'a'; 500]).unwrap();
        gunzip(&gzipped[..10]).unwrap_err();
        gunzip(b"").unwrap_err();
        let last = gzipped.len() - 1;
        gzipped[last] = 0xff; // a length of almost 4 GiB
        gunzip(&gzipped).unwrap_err();
    }
}
